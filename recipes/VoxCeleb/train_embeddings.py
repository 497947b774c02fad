"""Training of speaker embeddings on VoxCeleb with Audio Mamba.

    python train_embeddings.py hparams/aum_embeddings.yaml \
        --data_folder /path/to/VoxCeleb --noise_folder /path/to/noises

A classifier of speakers with an additive angular margin, on random crops with
speed perturbation and noise.  ``verify.py`` tests the embeddings on trial
lists.  Several GPUs and going on after a stop: as in ``train.py``.
"""

import sys

import speechbrain as sb
from speechbrain.utils.distributed import run_on_main
from verification_prepare import prepare_speakers

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
    """Make the training, validation and test sets.

    Arguments
    ---------
    hparams : dict
        Loaded hyperparameters.
    labels : list of str
        Speakers, by class index.

    Returns
    -------
    dict
        ``train`` (crops), ``valid`` and ``test`` (whole utterances) ->
        DynamicItemDataset with ``id``, ``sig`` and ``target``.
    """
    folder, sample_rate = hparams["data_folder"], hparams["sample_rate"]
    crop = hparams["crop"]
    whole = AudioReader(folder, sample_rate)
    crops = AudioReader(folder, sample_rate, hparams["crop_duration"], crop)
    datasets = {}
    for split, reader in ("train", crops), ("valid", whole), ("test", whole):
        dataset = manifest_dataset(f"{hparams['manifest_folder']}/{split}.csv")
        dataset.add_dynamic_item(reader, *AudioReader.ITEM)
        dataset.add_dynamic_item(LabelEncoder(labels), *LabelEncoder.ITEM)
        dataset.set_output_keys(["id", "sig", "target"])
        datasets[split] = dataset
    datasets["train"].set_epoch = crop.set_epoch
    return datasets


def main(hparams_file, run_opts, overrides):
    """Prepare, train, test on known speakers and write the results."""
    hparams = load_hparams(hparams_file, overrides)
    sb.create_experiment_directory(
        experiment_directory=hparams["output_folder"],
        hyperparams_to_save=hparams_file,
        overrides=overrides,
    )
    run_on_main(
        prepare_speakers,
        kwargs={
            "data_folder": hparams["data_folder"],
            "save_folder": hparams["manifest_folder"],
            "held_out": hparams["held_out"],
            "valid_share": hparams["valid_share"],
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
        "VoxCeleb",
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
