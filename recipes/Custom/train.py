"""Your own clips: train or fine-tune Audio Mamba on three CSV files.

    python train.py hparams/aum_tiny.yaml --data_folder /path/to/sounds

with ``train.csv``, ``valid.csv`` and ``test.csv`` in that folder, columns
``ID,duration,wav,label``.  From a checkpoint: ``--init_from``.

docs/tutorial.md goes through all of it.
"""

from custom_prepare import dataio_prep, prepare

from audiomamba.training.recipe import run_recipe

if __name__ == "__main__":
    run_recipe(lambda settings: settings["dataset_name"], prepare, dataio_prep)
