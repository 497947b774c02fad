"""The check of a GPU, on the CPU: what it runs, compares and records."""

import json
import os
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("numba")


@pytest.fixture
def commands(tmp_path):
    from gpu_check.commands import Commands

    return Commands("cpu", tmp_path, seconds=600)


def run(checks, tmp_path, monkeypatch):
    """Run other checks in place of its own; return the record."""
    import check_gpu

    monkeypatch.setattr(check_gpu, "CHECKS", checks)
    out = tmp_path / "results" / "gpu.json"
    try:
        check_gpu.main(["--device", "cpu", "--out", str(out)])
        status = 0
    except SystemExit as end:
        status = end.code
    return status, json.loads(out.read_text())


def test_a_failed_part_is_recorded_and_the_others_run(
    tmp_path, monkeypatch, capsys
):
    from gpu_check.commands import CheckError

    def fail():
        # The names of the record's own keys
        raise CheckError("1 test failed", {"passed": 254, "failed": {"a": "b"}})

    def find():
        return {"passed": 3}

    checks = {
        "operators": lambda commands: {"tests": fail, "others": find},
        "tables": lambda commands: {"scan": lambda: 1 / 0},
    }
    status, record = run(checks, tmp_path, monkeypatch)
    assert status == 1
    assert record["failed"] == ["operators, tests", "tables, scan"]
    failed, good = record["checks"]["operators"].values()
    assert (failed["ok"], failed["fault"]) == (False, "1 test failed")
    assert (failed["passed"], failed["failed"]) == (254, {"a": "b"})
    assert good["ok"] and good["passed"] == 3 and good["seconds"] >= 0
    assert "ZeroDivisionError" in record["checks"]["tables"]["scan"]["fault"]
    assert {"machine", "versions", "commit", "command"} <= set(record)
    assert record["engines"] == ["cpu", "reference"]
    shown = capsys.readouterr()
    assert "FAILED operators, tests" in shown.out
    assert "1 test failed" in shown.err

    checks = {"tables": lambda commands: {"scan": find}}
    status, record = run(checks, tmp_path, monkeypatch)
    assert (status, record["failed"]) == (0, [])


@pytest.mark.skipif(torch.cuda.is_available(), reason="for CPUs")
def test_without_a_gpu_it_says_so(capsys):
    import check_gpu

    with pytest.raises(SystemExit):
        check_gpu.main([])
    assert "finds no GPU" in capsys.readouterr().err


def test_a_failed_program_shows_its_output(commands):
    from gpu_check.commands import CheckError

    with pytest.raises(CheckError, match="status 3:\nwhy"):
        commands.python("-c", "print('why'); exit(3)")


def test_programs_end_at_the_deadline_with_those_that_they_started(
    commands, tmp_path
):
    from gpu_check.commands import CheckError

    pid = tmp_path / "pid"
    parent = (
        "import subprocess; child = subprocess.Popen(['sleep', '600'])\n"
        f"with open({str(pid)!r}, 'w') as file: print(child.pid, file=file)\n"
        "child.wait()"
    )
    # Seconds to start Python on a busy machine
    commands.deadline = time.monotonic() + 5
    with pytest.raises(CheckError, match="not done .*--minutes"):
        commands.python("-S", "-c", parent)
    # A zombie until its adopter asks for it
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.kill(int(pid.read_text()), 0)
            time.sleep(0.1)
    commands.deadline = 0.0
    with pytest.raises(CheckError, match="time was up before"):
        commands.python("-c", "")


def test_the_operators_report_names_what_failed(commands, monkeypatch):
    from gpu_check.commands import CheckError
    from gpu_check.operators import check_tests

    def pytest_fails(*arguments):
        assert arguments[:2] == ("-m", "pytest")
        report = arguments[arguments.index("--junit-xml") + 1]
        report.write_text(
            '<testsuites><testsuite><testcase classname="ops" name="a"/>'
            '<testcase classname="ops" name="b"><skipped/></testcase>'
            '<testcase classname="ops" name="c"><failure message="1 != 2"/>'
            "</testcase></testsuite></testsuites>"
        )
        raise CheckError("1 failed")

    monkeypatch.setattr(commands, "python", pytest_fails)
    with pytest.raises(CheckError, match="1 failed") as raised:
        check_tests(commands)
    assert raised.value.found == {
        "passed": 1,
        "skipped": 1,
        "failed": {"ops::c": "1 != 2"},
    }


def test_engines_are_compared_by_their_losses(commands, monkeypatch):
    """The two epochs are real, and a wrong loss is a fault."""
    from gpu_check import training
    from gpu_check.commands import CheckError

    ways = [training.Training("engine reference", "reference", "cpu")]
    monkeypatch.setattr(training, "trainings", lambda device: ways)
    parts = training.training_parts(commands)
    assert list(parts) == ["standard", "engine reference"]
    standard, other = (run() for run in parts.values())
    assert (standard["engine"], other["engine"]) == ("cpu", "reference")
    assert len(standard["losses"]) == 2
    assert standard["difference"] == 0 < other["difference"] < 1e-3

    wrong = [dict(epoch) for epoch in standard["losses"]]
    wrong[1]["train_loss"] *= 1.5
    monkeypatch.setattr(training, "train", lambda *arguments: {"losses": wrong})
    with pytest.raises(CheckError, match="differ by 0.5, more") as raised:
        parts["engine reference"]()
    assert raised.value.found["difference"] == pytest.approx(0.5)


def test_without_the_standards_losses_the_others_say_so(commands):
    from gpu_check import training
    from gpu_check.commands import CheckError

    with pytest.raises(CheckError, match="standard: no losses"):
        training.losses(commands, training.standard())


def test_every_way_to_train_is_tried_on_the_cpu():
    from gpu_check.training import trainings

    names = [training.name for training in trainings("cpu")]
    assert names == [
        "engine triton",
        "engine reference",
        "fp16",
        "bf16",
        "compiled",
        "two processes",
    ]


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_the_benchmark_understands_every_table(device, commands, monkeypatch):
    import benchmark
    from gpu_check import tables

    called = []

    def remember(*arguments, interpret):
        called.append([str(argument) for argument in arguments])
        stem = arguments[-1].removeprefix("--out=")
        row = dict.fromkeys(benchmark.RATES, None)
        row |= dict(mode="training", precision="fp32", batch=8, tokens=512)
        row |= dict(contender="aum", note="", depth=24, ratio=0.25)
        row["parameters"] = 1e6
        row |= dict(gflops_per_clip=1, seconds_per_clip=1)
        row |= dict(peak_memory_bytes=None)
        record = dict(command="", floors=None, results=[row])
        Path(stem + ".json").write_text(json.dumps(record))

    commands.device = device
    monkeypatch.setattr(commands, "python", remember)
    monkeypatch.setattr(tables, "engines_worth_timing", lambda device: ["cpu"])
    for run in tables.table_parts(commands).values():
        found = run()
        assert found["results"][0]["ratio"] == 0.25
        assert "0.25" in found["shown"][1]
    assert len(called) == len(tables.TABLES[device])
    for tool, *options in called:
        assert tool == "tools/benchmark.py"
        options = [o for o in options if not o.startswith("--device")]
        benchmark._arguments([*options, "--device=cpu"])
