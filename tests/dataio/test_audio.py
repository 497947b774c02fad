"""Reading audio: all supported formats, and all files that are refused."""

import pickle
import struct
import sys

import numpy as np
import pytest
import soundfile
import torch

from audiomamba.dataio.audio import (
    AudioError,
    audio_info,
    read_audio,
    read_blocks,
    read_window,
    resample,
    resample_blocks,
)


def tone(rate, seconds=1.0, frequency=440.0):
    return 0.5 * np.sin(
        2 * np.pi * frequency * np.arange(rate * seconds) / rate
    )


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_16", 1e-4),
        ("a.wav", "PCM_24", 1e-6),
        ("a.wav", "PCM_32", 1e-6),
        ("a.wav", "FLOAT", 1e-6),
        ("a.flac", "PCM_16", 1e-4),
        ("a.flac", "PCM_24", 1e-6),
    ],
)
def test_formats_give_the_same_samples(tmp_path, name, subtype, tolerance):
    samples = tone(16000)
    soundfile.write(tmp_path / name, samples, 16000, subtype=subtype)
    assert audio_info(tmp_path / name, verify=True) == (16000, 16000, 1)
    wav = read_audio(tmp_path / name)
    assert wav.dtype == torch.float32 and wav.shape == (16000,)
    np.testing.assert_allclose(wav, samples, atol=tolerance)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampling_keeps_the_tone(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(rate), rate)
    wav = read_audio(tmp_path / "a.wav")
    assert wav.shape == (16000,)
    # away from the ends, where the tone starts and stops abruptly
    inner = slice(200, -200)
    np.testing.assert_allclose(wav[inner], tone(16000)[inner], atol=2e-3)


def test_channels_are_averaged(tmp_path):
    left, right = tone(16000), tone(16000, frequency=1000.0)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), 16000)
    np.testing.assert_allclose(
        read_audio(tmp_path / "a.wav"), (left + right) / 2, atol=1e-4
    )


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_segment_equals_a_slice_of_the_file(tmp_path, name):
    samples = tone(16000)
    soundfile.write(tmp_path / name, samples, 16000)
    part = read_audio(tmp_path / name, start=5000, stop=7000)
    np.testing.assert_allclose(part, samples[5000:7000], atol=1e-4)
    last = read_audio(tmp_path / name, start=15000)
    np.testing.assert_allclose(last, samples[15000:], atol=1e-4)


def test_only_the_segment_is_decoded(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", tone(16000, seconds=10), 16000)
    asked = []
    read = soundfile.SoundFile.read

    def counted(self, frames=-1, **options):
        asked.append(frames)
        return read(self, frames, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    read_window(tmp_path / "a.wav", lambda n, rate: (n // 2, n // 2 + 100))
    assert asked == [100]


def test_one_sample_and_silence_are_read(tmp_path):
    soundfile.write(tmp_path / "one.wav", [0.25], 16000)
    soundfile.write(tmp_path / "one8k.wav", [0.25], 8000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(100), 16000)
    assert read_audio(tmp_path / "one.wav").tolist() == [0.25]
    assert read_audio(tmp_path / "one8k.wav").shape == (2,)
    assert not read_audio(tmp_path / "silent.wav").any()


def bad_file(folder, fault):
    path = folder / f"{fault}.wav"
    if fault == "missing":
        return path
    if fault == "folder":
        path.mkdir()
        return path
    samples = tone(16000)
    if fault == "nan":
        samples[77] = np.nan
    if fault == "infinite":
        samples[77] = np.inf
    if fault == "too loud":
        samples[77] = -1e16
    floats = fault in ("nan", "infinite", "too loud")
    subtype = "FLOAT" if floats else "PCM_16"
    soundfile.write(
        path, samples if fault != "no_frames" else [], 16000, subtype=subtype
    )
    whole = path.read_bytes()
    if fault == "empty":
        path.write_bytes(b"")
    if fault == "text":
        path.write_text("not found\n")
    if fault == "truncated":
        path.write_bytes(whole[:9000])
    if fault == "header_only":
        path.write_bytes(whole[:44])
    if fault == "half_a_header":
        path.write_bytes(whole[:30])
    return path


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("missing", "is missing"),
        ("folder", "is not a file"),
        ("nan", "NaN"),
        ("infinite", "infinite"),
        ("too loud", "beyond 1e"),
        ("no_frames", "0 frames"),
        ("empty", "is empty"),
        ("text", "is not an audio file"),
        ("truncated", "truncated"),
        ("header_only", "truncated"),
        ("half_a_header", "is not an audio file"),
    ],
)
def test_bad_files_are_refused_by_name(tmp_path, fault, words):
    path = bad_file(tmp_path, fault)
    for refuse in (
        lambda: audio_info(path, verify=True),
        lambda: read_audio(path),
    ):
        with pytest.raises(AudioError, match=words) as caught:
            refuse()
        assert str(path) in str(caught.value)
        # the message gives a remedy, and a worker can pickle the error
        assert "; " in str(caught.value)
        copy = pickle.loads(pickle.dumps(caught.value))
        assert str(copy) == str(caught.value)


def cut(content):
    return content[: len(content) * 6 // 10]


def with_hole(content):
    """What a broken disk leaves: the end is there."""
    middle = len(content) // 2
    return content[:middle] + bytes(3000) + content[middle + 3000 :]


@pytest.mark.parametrize("damage", [cut, with_hole])
@pytest.mark.parametrize(
    "name", ["a.flac", "a.ogg", "a.opus", "a.mp3", "a.aiff", "a.au", "a.w64",
             "a.rf64"]
)  # fmt: skip
def test_what_verification_lets_through_can_be_read(tmp_path, name, damage):
    path, form = tmp_path / name, {"a.opus": "OGG"}.get(name)
    subtype = "OPUS" if name == "a.opus" else None
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 96000)
    soundfile.write(path, noise, 48000, format=form, subtype=subtype)
    assert audio_info(path, verify=True).n_frames == 96000
    path.write_bytes(damage(path.read_bytes()))
    try:
        verified = audio_info(path, verify=True)
    except AudioError:
        return
    # without compression, zeros are samples like others
    assert damage is with_hole
    assert len(read_audio(path, 48000)) == verified.n_frames


def test_flac_that_breaks_after_a_sound_header_is_found(tmp_path):
    """The last frame can be read, those before it cannot."""
    path = tmp_path / "a.flac"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 96000)
    soundfile.write(path, noise, 16000)
    path.write_bytes(with_hole(path.read_bytes()))
    assert audio_info(path).n_frames == 96000
    for refuse in (
        lambda: audio_info(path, verify=True),
        lambda: read_audio(path),
    ):
        with pytest.raises(AudioError, match="ffmpeg -i .*a.flac"):
            refuse()


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32", "NMS_ADPCM_32"])
def test_telephony_codecs_that_cannot_seek_are_read(tmp_path, subtype):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(8000, 5.0), 8000, subtype=subtype)
    n_frames = audio_info(path, verify=True).n_frames
    whole = read_audio(path, 8000)
    assert len(whole) == n_frames >= 40000
    # these codecs need a moment to adapt
    likeness = np.corrcoef(whole[800:40000], tone(8000, 5.0)[800:])[0, 1]
    assert likeness > 0.9
    part = read_audio(path, 8000, start=30000, stop=30100)
    assert torch.equal(part, whole[30000:30100])
    assert torch.equal(torch.cat(list(read_blocks(path, 7000))), whole)


def test_mp3_without_a_length_is_read_whole(tmp_path):
    """libsndfile guesses the length of such files from the first bit rate."""
    path = tmp_path / "a.mp3"
    loud = np.random.default_rng(0).uniform(-0.5, 0.5, 44100 * 8)
    loud *= np.arange(len(loud)) // 44100 % 2
    soundfile.write(
        path, loud, 44100, compression_level=0.5, bitrate_mode="VARIABLE"
    )
    content = path.read_bytes()
    headless = content[content.find(content[:2], content.find(b"Xing")) :]
    path.write_bytes(headless)
    with soundfile.SoundFile(path) as file:
        guessed = file.frames
    n_frames = audio_info(path, verify=True).n_frames
    assert abs(n_frames - len(loud)) < 3000 < abs(guessed - n_frames)
    whole = read_audio(path, 44100)
    assert len(whole) == n_frames
    part = read_audio(path, 44100, start=100000, stop=100100)
    torch.testing.assert_close(part, whole[100000:100100])


def test_flac_without_a_length_is_refused(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(16000), 16000)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(AudioError, match="how long it is.*ffmpeg -i"):
        audio_info(path)


@pytest.mark.parametrize(
    "name, head, words",
    [
        ("a.m4a", b"\0\0\0\x20ftypM4A ", "is MPEG-4.*ffmpeg -i .*m4a .*a.wav"),
        ("a.wav", b"\0\0\0\x20ftypmp42", "is MPEG-4.*ffmpeg.*a-new.wav"),
        ("a.webm", b"\x1a\x45\xdf\xa3", "is WebM.*ffmpeg -i"),
        ("a.wma", b"\x30\x26\xb2\x75", "is Windows Media.*ffmpeg -i"),
        ("a.wav", b"<!DOCTYPE html><html>", "web page.*download"),
        ("a.wav", b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        ("a.wav", b"PK\x03\x04", "zip archive"),
    ],
)  # fmt: skip
def test_formats_that_cannot_be_read_are_named(
    tmp_path, monkeypatch, name, head, words
):
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / name
    path.write_bytes(head + bytes(600))
    with pytest.raises(AudioError, match=words):
        audio_info(path)


def test_a_codec_in_a_wav_file_that_cannot_be_read_is_named(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(16000), 16000)
    content = bytearray(path.read_bytes())
    content[20:22] = b"\x55\0"
    path.write_bytes(content)
    with pytest.raises(AudioError, match="MP3 audio in a wav.*ffmpeg -i"):
        read_audio(path)


def test_streamed_wav_without_known_size_is_read(tmp_path):
    # ffmpeg writes sizes of all ones to a pipe: they are unknown
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(16000), 16000)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(content)
    assert read_audio(path).shape == (16000,)


@pytest.mark.parametrize("part", [(0, 16001), (500, 500), (-1, 10), (9, 3)])
def test_segments_outside_the_file_are_refused(tmp_path, part):
    soundfile.write(tmp_path / "a.wav", tone(16000), 16000)
    with pytest.raises(AudioError, match="has 16000 frames"):
        read_audio(tmp_path / "a.wav", start=part[0], stop=part[1])


def test_a_rate_whose_kernel_is_too_large_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(11127), 11127)
    with pytest.raises(AudioError, match="11127 Hz.*ffmpeg"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_blocks_concatenate_to_the_file(tmp_path, name):
    stereo = np.stack([tone(8000), tone(8000, frequency=1000.0)], 1)
    soundfile.write(tmp_path / name, stereo, 8000)
    blocks = list(read_blocks(tmp_path / name, n_frames=3000))
    assert [len(block) for block in blocks] == [3000, 3000, 2000]
    whole = read_audio(tmp_path / name, sample_rate=8000)
    np.testing.assert_array_equal(torch.cat(blocks), whole)


def test_reading_blocks_stops_at_a_bad_sample(tmp_path):
    samples = tone(8000)
    samples[5000] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    blocks = read_blocks(tmp_path / "a.wav", n_frames=3000)
    assert len(next(blocks)) == 3000
    with pytest.raises(AudioError, match="a.wav.*NaN"):
        next(blocks)


@pytest.mark.parametrize("size", [1, 97, 1000, 9999])
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100])
def test_a_stream_is_resampled_like_the_whole(rate, size):
    wav = torch.randn(5003, generator=torch.Generator().manual_seed(rate))
    parts = list(resample_blocks(wav.split(size), rate, 16000, "a.wav"))
    whole = resample(wav, rate, 16000, "a.wav")
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=0)


def test_resampling_a_stream_holds_little_of_it():
    given = []

    def blocks():
        for _ in range(100):
            given.append(441)
            yield torch.zeros(441)

    received = 0
    for part in resample_blocks(blocks(), 44100, 16000, "a.wav"):
        received += len(part)
        assert sum(given) / 44100 - received / 16000 < 0.05
    assert received == 16000


@pytest.mark.parametrize("n_samples", [1, 5, 300])
def test_a_short_stream_is_resampled_as_well(n_samples):
    wav = torch.ones(n_samples)
    parts = [*resample_blocks([wav], 8000, 16000, "a.wav")]
    whole = resample(wav, 8000, 16000, "a.wav")
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=0)
