"""Prepare VoxCeleb1 for speaker identification.

Reads the corpus as distributed, and ``iden_split.txt``, the owners' split of
every speaker's utterances into training, validation and test.
"""

import logging
import re
from collections import Counter
from pathlib import Path

import pandas as pd

from audiomamba.dataio.corpora.clips import near_names
from audiomamba.dataio.corpora.preparation import Corpus, Inputs, by_split
from audiomamba.dataio.lists import normal_path, read_lines

logger = logging.getLogger(__name__)

SPLIT_FILE = "iden_split.txt"
SPLITS = {"1": "train", "2": "valid", "3": "test"}
_LINE = re.compile(r"([123])\s+(\S+)")
_NAME = re.compile(r"([^/\s]+)/[^/\s]+/[^/\s]+\.wav")


def prepare_voxceleb(
    data_folder: str | Path,
    save_folder: str | Path,
    allow_missing: bool = False,
    skip_prep: bool = False,
    check_audio: str = "headers",
) -> None:
    """Write train.csv, valid.csv, test.csv and labels.csv.

    The classes are the speakers of the list in sorted order, as in the
    released checkpoints, whichever files are missing. The manifests are
    reused until the list, the files or the options change.

    Arguments
    ---------
    data_folder : str or Path
        VoxCeleb1: ``iden_split.txt``, and
        ``wav/<speaker>/<session>/<utterance>.wav``, or ``vox1_dev_wav`` and
        ``vox1_test_wav`` side by side, with or without ``wav`` in them, or
        ``dev/wav`` and ``test/wav``.
    save_folder, allow_missing, skip_prep, check_audio
        See `audiomamba.dataio.corpora.preparation.Corpus`.

    Raises
    ------
    PreparationError
        If the corpus is not found, or with everything that is wrong with it.
    """
    corpus = Identification(data_folder, save_folder)
    corpus.prepare(skip_prep, allow_missing, check_audio=check_audio)


class VoxCeleb(Corpus):
    """Where the files of VoxCeleb are."""

    name = "VoxCeleb"
    recipe = __file__
    source = "Get it from https://www.robots.ox.ac.uk/~vgg/data/voxceleb/"
    tree = """
wav/<speaker>/<session>/<utterance>.wav
    (or vox1_dev_wav/wav/<speaker>/... beside vox1_test_wav/wav/<speaker>/...,
    or dev/wav/<speaker>/... beside test/wav/<speaker>/...)
iden_split.txt
    (lines such as: 3 id10003/na8-QEFmj44/00003.wav)
"""
    sample_rate = 16000
    channels = 1
    # The folders of the owners' archives
    parts = ("vox1_dev_wav", "vox1_test_wav")

    def roots(self):
        """The folders of the speakers' folders, relative to data_folder."""
        roots = self.found_roots()
        if not roots:
            raise self.missing(
                f"{self.data_folder} has no wav, {' or '.join(self.parts)}"
            )
        return roots

    def found_roots(self):
        """The roots that are there, or an empty list."""
        roots = []
        for part in ("", *self.parts, "dev", "test"):
            if (self.data_folder / part / "wav").is_dir():
                roots.append(f"{part}/wav".lstrip("/"))
            elif part in self.parts and (self.data_folder / part).is_dir():
                roots.append(part)
        return roots

    def places(self):
        """The roots, for a message."""
        return " or ".join(str(self.data_folder / r) for r in self.roots())

    def utterances(self, audio):
        """<speaker>/<session>/<utterance>.wav -> path from data_folder."""
        roots, places = self.roots(), {}
        for wav in audio["wav"]:
            root = next(root for root in roots if wav.startswith(f"{root}/"))
            # copies in several folders: the first one is used
            places.setdefault(wav[len(root) + 1 :], wav)
        return places


class Identification(VoxCeleb):
    """VoxCeleb1 with the owners' split; see `prepare_voxceleb`."""

    def find(self):
        """The split file and all utterances."""
        roots, split_file = self.roots(), self.data_folder / SPLIT_FILE
        self.require(split_file)
        return Inputs([split_file], self.list_audio(roots))

    def parse(self, inputs):
        """The listed utterances that have a file."""
        listed = _read_split_file(inputs.lists[0], self.problems)
        self.listed = listed
        self.speakers = sorted(listed["label"].unique())
        return self._locate(listed, inputs.audio), Counter(listed["split"])

    def finish(self, rows):
        """All listed speakers are classes."""
        return by_split(rows), self.speakers

    def _locate(self, listed, audio):
        """Add the path of each listed utterance; report missing ones."""
        files = self.utterances(audio)
        rows = listed.assign(wav=listed["name"].map(files))
        lost, places = rows["wav"].isna(), self.places()
        hint = near_names(set(files) - set(rows["name"]), whole=True)
        for speaker, group in rows[lost].groupby("label"):
            if len(group) == (rows["label"] == speaker).sum():
                self.problems.add(
                    f"{speaker}: none of its {len(group)} listed files is in "
                    f"{places}{hint(group['name'].iloc[0])}; extract this "
                    "speaker's files, or remove it from the list",
                    Counter(group["split"]),
                )
                continue
            for name, split in zip(group["name"], group["split"]):
                self.problems.add(
                    f"{name}: listed, but not in {places}{hint(name)}; "
                    "extract it, or delete its line",
                    {split: 1},
                )
        n_unlisted = len(audio) - (len(rows) - lost.sum())
        if n_unlisted:
            logger.info("%d wav files are not listed: unused", n_unlisted)
        return rows[~lost]


def _read_split_file(path, problems):
    """The utterances of the list: name, ID, label (speaker), split."""
    found = []
    for number, line in read_lines(path):
        match = _LINE.fullmatch(line)
        name = normal_path(match[2]) if match else ""
        if match and ".." not in name and _NAME.fullmatch(name):
            speaker = name.split("/", 1)[0]
            found.append((name, SPLITS[match[1]], number, speaker))
        else:
            problems.add(
                f"{path}, line {number}: {line[:80]!r} is not of the form '3 "
                "id10003/na8-QEFmj44/00003.wav' that starts with 1, 2 or 3; "
                "correct or delete the line"
            )
    # sorted before repetitions are dropped: the order of lines is irrelevant
    rows = pd.DataFrame(
        sorted(found), columns=["name", "split", "line", "label"]
    )
    repeated = rows["name"].duplicated()
    for row in rows[repeated].itertuples():
        problems.add(
            f"{path}, line {row.line}: {row.name} is listed in another line "
            "too; delete one of them",
        )
    return rows[~repeated].assign(ID=rows["name"].str[: -len(".wav")])
