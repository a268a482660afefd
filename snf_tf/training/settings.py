"""The settings of `train`, checked before anything is done."""

from collections.abc import Callable, Mapping
from typing import Any

import gin

from snf_tf._checks import check_choice, check_flag, check_integer, check_number, refuse
from snf_tf.flow.checking import check_verbose

_DTYPE_POLICIES = ("float32", "float64", "mixed_float16", "mixed_bfloat16")
_EXAMPLES = {
    "model": "@fully_connected",
    "dataset": "@my_function",
    "augmentation": "@flip_and_shift",
}


def check_settings(
    given: Mapping[str, Any], functions: Mapping[str, Callable[..., Any] | None]
) -> None:
    """Checks the arguments of `train`; its optimizer checks its own.

    Args:
        given: Arguments by name.
        functions: Those that are functions, by name.

    Raises:
        ValueError: If an argument is none of what is allowed, or gin sets what the caller gives.
    """
    for name in ("epochs", "batch_size", "statistics_epochs"):
        check_integer(name, given[name], 1)
    for name in ("steps_per_epoch", "gradient_accumulation_steps", "patience"):
        check_integer(name, given[name], 1, optional=True)
    check_integer("warmup_steps", given["warmup_steps"], 0, optional=True)
    check_number("warmup_epochs", given["warmup_epochs"], at_least=0)
    check_number("checkpoint_seconds", given["checkpoint_seconds"], at_least=0)
    if given["verbose"] is not None:
        check_verbose(given["verbose"])
    check_integer("seed", given["seed"], 0, at_most=2**32 - 1)
    check_flag("jit_compile", given["jit_compile"])
    check_flag("multi_worker", given["multi_worker"])
    check_choice("dtype_policy", given["dtype_policy"], _DTYPE_POLICIES)
    check_choice("conditional_on", given["conditional_on"], (None, "label", "context"))
    for name, function in functions.items():
        if not callable(function) and (function is not None or name == "model"):
            refuse(name, function, f"a function, in gin such as {_EXAMPLES[name]}")
    if "run_dir" in gin.get_bindings("train"):
        raise ValueError(
            "run_dir must be given by the caller, in scripts/train.py as --run_dir, and not by "
            "gin. Received: a binding of train.run_dir"
        )


def check_model(model: Callable[..., Any], dtype_policy: str) -> None:
    """Checks what a flow is built by; bindings of what the builder's caller gives do nothing.

    Raises:
        ValueError: If model is no function, dtype_policy is unknown, or gin sets event_shape or
            seed of the model.
    """
    check_choice("dtype_policy", dtype_policy, _DTYPE_POLICIES)
    if not callable(model):
        refuse("model", model, f"a function, in gin such as {_EXAMPLES['model']}")
    try:
        bindings = gin.get_bindings(model)
    except ValueError:
        # A function that gin does not know has no bindings.
        return
    if names := sorted({"event_shape", "seed"} & set(bindings)):
        raise ValueError(
            "event_shape must be left to the data, and seed to train.seed. "
            f"Received: bindings of the model's {' and '.join(names)}"
        )
