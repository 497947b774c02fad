"""Speaker verification with an exported model."""

import torch
from speechbrain.inference.speaker import (
    SpeakerRecognition as SpeechBrainSpeakerRecognition,
)


class SpeakerRecognition(SpeechBrainSpeakerRecognition):
    """SpeechBrain's ``SpeakerRecognition``, which knows its model's threshold.

    SpeechBrain's own decides at a cosine of 0.25, whatever the model; this one
    where ``verify.py`` found as many misses as false alarms, before the run was
    exported.  ``verify_files(path_x, path_y)`` decides in the same way.

    Arguments
    ---------
    *args : tuple
        See SpeechBrain's.
    **kwargs : dict
        See SpeechBrain's.

    Example
    -------
    >>> from audiomamba import AudioMamba
    >>> from audiomamba.lobes import KaldiFbank, SpectrogramNorm
    >>> verifier = SpeakerRecognition(
    ...     {
    ...         "compute_features": KaldiFbank(),
    ...         "mean_var_norm": SpectrogramNorm(mean=-4.0, std=4.0),
    ...         "embedding_model": AudioMamba(embed_dim=16, depth=1).eval(),
    ...         "mean_var_norm_emb": torch.nn.Identity(),
    ...         "classifier": torch.nn.Identity(),
    ...     },
    ...     hparams={"verification_threshold": 0.7, "label_encoder": None},
    ... )
    >>> wave = torch.randn(1, 16000)
    >>> score, same = verifier.verify_batch(wave, wave)
    >>> same.item()
    True
    """

    def verify_batch(
        self,
        wavs1: torch.Tensor,
        wavs2: torch.Tensor,
        wav1_lens: torch.Tensor | None = None,
        wav2_lens: torch.Tensor | None = None,
        threshold: float | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compare the speakers of two batches of waveforms.

        Arguments
        ---------
        wavs1, wavs2 : torch.Tensor
            [B, N], at the model's sampling rate.
        wav1_lens, wav2_lens : torch.Tensor, optional
            Relative lengths, [B].
        threshold : float, optional
            The cosine above which speakers are the same; by default the
            model's.

        Returns
        -------
        score : torch.Tensor
            The cosines of the embeddings, [B, 1].
        prediction : torch.Tensor
            Whether the speakers are the same, [B, 1].

        Raises
        ------
        ValueError
            If there is no threshold, neither given nor the model's.
        """
        if threshold is None:
            threshold = getattr(self.hparams, "verification_threshold", None)
        if threshold is None:
            raise ValueError(
                "this model has no threshold: give one, or test its run with "
                "recipes/VoxCeleb/verify.py and export it again."
            )
        return super().verify_batch(
            wavs1, wavs2, wav1_lens, wav2_lens, threshold
        )
