"""The choice between engines: what is missing, what is broken, what is fast."""

import logging
import time
import types

import pytest

from audiomamba.ops import available_engines, engines, use_engine
from audiomamba.ops.trial import fastest


@pytest.fixture
def gpu_engines(tmp_path, monkeypatch):
    """Let packages be written, and forget what was found before and after.

    The engines `triton` and `mamba_ssm` become those of any machine, by
    running on the device type "meta".
    """
    caches = (engines._problem, engines._usable, engines._fastest)
    monkeypatch.syspath_prepend(tmp_path)
    for cache in caches:
        cache.cache_clear()

    def add(name, module, needs=("numpy",)):
        engine = engines.Engine(module, "meta", needs, f"pip install {name}")
        monkeypatch.setitem(engines.ENGINES, name, engine)

    yield tmp_path, add
    for cache in caches:
        cache.cache_clear()


def test_a_missing_package_is_named_once(gpu_engines, caplog):
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


def test_a_broken_package_is_left_out_with_its_reason(gpu_engines, caplog):
    folder, add = gpu_engines
    reason = "fake_cuda.so: undefined symbol: _ZN3c104cuda9SetDeviceEi"
    (folder / "broken_engine.py").write_text(f"raise ImportError({reason!r})")
    add("triton", "json")
    add("mamba_ssm", "broken_engine")
    assert available_engines("meta") == ["triton", "reference"]
    assert [r.getMessage() for r in caplog.records] == [
        "The engine 'mamba_ssm' is left out: it does not load "
        f"(ImportError: {reason})"
    ]
    with pytest.raises(ValueError, match="undefined symbol"):
        with use_engine("mamba_ssm"):
            pass


def test_the_cpu_asks_nothing_of_gpu_packages(gpu_engines, caplog):
    _, add = gpu_engines
    add("mamba_ssm", "json", ("not_a_package",))
    assert "mamba_ssm" not in available_engines("cpu")
    assert not caplog.records


def test_of_two_engines_the_faster_one_is_used(gpu_engines, monkeypatch):
    _, add = gpu_engines
    add("triton", "json")
    add("mamba_ssm", "csv")
    asked = []

    def try_them(modules, kind):
        asked.append((sorted(modules), kind))
        return "mamba_ssm"

    monkeypatch.setattr(engines, "fastest", try_them)
    assert engines._fastest("meta") == "mamba_ssm"
    assert engines._fastest("meta") == "mamba_ssm"
    assert asked == [(["mamba_ssm", "triton"], "meta")]


def test_trying_finds_the_faster_one(caplog):
    def engine(seconds):
        names = "conv_forward conv_backward scan_forward scan_backward"
        return types.SimpleNamespace(
            **{n: lambda *_: time.sleep(seconds) for n in names.split()}
        )

    with caplog.at_level(logging.INFO, "audiomamba.ops.trial"):
        pair = {"slow": engine(0.02), "quick": engine(0.0)}
        assert fastest(pair, "cpu") == "quick"
    assert "slow" in caplog.text and "quick is used" in caplog.text
