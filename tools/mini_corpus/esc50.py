"""ESC-50 in miniature: meta/esc50.csv and audio at 44.1 kHz in five folds."""

import pandas as pd

from mini_corpus.files import FAULTS, stream, write_audio, write_faults
from mini_corpus.textures import make_texture

OPTIONS = {
    "n_clips": (2, "clips of each class in each of the 5 folds"),
    "seconds": (5.0, "length of a clip"),
}

RATE = 44100
FOLDS = range(1, 6)
# category -> (target, whether it is in ESC-10, sound)
CLASSES = {
    "dog": (0, True, "dog"),
    "rooster": (1, True, "rooster"),
    "rain": (10, True, "rain"),
    "sea_waves": (11, True, "waves"),
    "crackling_fire": (12, True, "fire"),
    "keyboard_typing": (32, False, "typing"),
    "clock_tick": (38, True, "clock"),
    "church_bells": (46, False, "church_bell"),
}


def make(folder, seed, broken, n_clips, seconds):
    """Write the corpus."""
    rows = []
    for category, (target, esc10, sound) in CLASSES.items():
        for fold in FOLDS:
            for index in range(n_clips):
                rng = stream(seed, category, fold, index)
                # Two takes of one recording, always in the same fold
                recording = stream(seed, category, fold, index // 2)
                source = int(recording.integers(10000, 250000))
                row = _row(fold, source, "AB"[index % 2], target, category)
                rows.append(row | {"esc10": esc10})
                samples = make_texture(sound, seconds, RATE, rng)
                write_audio(folder / "audio" / row["filename"], samples, RATE)
    complaints = []
    if broken:
        bad_rows, complaints = _add_broken(folder, seconds, seed)
        rows += bad_rows
    (folder / "meta").mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows).sort_values("filename", kind="stable")
    table.to_csv(folder / "meta" / "esc50.csv", index=False)
    return complaints


def _row(fold, source, take, target, category="rain"):
    return {
        "filename": f"{fold}-{source}-{take}-{target}.wav",
        "fold": fold,
        "target": target,
        "category": category,
        "esc10": True,
        "src_file": source,
        "take": take,
    }


def _add_broken(folder, seconds, seed):
    """Bad files, a row without a file, an unknown fold and target."""
    samples = make_texture("rain", seconds, RATE, stream(seed, "broken"))
    rows = [_row(1, source, "A", 10) for source in range(1, len(FAULTS) + 1)]
    names = [f"audio/{row['filename']}" for row in rows]
    complaints = write_faults(folder, names, samples, RATE)
    for row, what in (
        (_row(2, 99, "A", 10), "no such file"),
        (_row(6, 98, "A", 10), "no such fold"),
        (_row(3, 97, "A", 50), "no such target"),
    ):
        if "file" not in what:
            write_audio(folder / "audio" / row["filename"], samples, RATE)
        rows.append(row)
        complaints.append(f"meta/esc50.csv: {row['filename']}: {what}")
    return rows, complaints
