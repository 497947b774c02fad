"""Reading pipelines: from a manifest to waveforms and targets.

A recipe's ``dataio_prep`` puts them together:

    dataset = manifest_dataset(hparams["train_csv"])
    dataset.add_dynamic_item(AudioReader(data_folder), *AudioReader.ITEM)
    dataset.add_dynamic_item(LabelEncoder(labels), *LabelEncoder.ITEM)
    dataset.set_output_keys(["id", "sig", "target"])

All items are objects that can be sent to loader workers of any start method.
"""

import math
import os
from bisect import bisect_left
from collections.abc import Mapping
from hashlib import blake2b

import numpy as np
import torch
from speechbrain.dataio.dataset import DynamicItemDataset

from audiomamba.dataio.audio import read_window
from audiomamba.dataio.manifest import LABEL_SEPARATOR, read_manifest


class PackedStrings:
    """A fixed sequence of texts in one buffer.

    Millions of separate ``str`` cost several times the memory, and again in
    every loader worker, because counting references writes to their pages.

    Arguments
    ---------
    texts : iterable of str
        The texts.

    Example
    -------
    >>> packed = PackedStrings(["one", "", "zwölf"])
    >>> len(packed), packed[2]
    (3, 'zwölf')
    """

    def __init__(self, texts):
        encoded = [text.encode() for text in texts]
        self.buffer = b"".join(encoded)
        self.ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)

    def __len__(self):
        return len(self.ends)

    def __getitem__(self, index):
        start = self.ends[index - 1] if index else 0
        return self.buffer[start : self.ends[index]].decode()


class ManifestRows(Mapping):
    """The rows of a manifest by ID, made when they are asked for.

    Arguments
    ---------
    table : pandas.DataFrame
        Of `read_manifest`: sorted by ``ID``.

    Example
    -------
    >>> import pandas as pd
    >>> rows = ManifestRows(pd.DataFrame({"ID": ["a"], "duration": [1.5]}))
    >>> rows["a"]
    {'duration': 1.5}
    """

    def __init__(self, table):
        self.ids = PackedStrings(table["ID"])
        self.columns = {
            name: table[name].to_numpy()
            if table[name].dtype.kind in "if"
            else PackedStrings(table[name])
            for name in table
            if name != "ID"
        }

    def __len__(self):
        return len(self.ids)

    def __iter__(self):
        return (self.ids[row] for row in range(len(self.ids)))

    def __getitem__(self, item_id):
        row = bisect_left(self.ids, item_id)
        if row == len(self.ids) or self.ids[row] != item_id:
            raise KeyError(item_id)
        return {
            name: values[row].item()
            if isinstance(values, np.ndarray)
            else values[row]
            for name, values in self.columns.items()
        }


def manifest_dataset(path):
    """A dataset of the rows of a manifest, ready for dynamic items.

    Arguments
    ---------
    path : str or Path
        The CSV; see `audiomamba.dataio.manifest.read_manifest`.

    Returns
    -------
    DynamicItemDataset
        In the order of the IDs; static keys are the columns, and ``id``.

    Example
    -------
    >>> path = getfixture("tmp_path") / "train.csv"
    >>> _ = path.write_text("ID,duration,wav,label\\nx,1.5,x.wav,no\\n")
    >>> dataset = manifest_dataset(path)
    >>> dataset.set_output_keys(["id", "label"])
    >>> dataset[0]
    {'id': 'x', 'label': 'no'}
    """
    table = read_manifest(path)
    if table.empty:
        raise ValueError(f"Manifest {path} has no rows; prepare it anew")
    if "start" not in table:
        # one reader for files and parts of files: -1 is the file's own end
        table = table.assign(start=0, stop=-1)
    return DynamicItemDataset(ManifestRows(table))


class AudioReader:
    """Dynamic item that reads a row's audio: mono, resampled, mean removed.

    Only what is kept is decoded.

    Arguments
    ---------
    data_folder : str or Path
        What the manifest's ``wav`` is relative to.
    sample_rate : int
        Of the result, in Hz.
    max_duration : float, optional
        Seconds to keep; the first ones (10.24 in the paper), or those that
        ``crop`` chooses. Shorter clips stay whole.
    crop : RandomCrop, optional
        Chooses where the kept part begins.
    remove_mean : bool
        Subtract the mean of the kept part, as the authors' code does of the
        whole clip.

    Example
    -------
    >>> import soundfile
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "a.wav", [0.25] * 32000, 16000)
    >>> reader = AudioReader(folder, max_duration=0.5)
    >>> sig = reader("a", "a.wav", 0, -1)
    >>> sig.shape, sig.abs().max().item()
    (torch.Size([8000]), 0.0)
    """

    ITEM = (["id", "wav", "start", "stop"], "sig")

    def __init__(
        self,
        data_folder,
        sample_rate=16000,
        max_duration=None,
        crop=None,
        remove_mean=True,
    ):
        if crop and not max_duration:
            raise ValueError("crop needs max_duration: how much to keep")
        self.data_folder = str(data_folder)
        self.sample_rate = sample_rate
        self.max_duration = max_duration
        self.crop = crop
        self.remove_mean = remove_mean

    def __call__(self, item_id, wav, start, stop):
        """Read one row.

        Arguments
        ---------
        item_id : str
            Its ID.
        wav : str
            Its path from ``data_folder``.
        start, stop : int
            Its part of the file in frames; ``stop`` -1 is the end.

        Returns
        -------
        torch.Tensor
            [N], float32.
        """

        def choose(n_frames, file_rate):
            end = n_frames if stop < 0 else stop
            if not self.max_duration:
                return start, end
            kept = math.ceil(self.max_duration * file_rate)
            spare = max(0, end - start - kept)
            first = start
            if self.crop:
                first += self.crop.offset(item_id, spare)
            return first, min(end, first + kept)

        path = os.path.join(self.data_folder, wav)
        sig = read_window(path, choose, self.sample_rate)
        if self.max_duration:
            # whole frames of the file may last a little longer
            sig = sig[: round(self.max_duration * self.sample_rate)]
        return sig - sig.mean() if self.remove_mean else sig


class RandomCrop:
    """Chooses where a crop begins: a pure function of seed, epoch and ID.

    So a resumed run, and any number of workers, crops as an uninterrupted one.
    Call `set_epoch` before each epoch's first batch. The epoch lies in shared
    memory, where workers that outlive an epoch see it change.

    Arguments
    ---------
    seed : int
        Another seed, other crops.

    Example
    -------
    >>> crop = RandomCrop(seed=1)
    >>> first = crop.offset("clip", 1000)
    >>> crop.set_epoch(2)
    >>> second = crop.offset("clip", 1000)
    >>> crop.set_epoch(1)
    >>> first == crop.offset("clip", 1000) != second
    True
    """

    def __init__(self, seed):
        self.seed = seed
        self.epoch = torch.ones((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch):
        """Move on to an epoch.

        Arguments
        ---------
        epoch : int
            Counted from 1.
        """
        self.epoch.fill_(epoch)

    def offset(self, item_id, spare):
        """Where the crop of one item begins in this epoch.

        Arguments
        ---------
        item_id : str
            Its ID.
        spare : int
            The largest offset.

        Returns
        -------
        int
            In [0, ``spare``], all equally likely.
        """
        source = f"{self.seed}|{self.epoch.item()}|{item_id}".encode()
        number = int.from_bytes(blake2b(source, digest_size=8).digest(), "big")
        return number % (spare + 1)

    def __deepcopy__(self, memo):
        # filtered datasets copy their items; a copied epoch would stand still
        return self


class LabelEncoder:
    """Dynamic item that turns a row's label into a target.

    Arguments
    ---------
    labels : list of str
        Class names in the order of their indices.
    multi_label : bool
        Whether a label holds any number of names, joined by ``;``.

    Example
    -------
    >>> LabelEncoder(["no", "yes"])("a", "yes")
    tensor([1])
    >>> LabelEncoder(["no", "yes", "go"], multi_label=True)("a", "go;no")
    tensor([1., 0., 1.])
    """

    ITEM = (["id", "label"], "target")

    def __init__(self, labels, multi_label=False):
        self.indices = {label: index for index, label in enumerate(labels)}
        self.multi_label = multi_label

    def __call__(self, item_id, label):
        """Encode one label.

        Arguments
        ---------
        item_id : str
            The row's ID, for the error.
        label : str
            Its label.

        Returns
        -------
        torch.Tensor
            The index [1], int64; with ``multi_label`` a row of 0 and 1
            [n_classes], float32.
        """
        if not self.multi_label:
            return torch.tensor([self._index(item_id, label)])
        row = torch.zeros(len(self.indices))
        for name in filter(None, label.split(LABEL_SEPARATOR)):
            row[self._index(item_id, name)] = 1.0
        return row

    def _index(self, item_id, name):
        if name not in self.indices:
            raise ValueError(
                f"{item_id}: its label {name!r} is none of the "
                f"{len(self.indices)} classes of the label file; prepare the "
                "data anew, or correct the label file"
            )
        return self.indices[name]
