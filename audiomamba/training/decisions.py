"""From probabilities to yes or no: thresholds and a temperature."""

import copy
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar
from speechbrain.utils.logger import get_logger

from audiomamba.nnet.probabilities import scaled
from audiomamba.pictures import precision_recall_picture
from audiomamba.training.measures import f1_scores, multi_hot
from audiomamba.training.metrics import ClassificationMetrics

logger = get_logger(__name__)

# The threshold of a class that no clip has, or every one
UNKNOWN = 0.5
_PICTURE = "precision_recall.png"


def best_temperature(scores: np.ndarray, rows: np.ndarray) -> float:
    """Find the temperature with the least binary cross-entropy.

    Arguments
    ---------
    scores : np.ndarray
        Probabilities, [clips, classes].
    rows : np.ndarray
        Whether a clip has a class, [clips, classes].

    Returns
    -------
    float
        In [1/20, 20].

    Example
    -------
    >>> scores, rows = np.full((4, 1), 0.99), np.array([[1], [1], [1], [0]])
    >>> round(float(scaled(scores, best_temperature(scores, rows))[0, 0]), 2)
    0.75
    """

    def loss(log_temperature):
        p = scaled(scores, np.exp(log_temperature))
        return -np.log(np.where(rows > 0, p, 1 - p)).mean()

    limit = np.log(20)
    found = minimize_scalar(loss, bounds=(-limit, limit), method="bounded")
    return float(np.exp(found.x))


def best_threshold(scores: np.ndarray, positive: np.ndarray) -> float:
    """Find the threshold of a class with the best F1.

    Arguments
    ---------
    scores : np.ndarray
        Probabilities of the class, [clips].
    positive : np.ndarray
        Whether a clip has it, [clips].

    Returns
    -------
    float
        Half way between the lowest score that is a yes and the next lower
        one; `UNKNOWN` if no clip has the class, or every one.

    Example
    -------
    >>> best_threshold(np.array([0.9, 0.7, 0.4, 0.1]), np.array([1, 0, 1, 0]))
    0.25
    """
    n_positive = int((positive > 0).sum())
    if n_positive in (0, len(positive)):
        return UNKNOWN
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(positive[order] > 0)
    f_scores = 2 * hits / (np.arange(1, len(scores) + 1) + n_positive)
    # Clips of equal scores are decided together
    last = np.append(ranked[:-1] > ranked[1:], True)
    best = int(np.argmax(np.where(last, f_scores, -1.0)))
    lower = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + lower) / 2)


def learn_decisions(brain, dataset, loader_kwargs) -> dict | None:
    """Choose a temperature and a threshold per class on a validation split.

    Arguments
    ---------
    brain : RecipeBrain
        With the weights of the headline loaded.
    dataset : DynamicItemDataset or None
        The validation split.
    loader_kwargs : dict
        Options of its loader.

    Returns
    -------
    dict or None
        ``temperature``, and ``thresholds`` of the probabilities that it
        scales, by class index; None if clips have one label each, or there is
        no validation split.
    """
    metrics = brain.hparams.metrics
    multi_label = isinstance(metrics, ClassificationMetrics) and (
        metrics.activation == "sigmoid"
    )
    if dataset is None or not multi_label:
        return None
    # The metrics keep the scores of the test for their reports
    brain.hparams.metrics = copy.copy(metrics)
    brain.score(dataset, "valid", loader_kwargs)
    _, scores, targets = brain.hparams.metrics.arrays()
    brain.hparams.metrics = metrics
    rows = multi_hot(targets, scores.shape[1])
    temperature = best_temperature(scores, rows)
    scores = scaled(scores, temperature)
    return {
        "temperature": temperature,
        "thresholds": [
            best_threshold(score, row) for score, row in zip(scores.T, rows.T)
        ],
    }


def _calibrated(metrics, decisions):
    """Return the scaled probabilities, and which clip has which class."""
    _, scores, targets = metrics.arrays()
    rows = multi_hot(targets, scores.shape[1])
    return scaled(scores, decisions["temperature"]), rows


def f1_of_decisions(metrics: ClassificationMetrics, decisions: dict) -> dict:
    """Compute the F1 on the test clips, by the thresholds and by one half.

    Arguments
    ---------
    metrics : ClassificationMetrics
        With the scores of the test.
    decisions : dict
        From `learn_decisions`.

    Returns
    -------
    dict
        ``thresholds`` and ``one_half`` -> ``macro`` and ``micro``, see
        `f1_scores`. The temperature does not move one half.
    """
    scores, rows = _calibrated(metrics, decisions)
    return {
        "thresholds": f1_scores(scores >= decisions["thresholds"], rows),
        "one_half": f1_scores(scores >= 0.5, rows),
    }


def draw_decisions(
    metrics: ClassificationMetrics,
    decisions: dict,
    folder: str | Path,
    labels: list[str],
) -> None:
    """Draw the precision and recall of the test, with the thresholds.

    Arguments
    ---------
    metrics : ClassificationMetrics
        With the scores of the test.
    decisions : dict
        From `learn_decisions`.
    folder : str or Path
        For ``precision_recall.png``, of the classes with the most clips.
    labels : list of str
        Class names, by index.
    """
    scores, rows = _calibrated(metrics, decisions)
    try:
        precision_recall_picture(
            Path(folder, _PICTURE),
            scores,
            rows,
            labels,
            decisions["thresholds"],
        )
    except ModuleNotFoundError as error:
        logger.info(f"No {_PICTURE}: {error}; install audiomamba[plots]")
    except (ValueError, RuntimeError, OSError) as error:
        # the results count more than their picture
        logger.warning(f"No {_PICTURE}: {error}")
