#!/usr/bin/env python3
"""Arrange the Free Spoken Digit Dataset in the layout of another corpus.

Real speech for a first run: 3,000 recordings, ten digits by six speakers, under
CC BY-SA 4.0:

    git clone https://github.com/Jakobovski/free-spoken-digit-dataset

    python tools/lay_out_fsdd.py words free-spoken-digit-dataset \\
        recipes/SpeechCommands/data/fsdd
    python tools/lay_out_fsdd.py words free-spoken-digit-dataset \\
        recipes/SpeechCommands/data/fsdd_held_out --held_out_speaker theo
    python tools/lay_out_fsdd.py speakers free-spoken-digit-dataset \\
        recipes/VoxCeleb/data/fsdd

``words`` is the layout of SpeechCommands, one digit per clip; ``speakers`` that
of VoxCeleb, six digits of one speaker per utterance. Takes 0 to 4 of every
speaker and digit are the test split, as its owners have it, takes 5 to 9 the
validation split. With ``--held_out_speaker`` the test split is all takes of
that speaker instead, who is in no other split.
"""

import argparse
import hashlib
import re
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile as sf
from tqdm import tqdm

from audiomamba.dataio.audio import AudioError, read_audio

WORDS = "zero one two three four five six seven eight nine".split()
NAME = re.compile(r"(\d)_([a-z]+)_(\d+)")
SAMPLE_RATE = 16000
# Digits per utterance in the layout of VoxCeleb
DIGITS = 6
# Split -> its number in iden_split.txt
SPLITS = {"train": 1, "valid": 2, "test": 3}


class LayoutError(ValueError):
    """A folder that is not the corpus, or an impossible choice."""


def find_takes(folder: Path) -> dict[tuple[str, int, int], Path]:
    """Return (speaker, digit, take) -> recording, sorted.

    ``folder`` is the clone, or its folder ``recordings``.
    """
    takes = {}
    for path in [*folder.glob("recordings/*.wav"), *folder.glob("*.wav")]:
        match = NAME.fullmatch(path.stem)
        if match:
            takes[match[2], int(match[1]), int(match[3])] = path
    if not takes:
        raise LayoutError(
            f"{folder} holds no recordings such as 7_theo_12.wav: clone "
            "https://github.com/Jakobovski/free-spoken-digit-dataset"
        )
    return dict(sorted(takes.items()))


def split_of(take, speaker, held_out=None):
    """Return the split of a recording."""
    if speaker == held_out or (held_out is None and take < 5):
        return "test"
    return "valid" if 5 <= take < 10 else "train"


def lay_out_words(takes, target, held_out=None):
    """Write the layout of SpeechCommands; return split -> number of clips."""
    lists = defaultdict(list)
    for (speaker, digit, take), path in tqdm(takes.items(), unit="clip"):
        code = hashlib.sha256(speaker.encode()).hexdigest()[:8]
        name = f"{WORDS[digit]}/{code}_nohash_{take}.wav"
        write(target / name, read_audio(path, SAMPLE_RATE))
        lists[split_of(take, speaker, held_out)].append(name)
    for split, name in (("valid", "validation"), ("test", "testing")):
        text = "".join(f"{line}\n" for line in sorted(lists[split]))
        (target / f"{name}_list.txt").write_text(text)
    return {split: len(lists[split]) for split in SPLITS}


def lay_out_speakers(takes, target, seed=0):
    """Write the layout of VoxCeleb; return split -> number of utterances.

    Every recording is used at most once, in random order.
    """
    pools = defaultdict(list)
    for (speaker, _, take), path in takes.items():
        pools[speaker, split_of(take, speaker)].append(path)
    speakers = sorted({speaker for speaker, _ in pools})
    generator = np.random.default_rng(seed)
    lines, counts = [], dict.fromkeys(SPLITS, 0)
    for (speaker, split), pool in tqdm(sorted(pools.items()), unit="split"):
        person = f"id{10001 + speakers.index(speaker)}"
        order = generator.permutation(len(pool))
        for n in range(len(pool) // DIGITS):
            digits = [pool[i] for i in order[n * DIGITS : (n + 1) * DIGITS]]
            wavs = [read_audio(path, SAMPLE_RATE) for path in digits]
            name = f"{person}/{split}/{n + 1:05d}.wav"
            write(target / "wav" / name, np.concatenate(wavs))
            lines.append(f"{SPLITS[split]} {name}\n")
            counts[split] += 1
    (target / "iden_split.txt").write_text("".join(lines))
    return counts


def write(path, samples):
    """Write 16-bit samples at 16 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, np.asarray(samples), SAMPLE_RATE, subtype="PCM_16")


def parse_arguments(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("form", choices=("words", "speakers"))
    parser.add_argument("corpus", type=Path, help="clone of the corpus")
    parser.add_argument("target", type=Path, help="new folder to write")
    parser.add_argument("--held_out_speaker", metavar="NAME")
    return parser.parse_args(argv)


def lay_out(form, corpus, target, held_out=None):
    """Write the layout; return split -> number of clips."""
    takes = find_takes(corpus)
    if target.exists() and any(target.iterdir()):
        raise LayoutError(f"{target} is not empty: name a new folder.")
    if form == "speakers":
        if held_out is not None:
            raise LayoutError(
                "a speaker without training clips cannot be identified: "
                "--held_out_speaker goes with words."
            )
        return lay_out_speakers(takes, target)
    speakers = sorted({speaker for speaker, _, _ in takes})
    if held_out is not None and held_out not in speakers:
        raise LayoutError(
            f"there is no speaker {held_out!r}: choose from "
            f"{', '.join(speakers)}."
        )
    return lay_out_words(takes, target, held_out)


def main(argv=None):
    """Write the layout, and print how many clips there are."""
    arguments = parse_arguments(argv)
    try:
        counts = lay_out(
            arguments.form,
            arguments.corpus,
            arguments.target,
            arguments.held_out_speaker,
        )
    except (LayoutError, AudioError) as error:
        sys.exit(f"lay_out_fsdd.py: {error}")
    said = ", ".join(f"{count} {split}" for split, count in counts.items())
    print(f"{arguments.target}: {said}")


if __name__ == "__main__":
    main()
