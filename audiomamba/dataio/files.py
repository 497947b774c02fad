"""Small files that are written whole or not at all."""

import hashlib
import json
import math
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

SUMS = "SHA256SUMS"


@contextmanager
def replaced_file(path: str | Path) -> Iterator[Path]:
    """Write to a draft next to ``path`` and move it into place at the end.

    Readers never see half a file, and an interrupted run leaves the old one.

    Arguments
    ---------
    path : str or Path
        The file to write; its folder is created if needed.

    Yields
    ------
    Path
        The draft to write to.

    Example
    -------
    >>> path = getfixture("tmp_path") / "new" / "a.txt"
    >>> with replaced_file(path) as draft:
    ...     _ = draft.write_text("whole")
    >>> path.read_text()
    'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # two runs may prepare the same folder at once: a draft per process
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def printable(text: str) -> str:
    """Return a name on one line, whatever bytes it has on disk.

    Arguments
    ---------
    text : str
        For example the name of a file that is not UTF-8.

    Returns
    -------
    str

    Example
    -------
    >>> printable("caf\\udce9\\n.wav")
    'caf\\\\xe9 .wav'
    """
    encoded = text.encode("utf-8", "surrogateescape")
    return " ".join(encoded.decode("utf-8", "backslashreplace").splitlines())


def write_json(path: str | Path, content: dict) -> None:
    """Write JSON, with ``null`` for NaN and infinity.

    Arguments
    ---------
    path : str or Path
        The file; its folder is created if needed.
    content : dict
        Plain Python values.

    Example
    -------
    >>> path = getfixture("tmp_path") / "results.json"
    >>> write_json(path, {"accuracy": 0.5, "d_prime": float("nan")})
    >>> json.loads(path.read_text())
    {'accuracy': 0.5, 'd_prime': None}
    """
    text = json.dumps(strict_json(content), indent=2, allow_nan=False)
    with replaced_file(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8")


def strict_json(value):
    """Replace values that JSON cannot express: NaN and infinity become None.

    Arguments
    ---------
    value : dict, list, tuple, str, float, int, bool or None
        Plain Python values, nested to any depth.

    Returns
    -------
    dict, list, str, float, int, bool or None
        The same, with text as keys and lists for tuples.

    Example
    -------
    >>> strict_json({"d_prime": float("inf"), "rates": (0.5, float("nan"))})
    {'d_prime': None, 'rates': [0.5, None]}
    """
    if isinstance(value, dict):
        return {str(key): strict_json(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict_json(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_sums(folder: str | Path, leave_out: Collection[str] = ()) -> None:
    """Write ``SHA256SUMS``: the digest of every file in a folder.

    Arguments
    ---------
    folder : str or Path
        Its files, not those of folders within, as ``sha256sum -c SHA256SUMS``
        reads them.
    leave_out : collection of str
        Names of files that may change.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.txt").write_text("whole")
    >>> write_sums(folder)
    >>> changed_files(folder)
    []
    >>> _ = (folder / "a.txt").write_text("whale")
    >>> changed_files(folder)
    ['a.txt']
    """
    lines = [
        f"{file_digest(path)}  {path.name}\n"
        for path in sorted(Path(folder).iterdir())
        if path.is_file() and path.name not in (SUMS, *leave_out)
    ]
    with replaced_file(Path(folder, SUMS)) as draft:
        draft.write_text("".join(lines), encoding="utf-8")


def read_sums(folder: str | Path) -> dict[str, str]:
    """Read ``SHA256SUMS``.

    Arguments
    ---------
    folder : str or Path
        The folder with the file.

    Returns
    -------
    dict of str to str
        Name of a file -> digest.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.txt").write_text("")
    >>> write_sums(folder)
    >>> read_sums(folder)["a.txt"][:8]
    'e3b0c442'
    """
    text = Path(folder, SUMS).read_text(encoding="utf-8", errors="replace")
    lines = (line.partition("  ") for line in text.splitlines())
    return {name: digest for digest, _, name in lines}


def changed_files(
    folder: str | Path, names: Collection[str] | None = None
) -> list[str]:
    """List the files that differ from those that `write_sums` saw.

    Arguments
    ---------
    folder : str or Path
        With ``SHA256SUMS``.
    names : collection of str, optional
        Compare these alone; by default all.

    Returns
    -------
    list of str
        Names of files that changed, are missing or cannot be read.  Files that
        came later are not listed.
    """
    changed = []
    for name, digest in read_sums(folder).items():
        if names is not None and name not in names:
            continue
        try:
            whole = file_digest(Path(folder, Path(name).name)) == digest
        except OSError:
            whole = False
        if not whole:
            changed.append(name)
    return changed


def unused_folder(folder: Path) -> Path:
    """Return a folder if it is empty or not there, else a new one beside it.

    Arguments
    ---------
    folder : Path
        The folder.

    Returns
    -------
    Path

    Example
    -------
    >>> folder = getfixture("tmp_path") / "data"
    >>> folder.mkdir()
    >>> unused_folder(folder).name
    'data'
    >>> _ = (folder / "a.txt").write_text("")
    >>> unused_folder(folder).name
    'data_mini'
    """
    candidate, number = folder, 1
    while candidate.exists() and not (
        candidate.is_dir() and not any(candidate.iterdir())
    ):
        suffix = f"_mini{number if number > 1 else ''}"
        candidate = folder.parent / (folder.resolve().name + suffix)
        number += 1
    return candidate


def file_digest(path: str | Path) -> str:
    """Return the SHA-256 of a file, hexadecimal.

    Arguments
    ---------
    path : str or Path
        The file.

    Returns
    -------
    str

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.txt"
    >>> _ = path.write_text("whole")
    >>> file_digest(path)[:8]
    '5d5766cf'
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
