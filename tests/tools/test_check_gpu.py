"""The check of a GPU, on the CPU: what it runs, compares and records."""

import json

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


def test_a_failed_check_is_recorded_and_the_others_run(
    tmp_path, monkeypatch, capsys
):
    from gpu_check.commands import CheckError

    def fail(commands):
        raise CheckError("the kernel does not compile")

    def find(commands):
        return {"found": commands.device, "faults": []}

    checks = {"operators": fail, "tables": find}
    status, record = run(checks, tmp_path, monkeypatch)
    assert status == 1
    failed, good = record["checks"].values()
    assert failed["faults"] == ["the kernel does not compile"]
    assert not failed["passed"]
    assert good["passed"] and good["found"] == "cpu"
    assert {"machine", "versions", "commit", "command"} <= set(record)
    shown = capsys.readouterr()
    assert "FAILED operators" in shown.out and "compile" in shown.err
    status, record = run({"tables": find}, tmp_path, monkeypatch)
    assert status == 0 and list(record["checks"]) == ["tables"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="for CPUs")
def test_without_a_gpu_it_says_so(capsys):
    import check_gpu

    with pytest.raises(SystemExit):
        check_gpu.main([])
    assert "finds no GPU" in capsys.readouterr().err


def test_programs_end_at_the_deadline_and_show_their_faults(commands):
    from gpu_check.commands import CheckError

    with pytest.raises(CheckError, match="status 3:\nwhy"):
        commands.python("-c", "print('why'); exit(3)")
    commands.deadline = 0.0
    with pytest.raises(CheckError, match="--minutes"):
        commands.python("-c", "import time; time.sleep(60)")


def test_the_operators_report_names_what_failed(commands, monkeypatch):
    from gpu_check.commands import CheckError
    from gpu_check.operators import check_operators

    def pytest_fails(*arguments):
        assert arguments[:3] == ("-m", "pytest", "tests/ops")
        report = arguments[arguments.index("--junit-xml") + 1]
        report.write_text(
            '<testsuites><testsuite><testcase classname="ops" name="a"/>'
            '<testcase classname="ops" name="b"><skipped/></testcase>'
            '<testcase classname="ops" name="c"><failure/></testcase>'
            "</testsuite></testsuites>"
        )
        raise CheckError("1 failed")

    monkeypatch.setattr(commands, "python", pytest_fails)
    assert check_operators(commands) == {
        "passed": 1,
        "skipped": 1,
        "failed": ["ops::c"],
        "faults": ["1 failed"],
    }


def test_engines_are_compared_by_their_losses(commands, monkeypatch):
    """The two epochs are real, and a wrong loss is a fault."""
    from gpu_check import training

    ways = [training.Training("engine reference", "reference", "cpu")]
    monkeypatch.setattr(training, "trainings", lambda device: ways)
    found = training.check_training(commands)
    assert found["faults"] == []
    standard, other = found["runs"].values()
    assert (standard["engine"], other["engine"]) == ("cpu", "reference")
    assert len(standard["losses"]) == 2
    assert other["difference"] < 1e-3
    losses = [dict(epoch) for epoch in standard["losses"]]
    losses[1]["train_loss"] *= 1.5
    assert training.difference(
        {"losses": losses}, {"losses": standard["losses"]}
    ) == pytest.approx(0.5)


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
        path = arguments[-1].removeprefix("--out=") + ".json"
        record = dict(command="", floors=None, results=[{"seconds": 1}])
        (commands.scratch / path).write_text(json.dumps(record))

    commands.device = device
    monkeypatch.setattr(commands, "python", remember)
    monkeypatch.setattr(tables, "engines_worth_timing", lambda device: ["cpu"])
    found = tables.check_tables(commands)
    assert found["faults"] == [] and len(called) == len(found["tables"])
    for tool, *options in called:
        assert tool == "tools/benchmark.py"
        options = [o for o in options if not o.startswith("--device")]
        benchmark._arguments([*options, "--device=cpu"])
