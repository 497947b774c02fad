"""VGGSound in miniature: vggsound.csv, test.csv and converted audio."""

import pandas as pd

from mini_corpus.files import (
    FAULTS,
    stream,
    video_id,
    write_audio,
    write_faults,
)
from mini_corpus.textures import make_texture

OPTIONS = {
    "n_train": (6, "training clips of each class"),
    "n_test": (3, "test clips of each class"),
    "seconds": (10.0, "length of a clip"),
}

RATE = 16000
# class -> sound
CLASSES = {
    "ambulance siren": "siren",
    "bird chirping, tweeting": "bird",
    "church bell ringing": "church_bell",
    "dog barking": "dog",
    "female speech, woman speaking": "speech",
    "helicopter": "helicopter",
    "playing piano": "piano",
    "sea waves": "waves",
}


def make(folder, seed, broken, n_train, n_test, seconds):
    """Write the corpus."""
    rows = []
    for label, sound in CLASSES.items():
        for index in range(n_train + n_test):
            rng = stream(seed, label, index)
            name, start = video_id(rng), int(rng.integers(0, 400))
            suffix = ("wav", "flac")[index % 2]
            write_audio(
                folder / _place(name, start, suffix),
                make_texture(sound, seconds, RATE, rng),
                RATE,
            )
            split = "train" if index < n_train else "test"
            rows.append((name, start, label, split))
    complaints = []
    if broken:
        bad_rows, complaints = _add_broken(folder, seconds, seed)
        rows += bad_rows
    rows.sort()
    _write_csv(folder / "vggsound.csv", rows)
    tests = [
        (f"{name}_{start:06d}.mp4", label)
        for name, start, label, split in rows
        if split == "test"
    ]
    _write_csv(folder / "test.csv", tests)
    return complaints


def _place(name, start, suffix="wav"):
    return f"audio/{name}_{start:06d}.{suffix}"


def _add_broken(folder, seconds, seed):
    """Add rows that cannot be used."""
    rng = stream(seed, "broken")
    rows = [(video_id(rng), 30, "sea waves", s) for s in ("train", "test")]
    complaints = [
        f"vggsound.csv: {row[0]}: listed, but there is no audio" for row in rows
    ]
    samples = make_texture("waves", seconds, RATE, rng)
    names = [video_id(rng) for _ in FAULTS]
    rows += [(name, 7, "sea waves", "train") for name in names]
    paths = [_place(name, 7) for name in names]
    complaints += write_faults(folder, paths, samples, RATE)
    name = video_id(rng)
    write_audio(folder / _place(name, 7), samples, RATE)
    rows.append((name, 7, "no such sound", "train"))
    complaints.append(f"vggsound.csv: {name}: 'no such sound' is no class")
    return rows, complaints


def _write_csv(path, rows):
    pd.DataFrame(rows).to_csv(path, index=False, header=False)
