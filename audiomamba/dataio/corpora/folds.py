"""Folds of one list of clips: those of its column, or made from it.

Each fold tests once, the next one validates, and the others train.
"""

import re
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from audiomamba.dataio.lists import split_labels
from audiomamba.dataio.problems import PreparationError

# A class that fewer folds have is missing from a split of some fold
_LEAST = 3


class Folds(NamedTuple):
    """Which fold tests, how many are made, and the seed that deals them out."""

    fold: int | str = 1
    n_folds: int = 5
    seed: int = 1


def fold_names(
    path: str | Path, rows: pd.DataFrame, n_folds: int
) -> list[int | str]:
    """Return the names of the folds of a list.

    Arguments
    ---------
    path : str or Path
        The list, for the message.
    rows : pandas.DataFrame
        Its rows, maybe with a column ``fold``.
    n_folds : int
        Number of folds if there is no such column.

    Returns
    -------
    list
        Whole numbers, then text, in order.

    Raises
    ------
    PreparationError
        If there are fewer than three folds, or a name cannot be one of a
        folder.

    Example
    -------
    >>> rows = pd.DataFrame({"fold": ["10", "b", "2", "b"]})
    >>> fold_names("a.csv", rows, 5)
    [2, 10, 'b']
    """
    if "fold" not in rows:
        if not isinstance(n_folds, int) or n_folds < _LEAST:
            raise PreparationError(
                f"n_folds is {n_folds!r}; give {_LEAST} or more: one tests, "
                "one validates, the others train"
            )
        return list(range(1, n_folds + 1))
    texts = sorted(rows["fold"].unique())
    for text in texts:
        if not re.fullmatch(r"\w[\w .-]*", text):
            raise PreparationError(
                f"{path}: {text!r} is no name of a fold; give every row one of "
                "letters and digits"
            )
    if len(texts) < _LEAST:
        raise PreparationError(
            f"{path}: its column fold has {texts} only; give {_LEAST} or more: "
            "one tests, one validates, the others train"
        )
    names = map(_as_name, texts)
    return sorted(names, key=lambda name: (isinstance(name, str), name))


def _as_name(text):
    """Turn the text of a whole number into one, as YAML does."""
    return int(text) if re.fullmatch("0|[1-9][0-9]*", text) else text


def with_folds(
    path: str | Path, rows: pd.DataFrame, folds: Folds
) -> pd.DataFrame:
    """Add the columns ``fold`` and ``split`` to the rows of a list.

    Without a column ``fold``, scikit-learn's ``StratifiedGroupKFold`` makes
    folds with about the same shares of the classes.  Rows of one ``group``
    stay together, or, without that column, of one file.

    Arguments
    ---------
    path : str or Path
        The list, for the message.
    rows : pandas.DataFrame
        With ``wav``, ``label`` (several joined by ``;``) and maybe ``fold``
        or ``group``.
    folds : Folds
        Which fold tests.

    Returns
    -------
    pandas.DataFrame
        A copy.

    Raises
    ------
    PreparationError
        If there is no such fold, or a class is in too few folds.

    Example
    -------
    >>> rows = pd.DataFrame({"wav": list("abcdef"), "label": "dog"})
    >>> rows = with_folds("a.csv", rows, Folds(fold=2, n_folds=3))
    >>> rows.groupby("split")["fold"].unique().str[0].to_dict()
    {'test': 2, 'train': 1, 'valid': 3}
    """
    names = fold_names(path, rows, folds.n_folds)
    if folds.fold not in names:
        raise PreparationError(
            f"{path}: there is no fold {folds.fold!r}; choose from "
            f"{', '.join(map(str, names))}"
        )
    if "fold" in rows:
        dealt = rows["fold"].map(_as_name)
    else:
        dealt = _deal(path, rows, folds)
    following = names[(names.index(folds.fold) + 1) % len(names)]
    held_out = {folds.fold: "test", following: "valid"}
    splits = [held_out.get(name, "train") for name in dealt]
    rows = rows.assign(fold=dealt, split=splits)
    _check_spread(path, rows)
    return rows


def rarest_labels(texts: pd.Series) -> list[str]:
    """Return for each clip the class that is hardest to distribute.

    Arguments
    ---------
    texts : pandas.Series
        Class names, joined by ``;``.

    Returns
    -------
    list of str
        That of its classes with the fewest clips; empty if it has none.

    Example
    -------
    >>> rarest_labels(pd.Series(["dog", "dog;rain", ""]))
    ['dog', 'rain', '']
    """
    labels = [split_labels(text) for text in texts]
    counts = Counter(name for names in labels for name in names)
    return [min(names, key=counts.__getitem__, default="") for names in labels]


def _deal(path, rows, folds):
    """Distribute groups of rows over folds, whatever the order of rows."""
    from sklearn.model_selection import StratifiedGroupKFold

    groups = rows["wav"]
    if "group" in rows:
        groups = rows["group"].where(rows["group"] != "", groups)
    if groups.nunique() < folds.n_folds:
        raise PreparationError(
            f"{path}: {groups.nunique()} groups or files are too few for "
            f"{folds.n_folds} folds; add recordings, or pass fewer --n_folds"
        )
    ordered = rows.assign(group=groups, label=rarest_labels(rows["label"]))
    ordered = ordered.sort_values(["group", "ID"] if "ID" in rows else "group")
    splitter = StratifiedGroupKFold(
        folds.n_folds, shuffle=True, random_state=folds.seed
    )
    dealt = pd.Series(0, index=rows.index)
    try:
        with warnings.catch_warnings():
            # where classes are too rare is said below
            warnings.simplefilter("ignore", UserWarning)
            parts = splitter.split(ordered, ordered["label"], ordered["group"])
            for number, (_, tested) in enumerate(parts, start=1):
                dealt[ordered.index[tested]] = number
    except ValueError as error:
        raise PreparationError(
            f"{path}: no folds can be made ({error}); add clips, or pass fewer "
            "--n_folds"
        ) from error
    return dealt


def _check_spread(path, rows):
    """Refuse classes that cannot be in all splits of every fold."""
    classes = rows[["label", "fold"]].copy()
    classes["label"] = classes["label"].map(split_labels)
    spread = classes.explode("label").groupby("label")["fold"].nunique()
    rare = spread[spread < _LEAST]
    if len(rare):
        some = [f"{name!r} (in {count})" for name, count in rare[:10].items()]
        raise PreparationError(
            f"{path}: {len(rare)} classes are in fewer than {_LEAST} folds, so "
            "some folds cannot train, validate and test on them: "
            f"{', '.join(some)}; add recordings of them, or leave them out"
        )
