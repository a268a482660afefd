"""The code of docs/data.md runs, and its recipe for missing values is right."""

import re
from pathlib import Path

import gin
import numpy as np
from scipy import stats

PAGE = Path(__file__).parents[1] / "docs/data.md"


def test_the_recipe_for_missing_values():
    names = {"__name__": "docs"}
    gin.clear_config()
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, names)
    assert names["line"]().sizes == {"train": 200, "validation": 50, "test": 50}
    # Of a normal the density of what is observed is that of a marginal.
    x, missing = names["x"], names["missing"]
    joint = stats.multivariate_normal([0, 0], [[1.0, 0.8], [0.8, 1.0]])
    marginals = np.where(missing, 0.0, stats.norm.logpdf(np.nan_to_num(x))).sum(1)
    expected = np.where(missing.any(1), marginals, joint.logpdf(np.nan_to_num(x)))
    assert abs(np.mean(names["observed"] - expected)) < 0.03
    samples = names["flow"].sample(2000, context=np.zeros((1, 2), "float32"), seed=0)
    np.testing.assert_allclose(np.cov(samples.numpy().T), joint.cov, atol=0.15)
