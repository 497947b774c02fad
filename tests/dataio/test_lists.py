"""Lists and tables as many programs save them."""

import pytest

from audiomamba.dataio.columns import read_table
from audiomamba.dataio.lists import (
    normal_path,
    read_fields,
    read_lines,
)
from audiomamba.dataio.problems import PreparationError

BOM = b"\xef\xbb\xbf"


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "list.csv"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,x y\n2,\n",
        b"a,b\n1,x y\n2,",
        BOM + b"a,b\n1,x y\n2,\n",
        b"a,b\r\n1,x y\r\n2,\r\n",
        b"a,b\r1,x y\r2,\r",
        b" a ,b\n1, x y\t\n2,  \n",
        b'"a","b"\n"1","x y"\n2,""\n',
        b"a,b,,\n1,x y,,\n2,,,\n,,,\n",
        BOM + b"a,b\n" + BOM + b"1,x y\n2,\n",
    ],
)
def test_a_table_is_the_same_however_it_was_saved(write, content):
    table = read_table(write(content), ["a", "b"])
    assert table.to_dict("index") == {
        2: {"a": "1", "b": "x y"},
        3: {"a": "2", "b": ""},
    }


def test_a_long_table_with_every_irregularity(write):
    """Rows are read by the hundred; each kind comes at several places."""
    odd = ["{},w,\n", "{}, w ,\n", '{},"w",\n', "{},w,,,\n", "\n{},w,\n,,\n"]
    rows = [odd[n % 5 if n % 7 == 0 else 0].format(n) for n in range(1000)]
    content = "ID,wav,label\n" + "".join(rows)
    table = read_table(write(content.encode()), ["wav"])
    assert table["ID"].tolist() == [*map(str, range(1000))]
    assert set(table["wav"]) == {"w"} and set(table["label"]) == {""}
    text = content.splitlines()
    for line, name in table["ID"].items():
        assert text[line - 1].startswith(f"{name},")


def test_lines_are_numbered_as_an_editor_does(write):
    path = write(BOM + b"\n a.wav \r\n\t\nb.wav")
    assert list(read_lines(path)) == [(2, "a.wav"), (4, "b.wav")]
    path = write(b'a,"1,2"\n\nb,3\n')
    assert list(read_fields(path)) == [(1, ["a", "1,2"]), (3, ["b", "3"])]
    path = write(b"a,b\n\n1,2\n")
    assert read_table(path, ["a"]).index.tolist() == [3]


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"a,b\n1,\xe4\n", r"line 2.*iconv -f WINDOWS-1252 .* list\.csv"),
        ("a,b\n1,2\n".encode("utf-16"), "iconv -f UTF-16"),
        ("a,b\n1,2\n".encode("utf-16-le"), "iconv -f UTF-16"),
        (b"PK\x03\x04\xff\xfe", "spreadsheet"),
        (b"\x1f\x8b\x08\xff", "gzip"),
        (b"<!DOCTYPE html>\n<html>", "web page"),
        (b"a;b\n1;2\n", "semicolons.*commas"),
        (b"a\tb\n1\t2\n", "tabs.*commas"),
        (b"a,c\n1,2\n", r"no column \['b'\], but \['a', 'c'\]"),
        (b"a,b,b\n1,2,3\n", r"two columns \['b'\]"),
        (b"a,b\n1,2\n3\n", "line 3: has 1 fields, and the header has 2"),
        (b"a,b\n1,2,3\n", "line 2: has 3 fields"),
        (b'a,b\n1,"2\n3,4\n', "line 3.*close a quote"),
        (b'a,b\n1,"2"\n"3,4\n', "line 3: has 1 fields.*close its quote"),
    ],
)
def test_what_cannot_be_read_is_named(write, content, words):
    path = write(content)
    with pytest.raises(PreparationError, match=f"(?s)list.csv.*{words}") as e:
        read_table(path, ["a", "b"])
    assert str(path) in str(e.value)


def test_a_folder_and_a_missing_file_are_named(tmp_path):
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(PreparationError, match="cannot be read"):
            read_table(path, ["a"])


def test_all_ragged_lines_are_listed(write):
    path = write(b"a,b\n" + b"1\n" * 30)
    with pytest.raises(PreparationError, match="10 more lines") as caught:
        read_table(path, ["a"])
    assert str(caught.value).count("line ") == 20


@pytest.mark.parametrize(
    "text",
    ["a/b.wav", "./a/b.wav", " a//b.wav ", "a/c/../b.wav", r"a\b.wav",
     r".\a\b.wav", "/data/a/b.wav", "/data/./a/b.wav"],
)  # fmt: skip
def test_a_path_has_one_form(text):
    assert normal_path(text, "/data") == "a/b.wav"


def test_paths_outside_keep_their_place(tmp_path):
    assert normal_path("/other/b.wav", "/data") == "/other/b.wav"
    assert normal_path("../b.wav", "/data") == "../b.wav"
    link = tmp_path / "link"
    (tmp_path / "real").mkdir()
    link.symlink_to(tmp_path / "real")
    assert normal_path(f"{tmp_path}/real/b.wav", link) == "b.wav"
