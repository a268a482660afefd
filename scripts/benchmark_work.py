"""Makes the pieces of work that `benchmark.py` times; each function returns one to call."""


def products(batch, size, with_kernel, of_kernel):
    """Makes products (batch, size) x (size, size), and (batch, size)^T x (batch, size)."""
    import tensorflow as tf

    x, kernel = tf.random.normal((batch, size)), tf.random.normal((size, size))

    @tf.function
    def step():
        # Different x, or TensorFlow would do the product once.
        forward = [tf.matmul(x + float(i), kernel) for i in range(with_kernel)]
        backward = [tf.matmul(x + float(i), x, transpose_a=True) for i in range(of_kernel)]
        return [tf.reduce_max(y[0]) for y in forward + backward]

    return lambda: [value.numpy() for value in step()]


def convolutions(images, batch, each):
    """Makes `each` 3 x 3 convolutions of every kind of images."""
    import tensorflow as tf

    from snf_tf import ops

    inputs = [
        (tf.random.normal((batch, *image)), tf.random.normal((3, 3, image[2], image[2])))
        for image in images
    ]

    @tf.function
    def step():
        outputs = [ops.conv2d(x + float(i), kernel) for x, kernel in inputs for i in range(each)]
        return tf.add_n([tf.reduce_max(y[0]) for y in outputs])

    return lambda: step().numpy()


def convolutions_and_gradients(shapes_and_kernels, batch):
    import tensorflow as tf

    from snf_tf import ops

    inputs = [
        (tf.random.normal((batch, *shape)), tf.constant(kernel))
        for shape, kernel in shapes_and_kernels
    ]

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            total = tf.add_n([tf.reduce_sum(ops.conv2d(x, kernel)) for x, kernel in inputs])
        return [
            tf.reduce_max(gradient) for pair in tape.gradient(total, inputs) for gradient in pair
        ]

    return lambda: [value.numpy() for value in step()]


def adam_bytes(weights):
    """Makes an addition in place that moves as many bytes as Adam.

    Adam reads gradient, weight and two moments, and writes weight and moments: 7 numbers a weight.
    The addition moves 3.
    """
    import tensorflow as tf

    target, change = tf.Variable(tf.zeros(7 * weights // 3)), tf.zeros(7 * weights // 3)

    @tf.function
    def step():
        target.assign_add(change)
        return target[0]

    return lambda: step().numpy()


def inverse(size):
    import tensorflow as tf

    matrix = tf.random.normal((size, size))
    inverse = tf.function(lambda: tf.linalg.inv(matrix)[0, 0])
    return lambda: inverse().numpy()


def training_step(flow, batch, steps=1):
    """Makes some steps of Keras' fit; fetching the loss waits until they are done."""
    import numpy as np
    import tensorflow as tf

    import snf_tf

    optimizer = snf_tf.optimizers.Adam(1e-4, epsilon=1e-8)
    flow.compile(optimizer=optimizer, jit_compile=False, steps_per_execution=steps)
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


def gradient_step(function, weights, batch):
    """Makes the gradients of a function's values and log-determinants by x and weights."""
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


def log_det(log_det, image, gradient=False):
    import tensorflow as tf

    kernel = _kernel(image)

    @tf.function
    def compute(kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            value = log_det(kernel, image)
        return tape.gradient(value, kernel) if gradient else value

    return lambda: compute(kernel).numpy()


def solve(solve, image, batch):
    import tensorflow as tf

    kernel, z = _kernel(image), tf.random.normal((batch, *image))
    compute = tf.function(lambda z, kernel: solve(z, kernel))
    return lambda: compute(z, kernel).numpy()
