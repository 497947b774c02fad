"""Which training clips an epoch sees."""

from collections import Counter

import numpy as np
from speechbrain.dataio.sampler import ReproducibleWeightedRandomSampler

from audiomamba.dataio.manifest import LABEL_SEPARATOR


def label_weights(labels):
    """Sampling weights that favour clips of rare classes, as published.

    A class that N clips have weighs 1000 / (N + 0.01), a clip as much as its
    classes together (AST's and Audio Mamba's code for AudioSet).

    Arguments
    ---------
    labels : sequence of str
        One per clip: class names joined by ``;``.

    Returns
    -------
    np.ndarray
        [clips], float64.

    Example
    -------
    >>> label_weights(["a", "a;b", "a"]).round(1).tolist()
    [332.2, 1322.3, 332.2]
    """
    counts = Counter()
    for text in labels:
        counts.update(text.split(LABEL_SEPARATOR))
    weights = {name: 1000 / (count + 0.01) for name, count in counts.items()}
    return np.fromiter(
        (
            sum(weights[name] for name in text.split(LABEL_SEPARATOR))
            for text in labels
        ),
        dtype=np.float64,
        count=len(labels),
    )


def weighted_sampler(labels, seed):
    """A sampler that draws clips by `label_weights`, with replacement.

    An epoch has as many draws as there are clips. They are a function of seed
    and epoch, so that a resumed run draws the same; under torchrun each rank
    takes its part of one common list.

    Arguments
    ---------
    labels : sequence of str
        One per clip, in the order of the data set.
    seed : int
        The run's.

    Returns
    -------
    ReproducibleWeightedRandomSampler
        For the loader option ``sampler``; the Brain tells it the epoch.

    Example
    -------
    >>> sampler = weighted_sampler(["a"] * 999 + ["b"], seed=1)
    >>> draws = list(sampler)
    >>> len(draws), 400 < draws.count(999) < 600, draws == list(sampler)
    (1000, True, True)
    >>> sampler.set_epoch(1)
    >>> draws == list(sampler)
    False
    """
    # The sampler adds the epoch to its seed: without the mixing, epoch 2 of
    # seed 1 would be epoch 1 of seed 2
    mixed = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
    return ReproducibleWeightedRandomSampler(
        label_weights(labels),
        num_samples=len(labels),
        replacement=True,
        seed=int(mixed >> np.uint64(1)),
    )
