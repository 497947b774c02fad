"""ESC-50 in miniature: meta/esc50.csv and audio at 44.1 kHz in five folds."""

import csv

from mini_corpus.files import FAULTS, stream, write_audio, write_fault
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
_COLUMNS = [
    "filename",
    "fold",
    "target",
    "category",
    "esc10",
    "src_file",
    "take",
]


def make(folder, seed, broken, n_clips, seconds):
    """Write the corpus.

    Arguments
    ---------
    folder : Path
        Where to.
    seed : int
        Another seed, other sounds.
    broken : bool
        Add bad files and rows.
    n_clips : int
        Clips of a class in each fold.
    seconds : float
        Length of a clip.

    Returns
    -------
    list of str
        The bad entries.
    """
    rows = []
    for category, (target, esc10, sound) in CLASSES.items():
        for fold in FOLDS:
            for index in range(n_clips):
                rng = stream(seed, category, fold, index)
                # two takes of a recording, always in the same fold
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
    with open(folder / "meta" / "esc50.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: row["filename"]))
    return complaints


def _row(fold, source, take, target, category):
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
    """Bad files, a row without a file, a fold and a target that are none."""
    samples = make_texture("rain", seconds, RATE, stream(seed, "broken"))
    rows, complaints = [], []
    for source, (fault, what) in enumerate(FAULTS.items(), start=1):
        row = _row(1, source, "A", 10, "rain")
        write_fault(folder / "audio" / row["filename"], fault, samples, RATE)
        rows.append(row)
        complaints.append(f"audio/{row['filename']}: {what}")
    for row, what in (
        (_row(2, 99, "A", 10, "rain"), "no such file"),
        (_row(6, 98, "A", 10, "rain"), "no such fold"),
        (_row(3, 97, "A", 50, "rain"), "no such target"),
    ):
        if "file" not in what:
            write_audio(folder / "audio" / row["filename"], samples, RATE)
        rows.append(row)
        complaints.append(f"meta/esc50.csv: {row['filename']}: {what}")
    return rows, complaints
