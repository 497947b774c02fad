"""Predictions without targets: every clip once, sorted, or named."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from audiomamba.training.prediction import predict


def brain_over(batches):
    modules = torch.nn.ModuleDict({"dropout": torch.nn.Dropout()})
    return SimpleNamespace(
        modules=modules,
        noprogressbar=True,
        evaluation_ctx=nullcontext(),
        make_dataloader=lambda dataset, *rest, **options: batches,
        compute_forward=lambda batch, stage: (
            modules["dropout"](batch.sig),
            None,
        ),
    )


def test_sorted_and_in_evaluation_mode():
    batches = [
        SimpleNamespace(id=["c", "a"], sig=torch.tensor([[3.0], [1.0]])),
        SimpleNamespace(id=["b"], sig=torch.tensor([[2.0]]).half()),
    ]
    ids, scores = predict(brain_over(batches), None)
    assert ids == ["a", "b", "c"]
    assert scores.tolist() == [[1.0], [2.0], [3.0]]
    assert scores.dtype == "float32"


def test_scores_that_are_not_finite_are_named():
    batches = [
        SimpleNamespace(id=["a", "b"], sig=torch.tensor([[0.0], [torch.nan]]))
    ]
    with pytest.raises(ValueError, match="1 of 2 clips.*'b'"):
        predict(brain_over(batches), None)
