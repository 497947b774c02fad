"""A classifier of every frame, whose frames together classify the clip."""

import torch
import torch.nn.functional as F

from audiomamba.nnet.classifier import LinearClassifier
from audiomamba.nnet.lengths import check_choice

POOLINGS = ("linear_softmax", "attention")
# Keeps the logit of a probability finite in float32
_EPS = 1e-6


def own_frames(frames: torch.Tensor) -> torch.Tensor:
    """Mark the frames of a clip; an encoder sets those past its end to zero.

    Arguments
    ---------
    frames : torch.Tensor
        [B, T', D], from an encoder with ``output="frames"``.

    Returns
    -------
    torch.Tensor
        True for a clip's own frames, [B, T', 1].

    Example
    -------
    >>> own_frames(torch.tensor([[[0.5, 0.0], [0.0, 0.0]]])).flatten().tolist()
    [True, False]
    """
    return (frames != 0).any(-1, keepdim=True)


def mean_frame(frames: torch.Tensor) -> torch.Tensor:
    """Average the frames of a clip, without those past its end.

    Arguments
    ---------
    frames : torch.Tensor
        [B, T', D]; an embedding is a single frame.

    Returns
    -------
    torch.Tensor
        [B, D].

    Example
    -------
    >>> mean_frame(torch.tensor([[[1.0], [3.0], [0.0]]])).tolist()
    [[2.0]]
    """
    n_own = own_frames(frames).sum(1).clamp(min=1)
    return frames.sum(1) / n_own


class FrameClassifier(LinearClassifier):
    """Classifies every frame, and a clip by pooling over its frames.

    Trained on the labels of clips, it learns when their classes are heard:
    multiple instance learning. A clip's probability p of a class is pooled from
    those of its frames, p_t:

    - ``linear_softmax``: sum(p_t^2) / sum(p_t) (Wang, Li and Metze, "A
      comparison of five multiple instance learning pooling functions for sound
      event detection with weak labeling", arXiv 1810.09050).
    - ``attention``: the mean of p_t, weighted by a second linear layer with a
      softmax over time (Kong et al., arXiv 1903.00765).

    Arguments
    ---------
    input_size : int
        Width of the frames D.
    n_classes : int
        Number of classes C.
    pooling : str
        "linear_softmax" or "attention".

    Raises
    ------
    ValueError
        If there is no such pooling.

    Example
    -------
    >>> classifier = FrameClassifier(input_size=8, n_classes=3)
    >>> frames = torch.randn(2, 10, 8)
    >>> classifier(frames).shape, classifier.frame_logits(frames).shape
    (torch.Size([2, 1, 3]), torch.Size([2, 10, 3]))
    """

    def __init__(
        self,
        input_size: int,
        n_classes: int,
        pooling: str = "linear_softmax",
    ):
        check_choice("pooling", pooling, POOLINGS)
        super().__init__(input_size, n_classes)
        self.pooling = pooling
        if pooling == "attention":
            self.attention = LinearClassifier(input_size, n_classes)

    def frame_logits(self, frames: torch.Tensor) -> torch.Tensor:
        """Classify every frame.

        Arguments
        ---------
        frames : torch.Tensor
            [B, T', D].

        Returns
        -------
        torch.Tensor
            Logits of independent probabilities (sigmoid), [B, T', C].
        """
        return F.linear(frames, self.weight, self.bias)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Classify clips.

        Arguments
        ---------
        frames : torch.Tensor
            [B, T', D], zero past a clip's end.

        Returns
        -------
        torch.Tensor
            Logits of independent probabilities (sigmoid), [B, 1, C], float32.
        """
        padding = ~own_frames(frames)
        # Probabilities near 0 and 1 need more digits than half precision has
        scores = self.frame_logits(frames).float().sigmoid()
        if self.pooling == "attention":
            weights = self.attention(frames).float()
            weights = weights.masked_fill(padding, -torch.inf).softmax(1)
            pooled = (weights * scores).sum(1, keepdim=True)
        else:
            scores = scores.masked_fill(padding, 0.0)
            total = scores.sum(1, keepdim=True).clamp(min=_EPS)
            pooled = scores.square().sum(1, keepdim=True) / total
        return torch.logit(pooled, eps=_EPS)
