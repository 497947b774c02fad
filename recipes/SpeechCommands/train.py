"""Speech Commands V2 with Audio Mamba: 35 words, or 12 classes.

    python train.py hparams/aum_base.yaml --data_folder /path/to/SpeechCommands
    python train.py hparams/aum_tiny.yaml --task 12 \\
        --data_folder /path/to/SpeechCommands

README.md has the corpus, the options and the results.
"""

from speech_commands_prepare import prepare_speech_commands

from audiomamba.dataio.pipeline import clip_datasets
from audiomamba.training.recipe import run_recipe


def prepare(settings):
    """Write the manifests."""
    prepare_speech_commands(
        settings["data_folder"],
        settings["manifest_folder"],
        download=settings["download"],
        allow_missing=settings["allow_missing"],
        skip_prep=settings["skip_prep"],
        check_audio=settings["check_audio"],
        task=settings["task"],
    )


def corpus_name(settings):
    """The two tasks are two corpora in tables of results."""
    task = str(settings["task"])
    return "SpeechCommands" if task == "35" else f"SpeechCommands-{task}"


if __name__ == "__main__":
    run_recipe(corpus_name, prepare, clip_datasets)
