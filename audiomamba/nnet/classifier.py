"""The linear classifier of the paper's models."""

import torch


class LinearClassifier(torch.nn.Linear):
    """A linear layer on the embedding, initialised as the authors do.

    Weights are drawn from a normal distribution of standard deviation 0.02,
    truncated at +-2; biases are 0.

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

    def __init__(self, input_size: int, n_classes: int):
        super().__init__(input_size, n_classes)

    def reset_parameters(self) -> None:
        """Draw new weights."""
        torch.nn.init.trunc_normal_(self.weight, std=0.02)
        torch.nn.init.zeros_(self.bias)
