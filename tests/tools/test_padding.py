"""Padding and lengths: what is measured of a model with and without them."""

import pytest
import torch

from .test_needle import N_MELS, new_tagger


class MeanOfFrames(torch.nn.Module):
    """Stands for an encoder: the mean of a clip's own frames, [B, 1, F]."""

    def forward(self, feats, lengths):
        count = (lengths * feats.shape[1]).round().long()
        own = torch.arange(feats.shape[1]) < count[:, None]
        total = (feats * own[..., None]).sum(1, keepdim=True)
        return total / count[:, None, None]


def test_only_without_lengths_does_padding_count():
    from padding import WAYS, compare, score_all

    torch.manual_seed(0)
    tagger = new_tagger(encoder=MeanOfFrames())
    assert tagger.mods.classifier.in_features == N_MELS
    clips = [0.1 * torch.randn(n) for n in (8000, 2000, 4000, 6000)]
    scores = score_all(tagger, clips, batch_size=2)
    targets = [torch.tensor([0])] * len(clips)
    rows = {row["way"]: row for row in compare(scores, targets)}
    assert list(rows) == list(WAYS)
    assert rows[WAYS[0]]["largest_difference"] == 0
    assert rows[WAYS[1]]["largest_difference"] < 1e-5
    assert rows[WAYS[2]]["largest_difference"] > 1e-2
    assert {"accuracy", "mAP"} < rows[WAYS[2]].keys()


def test_batches_of_one_clip_are_refused(capsys):
    from padding import main

    with pytest.raises(SystemExit):
        main(["m", "t.csv", "o.json", "--data_folder=d", "--batch_size=1"])
    assert "pads nothing" in capsys.readouterr().err
