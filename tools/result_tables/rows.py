"""Rows of the tables: the paper's figures, and the commands of their runs.

``rows.csv`` has one line per row of a table, ``corpora.csv`` what the rows of
one corpus share.
"""

import re
import shlex
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# The repeats of a row; of a corpus with folds, the folds are the repeats
SEEDS = (1, 2, 3)
# Of a corpus that is judged by equal error rates: its list, and the options
TRIALS = ("--trials=trials.txt", "--score_norm=False")


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

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that its rows are run with."""
        return SEEDS if self.repeats == 1 else SEEDS[:1]

    @property
    def has_trials(self) -> bool:
        """Whether encoders are tested on pairs of clips after training."""
        return self.metric == "EER"

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

    ``overrides`` are the options besides the YAML, as (key, value) pairs, in
    whose values ``<seed>`` stands for the run's;
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
        # A path counts by its last name that is no seed or fold
        names = [
            Path(re.sub(r"/\w*<\w+>", "", value)).name
            for _, value in self.overrides
        ]
        values = re.sub(r"[^\w.-]", "", "".join(f"_{name}" for name in names))
        return Path(self.hparams).stem + values + self.corpus.suffix

    @property
    def script(self) -> str:
        """The recipe's script that trains."""
        if self.corpus.has_trials:
            return "train_embeddings.py"
        return "train.py" if self.corpus.repeats == 1 else "run_folds.py"

    @cached_property
    def needs_weights(self) -> bool:
        """Whether the YAML asks for initial weights."""
        return "init_from: !PLACEHOLDER" in self.path.read_text("utf-8")

    def options(self, seed) -> dict[str, str]:
        """Return the options of a run besides the YAML."""
        seed = str(seed)
        return {k: v.replace("<seed>", seed) for k, v in self.overrides}

    def output_folder(self, seed) -> str:
        """Return a run's output folder, relative to the recipe."""
        return f"results/{self.run_name}/{seed}"

    def arguments(self, seed, data_folder=None, init_from=None) -> list[str]:
        """Return the command that trains, after ``python``.

        ``data_folder`` replaces that of ``corpora.csv``; ``init_from`` names
        the weights of a row that needs them.
        """
        options = [*self.options(seed).items()]
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
        return [self.script, f"hparams/{self.hparams}", *flags]

    def steps(self, seed, data_folder=None, init_from=None) -> dict:
        """Return the commands of a run, by the records they end with.

        The arguments are those of `arguments`, the records relative to the
        recipe.
        """
        folder = self.output_folder(seed)
        command = self.arguments(seed, data_folder, init_from)
        steps = {f"{folder}/results.json": command}
        if self.corpus.has_trials:
            steps[f"{folder}/verification/results.json"] = [
                "verify.py",
                "hparams/verify.yaml",
                f"--data_folder={data_folder or self.corpus.data_folder}",
                f"--model_folder={folder}",
                *TRIALS,
            ]
        return steps

    def command(self, seed="1") -> str:
        """Return the line to type at the repository's root."""
        steps = self.steps(seed).values()
        lines = [shlex.join(["python", *step]) for step in steps]
        return " && ".join([f"cd recipes/{self.recipe}", *lines])


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
