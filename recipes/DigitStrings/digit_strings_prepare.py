"""Make strings of spoken digits of the Free Spoken Digit Dataset.

A string joins recordings of one speaker, end to end. Which recordings make a
string is drawn here, once; the sound is joined as it is read.
"""

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd

from audiomamba.dataio.corpus import list_audio, measure
from audiomamba.dataio.manifest import (
    inputs_key,
    is_prepared,
    write_manifests,
)
from audiomamba.dataio.problems import PreparationError, Problems

logger = logging.getLogger(__name__)

SOURCE = "https://github.com/Jakobovski/free-spoken-digit-dataset"
SAMPLE_RATE = 8000
# What joins the recordings of a string in the manifest's column wav
SEPARATOR = ";"
# Takes 0 to 4 of each digit and speaker are the owners' test set
TEST, VALID = range(0, 5), range(5, 10)
_NAME = re.compile(r"([0-9])_([a-z]+)_([0-9]+)\.wav")


def prepare_digit_strings(
    data_folder,
    save_folder,
    n_digits=(3, 6),
    rounds=4,
    seed=1,
    allow_missing=False,
    skip_prep=False,
):
    """Write train.csv, valid.csv and test.csv.

    No recording is in two splits. In test and validation every recording is
    in one string; in training every one is in as many as there are rounds.

    Arguments
    ---------
    data_folder : str or Path
        The corpus: ``<digit>_<speaker>_<take>.wav``, in ``recordings`` or
        right in this folder.
    save_folder : str or Path
        Where the manifests go.
    n_digits : sequence of int
        Shortest and longest string; what is left of a speaker's recordings
        makes a shorter one.
    rounds : int
        How often each training recording is used.
    seed : int
        Another seed, other strings.
    allow_missing : bool
        Go on without damaged files, and say how many.
    skip_prep : bool
        Do nothing: the manifests are there.

    Raises
    ------
    PreparationError
        If the corpus is not there, or with all that is wrong with it.
    """
    if skip_prep:
        logger.info("skip_prep: taking the manifests in %s", save_folder)
        return
    root = "recordings" if Path(data_folder, "recordings").is_dir() else ""
    if not Path(data_folder, root).is_dir():
        raise _missing(data_folder)
    audio = list_audio(data_folder, [root], (".wav",))
    options = [list(n_digits), rounds, seed, allow_missing]
    key = inputs_key({"options": options}, [], audio)
    if is_prepared(save_folder, key):
        return
    table = _read_names(audio)
    if table.empty:
        raise _missing(data_folder)
    problems = Problems()
    totals = table["split"].value_counts().to_dict()
    table = measure(table, data_folder, problems, SAMPLE_RATE, channels=1)
    left_out = problems.settle(
        Path(save_folder, "problems.txt"), allow_missing, totals
    )
    generator = np.random.default_rng(seed)
    splits = {
        split: _join(
            table[table["split"] == split],
            n_digits,
            rounds if split == "train" else 1,
            generator,
        )
        for split in ("train", "valid", "test")
    }
    write_manifests(save_folder, splits, None, key, left_out)


def _missing(data_folder):
    return PreparationError(
        f"{data_folder} has no files <digit>_<speaker>_<take>.wav, nor has "
        f"{data_folder}/recordings. Get the corpus (16 MB):\n"
        f"  git clone {SOURCE} {data_folder}"
    )


def _read_names(audio):
    """Digit, speaker and split of each recording, in the names' order."""
    rows = []
    for wav in audio["wav"]:
        match = _NAME.fullmatch(Path(wav).name)
        if not match:
            logger.warning("%s is no recording of a digit: left out", wav)
            continue
        digit, speaker, take = match[1], match[2], int(match[3])
        split = "train"
        if take in TEST or take in VALID:
            split = "test" if take in TEST else "valid"
        rows.append((wav, digit, speaker, split))
    return pd.DataFrame(rows, columns=["wav", "digit", "speaker", "split"])


def _join(table, n_digits, rounds, generator):
    """Draw strings of the recordings of each speaker."""
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
                        " ".join(part["digit"]),
                    )
                )
    return pd.DataFrame(rows, columns=["ID", "duration", "wav", "label"])
