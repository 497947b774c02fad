"""A model in ONNX, for runtimes without PyTorch."""

from importlib.util import find_spec
from pathlib import Path

import torch

from audiomamba.inference.program import export_program

OPSET = 18


def export_onnx(tagger, path):
    """Export normalisation, encoder and classifier to ONNX.

    Only ONNX's standard operators are used: the recurrence is ``Scan``.  Batch
    and frames stay free.  See ``docs/deployment.md`` for its limits.

    Arguments
    ---------
    tagger : AudioTagger
        With an `audiomamba.AudioMamba`, on the CPU.
    path : str or Path
        The file, for example ``model.onnx``.  Weights of more than 2 GB go
        to a file beside it.

    Returns
    -------
    Path
        ``path``.  The model's inputs are ``feats`` [B, T, n_mels], of
        ``compute_features``, and ``lengths`` [B]; its output is ``logits``
        [B, C].

    Raises
    ------
    ModuleNotFoundError
        If onnx or onnxscript is missing; says how to get them.
    """
    missing = [name for name in ("onnx", "onnxscript") if not find_spec(name)]
    if missing:
        raise ModuleNotFoundError(
            f"{' and '.join(missing)} missing: pip install 'audiomamba[onnx]'"
        )
    from audiomamba.inference.onnx_ops import TRANSLATIONS

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    exported = torch.onnx.export(
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
