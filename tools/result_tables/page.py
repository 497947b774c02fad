"""Writing the tables: ``egs_results.md``, and the one in a recipe's README."""

import re

import pandas as pd

from result_tables.efficiency import efficiency
from result_tables.models import GPU, PEAK, UTILISATION
from result_tables.records import runs_of
from result_tables.rows import HERE, read_rows

HEADINGS = {
    "corpus": "corpus",
    "model": "model",
    "paper": "paper",
    "ours": "ours",
    "difference": "difference",
    "honest": "honest",
    "seeds": "seeds",
    "status": "status",
    "parameters": "M parameters",
    "gflop": "GFLOP",
    "hardware": "hardware",
    "hours": "hours",
    "commit": "commit",
    "command": "command",
}
NO_PAPER = ("paper", "difference")
# Of a recipe's README
OPEN, CLOSE = "<!-- rows -->", "<!-- end of rows -->"


def spread(values):
    """Write mean ± standard deviation (n - 1) of figures in percent.

    Arguments
    ---------
    values : sequence of float
        One per seed.

    Returns
    -------
    str
        The mean alone for a single seed.
    """
    values = pd.Series(values, dtype=float).dropna()
    if values.empty:
        return "-"
    mean = f"{values.mean():.2f}"
    return mean if len(values) < 2 else f"{mean}±{values.std():.2f}"


def paper_words(row):
    """Write the paper's figure."""
    if row.mean is None:
        return "-"
    if row.std is None:
        return f"{row.mean:.2f}"
    return f"{row.mean:.2f}±{row.std:.2f}"


def line_of(row, table, models):
    """Put a row and its runs into a line of a page.

    Arguments
    ---------
    row : Row
        Of ``rows.csv``.
    table : pandas.DataFrame
        The runs, as in ``egs_results.csv``.
    models : dict
        Row -> ``parameters``, ``forward``, ``hours``.

    Returns
    -------
    dict
        By the keys of ``HEADINGS``.
    """
    runs, figures = runs_of(table, row), models[row]
    line = dict.fromkeys(HEADINGS, "-")
    line.update(
        corpus=row.corpus.corpus,
        model=row.model,
        paper=paper_words(row),
        status="not run",
        parameters=f"{figures['parameters'] / 1e6:.2f}",
        gflop=f"{figures['forward'] / 1e9:.2f}",
        command=f"`{row.command()}`",
    )
    if runs.empty:
        return line
    line.update(
        status="measured",
        ours=spread(runs["value"]),
        honest=spread(pd.to_numeric(runs["honest"])),
        seeds=", ".join(map(str, runs["seed"])),
        hardware="; ".join(runs["hardware"].unique()),
        hours=f"{runs['hours'].mean():.2f}",
        commit=", ".join(pd.unique(runs["commit"].map(short_commit))),
    )
    if row.mean is not None:
        line["difference"] = f"{runs['value'].mean() - row.mean:+.2f}"
    return line


def short_commit(commit):
    """Shorten a commit to eight digits; keep that files were changed."""
    name, dash, dirty = commit.partition("-")
    return name[:8] + dash + dirty or "-"


def markdown(lines, headings):
    """Write lines as a table.

    Arguments
    ---------
    lines : list of dict
        By the keys of ``headings``.
    headings : dict
        Key -> heading, in order.

    Returns
    -------
    str
    """
    rows = [list(headings.values()), ["---"] * len(headings)]
    rows += [[str(line[key]) for key in headings] for line in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def results_page(table, models):
    """Write ``egs_results.md``.

    Arguments
    ---------
    table : pandas.DataFrame
        The runs.
    models : dict
        Row -> its counted figures.

    Returns
    -------
    str
    """
    page = (HERE / "page.md").read_text(encoding="utf-8")
    for name in dict.fromkeys(row.table for row in read_rows()):
        lines = [
            line_of(row, table, models)
            for row in read_rows()
            if row.table == name
        ]
        headings = dict(HEADINGS)
        if all(line["paper"] == "-" for line in lines):
            headings = {k: v for k, v in headings.items() if k not in NO_PAPER}
        page = page.replace(f"<!-- table {name} -->", markdown(lines, headings))
    rate = (
        f"{PEAK * UTILISATION / 1e12:.1f} TFLOP/s, {UTILISATION:.0%} of the "
        f"half-precision peak of one {GPU}"
    )
    page = page.replace("<!-- rate -->", rate)
    page = page.replace("<!-- efficiency -->", efficiency(markdown))
    further = further_runs(table)
    return page + (f"\n## Further runs\n\n{further}\n" if further else "")


def further_runs(table):
    """Write the runs that answer to no row, by what they have in common."""
    others = table[table["corpus"] == ""]
    lines = [
        {
            "corpus": recipe,
            "model": " ".join(filter(None, (hparams, overrides))),
            "ours": spread(runs["value"]),
            "honest": spread(pd.to_numeric(runs["honest"])),
            "seeds": ", ".join(map(str, runs["seed"])),
            "hardware": "; ".join(runs["hardware"].unique()),
            "hours": f"{runs['hours'].mean():.2f}",
            "commit": ", ".join(pd.unique(runs["commit"].map(short_commit))),
            "command": f"`{runs['command'].iloc[0]}`",
        }
        for (recipe, hparams, overrides), runs in others.groupby(
            ["recipe", "hparams", "overrides"]
        )
    ]
    if not lines:
        return ""
    headings = {key: HEADINGS[key] for key in lines[0]}
    return markdown(lines, headings)


def recipe_table(recipe, table, models):
    """Write the table of a recipe's README: its rows and expected hours.

    Arguments
    ---------
    recipe : str
        Its folder.
    table : pandas.DataFrame
        The runs.
    models : dict
        Row -> its counted figures.

    Returns
    -------
    str
    """
    headings = {
        "yaml": "YAML",
        "corpus": "corpus",
        "model": "model",
        "paper": "paper",
        "ours": "ours",
        "parameters": "M parameters",
        "test": "GFLOP, test",
        "training": "GFLOP, training",
        "hours": "expected hours",
    }
    lines = []
    for row in read_rows():
        if row.recipe != recipe or row.table == "2":
            continue
        figures, line = models[row], line_of(row, table, models)
        hours = f"{figures['hours']:.1f}"
        if row.table == "comparison":
            hours = "minutes on a CPU"
        lines.append(
            {
                **line,
                "yaml": f"`{row.hparams.removesuffix('.yaml')}`",
                "ours": line["ours"] if line["ours"] != "-" else "not run",
                "test": line["gflop"],
                "training": f"{figures['training'] / 1e9:.2f}",
                "hours": hours,
            }
        )
    if len({line["corpus"] for line in lines}) == 1:
        del headings["corpus"]
    return markdown(lines, headings)


def with_table(text, table, name):
    """Put a table between the marks of a README.

    Arguments
    ---------
    text : str
        The README.
    table : str
        The table.
    name : str
        The README's name, for the error.

    Returns
    -------
    str
    """
    pattern = f"{re.escape(OPEN)}.*{re.escape(CLOSE)}"
    if len(re.findall(pattern, text, re.DOTALL)) != 1:
        raise ValueError(f"{name} must have {OPEN} and {CLOSE} once each.")
    block = f"{OPEN}\n\n{table}\n\n{CLOSE}"
    return re.sub(pattern, lambda _: block, text, flags=re.DOTALL)
