"""Whether the files of a model are those that were written.

An exported folder has a ``SHA256SUMS``.  A file that differs from it is
refused, as a lost label or a flipped bit would give wrong tags in silence.  Who
changes a file on purpose deletes its line.  Folders of older versions have no
digests and are not compared.
"""

from pathlib import Path

from speechbrain.utils.fetching import FetchConfig, fetch

from audiomamba.dataio.files import SUMS, changed_files, read_sums
from audiomamba.pretrained.sources import CheckpointError, is_on_hub

# Anyone may edit the card, which no program reads
FREE = ("README.md",)


def check_files(folder: Path, *names: str) -> None:
    """Refuse files that are not as they were written.

    Arguments
    ---------
    folder : Path
        A folder with weights.
    *names : str
        Files in it; by default all that have a digest.

    Raises
    ------
    CheckpointError
        If one changed or is missing.

    Example
    -------
    >>> from audiomamba.dataio.files import write_sums
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "labels.txt").write_text("dog, cat")
    >>> write_sums(folder)
    >>> _ = (folder / "labels.txt").write_text("cat")
    >>> check_files(folder)
    Traceback (most recent call last):
        ...
    audiomamba.pretrained.sources.CheckpointError: ...labels.txt is not as ...
    """
    if not (folder / SUMS).is_file():
        return
    if changed := changed_files(folder, names or None):
        more = f" (nor are {', '.join(changed[1:])})" if changed[1:] else ""
        raise CheckpointError(
            f"{folder / changed[0]} is not as it was written: it is missing, "
            f"or its digest is not that in {SUMS}{more}. Copy or download the "
            "model again; if the change is meant, delete the file's line in "
            f"{SUMS}."
        )


def check_model(
    source: str | Path, fetch_config: FetchConfig | None = None
) -> None:
    """Refuse an exported model whose files are not as they were written.

    Arguments
    ---------
    source : str or Path
        A folder, or ``owner/name`` on the Hugging Face hub; there, all files
        with a digest are fetched.
    fetch_config : FetchConfig, optional
        SpeechBrain's options for the hub.

    Raises
    ------
    CheckpointError
        If one changed or is missing.
    """
    from huggingface_hub.errors import EntryNotFoundError

    if not is_on_hub(source):
        return check_files(Path(source))
    config = fetch_config or FetchConfig()
    try:
        sums = fetch(SUMS, str(source), fetch_config=config)
    except EntryNotFoundError:
        return
    for name in read_sums(sums.parent):
        fetch(name, str(source), fetch_config=config)
    check_files(sums.parent)
