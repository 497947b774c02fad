"""Reading pipelines: from a manifest to waveforms and targets.

All dynamic items are objects that can be pickled, so that loader workers of
any start method can have them.
"""

from hashlib import blake2b

import numpy as np
import torch
from speechbrain.dataio.dataset import DynamicItemDataset

from audiomamba.dataio.audio import AudioError
from audiomamba.dataio.batches import FAULT, Fault
from audiomamba.dataio.lists import split_labels
from audiomamba.dataio.problems import PreparationError
from audiomamba.dataio.reader import AudioReader
from audiomamba.dataio.rows import read_rows
from audiomamba.dataio.samplers import label_weights

# Samples of the stand-in for a clip that cannot be read: any length will do
_STAND_IN = 16000


class ClipDataset(DynamicItemDataset):
    """The clips of a manifest: ``id``, ``sig`` and, with labels, ``target``.

    Arguments
    ---------
    path : str or Path
        The CSV; see `audiomamba.dataio.manifest.read_manifest`.
    reader : callable
        Dynamic item with ``ITEM``, the keys it takes and provides.
    encoder : LabelEncoder, optional
        From a row's label to ``target``; None for data without labels.
    balanced : bool
        Whether training draws clips of rare classes more often.
    without : collection of str
        IDs of clips to leave out.

    Example
    -------
    >>> path = getfixture("tmp_path") / "train.csv"
    >>> _ = path.write_text("ID,duration,wav,label\\nx,1.5,x.wav,no\\n")
    >>> dataset = ClipDataset(path, AudioReader("."), LabelEncoder(["no"]))
    >>> len(dataset), dataset.data["x"]["label"]
    (1, 'no')
    """

    def __init__(self, path, reader, encoder=None, balanced=False, without=()):
        rows = read_rows(path)
        if without:
            rows = rows.without(without)
        # SpeechBrain would take a user's column for the item of this name
        for name in ("id", "sig", "target"):
            rows.columns.pop(name, None)
        if not rows:
            raise PreparationError(
                f"Manifest {path} has no row to use; delete it and run the "
                "preparation again"
            )
        if "start" not in rows.columns:
            # -1 is the end of the file
            for name, value in (("start", 0), ("stop", -1)):
                rows.columns[name] = np.broadcast_to(value, len(rows))
        # SpeechBrain would make a list of the IDs, which the rows hold already
        first = rows.ids[0]
        super().__init__({first: rows[first]})
        self.data, self.data_ids = rows, rows.ids
        self.crop = getattr(reader, "crop", None)
        self.encoder, self.weights = encoder, None
        if balanced:
            labels = self.data.columns["label"]
            self.weights = label_weights(labels, encoder.names)
        self.add_dynamic_item(reader, *reader.ITEM)
        keys = ["id", "sig"]
        if encoder is not None:
            self.add_dynamic_item(encoder, *encoder.ITEM)
            keys.append("target")
        self.set_output_keys(keys)
        self.split, self.leaves_out = None, False

    def leave_out_bad(self, split):
        """Return a stand-in for a clip that cannot be read, and no error.

        Arguments
        ---------
        split : str
            The name of these clips; see `audiomamba.dataio.batches.ClipBatch`.
        """
        self.split, self.leaves_out = split, True

    def __getitem__(self, index):
        try:
            return super().__getitem__(index)
        except (AudioError, OSError) as error:
            if not self.leaves_out:
                raise
            fault = Fault(str(error), self.split, len(self))
        row = {"id": self.data_ids[index]}
        row |= self.data[row["id"]]
        keys = [key for key in self.pipeline.output_mapping if key != "sig"]
        others = self.pipeline.compute_specific(keys, row)
        return {**others, "sig": torch.arange(_STAND_IN).sin(), FAULT: fault}

    def set_epoch(self, epoch):
        """Choose the epoch that random crops are drawn for."""
        if self.crop is not None:
            self.crop.set_epoch(epoch)


def clip_datasets(hparams, labels, splits=None, reader=None, multi_label=False):
    """Make the data sets of a recipe from its manifests.

    Arguments
    ---------
    hparams : dict
        With ``data_folder``, ``manifest_folder``, ``sample_rate``,
        ``max_duration`` and, for ``train``, maybe ``balanced_sampling`` and
        ``crop``.
    labels : list of str
        The labels of the manifests, by class index.
    splits : iterable of str, optional
        By default ``train``, ``test`` and, unless ``valid_share`` is 0,
        ``valid``.
    reader : type, optional
        `AudioReader`, or another reader with the same arguments.
    multi_label : bool
        Whether a clip has any number of labels, joined by ``;``.

    Returns
    -------
    dict
        Split -> ClipDataset.
    """
    if splits is None:
        has_valid = hparams.get("valid_share", 1) > 0
        splits = ("train", "valid", "test") if has_valid else ("train", "test")
    datasets = {}
    for split in splits:
        is_train = split == "train"
        datasets[split] = ClipDataset(
            f"{hparams['manifest_folder']}/{split}.csv",
            (reader or AudioReader)(
                hparams["data_folder"],
                hparams["sample_rate"],
                hparams["max_duration"],
                hparams.get("crop") if is_train else None,
            ),
            LabelEncoder(labels, multi_label),
            is_train and hparams.get("balanced_sampling", False),
        )
    return datasets


class RandomCrop:
    """Chooses where a crop starts, as a pure function of seed, epoch and ID.

    So crops do not depend on the number of workers, nor on whether a run was
    resumed.  Call `set_epoch` before the first batch of an epoch.  The epoch is
    in shared memory, where persistent workers see it change.

    Arguments
    ---------
    seed : int
        Seed of the run.

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
        """Choose the epoch.

        Arguments
        ---------
        epoch : int
            Counted from 1.
        """
        self.epoch.fill_(epoch)

    def offset(self, item_id, spare):
        """Return where the crop of an item starts in this epoch.

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
        # filtered data sets copy their items; a copy would miss set_epoch
        return self


class LabelEncoder:
    """Dynamic item that turns a row's label into a target.

    Arguments
    ---------
    labels : list of str
        Class names, by index.
    multi_label : bool
        Whether a clip has any number of labels, joined by ``;``.

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

    def names(self, label):
        """Return the class names of a label."""
        return split_labels(label) if self.multi_label else [label]

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
            The class index [1], int64; with ``multi_label`` a multi-hot row
            [n_classes], float32.
        """
        if not self.multi_label:
            return torch.tensor([self._index(item_id, label)])
        row = torch.zeros(len(self.indices))
        for name in self.names(label):
            row[self._index(item_id, name)] = 1.0
        return row

    def _index(self, item_id, name):
        if name not in self.indices:
            raise ValueError(
                f"{item_id}: its label {name!r} is none of the "
                f"{len(self.indices)} classes of the label file; correct the "
                "label file, or delete the manifests to prepare them again"
            )
        return self.indices[name]
