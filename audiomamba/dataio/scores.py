"""A model's logits of many clips in one HDF5 file, written piece by piece."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import torch

from audiomamba.dataio.problems import PreparationError


class ScoreError(PreparationError):
    """A file of scores that cannot be used; says why and what to do."""


class ScoreFile:
    """Logits by clip ID.

    The file has ``ids`` [n], ``labels`` [C], and ``logits`` [n, C], which are
    NaN until they are written, so that a stopped program knows where to resume.
    Its attribute ``model`` says whose logits they are.

    Arguments
    ---------
    path : str or Path
        A file made by `create`.

    Raises
    ------
    ScoreError
        If there is no such file.

    Example
    -------
    >>> path = getfixture("tmp_path") / "scores.h5"
    >>> scores = ScoreFile.create(path, ["a", "b"], ["dog", "cat"], "model")
    >>> scores.pending().tolist()
    [0, 1]
    >>> scores.write([1], torch.tensor([[0.5, -0.5]]))
    >>> scores.pending().tolist(), scores.missing(["b", "c"])
    ([0], ['c'])
    >>> scores.read(["b"])
    tensor([[ 0.5000, -0.5000]])
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise ScoreError(
                f"There is no {path}: make it with tools/store_scores.py."
            )
        try:
            with h5py.File(self.path, "r") as file:
                self.model = file.attrs["model"]
                self.labels = file["labels"].asstr()[:].tolist()
                ids = file["ids"].asstr()[:].tolist()
        except (OSError, KeyError, ValueError) as error:
            raise ScoreError(
                f"{path} is no whole file of tools/store_scores.py ({error}): "
                "remove it, and make it again."
            ) from error
        self.rows = {clip: row for row, clip in enumerate(ids)}

    @classmethod
    def create(
        cls,
        path: str | Path,
        ids: Sequence[str],
        labels: Sequence[str],
        model: str,
    ) -> "ScoreFile":
        """Make a file whose logits are to be written.

        Arguments
        ---------
        path : str or Path
            The file; its folder is created if needed.
        ids : sequence of str
            The clips.
        labels : sequence of str
            Class names, by index.
        model : str
            What computes the logits.

        Returns
        -------
        ScoreFile
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file.attrs["model"] = model
            file["labels"] = np.array(labels, dtype=h5py.string_dtype())
            file["ids"] = np.array(ids, dtype=h5py.string_dtype())
            shape = (len(ids), len(labels))
            # Allocated now, so that a program stopped later damages nothing
            early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            file.create_dataset(
                "logits", shape, "f4", fillvalue=np.nan, dcpl=early
            )
        return cls(path)

    def pending(self) -> np.ndarray:
        """Return the rows that are not yet written."""
        with h5py.File(self.path, "r") as file:
            return np.flatnonzero(np.isnan(file["logits"][:, 0]))

    def write(self, rows: Sequence[int], logits: torch.Tensor) -> None:
        """Write some rows.

        Arguments
        ---------
        rows : sequence of int
            Their numbers, ascending.
        logits : torch.Tensor
            [rows, C].

        Raises
        ------
        ScoreError
            If a logit is not finite.
        """
        if not torch.isfinite(logits).all():
            raise ScoreError(f"the scores of rows {list(rows)} are not finite.")
        with h5py.File(self.path, "r+") as file:
            file["logits"][list(rows)] = logits.numpy()

    def missing(self, ids: Sequence[str]) -> list[str]:
        """Return the clips that have no logits."""
        unknown = {None, *self.pending().tolist()}
        return [clip for clip in ids if self.rows.get(clip) in unknown]

    def read(self, ids: Sequence[str]) -> torch.Tensor:
        """Read the logits of some clips.

        Arguments
        ---------
        ids : sequence of str
            The clips.

        Returns
        -------
        torch.Tensor
            [clips, C], float32.
        """
        wanted = np.array([self.rows[clip] for clip in ids])
        # h5py reads ascending rows only, and each once
        rows, places = np.unique(wanted, return_inverse=True)
        with h5py.File(self.path, "r") as file:
            return torch.from_numpy(file["logits"][rows][places])
