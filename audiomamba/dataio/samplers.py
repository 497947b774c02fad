"""Which training clips an epoch draws, in which order, on which process."""

from array import array
from collections import Counter, defaultdict
from itertools import cycle, islice

import numpy as np
from torch.utils.data import Sampler

from audiomamba.dataio.lists import split_labels


def label_counts(labels, names=split_labels):
    """Count the clips of each class.

    Arguments
    ---------
    labels : iterable of str
        One per clip.
    names : callable
        From a label to class names; by default they are joined by ``;``.

    Returns
    -------
    Counter

    Example
    -------
    >>> label_counts(["a", "a;b", "a"])
    Counter({'a': 3, 'b': 1})
    """
    counts = Counter()
    for label in labels:
        counts.update(names(label))
    return counts


def label_weights(labels, names=split_labels):
    """Sampling weights that favour clips of rare classes, as published.

    A class with N clips has the weight 1000 / (N + 0.01), a clip the sum over
    its classes (AST's and Audio Mamba's code for AudioSet).

    Arguments
    ---------
    labels : sequence of str
        One per clip.
    names : callable
        See `label_counts`.

    Returns
    -------
    np.ndarray
        [clips], float64.

    Example
    -------
    >>> label_weights(["a", "a;b", "a"]).round(1).tolist()
    [332.2, 1322.3, 332.2]
    """
    number: defaultdict[str, int] = defaultdict()
    number.default_factory = number.__len__
    classes, sizes = array("i"), array("i")
    for label in labels:
        found = [number[name] for name in names(label)]
        classes.extend(found)
        sizes.append(len(found))
    counts = np.bincount(classes, minlength=len(number))
    clips = np.repeat(np.arange(len(labels), dtype=np.int32), sizes)
    weights = 1000 / (counts + 0.01)
    return np.bincount(clips, weights[classes], minlength=len(labels))


class ResumableSampler(Sampler):
    """Draws the items of an epoch in an order that all processes share.

    An epoch that was begun with steps of another size can be gone on with:
    `resume` says how many of its items were drawn.  Subclasses have ``UNIT``,
    what their items are called, ``n_items`` of the epoch, ``per_step``, those
    that all processes draw in a step, and `count_batches`.
    """

    def __init__(self):
        self.epoch, self._begun = 1, (None, 0)

    def set_epoch(self, epoch):
        """Choose the epoch to draw, counted from 1."""
        self.epoch = epoch

    def resume(self, epoch, n_drawn):
        """Leave out the items of an epoch that were drawn before.

        Arguments
        ---------
        epoch : int
            The epoch; others are drawn whole.
        n_drawn : int
            How many items of its order.

        Example
        -------
        >>> sampler = EpochBatchSampler(5, batch_size=2, seed=1, shuffle=False)
        >>> sampler.resume(epoch=1, n_drawn=3)
        >>> list(sampler)
        [[3, 4]]
        """
        self._begun = epoch, n_drawn

    @property
    def start(self):
        """Place in the order of the epoch's items of the first one drawn."""
        epoch, n_drawn = self._begun
        return n_drawn if epoch == self.epoch else 0

    def n_drawn(self, n_batches):
        """Count the items of the epoch that are drawn after some batches."""
        if n_batches == len(self):
            return self.n_items
        return self.start + n_batches * self.per_step

    def __len__(self):
        return self.count_batches(self.n_items - self.start)


class EpochBatchSampler(ResumableSampler):
    """Batches of an epoch, drawn from (seed, epoch) alone.

    All processes share one order of the clips and take turns in each global
    batch, so the clips of a step do not depend on the number of processes as
    long as batch size times processes stays the same.  Without weights every
    clip is drawn once.  All processes have the same number of batches: the
    last global batch is shared out as evenly as it goes, and joins the one
    before if a process had fewer than ``least`` clips.

    If an epoch that was begun with steps of another size has fewer clips left,
    its last ones are drawn again.

    Arguments
    ---------
    n_clips : int
        Size of the data set.
    batch_size : int
        Clips per batch and process.
    seed : int
        Seed of the run.
    shuffle : bool
        Draw a new order each epoch; False keeps the order of the data set.
    weights : np.ndarray, optional
        [n_clips]; draw ``n_clips`` clips with replacement, with probabilities
        in proportion to the weights.
    rank, n_processes : int
        This process, of how many.
    least : int
        Fewest clips of a batch; batch normalisation can need two.

    Raises
    ------
    ValueError
        If there are fewer clips than that for every process, or the batch size
        is not positive.

    Example
    -------
    >>> sampler = EpochBatchSampler(5, batch_size=2, seed=1)
    >>> sampler.set_epoch(1)
    >>> first = list(sampler)
    >>> [len(batch) for batch in first], sorted(sum(first, []))
    ([2, 2, 1], [0, 1, 2, 3, 4])
    >>> sampler.set_epoch(2)
    >>> list(sampler) == first
    False
    """

    UNIT = "clips"

    def __init__(
        self,
        n_clips,
        batch_size,
        seed,
        shuffle=True,
        weights=None,
        rank=0,
        n_processes=1,
        least=1,
    ):
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; at least 1.")
        self.least = min(least, batch_size) * n_processes
        if n_clips < self.least:
            raise ValueError(
                f"{n_clips} training clips for {n_processes} processes: a step "
                f"of this model needs {self.least}. Start fewer processes, or "
                "add clips."
            )
        self.n_clips, self.batch_size = n_clips, batch_size
        self.seed, self.shuffle = seed, shuffle
        self.weights = weights
        self.rank, self.n_processes = rank, n_processes

    @property
    def n_items(self):
        """Clips of an epoch."""
        return self.n_clips

    @property
    def per_step(self):
        """Clips of a step, of all processes."""
        return self.batch_size * self.n_processes

    def count_batches(self, n_clips):
        """Count the batches that some clips make."""
        size = self.per_step
        fills_one = n_clips % size >= self.least or 0 < n_clips < size
        return n_clips // size + fills_one

    def order(self):
        """Return the clips of the epoch in order, [n_clips].

        Example
        -------
        >>> weights = np.array([1.0, 0.0, 0.0])
        >>> EpochBatchSampler(3, 1, seed=0, weights=weights).order().tolist()
        [0, 0, 0]
        """
        generator = np.random.default_rng([self.seed, self.epoch])
        if self.weights is not None:
            # one uniform draw per clip: much faster than Generator.choice
            bounds = np.cumsum(self.weights)
            draws = generator.random(self.n_clips) * bounds[-1]
            return np.searchsorted(bounds, draws, side="right")
        if self.shuffle:
            return generator.permutation(self.n_clips)
        return np.arange(self.n_clips)

    def __iter__(self):
        order = self.order()
        for step in range(len(self)):
            first = self.start + step * self.per_step
            stop = first + self.per_step
            if step == len(self) - 1:
                first, stop = min(first, self.n_clips - self.least), None
            yield order[first:stop][self.rank :: self.n_processes].tolist()


class SharedBatches(ResumableSampler):
    """The batches of a sampler, shared out among processes.

    All processes have the same number of batches: the first ones are drawn
    again where there are too few.  (SpeechBrain's ``DistributedSamplerWrapper``
    takes the clips of a process' only batch for batches.)

    Arguments
    ---------
    batches : Sampler
        Yields the same batches on every process, and has ``set_epoch``.
    rank, n_processes : int
        This process, of how many.

    Example
    -------
    >>> everything = EpochBatchSampler(5, batch_size=2, seed=1, shuffle=False)
    >>> [list(SharedBatches(everything, rank, 2)) for rank in (0, 1)]
    [[[0, 1], [4]], [[2, 3], [0, 1]]]
    """

    UNIT = "batches"

    def __init__(self, batches, rank=0, n_processes=1):
        super().__init__()
        self.batches = batches
        self.rank, self.n_processes = rank, n_processes

    def set_epoch(self, epoch):
        """Choose the epoch to draw, counted from 1."""
        super().set_epoch(epoch)
        self.batches.set_epoch(epoch)

    @property
    def n_items(self):
        """Batches of the epoch, of all processes."""
        return len(self.batches)

    @property
    def per_step(self):
        """Batches of a step: one of each process."""
        return self.n_processes

    def count_batches(self, n_batches):
        """Count the batches of a process when some are shared out."""
        return -(-n_batches // self.n_processes)

    def __iter__(self):
        left = list(self.batches)[self.start :]
        batches = islice(cycle(left), len(self) * self.n_processes)
        yield from islice(batches, self.rank, None, self.n_processes)
