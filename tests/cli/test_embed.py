"""The command audiomamba-embed: a folder becomes a table."""

import shutil

import numpy as np
import pandas as pd
import pytest

from audiomamba.cli.embed import main
from audiomamba.cli.ending import INTERRUPTED
from audiomamba.inference import AudioTagger
from audiomamba.inference.embed_table import Rows, UnfinishedTable


@pytest.fixture
def folder(run, tmp_path):
    """Return a folder of recordings at different depths."""
    place = tmp_path / "sounds"
    (place / "deep").mkdir(parents=True)
    for index, path in enumerate(run.paths[:6]):
        shutil.copy(path, place / ("deep" if index % 2 else "") / path.name)
    return place


@pytest.fixture
def embed(run, folder, capsys):
    """Run the command: options -> status and errors."""

    def call(*options):
        words = [folder, "--model", run.exported, "--device", "cpu", *options]
        status = main([*map(str, words)])
        return status, capsys.readouterr().err

    return call


@pytest.fixture
def tagger(run):
    return AudioTagger.from_hparams(run.exported, run_opts={"device": "cpu"})


def read(path):
    """Return the rows and values of a table of any format."""
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        return table[["path", "start", "stop"]], np.stack(table["values"])
    if path.suffix == ".npy":
        return pd.read_csv(path.with_suffix(".csv")), np.load(path)
    table = pd.read_csv(path)
    return table.iloc[:, :3], table.iloc[:, 3:].to_numpy()


@pytest.mark.parametrize("ending", [".csv", ".npy", ".parquet"])
def test_every_file_has_a_row_that_its_batch_does_not_change(
    embed, folder, tagger, tmp_path, ending
):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    target = tmp_path / "new" / f"emb{ending}"
    assert embed("--out", target)[0] == 0
    table, values = read(target)
    names = sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*.wav")
    )
    assert table["path"].tolist() == names and table["start"].eq(0).all()
    alone = np.stack([tagger.embed_file(folder / name) for name in names])
    np.testing.assert_allclose(values, alone, atol=1e-5)
    left = [p for p in target.parent.iterdir() if "unfinished" in p.name]
    assert not left


def test_windows_and_frames_have_rows(embed, folder, tagger, tmp_path):
    embed("--out", tmp_path / "w.npy", "--window", "0.2", "--hop", "0.1")
    table, values = read(tmp_path / "w.npy")
    name = table["path"][0]
    wanted = list(tagger.embed_stream(folder / name, 0.2, 0.1))
    own = table[table["path"] == name]
    np.testing.assert_allclose(own["start"], [w.start for w in wanted])
    np.testing.assert_allclose(values[len(wanted) - 1], wanted[-1].values)
    embed("--out", tmp_path / "f.npy", "--frames", "--window", "0.3")
    table, values = read(tmp_path / "f.npy")
    own = table[table["path"] == name]
    np.testing.assert_allclose(own["start"], 0.1 * np.arange(len(own)))
    assert len(own) >= 2
    np.testing.assert_allclose(own["stop"] - own["start"], 0.1, atol=1e-6)


def test_bad_files_are_named_and_the_others_embedded(embed, folder, tmp_path):
    (folder / "deep" / "bad.wav").write_bytes(b"no sound")
    status, errors = embed("--out", tmp_path / "emb.csv")
    assert status == 1 and "bad.wav: is not an audio" in errors
    assert "1 of 7 files failed" in errors
    assert len(read(tmp_path / "emb.csv")[0]) == 6


def test_a_stopped_command_goes_on(embed, folder, tmp_path, monkeypatch):
    target, counts = tmp_path / "emb.csv", []
    original = AudioTagger.embed_stream

    def counted(self, path, *options):
        counts.append(path.name)
        if len(counts) == 4:
            raise KeyboardInterrupt
        return original(self, path, *options)

    monkeypatch.setattr(AudioTagger, "embed_stream", counted)
    options = ("--out", target, "--window", "0.2")
    status, errors = embed(*options)
    assert status == INTERRUPTED and "the same command resumes" in errors
    # A line that was cut in writing does not count
    lines = tmp_path / ".emb.csv.unfinished" / "lines"
    lines.write_text(lines.read_text()[:-3])
    assert not target.exists() and len(counts) == 4
    assert embed(*options)[0] == 0
    assert len(counts) == 8 and len(set(counts)) == 6
    table, values = read(target)
    target.unlink()
    embed(*options)
    np.testing.assert_array_equal(values, read(target)[1])
    assert len(counts) == 14


@pytest.fixture
def unfinished(tmp_path):
    """Return a table of which one recording is done, and what is in it."""
    target = tmp_path / "emb.csv"
    with UnfinishedTable(target, "other options") as table:
        table.add("x.wav", Rows([0.0], [1.0], np.ones((1, 2), np.float32)))
    return target, table.lines


def test_rows_of_other_options_are_dropped(embed, unfinished):
    target, _ = unfinished
    status, errors = embed("--out", target)
    assert status == 0 and "without the 1 recordings" in errors
    assert len(read(target)[0]) == 6


@pytest.mark.parametrize(
    "options, complaint",
    [
        (["--window", "11"], "window is 11.0 s, but this model hears"),
        (["--window", "11", "--frames"], "window is 11.0 s"),
        (["--window", "0.2", "--hop", "0.3"], "hop no longer than"),
    ],
)
def test_rows_outlive_a_mistyped_option(embed, unfinished, options, complaint):
    target, lines = unfinished
    with pytest.raises(SystemExit, match=complaint):
        embed("--out", target, *options)
    assert "x.wav" in lines.read_text()


def test_a_table_that_another_process_writes_is_refused(embed, unfinished):
    target, lines = unfinished
    with UnfinishedTable(target, "other options"):
        with pytest.raises(SystemExit, match="another audiomamba-embed") as end:
            embed("--out", target)
    assert isinstance(end.value.code, str) and "x.wav" in lines.read_text()


def test_nothing_is_left_where_nothing_was_embedded(folder, embed, tmp_path):
    for path in folder.rglob("*.wav"):
        path.write_bytes(b"no sound")
    out = tmp_path / "out"
    assert embed("--out", out / "emb.csv")[0] == 1 and not [*out.iterdir()]


@pytest.mark.parametrize(
    "name, complaint", [("a.wav", "ends in .parquet"), ("old.csv", "exists")]
)
def test_wrong_targets_are_explained(embed, tmp_path, name, complaint):
    (tmp_path / "old.csv").write_text("mine")
    with pytest.raises(SystemExit, match=complaint):
        embed("--out", tmp_path / name)
    assert (tmp_path / "old.csv").read_text() == "mine"
