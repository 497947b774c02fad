"""Trial lists in VoxCeleb's format, and files that are none."""

import pytest

from audiomamba.dataio.corpora.trials import read_trials, speakers_of
from audiomamba.dataio.problems import PreparationError


def test_a_list_as_distributed_is_read(tmp_path):
    path = tmp_path / "trials.txt"
    path.write_text(
        "1 id10270/5r0dWxy17C8/00001.wav id10270/GWXujl-xAVM/00017.wav\r\n"
        "0 id10270/5r0dWxy17C8/00001.wav id10273/-0OCmm_/00001.wav\n\n"
    )
    trials = read_trials(path)
    assert trials["label"].tolist() == [1, 0]
    assert trials["second"].iloc[1] == "id10273/-0OCmm_/00001.wav"
    assert speakers_of(trials) == {"id10270", "id10273"}


@pytest.mark.parametrize(
    "line",
    [
        "2 a/x/1.wav a/y/1.wav",
        "1 a/x/1.wav",
        "1 a/x/1.wav a/y/1.wav b/z/1.wav",
        "1 1.wav 2.wav",
        "1 ../x/1.wav a/y/1.wav",
        "a/x/1.wav a/y/1.wav",
    ],
)
def test_invalid_lines_are_named(tmp_path, line):
    path = tmp_path / "trials.txt"
    path.write_text(f"1 a/x/1.wav a/y/1.wav\n{line}\n")
    with pytest.raises(PreparationError, match="trials.txt, line 2"):
        read_trials(path)


def test_files_of_ones_own_may_have_any_name(tmp_path):
    path = tmp_path / "trials.txt"
    path.write_text("1 1.wav ./b//2.flac\n")
    assert read_trials(path, own=True).values.tolist() == [
        [1, "1.wav", "b/2.flac"]
    ]
    path.write_text("1 1.wav\n")
    with pytest.raises(PreparationError, match="line 1.*first.wav second.wav"):
        read_trials(path, own=True)


def test_missing_and_empty_lists_are_refused(tmp_path):
    with pytest.raises(PreparationError, match="robots.ox.ac.uk"):
        read_trials(tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(PreparationError, match="is empty"):
        read_trials(tmp_path / "empty.txt")
