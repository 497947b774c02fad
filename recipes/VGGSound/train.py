"""Sound classification on VGGSound with Audio Mamba.

    python train.py hparams/aum_base.yaml --data_folder /path/to/VGGSound

README.md has the corpus, the options and the results.
"""

from vggsound_prepare import prepare_vggsound

from audiomamba.dataio.pipeline import clip_datasets
from audiomamba.training.recipe import run_recipe


def prepare(settings):
    """Write the manifests."""
    prepare_vggsound(
        settings["data_folder"],
        settings["manifest_folder"],
        settings["label_file"],
        valid_share=settings["valid_share"],
        max_missing=settings["max_missing"],
        skip_prep=settings["skip_prep"],
        check_audio=settings["check_audio"],
    )


if __name__ == "__main__":
    run_recipe("VGGSound", prepare, clip_datasets)
