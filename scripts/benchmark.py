"""Times what a user of the library waits for, each beside its floor or its dense counterpart, all in one run.

    python scripts/benchmark.py                    # all cases
    python scripts/benchmark.py --cases='fc|conv'  # those whose names match

The floor of a fully connected step is what it cannot avoid, measured in the same run: its matrix products, at the rate of
TensorFlow's own products of these shapes, and the bytes that Adam moves, at the rate of a copy in memory. A self normalizing step
of two layers needs 12 products (batch, D, D), 6 a layer; Adam reads gradient, weight and two moments, and writes weight and
moments: 7 numbers a weight.

Prints a line of JSON for each case, then a table. Times are medians, of all cases in turn, so that a noisy machine meets all alike.
The first call of each, with TensorFlow's tracing, is told apart.
"""

import json
import re
import time

import command_line
from absl import flags

_CASES = flags.DEFINE_string("cases", ".", "A regular expression: the names of the cases to time.")
_BATCH = flags.DEFINE_integer("batch_size", 100, "Examples in a training step.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 40, "Timed calls of each case.", lower_bound=1)
_WARM_UP = 5
_IMAGES = ((28, 28, 1), (14, 14, 4), (7, 7, 16), (16, 16, 12), (32, 32, 3))


def main(_) -> None:
    start = time.perf_counter()
    from tqdm import tqdm

    cases = {name: make for name, make in _cases().items() if re.search(_CASES.value, name)}
    if not cases:
        raise ValueError(f"No case matches. Received: --cases={_CASES.value}; there are {', '.join(_cases())}")
    calls, first = {}, {}
    for name, make in tqdm(cases.items(), desc="first calls", disable=None):
        begin = time.perf_counter()
        calls[name] = make()
        calls[name]()
        first[name] = time.perf_counter() - begin
    times: dict[str, list[float]] = {name: [] for name in calls}
    for index in tqdm(range(_WARM_UP + _REPEATS.value), desc="timed calls", disable=None):
        for name, call in calls.items():
            # What takes long needs fewer repeats.
            if index >= _WARM_UP and sum(times[name]) > 20e3:
                continue
            begin = time.perf_counter()
            call()
            if index >= _WARM_UP:
                times[name].append(1e3 * (time.perf_counter() - begin))
    _report({name: sorted(values)[len(values) // 2] for name, values in times.items()}, first)
    print(f"Timed {len(cases)} cases; {time.perf_counter() - start:.0f} s.")


def _report(medians, first):
    fc_floor = medians.get("fc_products", 0.0) + medians.get("fc_adam_bytes", 0.0)
    rows = []
    for name, value in medians.items():
        print(json.dumps({"case": name, "batch": _BATCH.value, "ms": round(value, 3), "first_call_s": round(first[name], 2)}))
        if name.startswith("fc_") and fc_floor:
            compared = f"{value / fc_floor:.2f} x the floor, {fc_floor:.1f}"
        elif f"{name}_dense" in medians:
            compared = f"{medians[f'{name}_dense'] / value:.1f} x faster than by the dense matrix"
        else:
            compared = ""
        rows.append(f"| {name} | {value:.2f} | {first[name]:.1f} | {compared} |")
    print("\n| case | ms | first call, s | |\n|---|---|---|---|", *rows, sep="\n")


def _cases():
    """Name -> a function that makes what is timed."""
    from snf_tf import models, ops

    cases = {"fc_products": _products, "fc_adam_bytes": _copy}
    for model, linears in ((models.fully_connected, ("self_normalizing", "relative", "exact")),
                           (models.convolutional, ("self_normalizing", "exact"))):  # fmt: skip
        name = {"fully_connected": "fc", "convolutional": "conv"}[model.__name__]
        for linear in linears:
            cases[f"{name}_{linear}"] = lambda model=model, linear=linear: _training_step(model(linear=linear))
        for n in (1, 100):
            for exact in (False, True):
                case = f"sample_{name}_{'exact' if exact else 'learned'}_{n}"
                cases[case] = lambda model=model, n=n, exact=exact: _sample(model(), n, exact)
    for image in _IMAGES:
        for suffix, log_det, solve in (("", ops.conv2d_log_det, ops.conv2d_solve),
                                       ("_dense", ops.conv2d_log_det_dense, ops.conv2d_solve_dense)):  # fmt: skip
            size = "x".join(map(str, image))
            cases[f"log_det_{size}{suffix}"] = lambda image=image, log_det=log_det: _log_det(log_det, image)
            cases[f"log_det_gradient_{size}{suffix}"] = lambda image=image, log_det=log_det: _log_det(log_det, image, True)
            cases[f"solve_{size}{suffix}"] = lambda image=image, solve=solve: _solve(solve, image)
    return cases


def _products():
    """The 12 products of a self normalizing step: 8 with a kernel, 4 of a kernel's gradient."""
    import tensorflow as tf

    x, kernel = tf.random.normal((_BATCH.value, 784)), tf.random.normal((784, 784))

    @tf.function
    def step():
        forward = [tf.matmul(x + float(i), kernel) for i in range(8)]
        backward = [tf.matmul(x + float(i), x, transpose_a=True) for i in range(4)]
        return [tf.reduce_max(y[0]) for y in forward + backward]

    return lambda: [value.numpy() for value in step()]


def _copy():
    """A copy that moves, reading and writing, the 7 numbers a weight that Adam does."""
    import numpy as np

    weights = 4 * 784**2 + 2 * 784
    source = np.random.RandomState(0).rand(7 * weights // 2).astype("float32")
    target = np.empty_like(source)
    return lambda: np.copyto(target, source)


def _training_step(flow):
    import numpy as np
    import tensorflow as tf

    import snf_tf

    flow.compile(optimizer=snf_tf.optimizers.Adam(1e-4, epsilon=1e-8), jit_compile=False)
    images = np.random.RandomState(0).randint(0, 256, (_BATCH.value, *flow.event_shape)).astype("uint8")
    data = iter(tf.data.Dataset.from_tensors(images).repeat())
    flow.make_train_function()
    # As Keras' fit calls it; the loss is fetched, so that the step is done when it returns.
    return lambda: {name: float(value) for name, value in flow.train_function(data).items()}


def _sample(flow, n, exact):
    return lambda: flow.sample(n, exact=exact, seed=0).numpy()


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


def _solve(solve, image):
    import tensorflow as tf

    kernel, z = _kernel(image), tf.random.normal((_BATCH.value, *image))
    compute = tf.function(lambda z, kernel: solve(z, kernel))
    return lambda: compute(z, kernel).numpy()


if __name__ == "__main__":
    command_line.run(main)
