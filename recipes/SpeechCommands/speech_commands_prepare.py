"""Prepare Speech Commands V2 for the classification of its 35 words.

Reads the corpus as distributed: one folder per word, and the owners' lists of
the validation and the test clips. All other clips are for training.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from audiomamba.dataio import download as archives
from audiomamba.dataio.clips import near_names
from audiomamba.dataio.lists import normal_path, read_lines
from audiomamba.dataio.manifest import read_labels
from audiomamba.dataio.preparation import Corpus, Inputs, by_split

logger = logging.getLogger(__name__)

LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}
# All 35 words, in the order of the released checkpoints
WORDS = Path(__file__).with_name("labels.csv")
# Clips of the whole corpus
COUNTS = {"train": 84843, "valid": 9981, "test": 11005}

NAME = "speech_commands_v0.02"
ARCHIVE = f"{NAME}.tar.gz"
SOURCE = f"https://download.tensorflow.org/data/{ARCHIVE}"
SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
# Where the corpus may be in data_folder; torchaudio uses the last one
PLACES = ("", NAME, f"SpeechCommands/{NAME}")
_LINE = re.compile(r"[^/\s]+/[^/\s]+\.wav")


def prepare_speech_commands(
    data_folder: str | Path,
    save_folder: str | Path,
    download: bool = False,
    allow_missing: bool = False,
    skip_prep: bool = False,
) -> None:
    """Write train.csv, valid.csv, test.csv and labels.csv.

    The classes are the words of the recipe's ``labels.csv`` that the corpus
    has clips of, in the order of that file. The manifests are reused until
    the lists, the files or the options change.

    Arguments
    ---------
    data_folder : str or Path
        Speech Commands, unpacked or as the archive.
    save_folder, allow_missing, skip_prep
        See `audiomamba.dataio.preparation.Corpus`.
    download : bool
        Download the archive (2.4 GB) if the corpus is not found.

    Raises
    ------
    PreparationError
        If the corpus is not found, or with everything that is wrong with it.
    """
    corpus = SpeechCommands(data_folder, save_folder, download)
    corpus.prepare(skip_prep, allow_missing)


@dataclass
class SpeechCommands(Corpus):
    """The corpus; see `prepare_speech_commands`."""

    download: bool

    name = "SpeechCommands"
    recipe = __file__
    source = f"Get it from {SOURCE} (2.4 GB), or pass --download True"
    tree = f"""
validation_list.txt
testing_list.txt
<word>/<speaker>_nohash_<take>.wav
    (all of it here or in {NAME}/; or only the archive
    {ARCHIVE}, which is then unpacked)
"""
    sample_rate = 16000
    channels = 1

    def find(self):
        """The lists and the folders of the words."""
        self.place = self._place()
        root = self.data_folder / self.place
        lists = [root / name for name in LISTS.values()]
        audio = self.list_audio([self.place])
        names = audio["wav"].str.removeprefix(f"{self.place}/")
        # _background_noise_ is not a class
        clips = names.str.contains("/") & ~names.str.startswith("_")
        return Inputs([*lists, WORDS], audio[clips])

    def parse(self, inputs):
        """The clips of known words, with the splits of the lists."""
        listed = _read_lists(inputs.lists[:2], self.problems)
        names = inputs.audio["wav"].str.removeprefix(f"{self.place}/")
        names = names.str[: -len(".wav")] + ".wav"
        rows = inputs.audio.assign(
            ID=names.str[: -len(".wav")],
            name=names,
            label=names.str.split("/").str[0],
            split=names.map(listed).fillna("train"),
        )
        root = self.data_folder / self.place
        self.listed = _listed_clips(listed, rows)
        totals = _report_missing(rows, listed, root, self.problems)
        return _keep_words(rows, root, self.problems), totals

    def finish(self, rows):
        """The words that the corpus has clips of are the classes."""
        words = [w for w in read_labels(WORDS) if w in set(rows["label"])]
        return by_split(rows), words

    def _place(self):
        """Where the words and the lists are, relative to data_folder."""
        for place in PLACES:
            root = self.data_folder / place
            if all((root / name).is_file() for name in LISTS.values()):
                return place
        archive = self.data_folder / ARCHIVE
        if self.download:
            archives.download(SOURCE, archive, SHA256)
        if not archive.is_file():
            raise self.missing(
                f"{self.data_folder} has neither "
                f"{' and '.join(LISTS.values())} nor {ARCHIVE}"
            )
        archives.unpack(archive, self.data_folder / NAME)
        return NAME


def _read_lists(paths, problems):
    """The listed names -> their split."""
    listed = {}
    for split, path in zip(LISTS, paths):
        for number, line in read_lines(path):
            name = normal_path(line)
            where = f"{path}, line {number}: {line[:80]!r}"
            if not _LINE.fullmatch(name) or ".." in name:
                problems.add(
                    f"{where} is not of the form 'yes/0a7c2a8d_nohash_0.wav'; "
                    "correct or delete the line"
                )
            elif listed.setdefault(name, split) != split:
                problems.add(
                    f"{where} is in the other list too; delete it in one"
                )
    return listed


def _listed_clips(listed, rows):
    """Split and label of all clips that are listed, or are for training."""
    table = pd.DataFrame({"name": list(listed), "split": list(listed.values())})
    table["label"] = table["name"].str.split("/").str[0]
    train = rows[rows["split"] == "train"]
    columns = ["split", "label"]
    return pd.concat([table[columns], train[columns]], ignore_index=True)


def _report_missing(rows, listed, folder, problems):
    """Report missing clips; return how many clips each split should have.

    The lists do not name the training clips, but if they are those of the
    whole corpus, the number of training clips is known.
    """
    found = set(rows["name"])
    hint = near_names(found - set(listed), whole=True)
    for name, split in listed.items():
        if name not in found:
            problems.add(
                f"{name}: listed in {LISTS[split]}, but not in {folder}"
                f"{hint(name)}; unpack it again, or delete its line",
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
            f"{n_lacking} of its {COUNTS['train']} training clips are "
            "missing; unpack it again",
            {"train": n_lacking},
        )
        totals["train"] = COUNTS["train"]
    _compare_counts(totals)
    return totals


def _keep_words(rows, folder, problems):
    """Leave out, and report, folders that are not a word of the corpus."""
    words = read_labels(WORDS)
    known = rows["label"].isin(words)
    for word, group in rows[~known].groupby("label"):
        problems.add(
            f"{folder / word}: has {len(group)} clips and is not one of the "
            f"{len(words)} words in {WORDS}; remove it, rename it to a word, "
            "or train on words of your own with recipes/Custom",
            group["split"].value_counts().to_dict(),
        )
    return rows[known]


def _compare_counts(totals):
    """Log whether this is the whole corpus."""
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
