"""Prepare VGGSound: the owners' list, and the audio of the clips.

The clips may be in any folder; some of them are always missing.
"""

import logging
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from audiomamba.dataio.codecs.decoder import DECODED_SUFFIXES
from audiomamba.dataio.corpora.clips import locate_clips, report_coverage
from audiomamba.dataio.corpora.preparation import Corpus, Inputs, by_split
from audiomamba.dataio.corpora.splits import held_out_as
from audiomamba.dataio.lists import read_fields
from audiomamba.dataio.manifest import read_labels
from audiomamba.dataio.problems import PreparationError

logger = logging.getLogger(__name__)

LIST = "vggsound.csv"
TEST_LIST = "test.csv"

SOURCE = "https://www.robots.ox.ac.uk/~vgg/data/vggsound/"
_VIDEO = r"[\w-]{11}"
_FIX = "; correct or delete the line"
_START = re.compile(r"(\d{1,6})(?:\.0*)?", re.ASCII)
_CLIP = re.compile(rf"({_VIDEO}_\d{{6}})(?:\.\w+)?", re.ASCII)


def prepare_vggsound(
    data_folder: str | Path,
    save_folder: str | Path,
    label_file: str | Path,
    valid_share: float = 0.02,
    max_missing: float = 0.2,
    skip_prep: bool = False,
    check_audio: str = "headers",
) -> None:
    """Write train.csv, valid.csv, test.csv and coverage.csv.

    The owners' ``test.csv``, if it exists, decides which clips are for test.
    valid.csv is held out of the training clips by whole videos, always the
    same ones, see `audiomamba.dataio.corpora.splits.hold_out`. The manifests
    are reused until the lists, the files or the options change.

    Arguments
    ---------
    data_folder : str or Path
        ``vggsound.csv``, perhaps ``test.csv``, and the audio of the clips in
        any folders.
    save_folder, skip_prep, check_audio
        See `audiomamba.dataio.corpora.preparation.Corpus`.
    label_file : str or Path
        The classes.
    valid_share : float
        Share of the training videos that is held out; 0 for none.
    max_missing : float
        Largest share of the training or test clips that may be missing or
        unusable.

    Raises
    ------
    PreparationError
        If the corpus is not found, or too much of it is unusable.
    """
    corpus = VGGSound(data_folder, save_folder, label_file, valid_share)
    corpus.prepare(skip_prep, True, max_missing, check_audio)


@dataclass
class VGGSound(Corpus):
    """The corpus; see `prepare_vggsound`."""

    label_file: str | Path
    valid_share: float

    name = "VGGSound"
    recipe = __file__
    source = f"Get it from {SOURCE}"
    tree = """
vggsound.csv
    (lines such as: ---g-f_I2yQ,1,"people marching",test)
test.csv
    (optional; lines such as: glLQrEijrKg_000300.mp4,playing hammond organ)
<any folders>/<id>_<start, 6 digits>.wav, .flac, .mp3, .ogg or .opus
"""
    suffixes = (".wav", ".flac", ".mp3", ".ogg", ".opus")
    decoded = DECODED_SUFFIXES

    def find(self):
        """The lists, and clips in any folder."""
        lists = [self.data_folder / LIST]
        self.require(*lists)
        if (self.data_folder / TEST_LIST).is_file():
            lists.append(self.data_folder / TEST_LIST)
        options = {"valid_share": self.valid_share}
        return Inputs([self.label_file, *lists], self.list_audio(), options)

    def parse(self, inputs):
        """The listed clips that have a file."""
        label_file, *lists = inputs.lists
        labels = set(read_labels(label_file))
        self.listed = _read_lists(lists, labels, self.problems)
        usable = self.listed[self.listed["usable"]]
        totals = self.problems.lost + Counter(usable["split"])
        names = inputs.audio["wav"].str.rsplit("/", n=1).str[-1]
        files = inputs.audio.assign(ID=names.str.rsplit(".", n=1).str[0])
        rows = locate_clips(usable, files, self.data_folder, self.problems)
        return rows, totals

    def measure(self, rows):
        """Add durations and report the coverage."""
        rows = super().measure(rows)
        report_coverage(self.listed, rows, self.save_folder / "coverage.csv")
        return rows

    def finish(self, rows):
        """Hold whole videos out for validation."""
        rows = rows.assign(video=rows["ID"].str[:11])
        rows = held_out_as("valid", rows, "video", self.valid_share)
        valid = ["valid"] if self.valid_share else []
        return by_split(rows, ["train", *valid, "test"]), None


def _read_lists(lists, labels, problems):
    """All listed clips, each once: ID, label, split, usable."""
    rows = _read_list(lists[0], labels, problems).assign(usable=True)
    if len(lists) == 1:
        return rows
    tests = _read_test_list(lists[1], labels, problems)
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
            "%s and %s disagree on which split %d clips are in; %s decides",
            *lists,
            unlike.sum(),
            lists[1],
        )
    train = rows[(rows["split"] == "train") & ~is_test]
    tests = tests.assign(usable=~differs)
    return pd.concat([train, tests], ignore_index=True)


def _read_list(path, labels, problems):
    """The owners' list of all clips: ID (as in file names), label, split."""
    form = "'---g-f_I2yQ,1,\"people marching\",test'"
    found = []
    for line, fields in read_fields(path):
        where = f"{path}, line {line}"
        start = _START.fullmatch(fields[1]) if len(fields) == 4 else None
        if (
            start
            and re.fullmatch(_VIDEO, fields[0], re.ASCII)
            and fields[3] in ("train", "test")
        ):
            clip = f"{fields[0]}_{int(start[1]):06d}"
            found.append((where, clip, fields[2], fields[3]))
        else:
            problems.add(f"{where}: {fields} is not of the form {form}{_FIX}")
    return _checked(path, found, labels, problems)


def _read_test_list(path, labels, problems):
    """The owners' list of the test clips, likewise."""
    form = "'glLQrEijrKg_000300.mp4,playing hammond organ'"
    found = []
    for line, fields in read_fields(path):
        where = f"{path}, line {line}"
        clip = _CLIP.fullmatch(fields[0]) if len(fields) == 2 else None
        if clip:
            found.append((where, clip[1], fields[1], "test"))
        else:
            problems.add(
                f"{where}: {fields} is not of the form {form}{_FIX}",
                {"test": 1},
            )
    return _checked(path, found, labels, problems)


def _checked(path, found, labels, problems):
    """The clips of known classes, each once."""
    if not found:
        raise PreparationError(
            f"{path}: has no usable line, so it is not a list of VGGSound; "
            f"download it again from {SOURCE}"
        )
    rows = pd.DataFrame(found, columns=["where", "ID", "label", "split"])
    rows = rows.sort_values(["ID", "label", "split"], ignore_index=True)
    repeated = rows["ID"].duplicated()
    unknown = ~rows["label"].isin(labels)
    for row in rows[repeated].itertuples():
        problems.add(
            f"{row.where}: {row.ID} is listed in another line too{_FIX}",
            {row.split: 1},
        )
    for row in rows[unknown & ~repeated].itertuples():
        problems.add(
            f"{row.where}: {row.ID} has the label {row.label!r}, which is "
            f"not in the label file{_FIX}, or use recipes/Custom for other "
            "classes",
            {row.split: 1},
        )
    return rows.loc[~repeated & ~unknown, ["ID", "label", "split"]]
