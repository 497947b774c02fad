"""VGGSound in miniature: vggsound.csv, test.csv and converted audio."""

import csv

from mini_corpus.files import FAULTS, stream, write_audio, write_fault
from mini_corpus.textures import make_texture
from mini_corpus.youtube import video_id

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
    """Write the corpus.

    Arguments
    ---------
    folder : Path
        Where to.
    seed : int
        Another seed, other sounds.
    broken : bool
        Add clips without audio, bad files and bad rows.
    n_train, n_test : int
        Clips of a class.
    seconds : float
        Length of a clip.

    Returns
    -------
    list of str
        The bad entries.
    """
    rows = []
    for label, sound in CLASSES.items():
        for index in range(n_train + n_test):
            rng = stream(seed, label, index)
            name, start = video_id(rng), int(rng.integers(0, 400))
            suffix = ("wav", "flac")[index % 2]
            write_audio(
                _place(folder, name, start, suffix),
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


def _place(folder, name, start, suffix):
    return folder / "audio" / f"{name}_{start:06d}.{suffix}"


def _add_broken(folder, seconds, seed):
    """Rows that cannot be used as they stand."""
    rng = stream(seed, "broken")
    rows = [(video_id(rng), 30, "sea waves", s) for s in ("train", "test")]
    complaints = [
        f"vggsound.csv: {row[0]}: listed, but there is no audio" for row in rows
    ]
    samples = make_texture("waves", seconds, RATE, rng)
    for fault, what in FAULTS.items():
        path = _place(folder, video_id(rng), 7, "wav")
        write_fault(path, fault, samples, RATE)
        rows.append((path.name[:11], 7, "sea waves", "train"))
        complaints.append(f"audio/{path.name}: {what}")
    name = video_id(rng)
    write_audio(_place(folder, name, 7, "wav"), samples, RATE)
    rows.append((name, 7, "no such sound", "train"))
    complaints.append(f"vggsound.csv: {name}: 'no such sound' is no class")
    return rows, complaints


def _write_csv(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
