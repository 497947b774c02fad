"""Prepare AudioSet: the owners' segment lists, and clips as people have them.

The clips may be named in any of the usual ways and lie in any folders; a part
of them is always missing.
"""

import logging
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from audiomamba.dataio.clips import (
    find_clips,
    locate_clips,
    report_coverage,
    with_validation,
)
from audiomamba.dataio.corpus import measure
from audiomamba.dataio.labels import read_labels
from audiomamba.dataio.manifest import (
    LABEL_SEPARATOR,
    inputs_key,
    is_prepared,
    write_manifests,
)
from audiomamba.dataio.problems import PreparationError, Problems

logger = logging.getLogger(__name__)

EVAL_LIST = "eval"

SOURCE = "https://research.google.com/audioset/download.html"
TREE = """
balanced_train_segments.csv
unbalanced_train_segments.csv
eval_segments.csv
<any folders>/<YTID>.wav, Y<YTID>.wav or <YTID>_<start>.wav, or .flac
    (10 s clips, cut out; start in seconds or in milliseconds)
"""
# --PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"
_NUMBER = r"(\d+(?:\.\d*)?)"
_LINE = re.compile(
    rf'([\w-]{{11}})\s*,\s*{_NUMBER}\s*,\s*{_NUMBER}\s*,\s*"?([^"]*)"?',
    re.ASCII,
)
_NO_ROW = re.compile(r"#|ytid\s*,|$", re.IGNORECASE)
# A YTID has 11 characters, so neither Y, nor - and _ in it are ambiguous
_FILE_NAME = (
    r"(?:^|/)Y?(?P<ID>[\w-]{11})(?:_(?P<start>\d+(?:\.\d+)?))?"
    r"(?:_\d+(?:\.\d+)?)?\.\w+$"
)


def prepare_audioset(
    data_folder,
    save_folder,
    label_file,
    train_lists=("balanced_train", "unbalanced_train"),
    valid_share=0.01,
    max_missing=0.25,
    skip_prep=False,
    n_workers=None,
):
    """Write train.csv, valid.csv, test.csv and coverage.csv.

    test.csv holds the evaluation list. valid.csv is held out of the training
    lists by a rule (`audiomamba.dataio.splits.hold_out`). Labels are the ids
    of the classes (``/m/09x0r``). Manifests are reused as long as lists,
    files and options stay the same.

    Arguments
    ---------
    data_folder : str or Path
        The segment lists, and the clips in any folders below.
    save_folder : str or Path
        Where the manifests go.
    label_file : str or Path
        The classes, with their ids in the column ``mid``.
    train_lists : sequence of str
        ``balanced_train`` and ``unbalanced_train``, or one of them.
    valid_share : float
        Share of the training lists that is held out; 0 for none.
    max_missing : float
        Share of a list that may be missing or unusable.
    skip_prep : bool
        Do nothing: the manifests are there.
    n_workers : int, optional
        Threads that read the headers.

    Raises
    ------
    PreparationError
        If the corpus is not there, or too much is wrong with it.
    """
    if skip_prep:
        logger.info("skip_prep: taking the manifests in %s", save_folder)
        return
    data_folder, save_folder = Path(data_folder), Path(save_folder)
    lists = {
        name: data_folder / f"{name}_segments.csv"
        for name in (*train_lists, EVAL_LIST)
    }
    audio = find_clips(
        "AudioSet",
        data_folder,
        lists.values(),
        SOURCE,
        TREE,
        __file__,
        n_workers,
    )
    options = {"valid_share": valid_share, "max_missing": max_missing}
    key = inputs_key(options, [*lists.values(), label_file], audio)
    if is_prepared(save_folder, key):
        return
    problems = Problems()
    names = dict(zip(read_labels(label_file, "mid"), read_labels(label_file)))
    listed = _read_lists(lists, names, problems)
    totals = problems.lost + Counter(listed["split"])
    files = _clips_of_files(audio, listed)
    rows = locate_clips(listed, files, data_folder, problems)
    rows = measure(rows, data_folder, problems, n_workers=n_workers)
    report_coverage(listed, rows, save_folder / "coverage.csv", names)
    left_out = problems.settle(
        save_folder / "problems.txt", True, totals, max_missing
    )
    is_test = rows["split"] == EVAL_LIST
    rows = rows[["ID", "duration", "wav", "label"]]
    splits = with_validation(rows[~is_test], rows[is_test], "ID", valid_share)
    write_manifests(save_folder, splits, None, key, left_out)


def _read_lists(lists, mids, problems):
    """All listed clips, each once: ID, start, label, split."""
    rows = pd.concat(
        [
            read_segments(path, name, mids, problems)
            for name, path in lists.items()
        ],
        ignore_index=True,
    )
    # what is for evaluation stays there; beyond it order must not count
    rows = rows.assign(is_train=rows["split"] != EVAL_LIST).sort_values(
        ["ID", "is_train", "split", "start", "label"], ignore_index=True
    )
    repeated = rows["ID"].duplicated()
    for row in rows[repeated].itertuples():
        problems.add(
            f"{row.ID}: stands in the lists more than once ({row.split}, "
            f"from {row.start:g} s); delete one of the lines",
            {row.split: 1},
        )
    return rows[~repeated]


def read_segments(path, name, mids, problems):
    """Read a segment list, as distributed or with a header line.

    Arguments
    ---------
    path : Path
        The CSV: id, start and end in seconds, ids of the classes.
    name : str
        Of the list, for the counts.
    mids : collection of str
        Ids of the classes that there are.
    problems : Problems
        Gets the lines that cannot be used.

    Returns
    -------
    pandas.DataFrame
        ``ID`` (YTID), ``start`` in seconds, ``label``, ``split`` (``name``).

    Raises
    ------
    PreparationError
        If not one line is of the right form.
    """
    ids, starts, labels = [], [], []
    # text -> label: the lists repeat the same texts, one object will do
    known = {}
    with open(path, encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            line = line.strip()
            match = _LINE.fullmatch(line)
            if not match:
                if not _NO_ROW.match(line):
                    problems.add(
                        f"{path}, line {number}: {line[:80]!r} is not of the "
                        "form '--PJHxphWEs, 30.000, 40.000, \"/m/09x0r\"'; "
                        "correct or delete it",
                        {name: 1},
                    )
                continue
            text = match[4]
            if text not in known:
                found = [mid.strip() for mid in text.split(",")]
                unknown = [mid for mid in found if mid not in mids]
                known[text] = unknown or LABEL_SEPARATOR.join(found)
            if not isinstance(known[text], str):
                problems.add(
                    f"{path}, line {number}: {match[1]} has the label "
                    f"{known[text][0]!r}, which is no class of the label "
                    "file; correct or delete the line",
                    {name: 1},
                )
                continue
            ids.append(match[1])
            starts.append(float(match[2]))
            labels.append(known[text])
    if not ids:
        raise PreparationError(
            f"{path}: has not one usable line, so it is no segment list of "
            f"AudioSet; fetch it again from {SOURCE}"
        )
    return pd.DataFrame(
        {"ID": ids, "start": starts, "label": labels, "split": name}
    )


def _clips_of_files(audio, listed):
    """Files that hold a listed clip: ID, wav."""
    files = audio["wav"].str.extract(_FILE_NAME).assign(wav=audio["wav"])
    files = files[files["ID"].isin(listed["ID"])]
    start = listed.set_index("ID")["start"].reindex(files["ID"]).to_numpy()
    named = files["start"].astype(float).to_numpy()
    fits = np.isnan(named) | (named == start)
    fits |= (named == np.floor(start)) | (named == np.round(1000 * start))
    others = files[~fits]
    if len(others):
        logger.warning(
            "%d files are named after a listed clip and another start, "
            "unused; the first is %s, listed from %g s",
            len(others),
            others["wav"].iloc[0],
            start[~fits][0],
        )
    return files[fits]
