"""Measures of classification over arrays of scores, [clips, classes].

Average precision is undefined for classes without positive clips, the ROC AUC
also for those without negative ones.  They are left out of the means.
"""

import math
from statistics import NormalDist

import numpy as np


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


def f1_scores(said: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """Compute the F1 of decisions: of each class, and of all together.

    Arguments
    ---------
    said : np.ndarray
        Whether a clip is said to have a class, [clips, classes].
    rows : np.ndarray
        Whether it has, [clips, classes].

    Returns
    -------
    dict
        ``macro``, the mean over the classes with positive clips (NaN without
        any), and ``micro``, over all decisions.

    Example
    -------
    >>> rows = np.array([[1, 0, 0], [1, 1, 0]])
    >>> said = np.array([[1, 0, 0], [0, 1, 1]])
    >>> {name: round(f1, 3) for name, f1 in f1_scores(said, rows).items()}
    {'macro': 0.833, 'micro': 0.667}
    """
    from sklearn.metrics import f1_score

    each = _per_class(f1_score, said, rows, rows.any(axis=0))
    together = f1_score(rows.ravel(), said.ravel(), zero_division=0.0)
    return {"macro": mean_of_defined(each), "micro": float(together)}


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
