"""Checks of arguments, and relative lengths."""

import math

import numpy as np
import pytest
import torch

from audiomamba.nnet.lengths import (
    absolute_lengths,
    check_lengths,
    check_positive,
    check_rate,
    check_sizes,
)


@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, True, "8", None, math.nan])
def test_sizes_are_positive_integers(value):
    with pytest.raises(ValueError, match=f"depth is {value!r}"):
        check_sizes(width=8, depth=value)
    check_sizes(width=np.int64(8))


@pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan])
def test_positive_values_are_finite(value):
    with pytest.raises(ValueError, match="window"):
        check_positive(window=value)


@pytest.mark.parametrize("value", [1.0, -0.1, math.nan, math.inf])
def test_a_rate_leaves_something(value):
    with pytest.raises(ValueError, match=r"drop_path.*\[0, 1\)"):
        check_rate("drop_path", value)


@pytest.mark.parametrize(
    "lengths, words",
    [
        ([100.0, 50.0], "100"),
        ([1.0, math.nan], "nan"),
        ([1.0, -0.5], "-0.5"),
        ([1.0, 0.0], "is 0"),
        ([1.0, math.inf], "inf"),
        ([1.0, 1.1], "1.1"),
        ([[1.0, 0.5]], r"shape \[1, 2\]"),
        ([100, 50], "torch.int64"),
        ([1.0, 1.0, 1.0], r"shape \[3\]"),
    ],
)
def test_lengths_are_relative(lengths, words):
    with pytest.raises(ValueError, match=words):
        check_lengths(torch.tensor(lengths), 2)


def test_lengths_may_be_off_by_rounding():
    steps = absolute_lengths(torch.tensor([1.0001, 1e-9]), 100)
    assert steps.tolist() == [100, 1]
