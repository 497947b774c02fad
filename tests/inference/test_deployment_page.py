"""The code of docs/deployment.md, block by block, on an exported model."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"


@pytest.mark.parametrize("run", [True], indirect=True)
def test_its_code_runs(run, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    (tmp_path / "model").symlink_to(run.exported)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    printed = []
    for code in blocks:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        printed += re.findall(r"\d+, \d+", done.stdout)
    assert printed == ["2, 3", "2, 3"]
