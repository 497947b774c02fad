"""Environmental sounds: a fold of ESC-50 or ESC-10 with Audio Mamba.

    python train.py hparams/aum_base.yaml --data_folder /path/to/ESC-50

All five folds, mean and standard deviation:

    python run_folds.py hparams/aum_base.yaml --data_folder /path/to/ESC-50

Several GPUs:

    torchrun --nproc_per_node=4 train.py hparams/aum_base.yaml

The same command again goes on where a stopped run was; ``--test_only`` only
tests what was trained.  See README.md for the corpus and the figures.
"""

import sys

import speechbrain as sb
from esc50_prepare import prepare_esc50
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
    """Make the training and test sets; there is no validation split.

    Arguments
    ---------
    hparams : dict
        Loaded hyperparameters.
    labels : list of str
        Categories, by class index.

    Returns
    -------
    dict
        ``train``, ``test`` -> DynamicItemDataset with ``id``, ``sig`` and
        ``target``.
    """
    datasets = {}
    for split in ("train", "test"):
        reader = AudioReader(
            hparams["data_folder"],
            hparams["sample_rate"],
            hparams["max_duration"],
        )
        dataset = manifest_dataset(f"{hparams['manifest_folder']}/{split}.csv")
        dataset.add_dynamic_item(reader, *AudioReader.ITEM)
        dataset.add_dynamic_item(LabelEncoder(labels), *LabelEncoder.ITEM)
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
        prepare_esc50,
        kwargs={
            "data_folder": hparams["data_folder"],
            "save_folder": hparams["manifest_folder"],
            "fold": hparams["fold"],
            "subset": hparams["subset"],
            "meta_file": hparams["meta_file"],
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
        datasets["test"],
        reported_set=datasets["test"],
        train_loader_kwargs=hparams["train_loader"],
        valid_loader_kwargs=hparams["valid_loader"],
    )
    tested = brain.test(datasets["test"], hparams["test_loader"])
    save_results(
        "ESC-50" if hparams["subset"] == "esc50" else "ESC-10",
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
