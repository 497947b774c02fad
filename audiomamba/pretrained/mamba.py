"""Checkpoints of the AuM repository and of Vim, its ImageNet counterpart.

The tensors have the authors' names, which are also those of `AudioMamba`.
"""

import re

from audiomamba.lobes.audio_mamba import CLS_NAMES, AudioMamba
from audiomamba.nnet.tokens import CLS_TOKENS, resample_table
from audiomamba.pretrained.family import (
    KERNEL,
    TABLE,
    PatchCheckpoint,
    PatchFamily,
    Wanted,
)
from audiomamba.pretrained.sources import CheckpointError, Tensors

BLOCK = re.compile(r"(?:^|\.)layers\.(\d+)\.mixer\.")


class MambaFamily(PatchFamily):
    """Checkpoints of Audio Mamba and Vim."""

    title = "Audio Mamba or Vim"
    encoder = AudioMamba
    resample = staticmethod(resample_table)

    def recognises(self, tensors: Tensors) -> bool:
        """Whether the tensors include those of a Mamba mixer."""
        return any(BLOCK.search(key) for key in tensors)

    def read(
        self, tensors: Tensors, name: str, wanted: Wanted
    ) -> PatchCheckpoint:
        """Return a checkpoint by the names of `AudioMamba`."""
        tensors, dropped = _strip_prefix(tensors, name), []
        n_cls = _count_cls_tokens(tensors, wanted, name)
        is_vim = "pos_embed" in tensors
        if is_vim:
            dropped = _convert_vim(tensors, n_cls, wanted.cls_token)
        arguments = _architecture(tensors, name)
        arguments["cls_token"] = wanted.cls_token
        arguments["token_order"] = wanted.token_order
        if is_vim:
            layout = self._square_layout(tensors, n_cls, name)
        else:
            layout = self._find_layout(tensors, n_cls, wanted, name)
        if wanted.frames_only:
            dropped += _drop_cls_tokens(tensors, n_cls)
            n_cls = 0
        width = arguments["embed_dim"]
        return PatchCheckpoint(
            name, tensors, arguments, width, dropped, n_cls, layout
        )


def _strip_prefix(tensors, name):
    """Remove what precedes every name, ``module.`` for example."""
    found = [key for key in tensors if key.endswith(KERNEL)]
    if len(found) != 1:
        raise CheckpointError(
            f"{name} holds {len(found)} tensors called {KERNEL}, where an "
            "Audio Mamba or Vim has one; its names begin with "
            f"{', '.join(sorted(tensors)[:3])}. It is a checkpoint of another "
            "model."
        )
    prefix = found[0].removesuffix(KERNEL)
    return {key.removeprefix(prefix): value for key, value in tensors.items()}


def _count_cls_tokens(tensors, wanted, name):
    """Return the number of class tokens; refuse a place that contradicts it."""
    found = [n for n, names in enumerate(CLS_NAMES) if {*names} & {*tensors}]
    n_cls, cls_token = max(found, default=0), wanted.cls_token
    if wanted.frames_only:
        return n_cls
    if cls_token not in CLS_TOKENS or CLS_TOKENS[cls_token] != n_cls:
        fitting = [repr(k) for k, n in CLS_TOKENS.items() if n == n_cls]
        raise CheckpointError(
            f"{name} has {n_cls} class tokens, which contradicts "
            f"cls_token={cls_token!r}: give {' or '.join(fitting)}."
        )
    return n_cls


def _drop_cls_tokens(tensors, n_cls):
    """Remove the class tokens and their positions; return their names."""
    for key in CLS_NAMES[n_cls]:
        del tensors[key]
    tensors[TABLE] = tensors[TABLE][:, n_cls:]
    return list(CLS_NAMES[n_cls])


def _convert_vim(tensors, n_cls, cls_token):
    """Turn Vim's tensors into those of Audio Mamba, in place.

    The kernel is averaged over the colours, and the position of the class
    token moves from its place in the row to the front.  Returns the names of
    the tensors that are dropped: the ImageNet classifier's and others.
    """
    if tensors[KERNEL].shape[1] == 3:
        tensors[KERNEL] = tensors[KERNEL].mean(1, keepdim=True)
    table = tensors.pop("pos_embed")
    n_positions = table.shape[1]
    places = {"front": 0, "end": n_positions - 1}
    middle = (n_positions - 1) // 2
    first = {
        0: [],
        1: [places.get(cls_token, middle)],
        2: [0, n_positions - 1],
    }[n_cls]
    patches = [i for i in range(n_positions) if i not in first]
    tensors[TABLE] = table[:, first + patches]
    dropped = sorted(k for k in tensors if re.match(r"(head|rope)\.", k))
    for key in dropped:
        del tensors[key]
    return dropped


def _architecture(tensors, name):
    """Return the constructor's arguments that the tensors tell."""
    first = "layers.0.mixer."
    needed = (KERNEL, TABLE, first + "A_log", first + "conv1d.weight")
    missing = [key for key in needed if key not in tensors]
    if missing:
        raise CheckpointError(
            f"{name} has no {', '.join(missing)}: it is a checkpoint of "
            "another model."
        )
    scan = "fo_fo"
    if first + "conv1d_b.weight" in tensors:
        scan = "bi_bi"
    elif first + "A_b_log" in tensors:
        scan = "fo_bi"
    layers = [int(m[1]) for key in tensors if (m := BLOCK.match(key))]
    embed_dim = tensors[KERNEL].shape[0]
    inner_dim, state_size = tensors[first + "A_log"].shape
    return {
        "embed_dim": embed_dim,
        "depth": max(layers) + 1,
        "scan": scan,
        "state_size": state_size,
        "conv_size": tensors[first + "conv1d.weight"].shape[2],
        "expansion": inner_dim // embed_dim,
    }
