"""What a run shows and writes down: progress, learning curve, results.

``results.json`` says what a run reached, and all that is needed to repeat it.
"""

import time
from pathlib import Path

import pandas as pd
from speechbrain.utils.distributed import main_process_only
from speechbrain.utils.logger import get_logger
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from audiomamba.dataio.files import write_json
from audiomamba.dataio.tables import write_csv
from audiomamba.lobes.flops import count_clip
from audiomamba.training.runs.environment import environment
from audiomamba.training.runs.statistics import KEYS as STATISTICS

logger = get_logger(__name__)

PERCENT = "accuracy chance top5 mAP mAUC WER CER data_wait taught".split()


class Progress:
    """Iterates over a loader with a bar that vanishes, and times the waiting.

    Arguments
    ---------
    loader : iterable
        For example a ``DataLoader``.
    title : str
        Shown at the left of the bar.
    enable : bool
        Whether to show the bar, if it would be on a terminal.
    done : int
        Batches of a resumed epoch that are already done.
    total : int, optional
        Batches of the whole epoch; by default those of the loader.

    Example
    -------
    >>> progress = Progress([1, 2, 3], "train", enable=False)
    >>> list(progress), len(progress), progress.waited >= 0.0
    ([1, 2, 3], 3, True)
    """

    def __init__(self, loader, title, enable, done=0, total=None):
        self.loader, self.waited, self.started = loader, 0.0, 0.0
        self.bar = tqdm(
            desc=title,
            total=total or len(loader),
            initial=done,
            # None: not in a file
            disable=None if enable else True,
            leave=False,
            dynamic_ncols=True,
        )

    def __len__(self):
        return len(self.loader)

    @property
    def seconds(self):
        """Seconds since the iteration started."""
        return time.perf_counter() - self.started

    def __iter__(self):
        self.started = started = time.perf_counter()
        with self.bar:
            for item in self.loader:
                self.waited += time.perf_counter() - started
                yield item
                self.bar.update()
                started = time.perf_counter()


def readable(name, value):
    """Format one value as a person reads it.

    Example
    -------
    >>> readable("mAP", 0.327), readable("lr", 1e-5), readable("loss", 0.12345)
    ('32.70 %', '1.00e-05', '0.1235')
    """
    base = name.split("_", 1)[-1] if name.startswith("test_") else name
    # WER_<subset> is that of a part of a split
    if base in PERCENT or base.startswith("WER_"):
        return f"{100 * value:.2f} %"
    if name == "seconds":
        return f"{value:.1f}"
    if name == "lr":
        return f"{value:.2e}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def describe(values):
    """Join names and readable values.

    Example
    -------
    >>> describe({"loss": 0.5, "accuracy": 0.912})
    'loss 0.5000, accuracy 91.20 %'
    """
    return ", ".join(
        f"{name} {readable(name, value)}" for name, value in values.items()
    )


def clock(seconds):
    """Format a duration.

    Example
    -------
    >>> clock(42), clock(312), clock(93784)
    ('42 s', '5 min', '26.1 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class EpochLog:
    """Writes ``train_log.txt`` for people and ``curve.csv`` for programs.

    A resumed run replaces the rows of the epochs that it trains again, so
    ``curve.csv`` always has one row per epoch.

    Arguments
    ---------
    folder : str
        Where the two files go.

    Example
    -------
    >>> folder = getfixture("tmpdir")
    >>> log = EpochLog(folder)
    >>> parts = {"train": {"loss": 0.7}, "valid": {"accuracy": 0.5}}
    >>> log.write(1, parts, "accuracy")
    >>> log.history()
    [{'epoch': 1, 'train_loss': 0.7, 'valid_accuracy': 0.5}]
    """

    def __init__(self, folder):
        self.text = Path(folder) / "train_log.txt"
        self.table = Path(folder) / "curve.csv"

    @main_process_only
    def note(self, line):
        """Add a line to the log file and to the program's log."""
        self.text.parent.mkdir(parents=True, exist_ok=True)
        with open(self.text, "a", encoding="utf-8") as file:
            file.write(line + "\n")
        logger.info(line)

    @main_process_only
    def write(self, epoch, parts, headline, n_epochs=None):
        """Log one epoch: a short line for people, every figure in the table.

        Arguments
        ---------
        epoch : int
            Number of the epoch, from 1.
        parts : dict of dict
            Values by name for ``train``, ``valid`` and maybe ``test``.
        headline : str
            The metric that the line shows.
        n_epochs : int
            Epochs of the whole run.
        """
        row = {"epoch": epoch}
        for part, values in parts.items():
            row.update({f"{part}_{key}": v for key, v in values.items()})
        rows = [old for old in self.history() if old["epoch"] < epoch] + [row]
        write_csv(self.table, pd.DataFrame(rows))
        self.note(self._line(rows, parts, headline, n_epochs))

    def _line(self, rows, parts, headline, n_epochs):
        epoch, train = rows[-1]["epoch"], parts["train"]
        fields = [f"epoch {epoch}" + (f"/{n_epochs}" if n_epochs else "")]
        fields.append(f"loss {readable('loss', train['loss'])}")
        scores = [
            f"{part} {readable(headline, values[headline])}"
            for part, values in parts.items()
            if headline in values
        ]
        fields.append(f"{headline}: {', '.join(scores)}")
        if train.get("skipped"):
            fields.append(f"{train['skipped']} steps skipped")
        times = [row["epoch_seconds"] for row in rows if "epoch_seconds" in row]
        if times and n_epochs:
            left = sum(times) / len(times) * (n_epochs - epoch)
            fields.append(f"{clock(left)} left" if epoch < n_epochs else "done")
        return " | ".join(fields)

    def history(self):
        """Return the learning curve so far.

        Returns
        -------
        list of dict
            One per epoch, in order; empty before the first.
        """
        if not self.table.exists():
            return []
        return pd.read_csv(self.table).to_dict("records")


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
        ``n_mels``, or the model has no classifier or cannot be counted.
    """
    sized = {"n_frames", "n_mels"} <= set(hparams)
    if not sized or "classifier" not in brain.modules:
        return None
    model = [brain.modules[name] for name in ("embedding_model", "classifier")]
    model = [
        module.module if isinstance(module, DistributedDataParallel) else module
        for module in model
    ]
    try:
        return count_clip(*model, hparams["n_frames"], hparams["n_mels"])
    # Any encoder and any compiler: a finished run must not end here
    except Exception as error:
        logger.warning(
            "flops_per_clip: the operations of this model cannot be counted "
            f"({type(error).__name__}: {error})"
        )
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
        **{key: hparams[key] for key in STATISTICS if key in hparams},
        "n_classes": hparams.get("n_classes"),
        "clips": brain.clips,
        "bad_clips": brain.bad_clips.found,
        "parameters": sum(p.numel() for p in brain.modules.parameters()),
        "flops_per_clip": flops_per_clip(brain, hparams),
        "wall_time_s": round(brain.train_seconds(), 1),
        "precision": brain.precision,
        **environment(brain.device),
    }


@main_process_only
def save_results(record, brain, folder, labels):
    """Write ``results.json``, then the reports of loggers and metrics.

    Those of the metrics are of the headline's protocol, on the reported split.
    If one fails, the log says why.

    Arguments
    ---------
    record : dict
        From `run_record`.
    brain : RecipeBrain
        The trained Brain.
    folder : str or Path
        The output folder.
    labels : list of str or None
        Class names, by index; None for data without labels, of which the
        metrics have no report.
    """
    path = Path(folder, "results.json")
    write_json(path, record)
    for protocol, entry in record["protocols"].items():
        brain.hparams.epoch_log.note(
            f"test ({protocol}), epoch {entry['epoch']}: "
            f"{describe(entry['test'])}"
        )
    try:
        # The headline last: loggers show the newest figure
        for entry in reversed(record["protocols"].values()):
            meta = {"Epoch loaded": entry["epoch"]}
            brain.log_stats(meta, {"test": entry["test"]})
        if labels is not None:
            brain.hparams.metrics.write_reports(folder, labels)
    # Whatever the labels and the packages: the run is finished and recorded
    except Exception as error:
        logger.warning(
            "not all reports could be written to "
            f"{folder} ({type(error).__name__}: {error})"
        )
    logger.info(f"results: {path}")
