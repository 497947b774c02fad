"""Audio in Parquet files, as copies on the hub have it, becomes files."""

import importlib.util
import io
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from audiomamba.dataio.audio import read_audio
from audiomamba.dataio.problems import PreparationError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool():
    path = ROOT / "tools" / "unpack_parquet.py"
    spec = importlib.util.spec_from_file_location("unpack_parquet", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def content(seed, form="FLAC"):
    """The bytes of a sound file."""
    noise = np.random.default_rng(seed).standard_normal(1600) * 0.1
    buffer = io.BytesIO()
    soundfile.write(buffer, noise, 16000, format=form)
    return buffer.getvalue()


def save(path, rows, **others):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table({"audio": rows, **others})
    pyarrow.parquet.write_table(table, path, row_group_size=10)


def test_clips_are_written_as_they_are(tool, tmp_path):
    ids = [f"clip{n:07}" for n in range(25)]
    rows = [
        {"bytes": content(n), "path": f"{ids[n]}.flac" if n % 2 else None}
        for n in range(25)
    ]
    save(tmp_path / "in" / "bal" / "00.parquet", rows, video_id=ids)
    target = tmp_path / "out"
    assert tool.unpack(tmp_path / "in", target) == 25
    for n, name in enumerate(ids):
        file = target / "bal" / "00" / f"{name}.flac"
        assert file.read_bytes() == rows[n]["bytes"]
    assert len(read_audio(file)) == 1600


def test_a_second_call_writes_only_what_is_missing(tool, tmp_path):
    rows = [{"bytes": content(n), "path": f"{n}.flac"} for n in range(3)]
    save(tmp_path / "a.parquet", rows)
    tool.unpack(tmp_path, tmp_path / "out")
    first, second = (tmp_path / f"out/a/{n}.flac" for n in (0, 1))
    first.write_bytes(b"half")
    before = second.stat().st_mtime_ns
    assert tool.unpack(tmp_path, tmp_path / "out") == 3
    assert first.read_bytes() == rows[0]["bytes"]
    assert second.stat().st_mtime_ns == before


def test_a_name_cannot_lead_out_of_the_folder(tool, tmp_path):
    rows = [
        {"bytes": content(0), "path": "../../evil.flac"},
        {"bytes": content(1, "WAV"), "path": "..\\..\\evil.wav"},
        {"bytes": content(2, "WAV"), "path": None},
    ]
    save(tmp_path / "in" / "a.parquet", rows, id=["", "", "../x"])
    tool.unpack(tmp_path / "in", tmp_path / "out")
    written = sorted(p.name for p in (tmp_path / "out" / "a").iterdir())
    assert written == ["evil.flac", "evil.wav", "x.wav"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


def test_what_cannot_be_unpacked_is_said(tool, tmp_path, monkeypatch):
    with pytest.raises(PreparationError, match="no .parquet file"):
        tool.unpack(tmp_path, tmp_path / "out")
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(PreparationError, match="a.parquet: is damaged"):
        tool.unpack(tmp_path, tmp_path / "out")
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"]}), path)
    with pytest.raises(PreparationError, match="columns text, and none"):
        tool.unpack(tmp_path, tmp_path / "out")
    save(path, [{"bytes": b"", "path": "a.flac"}])
    with pytest.raises(PreparationError, match="'a.flac'|a.flac.*no bytes"):
        tool.unpack(tmp_path, tmp_path / "out")
    save(path, [{"bytes": content(n), "path": "a.flac"} for n in range(2)])
    with pytest.raises(PreparationError, match="two clips.*'a.flac'"):
        tool.unpack(tmp_path, tmp_path / "out")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SystemExit, match="audiomamba\\[parquet\\]"):
        tool.main([str(tmp_path), str(tmp_path / "out")])
