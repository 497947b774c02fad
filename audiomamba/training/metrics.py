"""Clip classification metrics from scikit-learn, over whole splits.

Average precision is undefined for a class without positive clips, the area
under the ROC curve for one with only positive or only negative clips.  Such
classes are left out of the means; `class_table` shows them empty.
"""

import math
from pathlib import Path

import numpy as np
import torch
from speechbrain.utils.logger import get_logger

from audiomamba.dataio.files import write_csv
from audiomamba.training.environment import all_gather

logger = get_logger(__name__)

ACTIVATIONS = {"softmax": lambda x: x.softmax(-1), "sigmoid": torch.sigmoid}


def top_k_accuracy(scores, targets, k=1):
    """Share of clips whose class is among the ``k`` highest scores.

    Ties go to the lower class index.

    Arguments
    ---------
    scores : np.ndarray
        [clips, classes].
    targets : np.ndarray
        Class indices [clips].
    k : int
        Number of classes that count.

    Returns
    -------
    float
        In [0, 1].

    Example
    -------
    >>> scores = np.array([[0.1, 0.9], [0.6, 0.4]])
    >>> top_k_accuracy(scores, np.array([1, 1]))
    0.5
    """
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((ranked == targets[:, None]).any(axis=1).mean())


def average_precisions(scores, rows):
    """Average precision per class; NaN for classes without a positive.

    Arguments
    ---------
    scores : np.ndarray
        [clips, classes].
    rows : np.ndarray
        0 or 1, [clips, classes].

    Returns
    -------
    np.ndarray
        [classes].

    Example
    -------
    >>> scores = np.array([[0.9, 0.5], [0.2, 0.5]])
    >>> average_precisions(scores, np.array([[1, 0], [0, 0]]))
    array([ 1., nan])
    """
    from sklearn.metrics import average_precision_score

    result = np.full(rows.shape[1], np.nan)
    for index in np.flatnonzero(rows.any(axis=0)):
        result[index] = average_precision_score(
            rows[:, index], scores[:, index]
        )
    return result


def areas_under_curve(scores, rows):
    """ROC area per class; NaN for classes with one kind of clip only.

    Arguments
    ---------
    scores : np.ndarray
        [clips, classes].
    rows : np.ndarray
        0 or 1, [clips, classes].

    Returns
    -------
    np.ndarray
        [classes].

    Example
    -------
    >>> scores = np.array([[0.9, 0.5], [0.2, 0.5]])
    >>> areas_under_curve(scores, np.array([[1, 1], [0, 1]]))
    array([ 1., nan])
    """
    from sklearn.metrics import roc_auc_score

    result = np.full(rows.shape[1], np.nan)
    mixed = rows.any(axis=0) & ~rows.all(axis=0)
    for index in np.flatnonzero(mixed):
        result[index] = roc_auc_score(rows[:, index], scores[:, index])
    return result


def d_prime(auc):
    """Separation of two unit normal distributions with that ROC area.

    Arguments
    ---------
    auc : float
        Mean area under the ROC curve.

    Returns
    -------
    float
        sqrt(2) times the normal quantile of the area; infinite at 0 and 1.

    Example
    -------
    >>> d_prime(0.5)
    0.0
    """
    from statistics import NormalDist

    if auc in (0.0, 1.0):
        return math.copysign(math.inf, auc - 0.5)
    return math.sqrt(2) * NormalDist().inv_cdf(auc)


def mean_of_defined(values):
    """Mean of the entries that are not NaN; NaN if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan


class ClassificationMetrics:
    """Collects the scores of a split and computes its metrics at the end.

    Arguments
    ---------
    names : list of str
        From ``accuracy``, ``top5``, ``mAP``, ``mAUC``, ``d_prime``; the first
        chooses the epoch and is the headline of the results.
    activation : str
        From logits to scores: ``softmax`` for cross-entropy, ``sigmoid`` for
        binary cross-entropy.

    Example
    -------
    >>> metrics = ClassificationMetrics(["accuracy", "top5"])
    >>> logits = torch.tensor([[2.0, 0.0], [3.0, 1.0]])
    >>> metrics.append(["a", "b"], logits, torch.tensor([0, 1]), loss=0.7)
    >>> summary = metrics.summarise()
    >>> summary["accuracy"], summary["top5"], round(summary["loss"], 3)
    (0.5, 1.0, 0.7)
    """

    NAMES = ("accuracy", "top5", "mAP", "mAUC", "d_prime")
    higher_is_better = True

    def __init__(self, names, activation="softmax"):
        unknown = [name for name in names if name not in self.NAMES]
        if unknown or not names:
            raise ValueError(
                f"metric names {list(names)}: choose from {list(self.NAMES)}."
            )
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation {activation!r}: choose from {list(ACTIVATIONS)}."
            )
        self.names = list(names)
        self.activation = activation
        self.clear()

    @property
    def headline(self):
        """Name of the metric that chooses the epoch."""
        return self.names[0]

    def clear(self):
        """Drop all clips."""
        self.ids, self.scores, self.targets = [], [], []
        self.loss_sum = 0.0

    def append(self, ids, logits, targets, loss):
        """Add one batch.

        Arguments
        ---------
        ids : list of str
            Names of the clips.
        logits : torch.Tensor
            [B, C].
        targets : torch.Tensor
            Class indices [B] or multi-hot rows [B, C].
        loss : float
            Mean loss of the batch.
        """
        scores = ACTIVATIONS[self.activation](logits.detach().float())
        self.ids.extend(ids)
        self.scores.append(scores.cpu().numpy())
        self.targets.append(targets.cpu().numpy())
        self.loss_sum += float(loss) * len(ids)

    def gather(self):
        """All-gather what the ranks of a distributed run collected."""
        own = (self.ids, self.scores, self.targets, self.loss_sum)
        ids, scores, targets, sums = zip(*all_gather(own))
        self.ids, self.scores, self.targets = (
            [entry for part in parts for entry in part]
            for parts in (ids, scores, targets)
        )
        self.loss_sum = sum(sums)

    def arrays(self):
        """Collected clips as arrays.

        Returns
        -------
        tuple
            ids (list), scores [clips, classes], targets ([clips] or
            [clips, classes]).

        Raises
        ------
        ValueError
            If nothing was collected, or a score is not finite.
        """
        if not self.ids:
            raise ValueError("no clip was evaluated: the split is empty.")
        scores = np.concatenate(self.scores)
        broken = np.flatnonzero(~np.isfinite(scores).all(axis=1))
        if broken.size:
            raise ValueError(
                f"{broken.size} of {len(scores)} clips have scores that are "
                f"not finite, the first is {self.ids[broken[0]]!r}. Either "
                "the training diverged (lower lr, or set max_grad_norm) or "
                "this clip is damaged."
            )
        return self.ids, scores, np.concatenate(self.targets)

    def summarise(self):
        """Compute the chosen metrics and the loss.

        Returns
        -------
        dict
            Plain floats by name, ``loss`` included; with class-wise metrics
            also ``n_classes_scored``, the number of classes in the mean.
        """
        _, scores, targets = self.arrays()
        values, summary = {}, {}
        if {"accuracy", "top5"} & set(self.names):
            indices = _single_labels(targets)
            values["accuracy"] = top_k_accuracy(scores, indices)
            values["top5"] = top_k_accuracy(scores, indices, 5)
        if {"mAP", "mAUC", "d_prime"} & set(self.names):
            rows = multi_hot(targets, scores.shape[1])
            precisions = average_precisions(scores, rows)
            values["mAP"] = mean_of_defined(precisions)
            values["mAUC"] = mean_of_defined(areas_under_curve(scores, rows))
            values["d_prime"] = d_prime(values["mAUC"])
            summary["n_classes_scored"] = int((~np.isnan(precisions)).sum())
        summary.update({name: values[name] for name in self.names})
        return {**summary, "loss": self.loss_sum / len(self.ids)}

    def class_table(self, labels):
        """One row per class.

        Arguments
        ---------
        labels : list of str
            Names of the classes, by index.

        Returns
        -------
        pandas.DataFrame
            ``label``, ``clips``, ``average_precision``, ``auc`` and, for
            single-label targets, ``recall`` and ``precision``.
        """
        import pandas as pd

        _, scores, targets = self.arrays()
        rows = multi_hot(targets, scores.shape[1])
        table = pd.DataFrame(
            {
                "label": labels,
                "clips": rows.sum(axis=0).astype(int),
                "average_precision": average_precisions(scores, rows),
                "auc": areas_under_curve(scores, rows),
            }
        )
        if (rows.sum(axis=1) == 1).all():
            from sklearn.metrics import precision_recall_fscore_support

            precision, recall, _, _ = precision_recall_fscore_support(
                rows.argmax(axis=1),
                scores.argmax(axis=1),
                labels=np.arange(len(labels)),
                zero_division=np.nan,
            )
            table["recall"], table["precision"] = recall, precision
        return table

    def write_reports(self, folder, labels):
        """Write ``classes.csv`` and, for up to 50 classes, ``confusion.png``.

        Arguments
        ---------
        folder : str or Path
            Where to.
        labels : list of str
            Names of the classes, by index.
        """
        write_csv(Path(folder, "classes.csv"), self.class_table(labels))
        try:
            self.plot_confusion(labels, Path(folder, "confusion.png"))
        except ModuleNotFoundError as error:
            logger.info(f"no confusion.png: {error}; the extra 'plots' has it.")

    def plot_confusion(self, labels, path, max_classes=50):
        """Plot the confusion matrix; needs matplotlib (extra ``plots``).

        Arguments
        ---------
        labels : list of str
            Names of the classes, by index.
        path : str
            Picture to write.
        max_classes : int
            Nothing is drawn for more classes, nor if a clip has several
            labels or none.

        Returns
        -------
        bool
            Whether a picture was drawn.
        """
        _, scores, targets = self.arrays()
        several = targets.ndim == 2 and ((targets > 0).sum(axis=1) != 1).any()
        if several or len(labels) > max_classes:
            return False
        from matplotlib.figure import Figure
        from sklearn.metrics import ConfusionMatrixDisplay

        side = 3 + 0.3 * len(labels)
        figure = Figure(figsize=(side, side), layout="constrained")
        ConfusionMatrixDisplay.from_predictions(
            _single_labels(targets),
            scores.argmax(axis=1),
            labels=np.arange(len(labels)),
            display_labels=labels,
            normalize="true",
            include_values=len(labels) <= 12,
            values_format=".2f",
            xticks_rotation="vertical",
            ax=figure.add_subplot(),
            cmap="Blues",
        )
        figure.savefig(path, dpi=120)
        return True


def multi_hot(targets, n_classes):
    """Targets as boolean rows [clips, classes].

    Example
    -------
    >>> multi_hot(np.array([1, 0]), 2).astype(int)
    array([[0, 1],
           [1, 0]])
    """
    if targets.ndim == 1:
        return np.eye(n_classes, dtype=bool)[targets]
    return targets > 0


def _single_labels(targets):
    """Class indices; refuses rows that have not exactly one label."""
    if targets.ndim == 1:
        return targets
    if not ((targets > 0).sum(axis=1) == 1).all():
        raise ValueError(
            "accuracy, top5 and the confusion matrix need one label per clip; "
            "use mAP for clips with several."
        )
    return targets.argmax(axis=1)
