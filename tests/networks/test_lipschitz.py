"""Layers with a Lipschitz constant: references by numpy, bounds, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from snf_tf import networks, ops
from tests.ops.test_norms import matrix_of

pytestmark = pytest.mark.usefixtures("float64")


def swish(x, beta):
    return x / (1 + np.exp(-np.log1p(np.exp(beta)) * x))


@pytest.mark.parametrize("beta", [-2.0, 0.5, 3.0])
def test_lipswish(beta):
    """Value, two derivatives, and the gradient of beta."""
    layer = networks.LipSwish()
    x = tf.constant(np.linspace(-6, 6, 25))
    layer(x)
    assert float(layer.beta) == 0.5
    layer.beta.assign(beta)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = layer(x)
        slope = tape.gradient(y, x)
    second = outer.gradient(slope, x)
    b, s = np.log1p(np.exp(beta)), 1 / (1 + np.exp(-np.log1p(np.exp(beta)) * x.numpy()))
    ds = s * (1 - s)
    np.testing.assert_allclose(y, x * s / 1.1, rtol=1e-12)
    np.testing.assert_allclose(slope, (s + b * x * ds) / 1.1, rtol=1e-10)
    expected = (2 * b * ds + b**2 * x * ds * (1 - 2 * s)) / 1.1
    np.testing.assert_allclose(second, expected, rtol=1e-9, atol=1e-12)
    d_beta = np.sum(x**2 * ds) / 1.1 / (1 + np.exp(-beta))
    assert float(tape.gradient(y, layer.beta)) == pytest.approx(d_beta, rel=1e-10)
    assert np.abs(slope).max() <= 1.0


def test_clipswish_is_one_lipschitz():
    layer = networks.CLipSwish()
    x = tf.constant(np.linspace(-8, 8, 4001)[:, None])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    slopes = np.linalg.norm(tape.batch_jacobian(y, x)[:, :, 0], axis=1)
    assert 0.99 < slopes.max() <= 1.0
    np.testing.assert_allclose(y[:, 0], swish(x[:, 0], 0.5) / 1.1044, rtol=1e-12)
    np.testing.assert_allclose(y[:, 1], swish(-x[:, 0], 0.5) / 1.1044, rtol=1e-12)


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_spectral_dense(scale):
    """sigma, weight, output and gradients for given u, v after two steps."""
    layer = networks.SpectralDense(4, coeff=0.9)
    layer.build((None, 3))
    kernel, u, v, x = scale * np.random.randn(3, 4), *np.random.randn(2, 4), np.random.randn(5, 3)
    v = v[:3]
    for weight, value in ((layer.kernel, kernel), (layer.u, u), (layer.v, v)):
        weight.assign(value)
    layer.update_norm(iterations=2)
    for _ in range(2):
        u = kernel.T @ v / np.linalg.norm(kernel.T @ v)
        v = kernel @ u / np.linalg.norm(kernel @ u)
    sigma = u @ kernel.T @ v
    assert float(layer.operator_norm()) == pytest.approx(sigma, rel=1e-12)
    normalized = kernel / max(1.0, sigma / 0.9)
    np.testing.assert_allclose(layer.normalized_kernel(), normalized, rtol=1e-12)
    with tf.GradientTape() as tape:
        y = layer(tf.constant(x))
        loss = tf.reduce_sum(y**2)
    np.testing.assert_allclose(y, x @ normalized, rtol=1e-12)
    # The gradient of the loss by the normalized kernel, then by the kernel.
    upstream = 2 * x.T @ (x @ normalized)
    expected = upstream
    if sigma > 0.9:
        inner = np.sum(upstream * kernel)
        expected = 0.9 / sigma * (upstream - inner / sigma * np.outer(v, u))
    gradients = tape.gradient(loss, [layer.kernel, layer.bias])
    np.testing.assert_allclose(gradients[0], expected, rtol=1e-9, atol=1e-12)
    assert {w.name for w in layer.trainable_weights} == {"kernel", "bias"}


def test_spectral_conv2d():
    layer = networks.SpectralConv2D(3, (3, 1), coeff=0.8)
    layer.build((None, 4, 5, 2))
    layer.kernel.assign(np.random.randn(3, 1, 2, 3))
    v = np.random.randn(40)
    layer.v.assign(v)
    layer.update_norm(iterations=3)
    matrix = matrix_of(layer.kernel.numpy(), 4, 5)
    for _ in range(3):
        u = matrix.T @ v / np.linalg.norm(matrix.T @ v)
        v = matrix @ u / np.linalg.norm(matrix @ u)
    assert float(layer.operator_norm()) == pytest.approx(u @ matrix.T @ v, rel=1e-12)
    x = np.random.randn(2, 4, 5, 2)
    expected = x.reshape(2, -1) @ matrix / max(1.0, u @ matrix.T @ v / 0.8)
    np.testing.assert_allclose(tf.reshape(layer(tf.constant(x)), (2, -1)), expected, rtol=1e-10)


NETWORKS = {
    "dense": (lambda: networks.LipschitzNetwork((9, 9)), (4,)),
    "inf": (lambda: networks.LipschitzNetwork((9,), norm="inf"), (4,)),
    "one": (lambda: networks.LipschitzNetwork((9,), norm=1), (4,)),
    "1.7": (lambda: networks.LipschitzNetwork((9,), norm=1.7), (4,)),
    "learned": (lambda: networks.LipschitzNetwork((9, 9), norm="learned"), (4,)),
    "aol": (lambda: networks.LipschitzNetwork((9,), method="aol"), (4,)),
    "elu": (lambda: networks.LipschitzNetwork((9,), activation="elu"), (4,)),
    "softplus": (lambda: networks.LipschitzNetwork((9,), activation="softplus"), (4,)),
    "clipswish": (lambda: networks.LipschitzNetwork((9,), activation="clipswish"), (4,)),
    "images": (lambda: networks.LipschitzNetwork((6, 6), kernel_sizes=(3, 1, 3)), (5, 4, 2)),
    "images-inf": (lambda: networks.LipschitzNetwork((6,), (3, 3), norm="inf"), (5, 4, 2)),
    "images-learned": (lambda: networks.LipschitzNetwork((6,), (3, 3), norm="learned"), (5, 4, 2)),
    "images-aol": (lambda: networks.LipschitzNetwork((6,), (3, 3), method="aol"), (5, 4, 2)),
    "dense-net": (lambda: networks.LipschitzDenseNet(2, 3), (4,)),
    "dense-net-images": (lambda: networks.LipschitzDenseNet(2, 3), (5, 4, 2)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_certified_bound_holds(name):
    """Far from the start, for the worst of many inputs: by the spectral norm of the Jacobian."""
    make, shape = NETWORKS[name]
    network = make()
    x = tf.constant(np.random.randn(40, *shape))
    network(x)
    for weight in network.trainable_weights:
        weight.assign(2 * np.random.randn(*weight.shape))
    network(x, training=True)
    for part in networks.lipschitz_parts(network):
        part.certify()
    bound = networks.lipschitz_bound(network)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = network(x)
    size = int(np.prod(shape))
    jacobians = tf.reshape(tape.batch_jacobian(y, x), (-1, size, size)).numpy()
    # The spectral radius is below every norm's bound.
    assert np.abs(np.linalg.eigvals(jacobians)).max() <= bound
    if name not in ("inf", "one", "1.7", "learned", "images-inf", "images-learned"):
        assert np.linalg.norm(jacobians, 2, axis=(1, 2)).max() <= bound
    assert bound <= 0.985


def test_learned_orders_follow_the_norms():
    """A step down the gradient of norm_loss lowers the product of norms."""
    network = networks.LipschitzNetwork((8, 8), norm="learned")
    network(tf.zeros((1, 4)))
    for weight in network.trainable_weights:
        if "kernel" in weight.path:
            weight.assign(np.random.randn(*weight.shape))
    parts = [p for p in network.parts() if isinstance(p, networks.SpectralDense)]
    orders = [order.s for order in network.orders]

    def product():
        for part in parts:
            part.update_norm(iterations=500)
        return sum(float(tf.math.log(part.operator_norm())) for part in parts)

    before = product()
    with tf.GradientTape() as tape:
        loss = tf.add_n([part.norm_loss() for part in parts])
    assert float(loss) == pytest.approx(0.0, abs=1e-12)
    gradients = tape.gradient(loss, orders)
    # The slope is that of the logarithm of the norms.
    direction = np.random.randn(len(orders))
    ends = []
    for step in (1e-4, -1e-4):
        for s, d in zip(orders, direction, strict=True):
            s.assign(step * d)
        ends.append(product())
    slope = (ends[0] - ends[1]) / 2e-4
    assert np.dot(direction, gradients) == pytest.approx(slope, rel=1e-4, abs=1e-7)
    for s, gradient in zip(orders, gradients, strict=True):
        s.assign(-0.5 * gradient)
    assert product() < before


def test_training_calls_update_the_norm():
    layer = networks.SpectralDense(30, coeff=0.5)
    x = tf.ones((1, 20))
    layer(x)
    layer.kernel.assign(np.random.randn(20, 30))
    layer(x, training=True)
    norm = np.linalg.norm(layer.kernel, 2)
    assert 0.95 * norm < float(layer.operator_norm()) <= norm
    before = layer.u.numpy()
    layer(x)
    np.testing.assert_array_equal(layer.u, before)


def test_certification_is_done_once(monkeypatch):
    layer = networks.SpectralConv2D(3)
    layer(tf.ones((1, 6, 6, 2)))
    layer.certify()
    bound, u = layer.lipschitz_bound(), layer.u.numpy()
    calls = []
    monkeypatch.setattr(type(layer), "norm_bound", lambda *_: calls.append(1) or 1.0)
    layer.certify()
    assert not calls
    assert layer.lipschitz_bound() == bound
    np.testing.assert_array_equal(layer.u, u)
    layer.kernel.assign(2 * layer.kernel)
    layer.certify()
    assert calls


def test_a_sequential_states_its_bound():
    network = keras.Sequential(
        [
            networks.LipSwish(),
            networks.SpectralDense(5, coeff=0.5),
            keras.layers.ELU(),
            networks.SpectralDense(2, coeff=0.5),
            keras.layers.Activation("tanh"),
        ]
    )
    network.build((None, 2))
    for part in networks.lipschitz_parts(network):
        if hasattr(part, "kernel"):
            part.kernel.assign(10 * np.random.randn(*part.kernel.shape))
        part.certify()
    assert networks.lipschitz_bound(network) == pytest.approx(0.25, rel=3e-3)
    assert networks.nominal_bound(network) == 0.25
    network.add(keras.layers.Dense(2))
    with pytest.raises(ValueError, match="states no Lipschitz bound"):
        networks.lipschitz_bound(network)


@pytest.mark.parametrize("name", NETWORKS)
def test_saving(name, tmp_path):
    make, shape = NETWORKS[name]
    model = keras.Sequential([make()])
    x = tf.constant(np.random.randn(3, *shape))
    model(x)
    for weight in model.trainable_weights:
        weight.assign(np.random.randn(*weight.shape))
    for part in networks.lipschitz_parts(model):
        part.certify()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))
    assert networks.lipschitz_bound(loaded) == networks.lipschitz_bound(model)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: networks.SpectralDense(0), "units"),
        (lambda: networks.SpectralDense(3, coeff=1.0), "coeff must be a number above 0"),
        (lambda: networks.SpectralDense(3, coeff=True), "coeff must be a number above 0"),
        (lambda: networks.SpectralDense(3, domain="two"), "domain must be a number"),
        (lambda: networks.SpectralDense(3, codomain=0.5), "codomain must be a number"),
        (lambda: networks.SpectralDense(3, method="svd"), "method"),
        (lambda: networks.SpectralDense(3, method="aol", domain=1), "spectral norm alone"),
        (lambda: networks.SpectralConv2D(3, 2), "kernel_size must be an odd integer"),
        (lambda: networks.SpectralConv2D(0), "filters"),
        (lambda: networks.SpectralConv2D(3)(tf.ones((2, 3))), "images of a known size"),
        (lambda: networks.SpectralDense(3).lipschitz_bound(), "certify"),
        (lambda: _built().update_norm(0), "iterations"),
        (lambda: networks.LipschitzNetwork((3,), activation="relu6"), "activation"),
        (lambda: networks.LipschitzNetwork((3,), kernel_sizes=(3,)), "kernel_sizes"),
        (lambda: networks.LipschitzNetwork((3,), norm="max"), "norm"),
        (lambda: networks.LipschitzDenseNet(depth=0), "depth"),
        (lambda: networks.LipschitzDenseNet(growth=1.5), "growth"),
        (lambda: networks.LipschitzDenseNet(coeff=2), "coeff"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def _built():
    layer = networks.SpectralDense(3)
    layer.build((None, 2))
    return layer


def test_half_precision_computes_norms_in_float32():
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = networks.LipschitzNetwork((16, 16))
    x = tf.random.normal((5, 4))
    assert network(x).dtype == tf.float32
    for part in network.parts():
        part.certify()
    assert network(tf.cast(x, tf.bfloat16)).dtype == tf.bfloat16
    assert {weight.dtype for weight in network.trainable_weights} == {"float32"}
    assert ops.operator_norm(network.chain[1].normalized_kernel()) < 0.9801
