"""Calling any of SpeechBrain's encoders alike."""

import inspect


def takes_lengths(encoder):
    """Whether an encoder is called with lengths.

    Arguments
    ---------
    encoder : torch.nn.Module
        Not wrapped by DistributedDataParallel, which takes anything.

    Returns
    -------
    bool

    Example
    -------
    >>> import torch
    >>> from audiomamba import AudioMamba
    >>> takes_lengths(AudioMamba(depth=1)), takes_lengths(torch.nn.ReLU())
    (True, False)
    """
    return len(inspect.signature(encoder.forward).parameters) > 1


def as_embedding(output):
    """One vector per clip, whatever an encoder gives.

    Arguments
    ---------
    output : torch.Tensor or tuple
        [B, 1, D], [B, D] or maps [B, D, H, W], which are averaged; of a tuple
        the first.

    Returns
    -------
    torch.Tensor
        [B, 1, D].

    Example
    -------
    >>> import torch
    >>> as_embedding((torch.randn(2, 8), "more")).shape
    torch.Size([2, 1, 8])
    """
    emb = output[0] if isinstance(output, tuple) else output
    if emb.dim() == 4:
        emb = emb.mean(dim=(-2, -1))
    return emb.unsqueeze(1) if emb.dim() == 2 else emb
