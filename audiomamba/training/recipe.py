"""A run of a recipe, from the command line to the record."""

import errno
import gc
import logging
import os
import sys
from contextlib import contextmanager

import torch
import torch._dynamo  # imported later, it keeps the process group for good
from speechbrain.core import Stage
from speechbrain.utils.distributed import (
    ddp_init_group,
    infer_device,
    run_on_main,
)
from speechbrain.utils.logger import get_logger

from audiomamba.dataio.audio import AudioError
from audiomamba.dataio.manifest import read_labels
from audiomamba.dataio.problems import PreparationError
from audiomamba.pretrained.weights import CheckpointError
from audiomamba.training.checkpoints import ClassNames
from audiomamba.training.decisions import (
    draw_decisions,
    f1_of_decisions,
    learn_decisions,
)
from audiomamba.training.finetuning import check_finetuning, class_weights
from audiomamba.training.protocols import check_averages, check_protocols
from audiomamba.training.results import run_record, save_results
from audiomamba.training.runs.environment import command_line
from audiomamba.training.runs.hparams import fit_precision, load_hparams
from audiomamba.training.runs.interruption import interruption
from audiomamba.training.runs.options import check_options, parse_arguments
from audiomamba.training.runs.run import Run, RunError
from audiomamba.training.runs.trial import Trial, take_search
from audiomamba.training.runs.watch import process_watch
from audiomamba.training.tasks.classification import ClassificationBrain

logger = get_logger(__name__)

# Errors of the user's data, weights or settings
FAULTS = (AudioError, PreparationError, CheckpointError, RunError)
# Errors of a disk that is full or read-only
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@contextmanager
def process_group():
    """Close torch's process group at the end; say why a run ended early.

    SpeechBrain leaves the group open, and so does PyTorch while anything refers
    to it.  Threads of the group then outlive the interpreter, and now and then
    one crashes the process when the run is over.  Faults of the user's data,
    weights, settings or disk end the program with one message and no traceback,
    and so do signals.
    """
    with interruption.watch():
        try:
            yield
        except (
            AudioError,
            PreparationError,
            CheckpointError,
            RunError,
        ) as error:
            _end(error)
        except OSError as error:
            if error.errno not in DISK:
                raise
            logging.raiseExceptions = False  # the log may be on the same disk
            _end(f"{error}. Make room there; the same command resumes.")
        except KeyboardInterrupt as stop:
            where = f" in {stop}" if str(stop) else ""
            why = f"Stopped by {interruption.name}{where}."
            resume = f"The same command resumes: {command_line()}"
            _end(f"{why} {resume}", interruption.status)
        finally:
            process_watch.stop()
            if torch.distributed.is_initialized():
                gc.collect()  # models of DistributedDataParallel refer to it
                torch.distributed.destroy_process_group()


def _end(message, status=1):
    """End the program; say why, once on every machine."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        logger.error(message, main_process_only=False)
    raise SystemExit(status) from None


@process_group()
def run_recipe(
    dataset,
    prepare,
    dataio_prep,
    brain_class=ClassificationBrain,
    finish=None,
    argv=None,
):
    """Train and test as the command line says.

    Arguments
    ---------
    dataset : str or callable
        Name of the corpus, for the record; or what tells it from the plain
        values of the YAML.
    prepare : callable
        Called on the main process with the plain values of the YAML; writes
        the manifests and, unless it comes with the recipe, the label file. A
        YAML without ``label_file`` is for data without labels.
    dataio_prep : callable
        Called with the hyperparameters and the class names, None without
        labels; returns the data sets ``train``, ``test`` and maybe ``valid``.
        Without ``valid`` the run is validated on ``test``, as in the authors'
        code.
    brain_class : type
        A `RecipeBrain`.
    finish : callable, optional
        Called at the end with the Brain, hyperparameters and data sets.
    argv : list of str, optional
        Arguments instead of the command line's.
    """
    file, mode, argv = take_search(sys.argv[1:] if argv is None else argv)
    hparams_file, run_opts, overrides = parse_arguments(argv)
    ddp_init_group(run_opts)
    trial = Trial(file, mode) if file else None
    if trial:
        overrides = trial.overrides(hparams_file, overrides)
    run = Run(hparams_file, overrides, run_opts)
    check_options(run.settings, run_opts)
    run.open(run_opts["log_config"])
    run_opts = fit_precision(run.settings, run_opts)
    labels = prepare_run(run, prepare, dataio_prep, run_opts)

    hparams = load_hparams(hparams_file, run.overrides)
    checkpointer = hparams["checkpointer"]
    if labels is not None:
        checkpointer.add_recoverable("label_encoder", ClassNames(labels))
    load_initial_weights(hparams, labels, run_opts["test_only"])
    datasets = dataio_prep(hparams, labels)
    for split, clips in datasets.items():
        clips.leave_out_bad(split)
    if trial:
        trial.check(datasets)
    if hparams.get("class_weights") is not None:
        hparams["class_weights"] = class_weights(
            hparams["class_weights"], labels, datasets["train"]
        )
    made = [hparams[key] for key in ("modules", "opt_class")]
    brain = brain_class(*made, hparams, run_opts, checkpointer)
    brain.try_out(hparams["sample_rate"])
    if hparams.get("distillation") and not run_opts["test_only"]:
        hparams["distillation"].prepare(
            brain.clip_encoder(Stage.VALID),
            labels,
            hparams["sample_rate"],
            datasets["train"].data_ids,
            brain.device,
        )
    brain.fit(
        hparams["epoch_counter"],
        datasets["train"],
        datasets.get("valid", datasets["test"]),
        datasets["test"],
        train_loader_kwargs=hparams["train_loader"],
        valid_loader_kwargs=hparams["valid_loader"],
    )
    if trial:
        trial.report(brain, datasets["valid"], hparams["valid_loader"])
        return
    name = dataset(run.settings) if callable(dataset) else dataset
    test_and_record(name, hparams_file, brain, hparams, datasets, labels)
    if finish is not None:
        finish(brain, hparams, datasets)


def test_and_record(name, hparams_file, brain, hparams, datasets, labels):
    """Test the trained model; write its results, its thresholds among them.

    Arguments
    ---------
    name : str
        Of the corpus.
    hparams_file : str
        The YAML.
    brain : RecipeBrain
        After training.
    hparams, datasets, labels
        As in `run_recipe`.
    """
    tested = brain.test(datasets["test"], hparams["test_loader"])
    record = run_record(name, hparams_file, tested, brain, hparams)
    decisions = learn_decisions(
        brain, datasets.get("valid"), hparams["valid_loader"]
    )
    if decisions:
        record["decisions"] = decisions
        record["f1"] = f1_of_decisions(brain.hparams.metrics, decisions)
    folder = hparams["output_folder"]
    save_results(record, brain, folder, labels)
    if decisions:
        drawn = [brain.hparams.metrics, decisions, folder, labels]
        run_on_main(draw_decisions, drawn)


def prepare_run(run, prepare, dataio_prep, run_opts):
    """Prepare the data of a run, and bind its folder to them.

    Arguments
    ---------
    run : Run
        With its folder open.
    prepare, dataio_prep : callable
        See `run_recipe`.
    run_opts : RunOptions
        SpeechBrain's run options.

    Returns
    -------
    list of str or None
        Class names, by index; None for data without labels.
    """
    settings, protocols = run.settings, run.settings["protocols"]
    check_protocols(protocols, settings.get("valid_share", 1) != 0)
    check_averages(
        protocols,
        settings["average_from"],
        settings["ema_decay"],
        settings["number_of_epochs"],
    )
    check_finetuning(settings)
    run_on_main(prepare, [settings])
    labels = None
    if "label_file" in settings:
        labels = read_labels(settings["label_file"])
    run.fill_statistics(dataio_prep, labels, not run_opts["noprogressbar"])
    device = run_opts["device"] or infer_device()
    run.bind(labels, device, run_opts["precision"])
    return labels


def load_initial_weights(hparams, labels, test_only):
    """Load weights from ``init_from`` or by a ``pretrainer``, if given.

    From ``init_from`` encoder and classifier are loaded, the latter if its
    class names are those of the data.  A SpeechBrain ``Pretrainer`` loads what
    it names.

    Arguments
    ---------
    hparams : dict
        With ``init_from``, ``embedding_model``, ``checkpointer`` and maybe
        ``classifier`` and ``pretrainer``.
    labels : list of str or None
        Class names of the data, by index; None for data without labels.
    test_only : bool
        Without a checkpoint of the run, the weights are tested as they are:
        the classifier must be loaded.

    Raises
    ------
    CheckpointError
        If the weights do not fit.
    """
    source, pretrainer = hparams.get("init_from"), hparams.get("pretrainer")
    if pretrainer is not None:
        run_on_main(pretrainer.collect_files)
        pretrainer.load_collected()
    if source is None:
        return
    from audiomamba.pretrained import initialise

    with_classifier = initialise(
        hparams["embedding_model"],
        hparams.get("classifier"),
        source,
        labels=labels,
    )
    trained = hparams["checkpointer"].list_checkpoints()
    if test_only and not trained and not with_classifier:
        if labels is None:
            raise CheckpointError(
                f"{source} is an encoder without the heads of pre-training, so "
                "there is nothing to test: train first, without --test_only."
            )
        raise CheckpointError(
            f"{source} has no classifier for the {len(labels)} classes of the "
            "data, so there is nothing to test. Train it first, without "
            "--test_only; or give the data that it was trained on, with all "
            "their classes."
        )
