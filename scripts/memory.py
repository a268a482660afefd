"""Measures the memory that gradients of the series of log-determinants take (RF Fig. 3)."""

import subprocess
import sys

GRADIENTS = {
    "series gradient": 'dict(log_det=layers.TruncatedSeries(10, "series"), early=False)',
    "Neumann gradient": "dict(log_det=layers.TruncatedSeries(10), early=False)",
    "series, in the forward pass": 'dict(log_det=layers.TruncatedSeries(10, "series"), early=True)',
    "Neumann, in the forward pass": "dict(log_det=layers.TruncatedSeries(10), early=True)",
}
_STEP = """
import resource, sys
import numpy as np, tensorflow as tf
from snf_tf import Flow, layers, networks
def flow(log_det, early):
    blocks = [
        layers.ResidualBlock(
            networks.LipschitzNetwork(({width}, {width}), kernel_sizes=(3, 1, 3)),
            log_det,
            backward_in_forward=early,
        )
        for _ in range({blocks})
    ]
    return Flow(blocks, event_shape={shape})
made = flow(**{mode})
x = tf.constant(np.random.randn({batch}, *{shape}), tf.float32)
variables = [weight.value for weight in made.trainable_weights]
@tf.function
def step(x):
    with tf.GradientTape() as tape:
        z, log_det = made(x, training=True, seed=0)
        loss = tf.reduce_mean(tf.reduce_sum(z ** 2, axis=1) - log_det)
    return [tf.reduce_max(gradient) for gradient in tape.gradient(loss, variables)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(2):
    step(x)
print("MIB", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def peak(
    gradient: str,
    shape: tuple[int, int, int] = (28, 28, 1),
    blocks: int = 16,
    width: int = 64,
    batch: int = 16,
) -> int:
    """Returns the peak memory of a training step above that at its start, in MiB.

    A process of its own takes two steps, those of building the graph included.

    Args:
        gradient: One of `GRADIENTS`, of series of 10 terms.
        shape: Of an image.
        blocks: Residual blocks.
        width: Hidden channels of each.
        batch: Images in the step.

    Raises:
        RuntimeError: If the process fails.
    """
    values = {"mode": GRADIENTS[gradient], "shape": shape, "blocks": blocks, "width": width}
    script = _STEP
    for name, value in {**values, "batch": batch}.items():
        script = script.replace(f"{{{name}}}", str(value))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    found = [line for line in done.stdout.splitlines() if line.startswith("MIB")]
    if not found:
        raise RuntimeError(f"The step has failed: {done.stderr[-500:]}")
    return int(found[0].split()[1])
