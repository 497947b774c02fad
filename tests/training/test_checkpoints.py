"""Checkpoints are whole or absent, and their metadata can be loaded."""

import numpy as np
import pytest
import torch

from audiomamba.training.checkpoints import AtomicCheckpointer, plain_scalars


class Killed(BaseException):
    """The process is killed here."""


def test_a_half_written_checkpoint_is_not_found(tmp_path):
    layer = torch.nn.Linear(1, 1)
    layer.weight.data.fill_(1.0)
    checkpointer = AtomicCheckpointer(tmp_path, {"layer": layer})
    checkpointer.save_checkpoint(meta={"epoch": 1})
    layer.weight.data.fill_(2.0)

    def die(obj, path):
        path.write_bytes(b"half")
        raise Killed

    checkpointer.add_recoverable("late", layer, custom_save_hook=die)
    with pytest.raises(Killed):
        checkpointer.save_checkpoint(meta={"epoch": 2})
    assert len(list(tmp_path.iterdir())) == 2

    again = AtomicCheckpointer(tmp_path, {"layer": layer})
    assert len(list(tmp_path.iterdir())) == 2  # reading removes nothing
    again.remove_leftovers()
    assert again.recover_if_possible().meta["epoch"] == 1
    assert layer.weight.item() == 1.0
    assert len(list(tmp_path.iterdir())) == 1


def test_a_half_deleted_checkpoint_is_removed(tmp_path):
    folder = tmp_path / "CKPT+2000-01-01+00-00-00+00"
    folder.mkdir()
    (folder / "layer.ckpt").write_bytes(b"rest")
    checkpointer = AtomicCheckpointer(tmp_path, {})
    assert checkpointer.find_checkpoint() is None
    checkpointer.remove_leftovers()
    assert not folder.exists()


def test_a_named_checkpoint_is_replaced(tmp_path):
    layer = torch.nn.Linear(1, 1)
    checkpointer = AtomicCheckpointer(tmp_path, {"layer": layer})
    for epoch in (1, 2):
        saved = checkpointer.save_checkpoint({"epoch": epoch}, name="best")
        assert saved.paramfiles["layer"].exists()
    assert [c.meta["epoch"] for c in checkpointer.list_checkpoints()] == [2]


def test_the_best_of_each_key_and_the_newest_are_kept(tmp_path):
    checkpointer = AtomicCheckpointer(tmp_path, {})
    valid = [0.5, 0.9, 0.9, 0.1, 0.2]
    test = [0.7, 0.1, 0.2, 0.3, 0.4]
    for epoch, (one, other) in enumerate(zip(valid, test), 1):
        checkpointer.save_and_keep_best(
            {"epoch": epoch, "valid": one, "test": other}, ["valid", "test"]
        )
    kept = {c.meta["epoch"] for c in checkpointer.list_checkpoints()}
    assert kept == {1, 2, 5}


def test_metadata_becomes_plain_python_numbers():
    meta = {
        "numpy": np.float32(0.5),
        "array": np.array([3]),
        "tensor": torch.tensor(2),
        "flag": np.bool_(True),
        "text": "a",
    }
    plain = plain_scalars(meta)
    assert [type(value) for value in plain.values()] == [
        float,
        int,
        int,
        bool,
        str,
    ]


@pytest.mark.parametrize("value", [np.ones(2), torch.ones(2), [1], None])
def test_other_metadata_is_refused(value):
    with pytest.raises(TypeError, match="'scores'"):
        plain_scalars({"scores": value})


def test_numpy_metadata_can_be_loaded(tmp_path):
    AtomicCheckpointer(tmp_path, {}).save_checkpoint({"map": np.float64(0.25)})
    found = AtomicCheckpointer(tmp_path, {}).find_checkpoint(max_key="map")
    assert found.meta["map"] == 0.25


def test_names_sort_by_age(tmp_path):
    """Also within one second, and after earlier ones were deleted."""
    checkpointer = AtomicCheckpointer(tmp_path, {})
    for epoch in range(1, 30):
        checkpointer.save_and_keep_best({"epoch": epoch, "best": 0.0}, ["best"])
        newest = checkpointer.find_checkpoint()
        assert newest.meta["epoch"] == epoch
        assert newest.path == max(tmp_path.iterdir())
