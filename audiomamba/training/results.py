"""``results.json``: what a run reached, and all that is needed to repeat it."""

from pathlib import Path

from speechbrain.utils.distributed import main_process_only
from speechbrain.utils.logger import get_logger
from torch.nn.parallel import DistributedDataParallel

from audiomamba.dataio.files import write_json
from audiomamba.lobes.flops import count_clip
from audiomamba.training.environment import environment
from audiomamba.training.epoch_log import describe

logger = get_logger(__name__)


def flops_per_clip(brain, hparams):
    """Count the operations of a clip of the YAML's ``n_frames``.

    Arguments
    ---------
    brain : RecipeBrain
        With the model.
    hparams : dict
        Loaded hyperparameters.

    Returns
    -------
    dict or None
        From `count_clip`; ``None`` if the YAML has no ``n_frames`` and
        ``n_mels``, or the encoder cannot run without data.
    """
    if not {"n_frames", "n_mels"} <= set(hparams):
        return None
    model = [brain.modules[name] for name in ("embedding_model", "classifier")]
    model = [
        module.module if isinstance(module, DistributedDataParallel) else module
        for module in model
    ]
    try:
        return count_clip(*model, hparams["n_frames"], hparams["n_mels"])
    except RuntimeError as error:
        logger.warning(f"floating-point operations not counted: {error}")
        return None


def run_record(dataset, hparams_file, tested, brain, hparams):
    """Put the results of a run together.

    Arguments
    ---------
    dataset : str
        Name of the corpus.
    hparams_file : str
        The YAML that described the run.
    tested : dict
        From ``RecipeBrain.test``: protocol -> its record; the first protocol
        gives the headline.
    brain : RecipeBrain
        The trained Brain.
    hparams : dict
        Loaded hyperparameters.

    Returns
    -------
    dict
        Ready for `audiomamba.dataio.files.write_json`.
    """
    protocol, headline = next(iter(tested.items()))
    name = brain.hparams.metrics.headline
    return {
        "dataset": dataset,
        "hparams_file": str(hparams_file),
        "metric": {
            "name": name,
            "value": headline["test"][name],
            "split": "test",
        },
        "protocol": protocol,
        "rule": headline["rule"],
        "epoch": headline["epoch"],
        "metrics": headline["test"],
        "protocols": tested,
        "epochs_trained": brain.epochs_trained(),
        "skipped_steps": brain.skipped_steps,
        "curve": brain.hparams.epoch_log.history(),
        "seed": hparams["seed"],
        "n_classes": hparams.get("n_classes"),
        "clips": brain.clips,
        "parameters": sum(p.numel() for p in brain.modules.parameters()),
        "flops_per_clip": flops_per_clip(brain, hparams),
        "wall_time_s": round(brain.train_seconds(), 1),
        "precision": brain.precision,
        **environment(brain.device),
    }


@main_process_only
def save_results(record, brain, folder, labels):
    """Write ``results.json``, then the reports of the metrics.

    The reports are of the headline's protocol, on the reported split.

    Arguments
    ---------
    record : dict
        From `run_record`.
    brain : RecipeBrain
        The trained Brain.
    folder : str or Path
        The output folder.
    labels : list of str
        Class names, by index.
    """
    path = Path(folder, "results.json")
    write_json(path, record)
    brain.hparams.metrics.write_reports(folder, labels)
    for protocol, entry in record["protocols"].items():
        brain.hparams.epoch_log.note(
            f"test ({protocol}), epoch {entry['epoch']}: "
            f"{describe(entry['test'])}"
        )
    logger.info(f"results: {path}")
