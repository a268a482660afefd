"""Everything that a flow is fitted and evaluated on gives the same numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers
from snf_tf.flow import elements
from snf_tf.training import make_strategy
from tests.flows import D, image_flow, images, vector_flow

X = np.random.RandomState(0).randn(12, D).astype("float32")
CONTEXT = np.random.RandomState(1).randn(12, 2).astype("float32")
WEIGHT = np.random.RandomState(2).uniform(0.5, 2.0, 12).astype("float32")


class Batches(keras.utils.PyDataset):
    """A PyDataset of x, or of dicts."""

    def __init__(self, data, size=4):
        super().__init__()
        self.data, self.size = data, size

    def __len__(self):
        return len(self.data["x"]) // self.size

    def __getitem__(self, index):
        rows = slice(index * self.size, (index + 1) * self.size)
        return {name: value[rows] for name, value in self.data.items()}


class Shift(keras.Model):
    """A subclassed conditioner, whose layers have no shape before it is called."""

    def __init__(self):
        super().__init__()
        self.inner = keras.layers.Dense(5, activation="tanh")
        self.outer = keras.layers.Dense(D)

    def call(self, inputs):
        x1, context = inputs
        return self.outer(self.inner(keras.ops.concatenate([x1, context], axis=-1)))


def conditional_flow():
    flow = snf_tf.Flow([layers.AffineCoupling(Shift()), layers.ExactDense()], event_shape=(D,))
    flow.compile(optimizer=keras.optimizers.SGD(0.1))
    return flow


def data_of(kind, given):
    """The same batches of 4, in their order."""
    dataset = tf.data.Dataset.from_tensor_slices(given).batch(4)
    if kind == "dataset":
        return dataset
    if kind == "pairs":
        return dataset.map(lambda element: (element["x"], element["context"]))
    if kind == "generator":
        return (batch for _ in range(9) for batch in dataset.as_numpy_iterator())
    return Batches(given)


@pytest.mark.parametrize("kind", ["dataset", "pairs", "generator", "py_dataset"])
def test_every_kind_trains_alike(kind):
    given = {"x": X, "context": CONTEXT}
    results = []
    for data in ("arrays", kind):
        keras.utils.set_random_seed(1)
        flow = conditional_flow()
        options = {"steps_per_epoch": 3} if kind == "generator" and data == kind else {}
        if data == "arrays":
            flow.fit(X, context=CONTEXT, batch_size=4, shuffle=False, epochs=2, verbose=0)
        else:
            flow.fit(data_of(kind, given), epochs=2, verbose=0, **options)
        results.append((flow.get_weights(), flow.evaluate(X, context=CONTEXT)["nll"]))
        if kind != "generator":
            other = flow.evaluate(data_of("dataset" if data == "arrays" else kind, given))
            assert other["nll"] == pytest.approx(results[-1][1], rel=1e-6)
    for one, two in zip(*(weights for weights, _ in results), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_weights_count_examples():
    """A weight of 2 is an example that is there twice; in the mean over the batch, by SGD."""
    flows = []
    twice = np.concatenate([X, X[:6]])
    for x, weight, rate in ((twice, None, 0.18), (X, np.repeat([2.0, 1.0], 6), 0.12)):
        keras.utils.set_random_seed(1)
        flow = vector_flow()
        flow.bijections[0].reconstruction_weight.assign(0.0)
        flow.bijections[2].reconstruction_weight.assign(0.0)
        flow.compile(optimizer=keras.optimizers.SGD(rate / 10))
        flow.fit(x, sample_weight=weight, batch_size=20, epochs=3, verbose=0)
        flows.append(flow)
    for one, two in zip(*(flow.get_weights() for flow in flows), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
    nll = flows[0].evaluate(twice)["nll"]
    weighted = flows[0].evaluate(X, sample_weight=np.repeat([2.0, 1.0], 6))["nll"]
    assert weighted == pytest.approx(nll, rel=1e-6)


COUNTS = np.array([0, 3, 1, 2, 0, 1, 1, 4, 0, 1, 2, 1])


@pytest.mark.parametrize("kind", ["arrays", "dataset", "generator", "py_dataset"])
def test_weighted_means_are_exact(float64, kind):
    """A weight of 0 leaves a row out, even one of infinite nll; a weight of 3 is three rows."""
    flow = conditional_flow()
    x = X.astype("float64")
    nll = -flow.log_prob(x, context=CONTEXT).numpy()
    given = {"x": x, "context": CONTEXT, "sample_weight": COUNTS}
    found = flow.evaluate(given if kind == "arrays" else data_of(kind, given), steps=3)["nll"]
    rows = np.repeat(np.arange(12), COUNTS)
    assert found == pytest.approx(np.average(nll, weights=COUNTS), rel=1e-9)
    assert found == pytest.approx(flow.evaluate(x[rows], context=CONTEXT[rows])["nll"], rel=1e-9)
    given["sample_weight"] = 0.37 * COUNTS
    assert flow.evaluate(given)["nll"] == pytest.approx(found, rel=1e-9)
    # The density of these rows is 0.
    bounded = snf_tf.Flow([layers.Scale(1.0)], (D,), base=snf_tf.bases.Uniform(-1.0, 1.0))
    inside = np.clip(x, -0.9, 0.9)
    inside[COUNTS == 0] = 5.0
    found = bounded.evaluate(inside, sample_weight=COUNTS)["nll"]
    assert found == pytest.approx(D * np.log(2.0), rel=1e-9)


@pytest.mark.parametrize("replicas", [1, 2])
def test_weighted_steps_are_those_of_repeated_rows(float64, replicas):
    """Steps of SGD, whose rate is divided by the number of rows; shards of two replicas differ."""
    rows = np.repeat(np.arange(12), COUNTS)
    x, results = X.astype("float64"), []
    devices = [f"CPU:{index}" for index in range(replicas)]
    for given, rate in (
        ({"x": x[rows]}, 0.01 * len(rows)),
        ({"x": x[COUNTS > 0], "sample_weight": COUNTS[COUNTS > 0]}, 0.01 * np.sum(COUNTS > 0)),
        ({"x": x, "sample_weight": COUNTS}, 0.12),
    ):
        keras.utils.set_random_seed(1)
        with make_strategy(devices).scope():
            flow = snf_tf.Flow(
                [layers.ExactDense(), layers.SplineActivation(), layers.ExactDense()], (D,)
            )
            flow.compile(optimizer=keras.optimizers.SGD(rate))
        history = flow.fit(
            tf.data.Dataset.from_tensor_slices(given).batch(len(given["x"])), epochs=2, verbose=0
        ).history
        results.append([*flow.get_weights(), np.array(history["surrogate"]) * rate])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (-COUNTS, "finite and at least 0"),
        (np.where(COUNTS > 3, np.nan, 1.0), "finite and at least 0"),
        (np.ones((12, 2)), "one number a row"),
        (0 * COUNTS, "positive sum"),
    ],
)
def test_weights_that_are_none(weight, message):
    flow = vector_flow()
    flow.compile(optimizer="sgd")
    with pytest.raises(ValueError, match=message):
        flow.evaluate(X, sample_weight=weight)
    if weight.any():
        with pytest.raises(ValueError, match=message):
            flow.fit(X, sample_weight=weight, verbose=0)
        data = tf.data.Dataset.from_tensors({"x": X, "sample_weight": weight})
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=message):
            flow.fit(data, verbose=0)


@pytest.mark.parametrize("batch_size", [1, 5, 12])
def test_batch_size_changes_no_number(batch_size):
    flow, x = image_flow(), images()
    z, log_prob = flow.predict(x, batch_size=batch_size, seed=3)
    np.testing.assert_allclose(log_prob, flow.log_prob(x, seed=3), rtol=1e-5)
    np.testing.assert_allclose(z, flow.encode(x, seed=3), rtol=1e-4, atol=1e-4)
    parts = flow.log_prob(x, seed=3, batch_size=batch_size), flow.log_prob(x, seed=3)
    np.testing.assert_allclose(*parts, rtol=1e-5)
    parts = flow.encode(x, seed=3, batch_size=batch_size), flow.encode(x, seed=3)
    np.testing.assert_allclose(*parts, rtol=1e-4, atol=1e-4)
    parts = flow.sample(12, seed=3, batch_size=batch_size), flow.sample(12, seed=3)
    np.testing.assert_allclose(*parts, rtol=1e-3, atol=0.05)


def test_predict_takes_the_context_and_every_kind():
    flow = conditional_flow()
    expected = flow.log_prob(X, context=CONTEXT)
    given = {"x": X, "context": CONTEXT}
    for kind in ("dataset", "pairs", "generator", "py_dataset"):
        _, log_prob = flow.predict(data_of(kind, given), steps=3)
        np.testing.assert_allclose(log_prob, expected, rtol=1e-5)
    np.testing.assert_allclose(flow.predict(X, context=CONTEXT)[1], expected, rtol=1e-5)


def test_evaluate_reads_the_batches_that_it_needs():
    read = []

    def batches():
        for index in range(5):
            read.append(index)
            yield X

    vector_flow().evaluate(batches(), steps=1)
    assert read == [0]


def test_one_row_of_context_is_for_all_samples():
    flow = conditional_flow()
    flow.log_prob(X, context=CONTEXT)
    one = flow.sample(7, context=CONTEXT[:1], seed=1)
    np.testing.assert_allclose(one, flow.sample(7, context=np.repeat(CONTEXT[:1], 7, 0), seed=1))


def test_arrays_are_not_copied():
    arrays = elements.as_arrays(X, CONTEXT)
    assert arrays.x is X
    assert arrays.context is CONTEXT


def test_arrays_are_in_another_order_in_every_epoch():
    arrays = elements.Element(np.arange(50), context=-np.arange(50))
    epochs = []
    for seed in (3, 3, -1):
        batches = elements.array_batches(arrays, 8, seed)
        assert len(batches) == 7
        for epoch in (batches, batches):
            drawn = list(epoch.as_numpy_iterator())
            x = np.concatenate([batch["x"] for batch in drawn])
            np.testing.assert_array_equal(np.sort(x), arrays.x)
            np.testing.assert_array_equal(np.concatenate([b["context"] for b in drawn]), -x)
            epochs.append(tuple(x))
    assert epochs[:2] == epochs[2:4]
    assert len({tuple(range(50)), *epochs}) == 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f.log_prob(X, context=CONTEXT), "No layer of this Flow takes a context"),
        (lambda f: f.fit(X, context=CONTEXT, verbose=0), "No layer of this Flow takes a context"),
        (lambda f: f.sample(3, context=CONTEXT), "No layer of this Flow takes a context"),
        (lambda f: f.bijector.inverse(X, context=CONTEXT), "takes no context"),
        (
            lambda f: f.fit(tf.data.Dataset.from_tensors((X, np.zeros(12))), verbose=0),
            "No layer of this Flow takes a context.*labels",
        ),
        (lambda f: f.evaluate(X, sample_weight=np.ones(5)), "sample_weight must have as many rows"),
        (lambda f: f.evaluate({"x": X, "label": X}), "takes x and, where given, context"),
        (lambda f: f.fit("data", verbose=0), "must be an array of numbers"),
        (lambda f: f.predict(tf.data.Dataset.from_tensors(X).take(0)), "an empty dataset"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    flow = vector_flow()
    flow.compile(optimizer="sgd")
    with pytest.raises(ValueError, match=message):
        call(flow)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f.log_prob(X), "give the context that it takes. Received: no context"),
        (lambda f: f.log_prob(X, context=CONTEXT[:5]), "as many rows as x, 12"),
        (lambda f: f.sample(4, context=CONTEXT[:3]), "as many rows as x, 4"),
        (lambda f: f.fit(X, context=CONTEXT[:5], verbose=0), "context must have as many rows as x"),
    ],
)
def test_a_wrong_context_is_named(call, message):
    flow = conditional_flow()
    flow.log_prob(X, context=CONTEXT)
    with pytest.raises(ValueError, match=message):
        call(flow)


def test_networks_that_wait_for_a_context(tmp_path):
    flow = conditional_flow()
    for call in (
        lambda: flow.load_weights(tmp_path / "flow.weights.h5"),
        lambda: flow.save_weights(tmp_path / "flow.weights.h5"),
        lambda: flow.bijector,
        lambda: snf_tf.serving.export(flow, tmp_path / "exported"),
    ):
        with pytest.raises(ValueError, match="not built yet: shift"):
            call()
    flow.fit(X, context=CONTEXT, verbose=0)
    assert len(flow.trainable_variables) == 6
    flow.save_weights(tmp_path / "flow.weights.h5")
    other = conditional_flow()
    other.log_prob(X, context=CONTEXT)
    other.load_weights(tmp_path / "flow.weights.h5")
    np.testing.assert_array_equal(
        other.log_prob(X, context=CONTEXT), flow.log_prob(X, context=CONTEXT)
    )


def test_a_subclassed_network_without_context_is_built_with_the_flow():
    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(D)

        def call(self, x):
            return self.dense(x)

    flow = snf_tf.Flow([layers.AffineCoupling(Network())], event_shape=(D,))
    assert len(flow.trainable_variables) == len(flow.bijector.trainable_variables) == 2


class Endless(keras.utils.PyDataset):
    """Batches without an end, and so without a length."""

    def __init__(self):
        super().__init__()

    @property
    def num_batches(self):
        return None

    def __getitem__(self, index):
        rows = slice(index % 3 * 4, index % 3 * 4 + 4)
        return {"x": X[rows], "context": CONTEXT[rows]}


@pytest.mark.parametrize("kind", ["filtered", "generated", "endless", "generator", "PyDataset"])
def test_streams_of_unknown_length(kind):
    """Batches of 4 of 12 rows: an epoch is the whole stream, or the steps that are asked for."""
    given = {"x": X, "context": CONTEXT}
    known = data_of("dataset", given)
    signature = known.element_spec
    make, steps = {
        "filtered": (lambda: known.filter(lambda _: True), None),
        "generated": (
            lambda: tf.data.Dataset.from_generator(
                lambda: iter(known.as_numpy_iterator()), output_signature=signature
            ),
            None,
        ),
        "endless": (lambda: known.repeat(), 3),
        "generator": (lambda: data_of("generator", given), 3),
        "PyDataset": (Endless, 3),
    }[kind]
    results = []
    # A generator is used up by an epoch.
    validate = (lambda: known) if kind == "generator" else make
    for data, count in ((lambda: known, None), (make, steps)):
        keras.utils.set_random_seed(1)
        flow = conditional_flow()
        history = flow.fit(
            data(),
            epochs=2,
            steps_per_epoch=count,
            validation_data=known if count is None else validate(),
            validation_steps=count,
            verbose=0,
        ).history
        assert int(flow.optimizer.iterations) == 6
        results.append(history["surrogate"] + history["val_nll"])
        results.append([flow.evaluate(data(), steps=count)["nll"]])
        results.append(flow.predict(data(), steps=count)[1])
    for one, two in zip(results[:3], results[3:], strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6)


def test_a_finite_generator_is_one_epoch():
    flow = conditional_flow()
    batch = next(data_of("dataset", {"x": X, "context": CONTEXT}).as_numpy_iterator())
    flow.fit((batch for _ in range(3)), verbose=0)
    assert int(flow.optimizer.iterations) == 3
    assert flow.evaluate(batch for _ in range(3)) == flow.evaluate(batch for _ in range(6))


def test_a_generator_is_no_validation_data():
    with pytest.raises(ValueError, match=r"gone through once.*validation_data=generator"):
        conditional_flow().fit(
            X, context=CONTEXT, validation_data=data_of("generator", {"x": X, "context": CONTEXT})
        )


def test_an_endless_dataset_needs_steps():
    with pytest.raises(ValueError, match="PyDataset without a length needs steps"):
        conditional_flow().evaluate(Endless())


def test_arrays_of_other_libraries_are_arrays():
    """Tensors of PyTorch have select and take, too."""

    class Tensor:
        select = take = None

        def __init__(self, rows):
            self.rows, self.shape, self.dtype = rows, rows.shape, "torch.float32"

        def __array__(self, dtype=None, copy=None):
            return self.rows

    x = np.ones((4, 2), "float32")
    assert elements.as_arrays(Tensor(x)).x is x
