"""Parameters, operations and expected hours of a row, counted from its YAML."""

import re
from functools import cache

import pandas as pd
import torch
import yaml

from audiomamba.lobes.flops import count_clip, count_parameters
from audiomamba.training.runs.hparams import load_hparams
from result_tables.rows import HERE, Corpus, Row, read_rows

# Expected hours assume a GPU's peak in half precision (NVIDIA A100, dense) and
# the share of it that training sustains.
GPU, PEAK, UTILISATION = "A100", 312e12, 0.1
COUNTED = ["parameters", "forward", "training", "epochs", "hours"]
KEYS = ["table", "corpus", "hparams", "overrides"]


@cache
def figures_of(row: Row) -> dict:
    """Count a row's model, built on PyTorch's meta device.

    Returns
    -------
    dict
        ``parameters`` of encoder and head, ``forward`` and ``training``
        operations per clip of the YAML's frames, ``epochs``, ``hours``.
    """
    text = row.path.read_text(encoding="utf-8")
    # These compute when they are made, which the meta device cannot, or need
    # the corpus.
    overrides = {
        key: None
        for key in ("crop", "compute_features", "wav_augment", "mean_var_norm")
        if re.search(rf"^{key}: !new", text, re.MULTILINE)
    }
    overrides.update({k: yaml.safe_load(v) for k, v in row.overrides})
    # The number of classes is the corpus', where a YAML is for several
    overrides["n_classes"] = row.corpus.n_classes
    if row.needs_weights:
        overrides["init_from"] = "not read"
    with torch.device("meta"):
        hparams = load_hparams(str(row.path), overrides)
    encoder, head = hparams["embedding_model"], hparams["classifier"]
    figures = {
        "parameters": count_parameters(encoder) + count_parameters(head),
        "epochs": hparams["number_of_epochs"],
        **count_clip(encoder, head, hparams["n_frames"], hparams["n_mels"]),
    }
    return {**figures, "hours": expected_hours(row.corpus, figures)}


def expected_hours(corpus: Corpus, figures: dict) -> float:
    """Estimate the hours of a run on one GPU at ``UTILISATION`` of ``PEAK``.

    Every epoch trains on the training clips and tests the others.
    """
    tested = corpus.valid_clips + corpus.test_clips
    epoch = corpus.train_clips * figures["training"]
    epoch += tested * figures["forward"]
    total = corpus.repeats * figures["epochs"] * epoch
    return total / (PEAK * UTILISATION) / 3600


def _key_of(row):
    overrides = " ".join(f"{key}={value}" for key, value in row.overrides)
    return row.table, row.corpus.corpus, row.hparams, overrides


def count_models() -> pd.DataFrame:
    """Count the models of all rows, for ``models.csv``."""
    lines = [
        [*_key_of(row), *map(figures_of(row).get, COUNTED)]
        for row in read_rows()
    ]
    return pd.DataFrame(lines, columns=KEYS + COUNTED)


def read_models() -> dict[Row, dict]:
    """Return the figures of every row from ``models.csv``."""
    path = HERE / "models.csv"
    table = pd.read_csv(path, dtype={"table": str}, keep_default_na=False)
    counted = table.set_index(KEYS)[COUNTED].to_dict("index")
    for row in read_rows():
        if _key_of(row) not in counted:
            raise ValueError(
                f"{path} lacks {_key_of(row)}: run "
                "python tools/collect_results.py --count"
            )
    return {row: counted[_key_of(row)] for row in read_rows()}
