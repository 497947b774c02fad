"""Prepare ESC-50, or its subset ESC-10, for one of its five folds.

The owners' cross-validation: the clips of the fold are the test set, those of
the other folds the training set. Clips cut from the same recording are always
in the same fold.
"""

import logging
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from audiomamba.dataio.columns import read_table
from audiomamba.dataio.corpora import download as archives
from audiomamba.dataio.corpora.clips import near_names
from audiomamba.dataio.corpora.preparation import Corpus, Inputs, by_split
from audiomamba.dataio.manifest import read_labels
from audiomamba.dataio.problems import PreparationError

logger = logging.getLogger(__name__)

SUBSETS = ("esc50", "esc10")
FOLDS = ("1", "2", "3", "4", "5")
# All 50 classes; the index is the owners' "target"
CLASSES = Path(__file__).with_name("labels.csv")

UNPACKED = "ESC-50-master"
PLACES = ("", UNPACKED, "ESC-50")
# GitHub builds this archive on request, so its checksum is not stable
SOURCE = "https://github.com/karolpiczak/ESC-50/archive/master.tar.gz"
META = "meta/esc50.csv"
_COLUMNS = ["filename", "fold", "target", "category", "esc10"]


def prepare_esc50(
    data_folder: str | Path,
    save_folder: str | Path,
    fold: int | str,
    subset: str = "esc50",
    meta_file: str | Path | None = None,
    allow_missing: bool = False,
    skip_prep: bool = False,
    download: bool = False,
    check_audio: str = "headers",
) -> None:
    """Write train.csv, test.csv and labels.csv.

    The classes are those of the recipe's ``labels.csv`` that the subset has
    clips of, in the order of that file and the same for all folds. The
    manifests are reused until the list, the files or the options change.

    Arguments
    ---------
    data_folder : str or Path
        ESC-50, with ``audio`` and ``meta``.
    save_folder, allow_missing, skip_prep, check_audio
        See `audiomamba.dataio.corpora.preparation.Corpus`.
    fold : int
        The fold to test on.
    subset : str
        ``esc50``, or ``esc10`` for the clips marked as such.
    meta_file : str or Path, optional
        By default ``meta/esc50.csv`` of the corpus.
    download : bool
        Download the corpus (600 MB) and unpack it if it is not found.

    Raises
    ------
    PreparationError
        If the corpus or the fold is not found, or with everything that is
        wrong with it.
    """
    if subset not in SUBSETS or str(fold) not in FOLDS:
        raise PreparationError(
            f"subset: {subset} and fold: {fold}; the subset is one of "
            f"{', '.join(SUBSETS)}, the fold one of {', '.join(FOLDS)}"
        )
    corpus = ESC50(
        data_folder, save_folder, str(fold), subset, meta_file, download
    )
    corpus.prepare(skip_prep, allow_missing, check_audio=check_audio)


@dataclass
class ESC50(Corpus):
    """The corpus; see `prepare_esc50`."""

    fold: str
    subset: str
    meta_file: str | Path | None
    download: bool

    name = "ESC50"
    recipe = __file__
    source = (
        "Get it from https://github.com/karolpiczak/ESC-50 "
        "(ESC-50-master.zip, 600 MB), or pass --download True"
    )
    tree = """
meta/esc50.csv
audio/<fold>-<recording>-<take>-<target>.wav
    (both of them here or in ESC-50-master/)
"""
    sample_rate = 44100
    may_be_resampled = True
    channels = 1

    def find(self):
        """The owners' list and the folder ``audio``."""
        options = {"fold": self.fold, "subset": self.subset}
        place = self._place()
        if place is None and self.download:
            archive = self.data_folder / f"{UNPACKED}.tar.gz"
            archives.check_free(archive, self.data_folder / UNPACKED)
            archives.download(SOURCE, archive, None)
            _unpack(archive, self.data_folder)
            place = self._place()
        if place is None:
            raise self.missing(
                f"{self.data_folder} has no folder audio with "
                f"{self.meta_file or META}"
            )
        audio = self.list_audio([f"{place}/audio".lstrip("/")])
        return Inputs([self._meta(place), CLASSES], audio, options)

    def _meta(self, place):
        return Path(self.meta_file or self.data_folder / place / META)

    def _place(self):
        """The first of ``PLACES`` that has the corpus; None if none has."""
        for place in PLACES:
            audio = self.data_folder / place / "audio"
            if audio.is_dir() and self._meta(place).is_file():
                return place
        return None

    def parse(self, inputs):
        """The listed clips that have a file."""
        meta, audio = inputs.lists[0], inputs.audio
        table = _read_meta(meta, read_labels(CLASSES), self.problems)
        if self.subset == "esc10":
            table = table[table["esc10"] == "True"]
        is_test = table["fold"] == self.fold
        table["split"] = is_test.map({True: "test", False: "train"})
        self.listed = table[table["fold"].isin(FOLDS)]
        rows = table[table["usable"]]
        _check_folds(rows["fold"], self.fold, meta)
        _warn_of_shared(rows, meta)
        totals = Counter(rows["split"])
        places = {Path(wav).name: wav for wav in audio["wav"]}
        rows = rows.assign(wav=rows["filename"].map(places))
        folder = self.data_folder / Path(audio["wav"][0]).parent
        hint = near_names(set(places) - set(rows["filename"]))
        for row in rows[rows["wav"].isna()].itertuples():
            self.problems.add(
                f"{row.filename}: listed, but not in {folder}"
                f"{hint(row.filename)}; unpack the corpus again, or delete its "
                "line",
                {row.split: 1},
            )
        return rows.dropna(subset="wav"), totals

    def finish(self, rows):
        """The classes that the subset has clips of."""
        splits = by_split(rows, ("train", "test"))
        trained, tested = (set(part["label"]) for part in splits.values())
        if tested - trained:
            logger.warning(
                "fold %s has clips of %s, but the other folds have none: "
                "these classes cannot be learned",
                self.fold,
                ", ".join(sorted(tested - trained)),
            )
        present = trained | tested
        return splits, [n for n in read_labels(CLASSES) if n in present]


def _unpack(archive, data_folder):
    """Unpack the archive, whose only folder holds the corpus; delete it."""
    draft = data_folder / f"{UNPACKED}.unpacked"
    # of an earlier start that was interrupted
    shutil.rmtree(draft, ignore_errors=True)
    archives.unpack(archive, draft)
    (root,) = draft.iterdir()
    root.rename(data_folder / UNPACKED)
    draft.rmdir()
    archive.unlink()


def _read_meta(path, classes, problems):
    """The rows of the list: ID, filename, fold, label, usable and others."""
    table = read_table(path, _COLUMNS, "get the owners' list")
    # spreadsheets write TRUE and FALSE
    table["esc10"] = table["esc10"].str.capitalize()
    target_of = {name: str(index) for index, name in enumerate(classes)}
    expected = table["category"].map(target_of)
    faults = {
        f"its fold is none of {', '.join(FOLDS)}": ~table["fold"].isin(FOLDS),
        "its category is none of the corpus' (for classes of your own use "
        "recipes/Custom)": expected.isna(),
        "its target is not that of its category": (
            expected.notna() & (table["target"] != expected)
        ),
        "its esc10 is neither True nor False": (
            ~table["esc10"].isin(["True", "False"])
        ),
        "its filename is not that of a wav file": (
            ~table["filename"].str.fullmatch(r"[^/\\]+\.wav")
        ),
        "its filename is in an earlier line too": (
            table["filename"].duplicated()
        ),
    }
    usable = pd.Series(True, index=table.index)
    for fault, found in faults.items():
        for row in table[found].itertuples():
            problems.add(
                f"{path}, line {row.Index}: {fault} ({row.filename}, fold "
                f"{row.fold}, target {row.target}, category {row.category}, "
                f"esc10 {row.esc10}); correct or delete the line"
            )
        usable &= ~found
    return table.assign(
        ID=table["filename"].str[: -len(".wav")],
        label=table["category"],
        usable=usable,
    )


def _warn_of_shared(rows, meta_file):
    """Warn of recordings with clips to train on and clips to test on."""
    recordings = rows["filename"].str.split("-").str[1]
    splits = rows["split"].groupby(recordings).nunique()
    if len(shared := splits.index[splits > 1]):
        logger.warning(
            "%s: %d recordings have clips in the test fold and in others, the "
            "first is %s, so the score is too high; keep clips of a recording "
            "in one fold",
            meta_file,
            len(shared),
            shared[0],
        )


def _check_folds(column, fold, meta_file):
    """Refuse a fold that leaves nothing to test or train on."""
    folds = sorted(column.unique())
    if not folds:
        raise PreparationError(
            f"{meta_file}: no line of it can be used for this subset; get the "
            "owners' list, or use recipes/Custom for clips and classes of "
            "your own"
        )
    if fold not in folds or len(folds) < 2:
        raise PreparationError(
            f"fold: {fold} needs clips of this fold to test on and of others "
            f"to train on, but {meta_file} only has clips of folds "
            f"{', '.join(folds)}; set --fold to one of these, or get the "
            "whole corpus"
        )
    lacking = sorted(set(FOLDS) - set(folds))
    if lacking:
        logger.warning(
            "%s has no clips of folds %s: results are not comparable with "
            "published ones",
            meta_file,
            ", ".join(lacking),
        )
