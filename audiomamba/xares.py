"""An encoder as the XARES benchmark calls it (github.com/jimbozhang/xares)."""

from pathlib import Path

import torch

from audiomamba.dataio.audio import resample
from audiomamba.hear import get_timestamp_embeddings, load_model


class XaresEncoder(torch.nn.Module):
    """Frames of batches of waveforms, with the attributes of XARES.

    In a file ``audiomamba_encoder.py`` for ``python -m xares.run``::

        from functools import partial
        from audiomamba.xares import XaresEncoder

        AudiomambaEncoder = partial(XaresEncoder, "exported_model")

    Arguments
    ---------
    model : str or Path
        See `audiomamba.inference.AudioTagger.from_hparams`.
    """

    def __init__(self, model: str | Path):
        super().__init__()
        self.model = load_model(model)
        self.sampling_rate = self.model.sample_rate
        self.output_dim = self.model.timestamp_embedding_size
        self.hop_size_in_ms = 1000 * self.model.tagger.frame_seconds

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(
        self, audio: torch.Tensor, sampling_rate: int | None = None
    ) -> torch.Tensor:
        """Encode waveforms.

        Arguments
        ---------
        audio : torch.Tensor
            [B, N] or [N], mono.
        sampling_rate : int, optional
            Its rate in Hz; None: the model's.

        Returns
        -------
        torch.Tensor
            [B, T', D].
        """
        audio = torch.atleast_2d(audio).float()
        self.model.to(self.device)
        rate = sampling_rate or self.sampling_rate
        wavs = resample(audio.cpu(), rate, self.sampling_rate, "a waveform")
        frames, _ = get_timestamp_embeddings(wavs, self.model)
        return frames.to(audio.device)
