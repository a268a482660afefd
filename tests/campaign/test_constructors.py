"""Every wrong argument is refused in words: never in silence, never by an error of others.

The tables are the contract: a new class or argument joins them by being listed.
"""

import inspect
import itertools

import pytest

import snf_tf
from snf_tf import bases, layers, models, networks, optimizers
from tests.campaign.functions import OPS, OPTIMIZERS
from tests.campaign.judge import verdict
from tests.campaign.kernels import KERNELS
from tests.campaign.methods import METHODS
from tests.campaign.tables import CONSTRUCTORS, cases

# Every other module lists classes and builders; what has no arguments of its own is in no table.
MODULES = (bases, layers, models, networks)
# Objects that are checked by what they are used for, and base classes that pass options on.
NOT_OPTIONS = {"kwargs", "options", "args", "self", "name", "layer"}
PLAIN_FUNCTIONS = {
    "as_function",
    "default_conditioner",
    "dependences",
    "in_cycles",
    "lipschitz_bound",
    "lipschitz_parts",
    "nominal_bound",
    "stored_values",
}


def all_cases():
    """Returns the cases of all tables."""
    return list(
        itertools.chain(
            cases(CONSTRUCTORS), cases(METHODS), cases(OPS), cases(OPTIMIZERS), cases(KERNELS)
        )
    )


def refused(found):
    """Returns a line for every case that was not refused in words."""
    lines = []
    for entry, argument, value, call in found:
        judged = verdict(call, argument, value)
        if judged != "clear":
            lines.append(f"{judged}: {entry}({argument}={value!r})")
    return lines


def test_some_wrong_arguments_are_refused_in_words():
    assert refused(all_cases()[::10]) == []


@pytest.mark.slow
def test_all_wrong_arguments_are_refused_in_words():
    found = all_cases()
    assert len(found) > 6000
    assert refused(found) == []


def test_the_rule_sees_silence_raw_errors_and_unclear_words():
    def raises(error):
        raise error

    for call, judged in (
        (lambda: None, "silent"),
        (lambda: raises(TypeError("'<' not supported between 'str' and 'int'")), "raw"),
        (lambda: raises(RuntimeError("size must be 1. Received: size='x'")), "raw"),
        (lambda: raises(ValueError("size is wrong. Received: size='x'")), "unclear"),
        (lambda: raises(ValueError("size must be 1. Received: size='x'")), "clear"),
    ):
        assert verdict(call, "size", "x") == judged


def test_every_argument_of_a_public_name_is_in_a_table():
    missing = []
    for module in MODULES:
        for name in set(module.__all__) - PLAIN_FUNCTIONS:
            missing += _missing(name, getattr(module, name), CONSTRUCTORS)
    for name in ("Flow", "HybridFlow"):
        missing += _missing(name, getattr(snf_tf, name), CONSTRUCTORS)
    missing += _missing("Adam", optimizers.Adam, OPTIMIZERS)
    assert sorted(missing) == []


def _missing(name, thing, table):
    """Returns the arguments of a class or function that its entry lacks."""
    if isinstance(thing, type) and issubclass(thing, tuple):
        return []
    make = thing.__init__ if isinstance(thing, type) else thing
    if not make.__module__.startswith("snf_tf"):
        return []
    given = inspect.signature(make).parameters
    wrong = table[name].wrong if name in table else {}
    return [f"{name}({argument})" for argument in given if argument not in {*NOT_OPTIONS, *wrong}]
