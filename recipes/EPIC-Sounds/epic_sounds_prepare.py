"""Prepare EPIC-Sounds: the owners' annotation lists and one HDF5 of audio.

Results are reported on the owners' validation part, so it is the test set
here. Validation is held out of training, by whole videos.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from audiomamba.dataio.audio import AudioError, is_silent
from audiomamba.dataio.columns import read_table
from audiomamba.dataio.corpora.clips import near_names
from audiomamba.dataio.corpora.preparation import Corpus, Inputs, by_split
from audiomamba.dataio.corpora.splits import held_out_as, report_overlaps
from audiomamba.dataio.hdf5 import HDF5Audio
from audiomamba.dataio.manifest import read_labels
from audiomamba.dataio.problems import warn_of_silence

AUDIO = "EPIC_audio.hdf5"
LISTS = {
    "train": "EPIC_Sounds_train.csv",
    "test": "EPIC_Sounds_validation.csv",
    "challenge": "EPIC_Sounds_recognition_test_timestamps.csv",
}
SAMPLE_RATE = 24000
# Video and audio end at slightly different times; more is another video
OVERSHOOT = SAMPLE_RATE // 2
# Samples to check at a time: bounds memory, segments last up to 18 min
_BLOCK = 1 << 22
_COLUMNS = ["annotation_id", "video_id", "start_sample", "stop_sample"]
_LABEL_COLUMNS = ["class", "class_id"]


def prepare_epic_sounds(
    data_folder: str | Path,
    save_folder: str | Path,
    label_file: str | Path,
    valid_share: float = 0.05,
    allow_missing: bool = False,
    skip_prep: bool = False,
    check_audio: str = "decode",
) -> None:
    """Write train.csv, valid.csv, test.csv and challenge.csv.

    test.csv is the owners' validation part, challenge.csv their test part,
    which has no labels. valid.csv is held out of the training part by whole
    videos, always the same ones, see
    `audiomamba.dataio.corpora.splits.hold_out`. The manifests are reused until
    the lists, the audio or the options change.

    Arguments
    ---------
    data_folder : str or Path
        With ``EPIC_audio.hdf5`` and the three lists.
    save_folder, allow_missing, skip_prep, check_audio
        See `audiomamba.dataio.corpora.preparation.Corpus`.
    label_file : str or Path
        The class names by ``class_id``.
    valid_share : float
        Share of the training videos that is held out; 0 for none, and no
        valid.csv.

    Raises
    ------
    PreparationError
        If the corpus is not found, or with everything that is wrong with it.
    """
    corpus = EPICSounds(data_folder, save_folder, label_file, valid_share)
    corpus.prepare(skip_prep, allow_missing, check_audio=check_audio)


@dataclass
class EPICSounds(Corpus):
    """The corpus; see `prepare_epic_sounds`."""

    label_file: str | Path
    valid_share: float

    name = "EPIC-Sounds"
    recipe = __file__
    source = (
        "Get the lists from "
        "https://github.com/epic-kitchens/epic-sounds-annotations and the "
        "audio as https://epic-kitchens.github.io/epic-sounds/ says"
    )
    tree = """
EPIC_audio.hdf5
    (24 kHz, one dataset of samples per video: P01_01, ...)
EPIC_Sounds_train.csv
EPIC_Sounds_validation.csv
EPIC_Sounds_recognition_test_timestamps.csv
"""

    def find(self):
        """The lists and the HDF5 file."""
        audio = self.data_folder / AUDIO
        lists = [self.data_folder / name for name in LISTS.values()]
        self.require(audio, *lists)
        stat = audio.stat()
        table = {"wav": AUDIO, "size": stat.st_size, "mtime": stat.st_mtime_ns}
        options = {"valid_share": self.valid_share}
        return Inputs([*lists, self.label_file], pd.DataFrame([table]), options)

    def parse(self, inputs):
        """All listed segments."""
        labels = read_labels(self.label_file)
        rows = pd.concat(
            [
                _read_list(path, split, labels, self.problems)
                for split, path in zip(LISTS, inputs.lists)
            ],
            ignore_index=True,
        )
        self.listed = rows[rows["split"] != "challenge"]
        segments = rows[rows["usable"]]
        twice = report_overlaps(segments, self.problems, recording="recording")
        rows.loc[twice, "usable"] = False
        return rows.assign(wav=AUDIO), Counter(rows["split"])

    def measure(self, rows):
        """Drop unusable segments; the lists say where the others are."""
        audio = HDF5Audio(self.data_folder / AUDIO)
        return _locate(rows, audio, self.problems, self.decode)

    def finish(self, rows):
        """Hold whole videos out for validation."""
        rows = held_out_as("valid", rows, "recording", self.valid_share)
        valid = ["valid"] if self.valid_share else []
        further = ["recording", "start", "stop"]
        splits = by_split(rows, ["train", *valid, "test", "challenge"], further)
        splits["challenge"] = splits["challenge"].drop(columns="label")
        return splits, None


def _read_list(path, split, labels, problems):
    """One of the owners' lists, with ``usable``; challenge has no labels."""
    labelled = split != "challenge"
    wanted = _COLUMNS + (_LABEL_COLUMNS if labelled else [])
    table = read_table(path, wanted, "get the owners' list")
    start, stop = (
        pd.to_numeric(table[name], errors="coerce")
        for name in ("start_sample", "stop_sample")
    )
    faults = {
        "its samples are not whole numbers of 0 or more": ~(
            start.between(0, 2**53)
            & stop.between(0, 2**53)
            & (start % 1 == 0)
            & (stop % 1 == 0)
        ),
        "it stops before it starts": stop <= start,
        "its ID is in an earlier line too": (
            table["annotation_id"].duplicated()
        ),
    }
    if labelled:
        names = {str(index): label for index, label in enumerate(labels)}
        faults[
            "its class and class_id are not of the 44 classes (for others use "
            "recipes/Custom)"
        ] = table["class_id"].map(names) != table["class"]
    usable = np.ones(len(table), dtype=bool)
    for fault, touched in faults.items():
        for line in table.index[touched & usable]:
            entry = ", ".join(table.loc[line, wanted])
            problems.add(
                f"{path}, line {line}: {fault} ({entry}); correct or delete "
                "the line",
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


def _locate(rows, audio, problems, decode):
    """The segments that can be read, cut to the end of their recording."""
    rows = rows[rows["usable"]].drop(columns="usable")
    present = set(audio.names())
    hint = near_names(present - set(rows["recording"]), whole=True)
    kept, silent = [], []
    recordings = rows.groupby("recording")
    for name, group in tqdm(
        recordings, "reading segments", unit=" videos", disable=None
    ):
        counts = group["split"].value_counts().to_dict()
        try:
            if name not in present:
                raise AudioError(
                    f"{audio.path}: has no recording {name}{hint(name)}, of "
                    f"which {len(group)} segments are listed; download it, "
                    "or remove them from the lists"
                )
            n_samples = audio.n_samples(name)
        except AudioError as error:
            problems.add(str(error), counts)
            continue
        for row in group.itertuples(index=False):
            if not _is_inside(row, n_samples, audio, problems):
                continue
            row = row._replace(stop=min(row.stop, n_samples))
            try:
                if decode and is_silent(_read(row, audio)):
                    silent.append(row.ID)
                kept.append(row)
            except AudioError as error:
                problems.add(f"{row.ID}: {error}", {row.split: 1})
    warn_of_silence(silent, "segment")
    rows = pd.DataFrame(kept, columns=rows.columns)
    seconds = (rows["stop"] - rows["start"]) / SAMPLE_RATE
    return rows.assign(duration=seconds.round(6))


def _read(row, audio):
    """Yield the samples of a segment in blocks."""
    for first in range(row.start, row.stop, _BLOCK):
        yield audio.read(row.recording, first, min(first + _BLOCK, row.stop))


def _is_inside(row, n_samples, audio, problems):
    """Whether a recording has a segment; if not, report it."""
    if row.start >= n_samples or row.stop > n_samples + OVERSHOOT:
        problems.add(
            f"{row.ID}: goes from sample {row.start} to {row.stop}, but "
            f"{row.recording} in {audio.path} has {n_samples} at "
            f"{SAMPLE_RATE} Hz; correct the line in the list, or download "
            "the audio of that video again",
            {row.split: 1},
        )
        return False
    return True
