"""The benchmark at tiny sizes: what it measures and what it writes."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("numba")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Return a function that runs the benchmark in this process."""
    import benchmark

    def call(*arguments):
        stem = tmp_path / "out" / "tiny"
        command = [*arguments, "--device", "cpu", "--out", str(stem)]
        monkeypatch.setattr(sys, "argv", ["tools/benchmark.py", *command])
        benchmark.main(command)
        record = json.loads(stem.with_suffix(".json").read_text())
        table = pd.read_csv(stem.with_suffix(".csv"))
        return table, record, capsys.readouterr().out

    return call


SMALL = ("--size", "tiny", "--tokens", "64", "--repeats", "2", "--warmup", "1")
SHALLOW = ("--aum-depth", "2", "--ast-depth", "1")


def test_quick_means_tiny_and_shallow_unless_told_otherwise():
    import benchmark

    args = benchmark._arguments(["--quick", "--device=cpu", "--repeats=2"])
    assert (args.size, args.tokens) == ("tiny", [512, 1024])
    assert (args.aum_depth, args.ast_depth) == (6, 3)
    assert (args.repeats, args.warmup) == (2, 1)


def test_models_are_compared_in_one_run(run):
    table, record, shown = run(*SMALL, *SHALLOW, "--no-memory", "--profile")
    assert list(table["contender"]) == ["aum-tiny (cpu)", "ast-tiny"] * 2
    assert list(table["mode"]) == ["inference"] * 2 + ["training"] * 2
    for _, pair in table.groupby("mode"):
        aum, ast = pair.to_dict("records")
        assert ast["ratio"] == 1
        assert aum["ratio"] == pytest.approx(aum["seconds"] / ast["seconds"])
        assert aum["seconds_min"] <= aum["seconds"] <= aum["seconds_max"]
    assert table["peak_memory_bytes"].isna().all()
    assert "aum-tiny (cpu)" in shown

    assert {"machine", "versions", "commit", "command"} <= set(record)
    assert record["machine"]["cpu_threads"] == torch.get_num_threads()
    assert record["command"].startswith("python tools/benchmark.py --size")
    assert len(record["results"]) == 4
    operators = {entry["operator"] for entry in record["profiles"]}
    assert {"audiomamba::mamba_inner", "aten::addmm"} <= operators
    shares = pd.DataFrame(record["profiles"]).groupby(["contender", "mode"])
    assert shares["share"].sum().to_list() == pytest.approx([1] * 4)


def test_the_figure_shows_the_measurements(run, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    import benchmark
    from matplotlib.figure import Figure

    drawn, save = [], Figure.savefig

    def keep(figure, *arguments, **keywords):
        drawn.append(figure)
        save(figure, *arguments, **keywords)

    monkeypatch.setattr(Figure, "savefig", keep)
    monkeypatch.setattr(benchmark, "peak_memory", lambda cell: 3 << 20)
    image = tmp_path / "figures" / "curve.png"
    settings = (*SMALL, *SHALLOW, "--tokens", "64", "128", "--plot", str(image))
    table, *_ = run(*settings)
    run(*settings, "--no-memory")
    both, time_alone = drawn
    time, memory = both.axes
    assert len(time_alone.axes) == 1
    assert len(time.lines) == len(memory.lines) == 4
    tokens, found = time.lines[0].get_data()
    first = table[(table["subject"] == "aum") & (table["mode"] == "inference")]
    assert list(tokens) == [64, 128]
    assert found == pytest.approx(1e3 * first["seconds_per_clip"])
    assert list(memory.lines[3].get_ydata()) == [3, 3]
    assert image.read_bytes().startswith(b"\x89PNG")


def test_engines_are_compared_on_whole_models(run):
    models = ("--subjects", "aum", "--modes", "inference", "--no-memory")
    table, *_ = run(*SMALL, *SHALLOW, *models, "--engines", "cpu", "reference")
    assert list(table["contender"]) == [
        "aum-tiny (cpu)",
        "aum-tiny (reference)",
    ]
    own, other = table["seconds"]
    assert table["ratio"].to_list() == pytest.approx([1, other / own])


def test_engines_are_compared_on_the_scan_alone(run):
    scans = ("--subjects", "scan", "--batch-sizes", "2", "--no-memory")
    table, record, _ = run(*SMALL, *scans, "--engines", "reference", "cpu")
    assert list(table["contender"]) == ["scan (reference)", "scan (cpu)"] * 2
    for row in table.to_dict("records"):
        width, seconds = 2 * 192, row["seconds"]
        per_pass = 2 * 64 * width * 16 * 2
        passes = 2 if row["mode"] == "training" else 1
        assert row["gexp_per_s"] == pytest.approx(
            passes * per_pass / seconds / 1e9
        )
        assert row["seconds_per_clip"] == seconds / 2
    reads_and_writes = 4 * 2 * 64 * (4 * 384 + 2 * 16)
    first = table.iloc[0]
    assert first["gbytes_per_s"] == pytest.approx(
        reads_and_writes / first["seconds"] / 1e9
    )
    assert record["results"][0]["parameters"] is None


def test_scans_are_compared_with_what_the_device_can_do():
    from benchmarking.cells import Cell, scan_work
    from benchmarking.floors import floor_seconds, measure_floors

    floors = measure_floors("cpu")
    assert floors["gbytes_per_s"] > 0 and floors["gexp_per_s"] is None
    cell = Cell("scan", "inference", 64)
    moved, exponentials = scan_work(cell)
    assert floor_seconds(cell, floors) == pytest.approx(
        moved / 1e9 / floors["gbytes_per_s"]
    )
    slow = {"gbytes_per_s": 1e6, "gexp_per_s": 2.0}
    assert floor_seconds(cell, slow) == exponentials / 2e9


def test_a_layer_is_compared_with_that_of_mamba_ssm(run, monkeypatch):
    """With a linear layer in its place, as the package needs a GPU."""
    package = ModuleType("mamba_ssm")
    package.Mamba = lambda width: torch.nn.Linear(width, width)
    monkeypatch.setitem(sys.modules, "mamba_ssm", package)
    table, *_ = run(*SMALL, "--no-memory", "--subjects", "mixer", "stock")
    assert list(table["contender"]) == ["mixer (cpu)", "stock"] * 2
    own, other = table["seconds"][:2]
    assert table["ratio"].to_list()[:2] == pytest.approx([own / other, 1])


def test_dass_is_compared_with_the_others(run):
    models = ("--subjects", "dass-small", "ast", "--modes", "inference")
    table, *_ = run(*SMALL, *SHALLOW, *models, "--no-memory")
    assert list(table["contender"]) == ["dass-small (cpu)", "ast-tiny"]
    assert table["parameters"][0] == pytest.approx(30e6, rel=0.05)


def test_the_models_parameters_are_reported(run):
    table, *_ = run(*SMALL, *SHALLOW, "--no-memory", "--modes", "inference")
    from benchmarking.cells import Cell, build_encoder

    for subject, depth in (("aum", 2), ("ast", 1)):
        encoder = build_encoder(
            Cell(subject, "inference", 64, size="tiny", depth=depth)
        )
        counted = sum(p.numel() for p in encoder.parameters()) + 193 * 527
        row = table[table["subject"] == subject].iloc[0]
        assert row["parameters"] == counted
        assert row["gflops_per_clip"] > 0


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="Linux only"
)
def test_peak_memory_is_that_of_the_cell_alone():
    from benchmarking.cells import Cell
    from benchmarking.measure import peak_memory

    cell = Cell("scan", "inference", 8192, size="base", engine="cpu")
    peak_memory(cell)  # compiles the kernel, which takes memory as well
    found = peak_memory(cell)
    # u, delta, z and y: 8192 steps of 1536 channels; B and C beside them.
    least = 4 * 8192 * (4 * 1536 + 2 * 16)
    assert least < found < 1.3 * least


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="Linux only"
)
def test_a_cell_that_ran_out_of_memory_has_no_time(run, monkeypatch):
    import benchmark
    from benchmarking import measure

    def peak(cell):
        return measure.OUT_OF_MEMORY if cell.subject == "ast" else 1 << 20

    monkeypatch.setattr(benchmark, "peak_memory", peak)
    table, record, shown = run(*SMALL, *SHALLOW, "--modes", "training")
    aum, ast = record["results"]
    assert (aum["depth"], ast["depth"]) == (2, 1)
    assert (ast["note"], ast["seconds"]) == ("out of memory", None)
    assert aum["seconds"] > 0 and aum["ratio"] is None
    assert aum["peak_memory_bytes"] == 1 << 20
    assert "out of memory" in shown


def test_other_failures_are_not_reported_as_out_of_memory():
    from benchmarking.cells import Cell
    from benchmarking.measure import peak_memory

    with pytest.raises(RuntimeError, match="exit code 1"):
        peak_memory(Cell("scan", "inference", 64, engine="no such engine"))


def test_every_precision_runs():
    from benchmarking.cells import Cell, new_step

    for precision in ("bf16", "fp16"):
        for subject in ("aum", "ast", "scan"):
            for mode in ("inference", "training"):
                engine = None if subject == "ast" else "cpu"
                options = dict(precision=precision, size="tiny", depth=1)
                cell = Cell(subject, mode, 64, engine=engine, **options)
                new_step(cell)()
                assert asdict(cell)["precision"] == precision


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--tokens", "100"), "multiples of 8"),
        (("--engines", "fast"), "there are cpu, reference"),
        (("--repeats", "0"), "--repeats is at least 1"),
        (("--quick", "--aum-depth", "0"), "--aum-depth is at least 1"),
    ],
)
def test_invalid_settings_are_refused(arguments, words, capsys):
    import benchmark

    with pytest.raises(SystemExit):
        benchmark.main(["--device", "cpu", *arguments])
    assert words in capsys.readouterr().err
