"""Audio in one HDF5 file, a dataset of samples per recording (EPIC-Sounds).

Processes cannot share an open HDF5 file: reading through one handle, they
move each other's position in the file. Here every process opens the file
itself when it first reads.
"""

import os
from pathlib import Path

import torch

from audiomamba.dataio.audio import AudioError
from audiomamba.dataio.samples import as_tensor, check_finite, to_float
from audiomamba.nnet.lengths import check_positive, check_sizes


class HDF5Audio:
    """The recordings of an HDF5 file, readable from any process.

    May be pickled or inherited by a fork at any time: the new process opens
    its own handle.

    Arguments
    ---------
    path : str or Path
        The file: a dataset of samples [N] per recording, floats in [-1, 1]
        or integers.

    Example
    -------
    >>> import h5py
    >>> import numpy as np
    >>> path = getfixture("tmp_path") / "audio.hdf5"
    >>> with h5py.File(path, "w") as file:
    ...     file["P01_01"] = np.linspace(-1, 1, 5, dtype=np.float32)
    >>> audio = HDF5Audio(path)
    >>> audio.names(), audio.n_samples("P01_01")
    (['P01_01'], 5)
    >>> audio.read("P01_01", 1, 4)
    tensor([-0.5000,  0.0000,  0.5000])
    """

    def __init__(self, path: str | Path):
        self.path = str(path)
        self._file, self._process = None, None

    def __getstate__(self):
        return {"path": self.path}

    def __setstate__(self, state):
        self.__init__(state["path"])

    def _opened(self):
        """The handle of this process."""
        if self._process != os.getpid():
            # in a forked worker, HDF5 would reuse the open file of the parent
            self.close()
            self._file = self._open()
            self._process = os.getpid()
        return self._file

    def _open(self):
        """Open the file, or raise an AudioError."""
        import h5py

        try:
            # reading needs no lock, which some network disks do not support
            return h5py.File(self.path, "r", locking=False)
        except OSError as error:
            raise AudioError(f"{self.path}: {self._fault(error)}") from error

    def _fault(self, error):
        """What is wrong with a file that cannot be opened."""
        path = Path(self.path)
        if not path.exists():
            return "is missing; restore it, or correct the path"
        if not path.is_file():
            return "is not a file; put the HDF5 file in its place"
        return (
            f"cannot be opened as HDF5, it is damaged or truncated ({error}); "
            "download it again"
        )

    def close(self) -> None:
        """Close the file; it is opened again when needed."""
        if self._file is not None:
            self._file.close()
        self._file, self._process = None, None

    def names(self) -> list[str]:
        """Names of the recordings, sorted.

        Returns
        -------
        list of str
        """
        return sorted(self._opened())

    def n_samples(self, name: str) -> int:
        """Number of samples of a recording.

        Arguments
        ---------
        name : str
            The recording.

        Returns
        -------
        int
        """
        return self._recording(name).shape[0]

    def _recording(self, name):
        """The dataset of a recording, or an AudioError."""
        dataset = self._opened().get(name)
        if dataset is None:
            raise AudioError(
                f"{self.path}: has no recording {name}; download a complete "
                "file, or remove the recording from the list"
            )
        shape = getattr(dataset, "shape", "none")  # a group has none
        if len(shape) != 1 or dataset.dtype.kind not in "fi":
            raise AudioError(
                f"{self.path}: {name} (shape {shape}) is not one channel of "
                "float or integer samples; convert it to mono"
            )
        return dataset

    def read(
        self, name: str, start: int = 0, stop: int | None = None
    ) -> torch.Tensor:
        """Read a segment of a recording.

        Arguments
        ---------
        name : str
            The recording.
        start, stop : int
            First sample, and the sample after the last one; None for the end.

        Returns
        -------
        torch.Tensor
            [N], float32; integers are scaled to [-1, 1].

        Raises
        ------
        AudioError
            If the file or the recording is missing or damaged, does not have
            these samples, or has NaN or infinite ones.
        """
        dataset = self._recording(name)
        stop = dataset.shape[0] if stop is None else stop
        if not 0 <= start < stop <= dataset.shape[0]:
            raise AudioError(
                f"{self.path}: {name} has {dataset.shape[0]} samples, so "
                f"samples {start} to {stop} cannot be read; correct the "
                "segment in the list"
            )
        try:
            samples = dataset[start:stop]
        except OSError as error:
            raise AudioError(
                f"{self.path}: {name} cannot be read, the file is damaged or "
                f"truncated ({error}); download it again"
            ) from error
        part = f"{name}, samples {start} to {stop},"
        try:
            samples = to_float(as_tensor(samples), name)
            check_finite(samples, part)
        except ValueError as error:
            raise AudioError(
                f"{self.path}: {error}; or remove the segment from the list"
            ) from error
        return samples


class HDF5Reader:
    """Dynamic item that reads the segment of a row, or a window of it.

    Arguments
    ---------
    data_folder : str or Path
        The folder that ``wav`` in the manifest, an HDF5 file, is relative to.
    sample_rate : int
        Sample rate of the file in Hz.
    max_duration : float, optional
        Longer segments are cropped to a window of this length in seconds.
    crop : RandomCrop, optional
        Chooses the window; None for the middle.

    Raises
    ------
    ValueError
        If ``crop`` is given without ``max_duration``.

    Example
    -------
    >>> import h5py
    >>> import numpy as np
    >>> folder = getfixture("tmp_path")
    >>> with h5py.File(folder / "a.hdf5", "w") as file:
    ...     file["P01_01"] = np.arange(10, dtype=np.float32)
    >>> reader = HDF5Reader(folder, sample_rate=2, max_duration=2.0)
    >>> reader("P01_01_0", "a.hdf5", "P01_01", 0, 10)
    tensor([3., 4., 5., 6.])
    """

    ITEM = (["id", "wav", "recording", "start", "stop"], "sig")

    def __init__(
        self,
        data_folder: str | Path,
        sample_rate: int,
        max_duration: float | None = None,
        crop=None,
    ):
        if crop and not max_duration:
            raise ValueError("crop needs max_duration, the length to keep")
        check_sizes(sample_rate=sample_rate)
        if max_duration is not None:
            check_positive(max_duration=max_duration)
        self.data_folder = str(data_folder)
        self.files: dict[str, HDF5Audio] = {}
        self.crop = crop
        self.longest = max_duration and round(max_duration * sample_rate)

    def __call__(
        self, item_id: str, wav: str, recording: str, start: int, stop: int
    ) -> torch.Tensor:
        """Read one row.

        Arguments
        ---------
        item_id : str
            ID of the row.
        wav : str
            The HDF5 file, relative to ``data_folder``.
        recording : str
            Name of the dataset.
        start, stop : int
            First sample, and the sample after the last one.

        Returns
        -------
        torch.Tensor
            [N], float32.
        """
        if self.longest and stop - start > self.longest:
            spare = stop - start - self.longest
            crop = self.crop
            start += crop.offset(item_id, spare) if crop else spare // 2
            stop = start + self.longest
        if wav not in self.files:
            self.files[wav] = HDF5Audio(os.path.join(self.data_folder, wav))
        return self.files[wav].read(recording, start, stop)
