"""audiomamba-transcribe on standard input."""

import io
import sys
from types import SimpleNamespace

import pytest
import torch

from audiomamba.cli import transcribe


@pytest.fixture
def start(make_causal, monkeypatch):
    """Start the command with samples on standard input."""

    def start(samples, *options, **parts):
        model = make_causal(**parts)
        monkeypatch.setattr(transcribe, "load_model", lambda *given: model)
        raw = (samples * 32768).round().to(torch.int16).numpy().tobytes()
        stdin = SimpleNamespace(buffer=io.BytesIO(raw))
        monkeypatch.setattr(sys, "stdin", stdin)
        return model, transcribe.main(["-", "--model", "m", *options])

    return start


@pytest.mark.parametrize("rate", [16000, 8000])
def test_standard_input_is_written_down(start, capsys, rate):
    generator = torch.Generator().manual_seed(3)
    samples = 0.1 * torch.randn(4 * rate, generator=generator)
    samples = (samples * 32768).round() / 32768
    model, status = start(samples, "--rate", str(rate))
    text = "".join(model.transcribe_stream([samples], rate))
    assert status == 0 and text
    assert capsys.readouterr().out == f"{text}\n"


def test_a_model_that_looks_ahead_is_refused(start):
    with pytest.raises(SystemExit, match="scan is 'fo_bi'"):
        start(torch.zeros(16000), scan="fo_bi")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-", "a.wav"],
        ["a.wav", "--microphone"],
        ["-", "--json"],
        ["--microphone", "--beam", "4"],
    ],
)
def test_impossible_command_lines_are_explained(words, capsys):
    with pytest.raises(SystemExit):
        transcribe.main([*words, "--model", "m"])
    assert "error: " in capsys.readouterr().err
