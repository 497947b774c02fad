"""Clips in shards are those of the loose files, to the bit."""

import json
import subprocess
import tarfile

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from audiomamba.dataio.audio import AudioError, audio_info, read_audio
from audiomamba.dataio.files import changed_files
from audiomamba.dataio.manifest import read_manifest
from audiomamba.dataio.pipeline import ClipDataset, RandomCrop
from audiomamba.dataio.reader import AudioReader

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Twelve files of four kinds, with two rows of one of them."""
    folder = tmp_path_factory.mktemp("corpus")
    generator = np.random.default_rng(0)
    rows = []
    for number in range(12):
        wav = f"a b/{number}.take{SUFFIXES[number % 4]}"
        (folder / wav).parent.mkdir(exist_ok=True)
        wave = 0.1 * generator.standard_normal(8000 + 100 * number)
        soundfile.write(folder / wav, wave, 8000)
        rows.append((f"{number}/x", 1.0, wav, "dog;cat", 0, -1))
    rows.append(("part", 0.1, "a b/0.take.wav", "dog", 800, 1600))
    columns = ["ID", "duration", "wav", "label", "start", "stop"]
    table = pd.DataFrame(rows, columns=columns)
    table.to_csv(folder / "train.csv", index=False)
    table[:3].to_csv(folder / "test.csv", index=False)
    (folder / "labels.csv").write_text("index,label\n0,cat\n1,dog\n")
    return folder


@pytest.fixture
def make(corpus, tmp_path, tools_on_path):
    """Pack the corpus into shards of two or three clips."""
    from make_shards import main

    def run(data_folder=corpus):
        options = ["--data_folder", str(data_folder), "--megabytes", "0.04"]
        main([str(corpus), str(tmp_path / "shards"), *options])
        return tmp_path / "shards"

    return run


def clips(folder, data_folder):
    """Return every clip of a training manifest, cropped in its own way."""
    crop = RandomCrop(seed=3)
    reader = AudioReader(data_folder, 16000, 0.5, crop)
    dataset = ClipDataset(folder / "train.csv", reader)
    return {clip["id"]: clip["sig"] for clip in dataset}


@pytest.mark.parametrize("at_once", [0, 1 << 24])
def test_clips_in_shards_are_the_same(corpus, make, at_once, monkeypatch):
    """Whether members are read at once or piece by piece."""
    monkeypatch.setattr("audiomamba.dataio.codecs.members._LARGE", at_once)
    shards = make()
    assert len([*shards.glob("train-*.tar")]) > 2
    loose, packed = clips(corpus, corpus), clips(shards, shards)
    assert loose.keys() == packed.keys() and len(loose) == 13
    for name, sig in loose.items():
        assert torch.equal(sig, packed[name]), name
    old, new = (read_manifest(f / "train.csv") for f in (corpus, shards))
    pd.testing.assert_frame_equal(
        old.drop(columns="wav"), new.drop(columns="wav")
    )
    for before, after in zip(old["wav"], new["wav"]):
        info = audio_info(corpus / before, verify=True)
        assert audio_info(shards / after, verify=True) == info
        whole = read_audio(corpus / before)
        assert torch.equal(whole, read_audio(shards / after))


def test_sums_tell_what_changed(make):
    shards = make()
    check = ["sha256sum", "-c", "--quiet", "SHA256SUMS"]
    subprocess.run(check, cwd=shards, check=True)
    assert changed_files(shards) == []
    path = shards / "train-000001.tar"
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)
    assert changed_files(shards) == ["train-000001.tar"]


def test_a_stopped_command_goes_on(make):
    shards = make()
    before = {p.name: p.read_bytes() for p in shards.iterdir()}
    times = {p.name: p.stat().st_mtime_ns for p in shards.glob("*.tar")}
    (shards / "train-000001.tar").unlink()
    (shards / "train-000002.json").unlink()
    make()
    assert {p.name: p.read_bytes() for p in shards.iterdir()} == before
    written = {
        p.name
        for p in shards.glob("*.tar")
        if p.stat().st_mtime_ns != times[p.name]
    }
    assert written == {"train-000001.tar", "train-000002.tar"}


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda p: p.unlink(), "cannot be read.*data_folder"),
        (lambda p: p.write_bytes(bytes(9000)), "no member of .* bytes begins"),
        (lambda p: p.write_bytes(p.read_bytes()[:600]), "no member of"),
        (
            lambda p: p.write_bytes(p.read_bytes()[1024:]),
            "is not the archive.*SHA256SUMS",
        ),
    ],
)
def test_a_damaged_shard_is_named(make, damage, words):
    shards = make()
    wav = read_manifest(shards / "test.csv")["wav"][0]
    damage(shards / wav.partition("#")[0])
    with pytest.raises(AudioError, match=f"(?s)test-000000.tar.*{words}"):
        read_audio(shards / wav)


def test_missing_and_unreadable_files_are_named(corpus, make, tmp_path):
    with pytest.raises(SystemExit, match="12 files .* missing.*data_folder"):
        make(tmp_path)
    twin = tmp_path / "twin"
    for path in (corpus / "a b").iterdir():
        (twin / "a b").mkdir(parents=True, exist_ok=True)
        (twin / "a b" / path.name).write_bytes(path.read_bytes())
    (twin / "a b" / "5.take.flac").write_bytes(b"\0" * 3000)
    with pytest.raises(SystemExit, match="5.take.flac cannot be read"):
        make(twin)


def test_shards_are_plain_archives(corpus, make):
    shards = make()
    found = {}
    for path in shards.glob("train-*.tar"):
        with tarfile.open(path) as archive:
            for member in archive:
                found[member.name] = archive.extractfile(member).read()
    assert len(found) == 24
    rows = [json.loads(found[n]) for n in found if n.endswith(".json")]
    assert sorted(row["ID"] for own in rows for row in own) == sorted(
        read_manifest(corpus / "train.csv")["ID"]
    )
    sounds = {found[n] for n in found if not n.endswith(".json")}
    assert sounds == {p.read_bytes() for p in (corpus / "a b").iterdir()}


def test_webdataset_reads_them(corpus, make):
    webdataset = pytest.importorskip("webdataset")
    shards = make()
    paths = sorted(map(str, shards.glob("train-*.tar")))
    samples = [*webdataset.WebDataset(paths, shardshuffle=False)]
    assert len(samples) == 12
    for sample in samples:
        (suffix,) = set(sample) & {s[1:] for s in SUFFIXES}
        for row in json.loads(sample["json"]):
            files = (corpus / "a b").glob(f"{row['ID'].partition('/')[0]}.*")
            if row["ID"] != "part":
                assert sample[suffix] in [p.read_bytes() for p in files]
