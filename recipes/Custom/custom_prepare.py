"""Check the user's own lists of clips, and number their classes.

``train.csv``, ``valid.csv`` and ``test.csv`` have the columns ``ID``,
``duration`` (seconds), ``wav`` (path from ``data_folder``) and ``label``;
also ``start`` and ``stop``, in samples, where a row is a part of a file.
"""

import logging
from pathlib import Path

import pandas as pd

from audiomamba.dataio.corpus import list_audio, measure
from audiomamba.dataio.manifest import (
    LABEL_SEPARATOR,
    inputs_key,
    is_prepared,
    read_manifest,
    write_manifests,
)
from audiomamba.dataio.problems import PreparationError, Problems

logger = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")


def prepare_custom(
    data_folder,
    save_folder,
    lists,
    multi_label=False,
    allow_missing=False,
    skip_prep=False,
    n_workers=None,
):
    """Write train.csv, valid.csv, test.csv and labels.csv, checked.

    The classes are the labels of the training list, in alphabetical order.
    Durations are measured where a row is a whole file.

    Arguments
    ---------
    data_folder : str or Path
        What the lists' ``wav`` is relative to.
    save_folder : str or Path
        Where the checked lists go.
    lists : dict
        Split -> its CSV.
    multi_label : bool
        Whether a label holds any number of names, joined by ``;``.
    allow_missing : bool
        Go on without files that are missing or unusable, and say how many.
    skip_prep : bool
        Do nothing: the checked lists are there.
    n_workers : int, optional
        Threads that read the headers.

    Raises
    ------
    PreparationError
        If a list is not there, or with all that is wrong.
    """
    if skip_prep:
        logger.info("skip_prep: taking the manifests in %s", save_folder)
        return
    rows = _read_lists(lists)
    folders = sorted({str(Path(wav).parent) for wav in rows["wav"]})
    audio = list_audio(data_folder, _existing(data_folder, folders), ("",))
    audio = audio[audio["wav"].isin(rows["wav"])]
    options = {"multi_label": multi_label, "allow_missing": allow_missing}
    key = inputs_key(options, lists.values(), audio)
    if is_prepared(save_folder, key):
        return
    problems = Problems()
    totals = rows["split"].value_counts().to_dict()
    rows = _leave_out_unknown(rows, multi_label, problems)
    _find_shared(rows, problems)
    stated = rows["duration"]
    rows = measure(
        rows.assign(stated=stated), data_folder, problems, n_workers=n_workers
    )
    if "start" in rows:
        rows["duration"] = rows["stated"]
    left_out = problems.settle(
        Path(save_folder, "problems.txt"), allow_missing, totals
    )
    splits = {
        split: rows[rows["split"] == split].drop(columns=["split", "stated"])
        for split in SPLITS
    }
    labels = sorted(_names(splits["train"], multi_label))
    write_manifests(save_folder, splits, labels, key, left_out)


def _read_lists(lists):
    """The rows of the three lists, with their split."""
    tables = []
    for split, path in lists.items():
        if not Path(path).is_file():
            raise PreparationError(
                f"{path} is missing: the {split} list, a CSV with the columns "
                f"ID,duration,wav,label. Give its place with --{split}_csv"
            )
        try:
            table = read_manifest(path)
        except ValueError as error:
            raise PreparationError(str(error)) from error
        if "label" not in table:
            raise PreparationError(f"{path}: has no column label; add it")
        tables.append(table.assign(split=split))
    if len({"start" in table for table in tables}) > 1:
        raise PreparationError(
            "Some lists have start and stop and others have not; give them "
            "in all: 0 and -1 for a whole file"
        )
    return pd.concat(tables, ignore_index=True)


def _existing(data_folder, folders):
    return [name for name in folders if Path(data_folder, name).is_dir()]


def _names(rows, multi_label):
    """Class names that occur in rows."""
    if not multi_label:
        return set(rows["label"])
    split = rows["label"].str.split(LABEL_SEPARATOR)
    return set(split.explode()) - {""}


def _leave_out_unknown(rows, multi_label, problems):
    """Report rows without a label, or with one that is not trained on."""
    known = _names(rows[rows["split"] == "train"], multi_label)
    if not multi_label:
        known -= {""}
    wrong = pd.Series(False, index=rows.index)
    for row in rows.itertuples():
        own = row.label.split(LABEL_SEPARATOR) if multi_label else [row.label]
        unknown = set(own) - known - ({""} if multi_label else set())
        if unknown:
            what = ", ".join(sorted(unknown)) or "empty"
            problems.add(
                f"{row.split}, {row.ID}: its label ({what}) is none of the "
                "training list's; correct it, or add clips of it there",
                {row.split: 1},
            )
            wrong[row.Index] = True
    return rows[~wrong].reset_index(drop=True)


def _find_shared(rows, problems):
    """Report parts of the test set that are trained or validated on too."""
    part = ["wav"] + [name for name in ("start", "stop") if name in rows]
    test = rows[rows["split"] == "test"]
    others = rows[rows["split"] != "test"]
    shared = test.merge(others[part].drop_duplicates(), on=part)
    for wav in sorted(set(shared["wav"])):
        problems.add(
            f"{wav}: is in the test list and in another; its figure would "
            "say nothing. Take it out of one of them"
        )
