"""VoxCeleb1 in miniature: identification and verification lists, wav files."""

import numpy as np
from scipy.signal import lfilter

from mini_corpus.files import (
    FAULTS,
    FORMAT_FAULTS,
    stream,
    video_id,
    write_audio,
    write_faults,
    write_lines,
)
from mini_corpus.voices import babble, make_voices, speak

OPTIONS = {
    "n_speakers": (6, "speakers, from id10001 on"),
    "n_utterances": (12, "utterances per speaker, at least 6"),
    "seconds": (3.0, "mean length; utterances last 2/3 to 4/3 of it"),
}

RATE = 16000
SESSION_SIZE = 2


def make(folder, seed, broken, n_speakers, n_utterances, seconds):
    """Write the corpus."""
    if n_speakers < 2 or n_utterances < 6:
        raise ValueError(
            f"{n_speakers} speakers with {n_utterances} utterances are too "
            "few: there must be 2 speakers with 6, two of each for every split"
        )
    voices = make_voices(n_speakers, stream(seed, "voices"))
    speakers = [f"id{10001 + index}" for index in range(n_speakers)]
    utterances, lines = {}, []
    for speaker, voice in zip(speakers, voices):
        utterances[speaker] = []
        for index in range(n_utterances):
            name = _utterance_name(seed, speaker, index)
            utterances[speaker].append(name)
            split = _split(index, n_utterances)
            lines.append(f"{split} {name}")
            samples = _utterance(voice, seconds, seed, name)
            write_audio(folder / "wav" / name, samples, RATE)
    complaints = []
    if broken:
        bad_lines, complaints = _add_broken(
            folder, speakers[0], voices[0], seconds, seed
        )
        lines += bad_lines
    write_lines(folder / "iden_split.txt", lines)
    _write_trials(folder, utterances, voices, seed)
    return complaints


def _utterance_name(seed, speaker, index):
    session, number = divmod(index, SESSION_SIZE)
    session = video_id(stream(seed, speaker, session))
    return f"{speaker}/{session}/{number + 1:05d}.wav"


def _split(index, n_utterances):
    """Return 3 (test) for the last sessions, 2 before them, else 1."""
    held_out = max(1, n_utterances // (6 * SESSION_SIZE)) * SESSION_SIZE
    if index >= n_utterances - held_out:
        return 3
    return 2 if index >= n_utterances - 2 * held_out else 1


def _utterance(voice, seconds, seed, name):
    """Synthesise an utterance; each session has its own channel."""
    rng = stream(seed, name)
    n_samples = round(seconds * rng.uniform(2 / 3, 4 / 3) * RATE)
    speech = speak(voice, babble(2 * n_samples / RATE, rng), RATE, rng)
    channel = stream(seed, name.rsplit("/", 1)[0], "channel")
    colour, level = channel.uniform(-0.2, 0.2), channel.uniform(0.3, 0.8)
    hum = channel.uniform(0.0005, 0.005) * rng.standard_normal(n_samples)
    speech = lfilter([1.0, colour], [1.0], speech[:n_samples] + hum)
    return level * speech / np.abs(speech).max()


def _add_broken(folder, speaker, voice, seconds, seed):
    """Add bad files of the first speaker, and bad lines in the list."""
    lines, complaints = [], []
    faults = {**FAULTS, **FORMAT_FAULTS}
    for number, (fault, what) in enumerate(faults.items(), start=1):
        name = f"{speaker}/brokenfiles/{number:05d}.wav"
        samples = _utterance(voice, seconds, seed, name)
        complaints += write_faults(
            folder, [f"wav/{name}"], samples, RATE, {fault: what}
        )
        lines.append(f"1 {name}")
    for split, name, what in (
        (1, f"{speaker}/nosuchvideo/00001.wav", "no such file"),
        (1, "id19999/nosuchvideo/00001.wav", "a speaker without files"),
        (3, "id19999/nosuchvideo/00002.wav", "a speaker without files"),
        (4, f"{speaker}/nosuchsplit/00001.wav", "no such split"),
    ):
        lines.append(f"{split} {name}")
        complaints.append(f"iden_split.txt: {split} {name}: {what}")
    return lines, complaints


def _write_trials(folder, utterances, voices, seed):
    """Write trials: O of the last speakers, E of all, H of similar voices."""
    speakers = list(utterances)
    pitches = {s: voice.pitch for s, voice in zip(speakers, voices)}
    held_out = speakers[-max(2, len(speakers) // 3) :]
    for name, candidates, hard in (
        ("veri_test2.txt", held_out, False),
        ("list_test_all2.txt", speakers, False),
        ("list_test_hard2.txt", speakers, True),
    ):
        rng = stream(seed, name)
        lines = []
        for speaker in candidates:
            others = [other for other in candidates if other != speaker]
            others.sort(key=lambda o: abs(pitches[o] - pitches[speaker]))
            others = others[:1] if hard else others
            for first in utterances[speaker]:
                same = [u for u in utterances[speaker] if u != first]
                other = utterances[str(rng.choice(others))]
                lines.append(f"1 {first} {rng.choice(same)}")
                lines.append(f"0 {first} {rng.choice(other)}")
        write_lines(folder / name, lines)
