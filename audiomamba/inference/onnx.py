"""A model in ONNX, for runtimes without PyTorch."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from audiomamba.inference.program import export_program
from audiomamba.inference.tagger import AudioTagger

OPSET = 18


def export_onnx(tagger: AudioTagger, path: str | Path) -> Path:
    """Export normalisation, encoder and classifier to ONNX.

    Only standard ONNX operators are used; the recurrence is ``Scan``.  Batch
    size and number of frames are dynamic.  See ``docs/deployment.md`` for
    limitations.

    Arguments
    ---------
    tagger : AudioTagger
        A tagger with an `audiomamba.AudioMamba` or `audiomamba.DASS`, on the
        CPU.
    path : str or Path
        The file, for example ``model.onnx``.  Weights of more than 2 GB are
        stored in a second file next to it.

    Returns
    -------
    Path
        ``path``.  The model's inputs are ``feats`` [B, T, n_mels] from
        ``compute_features`` and relative ``lengths`` [B]; its output is
        ``logits`` [B, C].

    Raises
    ------
    ModuleNotFoundError
        If onnx or onnxscript is not installed.
    """
    missing = [name for name in ("onnx", "onnxscript") if not find_spec(name)]
    if missing:
        raise ModuleNotFoundError(
            f"{' and '.join(missing)} missing: pip install 'audiomamba[onnx]'"
        )
    from audiomamba.inference.onnx_ops import TRANSLATIONS

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # With dynamo=True it returns a program, never None
    exported: Any = torch.onnx.export(
        export_program(tagger),
        dynamo=True,
        custom_translation_table=TRANSLATIONS,
        opset_version=OPSET,
        input_names=["feats", "lengths"],
        output_names=["logits"],
        verbose=False,
    )
    exported.save(path)
    return path
