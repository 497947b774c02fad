"""Audio tagging on AudioSet with Audio Mamba.

    python train.py hparams/aum_base.yaml --data_folder /path/to/AudioSet

README.md has the corpus, the options and the results.
"""

from audioset_prepare import prepare_audioset

from audiomamba.dataio.manifest import read_labels
from audiomamba.dataio.pipeline import clip_datasets
from audiomamba.training.recipe import run_recipe


def prepare(settings):
    """Write the manifests."""
    prepare_audioset(
        settings["data_folder"],
        settings["manifest_folder"],
        settings["label_file"],
        settings["train_lists"],
        settings["valid_share"],
        settings["max_missing"],
        settings["skip_prep"],
        settings["check_audio"],
    )


def dataio_prep(hparams, labels):
    """Make the data sets.

    Arguments
    ---------
    hparams : dict
        Loaded hyperparameters.
    labels : list of str
        Names of the classes; the manifests have their ids instead.

    Returns
    -------
    dict
        ``train``, ``test`` and maybe ``valid`` -> ClipDataset.
    """
    mids = read_labels(hparams["label_file"], "mid")
    return clip_datasets(hparams, mids, multi_label=True)


if __name__ == "__main__":
    run_recipe("AudioSet", prepare, dataio_prep)
