"""Which of the listed clips are there, and which are not."""

import difflib
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

import pandas as pd

from audiomamba.dataio.lists import split_labels
from audiomamba.dataio.problems import Problems
from audiomamba.dataio.tables import write_csv

logger = logging.getLogger(__name__)


# Pairs of names to compare letter by letter, which takes seconds
_COMPARISONS = 1_000_000
# Lost classes that a message names
_MOST_NAMED = 50


def near_names(
    unused: Iterable[str], whole: bool = False
) -> Callable[[str], str]:
    """Find files that a list may mean by a name that does not exist.

    Arguments
    ---------
    unused : iterable of str
        Files that no list names.
    whole : bool
        Compare the whole path, where folders tell files of one name apart;
        then nothing but case, suffix and signs may differ.

    Returns
    -------
    callable
        From a name to a hint for the message, or an empty string: a file
        whose name differs in case, suffix, folder, signs or a few letters.

    Example
    -------
    >>> hint = near_names(["b/Dog 1.WAV", "b/rain.wav"])
    >>> hint("a/dog-1.wav"), hint("train.wav"), hint("bell.wav")
    (' (is it b/Dog 1.WAV?)', ' (is it b/rain.wav?)', '')
    >>> near_names(["b/Dog_1.wav"], whole=True)("b/dog 1.wav")
    ' (is it b/Dog_1.wav?)'
    """
    unused = list(unused)
    paths = {_bare(name, True): name for name in unused}
    names = {} if whole else {_bare(name): name for name in unused}
    left = _COMPARISONS

    def hint(name):
        nonlocal left
        key = _bare(name)
        found = paths.get(_bare(name, True)) or names.get(key)
        if found is None and len(names) <= left:
            left -= len(names)
            close = difflib.get_close_matches(key, names, 1, 0.85)
            found = names[close[0]] if close else None
        return f" (is it {found}?)" if found else ""

    return hint


def _bare(name, whole=False):
    """Letters and digits of a file's name or whole path, without suffix."""
    path = PurePosixPath(name)
    text = f"{path.parent}/{path.stem}" if whole else path.stem
    text = unicodedata.normalize("NFKC", text)
    return re.sub(r"[^\w/]+|_", "", text).casefold()


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
    hint = near_names(files["wav"][~files["ID"].isin(rows["ID"])])
    for clip, split in zip(rows["ID"][lost], rows["split"][lost]):
        problems.add(
            f"{clip}: listed, but no file in {data_folder} has this name"
            f"{hint(clip)}; download it",
            {split: 1},
        )
    n_unused = len(files) - (~lost).sum()
    if n_unused:
        logger.info("%d audio files are not listed: unused", n_unused)
    return rows[~lost]


def report_lost_classes(
    listed: pd.DataFrame,
    usable: pd.DataFrame,
    names: Mapping[str, str] | None = None,
) -> str:
    """Warn of classes of which a split has lost all clips.

    Arguments
    ---------
    listed, usable, names
        See `report_coverage`.

    Returns
    -------
    str
        The warning, after a semicolon; empty if no class is lost.

    Example
    -------
    >>> listed = pd.DataFrame({"split": "test", "label": ["a", "b", "b"]})
    >>> report_lost_classes(listed, listed[:1])
    '; no clip is left in test of: b (2)'
    """
    parts, names = [], names or {}
    for split, part in listed.groupby("split", sort=True):
        table = _class_counts(part, usable[usable["split"] == split])
        lost = [
            f"{names.get(row.label, row.label)} ({row.listed})"
            for row in table[table["usable"] == 0].itertuples()
        ]
        if len(lost) > _MOST_NAMED:
            lost[_MOST_NAMED:] = [f"and {len(lost) - _MOST_NAMED} more classes"]
        if lost:
            parts.append(f"; no clip is left in {split} of: {', '.join(lost)}")
    if parts:
        logger.warning("%s", "".join(parts).removeprefix("; "))
    return "".join(parts)


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
        Counter(label for text in rows["label"] for label in split_labels(text))
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
