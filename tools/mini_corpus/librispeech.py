"""LibriSpeech in miniature: flac files, and transcripts by chapter.

The subsets are those of mini-librispeech, and test-clean.
"""

import numpy as np

from mini_corpus.files import (
    FAULTS,
    FORMAT_FAULTS,
    stream,
    write_audio,
    write_faults,
    write_lines,
)
from mini_corpus.voices import make_voices, speak

OPTIONS = {
    "n_speakers": (4, "speakers of train-clean-5; the others have two each"),
    "n_utterances": (12, "utterances per speaker"),
    "longest": (5, "words of the longest utterances; the shortest have two"),
}

RATE = 16000
# Words -> their phones
WORDS = {
    "BUY": "b aa iy",
    "FOUR": "f ao r",
    "GIRLS": "g er l s",
    "HE": "h iy",
    "MEN": "m eh n",
    "SHOES": "sh uw s",
    "SOME": "s ah m",
    "THREE": "th r iy",
    "TWO": "t uw",
    "WOMEN": "w ih m ih n",
}
SUBSETS = ("train-clean-5", "dev-clean-2", "test-clean")
FEW = 2
FIRST_SPEAKER, FIRST_CHAPTER = 19, 198


def make(folder, seed, broken, n_speakers, n_utterances, longest):
    """Write the corpus."""
    if n_speakers < 1 or n_utterances < 1 or longest < FEW:
        raise ValueError(
            f"{n_speakers} speakers, {n_utterances} utterances of at most "
            f"{longest} words: there must be 1 of each, and {FEW} words"
        )
    sizes = [n_speakers, FEW, FEW]
    voices = iter(make_voices(sum(sizes), stream(seed, "voices")))
    complaints, number = [], 0
    for subset, size in zip(SUBSETS, sizes):
        for _ in range(size):
            name = f"{FIRST_SPEAKER + number}-{FIRST_CHAPTER + 7 * number}"
            chapter = folder / subset / name.replace("-", "/")
            lines = _write_chapter(
                chapter, name, next(voices), seed, n_utterances, longest
            )
            if broken and not number:
                bad, complaints = _add_broken(folder, chapter, name, seed)
                lines += bad
            write_lines(chapter / f"{name}.trans.txt", lines)
            number += 1
    return complaints


def _write_chapter(chapter, name, voice, seed, n_utterances, longest):
    """Write the utterances of a chapter; return the lines of its transcript."""
    lines = []
    for number in range(n_utterances):
        utterance = f"{name}-{number:04d}"
        rng = stream(seed, utterance)
        words = rng.choice([*WORDS], rng.integers(FEW, longest, endpoint=True))
        samples = _utterance(voice, words, rng)
        write_audio(chapter / f"{utterance}.flac", samples, RATE)
        lines.append(" ".join([utterance, *words]))
    return lines


def _utterance(voice, words, rng):
    """Synthesise words with short pauses, at a random level."""
    phones = ["_"]
    for word in words:
        phones += [*WORDS[word].split(), "_"]
    speech = speak(voice, phones, RATE, rng)
    hum = 0.001 * rng.standard_normal(len(speech))
    return rng.uniform(0.3, 0.8) * speech / np.abs(speech).max() + hum


def _add_broken(folder, chapter, name, seed):
    """Add bad files to a chapter, and bad lines to its transcript."""
    (voice,) = make_voices(1, stream(seed, "broken"))
    samples = _utterance(voice, ["SOME", "WOMEN"], stream(seed, "broken words"))
    # flac holds no samples that are not finite
    faults = {**FAULTS, **FORMAT_FAULTS}
    del faults["not_finite"]
    place = chapter.relative_to(folder).as_posix()
    files = [f"{name}-{9000 + n}" for n in range(len(faults))]
    complaints = write_faults(
        folder,
        [f"{place}/{file}.flac" for file in files],
        samples,
        RATE,
        faults,
    )
    lines = [f"{file} SOME WOMEN" for file in files]
    write_audio(chapter / f"{name}-9100.flac", samples, RATE)
    complaints.append(f"{place}/{name}-9100.flac: without a transcript")
    for line, what in (
        (f"{name}-9101 HE", "no such file"),
        (f"{name}-9100", "a line without words"),
        ("7-7-0000 HE", "a line of another chapter"),
    ):
        lines.append(line)
        complaints.append(f"{name}.trans.txt: {line}: {what}")
    return lines, complaints
