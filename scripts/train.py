"""Trains a flow as a gin file says.

    python scripts/train.py --gin_file=configs/mnist_fc.gin --gin_bindings=train.epochs=20 --run_dir=runs/mnist_fc

Single settings are changed by --gin_bindings, as often as needed; strings need quotes of their own:
    --gin_bindings='load_dataset.source="files"' --gin_bindings='load_dataset.data_dir="data/mnist"'
A run that is started again with its --run_dir goes on from its last checkpoint.
"""

import contextlib
import datetime
import os
import sys
import time
import warnings
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import gin
from absl import app, flags, logging

_GIN_FILE = flags.DEFINE_string("gin_file", None, "The experiment, for example configs/mnist_fc.gin.", required=True)
_GIN_BINDINGS = flags.DEFINE_multi_string("gin_bindings", [], "A setting that overrides the file's: NAME=VALUE.")
_RUN_DIR = flags.DEFINE_string("run_dir", None, "Directory of the run; by default a new one, runs/CONFIG-DATE-TIME.")


def main(_) -> None:
    start = time.perf_counter()
    verbose = flags.FLAGS.verbosity > 0
    if not verbose:
        # gin reports every directory in which it does not find a file.
        logging.set_verbosity(logging.FATAL)
        warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    with contextlib.nullcontext() if verbose else _without_stderr():
        import tensorflow as tf

        import snf_tf.training

    gin_file = Path(_GIN_FILE.value)
    run_dir = _RUN_DIR.value or f"runs/{gin_file.stem}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    try:
        if not gin_file.is_file():
            raise FileNotFoundError(f"There is no such gin file. Received: --gin_file={gin_file}")
        gin.add_config_file_search_path(str(gin_file.parent))
        gin.parse_config_files_and_bindings([str(gin_file)], _GIN_BINDINGS.value)
        results = snf_tf.training.train(run_dir)
    except snf_tf.training.Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        sys.exit(128 + interrupted.signal_number)
    except (ValueError, OSError, SyntaxError, RuntimeError, FloatingPointError, tf.errors.OpError) as error:
        if verbose:
            raise
        lines = [line for line in str(error).splitlines() if not line.startswith("  In call to configurable")]
        if isinstance(error, SyntaxError):
            lines.append("Strings need quotes of their own: --gin_bindings='NAME=\"VALUE\"'.")
        sys.exit("train.py: " + "\n".join([*lines, "(--verbosity=1 shows where.)"]))
    print(
        f"Trained {results['epochs']} epochs on {results['sizes']['train']} images of {results['dataset']}, source "
        f"{results['source']}.\n"
        f"Samples: {run_dir}/samples/samples.png\n"
        f"Run: {run_dir}\n"
        f"Test nll {results['test_nll']:.2f} nats, {results['test_bits_per_dim']:.4f} bits/dim; best validation nll "
        f"{results['best_val_nll']:.2f} nats; {time.perf_counter() - start:.0f} s."
    )


@contextlib.contextmanager
def _without_stderr():
    """Hides what TensorFlow's C++ code prints while it is imported, which no setting of its own does."""
    stderr = os.dup(2)
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


if __name__ == "__main__":
    app.run(main)
