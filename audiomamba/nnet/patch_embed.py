"""Cutting a spectrogram into patches, at any patch size and stride."""

import functools
import math
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F

from audiomamba.ops import linear

# A size in both directions, or in (bins, frames).
Size = int | Sequence[int]
Steps = TypeVar("Steps", int, torch.Tensor)


def to_pair(value: Size) -> tuple[int, int]:
    """Return (bins, frames) from an integer or a pair.

    Arguments
    ---------
    value : int or sequence of two int
        A patch size or a stride.

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        If it is neither, or not positive.

    Example
    -------
    >>> to_pair(16), to_pair([128, 4])
    ((16, 16), (128, 4))
    """
    pair = tuple(value) if isinstance(value, Iterable) else (value, value)
    if len(pair) != 2 or not all(
        isinstance(v, Integral) and not isinstance(v, bool) and v > 0
        for v in pair
    ):
        raise ValueError(
            f"A patch size or stride is {value!r}; it must be a positive "
            "integer or a pair of them, (bins, frames)."
        )
    return int(pair[0]), int(pair[1])


def grid_length(size: Steps, patch: int, stride: int) -> Steps:
    """Return how many patches fit; at least one, as short clips are padded.

    Arguments
    ---------
    size : int or torch.Tensor
        Bins or frames.
    patch : int
        Patch size along that axis.
    stride : int
        Stride along that axis.

    Returns
    -------
    int or torch.Tensor

    Example
    -------
    >>> grid_length(1024, 16, 16), grid_length(3, 4, 4)
    (64, 1)
    """
    if isinstance(size, torch.Tensor):
        patches = torch.div(size - patch, stride, rounding_mode="floor") + 1
        return patches.clamp(min=1)
    return max((size - patch) // stride + 1, 1)


@functools.lru_cache(maxsize=32)
def _resize_pseudo_inverse(old, new):
    """Return the matrix that resizes flattened kernels from old to new.

    In NumPy: a tensor that is made during an export, or in inference mode,
    cannot be used after it.
    """
    # FlexiViT (arXiv 2212.08013, equation 4): if M resizes a patch bilinearly,
    # pinv(M^T) w is the kernel that gives the resized patch the old output.
    resizes = np.kron(*map(_resize_axis, old, new))
    return np.linalg.pinv(resizes.T)


def _resize_axis(old, new):
    """Return the matrix [new, old] that resizes an axis linearly."""
    places = (np.arange(new) + 0.5) * old / new - 0.5
    distances = np.clip(places, 0, old - 1)[:, None] - np.arange(old)
    return np.maximum(1 - np.abs(distances), 0)


def resize_patch_kernel(
    weight: torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    """Resize a patch kernel so that resized patches keep their embeddings.

    Arguments
    ---------
    weight : torch.Tensor
        [D, channels, bins, frames].
    size : tuple of int
        The new (bins, frames).

    Returns
    -------
    torch.Tensor
        [D, channels, *size]; differentiable in ``weight``.

    Example
    -------
    >>> resize_patch_kernel(torch.randn(8, 1, 16, 16), (8, 16)).shape
    torch.Size([8, 1, 8, 16])
    """
    old, new = tuple(weight.shape[2:]), tuple(size)
    if old == new:
        return weight
    matrix = torch.from_numpy(_resize_pseudo_inverse(old, new)).to(weight)
    return (weight.flatten(2) @ matrix.T).unflatten(2, new)


def cut_patches(
    feats: torch.Tensor, patch_size: tuple[int, int], stride: tuple[int, int]
) -> torch.Tensor:
    """Cut spectrograms into patches.

    Arguments
    ---------
    feats : torch.Tensor
        [B, T, F]; zeros are added if a patch is longer.
    patch_size, stride : tuple of int
        In (bins, frames).

    Returns
    -------
    torch.Tensor
        [B, F', T', bins * frames], time running fastest within a patch.

    Example
    -------
    >>> feats = torch.arange(8.0).reshape(1, 4, 2)
    >>> cut_patches(feats, (2, 2), (2, 2)).tolist()
    [[[[0.0, 2.0, 1.0, 3.0], [4.0, 6.0, 5.0, 7.0]]]]
    """
    missing = patch_size[1] - feats.shape[1]
    if missing > 0:
        feats = F.pad(feats, (0, 0, 0, missing))
    patches = feats.mT
    for axis in (0, 1):
        patches = patches.unfold(1 + axis, patch_size[axis], stride[axis])
    return patches.flatten(3)


class PatchEmbed(torch.nn.Module):
    """Linear embedding of the patches of a spectrogram.

    Arguments
    ---------
    patch_size : tuple of int
        (bins, frames).
    stride : tuple of int
        (bins, frames).
    embed_dim : int
        Width of the tokens.

    Example
    -------
    >>> embed = PatchEmbed((16, 16), (16, 16), 32)
    >>> embed(torch.randn(2, 64, 128)).shape
    torch.Size([2, 8, 4, 32])
    """

    def __init__(
        self,
        patch_size: tuple[int, int],
        stride: tuple[int, int],
        embed_dim: int,
    ):
        super().__init__()
        self.proj = torch.nn.Conv2d(1, embed_dim, patch_size, stride)
        # LeCun initialisation by a truncated normal, as in timm.
        std = math.prod(patch_size) ** -0.5 / 0.87962566103423978
        torch.nn.init.trunc_normal_(
            self.proj.weight, std=std, a=-2 * std, b=2 * std
        )
        torch.nn.init.zeros_(self.proj.get_parameter("bias"))

    def forward(
        self,
        feats: torch.Tensor,
        patch_size: tuple[int, int] | None = None,
        stride: tuple[int, int] | None = None,
    ) -> torch.Tensor:
        """Embed the patches.

        Arguments
        ---------
        feats : torch.Tensor
            [B, T, F].
        patch_size : tuple of int or None
            Another patch size than the constructor's.
        stride : tuple of int or None
            Another stride than the constructor's.

        Returns
        -------
        torch.Tensor
            [B, F', T', D].
        """
        weight = self.proj.weight
        if patch_size is not None:
            weight = resize_patch_kernel(weight, patch_size)
        # A matrix product, as convolutions of one channel are slow, above all
        # in bfloat16 on the CPU.
        patches = cut_patches(
            feats, weight.shape[2:], stride or self.proj.stride
        )
        return linear(patches, weight.flatten(1), self.proj.bias)
