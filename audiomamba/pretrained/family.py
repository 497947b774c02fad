"""What the families of checkpoints have in common."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from audiomamba.lobes.patch_encoder import PatchEncoder
from audiomamba.nnet.patch_embed import (
    Size,
    grid_length,
    resize_patch_kernel,
    to_pair,
)
from audiomamba.nnet.tokens import CLS_TOKENS
from audiomamba.pretrained.sources import (
    CheckpointError,
    Tensors,
    encoder_settings,
)

KERNEL, TABLE = "patch_embed.proj.weight", "pos_embed.pos_embed"
# Training set-ups have multiples of one of these as their frames.
USUAL_FRAMES = (64, 8, 1)
# Frames of an encoder that starts from ImageNet, unless others are wanted.
IMAGENET_FRAMES = 1024


# As settings beside the weights have it, else the usual
AUTO = "auto"
USUAL = {"cls_token": "middle", "token_order": "frequency"}


class Wanted(NamedTuple):
    """What the user of a checkpoint asks for; None: as the checkpoint has it.

    The arguments are those of `audiomamba.pretrained.load_official`.
    """

    n_mels: int
    n_frames: int | None
    patch_size: Size | None
    stride: Size | None
    cls_token: str | None
    token_order: str
    # Whether class tokens are left out
    frames_only: bool = False
    # What is written beside the weights: patches, and further arguments
    known: "Layout | None" = None
    further: dict[str, Any] = {}


class Layout(NamedTuple):
    """The patches of the position table in a checkpoint."""

    grid: tuple[int, int]
    n_frames: int
    stride: tuple[int, int]


@dataclass
class Checkpoint:
    """A checkpoint by the names of this package, and what its tensors tell.

    Arguments
    ---------
    name : str
        What to call it in messages.
    tensors : dict
        Those of the encoder, and of the classifier as ``head.*``.
    arguments : dict
        Arguments of the encoder's constructor.
    embed_dim : int
        Width of the embedding.
    dropped : list of str
        Names of the tensors that are not used.
    """

    name: str
    tensors: Tensors
    arguments: dict[str, Any]
    embed_dim: int
    dropped: list[str]


@dataclass
class PatchCheckpoint(Checkpoint):
    """A checkpoint of a `PatchEncoder`.

    Arguments
    ---------
    n_cls : int
        Number of class tokens.
    layout : Layout
        The patches of its position table.
    """

    n_cls: int
    layout: Layout


def settings_beside(encoder: type, source: Path | Tensors) -> dict[str, Any]:
    """Return the arguments of an encoder in a YAML beside its weights.

    Arguments
    ---------
    encoder : type
        Its class.
    source : Path or dict
        The weights.

    Returns
    -------
    dict
        All arguments; empty without a YAML, or with one of another class.
    """
    if isinstance(source, dict):
        return {}
    settings = encoder_settings(source)
    if settings.get("class") != encoder.__name__:
        return {}
    arguments = inspect.signature(encoder).parameters
    return {k: settings.get(k, v.default) for k, v in arguments.items()}


def agreed(wanted: Wanted, settings: dict[str, Any]) -> Wanted:
    """Return what is wanted where settings beside the weights are known.

    Arguments
    ---------
    wanted : Wanted
        With ``AUTO`` where the settings decide.
    settings : dict
        From `settings_beside`.

    Returns
    -------
    Wanted

    Raises
    ------
    CheckpointError
        If something else is wanted than the settings say.
    """
    for key, usual in USUAL.items():
        asked, own = getattr(wanted, key), settings.get(key, usual)
        if asked == AUTO:
            wanted = wanted._replace(**{key: own})
        # The tensors tell the number of class tokens, but not their place
        elif (
            key in settings
            and asked != own
            and (CLS_TOKENS.get(asked) == CLS_TOKENS.get(own))
        ):
            raise CheckpointError(
                f"{key} is {own!r} in the hyperparams.yaml beside the weights, "
                f"which contradicts {key}={asked!r}: give the same."
            )
    further = ("mask_padding", "output")
    return wanted._replace(
        further={key: settings[key] for key in further if key in settings}
    )


class PatchFamily:
    """Checkpoints of one kind of `PatchEncoder`.

    A family of other encoders has the same attributes and methods.  Subclasses
    define the following and ``read(tensors, name, wanted)``, which returns a
    `PatchCheckpoint`.

    Attributes
    ----------
    title : str
        What messages call its checkpoints.
    encoder : type
        Class of the encoder.
    classifier_norm : tuple of str
        Tensors of the encoder that are part of the classifier.
    """

    title: str
    encoder: type[PatchEncoder]
    classifier_norm: tuple[str, ...] = ()
    # Strides, besides the patch size, that its checkpoints are trained with
    usual_strides: tuple[tuple[int, int], ...] = ()
    # Resamples a position table [F', T', D] to another grid.
    resample: Callable[[torch.Tensor, tuple[int, int]], torch.Tensor]

    def wanted_by(self, encoder: PatchEncoder, stride: Size | None) -> Wanted:
        """Return what an encoder asks of a checkpoint with a given stride."""
        return Wanted(
            n_mels=encoder.n_mels,
            n_frames=encoder.n_frames,
            patch_size=encoder.patch_size,
            stride=stride or encoder.stride,
            cls_token=encoder.cls_place,
            token_order=encoder.token_order,
        )

    def with_settings(self, wanted: Wanted, source: Path | Tensors) -> Wanted:
        """Add the layout in a YAML of this package beside the weights."""
        settings = settings_beside(self.encoder, source)
        wanted = agreed(wanted, settings)
        if not settings:
            return wanted
        bins, frames = settings["n_mels"], settings["n_frames"]
        patch, stride = settings["patch_size"], settings["stride"]
        patch, stride = to_pair(patch), to_pair(stride)
        rows, columns = map(grid_length, (bins, frames), patch, stride)
        return wanted._replace(
            n_mels=bins, known=Layout((rows, columns), frames, stride)
        )

    def build(
        self, checkpoint: PatchCheckpoint, wanted: Wanted
    ) -> PatchEncoder:
        """Return a new encoder for a checkpoint, its weights not yet loaded."""
        layout = checkpoint.layout
        own_patch = to_pair(checkpoint.tensors[KERNEL].shape[2:])
        return self.encoder(
            n_mels=wanted.n_mels,
            n_frames=wanted.n_frames or layout.n_frames,
            patch_size=wanted.patch_size or own_patch,
            stride=wanted.stride or wanted.patch_size or layout.stride,
            **checkpoint.arguments,
            **wanted.further,
        )

    def fit(
        self, checkpoint: PatchCheckpoint, encoder: PatchEncoder
    ) -> list[str]:
        """Resample patch kernel and position table to an encoder, in place.

        Returns what was resampled, for the log.
        """
        tensors, resampled = checkpoint.tensors, []
        kernel = resize_patch_kernel(tensors[KERNEL], encoder.patch_size)
        cls, table = tensors[TABLE][0].tensor_split([checkpoint.n_cls])
        table = table.unflatten(0, checkpoint.layout.grid)
        table = self.resample(table, encoder.pos_embed.grid)
        table = torch.cat([cls, table.flatten(0, 1)])[None]
        for key, value in ((KERNEL, kernel), (TABLE, table)):
            old, new = list(tensors[key].shape), list(value.shape)
            if new != old:
                resampled.append(f"{key} {old} -> {new}")
            elif not torch.equal(value, tensors[key]):
                resampled.append(f"{key}, same shape on another grid")
            tensors[key] = value
        return resampled

    def _square_layout(self, tensors, n_cls, name):
        """Return the layout of an ImageNet checkpoint, whose grid is square."""
        n_patches = tensors[TABLE].shape[1] - n_cls
        side = math.isqrt(n_patches)
        if side * side != n_patches:
            raise CheckpointError(
                f"{name} has {n_patches} patch positions, which is not a "
                "square grid: it is not an ImageNet checkpoint."
            )
        patch = to_pair(tensors[KERNEL].shape[2:])
        return Layout((side, side), IMAGENET_FRAMES, patch)

    def _find_layout(self, tensors, n_cls, wanted, name):
        """Find the layout of a checkpoint trained on spectrograms.

        Several strides can lead to the same number of patches.  The wanted
        stride and frames are taken if they fit.  Otherwise the wanted stride
        and the patch size come before other strides, and round numbers of
        frames before others.  Where several usual strides fit, none is taken.
        """
        patch = to_pair(tensors[KERNEL].shape[2:])
        n_patches = tensors[TABLE].shape[1] - n_cls
        if wanted.known is not None:
            return self._checked_layout(wanted.known, n_patches, name)
        if wanted.stride is None:
            layout = self._usual_layout(n_patches, patch, wanted, name)
            if layout is not None:
                return layout
        likely = [to_pair(wanted.stride) if wanted.stride else patch, patch]
        guessed = [(s, s) for s in range(min(patch), 0, -1)]
        ranked = []
        for place, stride in enumerate(likely + guessed):
            n_rows = grid_length(wanted.n_mels, patch[0], stride[0])
            if n_patches % n_rows:
                continue
            grid = (n_rows, n_patches // n_rows)
            if place == 0 and wanted.n_frames is not None:
                if grid_length(wanted.n_frames, patch[1], stride[1]) == grid[1]:
                    return Layout(grid, wanted.n_frames, stride)
            shortest = (grid[1] - 1) * stride[1] + patch[1]
            rank, n_frames = _likely_frames(shortest, stride[1])
            layout = Layout(grid, n_frames, stride)
            ranked.append((place >= len(likely), rank, place, layout))
        if not ranked:
            raise CheckpointError(
                f"{name} has {n_patches} patch positions, which no stride up "
                f"to the patch size {patch} makes of {wanted.n_mels} mel bins."
            )
        return min(ranked)[-1]

    def _checked_layout(self, layout, n_patches, name):
        """Refuse settings beside the weights that contradict them."""
        if math.prod(layout.grid) != n_patches:
            raise CheckpointError(
                f"{name} has {n_patches} patch positions, but by the "
                f"configuration beside it they are {layout.grid[0]} x "
                f"{layout.grid[1]}: get both from the same source."
            )
        return layout

    def _usual_layout(self, n_patches, patch, wanted, name):
        """Return the layout of the usual stride that fits; None without one.

        The wanted frames decide between several; else it is an error.
        """
        found, fitting, choices = [], [], []
        for stride in dict.fromkeys((*self.usual_strides, patch)):
            n_rows = grid_length(wanted.n_mels, patch[0], stride[0])
            if n_patches % n_rows:
                continue
            grid = (n_rows, n_patches // n_rows)
            fewest = (grid[1] - 1) * stride[1] + patch[1]
            most = fewest + stride[1] - 1
            _, n_frames = _likely_frames(fewest, stride[1])
            fits = wanted.n_frames and fewest <= wanted.n_frames <= most
            layout = Layout(grid, wanted.n_frames if fits else n_frames, stride)
            found.append(layout)
            if fits:
                fitting.append(layout)
            given = stride[0] if stride[0] == stride[1] else stride
            choices.append(f"stride={given} ({fewest} to {most} frames)")
        if len(fitting) == 1:
            return fitting[0]
        if len(found) > 1:
            raise CheckpointError(
                f"{name} has {n_patches} patch positions, which several "
                f"strides make: give {' or '.join(choices)}."
            )
        return found[0] if found else None


def _likely_frames(shortest, stride):
    """Return the roundest number of frames with as many patches, and its rank.

    ``shortest`` is the smallest such number; rank 0 is the roundest.
    """
    rounded = [-(-shortest // unit) * unit for unit in USUAL_FRAMES]
    rank = next(i for i, n in enumerate(rounded) if n < shortest + stride)
    return rank, rounded[rank]
