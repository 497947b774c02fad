"""Which patches of a clip are hidden in self-supervised pre-training."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import torch


def seed_of_clip(seed: int, clip: str) -> int:
    """Return the seed of a clip's mask.

    Arguments
    ---------
    seed : int
        That of the training step, or a constant.
    clip : str
        ID of the clip.

    Returns
    -------
    int
        64 bits.

    Example
    -------
    >>> seed_of_clip(0, "a") == seed_of_clip(0, "b")
    False
    """
    digest = blake2b(f"{seed}|{clip}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def hide_patches(
    patches: torch.Tensor,
    mask: torch.Tensor | None,
    mask_token: torch.Tensor | None,
) -> torch.Tensor:
    """Put a token in the place of hidden patches.

    Arguments
    ---------
    patches : torch.Tensor
        [B, F', T', D].
    mask : torch.Tensor or None
        True for hidden patches, [B, F', T']; None hides none.
    mask_token : torch.Tensor or None
        [D]; needed with a mask.

    Returns
    -------
    torch.Tensor
        [B, F', T', D].

    Raises
    ------
    ValueError
        If there is a mask without a token.

    Example
    -------
    >>> mask = torch.tensor([[[True, False]]])
    >>> hide_patches(torch.ones(1, 1, 2, 1), mask, torch.zeros(1)).flatten()
    tensor([0., 1.])
    """
    if mask is None:
        return patches
    if mask_token is None:
        raise ValueError("a mask needs a mask_token to put in its place.")
    return torch.where(mask[..., None], mask_token, patches)


class PatchMask:
    """Draws masks over the patches that clips have, never over padding.

    A clip's mask is a function of its seed and of its own grid, whatever its
    batch.  All rows and columns are hidden equally often.  Patches as high as
    the spectrogram make a grid of one row, and so a mask of frames.

    Arguments
    ---------
    share : float
        Share of the patches to hide, in (0, 1).  The number is exact: the
        nearest integer, but at least one patch is hidden and, of several, one
        left.
    cluster : sequence of int or None
        Shortest and longest side of the squares of patches that are hidden
        together, drawn for each clip; None hides single patches.

    Raises
    ------
    ValueError
        If an argument has a value that is not allowed.

    Example
    -------
    >>> mask = PatchMask(share=0.5, cluster=[1, 2])
    >>> hidden = mask(n_rows=2, n_columns=[4, 3], seeds=[1, 2])
    >>> hidden.shape, hidden.sum((1, 2)), hidden[1, :, 3].any()
    (torch.Size([2, 2, 4]), tensor([4, 3]), tensor(False))
    """

    def __init__(
        self, share: float = 0.6, cluster: Sequence[int] | None = (3, 5)
    ):
        if not 0 < share < 1:
            raise ValueError(f"share is {share}; it must be between 0 and 1.")
        sides = (1, 1) if cluster is None else tuple(cluster)
        if len(sides) != 2 or not 1 <= sides[0] <= sides[1]:
            raise ValueError(
                f"cluster is {cluster}; it must be the shortest and the "
                "longest side of a square in patches, such as [3, 5], or null."
            )
        self.share, self.sides = share, sides

    def __call__(
        self,
        n_rows: int,
        n_columns: Sequence[int],
        seeds: Sequence[int],
        width: int | None = None,
    ) -> torch.Tensor:
        """Draw the masks of a batch.

        Arguments
        ---------
        n_rows : int
            Rows F' of patches.
        n_columns : sequence of int
            Columns of patches that each clip has, [B].
        seeds : sequence of int
            One for each clip, [B].
        width : int, optional
            Columns of the batch; by default those of the longest clip.

        Returns
        -------
        torch.Tensor
            True for hidden patches, [B, F', width].
        """
        shape = (len(n_columns), n_rows, width or max(n_columns))
        hidden = np.zeros(shape, dtype=bool)
        for clip, columns, seed in zip(hidden, n_columns, seeds, strict=True):
            generator = np.random.default_rng(seed)
            clip[:, :columns] = self._draw((n_rows, columns), generator)
        return torch.from_numpy(hidden)

    def _draw(self, grid, generator):
        """Return the mask of a clip."""
        n_patches = grid[0] * grid[1]
        n_hidden = round(self.share * n_patches)
        n_hidden = max(1, min(n_hidden, n_patches - 1))
        order = generator.random(grid)
        side = generator.integers(*self.sides, endpoint=True)
        if side > 1:
            order += self._squares(grid, side, n_hidden, generator)
        chosen = np.argsort(order, axis=None)[:n_hidden]
        mask = np.zeros(n_patches, dtype=bool)
        mask[chosen] = True
        return mask.reshape(grid)

    @staticmethod
    def _squares(grid, side, n_hidden, generator):
        """Throw squares until they cover enough patches.

        Returns the number of the first square on each patch.  Squares may
        reach beyond the edges, or those would be covered less often.
        """
        first = np.full(grid, np.inf)
        number = 0
        while np.isfinite(first).sum() < n_hidden:
            row, column = (generator.integers(1 - side, n) for n in grid)
            square = first[
                max(row, 0) : row + side, max(column, 0) : column + side
            ]
            np.minimum(square, number, out=square)
            number += 1
        return first
