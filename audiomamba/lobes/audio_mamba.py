"""Audio Mamba: a state-space encoder of spectrogram patches.

Erol, Senocak, Feng and Chung, "Audio Mamba: Bidirectional State Space Model
for Audio Representation Learning", arXiv 2406.03344.
"""

import math

import torch

from audiomamba.nnet.block import MambaBlock
from audiomamba.nnet.inputs import check_choice, check_feats, clear_padding
from audiomamba.nnet.norm import RMSNorm
from audiomamba.nnet.patch_embed import PatchEmbed, grid_length, to_pair
from audiomamba.nnet.position import PositionEmbedding
from audiomamba.nnet.tokens import CLS_TOKENS, TOKEN_ORDERS, TokenRow

OUTPUTS = ("embedding", "frames", "tokens")
# The parameters that hold no, one or two class tokens, as the authors' code.
CLS_NAMES = ((), ("cls_token",), ("cls_token_head", "cls_token_tail"))


class AudioMamba(torch.nn.Module):
    """Encoder of spectrograms of any length, without attention.

    Arguments
    ---------
    n_mels : int
        Mel bins of the input.
    n_frames : int
        Frames that the position table covers.  It is no limit: a shorter
        clip takes the table's first columns, for a longer one the table is
        resampled to the clip's length.
    patch_size : int or tuple of int
        Patch in (bins, frames).
    stride : int or tuple of int
        Distance of patches in (bins, frames).
    embed_dim : int
        Width of the tokens.
    depth : int
        Number of blocks.
    scan : str
        "fo_fo", "fo_bi" or "bi_bi", see
        `audiomamba.nnet.mixer.BidirectionalMamba`.
    cls_token : str or None
        Place of the class token: "front", "middle", "end", "both" (two, whose
        mean is taken) or None (the mean of all tokens is taken).
    token_order : str
        "frequency": time runs fastest, as in the paper; "time": frequency
        does.
    output : str
        "embedding": one vector per clip; "frames": one per time step, the
        mean of its patches; "tokens": the whole row as scanned.
    mask_padding : bool
        Whether ``lengths`` count.  False makes padding content, as in the
        paper's training, whatever lengths are given.
    drop_path : float
        Rate of stochastic depth in the last block; it grows linearly from 0.
    norm_eps : float
        Epsilon of the RMS norms.
    state_size : int
        States per channel.
    conv_size : int
        Taps of the convolution.
    expansion : int
        Inner width of the mixer over ``embed_dim``.

    Raises
    ------
    ValueError
        If an argument has no meaning; the message lists those that have.

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
        n_mels=128,
        n_frames=1024,
        patch_size=16,
        stride=16,
        embed_dim=768,
        depth=24,
        scan="fo_bi",
        cls_token="middle",
        token_order="frequency",
        output="embedding",
        mask_padding=True,
        drop_path=0.0,
        norm_eps=1e-5,
        state_size=16,
        conv_size=4,
        expansion=2,
    ):
        super().__init__()
        check_choice("cls_token", cls_token, CLS_TOKENS)
        check_choice("token_order", token_order, TOKEN_ORDERS)
        check_choice("output", output, OUTPUTS)
        self.n_mels, self.n_frames = n_mels, n_frames
        self.patch_size, self.stride = to_pair(patch_size), to_pair(stride)
        self.embed_dim, self.depth = embed_dim, depth
        self.scan, self.cls_place = scan, cls_token
        self.token_order, self.output = token_order, output
        self.mask_padding = mask_padding

        n_cls = CLS_TOKENS[cls_token]
        for name in CLS_NAMES[n_cls]:
            token = torch.nn.Parameter(torch.empty(1, 1, embed_dim))
            torch.nn.init.trunc_normal_(token, std=0.02)
            token._no_weight_decay = True
            self.register_parameter(name, token)
        self.patch_embed = PatchEmbed(self.patch_size, self.stride, embed_dim)
        self.pos_embed = PositionEmbedding(
            self._table_grid(self.patch_size, self.stride), n_cls, embed_dim
        )
        mixer = dict(
            scan=scan,
            state_size=state_size,
            conv_size=conv_size,
            expansion=expansion,
        )
        rates = [drop_path * i / max(depth - 1, 1) for i in range(depth)]
        self.layers = torch.nn.ModuleList(
            MambaBlock(embed_dim, rate, norm_eps, **mixer) for rate in rates
        )
        self.norm_f = RMSNorm(embed_dim, eps=norm_eps)
        self._scale_residual_branches()

    def _scale_residual_branches(self):
        """Start every branch smaller by the root of their number (GPT-2)."""
        for layer in self.layers:
            weight = layer.mixer.out_proj.weight
            torch.nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
            with torch.no_grad():
                weight /= math.sqrt(self.depth)

    def _table_grid(self, patch_size, stride):
        """Return the grid of ``n_mels`` x ``n_frames`` at a patch size."""
        sizes = (self.n_mels, self.n_frames)
        return tuple(map(grid_length, sizes, patch_size, stride))

    def no_weight_decay(self):
        """Return the names of the parameters that weight decay leaves alone.

        Returns
        -------
        set of str
        """
        return {
            name
            for name, parameter in self.named_parameters()
            if getattr(parameter, "_no_weight_decay", False)
        }

    def _embed(self, feats, lengths, patch_size, stride):
        """Return the row of tokens with positions, and its description."""
        patch_size = to_pair(patch_size or self.patch_size)
        stride = to_pair(stride or self.stride)
        n_columns = None
        if lengths is not None and self.mask_padding:
            feats, n_frames = clear_padding(feats, lengths)
            n_columns = grid_length(n_frames, patch_size[1], stride[1])
        patches = self.patch_embed(feats, patch_size, stride)
        grid = patches.shape[1], patches.shape[2]
        row = TokenRow(
            *(self.cls_place, self.token_order, grid, n_columns, feats.device)
        )
        cls_positions, positions = self.pos_embed(
            self._table_grid(patch_size, stride), n_columns, grid[1]
        )
        cls_tokens = cls_positions
        if row.n_cls:
            tokens = [getattr(self, name)[0] for name in CLS_NAMES[row.n_cls]]
            cls_tokens = torch.cat(tokens) + cls_positions
        return row.arrange(patches + positions, cls_tokens), row

    def forward(
        self, feats, lengths=None, patch_size=None, stride=None, output=None
    ):
        """Encode a batch of spectrograms.

        Arguments
        ---------
        feats : torch.Tensor
            Normalised log-mel spectrograms, [B, T, n_mels].
        lengths : torch.Tensor or None
            Relative lengths in (0, 1], [B].  With them, a clip's result is
            the same alone and in any batch; without, padding is content.
        patch_size : int, tuple of int or None
            Another patch size than the constructor's: the patch kernel and
            the position table are resampled (FlexiViT).
        stride : int, tuple of int or None
            Another stride than the constructor's.
        output : str or None
            Another output than the constructor's.

        Returns
        -------
        torch.Tensor
            "embedding": [B, 1, D]; "frames": [B, T', D], zero behind a
            clip's end; "tokens": [B, L, D].

        Raises
        ------
        ValueError
            If the input is not [B, T, n_mels], or has no frame.
        """
        output = output or self.output
        check_choice("output", output, OUTPUTS)
        check_feats(feats, self.n_mels)
        x, row = self._embed(feats, lengths, patch_size, stride)
        for layer in self.layers:
            x = layer(x, row.lengths)
        x = self.norm_f(x)
        if output == "embedding":
            return row.pool_clip(x)
        return x if output == "tokens" else row.pool_frames(x)


def aum_tiny(**arguments):
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


def aum_small(**arguments):
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


def aum_base(**arguments):
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
