"""Splits for corpora that come without one, or without all of them."""

import math
import warnings
from hashlib import blake2b

import pandas as pd

from audiomamba.dataio.corpora.folds import rarest_labels
from audiomamba.dataio.lists import split_labels
from audiomamba.dataio.problems import PreparationError, Problems

SPLITS = ("train", "valid", "test")
# Of two splits with the same sound, the one of the higher rank keeps it
_RANKS = {name: rank for rank, name in enumerate((*SPLITS, "challenge"))}
# Part of the rule, not an option: everyone holds out the same clips
SPLIT_SEED = 0


def hold_out(
    rows: pd.DataFrame, group: str, share: float, within: str | None = None
) -> pd.Series:
    """Choose which groups of clips are held out of training.

    Groups are held out as a whole: clips cut from one recording are too
    similar to be in both training and validation. The rule needs neither a
    list nor a random generator: groups are sorted by a hash of their name and
    the first ones are held out, whatever the order of the rows and the seed
    of the run.

    Arguments
    ---------
    rows : pandas.DataFrame
        The training rows.
    group : str
        Column of the groups, for example the recording.
    share : float
        Share of the groups to hold out, in [0, 1): 0 holds out none, any
        other share at least one and never all.
    within : str, optional
        Column, for example the class: the share is held out of each value.

    Returns
    -------
    pandas.Series
        bool per row: held out.

    Raises
    ------
    PreparationError
        (a ValueError) If the share is not in [0, 1).

    Example
    -------
    >>> rows = pd.DataFrame({"video": list("aabbccdd")})
    >>> held = hold_out(rows, "video", share=0.25)
    >>> rows["video"][held].tolist()
    ['d', 'd']
    """
    if not 0 <= share < 1:
        raise PreparationError(
            f"the share to hold out is {share}; give one in [0, 1)"
        )
    groups = rows[group]
    blocks = [("", groups)] if within is None else groups.groupby(rows[within])
    held = set()
    for _, block in blocks:
        names = sorted(block.unique(), key=_rank)
        n_held = max(1, round(share * len(names))) if share else 0
        held.update(names[: min(n_held, len(names) - 1)])
    return groups.isin(held)


def held_out_as(
    split: str,
    rows: pd.DataFrame,
    group: str,
    share: float,
    within: str | None = None,
) -> pd.DataFrame:
    """Move a share of the training rows to another split.

    Arguments
    ---------
    split : str
        The split to move them to.
    rows : pandas.DataFrame
        Rows of all splits; those whose ``split`` is ``train`` are considered.
    group, share, within
        See `hold_out`.

    Returns
    -------
    pandas.DataFrame
        All rows, with the new ``split``.

    Example
    -------
    >>> rows = pd.DataFrame({"ID": list("abcd"), "split": "train"})
    >>> held_out_as("valid", rows, "ID", share=0.25)["split"].tolist()
    ['train', 'train', 'train', 'valid']
    """
    train = rows[rows["split"] == "train"]
    held = train.index[hold_out(train, group, share, within)]
    return rows.assign(split=rows["split"].mask(rows.index.isin(held), split))


def complete_splits(rows: pd.DataFrame, n_folds: int = 5) -> pd.DataFrame:
    """Cut the test and validation splits that are not given from the others.

    A fifth of the clips is for testing, a fifth of the rest for validation, by
    scikit-learn's ``StratifiedGroupKFold``: the clips of a group stay together,
    and each split gets about the same shares of the classes. A group whose
    class would otherwise not be trained goes to training. The same rows always
    give the same splits.

    Arguments
    ---------
    rows : pandas.DataFrame
        With ``label`` (several joined by ``;``), ``group`` and ``split``:
        train, valid, test, or "" in all rows.
    n_folds : int
        One fold of so many is held out, or of as many as the groups allow.

    Returns
    -------
    pandas.DataFrame
        The same rows, all of them with a split.

    Raises
    ------
    PreparationError
        If only some rows have a split, or there are too few groups.

    Example
    -------
    >>> rows = pd.DataFrame({"label": list("aabbaabb"), "split": ""})
    >>> rows["group"] = list("ppqqrrss")
    >>> complete_splits(rows)["split"].tolist()
    ['train', 'train', 'train', 'train', 'test', 'test', 'valid', 'valid']
    """
    given = set(rows["split"])
    if "" in given and len(given) > 1:
        n_lost = (rows["split"] == "").sum()
        raise PreparationError(
            f"{n_lost} of {len(rows)} clips have no split; give all clips one, "
            "or none"
        )
    rows = rows.assign(split=rows["split"].replace("", "train"))
    for split in ("test", "valid"):
        pool = rows[rows["split"] == "train"]
        if split not in given and not pool.empty:
            held = pool.index[_fold(pool, n_folds)]
            rows["split"] = rows["split"].mask(rows.index.isin(held), split)
    lost = [split for split in SPLITS if split not in set(rows["split"])]
    if lost:
        raise PreparationError(
            f"no clip is left for {' and '.join(lost)}; add recordings"
        )
    return rows


def _fold(rows, n_folds):
    """Which rows are held out: a fold of groups with about all classes."""
    from sklearn.model_selection import StratifiedGroupKFold

    labels = [split_labels(text) for text in rows["label"]]
    rarest = rarest_labels(rows["label"])
    most = pd.Series(rarest).value_counts().iloc[0]
    n_folds = min(n_folds, rows["group"].nunique(), most)
    if n_folds < 2:
        raise PreparationError(
            f"{len(rows)} clips in {rows['group'].nunique()} groups or "
            "recordings are too few to train, choose and test on different "
            "ones; add recordings, or name the splits yourself"
        )
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=SPLIT_SEED)
    with warnings.catch_warnings():
        # of classes with fewer clips than folds, which are moved below
        warnings.simplefilter("ignore", UserWarning)
        _, places = next(folds.split(rarest, rarest, rows["group"]))
    held = pd.Series(False, index=rows.index)
    held.iloc[places] = True
    groups = rows["group"]
    while lost := _lost_classes(labels, held):
        only = [bool(lost.intersection(names)) for names in labels]
        held &= ~groups.isin(set(groups[only]))
    return held


def _lost_classes(labels, held):
    """Classes that have clips, and none that is not held out."""
    parts: dict[bool, set] = {False: set(), True: set()}
    for names, out in zip(labels, held):
        parts[bool(out)].update(names)
    return parts[True] - parts[False]


def report_overlaps(
    rows: pd.DataFrame, problems: Problems, recording: str = "wav"
) -> pd.Index:
    """Report recordings of which the same part is in two splits.

    Training gives way to validation and test, and validation to the test.

    Arguments
    ---------
    rows : pandas.DataFrame
        Clips of all splits, with ``split``, the column of the recordings and,
        where a row is a part of it, ``start`` and ``stop`` (-1: the end).
    problems : Problems
        Collects what is found.
    recording : str
        The column of the recordings.

    Returns
    -------
    pandas.Index
        The rows to leave out.

    Example
    -------
    >>> rows = pd.DataFrame(
    ...     {
    ...         "wav": "a.wav",
    ...         "split": ["train", "train", "test"],
    ...         "start": [0, 300, 200],
    ...         "stop": [100, 400, 310],
    ...     }
    ... )
    >>> problems = Problems()
    >>> report_overlaps(rows, problems).tolist()
    [1]
    >>> problems.messages
    ['a.wav: is in the test list and in the train list (samples 200 to 310, \
and 300 to 400), so the result would be meaningless; remove it from one of \
them']
    """
    splits = rows.groupby(recording)["split"].nunique()
    shared = rows[rows[recording].isin(splits.index[splits > 1])]
    left_out = set()
    for name, group in shared.groupby(recording):
        seen = set()
        for pair in _overlaps(group):
            left_out.add(min(pair, key=lambda row: _RANKS[row.split]).Index)
            first, second = sorted(pair, key=lambda row: row.split)
            if (first.split, second.split) in seen:
                continue
            seen.add((first.split, second.split))
            parts = ""
            if "stop" in group:
                parts = (
                    f" (samples {first.start} to {first.stop}, and "
                    f"{second.start} to {second.stop})"
                )
            problems.add(
                f"{name}: is in the {first.split} list and in the "
                f"{second.split} list{parts}, so the result would be "
                "meaningless; remove it from one of them"
            )
    index = pd.Index(sorted(left_out))
    problems.lost.update(rows.loc[index, "split"])
    return index


def _overlaps(group):
    """Yield pairs of rows of different splits that share samples."""
    if "stop" not in group:
        group = group.assign(start=0, stop=-1)
    active = []
    for row in group.sort_values("start", kind="stable").itertuples():
        active = [other for other in active if _end(other) > row.start]
        for other in active:
            if other.split != row.split:
                yield other, row
        active.append(row)


def _end(row):
    """First sample after a row's part."""
    return math.inf if row.stop < 0 else row.stop


def _rank(name):
    """Sorting key of a group: a fixed, uniform shuffle."""
    return blake2b(f"{SPLIT_SEED}|{name}".encode(), digest_size=8).digest()
