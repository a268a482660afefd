"""Gives the scripts a quiet start, and tells mistakes in one message."""

import contextlib
import functools
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from absl import app, flags, logging

# What names of likelihoods end in: exact ones in nothing.
LIKELIHOOD_KINDS = ("", "_estimate", "_bound")

# What becomes one message; `import_libraries` adds TensorFlow's errors.
_ERRORS = [ValueError, TypeError, OSError, ImportError, SyntaxError, RuntimeError]
_ERRORS += [FloatingPointError]


def run(main: Callable[[list[str]], None], takes_arguments: bool = False) -> None:
    """Runs a script.

    Without --verbosity=1 tracebacks are hidden.

    Args:
        main: Called with the arguments, the script's name first.
        takes_arguments: Whether there may be arguments beside flags.
    """
    app.run(functools.partial(_guarded, main, takes_arguments))


def import_libraries() -> None:
    """Imports TensorFlow and snf_tf, which takes seconds: call it after the flags are checked.

    Without --verbosity=1 what TensorFlow prints at its start is hidden.

    Raises:
        KeyboardInterrupt: At Ctrl-C, which libraries may drop while they are loaded.
    """
    received = []

    def note(number, frame):
        received.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        with without_stderr():
            import tensorflow as tf

            import snf_tf.training  # noqa: F401
    except ImportError as error:
        # A Ctrl-C that reaches a library of C++ while it is loaded becomes its error.
        if received:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    # Python drops what is raised in a destructor.
    if received:
        raise KeyboardInterrupt
    _ERRORS.append(tf.errors.OpError)


def one_of(**values):
    """Returns the name of the one flag that is given; exits where none or several are given."""
    given = [name for name, value in values.items() if value]
    if len(given) != 1:
        sys.exit(
            f"{_script()}: give {' or '.join(f'--{name}=...' for name in values)}, one of them; "
            "--help says more."
        )
    return given[0]


def require_file(flag: str, path: str | Path, suffix: str = "") -> Path:
    """Returns the path of a file to write, before work is done for it.

    Args:
        flag: Its flag, for messages.
        path: As given.
        suffix: That the file gets.

    Raises:
        ValueError: If it is a directory, or its directory cannot be made or written.
    """
    path = Path(path)
    reason = None
    if not path.name or path.is_dir():
        reason = "it is a directory"
    else:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = str(error)
        else:
            reason = None if os.access(path.parent, os.W_OK) else "its directory cannot be written"
    if reason:
        raise ValueError(f"{flag} must be a file to write. Received: {flag}={path}: {reason}")
    return path.with_suffix(suffix) if suffix else path


def message(error: BaseException) -> str:
    """Returns the message of an error without what gin adds."""
    lines = str(error).splitlines()
    return "\n".join(line for line in lines if not line.startswith("  In call to configurable"))


def load_saved_model(path: str):
    """Loads what scripts/export.py has written; raises a ValueError for anything else."""
    import tensorflow as tf

    try:
        model = tf.saved_model.load(path)
        missing = [name for name in ("sample", "encode", "decode") if not hasattr(model, name)]
        reason = f"it has no {', '.join(missing)}" if missing else None
    # TensorFlow raises errors of many kinds.
    except Exception as error:
        reason = f"it is damaged, or none: {str(error).partition(chr(10))[0]}"
    if reason:
        raise ValueError(
            "--saved_model must be a directory that scripts/export.py has written. "
            f"Received: --saved_model={path}: {reason}"
        )
    return model


def data_of_saved_model(bindings):
    """Reads the settings of load_dataset that a SavedModel needs beside it."""
    import gin

    if not bindings:
        raise ValueError(
            "A SavedModel does not know its data: give "
            "--gin_bindings='load_dataset.name=\"mnist\"', or the like."
        )
    gin.parse_config(bindings)


def _guarded(main, takes_arguments, arguments):
    verbose = flags.FLAGS.verbosity > 0
    if arguments[1:] and not takes_arguments:
        sys.exit(f"{_script()}: takes flags alone. Received: {' '.join(arguments[1:])}")
    if not verbose:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # gin reports every directory in which it does not find a file.
        logging.set_verbosity(logging.FATAL)
        warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        main(arguments)
    except KeyboardInterrupt:
        print(
            f"{_script()}: stopped by Ctrl-C. A run goes on if it is started again with the same "
            "--run_dir.",
            file=sys.stderr,
        )
        sys.exit(130)
    except tuple(_ERRORS) as error:
        if verbose:
            raise
        lines = [message(error)]
        if isinstance(error, SyntaxError):
            given = ", ".join(flags.FLAGS.get_flag_value("gin_bindings", []))
            lines.append("Strings need quotes of their own: --gin_bindings='NAME=\"VALUE\"'.")
            lines.append(f"Received: --gin_bindings={given}")
        sys.exit(f"{_script()}: " + "\n".join([*lines, "(--verbosity=1 shows where.)"]))


def _script():
    return Path(sys.argv[0]).name


@contextlib.contextmanager
def without_stderr():
    """Hides what TensorFlow's C++ code prints, unless --verbosity=1; it has no setting for it."""
    if flags.FLAGS.verbosity > 0:
        yield
        return
    stderr = os.dup(2)
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def context_of(model, dataset, split: str):
    """Returns what a model takes beside the examples of a split: contexts, labels or None.

    Args:
        model: `snf_tf.serving.Endpoints`, or a loaded SavedModel.
        dataset: Its data.
        split: "train", "validation" or "test".
    """
    from snf_tf.serving import context_kind

    kind = context_kind(model)
    if kind is None:
        return None
    found = getattr(dataset, f"{split}_{'labels' if kind == 'label' else 'context'}")
    if found is None:
        raise ValueError(
            f"This flow needs a {kind} for every example. Received: {dataset.name} from "
            f"{dataset.source}, which has none"
        )
    return found


def likelihood_kind(results: Mapping, name: str) -> str:
    """Returns what the name of a likelihood ends in: nothing where it is exact."""
    return next(kind for kind in LIKELIHOOD_KINDS if f"{name}{kind}" in results)


def test_likelihood(results: dict) -> str:
    """Says the likelihoods of `results.json` in words, with their kind."""
    kind = likelihood_kind(results, "test_nll")
    words = kind.replace("_", " ")
    error = results.get(f"test_nll{kind}_standard_error")
    return (
        f"Test nll{words} {results[f'test_nll{kind}']:.2f}"
        + (f" +- {error:.2f}" if error is not None else "")
        + f" nats, {results[f'test_bits_per_dim{kind}']:.4f} bits/dim; "
        f"best validation nll{words} {results[f'best_val_nll{kind}']:.2f} nats"
        + "".join(
            f"; {words} {results[name]:.4f}"
            for name, words in (
                ("test_accuracy", "accuracy"),
                ("test_bayes_accuracy", "accuracy by Bayes' rule"),
            )
            if name in results
        )
    )
