"""audiomamba-tag --events: files that other programs read."""

import csv
import json
import re
import shutil

import pytest

from audiomamba.cli.tag import main


@pytest.fixture
def events(run, capsys):
    """Run the command on a file: options -> status and both outputs."""

    def call(*options, files=run.paths[4:5]):
        words = [*files, "--model", run.exported, "--device", "cpu"]
        words += ["--window", "0.2", "--hop", "0.1", "--threshold", "0.2"]
        status = main([*map(str, [*words, *options])])
        return status, *capsys.readouterr()

    return call


def test_a_table_has_the_events_that_are_printed(events, run, tmp_path):
    path = tmp_path / "new" / "events.csv"
    status, output, _ = events("--events", path, files=run.paths[4:6])
    rows = list(csv.DictReader(path.open()))
    assert status == 0 and rows
    assert {row["file"] for row in rows} <= set(map(str, run.paths[4:6]))
    for row in rows:
        assert 0 <= float(row["onset"]) < float(row["offset"]) <= 0.6
        assert row["label"] in output and 0.2 <= float(row["score"]) <= 1
    assert output.count(" s  ") == len(rows)


@pytest.mark.parametrize(
    "name, options, first",
    [
        ("a.txt", ["--format", "audacity"], r"^\d+\.\d{3}\t\d+\.\d{3}\t\w"),
        ("a.txt", ["--format", "raven"], r"^Selection\tView\tChannel"),
        ("a.rttm", [], r"^SPEAKER 04 1 \d+\.\d{3} \d+\.\d{3} <NA> <NA> \S+ "),
        ("a.jsonl", [], r'^\{"file": '),
    ],
)
def test_other_formats(events, tmp_path, name, options, first):
    status, *_ = events("--events", tmp_path / name, *options)
    lines = (tmp_path / name).read_text().splitlines()
    assert status == 0 and re.search(first, lines[0]), lines[0]
    if name == "a.jsonl":
        assert {"onset", "offset", "score"} < set(json.loads(lines[0]))
    if "raven" in options:
        widths = {len(line.split("\t")) for line in lines}
        assert widths == {10} and len(lines) > 1
    if name == "a.rttm":
        assert {len(line.split(" ")) for line in lines} == {10}


def test_recordings_of_one_name_are_told_apart_in_rttm(events, run, tmp_path):
    files = [tmp_path / name for name in ("a/x.wav", "b/x.wav", "b/y.wav")]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        shutil.copy(run.paths[4], file)
    events("--events", tmp_path / "a.rttm", files=files)
    lines = (tmp_path / "a.rttm").read_text().splitlines()
    names = {line.split()[1] for line in lines}
    assert names == {"a/x.wav", "b/x.wav", "b/y.wav"}


def test_a_recording_each_gets_a_file_in_a_folder(events, run, tmp_path):
    status, *_ = events(
        "--events",
        tmp_path / "out",
        "--format",
        "audacity",
        files=run.paths[:2],
    )
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert status == 0 and names == ["00.wav.txt", "01.wav.txt"]


def test_bad_files_are_named_and_the_events_of_the_others_kept(
    events, run, tmp_path
):
    path = tmp_path / "events.csv"
    files = [run.paths[4], tmp_path / "none.wav"]
    status, _, errors = events("--events", path, files=files)
    assert status == 1 and "none.wav: is missing" in errors
    assert len(path.read_text().splitlines()) > 1


def test_a_picture_shows_events(events, tmp_path):
    pytest.importorskip("matplotlib")
    target = tmp_path / "out.png"
    status, *_ = events("--events", tmp_path / "a.csv", "--plot", target)
    assert status == 0 and target.is_file()


@pytest.mark.parametrize(
    "options",
    [
        ["--events", "sound.wav"],
        ["--events", "folder"],
    ],
)
def test_targets_without_meaning_are_refused(events, options):
    with pytest.raises(SystemExit, match="2"):
        events(*options)


@pytest.mark.parametrize(
    "option",
    "--format=csv --threshold=7 --low=1 --median=1 --min-gap=1".split(),
)
def test_options_of_events_need_events(run, capsys, option):
    with pytest.raises(SystemExit):
        main([str(run.paths[4]), "--model", str(run.exported), option])
    name = option.partition("=")[0]
    assert f"{name} needs --events" in capsys.readouterr().err


def test_a_folder_may_have_a_dot_in_its_name(events, tmp_path):
    folder = tmp_path / "found.d"
    folder.mkdir()
    status, *_ = events("--events", folder, "--format", "raven")
    assert status == 0 and [p.name for p in folder.iterdir()] == ["04.wav.txt"]


def test_earlier_events_outlive_a_call_that_hears_nothing(events, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("mine")
    with pytest.raises(SystemExit, match="low is 7"):
        events("--events", path, "--low", "7")
    assert events("--events", path, files=[tmp_path / "none.wav"])[0] == 1
    assert path.read_text() == "mine"
    events("--events", path)
    assert path.read_text().startswith("file,onset,")
