"""Manifests: the CSV files between a corpus and a recipe's training.

Columns: ``ID``, ``duration`` (seconds), ``wav`` (path from ``data_folder``),
``label`` (class names, several joined by ``;``), and ``start``, ``stop``
(frames at the file's own rate) where a row is a part of a file. A recipe may
add others.

Beside them stands ``prepared.json``: a key of everything they were made from.
They are made again when the key changes, and only then.
"""

import hashlib
import json
import logging
from pathlib import Path

import pandas as pd

from audiomamba.dataio.files import replaced_file, write_csv
from audiomamba.dataio.labels import write_labels
from audiomamba.dataio.problems import PreparationError

logger = logging.getLogger(__name__)

LABEL_SEPARATOR = ";"
LABEL_FILE = "labels.csv"
_RECORD = "prepared.json"
_COLUMNS = ["ID", "duration", "wav", "label"]
_NUMBERS = {"duration": "float64", "start": "int64", "stop": "int64"}
# Part of every key: raise it when the manifests' form changes
_FORMAT = 1


def inputs_key(parameters, lists, audio=None):
    """A key that changes with anything that manifests are made from.

    Arguments
    ---------
    parameters : dict
        What the preparation was asked for; JSON values.
    lists : iterable of Path
        List and annotation files; their content counts, not their place.
    audio : pandas.DataFrame, optional
        The audio files as of `list_audio`: path, size and time of the last
        change count.

    Returns
    -------
    str
        Hexadecimal.

    Example
    -------
    >>> path = getfixture("tmp_path") / "list.txt"
    >>> _ = path.write_text("a.wav")
    >>> key = inputs_key({"fold": 1}, [path])
    >>> key == inputs_key({"fold": 1}, [path])
    True
    >>> key == inputs_key({"fold": 2}, [path])
    False
    """
    parts = [_FORMAT, parameters, [_content_key(path) for path in lists]]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    if audio is not None:
        for wav, size, mtime in zip(
            audio["wav"], audio["size"], audio["mtime"]
        ):
            digest.update(f"\n{wav}\t{size}\t{mtime}".encode())
    return digest.hexdigest()


def is_prepared(save_folder, key):
    """Whether manifests of the same inputs stand ready and untouched.

    Arguments
    ---------
    save_folder : str or Path
        Where they would be.
    key : str
        Of `inputs_key`.

    Returns
    -------
    bool

    Example
    -------
    >>> is_prepared(getfixture("tmp_path"), "0a1b")
    False
    """
    try:
        record = json.loads(Path(save_folder, _RECORD).read_text())
    except FileNotFoundError:
        return False
    if record["key"] != key:
        logger.info("The inputs have changed: preparing anew")
        return False
    for name, content_key in record["files"].items():
        path = Path(save_folder, name)
        if not path.is_file() or _content_key(path) != content_key:
            logger.warning("%s is gone or was edited: preparing anew", path)
            return False
    logger.info("Nothing has changed: using the manifests in %s", save_folder)
    if record["left_out"]:
        logger.warning("They were made in spite of %s", record["left_out"])
    return True


def write_manifests(save_folder, splits, labels, key, left_out=""):
    """Write the manifests and the label file, then the record of the key.

    Arguments
    ---------
    save_folder : str or Path
        Where to.
    splits : dict
        Name -> pandas.DataFrame with the columns of a manifest; ``label`` may
        be lacking.
    labels : iterable of str or None
        Class names in the order of their indices, for ``labels.csv``; None
        if the recipe brings its label file.
    key : str
        Of `inputs_key`.
    left_out : str
        What `Problems.settle` said; repeated when the manifests are reused.

    Raises
    ------
    PreparationError
        If a split has no row, or an ID stands twice in it.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> train = pd.DataFrame(
    ...     {"ID": ["x"], "wav": ["x.wav"], "duration": [1.5], "label": ["no"]}
    ... )
    >>> write_manifests(folder, {"train": train}, ["no"], key="0a1b")
    >>> is_prepared(folder, "0a1b")
    True
    >>> print((folder / "train.csv").read_text(), end="")
    ID,duration,wav,label
    x,1.5,x.wav,no
    """
    save_folder = Path(save_folder)
    for name, table in splits.items():
        _check(name, table)
    # a record of other files must not outlive the first of the new ones
    Path(save_folder, _RECORD).unlink(missing_ok=True)
    written = [f"{name}.csv" for name in splits]
    for name, table in splits.items():
        first = [column for column in _COLUMNS if column in table]
        further = [column for column in table if column not in _COLUMNS]
        table = table[first + further].sort_values("ID")
        write_csv(save_folder / f"{name}.csv", table)
    if labels is not None:
        write_labels(save_folder / LABEL_FILE, labels)
        written.append(LABEL_FILE)
    record = {
        "key": key,
        "files": {name: _content_key(save_folder / name) for name in written},
        "left_out": left_out,
    }
    with replaced_file(save_folder / _RECORD) as draft:
        draft.write_text(json.dumps(record, indent=2) + "\n")
    counts = ", ".join(f"{len(t)} {name}" for name, t in splits.items())
    logger.info("Wrote manifests to %s: %s", save_folder, counts)


def _check(name, table):
    if table.empty:
        raise PreparationError(
            f"{name}: not one of its rows can be used; check the list and "
            "data_folder"
        )
    twice = table["ID"][table["ID"].duplicated()]
    if len(twice):
        raise PreparationError(
            f"{name}: {len(twice)} IDs stand more than once, the first is "
            f"{twice.iloc[0]}; take the repetitions out of the list"
        )


def read_manifest(path):
    """Read a manifest.

    Arguments
    ---------
    path : str or Path
        CSV of `write_manifests`, or made by hand with its columns; a
        ``label`` may be lacking, as in test sets without labels.

    Returns
    -------
    pandas.DataFrame
        Sorted by ``ID``; ``duration`` as float, ``start`` and ``stop`` as
        integers, all else as text.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file or a column is missing, or an ID stands twice.

    Example
    -------
    >>> path = getfixture("tmp_path") / "train.csv"
    >>> _ = path.write_text("ID,duration,wav,label\\nx,1.5,x.wav,none\\n")
    >>> read_manifest(path).values.tolist()
    [['x', 1.5, 'x.wav', 'none']]
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"Manifest {path} is missing; the preparation writes it "
            "(skip_prep: False)"
        )
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [name for name in _COLUMNS[:3] if name not in table]
    if missing:
        raise ValueError(
            f"{path}: no column {missing}; a manifest has {_COLUMNS}"
        )
    kinds = {name: kind for name, kind in _NUMBERS.items() if name in table}
    try:
        table = table.astype(kinds)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; correct that value") from error
    if table["ID"].duplicated().any():
        twice = table["ID"][table["ID"].duplicated()].iloc[0]
        raise ValueError(f"{path}: ID {twice} stands more than once")
    return table.sort_values("ID", ignore_index=True)


def _content_key(path):
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
