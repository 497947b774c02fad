"""Speaker identification on VoxCeleb1 with Audio Mamba.

    python train.py hparams/aum_base.yaml --data_folder /path/to/VoxCeleb1

README.md has the corpus, the options and the results.
"""

from voxceleb_prepare import prepare_voxceleb

from audiomamba.dataio.pipeline import clip_datasets
from audiomamba.training.recipe import run_recipe


def prepare(settings):
    """Write the manifests."""
    prepare_voxceleb(
        settings["data_folder"],
        settings["manifest_folder"],
        allow_missing=settings["allow_missing"],
        skip_prep=settings["skip_prep"],
        check_audio=settings["check_audio"],
    )


if __name__ == "__main__":
    run_recipe("VoxCeleb", prepare, clip_datasets)
