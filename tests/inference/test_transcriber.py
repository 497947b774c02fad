"""Recordings of any length, heard in windows."""

from types import SimpleNamespace

import pytest
import soundfile
import torch

from audiomamba.inference.transcriber import Transcriber, overlapping
from audiomamba.inference.waveforms import WaveformNormalizer
from audiomamba.lobes.transcripts import Decoder


class Levels(Decoder):
    def __call__(self, log_probs, lengths):
        assert lengths.tolist() == [1.0]
        levels = (100 * log_probs[0, :, 0]).round().int().tolist()
        return [" ".join(map(str, levels))]


class Listener(Transcriber):
    """Writes down the level of every step of 40 ms, rounded."""

    streams = False

    def __init__(self):
        self.hparams = SimpleNamespace(
            audio_normalizer=WaveformNormalizer(16000, remove_mean=False)
        )
        self.step, self.heard, self.decode = 0.04, [], Levels()

    def scores(self, wav):
        self.heard.append(len(wav) / 16000)
        steps = wav[: len(wav) // 640 * 640].unflatten(0, (-1, 640))
        return steps.mean(1, keepdim=True)


@pytest.mark.parametrize("n_steps", [50, 150, 151, 200, 251, 275, 300, 999])
def test_windows_give_every_step_once(tmp_path, n_steps):
    levels = torch.arange(n_steps) % 90
    wave = (levels / 100).repeat_interleave(640)
    soundfile.write(tmp_path / "a.wav", wave.numpy(), 16000, subtype="FLOAT")
    listener = Listener()
    text = listener.transcribe_file(tmp_path / "a.wav", window=6.0)
    assert text == " ".join(map(str, levels.tolist()))
    # 6 s every 2 s
    assert max(listener.heard) <= 6.0
    assert len(listener.heard) == max(1, -(-(n_steps - 100) // 50))


def test_a_window_must_be_longer_than_the_overlap(tmp_path):
    for window in (4.0, 0.0, float("nan")):
        with pytest.raises(ValueError, match="window is"):
            Listener().transcribe_file(tmp_path / "a.wav", window=window)


@pytest.mark.parametrize("block", [1, 3, 7, 100])
def test_windows_do_not_depend_on_the_blocks(block):
    wave = torch.arange(23)
    whole = list(overlapping([wave], size=6, hop=4))
    cut = list(overlapping(wave.split(block), size=6, hop=4))
    assert len(whole) == len(cut) == 6
    for (one, last), (other, also_last) in zip(whole, cut):
        assert torch.equal(one, other) and last == also_last


@pytest.fixture
def causal(make_causal):
    return make_causal()


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_long_file_has_the_text_of_one_pass(causal, tmp_path, rate):
    assert causal.streams
    generator = torch.Generator().manual_seed(rate)
    wave = 0.1 * torch.randn(9 * rate, generator=generator)
    soundfile.write(tmp_path / "a.wav", wave.numpy(), rate, subtype="FLOAT")
    text = causal.transcribe_file(tmp_path / "a.wav", window=5)
    whole = causal.transcribe_file(tmp_path / "a.wav", window=60)
    assert text == whole and len(text) > 8
    blocks = wave.split(rate // 7)
    assert "".join(causal.transcribe_stream(blocks, rate)) == whole


def test_text_comes_while_the_sound_goes_on(causal):
    given = []

    def blocks():
        for _ in range(50):
            given.append(1)
            yield 0.1 * torch.randn(1600)

    torch.manual_seed(1)
    for number, _ in enumerate(causal.transcribe_stream(blocks()), 1):
        assert len(given) == number
    assert number == 50


def test_a_model_that_looks_ahead_hears_files_only(make_causal, tmp_path):
    model = make_causal(scan="fo_bi")
    assert not model.streams
    with pytest.raises(ValueError, match="scan is 'fo_bi'"):
        next(model.transcribe_stream([torch.zeros(1600)]))
    wave = 0.1 * torch.randn(9 * 16000)
    soundfile.write(tmp_path / "a.wav", wave.numpy(), 16000)
    assert model.transcribe_file(tmp_path / "a.wav", window=5)
