#!/usr/bin/env python3
"""Lay the Free Spoken Digit Dataset out in the form of another corpus.

Real speech for a first run: 3,000 recordings, ten digits by six speakers, under
CC BY-SA 4.0, fetched by

    git clone https://github.com/Jakobovski/free-spoken-digit-dataset

    python tools/lay_out_fsdd.py words free-spoken-digit-dataset \\
        recipes/SpeechCommands/data/fsdd
    python tools/lay_out_fsdd.py words free-spoken-digit-dataset \\
        recipes/SpeechCommands/data/fsdd_held_out --held_out_speaker theo
    python tools/lay_out_fsdd.py speakers free-spoken-digit-dataset \\
        recipes/VoxCeleb/data/fsdd

``words`` is the form of Speech Commands, one digit per clip; ``speakers`` that
of VoxCeleb1, six digits of one speaker joined to an utterance.  Takes 0 to 4
of every speaker and digit are the test part, as the owners have it, takes 5 to
9 the validation part.  With ``--held_out_speaker`` all takes of that speaker
are the test part instead, and none of them is anywhere else.
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
# Digits per utterance in the form of VoxCeleb
DIGITS = 6
# Numbers of the parts in iden_split.txt
PARTS = {"train": 1, "valid": 2, "test": 3}


class LayoutError(ValueError):
    """A folder that is not the corpus, or a choice that it does not have."""


def find_takes(folder):
    """List the recordings of a clone of the corpus.

    Arguments
    ---------
    folder : Path
        The clone, or its folder ``recordings``.

    Returns
    -------
    dict
        (speaker, digit, take) -> path, sorted.
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


def part_of(take, speaker, held_out=None):
    """Name the part that a recording belongs to.

    Arguments
    ---------
    take : int
        Its number.
    speaker : str
        Who speaks.
    held_out : str or None
        The speaker to test on.

    Returns
    -------
    str
        ``train``, ``valid`` or ``test``.
    """
    if held_out is not None and speaker == held_out:
        return "test"
    if take < 5 and held_out is None:
        return "test"
    return "valid" if 5 <= take < 10 else "train"


def lay_out_words(takes, target, held_out=None):
    """Write the form of Speech Commands.

    Arguments
    ---------
    takes : dict
        From `find_takes`.
    target : Path
        The folder to write.
    held_out : str or None
        The speaker to test on.

    Returns
    -------
    dict
        Part -> number of clips.
    """
    lists = defaultdict(list)
    for (speaker, digit, take), path in tqdm(takes.items(), unit="clip"):
        code = hashlib.sha256(speaker.encode()).hexdigest()[:8]
        name = f"{WORDS[digit]}/{code}_nohash_{take}.wav"
        write(target / name, read_audio(path, SAMPLE_RATE))
        lists[part_of(take, speaker, held_out)].append(name)
    for part, name in (("valid", "validation"), ("test", "testing")):
        text = "".join(f"{line}\n" for line in sorted(lists[part]))
        (target / f"{name}_list.txt").write_text(text)
    return {part: len(lists[part]) for part in PARTS}


def lay_out_speakers(takes, target, seed=0):
    """Write the form of VoxCeleb1.

    Every recording is used at most once; the digits are in a random order.

    Arguments
    ---------
    takes : dict
        From `find_takes`.
    target : Path
        The folder to write.
    seed : int
        Of that order.

    Returns
    -------
    dict
        Part -> number of utterances.
    """
    pools = defaultdict(list)
    for (speaker, _, take), path in takes.items():
        pools[speaker, part_of(take, speaker)].append(path)
    speakers = sorted({speaker for speaker, _ in pools})
    generator = np.random.default_rng(seed)
    lines, counts = [], dict.fromkeys(PARTS, 0)
    for (speaker, part), pool in tqdm(sorted(pools.items()), unit="part"):
        person = f"id{10001 + speakers.index(speaker)}"
        order = generator.permutation(len(pool))
        for n in range(len(pool) // DIGITS):
            digits = [pool[i] for i in order[n * DIGITS : (n + 1) * DIGITS]]
            wavs = [read_audio(path, SAMPLE_RATE) for path in digits]
            name = f"{person}/{part}/{n + 1:05d}.wav"
            write(target / "wav" / name, np.concatenate(wavs))
            lines.append(f"{PARTS[part]} {name}\n")
            counts[part] += 1
    (target / "iden_split.txt").write_text("".join(lines))
    return counts


def write(path, samples):
    """Write a file of 16-bit samples at 16 kHz."""
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
    parser.add_argument("target", type=Path, help="folder to write, new")
    parser.add_argument("--held_out_speaker", metavar="NAME")
    return parser.parse_args(argv)


def lay_out(form, corpus, target, held_out=None):
    """Do what the command line says; return the clips of each part."""
    takes = find_takes(corpus)
    if target.exists() and any(target.iterdir()):
        raise LayoutError(f"{target} is not empty: name a new folder.")
    if form == "speakers":
        if held_out is not None:
            raise LayoutError(
                "speakers cannot be recognised who are in no training clip: "
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
    """Lay out, and say how many clips there are."""
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
    said = ", ".join(f"{count} {part}" for part, count in counts.items())
    print(f"{arguments.target}: {said}")


if __name__ == "__main__":
    main()
