"""The model of a finished run, as the files of an exported folder."""

import json
import logging
from pathlib import Path

from ruamel.yaml import YAML

from audiomamba.dataio.manifest import class_names, inputs_key
from audiomamba.inference.exported.classifier import Classifier, read_recipe
from audiomamba.inference.exported.folder import LOCAL, ExportError
from audiomamba.inference.exported.recognizer import SpeechRecognizer
from audiomamba.pretrained.sources import HPARAMS_FILE
from audiomamba.pretrained.weights import label_difference, read_class_names
from audiomamba.training.checkpoints import AtomicCheckpointer
from audiomamba.training.protocols import weights_of

logger = logging.getLogger(__name__)


def read_run(
    output_folder: str | Path,
    labels: str | Path | None = None,
    licence: str | None = None,
) -> Classifier | SpeechRecognizer:
    """Read the model of a finished run.

    Arguments
    ---------
    output_folder, labels, licence
        See `audiomamba.inference.export_run`.

    Returns
    -------
    Classifier or SpeechRecognizer
        With a method ``write``.

    Raises
    ------
    ExportError
        If the folder holds no finished run, or it was trained on other classes
        than ``labels`` lists.
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
    # Do not publish a path on this machine
    public = {k: v for k, v in record.items() if k not in LOCAL}
    if tokenizer := chosen.paramfiles.get("tokenizer"):
        return SpeechRecognizer(settings, weights, tokenizer, public, licence)
    parts, options = read_recipe(text, folder / HPARAMS_FILE)
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
    return Classifier(
        parts,
        options,
        weights,
        _names_of(chosen, labels),
        title=f"{encoder} on {record['dataset']}",
        origin=f"Trained by `{record['hparams_file']}`.",
        licence=licence,
        record=public,
        training=(
            started / settings["manifest_folder"] / "train.csv",
            started / settings["data_folder"],
        ),
    )


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
