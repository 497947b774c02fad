"""The code of docs/deployment.md, block by block, on an exported model."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"


@pytest.mark.parametrize("run", [True], indirect=True)
def test_its_code_runs(run, tmp_path, monkeypatch, capsys):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    (tmp_path / "model").symlink_to(run.exported)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    for code in blocks:
        exec(compile(code, str(PAGE), "exec"), {})
    printed = re.findall(r"\d+, \d+", capsys.readouterr().out)
    assert printed == ["2, 3", "2, 3"]
