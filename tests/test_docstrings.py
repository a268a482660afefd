"""The examples in docstrings run, and every public name has one docstring and all types."""

import doctest
import importlib
import inspect
import pkgutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf

MODULES = [module.name for module in pkgutil.walk_packages(snf_tf.__path__, "snf_tf.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    names = {"snf_tf": snf_tf, "tf": tf, "np": np, "keras": keras}
    assert doctest.testmod(module, extraglobs=names).failed == 0


PACKAGES = [
    *(snf_tf, snf_tf.layers, snf_tf.ops, snf_tf.models, snf_tf.data, snf_tf.bases),
    *(snf_tf.networks, snf_tf.serving),
]
# Keras calls them.
HOOKS = {"compute_loss", "compute_metrics"}


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_have_docstrings(package):
    for name in package.__all__:
        if not name.startswith("__"):
            assert getattr(package, name).__doc__, name


def functions_of(name, found):
    """Yields a function, or the public methods of a class and of its bases in snf_tf."""
    if inspect.isclass(found):
        for base in found.__mro__:
            for key, method in vars(base).items() if base.__module__.startswith("snf_tf") else ():
                method = getattr(method, "fget", getattr(method, "__func__", method))
                public = key == "__init__" or not key.startswith("_")
                if inspect.isfunction(method) and public and key not in HOOKS:
                    yield f"{base.__name__}.{key}", method
    elif inspect.isfunction(found):
        yield name, inspect.unwrap(found)


@pytest.mark.parametrize("package", PACKAGES)
def test_public_signatures_have_types(package):
    untyped = {
        f"{name}: {argument}"
        for key in package.__all__
        for name, function in functions_of(key, getattr(package, key))
        for argument in (*inspect.signature(function).parameters, "return")
        if argument not in ("self", "cls", *inspect.get_annotations(function))
    }
    assert not untyped
