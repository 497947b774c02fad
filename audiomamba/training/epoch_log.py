"""One readable line per epoch, and the learning curve as a table."""

from pathlib import Path

from speechbrain.utils.distributed import main_process_only
from speechbrain.utils.logger import get_logger

logger = get_logger(__name__)

PERCENT = ("accuracy", "top5", "mAP", "mAUC", "data_wait")


def readable(name, value):
    """Format one value as a person reads it.

    Example
    -------
    >>> readable("mAP", 0.327), readable("lr", 1e-5), readable("loss", 0.12345)
    ('32.70 %', '1.00e-05', '0.1235')
    """
    base = name.split("_", 1)[-1] if name.startswith("test_") else name
    if base in PERCENT:
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


class EpochLog:
    """Writes ``train_log.txt`` for people and ``curve.csv`` for programs.

    A run that goes on after a stop replaces the rows of the epochs that it
    trains again, so ``curve.csv`` always holds one row per epoch.

    Arguments
    ---------
    folder : str
        Where the two files go.

    Example
    -------
    >>> folder = getfixture("tmpdir")
    >>> log = EpochLog(folder)
    >>> log.write(1, {"train": {"loss": 0.7}, "valid": {"accuracy": 0.5}})
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
    def write(self, epoch, parts, n_epochs=None):
        """Log one epoch.

        Arguments
        ---------
        epoch : int
            Number of the epoch, from 1.
        parts : dict of dict
            Values by name for ``train``, ``valid`` and maybe ``test``.
        n_epochs : int
            Epochs of the whole run, for the reader.
        """
        of = f"/{n_epochs}" if n_epochs else ""
        line = " | ".join(
            f"{part}: {describe(values)}" for part, values in parts.items()
        )
        self.note(f"epoch {epoch}{of} | {line}")
        row = {"epoch": epoch}
        for part, values in parts.items():
            row.update({f"{part}_{key}": v for key, v in values.items()})
        self._replace(epoch, row)

    def _replace(self, epoch, row):
        import pandas as pd

        kept = [old for old in self.history() if old["epoch"] < epoch]
        unfinished = self.table.with_suffix(".tmp")
        pd.DataFrame([*kept, row]).to_csv(unfinished, index=False)
        unfinished.replace(self.table)

    def history(self):
        """The learning curve so far.

        Returns
        -------
        list of dict
            One per epoch, in order; empty before the first.
        """
        import pandas as pd

        if not self.table.exists():
            return []
        return pd.read_csv(self.table).to_dict("records")
