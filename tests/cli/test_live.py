"""audiomamba-tag on standard input and on a microphone."""

import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from audiomamba.cli.tag import main
from audiomamba.dataio.audio import read_audio
from audiomamba.inference.live import pcm_blocks


@pytest.fixture
def tag(run, capsys):
    def call(*options):
        words = [*options, "--model", run.exported, "--device", "cpu"]
        words += ["--window", "0.2", "--hop", "0.1", "--json"]
        status = main([*map(str, words)])
        lines = capsys.readouterr().out.splitlines()
        return status, [json.loads(line) for line in lines]

    return call


class Pipe(io.BufferedIOBase):
    """Standard input that gives its bytes in odd pieces, and then ends."""

    def __init__(self, data, size=1001):
        self.buffer, self.data, self.size = self, data, size
        self.given = 0

    def read1(self, size=-1):
        piece = self.data[self.given : self.given + self.size]
        self.given += len(piece)
        return piece


def test_raw_samples_give_what_the_file_gives(tag, run, tmp_path, monkeypatch):
    wav = read_audio(run.paths[5], 16000).numpy()
    samples = (wav * 32768).round().astype("<i2")
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 16000, subtype="PCM_16")
    _, (file,) = tag(path)
    monkeypatch.setattr(sys, "stdin", Pipe(samples.tobytes()))
    status, windows = tag("-")
    assert status == 0 and len(windows) == len(file["windows"]) > 3
    for window, wanted in zip(windows, file["windows"]):
        assert window.pop("file") == "-" and window["start"] == wanted["start"]
        for found, expected in zip(window["tags"], wanted["tags"]):
            assert found["label"] == expected["label"]
            assert found["probability"] == pytest.approx(
                expected["probability"], abs=1e-4
            )


def test_every_window_is_answered_when_it_is_complete(run):
    """Nothing is read beyond a window before its answer."""
    from audiomamba.inference import AudioTagger

    tagger = AudioTagger.from_hparams(run.exported, run_opts={"device": "cpu"})
    pipe = Pipe(np.zeros(16000, "<i2").tobytes(), size=320)
    stream = tagger.tag_stream(pcm_blocks(pipe), window=0.2, hop=0.1)
    for number, window in zip(range(4), stream):
        assert pipe.given == 2 * round(16000 * (0.2 + 0.1 * number))
        assert window.stop == pytest.approx(0.2 + 0.1 * number)


@pytest.mark.parametrize(
    "data, complaint",
    [(b"", "no samples"), (b"RIFF1234WAVEfmt ", "ffmpeg -f s16le")],
)
def test_input_that_is_no_samples_is_explained(
    tag, monkeypatch, data, complaint
):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    with pytest.raises(SystemExit, match=complaint):
        tag("-")


def test_closed_standard_input_is_explained(tag, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SystemExit, match="standard input gives no bytes"):
        tag("-")


class FakeAudio:
    """A sounddevice whose microphone has another rate and then is closed."""

    class PortAudioError(Exception):
        pass

    def __init__(self, devices=True):
        self.devices = devices

    def query_devices(self, kind):
        if not self.devices:
            raise self.PortAudioError("Error querying device -1")
        return {"default_samplerate": 8000.0}

    def check_input_settings(self, channels, samplerate):
        if samplerate != 8000:
            raise self.PortAudioError("Invalid sample rate")

    def InputStream(self, samplerate, blocksize, callback, **options):
        class Stream:
            def __enter__(self):
                rng = np.random.default_rng(0)
                for _ in range(20):
                    callback(rng.random((blocksize, 1), np.float32) - 0.5, 0)

            def __exit__(self, *error):
                pass

        return Stream()


def test_the_microphone_is_heard_until_ctrl_c(tag, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", FakeAudio())
    from audiomamba.inference import tagger

    original, count = tagger.AudioTagger._top, []

    def stop_after_three(self, *arguments):
        count.append(1)
        if len(count) > 3:
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(tagger.AudioTagger, "_top", stop_after_three)
    status, windows = tag("--microphone")
    assert status == 0 and len(windows) == 3
    # 8 kHz, in seconds
    assert [w["stop"] for w in windows] == [0.2, 0.3, 0.4]
    assert windows[0]["file"] == "microphone"


def test_a_microphone_that_stops_is_explained(tag, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "sounddevice", FakeAudio())
    monkeypatch.setattr("audiomamba.inference.live._PATIENCE", 0.05)
    monkeypatch.setattr("audiomamba.inference.live._LAG", 0.5)
    with pytest.raises(SystemExit, match="gives no more sound: connect"):
        tag("--microphone")
    # Its second of sound was there at once
    assert caplog.text.count("The answers lag: 0.5 s") == 1


def test_a_missing_microphone_is_explained(tag, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", FakeAudio(devices=False))
    with pytest.raises(SystemExit, match="no microphone.*Error querying"):
        tag("--microphone")
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(SystemExit, match=r"audiomamba\[microphone\]"):
        tag("--microphone")


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--microphone", "a.wav"],
        ["-", "a.wav"],
        ["a.wav", "--rate", "8000"],
        ["-", "--rate", "0"],
        ["-", "--plot", "a.png"],
        ["--microphone", "--events", "a.csv"],
    ],
)
def test_sources_without_meaning_are_refused(tag, options):
    with pytest.raises(SystemExit, match="2"):
        tag(*options)
