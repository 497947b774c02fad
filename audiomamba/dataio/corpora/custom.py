"""Check the user's own lists of clips, and number their classes.

``train.csv``, ``valid.csv`` and ``test.csv`` have the columns ``ID``,
``duration`` (seconds), ``wav`` (path relative to ``data_folder``) and
``label``; also ``start`` and ``stop``, in samples, where a row is a part of a
file.  Instead of three lists there may be one, which is cut into folds.

``recipes/Custom`` and the command ``audiomamba-train`` share this module.
"""

import logging
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pandas as pd

from audiomamba.dataio.codecs.formats import SUFFIXES
from audiomamba.dataio.corpora.clips import near_names
from audiomamba.dataio.corpora.corpus import list_audio, stat_audio
from audiomamba.dataio.corpora.folds import Folds, fold_names, with_folds
from audiomamba.dataio.corpora.preparation import Corpus, Inputs
from audiomamba.dataio.corpora.splits import SPLITS, report_overlaps
from audiomamba.dataio.corpora.strong_labels import add_events, learn_events
from audiomamba.dataio.lists import LABEL_SEPARATOR, normal_path, split_labels
from audiomamba.dataio.manifest import read_manifest
from audiomamba.dataio.pipeline import clip_datasets
from audiomamba.dataio.problems import PreparationError

logger = logging.getLogger(__name__)

# Classes that a warning names
_SHOWN = 10


def prepare(settings: Mapping) -> None:
    """Check the lists of a recipe's YAML and write the manifests.

    Arguments
    ---------
    settings : dict
        Plain values of the YAML.
    """
    lists = {
        "train": settings["train_csv"],
        "valid": settings["valid_csv"],
        "test": settings["test_csv"],
    }
    folds = None
    if one := settings.get("clips_csv"):
        lists = dict.fromkeys(SPLITS, one)
        keys = ("fold", "n_folds", "seed")
        folds = Folds(*(settings[key] for key in keys))
    prepare_custom(
        settings["data_folder"],
        settings["manifest_folder"],
        lists,
        settings["multi_label"],
        settings["allow_missing"],
        settings["skip_prep"],
        settings.get("strong_csv"),
        folds,
        settings["check_audio"],
    )


def list_folds(settings: Mapping) -> list[int | str]:
    """Return the folds of the list ``clips_csv`` of a recipe's YAML.

    Arguments
    ---------
    settings : dict
        Plain values of the YAML.

    Returns
    -------
    list
        Values of its key ``fold``.

    Raises
    ------
    PreparationError
        If there is no such list.
    """
    path = settings.get("clips_csv")
    if path is None or not Path(path).is_file():
        raise PreparationError(
            f"clips_csv is {path}; give the CSV of all clips, with the columns "
            "ID,duration,wav,label and, if you like, fold or group"
        )
    return fold_names(path, read_manifest(path), settings["n_folds"])


def dataio_prep(hparams: Mapping, labels: list[str]) -> dict:
    """Make the data sets ``train``, ``valid`` and ``test``.

    Arguments
    ---------
    hparams : dict
        Loaded hyperparameters.
    labels : list of str
        Class names, by index.

    Returns
    -------
    dict
        Split -> ClipDataset.
    """
    datasets = clip_datasets(
        hparams, labels, multi_label=hparams["multi_label"]
    )
    if hparams.get("strong_csv"):
        learn_events(datasets["train"], hparams, labels)
    return datasets


def prepare_custom(
    data_folder: str | Path,
    save_folder: str | Path,
    lists: Mapping[str, str | Path],
    multi_label: bool = False,
    allow_missing: bool = False,
    skip_prep: bool = False,
    strong_csv: str | Path | None = None,
    folds: Folds | None = None,
    check_audio: str = "headers",
) -> None:
    """Write train.csv, valid.csv, test.csv and labels.csv, checked.

    The classes are the labels of the training list, in alphabetical order.
    Durations are measured where a row is a whole file.

    Arguments
    ---------
    data_folder : str or Path
        The folder that ``wav`` in the lists is relative to.
    save_folder, allow_missing, skip_prep, check_audio
        See `audiomamba.dataio.corpora.preparation.Corpus`.
    lists : dict
        Split -> its CSV.
    multi_label : bool
        Whether a label is any number of class names, joined by ``;``.
    strong_csv : str or Path, optional
        Events of the training clips, see
        `audiomamba.dataio.corpora.strong_labels`.
    folds : Folds, optional
        All lists are one and the same, which is cut into folds.

    Raises
    ------
    PreparationError
        If a list is not found, or with everything that is wrong.
    """
    folders = Path(data_folder), Path(save_folder)
    corpus = Custom(*folders, lists, multi_label, strong_csv, folds)
    corpus.prepare(skip_prep, allow_missing, check_audio=check_audio)


@dataclass
class Custom(Corpus):
    """The user's clips; see `prepare_custom`."""

    lists: Mapping[str, str | Path]
    multi_label: bool
    strong_csv: str | Path | None = None
    folds: Folds | None = None

    name = "Custom"
    source = "Make the lists as docs/tutorial.md says."
    tree = """
train.csv
valid.csv
test.csv
    (columns ID,duration,wav,label; or say where they are with --train_csv,
    --valid_csv and --test_csv, or give one list with --clips_csv)
<any folders>/<any name>.wav or .flac
"""

    def find(self):
        """The lists and the files that they name."""
        lists = [*self.lists.values()]
        if self.strong_csv:
            lists.append(self.strong_csv)
        self.require(*map(Path, lists))
        options = {"multi_label": self.multi_label}
        if self.folds:
            path = self.lists["test"]
            rows = _read_lists({"test": path}, self.data_folder)
            self.rows = with_folds(path, rows, self.folds)
            options["folds"] = self.folds
        else:
            self.rows = _read_lists(self.lists, self.data_folder)
        audio = stat_audio(self.data_folder, self.rows["wav"])
        return Inputs(lists, audio, options)

    def parse(self, inputs):
        """The rows with a file and a known label."""
        self.listed, totals = self.rows, Counter(self.rows["split"])
        rows = _leave_out_unknown(
            self.rows, self.lists, self.multi_label, self.problems
        )
        train = rows[rows["split"] == "train"]
        self.classes = sorted(_names(train, self.multi_label))
        rows = rows.drop(report_overlaps(rows, self.problems))
        there = rows["wav"].isin(inputs.audio["wav"])
        self._report_missing(rows[~there])
        return rows[there].reset_index(drop=True), totals

    def measure(self, rows):
        """Add durations and, from the list of events, the column ``events``."""
        rows = super().measure(rows)
        if not self.strong_csv:
            return rows
        # Of the list's clips, those of other folds and those left out
        listed = self.listed
        if self.folds is None:
            listed = listed[listed["split"] == "train"]
        others = set(listed["ID"]) - set(rows["ID"][rows["split"] == "train"])
        return add_events(rows, self.strong_csv, self.problems, others)

    def _report_missing(self, rows):
        """Report files that are not there, with those that may be meant."""
        if rows.empty:
            return
        found = list_audio(self.data_folder, suffixes=SUFFIXES)["wav"]
        hint = near_names(found[~found.isin(self.rows["wav"])])
        for wav, group in rows.groupby("wav"):
            self.problems.add(
                f"{self.data_folder / wav}: is missing{hint(wav)}; restore it, "
                "or correct the list",
                Counter(group["split"]),
            )

    def finish(self, rows):
        """The labels of the training list are the classes, also lost ones."""
        _warn_of_classes(rows, self.multi_label)
        splits = {
            split: rows[rows["split"] == split].drop(columns="split")
            for split in SPLITS
        }
        return splits, self.classes


def _read_lists(lists, data_folder):
    """The rows of the three lists, with their split."""
    tables, faults = [], []
    for split, path in lists.items():
        try:
            table = read_manifest(path)
        except PreparationError as error:
            faults.append(str(error))
            continue
        if "label" not in table:
            faults.append(f"{path}: has no column 'label'; add it")
        for row in table[table["wav"] == ""].itertuples():
            faults.append(f"{path}: {row.ID} names no file in the column wav")
        wavs = [normal_path(wav, data_folder) for wav in table["wav"]]
        tables.append(table.assign(split=split, wav=wavs))
    if len({"start" in table for table in tables}) > 1:
        faults.append(
            f"some of the lists {', '.join(map(str, lists.values()))} have "
            "the columns start and stop and others have not; give them in "
            "all: 0 and -1 for a whole file"
        )
    if faults:
        raise PreparationError("\n".join(faults))
    return pd.concat(tables, ignore_index=True)


def _names(rows, multi_label):
    """The class names in rows."""
    if not multi_label:
        return set(rows["label"])
    return set(chain.from_iterable(map(split_labels, rows["label"])))


def _leave_out_unknown(rows, lists, multi_label, problems):
    """Drop and report rows whose label is no class; join labels in one form."""
    known = _names(rows[rows["split"] == "train"], multi_label) - {""}
    alike = {_form(name): name for name in sorted(known)}
    wrong = rows["label"].str.contains(LABEL_SEPARATOR) & (not multi_label)
    for split, group in rows[wrong].groupby("split", sort=False):
        fault = (
            f"is its label {group['label'].iloc[0]!r} one class or several? "
            "For several pass --multi_label True, for one rename it without "
            f"{LABEL_SEPARATOR!r}"
        )
        problems.add(f"{_place(lists, group)}: {fault}", {split: len(group)})
    by_label = rows[~wrong].groupby(["split", "label"], sort=False)
    for (split, label), group in by_label:
        own = split_labels(label) if multi_label else [label]
        unknown = [name for name in own if name not in known]
        if not own or "" in own:
            fault = "has no label; give it one, or delete the row"
        elif unknown:
            named = [_with_hint(name, alike) for name in unknown]
            fault = (
                f"its label ({', '.join(named)}) is not in the training list; "
                "correct it, or add clips of it there"
            )
        else:
            continue
        problems.add(f"{_place(lists, group)}: {fault}", {split: len(group)})
        wrong[group.index] = True
    rows = rows[~wrong].reset_index(drop=True)
    if multi_label:
        labels = [LABEL_SEPARATOR.join(split_labels(t)) for t in rows["label"]]
        rows = rows.assign(label=labels)
    return rows


def _place(lists, group):
    """The list of some rows of a split, and the first of them."""
    first, more = group.iloc[0], len(group) - 1
    place = f"{lists[first['split']]}, {first['ID']}"
    return f"{place} and {more} more" if more else place


def _with_hint(name, alike):
    """Add the class that a name may mean."""
    other = alike.get(_form(name))
    return f"{name}, is it {other!r}?" if other else name


def _form(name):
    """What is left of a name without case, blanks, hyphens and underscores."""
    return re.sub(r"[\s_-]+", "", name.casefold())


def _warn_of_classes(rows, multi_label):
    """Warn of classes that may be one, or that cannot be learned or tested."""
    names = {
        split: Counter(
            chain.from_iterable(
                split_labels(text) if multi_label else [text] for text in part
            )
        )
        for split, part in rows.groupby("split")["label"]
    }
    classes = pd.Series(sorted(names.get("train", ())), dtype=object)
    for _, group in classes.groupby(classes.map(_form)):
        if len(group) > 1:
            logger.warning(
                "%s are different classes; are they meant to be one?",
                " and ".join(group),
            )
    for split, most, why in (
        ("train", 1, "have a single training clip, too few to learn from"),
        (
            "valid",
            0,
            "have no validation clip, so they choose no epoch",
        ),
        ("test", 0, "have no test clip, so they have no score"),
    ):
        rare = [c for c in classes if names.get(split, {}).get(c, 0) <= most]
        if rare:
            logger.warning(
                "%d of %d classes %s: %s; add clips of them",
                len(rare),
                len(classes),
                why,
                ", ".join(rare[:_SHOWN]) + ", ..." * (len(rare) > _SHOWN),
            )
    if multi_label and not rows["label"].str.contains(LABEL_SEPARATOR).any():
        logger.warning(
            "multi_label is True, but no clip has two labels, joined by %r: if "
            "every clip has one class, leave it out, and classes compete",
            LABEL_SEPARATOR,
        )
