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
    python tools/lay_out_fsdd.py few_labels free-spoken-digit-dataset \\
        recipes/Custom/data/fsdd --held_out_speaker theo
    python tools/lay_out_fsdd.py strings free-spoken-digit-dataset \\
        recipes/LibriSpeech/data/fsdd_held_out --held_out_speaker theo

``words`` is the layout of SpeechCommands, one digit per clip; ``speakers`` that
of VoxCeleb, six digits of one speaker per utterance; ``strings`` that of
LibriSpeech, three to six digits of one speaker, without pauses, with their
transcript. Takes 0 to 4 of every speaker and digit are the test split, as its
owners have it, takes 5 to 9 the validation split. With ``--held_out_speaker``
the test split is all takes of that speaker instead, who is in no other split.
``few_labels`` has lists for the Custom recipe, of 60, 300 and all labelled
clips of the other speakers for three seeds, and their recordings in ``known``,
to pre-train on.
"""

import hashlib
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf
from layouts import LayoutError, add_folders, check_empty, parser_of, run, write
from tqdm import tqdm

from audiomamba.dataio.audio import read_audio

WORDS = "zero one two three four five six seven eight nine".split()
NAME = re.compile(r"(\d)_([a-z]+)_(\d+)")
SAMPLE_RATE = 16000
# Digits per utterance in the layout of VoxCeleb
DIGITS = 6
# Labelled clips of the lists for few labels, and their draws
FEW, SEEDS = (60, 300), (1, 2, 3)
# Split -> its number in iden_split.txt
SPLITS = {"train": 1, "valid": 2, "test": 3}
# Digits per utterance in the layout of LibriSpeech; a speaker's last one may
# have fewer
SHORTEST, LONGEST = 3, 6
# How many utterances a recording of the training split is in
ROUNDS = 16


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
        write(target / name, read_audio(path, SAMPLE_RATE), SAMPLE_RATE)
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
            write(target / "wav" / name, np.concatenate(wavs), SAMPLE_RATE)
            lines.append(f"{SPLITS[split]} {name}\n")
            counts[split] += 1
    (target / "iden_split.txt").write_text("".join(lines))
    return counts


def lay_out_few_labels(takes, target, held_out):
    """Write lists of few and of all labels; return list -> number of clips.

    The clips of 60 are among those of 300. One take of each word, in none of
    these, is the validation split.
    """
    rows = defaultdict(list)
    for (speaker, digit, take), path in tqdm(takes.items(), unit="clip"):
        folder = "new" if speaker == held_out else "known"
        wav = f"{folder}/{path.stem}.wav"
        samples, rate = sf.read(path)
        write(target / wav, samples, rate)
        row = (path.stem, len(samples) / rate, wav, WORDS[digit])
        rows[split_of(take, speaker, held_out)].append(row)
    lists = {"test": rows["test"], "valid": one_of_each(rows["valid"])}
    for seed in SEEDS:
        order = np.random.default_rng(seed).permutation(len(rows["train"]))
        drawn = [rows["train"][i] for i in order]
        lists[f"train_all_{seed}"] = drawn
        for count in FEW:
            lists[f"train_{count}_{seed}"] = [
                row
                for word in WORDS
                for row in [r for r in drawn if r[3] == word][: count // 10]
            ]
    columns = ["ID", "duration", "wav", "label"]
    for name, chosen in lists.items():
        table = pd.DataFrame(chosen, columns=columns)
        table.to_csv(target / f"{name}.csv", index=False)
    return {name: len(chosen) for name, chosen in lists.items()}


def one_of_each(rows):
    """Return the first row of each word."""
    return list({row[3]: row for row in reversed(rows)}.values())


def lay_out_strings(takes, target, held_out=None, seed=0):
    """Write the layout of LibriSpeech; return split -> number of utterances.

    Speakers and chapters have numbers, as there: a chapter is all recordings
    of a speaker's split, in random order.
    """
    pools = defaultdict(list)
    for (speaker, digit, take), path in takes.items():
        split = split_of(take, speaker, held_out)
        pools[split, speaker].append((WORDS[digit].upper(), path))
    speakers = sorted({speaker for speaker, _, _ in takes})
    generator = np.random.default_rng(seed)
    counts = dict.fromkeys(SPLITS, 0)
    for (split, speaker), pool in tqdm(sorted(pools.items()), unit="split"):
        number = speakers.index(speaker) + 1
        for chapter in range(ROUNDS if split == "train" else 1):
            order = [pool[i] for i in generator.permutation(len(pool))]
            name = f"{number}-{100 * SPLITS[split] + chapter}"
            folder = target / split / name.replace("-", "/")
            counts[split] += write_chapter(folder, name, order, generator)
    return counts


def write_chapter(folder, name, recordings, generator):
    """Write a chapter of LibriSpeech; return its number of utterances."""
    lines = []
    while recordings:
        size = generator.integers(SHORTEST, LONGEST, endpoint=True)
        part, recordings = recordings[:size], recordings[size:]
        utterance = f"{name}-{len(lines):04d}"
        wavs = [read_audio(path, SAMPLE_RATE) for _, path in part]
        write(folder / f"{utterance}.flac", np.concatenate(wavs), SAMPLE_RATE)
        lines.append(" ".join([utterance, *(word for word, _ in part)]))
    (folder / f"{name}.trans.txt").write_text("\n".join(lines) + "\n")
    return len(lines)


def lay_out(form, clone, target, held_out_speaker=None):
    """Write the layout; return split -> number of clips."""
    takes = find_takes(clone)
    check_empty(target)
    if form == "speakers":
        if held_out_speaker is not None:
            raise LayoutError(
                "a speaker without training clips cannot be identified: "
                "--held_out_speaker goes with words and few_labels."
            )
        return lay_out_speakers(takes, target)
    speakers = sorted({speaker for speaker, _, _ in takes})
    if held_out_speaker is not None and held_out_speaker not in speakers:
        raise LayoutError(
            f"there is no speaker {held_out_speaker!r}: choose from "
            f"{', '.join(speakers)}."
        )
    if form == "few_labels":
        if held_out_speaker is None:
            raise LayoutError("few_labels needs a --held_out_speaker.")
        return lay_out_few_labels(takes, target, held_out_speaker)
    write_layout = lay_out_words if form == "words" else lay_out_strings
    return write_layout(takes, target, held_out_speaker)


def main(argv=None):
    """Write the layout, and print how many clips there are."""
    parser = parser_of(__doc__)
    forms = ("words", "speakers", "strings", "few_labels")
    parser.add_argument("form", choices=forms)
    add_folders(parser)
    parser.add_argument("--held_out_speaker", metavar="NAME")
    run(__file__, lay_out, parser.parse_args(argv))


if __name__ == "__main__":
    main()
