"""Metrics of clip classification over whole splits.

Average precision is undefined for classes without positive clips, the ROC AUC
also for those without negative ones.  They are left out of the means.
"""

import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
import torch
from speechbrain.utils.logger import get_logger

from audiomamba.dataio.files import write_csv
from audiomamba.nnet.lengths import check_choice
from audiomamba.pictures import confusion_picture
from audiomamba.training.environment import all_gather
from audiomamba.training.results import readable

logger = get_logger(__name__)

ACTIVATIONS = {"softmax": lambda x: x.softmax(-1), "sigmoid": torch.sigmoid}


def top_k_accuracy(
    scores: np.ndarray, targets: np.ndarray, k: int = 1
) -> float:
    """Compute the fraction of clips whose class has one of the k top scores.

    Ties are resolved in favour of the lower class index.

    Arguments
    ---------
    scores : np.ndarray
        [clips, classes].
    targets : np.ndarray
        Class indices [clips].
    k : int
        Number of top scores.

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


def average_precisions(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Compute the average precision per class, NaN without positive clips.

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

    return _per_class(average_precision_score, scores, rows, rows.any(axis=0))


def areas_under_curve(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Compute the ROC AUC per class, NaN without positive or negative clips.

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

    mixed = rows.any(axis=0) & ~rows.all(axis=0)
    return _per_class(roc_auc_score, scores, rows, mixed)


def _per_class(metric, scores, rows, defined):
    """Return the metric per class, NaN where it is not defined."""
    result = np.full(rows.shape[1], np.nan)
    for index in np.flatnonzero(defined):
        result[index] = metric(rows[:, index], scores[:, index])
    return result


def d_prime(auc: float) -> float:
    """Compute d', the distance of two unit normal distributions with this AUC.

    Arguments
    ---------
    auc : float
        Mean ROC AUC.

    Returns
    -------
    float
        sqrt(2) times the normal quantile of ``auc``; infinite at 0 and 1.

    Example
    -------
    >>> d_prime(0.5)
    0.0
    """
    if auc in (0.0, 1.0):
        return math.copysign(math.inf, auc - 0.5)
    return math.sqrt(2) * NormalDist().inv_cdf(auc)


def mean_of_defined(values: np.ndarray) -> float:
    """Return the mean of the entries that are not NaN, or NaN."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan


class ClassificationMetrics:
    """Collects the scores of a split and computes its metrics.

    Arguments
    ---------
    names : list of str
        Out of ``accuracy``, ``top5``, ``mAP``, ``mAUC``, ``d_prime``; the first
        one selects the best epoch and is the headline of the results.
    activation : str
        Maps logits to scores: ``softmax`` for cross-entropy, ``sigmoid`` for
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

    def __init__(self, names: list[str], activation: str = "softmax"):
        unknown = [name for name in names if name not in self.NAMES]
        if unknown or not names:
            raise ValueError(
                f"metric names {list(names)}: choose from {list(self.NAMES)}."
            )
        check_choice("activation", activation, ACTIVATIONS)
        self.names = list(names)
        self.activation = activation
        self.clear()

    @property
    def headline(self) -> str:
        """Name of the metric that selects the best epoch."""
        return self.names[0]

    def clear(self) -> None:
        """Remove all clips."""
        self.ids, self.scores, self.targets = [], [], []
        self.loss_sum = 0.0

    def append(
        self,
        ids: list[str],
        logits: torch.Tensor,
        targets: torch.Tensor,
        loss: float | torch.Tensor,
    ) -> None:
        """Add one batch.

        Arguments
        ---------
        ids : list of str
            IDs of the clips.
        logits : torch.Tensor
            [B, C].
        targets : torch.Tensor
            Class indices [B] or multi-hot rows [B, C].
        loss : float or torch.Tensor
            Mean loss of the batch.
        """
        scores = ACTIVATIONS[self.activation](logits.detach().float())
        self.ids.extend(ids)
        self.scores.append(scores.cpu().numpy())
        self.targets.append(targets.cpu().numpy())
        self.loss_sum += float(loss) * len(ids)

    def gather(self) -> None:
        """All-gather the scores across ranks."""
        own = (self.ids, self.scores, self.targets, self.loss_sum)
        ids, scores, targets, sums = zip(*all_gather(own))
        self.ids, self.scores, self.targets = (
            [entry for part in parts for entry in part]
            for parts in (ids, scores, targets)
        )
        self.loss_sum = sum(sums)

    def arrays(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Return the collected clips as arrays.

        Returns
        -------
        tuple
            ids (list), scores [clips, classes], targets ([clips] or
            [clips, classes]).

        Raises
        ------
        ValueError
            If no clip was collected, or a score is not finite.
        """
        if not self.ids:
            raise ValueError("No clip was evaluated: the split is empty.")
        scores = np.concatenate(self.scores)
        broken = np.flatnonzero(~np.isfinite(scores).all(axis=1))
        if broken.size:
            raise ValueError(
                f"{broken.size} of {len(scores)} clips have scores that are "
                f"not finite; the first is {self.ids[broken[0]]!r}. Check it, "
                "or lower lr or set max_grad_norm if training diverged."
            )
        return self.ids, scores, np.concatenate(self.targets)

    def summarise(self) -> dict[str, float]:
        """Compute the chosen metrics and the mean loss.

        Returns
        -------
        dict
            Metrics by name, ``loss`` and, with class-wise metrics,
            ``n_classes_scored``: the number of classes in the mean.
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

    def class_table(self, labels: list[str]) -> pd.DataFrame:
        """Compute metrics per class.

        Arguments
        ---------
        labels : list of str
            Names of the classes, by index.

        Returns
        -------
        pandas.DataFrame
            ``label``, ``clips``, ``average_precision``, ``auc`` and, for
            single-label targets, ``recall`` and ``precision`` per class.
        """
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
        if _one_label_each(rows):
            from sklearn.metrics import precision_recall_fscore_support

            precision, recall, _, _ = precision_recall_fscore_support(
                rows.argmax(axis=1),
                scores.argmax(axis=1),
                labels=np.arange(len(labels)),
                zero_division=np.nan,
            )
            table["recall"], table["precision"] = recall, precision
        return table

    def write_reports(self, folder: str | Path, labels: list[str]) -> None:
        """Write ``classes.csv`` and, for up to 50 classes, ``confusion.png``.

        Arguments
        ---------
        folder : str or Path
            Folder to write to.
        labels : list of str
            Names of the classes, by index.
        """
        write_csv(Path(folder, "classes.csv"), self.class_table(labels))
        try:
            self.plot_confusion(labels, Path(folder, "confusion.png"))
        except ModuleNotFoundError as error:
            logger.info(f"No confusion.png: {error}; install audiomamba[plots]")
        except (ValueError, RuntimeError, OSError) as error:
            # the results count more than their picture
            logger.warning(f"No confusion.png: {error}")

    def plot_confusion(
        self, labels: list[str], path: str | Path, max_classes: int = 50
    ) -> bool:
        """Plot the confusion matrix; needs matplotlib (extra ``plots``).

        Arguments
        ---------
        labels : list of str
            Names of the classes, by index.
        path : str or Path
            Image file to write.
        max_classes : int
            Nothing is plotted for more classes, or for multi-label clips.

        Returns
        -------
        bool
            Whether an image was written.
        """
        _, scores, targets = self.arrays()
        if len(labels) > max_classes or not _one_label_each(targets):
            return False
        value = readable(self.headline, self.summarise()[self.headline])
        confusion_picture(
            path,
            _single_labels(targets),
            scores.argmax(axis=1),
            labels,
            f"{self.headline} {value}, {len(scores)} clips",
        )
        return True


def multi_hot(targets: np.ndarray, n_classes: int) -> np.ndarray:
    """Convert targets to boolean rows [clips, classes].

    Example
    -------
    >>> multi_hot(np.array([1, 0]), 2).astype(int)
    array([[0, 1],
           [1, 0]])
    """
    if targets.ndim == 1:
        return np.eye(n_classes, dtype=bool)[targets]
    return targets > 0


def _one_label_each(targets):
    """Return whether every clip has exactly one label."""
    return targets.ndim == 1 or ((targets > 0).sum(axis=1) == 1).all()


def _single_labels(targets):
    """Return class indices; every row must have exactly one label."""
    if not _one_label_each(targets):
        raise ValueError(
            "accuracy, top5 and the confusion matrix need exactly one label "
            "per clip; use mAP for multi-label data."
        )
    return targets if targets.ndim == 1 else targets.argmax(axis=1)
