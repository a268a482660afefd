"""Times training steps and samples of the library, their floors, and other libraries.

All cases, those whose names match (and their floors), and whether a step slows down:

    python scripts/benchmark.py
    python scripts/benchmark.py --cases='fc|conv'
    python scripts/benchmark.py --cases='^(fc|conv)_self' --repeats=2000 --max_seconds=300

The floor of a case is the work that the case cannot avoid, timed in the same run. This work is
matrix products or convolutions at TensorFlow's own rate, and the bytes that Adam moves.
`benchmark_cases.py`, `benchmark_couplings.py`, `benchmark_residual.py` and `benchmark_pairs.py`
define the cases. `benchmark_peers.py` defines those of other libraries, timed where they are
installed: `pip install '.[benchmark]'`. All use float32, and a GPU if TensorFlow or PyTorch find
one.

Prints a line of JSON for each case, then a Markdown table. Times are medians. Cases take turns, a
block of calls each: noise of the machine meets all alike. `first_call_s` is the time of tracing,
compiling and one call; `growth` compares the last quarter of the calls with the first. The last
line tells by how much the peak of memory has grown since the first of four rounds.
"""

import contextlib
import json
import re
import resource
import statistics
import time

# Before all that loads TensorFlow: PyTorch crashes where it is loaded second.
with contextlib.suppress(ImportError):
    import torch._dynamo  # noqa: F401

import benchmark_cases
import benchmark_couplings
import benchmark_pairs
import benchmark_peers
import benchmark_residual
import command_line
from absl import flags

_CASES = flags.DEFINE_string("cases", ".", "A regular expression: the names of the cases to time.")
_BATCH = flags.DEFINE_integer("batch_size", 100, "Examples in a training step.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 40, "Timed calls of each case.", lower_bound=1)
_MAX_SECONDS = flags.DEFINE_float(
    "max_seconds", 20, "A case that has taken so long in all is not repeated any more."
)
_ROUNDS = 4
_WARM_UP = 3


def main(_) -> None:
    start = time.perf_counter()
    command_line.import_libraries()
    from tqdm import tqdm

    batch = _BATCH.value
    own, peers = benchmark_cases.cases(batch), benchmark_peers.cases(batch)
    cases = own | benchmark_residual.cases() | benchmark_pairs.cases() | peers
    cases |= benchmark_couplings.cases()
    chosen = _choose(cases)
    calls, times, rows = {}, {name: [] for name in chosen}, {}
    for name in tqdm(chosen, desc="first calls", disable=None):
        begin = time.perf_counter()
        try:
            call = cases[name].make()
            made = time.perf_counter()
            call()
        except Exception as error:
            if name not in peers:
                raise
            # Libraries fail beside versions of PyTorch that they do not know.
            print(f"{name} is left out: {str(error).splitlines()[0]}")
            continue
        calls[name] = call
        rows[name] = {
            "case": name,
            "make_s": made - begin,
            "first_call_s": time.perf_counter() - made,
        }
    peaks = []
    for _ in tqdm(range(_ROUNDS), desc="rounds", disable=None):
        for name, call in calls.items():
            _time_block(call, times[name], cases[name].steps)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    for name, row in rows.items():
        row |= {
            "ms": _median(times[name]),
            "deviation_ms": statistics.pstdev(times[name]),
            "calls": len(times[name]) * cases[name].steps,
        }
        quarter = len(times[name]) // 4
        if quarter:
            row["growth"] = _median(times[name][-quarter:]) / _median(times[name][:quarter])
    for name, row in rows.items():
        if floor := sum(rows[part]["ms"] for part in cases[name].floor):
            row |= {"floor_ms": floor, "times_floor": row["ms"] / floor}
        print(
            json.dumps(
                {
                    key: round(value, 3) if isinstance(value, float) else value
                    for key, value in row.items()
                }
            )
        )
    _print_table(rows, cases)
    _print_exponents(rows)
    print(
        f"\n{len(rows)} cases on {benchmark_cases.device()}; {time.perf_counter() - start:.0f} s. "
        f"Memory: {peaks[-1]:.0f} MiB at most, {peaks[-1] - peaks[0]:.1f} more than in round 1."
    )


def _choose(cases):
    """Returns the names of the cases that match, each after its floors."""
    matching = [name for name in cases if re.search(_CASES.value, name)]
    if not matching:
        raise ValueError(
            f"No case matches. Received: --cases={_CASES.value}; there are {', '.join(cases)}"
        )
    return list(dict.fromkeys(part for name in matching for part in (*cases[name].floor, name)))


def _time_block(call, times, steps):
    """Times one round of a case, whose calls make some steps each.

    The first calls are not timed: they find the caches full of another case's data.
    """
    begin = time.perf_counter()
    for index in range(_WARM_UP + max(_REPEATS.value // steps // _ROUNDS, 1)):
        started = time.perf_counter()
        call()
        ended = time.perf_counter()
        if index >= _WARM_UP or ended - begin > _MAX_SECONDS.value / _ROUNDS:
            times.append(1e3 * (ended - started) / steps)
        if ended - begin > _MAX_SECONDS.value / _ROUNDS:
            break


def _median(values):
    return sorted(values)[len(values) // 2]


def _print_table(rows, cases):
    print("\n| case | ms | times the floor | faster than | first call, s |\n|---|---|---|---|---|")
    for name, row in rows.items():
        floor = f"{row['times_floor']:.2f} x {row['floor_ms']:.1f}" if "floor_ms" in row else ""
        slower = ", ".join(
            f"{other} {rows[other]['ms'] / row['ms']:.2f} x"
            for other in cases[name].against
            if other in rows and other != name
        )
        print(
            f"| {name} | {row['ms']:.2f} | {floor} | {slower} | "
            f"{row['make_s'] + row['first_call_s']:.1f} |"
        )


def _print_exponents(rows):
    """Prints how the time of dense layers grows with their dimension, from 1024 on.

    The exponent is by least squares on logarithms.
    """
    import numpy as np

    found: dict[str, list[tuple[float, float]]] = {}
    for name, row in rows.items():
        if match := re.fullmatch(r"dense_(\d+)_(\w+)", name):
            found.setdefault(match[2], []).append((float(match[1]), row["ms"]))
    for name, points in found.items():
        large = np.log([point for point in points if point[0] >= 1024])
        if len(large) > 1:
            print(f"dense {name}: time ~ D^{np.polyfit(*large.T, 1)[0]:.2f}")


if __name__ == "__main__":
    command_line.run(main)
