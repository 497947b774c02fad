"""Loading an exported model, or saying which of its files is damaged."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speechbrain.utils.fetching import FetchConfig

from audiomamba.pretrained.sources import (
    ENCODER_FILE,
    HPARAMS_FILE,
    CheckpointError,
)
from audiomamba.pretrained.weights import read_class_names, read_tensors
from audiomamba.pretrained.wholeness import check_model


@contextmanager
def checked(
    source: str | Path, fetch_config: FetchConfig | None = None
) -> Iterator[None]:
    """Check a model's files; name the damaged one if it cannot be loaded.

    Arguments
    ---------
    source : str or Path
        A folder, or ``owner/name`` on the Hugging Face hub.
    fetch_config : FetchConfig, optional
        SpeechBrain's options for the hub.

    Raises
    ------
    CheckpointError
        (a ValueError) If a file is not as it was written, or is damaged.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> with checked(folder):
    ...     raise KeyError("pretrainer")
    Traceback (most recent call last):
        ...
    audiomamba.pretrained.sources.CheckpointError: ...hyperparams.yaml does ...
    """
    check_model(source, fetch_config)
    try:
        yield
    # What a YAML makes can raise anything
    except Exception as error:
        if Path(source, ENCODER_FILE).is_file():
            read_tensors(source)
            read_class_names(source)
        if isinstance(error, (OSError, ValueError)):
            raise
        what = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(
            f"{Path(source, HPARAMS_FILE)} does not fit the files beside it, "
            f"or is damaged ({what}): copy, download or export the model again."
        ) from error
