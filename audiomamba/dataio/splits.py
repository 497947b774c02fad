"""Validation splits of one's own, for corpora that come without one."""

from hashlib import blake2b

# Part of the rule, not an option: everyone holds out the same clips
SPLIT_SEED = 0


def hold_out(rows, group, share, within=None):
    """Choose the groups of clips that are held out for validation.

    Whole groups, such as the recordings that clips were cut from: what lies
    in one recording is too much alike to be in training and validation. The
    rule needs no list and no random generator: groups are ordered by a hash
    of their name, and the first ones are taken. Neither the order of the rows
    nor the seed of a run has a say.

    Arguments
    ---------
    rows : pandas.DataFrame
        The training part.
    group : str
        Column that names each row's group.
    share : float
        Share of the groups to hold out, in [0, 1): 0 for none, else at least
        one and never all of them.
    within : str, optional
        Column, for example the class: its share is held out of each value.

    Returns
    -------
    pandas.Series
        bool per row: held out.

    Example
    -------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"video": list("aabbccdd")})
    >>> held = hold_out(rows, "video", share=0.25)
    >>> rows["video"][held].tolist()
    ['d', 'd']
    """
    if not 0 <= share < 1:
        raise ValueError(
            f"the share to hold out is {share}; at least 0, less than 1"
        )
    groups = rows[group]
    blocks = [("", groups)] if within is None else groups.groupby(rows[within])
    held = set()
    for _, block in blocks:
        names = sorted(block.unique(), key=_rank)
        n_held = max(1, round(share * len(names))) if share else 0
        held.update(names[: min(n_held, len(names) - 1)])
    return groups.isin(held)


def _rank(name):
    """Place of a group: a fixed, even shuffle."""
    return blake2b(f"{SPLIT_SEED}|{name}".encode(), digest_size=8).digest()
