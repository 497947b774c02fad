"""Weights and class names from files, folders and the Hugging Face hub.

Nothing in a file is executed: pickles are read with ``weights_only=True``,
class names as Python literals.
"""

import argparse
import collections
import pickle
import re
import zipfile
from pathlib import Path

import torch

from audiomamba.pretrained.sources import (
    CLASSIFIER_FILE,
    CONFIG_FILE,
    ENCODER_FILE,
    LABEL_FILE,
    TOKENIZER_FILE,
    WEIGHT_PATTERNS,
    CheckpointError,
    Source,
    Tensors,
    locate,
    read_config,
)
from audiomamba.pretrained.wholeness import check_files

# What PyTorch raises for a file that is truncated, empty or not its own.
READ_ERRORS = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    zipfile.BadZipFile,
)
# What SpeechBrain raises for a damaged label file.
LABEL_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    RecursionError,
    MemoryError,
)

# Settings beside the weights: Vim's command line, and VMamba's configuration,
# which is read as a plain mapping.
INERT: list = [
    argparse.Namespace,
    (collections.OrderedDict, "yacs.config.CfgNode"),
]


def read_tensors(source: Source) -> tuple[Tensors, str]:
    """Read the tensors of a checkpoint by the names they have there.

    Arguments
    ---------
    source : str, Path or dict
        A file (``.pth``, ``.pt``, ``.ckpt``, ``.safetensors``), a folder with
        ``embedding_model.ckpt`` and ``classifier.ckpt`` or with one file of
        weights, a Hugging Face repository ``owner/name``, or a state dict.

    Returns
    -------
    tensors : dict
        Tensors by name, in float32; a folder's classifier as ``head.*``.
    name : str
        What was read.

    Raises
    ------
    CheckpointError
        If there is no such checkpoint, or it is damaged or holds more than
        tensors.

    Example
    -------
    >>> tensors, name = read_tensors({"weight": torch.ones(1)})
    >>> name
    'the given state dict'
    """
    path = locate(source)
    if isinstance(path, dict):
        name = "the given state dict"
        return _tensors_of(path, name), name
    if not path.is_dir():
        return _tensors_of(_read_file(path), path), str(path)
    encoder, classifier = path / ENCODER_FILE, path / CLASSIFIER_FILE
    check_files(path, ENCODER_FILE, CLASSIFIER_FILE)
    if encoder.is_file():
        tensors = _tensors_of(_read_file(encoder), encoder)
        if classifier.is_file():
            head = _tensors_of(_read_file(classifier), classifier)
            tensors |= {f"head.{key}": value for key, value in head.items()}
        return tensors, str(encoder)
    files = [file for p in WEIGHT_PATTERNS for file in sorted(path.glob(p))]
    if len(files) != 1:
        raise CheckpointError(
            f"{path} holds no {ENCODER_FILE} and {len(files)} files of "
            "weights: give the path of the file itself."
        )
    return _tensors_of(_read_file(files[0]), files[0]), str(files[0])


def _read_file(path):
    """Return the content of a checkpoint file."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise CheckpointError(
                f"{path} is not a complete safetensors file ({error}): "
                "download it again."
            ) from error
    try:
        with torch.serialization.safe_globals(INERT):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # PyTorch's message also says how to read the file nevertheless.
        found = re.search(r"unsupported (\w+:? )+\S+", str(error), re.I)
        raise CheckpointError(
            f"{path} is refused: it is damaged, or holds more than tensors, "
            "which could run code when it is read"
            + (f" ({found[0]})." if found else ".")
        ) from error
    except READ_ERRORS as error:
        raise CheckpointError(
            f"{path} is not a complete PyTorch file ({error}): "
            "download or copy it again."
        ) from error


def _tensors_of(content, name):
    """Return the state dict inside a checkpoint's content, in float32."""
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise CheckpointError(
            f"{name} holds no state dict: give a file of a model's weights."
        )
    for key, value in content.items():
        if not isinstance(value, torch.Tensor):
            raise CheckpointError(
                f"{name} is not a state dict, as {key!r} is no tensor: give a "
                "file of a model's weights."
            )
    broken = [k for k, v in content.items() if not torch.isfinite(v).all()]
    if broken:
        raise CheckpointError(
            f"{name} has NaN or infinite values in {broken[0]} and "
            f"{len(broken) - 1} more tensors: its training diverged, or it is "
            "damaged. Take another checkpoint."
        )
    return {
        key: value.float() if value.is_floating_point() else value
        for key, value in content.items()
    }


def read_class_names(source: Source) -> list[str] | None:
    """Read the class names beside a model's weights.

    Arguments
    ---------
    source : str, Path or dict
        As for `read_tensors`, with a ``label_encoder.ckpt`` (the text file of
        SpeechBrain's ``CategoricalEncoder``), a ``tokenizer.ckpt``, whose
        tokens they are, or a ``config.json`` (that of ``transformers``) in the
        folder or beside the file; or the path of the first itself.

    Returns
    -------
    list of str or None
        Class names by index; None where the checkpoint has none.

    Raises
    ------
    CheckpointError
        If there is no such checkpoint, the file of names is damaged, or its
        indices are not 0, 1, ... each once.

    Example
    -------
    >>> from speechbrain.dataio.encoder import CategoricalEncoder
    >>> folder, encoder = getfixture("tmp_path"), CategoricalEncoder()
    >>> encoder.update_from_iterable(["dog", "cat"])
    >>> encoder.save(folder / "label_encoder.ckpt")
    >>> read_class_names(folder)
    ['dog', 'cat']
    """
    from speechbrain.dataio.encoder import CategoricalEncoder

    path = locate(source)
    if isinstance(path, dict):
        return None
    if path.name != LABEL_FILE:
        if not path.is_dir():
            path = path.parent
        config, tokenizer = path / CONFIG_FILE, path / TOKENIZER_FILE
        path = path / LABEL_FILE
        if not path.is_file() and tokenizer.is_file():
            # imported here, as it takes pandas with it
            from audiomamba.dataio.tokenizer import pieces, read_tokenizer

            return pieces(read_tokenizer(tokenizer))
        if not path.is_file() and config.is_file():
            return _names_in_config(config)
    check_files(path.parent, LABEL_FILE)
    if not path.is_file():
        return None
    try:
        encoder = CategoricalEncoder.from_saved(path)
    except LABEL_ERRORS as error:
        raise CheckpointError(
            f"{path} is not a whole file of class names ({error!r}): download "
            "or export the model again."
        ) from error
    by_index = encoder.ind2lab
    if sorted(encoder.lab2ind.values()) != list(range(len(by_index))):
        raise CheckpointError(
            f"{path} does not number its classes 0, 1, ... each once: export "
            "the model again."
        )
    return [str(by_index[index]) for index in range(len(by_index))]


class _Quoted(str):
    """A name that SpeechBrain's file of names can hold, whatever is in it."""

    def __repr__(self):
        # the separator of the file, with its second sign as an escape
        return super().__repr__().replace(" => ", " =\\x3e ")


def write_class_names(path: str | Path, labels: list[str]) -> None:
    """Write class names, in the format of SpeechBrain's ``CategoricalEncoder``.

    Arguments
    ---------
    path : str or Path
        The file, ``label_encoder.ckpt`` in a folder with weights.
    labels : list of str
        Class names by index.

    Example
    -------
    >>> path = getfixture("tmp_path") / "label_encoder.ckpt"
    >>> write_class_names(path, ["a => b", "it's"])
    >>> read_class_names(path)
    ['a => b', "it's"]
    """
    from speechbrain.dataio.encoder import CategoricalEncoder

    encoder = CategoricalEncoder()
    encoder.update_from_iterable(map(_Quoted, labels))
    encoder.save(path)


def _names_in_config(path):
    """Return the class names in a ``config.json``; None if it has none."""
    names = read_config(path).get("id2label")
    if names is None:
        return None
    is_dict = isinstance(names, dict)
    numbers = [str(index) for index in range(len(names) if is_dict else 0)]
    if not is_dict or {*names} != {*numbers}:
        raise CheckpointError(
            f"{path} does not number its classes 0, 1, ... each once, in "
            "id2label: download the model again."
        )
    found = [str(names[number]) for number in numbers]
    # What transformers writes where nobody named the classes.
    return None if found[:1] == ["LABEL_0"] else found


def label_difference(known: list[str], wanted: list[str]) -> str | None:
    """Say how the classes of a model differ from those of the data.

    Arguments
    ---------
    known : list of str
        Class names of the model, by index.
    wanted : list of str
        Class names of the data, by index.

    Returns
    -------
    str or None
        None if they are the same, in the same order.

    Example
    -------
    >>> label_difference(["cat", "dog"], ["dog", "cat"])
    "the same 2 classes in another order: class 0 is 'cat', not 'dog'"
    >>> label_difference(["cat", "dog"], ["cat", "dog", "cow"])
    '2 classes instead of 3'
    """
    if known == wanted:
        return None
    if len(known) != len(wanted):
        return f"{len(known)} classes instead of {len(wanted)}"
    index = next(i for i, name in enumerate(known) if name != wanted[i])
    first = f"class {index} is {known[index]!r}, not {wanted[index]!r}"
    if sorted(known) == sorted(wanted):
        return f"the same {len(known)} classes in another order: {first}"
    return first
