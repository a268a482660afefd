"""What is kept of runs with the library: the records of which the page of results is made.

A record is a directory `CONFIG-seedN` of `docs/records`, or `CONFIG-WORDS-seedN` where settings
differ from the config's. It holds `history.csv` and `results.json` of a finished run. What there is
to say of a family of runs stands in `FAMILY.md` beside them. Tables and figures that are measured,
not trained, are kept as `reproduce.py` writes them. Whoever adds a record, or changes one, calls
`reproduce.py --results` once more.
"""

import inspect
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import text_tables

_ROOT = Path(__file__).parents[1]
# Names of pages that are kept as they were written.
PAGE = re.compile(r"(figure-)?(snf|rf)\.\d+\.md")
# Settings that change neither the model nor the way that it is trained.
_OTHER = re.compile(r"load_dataset\.|train\.(epochs|seed|verbose|checkpoint_seconds)$")


class Group(NamedTuple):
    """The records of one experiment, over seeds.

    Attributes:
        name: As on the page.
        config: Name of the config.
        settings: Those that differ from the config's.
        results: Content of `results.json`, by seed.
        histories: Content of `history.csv`, by seed.
    """

    name: str
    config: str
    settings: list[str]
    results: list[dict]
    histories: list[pd.DataFrame]


def record(path: Path, docs: Path) -> Path:
    """Keeps a finished run, without paths of the machine, or a table or figure that is measured.

    Args:
        path: Directory of the run, whose name becomes the record's; `TABLE.md`; `figure-NAME.md`.
        docs: Directory of the page, which has the directory of the records.

    Raises:
        FileNotFoundError: If the run has not come to its end, or there is no such file.
        ValueError: If the name does not begin with that of a config, or a file is damaged.
    """
    return _record_page(path, docs / "records") if path.suffix == ".md" else _record_run(path, docs)


def _record_page(page, records):
    if not PAGE.fullmatch(page.name):
        raise ValueError(f"A page must be TABLE.md, or figure-NAME.md. Received: {page}")
    for suffix in (".md", ".png") if page.name.startswith("figure-") else (".md",):
        shutil.copyfile(page.with_suffix(suffix), records / f"{page.stem}{suffix}")
    return records / page.name


def _record_run(run_dir, docs):
    from snf_tf.training.finished_run import read_results, with_digests

    _config(run_dir.name)
    results = read_results(run_dir, "history.csv")
    results.pop("sha256", None)
    results["config"] = re.sub(r"(?m)^\S+\.(data|cache)_dir = .*\n", "", results["config"])
    directory = docs / "records" / run_dir.name
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run_dir / "history.csv", directory / "history.csv")
    text = json.dumps(with_digests(results, directory), indent=2) + "\n"
    text_tables.replace(directory / "results.json", lambda path: path.write_text(text))
    return directory


def records(directory: Path) -> list[Group]:
    """Reads all records of runs.

    Args:
        directory: Where they are.

    Raises:
        ValueError: If there is none, or one is damaged.
    """
    from snf_tf.training.finished_run import read_results

    found: dict[str, Group] = {}
    for path in sorted(directory.glob("*-seed*")):
        results = read_results(path, "history.csv")
        config = _config(path.name)
        words = re.sub(r"-seed\d+$", "", path.name).removeprefix(config).strip("-")
        name = f"{config}, {words}" if words else config
        empty = Group(name, config, _settings(results["config"], config), [], [])
        group = found.setdefault(name, empty)
        group.results.append(results)
        group.histories.append(pd.read_csv(path / "history.csv"))
    if not found:
        raise ValueError(f"There must be a record at least. Received: {directory}")
    return list(found.values())


def _config(name):
    """Returns the config of a record, the longest one whose name its name begins with."""
    configs = sorted((path.stem for path in (_ROOT / "configs").glob("*.gin")), key=len)
    fitting = [config for config in configs if re.match(rf"{config}(-.+)?-seed\d+$", name)]
    if not fitting:
        raise ValueError(
            "A record must be named CONFIG-seedN, or CONFIG-WORDS-seedN, with a config of configs. "
            f"Received: {name}"
        )
    return fitting[-1]


def _settings(operative: str, config: str) -> list[str]:
    """Returns the settings of a run that are others than its config's."""
    given, used = _bindings(_config_text(config)), _bindings(operative)
    return [
        f"{name} = {value}"
        for name, value in used.items()
        if not _OTHER.match(name) and not _same(value, given.get(name, _default(name)))
    ]


def _default(name):
    """Returns the value of an argument that nobody gives, as gin writes it; None: it has none."""
    from snf_tf import data, layers, models, training

    function, _, argument = name.rpartition(".")
    module = next((m for m in (models, layers, training, data) if hasattr(m, function)), None)
    parameters = inspect.signature(getattr(module, function)).parameters if module else {}
    return repr(parameters[argument].default) if argument in parameters else None


def _same(one, other):
    """Returns whether two values of gin are the same, numbers by their value."""
    if other is None:
        return False
    try:
        return float(one) == float(other)
    except ValueError:
        return one.replace("'", '"') == other.replace("'", '"')


def _config_text(config):
    """Returns the text of a config, what it includes in its place."""
    text = (_ROOT / f"configs/{config}.gin").read_text()
    return re.sub(r'(?m)^include "(\w+)\.gin"$', lambda found: _config_text(found.group(1)), text)


def _bindings(text) -> Mapping[str, str]:
    """Returns name -> value of the bindings of gin's text; the last one counts."""
    joined = re.sub(r"\\\n\s*", "", text)
    return dict(re.findall(r"(?m)^([\w.]+) = (.*?)$", joined))
