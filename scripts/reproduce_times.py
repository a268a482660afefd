"""SNF Table 3: times of training steps and of samples, their floors, and other libraries."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import benchmark_cases
import benchmark_work
import numpy as np
import pandas as pd
import text_tables
from figures_measured import timed
from reproduce_runs import Budget
from reproduce_table import Row

_ROOT = Path(__file__).parents[1]
_SHAPES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3), "imagenet32": (32, 32, 3)}
# What a step cannot avoid, where `benchmark_cases.py` knows: others need other work.
_FLOORS = {"mnist_fc": ("fc_products", "fc_adam_bytes"), "mnist_conv": ("conv_convolutions",)}
# One dense layer of 512 dimensions, by this library and by others.
_PEERS = "^dense_512_(self_normalizing|exact|nflows|normflows|zuko)"
_PEER_COUNT = 7
_COLUMNS = ("row", "metric", "published, on a GPU", "here, median", "deviation", "floor", "calls")
_SECONDS = {"smoke": 0.3, "paper": 60.0, "epochs": 60.0}


def write(
    directory: Path, table: str, rows: Sequence[Row], budget: Budget, bindings: Sequence[str] = ()
) -> str:
    """Times the models of the rows, writes `TABLE.md` and `.csv`, and returns the first as text.

    Args:
        directory: Where to write them.
        table: Its name.
        rows: With what was published, in ms.
        budget: At the smallest, models are small, too.
        bindings: Settings of all models.
    """
    seconds = _SECONDS.get(budget.kind) or 60 * budget.amount / (2 * len(rows) + _PEER_COUNT)
    lines = []
    for row in rows:
        flow, batch = _flow(row, budget, bindings)
        measured = {
            "ms_a_batch": timed(benchmark_work.training_step(flow, batch), seconds),
            "ms_a_sample": timed(lambda flow=flow: flow.sample(1, seed=0).numpy(), seconds),
        }
        cases = benchmark_cases.cases(batch)
        floor = [timed(cases[name].make(), seconds / 4) for name in _FLOORS.get(row.config, ())]
        for metric, published in row.published.items():
            lines.append(
                _line(row.name, metric, measured[metric])
                | {
                    "published, on a GPU": published,
                    "floor": f"{sum(map(np.median, floor)):.1f}"
                    if floor and metric == "ms_a_batch"
                    else "",
                }
            )
        print(f"{row.name}: {lines[-2]['here, median']} ms a batch.", flush=True)
    lines += _peers(seconds)
    lines = [{name: line[name] for name in _COLUMNS} for line in lines]
    small = "; most models are small, and batches of 10" if budget.kind == "smoke" else ""
    settings = f"Settings: {'; '.join(bindings)}.\n\n" if bindings else ""
    text = (
        f"# {table}: times on {benchmark_cases.device()}{small}\n\n{settings}"
        "The published times are those of a GeForce 1080Ti (MNIST) and a Titan X (CIFAR-10, "
        "ImageNet), and cannot be set against ours. A sample is one image, by the inverse that "
        "the layers keep, where they keep one. The floor, where it is known, is the work that a "
        "step cannot avoid, timed in the same run. The last rows are one dense layer of 512 "
        "dimensions, at batch "
        f"{benchmark_cases.DENSE_BATCH}, by this library and by those that are installed.\n\n"
        f"{text_tables.markdown(lines)}\n"
    )
    text_tables.replace(directory / f"{table}.md", lambda path: path.write_text(text))
    frame = pd.DataFrame(lines)
    text_tables.replace(directory / f"{table}.csv", lambda path: frame.to_csv(path, index=False))
    return text


def _line(name, metric, measured):
    return {
        "row": name,
        "metric": metric.replace("_", " "),
        "here, median": f"{np.median(measured):.1f}",
        "deviation": f"{np.std(measured):.1f}",
        "calls": len(measured),
    }


def _peers(seconds):
    """Times a layer of this library and those of others: in a process of its own, as PyTorch must
    be loaded before TensorFlow.
    """
    repeats, longest = ("8", "1") if seconds < 1 else ("400", str(seconds))
    command = [sys.executable, _ROOT / "scripts/benchmark.py", f"--cases={_PEERS}"]
    command += [f"--repeats={repeats}", f"--max_seconds={longest}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"benchmark.py has failed: {done.stderr[-500:]}")
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [
        {
            "row": f"one layer: {row['case'].removeprefix('dense_512_')}",
            "metric": "ms a batch",
            "published, on a GPU": "",
            "here, median": f"{row['ms']:.1f}",
            "deviation": f"{row['deviation_ms']:.1f}",
            "floor": f"{row['floor_ms']:.1f}",
            "calls": row["calls"],
        }
        for row in found
        if "floor_ms" in row
    ]


def _flow(row, budget, bindings):
    """Builds the flow of a row's config, initialized, and says its batch size."""
    import gin

    from snf_tf.training.build import build_flow

    gin.clear_config()
    gin.add_config_file_search_path(str(_ROOT / "configs"))
    smoke = ["include 'smoke.gin'"] if budget.kind == "smoke" else []
    gin.parse_config_files_and_bindings(
        [str(_ROOT / f"configs/{row.config}.gin")], [*smoke, *row.bindings, *bindings]
    )
    settings = gin.get_bindings("train")
    shape = _SHAPES[row.config.split("_")[0]]
    flow = build_flow(settings["model"], shape)
    gin.clear_config()
    batch = settings["batch_size"]
    flow.initialize(np.random.RandomState(0).randint(0, 256, (batch, *shape)))
    return flow, batch
