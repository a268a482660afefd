"""Times what a user waits for: the first step, evaluation, samples and likelihood of a flow.

All models, each in a process of its own, or one:

    python scripts/benchmark_start.py
    python scripts/benchmark_start.py --model=plane

Seconds of the first step count from the construction of the flow: building, compiling, tracing and
one step of batch 100. `nodes` counts the operations of the training step's graph, those of
functions that it calls once each.
"""

import json
import subprocess
import sys
import time

import command_line
from absl import flags

_MODELS = ("plane", "fc", "conv", "glow")
_MODEL = flags.DEFINE_enum("model", None, _MODELS, "The model to time; by default all.")
_BATCH = 100


def main(_) -> None:
    if _MODEL.value:
        print(json.dumps(_times(_MODEL.value)))
        return
    print("| model | first step, s | evaluate, s | sample, s | log_prob, s | nodes |")
    print("|---|---|---|---|---|---|")
    for name in _MODELS:
        command = [sys.executable, __file__, f"--model={name}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        print("| " + " | ".join(map(str, json.loads(done.stdout).values())) + " |", flush=True)


def _times(name):
    command_line.import_libraries()
    import numpy as np
    import tensorflow as tf

    import snf_tf

    random = np.random.default_rng(0)
    if name == "plane":
        x = random.standard_normal((_BATCH, 2)).astype("float32")
    else:
        x = random.integers(0, 256, (_BATCH, 28, 28, 1)).astype("uint8")
    times = {"model": name}
    # TensorFlow starts with its first operation.
    tf.add(1.0, 1.0).numpy()

    def timed(action):
        start = time.perf_counter()
        result = action()
        return result, round(time.perf_counter() - start, 2)

    def first_step():
        flow = _flow(name)
        flow.compile(snf_tf.optimizers.Adam(1e-3))
        flow.initialize(x)
        flow.fit(x, batch_size=_BATCH, verbose=0)
        return flow

    flow, times["first_step"] = timed(first_step)
    _, times["evaluate"] = timed(lambda: flow.evaluate(x))
    _, times["sample"] = timed(lambda: flow.sample(10).numpy())
    _, times["log_prob"] = timed(lambda: flow.log_prob(x[:10]).numpy())
    step = tf.function(flow.train_step).get_concrete_function(tf.constant(x))
    graph = step.graph.as_graph_def()
    functions = sum(len(function.node_def) for function in graph.library.function)
    return times | {"nodes": len(graph.node) + functions}


def _flow(name):
    from snf_tf import Flow, layers, models

    if name == "plane":
        pairs = [(layers.ExactDense(), layers.SplineActivation(16)) for _ in range(8)]
        return Flow([layer for pair in pairs for layer in pair], event_shape=(2,))
    makers = {"fc": models.fully_connected, "conv": models.convolutional}
    return makers[name]() if name in makers else models.glow(coupling_width=64)


if __name__ == "__main__":
    command_line.run(main)
