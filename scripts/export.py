"""Exports a trained flow: as a SavedModel for TensorFlow, for LiteRT, or for ONNX.

    python scripts/export.py --run_dir=runs/mnist_fc --output=exported/mnist_fc

In Python then:

    model = tf.saved_model.load("exported/mnist_fc")
    model.sample(n=16, seed=0)  # also temperature=1.0; sample_exact: by the exact inverse
    model.log_prob(x, seed=tf.constant(0, tf.int64))  # exact, in nats
    model.decode(model.encode(x))

`--format=litert` writes one file, `--format=onnx` a directory of files; both need the packages of
the extra `export`. docs/export.md tells what they hold.
"""

import os
import time

import command_line
from absl import flags

_RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Directory of a run that has come to its end.", required=True
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Directory to write, or the file of --format=litert; it must not exist yet.",
    required=True,
)
_FORMAT = flags.DEFINE_enum("format", "saved_model", ["saved_model", "litert", "onnx"], "Format.")
_METHODS = flags.DEFINE_list(
    "methods",
    None,
    "What litert and onnx hold: some of sample, encode, log_prob (these by default), decode, "
    "decode_approximate.",
)
_WEIGHTS = flags.DEFINE_enum(
    "weights", None, ["float32", "float16"], "How litert stores weights; float32 by default."
)
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "A setting that overrides the run's, such as where its data are."
)


def main(_) -> None:
    start = time.perf_counter()
    options = {"methods": _METHODS.value, "weights": _WEIGHTS.value}
    options = {name: value for name, value in options.items() if value is not None}
    taken = {"saved_model": set(), "litert": {"methods", "weights"}, "onnx": {"methods"}}
    if wrong := options.keys() - taken[_FORMAT.value]:
        given = ", ".join(f"--{name}={flags.FLAGS[name].value}" for name in sorted(wrong))
        raise ValueError(f"--format={_FORMAT.value} takes no such flag. Received: {given}")
    if os.path.exists(_OUTPUT.value):
        raise FileExistsError(
            f"What is written must not exist yet. Received: --output={_OUTPUT.value}"
        )
    command_line.import_libraries()
    from snf_tf import serving
    from snf_tf.training import load_run

    write = {
        "saved_model": serving.export,
        "litert": serving.export_litert,
        "onnx": serving.export_onnx,
    }[_FORMAT.value]
    flow = load_run(_RUN_DIR.value, _GIN_BINDINGS.value)
    print(f"Exporting {flow.count_params():,} parameters of {_RUN_DIR.value} ...", flush=True)
    for method, difference in (write(flow, _OUTPUT.value, **options) or {}).items():
        print(f"{method}: differs from the flow by at most {difference:.2g} on 4 rows")
    print(f"Exported {_RUN_DIR.value} to {_OUTPUT.value}; {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    command_line.run(main)
