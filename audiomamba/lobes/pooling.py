"""Clip encoders from encoders that give frames: the mean over a clip's own."""

import inspect

import torch
import torch.nn.functional as F

from audiomamba.lobes.clip_encoder import call_with_lengths
from audiomamba.nnet.block import BlockEncoder
from audiomamba.nnet.lengths import (
    absolute_lengths,
    check_sizes,
    frame_counts,
    padding_mask,
    relative_lengths,
)


class MeanOverTime(BlockEncoder):
    """The mean over the frames that an encoder gives for a clip.

    For encoders of SpeechBrain and of ``transformers``, from features [B, T, F]
    or waveforms [B, N].  Padding is set to zero on the way in, and left out of
    the mean.  A clip has (n - window) // hop + 1 frames for n frames of
    features or samples.

    Arguments
    ---------
    encoder : torch.nn.Module
        Gives frames [B, T', D], as a tensor, as the first entry of a tuple or
        as ``last_hidden_state``.  It gets relative lengths if it takes them,
        see `audiomamba.lobes.clip_encoder.lengths_name`, or else an
        ``attention_mask`` of the input.
    hop : int
        Frames of features, or samples, from one frame to the next.
    window : int
        Frames of features, or samples, that the first frame needs.  1 where
        convolutions pad their input, ``hop`` where pooling drops an incomplete
        rest, 400 for the 25 ms of wav2vec 2.0 at a hop of 320.
    masks_padding : bool
        Whether a clip's own frames do not depend on its padding.  If not,
        clips are encoded one by one in evaluation; in training, they depend on
        their batch.
    blocks : str, optional
        Where the encoder keeps its residual blocks, for example
        "encoder.layers"; needed by ``layer_lr_decay`` and
        ``gradient_checkpointing`` only.

    Raises
    ------
    ValueError
        If the encoder gives another number of frames than hop and window say.

    Example
    -------
    >>> gru = torch.nn.GRU(40, 16, batch_first=True)
    >>> encoder = MeanOverTime(gru, masks_padding=True).eval()
    >>> feats = torch.randn(2, 100, 40)
    >>> emb = encoder(feats, torch.tensor([1.0, 0.5]))
    >>> emb.shape
    torch.Size([2, 1, 16])
    >>> torch.allclose(emb[1], encoder(feats[1:, :50])[0], atol=1e-6)
    True
    """

    # In evaluation, an embedding does not depend on its batch.
    mask_padding = True

    def __init__(
        self,
        encoder: torch.nn.Module,
        hop: int = 1,
        window: int = 1,
        masks_padding: bool = False,
        blocks: str | None = None,
    ):
        super().__init__()
        check_sizes(hop=hop, window=window)
        self.encoder = encoder
        self.hop, self.window = hop, window
        self.masks_padding = masks_padding
        self.path = blocks

    @property
    def blocks(self) -> list[torch.nn.Module]:
        """The encoder's residual blocks, from the input to the output."""
        if self.path is None:
            return []
        return list(self.encoder.get_submodule(self.path).children())

    def forward(
        self, x: torch.Tensor, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Embed a batch of clips.

        Arguments
        ---------
        x : torch.Tensor
            Features [B, T, F] or waveforms [B, N].
        lengths : torch.Tensor, optional
            Relative lengths in (0, 1], [B].

        Returns
        -------
        torch.Tensor
            [B, 1, D].
        """
        if lengths is None:
            lengths = x.new_ones(len(x))
        count = absolute_lengths if x.dim() == 2 else frame_counts
        n_own = count(lengths.to(x.device), x.shape[1])
        padding = padding_mask(n_own, x.shape[1])
        x = x.masked_fill(padding if x.dim() == 2 else padding[..., None], 0.0)
        # Shorter clips are filled up with zeros
        missing = max(self.window - x.shape[1], 0)
        x = F.pad(x, (0, missing) if x.dim() == 2 else (0, 0, 0, missing))
        n_own = n_own.clamp(min=self.window)
        if self.masks_padding or self.training:
            return self._embed(x, n_own)
        rows = [self._embed(row[None, :n], n[None]) for row, n in zip(x, n_own)]
        return torch.cat(rows)

    def _embed(self, x, n_own):
        """Return the mean [B, 1, D] over the frames of n_own steps."""
        frames = self._frames(x, n_own)
        expected = self._count(x.shape[1])
        if frames.dim() != 3 or frames.shape[1] != expected:
            raise ValueError(
                f"{type(self.encoder).__name__} gives {list(frames.shape)} for "
                f"{x.shape[1]} steps, but hop {self.hop} and window "
                f"{self.window} mean [batch, {expected}, width]: set them so "
                "that (steps - window) // hop + 1 is the number of frames."
            )
        n_frames = self._count(n_own)
        padding = padding_mask(n_frames, expected)[..., None]
        total = frames.masked_fill(padding, 0.0).sum(1, keepdim=True)
        return total / n_frames[:, None, None]

    def _frames(self, x, n_own):
        """Call the encoder; return its frames."""
        parameters = inspect.signature(self.encoder.forward).parameters
        if "attention_mask" in parameters:
            own = ~padding_mask(n_own, x.shape[1])
            output = self.encoder(x, attention_mask=own.long())
        else:
            output = call_with_lengths(
                self.encoder, x, relative_lengths(n_own, x.shape[1])
            )
        # transformers' outputs are a kind of dict, and their first entry by
        # number is last_hidden_state
        return output if isinstance(output, torch.Tensor) else output[0]

    def _count(self, n_steps):
        """The frames of so many steps."""
        return (n_steps - self.window) // self.hop + 1
