"""Train speaker embeddings on VoxCeleb with Audio Mamba.

    python train_embeddings.py hparams/aum_embeddings.yaml \
        --data_folder /path/to/VoxCeleb --noise_folder /path/to/noises

A speaker classifier with an additive angular margin, on random crops with
speed perturbation and noise.  ``verify.py`` tests the embeddings on trial
lists.  Several GPUs and resuming work as in ``train.py``.
"""

from verification_prepare import prepare_speakers

from audiomamba.dataio.pipeline import ClipDataset, LabelEncoder
from audiomamba.dataio.reader import AudioReader
from audiomamba.training.recipe import run_recipe


def prepare(settings):
    """Write the manifests."""
    prepare_speakers(
        settings["data_folder"],
        settings["manifest_folder"],
        settings["held_out"],
        settings["valid_share"],
        settings["allow_missing"],
        settings["skip_prep"],
        settings["check_audio"],
    )


def dataio_prep(hparams, labels):
    """Make the data sets: crops to train on, whole utterances to test.

    Arguments
    ---------
    hparams : dict
        Loaded hyperparameters.
    labels : list of str
        Speakers, by class index.

    Returns
    -------
    dict
        ``train``, ``test`` and, unless ``valid_share`` is 0, ``valid`` ->
        ClipDataset.
    """
    audio = (hparams["data_folder"], hparams["sample_rate"])
    whole = AudioReader(*audio)
    crops = AudioReader(*audio, hparams["crop_duration"], hparams["crop"])
    readers = {"train": crops, "test": whole}
    if hparams["valid_share"]:
        readers["valid"] = whole
    encoder = LabelEncoder(labels)
    folder = hparams["manifest_folder"]
    balanced = hparams["balanced_sampling"]
    return {
        split: ClipDataset(
            f"{folder}/{split}.csv",
            reader,
            encoder,
            balanced and split == "train",
        )
        for split, reader in readers.items()
    }


if __name__ == "__main__":
    run_recipe("VoxCeleb", prepare, dataio_prep)
