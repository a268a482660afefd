"""What `benchmark.py` times of this library, and the floors."""

import functools
from collections.abc import Callable
from typing import NamedTuple

DIMENSIONS = (128, 512, 1024, 2048, 4096)
DENSE_BATCH = 128
GLOW_WIDTH = 64
GLOW_STEP = (14, 14, 4)
_IMAGES = ((28, 28, 1), (14, 14, 4), (7, 7, 16), (16, 16, 12), (32, 32, 3))
_CONVOLUTIONS = ((28, 28, 1),) * 3 + ((14, 14, 4),) * 3 + ((7, 7, 16),) * 3


class Case(NamedTuple):
    """What is timed.

    Attributes:
        make: Returns the function whose calls are timed; a call ends when its work is done.
        floor: Names of the cases whose times add up to what this one cannot avoid.
        against: Names of cases that do the same work in another way.
    """

    make: Callable[[], Callable[[], object]]
    floor: tuple[str, ...] = ()
    against: tuple[str, ...] = ()


def cases(batch: int) -> dict[str, Case]:
    """All cases by name."""
    models = _fully_connected(batch) | _convolutional(batch) | _glow(batch)
    return models | _dense() | _splines(batch) | _sampling() | _banded(batch)


def device() -> str:
    import os

    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return gpus[0].name if gpus else f"{os.cpu_count()} CPU cores"


def _fully_connected(batch):
    """The 2-layer model on 784 dimensions.

    A self normalizing step needs 12 products of (batch, D, D), 6 a layer (SNF Eqs. 10, 11 and the penalty).
    """
    from snf_tf import models

    floor = ("fc_products", "fc_adam_bytes")
    result = {
        "fc_products": Case(lambda: _products(batch, 784, with_kernel=8, of_kernel=4)),
        "fc_adam_bytes": Case(lambda: _adam_bytes(4 * 784**2 + 2 * 784)),
    }
    for linear in ("self_normalizing", "relative", "exact"):
        make = functools.partial(models.fully_connected, linear=linear)
        result[f"fc_{linear}"] = Case(lambda make=make: _training_step(make(), batch), floor, ("fc_exact",))
    return result


def _convolutional(batch):
    """The 9-layer model; a self normalizing step needs 6 convolutions a layer, and the splines."""
    from snf_tf import layers, models, ops

    class DenseExactConv2D(layers.ExactConv2D):
        """The paper's exact baseline: log-determinants by LU of the dense matrix."""

        def call(self, x, context=None, training=False):
            z = ops.affine_conv2d(x, self.kernel, self.bias)
            return z, self._repeat(ops.conv2d_log_det_dense(self.kernel, self.event_shape), x)

    def dense():
        flow = models.convolutional(linear="exact")
        for bijection in flow.bijections:
            if isinstance(bijection, layers.ExactConv2D):
                bijection.__class__ = DenseExactConv2D
        return flow

    result = {"conv_convolutions": Case(lambda: _convolutions(batch, 6))}
    for name, make in {
        "conv_self_normalizing": models.convolutional,
        "conv_exact": functools.partial(models.convolutional, linear="exact"),
        "conv_exact_by_dense_matrix": dense,
    }.items():
        against = ("conv_exact", "conv_exact_by_dense_matrix")
        result[name] = Case(lambda make=make: _training_step(make(), batch), ("conv_convolutions",), against)
    return result


def _glow(batch):
    """Glow 2L-16K of couplings of width 64; its floor: the convolutions of its step, forward and backward, in one graph.

    And one step of flow, on 14 x 14 x 4 images.
    """
    from snf_tf import Flow, layers, models

    def initialized(flow):
        import numpy as np

        flow.initialize(np.random.RandomState(0).randint(0, 256, (batch, *flow.event_shape)))
        return flow

    def glow(mixing):
        return initialized(models.glow(mixing=mixing, coupling_width=GLOW_WIDTH))

    def convolutions():
        inputs = []
        for layer in models.glow(coupling_width=GLOW_WIDTH).leaves():
            if isinstance(layer, layers.SelfNormalizingConv2D):
                inputs += 2 * [(layer.event_shape, layer.kernel.value)]
            if isinstance(layer, layers.AffineCoupling):
                for part in getattr(layer.conditioner, "layers", [layer.conditioner]):
                    kernel = getattr(part, "convolution", part).kernel.value
                    inputs.append(((*layer.event_shape[:2], kernel.shape[2]), kernel))
        return _convolutions_and_gradients(inputs, batch)

    def one_step():
        parts = [layers.ActNorm(), layers.InvertibleConv1x1(), layers.AffineCoupling(width=GLOW_WIDTH)]
        return initialized(Flow(parts, event_shape=GLOW_STEP))

    floor = ("glow_convolutions",)
    return {
        "glow_convolutions": Case(convolutions),
        "glow_self_normalizing": Case(lambda: _training_step(glow("self_normalizing"), batch), floor, ("glow_conv1x1",)),
        "glow_conv1x1": Case(lambda: _training_step(glow("conv1x1"), batch), floor),
        "glow_step": Case(lambda: _training_step(one_step(), batch), against=("glow_step_normflows",)),
    }


def _dense():
    """One dense layer, trained by Adam. The peers of the same work are in `benchmark_peers.py`.

    The first layer of a flow needs no gradient of its input: 5 products self normalizing, 2 exact, beside an inverse.
    """
    from snf_tf import Flow, layers

    result = {}
    for size in DIMENSIONS:
        prefix = f"dense_{size}_"
        parts = {
            "products": lambda size=size: _products(DENSE_BATCH, size, with_kernel=3, of_kernel=2),
            "two_products": lambda size=size: _products(DENSE_BATCH, size, with_kernel=1, of_kernel=1),
            "inverse": lambda size=size: _inverse(size),
            "adam_bytes": lambda size=size: _adam_bytes(size**2),
            "adam_bytes_twice": lambda size=size: _adam_bytes(2 * size**2),
        }
        result |= {prefix + name: Case(make) for name, make in parts.items()}
        for name, layer, floor in (
            ("self_normalizing", layers.SelfNormalizingDense, ("products", "adam_bytes_twice")),
            ("exact", layers.ExactDense, ("two_products", "inverse", "adam_bytes")),
        ):

            def make(layer=layer, size=size):
                return _training_step(Flow([layer()], event_shape=(size,)), DENSE_BATCH)

            against = ["exact", "nflows_full", "nflows_lu", "normflows_full", "normflows_lu", "zuko_lu"]
            result[prefix + name] = Case(make, tuple(prefix + part for part in floor), tuple(prefix + other for other in against))
    return result


def _splines(batch):
    """Element-wise splines of 784 elements, forward and backward, against those of TFP and nflows."""
    from snf_tf import layers

    def of_tfp():
        import tensorflow as tf
        import tensorflow_probability as tfp

        from snf_tf import ops

        weights = [tf.Variable(0.01 * tf.random.normal((784, count))) for count in (5, 5, 4)]

        def spline(x):
            knots_x, knots_y, slopes = ops.spline_knots(*weights, 10.0)
            sizes = [tf.transpose(knots[1:] - knots[:-1]) for knots in (knots_x, knots_y)]
            bijector = tfp.bijectors.RationalQuadraticSpline(*sizes, tf.transpose(slopes[1:-1]), range_min=-10.0)
            return bijector.forward(x), bijector.forward_log_det_jacobian(x, event_ndims=1)

        return _gradient_step(spline, weights, batch)

    def ours():
        layer = layers.SplineActivation(5, 10.0)
        layer.build((None, 784))
        return _gradient_step(layer, [weight.value for weight in layer.trainable_weights], batch)

    return {"spline": Case(ours, against=("spline_tfp", "spline_nflows")), "spline_tfp": Case(of_tfp)}


def _sampling():
    from snf_tf import models

    result = {}
    for n in (1, 100):
        result[f"sample_fc_products_{n}"] = Case(lambda n=n: _products(n, 784, with_kernel=2, of_kernel=0))
        result[f"sample_conv_convolutions_{n}"] = Case(lambda n=n: _convolutions(n, 1))
        for name, model, floor in (
            ("fc", models.fully_connected, f"sample_fc_products_{n}"),
            ("conv", models.convolutional, f"sample_conv_convolutions_{n}"),
        ):
            for inverse in ("learned", "exact"):

                def make(model=model, n=n, exact=inverse == "exact"):
                    flow = model()
                    return lambda: flow.sample(n, exact=exact, seed=0).numpy()

                result[f"sample_{name}_{inverse}_{n}"] = Case(make, (floor,))
    return result


def _banded(batch):
    """Exact log-determinants, their gradients and solves of 3x3 convolutions, against the dense matrix."""
    from snf_tf import ops

    result = {}
    for image in _IMAGES:
        size = "x".join(map(str, image))
        for suffix, log_det, solve in (
            ("", ops.conv2d_log_det, ops.conv2d_solve),
            ("_dense", ops.conv2d_log_det_dense, ops.conv2d_solve_dense),
        ):
            for name, make in {
                f"log_det_{size}": functools.partial(_log_det, log_det, image),
                f"log_det_gradient_{size}": functools.partial(_log_det, log_det, image, gradient=True),
                f"solve_{size}": functools.partial(_solve, solve, image, batch),
            }.items():
                result[name + suffix] = Case(make, against=(f"{name}_dense",))
    return result


def _products(batch, size, with_kernel, of_kernel):
    """Products (batch, size) x (size, size), and (batch, size)^T x (batch, size)."""
    import tensorflow as tf

    x, kernel = tf.random.normal((batch, size)), tf.random.normal((size, size))

    @tf.function
    def step():
        # Different x, or TensorFlow would do the product once.
        forward = [tf.matmul(x + float(i), kernel) for i in range(with_kernel)]
        backward = [tf.matmul(x + float(i), x, transpose_a=True) for i in range(of_kernel)]
        return [tf.reduce_max(y[0]) for y in forward + backward]

    return lambda: [value.numpy() for value in step()]


def _convolutions(batch, each):
    """`each` times the 3 x 3 convolutions of the 9-layer model."""
    import tensorflow as tf

    from snf_tf import ops

    inputs = [(tf.random.normal((batch, *image)), tf.random.normal((3, 3, image[2], image[2]))) for image in _CONVOLUTIONS]

    @tf.function
    def step():
        outputs = [ops.conv2d(x + float(i), kernel) for x, kernel in inputs for i in range(each)]
        return tf.add_n([tf.reduce_max(y[0]) for y in outputs])

    return lambda: step().numpy()


def _convolutions_and_gradients(shapes_and_kernels, batch):
    import tensorflow as tf

    from snf_tf import ops

    inputs = [(tf.random.normal((batch, *shape)), tf.constant(kernel)) for shape, kernel in shapes_and_kernels]

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            total = tf.add_n([tf.reduce_sum(ops.conv2d(x, kernel)) for x, kernel in inputs])
        return [tf.reduce_max(gradient) for pair in tape.gradient(total, inputs) for gradient in pair]

    return lambda: [value.numpy() for value in step()]


def _adam_bytes(weights):
    """An addition in place that moves the bytes that Adam does.

    Adam reads gradient, weight and two moments, and writes weight and moments: 7 numbers a weight; the addition moves 3.
    """
    import tensorflow as tf

    target, change = tf.Variable(tf.zeros(7 * weights // 3)), tf.zeros(7 * weights // 3)

    @tf.function
    def step():
        target.assign_add(change)
        return target[0]

    return lambda: step().numpy()


def _inverse(size):
    import tensorflow as tf

    matrix = tf.random.normal((size, size))
    inverse = tf.function(lambda: tf.linalg.inv(matrix)[0, 0])
    return lambda: inverse().numpy()


def _training_step(flow, batch):
    """A step as Keras' fit does it; the loss is fetched, so that the step is done when it returns."""
    import numpy as np
    import tensorflow as tf

    import snf_tf

    flow.compile(optimizer=snf_tf.optimizers.Adam(1e-4, epsilon=1e-8), jit_compile=False)
    random = np.random.RandomState(0)
    if len(flow.event_shape) == 3:
        examples = random.randint(0, 256, (batch, *flow.event_shape)).astype("uint8")
    else:
        examples = random.standard_normal((batch, *flow.event_shape)).astype("float32")
    data = iter(tf.data.Dataset.from_tensors(examples).repeat())
    # As fit does it: variables that a traced function creates are traced twice.
    flow.optimizer.build(flow.trainable_variables)
    flow.make_train_function()
    return lambda: {name: float(value) for name, value in flow.train_function(data).items()}


def _gradient_step(function, weights, batch):
    """The gradients of a function's values and log-determinants with respect to x and weights."""
    import tensorflow as tf

    x = tf.random.normal((batch, 784))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch([x, *weights])
            z, log_det = function(x)
            loss = tf.reduce_sum(z) - tf.reduce_sum(log_det)
        return [tf.reduce_max(gradient) for gradient in tape.gradient(loss, [x, *weights])]

    return lambda: [value.numpy() for value in step()]


def _kernel(image):
    import numpy as np
    import tensorflow as tf

    kernel = 0.05 * np.random.RandomState(0).randn(3, 3, image[2], image[2])
    kernel[1, 1] += np.eye(image[2])
    return tf.constant(kernel, tf.float32)


def _log_det(log_det, image, gradient=False):
    import tensorflow as tf

    kernel = _kernel(image)

    @tf.function
    def compute(kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            value = log_det(kernel, image)
        return tape.gradient(value, kernel) if gradient else value

    return lambda: compute(kernel).numpy()


def _solve(solve, image, batch):
    import tensorflow as tf

    kernel, z = _kernel(image), tf.random.normal((batch, *image))
    compute = tf.function(lambda z, kernel: solve(z, kernel))
    return lambda: compute(z, kernel).numpy()
