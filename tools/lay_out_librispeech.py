#!/usr/bin/env python3
"""Arrange a part of LibriSpeech as VoxCeleb, for speaker verification.

Resemblyzer's repository has one utterance of each of 251 speakers of
train-clean-100 and ten of each of ten speakers of test-other (76 MB, CC BY
4.0):

    git clone https://github.com/resemble-ai/Resemblyzer
    python tools/lay_out_librispeech.py Resemblyzer \\
        recipes/VoxCeleb/data/librispeech

The utterances of train-clean-100 are cut into pieces of 3 s or more, each a
session, so that one can be held out. trials.txt has the 450 pairs of one
speaker of test-other and 1,800 of the pairs of two, drawn with a fixed seed.
"""

import random
from itertools import combinations
from pathlib import Path

import numpy as np
from layouts import LayoutError, add_folders, check_empty, parser_of, run, write
from tqdm import tqdm

from audiomamba.dataio.audio import read_audio

SAMPLE_RATE, SECONDS = 16000, 3
TRAINED, TESTED = "librispeech_train-clean-100", "librispeech_test-other"
# Pairs of two speakers in the trial list
OTHERS, SEED = 1800, 1


def find(clone: Path) -> tuple[list[Path], list[Path]]:
    """Return the utterances to train and to test on, sorted."""
    trained = sorted((clone / "audio_data" / TRAINED).glob("*.flac"))
    tested = sorted((clone / "audio_data" / TESTED).glob("*/*.flac"))
    if not trained or not tested:
        raise LayoutError(
            f"{clone}/audio_data has no {TRAINED}/*.flac and {TESTED}/*/*.flac:"
            " clone https://github.com/resemble-ai/Resemblyzer"
        )
    return trained, tested


def pieces_of(samples: np.ndarray) -> list[np.ndarray]:
    """Cut an utterance into pieces of 3 s; the last has the rest as well."""
    length = SAMPLE_RATE * SECONDS
    count = max(len(samples) // length, 1)
    return np.split(samples, [length * n for n in range(1, count)])


def trials_of(names: list[str]) -> list[str]:
    """Return the lines of the trial list, from <speaker>/<session>/<file>."""
    pairs = {True: [], False: []}
    for first, second in combinations(names, 2):
        same = first.split("/")[0] == second.split("/")[0]
        pairs[same].append((first, second))
    others = pairs[False]
    drawn = random.Random(SEED).sample(others, min(OTHERS, len(others)))
    lines = [f"1 {first} {second}\n" for first, second in pairs[True]]
    return lines + [f"0 {first} {second}\n" for first, second in drawn]


def lay_out(clone: Path, target: Path) -> dict[str, int]:
    """Write ``wav`` and ``trials.txt`` to a new folder; return the trials."""
    trained, tested = find(clone)
    check_empty(target)
    names = []
    for path in tqdm([*trained, *tested], unit="utterance"):
        speaker, chapter, utterance = path.stem.split("-")
        samples = np.asarray(read_audio(path, SAMPLE_RATE))
        if path in trained:
            for number, piece in enumerate(pieces_of(samples)):
                name = f"{speaker}/{chapter}_{number}/{utterance}.wav"
                write(target / "wav" / name, piece, SAMPLE_RATE)
        else:
            names.append(f"{speaker}/{chapter}/{utterance}.wav")
            write(target / "wav" / names[-1], samples, SAMPLE_RATE)
    lines = trials_of(names)
    (target / "trials.txt").write_text("".join(lines))
    return {"trials": len(lines)}


def main(argv=None):
    """Write the layout, and print what is in it."""
    parser = parser_of(__doc__)
    add_folders(parser)
    run(__file__, lay_out, parser.parse_args(argv))


if __name__ == "__main__":
    main()
