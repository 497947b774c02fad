"""Audio Mamba: a state-space encoder of spectrogram patches.

Erol, Senocak, Feng and Chung, "Audio Mamba: Bidirectional State Space Model
for Audio Representation Learning", arXiv 2406.03344.
"""

import math

import torch

from audiomamba.lobes.patch_encoder import PatchEncoder
from audiomamba.lobes.stream import EncoderStream
from audiomamba.nnet.block import MambaBlock, RMSNorm, drop_path_rates
from audiomamba.nnet.lengths import check_choice, check_sizes
from audiomamba.nnet.patch_embed import Size
from audiomamba.nnet.tokens import CLS_TOKENS, TOKEN_ORDERS

# Parameter names of no, one or two class tokens, as in the authors' code.
CLS_NAMES = ((), ("cls_token",), ("cls_token_head", "cls_token_tail"))


class AudioMamba(PatchEncoder):
    """State-space encoder of spectrograms of any length.

    Arguments
    ---------
    n_mels : int
        Mel bins of the input.
    n_frames : int
        Frames that the position table covers.  It is not a limit: a shorter
        clip takes the table's first columns, for a longer one the table is
        resampled to the clip's length.
    patch_size : int or tuple of int
        Patch size in (bins, frames).
    stride : int or tuple of int
        Stride in (bins, frames).
    embed_dim : int
        Width of the tokens.
    depth : int
        Number of blocks.
    scan : str
        "fo_fo", "fo_bi" or "bi_bi", see
        `audiomamba.nnet.mixer.BidirectionalMamba`.
    cls_token : str or None
        Place of the class token: "front", "middle", "end", "both" (two; their
        mean is the embedding) or None (the mean of all tokens is).
    token_order : str
        "frequency": time runs fastest, as in the paper; "time": frequency
        runs fastest.
    output : str
        "embedding": one vector per clip; "frames": one per time step, the
        mean of its patches; "rows": one per row of patches, the mean over
        time; "patches": the grid; "tokens": the whole row in scan order.
    mask_padding : bool
        Whether ``lengths`` are used.  False makes padding content, as in the
        paper's training.
    drop_path : float
        Rate of stochastic depth in the last block, in [0, 1); it grows
        linearly from 0.
    state_size : int
        States per channel.
    conv_size : int
        Kernel size of the convolution.
    expansion : int
        Inner width of the mixer as a multiple of ``embed_dim``.

    Raises
    ------
    ValueError
        If an argument has a value that is not allowed; the message lists
        those that are.

    Example
    -------
    >>> encoder = AudioMamba(n_frames=64, embed_dim=32, depth=2).eval()
    >>> feats = torch.randn(2, 64, 128)
    >>> encoder(feats).shape
    torch.Size([2, 1, 32])
    >>> encoder(feats, torch.tensor([0.5, 1.0]), output="frames").shape
    torch.Size([2, 4, 32])
    """

    def __init__(
        self,
        n_mels: int = 128,
        n_frames: int = 1024,
        patch_size: Size = 16,
        stride: Size = 16,
        embed_dim: int = 768,
        depth: int = 24,
        scan: str = "fo_bi",
        cls_token: str | None = "middle",
        token_order: str = "frequency",
        output: str = "embedding",
        mask_padding: bool = True,
        drop_path: float = 0.0,
        state_size: int = 16,
        conv_size: int = 4,
        expansion: int = 2,
    ):
        check_choice("cls_token", cls_token, CLS_TOKENS)
        check_choice("token_order", token_order, TOKEN_ORDERS)
        check_sizes(
            depth=depth,
            state_size=state_size,
            conv_size=conv_size,
            expansion=expansion,
        )
        super().__init__(
            n_mels=n_mels,
            n_frames=n_frames,
            patch_size=patch_size,
            stride=stride,
            embed_dim=embed_dim,
            tokens=CLS_NAMES[CLS_TOKENS[cls_token]],
            cls_place=cls_token,
            token_order=token_order,
            output=output,
            mask_padding=mask_padding,
        )
        self.depth, self.scan = depth, scan
        self.layers = torch.nn.ModuleList(
            MambaBlock(
                embed_dim,
                rate,
                scan=scan,
                state_size=state_size,
                conv_size=conv_size,
                expansion=expansion,
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm_f = RMSNorm(embed_dim)
        self._scale_residual_branches()

    def _scale_residual_branches(self):
        """Scale each branch's output by 1 / sqrt(depth), as in GPT-2."""
        for layer in self.layers:
            weight = layer.mixer.out_proj.weight
            torch.nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
            with torch.no_grad():
                weight /= math.sqrt(self.depth)

    def stream(self) -> EncoderStream:
        """Encode sound as it arrives, with a state of fixed size.

        Needs ``scan="fo_fo"``, ``token_order="time"`` (or patches as high as
        the spectrogram) and a class token at the front, at the end, or none.
        A stream may be as long as the position table, or of any duration with
        a table of one column: ``n_frames`` of one patch.

        Returns
        -------
        EncoderStream

        Raises
        ------
        ValueError
            If the encoder looks ahead, or is in training mode.
        """
        return EncoderStream(self)

    def _encode(self, x, lengths):
        """Pass tokens [B, L, D] through the blocks."""
        for layer in self.layers:
            x = layer(x, lengths)
        return self.norm_f(x)

    def _pool(self, x, row, output):
        """Return the tokens in the form of an output."""
        if output == "embedding":
            return row.pool_clip(x)
        return x if output == "tokens" else row.pool_grid(x, output)


def aum_tiny(**arguments) -> AudioMamba:
    """Build AuM-Tiny: width 192, depth 24.

    Arguments
    ---------
    **arguments
        Other arguments of `AudioMamba`.

    Returns
    -------
    AudioMamba

    Example
    -------
    >>> aum_tiny(n_frames=128).embed_dim
    192
    """
    return AudioMamba(**{"embed_dim": 192, "depth": 24, **arguments})


def aum_small(**arguments) -> AudioMamba:
    """Build AuM-Small: width 384, depth 24.

    Arguments
    ---------
    **arguments
        Other arguments of `AudioMamba`.

    Returns
    -------
    AudioMamba

    Example
    -------
    >>> aum_small(n_frames=128, depth=2, scan="bi_bi").embed_dim
    384
    """
    return AudioMamba(**{"embed_dim": 384, "depth": 24, **arguments})


def aum_base(**arguments) -> AudioMamba:
    """Build AuM-Base: width 768, depth 24.

    Arguments
    ---------
    **arguments
        Other arguments of `AudioMamba`.

    Returns
    -------
    AudioMamba

    Example
    -------
    >>> aum_base(n_frames=128, depth=1).embed_dim
    768
    """
    return AudioMamba(**{"embed_dim": 768, "depth": 24, **arguments})
