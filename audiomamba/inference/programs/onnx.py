"""A model in ONNX, for runtimes without PyTorch."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from audiomamba.dataio.seals import MARK, seal
from audiomamba.inference.programs.waveform_program import (
    export_waveform_program,
)
from audiomamba.inference.tagger import AudioTagger

OPSET = 18
# The names of the features' nodes begin with this
FEATURES = "features."


def metadata(tagger: AudioTagger) -> dict[str, str]:
    """Return what a runner has to know of a model besides its graph.

    Arguments
    ---------
    tagger : AudioTagger
        The model.

    Returns
    -------
    dict of str to str
        JSON values: ``labels``, ``activation``, ``sample_rate`` in Hz,
        ``max_duration`` in seconds, or null, which a clip is cut to before it
        is resampled, ``keep``, the part to keep, and ``heard``, the seconds
        that the model hears at a time, or null for any number.
    """
    normalizer = tagger.hparams.audio_normalizer
    values = {
        "labels": tagger.labels,
        "activation": tagger.hparams.activation,
        "sample_rate": tagger.sample_rate,
        "max_duration": normalizer.max_duration,
        "keep": normalizer.keep,
        "heard": tagger.max_duration,
    }
    return {
        key: json.dumps(value, ensure_ascii=False)
        for key, value in values.items()
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks on its own parts from the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def export_onnx(tagger: AudioTagger, path: str | Path) -> Path:
    """Export a tagger to one ONNX file, from waveforms on.

    Only standard ONNX operators are used.  See ``docs/deployment.md``.

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
        ``path``.  The model's inputs are ``wavs`` [batch, samples], float32 at
        the model's sample rate, and ``n_samples`` [batch], int64, the samples
        of each clip; its outputs are ``probabilities`` [batch, C] and
        ``embedding`` [batch, D].  `metadata` is stored with it, and
        ``sha256``, the digest of all its other bytes.

    Raises
    ------
    ModuleNotFoundError
        If onnx or onnxscript is not installed.
    ExportError
        If the model's features cannot be exported.
    """
    missing = [name for name in ("onnx", "onnxscript") if not find_spec(name)]
    if missing:
        raise ModuleNotFoundError(
            f"{' and '.join(missing)} missing: pip install 'audiomamba[onnx]'"
        )
    from audiomamba.inference.programs.onnx_ops import TRANSLATIONS

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    program = export_waveform_program(tagger)
    with _quiet():
        # With dynamo=True it returns a program, never None
        exported: Any = torch.onnx.export(
            program,
            dynamo=True,
            custom_translation_table=TRANSLATIONS,
            opset_version=OPSET,
            input_names=["wavs", "n_samples"],
            output_names=["probabilities", "embedding"],
            dynamic_shapes=({0: "batch", 1: "samples"}, {0: "batch"}),
            verbose=False,
        )
    model = exported.model
    for node in model.graph.all_nodes():
        if "compute_features" in node.metadata_props.get("namespace", ""):
            node.name = FEATURES + node.name
        # These name the files of this machine
        node.metadata_props.clear()
    model.metadata_props.clear()
    model.metadata_props.update(metadata(tagger))
    model.metadata_props["sha256"] = json.dumps(MARK)
    exported.save(path)
    seal(path)
    return path
