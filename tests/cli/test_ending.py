"""Commands end with a status and a sentence, never with a traceback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from audiomamba.cli import embed, export, tag, transcribe
from audiomamba.cli.ending import INTERRUPTED, command

pytestmark = pytest.mark.parametrize("run", [True], indirect=True)
ENDLESS = """
from audiomamba.cli.ending import command

@command("endless")
def main(argv=None):
    while True:
        print("caf\\u00e9", flush=True)

raise SystemExit(main())
"""


def test_a_closed_pipe_ends_a_command_in_silence(run):
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    ) as process:
        assert process.stdout.readline() == b"caf\\xe9\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_ctrl_c_ends_a_command_in_silence(run):
    @command("audiomamba-tag")
    def main(argv=None):
        raise KeyboardInterrupt

    assert main([]) == INTERRUPTED


@pytest.mark.parametrize(
    "main", [tag, embed, transcribe], ids=lambda m: m.__name__
)
@pytest.mark.parametrize("value", ["inf", "nan", "-1", "0", "abc"])
def test_a_window_is_a_positive_number(main, value, run, capsys):
    with pytest.raises(SystemExit) as end:
        main.main(["a", "--model", "m", f"--window={value}"])
    assert end.value.code == 2
    assert f"--window: {value} is no positive" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["foo", "cuda:99", "cpu:x"])
def test_an_unknown_device_is_named(device, run):
    with pytest.raises(SystemExit, match=f"--device {device}: .*cpu always"):
        tag.main(["a.wav", "--model", str(run.exported), "--device", device])


def test_a_pipe_does_not_hang_and_any_name_is_tagged(run, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.wav")
    strange = os.fsdecode(b"caf\xe9.wav")
    files = [str(tmp_path / name) for name in ("pipe.wav", strange, "a.wav")]
    for file in files[1:]:
        shutil.copy(run.paths[0], file)
    out = str(tmp_path / "events.jsonl")
    for more in ([], ["--json"], ["--events", out, "--threshold", "0.01"]):
        model = ["--model", str(run.exported), "--device", "cpu"]
        assert tag.main([*files, *model, *more]) == 1
        printed = capsys.readouterr()
        assert "pipe.wav: is not a file" in printed.err
        assert "1 of 3 files failed" in printed.err
        assert "a.wav" in printed.out and "caf" in printed.out
    lines = Path(out).read_text("utf-8").splitlines()
    assert {json.loads(line)["file"] for line in lines} == set(files[1:])


def test_embedding_names_a_file_whose_name_is_not_text(run, tmp_path, capsys):
    folder = tmp_path / "sounds"
    folder.mkdir()
    for name in (b"caf\xe9.wav", b"a.wav"):
        shutil.copy(run.paths[0], folder / os.fsdecode(name))
    out = ["--out", str(tmp_path / "a.csv")]
    assert embed.main([str(folder), "--model", str(run.exported), *out]) == 1
    printed = capsys.readouterr()
    assert "its name is not UTF-8; rename it" in printed.err
    assert "1 of 2 files failed" in printed.err
    assert "1 rows" in printed.out


def test_a_target_that_cannot_be_written_is_one_sentence(run, tmp_path):
    pytest.importorskip("onnxscript")
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "model.onnx"
    with pytest.raises(SystemExit, match="audiomamba-export: .*file"):
        export.main([str(run.exported), str(target)])
