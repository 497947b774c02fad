"""Prepare AudioSet: the owners' segment lists and the audio of the clips.

The clips may be named in any of the usual ways and be in any folder; some of
them are always missing.
"""

import logging
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from audiomamba.dataio.codecs.decoder import DECODED_SUFFIXES
from audiomamba.dataio.corpora.clips import locate_clips, report_coverage
from audiomamba.dataio.corpora.preparation import Corpus, Inputs, by_split
from audiomamba.dataio.corpora.splits import held_out_as
from audiomamba.dataio.lists import LABEL_SEPARATOR, read_lines
from audiomamba.dataio.manifest import read_labels
from audiomamba.dataio.problems import PreparationError, Problems

logger = logging.getLogger(__name__)

EVAL_LIST = "eval"

SOURCE = "https://research.google.com/audioset/download.html"
# --PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"
_NUMBER = r"(\d+(?:\.\d*)?)"
_LINE = re.compile(
    rf'([\w-]{{11}})\s*,\s*{_NUMBER}\s*,\s*{_NUMBER}\s*,\s*"?([^"]*)"?',
    re.ASCII,
)
_NO_ROW = re.compile(r"#|ytid\s*,|$", re.IGNORECASE)
# A YTID has 11 characters, so Y before it and - and _ in it are unambiguous
_FILE_NAME = (
    r"(?:^|/)Y?(?P<ID>[\w-]{11})(?:_(?P<start>\d+(?:\.\d+)?))?"
    r"(?:_\d+(?:\.\d+)?)?\.\w+$"
)


def prepare_audioset(
    data_folder: str | Path,
    save_folder: str | Path,
    label_file: str | Path,
    train_lists: Sequence[str] = ("balanced_train", "unbalanced_train"),
    valid_share: float = 0.01,
    max_missing: float = 0.25,
    skip_prep: bool = False,
    check_audio: str = "headers",
) -> None:
    """Write train.csv, valid.csv, test.csv and coverage.csv.

    test.csv is the evaluation list; valid.csv is held out of the training
    lists by a fixed rule, `audiomamba.dataio.corpora.splits.hold_out`. Labels
    are the ids of the classes (``/m/09x0r``). The manifests are reused until
    the lists, the files or the options change.

    Arguments
    ---------
    data_folder : str or Path
        The segment lists, and the clips in any folders.
    save_folder, skip_prep, check_audio
        See `audiomamba.dataio.corpora.preparation.Corpus`.
    label_file : str or Path
        The classes, with their ids in the column ``mid``.
    train_lists : sequence of str
        ``balanced_train`` and ``unbalanced_train``, or one of them.
    valid_share : float
        Share of the training clips that is held out; 0 for none.
    max_missing : float
        Largest share of a list that may be missing or unusable.

    Raises
    ------
    PreparationError
        If the corpus is not found, or too much of it is unusable.
    """
    corpus = AudioSet(
        data_folder, save_folder, label_file, train_lists, valid_share
    )
    corpus.prepare(skip_prep, True, max_missing, check_audio)


@dataclass
class AudioSet(Corpus):
    """The corpus; see `prepare_audioset`."""

    label_file: str | Path
    train_lists: Sequence[str]
    valid_share: float

    name = "AudioSet"
    recipe = __file__
    source = f"Get it from {SOURCE}"
    tree = """
balanced_train_segments.csv
unbalanced_train_segments.csv
eval_segments.csv
<any folders>/<YTID>.wav, Y<YTID>.wav or <YTID>_<start>.wav
    (the clips of 10 s, also as flac, mp3, ogg or opus; start in seconds or in
    milliseconds)
"""
    suffixes = (".wav", ".flac", ".mp3", ".ogg", ".opus")
    decoded = DECODED_SUFFIXES

    def lists(self):
        """The segment lists by name."""
        return {
            name: self.data_folder / f"{name}_segments.csv"
            for name in (*self.train_lists, EVAL_LIST)
        }

    def find(self):
        """The segment lists, and clips in any folder."""
        lists = self.lists().values()
        self.require(*lists)
        return Inputs(
            [*lists, self.label_file],
            self.list_audio(),
            {"valid_share": self.valid_share},
        )

    def parse(self, inputs):
        """The listed clips that have a file."""
        mids = read_labels(self.label_file, "mid")
        self.class_names = dict(zip(mids, read_labels(self.label_file)))
        self.listed = _read_lists(self.lists(), set(mids), self.problems)
        totals = self.problems.lost + Counter(self.listed["split"])
        files = _clips_of_files(inputs.audio, self.listed)
        rows = locate_clips(self.listed, files, self.data_folder, self.problems)
        return rows, totals

    def measure(self, rows):
        """Add durations and report the coverage."""
        rows = super().measure(rows)
        path = self.save_folder / "coverage.csv"
        report_coverage(self.listed, rows, path, self.class_names)
        return rows

    def finish(self, rows):
        """Hold validation out of the training lists."""
        is_test = rows["split"] == EVAL_LIST
        rows["split"] = is_test.map({True: "test", False: "train"})
        rows = held_out_as("valid", rows, "ID", self.valid_share)
        valid = ["valid"] if self.valid_share else []
        return by_split(rows, ["train", *valid, "test"]), None


def _read_lists(lists, mids, problems):
    """All listed clips, each once: ID, start, label, split."""
    rows = pd.concat(
        [
            read_segments(path, name, mids, problems)
            for name, path in lists.items()
        ],
        ignore_index=True,
    )
    # evaluation clips stay in evaluation; the order of the lists is irrelevant
    rows = rows.assign(is_train=rows["split"] != EVAL_LIST).sort_values(
        ["ID", "is_train", "split", "start", "label"], ignore_index=True
    )
    repeated = rows["ID"].duplicated()
    for row in rows[repeated].itertuples():
        problems.add(
            f"{row.ID}: is listed more than once ({row.split}, from "
            f"{row.start:g} s); delete one of the lines",
            {row.split: 1},
        )
    return rows[~repeated]


def read_segments(
    path: Path, name: str, mids: Collection[str], problems: Problems
) -> pd.DataFrame:
    """Read a segment list, as distributed or with a header line.

    Arguments
    ---------
    path : Path
        The CSV: id, start and end in seconds, ids of the classes.
    name : str
        Name of the list, for the counts.
    mids : collection of str
        Ids of all classes.
    problems : Problems
        Collects the lines that cannot be used.

    Returns
    -------
    pandas.DataFrame
        ``ID`` (YTID), ``start`` in seconds, ``label``, ``split`` (``name``).

    Raises
    ------
    PreparationError
        If no line can be used.
    """
    ids, starts, labels = [], [], []
    # text -> label: two million lines share a few thousand strings
    known = {}
    for number, line in read_lines(path):
        match = _LINE.fullmatch(line)
        if not match:
            if not _NO_ROW.match(line):
                problems.add(
                    f"{path}, line {number}: {line[:80]!r} is not of the form "
                    "'--PJHxphWEs, 30.000, 40.000, \"/m/09x0r\"'; correct or "
                    "delete it",
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
                f"{known[text][0]!r}, which is not in the label file; correct "
                "or delete the line, or use recipes/Custom for other classes",
                {name: 1},
            )
            continue
        ids.append(match[1])
        starts.append(float(match[2]))
        labels.append(known[text])
    if not ids:
        raise PreparationError(
            f"{path}: has no usable line, so it is not a segment list of "
            f"AudioSet; download it again from {SOURCE}"
        )
    return pd.DataFrame(
        {"ID": ids, "start": starts, "label": labels, "split": name}
    )


def _clips_of_files(audio, listed):
    """The clips that files may be of: ID, wav; only those that are listed fit.

    Files of a listed clip with another start are left out.
    """
    files = audio["wav"].str.extract(_FILE_NAME).assign(wav=audio["wav"])
    is_listed = files["ID"].isin(listed["ID"])
    files, unlisted = files[is_listed], files[~is_listed]
    start = listed.set_index("ID")["start"].reindex(files["ID"]).to_numpy()
    named = files["start"].astype(float).to_numpy()
    fits = np.isnan(named) | (named == start)
    fits |= (named == np.floor(start)) | (named == np.round(1000 * start))
    others = files[~fits]
    if len(others):
        logger.warning(
            "%d files of listed clips have another start in their name: "
            "unused; the first is %s, listed from %g s",
            len(others),
            others["wav"].iloc[0],
            start[~fits][0],
        )
    return pd.concat([files[fits], unlisted])
