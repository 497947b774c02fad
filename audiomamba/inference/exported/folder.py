"""The folder of an exported model: written whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audiomamba.dataio.files import write_sums
from audiomamba.pretrained.wholeness import FREE

# Of results.json: they name files of this machine
LOCAL = ("folder", "bad_clips")


class ExportError(ValueError):
    """A model cannot be exported; the message says why and what to do."""


@contextmanager
def new_folder(target: str | Path) -> Iterator[Path]:
    """Give a draft, which gets the name of the target if all goes well.

    Digests of its files are added; see `audiomamba.pretrained.wholeness`.

    Arguments
    ---------
    target : str or Path
        The folder; must be empty or not exist.

    Yields
    ------
    Path
        The draft.

    Raises
    ------
    ExportError
        If the target is not empty.

    Example
    -------
    >>> target = getfixture("tmp_path") / "model"
    >>> with new_folder(target) as draft:
    ...     _ = (draft / "README.md").write_text("A model.")
    >>> sorted(path.name for path in target.iterdir())
    ['README.md', 'SHA256SUMS']
    """
    # Of "." it has a name only so
    target = Path(target).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ExportError(
            f"{target} exists: remove it, or choose another target."
        )
    draft = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        write_sums(draft, leave_out=FREE)
        draft.replace(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
