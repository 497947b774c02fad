"""Published AST and DeiT checkpoints in the transformer here.

Four sets of names lead to the same tensors: those of the AST repository (and
of timm, which it is built on), two generations of ``transformers``, and those
of this package.
"""

import math
import re

import torch
import torch.nn.functional as F

from audiomamba.lobes.ast import HEAD_SIZE, AudioSpectrogramTransformer
from audiomamba.lobes.transfer import (
    KERNEL,
    TABLE,
    check_tensors,
    own_grid,
    report,
    take_head,
)
from audiomamba.lobes.weights import CheckpointError, read_tensors
from audiomamba.nnet.patch_embed import resize_patch_kernel

HEAD_NORM = ("head_norm.weight", "head_norm.bias")
PREFIXES = r"^(module\.)?(v|vit|deit|audio_spectrogram_transformer)\."
# ImageNet's classifiers, and a pooler that no classifier of sounds uses.
DROPPED = re.compile(
    r"(head|head_dist|classifier|cls_classifier|distillation_classifier)"
    r"\.(weight|bias)$|pooler\."
)
RENAMED = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # timm and the AST repository.
        (r"^pos_embed$", TABLE),
        (r"^blocks\.(\d+)\.norm1\.", r"layers.\1.layernorm_before."),
        (r"^blocks\.(\d+)\.norm2\.", r"layers.\1.layernorm_after."),
        (r"^blocks\.(\d+)\.attn\.proj\.", r"layers.\1.attention.o_proj."),
        (r"^blocks\.(\d+)\.attn\.qkv\.", r"layers.\1.attention.qkv."),
        (r"^blocks\.(\d+)\.mlp\.", r"layers.\1.mlp."),
        (r"^mlp_head\.0\.", "head_norm."),
        (r"^mlp_head\.1\.", "head."),
        # transformers, before and since 5.9.
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


def _rename(state):
    """Return the tensors by this package's names, and what was left out."""
    state = {re.sub(PREFIXES, "", k): v.float() for k, v in state.items()}
    state = {k.removeprefix("module."): v for k, v in state.items()}
    if TABLE in state:
        return state, []
    dropped = sorted(key for key in state if DROPPED.match(key))
    renamed = {}
    for key, value in state.items():
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


def fit_table(table, grid):
    """Fit a position table to another patch grid as AST does.

    A shorter axis takes the middle of the table's, a longer one is
    interpolated bilinearly; time first.

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


def _architecture(state, name):
    """Return the constructor arguments that the tensors tell."""
    layers = {
        int(match[1])
        for key in state
        if (match := re.match(r"layers\.(\d+)\.", key))
    }
    missing = [k for k in (KERNEL, TABLE, "cls_token") if k not in state]
    if missing or not layers:
        raise CheckpointError(
            f"{name} has no {', '.join(missing) or 'layers'}: it is no "
            "checkpoint of an AST, a DeiT or a Vision Transformer."
        )
    embed_dim = state[KERNEL].shape[0]
    return dict(
        embed_dim=embed_dim,
        depth=max(layers) + 1,
        n_heads=max(embed_dim // HEAD_SIZE, 1),
        distilled="dist_token" in state,
    )


def _split(checkpoint):
    """Return a checkpoint's encoder state, head, and what it was built as.

    The last is the square grid of an ImageNet checkpoint, or None.
    """
    state, name = read_tensors(checkpoint)
    state, dropped = _rename(state)
    arguments = _architecture(state, name)
    grid = None
    if state[KERNEL].shape[1] == 3:
        state[KERNEL] = state[KERNEL].sum(1, keepdim=True)
        n_patches = state[TABLE].shape[1] - 1 - arguments["distilled"]
        grid = (math.isqrt(n_patches),) * 2
        if math.prod(grid) != n_patches:
            raise CheckpointError(
                f"{name} has {n_patches} patch positions, which is no square "
                "grid: it is no ImageNet checkpoint."
            )
    head = take_head(state, arguments["embed_dim"], name)
    return state, name, arguments, grid, head, dropped


def _fit(state, grid, encoder):
    """Fit patch kernel and position table to an encoder, in place.

    Returns the names of what was changed.
    """
    kernel = resize_patch_kernel(state[KERNEL], encoder.patch_size)
    tokens, table = state[TABLE][0].tensor_split([len(encoder.tokens)])
    table = fit_table(table.unflatten(0, grid), encoder.pos_embed.grid)
    table = torch.cat([tokens, table.flatten(0, 1)])[None]
    changed = [
        f"{key} {list(state[key].shape)} -> {list(value.shape)}"
        for key, value in ((KERNEL, kernel), (TABLE, table))
        if value.shape != state[key].shape or not torch.equal(value, state[key])
    ]
    state[KERNEL], state[TABLE] = kernel, table
    return changed


def _fill(encoder, state, grid, name, keep_head_norm):
    """Load a state into an encoder; return what was changed and is new."""
    tokens = {key for key in ("cls_token", "dist_token") if key in state}
    if tokens != set(encoder.tokens):
        raise CheckpointError(
            f"{name} has {len(tokens)} class and distillation tokens and the "
            f"encoder {len(encoder.tokens)}: build it with "
            f"distilled={len(tokens) == 2}."
        )
    changed, new = _fit(state, grid, encoder), []
    if not keep_head_norm or HEAD_NORM[0] not in state:
        own = encoder.head_norm.state_dict()
        state.update({f"head_norm.{key}": own[key] for key in own})
        new.append("head_norm")
    check_tensors(state, encoder, name)
    encoder.load_state_dict(state)
    return changed, new


def load_official_ast(
    checkpoint, *, n_frames=None, patch_size=None, stride=None, n_mels=128
):
    """Load a checkpoint of AST or DeiT.

    Width, depth, patch size and the source's patch grid are worked out from
    the tensors.  As in AST's code, an ImageNet checkpoint's patch kernel is
    summed over the colours, and the position table is cut from its middle or
    interpolated where another grid is wanted.

    Arguments
    ---------
    checkpoint : str, Path or dict
        A file, a folder, a hub repository ``owner/name`` or a state dict, by
        the names of the AST repository, of timm or of ``transformers``.
    n_frames : int or None
        Frames the position table should cover; None for the checkpoint's own
        (1024 for an ImageNet checkpoint).
    patch_size : int, tuple of int or None
        Patch (bins, frames); None for the checkpoint's own.
    stride : int, tuple of int or None
        Stride (bins, frames); None for the checkpoint's own: 10 in AST's
        published models, the patch size in ImageNet's.
    n_mels : int
        Mel bins of the checkpoint's input.

    Returns
    -------
    AudioSpectrogramTransformer
        In evaluation mode.
    torch.nn.Linear or None
        The classifier; None where the checkpoint has none for sounds.

    Raises
    ------
    CheckpointError
        (a ValueError) If the checkpoint is damaged, holds code or belongs to
        another model; with the names and shapes that differ.

    Example
    -------
    >>> encoder = AudioSpectrogramTransformer(
    ...     n_frames=64, embed_dim=64, depth=2
    ... )
    >>> loaded, head = load_official_ast(encoder.state_dict(), n_frames=128)
    >>> loaded.n_frames, loaded.depth, head
    (128, 2, None)
    """
    state, name, arguments, grid, head, dropped = _split(checkpoint)
    own_patch = tuple(state[KERNEL].shape[2:])
    own_frames, own_stride = 1024, own_patch
    if grid is None:
        grid, own_frames, own_stride = own_grid(
            state[TABLE].shape[1] - 1 - arguments["distilled"],
            *(own_patch, n_mels, stride, n_frames, name),
        )
    if patch_size is not None and stride is None:
        own_stride = patch_size
    encoder = AudioSpectrogramTransformer(
        n_mels=n_mels,
        n_frames=n_frames or own_frames,
        patch_size=patch_size or own_patch,
        stride=stride or own_stride,
        **arguments,
    )
    n_loaded = len(state)
    changed, new = _fill(encoder, state, grid, name, keep_head_norm=True)
    report(name, n_loaded, changed, dropped, new)
    return encoder.eval(), None if head is None else head.eval()


def initialise_ast(encoder, classifier, checkpoint, stride=None):
    """Start training from a checkpoint (a recipe's ``init_from``).

    The encoder keeps its own frames, patch size and stride.  The head, and
    the norm in front of it, travel only when its class count fits.

    Arguments
    ---------
    encoder : AudioSpectrogramTransformer
        Filled in place.
    classifier : torch.nn.Module or None
        Filled in place, where it has a ``weight`` of the head's shape.
    checkpoint : str, Path or dict
        As for `load_official_ast`.
    stride : int, tuple of int or None
        The checkpoint's own stride, if it is not the encoder's and several
        would explain the checkpoint's positions.

    Returns
    -------
    bool
        Whether the head was loaded as well.

    Raises
    ------
    CheckpointError
        (a ValueError) If it does not fit; nothing is changed then.

    Example
    -------
    >>> size = dict(embed_dim=64, depth=2)
    >>> source = AudioSpectrogramTransformer(n_frames=64, **size)
    >>> target = AudioSpectrogramTransformer(n_frames=128, **size)
    >>> initialise_ast(target, torch.nn.Linear(64, 5), source.state_dict())
    False
    """
    state, name, arguments, grid, head, dropped = _split(checkpoint)
    if grid is None:
        grid, *_ = own_grid(
            state[TABLE].shape[1] - 1 - arguments["distilled"],
            tuple(state[KERNEL].shape[2:]),
            encoder.n_mels,
            stride or encoder.stride,
            encoder.n_frames,
            name,
        )
    with_head = head is not None and (
        getattr(classifier, "weight", torch.empty(0)).shape == head.weight.shape
    )
    n_loaded = len(state)
    changed, new = _fill(encoder, state, grid, name, keep_head_norm=with_head)
    if with_head:
        classifier.load_state_dict(head.state_dict())
    else:
        if head is not None:
            dropped.append(f"head of {head.out_features} classes")
        if classifier is not None:
            new.append("classifier")
    report(name, n_loaded, changed, dropped, new)
    return with_head
