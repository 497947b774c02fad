"""Recognition of interactions by their sound on EPIC-Sounds, with Audio Mamba.

    python train.py hparams/aum_base.yaml --data_folder /path/to/EPIC-Sounds

README.md has the corpus, the options and the results.
"""

from epic_sounds_prepare import prepare_epic_sounds
from submission import write_submission

from audiomamba.dataio.hdf5 import HDF5Reader
from audiomamba.dataio.pipeline import ClipDataset, clip_datasets
from audiomamba.training.recipe import run_recipe


def prepare(settings):
    """Write the manifests."""
    prepare_epic_sounds(
        settings["data_folder"],
        settings["manifest_folder"],
        settings["label_file"],
        valid_share=settings["valid_share"],
        allow_missing=settings["allow_missing"],
        skip_prep=settings["skip_prep"],
        check_audio=settings["check_audio"],
    )


def dataio_prep(hparams, labels):
    """Make the data sets ``train``, ``test`` and maybe ``valid``."""
    return clip_datasets(hparams, labels, reader=HDF5Reader)


def submit(brain, hparams, datasets):
    """Write the challenge's predictions with the headline's weights."""
    reader = HDF5Reader(
        hparams["data_folder"], hparams["sample_rate"], hparams["max_duration"]
    )
    challenge = ClipDataset(
        f"{hparams['manifest_folder']}/challenge.csv", reader
    )
    ids, logits = brain.predict(challenge, hparams["test_loader"])
    archive = f"{hparams['output_folder']}/submission.zip"
    write_submission(archive, ids, logits, hparams["submission"])


if __name__ == "__main__":
    run_recipe("EPIC-Sounds", prepare, dataio_prep, finish=submit)
