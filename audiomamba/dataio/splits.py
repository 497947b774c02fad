"""Validation splits for corpora that come without one."""

from hashlib import blake2b

import pandas as pd

from audiomamba.dataio.problems import PreparationError

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


def _rank(name):
    """Sorting key of a group: a fixed, uniform shuffle."""
    return blake2b(f"{SPLIT_SEED}|{name}".encode(), digest_size=8).digest()
