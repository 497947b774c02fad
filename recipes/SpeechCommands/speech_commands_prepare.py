"""Prepare Speech Commands V2 for the classification of its 35 words.

Reads the corpus as it is distributed: one folder per word, and the owners'
lists of the validation and the test clips.  All other clips are for training.
"""

import logging
import re
from pathlib import Path

from audiomamba.dataio.corpus import list_audio, measure
from audiomamba.dataio.download import download as fetch
from audiomamba.dataio.download import unpack
from audiomamba.dataio.labels import read_labels
from audiomamba.dataio.manifest import (
    inputs_key,
    is_prepared,
    write_manifests,
)
from audiomamba.dataio.problems import Problems, missing_corpus

logger = logging.getLogger(__name__)

LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}
# All 35 words, in the order of the released checkpoints
WORDS = Path(__file__).with_name("labels.csv")
# Of the whole corpus
COUNTS = {"train": 84843, "valid": 9981, "test": 11005}
SAMPLE_RATE = 16000
CHANNELS = 1

NAME = "speech_commands_v0.02"
ARCHIVE = f"{NAME}.tar.gz"
SOURCE = f"https://download.tensorflow.org/data/{ARCHIVE}"
SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
# Where the corpus may lie in data_folder; the last as torchaudio has it
PLACES = ("", NAME, f"SpeechCommands/{NAME}")
TREE = f"""
validation_list.txt
testing_list.txt
<word>/<speaker>_nohash_<take>.wav
    (all of it in this folder or in {NAME}/ in it; or only
    {ARCHIVE}, which is unpacked then)
"""
_LINE = re.compile(r"[^/\s]+/[^/\s]+\.wav")


def prepare_speech_commands(
    data_folder,
    save_folder,
    download=False,
    allow_missing=False,
    skip_prep=False,
    n_workers=None,
):
    """Write train.csv, valid.csv, test.csv and labels.csv.

    The classes are the words of the recipe's own ``labels.csv`` that the
    corpus has clips of, in that file's order. Manifests are reused as long as
    the lists, the files and the options stay the same.

    Arguments
    ---------
    data_folder : str or Path
        Speech Commands, unpacked or as the archive; see ``TREE``.
    save_folder : str or Path
        Where the manifests go.
    download : bool
        Fetch the archive (2.4 GB) if the corpus is not there.
    allow_missing : bool
        Go on without files that are missing or unusable, and say how many.
    skip_prep : bool
        Do nothing: the manifests are there.
    n_workers : int, optional
        Threads that read the headers.

    Raises
    ------
    PreparationError
        If the corpus is not there, or with all that is wrong with it.
    """
    if skip_prep:
        logger.info("skip_prep: taking the manifests in %s", save_folder)
        return
    data_folder = Path(data_folder)
    root = _find_corpus(data_folder, download)
    folders = sorted(
        path.relative_to(data_folder).as_posix()
        for path in (data_folder / root).iterdir()
        # _background_noise_ is no class
        if path.is_dir() and not path.name.startswith(("_", "."))
    )
    audio = list_audio(data_folder, folders, (".wav",), n_workers)
    lists = [data_folder / root / name for name in LISTS.values()]
    key = inputs_key({"allow_missing": allow_missing}, [*lists, WORDS], audio)
    if is_prepared(save_folder, key):
        return
    problems = Problems()
    listed = _read_lists(lists, problems)
    rows = _assign_splits(audio, root, listed)
    totals = _report_missing(rows, listed, data_folder / root, problems)
    words = read_labels(WORDS)
    rows = _keep_words(rows, words, data_folder / root, problems)
    rows = measure(
        rows, data_folder, problems, SAMPLE_RATE, CHANNELS, n_workers=n_workers
    )
    left_out = problems.settle(
        Path(save_folder, "problems.txt"), allow_missing, totals
    )
    _compare_counts(totals)
    columns = ["ID", "wav", "duration", "label"]
    splits = {
        split: rows.loc[rows["split"] == split, columns] for split in COUNTS
    }
    present = set(rows["label"])
    labels = [word for word in words if word in present]
    write_manifests(save_folder, splits, labels, key, left_out)


def _find_corpus(data_folder, download):
    """The folder in ``data_folder`` that holds the words and the lists."""
    for place in PLACES:
        root = data_folder / place
        if all((root / name).is_file() for name in LISTS.values()):
            return place
    archive = data_folder / ARCHIVE
    if download:
        fetch(SOURCE, archive, SHA256)
    if not archive.is_file():
        raise missing_corpus(
            "SpeechCommands",
            data_folder,
            f"{data_folder} has neither {' and '.join(LISTS.values())} nor "
            f"{ARCHIVE}",
            f"{SOURCE} (2.4 GB; download: True fetches it)",
            TREE,
            __file__,
        )
    unpack(archive, data_folder / NAME)
    return NAME


def _read_lists(paths, problems):
    """The names that stand in the lists -> their split."""
    listed = {}
    for split, path in zip(LISTS, paths):
        text = path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            name = line.strip()
            where = f"{path}, line {number}: {name[:80]!r}"
            if not name:
                continue
            if not _LINE.fullmatch(name) or ".." in name:
                problems.add(
                    f"{where} is not of the form 'yes/0a7c2a8d_nohash_0.wav'; "
                    "correct or delete the line"
                )
            elif listed.setdefault(name, split) != split:
                problems.add(
                    f"{where} stands in the other list too; delete it in one"
                )
    return listed


def _assign_splits(audio, root, listed):
    """Add ID, name (as in the lists), label and split of each clip."""
    start = len(root) + 1 if root else 0
    names = audio["wav"].str[start:]
    return audio.assign(
        ID=names.str[: -len(".wav")],
        name=names,
        label=names.str.split("/").str[0],
        split=names.map(listed).fillna("train"),
    )


def _report_missing(rows, listed, folder, problems):
    """Report listed clips without a file; return what each split should have.

    The lists do not name the training clips. Where they are those of the
    whole corpus, its number of training clips is known all the same.
    """
    found = set(rows["name"])
    for name, split in listed.items():
        if name not in found:
            problems.add(
                f"{name}: stands in {LISTS[split]}, but not in {folder}; "
                "unpack it again, or delete its line",
                {split: 1},
            )
    totals = {split: 0 for split in COUNTS}
    for split in [*listed.values(), *rows["split"][rows["split"] == "train"]]:
        totals[split] += 1
    n_lacking = COUNTS["train"] - totals["train"]
    is_whole = all(totals[split] == COUNTS[split] for split in LISTS)
    if is_whole and n_lacking > 0:
        problems.add(
            f"{folder}: the lists are those of the whole corpus, and "
            f"{n_lacking} of its {COUNTS['train']} training clips are not "
            "there; unpack it again",
            {"train": n_lacking},
        )
        totals["train"] = COUNTS["train"]
    return totals


def _keep_words(rows, words, folder, problems):
    """Leave out, and report, the folders that are no word of the corpus."""
    known = rows["label"].isin(words)
    for word, group in rows[~known].groupby("label"):
        problems.add(
            f"{folder / word}: holds {len(group)} clips and is none of the "
            f"{len(words)} words of {WORDS}; take it out, or give it the "
            "name of a word",
            group["split"].value_counts().to_dict(),
        )
    return rows[known]


def _compare_counts(totals):
    """Say whether this is the whole corpus."""
    logger.info(
        "%s: %s",
        "Speech Commands V2, whole"
        if totals == COUNTS
        else "A part of Speech Commands, or another version of it",
        ", ".join(
            f"{totals[split]:,} {split} (whole: {count:,})"
            for split, count in COUNTS.items()
        ),
    )
