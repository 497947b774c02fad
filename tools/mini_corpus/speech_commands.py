"""Speech Commands V2 in miniature: words, split lists, background noise."""

import gzip
import io
import tarfile

import numpy as np

from mini_corpus.files import (
    FAULTS,
    FORMAT_FAULTS,
    stream,
    write_audio,
    write_faults,
    write_lines,
)
from mini_corpus.textures import make_texture
from mini_corpus.voices import make_voices, speak

OPTIONS = {
    "n_speakers": (12, "speakers, at least 3; each is in one split only"),
    "n_takes": (2, "recordings of each word by each speaker"),
    "others": (False, "three more words, unknown ones for --task 12"),
    "packed": (False, "as the distributed archive, not unpacked"),
}

RATE = 16000
ARCHIVE = "speech_commands_v0.02.tar.gz"
# Eight of the 35 words and their phones
WORDS = {
    "down": ["d", "aa", "uh", "n"],
    "go": ["g", "ao", "uw"],
    "left": ["l", "eh", "f", "t"],
    "no": ["n", "ao", "uw"],
    "right": ["r", "aa", "iy", "t"],
    "stop": ["s", "t", "aa", "p"],
    "up": ["ah", "_", "p"],
    "yes": ["y", "eh", "s"],
}
# Words that are no commands
OTHERS = {
    "bird": ["b", "er", "d"],
    "house": ["h", "aa", "uh", "s"],
    "tree": ["t", "r", "iy"],
}
# file of the background noise -> sound
NOISES = {
    "doing_the_dishes": "metal",
    "pink_noise": "wind",
    "running_tap": "water",
    "white_noise": "sizzle",
}
_NOISE_SECONDS = 10.0


def make(folder, seed, broken, n_speakers, n_takes, others, packed):
    """Write the corpus."""
    if n_speakers < 3:
        raise ValueError(
            f"{n_speakers} speakers are too few: each split needs its own, so "
            "there must be at least 3"
        )
    lists = {"validation": [], "testing": []}
    held_out = max(1, n_speakers // 6)
    words = {**WORDS, **(OTHERS if others else {})}
    for index, voice in enumerate(make_voices(n_speakers, stream(seed))):
        speaker = stream(seed, "speaker", index).bytes(4).hex()
        for word, phones in words.items():
            for take in range(n_takes):
                name = f"{word}/{speaker}_nohash_{take}.wav"
                rng = stream(seed, name)
                samples = _utterance(voice, phones, rng)
                write_audio(folder / name, samples, RATE)
                if index < held_out:
                    lists["testing"].append(name)
                elif index < 2 * held_out:
                    lists["validation"].append(name)
    for name, sound in NOISES.items():
        noise = make_texture(sound, _NOISE_SECONDS, RATE, stream(seed, name))
        write_audio(folder / "_background_noise_" / f"{name}.wav", noise, RATE)
    (folder / "_background_noise_" / "README.md").write_text("Noises.\n")
    complaints = _add_broken(folder, lists, seed) if broken else []
    for name, lines in lists.items():
        write_lines(folder / f"{name}_list.txt", sorted(lines))
    if packed:
        _pack(folder)
    return complaints


def _utterance(voice, phones, rng):
    """Place a word somewhere in one second; cut one clip in five shorter."""
    spoken = speak(voice, phones, RATE, rng)[:RATE]
    before = int(rng.integers(0, RATE - len(spoken) + 1))
    samples = 0.002 * rng.standard_normal(RATE)
    samples[before : before + len(spoken)] += rng.uniform(0.3, 0.8) * spoken
    if rng.random() < 0.2:
        samples = samples[: max(before + len(spoken), RATE // 2)]
    return np.clip(samples, -1.0, 1.0)


def _add_broken(folder, lists, seed):
    """Add bad files of a word, and bad lines in the lists."""
    (voice,) = make_voices(1, stream(seed, "broken"))
    samples = _utterance(voice, WORDS["stop"], stream(seed, "broken word"))
    faults = {**FAULTS, **FORMAT_FAULTS}
    names = [f"stop/00000000_nohash_{n}.wav" for n in range(len(faults))]
    complaints = write_faults(folder, names, samples, RATE, faults)
    for kind, name, what in (
        ("testing", "stop/ffffffff_nohash_0.wav", "no such file"),
        ("validation", "stop/ffffffff_nohash_1.wav", "no such file"),
        ("testing", "stop", "not a file name"),
    ):
        lists[kind].append(name)
        complaints.append(f"{kind}_list.txt: {name}: {what}")
    return complaints


def _pack(folder):
    """Move all files into the archive, with constant dates and owners."""
    paths = sorted([*folder.glob("*.txt"), *folder.glob("*/*")])
    with (
        open(folder / ARCHIVE, "wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as archive,
    ):
        for path in paths:
            content = path.read_bytes()
            # Names in the distributed archive begin with "./".
            entry = tarfile.TarInfo(f"./{path.relative_to(folder).as_posix()}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    for path in paths:
        path.unlink()
    for path in {path.parent for path in paths} - {folder}:
        path.rmdir()
