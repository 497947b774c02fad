"""Loading an exported model or a run, or saying which file is damaged."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from speechbrain.inference.interfaces import Pretrained
from speechbrain.utils.fetching import FetchConfig

from audiomamba.pretrained.sources import (
    ENCODER_FILE,
    HPARAMS_FILE,
    CheckpointError,
    is_run,
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


class LoadedModel(Pretrained):
    """A model of SpeechBrain's that is loaded from a run as well."""

    @classmethod
    def from_hparams(
        cls,
        source: str | Path,
        savedir: str | Path | None = None,
        run_opts: dict | None = None,
        **kwargs,
    ) -> Self:
        """Load an exported model or a finished run.

        Arguments
        ---------
        source : str or Path
            A folder, the output folder of a run, or ``owner/name`` on the hub;
            only from a source you trust: its ``hyperparams.yaml`` can run
            arbitrary code.
        savedir : str or Path, optional
            Folder for links to the fetched files; None: only the hub's cache.
        run_opts : dict, optional
            For example ``{"device": "cuda:0"}``; None: a GPU if there is one.
        **kwargs
            As for SpeechBrain's ``Pretrained.from_hparams``.

        Returns
        -------
        LoadedModel
            Of the class that this is called on.

        Raises
        ------
        OSError or ValueError
            If there is no such model, the run is not finished, or a file is
            damaged.
        """
        if is_run(source):
            # here, as an exported model needs neither pandas nor checkpoints
            from audiomamba.inference.exported.run import read_run

            with TemporaryDirectory() as folder:
                read_run(source).write(Path(folder))
                return cls.from_hparams(folder, None, run_opts, **kwargs)
        with checked(source, kwargs.get("fetch_config")):
            return super().from_hparams(
                str(source), savedir=savedir, run_opts=run_opts, **kwargs
            )
