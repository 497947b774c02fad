"""Base of the encoders that turn spectrogram patches into a row of tokens."""

from abc import abstractmethod

import torch

from audiomamba.nnet.block import BlockEncoder
from audiomamba.nnet.lengths import (
    check_choice,
    check_feats,
    check_lengths,
    check_sizes,
    clear_padding,
)
from audiomamba.nnet.parameters import ExemptsParameters
from audiomamba.nnet.patch_embed import (
    PatchEmbed,
    Size,
    grid_length,
    to_pair,
)
from audiomamba.nnet.patch_mask import hide_patches
from audiomamba.nnet.tokens import PositionEmbedding, TokenRow

OUTPUTS = ("embedding", "frames", "rows", "patches", "tokens")


class PatchEncoder(BlockEncoder, ExemptsParameters):
    """Patches and class tokens in a row; a subclass adds the layers over it.

    A subclass defines `layers`, `_encode` and `_pool`.  The arguments are
    those of `audiomamba.lobes.AudioMamba`, except for:

    Arguments
    ---------
    tokens : tuple of str
        Parameter names of the class tokens.
    cls_place : str or None
        Place of the class tokens in the row.
    """

    layers: torch.nn.ModuleList

    def __init__(
        self,
        n_mels: int,
        n_frames: int,
        patch_size: Size,
        stride: Size,
        embed_dim: int,
        tokens: tuple[str, ...],
        cls_place: str | None,
        token_order: str,
        output: str,
        mask_padding: bool,
    ):
        super().__init__()
        check_choice("output", output, OUTPUTS)
        check_sizes(n_mels=n_mels, n_frames=n_frames, embed_dim=embed_dim)
        self.n_mels, self.n_frames = n_mels, n_frames
        self.patch_size, self.stride = to_pair(patch_size), to_pair(stride)
        self.embed_dim, self.tokens = embed_dim, tokens
        self.cls_place, self.token_order = cls_place, token_order
        self.output, self.mask_padding = output, mask_padding
        for name in tokens:
            token = torch.nn.Parameter(torch.empty(1, 1, embed_dim))
            torch.nn.init.trunc_normal_(token, std=0.02)
            self.exempt(name, token)
        self.patch_embed = self._new_patch_embed()
        self.pos_embed = PositionEmbedding(
            self._table_grid(self.patch_size, self.stride),
            len(tokens),
            embed_dim,
        )

    def _new_patch_embed(self):
        """Return the patch embedding with its initial weights."""
        return PatchEmbed(self.patch_size, self.stride, self.embed_dim)

    def _table_grid(self, patch_size, stride):
        """Return the grid of ``n_mels`` x ``n_frames`` at a patch size."""
        if patch_size[0] > self.n_mels:
            raise ValueError(
                f"patch_size is {list(patch_size)}, but the spectrogram has "
                f"{self.n_mels} mel bins; a patch can be 1 to {self.n_mels} "
                "bins high."
            )
        sizes = (self.n_mels, self.n_frames)
        return tuple(map(grid_length, sizes, patch_size, stride))

    @property
    def frames_per_column(self) -> int:
        """Frames of the spectrogram from one step of "frames" to the next."""
        return self.stride[1]

    @property
    def blocks(self) -> list[torch.nn.Module]:
        """The layers, from the input to the output."""
        return list(self.layers)

    def no_weight_decay(self) -> set[str]:
        """Return the names of the parameters without weight decay, as in timm.

        Returns
        -------
        set of str
        """
        return {
            name
            for name, parameter in self.named_parameters()
            if getattr(parameter, "_no_weight_decay", False)
        }

    def _row(self, feats, n_columns, patch_size, stride):
        """Return the row that the tokens of a batch are in."""
        sizes = (feats.shape[2], feats.shape[1])
        return TokenRow(
            self.cls_place,
            len(self.tokens),
            self.token_order,
            tuple(map(grid_length, sizes, patch_size, stride)),
            n_columns,
            feats.device,
        )

    def _embed(self, feats, row, n_columns, sizes, hidden):
        """Return the tokens with their positions in the row.

        ``sizes`` are patch size and stride, ``hidden`` the mask and its token.
        Hidden patches keep their positions: the layers know what is missing
        where.
        """
        table_grid = self._table_grid(*sizes)
        patches = hide_patches(self.patch_embed(feats, *sizes), *hidden)
        cls_tokens, positions = self.pos_embed(table_grid, n_columns, row.width)
        if self.tokens:
            tokens = [getattr(self, name)[0] for name in self.tokens]
            cls_tokens = torch.cat(tokens) + cls_tokens
        patches = patches + positions
        del positions
        return row.arrange(patches, cls_tokens)

    @abstractmethod
    def _encode(self, x, lengths):
        """Pass tokens [B, L, D] and their number [B] through the layers."""

    @abstractmethod
    def _pool(self, x, row, output):
        """Return the tokens [B, L, D] in the form of an output."""

    def forward(
        self,
        feats: torch.Tensor,
        lengths: torch.Tensor | None = None,
        patch_size: Size | None = None,
        stride: Size | None = None,
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
        patch_size : int, tuple of int or None
            Another patch size than the constructor's: the patch kernel and
            the position table are resampled (FlexiViT).
        stride : int, tuple of int or None
            Another stride than the constructor's.
        output : str or None
            Another output than the constructor's.
        mask : torch.Tensor or None
            True for the patches to hide, [B, F', T'].
        mask_token : torch.Tensor or None
            What takes their place, [D]; belongs to ``mask``.

        Returns
        -------
        torch.Tensor
            "embedding": [B, 1, D]; "frames": [B, T', D] and "patches":
            [B, F', T', D], zero past a clip's end; "rows": [B, F', D];
            "tokens": [B, L, D].

        Raises
        ------
        ValueError
            If the input is not [B, T, n_mels] or has no frame, the lengths
            are not relative, or a patch is higher than the spectrogram.
        """
        output = output or self.output
        check_choice("output", output, OUTPUTS)
        check_feats(feats, self.n_mels)
        if lengths is not None:
            check_lengths(lengths, feats.shape[0])
        patch_size = self.patch_size if patch_size is None else patch_size
        stride = self.stride if stride is None else stride
        patch_size, stride = to_pair(patch_size), to_pair(stride)
        n_columns = None
        if lengths is not None and self.mask_padding:
            feats, n_frames = clear_padding(feats, lengths)
            n_columns = grid_length(n_frames, patch_size[1], stride[1])
        row = self._row(feats, n_columns, patch_size, stride)
        sizes, hidden = (patch_size, stride), (mask, mask_token)
        # Without a name here, the tokens are freed by the first layer.
        x = self._encode(
            self._embed(feats, row, n_columns, sizes, hidden), row.lengths
        )
        return self._pool(x, row, output)
