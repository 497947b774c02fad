"""What the transfer of Audio Mamba's and AST's checkpoints shares."""

import logging

import torch

from audiomamba.lobes.weights import CheckpointError
from audiomamba.nnet.patch_embed import grid_length, to_pair

logger = logging.getLogger(__name__)

KERNEL, TABLE = "patch_embed.proj.weight", "pos_embed.pos_embed"
HEAD = ("head.weight", "head.bias")
# Frames that models are trained on are multiples of one of these.
USUAL_FRAMES = (64, 8, 1)


def _likely_frames(shortest, stride):
    """Return the roundest of the frames that give the same patches.

    Behind its place among the usual units, the less round the later.
    """
    rounded = [-(-shortest // unit) * unit for unit in USUAL_FRAMES]
    rank = next(i for i, n in enumerate(rounded) if n < shortest + stride)
    return rank, rounded[rank]


def own_grid(n_patches, patch_size, n_mels, wanted_stride, n_frames, name):
    """Return the patch grid and the frames of a checkpoint's position table.

    Several strides can lead to the same number of patches.  The wanted grid
    is taken where it fits; else the stride, wanted or as the patch, at which
    the frames come out as those of a training set-up do, and then any other.
    """
    candidates = [
        *(to_pair(wanted_stride) if wanted_stride else patch_size,),
        patch_size,
        *((s, s) for s in range(min(patch_size), 0, -1)),
    ]
    ranked = []
    for place, stride in enumerate(candidates):
        n_rows = grid_length(n_mels, patch_size[0], stride[0])
        if n_patches % n_rows:
            continue
        n_columns = n_patches // n_rows
        shortest = (n_columns - 1) * stride[1] + patch_size[1]
        grid = (n_rows, n_columns)
        if place == 0 and n_frames is not None:
            if grid_length(n_frames, patch_size[1], stride[1]) == n_columns:
                return grid, n_frames, stride
        rank, frames = _likely_frames(shortest, stride[1])
        # A guessed stride comes last, whatever frames it leads to.
        ranked.append((place > 1, rank, place, grid, frames, stride))
    if not ranked:
        raise CheckpointError(
            f"{name} has {n_patches} patch positions, which no stride up to "
            f"the patch size {patch_size} makes of {n_mels} mel bins."
        )
    return min(ranked)[3:]


def take_head(state, embed_dim, name):
    """Take the classifier out of a state; None where there is none."""
    present = [key for key in HEAD if key in state]
    if not present:
        return None
    tensors = {key.removeprefix("head."): state.pop(key) for key in present}
    shapes = {key: list(value.shape) for key, value in tensors.items()}
    n_classes = shapes.get("weight", [0])[0]
    if shapes != {"weight": [n_classes, embed_dim], "bias": [n_classes]}:
        raise CheckpointError(
            f"{name} does not fit: its head has {shapes}, where a classifier "
            f"has a weight [classes, {embed_dim}] and a bias [classes]."
        )
    head = torch.nn.Linear(embed_dim, n_classes)
    head.load_state_dict(tensors)
    return head


def check_tensors(state, encoder, name):
    """Refuse a state whose names or shapes are not the encoder's."""
    wanted = encoder.state_dict()
    differing = [f"{key} is missing" for key in wanted if key not in state]
    differing += [f"{key} is unknown" for key in state if key not in wanted]
    differing += [
        f"{key} is {list(state[key].shape)} and should be {list(value.shape)}"
        for key, value in wanted.items()
        if key in state and state[key].shape != value.shape
    ]
    if differing:
        shown = "\n  ".join(differing[:20])
        more = len(differing) - 20
        raise CheckpointError(
            f"{name} does not fit:\n  {shown}"
            + (f"\n  and {more} more" if more > 0 else "")
        )


def report(name, loaded, resampled, dropped, new):
    """Say what became of every tensor."""
    logger.info("%s: %d tensors loaded", name, loaded)
    for what, names in (
        ("resampled", resampled),
        ("dropped", dropped),
        ("new", new),
    ):
        if names:
            logger.info("%s: %s: %s", name, what, "; ".join(names))
