"""Audio Spectrogram Transformer (AST), the baseline of Audio Mamba.

Gong, Chung and Glass, "AST: Audio Spectrogram Transformer", arXiv 2104.01778.
The layers are those of the package ``transformers``.
"""

import torch

from audiomamba.lobes.patch_encoder import PatchEncoder
from audiomamba.nnet.block import DropPath, drop_path_rates
from audiomamba.nnet.lengths import check_sizes
from audiomamba.nnet.patch_embed import Size

TOKENS = ("cls_token", "dist_token")
HEAD_SIZE = 64
NORM_EPS = 1e-6
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


def _transformer_layers(embed_dim, depth, n_heads):
    """Return layers of ``transformers``' AST with PyTorch's fused attention."""
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
        layer_norm_eps=NORM_EPS,
        attn_implementation="sdpa",
    )
    layers = torch.nn.ModuleList(
        modeling.ASTLayer(config) for _ in range(depth)
    )
    parts = {name.rpartition(".")[0] for name in layers[0].state_dict()}
    if parts != LAYER_PARTS or not hasattr(layers[0], "dropout"):
        raise ImportError(
            f"transformers {transformers.__version__} builds its AST of other "
            f"parts than this code expects: pip install '{NEEDED}'."
        )
    return layers


class AudioSpectrogramTransformer(PatchEncoder):
    """Attention encoder of spectrograms of any length.

    It can replace `audiomamba.lobes.AudioMamba`: the input, the outputs and
    the names of the arguments are the same.

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
        Stride in (bins, frames); 10 in AST's own checkpoints.
    embed_dim : int
        Width of the tokens.
    depth : int
        Number of layers.
    n_heads : int or None
        Attention heads; None for one per 64 channels, as in DeiT.
    distilled : bool
        Whether there is a distillation token beside the class token, as in
        AST; the mean of both is the embedding.  The baseline in the Audio
        Mamba paper's code has the class token alone.
    output : str
        "embedding": one vector per clip; "frames": one per time step, the
        mean of its patches; "rows": one per row of patches, the mean over
        time; "patches": the grid; "tokens": the whole row, class and
        distillation token first, then the patches with time running fastest.
    mask_padding : bool
        Whether ``lengths`` are used.  False makes padding content.
    drop_path : float
        Rate of stochastic depth in the last layer, in [0, 1); it grows
        linearly from 0.

    Raises
    ------
    ValueError
        If an argument has a value that is not allowed; the message lists
        those that are.
    ImportError
        If ``transformers`` is missing or another version.

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
        n_mels: int = 128,
        n_frames: int = 1024,
        patch_size: Size = 16,
        stride: Size = 16,
        embed_dim: int = 768,
        depth: int = 12,
        n_heads: int | None = None,
        distilled: bool = True,
        output: str = "embedding",
        mask_padding: bool = True,
        drop_path: float = 0.0,
    ):
        n_heads = max(embed_dim // HEAD_SIZE, 1) if n_heads is None else n_heads
        check_sizes(depth=depth, n_heads=n_heads)
        if embed_dim % n_heads:
            raise ValueError(
                f"embed_dim {embed_dim} cannot be split into {n_heads} heads: "
                "give n_heads a divisor of embed_dim."
            )
        super().__init__(
            n_mels=n_mels,
            n_frames=n_frames,
            patch_size=patch_size,
            stride=stride,
            embed_dim=embed_dim,
            tokens=TOKENS if distilled else TOKENS[:1],
            cls_place="front",
            token_order="frequency",
            output=output,
            mask_padding=mask_padding,
        )
        self.depth, self.n_heads = depth, n_heads
        self.layers = _transformer_layers(embed_dim, depth, n_heads)
        rates = drop_path_rates(drop_path, depth)
        for layer, rate in zip(self.layers, rates, strict=True):
            # The layer applies its dropout to each branch just before adding
            # it, which is where stochastic depth belongs.
            layer.dropout = DropPath(rate)
            layer.apply(self._initialise)
        self.norm = torch.nn.LayerNorm(embed_dim, eps=NORM_EPS)
        # AST's classifier begins with this norm, with PyTorch's epsilon.
        self.head_norm = torch.nn.LayerNorm(embed_dim)

    def _new_patch_embed(self):
        """Return the patch embedding with PyTorch's initial weights, as AST."""
        patch_embed = super()._new_patch_embed()
        patch_embed.proj.reset_parameters()
        return patch_embed

    @staticmethod
    def _initialise(module):
        """Draw a linear layer's weights as DeiT does."""
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.trunc_normal_(module.weight, std=0.02)
            torch.nn.init.zeros_(module.bias)

    def _encode(self, x, lengths):
        """Pass tokens [B, L, D] through the layers."""
        mask = None
        if lengths is not None:
            # Padding is at the end of the row, and no token attends to it.
            places = torch.arange(x.shape[1], device=x.device)
            mask = (places < lengths[:, None])[:, None, None]
        for layer in self.layers:
            x = layer(x, mask)
        return x

    def _pool(self, x, row, output):
        """Return the tokens in the form of an output."""
        if output == "tokens":
            return self.norm(x)
        if output != "embedding":
            return row.pool_grid(self.head_norm(self.norm(x)), output)
        tokens = self.norm(x[:, : len(self.tokens)])
        return self.head_norm(tokens.mean(1, keepdim=True))
