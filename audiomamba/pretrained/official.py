"""Published checkpoints of any family in the encoders of this package."""

import logging

import torch

from audiomamba.lobes.ctc import CTCEncoder
from audiomamba.lobes.dass import DASS
from audiomamba.lobes.patch_encoder import PatchEncoder
from audiomamba.nnet.patch_embed import Size
from audiomamba.pretrained.ast import ASTFamily
from audiomamba.pretrained.dass import DASSFamily
from audiomamba.pretrained.family import AUTO, Wanted
from audiomamba.pretrained.mamba import MambaFamily
from audiomamba.pretrained.sources import CheckpointError, Source, locate
from audiomamba.pretrained.weights import (
    label_difference,
    read_class_names,
    read_tensors,
)

logger = logging.getLogger(__name__)

FAMILIES = (MambaFamily(), ASTFamily(), DASSFamily())


def load_official(
    checkpoint: Source,
    *,
    cls_token: str | None = AUTO,
    n_frames: int | None = None,
    patch_size: Size | None = None,
    stride: Size | None = None,
    token_order: str = AUTO,
    n_mels: int = 128,
) -> tuple[PatchEncoder | DASS, torch.nn.Linear | None]:
    """Load a published checkpoint.

    The family is recognised by the tensors: Audio Mamba (the AuM repository)
    and Vim, AST and DeiT, or DASS and VMamba.  So are width, depth, scan, patch
    size and patch grid.  Patch kernel and position table are resampled where
    another patch size or grid is wanted, and adapted from images as the
    family's authors do.  DASS takes clips of any length as it is: it has no
    table, and refuses ``patch_size``, ``stride`` and ``token_order``.

    Arguments
    ---------
    checkpoint : str, Path or dict
        A file (``.pth``, ``.pt``, ``.ckpt``, ``.safetensors``), a folder, a
        Hugging Face repository ``owner/name`` or a state dict; by the names of
        the AuM, AST, DASS or VMamba repository, of timm, of ``transformers`` or
        of DASS's copies on the hub.
    cls_token : str or None
        Place of Audio Mamba's class token, which the tensors do not tell:
        "front", "middle", "end", "both" or None; "auto" for that in the
        ``hyperparams.yaml`` beside them, else "middle".
    n_frames : int or None
        Frames that the position table should cover; None for the
        checkpoint's own (1024 for an ImageNet checkpoint).
    patch_size : int, tuple of int or None
        Patch size in (bins, frames); None for the checkpoint's own.
    stride : int, tuple of int or None
        Stride in (bins, frames); None for the checkpoint's own: that of the
        ``config.json`` of ``transformers`` beside it, else the patch size
        unless only an overlapping stride explains its positions.  Where both
        10, AST's stride, and the patch size do, an error names the choices.
    token_order : str
        "time" for an Audio Mamba trained with transposed tokens; "auto" for
        that in the ``hyperparams.yaml``, else "frequency".
    n_mels : int
        Mel bins of the checkpoint's input; settings beside it come first.

    Returns
    -------
    encoder : AudioMamba, AudioSpectrogramTransformer or DASS
        In evaluation mode; it masks padding, and gives an output, as the
        ``hyperparams.yaml`` beside the weights says.
    classifier : torch.nn.Linear or None
        None where the checkpoint has no audio classifier.

    Raises
    ------
    CheckpointError
        (a ValueError) If the checkpoint is damaged, holds code, belongs to
        another model or contradicts ``cls_token`` or ``token_order``; with
        the names and shapes that differ.

    Example
    -------
    >>> from audiomamba import AudioMamba
    >>> encoder = AudioMamba(n_frames=64, embed_dim=32, depth=2)
    >>> state = {f"module.{k}": v for k, v in encoder.state_dict().items()}
    >>> loaded, classifier = load_official(state, n_frames=128)
    >>> loaded.n_frames, loaded.depth, classifier
    (128, 2, None)
    """
    wanted = Wanted(
        n_mels=n_mels,
        n_frames=n_frames,
        patch_size=patch_size,
        stride=stride,
        cls_token=cls_token,
        token_order=token_order,
    )
    source = locate(checkpoint)
    tensors, name = read_tensors(source)
    family = _recognise(tensors, name)
    wanted = family.with_settings(wanted, source)
    given = family.read(tensors, name, wanted)
    classifier = _linear(_take_head(given), given)
    encoder = family.build(given, wanted)
    _fill(family, encoder, given, with_classifier=True)
    if classifier is not None:
        classifier.eval()
    return encoder.eval(), classifier


def initialise(
    encoder: torch.nn.Module,
    classifier: torch.nn.Module | None,
    checkpoint: Source,
    stride: Size | None = None,
    labels: list[str] | None = None,
) -> bool:
    """Initialise a model from a checkpoint (``init_from`` of a recipe).

    The encoder keeps its own frames, patch size and stride.  The classifier is
    loaded if its shape fits and the class names, where the checkpoint has
    them, are those of the data in the same order; the log says why not.

    Arguments
    ---------
    encoder : AudioMamba, AudioSpectrogramTransformer, DASS or CTCEncoder
        Filled in place; its class token and token order must be those of the
        checkpoint. A `CTCEncoder`, which gives frames, leaves out class tokens.
    classifier : torch.nn.Module or None
        Filled in place.
    checkpoint : str, Path or dict
        As for `load_official`.
    stride : int, tuple of int or None
        The checkpoint's stride, if its patches overlap and the encoder's
        stride is another one.
    labels : list of str or None
        Class names of the data by index; None if unknown.

    Returns
    -------
    bool
        Whether the classifier was loaded as well.

    Raises
    ------
    CheckpointError
        (a ValueError) If the checkpoint does not fit; nothing is changed then.

    Example
    -------
    >>> from audiomamba import AudioMamba
    >>> source = AudioMamba(n_frames=64, embed_dim=32, depth=2)
    >>> target = AudioMamba(n_frames=128, embed_dim=32, depth=2)
    >>> initialise(target, torch.nn.Linear(32, 5), source.state_dict())
    False
    """
    frames_only = False
    if isinstance(encoder, CTCEncoder):
        encoder = encoder.encoder
        frames_only = encoder.cls_place is None
    family = next((f for f in FAMILIES if isinstance(encoder, f.encoder)), None)
    if family is None:
        known = ", ".join(f.encoder.__name__ for f in FAMILIES)
        raise CheckpointError(
            f"A checkpoint cannot start a {type(encoder).__name__}: init_from "
            f"is for the encoders {known}."
        )
    source = locate(checkpoint)
    tensors, name = read_tensors(source)
    found = _recognise(tensors, name)
    if found is not family:
        raise CheckpointError(
            f"{name} is a checkpoint of {found.title}, but the encoder is of "
            f"the class {type(encoder).__name__}: give a checkpoint of "
            f"{family.title}."
        )
    wanted = family.wanted_by(encoder, stride)
    wanted = wanted._replace(frames_only=frames_only)
    given = family.read(tensors, name, family.with_settings(wanted, source))
    head = _take_head(given)
    names = read_class_names(source)
    fits, reason = _compare_classifiers(head, classifier, names, labels)
    _fill(family, encoder, given, with_classifier=fits)
    if classifier is not None:
        if fits:
            classifier.load_state_dict(head)
        verdict = "loaded" if fits else "not loaded"
        logger.info("%s: classifier %s: %s", name, verdict, reason)
    return fits


def _recognise(tensors, name):
    """Return the family that a checkpoint belongs to."""
    for family in FAMILIES:
        if family.recognises(tensors):
            return family
    raise CheckpointError(
        f"{name} is a checkpoint of another model than "
        f"{', '.join(family.title for family in FAMILIES)}; its names begin "
        f"with {', '.join(sorted(tensors)[:3])}."
    )


def _take_head(given):
    """Take the tensors of the classifier out of a checkpoint."""
    names = [key for key in given.tensors if key.startswith("head.")]
    return {key.removeprefix("head."): given.tensors.pop(key) for key in names}


def _linear(head, given):
    """Return a head as a layer; None where there is none."""
    if not head:
        return None
    embed_dim, shapes = given.embed_dim, _shapes(head)
    n_classes = shapes.get("weight", [0])[0]
    if shapes != {"weight": [n_classes, embed_dim], "bias": [n_classes]}:
        raise CheckpointError(
            f"{given.name} does not fit: its head has {shapes}, where a "
            f"classifier has a weight [classes, {embed_dim}] and a bias "
            "[classes]."
        )
    classifier = torch.nn.Linear(embed_dim, n_classes)
    classifier.load_state_dict(head)
    return classifier


def _shapes(tensors):
    return {key: list(value.shape) for key, value in tensors.items()}


def _compare_classifiers(head, classifier, names, labels):
    """Return whether a head can be loaded into a classifier, and why.

    ``names`` and ``labels`` are the class names of the checkpoint and of the
    data, None where they are unknown.
    """
    if not head or classifier is None:
        return False, "the checkpoint has none"
    if names is not None and labels is not None:
        if difference := label_difference(names, labels):
            return False, difference
    found, wanted = _shapes(head), _shapes(classifier.state_dict())
    if found != wanted:
        return False, f"its shapes are {found} instead of {wanted}"
    if names is None:
        return True, "its classes are taken to be the data's, in their order"
    if labels is None:
        return True, "its class names are not compared, the data's are unknown"
    return True, "its class names are the data's"


def _fill(family, encoder, given, with_classifier):
    """Fit a checkpoint to an encoder, load it, and log what was done.

    Nothing is changed if it does not fit.
    """
    resampled, new = family.fit(given, encoder), []
    norm = family.classifier_norm
    if norm and not (with_classifier and norm[0] in given.tensors):
        own = encoder.state_dict()
        given.tensors.update({key: own[key] for key in norm})
        new.extend(norm)
    _check_tensors(given.tensors, encoder, given.name)
    encoder.load_state_dict(given.tensors)
    n_loaded = len(given.tensors) - len(new)
    logger.info("%s: %d tensors loaded", given.name, n_loaded)
    for what, names in (
        ("resampled", resampled),
        ("dropped", given.dropped),
        ("new", new),
    ):
        if names:
            logger.info("%s: %s: %s", given.name, what, "; ".join(names))


def _check_tensors(tensors, encoder, name):
    """Refuse tensors whose names or shapes are not the encoder's."""
    wanted = encoder.state_dict()
    differing = [f"{key} is missing" for key in wanted if key not in tensors]
    differing += [f"{key} is unknown" for key in tensors if key not in wanted]
    differing += [
        f"{key} is {list(tensors[key].shape)} and should be {list(value.shape)}"
        for key, value in wanted.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    if differing:
        shown = "\n  ".join(differing[:20])
        more = len(differing) - 20
        raise CheckpointError(
            f"{name} does not fit:\n  {shown}"
            + (f"\n  and {more} more" if more > 0 else "")
        )
