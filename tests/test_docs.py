"""The code of the pages runs, in a short mode, and prints what the pages say; the site has no
warning and no dead link.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import gin
import matplotlib
import numpy as np
import pytest
from scipy import stats

import snf_tf

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(ROOT / "scripts"))

import check_links  # noqa: E402
import run_pages  # noqa: E402

PAGES = [
    page.relative_to(ROOT).as_posix()
    for page in (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))
    if "```python\n" in page.read_text()
]
# A test of its own runs them, in full.
_IN_FULL = ("docs/data.md",)


@pytest.fixture
def in_a_directory(tmp_path):
    gin.clear_config()
    matplotlib.use("agg")
    with contextlib.chdir(tmp_path):
        yield tmp_path
    gin.clear_config()
    matplotlib.pyplot.close("all")


@pytest.mark.usefixtures("in_a_directory")
@pytest.mark.parametrize("page", [page for page in PAGES if page not in _IN_FULL])
def test_a_page_runs(page):
    with run_pages.one_epoch():
        _, text = run_pages.run(ROOT / page)
    expected = (ROOT / page).read_text()
    assert run_pages.without_numbers(text) == run_pages.without_numbers(expected)


def test_pictures_are_there_and_small():
    for page in DOCS.rglob("*.md"):
        for name in re.findall(r"!\[[^]]+\]\(([^)]+)\)", page.read_text()):
            assert 0 < (page.parent / name).stat().st_size < 100_000, (page, name)


@pytest.mark.usefixtures("in_a_directory")
def test_the_recipe_for_missing_values():
    names, _ = run_pages.run(DOCS / "data.md")
    assert names["line"]().sizes == {"train": 200, "validation": 50, "test": 50}
    # Of a normal the density of what is observed is that of a marginal.
    x, missing = names["x"], names["missing"]
    joint = stats.multivariate_normal([0, 0], [[1.0, 0.8], [0.8, 1.0]])
    marginals = np.where(missing, 0.0, stats.norm.logpdf(np.nan_to_num(x))).sum(1)
    expected = np.where(missing.any(1), marginals, joint.logpdf(np.nan_to_num(x)))
    assert abs(np.mean(names["observed"] - expected)) < 0.03
    samples = names["flow"].sample(2000, context=np.zeros((1, 2), "float32"), seed=0)
    np.testing.assert_allclose(np.cov(samples.numpy().T), joint.cov, atol=0.15)


@pytest.mark.slow
def test_the_commands_that_start_two_workers(tmp_path):
    (command,) = re.findall(r"```bash\n(.*?)```", (DOCS / "workers.md").read_text(), re.DOTALL)
    # The page's paths are relative to the repository, where no run is to be left.
    for name in ("scripts", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path}
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, timeout=600)
    assert done.returncode == 0
    results = json.loads((tmp_path / "runs/two_workers/results.json").read_text())
    assert (results["epochs"], results["replicas"]) == (2, 2)


@pytest.mark.slow
@pytest.mark.usefixtures("in_a_directory")
@pytest.mark.parametrize("page", [page for page in PAGES if "```text" in (ROOT / page).read_text()])
def test_a_page_prints_its_numbers(page):
    _, text = run_pages.run(ROOT / page)
    found, expected = (
        [float(number) for output in re.findall(r"```text\n(.*?)```", page_text, re.DOTALL)
         for number in re.findall(r"-?\d+\.\d+", output)]
        for page_text in (text, (ROOT / page).read_text())
    )  # fmt: skip
    # Other processors add in another order, and training makes more of it.
    np.testing.assert_allclose(found, expected, rtol=0.1, atol=0.1)


def test_every_public_name_has_a_place_in_the_site():
    pages = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    found = set(re.findall(r"^::: snf_tf\.(\S+)$", pages, re.MULTILINE))
    packages = ("layers", "networks", "bases", "models", "data", "ops", "serving")
    expected = {
        f"{package}.{name}"
        for package in packages
        for name in getattr(snf_tf, package).__all__
        if not name.isupper()
    }
    options = {f"layers.{name}" for name in ("GECO", "MDMM", "PLU")}
    assert expected | options | {"Flow", "HybridFlow"} <= found


def test_the_links_of_the_readme():
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / "README.md").read_text())
    assert len(targets) > 10
    for target in targets:
        assert target.startswith("https://") or (ROOT / target).is_file(), target


def test_the_site_has_no_warning_and_no_dead_link(tmp_path):
    """Docstrings that cannot be read are warnings, too."""
    pytest.importorskip("mkdocs")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        check=True,
    )
    assert check_links.dead_links(tmp_path) == []
    dead = ["no.html", "code.html#no"]
    (tmp_path / "index.html").write_text("".join(f'<a href="{link}">a</a>' for link in dead))
    assert check_links.dead_links(tmp_path) == [f"index.html: {link}" for link in dead]


@pytest.mark.slow
@pytest.mark.usefixtures("in_a_directory")
def test_from_a_folder_of_images_to_a_served_model(tmp_path):
    names, _ = run_pages.run(DOCS / "own_images.md")
    page = (DOCS / "own_images.md").read_text()
    install, *commands = re.findall(r"^\.venv/bin/(.*)$", page, re.MULTILINE)
    assert install == "pip install ."
    for name in ("scripts", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    smoke = " --gin_bindings=train.epochs=1 --gin_bindings=train.steps_per_epoch=2"
    for command in commands:
        bindings = smoke if "train.py" in command else ""
        done = subprocess.run(
            f"{Path(sys.executable).parent}/{command}{bindings}",
            shell=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0
    (use,) = re.findall(r"```py\n(.*?)```", page, re.DOTALL)
    exec(use, names)
    assert names["images"].shape == (4, 28, 28, 1)
    assert np.isfinite(names["log_p"]).all()
