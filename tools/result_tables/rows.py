"""Rows of the tables: the paper's figures, and the commands of their runs.

``rows.csv`` has one line per row of a table, ``corpora.csv`` what the rows of
one corpus share.
"""

import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Corpus:
    """A corpus: a line of ``corpora.csv``.

    ``least_share`` is the share of the test clips that a result of this corpus
    must cover; ``repeats`` the number of folds; ``data_folder`` where commands
    look for it; ``suffix`` distinguishes its output folders.
    """

    corpus: str
    recipe: str
    metric: str
    n_classes: int
    train_clips: int
    valid_clips: int
    test_clips: int
    least_share: float
    repeats: int
    data_folder: str
    suffix: str

    def is_that_of(self, record: dict) -> bool:
        """Whether a run was tested on this corpus, and on all of it."""
        clips = (record.get("clips") or {}).get("test", 0)
        return (
            record["n_classes"] == self.n_classes
            and record["metric"]["name"] == self.metric
            and self.least_share * self.test_clips <= clips <= self.test_clips
        )


@dataclass(frozen=True)
class Row:
    """A row of a table: a line of ``rows.csv``.

    ``overrides`` are the options besides the YAML, as (key, value) pairs;
    ``mean`` and ``std`` are the paper's, in percent, or None.
    """

    table: str
    corpus: Corpus
    model: str
    hparams: str
    overrides: tuple
    mean: float | None
    std: float | None

    @property
    def recipe(self) -> str:
        """The recipe's folder."""
        return self.corpus.recipe

    @property
    def path(self) -> Path:
        """The YAML."""
        return ROOT / "recipes" / self.recipe / "hparams" / self.hparams

    @property
    def run_name(self) -> str:
        """The name of its output folders."""
        values = "".join(f"_{value}" for _, value in self.overrides)
        return Path(self.hparams).stem + values + self.corpus.suffix

    @property
    def needs_weights(self) -> bool:
        """Whether the YAML asks for initial weights."""
        return "init_from: !PLACEHOLDER" in self.path.read_text("utf-8")

    def output_folder(self, seed) -> str:
        """Return a run's output folder, relative to the recipe."""
        return f"results/{self.run_name}/{seed}"

    def arguments(self, seed, data_folder=None, init_from=None) -> list[str]:
        """Return the command of a run, after ``python``.

        ``data_folder`` replaces that of ``corpora.csv``; ``init_from`` names
        the weights of a row that needs them.
        """
        script = "run_folds.py" if self.corpus.repeats > 1 else "train.py"
        options = [*self.overrides]
        if init_from or self.needs_weights:
            options.append(("init_from", init_from or "WEIGHTS"))
        # Without a suffix the folder is the YAML's default.
        if data_folder or self.corpus.suffix:
            folder = data_folder or self.corpus.data_folder
            options.append(("data_folder", folder))
        options.append(("seed", seed))
        if self.run_name != Path(self.hparams).stem:
            options.append(("output_folder", self.output_folder(seed)))
        flags = [f"--{key}={value}" for key, value in options]
        return [script, f"hparams/{self.hparams}", *flags]

    def command(self, seed="1") -> str:
        """Return the line to type at the repository's root."""
        line = shlex.join(["python", *self.arguments(seed)])
        return f"cd recipes/{self.recipe} && {line}"


@cache
def read_corpora() -> dict[str, Corpus]:
    """Return the corpora by name."""
    table = pd.read_csv(HERE / "corpora.csv", keep_default_na=False)
    return {line["corpus"]: Corpus(**line) for line in table.to_dict("records")}


@cache
def read_rows() -> list[Row]:
    """Return all rows, in the tables' order."""
    table = pd.read_csv(HERE / "rows.csv", dtype=str, keep_default_na=False)
    corpora = read_corpora()
    return [
        Row(
            table=line["table"],
            corpus=corpora[line["corpus"]],
            model=line["model"],
            hparams=line["hparams"],
            # Such as "scan=fo_fo cls_token=end"
            overrides=tuple(
                tuple(pair.split("=", 1)) for pair in line["overrides"].split()
            ),
            mean=float(line["mean"]) if line["mean"] else None,
            std=float(line["std"]) if line["std"] else None,
        )
        for line in table.to_dict("records")
    ]
