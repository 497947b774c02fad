"""Speech recognition with CTC: from waveforms to scores of tokens.

`CTCEncoder` takes the place of the Transformer in SpeechBrain's CTC recipes.
"""

from typing import cast

import torch
import torch.nn.functional as F

from audiomamba.lobes.audio_mamba import AudioMamba
from audiomamba.lobes.clip_encoder import Augment, ClipEncoder, unwrapped
from audiomamba.lobes.recognizer_stream import RecognizerStream
from audiomamba.nnet.lengths import (
    frame_counts,
    padding_mask,
    relative_lengths,
)
from audiomamba.nnet.patch_embed import grid_length

# Logarithm of the probability of other tokens than the blank past the end
_NEVER = -1e4


class CTCEncoder(torch.nn.Module):
    """Encoder of spectrograms with the interface of ``TransformerASR``.

    A batch of T frames has ceil(T / stride) steps of equal duration.  Past the
    end of a clip, its last step is repeated: SpeechBrain rounds the relative
    length to a number of steps, which may be one too many, and CTC merges
    repeated outputs.  So greedy decoding of a clip gives the same result alone
    and in any batch, if the lengths are those of the frames; those of the
    waveforms, which SpeechBrain's script passes, leave one frame open
    (`audiomamba.nnet.lengths.frame_counts`), and with it sometimes a step.

    Arguments
    ---------
    encoder : AudioMamba
        An encoder with patches as high as the spectrogram, for example
        ``patch_size: [80, 4]`` and ``stride: [80, 4]`` for steps of 40 ms.

    Raises
    ------
    ValueError
        If its patches are not as high as the spectrogram, or padding is
        content to it.

    Example
    -------
    >>> encoder = AudioMamba(
    ...     n_mels=80,
    ...     patch_size=(80, 4),
    ...     stride=(80, 4),
    ...     embed_dim=32,
    ...     depth=2,
    ...     cls_token=None,
    ... )
    >>> transformer = CTCEncoder(encoder).eval()
    >>> feats, wav_lens = torch.randn(2, 301, 80), torch.tensor([1.0, 0.5])
    >>> enc_out, pred = transformer(feats, tgt=None, wav_len=wav_lens)
    >>> enc_out.shape, pred
    (torch.Size([2, 76, 32]), None)
    """

    def __init__(self, encoder: AudioMamba):
        super().__init__()
        height, bins = encoder.patch_size[0], encoder.n_mels
        if height != bins:
            raise ValueError(
                f"patch_size is {list(encoder.patch_size)} and n_mels {bins}, "
                "but for CTC a patch must be as high as the spectrogram: set "
                f"patch_size [{bins}, {encoder.patch_size[1]}]."
            )
        if not encoder.mask_padding:
            raise ValueError(
                "mask_padding is False, but with CTC a clip's text must not "
                "depend on the padding of its batch: leave mask_padding out."
            )
        self.encoder = encoder

    def forward(
        self,
        src: torch.Tensor,
        tgt: None = None,
        wav_len: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, None]:
        """Encode a batch of spectrograms.

        Arguments
        ---------
        src : torch.Tensor
            [B, T, n_mels].
        tgt : None
            Must be None: there is no decoder.
        wav_len : torch.Tensor or None
            Relative lengths in (0, 1], [B].

        Returns
        -------
        enc_out : torch.Tensor
            [B, T', D].
        pred : None
            In SpeechBrain's models, the output of the decoder.

        Raises
        ------
        ValueError
            If ``tgt`` is given.
        """
        if tgt is not None:
            raise ValueError(
                "tgt is given, but there is no decoder: use this encoder in "
                "recipes that train with CTC alone."
            )
        n_frames, patch = src.shape[1], self.encoder.patch_size[1]
        stride = self.encoder.stride[1]
        n_steps = -(-n_frames // stride)
        missing = (n_steps - 1) * stride + patch - n_frames
        padded = F.pad(src, (0, 0, 0, max(missing, 0)))
        if wav_len is None:
            wav_len = src.new_ones(len(src))
        n_own = frame_counts(wav_len.to(src.device), n_frames)
        lengths = relative_lengths(n_own, padded.shape[1])
        steps = self.encoder(padded, lengths, output="frames")
        last = self.step_counts(n_own) - 1
        places = torch.arange(n_steps, device=src.device)
        places = places.minimum(last[:, None])[..., None]
        return steps.gather(1, places.expand(-1, -1, steps.shape[2])), None

    def step_counts(self, n_frames: torch.Tensor) -> torch.Tensor:
        """Return how many steps are whole within a clip; at least one.

        Arguments
        ---------
        n_frames : torch.Tensor
            Frames of each clip, [B].

        Returns
        -------
        torch.Tensor
            [B].
        """
        patch, stride = self.encoder.patch_size[1], self.encoder.stride[1]
        return grid_length(n_frames, patch, stride)


class Recognizer(torch.nn.Module):
    """Features, normalisation, encoder and classifier in a row.

    Training, evaluation and inference all call this, so that they compute the
    same.  An utterance gets the same scores alone and in any batch.

    Arguments
    ---------
    compute_features, mean_var_norm : torch.nn.Module
        See `audiomamba.lobes.ClipEncoder`.
    embedding_model : CTCEncoder
        Maybe wrapped for distributed training.
    classifier : torch.nn.Module
        From steps to logits of tokens.
    blank_index : int
        The token of CTC's blank.

    Example
    -------
    >>> from audiomamba.lobes import KaldiFbank, SpectrogramNorm
    >>> encoder = AudioMamba(
    ...     n_mels=80,
    ...     patch_size=(80, 4),
    ...     stride=(80, 4),
    ...     embed_dim=32,
    ...     depth=1,
    ...     cls_token=None,
    ... )
    >>> recognizer = Recognizer(
    ...     KaldiFbank(n_mels=80),
    ...     SpectrogramNorm(mean=-4.0, std=4.0),
    ...     CTCEncoder(encoder),
    ...     torch.nn.Linear(32, 29),
    ... ).eval()
    >>> wavs, lengths = torch.randn(2, 16000), torch.tensor([1.0, 0.5])
    >>> log_probs, lengths = recognizer(wavs, lengths)
    >>> log_probs.shape, (lengths * 25).tolist()
    (torch.Size([2, 25, 29]), [24.0, 12.0])
    """

    def __init__(
        self,
        compute_features: torch.nn.Module,
        mean_var_norm: torch.nn.Module,
        embedding_model: torch.nn.Module,
        classifier: torch.nn.Module,
        blank_index: int = 0,
    ):
        super().__init__()
        self.clip_encoder = ClipEncoder(
            compute_features, mean_var_norm, embedding_model
        )
        self.classifier, self.blank_index = classifier, blank_index

    def forward(
        self,
        wavs: torch.Tensor,
        lengths: torch.Tensor,
        spec_augment: Augment | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the log-probabilities of tokens.

        Arguments
        ---------
        wavs : torch.Tensor
            Waveforms, [B, N].
        lengths : torch.Tensor
            Relative lengths in (0, 1], [B].
        spec_augment : callable, optional
            Augments the features.

        Returns
        -------
        log_probs : torch.Tensor
            [B, T', C], float32; past the end of an utterance that of the blank
            is 0.
        lengths : torch.Tensor
            Relative lengths of ``log_probs``, [B]; exact, as `relative_lengths`
            makes them.
        """
        encoder = self.clip_encoder.embedding_model
        feats, lengths = self.clip_encoder.features(wavs, lengths, spec_augment)
        steps, _ = encoder(feats, wav_len=lengths)
        log_probs = self.classifier(steps).float().log_softmax(-1)
        n_frames = frame_counts(lengths, feats.shape[1])
        n_own = cast(CTCEncoder, unwrapped(encoder)).step_counts(n_frames)
        silence = torch.full_like(log_probs[0, 0], _NEVER)
        silence[self.blank_index] = 0.0
        past = padding_mask(n_own, log_probs.shape[1])[..., None]
        log_probs = torch.where(past, silence, log_probs)
        return log_probs, relative_lengths(n_own, log_probs.shape[1])

    def stream(self) -> RecognizerStream:
        """Compute scores as sound arrives, with a state of fixed size.

        Needs an encoder with ``scan="fo_fo"`` and ``n_frames`` of one patch,
        `KaldiFbank` and `SpectrogramNorm`.

        Returns
        -------
        RecognizerStream

        Raises
        ------
        ValueError
            If the model needs more than the sound so far, or is in training
            mode.
        """
        parts = self.clip_encoder
        transformer = cast(CTCEncoder, unwrapped(parts.embedding_model))
        return RecognizerStream(
            parts.compute_features,
            parts.mean_var_norm,
            transformer.encoder,
            self.classifier,
        )
