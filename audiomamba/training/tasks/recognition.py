"""Speech recognition with CTC: the Brain, and error rates of whole splits."""

from pathlib import Path

import pandas as pd
import torch
from speechbrain.core import Stage
from speechbrain.dataio.sampler import DynamicBatchSampler
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.metric_stats import ErrorRateStats

from audiomamba.dataio.files import replaced_file
from audiomamba.dataio.samplers import SharedBatches
from audiomamba.dataio.tables import write_csv
from audiomamba.dataio.tokenizer import read_tokenizer
from audiomamba.lobes.clip_encoder import call_with_lengths
from audiomamba.lobes.ctc import Recognizer
from audiomamba.lobes.transcripts import GreedyDecoder, make_decoder
from audiomamba.pretrained.weights import CheckpointError
from audiomamba.training.brain import PARTS, RecipeBrain
from audiomamba.training.runs.environment import all_gather

# Hyperparameters of the decoder of the test
DECODING = ("beam_size", "lm_file", "lm_weight", "word_score")


@register_checkpoint_hooks
class Tokenizer:
    """The tokenizer that a checkpoint's model writes with.

    Arguments
    ---------
    processor : sentencepiece.SentencePieceProcessor
        That of the data.

    Raises
    ------
    CheckpointError
        On loading a checkpoint with another one.
    """

    def __init__(self, processor):
        self.content = processor.serialized_model_proto()

    @mark_as_saver
    def save(self, path):
        """Write the SentencePiece model."""
        Path(path).write_bytes(self.content)

    @mark_as_loader
    def load(self, path, end_of_epoch):
        """Compare the SentencePiece model with that of the data."""
        if Path(path).read_bytes() != self.content:
            raise CheckpointError(
                f"{path} is another tokenizer than that of the data: choose "
                "another --output_folder."
            )


class RecognitionBrain(RecipeBrain):
    """Trains a recogniser with CTC, and tests what it writes down.

    Batches carry the transcript (``label``), its tokens (``target``) and the
    part of the corpus (``subset``) as well.  The hyperparameters
    ``wav_augment`` and ``spec_augment`` are objects or null, called in training
    with waveforms [B, N] or feats [B, T, F], and with relative lengths if they
    take them.

    Arguments
    ---------
    *args, **kwargs
        As for `RecipeBrain`; the modules are those of `Recognizer`.
    """

    REQUIRED = (
        *RecipeBrain.REQUIRED,
        "compute_loss",
        "tokenizer_file",
        "wav_augment",
        "spec_augment",
        "dynamic_batches",
        *DECODING,
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        tokenizer = read_tokenizer(self.hparams.tokenizer_file)
        self.checkpointer.add_recoverable("tokenizer", Tokenizer(tokenizer))
        self.decoders = {
            Stage.VALID: GreedyDecoder(tokenizer),
            Stage.TEST: make_decoder(
                tokenizer,
                **{key: getattr(self.hparams, key) for key in DECODING},
            ),
        }

    def _epoch_batches(self, dataset, batch_size=1, shuffle=False, **others):
        """Options of a loader; batches by seconds of speech, if asked for."""
        dynamic = self.hparams.dynamic_batches
        if dynamic is None:
            return super()._epoch_batches(
                dataset, batch_size, shuffle, **others
            )
        batches = DynamicBatchSampler(
            dataset,
            lengths_list=dataset.data.columns["duration"].tolist(),
            seed=self.hparams.seed,
            **dynamic,
        )
        self.train_sampler = SharedBatches(
            batches, self.rank, self._n_processes()
        )
        return {**others, "batch_sampler": self.train_sampler}

    def recognizer(self, stage):
        """Return features, normalisation, encoder and classifier as one."""
        names = (*PARTS, "classifier")
        return Recognizer(*(self.module(name, stage) for name in names))

    def compute_forward(self, batch, stage):
        """Compute the scores of tokens.

        Arguments
        ---------
        batch : PaddedBatch
            With ``sig``.
        stage : Stage
            Augmentation is for training only.

        Returns
        -------
        tuple
            See `Recognizer`.
        """
        wavs, lengths = batch.to(self.device).sig
        if stage != Stage.TRAIN:
            return self.recognizer(stage)(wavs, lengths)
        if self.hparams.wav_augment is not None:
            # filtering in half precision would add rounding noise
            with torch.autocast(wavs.device.type, enabled=False):
                wavs = call_with_lengths(
                    self.hparams.wav_augment, wavs, lengths
                )
        return self.recognizer(stage)(wavs, lengths, self.hparams.spec_augment)

    def compute_objectives(self, predictions, batch, stage):
        """Compute the loss and, outside of training, collect transcripts.

        Arguments
        ---------
        predictions : tuple
            From `compute_forward`.
        batch : PaddedBatch
            With ``id``, ``target``, ``label`` and ``subset``.
        stage : Stage
            Where in the run.

        Returns
        -------
        torch.Tensor
            The mean loss.
        """
        log_probs, lengths = predictions
        tokens, token_lengths = batch.target
        loss = self.hparams.compute_loss(
            log_probs, tokens, lengths, token_lengths
        )
        if stage != Stage.TRAIN:
            texts = self.decoders[stage](log_probs, lengths)
            self.hparams.metrics.append(
                batch.id, batch.subset, texts, batch.label, loss
            )
        return loss


class ErrorRates:
    """Collects transcripts of a split; word and character error rate.

    Both rates are SpeechBrain's, as shares of the reference; with several
    subsets also the word error rate of each.

    Example
    -------
    >>> rates = ErrorRates()
    >>> rates.append(["a"], ["dev"], ["ONE SIX"], ["ONE TWO"], loss=0.5)
    >>> {name: rates.summarise()[name] for name in ("WER", "substitutions")}
    {'WER': 0.5, 'substitutions': 1}
    """

    headline = "WER"
    higher_is_better = False

    def __init__(self):
        self.clear()

    def clear(self):
        """Drop all utterances."""
        self.utterances, self.loss_sum = [], 0.0

    def append(self, ids, subsets, found, wanted, loss):
        """Add one batch.

        Arguments
        ---------
        ids, subsets : list of str
            Names of the utterances, and the part of the corpus of each.
        found, wanted : list of str
            What the model wrote down, and the references.
        loss : float or torch.Tensor
            Mean loss of the batch.
        """
        self.utterances += zip(ids, subsets, found, wanted)
        self.loss_sum += float(loss) * len(ids)

    def gather(self):
        """All-gather what the ranks of a distributed run collected."""
        parts = all_gather((self.utterances, self.loss_sum))
        self.utterances = [row for rows, _ in parts for row in rows]
        self.loss_sum = sum(loss for _, loss in parts)

    def _statistics(self, split_tokens=False, subset=None):
        """SpeechBrain's statistics, of words or of characters."""
        statistics = ErrorRateStats(split_tokens=split_tokens)
        rows = [
            (name, found.split(), wanted.split())
            for name, part, found, wanted in sorted(self.utterances)
            if subset in (None, part)
        ]
        statistics.append(*map(list, zip(*rows)))
        return statistics

    def summarise(self):
        """Compute the error rates.

        Returns
        -------
        dict
            ``WER`` and ``CER``, ``WER_<subset>`` where there are several, the
            errors by kind, the number of ``words``, and the mean ``loss``.

        Raises
        ------
        ValueError
            If no utterance was collected.
        """
        if not self.utterances:
            raise ValueError("No utterance was evaluated: the split is empty.")
        words = self._statistics().summarize()
        characters = self._statistics(split_tokens=True).summarize()
        rates = {"WER": _rate(words), "CER": _rate(characters)}
        subsets = sorted({subset for _, subset, _, _ in self.utterances})
        for subset in subsets if len(subsets) > 1 else ():
            own = self._statistics(subset=subset).summarize()
            rates[f"WER_{subset}"] = _rate(own)
        kinds = ("substitutions", "deletions", "insertions")
        return {
            **rates,
            **{kind: words[kind] for kind in kinds},
            "words": words["num_scored_tokens"],
            "loss": self.loss_sum / len(self.utterances),
        }

    def table(self):
        """Return the utterances with their error rates.

        Returns
        -------
        pandas.DataFrame
            ``ID``, ``subset``, ``words``, ``errors``, ``WER``, ``CER``,
            ``reference``, ``transcript``; sorted by ``ID``.
        """
        words = self._statistics().scores
        characters = self._statistics(split_tokens=True).scores
        rows = [
            {
                "ID": name,
                "subset": subset,
                "words": of_words["num_ref_tokens"],
                "errors": of_words["num_edits"],
                "WER": of_words["WER"] / 100,
                "CER": of_characters["WER"] / 100,
                "reference": wanted,
                "transcript": found,
            }
            for (name, subset, found, wanted), of_words, of_characters in zip(
                sorted(self.utterances), words, characters
            )
        ]
        return pd.DataFrame(rows)

    def write_reports(self, folder, labels):
        """Write ``wer.txt``, with all alignments, and ``utterances.csv``.

        Arguments
        ---------
        folder : str or Path
            The output folder.
        labels : list of str
            The tokens; not used.
        """
        with replaced_file(Path(folder, "wer.txt")) as draft:
            with open(draft, "w", encoding="utf-8") as file:
                self._statistics().write_stats(file)
        write_csv(Path(folder, "utterances.csv"), self.table())


def _rate(summary):
    """Errors per token of the reference."""
    return summary["num_edits"] / summary["num_scored_tokens"]
