"""Audio Spectrogram Transformer: the baseline that Audio Mamba is held to.

Gong, Chung and Glass, "AST: Audio Spectrogram Transformer", arXiv 2104.01778.
The layers are those of the package ``transformers``.
"""

import torch

from audiomamba.nnet.block import DropPath
from audiomamba.nnet.inputs import check_choice, check_feats, clear_padding
from audiomamba.nnet.patch_embed import PatchEmbed, grid_length, to_pair
from audiomamba.nnet.position import PositionEmbedding
from audiomamba.nnet.tokens import TokenRow

OUTPUTS = ("embedding", "frames", "tokens")
TOKENS = ("cls_token", "dist_token")
HEAD_SIZE = 64
# A layer's parameters in the transformers releases that this file works with.
LAYER_PARTS = {
    "attention.q_proj",
    "attention.k_proj",
    "attention.v_proj",
    "attention.o_proj",
    "layernorm_before",
    "layernorm_after",
    "mlp.fc1",
    "mlp.fc2",
}
NEEDED = "transformers>=5.9,<6"


def _transformer_layers(embed_dim, depth, n_heads, norm_eps):
    """Return AST layers of ``transformers`` with PyTorch's fused attention."""
    try:
        import transformers
        from transformers.models.audio_spectrogram_transformer import (
            modeling_audio_spectrogram_transformer as modeling,
        )
    except ImportError as error:
        raise ImportError(
            f"The AST baseline needs {NEEDED}: pip install 'audiomamba[ast]'."
        ) from error
    config = transformers.ASTConfig(
        hidden_size=embed_dim,
        num_attention_heads=n_heads,
        intermediate_size=4 * embed_dim,
        layer_norm_eps=norm_eps,
        attn_implementation="sdpa",
    )
    layers = torch.nn.ModuleList(
        modeling.ASTLayer(config) for _ in range(depth)
    )
    parts = {name.rpartition(".")[0] for name in layers[0].state_dict()}
    if parts != LAYER_PARTS or not hasattr(layers[0], "dropout"):
        raise ImportError(
            f"transformers {transformers.__version__} builds its AST of other "
            f"parts than this code knows: pip install '{NEEDED}'."
        )
    return layers


class AudioSpectrogramTransformer(torch.nn.Module):
    """Encoder of spectrograms of any length, with attention.

    It takes the place of `audiomamba.lobes.AudioMamba`: same input, same
    output, same names of the arguments.

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
        Distance of patches in (bins, frames); AST's own checkpoints have 10.
    embed_dim : int
        Width of the tokens.
    depth : int
        Number of layers.
    n_heads : int or None
        Attention heads; None for one per 64 channels, as in DeiT.
    distilled : bool
        Whether a distillation token stands beside the class token, as in
        AST; their mean is taken.  The baseline in the Audio Mamba paper's
        code has the class token alone.
    output : str
        "embedding": one vector per clip; "frames": one per time step, the
        mean of its patches; "tokens": the whole row, class token and
        distillation token first, patches with time running fastest.
    mask_padding : bool
        Whether ``lengths`` count.  False makes padding content.
    drop_path : float
        Rate of stochastic depth in the last layer; it grows linearly from 0.
    norm_eps : float
        Epsilon of the layers' norms (DeiT's).

    Raises
    ------
    ValueError
        If an argument has no meaning; the message lists those that have.
    ImportError
        If ``transformers`` is missing or does not fit.

    Example
    -------
    >>> encoder = AudioSpectrogramTransformer(
    ...     n_frames=64, embed_dim=64, depth=2
    ... ).eval()
    >>> feats = torch.randn(2, 64, 128)
    >>> encoder(feats).shape
    torch.Size([2, 1, 64])
    >>> encoder(feats, torch.tensor([0.5, 1.0]), output="frames").shape
    torch.Size([2, 4, 64])
    """

    def __init__(
        self,
        n_mels=128,
        n_frames=1024,
        patch_size=16,
        stride=16,
        embed_dim=768,
        depth=12,
        n_heads=None,
        distilled=True,
        output="embedding",
        mask_padding=True,
        drop_path=0.0,
        norm_eps=1e-6,
    ):
        super().__init__()
        check_choice("output", output, OUTPUTS)
        n_heads = max(embed_dim // HEAD_SIZE, 1) if n_heads is None else n_heads
        if embed_dim % n_heads:
            raise ValueError(
                f"embed_dim {embed_dim} cannot be split into {n_heads} heads: "
                "give n_heads a divisor of embed_dim."
            )
        self.n_mels, self.n_frames = n_mels, n_frames
        self.patch_size, self.stride = to_pair(patch_size), to_pair(stride)
        self.embed_dim, self.depth, self.n_heads = embed_dim, depth, n_heads
        self.output, self.mask_padding = output, mask_padding
        self.tokens = TOKENS if distilled else TOKENS[:1]

        for name in self.tokens:
            token = torch.nn.Parameter(torch.empty(1, 1, embed_dim))
            torch.nn.init.trunc_normal_(token, std=0.02)
            token._no_weight_decay = True
            self.register_parameter(name, token)
        self.patch_embed = PatchEmbed(self.patch_size, self.stride, embed_dim)
        # AST leaves the new projection as PyTorch makes it.
        self.patch_embed.proj.reset_parameters()
        self.pos_embed = PositionEmbedding(
            self._table_grid(self.patch_size, self.stride),
            *(len(self.tokens), embed_dim),
        )
        self.layers = _transformer_layers(embed_dim, depth, n_heads, norm_eps)
        for i, layer in enumerate(self.layers):
            # The layer applies its dropout to each branch just before adding
            # it, which is where stochastic depth belongs.
            layer.dropout = DropPath(drop_path * i / max(depth - 1, 1))
            layer.apply(self._initialise)
        self.norm = torch.nn.LayerNorm(embed_dim, eps=norm_eps)
        # AST's head begins with a norm of its own, with PyTorch's epsilon.
        self.head_norm = torch.nn.LayerNorm(embed_dim)

    @staticmethod
    def _initialise(module):
        """Draw a linear layer's weights as DeiT does."""
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.trunc_normal_(module.weight, std=0.02)
            torch.nn.init.zeros_(module.bias)

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
        """Return the row of tokens, its patches' places, and their mask."""
        patch_size = to_pair(patch_size or self.patch_size)
        stride = to_pair(stride or self.stride)
        n_columns, mask = None, None
        if lengths is not None and self.mask_padding:
            feats, n_frames = clear_padding(feats, lengths)
            n_columns = grid_length(n_frames, patch_size[1], stride[1])
        patches = self.patch_embed(feats, patch_size, stride)
        grid = patches.shape[1], patches.shape[2]
        row = TokenRow(None, "frequency", grid, n_columns, feats.device)
        token_positions, positions = self.pos_embed(
            self._table_grid(patch_size, stride), n_columns, grid[1]
        )
        x = row.arrange(patches + positions, token_positions[:0])
        tokens = torch.cat([getattr(self, name)[0] for name in self.tokens])
        tokens = (tokens + token_positions).expand(len(x), -1, -1)
        x = torch.cat([tokens.to(x.dtype), x], dim=1)
        if row.lengths is not None:
            # Padding stands at the row's end, where no token attends to it.
            places = torch.arange(x.shape[1], device=x.device)
            n_tokens = row.lengths[:, None] + len(self.tokens)
            mask = (places < n_tokens)[:, None, None]
        return x, row, mask

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
        x, row, mask = self._embed(feats, lengths, patch_size, stride)
        for layer in self.layers:
            x = layer(x, mask)
        if output == "tokens":
            return self.norm(x)
        n_tokens = len(self.tokens)
        if output == "frames":
            return row.pool_frames(self.head_norm(self.norm(x[:, n_tokens:])))
        pooled = self.norm(x[:, :n_tokens]).mean(1, keepdim=True)
        return self.head_norm(pooled)


def ast_tiny(**arguments):
    """Build AST-Tiny: width 192, 3 heads, depth 12.

    Arguments
    ---------
    **arguments
        Other arguments of `AudioSpectrogramTransformer`.

    Returns
    -------
    AudioSpectrogramTransformer

    Example
    -------
    >>> ast_tiny(n_frames=128, depth=2).n_heads
    3
    """
    return AudioSpectrogramTransformer(**{"embed_dim": 192, **arguments})


def ast_small(**arguments):
    """Build AST-Small: width 384, 6 heads, depth 12.

    Arguments
    ---------
    **arguments
        Other arguments of `AudioSpectrogramTransformer`.

    Returns
    -------
    AudioSpectrogramTransformer

    Example
    -------
    >>> ast_small(n_frames=128, depth=2).n_heads
    6
    """
    return AudioSpectrogramTransformer(**{"embed_dim": 384, **arguments})


def ast_base(**arguments):
    """Build AST-Base: width 768, 12 heads, depth 12.

    Arguments
    ---------
    **arguments
        Other arguments of `AudioSpectrogramTransformer`.

    Returns
    -------
    AudioSpectrogramTransformer

    Example
    -------
    >>> ast_base(n_frames=128, depth=1).n_heads
    12
    """
    return AudioSpectrogramTransformer(**{"embed_dim": 768, **arguments})
