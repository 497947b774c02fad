"""Manifests and label files: the CSV files that a recipe trains from.

A manifest has the columns ``ID``, ``duration`` (seconds), ``wav`` (path
relative to ``data_folder``), ``label`` (class names, several joined by
``;``), and ``start`` and ``stop`` (frames at the file's own rate) where a row
is a part of a file. Recipes may add others.

A label file has the columns ``index`` and ``label``: the row with index i
names class i, in the order of the classifier's outputs.

``prepared.json`` in the same folder keeps a key of all inputs: the manifests
are written again when the key changes, and only then.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from audiomamba.dataio.columns import read_table
from audiomamba.dataio.files import file_digest, write_json
from audiomamba.dataio.lists import clean
from audiomamba.dataio.problems import PreparationError
from audiomamba.dataio.rows import COLUMNS, read_rows
from audiomamba.dataio.tables import write_csv

logger = logging.getLogger(__name__)

LABEL_FILE = "labels.csv"
_RECORD = "prepared.json"
# Part of every key: increase it when the format of the manifests changes
_FORMAT = 1


def inputs_key(
    parameters: dict,
    lists: Iterable[str | Path],
    audio: pd.DataFrame | None = None,
) -> str:
    """Hash everything that manifests are made from.

    Arguments
    ---------
    parameters : dict
        Options of the preparation; JSON values.
    lists : iterable of str or Path
        List and annotation files: their content counts, not their path.
    audio : pandas.DataFrame, optional
        The audio files, from `list_audio`: path, size and modification time
        count.

    Returns
    -------
    str
        The key, hexadecimal.

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
    parts = [_FORMAT, parameters, [file_digest(path) for path in lists]]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    if audio is not None:
        for wav, size, mtime in zip(
            audio["wav"], audio["size"], audio["mtime"]
        ):
            digest.update(f"\n{wav}\t{size}\t{mtime}".encode())
    return digest.hexdigest()


def is_prepared(save_folder: str | Path, key: str) -> bool:
    """Whether manifests made from the same inputs exist and are unedited.

    Arguments
    ---------
    save_folder : str or Path
        The folder of the manifests.
    key : str
        From `inputs_key`.

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
        logger.info("The inputs have changed: preparing again")
        return False
    for name, content_key in record["files"].items():
        path = Path(save_folder, name)
        if not path.is_file() or file_digest(path) != content_key:
            logger.warning("%s was deleted or edited: preparing again", path)
            return False
    logger.info("Nothing has changed: using the manifests in %s", save_folder)
    if record["left_out"]:
        logger.warning("They were made despite %s", record["left_out"])
    return True


def write_manifests(
    save_folder: str | Path,
    splits: Mapping[str, pd.DataFrame],
    labels: Iterable[str] | None,
    key: str,
    left_out: str = "",
) -> None:
    """Write the manifests and the label file, then ``prepared.json``.

    Arguments
    ---------
    save_folder : str or Path
        The folder to write to.
    splits : dict
        Split -> pandas.DataFrame with the columns of a manifest; ``label``
        may be missing.
    labels : iterable of str or None
        Class names in the order of their indices, for ``labels.csv``; None
        if the recipe comes with its label file.
    key : str
        From `inputs_key`.
    left_out : str
        The answer of `Problems.settle`; logged again on every reuse.

    Raises
    ------
    PreparationError
        If a split is empty or has a repeated ID.

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
    # interrupted from here on, the folder counts as not prepared
    Path(save_folder, _RECORD).unlink(missing_ok=True)
    written = [f"{name}.csv" for name in splits]
    for name, table in splits.items():
        first = [column for column in COLUMNS if column in table]
        further = [column for column in table if column not in COLUMNS]
        table = table[first + further].sort_values("ID")
        write_csv(save_folder / f"{name}.csv", table)
    if labels is not None:
        write_labels(save_folder / LABEL_FILE, labels)
        written.append(LABEL_FILE)
    record = {
        "key": key,
        "files": {name: file_digest(save_folder / name) for name in written},
        "left_out": left_out,
    }
    write_json(save_folder / _RECORD, record)
    counts = ", ".join(f"{len(t)} {name}" for name, t in splits.items())
    logger.info("Wrote manifests to %s: %s", save_folder, counts)


def _check(name, table):
    """Refuse splits that are empty or repeat an ID."""
    if table.empty:
        raise PreparationError(
            f"{name}: none of its rows can be used; check the list and "
            "data_folder"
        )
    twice = table["ID"][table["ID"].duplicated()]
    if len(twice):
        first = twice.iloc[0]
        wavs = table["wav"][table["ID"] == first].unique()
        raise PreparationError(
            f"{name}: {len(twice)} IDs are repeated, the first is {first} "
            f"({' and '.join(wavs)[:200]}); remove the repeated lines or files"
        )


def read_manifest(path: str | Path) -> pd.DataFrame:
    """Read a manifest.

    Arguments
    ---------
    path : str or Path
        CSV from `write_manifests` or by hand; ``label`` may be missing, as
        in test sets without labels.

    Returns
    -------
    pandas.DataFrame
        Sorted by ``ID``; ``duration`` as float, ``start`` and ``stop`` as
        integers, everything else as text.

    Raises
    ------
    PreparationError
        (a ValueError) If the file is missing or cannot be read, a column is
        missing, a number is not one, or an ID is empty or repeated; with the
        line.

    Example
    -------
    >>> path = getfixture("tmp_path") / "train.csv"
    >>> _ = path.write_text("ID,duration,wav,label\\nx,1.5,x.wav,none\\n")
    >>> read_manifest(path).values.tolist()
    [['x', 1.5, 'x.wav', 'none']]
    """
    rows = read_rows(path)
    columns = {
        name: values if isinstance(values, np.ndarray) else list(values)
        for name, values in rows.columns.items()
    }
    return pd.DataFrame({"ID": list(rows.ids), **columns})


def read_labels(path: str | Path, column: str = "label") -> list[str]:
    """Read the class names of a label file.

    Arguments
    ---------
    path : str or Path
        CSV with the columns ``index`` and ``column``.
    column : str
        The column of the names: ``"mid"`` for the ids in AudioSet's file.

    Returns
    -------
    list of str
        Names in the order of their indices.

    Raises
    ------
    PreparationError
        (a ValueError) If the file is missing or cannot be read, a column is
        missing, the indices are not 0, 1, ... each once, or a name is empty or
        repeated.

    Example
    -------
    >>> path = getfixture("tmp_path") / "labels.csv"
    >>> write_labels(path, ["yes", "no"])
    >>> read_labels(path)
    ['yes', 'no']
    """
    if not Path(path).is_file():
        raise PreparationError(
            f"Label file {path} is missing; it comes with the recipe, or the "
            "preparation writes it (skip_prep: False)"
        )
    table = read_table(path, ["index", column])
    if sorted(table["index"]) != sorted(map(str, range(len(table)))):
        raise PreparationError(
            f"{path}: the indices must be 0 to {len(table) - 1}, each once"
        )
    names = table.set_index(table["index"].astype(int))[column].sort_index()
    names = names.map(clean)
    if names.duplicated().any() or not names.all():
        wrong = [*names[names.duplicated()].unique(), *names[names == ""]]
        raise PreparationError(
            f"{path}: empty or repeated class names {wrong}; give every class "
            "its own name"
        )
    return names.tolist()


def class_names(path: str | Path) -> list[str]:
    """Read the display names of classes.

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
    known = Path(path).is_file() and "display_name" in read_table(path, [])
    return read_labels(path, "display_name" if known else "label")


def write_labels(path: str | Path, labels: Iterable[str]) -> None:
    """Write class names with their indices.

    Arguments
    ---------
    path : str or Path
        The file; its folder is created if needed.
    labels : iterable of str
        Names in the order of their indices.

    Example
    -------
    >>> path = getfixture("tmp_path") / "labels.csv"
    >>> write_labels(path, ["yes", "no"])
    >>> print(path.read_text(), end="")
    index,label
    0,yes
    1,no
    """
    labels = list(labels)
    write_csv(
        path, pd.DataFrame({"index": range(len(labels)), "label": labels})
    )
