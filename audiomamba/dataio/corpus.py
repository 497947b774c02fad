"""The audio files of a corpus: listing them and reading their headers.

Both run in threads, because disks and networks answer several requests at
once, and show their progress.
"""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from audiomamba.dataio.audio import AudioError, audio_info
from audiomamba.dataio.problems import Problems

# Files per task: keeps the number of pending tasks small for millions of files
_CHUNK = 512
# The threads wait for the disk most of the time
_THREADS = min(32, 4 * (os.cpu_count() or 1))


def list_audio(
    data_folder: str | Path,
    roots: Iterable[str] = ("",),
    suffixes: tuple[str, ...] = (".wav", ".flac"),
) -> pd.DataFrame:
    """List the audio files in a folder, at any depth; links are followed.

    Arguments
    ---------
    data_folder : str or Path
        The corpus.
    roots : iterable of str
        The folders to search, relative to ``data_folder``.
    suffixes : tuple of str
        Endings of the file names, in lower case; the case of the names does
        not matter.

    Returns
    -------
    pandas.DataFrame
        Sorted by ``wav`` (path relative to ``data_folder``, with slashes),
        with ``size`` in bytes and ``mtime`` in nanoseconds.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> (folder / "b").mkdir()
    >>> for name in ("b/2.wav", "1.WAV", "notes.txt"):
    ...     _ = (folder / name).write_bytes(b"1234")
    >>> list_audio(folder)[["wav", "size"]].values.tolist()
    [['1.WAV', 4], ['b/2.wav', 4]]
    """
    names, stats = [], []
    level = sorted(roots)
    with (
        ThreadPoolExecutor(_THREADS) as pool,
        tqdm(desc="listing", unit=" files", leave=False) as bar,
    ):
        while level:
            found = pool.map(
                lambda folder: _scan(data_folder, folder, suffixes), level
            )
            level = []
            for folders, files, file_stats in found:
                level += folders
                names += files
                stats.append(file_stats)
                bar.update(len(files))
    stats = np.concatenate(stats or [np.empty((0, 2), dtype=np.int64)])
    table = pd.DataFrame(
        {"wav": names, "size": stats[:, 0], "mtime": stats[:, 1]}
    )
    return table.sort_values("wav", ignore_index=True)


def _scan(data_folder, folder, suffixes):
    """Subfolders, audio files and their [size, mtime] in one folder."""
    folders, files, stats = [], [], []
    here = os.path.join(data_folder, folder)
    with os.scandir(here) as entries:
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir():
                if not _is_loop(entry, here):
                    folders.append(name)
            elif entry.name.lower().endswith(suffixes) and entry.is_file():
                stat = entry.stat()
                files.append(name)
                stats.append((stat.st_size, stat.st_mtime_ns))
    stats = np.array(stats, dtype=np.int64).reshape(-1, 2)
    return folders, files, stats


def _is_loop(entry, here):
    """Whether a link leads to a folder that contains it."""
    if not entry.is_symlink():
        return False
    target = os.path.join(os.path.realpath(entry.path), "")
    return os.path.join(os.path.realpath(here), "").startswith(target)


def read_headers(
    data_folder: str | Path, wavs: Sequence[str]
) -> tuple[pd.DataFrame, dict[int, str]]:
    """Read the headers of many files in parallel, and check the files.

    Arguments
    ---------
    data_folder : str or Path
        The corpus.
    wavs : sequence of str
        Paths relative to ``data_folder``.

    Returns
    -------
    headers : pandas.DataFrame
        ``n_frames``, ``sample_rate``, ``channels``, a row per file in the
        order of ``wavs``; all 0 where a file cannot be used.
    errors : dict
        Row -> what is wrong with its file.

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "a.wav", [0.0] * 800, 8000)
    >>> headers, errors = read_headers(folder, ["a.wav", "b.wav"])
    >>> headers.values.tolist(), list(errors)
    ([[800, 8000, 1], [0, 0, 0]], [1])
    """
    headers = np.zeros((len(wavs), 3), dtype=np.int64)
    errors = {}

    def read(path):
        try:
            return audio_info(os.path.join(data_folder, path), verify=True)
        except AudioError as error:
            return str(error)

    with (
        ThreadPoolExecutor(_THREADS) as pool,
        tqdm(
            total=len(wavs),
            desc="reading headers",
            unit=" files",
            leave=False,
        ) as bar,
    ):
        chunks = pool.map(lambda paths: [*map(read, paths)], _chunks(wavs))
        for row, found in enumerate(chain.from_iterable(chunks)):
            if isinstance(found, str):
                errors[row] = found
            else:
                headers[row] = found
            bar.update()
    columns = ["n_frames", "sample_rate", "channels"]
    return pd.DataFrame(headers, columns=columns), errors


def _chunks(items):
    """Lists of at most _CHUNK items."""
    items = iter(items)
    while chunk := list(islice(items, _CHUNK)):
        yield chunk


def measure(
    rows: pd.DataFrame,
    data_folder: str | Path,
    problems: Problems,
    sample_rate: int | None = None,
    channels: int | None = None,
) -> pd.DataFrame:
    """Add the durations of audio files; drop and report unusable ones.

    Arguments
    ---------
    rows : pandas.DataFrame
        With ``wav`` (path relative to ``data_folder``) and ``split``.
    data_folder : str or Path
        The corpus.
    problems : Problems
        Collects what is wrong.
    sample_rate : int, optional
        The rate in Hz of the corpus as distributed; files of another rate
        are unusable. None accepts any.
    channels : int, optional
        Likewise, the number of channels.

    Returns
    -------
    pandas.DataFrame
        The usable rows, with ``duration`` in seconds.

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "a.wav", [0.0] * 800, 8000)
    >>> rows = pd.DataFrame({"wav": ["a.wav", "b.wav"], "split": "train"})
    >>> problems = Problems()
    >>> measure(rows, folder, problems)["duration"].tolist()
    [0.1]
    >>> len(problems.messages)
    1
    """
    headers, errors = read_headers(data_folder, rows["wav"].tolist())
    wanted = {"sample_rate": sample_rate, "channels": channels}
    wanted = {name: value for name, value in wanted.items() if value}
    differs = (headers[list(wanted)] != pd.Series(wanted)).any(axis=1)
    for row in np.flatnonzero(differs):
        if row not in errors:
            path = Path(data_folder, rows["wav"].iloc[row])
            errors[row] = _describe(path, headers.iloc[row], **wanted)
    for row, message in errors.items():
        problems.add(message, {rows["split"].iloc[row]: 1})
    duration = (headers["n_frames"] / headers["sample_rate"]).round(6)
    rows = rows.assign(duration=duration.to_numpy())
    usable = np.ones(len(rows), dtype=bool)
    usable[list(errors)] = False
    return rows[usable].reset_index(drop=True)


def _describe(path, header, sample_rate=None, channels=None):
    """The message for a file of another rate or number of channels."""
    faults, options = [], ""
    if channels and header["channels"] != channels:
        faults.append(f"{header['channels']} channels instead of {channels}")
        options += f" -ac {channels}"
    if sample_rate and header["sample_rate"] != sample_rate:
        faults.append(f"{header['sample_rate']} Hz instead of {sample_rate} Hz")
        options += f" -ar {sample_rate}"
    return (
        f"{path}: has {' and '.join(faults)}, so it is not as distributed; "
        "download or extract it again, or convert it: "
        f"ffmpeg -i {path.name}{options} <new file>"
    )
