"""Checkpoints are whole or absent, and their metadata can be loaded."""

import errno
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from speechbrain.utils.checkpoints import ckpt_recency

from audiomamba.pretrained.weights import CheckpointError
from audiomamba.training.checkpoints import (
    AtomicCheckpointer,
    find_checkpoint,
    plain_scalars,
)


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


def test_the_newest_is_newest_where_the_clock_is_behind(tmp_path, monkeypatch):
    now = time.time()
    for epoch, late in ((1, 0), (2, 0), (3, 300), (4, 300)):
        monkeypatch.setattr(time, "time", lambda late=late: now - late)
        checkpointer = AtomicCheckpointer(tmp_path, {})
        checkpointer.save_and_keep_best({"epoch": epoch, "best": 0.0}, ["best"])
        newest = checkpointer.find_checkpoint(importance_key=ckpt_recency)
        assert newest.meta["epoch"] == epoch


def saved_twice(folder):
    """Save two checkpoints; return the folders, older first."""
    layer = torch.nn.Linear(2, 2)
    checkpointer = AtomicCheckpointer(folder, {"layer": layer})
    return [
        checkpointer.save_checkpoint(
            {"epoch": e, "train_seconds": 60.0 * e}
        ).path
        for e in (1, 2)
    ]


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    "name, harm",
    [
        ("layer.ckpt", flip_a_bit),
        ("layer.ckpt", cut),
        ("layer.ckpt", Path.unlink),
        ("CKPT.yaml", flip_a_bit),
        ("CKPT.yaml", cut),
    ],
)
def test_a_damaged_checkpoint_is_set_aside(tmp_path, name, harm, caplog):
    older, newer = saved_twice(tmp_path)
    harm(newer / name)
    checkpointer = AtomicCheckpointer(
        tmp_path, {"layer": torch.nn.Linear(2, 2)}
    )
    found = checkpointer.find_checkpoint(max_key="epoch")
    assert found.path == older
    assert f"is damaged ({name})" in caplog.text
    assert newer.exists()  # a reader leaves it where it is

    checkpointer.remove_leftovers()
    assert not newer.exists()
    assert (tmp_path / f"damaged-{newer.name}" / "SHA256SUMS").exists()
    assert f"goes on from {older.name}, 1 min" in caplog.text
    assert checkpointer.recover_if_possible().meta["epoch"] == 1


def test_without_a_whole_checkpoint_training_starts_again(tmp_path, caplog):
    for folder in saved_twice(tmp_path):
        flip_a_bit(folder / "layer.ckpt")
    checkpointer = AtomicCheckpointer(tmp_path)
    checkpointer.remove_leftovers()
    assert "No whole one is left" in caplog.text
    assert checkpointer.recover_if_possible() is None


def test_a_full_disk_is_named_and_the_last_checkpoint_kept(
    tmp_path, monkeypatch
):
    older, newer = saved_twice(tmp_path)
    layer = torch.nn.Linear(2, 2)
    checkpointer = AtomicCheckpointer(tmp_path, {"layer": layer})

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    def unexpected(*arguments):
        raise RuntimeError("unexpected pos 64 vs 0")

    checkpointer.add_recoverable("big", layer, custom_save_hook=unexpected)
    with pytest.raises(RuntimeError, match="unexpected pos"):
        checkpointer.save_checkpoint()
    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(CheckpointError, match="No space left") as error:
        checkpointer.save_checkpoint()
    assert f"{newer.name} is kept" in str(error.value)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {older.name, newer.name}


@pytest.mark.parametrize("higher_is_better, epoch", [(True, 2), (False, 1)])
def test_the_best_epoch_is_found_by_accuracy_or_error_rate(
    tmp_path, higher_is_better, epoch
):
    """Once the epoch with the highest error rate was taken for the best."""
    checkpointer = AtomicCheckpointer(tmp_path, {})
    for number, score in enumerate((0.3, 0.9, 0.5), start=1):
        meta = {"epoch": number, "valid_score": score}
        checkpointer.save_and_keep_best(meta, ["valid_score"], higher_is_better)
    assert find_checkpoint(tmp_path, "honest").meta["epoch"] == epoch
    assert find_checkpoint(tmp_path, "last").meta["epoch"] == 3
    assert find_checkpoint(tmp_path, "paper") is None
