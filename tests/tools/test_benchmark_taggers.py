"""The table of clips per second and memory, on one short clip."""

import pytest

pytest.importorskip("transformers")
pytest.importorskip("numba")


def test_the_table_has_a_row_per_model_and_form(tmp_path, capsys):
    from benchmark_taggers import main

    out = tmp_path / "new" / "table.md"
    options = ["--models", "aum_tiny", "--seconds", "0.5", "--rounds", "1"]
    main([*options, "--forms", "fp32", "bf16", "--out", str(out)])
    text = out.read_text()
    *_, header, _, single, half = text.strip().splitlines()
    assert header == "| model | form | 0.5 s: clips/s | 0.5 s: MiB |"
    for line, form in ((single, "fp32"), (half, "bf16")):
        name, kind, rate, memory = line.strip("| ").split(" | ")
        assert (name, kind) == ("aum_tiny", form)
        assert float(rate) > 0 and float(memory) > 0
    assert "one thread; batches of 1" in text and "commit" in text
    assert text in capsys.readouterr().out


def test_what_takes_longer_than_the_patience_is_left_out(tmp_path):
    from benchmark_taggers import main

    out = tmp_path / "table.md"
    options = ["--models", "aum_tiny", "--forms", "fp32", "--patience", "0"]
    main([*options, "--seconds", "60", "1", "--out", str(out)])
    *_, header, _, line = out.read_text().strip().splitlines()
    assert header.strip("| ").split(" | ")[2:] == [
        "1 s: clips/s",
        "1 s: MiB",
        "60 s: clips/s",
        "60 s: MiB",
    ]
    assert line == "| aum_tiny | fp32 | - | - | - | - |"


def test_ast_has_no_form_in_onnx(tmp_path):
    from benchmark_taggers import write_onnx

    assert write_onnx("ast_base", ["onnx", "int8"], tmp_path) == {}
    assert write_onnx("aum_tiny", ["fp32"], tmp_path) == {}


def test_every_other_model_has_one_for_clips_of_any_length():
    from benchmark_taggers import exportable
    from benchmarking.taggers import MODELS, new_tagger

    from audiomamba.inference.programs.waveform_program import (
        WaveformClassifier,
    )

    for name in filter(exportable, MODELS):
        assert not WaveformClassifier(new_tagger(MODELS[name](), None)).is_fixed
