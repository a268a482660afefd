"""`history.csv` grows by whole rows, whenever a process is killed."""

import numpy as np
import pytest

from snf_tf.training.history import History

ROWS = [
    {"epoch": 1, "val_nll": 1 / 3, "4.Layer/log_det": 1e-300},
    {"epoch": 2, "val_nll": np.pi * 1e8},
    {"epoch": 3, "val_nll": -0.1, "4.Layer/log_det": float("nan")},
]


@pytest.fixture
def path(tmp_path):
    history = History(tmp_path / "history.csv", epochs=0)
    for row in ROWS:
        history.append(row)
    return tmp_path / "history.csv"


def test_rows_are_appended(path):
    assert path.read_text().splitlines() == [
        "epoch,val_nll,4.Layer/log_det",
        "1,0.3333333333333333,1e-300",
        f"2,{np.pi * 1e8},",
        "3,-0.1,nan",
    ]
    expected = [{name: row[name] for name in ("epoch", "val_nll")} for row in ROWS]
    assert History(path, epochs=3).rows == expected


@pytest.mark.parametrize("epochs", [0, 1, 2])
def test_what_a_killed_process_left_is_cut_off(path, epochs):
    """Whatever of the rows after the checkpoint is on disk, to the byte."""
    whole = path.read_bytes()
    known = sum(map(len, whole.splitlines(keepends=True)[: epochs + 1])) if epochs else 0
    for size in range(known, len(whole) + 1):
        path.write_bytes(whole[:size])
        history = History(path, epochs)
        assert len(history.rows) == epochs
        for row in ROWS[epochs:]:
            history.append(row)
        assert path.read_bytes() == whole


def test_lost_rows_are_refused(path):
    with pytest.raises(ValueError, match="Received: 3 rows of 4"):
        History(path, epochs=4)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ValueError, match="Received: 2 rows of 3"):
        History(path, epochs=3)
    path.unlink()
    with pytest.raises(ValueError, match="Received: 0 rows of 1"):
        History(path, epochs=1)


def test_one_of_several_workers_writes(path):
    whole = path.read_bytes()
    history = History(path, epochs=1, writes=False)
    history.append(ROWS[1])
    assert len(history.rows) == 2
    assert path.read_bytes() == whole
