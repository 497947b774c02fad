"""Prepare VGGSound: the owners' list, and the clips' sound.

The clips may lie in any folders; a part of them is always missing.
"""

import csv
import logging
import re
from collections import Counter
from pathlib import Path

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
    inputs_key,
    is_prepared,
    write_manifests,
)
from audiomamba.dataio.problems import PreparationError, Problems

logger = logging.getLogger(__name__)

LIST = "vggsound.csv"
TEST_LIST = "test.csv"

SOURCE = "https://www.robots.ox.ac.uk/~vgg/data/vggsound/"
TREE = """
vggsound.csv
    (lines such as: ---g-f_I2yQ,1,"people marching",test)
test.csv
    (optional; lines such as: glLQrEijrKg_000300.mp4,playing hammond organ)
<any folders>/<id>_<start, 6 digits>.wav or .flac
"""
_VIDEO = r"[\w-]{11}"
_MEND = "; correct or delete the line"
_START = re.compile(r"(\d{1,6})(?:\.0*)?", re.ASCII)
_CLIP = re.compile(rf"({_VIDEO}_\d{{6}})(?:\.\w+)?", re.ASCII)


def prepare_vggsound(
    data_folder,
    save_folder,
    label_file,
    valid_share=0.02,
    max_missing=0.2,
    skip_prep=False,
    n_workers=None,
):
    """Write train.csv, valid.csv, test.csv and coverage.csv.

    Where the owners' ``test.csv`` is there, it decides what is test.
    valid.csv is held out of the training part by whole videos, always the
    same ones (`audiomamba.dataio.splits.hold_out`). Manifests are reused as
    long as lists, files and options stay the same.

    Arguments
    ---------
    data_folder : str or Path
        ``vggsound.csv``, maybe ``test.csv``, and the sound of the clips, in
        any folders below.
    save_folder : str or Path
        Where the manifests go.
    label_file : str or Path
        The classes.
    valid_share : float
        Share of the training videos that is held out; 0 for none.
    max_missing : float
        Share of the training or test clips that may be missing or unusable.
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
    lists = [data_folder / LIST]
    audio = find_clips(
        "VGGSound", data_folder, lists, SOURCE, TREE, __file__, n_workers
    )
    if (data_folder / TEST_LIST).is_file():
        lists.append(data_folder / TEST_LIST)
    options = {"valid_share": valid_share, "max_missing": max_missing}
    key = inputs_key(options, [*lists, label_file], audio)
    if is_prepared(save_folder, key):
        return
    problems = Problems()
    listed = _read_lists(lists, set(read_labels(label_file)), problems)
    totals = problems.lost + Counter(listed["split"])
    name = audio["wav"].str.rsplit("/", n=1).str[-1]
    files = audio.assign(ID=name.str.rsplit(".", n=1).str[0])
    rows = locate_clips(listed, files, data_folder, problems)
    rows = measure(rows, data_folder, problems, n_workers=n_workers)
    report_coverage(listed, rows, save_folder / "coverage.csv")
    left_out = problems.settle(
        save_folder / "problems.txt", True, totals, max_missing
    )
    is_test = rows["split"] == "test"
    rows = rows.assign(video=rows["ID"].str[:11])
    splits = with_validation(
        rows[~is_test], rows[is_test], "video", valid_share
    )
    columns = ["ID", "duration", "wav", "label"]
    splits = {name: part[columns] for name, part in splits.items()}
    write_manifests(save_folder, splits, None, key, left_out)


def _read_lists(lists, labels, problems):
    """All listed clips, each once: ID, label, split."""
    rows = read_list(lists[0], labels, problems)
    if len(lists) == 1:
        return rows
    tests = read_test_list(lists[1], labels, problems)
    other = rows.set_index("ID")["label"].reindex(tests["ID"]).to_numpy()
    differs = pd.notna(other) & (other != tests["label"].to_numpy())
    for row, label in zip(tests[differs].itertuples(), other[differs]):
        problems.add(
            f"{row.ID}: is {row.label!r} in {lists[1]}, but {label!r} in "
            f"{lists[0]}; correct one of them",
            {"test": 1},
        )
    is_test = rows["ID"].isin(tests["ID"])
    unlike = is_test != (rows["split"] == "test")
    if unlike.any():
        logger.warning(
            "%s and %s disagree on what is test in %d clips; %s decides",
            *lists,
            unlike.sum(),
            lists[1],
        )
    train = rows[(rows["split"] == "train") & ~is_test]
    return pd.concat([train, tests[~differs]], ignore_index=True)


def read_list(path, labels, problems):
    """Read the owners' list of all clips.

    Arguments
    ---------
    path : Path
        The CSV without header: video, start in seconds, label, split.
    labels : collection of str
        The classes.
    problems : Problems
        Gets the lines that cannot be used.

    Returns
    -------
    pandas.DataFrame
        ``ID`` (video and start, as the files are named), ``label``, ``split``.

    Raises
    ------
    PreparationError
        If not one line is of the right form.
    """
    form = "'---g-f_I2yQ,1,\"people marching\",test'"
    found = []
    for where, fields in _fields(path):
        start = _START.fullmatch(fields[1]) if len(fields) == 4 else None
        if (
            start
            and re.fullmatch(_VIDEO, fields[0], re.ASCII)
            and fields[3] in ("train", "test")
        ):
            clip = f"{fields[0]}_{int(start[1]):06d}"
            found.append((where, clip, fields[2], fields[3]))
        else:
            problems.add(f"{where}: {fields} is not of the form {form}{_MEND}")
    return _checked(path, found, labels, problems)


def read_test_list(path, labels, problems):
    """Read the owners' list of the test clips, ``test.csv``.

    Arguments
    ---------
    path : Path
        The CSV without header: name of the video file, label.
    labels : collection of str
        The classes.
    problems : Problems
        Gets the lines that cannot be used.

    Returns
    -------
    pandas.DataFrame
        As of `read_list`.

    Raises
    ------
    PreparationError
        If not one line is of the right form.
    """
    form = "'glLQrEijrKg_000300.mp4,playing hammond organ'"
    found = []
    for where, fields in _fields(path):
        clip = _CLIP.fullmatch(fields[0]) if len(fields) == 2 else None
        if clip:
            found.append((where, clip[1], fields[1], "test"))
        else:
            problems.add(
                f"{where}: {fields} is not of the form {form}{_MEND}",
                {"test": 1},
            )
    return _checked(path, found, labels, problems)


def _fields(path):
    """Place and fields of each line that is not empty."""
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.reader(file, skipinitialspace=True)
        for fields in reader:
            if fields:
                yield f"{path}, line {reader.line_num}", fields


def _checked(path, found, labels, problems):
    """The clips with a class, each once."""
    if not found:
        raise PreparationError(
            f"{path}: has not one usable line, so it is no list of VGGSound; "
            f"fetch it again from {SOURCE}"
        )
    rows = pd.DataFrame(found, columns=["where", "ID", "label", "split"])
    rows = rows.sort_values(["ID", "label", "split"], ignore_index=True)
    repeated = rows["ID"].duplicated()
    unknown = ~rows["label"].isin(labels)
    for row in rows[repeated].itertuples():
        problems.add(
            f"{row.where}: {row.ID} stands in another line too{_MEND}",
            {row.split: 1},
        )
    for row in rows[unknown & ~repeated].itertuples():
        problems.add(
            f"{row.where}: {row.ID} has the label {row.label!r}, which is no "
            f"class of the label file{_MEND}",
            {row.split: 1},
        )
    return rows.loc[~repeated & ~unknown, ["ID", "label", "split"]]
