"""Pre-train an encoder on recordings without labels.

    python train.py hparams/aum_tiny.yaml --data_folder /path/to/recordings

Patches of the spectrogram are hidden, and the encoder learns to predict them.
Every recipe starts from the result with ``--init_from <output_folder>``.
"""

from pretraining_prepare import prepare_pretraining, share_weights

from audiomamba.dataio.pipeline import ClipDataset
from audiomamba.dataio.reader import AudioReader
from audiomamba.training.recipe import run_recipe
from audiomamba.training.tasks.pretraining import PretrainingBrain


def prepare(settings):
    """Write the manifests."""
    prepare_pretraining(
        settings["data_folder"],
        settings["manifest_folder"],
        settings["clips_csv"],
        settings["shares"],
        settings["valid_share"],
        settings["part_duration"],
        settings["allow_missing"],
        settings["skip_prep"],
        settings["check_audio"],
    )


def dataio_prep(hparams, labels):
    """Make the data sets: random crops to train on, and starts to test.

    Arguments
    ---------
    hparams : dict
        Loaded hyperparameters.
    labels : None
        There are none.

    Returns
    -------
    dict
        ``train``, and the held-out files as ``valid`` and ``test`` ->
        ClipDataset.
    """
    audio = [hparams[k] for k in ("data_folder", "sample_rate", "max_duration")]
    crops, starts = AudioReader(*audio, hparams["crop"]), AudioReader(*audio)
    train = ClipDataset(f"{hparams['manifest_folder']}/train.csv", crops)
    if hparams["shares"]:
        folders = train.data.columns["folder"]
        train.weights = share_weights(folders, hparams["shares"])
    held_out = ClipDataset(f"{hparams['manifest_folder']}/valid.csv", starts)
    return {"train": train, "valid": held_out, "test": held_out}


if __name__ == "__main__":
    run_recipe("Pretraining", prepare, dataio_prep, PretrainingBrain)
