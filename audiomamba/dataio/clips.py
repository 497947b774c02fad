"""Corpora of clips cut from videos, of which some are always missing."""

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from audiomamba.dataio.files import write_csv
from audiomamba.dataio.manifest import LABEL_SEPARATOR
from audiomamba.dataio.problems import Problems

logger = logging.getLogger(__name__)


def locate_clips(
    rows: pd.DataFrame,
    files: pd.DataFrame,
    data_folder: str | Path,
    problems: Problems,
) -> pd.DataFrame:
    """Add the path of each listed clip; report clips without a file.

    Arguments
    ---------
    rows : pandas.DataFrame
        The listed clips: ``ID`` (unique), ``split`` and others.
    files : pandas.DataFrame
        The audio files: ``wav``, and the ``ID`` of the clip in its name. If a
        clip has several files, the first one is used.
    data_folder : str or Path
        The corpus, for the messages.
    problems : Problems
        Collects the missing clips.

    Returns
    -------
    pandas.DataFrame
        The clips that have a file, with ``wav``.

    Example
    -------
    >>> rows = pd.DataFrame({"ID": ["a", "b"], "split": "train"})
    >>> files = pd.DataFrame({"ID": ["b", "b"], "wav": ["b.flac", "b.wav"]})
    >>> problems = Problems()
    >>> locate_clips(rows, files, "data", problems).values.tolist()
    [['b', 'train', 'b.flac']]
    >>> problems.messages, dict(problems.lost)
    (['a: listed, but no file in data has this name; download it'], \
{'train': 1})
    """
    places = files.drop_duplicates("ID").set_index("ID")["wav"]
    rows = rows.assign(wav=places.reindex(rows["ID"]).to_numpy())
    lost = rows["wav"].isna()
    for clip, split in zip(rows["ID"][lost], rows["split"][lost]):
        problems.add(
            f"{clip}: listed, but no file in {data_folder} has this name; "
            "download it",
            {split: 1},
        )
    n_unused = len(files) - (~lost).sum()
    if n_unused:
        logger.info("%d audio files are not listed: unused", n_unused)
    return rows[~lost]


def report_coverage(
    listed: pd.DataFrame,
    usable: pd.DataFrame,
    path: str | Path,
    names: Mapping[str, str] | None = None,
) -> list[str]:
    """Report how much of each split is usable, and the range over classes.

    Arguments
    ---------
    listed : pandas.DataFrame
        All clips: ``split`` and ``label`` (class names joined by ``;``).
    usable : pandas.DataFrame
        The usable clips, with the same columns.
    path : str or Path
        CSV to write: per split and class, the numbers of listed and usable
        clips.
    names : dict, optional
        Class name -> readable name, for the log.

    Returns
    -------
    list of str
        The logged sentences, one per split.

    Example
    -------
    >>> listed = pd.DataFrame({"split": "eval", "label": ["a", "a;b", "b"]})
    >>> path = getfixture("tmp_path") / "coverage.csv"
    >>> report_coverage(listed, listed[:2], path)
    ['eval: 2 of 3 (66.7 %) clips usable; by class from 1 of 2 (50.0 %) of b \
to 2 of 2 (100.0 %) of a']
    >>> print(path.read_text(), end="")
    split,label,listed,usable
    eval,a,2,2
    eval,b,2,1
    """
    tables, sentences = [], []
    for split, part in listed.groupby("split", sort=True):
        left = usable[usable["split"] == split]
        table = _class_counts(part, left)
        tables.append(table.assign(split=split))
        shares = table["usable"] / table["listed"]
        ends = (
            _extreme(table.loc[row], names or {})
            for row in (shares.idxmin(), shares.idxmax())
        )
        sentence = (
            f"{split}: {_part(len(left), len(part))} clips usable; by class "
            f"from {' to '.join(ends)}"
        )
        logger.info(sentence)
        sentences.append(sentence)
    columns = ["split", "label", "listed", "usable"]
    write_csv(path, pd.concat(tables)[columns])
    return sentences


def _part(usable, listed):
    """A share in words: '1 of 2 (50.0 %)'."""
    return f"{usable} of {listed} ({100 * usable / listed:.1f} %)"


def _extreme(row, names):
    """The share of a class in words."""
    name = names.get(row["label"], row["label"])
    return f"{_part(row['usable'], row['listed'])} of {name}"


def _class_counts(listed, usable):
    """Clips of each class: label, listed, usable."""
    n_listed, n_usable = (
        Counter(
            label
            for text in rows["label"]
            for label in text.split(LABEL_SEPARATOR)
        )
        for rows in (listed, usable)
    )
    labels = sorted(n_listed)
    return pd.DataFrame(
        {
            "label": labels,
            "listed": [n_listed[label] for label in labels],
            "usable": [n_usable[label] for label in labels],
        }
    )
