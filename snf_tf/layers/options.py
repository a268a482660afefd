"""Options of layers: objects that Keras can save, with short names for their defaults."""

from collections.abc import Mapping
from typing import Any, Self

import keras

from snf_tf._checks import refuse


class Option:
    """An object that configures a layer; it holds its constructor's arguments and nothing else.

    Args:
        **options: The arguments of the subclass' constructor.

    Attributes:
        options: As given.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, for Keras."""
        return serialized(self.options)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls(**deserialized(config))


def serialized(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config with options turned into what Keras can write."""
    return {
        name: keras.saving.serialize_keras_object(value) if isinstance(value, Option) else value
        for name, value in config.items()
    }


def deserialized(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config with the output of `serialized` turned back into objects."""
    return {
        name: keras.saving.deserialize_keras_object(value)
        if isinstance(value, Mapping) and "class_name" in value
        else value
        for name, value in config.items()
    }


def resolve(option: Any, names: Mapping[str, type], argument: str) -> Any:
    """Returns an option as an object: the given object, or the default of the given name.

    Args:
        option: A name, or an object of one of the classes.
        names: Short name -> class of options.
        argument: Name of the argument, for messages.

    Raises:
        ValueError: If there is no such name, or the object is of another class.
    """
    if isinstance(option, str) and option in names:
        return names[option]()
    if not isinstance(option, tuple(names.values())):
        classes = ", ".join(dict.fromkeys(cls.__name__ for cls in names.values()))
        allowed = f"one of {', '.join(map(repr, names))}, or an object of {classes}"
        refuse(argument, option, allowed)
    return option
