"""Transcribe strings of spoken digits: CTC with Audio Mamba.

    git clone https://github.com/Jakobovski/free-spoken-digit-dataset data
    python train.py hparams/aum_tiny.yaml

The encoder is called as in SpeechBrain's CTC recipe for LibriSpeech; loss,
decoding and word error rate are SpeechBrain's.  The same command resumes a
stopped run.  See README.md for the result.
"""

from pathlib import Path

import torch
from digit_strings_prepare import SEPARATOR, prepare_digit_strings
from speechbrain.core import Stage
from speechbrain.decoders import ctc_greedy_decode

from audiomamba.dataio.audio import read_audio
from audiomamba.dataio.pipeline import ClipDataset
from audiomamba.training.brain import RecipeBrain
from audiomamba.training.recipe import run_recipe


class DigitBrain(RecipeBrain):
    """Trains with CTC; the epoch with the best validation WER is tested."""

    def compute_forward(self, batch, stage):
        """Return log probabilities [B, T', tokens] and relative lengths."""
        wavs, lengths = batch.to(self.device).sig
        augment = self.hparams.spec_augment if stage == Stage.TRAIN else None
        feats, lengths = self.clip_encoder(stage).features(
            wavs, lengths, augment
        )
        encoder = self.module("embedding_model", stage)
        steps, _ = encoder(feats, wav_len=lengths)
        logits = self.module("classifier", stage)(steps)
        return logits.log_softmax(-1), lengths

    def compute_objectives(self, predictions, batch, stage):
        """Return the CTC loss; outside of training, collect the words."""
        log_probs, lengths = predictions
        tokens, token_lengths = batch.target
        loss = self.hparams.compute_loss(
            log_probs, tokens, lengths, token_lengths
        )
        if stage != Stage.TRAIN:
            strings = ctc_greedy_decode(
                log_probs, lengths, self.hparams.blank_index
            )
            found = [[str(digit) for digit in string] for string in strings]
            wanted = [text.split() for text in batch.label]
            self.hparams.metrics.append(batch.id, found, wanted, loss)
        return loss


class StringReader:
    """Dynamic item: the recordings of a string, end to end."""

    ITEM = ("wav", "sig")

    def __init__(self, data_folder, sample_rate):
        self.data_folder, self.sample_rate = data_folder, sample_rate

    def __call__(self, wav):
        """Return the waveform [N]."""
        paths = [Path(self.data_folder, p) for p in wav.split(SEPARATOR)]
        parts = [read_audio(path, self.sample_rate) for path in paths]
        return torch.cat(parts)


class DigitEncoder:
    """Dynamic item: "3 1 4" -> tensor([3, 1, 4])."""

    ITEM = ("label", "target")

    def __call__(self, label):
        """Return the tokens [n]."""
        return torch.tensor([int(digit) for digit in label.split()])


def prepare(settings):
    """Write the manifests."""
    prepare_digit_strings(
        settings["data_folder"],
        settings["manifest_folder"],
        settings["n_digits"],
        settings["rounds"],
        settings["data_seed"],
        settings["allow_missing"],
        settings["skip_prep"],
    )


def dataio_prep(hparams, labels):
    """Make the three sets, with ``id``, ``sig``, ``target`` and ``label``."""
    reader = StringReader(hparams["data_folder"], hparams["sample_rate"])
    datasets = {}
    for split in ("train", "valid", "test"):
        path = f"{hparams['manifest_folder']}/{split}.csv"
        datasets[split] = ClipDataset(path, reader, DigitEncoder())
        datasets[split].set_output_keys(["id", "sig", "target", "label"])
    return datasets


if __name__ == "__main__":
    run_recipe("DigitStrings", prepare, dataio_prep, DigitBrain)
