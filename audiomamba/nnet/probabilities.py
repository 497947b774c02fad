"""From logits to probabilities, and to calibrated ones."""

import numpy as np
import torch

ACTIVATIONS = {"softmax": lambda x: x.softmax(-1), "sigmoid": torch.sigmoid}
# Keeps the logits of probabilities finite
_EPS = 1e-7


def default_activation(multi_label: bool) -> str:
    """Return the activation that fits the number of labels per clip."""
    return "sigmoid" if multi_label else "softmax"


def scaled(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Return sigmoid(logit(p) / temperature), a calibrated probability.

    Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599.

    Arguments
    ---------
    scores : np.ndarray
        Probabilities p, of any shape.
    temperature : float
        Above 1 makes them less certain.

    Returns
    -------
    np.ndarray
        The same shape.

    Example
    -------
    >>> scaled(np.array([0.5, 0.9]), 2.0)
    array([0.5 , 0.75])
    """
    p = np.clip(np.asarray(scores, np.float64), _EPS, 1 - _EPS)
    return 1 / (1 + ((1 - p) / p) ** (1 / temperature))
