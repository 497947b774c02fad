"""A model in ONNX with weights of 8 bits, and what they cost."""

import json
import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from audiomamba.dataio.pipeline import ClipDataset, LabelEncoder
from audiomamba.dataio.seals import seal
from audiomamba.inference.programs.onnx import FEATURES
from audiomamba.inference.tagger import AudioTagger
from audiomamba.lite import LiteTagger
from audiomamba.training.metrics import ClassificationMetrics


def quantize(path: str | Path, target: str | Path) -> Path:
    """Store the weights of matrix products in 8 bits (dynamic quantisation).

    The features stay as they are: their logarithm shows every rounding.

    Arguments
    ---------
    path : str or Path
        A file of `audiomamba.inference.export_onnx`.
    target : str or Path
        The file to write.

    Returns
    -------
    Path
        ``target``.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(path)
    stored = {entry.key: entry.value for entry in model.metadata_props}
    features = [n.name for n in model.graph.node if n.name.startswith(FEATURES)]
    logger = logging.getLogger()
    level = logger.level
    # It recommends a preparation that does not change these files
    logger.setLevel(logging.ERROR)
    try:
        quantize_dynamic(
            model,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=features,
        )
    finally:
        logger.setLevel(level)
    seal(target, json.loads(stored["sha256"]))
    return Path(target)


class Comparison(NamedTuple):
    """Two models on a list of clips."""

    n_clips: int
    metric: str
    first: float
    second: float
    largest_difference: float  # of a probability

    def __str__(self) -> str:
        change = 100 * (self.second - self.first)
        return (
            f"{self.n_clips} clips: {self.metric} {100 * self.first:.2f} % in "
            f"float32, {100 * self.second:.2f} % in int8 ({change:+.2f}); "
            "probabilities differ by up to "
            f"{self.largest_difference:.3f}"
        )


def compare(
    tagger: AudioTagger,
    models: tuple[str | Path, str | Path],
    manifest: str | Path,
    data_folder: str | Path,
) -> Comparison:
    """Compare two files of a model on labelled clips.

    Arguments
    ---------
    tagger : AudioTagger
        The model that they were made from.
    models : tuple of str or Path
        The files.
    manifest : str or Path
        The clips; see `audiomamba.dataio.manifest.read_manifest`.
    data_folder : str or Path
        What its ``wav`` is relative to.

    Returns
    -------
    Comparison
        Of the accuracy, or of the mAP where a clip has any number of classes.
    """
    activation = tagger.hparams.activation
    multi_label = activation == "sigmoid"
    dataset = ClipDataset(
        manifest,
        tagger.hparams.audio_normalizer.reader(data_folder),
        LabelEncoder(tagger.labels, multi_label),
    )
    first, second = (
        (LiteTagger(path), ClassificationMetrics(None, activation, multi_label))
        for path in models
    )
    largest = 0.0
    for clip in tqdm(dataset, unit="clip", leave=False):
        target = clip["target"][None] if multi_label else clip["target"]
        rows = []
        for lite, metrics in (first, second):
            rows.append(lite.run([clip["sig"].numpy()])[0])
            scores = torch.from_numpy(rows[-1])
            # What the activation turns into the scores again
            logits = torch.logit(scores, 1e-6) if multi_label else scores.log()
            metrics.append([clip["id"]], logits, target, 0.0)
        largest = max(largest, float(np.abs(rows[0] - rows[1]).max()))
    name = first[1].headline
    before, after = (m.summarise()[name] for _, m in (first, second))
    return Comparison(len(dataset), name, before, after, largest)
