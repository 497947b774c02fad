"""The operators' tests on any device: ``pytest tests/ops --device cuda``."""

import pytest
import torch

from audiomamba.ops import available_engines


@pytest.fixture
def device(request):
    """Make new tensors on the device of the option, which is returned."""
    name = request.config.getoption("--device")
    with torch.device(name):
        yield name


def pytest_generate_tests(metafunc):
    """Run a test on every `engine` of the device, or on all with `kernels`."""
    engines = available_engines(metafunc.config.getoption("--device"))
    if "engine" in metafunc.fixturenames:
        metafunc.parametrize("engine", engines)
    if "kernels" in metafunc.fixturenames:
        compiled = [name for name in engines if name != "reference"]
        metafunc.parametrize("kernels", compiled)
