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
import signal
import sys
import time
from pathlib import Path

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
_ALL_METHODS = ("sample", "encode", "log_prob", "decode", "decode_approximate")
_METHODS = flags.DEFINE_list(
    "methods",
    None,
    f"What litert and onnx hold: some of {', '.join(_ALL_METHODS)}; the first three by default.",
)
flags.register_validator(
    "methods",
    lambda given: given is None or (given and set(given) <= set(_ALL_METHODS)),
    message=f"must be some of {', '.join(_ALL_METHODS)}",
)
_WEIGHTS = flags.DEFINE_enum(
    "weights", None, ["float32", "float16"], "How litert stores weights; float32 by default."
)
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "A setting that overrides the run's, such as where its data are."
)


def main(_) -> None:
    start = time.perf_counter()
    # Stopped, it still removes what it has begun to write.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    options = {"methods": _METHODS.value, "weights": _WEIGHTS.value}
    options = {name: value for name, value in options.items() if value is not None}
    taken = {"saved_model": set(), "litert": {"methods", "weights"}, "onnx": {"methods"}}
    if wrong := options.keys() - taken[_FORMAT.value]:
        given = ", ".join(f"--{name}={flags.FLAGS[name].value}" for name in sorted(wrong))
        raise ValueError(f"--format={_FORMAT.value} takes no such flag. Received: {given}")
    output = Path(_OUTPUT.value).absolute()
    above = next((path for path in output.parents if path.exists()), output)
    if os.path.lexists(output) or not (above.is_dir() and os.access(above, os.W_OK)):
        raise FileExistsError(
            "--output must not exist yet, in a directory that can be written. "
            f"Received: --output={_OUTPUT.value}"
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
    with command_line.without_stderr():
        differences = write(flow, _OUTPUT.value, **options) or {}
    for method, difference in differences.items():
        print(f"{method}: differs from the flow by at most {difference:.2g} on 4 rows")
    print(f"Exported {_RUN_DIR.value} to {_OUTPUT.value}; {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    command_line.run(main)
