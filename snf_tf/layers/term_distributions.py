"""Distributions of the number of terms of a Russian roulette."""

from collections.abc import Mapping

import keras
import numpy as np
from scipy import special

from snf_tf._checks import check_number
from snf_tf.layers.options import Option


class TermDistribution(Option):
    """The distribution of the number of terms N of a Russian roulette, on 0, 1, 2, ...

    Subclasses define `survival(j, lipschitz)`, P(N >= j).
    """

    def survival(self, j: np.ndarray, lipschitz: float) -> np.ndarray:
        """Returns P(N >= j) in float64.

        Args:
            j: Integers of at least 1.
            lipschitz: The Lipschitz constant of g.
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable("snf_tf")
class Geometric(TermDistribution):
    """Geometric on 1, 2, ...: `P(N >= j) = (1 - p)^(j - 1)` (RF section 3.1).

    Roulette's variance is finite if `1 - p` exceeds the square of J's spectral radius: for p = 0.5
    a radius below 0.707.

    Args:
        p: In (0, 1).

    Raises:
        ValueError: If p is not.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p=check_number("p", p, above=0, below=1))

    def survival(self, j: np.ndarray, lipschitz: float) -> np.ndarray:
        return (1.0 - self.options["p"]) ** (j - 1.0)


@keras.saving.register_keras_serializable("snf_tf")
class Poisson(TermDistribution):
    """Poisson on 0, 1, ...: P(N >= j) is the incomplete gamma function P(j, rate).

    The published image runs have rate 2. Its variance is finite for no spectral radius above 0.

    Args:
        rate: Positive.

    Raises:
        ValueError: If rate is not.
    """

    def __init__(self, rate: float = 2.0) -> None:
        super().__init__(rate=check_number("rate", rate, above=0))

    def survival(self, j: np.ndarray, lipschitz: float) -> np.ndarray:
        return special.gammainc(j, self.options["rate"])


@keras.saving.register_keras_serializable("snf_tf")
class ByBound(TermDistribution):
    """Geometric with `1 - p = max(1/2, L^1.5)`, L the bound of g's Lipschitz constant.

    As L is not below the spectral radius, the variance is finite for every block; the price is
    about 1 / p terms.
    """

    def survival(self, j: np.ndarray, lipschitz: float) -> np.ndarray:
        return max(0.5, lipschitz**1.5) ** (j - 1.0)


TERM_DISTRIBUTIONS: Mapping[str, type] = {
    "geometric": Geometric,
    "poisson": Poisson,
    "by_bound": ByBound,
}
