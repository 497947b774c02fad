"""Where a checkpoint is: local paths first, and only names go to the hub."""

import json

import pytest
import torch
from speechbrain.utils.checkpoints import Checkpointer

from audiomamba import AudioMamba
from audiomamba.pretrained import CheckpointError, initialise, read_class_names
from audiomamba.pretrained.sources import is_on_hub, locate, run_checkpoint
from audiomamba.pretrained.weights import read_tensors


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)


@pytest.mark.parametrize("name", ["best.pth", "model", "a.b/c", "owner/name"])
def test_an_existing_path_is_never_a_name_on_the_hub(
    tmp_path, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert not is_on_hub(name)
    assert locate(name).samefile(path)


@pytest.mark.parametrize(
    "name",
    ["best.pth", "runs/best.pth", "model", "./owner/name", "a/b/c", "/a/b",
     "../owner", "owner/na me"],
)  # fmt: skip
def test_a_path_that_is_not_there_is_not_asked_for(tmp_path, monkeypatch, name):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        locate(name)


def test_names_on_the_hub_may_have_dots():
    assert is_on_hub("MIT/ast-finetuned-audioset-10-10-0.4593")
    with pytest.raises(AssertionError, match="hub was asked"):
        locate("MIT/ast-finetuned-audioset-10-10-0.4593")


@pytest.fixture
def run(tmp_path):
    """The output folder of a run of two epochs; the first was better."""
    folder = tmp_path / "run"
    checkpointer = Checkpointer(folder / "save")
    for epoch in (1, 2):
        encoder = AudioMamba(n_frames=32, embed_dim=16, depth=1)
        torch.nn.init.constant_(encoder.norm_f.weight, epoch)
        head = torch.nn.Linear(16, 2)
        checkpointer.recoverables = {
            "embedding_model": encoder, "classifier": head,
        }  # fmt: skip
        checkpointer.save_checkpoint(meta={"epoch": epoch})
        checkpointer.save_checkpoint(meta={"epoch": epoch}, end_of_epoch=False)
    (folder / "hyperparams.yaml").touch()
    record = {"epoch": 1, "protocol": "honest"}
    (folder / "results.json").write_text(json.dumps(record))
    return folder


def test_a_run_is_a_model(run):
    tensors, name = read_tensors(run)
    assert tensors["norm_f.weight"].tolist() == [1.0] * 16
    assert tensors["head.weight"].shape == (2, 16) and "CKPT" in name
    assert read_class_names(run) is None
    encoder = AudioMamba(n_frames=32, embed_dim=16, depth=1)
    assert initialise(encoder, torch.nn.Linear(16, 2), run)


def test_runs_that_have_no_such_checkpoint_are_explained(run):
    for record, words in (
        ({"epoch": 9, "protocol": "honest"}, "epoch 9.*export_pretrained"),
        ({"epoch": 1, "protocol": "ema"}, "averages.*export_pretrained"),
    ):
        (run / "results.json").write_text(json.dumps(record))
        with pytest.raises(CheckpointError, match=words):
            run_checkpoint(run)
    (run / "results.json").unlink()
    with pytest.raises(CheckpointError, match="not finished"):
        locate(run)
