"""Prepare Speech Commands V2: its 35 words, or ten commands among all else.

Reads the corpus as distributed: one folder per word, and the owners' lists of
the validation and the test clips. All other clips are for training. Warden
(arXiv 1804.03209) describes both tasks.
"""

import logging
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from audiomamba.dataio.corpora import download as archives
from audiomamba.dataio.corpora.clips import near_names
from audiomamba.dataio.corpora.corpus import read_headers
from audiomamba.dataio.corpora.preparation import Corpus, Inputs, by_split
from audiomamba.dataio.corpora.splits import SPLIT_SEED
from audiomamba.dataio.lists import normal_path, read_lines
from audiomamba.dataio.manifest import read_labels
from audiomamba.dataio.problems import PreparationError

logger = logging.getLogger(__name__)

LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}
# All 35 words, in the order of the released checkpoints
WORDS = Path(__file__).with_name("labels.csv")
# Ten of them, and what else is heard
COMMANDS = Path(__file__).with_name("labels_12.csv")
UNKNOWN, SILENCE = "_unknown_", "_silence_"
CLASSES = {"35": WORDS, "12": COMMANDS}
# Clips of UNKNOWN, and of SILENCE, per clip of a command
SHARE = 0.1
NOISE = "_background_noise_"
# The part of each noise that a split's silence is cut from
NOISE_PARTS = {"train": (0.0, 0.8), "valid": (0.8, 0.9), "test": (0.9, 1.0)}
# Clips of the whole corpus
COUNTS = {"train": 84843, "valid": 9981, "test": 11005}

NAME = "speech_commands_v0.02"
ARCHIVE = f"{NAME}.tar.gz"
SOURCE = f"https://download.tensorflow.org/data/{ARCHIVE}"
SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
# Where the corpus may be in data_folder; torchaudio uses the last one
PLACES = ("", NAME, f"SpeechCommands/{NAME}")
# The owners' test set for ten commands, unknown words and silence
TEST_SET = "speech_commands_test_set_v0.02"
_LINE = re.compile(r"[^/\s]+/[^/\s]+\.wav")


def prepare_speech_commands(
    data_folder: str | Path,
    save_folder: str | Path,
    download: bool = False,
    allow_missing: bool = False,
    skip_prep: bool = False,
    task: int | str = 35,
    check_audio: str = "headers",
) -> None:
    """Write train.csv, valid.csv, test.csv and labels.csv.

    The classes are those of the recipe's ``labels.csv``, or ``labels_12.csv``,
    that the corpus has clips of, in the order of that file. The manifests are
    reused until the lists, the files or the options change.

    Arguments
    ---------
    data_folder : str or Path
        Speech Commands, unpacked or as the archive.
    save_folder, allow_missing, skip_prep, check_audio
        See `audiomamba.dataio.corpora.preparation.Corpus`.
    download : bool
        Download the archive (2.4 GB) if the corpus is not found.
    task : int
        35 for all words; 12 for ten commands, ``_unknown_`` (other words) and
        ``_silence_`` (cut from the background noises), a tenth as many clips
        of each as of commands, always the same ones. Then the test is the
        owners' test set for this task, if it is there.

    Raises
    ------
    PreparationError
        If the corpus is not found, or with everything that is wrong with it.
    """
    if str(task) not in CLASSES:
        raise PreparationError(
            f"task: {task}; it is one of {', '.join(CLASSES)} (classes)"
        )
    corpus = SpeechCommands(data_folder, save_folder, download, str(task))
    corpus.prepare(skip_prep, allow_missing, check_audio=check_audio)


@dataclass
class SpeechCommands(Corpus):
    """The corpus; see `prepare_speech_commands`."""

    download: bool
    task: str

    name = "SpeechCommands"
    recipe = __file__
    source = f"Get it from {SOURCE} (2.4 GB), or pass --download True"
    tree = f"""
validation_list.txt
testing_list.txt
<word>/<speaker>_nohash_<take>.wav
_background_noise_/<noise>.wav
    (all of it here or in {NAME}/; or only the archive
    {ARCHIVE}, which is then unpacked)
{TEST_SET}/<class>/<clip>.wav
    (optional, for --task 12; or its archive)
"""
    sample_rate = 16000
    channels = 1

    def find(self):
        """The lists and the folders of the words."""
        self.place = self._place()
        root = self.data_folder / self.place
        lists = [root / name for name in LISTS.values()]
        tests = self._test_set()
        audio = self.list_audio([self.place, *tests] if self.place else [""])
        in_tests = audio["wav"].str.contains(rf"(?:^|/){TEST_SET}/")
        names = audio["wav"].str.removeprefix(f"{self.place}/")
        kind = pd.Series("other", index=audio.index)
        # _background_noise_ is not a class; deeper folders are other corpora
        kind[names.str.count("/").eq(1) & ~names.str.startswith("_")] = "clip"
        kind[names.str.startswith(f"{NOISE}/")] = "noise"
        kind[in_tests] = "test"
        if not (kind == "clip").any():
            raise self.missing(f"{root} has no <word>/<clip>.wav")
        used = ["clip"] if self.task == "35" else ["clip", "noise", "test"]
        audio = audio.assign(kind=kind)[kind.isin(used)]
        lists.append(CLASSES[self.task])
        return Inputs(lists, audio, {"task": self.task})

    def parse(self, inputs):
        """The clips of known words, with the splits of the lists."""
        listed = _read_lists(inputs.lists[:2], self.problems)
        audio = dict([*inputs.audio.groupby("kind")])
        clips = audio["clip"]
        names = clips["wav"].str.removeprefix(f"{self.place}/")
        names = names.str[: -len(".wav")] + ".wav"
        rows = clips.assign(
            ID=names.str[: -len(".wav")],
            name=names,
            label=names.str.split("/").str[0],
            split=names.map(listed).fillna("train"),
        )
        root = self.data_folder / self.place
        self.listed = _listed_clips(listed, rows)
        totals = _report_missing(rows, listed, root, self.problems)
        rows = _keep_words(rows, root, self.problems)
        if self.task == "35":
            return rows, totals
        rows = self._commands(rows, audio.get("noise"), audio.get("test"))
        totals = Counter(rows["split"]) + self.problems.lost
        return rows, totals

    def finish(self, rows):
        """The classes that the corpus has clips of."""
        names = read_labels(CLASSES[self.task])
        further = [] if self.task == "35" else ["start", "stop"]
        present = [name for name in names if name in set(rows["label"])]
        return by_split(rows, further=further), present

    def _commands(self, rows, noise, tests):
        """The clips of the 12 classes; sets ``listed``."""
        rows = rows.assign(start=0, stop=-1)
        is_command = rows["label"].isin(read_labels(COMMANDS))
        commands, others = rows[is_command], rows[~is_command]
        listed = self.listed[self.listed["label"].isin(read_labels(COMMANDS))]
        if tests is not None:
            commands = commands[commands["split"] != "test"]
            tests = _read_test_set(tests, commands, self.problems)
            commands = commands[~commands["name"].isin(tests["name"])]
            listed = pd.concat([listed[listed["split"] != "test"], tests])
        counts = {
            split: math.ceil(SHARE * count)
            for split, count in Counter(commands["split"]).items()
        }
        root = self.data_folder / self.place
        if not counts:
            raise PreparationError(
                f"{root}: has no clip to train on of the commands in "
                f"{COMMANDS}; for other words pass --task 35"
            )
        added = [
            _draw_others(others, counts, root, self.problems),
            _cut_silence(noise, counts, self.data_folder, root, self.problems),
        ]
        drawn = f"drawn from {LISTS['test']}, as there is no {TEST_SET}"
        logger.info("The test is %s", drawn if tests is None else TEST_SET)
        self.listed = pd.concat([listed, *added])
        return pd.concat([commands, *added, tests], ignore_index=True)

    def _test_set(self):
        """Where the owners' test set of the 12 classes is, if it is needed."""
        if self.task == "35":
            return []
        folder = self.data_folder / TEST_SET
        archive = self.data_folder / f"{TEST_SET}.tar.gz"
        if not folder.is_dir() and archive.is_file():
            archives.unpack(archive, folder)
        return [TEST_SET] if folder.is_dir() else []

    def _place(self):
        """Where the words and the lists are, relative to data_folder."""
        for place in PLACES:
            root = self.data_folder / place
            if all((root / name).is_file() for name in LISTS.values()):
                return place
        archive = self.data_folder / ARCHIVE
        if self.download:
            archives.check_free(archive, self.data_folder / NAME)
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


def _draw_others(rows, counts, folder, problems):
    """Other words as UNKNOWN: so many of each split, always the same ones."""
    drawn = []
    for split, count in counts.items():
        own = rows[rows["split"] == split].sort_values("ID")
        if own.empty:
            problems.add(
                f"{folder}: no clip in {split} is of another word than the "
                f"commands, as {UNKNOWN} needs; get the whole corpus",
                {split: count},
            )
        drawn.append(own.sample(min(count, len(own)), random_state=SPLIT_SEED))
    return pd.concat(drawn).assign(label=UNKNOWN)


def _cut_silence(noise, counts, data_folder, folder, problems):
    """Cut SILENCE of 1 s from the noises: so many clips of each split.

    Each split has its own part of every noise.
    """
    second, lengths = SpeechCommands.sample_rate, {}
    wavs = [] if noise is None else noise["wav"].tolist()
    headers, errors = read_headers(data_folder, wavs)
    shortest = min(high - low for low, high in NOISE_PARTS.values())
    for row, n_frames in enumerate(headers["n_frames"]):
        if row in errors:
            problems.add(errors[row])
        elif round(shortest * n_frames) < second:
            problems.add(
                f"{data_folder / wavs[row]}: is too short to cut {SILENCE} "
                f"from ({n_frames / second:.1f} s); unpack it again"
            )
        else:
            lengths[wavs[row]] = n_frames
    if not lengths:
        problems.add(
            f"{folder / NOISE}: has no noise that {SILENCE} can be cut from; "
            "unpack the corpus again",
            counts,
        )
        return pd.DataFrame()
    generator, rows = np.random.default_rng(SPLIT_SEED), []
    for split, (low, high) in NOISE_PARTS.items():
        for index in range(counts.get(split, 0)):
            wav = list(lengths)[index % len(lengths)]
            first, last = round(low * lengths[wav]), round(high * lengths[wav])
            start = int(generator.integers(first, last - second, endpoint=True))
            name = f"{SILENCE}/{split}-{index:05}"
            rows.append((name, wav, start, start + second, split))
    columns = ["ID", "wav", "start", "stop", "split"]
    return pd.DataFrame(rows, columns=columns).assign(label=SILENCE)


def _read_test_set(audio, commands, problems):
    """The clips of the owners' test set; report those in another split."""
    parts = audio["wav"].str.rsplit("/", n=2)
    names = parts.str[1] + "/" + parts.str[2]
    rows = audio.assign(
        name=names,
        ID=f"{TEST_SET}/" + names.str[: -len(".wav")],
        label=parts.str[1],
        split="test",
        start=0,
        stop=-1,
    )
    classes = read_labels(COMMANDS)
    known = rows["label"].isin(classes)
    for label in sorted(set(rows["label"][~known])):
        problems.add(
            f"{TEST_SET}/{label}: is not one of the 12 classes in {COMMANDS}; "
            "move it elsewhere"
        )
    for label in sorted(set(classes) - set(rows["label"])):
        problems.add(f"{TEST_SET}/{label}: has no clip; unpack it again")
    for row in commands[commands["name"].isin(rows["name"])].itertuples():
        problems.add(
            f"{row.name}: is in {TEST_SET} and in {row.split}, so the result "
            "would be meaningless; delete it in one of them",
            {row.split: 1},
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
