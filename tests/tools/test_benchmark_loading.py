"""The benchmark of the data loader delivers every clip, at any rate."""

import pytest
import torch


@pytest.fixture
def tool():
    """The tool; `conftest.py` puts its folder on the path."""
    import benchmark_loading

    return benchmark_loading


def test_every_rate_and_number_of_workers_has_a_line(tool, capsys):
    n_threads = torch.get_num_threads()
    try:
        tool.main(
            "--rates 8000 16000 --workers 0 1 --n_clips 3 --seconds 0.2 "
            "--repeats 1".split()
        )
    finally:
        torch.set_num_threads(n_threads)
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["rate", "workers", "clips_per_s"]
    settings = [line.split()[:2] for line in lines]
    assert settings == [
        ["8000", "0"],
        ["8000", "1"],
        ["16000", "0"],
        ["16000", "1"],
    ]


def test_clips_are_the_same_every_time(tool, tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        tool.make_clips(folder, 2, 8000, 0.1, "wav")
    for name in ("0.wav", "1.wav", "clips.csv"):
        first, second = ((f / name).read_bytes() for f in folders)
        assert first == second
