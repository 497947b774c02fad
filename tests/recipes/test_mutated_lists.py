"""A damaged list of a corpus is an error that names a list, or it is used.

``AUDIOMAMBA_FUZZ=1 pytest tests/recipes/test_mutated_lists.py`` tries 300
changes of every list of every recipe; this takes ten minutes.
"""

import os
import random
import re
import runpy
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile

from audiomamba.dataio.manifest import read_manifest
from audiomamba.dataio.problems import PreparationError

from .test_impossible_values import RECIPES, read

VALUES = [b"inf", b"-inf", b"nan", b"-1", b"1e400", b"1e20", b"", b"0", b"1.5"]
VALUES += [b"abc", b"../../x", b"/etc/passwd", "é".encode(), b"a;b"]
RATE = 8000


def change_field(whole, draw):
    lines = whole.splitlines()
    number = draw.randrange(len(lines))
    mark = b"," if b"," in lines[number] else b" "
    fields = lines[number].split(mark)
    place = draw.randrange(len(fields))
    kind = draw.choice(["drop", "add", "value", "quote", "swap"])
    if kind == "drop":
        del fields[place]
    elif kind == "add":
        fields.insert(place, b"surplus")
    elif kind == "value":
        fields[place] = draw.choice(VALUES)
    elif kind == "quote":
        fields[place] = b'"' + fields[place]
    else:
        fields.reverse()
    lines[number] = mark.join(fields)
    return b"\n".join(lines)


def change_line(whole, draw):
    lines = whole.splitlines()
    number = draw.randrange(len(lines))
    kind = draw.choice(["drop", "twice", "empty", "nul", "latin", "surplus"])
    if kind == "drop":
        del lines[number]
    elif kind == "twice":
        lines.insert(number, lines[number])
    elif kind == "empty":
        lines.insert(number, b" , ,")
    elif kind == "nul":
        lines[number] += b"\0"
    elif kind == "latin":
        lines[number] += b"\xe9"
    else:  # in the first row, where pandas takes it for an index
        lines[min(1, len(lines) - 1)] += b",surplus"
    return b"\n".join(lines)


def change_byte(whole, draw):
    content = bytearray(whole)
    place = draw.randrange(len(content))
    kind = draw.choice(["flip", "drop", "add"])
    if kind == "flip":
        content[place] ^= 1 << draw.randrange(8)
    elif kind == "drop":
        del content[place]
    else:
        content.insert(place, draw.choice(b'",; \t0-.'))
    return bytes(content)


def change_file(whole, draw):
    return draw.choice(
        [
            b"",
            whole.splitlines()[0] + b"\n",
            whole[: draw.randrange(len(whole))],
            b"\xef\xbb\xbf" + whole,
            whole.replace(b"\n", b"\r"),
            whole.replace(b",", b";"),
            whole.decode().encode("utf-16"),
        ]
    )


CHANGES = [change_field, change_line, change_byte, change_file]
# Recipe, YAML, lists
LISTS = [
    ("ESC50", "train.py", "aum_tiny", ["meta/esc50.csv"]),
    ("VGGSound", "train.py", "aum_tiny", ["vggsound.csv", "test.csv"]),
    (
        "AudioSet",
        "train.py",
        "aum_tiny",
        ["class_labels_indices.csv", "balanced_train_segments.csv"],
    ),
    (
        "EPIC-Sounds",
        "train.py",
        "aum_tiny",
        [
            "EPIC_Sounds_train.csv",
            "EPIC_Sounds_recognition_test_timestamps.csv",
        ],
    ),
    ("SpeechCommands", "train.py", "aum_tiny", ["testing_list.txt"]),
    ("VoxCeleb", "train.py", "aum_tiny", ["iden_split.txt"]),
    (
        "VoxCeleb",
        "train_embeddings.py",
        "aum_embeddings_tiny",
        ["veri_test2.txt"],
    ),
    (
        "LibriSpeech",
        "train.py",
        "aum_tiny_ctc",
        ["train-clean-5/21/212/21-212.trans.txt"],
    ),
]


@pytest.fixture
def custom(tmp_path):
    """Lists of recipes/Custom with their clips."""
    folder = tmp_path / "clips"
    folder.mkdir()
    wave = np.random.default_rng(0).normal(0, 0.1, RATE)
    for split in ("train", "valid", "test"):
        rows = []
        for number in range(6):
            name = f"{split}{number}"
            soundfile.write(folder / f"{name}.wav", wave, RATE)
            rows.append((name, 1.0, f"{name}.wav", "ab"[number % 2]))
        table = pd.DataFrame(rows, columns=["ID", "duration", "wav", "label"])
        table.to_csv(folder / f"{split}.csv", index=False)
    return SimpleNamespace(folder=folder)


def try_changes(recipe, script, hparams, folder, names, out, count):
    """Prepare a corpus with each of its lists changed so many times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPES / recipe))
        patch.chdir(RECIPES / recipe)
        prepare = runpy.run_path(script, run_name="fuzz")["prepare"]
        path = RECIPES / recipe / "hparams" / f"{hparams}.yaml"
        for name in names:
            whole = (folder / name).read_bytes()
            for seed in range(count):
                draw = random.Random(f"{name} {seed}")
                changed = CHANGES[seed % len(CHANGES)](whole, draw)
                (folder / name).write_bytes(changed)
                shutil.rmtree(out, ignore_errors=True)
                settings = read(path, data_folder=folder, output_folder=out)
                try:
                    prepare(settings)
                except PreparationError as error:
                    # Of two lists, the other may be the one that shows it
                    assert re.search(r"\.csv|\.txt|vocab_size", str(error))
                else:
                    manifest = read_manifest(out / "manifests" / "train.csv")
                    assert np.isfinite(manifest["duration"]).all()
            (folder / name).write_bytes(whole)


def test_the_lists_of_custom(custom, tmp_path):
    names = ["train.csv", "test.csv"]
    place = custom.folder
    out = tmp_path / "out"
    try_changes("Custom", "train.py", "aum_tiny", place, names, out, 24)


@pytest.mark.skipif(
    "AUDIOMAMBA_FUZZ" not in os.environ, reason="AUDIOMAMBA_FUZZ is not set"
)
@pytest.mark.parametrize("recipe, script, hparams, names", LISTS)
def test_the_lists_of_a_corpus(
    recipe, script, hparams, names, make_corpus, tmp_path
):
    folder = make_corpus(recipe).folder
    out = tmp_path / "out"
    try_changes(recipe, script, hparams, folder, names, out, 300)
