"""Parameters, operations and expected hours of a row, counted from its YAML."""

import re
from functools import cache

import torch

from audiomamba.training.flops import count_clip, count_parameters
from audiomamba.training.hparams import load_hparams
from result_tables.rows import ROOT

# What the expected hours assume: a GPU's peak in half precision (NVIDIA A100,
# dense), and the share of it that training sustains.
GPU, PEAK, UTILISATION = "A100", 312e12, 0.1


@cache
def figures_of(row):
    """Count what a row's model needs.

    Arguments
    ---------
    row : Row
        With its YAML; the model is built on PyTorch's meta device.

    Returns
    -------
    dict
        ``parameters`` of encoder and head, ``forward`` and ``training``
        operations per clip of the YAML's frames, ``epochs``, and ``hours``.
    """
    path = ROOT / "recipes" / row.recipe / "hparams" / row.hparams
    text = path.read_text(encoding="utf-8")
    # What is no model may need memory; nothing of it is counted.
    overrides = {
        key: None
        for key in ("crop", "compute_features")
        if re.search(rf"^{key}: !new", text, re.MULTILINE)
    }
    overrides.update(row.overrides)
    if row.needs_weights:
        overrides["init_from"] = "not read"
    with torch.device("meta"):
        hparams = load_hparams(str(path), overrides)
    encoder, head = hparams["embedding_model"], hparams["classifier"]
    flops = count_clip(encoder, head, hparams["n_frames"], hparams["n_mels"])
    figures = {
        "parameters": count_parameters(encoder) + count_parameters(head),
        "epochs": hparams["number_of_epochs"],
        **flops,
    }
    return {**figures, "hours": expected_hours(row.corpus, figures)}


def expected_hours(corpus, figures):
    """Estimate the hours of a run on one GPU; nothing is measured.

    Every epoch trains on the training clips and tests the others, at
    ``UTILISATION`` of ``PEAK``.

    Arguments
    ---------
    corpus : Corpus
        With its numbers of clips.
    figures : dict
        With ``epochs``, ``forward`` and ``training``.

    Returns
    -------
    float
    """
    tested = corpus.valid_clips + corpus.test_clips
    epoch = corpus.train_clips * figures["training"]
    epoch += tested * figures["forward"]
    total = corpus.repeats * figures["epochs"] * epoch
    return total / (PEAK * UTILISATION) / 3600
