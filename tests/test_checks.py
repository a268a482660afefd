"""The checks of arguments: what they return, and the one form of their messages."""

import numpy as np
import pytest
import tensorflow as tf

from snf_tf import _checks


@pytest.mark.parametrize(
    ("value", "kind"), [(2, int), (0.5, float), (np.float32(0.5), float), (np.int64(2), int)]
)
def test_numbers_are_returned_as_python_numbers(value, kind):
    assert type(_checks.check_number("x", value, at_least=0, at_most=2)) is kind


def test_sizes_shapes_and_flags_are_returned_as_python_ones():
    assert _checks.check_sizes(a=np.int32(3), b=1) == (3, 1)
    assert _checks.check_shape("shape", tf.TensorShape([2, 3])) == (2, 3)
    assert _checks.check_shape("shape", [np.int64(4)], ranks=(1, 3)) == (4,)
    assert _checks.check_shape("shape", np.array([4])) == (4,)
    assert _checks.check_odd_sizes("size", 3) == (3, 3)
    assert _checks.check_odd_sizes("size", np.array([3, 5])) == (3, 5)
    assert _checks.check_odd_sizes("size", np.array(3)) == (3, 3)
    assert _checks.check_number("x", np.array(0.5)) == 0.5
    assert type(_checks.check_integer("n", np.array(3))) is int
    assert _checks.check_flag("flag", tf.constant(True)) is True
    assert _checks.check_scalar("x", tf.constant(0.5, tf.bfloat16), tf.float32, at_least=0) == 0.5
    assert _checks.check_flag("flag", np.True_) is True
    assert _checks.check_integer("n", None, 1, optional=True) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: _checks.check_integer("n", 2.5, 1),
            "n must be an integer of at least 1. Received: n=2.5",
        ),
        (
            lambda: _checks.check_number("p", np.nan, above=0, below=1),
            "p must be a number above 0 and below 1. Received: p=nan",
        ),
        (
            lambda: _checks.check_number("p", 10**400, above=0),
            f"p must be a finite number above 0. Received: p={10**199}...",
        ),
        (
            lambda: _checks.check_number("p", 1e39, above=0, dtype="float32"),
            "p must be a finite number above 0 that float32 holds. Received: p=1e+39",
        ),
        (
            lambda: _checks.check_seed(2**70),
            f"seed must be an integer of 64 bits. Received: seed={2**70}",
        ),
        (
            lambda: _checks.check_number("x", "1", optional=True),
            "x must be a finite number, or None. Received: x='1'",
        ),
        (
            lambda: _checks.check_choice("kind", "c", ("a", None)),
            "kind must be one of 'a', None. Received: kind='c'",
        ),
        (
            lambda: _checks.check_integer("n", 2**31, 1),
            "n must be an integer of at least 1 and at most 2147483647. Received: n=2147483648",
        ),
        (
            lambda: _checks.check_instance("t", int, int, "a thing"),
            "t must be a thing, an object and not the class: int(...). Received: t=<class 'int'>",
        ),
    ],
)
def test_messages(call, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        call()
    assert str(error.value) == message


def test_scalars_may_be_tensors_and_are_checked_in_eager_code():
    for value in (3, np.int64(3), tf.constant(3), tf.Variable(3)):
        checked = _checks.check_scalar("n", value, tf.int32, at_least=1)
        assert checked.dtype == tf.int32
        assert checked == 3
    with pytest.raises(ValueError, match="n must be an integer of at least 1"):
        _checks.check_scalar("n", tf.constant(0), tf.int32, at_least=1)

    @tf.function
    def in_graph(n):
        return _checks.check_scalar("n", n, tf.int32, at_least=1)

    assert in_graph(tf.constant(3)) == 3
    with pytest.raises(ValueError, match="n must be an integer, or a scalar tensor"):
        in_graph(tf.constant(0.5))
