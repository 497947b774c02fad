"""Audio in HDF5: several processes, damaged files, windows."""

import multiprocessing
import pickle

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from audiomamba.dataio.audio import AudioError
from audiomamba.dataio.hdf5 import HDF5Audio, HDF5Reader
from audiomamba.dataio.pipeline import RandomCrop

N_SAMPLES = 200_000


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "audio.hdf5"
    ramp = np.arange(N_SAMPLES, dtype=np.float32)
    with h5py.File(path, "w") as file:
        for index in range(4):
            file[f"v{index}"] = ramp + 1e6 * index
    return path


class Segments:
    """A dataset whose samples encode their recording and position."""

    def __init__(self, audio, length):
        self.audio, self.length = audio, length

    def __len__(self):
        return 4 * (N_SAMPLES // self.length)

    def __getitem__(self, index):
        part, recording = divmod(index, 4)
        start = part * self.length
        row = self.audio.read(f"v{recording}", start, start + self.length)
        return row, self.audio._process


def test_forked_workers_open_the_file_themselves(path):
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system has no fork")
    segments = Segments(HDF5Audio(path), length=5000)
    alone = [segments[index] for index in range(len(segments))]
    loader = DataLoader(
        segments,
        batch_size=None,
        num_workers=2,
        multiprocessing_context="fork",
    )
    for (row, opened_by), (expected, parent) in zip(loader, alone):
        assert torch.equal(row, expected)
        assert opened_by != parent
        # and the parent can keep reading
        assert segments[0][0][0] == 0.0


def test_a_pickled_copy_opens_the_file_itself(path):
    audio = HDF5Audio(path)
    audio.read("v0")
    copy = pickle.loads(pickle.dumps(audio))
    audio.close()
    assert copy.n_samples("v3") == N_SAMPLES
    assert audio.read("v1", 3, 5).tolist() == [1_000_003.0, 1_000_004.0]


def test_integers_become_floats_in_range(tmp_path):
    path = tmp_path / "int.hdf5"
    with h5py.File(path, "w") as file:
        file["v"] = np.array([-32768, 0, 16384], dtype=np.int16)
    assert HDF5Audio(path).read("v").tolist() == [-1.0, 0.0, 0.5]


@pytest.mark.parametrize(
    "recording, start, stop, words",
    [
        ("none", 0, 5, "no recording none"),
        ("v0", 5, 5, "samples 5 to 5 cannot be read"),
        ("v0", 0, N_SAMPLES + 1, f"{N_SAMPLES} samples"),
        ("v0", -1, 5, "samples -1 to 5"),
        ("stereo", 0, 1, "convert it to mono"),
        ("group", 0, 1, "convert it to mono"),
        ("text", 0, 1, "convert it to mono"),
        ("broken", 0, 9, "NaN, infinite"),
    ],
)
def test_unreadable_recordings_and_segments_are_named(
    path, recording, start, stop, words
):
    with h5py.File(path, "a") as file:
        file["stereo"] = np.zeros((9, 2))
        file["group/inner"] = np.zeros(9)
        file["text"] = [b"a", b"b"]
        file["broken"] = np.array([0.0] * 5 + [np.inf] * 4)
    with pytest.raises(AudioError, match=words) as caught:
        HDF5Audio(path).read(recording, start, stop)
    assert str(path) in str(caught.value)
    if recording == "broken":
        assert HDF5Audio(path).read("broken", 0, 5).tolist() == [0.0] * 5


def test_damaged_files_are_named(path, tmp_path):
    with pytest.raises(AudioError, match="is missing"):
        HDF5Audio(tmp_path / "none.hdf5").names()
    with pytest.raises(AudioError, match="is not a file"):
        HDF5Audio(tmp_path).names()
    content = path.read_bytes()
    for name, bad in (
        ("empty", b""),
        ("text", b"hello"),
        ("cut", content[:-9]),
    ):
        damaged = tmp_path / name
        damaged.write_bytes(bad)
        with pytest.raises(AudioError, match=f"{name}: cannot be opened"):
            HDF5Audio(damaged).names()


def test_long_segments_are_cut_or_cropped(path, tmp_path):
    def bounds(reader, start, stop):
        sig = reader("id", path.name, "v0", start, stop)
        return int(sig[0]), int(sig[-1]) + 1

    centred = HDF5Reader(tmp_path, 1000, max_duration=10.0)
    assert bounds(centred, 50, 60) == (50, 60)
    assert bounds(centred, 0, 10_000) == (0, 10_000)
    assert bounds(centred, 0, 10_001) == (0, 10_000)
    assert bounds(centred, 100, 30_100) == (10_100, 20_100)
    crop = RandomCrop(seed=1)
    cropped = HDF5Reader(tmp_path, 1000, max_duration=10.0, crop=crop)
    found = set()
    for epoch in range(20):
        crop.set_epoch(epoch)
        start, stop = bounds(cropped, 100, 30_100)
        assert stop - start == 10_000 and 100 <= start <= 20_100
        found.add(start)
    assert len(found) == 20
    with pytest.raises(ValueError, match="max_duration"):
        HDF5Reader(tmp_path, 1000, crop=crop)
