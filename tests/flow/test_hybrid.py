"""The loss of a hybrid model and its gradient by formulas of their own; labels, replicas, files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers
from snf_tf.training import make_strategy
from tests.flows import D, brute_force_log_prob

X = np.random.RandomState(0).randn(24, D).astype("float32")
Y = np.random.RandomState(1).randint(0, 3, 24)
WEIGHT = np.random.RandomState(2).uniform(0.5, 2.0, 24)


def hybrid_flow(likelihood_weight="1/D"):
    """On vectors."""
    bijections = [layers.ExactDense(), layers.SmoothTanh(), layers.ExactDense()]
    return snf_tf.HybridFlow(bijections, (D,), 3, likelihood_weight, head_width=5)


def residual_images(likelihood_weight):
    """Two scales of residual blocks with exact log-determinants, away from where they start."""

    def block(channels):
        convolutions = [
            keras.layers.Conv2D(filters, 3, padding="same", activation=activation)
            for filters, activation in ((3, "tanh"), (channels, None))
        ]
        network = keras.Sequential(convolutions)
        return layers.ResidualBlock(network, "brute_force", lipschitz_bound=0.9)

    bijections = [layers.Scale(0.5), block(1), layers.Squeeze(), block(4)]
    flow = snf_tf.HybridFlow(bijections, (4, 4, 1), 3, likelihood_weight, head_width=5)
    random = np.random.RandomState(3)
    for weight in flow.trainable_weights:
        scale = 0.08 if "conv" in weight.path else 0.5
        weight.assign(scale * random.randn(*weight.shape))
    return flow


def head_vector(head, h):
    """What a head does to features `(batch, H, W, C)`, pixel by pixel in NumPy."""
    kernel, bias, log_scale = (np.array(w) for w in (head.linear.kernel, head.bias, head.log_scale))
    padded = np.pad(h, [(0, 0), (1, 1), (1, 1), (0, 0)])
    mean = 0.0
    for row in range(h.shape[1]):
        for column in range(h.shape[2]):
            patch = padded[:, row : row + 3, column : column + 3]
            value = np.tensordot(patch, kernel, axes=3)
            mean += np.maximum((value + bias) * np.exp(log_scale), 0.0)
    return mean / (h.shape[1] * h.shape[2])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("likelihood_weight", [0, "1/D", 2.5])
def test_the_loss_by_hand(likelihood_weight):
    flow = residual_images(likelihood_weight)
    x, y = np.random.RandomState(4).randn(7, 4, 4, 1), np.array([0, 2, 1, 1, 0, 2, 2])
    weight = np.random.RandomState(5).uniform(0.5, 2.0, 7)
    h, features = tf.constant(x), []
    for index, layer in enumerate(flow.bijections):
        h, _ = layer(h)
        if index >= 2:
            features.append(h.numpy())
    parts = [head_vector(head, f) for head, f in zip(flow.heads, features, strict=True)]
    logits = np.concatenate(parts, axis=1) @ np.array(flow.classifier.kernel)
    logits = logits + np.array(flow.classifier.bias)
    log_probs = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    np.testing.assert_allclose(flow.classify(x), log_probs, rtol=1e-9)
    log_prob = brute_force_log_prob(flow, x)
    factor = 1 / 16 if likelihood_weight == "1/D" else likelihood_weight
    losses = -(factor * log_prob + log_probs[np.arange(7), y])
    given = {"x": tf.constant(x), "y": tf.constant(y), "sample_weight": tf.constant(weight)}
    loss = flow.compute_loss(given, y_pred=flow(given, training=True))
    np.testing.assert_allclose(loss, np.mean(weight * losses), rtol=1e-9)
    found = flow.evaluate(x, y, sample_weight=weight, batch_size=3)
    hits = np.argmax(log_probs, axis=1) == y
    assert found["accuracy"] == pytest.approx(np.average(hits, weights=weight))
    nll = -np.average(log_probs[np.arange(7), y], weights=weight)
    assert found["classifier_nll"] == pytest.approx(nll, rel=1e-9)
    assert found["nll"] == pytest.approx(-np.average(log_prob, weights=weight), rel=1e-9)
    assert flow.validation_loss({f"val_{k}": v for k, v in found.items()}) == pytest.approx(
        np.average(losses, weights=weight)
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("likelihood_weight", [0, "1/D"])
def test_gradients_reach_the_blocks(likelihood_weight):
    """Against autodiff of the same loss, in which log-determinants are of whole Jacobians."""
    flow = residual_images(likelihood_weight)
    x = tf.constant(np.random.RandomState(4).randn(3, 4, 4, 1))
    y = tf.constant([0, 2, 1])
    weights = [weight.value for weight in flow.trainable_weights]
    given = {"x": x, "y": y}
    with tf.GradientTape() as tape:
        loss = flow.compute_loss(given, y_pred=flow(given, training=True))
    found = tape.gradient(loss, weights)
    _, first, squeeze, second = flow.bijections
    with tf.GradientTape() as tape:
        with tf.GradientTape() as inner:
            inner.watch(x)
            h = x / 2
            h = squeeze(h + first.network(h))[0]
            z = h + second.network(h)
        jacobian = tf.reshape(inner.batch_jacobian(z, x), (3, 16, 16))
        vectors = []
        for head, feature in zip(flow.heads, (h, z), strict=True):
            value = tf.nn.conv2d(feature, head.linear.kernel, 1, "SAME") + head.bias
            vectors.append(tf.reduce_mean(tf.nn.relu(value * tf.exp(head.log_scale)), [1, 2]))
        logits = tf.concat(vectors, 1) @ flow.classifier.kernel + flow.classifier.bias
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
        square = tf.reduce_sum(tf.reshape(z, (3, 16)) ** 2 + np.log(2 * np.pi), axis=1)
        nll = square / 2 - tf.math.log(tf.abs(tf.linalg.det(jacobian)))
        loss = tf.reduce_mean(losses + nll * (1 / 16 if likelihood_weight else 0))
    expected = tape.gradient(loss, weights)
    assert len(found) == 4 + 4 + 2 * 3 + 2
    for weight, one, two in zip(flow.trainable_weights, found, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-7, atol=1e-9, err_msg=weight.path)
        assert np.abs(two).max() > 1e-6 or "bias" in weight.path


def fitted(data, **options):
    keras.utils.set_random_seed(1)
    flow = hybrid_flow()
    flow.compile(optimizer=keras.optimizers.SGD(0.1))
    history = flow.fit(*data, epochs=2, verbose=0, **options).history
    return flow.get_weights(), history["surrogate"], history["accuracy"]


def test_every_kind_trains_alike():
    given = {"x": X, "y": Y, "sample_weight": WEIGHT}
    pairs = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    dicts = tf.data.Dataset.from_tensor_slices(given).batch(8)
    arrays = {"batch_size": 8, "shuffle": False}
    same = [
        [fitted((X, Y), **arrays), fitted((pairs,)), fitted(({"x": X, "y": Y},), **arrays)],
        [fitted((X, Y), sample_weight=WEIGHT, **arrays), fitted((dicts,))],
    ]
    for first, *others in same:
        for other in others:
            for one, two in zip(first, other, strict=True):
                tf.nest.map_structure(
                    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, two
                )
    kernels = [kinds[0][0][-2] for kinds in same]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


def test_weights_count_examples():
    """A weight of 2 is an example that is there twice, in the loss as in the accuracy."""
    twice, results = np.r_[0:24, 0:6], []
    for rows, weight, rate in (
        (twice, None, 0.30),
        (np.arange(24), np.r_[[2.0] * 6, [1.0] * 18], 0.24),
    ):
        keras.utils.set_random_seed(1)
        flow = hybrid_flow()
        flow.compile(optimizer=keras.optimizers.SGD(rate))
        history = flow.fit(
            X[rows], Y[rows], sample_weight=weight, batch_size=30, epochs=2, verbose=0
        ).history
        results.append([*flow.get_weights(), history["accuracy"]])
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [24, 21])
def test_two_replicas_take_the_steps_of_one(count):
    """With whole batches, and with a last one of 5 for the two."""
    given = {"x": X[:count], "y": Y[:count], "sample_weight": WEIGHT[:count]}
    data = tf.data.Dataset.from_tensor_slices(given).batch(8)
    results = []
    for strategy in (make_strategy(["CPU:0"]), make_strategy(["CPU:0", "CPU:1"])):
        keras.utils.set_random_seed(0)
        with strategy.scope():
            flow = hybrid_flow()
            flow.compile(optimizer=keras.optimizers.SGD(0.1))
        start = flow.get_weights()
        seen = []
        callback = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs, seen=seen: seen.append(logs["accuracy"])
        )
        history = flow.fit(data, epochs=3, verbose=0, callbacks=[callback]).history
        logs = history["surrogate"], history["accuracy"], seen
        results.append([*flow.get_weights(), *logs])
    assert all(
        np.abs(a - b).max() > 1e-3 for a, b in zip(start, results[0], strict=False) if a.ndim
    )
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-5)


WRONG = {
    "missing": (None, "is fitted to labels, too"),
    "floats": (Y.astype("float32"), "must be integers of shape"),
    "one-hot": (np.eye(3, dtype=int)[Y], "must be integers of shape"),
    "negative": (Y - 1, r"must be in 0\.\.2"),
    "too large": (Y + 1, r"must be in 0\.\.2"),
    "rows": (Y[:20], "as many rows as x"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("method", ["fit", "fit a data set", "evaluate"])
def test_wrong_labels_are_refused_in_words(name, method):
    y, message = WRONG[name]
    flow = hybrid_flow()
    flow.compile(optimizer="sgd")
    if method == "fit a data set":
        elements = {"x": X} if y is None else {"x": X, "y": y}
        data = tf.data.Dataset.from_tensors(elements)
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=message):
            flow.fit(data, verbose=0)
    elif method == "fit":
        with pytest.raises(ValueError, match=message):
            flow.fit(X, y, verbose=0)
    elif y is not None:
        with pytest.raises(ValueError, match=message):
            flow.evaluate(X, y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f.fit(tf.data.Dataset.from_tensors((X, Y)), Y), "go with arrays"),
        (lambda f: f.evaluate(tf.data.Dataset.from_tensors((X, Y)), Y), "goes with arrays"),
        (lambda f: f.fit({"x": X, "label": Y}), "where given, context, sample_weight and y"),
        (lambda f: snf_tf.HybridFlow(f.bijections, (D,), 1), "classes must be an integer"),
        (lambda f: snf_tf.HybridFlow(f.bijections, (D,), 3, -1.0), "at least 0, or"),
        (lambda f: snf_tf.HybridFlow(f.bijections, (D,), 3, "1/N"), "at least 0, or"),
        (lambda f: snf_tf.HybridFlow(f.bijections, (D,), 3, head_width=0), "width must be an"),
        (
            lambda f: snf_tf.Flow(f.bijections, (D,)).evaluate({"x": X, "y": Y}),
            "context and sample",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    flow = hybrid_flow()
    flow.compile(optimizer="sgd")
    with pytest.raises(ValueError, match=message):
        call(flow)


def test_files_hold_the_classifier(tmp_path):
    flow = hybrid_flow()
    flow.compile(optimizer="adam")
    flow.fit(X, Y, verbose=0)
    flow.save(tmp_path / "flow.keras")
    flow.save_weights(tmp_path / "flow.weights.h5")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    other = hybrid_flow()
    assert np.abs(other.classify(X) - flow.classify(X)).max() > 1e-3
    other.load_weights(tmp_path / "flow.weights.h5")
    for copy in (loaded, other):
        np.testing.assert_array_equal(copy.classify(X), flow.classify(X))
        np.testing.assert_array_equal(copy.log_prob(X), flow.log_prob(X))
    assert loaded.likelihood_weight == "1/D"
    for copy in (flow, loaded):
        copy.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    np.testing.assert_allclose(loaded.classify(X), flow.classify(X), rtol=1e-5, atol=1e-6)


def test_without_labels_there_are_likelihoods_alone():
    flow = hybrid_flow(0)
    flow.compile(optimizer="sgd")
    history = flow.fit(X, Y, validation_data=X, verbose=0).history
    assert set(history) == {"surrogate", "loss", "accuracy", "val_nll", "val_bits_per_dim"}
    history = flow.fit(X, Y, validation_data=(X, Y), verbose=0).history
    assert history["val_loss"] == history["val_classifier_nll"]
    assert set(flow.evaluate(X)) == {"nll", "bits_per_dim"}


@pytest.mark.parametrize(
    ("monitor", "direction"), [("val_accuracy", 1), ("val_classifier_nll", -1), ("accuracy", 1)]
)
def test_early_stopping_knows_the_directions(monitor, direction):
    flow = hybrid_flow()
    flow.compile(optimizer="sgd")
    stop = keras.callbacks.EarlyStopping(monitor=monitor, patience=0, min_delta=1e6)
    history = flow.fit(X, Y, validation_data=(X, Y), epochs=4, verbose=0, callbacks=[stop]).history
    assert len(history["loss"]) == 2
    assert stop.monitor_op(2.0, 1.0) == (direction == 1)
