"""Waveforms of any lengths through a model, in batches that fit in memory."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch.nn.utils.rnn import pad_sequence

# From padded waveforms [B, N] and relative lengths [B] to a result per clip
Compute = Callable[[torch.Tensor, torch.Tensor], Iterable[torch.Tensor]]


def bounded_batches(
    wavs: Iterable[torch.Tensor], max_clips: int, max_samples: int
) -> Iterator[list[torch.Tensor]]:
    """Batch clips as they come, so that a padded batch fits in memory.

    Arguments
    ---------
    wavs : iterable of torch.Tensor
        Waveforms [n], taken one by one.
    max_clips : int
        Most clips in a batch.
    max_samples : int
        Most samples in a padded batch; a longer clip is a batch by itself.

    Yields
    ------
    list of torch.Tensor

    Example
    -------
    >>> wavs = [torch.zeros(n) for n in (4, 1, 1, 9, 2)]
    >>> [[len(wav) for wav in batch] for batch in bounded_batches(wavs, 3, 8)]
    [[4, 1], [1], [9], [2]]
    """
    batch: list[torch.Tensor] = []
    longest = 0
    for wav in wavs:
        longest = max(longest, len(wav))
        if batch and longest * (len(batch) + 1) > max_samples:
            yield batch
            batch, longest = [], len(wav)
        batch.append(wav)
        if len(batch) == max_clips:
            yield batch
            batch, longest = [], 0
    if batch:
        yield batch


def equal_lengths(wavs: list[torch.Tensor]) -> list[list[int]]:
    """Group clips that can share a batch without padding.

    Arguments
    ---------
    wavs : list of torch.Tensor
        Waveforms [n].

    Returns
    -------
    list of list of int
        Their indices.

    Example
    -------
    >>> equal_lengths([torch.zeros(n) for n in (4, 1, 4)])
    [[0, 2], [1]]
    """
    groups: dict[int, list[int]] = {}
    for index, wav in enumerate(wavs):
        groups.setdefault(len(wav), []).append(index)
    return list(groups.values())


def run_in_batches(
    wavs: Iterable[torch.Tensor],
    compute: Compute,
    max_clips: int,
    max_samples: int,
    padded: bool = True,
    dtype: torch.dtype = torch.float64,
) -> Iterator[torch.Tensor]:
    """Yield a model's result for every waveform, in order.

    Arguments
    ---------
    wavs : iterable of torch.Tensor
        Waveforms [n], taken when they are needed.
    compute : callable
        The model, see `Compute`.
    max_clips, max_samples : int
        See `bounded_batches`.
    padded : bool
        Whether clips of different lengths may share a batch.
    dtype : torch.dtype
        Of relative lengths; float32 is too coarse for the sample counts of
        clips of more than four minutes.

    Yields
    ------
    torch.Tensor
        On the CPU.

    Example
    -------
    >>> wavs = [torch.ones(2), torch.ones(3), torch.ones(1)]
    >>> sums = run_in_batches(wavs, lambda x, lengths: x.sum(1), 2, 100)
    >>> [int(x) for x in sums]
    [2, 3, 1]
    """
    for part in bounded_batches(wavs, max_clips, max_samples):
        results: dict[int, torch.Tensor] = {}
        batches = [list(range(len(part)))] if padded else equal_lengths(part)
        for batch in batches:
            clips = [part[index] for index in batch]
            n_own = torch.tensor([len(clip) for clip in clips], dtype=dtype)
            together = pad_sequence(clips, batch_first=True)
            with torch.no_grad():
                found = compute(together, n_own / together.shape[1])
            results.update(zip(batch, (row.cpu() for row in found)))
        yield from (results[index] for index in range(len(part)))
