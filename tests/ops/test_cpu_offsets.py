"""The CPU kernels address more than 2^31 elements."""

import pytest
import torch

from audiomamba.ops import causal_conv1d, selective_scan, use_engine

CHANNELS, STEPS, STATES = 70, 5, 3
FAR = 2**31 + 11


@pytest.fixture
def far_apart(tmp_path):
    """Store a batch of two clips with FAR elements from one to the other.

    They are in a sparse file, which takes a few pages of memory and disk.
    """

    def store(values):
        stride = (FAR, values.shape[2], 1)
        n_elements = FAR + values[0].numel()
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.bin"
        flat = torch.from_file(str(path), shared=True, size=n_elements)
        clips = flat.as_strided(values.shape, stride)
        clips.copy_(values)
        return clips

    return store


def test_convolution(far_apart):
    x, weight = torch.randn(2, STEPS, CHANNELS), torch.randn(CHANNELS, 4)
    with use_engine("cpu"):
        found = causal_conv1d(far_apart(x), weight)
        assert torch.equal(found, causal_conv1d(x, weight))


def test_scan(far_apart):
    u, delta, z = torch.randn(3, 2, STEPS, CHANNELS)
    B, C = torch.randn(2, 2, STEPS, STATES)
    A = -torch.rand(CHANNELS, STATES)
    with use_engine("cpu"):
        found = selective_scan(
            *map(far_apart, (u, delta)), A, far_apart(B), C, z=far_apart(z)
        )
        assert torch.equal(found, selective_scan(u, delta, A, B, C, z=z))
