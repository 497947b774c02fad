"""From a run's output folder to a folder that ``from_hparams`` loads."""

import io
import json
import shutil
from pathlib import Path

import torch
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from speechbrain.dataio.encoder import CategoricalEncoder
from speechbrain.utils.checkpoints import Checkpointer

from audiomamba.dataio.files import write_json
from audiomamba.dataio.manifest import read_labels
from audiomamba.inference.card import model_card
from audiomamba.inference.tagger import HPARAMS_FILE, AudioTagger
from audiomamba.training.checkpoints import best_first

PARTS = tuple(AudioTagger.MODULES_NEEDED)
# What the recipes' readers do with a clip, where the YAML does not say it
_READER = {"remove_mean": True, "keep": "start"}
# EPIC-Sounds: recognisable by its features
_EPIC_FEATURES = "LogMelSpectrogram"
_EPIC_READER = {"remove_mean": False, "keep": "centre"}

_HPARAMS = """\
# A model exported by audiomamba, for AudioTagger.from_hparams and SpeechBrain's
# EncoderClassifier.from_hparams.

{options}
{parts}
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
audio_normalizer: !new:audiomamba.inference.waveforms.WaveformNormalizer
    sample_rate: !ref <sample_rate>
    max_duration: !ref <max_duration>
    remove_mean: !ref <remove_mean>
    keep: !ref <keep>

modules:
    compute_features: !ref <compute_features>
    mean_var_norm: !ref <mean_var_norm>
    embedding_model: !ref <embedding_model>
    classifier: !ref <classifier>

pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
{loadables}
        label_encoder: !ref <label_encoder>
"""


class ExportError(ValueError):
    """What cannot be exported; says why and what to do."""


# ------------------------------------------------------------------ the YAML


def _plain(node):
    """Take comments and anchors, which belong to another file, off a node."""
    if isinstance(node, (CommentedMap, CommentedSeq)):
        children = node.values() if isinstance(node, dict) else node
        for child in children:
            _plain(child)
        node.ca.comment = None
        node.ca.items.clear()
        node.yaml_set_anchor(None)
    return node


def read_recipe(text, name):
    """Read the parts and options of a model from a recipe's YAML.

    Arguments
    ---------
    text : str
        A HyperPyYAML with its references resolved, as a run writes it.
    name : str or Path
        What it is, for an error.

    Returns
    -------
    dict
        Module name -> YAML node.
    dict
        ``sample_rate``, ``max_duration``, ``remove_mean``, ``keep`` (see
        `audiomamba.inference.waveforms.WaveformNormalizer`), ``activation``.
    dict
        The whole YAML, nothing of it made.

    Raises
    ------
    ExportError
        If a part is missing.

    Example
    -------
    >>> read_recipe("compute_features: !new:torch.nn.Identity", "a.yaml")
    Traceback (most recent call last):
        ...
    audiomamba.inference.export.ExportError: a.yaml has no mean_var_norm...
    """
    recipe = YAML().load(text)
    wanted = (*PARTS, "sample_rate", "metrics")
    missing = [key for key in wanted if recipe.get(key) is None]
    if missing:
        raise ExportError(
            f"{name} has no {', '.join(missing)}: it is no "
            "YAML of a classification recipe."
        )
    of_epic = str(recipe["compute_features"].tag).endswith(_EPIC_FEATURES)
    reader = _EPIC_READER if of_epic else _READER
    options = {
        "sample_rate": recipe["sample_rate"],
        "max_duration": recipe.get("max_duration"),
        **{name: recipe.get(name, value) for name, value in reader.items()},
        "activation": recipe["metrics"].get("activation", "softmax"),
    }
    return {key: _plain(recipe[key]) for key in PARTS}, options, recipe


def new_node(class_name, arguments):
    """Make the YAML node of an object.

    Arguments
    ---------
    class_name : str
        Its class, with the module.
    arguments : dict
        Of its constructor.

    Returns
    -------
    ruamel.yaml.comments.CommentedMap

    Example
    -------
    >>> node = new_node("torch.nn.Linear", {"in_features": 2})
    >>> print(_dump({"layer": node}), end="")
    layer: !new:torch.nn.Linear
        in_features: 2
    """
    # Versions of ruamel differ in how a tag is set, but not in how it is read
    node = YAML().load(f"!new:{class_name} {{}}")
    node.update(arguments)
    node.fa.set_block_style()
    return node


def _dump(content):
    yaml = YAML()
    yaml.indent(mapping=4, sequence=4, offset=2)
    # Lines as long as their text; null is said, not left out
    yaml.width = 1 << 16
    yaml.representer.add_representer(
        type(None), lambda dumper, _: _null(dumper)
    )
    stream = io.StringIO()
    yaml.dump(content, stream)
    return stream.getvalue()


def _null(dumper):
    return dumper.represent_scalar("tag:yaml.org,2002:null", "null")


def _hides_padding(parts):
    """Whether the encoder hears no padding that the features make."""
    encoder, features = parts["embedding_model"], parts["compute_features"]
    of_ours = ":audiomamba." in str(encoder.tag)
    return (
        of_ours
        and encoder.get("mask_padding", True)
        and features.get("n_frames") is not None
    )


# ---------------------------------------------------------------- the folder


def write_model(
    target, parts, options, weights, labels, *, title, origin, record=None
):
    """Write a folder that ``from_hparams`` loads, whole or not at all.

    Arguments
    ---------
    target : str or Path
        The folder; must not exist, or be empty.
    parts : dict
        Module name -> YAML node, see `read_recipe`.
    options : dict
        As of `read_recipe`.
    weights : dict
        Module name -> state dict; at least of encoder and classifier.
    labels : list of str
        Class names in the order of the classifier's outputs.
    title : str
        Of the model card.
    origin : str
        A sentence of the card on where the model comes from.
    record : dict, optional
        Of ``results.json``.

    Returns
    -------
    Path
        ``target``.

    Raises
    ------
    ExportError
        If the target is in use, or the parts do not fit each other.
    """
    target = Path(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ExportError(
            f"{target} exists: remove it, or name another target."
        )
    draft = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        _write_files(draft, parts, options, weights, labels)
        card = model_card(title, origin, options, len(labels), record)
        (draft / "README.md").write_text(card, encoding="utf-8")
        if record is not None:
            write_json(draft / "results.json", record)
        _check(draft, weights, labels)
        draft.replace(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _write_files(folder, parts, options, weights, labels):
    """Write hyperparameters, weights and labels."""
    parts = dict(parts)
    if _hides_padding(parts):
        parts["compute_features"] = new_node(
            "audiomamba.inference.features.OwnFrames",
            {"features": parts["compute_features"]},
        )
    text = _HPARAMS.format(
        options=_dump(options),
        parts="\n".join(_dump({name: parts[name]}) for name in PARTS),
        loadables="\n".join(f"        {n}: !ref <{n}>" for n in weights),
    )
    (folder / HPARAMS_FILE).write_text(text, encoding="utf-8")
    for name, state in weights.items():
        torch.save(state, folder / f"{name}.ckpt")
    encoder = CategoricalEncoder()
    encoder.update_from_iterable(labels)
    encoder.save(folder / "label_encoder.ckpt")


def _check(folder, weights, labels):
    """Load what was written: all weights, and as many outputs as labels."""
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
                f"The weights of {name} do not fit its hyperparameters: "
                f"{', '.join(differing[:5])} differ."
            )
    n_outputs = len(tagger(torch.zeros(1, tagger.sample_rate))[0])
    if n_outputs != len(labels):
        raise ExportError(
            f"The classifier has {n_outputs} outputs and there are "
            f"{len(labels)} labels: give the right label file with --labels."
        )


# --------------------------------------------------------------------- a run


def class_names(path):
    """Read the names of classes as people know them.

    Arguments
    ---------
    path : str or Path
        A label file, ``index,label`` or ``index,mid,display_name``.

    Returns
    -------
    list of str

    Example
    -------
    >>> path = getfixture("tmp_path") / "labels.csv"
    >>> _ = path.write_text("index,mid,display_name\\n0,/m/1,Dog\\n")
    >>> class_names(path)
    ['Dog']
    """
    header = ""
    if Path(path).is_file():
        with open(path, encoding="utf-8") as file:
            header = file.readline()
    column = "display_name" if "display_name" in header else "label"
    return read_labels(path, column)


def _find_labels(folder, recipe, record):
    """Return the label file of a run, wherever the run was moved."""
    named = recipe.get("label_file")
    if named is None:
        raise ExportError(
            f"{folder / HPARAMS_FILE} has no label_file: name the file of the "
            "classes with --labels."
        )
    places = [Path(record["folder"], named)]
    if Path(named).is_relative_to(recipe["output_folder"]):
        within = Path(named).relative_to(recipe["output_folder"])
        places.insert(0, folder / within)
    for place in places:
        if place.is_file():
            return place
    raise ExportError(
        f"The label file of {folder} is at none of "
        f"{', '.join(map(str, places))}: name it with --labels."
    )


def _chosen_checkpoint(folder, record):
    """Return the checkpoint whose figures are the run's headline."""
    (key,) = record["protocols"][record["protocol"]]["chosen_by"]
    found = Checkpointer(folder / "save").find_checkpoint(
        importance_key=best_first(key),
        ckpt_predicate=lambda ckpt: key in ckpt.meta,
    )
    if found is None or found.meta["epoch"] != record["epoch"]:
        epoch = found and found.meta["epoch"]
        raise ExportError(
            f"{folder}: results.json is of epoch {record['epoch']}, the best "
            f"checkpoint in save/ of epoch {epoch}. Run train.py with "
            "--test_only for results of the checkpoints that are there."
        )
    return found


def export_run(output_folder, target, labels=None):
    """Export the tested model of a recipe's run.

    Arguments
    ---------
    output_folder : str or Path
        The run's, with ``hyperparams.yaml``, ``results.json`` and ``save``.
    target : str or Path
        The folder to write; must not exist, or be empty.
    labels : str or Path, optional
        The label file, where it is no longer where the run found it.

    Returns
    -------
    Path
        ``target``: what `audiomamba.inference.AudioTagger` and SpeechBrain's
        ``EncoderClassifier`` load.

    Raises
    ------
    ExportError
        If the folder holds no finished run, or its parts do not fit.
    """
    folder = Path(output_folder)
    for name in (HPARAMS_FILE, "results.json", "save"):
        if not (folder / name).exists():
            raise ExportError(
                f"{folder} has no {name}: it is no output folder of a run "
                "that was trained and tested. Run train.py to its end."
            )
    text = (folder / HPARAMS_FILE).read_text(encoding="utf-8")
    parts, options, recipe = read_recipe(text, folder / HPARAMS_FILE)
    record = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    chosen = _chosen_checkpoint(folder, record)
    weights = {
        name: torch.load(path, map_location="cpu", weights_only=True)
        for name, path in chosen.paramfiles.items()
        if name in PARTS
    }
    names = class_names(labels or _find_labels(folder, recipe, record))
    # The folder on this machine is nobody else's business
    record = {k: v for k, v in record.items() if k != "folder"}
    return write_model(
        target,
        parts,
        options,
        weights,
        names,
        title=f"Audio Mamba on {record['dataset']}",
        origin=f"Trained by `{record['hparams_file']}`.",
        record=record,
    )
