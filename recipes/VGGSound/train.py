"""Sound classification on VGGSound with Audio Mamba.

    python train.py hparams/aum_base.yaml --data_folder /path/to/VGGSound

Several GPUs: ``torchrun --nproc_per_node=4 train.py hparams/aum_base.yaml``.
The same command again goes on where a stopped run was; ``--test_only`` only
tests what was trained.  See README.md for the corpus and the figures.
"""

import sys

import speechbrain as sb
from speechbrain.utils.distributed import run_on_main
from vggsound_prepare import prepare_vggsound

from audiomamba.dataio.labels import read_labels
from audiomamba.dataio.pipeline import (
    AudioReader,
    LabelEncoder,
    manifest_dataset,
)
from audiomamba.training.brain import ClassificationBrain
from audiomamba.training.hparams import load_hparams, match_classes
from audiomamba.training.initial import load_initial_weights
from audiomamba.training.protocols import validation_split
from audiomamba.training.results import save_results
from audiomamba.training.session import parse_arguments, session


def dataio_prep(hparams, labels, splits):
    """Make the data sets.

    Arguments
    ---------
    hparams : dict
        Loaded hyperparameters.
    labels : list of str
        Class names, by index.
    splits : iterable of str
        ``train``, ``test`` and maybe ``valid``.

    Returns
    -------
    dict
        Split -> DynamicItemDataset with ``id``, ``sig`` and ``target``.
    """
    datasets = {}
    for split in splits:
        crop = hparams["crop"] if split == "train" else None
        reader = AudioReader(
            hparams["data_folder"],
            hparams["sample_rate"],
            hparams["max_duration"],
            crop,
        )
        dataset = manifest_dataset(f"{hparams['manifest_folder']}/{split}.csv")
        dataset.add_dynamic_item(reader, *AudioReader.ITEM)
        dataset.add_dynamic_item(LabelEncoder(labels), *LabelEncoder.ITEM)
        dataset.set_output_keys(["id", "sig", "target"])
        if crop is not None:
            dataset.set_epoch = crop.set_epoch
        datasets[split] = dataset
    return datasets


def main(hparams_file, run_opts, overrides):
    """Prepare, train, test and write the results."""
    hparams = load_hparams(hparams_file, overrides)
    valid = validation_split(hparams["valid_share"], hparams["protocols"])
    sb.create_experiment_directory(
        hparams["output_folder"], hparams_file, overrides
    )
    run_on_main(
        prepare_vggsound,
        kwargs={
            "data_folder": hparams["data_folder"],
            "save_folder": hparams["manifest_folder"],
            "label_file": hparams["label_file"],
            "valid_share": hparams["valid_share"],
            "max_missing": hparams["max_missing"],
            "skip_prep": hparams["skip_prep"],
        },
    )
    labels = read_labels(hparams["label_file"])
    hparams = match_classes(hparams, len(labels), hparams_file, overrides)
    load_initial_weights(hparams, run_opts)
    datasets = dataio_prep(hparams, labels, {"train", valid, "test"})
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
        "VGGSound",
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
