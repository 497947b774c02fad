"""What libsndfile cannot read: by PyAV if it is there, or with a remedy."""

import sys

import av
import numpy as np
import pytest
import soundfile
import torch

from audiomamba.dataio.audio import (
    AudioError,
    audio_info,
    read_audio,
    read_blocks,
)
from audiomamba.dataio.codecs.decoder import DECODED_SUFFIXES, DecodedFile
from audiomamba.dataio.corpora.preparation import Corpus, Inputs
from audiomamba.dataio.problems import PreparationError
from audiomamba.dataio.reader import AudioReader

RATE, CHANNELS = 48000, 2
CODECS = {"m4a": "aac", "webm": "libopus", "mka": "pcm_s16le", "mp4": "alac"}


def noise(n_samples):
    """Band-limited noise, which codecs keep; other channels are quieter."""
    wave = np.random.default_rng(0).standard_normal(n_samples + 20)
    wave = 0.3 * np.convolve(wave, np.hanning(21) / 10, "valid")
    return np.stack([wave, 0.5 * wave]).astype(np.float32)


def encode(path, n_samples=RATE):
    """Write a file as other programs do."""
    wave = noise(n_samples)
    with av.open(str(path), "w") as container:
        codec = CODECS[path.suffix[1:]]
        stream = container.add_stream(codec, rate=RATE, layout="stereo")
        whole = av.AudioFrame.from_ndarray(wave, "fltp", "stereo")
        whole.sample_rate, whole.pts = RATE, 0
        size = stream.codec_context.frame_size or 1024
        form = stream.codec_context.format or "s16"
        cut = av.AudioResampler(form, "stereo", RATE, size)
        for frame in cut.resample(whole) + cut.resample(None):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return wave


@pytest.mark.parametrize("suffix", CODECS)
def test_a_file_has_the_samples_that_its_length_says(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    wave = encode(path).mean(axis=0)
    info = audio_info(path, verify=True)
    assert info[1:] == (RATE, CHANNELS)
    whole = read_audio(path, RATE)
    assert len(whole) == info.n_frames
    assert abs(info.n_frames - RATE) <= 1024
    assert sum(map(len, read_blocks(path, 5000))) == info.n_frames
    part = read_audio(path, RATE, start=20000, stop=21000)
    torch.testing.assert_close(part, whole[20000:21000])
    n_same = min(len(whole), len(wave))
    agreement = np.corrcoef(whole[:n_same], wave[:n_same])[0, 1]
    assert agreement > 0.98


def test_a_random_part_is_read_in_training(tmp_path):
    encode(tmp_path / "a.m4a")
    reader = AudioReader(tmp_path, 16000, max_duration=0.25)
    assert reader("a", "a.m4a", 30000, -1).shape == (4000,)


def with_junk(path):
    """A FLAC file with bytes between its frames that are none of its own."""
    wave = noise(30000)[0]
    soundfile.write(path, wave, 16000)
    content = path.read_bytes()
    place = content.find(b"\xff\xf8\xc5\x08\x03")
    path.write_bytes(content[:place] + bytes(4) + content[place:])
    return soundfile.SoundFile(path).frames, wave


def test_flac_that_libsndfile_gives_up_is_read_whole(tmp_path):
    path = tmp_path / "a.flac"
    n_frames, wave = with_junk(path)
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.read(path)
    assert audio_info(path, verify=True).n_frames == n_frames == 30000
    whole = read_audio(path)
    np.testing.assert_allclose(whole, wave, atol=2**-15)
    part = read_audio(path, start=20000, stop=25000)
    torch.testing.assert_close(part, whole[20000:25000])
    blocks = list(read_blocks(path, 7000))
    torch.testing.assert_close(torch.cat(blocks), whole)


def damage(content):
    """Three ways in which a file of frames is not whole."""
    middle = len(content) // 2
    return {
        "cut": content[:middle],
        "one bit": content[:middle]
        + bytes([content[middle] ^ 1])
        + content[middle + 1 :],
        "zeros": content[:middle] + bytes(300) + content[middle + 300 :],
    }


@pytest.mark.parametrize("kind", ["cut", "one bit", "zeros"])
def test_damaged_flac_is_refused_by_both_readers(tmp_path, kind):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(30000)[0], 16000)
    path.write_bytes(damage(path.read_bytes())[kind])
    with pytest.raises(AudioError, match="truncated or damaged"):
        read_audio(path)


def test_a_cut_m4a_and_a_video_without_sound_are_refused(tmp_path):
    encode(tmp_path / "a.m4a")
    content = (tmp_path / "a.m4a").read_bytes()
    (tmp_path / "a.m4a").write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match="MPEG-4.*cannot be decoded.*again"):
        audio_info(tmp_path / "a.m4a")
    with av.open(str(tmp_path / "b.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 16
        picture = av.VideoFrame(16, 16, "yuv420p")
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    with pytest.raises(AudioError, match="no audio stream"):
        audio_info(tmp_path / "b.mp4")


def test_a_changed_file_is_measured_again(tmp_path):
    encode(tmp_path / "a.mka", 4800)
    assert DecodedFile(tmp_path / "a.mka").frames == 4800
    encode(tmp_path / "a.mka", 9600)
    assert DecodedFile(tmp_path / "a.mka").frames == 9600


def test_without_pyav_the_remedies_are_named(tmp_path, monkeypatch):
    encode(tmp_path / "a.m4a")
    with_junk(tmp_path / "b.flac")
    monkeypatch.setitem(sys.modules, "av", None)
    for name, words in (
        ("a.m4a", "is MPEG-4.*ffmpeg -i.*audiomamba\\[av\\]"),
        ("b.flac", "truncated or damaged.*ffmpeg -i.*audiomamba\\[av\\]"),
    ):
        with pytest.raises(AudioError, match=words):
            read_audio(tmp_path / name)


class Videos(Corpus):
    """A corpus of clips in any format."""

    name, source, tree = "Videos", "Record some.", "<name>.webm"
    decoded = DECODED_SUFFIXES

    def find(self):
        return Inputs([], self.list_audio())

    def parse(self, inputs):
        return inputs


def test_preparation_takes_these_files_where_pyav_is(tmp_path, monkeypatch):
    encode(tmp_path / "a.webm")
    found = Videos(tmp_path, tmp_path).list_audio()
    assert found["wav"].tolist() == ["a.webm"]
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(PreparationError, match="ffmpeg.*audiomamba\\[av\\]"):
        Videos(tmp_path, tmp_path).list_audio()
