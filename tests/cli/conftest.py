"""The commands are tested on the run that inference is tested on."""

import pytest

from audiomamba.cli import export

from ..inference.conftest import clips as clips
from ..inference.conftest import finish as finish
from ..inference.conftest import run as run


@pytest.fixture(scope="session")
def onnx_model(run, tmp_path_factory):
    """Export the run's model with the command."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    target = tmp_path_factory.mktemp("onnx") / "new" / "model.onnx"
    assert export.main([str(run.exported), str(target)]) == 0
    return target
