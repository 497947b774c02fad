"""Recognition of interactions by their sound on EPIC-Sounds, with Audio Mamba.

    python train.py hparams/aum_base.yaml --data_folder /path/to/EPIC-Sounds

Several GPUs:

    torchrun --nproc_per_node=4 train.py hparams/aum_base.yaml

The same command again goes on where a stopped run was; ``--test_only`` only
tests what was trained.  See README.md for the corpus and the figures.
"""

import sys

import speechbrain as sb
from epic_sounds_prepare import prepare_epic_sounds
from submission import write_submission

from audiomamba.dataio.hdf5 import HDF5Reader
from audiomamba.dataio.labels import read_labels
from audiomamba.dataio.pipeline import LabelEncoder, manifest_dataset
from audiomamba.training.brain import ClassificationBrain
from audiomamba.training.hparams import load_hparams, match_classes
from audiomamba.training.initial import load_initial_weights
from audiomamba.training.prediction import predict
from audiomamba.training.protocols import validation_split
from audiomamba.training.results import save_results
from audiomamba.training.session import parse_arguments, session


def dataio_prep(hparams, labels, valid):
    """Make the sets for training, validation, test and the challenge.

    Arguments
    ---------
    hparams : dict
        Loaded hyperparameters.
    labels : list of str
        Class names, by ``class_id``.
    valid : str
        The split to validate on.

    Returns
    -------
    dict
        Split -> DynamicItemDataset; ``challenge`` is without ``target``.
    """
    datasets = {}
    for split in {"train", valid, "test", "challenge"}:
        crop = hparams["crop"] if split == "train" else None
        reader = HDF5Reader(
            hparams["data_folder"],
            hparams["sample_rate"],
            hparams["max_duration"],
            crop,
        )
        dataset = manifest_dataset(f"{hparams['manifest_folder']}/{split}.csv")
        dataset.add_dynamic_item(reader, *HDF5Reader.ITEM)
        dataset.set_output_keys(["id", "sig"])
        if split != "challenge":
            dataset.add_dynamic_item(LabelEncoder(labels), *LabelEncoder.ITEM)
            dataset.set_output_keys(["id", "sig", "target"])
        if crop is not None:
            dataset.set_epoch = crop.set_epoch
        datasets[split] = dataset
    return datasets


def main(hparams_file, run_opts, overrides):
    """Prepare, train, test, predict the challenge and write the results."""
    hparams = load_hparams(hparams_file, overrides)
    valid = validation_split(hparams["valid_share"], hparams["protocols"])
    sb.create_experiment_directory(
        experiment_directory=hparams["output_folder"],
        hyperparams_to_save=hparams_file,
        overrides=overrides,
    )
    sb.utils.distributed.run_on_main(
        prepare_epic_sounds,
        kwargs={
            "data_folder": hparams["data_folder"],
            "save_folder": hparams["manifest_folder"],
            "label_file": hparams["label_file"],
            "valid_share": hparams["valid_share"],
            "allow_missing": hparams["allow_missing"],
            "skip_prep": hparams["skip_prep"],
        },
    )
    labels = read_labels(hparams["label_file"])
    hparams = match_classes(hparams, len(labels), hparams_file, overrides)
    load_initial_weights(hparams, run_opts)
    datasets = dataio_prep(hparams, labels, valid)
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
        datasets[valid],
        reported_set=datasets["test"],
        train_loader_kwargs=hparams["train_loader"],
        valid_loader_kwargs=hparams["valid_loader"],
    )
    tested = brain.test(datasets["test"], hparams["test_loader"])
    save_results(
        "EPIC-Sounds",
        hparams_file,
        tested,
        brain=brain,
        hparams=hparams,
        labels=labels,
    )
    ids, logits = predict(brain, datasets["challenge"], hparams["test_loader"])
    archive = f"{hparams['output_folder']}/submission.zip"
    write_submission(archive, ids, logits, hparams["submission"])


if __name__ == "__main__":
    hparams_file, run_opts, overrides = parse_arguments(sys.argv[1:])
    with session(run_opts):
        main(hparams_file, run_opts, overrides)
