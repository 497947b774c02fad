"""Patch and positional embedding, the row of tokens, the residual block."""

import weakref

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from audiomamba.nnet import block, mixer
from audiomamba.nnet.block import DropPath, MambaBlock
from audiomamba.nnet.patch_embed import (
    PatchEmbed,
    resize_patch_kernel,
    to_pair,
)
from audiomamba.nnet.tokens import (
    CLS_TOKENS,
    TOKEN_ORDERS,
    PositionEmbedding,
    TokenRow,
    columns_of,
)


def test_patch_embeddings_equal_a_convolution():
    embed = PatchEmbed((16, 16), (10, 10), 8)
    feats = torch.randn(2, 100, 64)
    wanted = embed.proj(feats.mT[:, None]).permute(0, 2, 3, 1)
    torch.testing.assert_close(embed(feats), wanted)


def test_a_clip_shorter_than_a_patch_is_padded_with_zeros():
    embed = PatchEmbed((16, 16), (16, 16), 8)
    feats = torch.randn(1, 5, 32)
    wanted = embed(F.pad(feats, (0, 0, 0, 11)))
    assert torch.equal(embed(feats), wanted)


@pytest.mark.parametrize("size", [(32, 32), (16, 32), (24, 20)])
def test_a_resized_kernel_gives_a_resized_patch_the_same_embedding(size):
    weight = torch.randn(8, 1, 16, 16, dtype=torch.float64)
    patch = torch.randn(1, 1, 16, 16, dtype=torch.float64)
    resized = F.interpolate(patch, size=size, mode="bilinear")
    found = F.conv2d(resized, resize_patch_kernel(weight, size))
    torch.testing.assert_close(found, F.conv2d(patch, weight))


@pytest.mark.parametrize("value", [0, -1, (16,), (16, 1.5), 16.0, True])
def test_an_invalid_patch_size_is_refused(value):
    with pytest.raises(ValueError, match="positive integer"):
        to_pair(value)


def test_a_longer_clip_gets_the_resampled_positions():
    table = torch.randn(4, 6, 3)
    found = columns_of(table, torch.tensor([6, 9, 14]), 14)
    wanted = F.interpolate(
        table.permute(2, 0, 1)[None], (4, 9), mode="bilinear", antialias=True
    )[0].permute(1, 2, 0)
    torch.testing.assert_close(found[1, :, :9], wanted)
    assert torch.equal(found[0, :, :6], table)


def test_positions_are_resampled_for_another_grid():
    positions = PositionEmbedding((8, 64), 1, 4)
    cls, patches = positions((16, 128), None, 128)
    assert torch.equal(cls, positions.pos_embed[0, :1])
    assert patches.shape == (1, 16, 128, 4)


@pytest.mark.parametrize("cls_token", CLS_TOKENS)
@pytest.mark.parametrize("token_order", TOKEN_ORDERS)
def test_a_row_holds_every_token_once_in_order(cls_token, token_order):
    grid, columns = (3, 5), torch.tensor([5, 2])
    n_cls = CLS_TOKENS[cls_token]
    row = TokenRow(cls_token, n_cls, token_order, grid, columns, "cpu")
    for clip, n_columns in enumerate(columns):
        patches = torch.arange(15).reshape(grid)[:, :n_columns]
        if token_order == "time":
            patches = patches.T
        wanted = patches.flatten().tolist()
        middle = len(wanted) // 2
        if cls_token == "both":
            wanted = [15, *wanted, 16]
        elif cls_token is not None:
            place = {"front": 0, "middle": middle, "end": len(wanted)}
            wanted.insert(place[cls_token], 15)
        assert row.lengths[clip] == len(wanted)
        assert row.source[clip, : len(wanted)].tolist() == wanted


@pytest.mark.parametrize("cls_token", CLS_TOKENS)
@pytest.mark.parametrize("token_order", TOKEN_ORDERS)
def test_frames_are_the_mean_over_frequency(cls_token, token_order):
    columns = torch.tensor([5, 2])
    n_cls = CLS_TOKENS[cls_token]
    row = TokenRow(cls_token, n_cls, token_order, (3, 5), columns, "cpu")
    patches = torch.randn(2, 3, 5, 4)
    cls_tokens = torch.full((n_cls, 4), 100.0)
    frames = row.pool_grid(row.arrange(patches, cls_tokens), "frames")
    torch.testing.assert_close(frames[0], patches[0].mean(0))
    torch.testing.assert_close(frames[1, :2], patches[1, :, :2].mean(0))
    assert torch.equal(frames[1, 2:], torch.zeros(3, 4))


def test_two_class_tokens_come_before_all_patches():
    columns = torch.tensor([3, 1])
    row = TokenRow("front", 2, "frequency", (2, 3), columns, "cpu")
    assert row.source[0].tolist() == [6, 7, 0, 1, 2, 3, 4, 5]
    assert row.source[1, :4].tolist() == [6, 7, 0, 3]
    assert row.lengths.tolist() == [8, 4]
    patches = torch.randn(2, 2, 3, 4)
    tokens = row.arrange(patches, torch.full((2, 4), 100.0))
    assert torch.equal(row.pool_clip(tokens), torch.full((2, 1, 4), 100.0))
    frames = row.pool_grid(tokens, "frames")
    torch.testing.assert_close(frames[1, :1], patches[1, :, :1].mean(0))


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    dropped = DropPath(0.25)(torch.ones(4000, 3))
    torch.testing.assert_close(dropped.unique(), torch.tensor([0.0, 4 / 3]))
    assert torch.equal(dropped[:, :1].expand(-1, 3), dropped)
    assert abs(dropped.mean() - 1) < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_block_does_not_keep_its_normalised_tokens(dtype):
    torch.manual_seed(0)
    block, x = MambaBlock(32), torch.randn(2, 9, 32, requires_grad=True)
    projected = []
    block.mixer.in_proj.register_forward_pre_hook(
        lambda module, inputs: projected.append(weakref.ref(inputs[0]))
    )
    with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
        loss = block(x).square().sum()
        usual = (x + block.mixer(block.norm(x))).square().sum()
    assert len(projected) == 2
    assert projected[0]() is None
    inputs = [x, *block.parameters()]
    for found, wanted in zip(
        torch.autograd.grad(loss, inputs), torch.autograd.grad(usual, inputs)
    ):
        assert torch.equal(found, wanted)


class Largest(TorchDispatchMode):
    """Notes the number of elements of the largest result."""

    def __init__(self):
        super().__init__()
        self.n_elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.n_elements = max(self.n_elements, result.numel())
        return result


@pytest.mark.parametrize("scan", mixer.SCANS)
def test_a_long_row_is_mixed_in_pieces(scan, monkeypatch):
    long = MambaBlock(8, scan=scan).eval()
    x, lengths = torch.randn(2, 15, 8), torch.tensor([15, 7])
    wanted = long(x, lengths)
    with torch.no_grad(), Largest() as whole:
        torch.testing.assert_close(long(x, lengths), wanted)
    for module in (block, mixer):
        monkeypatch.setattr(module, "PIECE", 4)
    with torch.no_grad(), Largest() as pieces:
        torch.testing.assert_close(long(x, lengths), wanted)
    assert pieces.n_elements == whole.n_elements / 2 == 2 * 15 * 16


class Adapted(torch.nn.Module):
    """A layer with an adapter, whose ``weight`` is that of the layer alone."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.adapter = layer, torch.nn.Linear(8, 32, bias=False)

    @property
    def weight(self):
        return self.layer.weight

    def forward(self, x):
        return self.layer(x) + self.adapter(x)


def test_an_adapter_is_part_of_a_long_row(monkeypatch):
    long = MambaBlock(8).eval()
    long.mixer.in_proj = Adapted(long.mixer.in_proj)
    x = torch.randn(2, 15, 8)
    wanted = long(x)
    for module in (block, mixer):
        monkeypatch.setattr(module, "PIECE", 4)
    with torch.no_grad():
        torch.testing.assert_close(long(x), wanted)
    long.mixer.x_proj = Adapted(long.mixer.x_proj)
    with pytest.raises(TypeError, match="x_proj is of Adapted"):
        long(x)
