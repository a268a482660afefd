"""The code of pages under docs/ runs, and the recipe for missing values is right."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import gin
import numpy as np
import pytest
from scipy import stats

DOCS = Path(__file__).parents[1] / "docs"


def run(page):
    """Runs the blocks of a page one after the other, and returns their names."""
    names = {"__name__": "docs"}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL):
        exec(block, names)
    return names


def test_learned_inverses():
    flow = run("learned_inverses.md")["flow"]
    assert flow.event_shape == (64,)
    assert flow.log_det_kind == "exact"


def test_the_recipe_for_missing_values():
    gin.clear_config()
    names = run("data.md")
    assert names["line"]().sizes == {"train": 200, "validation": 50, "test": 50}
    # Of a normal the density of what is observed is that of a marginal.
    x, missing = names["x"], names["missing"]
    joint = stats.multivariate_normal([0, 0], [[1.0, 0.8], [0.8, 1.0]])
    marginals = np.where(missing, 0.0, stats.norm.logpdf(np.nan_to_num(x))).sum(1)
    expected = np.where(missing.any(1), marginals, joint.logpdf(np.nan_to_num(x)))
    assert abs(np.mean(names["observed"] - expected)) < 0.03
    samples = names["flow"].sample(2000, context=np.zeros((1, 2), "float32"), seed=0)
    np.testing.assert_allclose(np.cov(samples.numpy().T), joint.cov, atol=0.15)


def test_workers():
    flow = run("workers.md")["flow"]
    assert flow.event_shape == (2,)


@pytest.mark.slow
def test_the_commands_that_start_two_workers(tmp_path):
    (command,) = re.findall(r"```bash\n(.*?)```", (DOCS / "workers.md").read_text(), re.DOTALL)
    # The page's paths are relative to the repository, where no run is to be left.
    for name in ("scripts", "configs"):
        (tmp_path / name).symlink_to(DOCS.parent / name)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PYTHONPATH": str(DOCS.parent), "PATH": path}
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, timeout=600)
    assert done.returncode == 0
    results = json.loads((tmp_path / "runs/two_workers/results.json").read_text())
    assert (results["epochs"], results["replicas"]) == (2, 2)


def test_couplings():
    names = run("couplings.md")
    assert max(names["round_trips"]) < 1e-3
