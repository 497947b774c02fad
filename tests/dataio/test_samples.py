"""Samples in memory: kinds of numbers, and where time is."""

import numpy as np
import pytest
import torch

from audiomamba.dataio.samples import (
    as_tensor,
    mono_blocks,
    time_first,
    to_float,
    to_mono,
)

WAVE = np.sin(np.arange(400) / 7).astype("f4") * 0.5


@pytest.mark.parametrize(
    "samples",
    [
        (WAVE * 32768).round().astype("i2"),
        (WAVE * 32768).round().astype(">i2"),
        (WAVE.astype("f8") * 2**31).round().astype("i4"),
        WAVE.astype("f8"),
        WAVE[::-1][::-1],
        WAVE.tolist(),
        torch.from_numpy(WAVE),
    ],
    ids=["int16", "big endian", "int32", "float64", "strides", "list", "torch"],
)
def test_every_kind_of_number_means_the_same_sound(samples):
    wave = to_mono(as_tensor(samples))
    assert wave.dtype == torch.float32
    np.testing.assert_allclose(wave, WAVE, atol=2e-5)


def test_eight_bits_are_unsigned_in_wav_files():
    unsigned = to_float(torch.tensor([0, 128, 255], dtype=torch.uint8))
    assert unsigned.tolist() == [-1.0, 0.0, 127 / 128]
    assert to_float(torch.tensor([-128], dtype=torch.int8)).item() == -1.0


@pytest.mark.parametrize(
    "samples, words",
    [
        (np.zeros(9, "i8"), "int64"),
        (np.zeros(9, bool), "bool"),
        (np.zeros(9, "c8"), "complex64"),
        (np.array(["a"]), "no array of numbers"),
        ({"array": WAVE}, "dict"),
        (None, "NoneType"),
        (np.array([0.0, np.nan]), "NaN, infinite"),
        (np.array([0.0, np.inf]), "NaN, infinite"),
        (np.array([0.0, 1e16]), "beyond 1e"),
    ],
)
def test_numbers_without_a_scale_are_refused(samples, words):
    with pytest.raises(ValueError, match=words):
        to_mono(as_tensor(samples, "this"), "this")


@pytest.mark.parametrize(
    "shape, n_samples",
    [((400,), 400), ((400, 2), 400), ((2, 400), 400), ((1, 400), 400),
     ((2, 2), 2), ((33, 32), 33)],
)  # fmt: skip
def test_channels_are_found_on_either_axis(shape, n_samples):
    assert len(time_first(torch.zeros(shape))) == n_samples


@pytest.mark.parametrize(
    "shape", [(), (0,), (0, 2), (2, 0), (1, 2), (40, 40), (1, 2, 400)]
)
def test_shapes_that_do_not_tell_where_time_is_are_named(shape):
    with pytest.raises(ValueError, match=f"shape \\{[*shape]}"):
        time_first(torch.zeros(shape))


def test_floats_that_were_never_scaled_are_noticed(caplog):
    to_mono(torch.tensor([0.0, 3.0]))
    assert not caplog.text
    to_mono(torch.tensor([0.0, 12000.0]), "mine")
    assert "mine: the largest sample is 12000" in caplog.text


@pytest.mark.parametrize("axis", [0, 1])
def test_the_first_block_tells_where_the_channels_are(axis):
    wave = torch.randn(101, 2)
    blocks = [part if axis else part.T for part in wave.split([64, 1, 36])]
    blocks.insert(1, torch.zeros(0))
    stream = list(mono_blocks(blocks))
    assert [len(block) for block in stream] == [64, 1, 36]
    torch.testing.assert_close(torch.cat(stream), wave.mean(dim=1))


@pytest.mark.parametrize(
    "blocks, words",
    [
        ([], "no samples"),
        ([torch.zeros(0)], "no samples"),
        ([torch.zeros(64, 2), torch.zeros(64)], r"\[64\].*\[n, 2\]"),
        ([torch.zeros(64), torch.full((64,), torch.nan)], "NaN"),
    ],
)
def test_streams_that_change_or_are_empty_are_refused(blocks, words):
    with pytest.raises(ValueError, match=words):
        list(mono_blocks(blocks))
