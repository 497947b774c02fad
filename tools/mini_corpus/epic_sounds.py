"""EPIC-Sounds in miniature: annotations and one HDF5 of 24 kHz audio."""

import numpy as np
import pandas as pd

from mini_corpus.files import stream
from mini_corpus.textures import make_texture

OPTIONS = {
    "n_train": (6, "training videos"),
    "n_valid": (2, "validation videos"),
    "n_test": (2, "recognition test videos, without labels"),
    "seconds": (40.0, "length of a video's audio, at least 20"),
}

RATE = 24000
AUDIO = "EPIC_audio.hdf5"
LISTS = {
    "train": "EPIC_Sounds_train.csv",
    "valid": "EPIC_Sounds_validation.csv",
    "test": "EPIC_Sounds_recognition_test_timestamps.csv",
}
# class -> (class_id of the owners, an annotator's words, sound)
CLASSES = {
    "metal-only collision": (0, "clang of pans", "metal"),
    "cut / chop": (2, "chopping", "knock"),
    "rustle": (4, "paper rustle", "rustle"),
    "water": (5, "tap, running", "water"),
    "beep": (15, "microwave beeps", "beep"),
    "sizzling / boiling": (29, "frying", "sizzle"),
}
_UNLABELLED = (
    "annotation_id participant_id video_id start_timestamp stop_timestamp "
    "start_sample stop_sample"
).split()
_COLUMNS = [*_UNLABELLED, "description", "class", "class_id"]


def make(folder, seed, broken, n_train, n_valid, n_test, seconds):
    """Write the corpus."""
    import h5py

    if seconds < 20.0:
        raise ValueError(
            f"{seconds} s are too short: with less than 20 s no segment is "
            "longer than 10 s, the length that recipes crop to"
        )
    counts = {"train": n_train, "valid": n_valid, "test": n_test}
    complaints = []
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / AUDIO, "w") as audio:
        number = 0
        for split, count in counts.items():
            rows = []
            for _ in range(count):
                number += 1
                video = f"P{number % 3 + 1:02d}_{100 + number}"
                samples, found = _video(video, seconds, seed)
                audio.create_dataset(video, data=samples)
                rows += found
            if broken:
                bad_rows, bad = _bad_rows(LISTS[split], rows, seconds)
                rows += bad_rows
                complaints += bad
            columns = _COLUMNS if split != "test" else _UNLABELLED
            table = pd.DataFrame(rows, columns=columns)
            table.to_csv(folder / LISTS[split], index=False)
        if broken:
            complaints += _spoil_audio(audio, rows[0])
    return complaints


def _video(video, seconds, seed):
    """Return kitchen noise with one sound after another, and annotations."""
    rng = stream(seed, video)
    samples = 0.003 * rng.standard_normal(round(seconds * RATE))
    rows, start = [], rng.uniform(0.2, 1.0)
    longest = 11.0
    while start + 0.2 < seconds:
        label = str(rng.choice(list(CLASSES)))
        # The first segment is longer than a model's input.
        length = longest if not rows else rng.uniform(0.2, 5.0)
        stop = min(start + length, seconds)
        rows.append(_annotation(video, len(rows), start, stop, label))
        first, last = rows[-1]["start_sample"], rows[-1]["stop_sample"]
        sound = CLASSES[label][2]
        made = make_texture(sound, (last - first) / RATE, RATE, rng)
        samples[first:last] += made[: last - first]
        start = stop + rng.uniform(-0.1, 1.0)
    return samples.astype(np.float32), rows


def _annotation(video, number, start, stop, label):
    """Return a row; times are whole milliseconds, as in the real lists."""
    start, stop = (round(1000 * seconds) for seconds in (start, stop))
    class_id, description, _ = CLASSES[label]
    return {
        "annotation_id": f"{video}_{number}",
        "participant_id": video.split("_")[0],
        "video_id": video,
        "start_timestamp": _timestamp(start),
        "stop_timestamp": _timestamp(stop),
        "start_sample": start * RATE // 1000,
        "stop_sample": stop * RATE // 1000,
        "description": description,
        "class": label,
        "class_id": class_id,
    }


def _timestamp(milliseconds):
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}.{rest:03d}"


def _bad_rows(name, rows, seconds):
    """Return annotations that cannot be used."""
    video = rows[0]["video_id"]
    bad = {
        "a video without audio": _annotation("P99_999", 0, 1, 2, "water"),
        "stops after the video's end": _annotation(
            video, 900, seconds - 1, seconds + 5, "water"
        ),
        "stops before it starts": _annotation(video, 901, 3, 2, "water"),
    }
    if name != LISTS["test"]:
        bad["44 is no class_id"] = {
            **_annotation(video, 902, 1, 2, "water"),
            "class": "no such class",
            "class_id": 44,
        }
    complaints = [
        f"{name}: {row['annotation_id']}: {what}" for what, row in bad.items()
    ]
    return list(bad.values()), complaints


def _spoil_audio(audio, row):
    """Put NaN into the first annotated segment of the last video."""
    audio[row["video_id"]][row["start_sample"] + 100] = np.nan
    return [f"{AUDIO}: {row['annotation_id']}: NaN among its samples"]
