"""Utterances with fewer encoder steps than CTC needs for their tokens."""

import logging
from types import SimpleNamespace

import pytest
import torch
from speechbrain.nnet.losses import ctc_loss

from audiomamba.dataio.problems import PreparationError
from audiomamba.lobes import KaldiFbank, SpeechBrainFbank
from audiomamba.training.tasks.short_utterances import (
    find_short,
    steps_needed,
    without_short,
)

# Four steps of 40 ms are 16 frames of 10 ms, in windows of 25 ms
FOUR_STEPS = (25 + 15 * 10) / 1000


def tokens(label):
    """Return a token per letter."""
    return torch.tensor([ord(letter) - 64 for letter in label])


@pytest.fixture
def hparams(tmp_path):
    rows = [
        f"fits,{FOUR_STEPS},a.flac,ABCD",
        f"short,{FOUR_STEPS - 1e-4},b.flac,ABCD",
        f"doubled,{FOUR_STEPS},c.flac,ABB",
        f"repeats,{FOUR_STEPS},d.flac,ABBA",
    ]
    for split in ("train", "valid"):
        text = "\n".join(["ID,duration,wav,label", *rows])
        (tmp_path / f"{split}.csv").write_text(text + "\n")
    return {
        "compute_features": KaldiFbank(n_mels=16),
        "embedding_model": SimpleNamespace(step_counts=lambda n: n // 4),
        "sample_rate": 16000,
        "manifest_folder": str(tmp_path),
        "wav_augment": None,
        "speeds": [90, 100, 110],
        "allow_missing": True,
    }


def test_ctc_has_a_path_exactly_if_there_are_enough_steps():
    for label in ("A", "AB", "AA", "ABBA", "AAAA"):
        target = tokens(label)
        for n_steps in range(1, 9):
            loss = torch.nn.functional.ctc_loss(
                torch.zeros(n_steps, 1, 5).log_softmax(-1),
                target[None],
                torch.tensor([n_steps]),
                torch.tensor([len(target)]),
            )
            assert loss.isfinite() == (n_steps >= steps_needed(target))


def test_speechbrains_loss_hides_that_there_is_no_path():
    scores = torch.zeros(1, 2, 5).log_softmax(-1)
    one = torch.ones(1)
    assert ctc_loss(scores, tokens("ABCD")[None], one, one, 0) == 0


def test_the_steps_are_those_of_the_features(hparams, tmp_path):
    manifest = tmp_path / "train.csv"
    found = find_short(manifest, tokens, hparams, speed=100)
    assert found["ID"].tolist() == ["repeats", "short"]
    assert found["steps"].tolist() == [4, 3]
    assert found["needed"].tolist() == [5, 4]
    # 18 centred frames are 4 steps as well
    hparams["compute_features"] = SpeechBrainFbank(n_mels=16)
    found = find_short(manifest, tokens, hparams, speed=100)
    assert found["ID"].tolist() == ["repeats"]


@pytest.mark.parametrize("features", [KaldiFbank, SpeechBrainFbank])
def test_frames_are_counted_as_they_are_computed(features):
    compute = features(n_mels=16)
    for n_samples in (100, 399, 400, 559, 560, 1600, 1700, 4001):
        feats = compute(torch.randn(1, n_samples))
        assert compute.count_frames(n_samples) == feats.shape[1]
        assert compute.count_frames(torch.tensor([n_samples])) == feats.shape[1]


def test_training_leaves_out_what_is_too_short_at_the_highest_speed(
    hparams, caplog
):
    assert without_short("train", tokens, hparams) == {"repeats", "short"}
    hparams["wav_augment"] = torch.nn.Identity()
    assert len(without_short("train", tokens, hparams)) == 4
    hparams["allow_missing"] = False
    with pytest.raises(PreparationError, match="fits: 3 of 4 steps"):
        without_short("train", tokens, hparams)
    with caplog.at_level(logging.WARNING):
        assert without_short("valid", tokens, hparams) == frozenset()
    assert "repeats: 4 of 5 steps" in caplog.text
    assert "Their errors count" in caplog.text


def test_a_long_list_is_cut(hparams, tmp_path):
    rows = [f"u{n:02},0.1,{n}.flac,ABCDEFG" for n in range(12)]
    text = "\n".join(["ID,duration,wav,label", *rows]) + "\n"
    (tmp_path / "train.csv").write_text(text)
    hparams["allow_missing"] = False
    with pytest.raises(PreparationError, match="12 utterances") as caught:
        without_short("train", tokens, hparams)
    assert "... and 2 more" in str(caught.value)
