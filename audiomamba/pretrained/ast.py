"""Checkpoints of AST and of DeiT, its ImageNet counterpart.

The same tensors come by four sets of names: those of the AST repository and of
timm, on which it is built, two generations of ``transformers``, and those of
`AudioSpectrogramTransformer`.
"""

import re
from pathlib import Path

import torch
import torch.nn.functional as F

from audiomamba.lobes.ast import AudioSpectrogramTransformer
from audiomamba.lobes.patch_encoder import PatchEncoder
from audiomamba.nnet.lengths import check_sizes
from audiomamba.nnet.patch_embed import grid_length
from audiomamba.pretrained.family import (
    KERNEL,
    TABLE,
    Layout,
    PatchCheckpoint,
    PatchFamily,
    Wanted,
)
from audiomamba.pretrained.sources import (
    CONFIG_FILE,
    CheckpointError,
    Tensors,
    read_config,
)

# Of transformers' configuration, with the values that it leaves out
SETTINGS = {
    "patch_size": 16,
    "frequency_stride": 10,
    "time_stride": 10,
    "max_length": 1024,
    "num_mel_bins": 128,
}
ATTENTION = re.compile(r"\.(attn|attention)\.")
PREFIXES = re.compile(
    r"^(module\.)?((v|vit|deit|audio_spectrogram_transformer)\.)?"
)
# ImageNet's classifiers, and a pooler that no audio classifier uses.
DROPPED = re.compile(
    r"(head|head_dist|classifier|cls_classifier|distillation_classifier)"
    r"\.(weight|bias)$|pooler\."
)
RENAMED = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # timm and the AST repository
        (r"^pos_embed$", TABLE),
        (r"^blocks\.(\d+)\.norm1\.", r"layers.\1.layernorm_before."),
        (r"^blocks\.(\d+)\.norm2\.", r"layers.\1.layernorm_after."),
        (r"^blocks\.(\d+)\.attn\.proj\.", r"layers.\1.attention.o_proj."),
        (r"^blocks\.(\d+)\.attn\.qkv\.", r"layers.\1.attention.qkv."),
        (r"^blocks\.(\d+)\.mlp\.", r"layers.\1.mlp."),
        (r"^mlp_head\.0\.", "head_norm."),
        (r"^mlp_head\.1\.", "head."),
        # transformers before and since 5.9
        (r"^embeddings\.position_embeddings$", TABLE),
        (r"^embeddings\.cls_token$", "cls_token"),
        (r"^embeddings\.distillation_token$", "dist_token"),
        (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
        (r"^encoder\.layer\.", "layers."),
        (r"\.attention\.attention\.query\.", ".attention.q_proj."),
        (r"\.attention\.attention\.key\.", ".attention.k_proj."),
        (r"\.attention\.attention\.value\.", ".attention.v_proj."),
        (r"\.attention\.output\.dense\.", ".attention.o_proj."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"^(layers\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
        (r"^layernorm\.", "norm."),
        (r"^classifier\.layernorm\.", "head_norm."),
        (r"^classifier\.dense\.", "head."),
    )
]


def fit_table(table: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Fit a position table to another patch grid as AST does.

    Time first, then frequency: a shorter axis takes the middle of the table, a
    longer one is interpolated bilinearly.

    Arguments
    ---------
    table : torch.Tensor
        [F', T', D].
    grid : tuple of int
        The new (F', T').

    Returns
    -------
    torch.Tensor
        [*grid, D].

    Example
    -------
    >>> table = torch.arange(24.0)[:, None, None].expand(24, 24, 1)
    >>> fit_table(table, (8, 64))[:, 0, 0].tolist()
    [8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0]
    """
    for axis in (1, 0):
        old, new = table.shape[axis], grid[axis]
        if new <= old:
            table = table.narrow(axis, old // 2 - new // 2, new)
        else:
            size = (table.shape[0], new) if axis else (new, table.shape[1])
            stretched = F.interpolate(
                table.permute(2, 0, 1)[None], size=size, mode="bilinear"
            )
            table = stretched[0].permute(1, 2, 0)
    return table


class ASTFamily(PatchFamily):
    """Checkpoints of AST and DeiT."""

    title = "AST or DeiT"
    encoder = AudioSpectrogramTransformer
    classifier_norm = ("head_norm.weight", "head_norm.bias")
    usual_strides = ((10, 10),)
    resample = staticmethod(fit_table)

    def recognises(self, tensors: Tensors) -> bool:
        """Whether the tensors include those of an attention layer."""
        return any(ATTENTION.search(key) for key in tensors)

    def with_settings(self, wanted: Wanted, source: Path | Tensors) -> Wanted:
        """Add the layout in settings beside the weights, or a run's."""
        wanted = super().with_settings(wanted, source)
        if isinstance(source, dict):
            return wanted
        path = (source if source.is_dir() else source.parent) / CONFIG_FILE
        config = read_config(path) if path.is_file() else {}
        if config.get("model_type") != "audio-spectrogram-transformer":
            return wanted
        sizes = {key: config.get(key, SETTINGS[key]) for key in SETTINGS}
        try:
            check_sizes(**sizes)
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}") from error
        bins, frames = sizes["num_mel_bins"], sizes["max_length"]
        patch = sizes["patch_size"]
        stride = (sizes["frequency_stride"], sizes["time_stride"])
        grid = (
            grid_length(bins, patch, stride[0]),
            grid_length(frames, patch, stride[1]),
        )
        return wanted._replace(n_mels=bins, known=Layout(grid, frames, stride))

    def read(
        self, tensors: Tensors, name: str, wanted: Wanted
    ) -> PatchCheckpoint:
        """Return a checkpoint by `AudioSpectrogramTransformer`'s names."""
        if wanted.cls_token not in ("front", "middle"):
            # "middle" is the default of load_official.
            raise CheckpointError(
                f"{name} has its class token at the front, which contradicts "
                f"cls_token={wanted.cls_token!r}: leave cls_token out."
            )
        if wanted.token_order != "frequency":
            raise CheckpointError(
                f"{name} has no token_order {wanted.token_order!r}: leave it "
                "out for AST and DeiT."
            )
        tensors, dropped = _rename(tensors)
        arguments = _architecture(tensors, name)
        n_cls = 1 + arguments["distilled"]
        if tensors[KERNEL].shape[1] == 3:
            tensors[KERNEL] = tensors[KERNEL].sum(1, keepdim=True)
            layout = self._square_layout(tensors, n_cls, name)
        else:
            layout = self._find_layout(tensors, n_cls, wanted, name)
        width = arguments["embed_dim"]
        return PatchCheckpoint(
            name, tensors, arguments, width, dropped, n_cls, layout
        )

    def fit(
        self, checkpoint: PatchCheckpoint, encoder: PatchEncoder
    ) -> list[str]:
        """Resample patch kernel and position table to an encoder, in place."""
        if checkpoint.n_cls != len(encoder.tokens):
            raise CheckpointError(
                f"{checkpoint.name} has {checkpoint.n_cls} class and "
                f"distillation tokens and the encoder {len(encoder.tokens)}: "
                f"build it with distilled={checkpoint.n_cls == 2}."
            )
        return super().fit(checkpoint, encoder)


def _rename(tensors):
    """Return the tensors by this package's names, and the names left out."""
    tensors = {PREFIXES.sub("", key): value for key, value in tensors.items()}
    if TABLE in tensors:
        return tensors, []
    dropped = sorted(key for key in tensors if DROPPED.match(key))
    renamed = {}
    for key, value in tensors.items():
        if key in dropped:
            continue
        for pattern, replacement in RENAMED:
            key = pattern.sub(replacement, key)
        if ".qkv." in key:
            for part, tensor in zip("qkv", value.chunk(3)):
                renamed[key.replace(".qkv.", f".{part}_proj.")] = tensor
        else:
            renamed[key] = value
    return renamed, dropped


def _architecture(tensors, name):
    """Return the constructor's arguments that the tensors tell."""
    layers = [
        int(match[1])
        for key in tensors
        if (match := re.match(r"layers\.(\d+)\.", key))
    ]
    missing = [k for k in (KERNEL, TABLE, "cls_token") if k not in tensors]
    if missing or not layers:
        raise CheckpointError(
            f"{name} has no {', '.join(missing) or 'layers'}: it is not a "
            "checkpoint of an AST, a DeiT or a Vision Transformer."
        )
    return {
        "embed_dim": tensors[KERNEL].shape[0],
        "depth": max(layers) + 1,
        "distilled": "dist_token" in tensors,
    }
