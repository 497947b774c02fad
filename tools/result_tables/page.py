"""Writing the tables: ``egs_results.md``, and the one in a recipe's README."""

import re
from pathlib import Path

import pandas as pd

from result_tables.efficiency import efficiency
from result_tables.few_labels import probes
from result_tables.models import GPU, PEAK, UTILISATION
from result_tables.records import runs_of
from result_tables.rows import HERE, Row, read_rows
from result_tables.small import padding, pictures

HEADINGS = {
    "corpus": "corpus",
    "model": "model",
    "paper": "paper",
    "ours": "ours",
    "difference": "difference",
    "honest": "honest",
    "best": "best epoch on the test clips",
    "average": "average",
    "minDCF": "minDCF",
    "macro_f1": "macro F1",
    "macro_f1_half": "at 0.5",
    "micro_f1": "micro F1",
    "micro_f1_half": "at 0.5",
    "seeds": "seeds",
    "parameters": "M parameters",
    "gflop": "GFLOP",
    "hardware": "hardware",
    "hours": "hours",
    "commit": "commit",
    "command": "command",
}
RECIPE_HEADINGS = {
    "yaml": "YAML",
    "corpus": "corpus",
    "model": "model",
    "paper": "paper",
    "ours": "ours",
    "parameters": "M parameters",
    "gflop": "GFLOP, test",
    "training": "GFLOP, training",
    "expected": "expected hours",
}
# Keys of HEADINGS that only some runs fill -> columns of egs_results.csv
FURTHER = {
    "honest": "honest",
    "best": "paper",
    "average": "average",
    "minDCF": "minDCF",
    "macro_f1": "macro_f1",
    "macro_f1_half": "macro_f1_half",
    "micro_f1": "micro_f1",
    "micro_f1_half": "micro_f1_half",
}
# Around the table in a recipe's README
OPEN, CLOSE = "<!-- rows -->", "<!-- end of rows -->"


def markdown(lines: list[dict], headings: dict[str, str]) -> str:
    """Return lines as a table; ``headings`` are key -> heading, in order."""
    rows = [list(headings.values()), ["---"] * len(headings)]
    rows += [
        [str(line.get(key, "-")).replace("|", r"\|") for key in headings]
        for line in lines
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def filled(lines: list[dict]) -> str:
    """Return lines as a table of those `HEADINGS` that one of them has."""
    keys = {key for line in lines for key in line}
    return markdown(lines, {k: v for k, v in HEADINGS.items() if k in keys})


def spread(values) -> str:
    """Return mean ± standard deviation (n - 1); the mean alone of one value."""
    values = pd.Series(pd.to_numeric(values), dtype=float).dropna()
    if values.empty:
        return "-"
    mean = f"{values.mean():.2f}"
    return mean if len(values) < 2 else f"{mean}±{values.std():.2f}"


def short_commit(commit: str) -> str:
    """Shorten a commit to eight digits; keep a mark of changed files."""
    name, dash, dirty = commit.partition("-")
    return name[:8] + dash + dirty or "-"


def _further(runs):
    """The scores besides the headline that the runs have."""
    protocol, found = runs["protocol"].iloc[0], {}
    for key, column in FURTHER.items():
        if key == protocol or (key == "honest" and protocol != "paper"):
            # The headline is this score, or needs no other beside it
            continue
        values = pd.to_numeric(runs[column]).dropna()
        if not values.empty:
            found[key] = spread(values)
    return found


def headline(runs: pd.DataFrame) -> str:
    """Return mean and deviation over seeds; of one run over its folds."""
    std = pd.to_numeric(runs["std"]).dropna()
    if len(runs) == 1 and len(std) == 1:
        return f"{float(runs['value'].iloc[0]):.2f}±{std.iloc[0]:.2f}"
    return spread(runs["value"])


def measured(runs: pd.DataFrame) -> dict[str, str]:
    """Return what runs of one row have in common, by keys of ``HEADINGS``."""
    return {
        "ours": headline(runs),
        **_further(runs),
        "seeds": ", ".join(map(str, runs["seed"])),
        "hardware": "; ".join(runs["hardware"].unique()),
        "hours": f"{runs['hours'].mean():.2f}",
        "commit": ", ".join(pd.unique(runs["commit"].map(short_commit))),
    }


def line_of(row: Row, table: pd.DataFrame, models: dict) -> dict[str, str]:
    """Turn a row and its runs into a line, by keys of ``HEADINGS``.

    Arguments
    ---------
    row : Row
        The row.
    table : pandas.DataFrame
        The runs, as in ``egs_results.csv``.
    models : dict
        Row -> its counted figures.

    Returns
    -------
    dict
        Without the keys of a run if there is none.
    """
    runs, figures = runs_of(table, row), models[row]
    line = {"corpus": row.corpus.corpus, "model": row.model, "ours": "not run"}
    if row.mean is not None:
        std = "" if row.std is None else f"±{row.std:.2f}"
        line["paper"] = f"{row.mean:.2f}{std}"
    if runs.empty:
        return line
    line.update(
        measured(runs),
        parameters=f"{figures['parameters'] / 1e6:.2f}",
        gflop=f"{figures['forward'] / 1e9:.2f}",
        command=f"`{row.command()}`",
    )
    if row.mean is not None:
        line["difference"] = f"{runs['value'].mean() - row.mean:+.2f}"
    return line


def results_page(table: pd.DataFrame, models: dict) -> str:
    """Return ``egs_results.md``; the arguments are those of `line_of`."""
    page = (HERE / "page.md").read_text(encoding="utf-8")
    for name in dict.fromkeys(row.table for row in read_rows()):
        lines = [
            line_of(row, table, models)
            for row in read_rows()
            if row.table == name
        ]
        page = page.replace(f"<!-- table {name} -->", filled(lines))
    rate = (
        f"{PEAK * UTILISATION / 1e12:.1f} TFLOP/s, {UTILISATION:.0%} of the "
        f"half-precision peak of one {GPU}"
    )
    page = page.replace("<!-- rate -->", rate)
    page = page.replace("<!-- efficiency -->", efficiency(markdown))
    page = page.replace("<!-- pictures -->", pictures())
    page = page.replace("<!-- padding -->", padding(markdown))
    page = page.replace("<!-- probes -->", probes(markdown, spread))
    further = further_runs(table)
    if further:
        further = f"### Further runs\n\n{further}\n\n"
    return page.replace("<!-- further runs -->\n\n", further)


def further_runs(table: pd.DataFrame) -> str:
    """Return the table of the runs that count for no row, grouped by seed."""
    others = table[table["corpus"] == ""]
    lines = [
        {
            "corpus": recipe,
            "model": " ".join(filter(None, (hparams, overrides))),
            **measured(runs),
            "command": f"`{runs['command'].iloc[0]}`",
        }
        for (recipe, hparams, overrides), runs in others.groupby(
            ["recipe", "hparams", "overrides"]
        )
    ]
    return filled(lines) if lines else ""


def recipe_table(recipe: str, table: pd.DataFrame, models: dict) -> str:
    """Return the table of a recipe's README: its rows and expected hours."""
    lines = []
    for row in read_rows():
        if row.recipe != recipe or row.table in ("2", "positions", "transfer"):
            continue
        figures, hours = models[row], f"{models[row]['hours']:.1f}"
        if hours == "0.0":
            hours = "minutes on a CPU"
        lines.append(
            {
                **line_of(row, table, models),
                "yaml": f"`{row.hparams.removesuffix('.yaml')}`",
                "parameters": f"{figures['parameters'] / 1e6:.2f}",
                "gflop": f"{figures['forward'] / 1e9:.2f}",
                "training": f"{figures['training'] / 1e9:.2f}",
                "expected": hours,
            }
        )
    headings = dict(RECIPE_HEADINGS)
    if len({line["corpus"] for line in lines}) == 1:
        del headings["corpus"]
    return markdown(lines, headings)


def with_table(text: str, table: str, path: Path) -> str:
    """Put a table between the marks of a README.

    Raises
    ------
    ValueError
        With ``path``, if the marks are not there once each.
    """
    pattern = f"{re.escape(OPEN)}.*{re.escape(CLOSE)}"
    if len(re.findall(pattern, text, re.DOTALL)) != 1:
        raise ValueError(f"{path} must have {OPEN} and {CLOSE} once each.")
    block = f"{OPEN}\n\n{table}\n\n{CLOSE}"
    return re.sub(pattern, lambda _: block, text, flags=re.DOTALL)
