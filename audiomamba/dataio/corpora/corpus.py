"""The audio files of a corpus: listing them and reading their headers.

Both run in threads, because disks and networks answer several requests at
once, and show their progress on a terminal.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from audiomamba.dataio.audio import AudioError, audio_info, decode_audio
from audiomamba.dataio.problems import Problems, warn_of, warn_of_silence

logger = logging.getLogger(__name__)

# Files per task: enough that millions of files are not as many pending tasks
_CHUNK = 64
# A frame of the features of every recipe, in seconds
_FRAME_S = 0.025
# The threads wait for the disk most of the time
_THREADS = min(32, 4 * (os.cpu_count() or 1))
# Folders that are no part of a corpus
_OF_THE_SYSTEM = (
    "__MACOSX",
    "lost+found",
    "$RECYCLE.BIN",
    "System Volume Information",
    "@eaDir",
)


def list_audio(
    data_folder: str | Path,
    roots: Iterable[str] = ("",),
    suffixes: tuple[str, ...] = (".wav", ".flac"),
    problems: Problems | None = None,
) -> pd.DataFrame:
    """List the audio files in a folder, at any depth; links are followed.

    Hidden files and folders, and those that operating systems add to disks
    and archives, are left out.

    Arguments
    ---------
    data_folder : str or Path
        The corpus.
    roots : iterable of str
        The folders to search, relative to ``data_folder``.
    suffixes : tuple of str
        Endings of the file names, in lower case; the case of the names does
        not matter.
    problems : Problems, optional
        Collects folders that cannot be listed, and files whose names cannot
        be written to a manifest. Both are left out.

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
    names, stats, found = [], [], problems or Problems()
    level = sorted(roots)
    with (
        ThreadPoolExecutor(_THREADS) as pool,
        tqdm(desc="listing", unit=" files", leave=False, disable=None) as bar,
    ):
        while level:
            scanned = pool.map(
                lambda folder: _scan(data_folder, folder, suffixes), level
            )
            level = []
            for folders, files, file_stats, faults in scanned:
                level += folders
                names += files
                stats.append(file_stats)
                bar.update(len(files))
                for fault in faults:
                    found.add(fault)
    stats = np.concatenate(stats or [np.empty((0, 2), dtype=np.int64)])
    return _as_table(names, stats[:, 0], stats[:, 1])


def _as_table(names, sizes, times):
    """A table of files, sorted by name."""
    wavs = pd.Series(names, dtype=str)
    table = pd.DataFrame({"wav": wavs, "size": sizes, "mtime": times})
    return table.sort_values("wav", ignore_index=True)


def _scan(data_folder, folder, suffixes):
    """Subfolders, audio files, their [size, mtime] and faults of a folder."""
    folders, files, stats, faults = [], [], [], []
    here = os.path.join(data_folder, folder)
    try:
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name in _OF_THE_SYSTEM:
                    continue
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir():
                    if not _is_loop(entry, here):
                        folders.append(name)
                elif entry.name.lower().endswith(suffixes) and entry.is_file():
                    if fault := _fault_of_name(name):
                        faults.append(f"{entry.path}: {fault}; rename it")
                        continue
                    stat = entry.stat()
                    files.append(name)
                    stats.append((stat.st_size, stat.st_mtime_ns))
    except OSError as error:
        faults.append(
            f"{error.filename or here}: cannot be read ({error.strerror}); "
            "change its permissions, or move it elsewhere"
        )
    stats = np.array(stats, dtype=np.int64).reshape(-1, 2)
    return folders, files, stats, faults


def _fault_of_name(name):
    """Why a path cannot be written to a manifest and read again, if so."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if name != name.strip() or any(mark in name for mark in "\r\n"):
        return "its path has line breaks, or blanks at an end"
    return None


def stat_audio(data_folder: str | Path, wavs: Iterable[str]) -> pd.DataFrame:
    """Look up files that are known by name.

    Arguments
    ---------
    data_folder : str or Path
        The corpus.
    wavs : iterable of str
        Paths relative to ``data_folder``, or absolute ones.

    Returns
    -------
    pandas.DataFrame
        As from `list_audio`, of those that exist.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.wav").write_bytes(b"1234")
    >>> stat_audio(folder, ["b.wav", "a.wav"])[["wav", "size"]].values.tolist()
    [['a.wav', 4]]
    """

    def look(wav):
        try:
            stat = os.stat(os.path.join(data_folder, wav))
        except OSError:
            return None
        return wav, stat.st_size, stat.st_mtime_ns

    with ThreadPoolExecutor(_THREADS) as pool:
        chunks = pool.map(
            lambda part: [*map(look, part)], _chunks(sorted(set(wavs)))
        )
        found = [row for row in chain.from_iterable(chunks) if row]
    return _as_table(*zip(*found)) if found else _as_table([], [], [])


def _is_loop(entry, here):
    """Whether a link leads to a folder that contains it."""
    if not entry.is_symlink():
        return False
    target = os.path.join(os.path.realpath(entry.path), "")
    return os.path.join(os.path.realpath(here), "").startswith(target)


def read_headers(
    data_folder: str | Path, wavs: Sequence[str], decode: bool = False
) -> tuple[pd.DataFrame, dict[int, str]]:
    """Read the headers of many files in parallel, and check the files.

    Arguments
    ---------
    data_folder : str or Path
        The corpus.
    wavs : sequence of str
        Paths relative to ``data_folder``.
    decode : bool
        Decode plain PCM, too, and tell which files are silent.

    Returns
    -------
    headers : pandas.DataFrame
        ``n_frames``, ``sample_rate``, ``channels``, ``silent``, a row per file
        in the order of ``wavs``; all 0 where a file cannot be used.
    errors : dict
        Row -> what is wrong with its file.

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "a.wav", [0.0] * 800, 8000)
    >>> headers, errors = read_headers(folder, ["a.wav", "b.wav"])
    >>> headers.values.tolist(), list(errors)
    ([[800, 8000, 1, 0], [0, 0, 0, 0]], [1])
    """
    headers = np.zeros((len(wavs), 4), dtype=np.int64)
    errors = {}

    def read(path):
        path = os.path.join(data_folder, path)
        try:
            if not decode:
                return *audio_info(path, verify=True), False
            info, silent = decode_audio(path)
            return *info, silent
        except AudioError as error:
            return str(error)

    with (
        ThreadPoolExecutor(_THREADS) as pool,
        tqdm(
            total=len(wavs),
            desc="decoding" if decode else "reading headers",
            unit=" files",
            leave=False,
            disable=None,
        ) as bar,
    ):
        chunks = pool.map(lambda paths: [*map(read, paths)], _chunks(wavs))
        for row, found in enumerate(chain.from_iterable(chunks)):
            if isinstance(found, str):
                errors[row] = found
            else:
                headers[row] = found
            bar.update()
    columns = ["n_frames", "sample_rate", "channels", "silent"]
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
    may_be_resampled: bool = False,
    decode: bool = False,
) -> pd.DataFrame:
    """Add the durations of audio files; drop and report unusable ones.

    Arguments
    ---------
    rows : pandas.DataFrame
        With ``wav`` (path relative to ``data_folder``) and ``split``; where a
        row is a part of a file, also ``ID``, ``start`` and ``stop`` in samples
        (-1: the end).
    data_folder : str or Path
        The corpus.
    problems : Problems
        Collects what is wrong.
    sample_rate : int, optional
        The rate in Hz of the corpus as distributed; files of another rate
        are unusable. None accepts any.
    channels : int, optional
        Likewise, the number of channels.
    may_be_resampled : bool
        Accept another rate, with a warning, if it is that of all files.
    decode : bool
        See `read_headers`; silent files are named in a warning.

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
    # a file may have many rows, and is read once
    wavs, places = np.unique(rows["wav"].astype(str), return_inverse=True)
    headers, errors = read_headers(data_folder, wavs.tolist(), decode)
    if may_be_resampled:
        sample_rate = _common_rate(headers, sample_rate, data_folder)
    wanted = {"sample_rate": sample_rate, "channels": channels}
    wanted = {name: value for name, value in wanted.items() if value}
    differs = (headers[list(wanted)] != pd.Series(wanted)).any(axis=1)
    for file in np.flatnonzero(differs):
        if file not in errors:
            path = Path(data_folder, wavs[file])
            errors[file] = _describe(path, headers.iloc[file], **wanted)
    usable = ~np.isin(places, list(errors))
    for file, splits in rows["split"][~usable].groupby(places[~usable]):
        problems.add(errors[file], Counter(splits))
    headers = headers.iloc[places].set_index(rows.index)
    n_frames = headers["n_frames"]
    if "stop" in rows:
        n_frames, fits = _segments(rows, n_frames, usable, problems)
        usable &= fits
    duration = (n_frames / headers["sample_rate"]).round(6)
    is_short = usable & (duration < _FRAME_S)
    warn_of(
        rows["wav"][is_short],
        "clip",
        f"shorter than a frame of {1000 * _FRAME_S:g} ms",
        "padded with silence",
    )
    warn_of_silence(rows["wav"][usable & (headers["silent"] > 0)].unique())
    return rows.assign(duration=duration)[usable].reset_index(drop=True)


def _common_rate(headers, sample_rate, data_folder):
    """The rate that files should have: that of all of them, if there is one."""
    rates = headers["sample_rate"]
    rates = rates[rates > 0].unique()
    if len(rates) != 1 or rates[0] == sample_rate:
        return sample_rate
    logger.warning(
        "%s: its files have %d Hz, and %d Hz as distributed; they are used as "
        "they are, but results may differ from those of the original files",
        data_folder,
        rates[0],
        sample_rate,
    )
    return rates[0]


def _segments(rows, n_frames, usable, problems):
    """Lengths of parts of files, and whether the files have these parts."""
    stop = rows["stop"].where(rows["stop"] >= 0, n_frames)
    fits = (rows["start"] >= 0) & (rows["start"] < stop) & (stop <= n_frames)
    for row in rows[~fits & usable].itertuples():
        problems.add(
            f"{row.wav}: {row.ID} in {row.split} goes from sample {row.start} "
            f"to {row.stop}, but the file has {n_frames[row.Index]}; correct "
            "start and stop in the list",
            {row.split: 1},
        )
    return stop - rows["start"], fits.to_numpy()


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
