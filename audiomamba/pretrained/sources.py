"""Where a checkpoint is: a file, a folder, a run, or the Hugging Face hub."""

import json
import re
from pathlib import Path

import torch
from hyperpyyaml import resolve_references
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

# What an exported folder or a checkpoint of a run consists of.
ENCODER_FILE = "embedding_model.ckpt"
CLASSIFIER_FILE = "classifier.ckpt"
LABEL_FILE = "label_encoder.ckpt"
TOKENIZER_FILE = "tokenizer.ckpt"
HPARAMS_FILE = "hyperparams.yaml"
# Beside weights on the hub: the sizes and the class names, among others.
CONFIG_FILE = "config.json"
WEIGHT_PATTERNS = ("*.safetensors", "*.pth", "*.pt")
# Endings of files, which names on the hub do not have.
FILE_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".yaml")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
# What a run reached, and where its checkpoints are.
RESULTS_FILE, SAVE_FOLDER = "results.json", "save"

Tensors = dict[str, torch.Tensor]
# A file, a folder, a hub repository, or the tensors themselves.
Source = str | Path | Tensors


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or does not fit."""


def is_on_hub(source: str | Path) -> bool:
    """Whether a name is one on the hub: nothing on this disk has it.

    Arguments
    ---------
    source : str or Path
        A file, a folder, or ``owner/name``.

    Returns
    -------
    bool

    Raises
    ------
    CheckpointError
        If it is none of them.

    Example
    -------
    >>> is_on_hub("MIT/ast-finetuned-audioset-10-10-0.4593")
    True
    >>> is_on_hub(getfixture("tmp_path"))
    False
    """
    path = Path(source)
    if path.exists():
        return False
    if path.suffix in FILE_SUFFIXES or not HUB_NAME.fullmatch(str(source)):
        raise CheckpointError(
            f"There is no checkpoint {source}: it is neither a file nor a "
            "folder, nor of the form owner/name of a repository on the hub."
        )
    return True


def settings_file(source: str | Path) -> Path | None:
    """Return the ``hyperparams.yaml`` of an exported model or a run.

    Arguments
    ---------
    source : str or Path
        A file, a folder, or ``owner/name``.

    Returns
    -------
    Path or None
        None if it has none: it is a checkpoint, or a published model.

    Raises
    ------
    CheckpointError
        If there is no such source.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> settings_file(folder)
    >>> (folder / "hyperparams.yaml").touch()
    >>> settings_file(folder).name
    'hyperparams.yaml'
    """
    if not is_on_hub(source):
        path = Path(source, HPARAMS_FILE)
        return path if path.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(str(source), HPARAMS_FILE))
    except EntryNotFoundError:
        return None


def is_run(source: str | Path) -> bool:
    """Whether a source is the output folder of a run.

    Arguments
    ---------
    source : str or Path
        A file, a folder, or ``owner/name``.

    Returns
    -------
    bool

    Example
    -------
    >>> is_run(getfixture("tmp_path"))
    False
    """
    path = Path(source)
    return (path / HPARAMS_FILE).is_file() and (path / SAVE_FOLDER).is_dir()


def run_checkpoint(folder: Path) -> Path:
    """Return the checkpoint of a run that its results are of.

    Arguments
    ---------
    folder : Path
        The output folder of a finished run.

    Returns
    -------
    Path
        The folder of the checkpoint.

    Raises
    ------
    CheckpointError
        If the run is not finished, or its weights are averages.
    """
    remedy = (
        "export the model with tools/export_pretrained.py, or give the folder "
        f"of a checkpoint in {folder / SAVE_FOLDER}"
    )
    if not (folder / RESULTS_FILE).is_file():
        raise CheckpointError(
            f"{folder} is the output folder of a run that is not finished: let "
            "train.py finish, or give the folder of a checkpoint in "
            f"{folder / SAVE_FOLDER}."
        )
    record = read_config(folder / RESULTS_FILE)
    if record.get("protocol") in ("average", "ema"):
        raise CheckpointError(
            f"{folder} is the output folder of a run that averages weights: "
            f"{remedy}."
        )
    for meta in sorted((folder / SAVE_FOLDER).glob("CKPT*/CKPT.yaml")):
        found = YAML(typ="safe").load(meta)
        if found.get("end-of-epoch") and found["epoch"] == record.get("epoch"):
            return meta.parent
    raise CheckpointError(
        f"{folder} has results of epoch {record.get('epoch')}, but no "
        f"checkpoint of it: {remedy}."
    )


def encoder_settings(path: Path) -> dict:
    """Read the encoder's arguments in the YAML of a run or an exported model.

    Nothing in the YAML is made.

    Arguments
    ---------
    path : Path
        Of the weights: a file, its folder, or a folder in ``save`` of a run.

    Returns
    -------
    dict
        With the class as ``class``; empty where there is no such YAML.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> text = "embedding_model: !new:audiomamba.AudioMamba {n_frames: 80}"
    >>> _ = (folder / "hyperparams.yaml").write_text(text)
    >>> encoder_settings(folder)
    {'n_frames': 80, 'class': 'AudioMamba'}
    """
    folder = path if path.is_dir() else path.parent
    if folder.parent.name == SAVE_FOLDER:
        folder = folder.parents[1]
    if not (folder / HPARAMS_FILE).is_file():
        return {}
    try:
        with open(folder / HPARAMS_FILE, encoding="utf-8") as file:
            text = resolve_references(file)
        node = YAML().load(text).get("embedding_model")
    except (YAMLError, AttributeError, ValueError):
        return {}
    if isinstance(node, CommentedMap) and "encoder" in node:
        node = node["encoder"]  # of a CTCEncoder
    if not isinstance(node, CommentedMap):
        return {}
    return {**node, "class": str(node.tag.value).rpartition(".")[2]}


def locate(source: Source) -> Path | Tensors:
    """Return the local path of a checkpoint; download it if needed.

    Arguments
    ---------
    source : str, Path or dict
        A file, a folder, the output folder of a run, a Hugging Face repository
        ``owner/name``, or a state dict, which is returned as it is.

    Returns
    -------
    Path or dict

    Raises
    ------
    CheckpointError
        If there is no such checkpoint.

    Example
    -------
    >>> locate(getfixture("tmp_path")).is_dir()
    True
    """
    if isinstance(source, dict):
        return source
    if is_on_hub(source):
        return _download(str(source))
    path = Path(source)
    return run_checkpoint(path) if is_run(path) else path


def _download(repository):
    """Return the local folder of a hub repository's weights."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    wanted = [ENCODER_FILE, CLASSIFIER_FILE, LABEL_FILE, TOKENIZER_FILE]
    wanted += ["*config.json", *WEIGHT_PATTERNS]
    try:
        return Path(snapshot_download(repository, allow_patterns=wanted))
    except (HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            f"{repository!r} is neither a local file or folder nor a "
            f"repository that the Hugging Face hub gives access to: {error}"
        ) from error


def read_config(path: Path) -> dict:
    """Read a file of settings on the hub, as ``config.json``.

    Arguments
    ---------
    path : Path
        A file in JSON.

    Returns
    -------
    dict

    Raises
    ------
    CheckpointError
        If it is damaged.

    Example
    -------
    >>> path = getfixture("tmp_path") / "config.json"
    >>> _ = path.write_text('{"num_classes": 527}')
    >>> read_config(path)
    {'num_classes': 527}
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not a whole JSON file ({error}): download the model "
            "again."
        ) from error
    if not isinstance(config, dict):
        raise CheckpointError(
            f"{path} holds no settings by name: download the model again."
        )
    return config
