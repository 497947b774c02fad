"""A tagger as a program from waveforms to probabilities, for `export_onnx`."""

import copy

import torch
import torch.nn.functional as F
from torch.export import Dim, ExportedProgram

from audiomamba.inference.exported.folder import ExportError
from audiomamba.inference.programs.features import OwnFrames
from audiomamba.inference.programs.program import MAX_BATCH, least_frames
from audiomamba.inference.tagger import AudioTagger
from audiomamba.lobes.clip_encoder import ClipEncoder
from audiomamba.lobes.features import KaldiFbank, LogMelSpectrogram
from audiomamba.nnet.frame_classifier import mean_frame
from audiomamba.nnet.lengths import padding_mask
from audiomamba.nnet.probabilities import ACTIVATIONS

MAX_SAMPLES = 1 << 27


class WaveformClassifier(torch.nn.Module):
    """The whole of a tagger, in a form that can be exported.

    It computes what the tagger computes for the same waveforms, without a
    condition on their number or length.

    Arguments
    ---------
    tagger : AudioTagger
        With `audiomamba.AudioMamba` or `audiomamba.DASS`, and features of
        `audiomamba.lobes.features`.  Its parts are shared, not copied.

    Raises
    ------
    ExportError
        If the features are others, or have the length of the longest clip and
        the encoder takes padding for content.
    """

    def __init__(self, tagger: AudioTagger):
        super().__init__()
        features = tagger.mods.compute_features
        if isinstance(features, OwnFrames):
            features = features.features
        encoder = tagger.mods.embedding_model
        _check(features, encoder)
        self.limit = features.max_samples
        self.is_fixed = not encoder.mask_padding
        if self.is_fixed:
            self.n_appended = self.limit
        else:
            # Padding is masked: there is no need for more than the encoder's
            # fewest frames
            features = copy.copy(features)
            features.n_frames = least_frames(encoder)
            self.n_appended = max(features.max_samples, features.size)
            features.n_frames = None
        self.clip_encoder = ClipEncoder(
            features, tagger.mods.mean_var_norm, encoder
        )
        self.classifier = tagger.mods.classifier
        hparams = tagger.hparams
        self.remove_mean = hparams.audio_normalizer.remove_mean
        self.activation = ACTIVATIONS[hparams.activation]

    def forward(
        self, wavs: torch.Tensor, n_samples: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Classify clips.

        Arguments
        ---------
        wavs : torch.Tensor
            Waveforms at the model's sample rate, [B, N].
        n_samples : torch.Tensor
            Samples of each clip, integers from 1 to N, [B]; what is past them
            is ignored.

        Returns
        -------
        probabilities : torch.Tensor
            [B, C].
        embedding : torch.Tensor
            [B, D].
        """
        if self.remove_mean:
            padding = padding_mask(n_samples, wavs.shape[1])
            total = wavs.masked_fill(padding, 0.0).sum(1, keepdim=True)
            wavs = wavs - total / n_samples[:, None]
        wavs = F.pad(wavs, (0, self.n_appended))
        if self.is_fixed:
            wavs = wavs[:, : self.limit]
        n_heard = n_samples.clamp(max=self.limit) if self.limit else n_samples
        emb = self.clip_encoder(wavs, n_heard.double() / wavs.shape[1])
        logits = self.classifier(emb).squeeze(1)
        return self.activation(logits), mean_frame(emb)


def _check(features, encoder):
    """Refuse parts whose result would depend on the batch, or do not export."""
    if not isinstance(features, KaldiFbank | LogMelSpectrogram):
        raise ExportError(
            f"The model has features of {type(features).__name__}; ONNX files "
            "can be made of models with KaldiFbank or LogMelSpectrogram."
        )
    if not (encoder.mask_padding or features.n_frames):
        raise ExportError(
            "The model takes padding for content (mask_padding: False) and its "
            "features have no fixed length: set n_frames of compute_features "
            "in its hyperparams.yaml to the frames of the longest clip."
        )


def export_waveform_program(tagger: AudioTagger) -> ExportedProgram:
    """Export a tagger, from waveforms on, with ``torch.export``.

    Arguments
    ---------
    tagger : AudioTagger
        See `WaveformClassifier`; on the CPU.

    Returns
    -------
    torch.export.ExportedProgram
        Batch size and number of samples are dynamic, from 1 on.
    """
    model = WaveformClassifier(tagger).eval()
    # Sizes that are equal, or 1, would be exported as constants
    wavs = torch.zeros(2, 2 * model.n_appended + 3)
    n_samples = torch.tensor([wavs.shape[1], 2])
    batch = Dim("batch", min=1, max=MAX_BATCH)
    samples = Dim("samples", min=1, max=MAX_SAMPLES)
    with torch.no_grad():
        return torch.export.export(
            model,
            (wavs, n_samples),
            dynamic_shapes=({0: batch, 1: samples}, {0: batch}),
        )
