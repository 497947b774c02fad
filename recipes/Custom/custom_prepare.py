"""Check the user's own lists of clips, and number their classes.

``train.csv``, ``valid.csv`` and ``test.csv`` have the columns ``ID``,
``duration`` (seconds), ``wav`` (path relative to ``data_folder``) and
``label``; also ``start`` and ``stop``, in samples, where a row is a part of a
file.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from audiomamba.dataio.corpus import list_audio
from audiomamba.dataio.manifest import LABEL_SEPARATOR, read_manifest
from audiomamba.dataio.preparation import Corpus, Inputs
from audiomamba.dataio.problems import PreparationError

SPLITS = ("train", "valid", "test")


def prepare_custom(
    data_folder: str | Path,
    save_folder: str | Path,
    lists: Mapping[str, str | Path],
    multi_label: bool = False,
    allow_missing: bool = False,
    skip_prep: bool = False,
) -> None:
    """Write train.csv, valid.csv, test.csv and labels.csv, checked.

    The classes are the labels of the training list, in alphabetical order.
    Durations are measured where a row is a whole file.

    Arguments
    ---------
    data_folder : str or Path
        The folder that ``wav`` in the lists is relative to.
    save_folder, allow_missing, skip_prep
        See `audiomamba.dataio.preparation.Corpus`.
    lists : dict
        Split -> its CSV.
    multi_label : bool
        Whether a label is any number of class names, joined by ``;``.

    Raises
    ------
    PreparationError
        If a list is not found, or with everything that is wrong.
    """
    corpus = Custom(data_folder, save_folder, lists, multi_label)
    corpus.prepare(skip_prep, allow_missing)


@dataclass
class Custom(Corpus):
    """The user's clips; see `prepare_custom`."""

    lists: Mapping[str, str | Path]
    multi_label: bool

    name = "Custom"
    source = "Make the lists as the README.md of this recipe says."
    tree = """
train.csv
valid.csv
test.csv
    (columns ID,duration,wav,label; or say where they are with --train_csv,
    --valid_csv and --test_csv)
<any folders>/<any name>.wav or .flac
"""

    def find(self):
        """The lists and the files that they name."""
        self.require(*map(Path, self.lists.values()))
        self.rows = _read_lists(self.lists)
        wavs = self.rows["wav"]
        folders = sorted({str(Path(wav).parent) for wav in wavs})
        folders = [f for f in folders if (self.data_folder / f).is_dir()]
        audio = list_audio(self.data_folder, folders, ("",))
        audio = audio[audio["wav"].isin(wavs)]
        options = {"multi_label": self.multi_label}
        return Inputs([*self.lists.values()], audio, options)

    def parse(self, inputs):
        """The rows with a known label."""
        totals = Counter(self.rows["split"])
        rows = _leave_out_unknown(self.rows, self.multi_label, self.problems)
        _find_shared(rows, self.problems)
        return rows, totals

    def measure(self, rows):
        """Measure whole files; parts of a file keep their duration."""
        stated = rows.rename(columns={"duration": "stated"})
        rows = super().measure(stated)
        if "start" in rows:
            rows["duration"] = rows["stated"]
        return rows.drop(columns="stated")

    def finish(self, rows):
        """The labels of the training list are the classes."""
        splits = {
            split: rows[rows["split"] == split].drop(columns="split")
            for split in SPLITS
        }
        return splits, sorted(_names(splits["train"], self.multi_label))


def _read_lists(lists):
    """The rows of the three lists, with their split."""
    tables = []
    for split, path in lists.items():
        try:
            table = read_manifest(path)
        except ValueError as error:
            raise PreparationError(str(error)) from error
        if "label" not in table:
            raise PreparationError(f"{path}: has no column 'label'; add it")
        tables.append(table.assign(split=split))
    if len({"start" in table for table in tables}) > 1:
        raise PreparationError(
            f"some of the lists {', '.join(map(str, lists.values()))} have "
            "the columns start and stop and others have not; give them in "
            "all: 0 and -1 for a whole file"
        )
    return pd.concat(tables, ignore_index=True)


def _names(rows, multi_label):
    """The class names in rows."""
    if not multi_label:
        return set(rows["label"])
    split = rows["label"].str.split(LABEL_SEPARATOR)
    return set(split.explode()) - {""}


def _leave_out_unknown(rows, multi_label, problems):
    """Drop and report rows whose label is empty or not trained on."""
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
                f"{row.split}, {row.ID}: its label ({what}) is not in the "
                "training list; correct it, or add clips of it there",
                {row.split: 1},
            )
            wrong[row.Index] = True
    return rows[~wrong].reset_index(drop=True)


def _find_shared(rows, problems):
    """Report test clips that are also trained or validated on."""
    part = ["wav"] + [name for name in ("start", "stop") if name in rows]
    test = rows[rows["split"] == "test"]
    others = rows[rows["split"] != "test"]
    shared = test.merge(others[part].drop_duplicates(), on=part)
    for wav in sorted(set(shared["wav"])):
        problems.add(
            f"{wav}: is in the test list and in another, so its result would "
            "be meaningless; remove it from one of them"
        )
