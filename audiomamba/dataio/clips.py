"""Corpora of clips cut from videos, of which a part is always missing."""

import logging
from collections import Counter
from pathlib import Path

import pandas as pd

from audiomamba.dataio.corpus import list_audio
from audiomamba.dataio.files import write_csv
from audiomamba.dataio.manifest import LABEL_SEPARATOR
from audiomamba.dataio.problems import missing_corpus
from audiomamba.dataio.splits import hold_out

logger = logging.getLogger(__name__)


def find_clips(
    dataset, data_folder, lists, source, tree, prepare_file, n_workers=None
):
    """List the audio files of a corpus whose lists must be there, too.

    Arguments
    ---------
    dataset, data_folder, source, tree, prepare_file
        As for `missing_corpus`.
    lists : iterable of Path
        The owners' lists.
    n_workers : int, optional
        Threads.

    Returns
    -------
    pandas.DataFrame
        Of `list_audio`.

    Raises
    ------
    PreparationError
        Saying what is not there, and what to do.

    Example
    -------
    >>> find_clips("X", "none", [], "x.org", "", "recipes/X/x_prepare.py")
    Traceback (most recent call last):
    ...
    audiomamba.dataio.problems.PreparationError: X was not found: there is no \
folder none.
    ...
    """
    lost = [str(path) for path in lists if not Path(path).is_file()]
    audio = None
    if not Path(data_folder).is_dir():
        missing = f"there is no folder {data_folder}"
    elif lost:
        missing = f"there is no list {' or '.join(lost)}"
    else:
        audio = list_audio(data_folder, n_workers=n_workers)
        missing = f"there is no wav or flac file in {data_folder}"
    if audio is None or audio.empty:
        raise missing_corpus(
            dataset, data_folder, missing, source, tree, prepare_file
        )
    return audio


def locate_clips(rows, files, data_folder, problems):
    """Add the path of each listed clip; note those that have no file.

    Arguments
    ---------
    rows : pandas.DataFrame
        The listed clips: ``ID``, each once, ``split`` and others.
    files : pandas.DataFrame
        The audio files: ``ID`` of the clip that a file's name tells, ``wav``.
        Of several files of a clip the first one is taken.
    data_folder : str or Path
        The corpus, for the messages.
    problems : Problems
        Gets the missing clips.

    Returns
    -------
    pandas.DataFrame
        The clips that have a file, with ``wav``.

    Example
    -------
    >>> from audiomamba.dataio.problems import Problems
    >>> rows = pd.DataFrame({"ID": ["a", "b"], "split": "train"})
    >>> files = pd.DataFrame({"ID": ["b", "b"], "wav": ["b.flac", "b.wav"]})
    >>> problems = Problems()
    >>> locate_clips(rows, files, "data", problems).values.tolist()
    [['b', 'train', 'b.flac']]
    >>> problems.messages, dict(problems.lost)
    (['a: listed, but no file under data is named so; fetch it'], {'train': 1})
    """
    places = files.drop_duplicates("ID").set_index("ID")["wav"]
    rows = rows.assign(wav=places.reindex(rows["ID"]).to_numpy())
    lost = rows["wav"].isna()
    for clip, split in zip(rows["ID"][lost], rows["split"][lost]):
        problems.add(
            f"{clip}: listed, but no file under {data_folder} is named so; "
            "fetch it",
            {split: 1},
        )
    n_unused = len(files) - (~lost).sum()
    if n_unused:
        logger.info("%d audio files are not in the lists, unused", n_unused)
    return rows[~lost]


def report_coverage(listed, usable, path, names=None):
    """Say how much of each split is there, and of which class least.

    Arguments
    ---------
    listed : pandas.DataFrame
        All clips: ``split`` and ``label`` (class names joined by ``;``).
    usable : pandas.DataFrame
        Those that are left, with the same columns.
    path : str or Path
        CSV that gets, per split and class, how many clips are listed and how
        many usable.
    names : dict, optional
        Class name -> one for people, for the message.

    Returns
    -------
    list of str
        One sentence per split; they are logged, too.

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
    write_csv(Path(path), pd.concat(tables)[columns])
    return sentences


def _part(usable, listed):
    return f"{usable} of {listed} ({100 * usable / listed:.1f} %)"


def _extreme(row, names):
    name = names.get(row["label"], row["label"])
    return f"{_part(row['usable'], row['listed'])} of {name}"


def _class_counts(listed, usable):
    """Clips of each class: label, listed, usable."""
    counts = {
        name: Counter(
            label
            for text in rows["label"]
            for label in text.split(LABEL_SEPARATOR)
        )
        for name, rows in (("listed", listed), ("usable", usable))
    }
    labels = sorted(counts["listed"])
    return pd.DataFrame(
        {
            "label": labels,
            **{
                name: [count[label] for label in labels]
                for name, count in counts.items()
            },
        }
    )


def with_validation(train, test, group, share):
    """Split a part off training, where the owners of a corpus did not.

    Arguments
    ---------
    train, test : pandas.DataFrame
        Rows of manifests.
    group : str
        Column whose values stay together; see `hold_out`.
    share : float
        Of the groups; 0 for no validation split.

    Returns
    -------
    dict
        ``train``, ``test`` and, with a share, ``valid``.

    Example
    -------
    >>> rows = pd.DataFrame({"ID": list("abcd")})
    >>> splits = with_validation(rows, rows[:1], "ID", share=0.25)
    >>> {name: len(part) for name, part in splits.items()}
    {'train': 3, 'test': 1, 'valid': 1}
    """
    held = hold_out(train, group, share)
    splits = {"train": train[~held], "test": test}
    if share:
        splits["valid"] = train[held]
    return splits
