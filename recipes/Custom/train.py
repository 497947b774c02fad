"""Your own clips: train or fine-tune Audio Mamba on three CSV files.

    python train.py hparams/aum_tiny.yaml --data_folder /path/to/sounds

with ``train.csv``, ``valid.csv`` and ``test.csv`` in that folder, columns
``ID,duration,wav,label``.  From a checkpoint: ``--init_from``.

docs/tutorial.md goes through all of it.
"""

from custom_prepare import prepare_custom

from audiomamba.dataio.pipeline import clip_datasets
from audiomamba.training.recipe import run_recipe


def prepare(settings):
    """Check the lists and write the manifests."""
    prepare_custom(
        settings["data_folder"],
        settings["manifest_folder"],
        {
            "train": settings["train_csv"],
            "valid": settings["valid_csv"],
            "test": settings["test_csv"],
        },
        settings["multi_label"],
        settings["allow_missing"],
        settings["skip_prep"],
    )


def dataio_prep(hparams, labels):
    """Make the data sets ``train``, ``valid`` and ``test``."""
    return clip_datasets(hparams, labels, multi_label=hparams["multi_label"])


if __name__ == "__main__":
    run_recipe(lambda settings: settings["dataset_name"], prepare, dataio_prep)
