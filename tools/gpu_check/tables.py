"""The tables of ``tools/benchmark.py`` on the device."""

import functools
import json
from importlib.util import find_spec

import pandas as pd
from benchmarking.report import as_text

from audiomamba.ops import available_engines

LENGTHS = "--tokens 512 1024 2048 4096 8192"
# As short as can be, for the interpreter
TINY = "--size tiny --tokens 8 --repeats 1 --warmup 1 --no-memory"
# A name and the options; {engines} are those that are worth timing.
TABLES = {
    "cuda": {
        "single clips": f"--subjects aum dass-small ast {LENGTHS} "
        "--precisions fp32 bf16 --modes inference --engines {engines}",
        "training": f"--subjects aum dass-small ast {LENGTHS} --precisions "
        "fp16 --modes training --batch-sizes 8 --engines {engines}",
        # torch.compile takes about a minute for a model.
        "compiled": "--subjects aum ast --tokens 512 --compile --no-memory "
        "--precisions bf16 --batch-sizes 8 --engines {engines}",
        "scan": f"--subjects scan {LENGTHS} --precisions fp32 bf16 "
        "--batch-sizes 8 --engines {engines}",
        "layer": "--subjects {layers} --tokens 512 2048 8192 --precisions "
        "fp32 fp16 --batch-sizes 8 --engines {engines}",
    },
    "cpu": {
        "single clips": f"{TINY} --subjects aum dass-small ast --modes "
        "inference --aum-depth 1 --ast-depth 1 --precisions fp32 bf16 "
        "--engines cpu",
        "training": f"{TINY} --subjects aum ast --modes training "
        "--aum-depth 1 --ast-depth 1 --precisions fp16 --engines {engines}",
        "compiled": f"{TINY} --subjects aum ast --modes inference --compile "
        "--aum-depth 1 --ast-depth 1 --engines cpu",
        "scan": f"{TINY} --subjects scan --engines {{engines}}",
        "layer": f"{TINY} --subjects {{layers}} --modes training "
        "--engines {engines}",
    },
}


def engines_worth_timing(device):
    """Return all but the reference; Triton's interpreter on the CPU, too."""
    engines = [e for e in available_engines(device) if e != "reference"]
    if device == "cpu" and "triton" not in engines:
        engines.insert(0, "triton")
    return engines


def table_parts(commands):
    """Return the parts: a table each."""
    layers = ["mixer"] + ["stock"] * (find_spec("mamba_ssm") is not None)
    words = {
        "engines": " ".join(engines_worth_timing(commands.device)),
        "layers": " ".join(layers),
    }
    return {
        name: functools.partial(
            measure_table, commands, name, options.format(**words).split()
        )
        for name, options in TABLES[commands.device].items()
    }


def measure_table(commands, name, options):
    """Run the benchmark; return its results, to read and to compute with."""
    stem = commands.scratch / name.replace(" ", "_")
    commands.python(
        "tools/benchmark.py",
        *options,
        f"--device={commands.device}",
        f"--out={stem}",
        interpret="triton" in options,
    )
    record = json.loads(stem.with_suffix(".json").read_text("utf-8"))
    found = {key: record[key] for key in ("command", "floors", "results")}
    shown = as_text(pd.DataFrame(record["results"]))
    return {"shown": shown.splitlines(), **found}
