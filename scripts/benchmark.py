"""Times training steps of the 2-layer fully connected flow on MNIST's shapes against their floor.

    python scripts/benchmark.py

The floor of a step is what it cannot avoid, measured in the same run: its matrix products, at the rate of TensorFlow's own
products of these shapes, and the bytes that Adam moves, at the rate of a copy in memory. A step of the self normalizing flow needs
12 products (batch, D, D), 6 a layer; Adam reads gradient, weight and two moments, and writes weight and moments: 7 numbers a
weight. Prints a line of JSON for each case, then a table. Times are medians of single steps, of all cases in turn, so that a noisy
machine meets all alike.
"""

import json
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

import snf_tf

_BATCH = flags.DEFINE_integer("batch_size", 100, "Examples in a step.")
_STEPS = flags.DEFINE_integer("steps", 60, "Timed steps of each case.")
_WARM_UP = 10


def main(_) -> None:
    images = np.random.RandomState(0).randint(0, 256, (_BATCH.value, 28, 28, 1)).astype("uint8")
    steps = {"products": _products(_BATCH.value), "copy": _copy()}
    steps |= {linear: _training_step(linear, images) for linear in ("self_normalizing", "relative", "exact")}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for index in range(_WARM_UP + _STEPS.value):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if index >= _WARM_UP:
                times[name].append(1e3 * (time.perf_counter() - start))
    medians = {name: float(np.median(values)) for name, values in times.items()}
    floor = medians["products"] + medians["copy"]
    for name, value in medians.items():
        print(json.dumps({"case": f"fc_{name}", "batch": _BATCH.value, "ms": round(value, 3)}))
    print("\n| step | ms | times the floor |\n|---|---|---|")
    print(f"| floor: 12 products {medians['products']:.1f} + Adam's bytes {medians['copy']:.1f} | {floor:.1f} | 1 |")
    for name in ("self_normalizing", "relative", "exact"):
        print(f"| {name} | {medians[name]:.1f} | {medians[name] / floor:.2f} |")


def _products(batch_size):
    """The 12 products of a self normalizing step: 8 with a kernel, 4 of a kernel's gradient."""
    x, kernel = tf.random.normal((batch_size, 784)), tf.random.normal((784, 784))

    @tf.function
    def step():
        forward = [tf.matmul(x + float(i), kernel) for i in range(8)]
        backward = [tf.matmul(x + float(i), x, transpose_a=True) for i in range(4)]
        return [tf.reduce_max(y[0]) for y in forward + backward]

    return lambda: [value.numpy() for value in step()]


def _copy():
    """A copy that moves, reading and writing, the 7 numbers a weight that Adam does."""
    weights = 4 * 784**2 + 2 * 784
    source = np.random.RandomState(0).rand(7 * weights // 2).astype("float32")
    target = np.empty_like(source)
    return lambda: np.copyto(target, source)


def _training_step(linear, images):
    flow = snf_tf.models.fully_connected(linear=linear)
    flow.compile(optimizer=keras.optimizers.Adam(1e-4, epsilon=1e-8))
    data = iter(tf.data.Dataset.from_tensors(images).repeat())
    flow.make_train_function()
    # As Keras' fit calls it; the loss is fetched, so that the step is done when it returns.
    return lambda: {name: float(value) for name, value in flow.train_function(data).items()}


if __name__ == "__main__":
    app.run(main)
