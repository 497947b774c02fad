"""Downloading and unpacking archives."""

import hashlib
import logging
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from http.client import HTTPException
from pathlib import Path

from tqdm import tqdm

from audiomamba.dataio.problems import PreparationError

logger = logging.getLogger(__name__)

_BLOCK = 1 << 20
_TIMEOUT_S = 60
_RANGE_NOT_SATISFIABLE = 416


def download(url: str, path: str | Path, sha256: str | None) -> None:
    """Download a file; an interrupted download is resumed.

    The file is ``<path>.part`` until it is complete and its checksum is
    verified.

    Arguments
    ---------
    url : str
        The file, by http or https.
    path : str or Path
        The file to write; its folder is created. If it exists, only its
        checksum is verified.
    sha256 : str or None
        The checksum in hexadecimal.  None for archives that the server builds
        on request; `unpack` checks their internal checksums.

    Raises
    ------
    PreparationError
        If the server cannot be reached, the connection is lost, or the
        checksum differs.

    Example
    -------
    >>> source = getfixture("tmp_path") / "a.txt"
    >>> _ = source.write_text("all of it")
    >>> target = getfixture("tmp_path") / "new" / "a.txt"
    >>> checksum = hashlib.sha256(b"all of it").hexdigest()
    >>> download(source.as_uri(), target, checksum)
    >>> target.read_text()
    'all of it'
    """
    path = Path(path)
    if path.exists():
        _verify(path, sha256)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        _resume(url, part)
    except (urllib.error.URLError, HTTPException, OSError) as error:
        raise PreparationError(
            f"{url} could not be downloaded completely: {error}. Run again to "
            f"resume, or download it by other means to {path}"
        ) from error
    _verify(part, sha256)
    part.rename(path)


def _resume(url, part):
    """Download the rest of a file."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url)
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if done and error.code == _RANGE_NOT_SATISFIABLE:
            return  # nothing is left to download
        raise
    with answer:
        if done and answer.status != 206:
            done = 0  # the server ignored the range and sends everything
        length = answer.headers["Content-Length"]
        total = done + int(length) if length else None
        logger.info("Downloading %s to %s", url, part)
        with (
            open(part, "ab" if done else "wb") as file,
            tqdm(
                total=total,
                initial=done,
                unit="B",
                unit_scale=True,
                desc=part.stem,
                disable=None,
            ) as bar,
        ):
            while block := answer.read(_BLOCK):
                file.write(block)
                bar.update(len(block))
    arrived = part.stat().st_size
    if total and arrived < total:
        raise ConnectionError(f"{arrived} of {total} bytes arrived")


def _verify(path, sha256):
    """Check the checksum; a wrong file is deleted, to be downloaded again."""
    if sha256 is None:
        return
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != sha256:
        path.unlink()
        raise PreparationError(
            f"{path}: its checksum (SHA-256) is {digest.hexdigest()} instead "
            f"of {sha256}, so it was damaged and is deleted; run again to "
            "download it again"
        )


def check_free(archive: str | Path, folder: str | Path) -> None:
    """Refuse a folder that was left over when an archive was unpacked.

    Arguments
    ---------
    archive : str or Path
        What is to be unpacked, downloaded or not.
    folder : str or Path
        Where to; must be empty or not exist.

    Raises
    ------
    PreparationError
        If something is in it.

    Example
    -------
    >>> check_free("a.tar.gz", getfixture("tmp_path"))
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PreparationError(
            f"{archive} would be unpacked to {folder}, which is there, but not "
            "complete: delete that folder, or move it away, and run again"
        )


def unpack(archive: str | Path, folder: str | Path) -> None:
    """Unpack a tar archive completely or not at all.

    Entries that point outside the folder (absolute paths, ``..``, links) and
    devices are refused.

    Arguments
    ---------
    archive : str or Path
        A tar file, compressed or not.
    folder : str or Path
        The folder to create.

    Raises
    ------
    PreparationError
        If the archive is damaged or has refused entries, or the folder is
        there and not empty: nothing is unpacked then.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.txt").write_text("content")
    >>> with tarfile.open(folder / "a.tar.gz", "w:gz") as archive:
    ...     archive.add(folder / "a.txt", arcname="./a.txt")
    >>> unpack(folder / "a.tar.gz", folder / "a")
    >>> (folder / "a" / "a.txt").read_text()
    'content'
    """
    archive, folder = Path(archive), Path(folder)
    check_free(archive, folder)
    draft = folder.with_name(f"{folder.name}.unpacking")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    logger.info("Unpacking %s to %s", archive, folder)
    try:
        with tarfile.open(archive) as entries:
            bar = tqdm(entries, "unpacking", unit=" files", disable=None)
            entries.extractall(draft, members=bar, filter="data")
        draft.replace(folder)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise PreparationError(
            f"{archive}: cannot be unpacked: {error}; if it is damaged, "
            "delete it and download it again"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
