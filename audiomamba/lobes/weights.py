"""Reading weights from files, folders and the Hugging Face hub.

Nothing of a file is executed: pickles are read with ``weights_only=True``.
"""

import argparse
import logging
import pickle
import re
import zipfile
from pathlib import Path

import torch

logger = logging.getLogger(__name__)

ENCODER_FILE, HEAD_FILE = "embedding_model.ckpt", "classifier.ckpt"
# What PyTorch raises when a file is cut off, empty or no file of its own.
READ_ERRORS = (
    *(RuntimeError, EOFError, OSError, ValueError, KeyError),
    zipfile.BadZipFile,
)
# What a key has to end with to tell where the encoder's names begin.
LANDMARK = "patch_embed.proj.weight"


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or is not what it should be."""


def _read_file(path):
    """Return what a checkpoint file holds."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise CheckpointError(
                f"{path} is not a whole safetensors file ({error}): "
                "download it again."
            ) from error
    try:
        # Vim's files carry their command line as an inert Namespace.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # PyTorch's message goes on to say how to read the file all the same.
        found = re.search(r"unsupported (\w+:? )+\S+", str(error), re.I)
        raise CheckpointError(
            f"{path} holds more than tensors, which could run code when it "
            "is read, or is damaged; it is refused"
            + (f" ({found[0]})." if found else ".")
        ) from error
    except READ_ERRORS as error:
        raise CheckpointError(
            f"{path} is not a whole PyTorch file ({error}): "
            "download or copy it again."
        ) from error


def _tensors_of(content, name):
    """Return the state dict inside a checkpoint's content."""
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{name} holds no state dict.")
    strangers = [
        k for k, v in content.items() if not isinstance(v, torch.Tensor)
    ]
    if strangers:
        raise CheckpointError(
            f"{name} is not a state dict: {strangers[0]!r} is no tensor."
        )
    broken = [k for k, v in content.items() if not torch.isfinite(v).all()]
    if broken:
        raise CheckpointError(
            f"{name} has NaN or infinite values in {broken[0]} and "
            f"{len(broken) - 1} more tensors: its training went astray, or "
            "it is damaged; take another one."
        )
    return content


def strip_prefix(state, name):
    """Return a state dict with the names that the authors' model uses.

    Arguments
    ---------
    state : dict
        Tensors by name, for example with ``module.`` before every name.
    name : str
        What to call it in an error.

    Returns
    -------
    dict

    Raises
    ------
    CheckpointError
        If no patch embedding is in it.

    Example
    -------
    >>> list(strip_prefix({"module.patch_embed.proj.weight": 0}, "a file"))
    ['patch_embed.proj.weight']
    """
    found = [key for key in state if key.endswith(LANDMARK)]
    if len(found) != 1:
        raise CheckpointError(
            f"{name} holds {len(found)} tensors called {LANDMARK}, where an "
            "Audio Mamba or Vim has one; its names begin with "
            f"{', '.join(sorted(state)[:3])}. It is a checkpoint of another "
            "model."
        )
    prefix = found[0][: -len(LANDMARK)]
    return {key.removeprefix(prefix): value for key, value in state.items()}


def _read_folder(folder):
    """Return the weights of a folder as one state dict.

    An exported folder, or a checkpoint of a run, holds the encoder and the
    classifier in two files.
    """
    encoder, head = folder / ENCODER_FILE, folder / HEAD_FILE
    if encoder.is_file():
        state = dict(_tensors_of(_read_file(encoder), encoder))
        if head.is_file():
            state.update(
                (f"head.{key}", value)
                for key, value in _tensors_of(_read_file(head), head).items()
            )
        return state, encoder
    files = sorted(
        path
        for pattern in ("*.safetensors", "*.pth", "*.pt")
        for path in folder.glob(pattern)
    )
    if len(files) != 1:
        raise CheckpointError(
            f"{folder} holds no {ENCODER_FILE} and {len(files)} files of "
            "weights: name the file itself."
        )
    return _tensors_of(_read_file(files[0]), files[0]), files[0]


def _from_hub(repository):
    """Return the local folder of a hub repository's weights."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(
            snapshot_download(
                repository,
                allow_patterns=[
                    *(ENCODER_FILE, HEAD_FILE),
                    *("*.safetensors", "*.pth", "*.pt"),
                ],
            )
        )
    except (HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            f"{repository!r} is no file or folder here, and the Hugging Face "
            f"hub did not give a repository of that name: {error}"
        ) from error


def read_tensors(source):
    """Return the tensors of a checkpoint by the names they have there.

    Arguments
    ---------
    source : str, Path or dict
        A file (``.pth``, ``.pt``, ``.ckpt``, ``.safetensors``), a folder with
        ``embedding_model.ckpt`` and ``classifier.ckpt``, a Hugging Face
        repository ``owner/name``, or a state dict.

    Returns
    -------
    dict
        Tensors by name; a folder's classifier as ``head.*``.
    str
        What was read.

    Raises
    ------
    CheckpointError
        If there is no such thing, it is damaged or holds more than tensors.

    Example
    -------
    >>> state, name = read_tensors({"weight": torch.ones(1)})
    >>> name
    'the given state dict'
    """
    if isinstance(source, dict):
        name = "the given state dict"
        return _tensors_of(source, name), name
    path = Path(source)
    if not path.exists():
        looks_local = path.suffix or len(path.parts) != 2 or path.is_absolute()
        if looks_local:
            raise CheckpointError(f"There is no checkpoint {path}.")
        path = _from_hub(str(source))
    if path.is_dir():
        state, path = _read_folder(path)
        return state, str(path)
    return _tensors_of(_read_file(path), path), str(path)


def read_weights(source):
    """Return the tensors of an Audio Mamba or Vim, named as the authors do.

    Arguments
    ---------
    source : str, Path or dict
        As for `read_tensors`.

    Returns
    -------
    dict
        Tensors in float32; the classifier's as ``head.weight`` and
        ``head.bias``.
    str
        What was read.

    Raises
    ------
    CheckpointError
        As `read_tensors`, and if it belongs to another model.

    Example
    -------
    >>> key = "module.patch_embed.proj.weight"
    >>> list(read_weights({key: torch.ones(1)})[0])
    ['patch_embed.proj.weight']
    """
    state, name = read_tensors(source)
    state = strip_prefix(state, name)
    return {
        key: value.float() if value.is_floating_point() else value
        for key, value in state.items()
    }, name
