"""Prepare ESC-50, or its part ESC-10, for one of its five folds.

The clips of the fold are the test set, those of the other folds the training
set: the owners' cross-validation. Clips cut from the same recording always
lie in the same fold.
"""

import logging
from pathlib import Path

import pandas as pd

from audiomamba.dataio.corpus import list_audio, measure
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

logger = logging.getLogger(__name__)

SUBSETS = ("esc50", "esc10")
FOLDS = ("1", "2", "3", "4", "5")
# All 50 classes; the index is the owners' "target"
CLASSES = Path(__file__).with_name("labels.csv")
SAMPLE_RATE = 44100
CHANNELS = 1

SOURCE = "https://github.com/karolpiczak/ESC-50 (ESC-50-master.zip, 600 MB)"
TREE = """
meta/esc50.csv
audio/<fold>-<recording>-<take>-<target>.wav
    (both in this folder or in ESC-50-master/ in it)
"""
PLACES = ("", "ESC-50-master", "ESC-50")
META = "meta/esc50.csv"
_COLUMNS = ["filename", "fold", "target", "category", "esc10"]


def prepare_esc50(
    data_folder,
    save_folder,
    fold,
    subset="esc50",
    meta_file=None,
    allow_missing=False,
    skip_prep=False,
    n_workers=None,
):
    """Write train.csv, test.csv and labels.csv.

    The classes are those of the recipe's own ``labels.csv`` that the subset
    has clips of, in that file's order and whatever the fold. Manifests are
    reused as long as the list, the files and the options stay the same.

    Arguments
    ---------
    data_folder : str or Path
        ESC-50; see ``TREE``.
    save_folder : str or Path
        Where the manifests go.
    fold : int
        The one to test on.
    subset : str
        ``esc50``, or ``esc10`` for the clips marked so.
    meta_file : str or Path, optional
        By default ``meta/esc50.csv`` of the corpus.
    allow_missing : bool
        Go on without files that are missing or unusable, and say how many.
    skip_prep : bool
        Do nothing: the manifests are there.
    n_workers : int, optional
        Threads that read the headers.

    Raises
    ------
    PreparationError
        If the corpus or the fold is not there, or with all that is wrong.
    """
    if skip_prep:
        logger.info("skip_prep: taking the manifests in %s", save_folder)
        return
    fold = str(fold)
    if subset not in SUBSETS or fold not in FOLDS:
        raise PreparationError(
            f"subset: {subset} and fold: {fold}; the subset is one of "
            f"{', '.join(SUBSETS)}, the fold one of {', '.join(FOLDS)}"
        )
    data_folder = Path(data_folder)
    root, meta_file = _find_corpus(data_folder, meta_file)
    folder = f"{root}/audio" if root else "audio"
    audio = list_audio(data_folder, [folder], (".wav",), n_workers)
    options = {"allow_missing": allow_missing, "fold": fold, "subset": subset}
    key = inputs_key(options, [meta_file, CLASSES], audio)
    if is_prepared(save_folder, key):
        return
    problems = Problems()
    classes = read_labels(CLASSES)
    rows = _read_meta(meta_file, classes, problems)
    if subset == "esc10":
        rows = rows[rows["esc10"] == "True"]
    rows = _assign_splits(rows, fold, meta_file)
    totals = rows["split"].value_counts().to_dict()
    rows = _locate(rows, audio, data_folder / folder, problems)
    rows = measure(
        rows, data_folder, problems, SAMPLE_RATE, CHANNELS, n_workers=n_workers
    )
    left_out = problems.settle(
        Path(save_folder, "problems.txt"), allow_missing, totals
    )
    columns = ["ID", "wav", "duration", "label"]
    splits = {
        split: rows.loc[rows["split"] == split, columns]
        for split in ("train", "test")
    }
    unseen = set(splits["test"]["label"]) - set(splits["train"]["label"])
    if unseen:
        logger.warning(
            "fold %s has clips of %s, and the others have none: these cannot "
            "be learned",
            fold,
            ", ".join(sorted(unseen)),
        )
    present = set(rows["label"])
    labels = [name for name in classes if name in present]
    write_manifests(save_folder, splits, labels, key, left_out)


def _find_corpus(data_folder, meta_file):
    """The folder in ``data_folder`` with the audio, and the list."""
    for root in PLACES:
        meta = Path(meta_file or data_folder / root / META)
        if (data_folder / root / "audio").is_dir() and meta.is_file():
            return root, meta
    raise missing_corpus(
        "ESC-50",
        data_folder,
        f"{data_folder} has no folder audio with {meta_file or META}",
        SOURCE,
        TREE,
        __file__,
    )


def _read_meta(path, classes, problems):
    """The clips of the list that make sense: ID, filename, fold, label..."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [name for name in _COLUMNS if name not in table]
    if missing:
        raise PreparationError(
            f"{path}: has no column {missing}, so it is not the owners' list; "
            "fetch it again"
        )
    target_of = {name: str(index) for index, name in enumerate(classes)}
    expected = table["category"].map(target_of)
    faults = {
        f"its fold is none of {', '.join(FOLDS)}": ~table["fold"].isin(FOLDS),
        "its target is not that of its category": table["target"] != expected,
        "its esc10 is neither True nor False": (
            ~table["esc10"].isin(["True", "False"])
        ),
        "its filename is no name of a wav file": (
            ~table["filename"].str.fullmatch(r"[^/\\]+\.wav")
        ),
        "its filename stands in an earlier line too": (
            table["filename"].duplicated()
        ),
    }
    wrong = pd.Series(False, index=table.index)
    for fault, found in faults.items():
        for row in table[found].itertuples():
            problems.add(
                f"{path}, line {row.Index + 2}: {fault} ({row.filename}, fold "
                f"{row.fold}, target {row.target}, category {row.category}, "
                f"esc10 {row.esc10}); correct or delete the line"
            )
        wrong |= found
    table = table[~wrong]
    return table.assign(
        ID=table["filename"].str[: -len(".wav")], label=table["category"]
    )


def _assign_splits(rows, fold, meta_file):
    """Add ``split``; refuse a fold that leaves nothing to test or train."""
    folds = sorted(rows["fold"].unique())
    if fold not in folds or len(folds) < 2:
        raise PreparationError(
            f"fold: {fold} needs clips of this fold to test on and of others "
            f"to train on; {meta_file} has clips of "
            f"{'folds ' + ', '.join(folds) if folds else 'no fold'} only. Set "
            "fold to one of these, or get the whole corpus"
        )
    lacking = sorted(set(FOLDS) - set(folds))
    if lacking:
        logger.warning(
            "%s has no clips of folds %s: the figures cannot be compared with "
            "published ones",
            meta_file,
            ", ".join(lacking),
        )
    is_test = rows["fold"] == fold
    return rows.assign(split=is_test.map({True: "test", False: "train"}))


def _locate(rows, audio, folder, problems):
    """Add the path of each clip; report those without a file."""
    places = {Path(wav).name: wav for wav in audio["wav"]}
    rows = rows.assign(wav=rows["filename"].map(places))
    lost = rows["wav"].isna()
    for row in rows[lost].itertuples():
        problems.add(
            f"{row.filename}: listed, but not in {folder}; unpack the corpus "
            "again, or delete its line",
            {row.split: 1},
        )
    return rows[~lost]
