"""Checkpoints: what is restored, how many are kept, and damaged ones."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import snf_tf
from snf_tf import layers
from snf_tf.training.checkpoints import Checkpoints


def make_flow():
    flow = snf_tf.Flow([layers.SelfNormalizingDense(), layers.SmoothTanh()], event_shape=(40,))
    flow.compile(keras.optimizers.Adam(0.1))
    return flow


def variables(flow):
    return [variable.numpy() for variable in flow.weights + flow.optimizer.variables]


@pytest.fixture
def saved(tmp_path):
    """The directory of two checkpoints, and the variables of each."""
    flow, ends = make_flow(), []
    checkpoints = Checkpoints(tmp_path, flow)
    for number in (1, 2):
        flow.fit(tf.random.normal((8, 40)), batch_size=4, verbose=0)
        checkpoints.save({"number": number})
        ends.append(variables(flow))
    return tmp_path, ends


def assert_equal(flow, expected):
    for variable, value in zip(variables(flow), expected, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_everything_is_restored(saved):
    directory, ends = saved
    flow = make_flow()
    assert Checkpoints(directory, flow).restore() == {"number": 2}
    assert_equal(flow, ends[1])


def test_there_may_be_none(tmp_path):
    flow = make_flow()
    before = flow.get_weights()
    assert Checkpoints(tmp_path / "checkpoints", flow).restore() is None
    for weight, value in zip(flow.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_the_last_three_are_kept(saved):
    directory, _ = saved
    checkpoints = Checkpoints(directory, make_flow())
    for number in (3, 4):
        checkpoints.save({"number": number})
    assert sorted(path.name for path in directory.iterdir()) == [
        f"checkpoint-{number:06d}.{part}"
        for number in (2, 3, 4)
        for part in ("data-00000-of-00001", "index")
    ]


def test_the_best_weights(saved):
    directory, _ = saved
    flow = make_flow()
    checkpoints = Checkpoints(directory, flow)
    best = flow.get_weights()
    checkpoints.keep_best()
    flow.fit(tf.random.normal((8, 40)), verbose=0)
    checkpoints.save({})
    flow = make_flow()
    checkpoints = Checkpoints(directory, flow)
    checkpoints.restore()
    checkpoints.load_best()
    for weight, value in zip(flow.get_weights(), best, strict=True):
        np.testing.assert_array_equal(weight, value)


def damage(path, how):
    content = path.read_bytes()
    middle = len(content) // 2
    changed = {
        "truncated": content[:middle],
        "empty": b"",
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    }
    path.write_bytes(changed[how])


@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("how", ["truncated", "empty", "flipped"])
def test_a_damaged_one_is_skipped(saved, part, how):
    directory, ends = saved
    damage(directory / f"checkpoint-000002.{part}", how)
    flow = make_flow()
    with pytest.warns(
        UserWarning, match="checkpoint-000002 cannot be read, the one before is tried"
    ):
        state = Checkpoints(directory, flow).restore()
    assert state == {"number": 1}
    assert_equal(flow, ends[0])


def test_a_missing_part(saved):
    directory, ends = saved
    (directory / "checkpoint-000002.data-00000-of-00001").unlink()
    flow = make_flow()
    with pytest.warns(UserWarning, match="cannot be read"):
        Checkpoints(directory, flow).restore()
    assert_equal(flow, ends[0])


def test_an_unfinished_one_is_none(saved):
    directory, ends = saved
    # TensorFlow renames the index last.
    (directory / "checkpoint-000003.data-00000-of-00001").write_bytes(b"unfinished")
    flow = make_flow()
    (directory / "checkpoint-000003_temp").mkdir()
    checkpoints = Checkpoints(directory, flow)
    checkpoints.restore()
    assert_equal(flow, ends[1])
    checkpoints.save({"number": 3})
    assert not (directory / "checkpoint-000003_temp").exists()
    assert Checkpoints(directory, make_flow()).restore() == {"number": 3}


def test_only_damaged_ones(saved):
    directory, _ = saved
    for path in directory.glob("*.data*"):
        damage(path, "truncated")
    with (
        pytest.warns(UserWarning, match="cannot be read"),
        pytest.raises(ValueError, match=r"No checkpoint in .* can be read"),
    ):
        Checkpoints(directory, make_flow()).restore()
