"""Word error rate over whole splits, by SpeechBrain's metric."""

from pathlib import Path

from speechbrain.utils.metric_stats import ErrorRateStats

from audiomamba.dataio.files import replaced_file
from audiomamba.training.environment import all_gather


class WordErrors:
    """Collects the words of a split and computes the error rate at the end.

    Example
    -------
    >>> errors = WordErrors()
    >>> errors.append(["a"], [["one", "two"]], [["one", "six"]], loss=0.5)
    >>> errors.summarise()["WER"]
    50.0
    """

    headline = "WER"
    higher_is_better = False

    def __init__(self):
        self.clear()

    def clear(self):
        """Drop all clips."""
        self.clips, self.loss_sum = [], 0.0

    def append(self, ids, found, wanted, loss):
        """Add one batch.

        Arguments
        ---------
        ids : list of str
            Names of the clips.
        found, wanted : list of list of str
            Words of the model's transcripts and of the references.
        loss : float
            Mean loss of the batch.
        """
        self.clips += zip(ids, found, wanted)
        self.loss_sum += float(loss) * len(ids)

    def gather(self):
        """All-gather what the ranks of a distributed run collected."""
        parts = all_gather((self.clips, self.loss_sum))
        self.clips = [clip for clips, _ in parts for clip in clips]
        self.loss_sum = sum(loss for _, loss in parts)

    def _statistics(self):
        statistics = ErrorRateStats()
        statistics.append(*map(list, zip(*sorted(self.clips))))
        return statistics

    def summarise(self):
        """Compute the word error rate.

        Returns
        -------
        dict
            ``WER`` in percent, the error counts, and the mean ``loss``.
        """
        found = self._statistics().summarize()
        return {**found, "loss": self.loss_sum / len(self.clips)}

    def write_reports(self, folder, labels):
        """Write ``wer.txt``: the error rate and the alignment of every clip.

        Arguments
        ---------
        folder : str or Path
            The output folder.
        labels : list of str
            The tokens; not used.
        """
        with replaced_file(Path(folder, "wer.txt")) as draft:
            with open(draft, "w", encoding="utf-8") as file:
                self._statistics().write_stats(file)
