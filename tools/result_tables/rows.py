"""Rows of the tables: the paper's figures and the runs that answer to them.

``rows.csv`` has one line per row of a table, ``corpora.csv`` what the rows of
one corpus share.  Both are data: nothing of them stands in code.
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

    ``least_share`` is the share of the test clips that a figure needs to be
    one of this corpus; ``repeats`` counts its folds; ``data_folder`` is where
    the commands look for it, ``suffix`` tells its output folders apart.
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

    def is_that_of(self, record):
        """Whether a run's record is of this corpus, and of all of it."""
        clips = (record.get("clips") or {}).get("test", 0)
        return (
            record["n_classes"] == self.n_classes
            and record["metric"]["name"] == self.metric
            and self.least_share * self.test_clips <= clips <= self.test_clips
        )


@dataclass(frozen=True)
class Row:
    """A row of a table: a line of ``rows.csv``.

    ``overrides`` are the options behind the YAML that make the row what it
    is, as a tuple of (key, value); ``mean`` and ``std`` the paper's, in
    percent, ``None`` where it has none.
    """

    table: str
    corpus: Corpus
    model: str
    hparams: str
    overrides: tuple
    mean: float | None
    std: float | None

    @property
    def recipe(self):
        """The recipe's folder."""
        return self.corpus.recipe

    @property
    def run_name(self):
        """What its output folders are called."""
        values = "".join(f"_{value}" for _, value in self.overrides)
        return Path(self.hparams).stem + values + self.corpus.suffix

    @property
    def needs_weights(self):
        """Whether the YAML asks for weights to begin with."""
        path = ROOT / "recipes" / self.recipe / "hparams" / self.hparams
        return "init_from: !PLACEHOLDER" in path.read_text(encoding="utf-8")

    def arguments(self, seed, data_folder=None, init_from=None):
        """Return the command of a run, behind ``python``.

        Arguments
        ---------
        seed : int
            Of the run.
        data_folder : str or None
            Where the corpus is, if not where ``corpora.csv`` says.
        init_from : str or None
            Weights, where the row needs them.

        Returns
        -------
        list of str
        """
        script = "run_folds.py" if self.corpus.repeats > 1 else "train.py"
        options = [*self.overrides]
        if init_from or self.needs_weights:
            options.append(("init_from", init_from or "WEIGHTS"))
        # Without a suffix it is where the YAML looks by itself.
        if data_folder or self.corpus.suffix:
            folder = data_folder or self.corpus.data_folder
            options.append(("data_folder", folder))
        options.append(("seed", seed))
        if self.run_name != Path(self.hparams).stem:
            options.append(("output_folder", self.output_folder(seed)))
        return [
            script,
            f"hparams/{self.hparams}",
            *(f"--{key}={value}" for key, value in options),
        ]

    def output_folder(self, seed):
        """Return a run's output folder, relative to the recipe."""
        return f"results/{self.run_name}/{seed}"

    def command(self, seed="1"):
        """Return the line to type, from the repository's root."""
        line = shlex.join(["python", *self.arguments(seed)])
        return f"cd recipes/{self.recipe} && {line}"


@cache
def read_corpora():
    """Return the corpora by name."""
    table = pd.read_csv(HERE / "corpora.csv", keep_default_na=False)
    return {line["corpus"]: Corpus(**line) for line in table.to_dict("records")}


def read_overrides(text):
    """Split ``scan=fo_fo cls_token=end`` into a tuple of pairs."""
    return tuple(tuple(pair.split("=", 1)) for pair in text.split())


@cache
def read_rows():
    """Return all rows, in the tables' order."""
    table = pd.read_csv(HERE / "rows.csv", dtype=str, keep_default_na=False)
    corpora = read_corpora()
    return [
        Row(
            table=line.table,
            corpus=corpora[line.corpus],
            model=line.model,
            hparams=line.hparams,
            overrides=read_overrides(line.overrides),
            mean=float(line["mean"]) if line["mean"] else None,
            std=float(line["std"]) if line["std"] else None,
        )
        for _, line in table.iterrows()
    ]
