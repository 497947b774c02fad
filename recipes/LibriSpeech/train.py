"""LibriSpeech with Audio Mamba and CTC: from speech to text.

    python train.py hparams/aum_small_ctc.yaml --data_folder /path/to/corpus

README.md has the corpus, the options and the results.
"""

from pathlib import Path

from librispeech_prepare import prepare_librispeech

from audiomamba.dataio.pipeline import ClipDataset
from audiomamba.dataio.reader import AudioReader
from audiomamba.dataio.tokenizer import (
    TokenEncoder,
    read_tokenizer,
    train_tokenizer,
)
from audiomamba.training.recipe import run_recipe
from audiomamba.training.tasks.recognition import RecognitionBrain
from audiomamba.training.tasks.short_utterances import without_short


def prepare(settings):
    """Write the manifests, and train the tokenizer."""
    prepare_librispeech(
        settings["data_folder"],
        settings["manifest_folder"],
        {
            "train": settings["train_splits"],
            "valid": settings["valid_splits"],
            "test": settings["test_splits"],
        },
        allow_missing=settings["allow_missing"],
        skip_prep=settings["skip_prep"],
        check_audio=settings["check_audio"],
    )
    train_tokenizer(
        Path(settings["manifest_folder"], "train.csv"),
        settings["tokenizer_file"],
        settings["label_file"],
        settings["vocab_size"],
    )


def dataio_prep(hparams, labels):
    """Make the data sets, with waveforms, transcripts and their tokens."""
    reader = AudioReader(hparams["data_folder"], hparams["sample_rate"])
    encoder = TokenEncoder(read_tokenizer(hparams["tokenizer_file"]))
    datasets = {}
    for split in ("train", "valid", "test"):
        if split == "valid" and not hparams["valid_splits"]:
            continue
        path = Path(hparams["manifest_folder"], f"{split}.csv")
        without = without_short(split, encoder, hparams)
        datasets[split] = ClipDataset(path, reader, encoder, without=without)
        datasets[split].set_output_keys(
            ["id", "sig", "target", "label", "subset"]
        )
    return datasets


if __name__ == "__main__":
    run_recipe("LibriSpeech", prepare, dataio_prep, RecognitionBrain)
