"""The examples in docstrings run, and every public name has one docstring."""

import doctest
import importlib
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


@pytest.mark.parametrize(
    "package", [snf_tf, snf_tf.layers, snf_tf.ops, snf_tf.models, snf_tf.data, snf_tf.bases]
)
def test_public_names_have_docstrings(package):
    for name in package.__all__:
        if not name.startswith("__"):
            assert getattr(package, name).__doc__, name
