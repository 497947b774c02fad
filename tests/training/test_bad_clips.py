"""Clips that cannot be read end a run, or are left out, counted and named."""

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from audiomamba.dataio.batches import ClipBatch
from audiomamba.dataio.pipeline import ClipDataset, LabelEncoder
from audiomamba.dataio.reader import AudioReader
from audiomamba.training.runs.folder import RunError
from audiomamba.training.tasks.classification import ClassificationBrain

SKIP = {"on_bad_clip": "skip", "max_bad_share": 0.25}
LABELS = ["a", "b", "c"]


def damage(path, how):
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "no sound":
        path.write_text("no sound")
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:-50])
    elif how == "no frames":
        soundfile.write(path, np.zeros(0), 16000)
    else:
        value = float(how)
        soundfile.write(path, np.full(64, value), 16000, subtype="FLOAT")


HOWS = ["missing", "empty", "no sound", "truncated", "no frames", "nan", "inf"]


@pytest.fixture
def make_sets(tmp_path):
    """Make the three data sets of a run; clips by number are damaged."""

    def make(bad=(), hows=HOWS):
        folder = tmp_path / "sounds"
        folder.mkdir(exist_ok=True)
        sets = []
        for split, count in (("train", 22), ("valid", 9), ("test", 9)):
            rows = []
            for number in range(count):
                draw = np.random.default_rng([len(split), number])
                wave = 0.1 * draw.standard_normal(64)
                name = f"{split}{number:02}"
                soundfile.write(folder / f"{name}.wav", wave, 16000)
                rows.append((name, 0.004, f"{name}.wav", LABELS[number % 3]))
            columns = ["ID", "duration", "wav", "label"]
            path = folder / f"{split}.csv"
            pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
            dataset = ClipDataset(
                path, AudioReader(folder), LabelEncoder(LABELS)
            )
            dataset.leave_out_bad(split)
            sets.append(dataset)
        for number, name in enumerate(bad):
            damage(folder / f"{name}.wav", hows[number % len(hows)])
        return sets

    return make


BAD = ["train00", "train03", "train04", "train17", "test02"]


@pytest.mark.parametrize("how", HOWS)
def test_every_kind_is_left_out(how, make_sets):
    dataset = make_sets(["train01"], [how])[0]
    batch = ClipBatch([dataset[number] for number in range(3)])
    assert batch.id == ["train00", "train02"] and not batch.is_empty
    assert batch.sig.data.shape == (2, 64)
    fault = batch.faults["train01"]
    assert "train01.wav" in fault.why and fault[1:] == ("train", 22)
    assert ClipBatch([dataset[1]]).is_empty


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_goes_on_without_them(workers, make_run, make_sets, caplog):
    run = make_run(num_workers=workers, **SKIP)
    run.sets = make_sets(BAD)
    run.fit()
    tested = run.test()
    assert tested["honest"]["epoch"] in (1, 2, 3)
    found = run.brain.bad_clips.found
    assert {split: list(clips) for split, clips in found.items()} == {
        "test": BAD[4:],
        "train": BAD[:4],
    }
    warned = [r.message for r in caplog.records if "left out of" in r.message]
    # Once each, not once an epoch
    assert len(warned) == len(set(warned)) == 5
    ids, _, _ = run.hparams["metrics"].arrays()
    assert len(ids) == 8 and "test02" not in ids


def test_what_is_left_out_has_no_part_in_the_training(make_run, make_sets):
    weights = []
    for hows in (["empty"], ["no sound"]):
        run = make_run(hows[0].replace(" ", "_"), batch_size=1, **SKIP)
        run.sets = make_sets(BAD[:4], hows)
        run.fit()
        assert run.brain.optimizer_step == 3 * 22
        weights.append(run.weights())
    for key, value in weights[0].items():
        assert torch.isfinite(value).all()
        torch.testing.assert_close(value, weights[1][key], atol=0, rtol=0)


def test_a_stopped_run_resumes_with_the_same_bits(make_run, make_sets):
    class Stopped(Exception):
        pass

    class Stopping(ClassificationBrain):
        def on_fit_batch_end(self, batch, outputs, loss, should_step):
            if (self.epoch, self.step) == (2, 4):
                raise Stopped

    sets = make_sets(BAD[:4])
    options = {"ckpt_interval_steps": 1, **SKIP}
    whole = make_run("whole", **options)
    whole.sets = sets
    whole.fit()
    first = make_run("cut", brain_class=Stopping, **options)
    first.sets = sets
    with pytest.raises(Stopped):
        first.fit()
    second = make_run("cut", **options)
    second.sets = sets
    second.fit()
    assert second.brain.bad_clips.found == whole.brain.bad_clips.found
    for key, value in whole.weights().items():
        torch.testing.assert_close(second.weights()[key], value, atol=0, rtol=0)


def test_too_many_end_the_run(make_run, make_sets):
    run = make_run(**{**SKIP, "max_bad_share": 0.1})
    run.sets = make_sets(BAD)
    with pytest.raises(RunError, match="4 of 22 clips of train.*max_bad_share"):
        run.fit()


def test_the_first_one_ends_a_run_that_is_to_stop(make_run, make_sets):
    run = make_run(num_workers=1)
    run.sets = make_sets(["train05"])
    with pytest.raises(RunError, match=r"train05.wav: .*--on_bad_clip skip"):
        run.fit()
