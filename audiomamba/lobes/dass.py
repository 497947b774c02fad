"""DASS: a state-space encoder that scans a spectrogram in four directions.

Bhati, Gong, Karlinsky, Kuehne, Feris and Glass, "DASS: Distilled Audio State
Space Models Are Stronger and More Duration-Scalable Learners", arXiv
2407.04082.
"""

from collections.abc import Sequence

import torch

from audiomamba.lobes.patch_encoder import OUTPUTS
from audiomamba.nnet.block import BlockEncoder, drop_path_rates
from audiomamba.nnet.cross_scan import CrossScanBlock
from audiomamba.nnet.grid import Downsample, GridNorm, GridStem, clear_columns
from audiomamba.nnet.lengths import (
    check_choice,
    check_feats,
    check_lengths,
    check_sizes,
    frame_counts,
)
from audiomamba.nnet.patch_mask import hide_patches


class DASS(BlockEncoder):
    """Encoder of spectrograms of any length, without position embeddings.

    It can replace `audiomamba.lobes.AudioMamba`: input and outputs are the
    same.  The grid of frames and frequencies is a quarter of the spectrogram
    on both axes, and half as large in each stage after the first, so that with
    four stages a frame of the output is 32 frames of the input.

    Arguments
    ---------
    n_mels : int
        Mel bins of the input.
    widths : sequence of int
        Channels of each stage; the first must be even.
    depths : sequence of int
        Blocks of each stage.
    output : str
        "embedding": one vector per clip, the mean over the last grid;
        "frames": one per time step, the mean over frequencies; "rows": one
        per frequency, the mean over time; "patches": the last grid itself;
        "tokens": its places in a row, with frequency running fastest.
    mask_padding : bool
        Whether ``lengths`` are used.  False makes padding content, as in the
        authors' training.
    drop_path : float
        Rate of stochastic depth in the last block, in [0, 1); it grows
        linearly from 0.
    state_size : int
        States per channel and direction.

    Raises
    ------
    ValueError
        If an argument has a value that is not allowed.

    Example
    -------
    >>> encoder = DASS(widths=[8, 16, 32, 64], depths=[1, 1, 1, 1]).eval()
    >>> feats = torch.randn(2, 64, 128)
    >>> encoder(feats).shape
    torch.Size([2, 1, 64])
    >>> encoder(feats, torch.tensor([0.5, 1.0]), output="frames").shape
    torch.Size([2, 2, 64])
    """

    def __init__(
        self,
        n_mels: int = 128,
        widths: Sequence[int] = (96, 192, 384, 768),
        depths: Sequence[int] = (2, 2, 8, 2),
        output: str = "embedding",
        mask_padding: bool = True,
        drop_path: float = 0.0,
        state_size: int = 1,
    ):
        super().__init__()
        check_choice("output", output, OUTPUTS)
        check_sizes(n_mels=n_mels, state_size=state_size)
        _check_stages(widths, depths)
        self.n_mels, self.embed_dim = n_mels, widths[-1]
        self.widths, self.depths = tuple(widths), tuple(depths)
        self.state_size = state_size
        # Of the last grid: 4, and twice as many for each further stage.
        self.frames_per_column = 2 ** (len(widths) + 1)
        # As if the last grid were one of patches side by side
        self.patch_size = self.stride = (self.frames_per_column,) * 2
        self.output, self.mask_padding = output, mask_padding
        self.patch_embed = GridStem(widths[0])
        rates = iter(drop_path_rates(drop_path, sum(depths)))
        self.layers = torch.nn.ModuleList(
            Stage(
                width,
                [next(rates) for _ in range(depth)],
                state_size,
                new_width,
            )
            for width, depth, new_width in zip(
                widths, depths, [*widths[1:], None], strict=True
            )
        )
        self.norm = GridNorm(self.embed_dim)

    @property
    def blocks(self) -> list[torch.nn.Module]:
        """The blocks of all stages, from the input to the output."""
        return [m for m in self.modules() if isinstance(m, CrossScanBlock)]

    def forward(
        self,
        feats: torch.Tensor,
        lengths: torch.Tensor | None = None,
        output: str | None = None,
        mask: torch.Tensor | None = None,
        mask_token: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Encode a batch of spectrograms.

        Arguments
        ---------
        feats : torch.Tensor
            Normalised log-mel spectrograms, [B, T, n_mels].
        lengths : torch.Tensor or None
            Relative lengths in (0, 1], [B].  With lengths, a clip gives the
            same result alone and in any batch; without, padding is content.
        output : str or None
            Another output than the constructor's.
        mask : torch.Tensor or None
            True for the places of the last grid to hide, [B, F', T']: what is
            below them is set to zero in the input, as the convolutions would
            carry it to their neighbours.
        mask_token : torch.Tensor or None
            What takes their place on the first grid, [widths[0]]; belongs to
            ``mask``.

        Returns
        -------
        torch.Tensor
            "embedding": [B, 1, D]; "frames": [B, T', D], zero past a clip's
            end; "rows": [B, F', D]; "patches": [B, F', T', D] and "tokens":
            [B, T' F', D], zero past a clip's end.

        Raises
        ------
        ValueError
            If the input is not [B, T, n_mels] or has no frame, or the lengths
            are not relative.
        """
        output = output or self.output
        check_choice("output", output, OUTPUTS)
        check_feats(feats, self.n_mels)
        if lengths is not None:
            check_lengths(lengths, feats.shape[0])
        n_columns = None
        if lengths is not None and self.mask_padding:
            n_columns = frame_counts(lengths.to(feats.device), feats.shape[1])
        if mask is not None:
            hidden = _spread(mask, self.frames_per_column, feats.mT)
            feats = feats.masked_fill(hidden.mT, 0.0)
        grid, n_columns = self.patch_embed(feats, n_columns)
        if mask is not None:
            hidden = _spread(mask, self.frames_per_column // 4, grid[..., 0])
            grid = hide_patches(grid, hidden, mask_token)
        for stage in self.layers:
            grid, n_columns = stage(grid, n_columns)
        grid = clear_columns(self.norm(grid), n_columns)
        if output == "patches":
            return grid
        if output == "tokens":
            return grid.transpose(1, 2).flatten(1, 2)
        if output == "rows":
            if n_columns is None:
                return grid.mean(2)
            return grid.sum(2) / n_columns[:, None, None]
        frames = grid.mean(1)
        if output == "frames":
            return frames
        if n_columns is None:
            return frames.mean(1, keepdim=True)
        return frames.sum(1, keepdim=True) / n_columns[:, None, None]


class Stage(torch.nn.Module):
    """Blocks of one width; the grid is halved after them, or not.

    Arguments
    ---------
    width : int
        Channels D.
    drop_path : list of float
        Rate of stochastic depth of each block.
    state_size : int
        States per channel and direction.
    new_width : int or None
        Channels after halving the grid; None to leave it as it is.

    Example
    -------
    >>> stage = Stage(16, [0.0, 0.1], state_size=1, new_width=32)
    >>> grid, _ = stage(torch.randn(2, 4, 10, 16), None)
    >>> grid.shape
    torch.Size([2, 2, 5, 32])
    """

    def __init__(
        self,
        width: int,
        drop_path: list[float],
        state_size: int,
        new_width: int | None,
    ):
        super().__init__()
        self.blocks = torch.nn.ModuleList(
            CrossScanBlock(width, rate, state_size) for rate in drop_path
        )
        self.downsample = Downsample(width, new_width) if new_width else None

    def forward(
        self, grid: torch.Tensor, n_columns: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Encode a batch of grids.

        Arguments
        ---------
        grid : torch.Tensor
            [B, F, T, D].
        n_columns : torch.Tensor or None
            Columns of each clip, [B]; None if all are content.

        Returns
        -------
        grid : torch.Tensor
            [B, F', T', D'].
        n_columns : torch.Tensor or None
            Columns of each clip, [B].
        """
        for block in self.blocks:
            grid = block(grid, n_columns)
        if self.downsample is None:
            return grid, n_columns
        return self.downsample(grid, n_columns)


def _spread(mask, times, grid):
    """Enlarge a mask [B, F', T'] to a finer grid [B, F, T] under it."""
    mask = mask.repeat_interleave(times, 1).repeat_interleave(times, 2)
    # Negative for the part of a patch that reaches beyond the grid
    beyond = [n - own for n, own in zip(grid.shape[1:], mask.shape[1:])]
    return torch.nn.functional.pad(mask, (0, beyond[1], 0, beyond[0]))


def _check_stages(widths, depths):
    """Refuse widths and depths that are not those of stages."""
    for width, depth in zip(widths, depths):
        check_sizes(widths=width, depths=depth)
    if len(widths) != len(depths) or not widths or widths[0] % 2:
        raise ValueError(
            f"widths are {list(widths)} and depths {list(depths)}; there must "
            "be one of each per stage, and the first width must be even."
        )


def dass_small(**arguments) -> DASS:
    """Build DASS-small: depths 2, 2, 8, 2.

    Arguments
    ---------
    **arguments
        Other arguments of `DASS`.

    Returns
    -------
    DASS

    Example
    -------
    >>> dass_small(drop_path=0.2).depths
    (2, 2, 8, 2)
    """
    return DASS(**{"depths": (2, 2, 8, 2), **arguments})


def dass_medium(**arguments) -> DASS:
    """Build DASS-medium: depths 2, 2, 20, 2.

    Arguments
    ---------
    **arguments
        Other arguments of `DASS`.

    Returns
    -------
    DASS

    Example
    -------
    >>> dass_medium(drop_path=0.3).depths
    (2, 2, 20, 2)
    """
    return DASS(**{"depths": (2, 2, 20, 2), **arguments})
