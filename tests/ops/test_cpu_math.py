"""The elementary functions of the CPU kernels against float64."""

import numpy as np
import pytest
from numba import njit

from audiomamba.ops.cpu import decay
from audiomamba.ops.cpu.blocks import LANES, new_rows
from audiomamba.ops.cpu.vector_math import exp2, sigmoid, softplus

FORMS = {"loop": decay._decay_row_loop, "avx512": decay._decay_row_avx512}


def _decays(form, delta, rate):
    """Return the decays of rows [n, LANES]."""
    row = FORMS[form]

    @njit
    def compute(delta, rate, out):
        rows = new_rows(3)
        for i in range(len(delta)):
            rows[0], rows[1] = delta[i], rate[i]
            row(rows[0], rows[1], rows[2])
            out[i] = rows[2]

    out = np.empty_like(delta)
    compute(delta, rate, out)
    return out


@pytest.fixture(params=FORMS)
def form(request):
    fits = decay.decay_row is decay._decay_row_avx512
    if request.param == "avx512" and not fits:
        pytest.skip("this CPU has no AVX-512")
    return request.param


@pytest.mark.parametrize("lowest", [-1e-6, -1e-3, -1.0, -20.0])
def test_decays_are_accurate_to_float32(form, lowest):
    random = np.random.default_rng(0)
    delta = random.uniform(0, 5, (500, LANES)).astype(np.float32)
    rate = random.uniform(lowest, 0, (500, LANES)).astype(np.float32)
    exact = 2.0 ** (delta.astype(np.float64) * rate)
    # the loop rounds an exponent, which costs 4e-6 at -100
    tolerance = 4e-7 if lowest > -2 else 4e-6
    np.testing.assert_allclose(
        _decays(form, delta, rate), exact, rtol=tolerance
    )


def test_a_zero_step_or_a_zero_rate_keeps_the_state(form):
    zero, one = np.zeros((1, LANES), np.float32), np.ones((1, LANES), "f4")
    assert (_decays(form, zero, -one) == 1).all()
    assert (_decays(form, one, zero) == 1).all()


@pytest.mark.parametrize("exponent", [-127.0, -1e3, -1e6, -1e12, -1e20])
def test_strong_decays_underflow_to_zero(form, exponent):
    one = np.ones((1, LANES), np.float32)
    found = _decays(form, one, np.float32(exponent) * one)
    assert (found >= 0).all() and (found <= 2.0**-126).all()


@pytest.mark.parametrize(
    "function, exact, low, high",
    [
        (exp2, np.exp2, -125, 125),
        (sigmoid, lambda x: 1 / (1 + np.exp(-x)), -80, 80),
        (softplus, lambda x: np.log1p(np.exp(x)), -80, 80),
    ],
)
def test_elementary_functions(function, exact, low, high):
    x = np.linspace(low, high, 20001).astype(np.float32)

    @njit
    def compute(x, y):
        for i in range(len(x)):
            y[i] = function(x[i])

    y = np.empty_like(x)
    compute(x, y)
    # sigmoid and softplus scale x by log2(e), which rounds by x itself
    tolerance = 3e-7 if function is exp2 else 8e-6
    np.testing.assert_allclose(y, exact(x.astype(np.float64)), rtol=tolerance)
