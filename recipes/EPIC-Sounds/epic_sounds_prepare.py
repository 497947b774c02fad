"""Prepare EPIC-Sounds: the owners' annotation lists and one HDF5 of audio.

The owners' validation part is what results are reported on, so it becomes the
test set here. Validation is held out of training, by whole videos.
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from audiomamba.dataio.audio import AudioError
from audiomamba.dataio.hdf5 import HDF5Audio
from audiomamba.dataio.labels import read_labels
from audiomamba.dataio.manifest import (
    inputs_key,
    is_prepared,
    write_manifests,
)
from audiomamba.dataio.problems import (
    PreparationError,
    Problems,
    missing_corpus,
)
from audiomamba.dataio.splits import hold_out

logger = logging.getLogger(__name__)

AUDIO = "EPIC_audio.hdf5"
LISTS = {
    "train": "EPIC_Sounds_train.csv",
    "test": "EPIC_Sounds_validation.csv",
    "challenge": "EPIC_Sounds_recognition_test_timestamps.csv",
}
SAMPLE_RATE = 24000
# Ends of video and sound differ a little; more is another video or rate
OVERSHOOT = SAMPLE_RATE // 2
# Samples to look through at a time: bounds memory, segments last up to 18 min
_BLOCK = 1 << 22
_COLUMNS = ["annotation_id", "video_id", "start_sample", "stop_sample"]
_LABEL_COLUMNS = ["class", "class_id"]

SOURCE = (
    "https://github.com/epic-kitchens/epic-sounds-annotations (lists) and "
    "https://epic-kitchens.github.io/epic-sounds/ (how to get the audio)"
)
TREE = """
EPIC_audio.hdf5
    (24 kHz, one dataset of samples per video: P01_01, ...)
EPIC_Sounds_train.csv
EPIC_Sounds_validation.csv
EPIC_Sounds_recognition_test_timestamps.csv
"""


def prepare_epic_sounds(
    data_folder,
    save_folder,
    label_file,
    valid_share=0.05,
    check_samples=True,
    allow_missing=False,
    skip_prep=False,
):
    """Write train.csv, valid.csv, test.csv and challenge.csv.

    test.csv holds the owners' validation part, challenge.csv their test part,
    which has no labels. valid.csv is held out of the training part by whole
    videos, always the same ones (`audiomamba.dataio.splits.hold_out`).
    Manifests are reused as long as lists, audio and options stay the same.

    Arguments
    ---------
    data_folder : str or Path
        With ``EPIC_audio.hdf5`` and the three lists.
    save_folder : str or Path
        Where the manifests go.
    label_file : str or Path
        The class names by ``class_id``.
    valid_share : float
        Share of the training videos that are held out; 0 for none, and no
        valid.csv.
    check_samples : bool
        Read all segments once, to find NaN now and not in training.
    allow_missing : bool
        Go on without segments that cannot be used, and say how many.
    skip_prep : bool
        Do nothing: the manifests are there.

    Raises
    ------
    PreparationError
        If the corpus is not there, or with all that is wrong with it.
    """
    if skip_prep:
        logger.info("skip_prep: taking the manifests in %s", save_folder)
        return
    lists = {split: Path(data_folder, name) for split, name in LISTS.items()}
    audio_file = Path(data_folder, AUDIO)
    for path in (audio_file, *lists.values()):
        if not path.is_file():
            raise missing_corpus(
                "EPIC-Sounds",
                data_folder,
                f"there is no file {path}",
                SOURCE,
                TREE,
                __file__,
            )
    stat = audio_file.stat()
    listing = pd.DataFrame(
        {
            "wav": [AUDIO],
            "size": [stat.st_size],
            "mtime": [stat.st_mtime_ns],
        }
    )
    options = {
        "allow_missing": allow_missing,
        "check_samples": check_samples,
        "valid_share": valid_share,
    }
    key = inputs_key(options, [*lists.values(), label_file], listing)
    if is_prepared(save_folder, key):
        return
    problems = Problems()
    labels = read_labels(label_file)
    rows = pd.concat(
        [
            read_annotations(path, split, labels, problems)
            for split, path in lists.items()
        ],
        ignore_index=True,
    )
    totals = rows["split"].value_counts().to_dict()
    rows = _locate(rows, HDF5Audio(audio_file), problems, check_samples)
    left_out = problems.settle(
        Path(save_folder, "problems.txt"), allow_missing, totals
    )
    rows = rows.assign(wav=AUDIO)
    splits = {split: rows[rows["split"] == split] for split in LISTS}
    train = splits["train"]
    held = hold_out(train, "recording", valid_share)
    splits["train"] = train[~held]
    if valid_share:
        splits["valid"] = train[held]
    columns = ["ID", "duration", "wav", "label", "recording", "start", "stop"]
    splits = {split: part[columns] for split, part in splits.items()}
    splits["challenge"] = splits["challenge"].drop(columns="label")
    write_manifests(save_folder, splits, None, key, left_out)


def read_annotations(path, split, labels, problems):
    """Read one of the owners' lists.

    Arguments
    ---------
    path : Path
        The CSV.
    split : str
        ``challenge`` is the one without labels.
    labels : list of str
        Class names by ``class_id``.
    problems : Problems
        Gets the rows that contradict themselves.

    Returns
    -------
    pandas.DataFrame
        ``ID``, ``recording``, ``start``, ``stop`` (samples at 24 kHz),
        ``label`` (empty in ``challenge``), ``split`` and ``usable``.

    Raises
    ------
    PreparationError
        If it is not such a list.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    labelled = split != "challenge"
    wanted = _COLUMNS + (_LABEL_COLUMNS if labelled else [])
    missing = [name for name in wanted if name not in table]
    if missing:
        raise PreparationError(
            f"{path}: has no column {missing}, so it is not the owners' list; "
            "fetch it again"
        )
    start, stop = (
        pd.to_numeric(table[name], errors="coerce")
        for name in ("start_sample", "stop_sample")
    )
    faults = {
        "its samples are not whole numbers of 0 or more": ~(
            (start >= 0) & (stop >= 0) & (start % 1 == 0) & (stop % 1 == 0)
        ),
        "it stops before it starts": stop <= start,
        "its ID stands in an earlier line too": (
            table["annotation_id"].duplicated()
        ),
    }
    if labelled:
        names = {str(index): label for index, label in enumerate(labels)}
        faults["its class and class_id are not of the 44 classes"] = (
            table["class_id"].map(names) != table["class"]
        )
    usable = np.ones(len(table), dtype=bool)
    for fault, touched in faults.items():
        for row in np.flatnonzero(touched & usable):
            entry = ", ".join(table.loc[row, wanted])
            problems.add(
                f"{path}, line {row + 2}: {fault} ({entry}); correct or "
                "delete the line",
                {split: 1},
            )
        usable &= ~touched.to_numpy()
    return pd.DataFrame(
        {
            "ID": table["annotation_id"],
            "recording": table["video_id"],
            "start": start.fillna(0).astype("int64"),
            "stop": stop.fillna(0).astype("int64"),
            "label": table["class"] if labelled else "",
            "split": split,
            "usable": usable,
        }
    )


def _locate(rows, audio, problems, check_samples):
    """The rows that can be read, cut to the end of their recording."""
    rows = rows[rows["usable"]].drop(columns="usable")
    present = set(audio.names())
    kept = []
    for name, group in tqdm(
        rows.groupby("recording"), desc="reading segments", unit=" videos"
    ):
        counts = group["split"].value_counts().to_dict()
        try:
            if name not in present:
                raise AudioError(
                    f"{audio.path}: has no recording {name}, of which "
                    f"{len(group)} segments are listed; fetch it, or take "
                    "them out of the lists"
                )
            n_samples = audio.n_samples(name)
        except AudioError as error:
            problems.add(str(error), counts)
            continue
        kept += [
            row._replace(stop=min(row.stop, n_samples))
            for row in group.itertuples(index=False)
            if _is_sound(row, n_samples, audio, problems, check_samples)
        ]
    rows = pd.DataFrame(kept, columns=rows.columns)
    seconds = (rows["stop"] - rows["start"]) / SAMPLE_RATE
    return rows.assign(duration=seconds.round(6))


def _is_sound(row, n_samples, audio, problems, check_samples):
    """Whether a segment can be read; if not, the problem is noted."""
    if row.start >= n_samples or row.stop > n_samples + OVERSHOOT:
        problems.add(
            f"{row.ID}: goes from sample {row.start} to {row.stop}, but "
            f"{row.recording} in {audio.path} has {n_samples} at "
            f"{SAMPLE_RATE} Hz; correct the line in the list, or fetch that "
            "video's audio again",
            {row.split: 1},
        )
        return False
    if check_samples:
        stop = min(row.stop, n_samples)
        try:
            for first in range(row.start, stop, _BLOCK):
                audio.read(row.recording, first, min(first + _BLOCK, stop))
        except AudioError as error:
            problems.add(f"{row.ID}: {error}", {row.split: 1})
            return False
    return True
