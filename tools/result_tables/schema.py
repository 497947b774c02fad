"""What a record must look like before anything is made of it.

Records come from others: their values end in file names, tables and pages.
"""

import math
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_MOST_SHOWN = 80
SHARES = ("accuracy", "top5", "mAP", "mAUC", "EER")
# What a run can be judged by
HEADLINES = (*SHARES, "d_prime", "WER", "CER", "loss")


class RecordError(ValueError):
    """A ``results.json`` that is incomplete, or no record of a training."""


@dataclass(frozen=True)
class Rule:
    """What a value must be: a predicate, and how to say it."""

    accepts: Callable[[Any], bool]
    wanted: str


@dataclass(frozen=True)
class Each:
    """Any keys of one kind, with values of another."""

    key: Rule
    value: Any


def _number(low=-math.inf, high=math.inf):
    def accepts(value):
        return type(value) in (int, float) and low <= value <= high

    return Rule(accepts, f"a number from {low:g} to {high:g}")


def _whole(low, high):
    def accepts(value):
        return type(value) is int and low <= value <= high

    return Rule(accepts, f"a whole number from {low} to {high}")


def _text(pattern, wanted):
    def accepts(value):
        return isinstance(value, str) and bool(re.fullmatch(pattern, value))

    return Rule(accepts, wanted)


def _or_null(rule):
    return Rule(
        lambda value: value is None or rule.accepts(value),
        f"{rule.wanted}, or null",
    )


def _is_command(value):
    """Whether a text is one line that a shell could read."""
    if not _LINE.accepts(value):
        return False
    try:
        return bool(shlex.split(value))
    except ValueError:
        return False


_LINE = _text(r"[^\x00-\x1f\x7f]{0,4000}", "text on one line")
_NAME = _text(r"\w[\w.-]{0,63}", "a name of letters and digits")
_COUNT = _whole(0, 2**53)
_EPOCH = _or_null(_COUNT)
_SCORES = Each(_NAME, _or_null(_number()))
SCHEMA = {
    "dataset": _text(
        r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}",
        "a name of letters, digits, blanks, dots and dashes",
    ),
    "hparams_file": _text(
        r"(?:[^\x00-\x1f\x7f]*/)?[A-Za-z0-9][\w.-]{0,99}\.yaml", "a YAML file"
    ),
    "metric": {
        "name": Rule(lambda x: x in HEADLINES, f"one of {list(HEADLINES)}"),
        "value": _number(),
    },
    "protocol": _NAME,
    "protocols": Each(_NAME, {"test": _SCORES}),
    "epoch": _EPOCH,
    "seed": _whole(0, 2**63),
    "n_classes": _or_null(_whole(1, 10**7)),
    "clips": Each(_NAME, _COUNT),
    "parameters": _COUNT,
    "flops_per_clip": _or_null(
        Rule(
            lambda x: (
                isinstance(x, Mapping)
                and _number(0, 1e21).accepts(x.get("forward"))
            ),
            "an object with a number 'forward'",
        )
    ),
    "wall_time_s": _number(0, 1e10),
    "hardware": {
        "device": _LINE,
        "name": _LINE,
        "processes": _whole(1, 10**6),
        "cpu_threads": _whole(1, 10**6),
    },
    "commit": _or_null(
        _text("[0-9a-f]{7,64}(-dirty)?", "the digits of a commit")
    ),
    "command": Rule(_is_command, "a command on one line"),
}


def _refuse(path, key, value, wanted):
    shown = repr(value)
    if len(shown) > _MOST_SHOWN:
        shown = shown[:_MOST_SHOWN] + "..."
    raise RecordError(f"{path}: {key} is {shown}; it must be {wanted}.")


def _check(path, key, value, form):
    """Compare a value with its form, at any depth."""
    if isinstance(form, Rule):
        if not form.accepts(value):
            _refuse(path, key, value, form.wanted)
        return
    if not isinstance(value, Mapping):
        _refuse(path, key or "it", value, "an object with keys")
    if isinstance(form, Each):
        for name, entry in value.items():
            _check(path, f"a key of {key}", name, form.key)
            _check(path, f"{key}.{name}", entry, form.value)
        return
    prefix = f"{key}." if key else ""
    missing = [f"{prefix}{name}" for name in form if name not in value]
    if missing:
        raise RecordError(
            f"{path} has no {', '.join(missing)}: it is not the results.json "
            "of a training run."
        )
    for name, entry in form.items():
        _check(path, f"{prefix}{name}", value[name], entry)


def _range_of(metric):
    """What a score of some metric can be."""
    if metric in SHARES:
        return _number(0, 1)
    # of inserted words there may be any number
    return _number() if metric == "d_prime" else _number(0, 1e6)


# What a test of trials has of the training before it
TRAINING = {
    key: SCHEMA[key]
    for key in ("hparams_file", "seed", "command", "wall_time_s")
}
# Of clips with several labels; a class may have no test clip
_F1 = {kind: _or_null(_number(0, 1)) for kind in ("macro", "micro")}
F1 = {"thresholds": _F1, "one_half": _F1}
# Of a record of several folds
_STD = _or_null(_number(0, 1e6))


def check_record(path, record: Mapping) -> None:
    """Refuse a record whose values cannot be those of a run.

    Keys that nothing here reads may have any value.

    Raises
    ------
    RecordError
        Naming ``path``, the key, the value and what is wanted.
    """
    _check(path, "", record, SCHEMA)
    metric, tested = record["metric"], record["protocols"]
    name = metric["name"]
    _check(path, "metric.std", metric.get("std"), _STD)
    if "training" in record:
        _check(path, "training", record["training"], TRAINING)
    if "f1" in record:
        _check(path, "f1", record["f1"], F1)
    if name == "EER":
        cost = {"minDCF": _number(0, 1e6)}
        _check(path, "metrics", record.get("metrics"), cost)
    _check(path, "metric.value", metric["value"], _range_of(name))
    for protocol, entry in tested.items():
        score = entry["test"].get(name)
        key = f"protocols.{protocol}.test.{name}"
        _check(path, key, score, _range_of(name))
    if record["protocol"] not in tested:
        _refuse(path, "protocol", record["protocol"], f"one of {[*tested]}")
    score = tested[record["protocol"]]["test"].get(name)
    if score != metric["value"]:
        wanted = f"{score}, as protocols.{record['protocol']} says"
        _refuse(path, "metric.value", metric["value"], wanted)
