"""Metrics of clip classification over whole splits, and their reports."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from speechbrain.utils.logger import get_logger

from audiomamba.dataio.lists import LABEL_SEPARATOR
from audiomamba.dataio.tables import check_table_format, write_csv, write_table
from audiomamba.nnet.lengths import check_choice
from audiomamba.nnet.probabilities import ACTIVATIONS, default_activation
from audiomamba.pictures import confusion_picture
from audiomamba.training.measures import (
    areas_under_curve,
    average_precisions,
    d_prime,
    mean_of_defined,
    multi_hot,
    top_k_accuracy,
)
from audiomamba.training.results import readable
from audiomamba.training.runs.environment import all_gather
from audiomamba.training.runs.folder import RunError

logger = get_logger(__name__)


def check_scores(ids: list[str], scores: np.ndarray) -> None:
    """Refuse scores that are NaN or infinite.

    Arguments
    ---------
    ids : list of str
        The clips.
    scores : np.ndarray
        [clips, classes].

    Raises
    ------
    RunError
        Naming the first clip.

    Example
    -------
    >>> check_scores(["a", "b"], np.array([[0.5], [np.nan]]))
    Traceback (most recent call last):
        ...
    audiomamba.training.runs.folder.RunError: 1 of 2 clips have scores that \
are not finite; the first is 'b'. Check it, or lower lr or set max_grad_norm \
if training diverged.
    """
    broken = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if broken.size:
        raise RunError(
            f"{broken.size} of {len(ids)} clips have scores that are not "
            f"finite; the first is {ids[broken[0]]!r}. Check it, or lower lr "
            "or set max_grad_norm if training diverged."
        )


class ClassificationMetrics:
    """Collects the scores of a split and computes its metrics.

    Arguments
    ---------
    names : list of str, optional
        Out of ``accuracy``, ``top5``, ``mAP``, ``mAUC``, ``d_prime``; the first
        one selects the best epoch and is the headline of the results.  By
        default accuracy and top5, with ``multi_label`` mAP and mAUC.
    activation : str, optional
        Maps logits to scores: ``softmax`` for cross-entropy, ``sigmoid`` for
        binary cross-entropy, which is the default with ``multi_label``.
    multi_label : bool
        Whether a clip has any number of labels.
    test_scores : str, optional
        ``csv`` or ``parquet``: a file with the scores of every clip is part of
        the reports.

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

    def __init__(
        self,
        names: list[str] | None = None,
        activation: str | None = None,
        multi_label: bool = False,
        test_scores: str | None = None,
    ):
        if names is None:
            names = ["mAP", "mAUC"] if multi_label else ["accuracy", "top5"]
        activation = activation or default_activation(multi_label)
        unknown = [name for name in names if name not in self.NAMES]
        if unknown or not names:
            raise ValueError(
                f"metric names {list(names)}: choose from {list(self.NAMES)}."
            )
        check_choice("activation", activation, ACTIVATIONS)
        self.names = list(names)
        self.activation = activation
        self.test_scores = test_scores and check_table_format(test_scores)
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
            If no clip was collected.
        RunError
            If a score is not finite; names the clip.
        """
        if not self.ids:
            raise ValueError("No clip was evaluated: the split is empty.")
        scores = np.concatenate(self.scores)
        check_scores(self.ids, scores)
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

    def score_table(self, labels: list[str]) -> pd.DataFrame:
        """Return the scores of every clip.

        Arguments
        ---------
        labels : list of str
            Names of the classes, by index.

        Returns
        -------
        pandas.DataFrame
            ``ID``, sorted; ``target``, the names of its classes, joined by
            ``;``; and per class its score, ``score:<name>``, in [0, 1].
        """
        ids, scores, targets = self.arrays()
        rows = multi_hot(targets, len(labels))
        names = [
            LABEL_SEPARATOR.join(labels[index] for index in np.flatnonzero(row))
            for row in rows
        ]
        columns = [f"score:{name}" for name in labels]
        table = pd.DataFrame(scores, columns=columns)
        table.insert(0, "target", names)
        table.insert(0, "ID", ids)
        return table.sort_values("ID", ignore_index=True)

    def write_reports(self, folder: str | Path, labels: list[str]) -> None:
        """Write scores, if wanted, ``classes.csv`` and ``confusion.png``.

        Arguments
        ---------
        folder : str or Path
            Folder to write to.
        labels : list of str
            Names of the classes, by index.
        """
        if self.test_scores:
            path = Path(folder, f"scores.{self.test_scores}")
            write_table(path, self.score_table(labels))
        write_csv(Path(folder, "classes.csv"), self.class_table(labels))
        try:
            self.plot_confusion(labels, Path(folder, "confusion.png"))
        except ModuleNotFoundError as error:
            logger.info(f"No confusion.png: {error}; install audiomamba[plots]")
        except (ValueError, RuntimeError, OSError) as error:
            # the results count more than their picture
            logger.warning(f"No confusion.png: {error}")

    def plot_confusion(self, labels: list[str], path: str | Path) -> bool:
        """Plot the confusion matrix; needs matplotlib (extra ``plots``).

        Arguments
        ---------
        labels : list of str
            Names of the classes, by index.
        path : str or Path
            Image file to write.

        Returns
        -------
        bool
            Whether an image was written: not for multi-label clips.
        """
        _, scores, targets = self.arrays()
        if not _one_label_each(targets):
            return False
        value = readable(self.headline, self.summarise()[self.headline])
        confusion_picture(
            path,
            _single_labels(targets),
            scores.argmax(axis=1),
            labels,
            f"Confusion matrix: {self.headline} {value}, {len(scores)} clips",
        )
        return True


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
