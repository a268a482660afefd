"""Trains a flow as a gin file says.

    python scripts/train.py --gin_file=configs/mnist_fc.gin --gin_bindings=train.epochs=20 \\
        --run_dir=runs/mnist_fc

--gin_bindings changes a setting, and may be given several times. Strings need quotes of their own:

    --gin_bindings='load_dataset.source="files"' --gin_bindings='load_dataset.data_dir="data/mnist"'

A run that is started again with its --run_dir goes on from its last checkpoint.
"""

import datetime
import shlex
import sys
import time
from pathlib import Path

import command_line
from absl import flags

_GIN_FILE = flags.DEFINE_string(
    "gin_file", None, "The experiment, for example configs/mnist_fc.gin.", required=True
)
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "A setting that overrides the file's: NAME=VALUE."
)
_RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Directory of the run; by default a new one, runs/CONFIG-DATE-TIME."
)


def main(_) -> None:
    start = time.perf_counter()
    gin_file = Path(_GIN_FILE.value)
    if not gin_file.is_file():
        raise FileNotFoundError(f"There is no such gin file. Received: --gin_file={gin_file}")
    command_line.import_libraries()
    import gin

    import snf_tf.training

    run_dir = _RUN_DIR.value or f"runs/{gin_file.stem}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    gin.add_config_file_search_path(str(gin_file.parent))
    try:
        gin.parse_config_files_and_bindings([str(gin_file)], _GIN_BINDINGS.value)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"A gin file must be text. Received: --gin_file={gin_file}: {error}"
        ) from None
    try:
        results = snf_tf.training.train(run_dir)
    except snf_tf.training.Interrupted as interrupted:
        print(command_line.message(interrupted), file=sys.stderr)
        sys.exit(128 + interrupted.signal_number)
    print(
        f"Trained {results['epochs']} epochs on {results['sizes']['train']} examples of "
        f"{results['dataset']}, source {results['source']}.\n"
        f"Run: {run_dir}\n"
        f"{command_line.test_likelihood(results)}; "
        f"{time.perf_counter() - start:.0f} s.\n"
        f"{_pictures(run_dir)} To go on: {_command(gin_file, run_dir, 4 * results['epochs'])}"
    )


def _pictures(run_dir):
    """Says what the pictures of a run show."""
    shown = {
        "nll.png": "the nll by epoch",
        "samples/samples.png": "what the flow draws",
        "samples/density.png": "data, samples and the density of the flow",
    }
    found = [f"{run_dir}/{name} ({what})" for name, what in shown.items() if _is_in(run_dir, name)]
    return f"See {', '.join(found)}."


def _is_in(run_dir, name):
    return Path(run_dir, name).is_file()


def _command(gin_file, run_dir, epochs):
    """Returns the command by which a run goes on to more epochs."""
    python = Path(sys.executable)
    given = [b for b in _GIN_BINDINGS.value if not b.replace(" ", "").startswith("train.epochs=")]
    return shlex.join(
        [
            str(python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python),
            sys.argv[0],
            f"--gin_file={gin_file}",
            f"--run_dir={run_dir}",
            *(f"--gin_bindings={binding}" for binding in [*given, f"train.epochs={epochs}"]),
        ]
    )


if __name__ == "__main__":
    command_line.run(main)
