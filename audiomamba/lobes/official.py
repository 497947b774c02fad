"""The authors' checkpoints, and those of Vim, in the models here.

The names of the tensors are the authors'; what differs from file to file is
worked out from the tensors' shapes.
"""

import math
import re

import torch

from audiomamba.lobes.audio_mamba import CLS_NAMES, AudioMamba
from audiomamba.lobes.transfer import (
    HEAD,
    KERNEL,
    TABLE,
    check_tensors,
    own_grid,
    report,
    take_head,
)
from audiomamba.lobes.weights import CheckpointError, read_weights
from audiomamba.nnet.patch_embed import resize_patch_kernel
from audiomamba.nnet.position import resample_table
from audiomamba.nnet.tokens import CLS_TOKENS


def _architecture(state, name):
    """Return the constructor arguments that the tensors tell."""
    layers = {
        int(match[1])
        for key in state
        if (match := re.match(r"layers\.(\d+)\.", key))
    }
    first = "layers.0.mixer."
    needed = [KERNEL, TABLE, first + "A_log", first + "conv1d.weight"]
    missing = [key for key in needed if key not in state]
    if missing:
        raise CheckpointError(
            f"{name} has no {', '.join(missing)}: it is a checkpoint of "
            "another model."
        )
    scan = "fo_fo"
    if first + "conv1d_b.weight" in state:
        scan = "bi_bi"
    elif first + "A_b_log" in state:
        scan = "fo_bi"
    embed_dim = state[KERNEL].shape[0]
    inner_dim, state_size = state[first + "A_log"].shape
    return dict(
        embed_dim=embed_dim,
        depth=max(layers) + 1,
        scan=scan,
        state_size=state_size,
        conv_size=state[first + "conv1d.weight"].shape[2],
        expansion=inner_dim // embed_dim,
    )


def _check_cls_token(state, cls_token, name):
    """Refuse a class-token position that the tensors contradict."""
    found = {
        n for n, names in enumerate(CLS_NAMES) if names and names[0] in state
    }
    n_cls = max(found, default=0)
    if cls_token not in CLS_TOKENS or CLS_TOKENS[cls_token] != n_cls:
        fitting = [repr(k) for k, n in CLS_TOKENS.items() if n == n_cls]
        raise CheckpointError(
            f"{name} has {n_cls} class tokens, which does not go with "
            f"cls_token={cls_token!r}: give {' or '.join(fitting)}."
        )
    return n_cls


def _from_vim(state, name):
    """Turn a Vim checkpoint's tensors into those of an Audio Mamba.

    The kernel is averaged over the colours, the class token's position moves
    from its place in the row to the front, the ImageNet head stays behind.
    """
    state = dict(state)
    if state[KERNEL].shape[1] == 3:
        state[KERNEL] = state[KERNEL].mean(1, keepdim=True)
    state[TABLE] = state.pop("pos_embed")
    n_positions = state[TABLE].shape[1]
    places = []
    if "cls_token_head" in state:
        places = [0, n_positions - 1]
    elif "cls_token" in state:
        places = [(n_positions - 1) // 2]
    rest = [i for i in range(n_positions) if i not in places]
    state[TABLE] = state[TABLE][:, places + rest]
    dropped = sorted(k for k in state if k in HEAD or k.startswith("rope."))
    for key in dropped:
        del state[key]
    side = math.isqrt(len(rest))
    if side * side != len(rest):
        raise CheckpointError(
            f"{name} has {len(rest)} patch positions, which is no square "
            "grid: it is no ImageNet checkpoint of Vim."
        )
    return state, (side, side), dropped


def _fit(state, grid, encoder, n_cls):
    """Resample patch kernel and position table to an encoder, in place.

    Returns the names of what was resampled.
    """
    resampled = []
    kernel = resize_patch_kernel(state[KERNEL], encoder.patch_size)
    cls, table = state[TABLE][0].tensor_split([n_cls])
    table = resample_table(table.unflatten(0, grid), encoder.pos_embed.grid)
    table = torch.cat([cls, table.flatten(0, 1)])[None]
    for key, value in ((KERNEL, kernel), (TABLE, table)):
        if value.shape != state[key].shape:
            resampled.append(
                f"{key} {list(state[key].shape)} -> {list(value.shape)}"
            )
        elif not torch.equal(value, state[key]):
            resampled.append(f"{key}, same shape on another grid")
        state[key] = value
    return resampled


def _split(checkpoint, cls_token):
    """Return a checkpoint's encoder state, head, and what it was built as."""
    state, name = read_weights(checkpoint)
    dropped, grid = [], None
    if "pos_embed" in state:
        state, grid, dropped = _from_vim(state, name)
    arguments = _architecture(state, name)
    n_cls = _check_cls_token(state, cls_token, name)
    head = take_head(state, arguments["embed_dim"], name)
    return state, name, arguments, n_cls, grid, head, dropped


def load_official(
    checkpoint,
    *,
    cls_token="middle",
    n_frames=None,
    patch_size=None,
    stride=None,
    token_order="frequency",
    n_mels=128,
):
    """Load a checkpoint of the AuM repository or of Vim.

    Scan, width, depth, patch size and the source's patch grid are worked out
    from the tensors; position table and patch kernel are resampled where
    another grid or patch is wanted.

    Arguments
    ---------
    checkpoint : str, Path or dict
        A ``.pth`` or ``.safetensors`` file, a folder, a hub repository
        ``owner/name`` or a state dict, with or without ``module.``.
    cls_token : str or None
        Place of the class token, which the tensors do not tell: "front",
        "middle", "end", "both" or None.
    n_frames : int or None
        Frames the position table should cover; None for the checkpoint's own
        (1024 for an ImageNet checkpoint).
    patch_size : int, tuple of int or None
        Patch (bins, frames); None for the checkpoint's own.
    stride : int, tuple of int or None
        Stride (bins, frames); None for the checkpoint's own, which is taken
        to be its patch size unless only an overlapping stride explains its
        positions.  Give it for a checkpoint with overlapping patches.
    token_order : str
        "time" for a model trained with transposed tokens.
    n_mels : int
        Mel bins of the checkpoint's input.

    Returns
    -------
    AudioMamba
        In evaluation mode.
    torch.nn.Linear or None
        The classifier; None where the checkpoint has none for sounds.

    Raises
    ------
    CheckpointError
        (a ValueError) If the checkpoint is damaged, holds code, belongs to
        another model or to another ``cls_token``; with the names and shapes
        that differ.

    Example
    -------
    >>> encoder = AudioMamba(n_frames=64, embed_dim=32, depth=2)
    >>> state = {f"module.{k}": v for k, v in encoder.state_dict().items()}
    >>> loaded, head = load_official(state, n_frames=128)
    >>> loaded.n_frames, loaded.depth, head
    (128, 2, None)
    """
    state, name, arguments, n_cls, grid, head, dropped = _split(
        checkpoint, cls_token
    )
    own_patch = tuple(state[KERNEL].shape[2:])
    if grid is None:
        n_patches = state[TABLE].shape[1] - n_cls
        grid, own_frames, own_stride = own_grid(
            n_patches, own_patch, n_mels, stride, n_frames, name
        )
    else:
        own_frames, own_stride = 1024, own_patch
    if patch_size is not None and stride is None:
        own_stride = patch_size
    encoder = AudioMamba(
        n_mels=n_mels,
        n_frames=n_frames or own_frames,
        patch_size=patch_size or own_patch,
        stride=stride or own_stride,
        cls_token=cls_token,
        token_order=token_order,
        **arguments,
    )
    resampled = _fit(state, grid, encoder, n_cls)
    check_tensors(state, encoder, name)
    encoder.load_state_dict(state)
    report(name, len(state), resampled, dropped, [])
    return encoder.eval(), None if head is None else head.eval()


def _initialise_other(encoder, classifier, checkpoint, stride):
    """Hand an AST over to its own code; refuse what nobody has weights of."""
    from audiomamba.lobes.ast import AudioSpectrogramTransformer
    from audiomamba.lobes.ast_official import initialise_ast

    if not isinstance(encoder, AudioSpectrogramTransformer):
        raise CheckpointError(
            f"{checkpoint} cannot start a {type(encoder).__name__}: init_from "
            "is for AudioMamba and AudioSpectrogramTransformer."
        )
    return initialise_ast(encoder, classifier, checkpoint, stride)


def initialise(encoder, classifier, checkpoint, stride=None):
    """Start training from a checkpoint (a recipe's ``init_from``).

    The encoder keeps its own frames, patch size and stride.  The head travels
    only when its class count fits.

    Arguments
    ---------
    encoder : AudioMamba or AudioSpectrogramTransformer
        Filled in place; its class token and token order must be those of the
        checkpoint.
    classifier : torch.nn.Module or None
        Filled in place, where it has a ``weight`` of the head's shape.
    checkpoint : str, Path or dict
        As for `load_official`.
    stride : int, tuple of int or None
        The checkpoint's own stride, if its patches overlap and the encoder's
        stride is another.

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
    >>> source = AudioMamba(n_frames=64, embed_dim=32, depth=2)
    >>> target = AudioMamba(n_frames=128, embed_dim=32, depth=2)
    >>> initialise(target, torch.nn.Linear(32, 5), source.state_dict())
    False
    """
    if not isinstance(encoder, AudioMamba):
        return _initialise_other(encoder, classifier, checkpoint, stride)
    state, name, _, n_cls, grid, head, dropped = _split(
        checkpoint, encoder.cls_place
    )
    if grid is None:
        grid, *_ = own_grid(
            state[TABLE].shape[1] - n_cls,
            tuple(state[KERNEL].shape[2:]),
            encoder.n_mels,
            stride or encoder.stride,
            encoder.n_frames,
            name,
        )
    resampled = _fit(state, grid, encoder, n_cls)
    check_tensors(state, encoder, name)
    with_head = head is not None and (
        getattr(classifier, "weight", torch.empty(0)).shape == head.weight.shape
    )
    encoder.load_state_dict(state)
    if with_head:
        classifier.load_state_dict(head.state_dict())
    elif head is not None:
        dropped.append(f"head of {head.out_features} classes")
    new = [] if with_head or classifier is None else ["classifier"]
    report(name, len(state), resampled, dropped, new)
    return with_head
