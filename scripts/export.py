"""Exports a trained flow as a SavedModel, which is used with nothing but TensorFlow.

    python scripts/export.py --run_dir=runs/mnist_fc --output=exported/mnist_fc

In Python then:

    model = tf.saved_model.load("exported/mnist_fc")
    model.sample(n=16, seed=0)  # also temperature=1.0; sample_exact: by the exact inverse
    model.log_prob(x, seed=tf.constant(0, tf.int64))  # exact, in nats
    model.decode(model.encode(x))
"""

import os
import time

import command_line
from absl import flags

_RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Directory of a run that has come to its end.", required=True
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Directory to write; it must not exist yet.", required=True
)
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "A setting that overrides the run's, such as where its data are."
)


def main(_) -> None:
    start = time.perf_counter()
    from snf_tf.serving import export
    from snf_tf.training import load_run

    if os.path.exists(_OUTPUT.value):
        raise FileExistsError(
            f"The directory of a SavedModel must not exist yet. Received: --output={_OUTPUT.value}"
        )
    flow = load_run(_RUN_DIR.value, _GIN_BINDINGS.value)
    print(f"Exporting {flow.count_params():,} parameters of {_RUN_DIR.value} ...", flush=True)
    export(flow, _OUTPUT.value)
    print(f"Exported {_RUN_DIR.value} to {_OUTPUT.value}; {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    command_line.run(main)
