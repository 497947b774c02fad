"""Export a run's output folder to a folder that ``from_hparams`` loads."""

import json
import logging
from pathlib import Path

import torch
from ruamel.yaml import YAML

from audiomamba.dataio.files import write_json
from audiomamba.dataio.manifest import class_names, inputs_key
from audiomamba.inference.exported.card import model_card
from audiomamba.inference.exported.folder import (
    LOCAL,
    ExportError,
    new_folder,
)
from audiomamba.inference.exported.model_yaml import (
    EMB_MEAN,
    PARTS,
    model_yaml,
    new_node,
    plain,
)
from audiomamba.inference.exported.recognizer import write_recognizer
from audiomamba.inference.exported.statistics import mean_embedding
from audiomamba.inference.tagger import AudioTagger
from audiomamba.pretrained.sources import HPARAMS_FILE, LABEL_FILE
from audiomamba.pretrained.weights import (
    label_difference,
    read_class_names,
    write_class_names,
)
from audiomamba.training.checkpoints import AtomicCheckpointer
from audiomamba.training.metrics import default_activation
from audiomamba.training.protocols import weights_of

# Defaults of the recipes' readers, for keys that the YAML does not have
_READER = {"remove_mean": True, "keep": "start"}
# EPIC-Sounds is recognised by its features
_EPIC_FEATURES = "LogMelSpectrogram"
_EPIC_READER = {"remove_mean": False, "keep": "centre"}
_NORMALIZER = ("sample_rate", "max_duration", "remove_mean", "keep")

logger = logging.getLogger(__name__)


def read_recipe(text: str, name: str | Path) -> tuple[dict, dict]:
    """Read a model's modules and options from a recipe's YAML.

    Arguments
    ---------
    text : str
        A HyperPyYAML with resolved references, as written by a run.
    name : str or Path
        Name of the file, for error messages.

    Returns
    -------
    dict
        Module name -> YAML node.
    dict
        ``sample_rate``, ``max_duration``, ``remove_mean``, ``keep`` (see
        `audiomamba.inference.waveforms.WaveformNormalizer`), ``activation``.

    Raises
    ------
    ExportError
        If a module is missing.

    Example
    -------
    >>> read_recipe("compute_features: !new:torch.nn.Identity", "a.yaml")
    Traceback (most recent call last):
        ...
    audiomamba.inference.exported.folder.ExportError: a.yaml has no ...
    """
    recipe = YAML().load(text)
    wanted = (*PARTS, "sample_rate", "metrics")
    missing = [key for key in wanted if recipe.get(key) is None]
    if missing:
        raise ExportError(
            f"{name} has no {', '.join(missing)}: give the YAML of a "
            "classification recipe."
        )
    metrics = recipe["metrics"]
    usual = default_activation(metrics.get("multi_label", False))
    of_epic = str(recipe["compute_features"].tag).endswith(_EPIC_FEATURES)
    reader = _EPIC_READER if of_epic else _READER
    options = {
        "sample_rate": recipe["sample_rate"],
        "max_duration": recipe.get("max_duration"),
        **{name: recipe.get(name, value) for name, value in reader.items()},
        "activation": metrics.get("activation") or usual,
    }
    return {key: plain(recipe[key]) for key in PARTS}, options


def _hides_padding(parts):
    """Whether the encoder masks the padding that the features add."""
    encoder, features = parts["embedding_model"], parts["compute_features"]
    # An object without arguments is no mapping
    if not (isinstance(encoder, dict) and isinstance(features, dict)):
        return False
    masks = encoder.get("mask_padding", True)
    padded = features.get("n_frames") is not None
    return ":audiomamba." in str(encoder.tag) and masks and padded


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
    parts : dict
        Module name -> YAML node, from `read_recipe`.
    options : dict
        From `read_recipe`.
    weights : dict
        Module name -> state dict; at least for encoder and classifier.
    labels : list of str
        Class names in the order of the classifier's outputs.
    title, origin, licence : str
        See `audiomamba.inference.exported.card.model_card`.
    record : dict, optional
        The content of ``results.json``.
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
    with new_folder(target) as draft:
        _write_files(draft, parts, options, weights, labels)
        card = model_card(title, origin, options, len(labels), record, licence)
        (draft / "README.md").write_text(card, encoding="utf-8")
        if record is not None:
            write_json(draft / "results.json", record)
        tagger = _check(draft, weights, labels, options)
        if training is not None:
            _add_mean(draft, parts, options, weights, tagger, training)
    return Path(target)


def _write_files(folder, parts, options, weights, labels):
    """Write hyperparameters, weights and labels."""
    _write_yaml(folder, parts, options, weights)
    for name, state in weights.items():
        torch.save(state, folder / f"{name}.ckpt")
    write_class_names(folder / LABEL_FILE, labels)


def _write_yaml(folder, parts, options, names):
    """Write ``hyperparams.yaml`` for a folder with the weights of ``names``."""
    if _hides_padding(parts):
        own_frames = new_node(
            "audiomamba.inference.programs.features.OwnFrames",
            {"features": parts["compute_features"]},
        )
        parts = {**parts, "compute_features": own_frames}
    text = model_yaml(parts, options, names)
    (folder / HPARAMS_FILE).write_text(text, encoding="utf-8")


def _add_mean(folder, parts, options, weights, tagger, training):
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
    _write_yaml(folder, parts, options, [*weights, EMB_MEAN])


def _check(folder, weights, labels, options):
    """Load the exported model; compare it with what was to be written."""
    rows = weights["classifier"].get("weight")
    if rows is not None and len(rows) != len(labels):
        raise ExportError(
            f"The classifier has {len(rows)} outputs, but there are "
            f"{len(labels)} labels: pass the right label file with --labels."
        )
    tagger = AudioTagger.from_hparams(folder, run_opts={"device": "cpu"})
    for name, state in weights.items():
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
    for name, value in {**options, "labels": labels}.items():
        if read[name] != value:
            raise ExportError(
                f"{name} is {str(value)[:200]}, but read back from the "
                f"exported folder it is {str(read[name])[:200]}: rename the "
                "class, or correct the YAML."
            )
    return tagger


def _names_of(checkpoint, labels):
    """Return the class names of a checkpoint, compared with a label file."""
    saved = checkpoint.paramfiles.get("label_encoder")
    known = read_class_names(saved) if saved else None
    given = class_names(labels) if labels else None
    if known is None and given is None:
        raise ExportError(
            f"{checkpoint.path} has no class names, as it was saved by an "
            "older version: pass the label file with --labels."
        )
    difference = known and given and label_difference(known, given)
    if difference:
        raise ExportError(
            f"{checkpoint.path} was trained on other classes than those in "
            f"{labels}: {difference}. Leave out --labels."
        )
    return known or given


def _chosen_checkpoint(folder, record):
    """Return the checkpoint that ``results.json`` reports."""
    epochs = {}
    for found in AtomicCheckpointer(folder / "save").list_checkpoints():
        # Those within an epoch have none
        if "epoch" in found.meta:
            epochs[found.meta["epoch"]] = found
    if record["epoch"] not in epochs:
        raise ExportError(
            f"{folder}: results.json is for epoch {record['epoch']}, but save/ "
            f"has checkpoints of epochs {sorted(epochs)}. Start train.py "
            "again: it resumes, tests and writes new results."
        )
    return epochs[record["epoch"]]


def _verification_threshold(folder, weights_file):
    """Return where verify.py found equal errors with these weights, or None."""
    path = folder / "verification" / "results.json"
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    if record["weights_key"] != inputs_key({}, [weights_file]):
        logger.warning(
            "%s is of other weights, so the model is exported without a "
            "threshold for verification; run verify.py again, and export again",
            path,
        )
        return None
    split = record["metric"]["split"]
    return record["trials"][split]["cosine"]["EER_threshold"]


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
    folder = Path(output_folder)
    for name in (HPARAMS_FILE, "results.json", "save"):
        if not (folder / name).exists():
            raise ExportError(
                f"{folder} has no {name}: it is not the output folder of a "
                "finished run. Let train.py finish training and testing."
            )
    text = (folder / HPARAMS_FILE).read_text(encoding="utf-8")
    settings = YAML().load(text)
    record = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    chosen = _chosen_checkpoint(folder, record)
    weights = weights_of(chosen, record["protocol"])
    if "tokenizer" in chosen.paramfiles:
        return write_recognizer(
            target,
            settings,
            weights,
            chosen.paramfiles["tokenizer"],
            record,
            licence,
        )
    parts, options = read_recipe(text, folder / HPARAMS_FILE)
    names = _names_of(chosen, labels)
    files = chosen.paramfiles
    path = files.get(record["protocol"], files["embedding_model"])
    threshold = _verification_threshold(folder, path)
    if threshold is not None:
        options["verification_threshold"] = threshold
    if "decisions" in record:
        options["decisions"] = record["decisions"]
    encoder = str(parts["embedding_model"].tag).rpartition(".")[2]
    # Relative to where the run was started
    started = Path(record["folder"])
    training = (
        started / settings["manifest_folder"] / "train.csv",
        started / settings["data_folder"],
    )
    # Do not publish a path on this machine
    record = {k: v for k, v in record.items() if k not in LOCAL}
    return write_model(
        target,
        parts,
        options,
        weights,
        names,
        title=f"{encoder} on {record['dataset']}",
        origin=f"Trained by `{record['hparams_file']}`.",
        licence=licence,
        record=record,
        training=training if centred else None,
    )
