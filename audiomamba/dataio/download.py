"""Fetching and unpacking the archives that corpora are distributed as."""

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


def download(url, path, sha256):
    """Fetch a file, going on where an earlier attempt broke off.

    What has arrived stands in ``<path>.part`` until it is whole and its
    checksum is right.

    Arguments
    ---------
    url : str
        http or https.
    path : str or Path
        Where to; its folder is made. A file that is there is only checked.
    sha256 : str
        Of the whole file, hexadecimal.

    Raises
    ------
    PreparationError
        If the server cannot be reached, the connection breaks, or the
        checksum is another.

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
        _fetch(url, part)
    except (urllib.error.URLError, HTTPException, OSError) as error:
        raise PreparationError(
            f"{url} could not be fetched whole: {error}. Start again and it "
            f"goes on where it was, or fetch it by other means to {path}"
        ) from error
    _verify(part, sha256)
    part.rename(path)


def _fetch(url, part):
    """Add to ``part`` what it lacks."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url)
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if done and error.code == _RANGE_NOT_SATISFIABLE:
            return  # nothing is lacking; the checksum decides
        raise
    with answer:
        if done and answer.status != 206:
            done = 0  # a server without ranges sends it all again
        length = answer.headers["Content-Length"]
        total = done + int(length) if length else None
        logger.info("Fetching %s to %s", url, part)
        with (
            open(part, "ab" if done else "wb") as file,
            tqdm(
                total=total,
                initial=done,
                unit="B",
                unit_scale=True,
                desc=part.stem,
            ) as bar,
        ):
            while block := answer.read(_BLOCK):
                file.write(block)
                bar.update(len(block))
    arrived = part.stat().st_size
    if total and arrived < total:
        raise ConnectionError(f"{arrived} of {total} bytes arrived")


def _verify(path, sha256):
    """Delete what has another checksum, so that the next attempt can help."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != sha256:
        path.unlink()
        raise PreparationError(
            f"{path}: its checksum (SHA-256) is {digest.hexdigest()} instead "
            f"of {sha256}, so it was damaged on the way and is deleted; start "
            "again to fetch it anew"
        )


def unpack(archive, folder):
    """Unpack a tar archive: all of it or nothing, and nowhere else.

    Entries that would leave the folder (absolute paths, ``..``, links to
    elsewhere) and devices are refused.

    Arguments
    ---------
    archive : str or Path
        A tar file, compressed or not.
    folder : str or Path
        Made by this; what an earlier attempt left half done is replaced.

    Raises
    ------
    PreparationError
        If the archive is damaged or not to be trusted.

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
    draft = folder.with_name(f"{folder.name}.unpacking")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    logger.info("Unpacking %s to %s", archive, folder)
    try:
        with tarfile.open(archive) as entries:
            bar = tqdm(entries, desc="unpacking", unit=" files")
            entries.extractall(draft, members=bar, filter="data")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        shutil.rmtree(draft)
        raise PreparationError(
            f"{archive}: cannot be unpacked: {error}; if it is damaged, "
            "delete it and fetch it again"
        ) from error
    draft.rename(folder)
