"""Clips of your own: train or fine-tune Audio Mamba on three CSV files.

    python train.py hparams/aum_tiny.yaml --data_folder /path/to/sounds

with ``train.csv``, ``valid.csv`` and ``test.csv`` in that folder, columns
``ID,duration,wav,label``.  From a checkpoint: ``--init_from``.  Several GPUs:

    torchrun --nproc_per_node=4 train.py hparams/aum_tiny.yaml

The same command again goes on where a stopped run was; ``--test_only`` only
tests what was trained.  docs/tutorial.md goes through all of it.
"""

import sys

import speechbrain as sb
from custom_prepare import SPLITS, prepare_custom
from speechbrain.utils.distributed import run_on_main

from audiomamba.dataio.labels import read_labels
from audiomamba.dataio.pipeline import (
    AudioReader,
    LabelEncoder,
    manifest_dataset,
)
from audiomamba.training.brain import ClassificationBrain
from audiomamba.training.hparams import load_hparams, match_classes
from audiomamba.training.initial import load_initial_weights
from audiomamba.training.results import save_results
from audiomamba.training.session import parse_arguments, session


def dataio_prep(hparams, labels):
    """Make the three sets.

    Arguments
    ---------
    hparams : dict
        Loaded hyperparameters.
    labels : list of str
        Class names, by index.

    Returns
    -------
    dict
        Split -> DynamicItemDataset with ``id``, ``sig`` and ``target``.
    """
    reader = AudioReader(
        hparams["data_folder"],
        hparams["sample_rate"],
        hparams["max_duration"],
    )
    encoder = LabelEncoder(labels, hparams["multi_label"])
    datasets = {}
    for split in SPLITS:
        dataset = manifest_dataset(f"{hparams['manifest_folder']}/{split}.csv")
        dataset.add_dynamic_item(reader, *AudioReader.ITEM)
        dataset.add_dynamic_item(encoder, *LabelEncoder.ITEM)
        dataset.set_output_keys(["id", "sig", "target"])
        datasets[split] = dataset
    return datasets


def main(hparams_file, run_opts, overrides):
    """Prepare, train, test and write the results."""
    hparams = load_hparams(hparams_file, overrides)
    sb.create_experiment_directory(
        experiment_directory=hparams["output_folder"],
        hyperparams_to_save=hparams_file,
        overrides=overrides,
    )
    run_on_main(
        prepare_custom,
        kwargs={
            "data_folder": hparams["data_folder"],
            "save_folder": hparams["manifest_folder"],
            "lists": {
                "train": hparams["train_csv"],
                "valid": hparams["valid_csv"],
                "test": hparams["test_csv"],
            },
            "multi_label": hparams["multi_label"],
            "allow_missing": hparams["allow_missing"],
            "skip_prep": hparams["skip_prep"],
        },
    )
    labels = read_labels(hparams["label_file"])
    hparams = match_classes(hparams, len(labels), hparams_file, overrides)
    load_initial_weights(hparams, run_opts)
    datasets = dataio_prep(hparams, labels)
    brain = ClassificationBrain(
        modules=hparams["modules"],
        opt_class=hparams["opt_class"],
        hparams=hparams,
        run_opts=run_opts,
        checkpointer=hparams["checkpointer"],
    )
    brain.fit(
        hparams["epoch_counter"],
        datasets["train"],
        datasets["valid"],
        train_loader_kwargs=hparams["train_loader"],
        valid_loader_kwargs=hparams["valid_loader"],
    )
    tested = brain.test(datasets["test"], hparams["test_loader"])
    save_results(
        hparams["dataset_name"],
        hparams_file,
        tested,
        brain=brain,
        hparams=hparams,
        labels=labels,
    )


if __name__ == "__main__":
    hparams_file, run_opts, overrides = parse_arguments(sys.argv[1:])
    with session(run_opts):
        main(hparams_file, run_opts, overrides)
