"""Batches without the clips that cannot be read."""

from typing import NamedTuple

from speechbrain.dataio.batch import PaddedBatch

# Key of an example that is a stand-in for a clip that cannot be read
FAULT = "fault"


class Fault(NamedTuple):
    """Why a clip cannot be read, and its split with the number of clips."""

    why: str
    split: str
    n_clips: int


class ClipBatch(PaddedBatch):
    """A padded batch; clips that cannot be read are left out of it.

    Arguments
    ---------
    examples : list of dict
        From an `audiomamba.dataio.pipeline.ClipDataset`.
    *args, **kwargs
        As for SpeechBrain's ``PaddedBatch``.

    Attributes
    ----------
    faults : dict of str to Fault
        By the IDs of the clips that were left out.
    is_empty : bool
        Whether no clip is left.  The stand-in of the first one is then in the
        batch, as a model needs some input; it must not count.

    Example
    -------
    >>> import torch
    >>> fault = Fault("a.wav: is empty", "train", 2)
    >>> batch = ClipBatch(
    ...     [
    ...         {"id": "a", "sig": torch.ones(3), "fault": fault},
    ...         {"id": "b", "sig": torch.ones(2)},
    ...     ]
    ... )
    >>> batch.id, batch.is_empty, batch.faults["a"].why
    (['b'], False, 'a.wav: is empty')
    """

    def __init__(self, examples, *args, **kwargs):
        examples = [dict(example) for example in examples]
        faults = {
            example["id"]: example.pop(FAULT)
            for example in examples
            if FAULT in example
        }
        whole = [clip for clip in examples if clip["id"] not in faults]
        super().__init__(whole or examples[:1], *args, **kwargs)
        self.faults, self.is_empty = faults, not whole
