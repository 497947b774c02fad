"""Export a run's output folder to a folder that ``from_hparams`` loads."""

import logging
from pathlib import Path

import torch

from audiomamba.inference.exported.classifier import Classifier
from audiomamba.inference.exported.folder import ExportError, new_folder
from audiomamba.inference.exported.model_yaml import EMB_MEAN, new_node
from audiomamba.inference.exported.recognizer import SpeechRecognizer
from audiomamba.inference.exported.run import read_run
from audiomamba.inference.exported.statistics import mean_embedding
from audiomamba.inference.tagger import AudioTagger
from audiomamba.inference.transcriber import Transcriber

# `new_node` makes the parts that `write_model` takes
__all__ = ["ExportError", "export_run", "new_node", "write_model"]

_CPU = {"device": "cpu"}
_NORMALIZER = ("sample_rate", "max_duration", "remove_mean", "keep")

logger = logging.getLogger(__name__)


def write_model(
    target: str | Path,
    parts: dict,
    options: dict,
    weights: dict,
    labels: list[str],
    *,
    title: str,
    origin: str,
    licence: str | None = None,
    record: dict | None = None,
    training: tuple[Path, Path] | None = None,
) -> Path:
    """Write a folder that ``from_hparams`` loads, atomically.

    Arguments
    ---------
    target : str or Path
        The folder; must be empty or not exist.
    parts, options, weights, labels, title, origin, licence, record
        See `audiomamba.inference.exported.classifier.Classifier`.
    training : tuple of Path, optional
        Manifest and data folder of the training clips, whose mean embedding is
        exported for ``encode_batch(normalize=True)``.

    Returns
    -------
    Path
        ``target``.

    Raises
    ------
    ExportError
        If the target is not empty, or the parts do not match.
    """
    model = Classifier(
        parts, options, weights, labels, title, origin, licence, record
    )
    return _write_classifier(Path(target), model, training)


def export_run(
    output_folder: str | Path,
    target: str | Path,
    labels: str | Path | None = None,
    centred: bool = True,
    licence: str | None = None,
) -> Path:
    """Export the model of a finished run.

    If ``verify.py`` has tested the same weights, the threshold of equal errors
    is part of the model, for `audiomamba.inference.SpeakerRecognition`.

    Arguments
    ---------
    output_folder : str or Path
        The run's, with ``hyperparams.yaml``, ``results.json`` and ``save``.
    target : str or Path
        The folder to write; must be empty or not exist.
    labels : str or Path, optional
        A label file, for checkpoints of older versions, which have no class
        names.
    centred : bool
        Export the mean embedding of the training clips as well.
    licence : str, optional
        Identifier of the weights' licence, as the hub has it: ``mit``.

    Returns
    -------
    Path
        ``target``, for `audiomamba.inference.AudioTagger` and SpeechBrain's
        ``EncoderClassifier``; that of a speech recogniser for
        `audiomamba.inference.Transcriber` and SpeechBrain's ``EncoderASR``.

    Raises
    ------
    ExportError
        If the folder holds no finished run, its parts do not match, or it was
        trained on other classes than ``labels`` lists.
    """
    model = read_run(output_folder, labels, licence)
    if isinstance(model, SpeechRecognizer):
        with new_folder(target) as draft:
            model.write(draft)
            _check_recognizer(draft, model)
        return Path(target)
    training = model.training if centred else None
    return _write_classifier(Path(target), model, training)


def _write_classifier(target, model, training):
    """Write, check and complete the folder of a classifier."""
    with new_folder(target) as draft:
        model.write(draft)
        tagger = _check_classifier(draft, model)
        if training is not None:
            _add_mean(draft, model, tagger, training)
    return target


def _add_mean(folder, model, tagger, training):
    """Add the mean embedding of the training clips, if they can be read."""
    try:
        mean = mean_embedding(tagger, *training)
    except (OSError, ValueError) as error:
        logger.warning(
            "encode_batch(normalize=True) will not work, as the training "
            "clips cannot be read: %s",
            error,
        )
        return
    torch.save(mean, folder / f"{EMB_MEAN}.ckpt")
    model.write_yaml(folder, [*model.weights, EMB_MEAN])


def _check_classifier(folder, model):
    """Load the exported model; compare it with what was to be written."""
    rows = model.weights["classifier"].get("weight")
    if rows is not None and len(rows) != len(model.labels):
        raise ExportError(
            f"The classifier has {len(rows)} outputs, but there are "
            f"{len(model.labels)} labels: pass the right label file with "
            "--labels."
        )
    tagger = AudioTagger.from_hparams(folder, run_opts=_CPU)
    for name, state in model.weights.items():
        made = tagger.mods[name].state_dict()
        differing = [
            key
            for key in sorted({*made, *state})
            if key not in made
            or key not in state
            or not torch.equal(made[key], state[key])
        ]
        if differing:
            raise ExportError(
                f"The weights of {name} do not match its hyperparameters: "
                f"{', '.join(differing[:5])} differ."
            )
    tagger(torch.zeros(1, tagger.sample_rate))
    normalizer = tagger.hparams.audio_normalizer
    read = {**vars(tagger.hparams), "labels": tagger.labels}
    read |= {name: getattr(normalizer, name) for name in _NORMALIZER}
    for name, value in {**model.options, "labels": model.labels}.items():
        if read[name] != value:
            raise ExportError(
                f"{name} is {str(value)[:200]}, but read back from the "
                f"exported folder it is {str(read[name])[:200]}: rename the "
                "class, or correct the YAML."
            )
    return tagger


def _check_recognizer(folder, model):
    """Load the exported model; let it transcribe a second of silence."""
    try:
        transcriber = Transcriber.from_hparams(folder, run_opts=_CPU)
    except RuntimeError as error:
        raise ExportError(
            f"The weights do not match their hyperparameters: {error}"
        ) from error
    n_tokens = model.record["n_classes"]
    scores = transcriber.scores(torch.zeros(transcriber.sample_rate))
    n_pieces = transcriber.tokenizer.vocab_size()
    if not scores.shape[1] == n_pieces == n_tokens:
        raise ExportError(
            f"The classifier has {scores.shape[1]} outputs and the tokenizer "
            f"{n_pieces} tokens, but {n_tokens} were trained: choose the "
            "output folder of one run."
        )
