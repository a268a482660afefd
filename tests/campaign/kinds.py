"""Wrong values for every kind of argument."""

import math

import keras
import numpy as np

THING = object()
# Of no kind of number.
_ODD = ("x", "3", b"1", [1], (), {}, True, np.ones(2), 1j, THING, math.nan, math.inf, -math.inf)
NUMBER = (*_ODD, None, np.float32("nan"), 10**400)
OPTIONAL_NUMBER = NUMBER[: len(_ODD)]
POSITIVE = (*NUMBER, 0, -1, -0.5)
AT_LEAST_0 = (*NUMBER, -1, -1e-9)
OPEN_UNIT = (*POSITIVE, 1, 1.5)
SIZE = (*NUMBER, 0, -1, 2.5, np.float64(3.0))
OPTIONAL_SIZE = tuple(value for value in SIZE if value is not None)
COUNT = (*NUMBER, -1, 2.5)
SEED = (*NUMBER, 1.5, 2**70, np.uint64(2**63))
SEED_OF_PERMUTATION = (*SEED, -1)
FLAG = ("no", "True", None, 0, 1, 2.5, [True], math.nan, THING)
CHOICE = ("nonsense", "", 3, None, True, ["affine"], math.nan, THING)
OPTIONAL_CHOICE = tuple(value for value in CHOICE if value is not None)
OPTION = (*CHOICE, keras.layers.Dense, np.ones(2))
SHAPE = (3, "x", "12", None, (0,), (-1,), (2.5,), ("x",), (None,), (True,), (math.nan,), THING)
OPTIONAL_SHAPE = tuple(value for value in SHAPE if value is not None)
KERNEL_SIZE = (*SIZE, 2, (3, 2), (3, 3, 3), (3, True), (3, 2.5))
NETWORK = (3, "x", None, [1], keras.layers.Dense, True, math.nan, THING)
OPTIONAL_NETWORK = tuple(value for value in NETWORK if value is not None)
INITIALIZER = (3, "nonsense", [1], True, math.nan, THING)
ACTIVATION = (3, "nonsense", [1], True, math.nan, THING)
