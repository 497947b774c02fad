"""The choice of the engine: the order, missing and broken packages."""

import logging
import os
import subprocess
import sys

import pytest
import torch

from audiomamba.ops import (
    available_engines,
    current_engine,
    engines,
    use_engine,
)


@pytest.fixture
def gpu_engines(tmp_path, monkeypatch):
    """Return a folder on the path, and a function that redefines an engine.

    The redefined engines run on the device type "meta", which any machine has.
    The caches are cleared before and after.
    """
    caches = (engines._problem, engines._usable, engines._preferred)
    monkeypatch.syspath_prepend(tmp_path)
    for cache in caches:
        cache.cache_clear()

    def add(name, module, needs=("numpy",)):
        engine = engines.Engine(module, "meta", needs, f"pip install {name}")
        monkeypatch.setitem(engines.ENGINES, name, engine)

    yield tmp_path, add
    for cache in caches:
        cache.cache_clear()


def test_a_missing_package_is_reported_once(gpu_engines, caplog):
    _, add = gpu_engines
    add("triton", "json")
    add("mamba_ssm", "json", ("not_a_package",))
    with caplog.at_level(logging.WARNING):
        assert available_engines("meta") == ["triton", "reference"]
        assert available_engines("meta") == ["triton", "reference"]
    messages = [r.getMessage() for r in caplog.records]
    assert len(messages) == 1
    assert "not_a_package, which is not installed" in messages[0]
    assert "pip install mamba_ssm" in messages[0]
    with pytest.raises(ValueError, match="not_a_package"):
        with use_engine("mamba_ssm"):
            pass


def test_a_broken_package_is_left_out_with_one_warning(gpu_engines, caplog):
    folder, add = gpu_engines
    reason = "fake_cuda.so: undefined symbol: _ZN3c104cuda9SetDeviceEi"
    (folder / "broken_engine.py").write_text(f"raise ImportError({reason!r})")
    add("triton", "broken_engine")
    add("mamba_ssm", "json")
    for _ in range(2):
        assert available_engines("meta") == ["mamba_ssm", "reference"]
        assert current_engine("meta") == "mamba_ssm"
    assert [r.getMessage() for r in caplog.records] == [
        "The engine 'triton' is left out: it does not load "
        f"(ImportError: {reason})"
    ]
    with pytest.raises(ValueError, match="undefined symbol"):
        with use_engine("triton"):
            pass


def test_gpu_packages_are_not_looked_for_on_the_cpu(gpu_engines, caplog):
    _, add = gpu_engines
    add("mamba_ssm", "json", ("not_a_package",))
    assert "mamba_ssm" not in available_engines("cpu")
    assert not caplog.records


def test_the_first_usable_engine_computes(gpu_engines):
    _, add = gpu_engines
    assert list(engines.ENGINES) == ["triton", "mamba_ssm", "cpu", "reference"]
    assert current_engine("cpu") == available_engines("cpu")[0]
    add("mamba_ssm", "csv")
    assert current_engine("meta") == "mamba_ssm"
    add("triton", "json")
    engines._preferred.cache_clear()
    assert current_engine("meta") == "triton"
    assert current_engine("meta", torch.bfloat16) == "triton"
    assert engines.engine_for(torch.empty(1, device="meta")).__name__ == (
        "json"
    )


def test_only_the_reference_computes_in_float64():
    assert current_engine("cpu", torch.float64) == "reference"


def test_kernels_of_triton_are_interpreted_on_the_cpu_if_asked():
    program = "from audiomamba import ops; print(ops.available_engines('cpu'))"
    found = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "TRITON_INTERPRET": value},
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.strip()
        for value in ("0", "1")
    ]
    wanted = ["['cpu', 'reference']", "['triton', 'cpu', 'reference']"]
    assert found == wanted


def test_use_engine_is_respected_until_its_block_ends():
    before = current_engine("cpu")
    with use_engine("reference"):
        assert current_engine("cpu") == "reference"
        with use_engine("cpu"):
            assert current_engine(torch.device("cpu")) == "cpu"
        assert current_engine("cpu") == "reference"
    assert current_engine("cpu") == before
    with use_engine("cpu"):
        with pytest.raises(ValueError, match="does not run on meta"):
            current_engine("meta")
        with pytest.raises(ValueError, match="float64"):
            current_engine("cpu", torch.float64)
