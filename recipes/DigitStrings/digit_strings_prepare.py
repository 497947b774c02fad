"""Make strings of spoken digits from the Free Spoken Digit Dataset.

A string is a concatenation of recordings of one speaker. Which recordings
make a string is drawn here, once; the audio is concatenated when it is read.
"""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from audiomamba.dataio.preparation import Corpus, Inputs
from audiomamba.dataio.problems import PreparationError

logger = logging.getLogger(__name__)

# Between the recordings of a string in the manifest's column wav
SEPARATOR = ";"
# Takes 0 to 4 of each digit and speaker are the owners' test set
TEST, VALID = range(0, 5), range(5, 10)
_NAME = re.compile(r"([0-9])_([a-z]+)_([0-9]+)\.wav")


def prepare_digit_strings(
    data_folder: str | Path,
    save_folder: str | Path,
    n_digits: Sequence[int] = (3, 6),
    rounds: int = 4,
    seed: int = 1,
    allow_missing: bool = False,
    skip_prep: bool = False,
) -> None:
    """Write train.csv, valid.csv and test.csv.

    No recording is in two splits. In test and validation every recording is
    in one string, in training in ``rounds`` strings.

    Arguments
    ---------
    data_folder : str or Path
        The corpus: ``<digit>_<speaker>_<take>.wav``, in ``recordings`` or
        directly in this folder.
    save_folder, allow_missing, skip_prep
        See `audiomamba.dataio.preparation.Corpus`.
    n_digits : sequence of int
        Shortest and longest string; the remaining recordings of a speaker
        may make a shorter one.
    rounds : int
        How often each training recording is used.
    seed : int
        Seed of the draw.

    Raises
    ------
    PreparationError
        If the corpus is not found, or with everything that is wrong with it.
    """
    if not 1 <= n_digits[0] <= n_digits[1] or rounds < 1:
        raise PreparationError(
            f"n_digits: {list(n_digits)}, rounds: {rounds}; n_digits is the "
            "shortest and the longest string, both and rounds at least 1"
        )
    corpus = DigitStrings(data_folder, save_folder, n_digits, rounds, seed)
    corpus.prepare(skip_prep, allow_missing)


@dataclass
class DigitStrings(Corpus):
    """The corpus; see `prepare_digit_strings`."""

    n_digits: Sequence[int]
    rounds: int
    seed: int

    name = "DigitStrings"
    source = (
        "Get it (16 MB) with: git clone "
        "https://github.com/Jakobovski/free-spoken-digit-dataset {data_folder}"
    )
    tree = """
recordings/<digit>_<speaker>_<take>.wav
    (or without the folder recordings)
"""
    sample_rate = 8000
    channels = 1

    def find(self):
        """The recordings."""
        folder = self.data_folder / "recordings"
        audio = self.list_audio(["recordings" if folder.is_dir() else ""])
        options = {
            "n_digits": list(self.n_digits),
            "rounds": self.rounds,
            "seed": self.seed,
        }
        return Inputs([], audio, options)

    def parse(self, inputs):
        """Digit, speaker and split of each recording."""
        rows = _read_names(inputs.audio)
        if rows.empty:
            raise self.missing(
                f"no file in {self.data_folder} is named "
                "<digit>_<speaker>_<take>.wav"
            )
        self.listed = rows
        return rows, Counter(rows["split"])

    def finish(self, rows):
        """The strings; their labels are digits, not classes."""
        generator = np.random.default_rng(self.seed)
        splits = {
            split: _join(
                rows[rows["split"] == split],
                self.n_digits,
                self.rounds if split == "train" else 1,
                generator,
            )
            for split in ("train", "valid", "test")
        }
        return splits, None


def _read_names(audio):
    """Digit, speaker and split of each recording, in the order of names."""
    rows = []
    for wav in audio["wav"]:
        match = _NAME.fullmatch(Path(wav).name)
        if not match:
            logger.warning("%s is not a recording of a digit: unused", wav)
            continue
        digit, speaker, take = match[1], match[2], int(match[3])
        split = "train"
        if take in TEST or take in VALID:
            split = "test" if take in TEST else "valid"
        rows.append((wav, digit, speaker, split))
    return pd.DataFrame(rows, columns=["wav", "label", "speaker", "split"])


def _join(table, n_digits, rounds, generator):
    """Draw strings from the recordings of each speaker."""
    shortest, longest = n_digits
    rows = []
    for speaker, own in table.groupby("speaker"):
        for _ in range(rounds):
            order = own.iloc[generator.permutation(len(own))]
            while len(order):
                size = generator.integers(shortest, longest, endpoint=True)
                part, order = order.iloc[:size], order.iloc[size:]
                rows.append(
                    (
                        f"{speaker}-{len(rows):05}",
                        part["duration"].sum().round(6),
                        SEPARATOR.join(part["wav"]),
                        " ".join(part["label"]),
                    )
                )
    return pd.DataFrame(rows, columns=["ID", "duration", "wav", "label"])
