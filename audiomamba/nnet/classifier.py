"""The linear head of the paper's models."""

import torch


class LinearClassifier(torch.nn.Linear):
    """A linear layer over the embedding, initialised as the authors' head.

    Weights are drawn from a normal distribution of standard deviation 0.02,
    truncated at +-2, and biases are 0.  Its state has the keys ``weight`` and
    ``bias``, as ``torch.nn.Linear``.

    Arguments
    ---------
    input_size : int
        Width of the embedding D.
    n_classes : int
        Number of classes C.

    Example
    -------
    >>> classifier = LinearClassifier(input_size=192, n_classes=6)
    >>> classifier(torch.randn(4, 1, 192)).shape
    torch.Size([4, 1, 6])
    """

    def __init__(self, input_size, n_classes):
        super().__init__(input_size, n_classes)

    def reset_parameters(self):
        """Draw new weights."""
        torch.nn.init.trunc_normal_(self.weight, std=0.02)
        torch.nn.init.zeros_(self.bias)
