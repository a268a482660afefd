"""What is reported with several replicas is what one device reports."""

import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import sys
import keras, numpy as np, tensorflow as tf
replicas, name, rows = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 8)
import snf_tf
from snf_tf import layers, networks
method = layers.LearnedInverse(name) if name in ("geco", "mdmm") else name
devices = [f"CPU:{i}" for i in range(replicas)]
strategy = tf.distribute.MirroredStrategy(devices) if replicas > 1 else tf.distribute.get_strategy()
keras.utils.set_random_seed(0)
def make_layer():
    if name != "pair":
        return layers.SelfNormalizingDense(inverse_method=method)
    return layers.SelfNormalizingPair(
        networks.ResidualNetwork((8,)), networks.ResidualNetwork((8,)), "russian_roulette",
        penalty="geco", jacobian_penalty=0.1, noise=0.1, prior_weight=0.1)
with strategy.scope():
    if name == "variational":
        noise = layers.Autoregressive(widths=(8, 8), context_shape=(4,))
        dequantize = layers.VariationalDequantize(noise, bins=8)
        parts = [dequantize, layers.Scale(1 / 8), layers.ExactDense()]
    else:
        parts = [make_layer(), layers.SmoothLeakyReLU(), make_layer()]
    flow = snf_tf.Flow(parts, event_shape=(4,))
    random = np.random.RandomState(1)
    for layer in flow.bijections[::2]:
        for weight in layer.trainable_weights[:2]:
            weight.assign(weight + random.randn(*weight.shape) * 0.3)
    flow.compile(optimizer=keras.optimizers.SGD(0.01))
x = np.random.RandomState(0).randn(2 * rows, 4).astype("float32")
if name == "variational":
    x = np.random.RandomState(0).randint(0, 8, x.shape)
seen = []
callback = keras.callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: seen.append(logs))
history = flow.fit(tf.data.Dataset.from_tensor_slices(x).batch(rows), epochs=2, verbose=0,
                   callbacks=[callback])
print("RESULT", *history.history["surrogate"], *history.history["loss"],
      *[logs["surrogate"] for logs in seen], *flow.get_weights()[0].ravel(),
      *[float(value.numpy()) for value in getattr(flow.bijections[0], "inverse_state", {}).values()
        if len(value.shape) == 0])
"""


def results(replicas, method, rows):
    command = [sys.executable, "-c", SCRIPT, str(replicas), method, str(rows)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    return np.array(line.split()[1:], float)


@pytest.mark.parametrize(
    ("replicas", "method", "rows"),
    [
        (2, "learned", 16),
        pytest.param(2, "geco", 15, marks=pytest.mark.slow),
        pytest.param(2, "variational", 15, marks=pytest.mark.slow),
        pytest.param(2, "pair", 15, marks=pytest.mark.slow),
        pytest.param(2, "mdmm", 15, marks=pytest.mark.slow),
        pytest.param(2, "projected", 15, marks=pytest.mark.slow),
        pytest.param(4, "learned", 14, marks=pytest.mark.slow),
        pytest.param(8, "learned", 19, marks=pytest.mark.slow),
        pytest.param(8, "projected", 16, marks=pytest.mark.slow),
    ],
)
def test_the_surrogate_is_that_of_one_device(replicas, method, rows):
    one, several = (results(count, method, rows) for count in (1, replicas))
    np.testing.assert_allclose(several, one, rtol=1e-5, atol=1e-6)
