"""An exported model's modules, as SpeechBrain's inference classes call them."""

import torch
import torch.nn.functional as F

from audiomamba.nnet.lengths import check_choice

_LOG_ACTIVATIONS = {
    "softmax": lambda logits: logits.log_softmax(-1),
    "sigmoid": F.logsigmoid,
}


class LogPosteriors(torch.nn.Module):
    """A classifier that returns log-posteriors.

    Arguments
    ---------
    classifier : torch.nn.Module
        Returns logits.
    activation : str
        ``softmax``: one class per clip; ``sigmoid``: any number of them.

    Raises
    ------
    ValueError
        If there is no such activation.

    Example
    -------
    >>> classifier = LogPosteriors(torch.nn.Linear(8, 3), "softmax")
    >>> posteriors = classifier(torch.randn(2, 1, 8)).exp()
    >>> posteriors.shape, torch.allclose(posteriors.sum(-1), torch.ones(2, 1))
    (torch.Size([2, 1, 3]), True)
    """

    def __init__(self, classifier: torch.nn.Module, activation: str):
        super().__init__()
        check_choice("activation", activation, _LOG_ACTIVATIONS)
        self.classifier, self.activation = classifier, activation

    def forward(self, emb: torch.Tensor) -> torch.Tensor:
        """Classify embeddings.

        Arguments
        ---------
        emb : torch.Tensor
            [B, 1, D].

        Returns
        -------
        torch.Tensor
            [B, 1, C], float32.
        """
        return _LOG_ACTIVATIONS[self.activation](self.classifier(emb).float())


class TokenScores(torch.nn.Module):
    """A recogniser that returns its scores alone, as ``EncoderASR`` calls it.

    Arguments
    ---------
    recognizer : audiomamba.lobes.Recognizer
        Returns log-probabilities and their lengths.
    """

    def __init__(self, recognizer: torch.nn.Module):
        super().__init__()
        self.recognizer = recognizer

    def forward(
        self, wavs: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """Compute log-probabilities of tokens.

        Arguments
        ---------
        wavs : torch.Tensor
            [B, N].
        lengths : torch.Tensor
            Relative lengths [B].

        Returns
        -------
        torch.Tensor
            [B, T', C]; past the end of an utterance that of the blank is 0.
        """
        return self.recognizer(wavs, lengths)[0]


class UnknownMean(torch.nn.Module):
    """In place of ``mean_var_norm_emb`` where the mean embedding is unknown.

    Example
    -------
    >>> UnknownMean()(torch.randn(2, 1, 8), torch.ones(2))
    Traceback (most recent call last):
        ...
    ValueError: normalize=True subtracts the mean embedding of the training...
    """

    def forward(
        self, emb: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Say that embeddings cannot be centred.

        Arguments
        ---------
        emb : torch.Tensor
            [B, 1, D].
        lengths : torch.Tensor, optional
            Ignored.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(
            "normalize=True subtracts the mean embedding of the training "
            "clips, and this model was exported without them. Leave out "
            "normalize, or export the run where its data_folder has them."
        )
