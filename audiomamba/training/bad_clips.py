"""The clips of a run that cannot be read: left out, counted and named."""

import json
import os

import torch
from speechbrain.utils.logger import get_logger

from audiomamba.dataio.batches import ClipBatch
from audiomamba.training.runs.environment import all_gather
from audiomamba.training.runs.folder import RunError

logger = get_logger(__name__)


class BadClips:
    """What was left out of each split, on all processes.

    Arguments
    ---------
    skips : bool
        Whether to go on without them; otherwise the first one ends the run.
    max_share : float
        The largest share of a split that may be left out, in [0, 1].

    Example
    -------
    >>> from audiomamba.dataio.batches import Fault
    >>> bad = BadClips(skips=True, max_share=0.5)
    >>> clip = {"sig": torch.ones(3)}
    >>> fault = Fault("a.wav: is empty", "train", 3)
    >>> bad.note(ClipBatch([{**clip, "id": "a", "fault": fault}]))
    >>> bad.gather()
    {'train': {'a': 'a.wav: is empty'}}
    >>> fault = Fault("b.wav: is empty", "train", 3)
    >>> bad.note(ClipBatch([{**clip, "id": "b", "fault": fault}]))
    >>> bad.gather()
    Traceback (most recent call last):
        ...
    audiomamba.training.runs.folder.RunError: 2 of 3 clips of train cannot ...
    """

    def __init__(self, skips, max_share):
        self.skips, self.max_share = skips, max_share
        self.found, self.sizes = {}, {}

    def restore(self, found):
        """Take over what an earlier start of the run has found.

        Arguments
        ---------
        found : str
            From `as_text`.
        """
        self.found = json.loads(found)

    def as_text(self):
        """Share what was left out, and return it for a checkpoint.

        All processes must call it.

        Returns
        -------
        str
            JSON.
        """
        return json.dumps(self.gather(), ensure_ascii=False)

    def note(self, batch):
        """Note what was left out of a batch; warn once of each clip.

        Arguments
        ---------
        batch : object
            A `ClipBatch`, or another batch, of which nothing was.

        Raises
        ------
        RunError
            Naming the clip, unless bad clips are skipped.
        """
        if not isinstance(batch, ClipBatch):
            return
        for clip, fault in batch.faults.items():
            if not self.skips:
                raise _stop(fault.why)
            self.sizes[fault.split] = fault.n_clips
            known = self.found.setdefault(fault.split, {})
            if clip not in known:
                known[clip] = fault.why
                logger.warning(
                    f"left out of {fault.split}: {fault.why}",
                    main_process_only=False,
                )

    def gather(self):
        """Share with all processes what was left out; refuse too much.

        All processes must call it.

        Returns
        -------
        dict
            Split -> clip -> why, the same on all processes.

        Raises
        ------
        RunError
            If more than ``max_share`` of a split is left out.
        """
        for found, sizes in all_gather((self.found, self.sizes)):
            self.sizes.update(sizes)
            for split, clips in found.items():
                self.found.setdefault(split, {}).update(clips)
        self.found = {
            split: dict(sorted(clips.items()))
            for split, clips in sorted(self.found.items())
        }
        for split, n_clips in self.sizes.items():
            clips = self.found[split]
            if len(clips) > self.max_share * n_clips:
                raise RunError(
                    f"{len(clips)} of {n_clips} clips of {split} cannot be "
                    f"read, more than max_bad_share: {self.max_share}; the "
                    f"first: {next(iter(clips.values()))}. Get them again, "
                    "take them out of the list, or increase --max_bad_share; "
                    "the same command resumes."
                )
        return self.found


def _stop(why):
    """Return the error for a bad clip; other processes than the first say it.

    An error that all processes have is said by the first one.
    """
    message = (
        f"{why}. Or pass --on_bad_clip skip to go on without such clips; the "
        "same command resumes."
    )
    if os.environ.get("LOCAL_RANK", "0") != "0":
        logger.error(message, main_process_only=False)
    return RunError(message)


def no_loss(outputs):
    """Return a loss of 0 that depends on a model's outputs.

    Other processes wait for its gradients.

    Arguments
    ---------
    outputs : tuple
        With tensors in it.

    Returns
    -------
    torch.Tensor

    Example
    -------
    >>> weight = torch.ones(2, requires_grad=True)
    >>> no_loss((weight * torch.ones(2), None)).backward()
    >>> weight.grad
    tensor([0., 0.])
    """
    graded = [x for x in outputs if torch.is_tensor(x) and x.requires_grad]
    return 0.0 * sum(x.float().sum() for x in graded)
