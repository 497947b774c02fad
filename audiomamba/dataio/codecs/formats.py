"""What a file is by its first bytes, and how to convert it to audio we read."""

import os
import re
import shlex
from pathlib import Path
from typing import NamedTuple

from audiomamba.dataio.codecs.members import open_bytes

# Suffixes of audio, and of video with sound; libsndfile reads the first ones
SUFFIXES = (
    ".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aiff", ".aif", ".au",
    ".caf", ".w64", ".rf64",
    ".m4a", ".mp4", ".m4b", ".mov", ".aac", ".webm", ".mkv", ".mka", ".wma",
    ".wmv", ".asf", ".amr", ".3gp", ".3g2", ".ape", ".wv", ".dsf", ".ra",
    ".avi", ".flv", ".mpc", ".tta", ".ac3",
)  # fmt: skip
# Position and first bytes, what the file is, and whether it has sound
_MAGIC = (
    (0, b"PK\x03\x04", "a zip archive or a spreadsheet", False),
    (0, b"\x1f\x8b", "a gzip archive", False),
    (0, b"Rar!", "a rar archive", False),
    (0, b"7z\xbc\xaf", "a 7z archive", False),
    (257, b"ustar", "a tar archive", False),
    (0, b"%PDF", "a PDF document", False),
    (0, b"\xd0\xcf\x11\xe0", "a document of an office program", False),
    (0, b"version https://git-lfs", "a pointer of Git LFS", False),
    (4, b"ftyp", "MPEG-4 audio or video (m4a, mp4)", True),
    (0, b"\x1a\x45\xdf\xa3", "WebM or Matroska audio or video", True),
    (0, b"\x30\x26\xb2\x75", "Windows Media audio or video", True),
    (0, b"#!AMR", "AMR audio", True),
    (0, b"FLV", "Flash video", True),
    (0, b"MAC ", "Monkey's Audio", True),
    (0, b"wvpk", "WavPack audio", True),
    (0, b"\xff\xf1", "AAC audio", True),
    (0, b"\xff\xf9", "AAC audio", True),
    (8, b"AVI ", "AVI video", True),
)
_PAGE = (b"<!doctype html", b"<html", b"<?xml")
# Codecs in wav files that libsndfile does not know
_WAV_CODECS = {
    0x0022: "TrueSpeech",
    0x0042: "G.723.1",
    0x0050: "MPEG",
    0x0055: "MP3",
    0x0083: "G.729",
    0x00FF: "AAC",
    0x0161: "Windows Media Audio",
    0x1610: "AAC",
    0x2000: "AC-3",
}
# libsndfile's remarks on audio that is longer than the rest of the file
_TOO_LONG = re.compile(
    r"^\s*(?:data|SSND|BODY|Data Size|riff)\s*: (\d+) \(should be (\d+)\)", re.M
)
_TOO_MANY = re.compile(
    r"frame count (\d+) does not match value from 'ds64' chunk of (\d+)"
)
# Bytes of an Ogg page, rounded up
_LARGEST_PAGE = 1 << 16
# Written by programs that stream and do not know the size yet
_UNKNOWN_SIZE = 0x7FFF0000


class Kind(NamedTuple):
    """What a file is, in words, and whether it has sound."""

    name: str
    is_audio: bool


def kind_of_file(head: bytes) -> Kind | None:
    """Say what a file is that was taken for a list or for audio.

    Arguments
    ---------
    head : bytes
        Its first 512 bytes.

    Returns
    -------
    Kind or None
        None if it is none of the kinds known here.

    Example
    -------
    >>> kind_of_file(b"....ftypM4A ").name
    'MPEG-4 audio or video (m4a, mp4)'
    """
    for start, magic, name, is_audio in _MAGIC:
        if head[start : start + len(magic)] == magic:
            return Kind(name, is_audio)
    if head.lstrip().lower().startswith(_PAGE):
        return Kind("a web page, so a download went wrong", False)
    if head[:4] == b"RIFF" and (place := head.find(b"fmt ")) > 0:
        codec = int.from_bytes(head[place + 8 : place + 10], "little")
        if codec in _WAV_CODECS:
            return Kind(f"{_WAV_CODECS[codec]} audio in a wav file", True)
    return None


def is_raw(kind: str, subtype: str) -> bool:
    """Whether every frame of a file can be decoded by itself.

    Arguments
    ---------
    kind, subtype : str
        ``format`` and ``subtype`` of `soundfile.SoundFile`.

    Returns
    -------
    bool
        False also for floating-point samples, which may be NaN.

    Example
    -------
    >>> is_raw("WAV", "PCM_16"), is_raw("FLAC", "PCM_16")
    (True, False)
    """
    return kind != "FLAC" and subtype.startswith(("PCM_", "ULAW", "ALAW"))


def says_length(path: str | Path) -> bool:
    """Whether an mp3 file has a header with its length.

    Arguments
    ---------
    path : str or Path
        The file.

    Returns
    -------
    bool

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.mp3"
    >>> _ = path.write_bytes(bytes(400))
    >>> says_length(path)
    False
    """
    with open_bytes(path) as file:
        head = file.read(10)
        if head[:3] == b"ID3":
            # seven bits per byte
            size = sum(byte << 7 * i for i, byte in enumerate(head[:5:-1]))
            file.seek(10 + size)
        else:
            file.seek(0)
        first = file.read(4096)
    return any(mark in first for mark in (b"Xing", b"Info", b"VBRI"))


def is_cut_ogg(path: str | Path) -> bool:
    """Whether an Ogg file ends within a page: it has no length to compare.

    Arguments
    ---------
    path : str or Path
        The file.

    Returns
    -------
    bool

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.ogg"
    >>> page = b"OggS" + bytes(22) + b"\\x01\\x40" + bytes(64)
    >>> _ = path.write_bytes(page)
    >>> is_cut_ogg(path), path.write_bytes(page[:-1]) and is_cut_ogg(path)
    (False, True)
    """
    with open_bytes(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LARGEST_PAGE))
        tail = file.read()
    page = tail[max(tail.rfind(b"OggS"), 0) :]
    if len(page) < 27:
        return True
    n_segments = page[26]
    sizes = page[27 : 27 + n_segments]
    return len(page) < 27 + n_segments + sum(sizes)


def announced(remarks: str) -> tuple[int, int, str] | None:
    """Find out from libsndfile's remarks whether a file is truncated.

    Arguments
    ---------
    remarks : str
        ``extra_info`` of `soundfile.SoundFile`.

    Returns
    -------
    tuple or None
        What its header announces, what there is, and the unit, "bytes" or
        "frames"; None if nothing is missing.

    Example
    -------
    >>> announced("RIFF : 44\\ndata : 32000 (should be 8956)")
    (32000, 8956, 'bytes')
    """
    for match in _TOO_LONG.finditer(remarks):
        wanted, there = int(match[1]), int(match[2])
        if there < wanted < _UNKNOWN_SIZE:
            return wanted, there, "bytes"
    counted = _TOO_MANY.search(remarks)
    if counted and int(counted[1]) < int(counted[2]):
        return int(counted[2]), int(counted[1]), "frames"
    return None


def convert_all(
    folder: str | Path,
    suffix: str,
    sample_rate: int | None = None,
    channels: int | None = None,
) -> str:
    """Return the command that converts all files of a kind, each beside itself.

    Arguments
    ---------
    folder : str or Path
        Where they are, at any depth.
    suffix : str
        Of their names.
    sample_rate : int, optional
        In Hz; None keeps that of the file.
    channels : int, optional
        None keeps those of the file.

    Returns
    -------
    str

    Example
    -------
    >>> print(convert_all("my data", ".m4a", sample_rate=16000))
    find 'my data' -name '*.m4a' -exec sh -c 'ffmpeg -i "$1" -ar 16000 \
"${1%.*}.wav"' _ {} \\;
    """
    options = f" -ar {sample_rate}" if sample_rate else ""
    options += f" -ac {channels}" if channels else ""
    return (
        f"find {shlex.quote(str(folder))} -name '*{suffix}' -exec sh -c "
        f'\'ffmpeg -i "$1"{options} "${{1%.*}}.wav"\' _ {{}} \\;'
    )


def converting_command(path: str | Path, suffix: str = ".wav") -> str:
    """Return the command that converts a file.

    Arguments
    ---------
    path : str or Path
        The file.
    suffix : str
        Of the new file.

    Returns
    -------
    str

    Example
    -------
    >>> converting_command("a b.m4a")
    "ffmpeg -i 'a b.m4a' 'a b.wav'"
    """
    path = Path(path)
    new = path.with_name(path.stem + suffix)
    if new == path:
        new = path.with_name(f"{path.stem}-new{suffix}")
    return f"ffmpeg -i {shlex.quote(str(path))} {shlex.quote(str(new))}"
