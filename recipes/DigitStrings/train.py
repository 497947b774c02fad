"""Write down strings of spoken digits: CTC with Audio Mamba.

    git clone https://github.com/Jakobovski/free-spoken-digit-dataset data
    python train.py hparams/aum_tiny.yaml

The encoder is called as in SpeechBrain's CTC recipe for LibriSpeech; loss,
decoding and error rate are SpeechBrain's.  The same command again goes on
where a stopped run was.  See README.md for the figure.
"""

import os
import sys
import time
from pathlib import Path

import speechbrain as sb
import torch
from digit_strings_prepare import SEPARATOR, prepare_digit_strings
from speechbrain.decoders import ctc_greedy_decode

from audiomamba.dataio.audio import read_audio
from audiomamba.dataio.pipeline import manifest_dataset
from audiomamba.training.hparams import load_hparams
from audiomamba.training.results import environment, write_json
from audiomamba.training.session import parse_arguments, session
from audiomamba.training.steps import CarefulBrain


class DigitBrain(CarefulBrain):
    """Trains with CTC; the epoch with the best validation WER is tested."""

    def compute_forward(self, batch, stage):
        """Return log probabilities [B, T', tokens] and relative lengths."""
        wavs, lengths = batch.to(self.device).sig
        feats = self.modules.compute_features(wavs, lengths)
        lengths = self.modules.compute_features.frame_lengths(
            lengths, wavs.shape[1]
        )
        if stage == sb.Stage.TRAIN:
            feats = self.hparams.spec_augment(feats, lengths)
        feats = self.modules.mean_var_norm(feats, lengths)
        steps, _ = self.modules.embedding_model(feats, wav_len=lengths)
        return self.modules.classifier(steps).log_softmax(-1), lengths

    def compute_objectives(self, predictions, batch, stage):
        """Return the CTC loss; while evaluating, collect the errors."""
        log_probs, lengths = predictions
        loss = self.hparams.compute_loss(
            log_probs, batch.tokens[0], lengths, batch.tokens[1]
        )
        if stage != sb.Stage.TRAIN:
            found = ctc_greedy_decode(
                log_probs, lengths, self.hparams.blank_index
            )
            found = [[str(digit) for digit in string] for string in found]
            wanted = [label.split() for label in batch.label]
            self.errors.append(batch.id, found, wanted)
        return loss

    def on_stage_start(self, stage, epoch=None):
        """Begin to collect errors."""
        self.errors = self.hparams.error_rate()

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Log, and save after validation."""
        if stage == sb.Stage.TRAIN:
            self.train_stats = {"loss": stage_loss}
            return
        self.stats = {"loss": stage_loss, **self.errors.summarize()}
        if stage == sb.Stage.VALID:
            wer = self.stats["WER"]
            self.hparams.epoch_log.write(
                epoch,
                {
                    "train": self.train_stats,
                    "valid": {"loss": stage_loss, "WER": wer},
                },
            )
            seconds = time.monotonic() - self.started
            meta = {"WER": wer, "epoch": epoch, "train_seconds": seconds}
            self.checkpointer.save_and_keep_only(meta, min_keys=["WER"])


class StringReader:
    """Dynamic item: the recordings of a string, end to end."""

    def __init__(self, data_folder, sample_rate):
        self.data_folder, self.sample_rate = data_folder, sample_rate

    def __call__(self, wav):
        """Return the waveform [N]."""
        paths = [Path(self.data_folder, p) for p in wav.split(SEPARATOR)]
        parts = [read_audio(path, self.sample_rate) for path in paths]
        return torch.cat(parts)


def to_tokens(label):
    """Dynamic item: "3 1 4" -> tensor([3, 1, 4])."""
    return torch.tensor([int(digit) for digit in label.split()])


def dataio_prep(hparams):
    """Make the three sets, with ``id``, ``sig``, ``label`` and ``tokens``."""
    reader = StringReader(hparams["data_folder"], hparams["sample_rate"])
    datasets = {}
    for split in ("train", "valid", "test"):
        dataset = manifest_dataset(f"{hparams['manifest_folder']}/{split}.csv")
        dataset.add_dynamic_item(reader, "wav", "sig")
        dataset.add_dynamic_item(to_tokens, "label", "tokens")
        dataset.set_output_keys(["id", "sig", "label", "tokens"])
        datasets[split] = dataset
    return datasets


def main(hparams_file, run_opts, overrides):
    """Prepare, train, test and write the results."""
    hparams = load_hparams(hparams_file, overrides)
    folder = hparams["output_folder"]
    sb.create_experiment_directory(folder, hparams_file, overrides)
    prepare_digit_strings(
        hparams["data_folder"],
        hparams["manifest_folder"],
        hparams["n_digits"],
        hparams["rounds"],
        hparams["data_seed"],
        hparams["allow_missing"],
        hparams["skip_prep"],
    )
    datasets = dataio_prep(hparams)
    brain = DigitBrain(
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    brain.fit(
        hparams["epoch_counter"],
        datasets["train"],
        datasets["valid"],
        train_loader_kwargs=hparams["train_loader"],
        valid_loader_kwargs=hparams["valid_loader"],
    )
    brain.evaluate(
        datasets["test"],
        min_key="WER",
        test_loader_kwargs=dict(hparams["test_loader"]),
    )
    with open(f"{folder}/wer.txt", "w", encoding="utf-8") as file:
        brain.errors.write_stats(file)
    record = {
        "dataset": "FSDD digit strings",
        "hparams_file": hparams_file,
        "metric": {"name": "WER", "value": brain.stats["WER"], "split": "test"},
        "metrics": brain.stats,
        "rule": "epoch with the lowest WER on validation",
        "epoch": hparams["epoch_counter"].current,
        "curve": hparams["epoch_log"].history(),
        "seed": hparams["seed"],
        "parameters": sum(p.numel() for p in brain.modules.parameters()),
        "wall_time_s": round(brain.train_seconds(), 1),
        **environment(brain.device),
    }
    write_json(f"{folder}/results.json", record)
    hparams["epoch_log"].note(f"test: WER {brain.stats['WER']:.2f} %")


if __name__ == "__main__":
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.exit("train.py: one process is enough here; start it by python.")
    hparams_file, run_opts, overrides = parse_arguments(sys.argv[1:])
    with session(run_opts):
        main(hparams_file, run_opts, overrides)
