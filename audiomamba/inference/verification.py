"""Speaker verification: scores of trials, score normalisation, EER, minDCF.

Memory is bounded: one embedding per file and one score per trial, the rest in
blocks. EER and minDCF sort the scores, O(n log n); a table of thresholds x
scores would take gigabytes for the trial lists of VoxCeleb1.
"""

import numpy as np

# Rows per block
_BLOCK = 4096


def error_rates(
    labels: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute miss and false-alarm rates at all distinct thresholds.

    Arguments
    ---------
    labels : np.ndarray
        1 for same-speaker trials, 0 for different-speaker trials, [n].
    scores : np.ndarray
        [n]; a trial is accepted if its score exceeds the threshold.

    Returns
    -------
    thresholds : np.ndarray
        Minus infinity and all distinct scores, ascending.
    miss : np.ndarray
        Fraction of same-speaker trials that are rejected.
    false_alarm : np.ndarray
        Fraction of different-speaker trials that are accepted.

    Raises
    ------
    ValueError
        If one kind of trial is missing, or a score is not finite.

    Example
    -------
    >>> labels, scores = np.array([1, 0, 1, 0]), np.array([3.0, 1.0, 2.0, 2.0])
    >>> thresholds, miss, false_alarm = error_rates(labels, scores)
    >>> thresholds.tolist(), miss.tolist(), false_alarm.tolist()
    ([-inf, 1.0, 2.0, 3.0], [0.0, 0.0, 0.5, 1.0], [1.0, 0.5, 0.0, 0.0])
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    n_same, n_all = int((labels == 1).sum()), len(labels)
    if not 0 < n_same < n_all:
        raise ValueError(
            f"{n_same} of {n_all} trials are same-speaker trials: the error "
            "rates need both kinds, labels 1 and 0."
        )
    if not np.isfinite(scores).all():
        raise ValueError(
            f"{(~np.isfinite(scores)).sum()} of {n_all} scores are not finite."
        )
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    # Equal scores are rejected together: keep the last of them
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    same_below = np.cumsum(labels[order] == 1)[last]
    all_below = last + 1
    miss = same_below / n_same
    false_alarm = 1 - (all_below - same_below) / (n_all - n_same)
    return (
        np.append(-np.inf, ordered[last]),
        np.append(0.0, miss),
        np.append(1.0, false_alarm),
    )


def equal_error_rate(
    labels: np.ndarray, scores: np.ndarray
) -> tuple[float, float]:
    """Compute the equal error rate (EER).

    It is the mean of miss and false-alarm rate at the threshold where they are
    closest, like SpeechBrain's ``EER``.

    Arguments
    ---------
    labels, scores : np.ndarray
        See `error_rates`.

    Returns
    -------
    eer : float
        In [0, 1].
    threshold : float
        The threshold where it is reached.

    Example
    -------
    >>> labels = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    >>> scores = np.array([0.6, 0.7, 0.8, 0.2, 0.4, 0.3, 0.65, 0.1])
    >>> equal_error_rate(labels, scores)
    (0.25, 0.4)
    """
    thresholds, miss, false_alarm = error_rates(labels, scores)
    best = np.abs(false_alarm - miss).argmin()
    return float(miss[best] + false_alarm[best]) / 2, float(thresholds[best])


def min_dcf(
    labels: np.ndarray,
    scores: np.ndarray,
    p_target: float = 0.01,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> tuple[float, float]:
    """Compute the normalised minimum detection cost (minDCF).

    The minimum over all thresholds of c_miss p_target miss + c_fa (1 -
    p_target) false_alarm, divided by the cost of the better trivial system,
    which accepts or rejects all trials (NIST SRE). SpeechBrain's ``minDCF`` is
    not normalised: for ``p_target=0.01`` it is a hundredth of this.

    Arguments
    ---------
    labels, scores : np.ndarray
        See `error_rates`.
    p_target : float
        Prior probability of a same-speaker trial, in (0, 1).
    c_miss, c_fa : float
        Costs of a miss and of a false alarm.

    Returns
    -------
    cost : float
        In [0, 1].
    threshold : float
        The threshold where it is reached; minus infinity accepts all trials.

    Example
    -------
    >>> labels = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    >>> scores = np.array([0.6, 0.7, 0.8, 0.2, 0.4, 0.3, 0.65, 0.1])
    >>> min_dcf(labels, scores)
    (0.5, 0.65)
    """
    if not 0 < p_target < 1:
        raise ValueError(f"p_target is {p_target}; it must be between 0 and 1.")
    thresholds, miss, false_alarm = error_rates(labels, scores)
    of_miss, of_fa = c_miss * p_target, c_fa * (1 - p_target)
    costs = of_miss * miss + of_fa * false_alarm
    best = costs.argmin()
    cost = float(costs[best]) / min(of_miss, of_fa)
    return cost, float(thresholds[best])


def error_figures(
    labels: np.ndarray, scores: np.ndarray, **costs: float
) -> dict[str, float]:
    """Compute EER and minDCF with their thresholds.

    Arguments
    ---------
    labels, scores : np.ndarray
        See `error_rates`.
    **costs : float
        ``p_target``, ``c_miss``, ``c_fa``; see `min_dcf`.

    Returns
    -------
    dict
        ``EER``, ``EER_threshold``, ``minDCF``, ``minDCF_threshold``.

    Example
    -------
    >>> error_figures(np.array([1, 0]), np.array([2.0, 1.0]))["EER"]
    0.0
    """
    eer, eer_threshold = equal_error_rate(labels, scores)
    cost, cost_threshold = min_dcf(labels, scores, **costs)
    return {
        "EER": eer,
        "EER_threshold": eer_threshold,
        "minDCF": cost,
        "minDCF_threshold": cost_threshold,
    }


def cosine_scores(
    embeddings: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Compute the cosine similarity of each trial.

    Arguments
    ---------
    embeddings : np.ndarray
        One per file, [n_files, D], L2-normalised; may be memory-mapped.
    first, second : np.ndarray
        Indices of each trial's files, [n].

    Returns
    -------
    np.ndarray
        [n], float64.

    Example
    -------
    >>> files = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> cosine_scores(files, [0, 0], [1, 2]).tolist()
    [0.6, 0.0]
    """
    first, second = np.asarray(first), np.asarray(second)
    scores = np.empty(len(first))
    for start in range(0, len(first), _BLOCK):
        part = slice(start, start + _BLOCK)
        scores[part] = np.einsum(
            "nd,nd->n", embeddings[first[part]], embeddings[second[part]]
        )
    return scores


def cohort_statistics(
    embeddings: np.ndarray, cohort: np.ndarray, top_n: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and standard deviation of each file's cohort scores.

    Arguments
    ---------
    embeddings : np.ndarray
        One per file, [n_files, D], L2-normalised.
    cohort : np.ndarray
        Embeddings of utterances of other speakers, [n_cohort, D],
        L2-normalised.
    top_n : int, optional
        Number of highest scores to use; None: all.

    Returns
    -------
    mean, std : np.ndarray
        [n_files]; the sample standard deviation (n - 1).

    Raises
    ------
    ValueError
        If there are fewer than two scores, or they do not vary.

    Example
    -------
    >>> files = np.array([[1.0, 0.0]])
    >>> cohort = np.array([[0.6, 0.8], [0.8, 0.6], [0.0, 1.0]])
    >>> mean, std = cohort_statistics(files, cohort, top_n=2)
    >>> mean.round(3).tolist(), std.round(3).tolist()
    ([0.7], [0.141])
    """
    top_n = min(top_n or len(cohort), len(cohort))
    if top_n < 2:
        raise ValueError(
            f"a cohort of {len(cohort)} with top_n {top_n} has no standard "
            "deviation: both must be at least 2."
        )
    mean, std = (np.empty(len(embeddings)) for _ in range(2))
    block = max(1, _BLOCK * 512 // len(cohort))
    for start in range(0, len(embeddings), block):
        part = slice(start, start + block)
        scores = embeddings[part] @ cohort.T
        if top_n < len(cohort):
            scores = np.partition(scores, -top_n, axis=1)[:, -top_n:]
        mean[part] = scores.mean(axis=1, dtype=np.float64)
        std[part] = scores.std(axis=1, ddof=1, dtype=np.float64)
    if not (std > 0).all():
        raise ValueError(
            "the scores of a file against the cohort are all equal: does the "
            "cohort consist of copies of one utterance?"
        )
    return mean, std


def s_norm(
    scores: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    statistics: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Apply symmetric score normalisation (AS-norm with ``top_n``).

    The mean of the z-scores with respect to the cohort scores of the first and
    of the second file.

    Arguments
    ---------
    scores : np.ndarray
        Cosine similarities, [n].
    first, second : np.ndarray
        Indices of each trial's files, [n].
    statistics : tuple of np.ndarray
        ``mean`` and ``std`` per file, from `cohort_statistics`.

    Returns
    -------
    np.ndarray
        [n].

    Example
    -------
    >>> mean, std = np.array([0.2, 0.4]), np.array([0.1, 0.2])
    >>> s_norm(np.array([0.6]), [0], [1], (mean, std)).round(3).tolist()
    [2.5]
    """
    mean, std = statistics
    of_first = (scores - mean[first]) / std[first]
    of_second = (scores - mean[second]) / std[second]
    return (of_first + of_second) / 2
