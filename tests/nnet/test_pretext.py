"""Hiding patches, and the losses of the heads that tell them."""

import numpy as np
import pytest
import torch

from audiomamba.nnet.patch_mask import PatchMask
from audiomamba.nnet.pretext import PretextHeads


@pytest.mark.parametrize("cluster", [None, [1, 1], [3, 5]])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_the_number_of_hidden_patches_is_exact(cluster, share):
    n_columns = [1, 2, 7, 30]
    for n_rows in (1, 8):
        mask = PatchMask(share, cluster)(n_rows, n_columns, range(4), 33)
        assert mask.shape == (4, n_rows, 33)
        for clip, columns in zip(mask, n_columns):
            n_patches = n_rows * columns
            wanted = min(max(round(share * n_patches), 1), n_patches - 1)
            assert clip.sum() == max(wanted, 1)
            assert not clip[:, columns:].any()


def test_a_mask_depends_on_seed_and_own_grid_alone():
    masks = PatchMask(0.6)
    together = masks(8, [9, 20], [5, 6])
    assert torch.equal(together[:1, :, :9], masks(8, [9], [5]))
    assert torch.equal(together[1:], masks(8, [20], [6], 20))
    assert not torch.equal(masks(8, [20], [7]), masks(8, [20], [6]))


def test_all_rows_and_columns_are_hidden_equally_often():
    mask = PatchMask(0.5, [3, 5])(8, [16] * 800, range(800)).float()
    for axis in (1, 2):
        shares = mask.mean((0, axis))
        assert (shares - 0.5).abs().max() < 0.05, shares


def test_clusters_have_fewer_edges_than_single_patches():
    def edges(cluster):
        mask = PatchMask(0.5, cluster)(8, [16] * 50, range(50))
        return (mask[:, 1:] != mask[:, :-1]).sum()

    assert edges([3, 5]) < 0.6 * edges(None)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"share": 1.0}, "share is 1.0"),
        ({"cluster": [5, 3]}, r"cluster is \[5, 3\]"),
        ({"cluster": [0, 3]}, "shortest"),
    ],
)
def test_masks_without_meaning_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        PatchMask(**arguments)


def make(n_clips=3, **arguments):
    """Return heads, and patches, targets and masks for them."""
    torch.manual_seed(0)
    heads = PretextHeads(8, (2, 3), **arguments)
    patches = torch.randn(n_clips, 4, 5, 8)
    targets = 2 * torch.randn(n_clips, 4, 5, 6) + 1
    mask = PatchMask(0.4, None)(4, [5, 3, 4][:n_clips], range(n_clips))
    return heads, patches, targets, mask


@torch.no_grad()
def test_losses_follow_their_formulas():
    heads, patches, targets, mask = make(generative=2.0, contrastive=0.5)
    found = heads(patches, targets, mask)
    for i, own in enumerate(mask):
        hidden, wanted = patches[i][own], targets[i][own]
        deviation = wanted.std(1, keepdim=True)
        goal = (wanted - wanted.mean(1, keepdim=True)) / deviation
        mse = (heads.generative(hidden) - goal).square().mean()
        assert found.mse[i] == pytest.approx(mse.item(), rel=1e-5)
        assert found.variance[i] == pytest.approx(5 / 6, rel=1e-5)
        scores = heads.contrastive(hidden) @ wanted.T
        places = torch.arange(len(hidden))
        info_nce = torch.nn.functional.cross_entropy(scores, places)
        assert found.info_nce[i] == pytest.approx(info_nce.item(), rel=1e-5)
        hits = (scores.argmax(1) == places).float().mean()
        assert found.accuracy[i] == hits and found.chance[i] == 1 / len(hidden)
    torch.testing.assert_close(
        found.loss, 2.0 * found.mse + 0.5 * found.info_nce
    )


@torch.no_grad()
def test_raw_targets_are_the_patches_themselves():
    heads, patches, targets, mask = make(normalise_targets=False)
    found, wanted = heads(patches, targets, mask), targets[0][mask[0]]
    mse = (heads.generative(patches[0][mask[0]]) - wanted).square().mean()
    assert found.mse[0] == pytest.approx(mse.item(), rel=1e-5)
    variance = np.var(wanted.numpy())
    assert found.variance[0] == pytest.approx(variance, rel=1e-5)
    assert found.info_nce is None and torch.equal(found.loss, found.mse)


@pytest.mark.parametrize("left_out", ["generative", "contrastive"])
def test_a_head_of_weight_0_does_not_exist(left_out):
    weights = {"generative": 1.0, "contrastive": 1.0, left_out: 0.0}
    heads, *batch = make(**weights)
    assert not any(left_out in name for name, _ in heads.named_parameters())
    heads(*batch).loss.sum().backward()
    heads.mask_token.grad = torch.ones(8)  # the encoder's part
    assert all(p.grad.isfinite().all() for p in heads.parameters())


@pytest.mark.parametrize("weights", [(0, 0), (-1, 2)])
def test_weights_without_meaning_are_refused(weights):
    with pytest.raises(ValueError, match="weights of the losses"):
        PretextHeads(8, 2, *map(float, weights))


def test_silence_gives_finite_gradients():
    heads, patches, targets, mask = make(contrastive=1.0)
    targets[:] = -3.0
    heads(patches, targets, mask).loss.sum().backward()
    for parameter in heads.generative.parameters():
        assert parameter.grad.isfinite().all()
