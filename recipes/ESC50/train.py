"""Environmental sounds: a fold of ESC-50 or ESC-10 with Audio Mamba.

    python train.py hparams/aum_base.yaml --data_folder /path/to/ESC50

All five folds, mean and standard deviation:

    python run_folds.py hparams/aum_base.yaml --data_folder /path/to/ESC50

README.md has the corpus, the options and the results.
"""

from esc50_prepare import prepare_esc50

from audiomamba.dataio.pipeline import clip_datasets
from audiomamba.training.recipe import run_recipe


def prepare(settings):
    """Write the manifests."""
    prepare_esc50(
        settings["data_folder"],
        settings["manifest_folder"],
        fold=settings["fold"],
        subset=settings["subset"],
        meta_file=settings["meta_file"],
        allow_missing=settings["allow_missing"],
        skip_prep=settings["skip_prep"],
        check_audio=settings["check_audio"],
        download=settings["download"],
    )


def dataio_prep(hparams, labels):
    """Make the data sets; the corpus has no validation split."""
    return clip_datasets(hparams, labels, splits=("train", "test"))


if __name__ == "__main__":
    run_recipe(
        lambda settings: settings["subset"].upper(), prepare, dataio_prep
    )
