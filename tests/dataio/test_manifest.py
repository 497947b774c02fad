"""Manifests, their keys, label files and problem reports."""

import logging

import pandas as pd
import pytest

from audiomamba.dataio.corpora.corpus import list_audio
from audiomamba.dataio.files import replaced_file
from audiomamba.dataio.manifest import (
    inputs_key,
    is_prepared,
    read_labels,
    read_manifest,
    write_labels,
    write_manifests,
)
from audiomamba.dataio.problems import PreparationError, Problems


def rows(*names, label="yes"):
    return pd.DataFrame(
        {
            "ID": names,
            "wav": [f"{name}.wav" for name in names],
            "duration": 1.25,
            "label": label,
        }
    )


def test_a_written_manifest_reads_back(tmp_path):
    table = rows("b", "a", label="None").assign(start=0, stop=7, video="007")
    write_manifests(tmp_path, {"train": table}, ["None"], "key")
    manifest = read_manifest(tmp_path / "train.csv")
    assert manifest.to_dict("list") == {
        "ID": ["a", "b"],
        "duration": [1.25, 1.25],
        "wav": ["a.wav", "b.wav"],
        "label": ["None", "None"],
        "start": [0, 0],
        "stop": [7, 7],
        "video": ["007", "007"],
    }
    assert read_labels(tmp_path / "labels.csv") == ["None"]


def test_reuse_needs_the_same_key_and_unchanged_files(tmp_path, caplog):
    def write():
        write_manifests(
            tmp_path, {"train": rows("a")}, ["yes"], "key", "3 problems"
        )

    write()
    with caplog.at_level(logging.INFO):
        assert is_prepared(tmp_path, "key")
    # files left out are logged on every use
    assert "3 problems" in caplog.text
    assert not is_prepared(tmp_path, "another key")
    (tmp_path / "train.csv").write_text("ID,duration,wav,label\n")
    assert not is_prepared(tmp_path, "key")
    write()
    (tmp_path / "labels.csv").unlink()
    assert not is_prepared(tmp_path, "key")


def test_an_interrupted_preparation_counts_as_none(tmp_path, monkeypatch):
    write_manifests(tmp_path, {"train": rows("a")}, ["yes"], "key")

    def interrupted(path, labels):
        raise KeyboardInterrupt

    monkeypatch.setattr("audiomamba.dataio.manifest.write_labels", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_manifests(tmp_path, {"train": rows("a", "b")}, ["yes"], "key")
    assert not is_prepared(tmp_path, "key")


def test_an_interrupted_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replaced_file(path) as draft:
        draft.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_key_changes_with_every_input(tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("1 a.wav")
    audio = tmp_path / "audio"
    audio.mkdir()
    (audio / "a.wav").write_bytes(b"1234")

    def key(**parameters):
        return inputs_key(parameters, [listed], list_audio(audio))

    keys = [key(), key(allow_missing=True)]
    listed.write_text("2 a.wav")
    keys.append(key())
    (audio / "a.wav").write_bytes(b"12345")
    keys.append(key())
    (audio / "a.wav").rename(audio / "b.wav")
    keys.append(key())
    assert len(set(keys)) == len(keys)
    assert key() == keys[-1]


def test_empty_splits_and_repeated_ids_are_refused(tmp_path):
    with pytest.raises(PreparationError, match="valid: none of"):
        write_manifests(tmp_path, {"valid": rows()}, [], "key")
    with pytest.raises(PreparationError, match="the first is a"):
        write_manifests(tmp_path, {"train": rows("a", "a")}, [], "key")
    assert not (tmp_path / "train.csv").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ID,duration,label\na,1,x\n", "no column .'wav'."),
        ("ID,duration,wav,label\na,long,a.wav,x\n", "line 2.*'long'.*positive"),
        ("ID,duration,wav\na,1,a.wav\nb,nan,a.wav\n", "line 3.*'nan'"),
        ("ID,duration,wav\na,inf,a.wav\n", "line 2.*'inf'"),
        ("ID,duration,wav\na,-1,a.wav\n", "line 2.*'-1'"),
        ("ID,duration,wav\na,,a.wav\n", "line 2.*''"),
        ("ID,duration,wav\n,1,a.wav\n", "line 2: has no ID"),
        ("ID,duration,wav,start\na,1,a.wav,5\n", "start, but not both"),
        ("ID,duration,wav,stop\na,1,a.wav,5\n", "stop, but not both"),
        ("ID,duration,wav,start,stop\na,1,a.wav,-1,5\n", "start is '-1'"),
        ("ID,duration,wav,start,stop\na,1,a.wav,0,-2\n", "stop is '-2'"),
        ("ID,duration,wav,start,stop\na,1,a.wav,0.5,9\n", "start is '0.5'"),
        ("ID,duration,wav,start,stop\na,1,a.wav,nan,9\n", "start is 'nan'"),
        (
            "ID,duration,wav,label\na,1,a.wav,x\na,1,b.wav,x\n",
            "ID a is repeated",
        ),
    ],
)
def test_invalid_manifests_are_refused(tmp_path, text, words):
    path = tmp_path / "train.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)


def test_missing_files_say_how_to_get_them(tmp_path):
    for read in (read_manifest, read_labels):
        with pytest.raises(PreparationError, match="skip_prep: False"):
            read(tmp_path / "none.csv")


def test_labels_may_contain_commas_and_be_in_another_column(tmp_path):
    path = tmp_path / "labels.csv"
    write_labels(path, ["speech, talk", "NA", 'a "b"'])
    assert read_labels(path) == ["speech, talk", "NA", 'a "b"']
    path.write_text("index,mid,display_name\n1,/m/b,Bee\n0,/m/a,Ant\n")
    assert read_labels(path, "mid") == ["/m/a", "/m/b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("index,name\n0,a\n", "no column .'label'."),
        ("index,label\n0,a\n2,b\n", "0 to 1"),
        ("index,label\n0,a\n1,a\n", "repeated"),
        ("index,label\n0,a\n1,\n", "empty"),
    ],
)
def test_invalid_label_files_are_refused(tmp_path, text, words):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_labels(path)


def test_labels_are_stripped_and_composed(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text(
        "ID,duration,wav,label\na,1,a.wav, dog \nb,1,b.wav,cafe\u0301\n",
        encoding="utf-8-sig",
    )
    assert read_manifest(path)["label"].tolist() == ["dog", "caf\u00e9"]
    path = tmp_path / "labels.csv"
    path.write_text("index, label\n0, dog\n1,dog \n")
    with pytest.raises(PreparationError, match="repeated"):
        read_labels(path)
    path.write_text("index, label\r\n0, dog\r\n", encoding="utf-8-sig")
    assert read_labels(path) == ["dog"]


def test_numbers_may_be_written_as_spreadsheets_do(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("ID,duration,wav,start,stop\na, 1e0,a.wav,5.0,-1.0\n")
    table = read_manifest(path)
    assert table[["duration", "start", "stop"]].values.tolist() == [[1, 5, -1]]


def many_problems(count):
    problems = Problems()
    for index in reversed(range(count)):
        problems.add(f"{index:03d}.wav: is empty; fix it", {"train": 1})
    return problems


def test_all_problems_are_reported_at_once(tmp_path):
    report = tmp_path / "problems.txt"
    with pytest.raises(PreparationError) as caught:
        many_problems(30).settle(report)
    message = str(caught.value)
    assert "30 problems" in message and "--allow_missing True" in message
    assert "000.wav" in message and "019.wav" in message
    assert (
        "020.wav" not in message
        and f"10 more; all are listed in {report}" in message
    )
    assert len(report.read_text().splitlines()) == 30
    with pytest.raises(PreparationError):
        many_problems(3).settle(report)
    assert not report.exists()


def test_files_left_out_are_counted_by_split(tmp_path, caplog):
    problems = many_problems(3)
    problems.add("id7: no files; extract them", {"test": 2, "train": 1})
    left_out = problems.settle(
        tmp_path / "problems.txt", True, {"train": 10, "test": 4}
    )
    assert left_out == "4 problems, left out: 2 of 4 test, 4 of 10 train"
    assert left_out in caplog.text
    assert len((tmp_path / "problems.txt").read_text().splitlines()) == 4


def test_more_than_max_missing_is_an_error(tmp_path):
    report = tmp_path / "problems.txt"
    many_problems(3).settle(report, True, {"train": 10}, max_missing=0.3)
    with pytest.raises(PreparationError, match="train lacks 30.0%.*max_miss"):
        many_problems(3).settle(report, True, {"train": 10}, max_missing=0.2)


def test_an_old_report_is_deleted_when_no_problems_remain(tmp_path):
    (tmp_path / "problems.txt").write_text("old")
    assert Problems().settle(tmp_path / "problems.txt") == ""
    assert not (tmp_path / "problems.txt").exists()


def test_problems_are_shown_when_something_else_gives_up(tmp_path):
    report = tmp_path / "problems.txt"
    error = PreparationError("no clip is left")
    assert Problems().explain(error, report) is error
    shown = str(many_problems(30).explain(error, report))
    assert shown.startswith("no clip is left\n30 problems")
    assert "000.wav" in shown and f"listed in {report}" in shown
    assert len(report.read_text().splitlines()) == 30
    problems = many_problems(2)
    with pytest.raises(PreparationError) as caught:
        problems.settle(report)
    # which shows them already
    assert problems.explain(caught.value, report) is caught.value


def test_a_report_that_cannot_be_written_does_not_hide_the_problems(tmp_path):
    (tmp_path / "file").write_text("no folder")
    report = tmp_path / "file" / "problems.txt"
    with pytest.raises(PreparationError) as caught:
        many_problems(30).settle(report)
    message = str(caught.value)
    assert "019.wav" in message and "cannot be written" in message


def test_names_that_are_not_utf8_can_be_printed():
    problems = Problems()
    problems.add(
        b"caf\xe9.wav: is bad; rename it".decode("utf-8", "surrogateescape")
    )
    assert problems.messages == ["caf\\xe9.wav: is bad; rename it"]
