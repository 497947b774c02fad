"""Audio in one HDF5 file: a dataset of samples per recording (EPIC-Sounds).

An open HDF5 file cannot be shared between processes: two that read through
one handle move each other's place in the file. Here every process opens the
file itself, when it first reads.
"""

import os
from pathlib import Path

import numpy as np
import torch

from audiomamba.dataio.audio import AudioError


class HDF5Audio:
    """The recordings of an HDF5 file, for any process that gets hold of it.

    Can be pickled and inherited by a fork at any time: the handle stays
    behind, and the other process opens one of its own.

    Arguments
    ---------
    path : str or Path
        The file; one dataset of samples [N] per recording, of floats in
        [-1, 1] or of integers.

    Example
    -------
    >>> import h5py
    >>> path = getfixture("tmp_path") / "audio.hdf5"
    >>> with h5py.File(path, "w") as file:
    ...     file["P01_01"] = np.linspace(-1, 1, 5, dtype=np.float32)
    >>> audio = HDF5Audio(path)
    >>> audio.names(), audio.n_samples("P01_01")
    (['P01_01'], 5)
    >>> audio.read("P01_01", 1, 4)
    tensor([-0.5000,  0.0000,  0.5000])
    """

    def __init__(self, path):
        self.path = str(path)
        self._file, self._process = None, None

    def __getstate__(self):
        return {"path": self.path}

    def __setstate__(self, state):
        self.__init__(state["path"])

    def _opened(self):
        """The handle of this process."""
        if self._process != os.getpid():
            # HDF5 would hand a forked worker its parent's open file again
            self.close()
            self._file = self._open()
            self._process = os.getpid()
        return self._file

    def _open(self):
        import h5py

        try:
            # read only: locks, which some network disks refuse, are not needed
            return h5py.File(self.path, "r", locking=False)
        except OSError as error:
            raise AudioError(f"{self.path}: {self._fault(error)}") from error

    def _fault(self, error):
        path = Path(self.path)
        if not path.exists():
            return "is missing; restore it, or correct its place"
        if not path.is_file():
            return "is no file; put the HDF5 file in its place"
        return (
            f"cannot be opened as HDF5, it is damaged or cut short ({error}); "
            "fetch it again"
        )

    def close(self):
        """Let go of the file; it is opened again when needed."""
        if self._file is not None:
            self._file.close()
        self._file, self._process = None, None

    def names(self):
        """Names of the recordings, sorted.

        Returns
        -------
        list of str
        """
        return sorted(self._opened())

    def n_samples(self, name):
        """Length of a recording.

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
        dataset = self._opened().get(name)
        if dataset is None:
            raise AudioError(
                f"{self.path}: has no recording {name}; fetch a complete "
                "file, or take the recording out of the list"
            )
        shape = getattr(dataset, "shape", "none")  # a group has none
        if len(shape) != 1 or dataset.dtype.kind not in "fi":
            raise AudioError(
                f"{self.path}: {name} (shape {shape}) is not one channel of "
                "float or integer samples; mix it down to mono"
            )
        return dataset

    def read(self, name, start=0, stop=None):
        """Read a part of a recording.

        Arguments
        ---------
        name : str
            The recording.
        start, stop : int
            First sample, and the one after the last; None is the end.

        Returns
        -------
        torch.Tensor
            [N], float32; integers are scaled to [-1, 1].

        Raises
        ------
        AudioError
            If the file or the recording is missing or damaged, has no such
            part, or NaN or infinity in it.
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
                f"cut short ({error}); fetch it again"
            ) from error
        if samples.dtype.kind == "i":
            samples = samples / (np.iinfo(samples.dtype).max + 1.0)
        samples = torch.from_numpy(samples.astype(np.float32))
        if not torch.isfinite(samples).all():
            raise AudioError(
                f"{self.path}: {name} holds NaN or infinite samples between "
                f"{start} and {stop}; fetch the file again, or take the "
                "segment out of the list"
            )
        return samples


class HDF5Reader:
    """Dynamic item that reads a row's segment of a recording, whole or a part.

    Arguments
    ---------
    data_folder : str or Path
        What the manifest's ``wav``, an HDF5 file, is relative to.
    sample_rate : int
        Its rate in Hz, which the file does not tell.
    max_duration : float, optional
        Longer segments become a window of so many seconds.
    crop : RandomCrop, optional
        Chooses the window; without it, the one in the middle.

    Example
    -------
    >>> import h5py
    >>> folder = getfixture("tmp_path")
    >>> with h5py.File(folder / "a.hdf5", "w") as file:
    ...     file["P01_01"] = np.arange(10, dtype=np.float32)
    >>> reader = HDF5Reader(folder, sample_rate=2, max_duration=2.0)
    >>> reader("P01_01_0", "a.hdf5", "P01_01", 0, 10)
    tensor([3., 4., 5., 6.])
    """

    ITEM = (["id", "wav", "recording", "start", "stop"], "sig")

    def __init__(self, data_folder, sample_rate, max_duration=None, crop=None):
        if crop and not max_duration:
            raise ValueError("crop needs max_duration: how much to keep")
        self.data_folder = str(data_folder)
        self.files = {}
        self.crop = crop
        self.longest = max_duration and round(max_duration * sample_rate)

    def __call__(self, item_id, wav, recording, start, stop):
        """Read one row.

        Arguments
        ---------
        item_id : str
            Its ID.
        wav : str
            The HDF5 file, from ``data_folder``.
        recording : str
            The dataset's name.
        start, stop : int
            Its samples.

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
