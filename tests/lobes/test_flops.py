"""Counted operations equal numbers worked out by hand."""

import pytest
import torch

from audiomamba import AudioMamba, dass_medium, dass_small
from audiomamba.lobes import AudioSpectrogramTransformer
from audiomamba.lobes.flops import count_clip, count_flops, count_parameters

FRAMES, PATCHES, WIDTH, DEPTH = 64, 32, 64, 3
EMBEDDING = 2 * PATCHES * 16 * 16 * WIDTH
N = PATCHES + 1


def selection():
    """Return the operations of one branch's convolution and selection."""
    inner, rank, states, taps = 2 * WIDTH, WIDTH // 16, 16, 4
    branch = 2 * N * inner * taps  # convolution
    branch += 2 * N * inner * (rank + 2 * states)  # x_proj
    return branch + 2 * N * rank * inner  # dt_proj


def mixer(n_branches, n_scans, n_skips):
    """Return the operations of one block, from the mixer's equations."""
    inner, states = 2 * WIDTH, 16
    scan = N * inner * (7 * states + 1)
    total = n_branches * selection() + n_scans * scan + n_skips * 2 * N * inner
    return total + 2 * N * WIDTH * 2 * inner + 2 * N * inner * WIDTH


@pytest.mark.parametrize(
    "scan, parts",
    [("fo_fo", (1, 1, 1)), ("fo_bi", (1, 2, 2)), ("bi_bi", (2, 2, 2))],
)
def test_the_operations_of_audio_mamba_are_counted(scan, parts):
    encoder = AudioMamba(
        n_frames=FRAMES, embed_dim=WIDTH, depth=DEPTH, scan=scan
    )
    wanted = EMBEDDING + DEPTH * mixer(*parts)
    assert count_flops(encoder, (1, FRAMES, 128)) == wanted
    assert count_flops(encoder, (3, FRAMES, 128)) == 3 * wanted
    assert next(encoder.parameters()).device.type == "cpu"


def test_the_attention_of_the_transformer_is_counted():
    pytest.importorskip("transformers")
    encoder = AudioSpectrogramTransformer(
        n_frames=FRAMES, embed_dim=WIDTH, depth=DEPTH, distilled=False
    )
    projections = 2 * N * (4 + 8) * WIDTH * WIDTH
    attention = 2 * 2 * N * N * WIDTH
    wanted = EMBEDDING + DEPTH * (projections + attention)
    assert count_flops(encoder, (1, FRAMES, 128)) == wanted


def test_training_counts_the_backward_pass():
    """A matrix product costs twice as much backward as forward.

    Convolution and selection are recomputed, which costs once more.
    """
    encoder = AudioMamba(n_frames=FRAMES, embed_dim=WIDTH, depth=DEPTH)
    inner, states = 2 * WIDTH, 16
    forward = EMBEDDING + DEPTH * mixer(1, 2, 2)
    of_scan = 2 * N * inner * (7 * states + 1 + 2)
    of_matrices = forward - EMBEDDING - DEPTH * of_scan
    # The patch embedding's input, a spectrogram, needs no gradient.
    backward = EMBEDDING + 2 * of_matrices
    backward += DEPTH * 2 * N * inner * (20 * states + 3 + 4)
    backward += DEPTH * selection()
    counted = count_flops(encoder, (1, FRAMES, 128), training=True)
    assert counted == forward + backward


@pytest.mark.parametrize(
    "build, frames, gigas",
    [
        (dass_small, 1024, 25.25),
        (dass_small, 2048, 50.50),
        (dass_medium, 1024, 44.45),
    ],
)
def test_the_operations_of_dass_are_counted(build, frames, gigas):
    with torch.device("meta"):
        encoder, head = build(), torch.nn.Linear(768, 527)
    counted = count_clip(encoder, head, frames)
    assert round(counted["forward"] / 1e9, 2) == gigas
    # The scans cost more backward, the spectrogram needs no gradient.
    ratio = counted["training"] / counted["forward"]
    assert ratio == pytest.approx(3, abs=0.01)


def test_frozen_parameters_are_not_counted():
    layer = torch.nn.Linear(3, 5)
    layer.bias.requires_grad_(False)
    assert count_parameters(layer) == 15


def test_batch_norm_counts_a_single_clip():
    norm = torch.nn.BatchNorm1d(4)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), norm)
    assert count_flops(model, (1, 3), training=True) == 2 * 2 * 12
    assert norm.training
