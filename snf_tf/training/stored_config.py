"""A run's configuration is data: what may stand in it, where a run comes from a stranger."""

import sys
import tokenize
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import gin
from gin import config_parser

from snf_tf.layers.options import Option

_LONGEST = 1_000_000
# Numbers of layers, and all sizes: larger ones would take hours, or more memory than there is.
_MOST_LAYERS, _LARGEST_SIZE, _MOST_EXAMPLES = 1_000, 8_192, 1_000_000
_SIZES = ("width", "bins", "classes", "size", "shape", "units", "filters", "channels", "examples")
# Where references may point to.
_PARTS, _DATA = ("snf_tf.layers.", "snf_tf.models.", "snf_tf.networks."), ("snf_tf.data.",)


class _Reference(NamedTuple):
    """`@name`, or `@name()`, or `%name`."""

    name: str
    is_called: bool
    is_macro: bool


class _Delegate(config_parser.ParserDelegate):
    def configurable_reference(self, scoped_name: str, evaluate: bool) -> _Reference:
        return _Reference(scoped_name, evaluate, False)

    def macro(self, name: str) -> _Reference:
        return _Reference(name, False, True)


def parse_stored_config(text: str, origin: str) -> None:
    """Gives gin the bindings of a run's configuration, after it was checked. Nothing is called.

    There may be bindings of this package's functions and classes, to literals, to macros of the
    same text, and to references to this package's functions and classes. Of these only options,
    such as `@GECO()`, may be called, which hold values alone. Sizes are bounded. Functions of
    others must be known to gin before: the user has imported their modules.

    Args:
        text: The configuration.
        origin: The file that it comes from, for messages.

    Raises:
        ValueError: If anything else stands in it.
    """
    if not isinstance(text, str) or len(text) > _LONGEST:
        received = f"{len(text)} characters" if isinstance(text, str) else type(text).__name__
        raise ValueError(
            f"The configuration in {origin} must be text of at most {_LONGEST} characters. "
            f"Received: {received}"
        )
    statements = list(_statements(text, origin))
    checker = _Checker(origin, _macros(statements, origin))
    for statement in statements:
        checker.check(statement)
    gin.parse_config(text)


def _macros(statements: Collection[Any], origin: str) -> dict[str, Any]:
    """Returns the values of macros: each has one, and gin's other spelling of it is a scope."""
    macros: dict[str, Any] = {}
    for statement in statements:
        if isinstance(statement, config_parser.BindingStatement) and not statement.arg_name:
            name = statement.selector
            if statement.scope or name in macros:
                raise ValueError(
                    f"A macro in {origin} must have one value, and no scope. "
                    f"Received: {statement.scope or name}/{name} twice, or in a scope"
                )
            macros[name] = statement.value
    return macros


def _statements(text: str, origin: str) -> Iterator[Any]:
    try:
        yield from config_parser.ConfigParser(text, _Delegate())
    except (SyntaxError, tokenize.TokenError, ValueError, RecursionError) as error:
        raise ValueError(
            f"The configuration in {origin} must be gin's, and cannot be read: it is damaged. "
            f"Received: {str(error).splitlines()[0]}"
        ) from None


class _Checker:
    """Refuses what may not stand in a configuration."""

    def __init__(self, origin: str, macros: Mapping[str, Any]) -> None:
        self._origin, self._macros = origin, macros

    def check(self, statement: Any) -> None:
        if isinstance(statement, config_parser.BindingStatement):
            if statement.arg_name:
                self._require_known(statement.selector, f"{statement.selector}.")
            name = f"{statement.selector}.{statement.arg_name}".rstrip(".")
            if statement.arg_name == "cache_dir" and statement.scope:
                self._refuse(f"{statement.scope}/{name}")
            self._check_value(name, statement.value, in_macro=not statement.arg_name)
        elif isinstance(statement, config_parser.ImportStatement):
            # What is imported already runs no more.
            if statement.module not in sys.modules:
                self._refuse(
                    f"import {statement.module}",
                    " If you trust this module, import it yourself: "
                    f"--gin_bindings='import {statement.module}'.",
                )
        elif not isinstance(statement, config_parser.BlockDeclaration):
            self._refuse(f"include {statement.filename!r}")

    def _check_value(self, name: str, value: Any, in_macro: bool = False) -> None:
        if isinstance(value, _Reference):
            if value.is_macro:
                # Macros are those of this text, and hold no macros.
                if in_macro or value.name not in self._macros:
                    self._refuse(f"{name} = %{value.name}")
                self._check_value(name, self._macros[value.name], in_macro=True)
                return
            shown = f"{name} = @{value.name}{'()' if value.is_called else ''}"
            found = self._require_known(value.name.split("/")[-1], shown)
            is_option = isinstance(found, type) and issubclass(found, Option)
            is_data = name in ("train.dataset", "train.augmentation")
            parts = _DATA if is_data else _PARTS
            is_ours = found.__module__.startswith("snf_tf.")
            if (is_ours and not found.__module__.startswith(parts)) or (
                value.is_called and not is_option
            ):
                self._refuse(shown)
        elif isinstance(value, dict):
            self._check_value(name, [*value, *value.values()], in_macro)
        elif isinstance(value, list | tuple):
            if len(value) > _MOST_LAYERS:
                self._refuse(f"{name}, of {len(value)} values")
            for part in value:
                self._check_value(name, part, in_macro)
        elif isinstance(value, int) and not isinstance(value, bool):
            self._check_size(name, value)
        elif not isinstance(value, bool | float | str | None):
            self._refuse(f"{name} = {value!r}")

    def _check_size(self, name: str, value: int) -> None:
        of, _, argument = name.rpartition(".")
        if argument in ("seed", "memory_limit") or of.split(".")[-1] == "train":
            return
        if of.split(".")[-1] == "load_dataset" or not of:
            limit = _MOST_EXAMPLES
        elif any(size in argument for size in _SIZES):
            limit = _LARGEST_SIZE
        else:
            limit = _MOST_LAYERS
        if abs(value) > limit:
            self._refuse(f"{name} = {value}", f" It may be {limit} at most.")

    def _require_known(self, selector: str, shown: str) -> Any:
        """Returns what a name stands for, if it belongs to this package or to the user."""
        try:
            found = gin.get_configurable(selector)
        except ValueError:
            self._refuse(shown, " This package has no such name.")
        if found.__module__.split(".")[0] == "gin":
            self._refuse(shown)
        return found

    def _refuse(self, received: str, more: str = "") -> None:
        raise ValueError(
            f"The configuration in {self._origin} must set functions and classes of snf_tf to "
            "numbers, texts, lists of these, or references to such functions and classes. It may "
            f"not import, include or call anything.{more} Received: {received}"
        )


def check_data_bindings(bindings: Collection[str]) -> None:
    """Refuses settings of the user that would change a trained flow.

    Raises:
        ValueError: If one sets a model, a layer, or `train` but for its dataset.
        SyntaxError: If one cannot be read.
    """
    for text in bindings:
        for statement in config_parser.ConfigParser(text, _Delegate()):
            if not isinstance(statement, config_parser.BindingStatement) or not statement.arg_name:
                continue
            name = f"{statement.selector}.{statement.arg_name}"
            try:
                module = gin.get_configurable(statement.selector).__module__
            except ValueError:
                # gin says it, or a module of the user that is not imported yet has it.
                continue
            is_data = module.startswith("snf_tf.data.") or name.endswith("train.dataset")
            if module.startswith("snf_tf.") and not is_data:
                raise ValueError(
                    "Bindings must concern the data of a run, such as load_dataset.data_dir: its "
                    f"flow is trained. Received: {text}"
                )
