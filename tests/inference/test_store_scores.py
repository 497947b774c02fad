"""A teacher's scores of a corpus, stored once."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from audiomamba.dataio.scores import ScoreFile

from .conftest import LABELS


@pytest.fixture
def store(monkeypatch, run, clips, tmp_path):
    """Run the tool on the clips of the run."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "tools")
    from store_scores import main

    def call(model=run.exported, manifest=clips / "train.csv", target="s.h5"):
        path = tmp_path / target
        options = ["--data_folder", clips, "--device", "cpu"]
        options += ["--batch_size", 5, "--num_workers", 0]
        main([*map(str, (model, manifest, path, *options))])
        return path

    return call


def test_the_scores_are_those_of_the_evaluation(store, run):
    scores = ScoreFile(store())
    ids = [path.stem for path in run.paths]
    found = scores.read(ids).softmax(-1)
    torch.testing.assert_close(found, run.scores, atol=1e-5, rtol=1e-5)
    assert scores.labels == LABELS


def test_a_stopped_program_resumes(store, capsys):
    path = store()
    whole = ScoreFile(path).read(["00", "05", "11"])
    with h5py.File(path, "r+") as file:
        file["logits"][3:7] = np.nan
        file["logits"][0] = 1.0
    capsys.readouterr()
    store()
    assert "4 new of 12 clips" in capsys.readouterr().out
    resumed = ScoreFile(path).read(["00", "05", "11"])
    torch.testing.assert_close(resumed[1:], whole[1:], atol=1e-5, rtol=1e-5)
    assert resumed[0].tolist() == [1.0, 1.0, 1.0]  # as it was in the file


def test_another_list_needs_another_file(store, clips, tmp_path):
    store()
    lines = (clips / "train.csv").read_text().splitlines()
    short = tmp_path / "short.csv"
    short.write_text("\n".join(lines[:5]) + "\n")
    with pytest.raises(SystemExit, match="of other clips"):
        store(manifest=short)


def test_a_model_that_was_trained_further_needs_another_file(
    store, run, tmp_path
):
    """Its path is the same."""
    model = shutil.copytree(run.exported, tmp_path / "exported")
    store(model=model)
    weights = torch.load(model / "classifier.ckpt", weights_only=True)
    torch.save(
        {k: v + 1 for k, v in weights.items()}, model / "classifier.ckpt"
    )
    sums = (model / "SHA256SUMS").read_text().splitlines(True)
    kept = [line for line in sums if "classifier" not in line]
    (model / "SHA256SUMS").write_text("".join(kept))
    with pytest.raises(SystemExit, match="of another model: name a new"):
        store(model=model)


def test_what_cannot_be_read_ends_with_a_message(store, tmp_path):
    with pytest.raises(SystemExit, match="store_scores.py: .*exported model"):
        store(model=tmp_path)
