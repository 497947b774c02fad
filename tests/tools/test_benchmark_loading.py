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
            "--repeats 1 --shards".split()
        )
    finally:
        torch.set_num_threads(n_threads)
    output = capsys.readouterr().out.splitlines()
    header, *lines = [line for line in output if "shards:" not in line]
    assert header.split() == ["rate", "workers", "form", "clips_per_s"]
    assert [line.split()[:3] for line in lines] == [
        [rate, workers, form]
        for rate in ("8000", "16000")
        for workers in ("0", "1")
        for form in ("files", "shards")
    ]


def test_a_manifest_is_measured_up_to_its_first_batch(tool, capsys):
    n_threads = torch.get_num_threads()
    try:
        tool.main("--rows 300 --workers 1".split())
    finally:
        torch.set_num_threads(n_threads)
    output = capsys.readouterr().out
    for name in ("open", "weights", "first batch", "private:"):
        assert name in output


def test_clips_are_the_same_every_time(tool, tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        tool.make_clips(folder, 2, 8000, 0.1, "wav")
    for name in ("0.wav", "1.wav", "train.csv"):
        first, second = ((f / name).read_bytes() for f in folders)
        assert first == second
