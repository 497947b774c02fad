"""What the value of each key of a recipe's YAML may be.

The one table of ranges: a value outside is refused, by name, before anything is
read or made.  What depends on several keys, on the data or on the model is
checked where it is used.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch.utils.data import DataLoader

from audiomamba.dataio.problems import PreparationError
from audiomamba.nnet.frame_classifier import POOLINGS
from audiomamba.nnet.mixer import SCANS


class Range(NamedTuple):
    """Values of a key: whether one is among them, and which, in words."""

    holds: Callable[[object], bool]
    words: str


def _number(value):
    is_bool = isinstance(value, bool)
    return isinstance(value, int | float) and not is_bool and value == value


def _whole(least, most=2**63 - 1):
    words = f"a whole number of at least {least}"
    if most < 2**63 - 1:
        words = f"a whole number from {least} to {most}"
    return Range(
        lambda x: _number(x) and isinstance(x, int) and least <= x <= most,
        words,
    )


def _real(accepts, words):
    return Range(lambda x: _number(x) and accepts(x), words)


def _one_of(*choices):
    # 1 is not True
    return Range(
        lambda x: any(x == c and type(x) is type(c) for c in choices),
        " or ".join("null" if c is None else str(c) for c in choices),
    )


def _or(first, *others):
    ranges = [first, *others]
    return Range(
        lambda x: any(r.holds(x) for r in ranges),
        ", or ".join(r.words for r in ranges),
    )


def _list_of(item, words, least=0, most=math.inf):
    return Range(
        lambda x: (
            isinstance(x, list)
            and least <= len(x) <= most
            and all(map(item.holds, x))
        ),
        words,
    )


NULL = _one_of(None)
SWITCH = _one_of(True, False)
TEXT = Range(lambda x: isinstance(x, str) and x != "", "a name")
PATH = TEXT._replace(words="a path")
NAMES = _list_of(TEXT, "a list of names")
OBJECT = Range(
    lambda x: isinstance(x, dict) and len(x) == 1 and min(x)[:1] == "!",
    "an object, as in the YAML: !new:..., or some of its arguments {...}",
)
KEYS = Range(lambda x: isinstance(x, dict), "keys with values: {...}")
OBJECTS = Range(
    lambda x: isinstance(x, dict) and all(map(OBJECT.holds, x.values())),
    "names with objects: {classifier: !ref <classifier>}",
)
_OF_LOADERS = set(inspect.signature(DataLoader).parameters) - {"dataset"}
LOADER = Range(
    lambda x: isinstance(x, dict) and x.keys() <= _OF_LOADERS,
    "arguments of torch.utils.data.DataLoader: {batch_size: 8}",
)
POSITIVE = _real(lambda x: 0 < x < math.inf, "a positive number")
NOT_NEGATIVE = _real(lambda x: 0 <= x < math.inf, "0 or a positive number")
FINITE = _real(lambda x: abs(x) < math.inf, "a finite number")
SHARE = _real(lambda x: 0 <= x <= 1, "a number from 0 to 1")
INSIDE = _real(lambda x: 0 < x < 1, "a number between 0 and 1")
BELOW_1 = _real(lambda x: 0 <= x < 1, "a number from 0 to below 1")
COUNT = _whole(1)
PAIR = _or(COUNT, _list_of(COUNT, "two of them: [bins, frames]", 2, 2))

RANGES = {
    # Seed, folders, data
    "seed": _whole(0, 2**32 - 1),
    "dataset_name": TEXT,
    "n_classes": COUNT,
    "fold": _or(_whole(0), TEXT),
    "n_folds": _whole(2),
    "subset": _one_of("esc50", "esc10"),
    "task": _one_of(35, 12),
    "multi_label": SWITCH,
    "download": SWITCH,
    "skip_prep": SWITCH,
    "allow_missing": SWITCH,
    "max_missing": SHARE,
    "check_audio": _one_of("headers", "decode"),
    "on_bad_clip": _one_of("stop", "skip"),
    "max_bad_share": SHARE,
    "valid_share": BELOW_1,
    "sample_rate": COUNT,
    "max_duration": _or(POSITIVE._replace(words="seconds above 0"), NULL),
    "crop_duration": POSITIVE,
    "part_duration": POSITIVE,
    "batch_seconds": POSITIVE,
    "train_lists": NAMES,
    "train_splits": NAMES,
    "valid_splits": NAMES,
    "test_splits": NAMES,
    "held_out": NAMES,
    "trials": _or(NAMES, TEXT),
    "shares": Range(
        lambda x: isinstance(x, dict) and all(map(POSITIVE.holds, x.values())),
        "folders with positive numbers: {music: 1, speech: 2}",
    ),
    "vocab_size": _whole(2),
    "submission": KEYS,
    "schedule": _one_of("intended", "effective"),
    "labels": _or(COUNT, TEXT),
    "loss": TEXT,
    # Training
    "number_of_epochs": COUNT,
    "patience": _or(COUNT, NULL),
    "batch_size": COUNT,
    "dynamic_batches": _or(KEYS, NULL),
    "max_batch_length": POSITIVE,
    "num_buckets": COUNT,
    "max_batch_ex": COUNT,
    "lr": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
    "head_lr_scale": POSITIVE,
    "max_grad_norm": _real(lambda x: x > 0, "a positive number, .inf for none"),
    "nonfinite_patience": _whole(0),
    "precision": _one_of("fp32", "fp16", "bf16"),
    "ckpt_interval_minutes": NOT_NEGATIVE,
    "process_timeout": _or(POSITIVE._replace(words="seconds above 0"), NULL),
    "protocols": _list_of(TEXT, "a list of names, the headline first", 1),
    "average_from": _or(COUNT, NULL),
    "ema_decay": _or(INSIDE, NULL),
    "freeze": _or(TEXT, NAMES, NULL),
    "unfreeze_epoch": _or(_whole(2), NULL),
    "layer_lr_decay": _or(INSIDE, NULL),
    "label_smoothing": BELOW_1,
    "class_weights": _or(
        TEXT._replace(words="balanced or a CSV"),
        _list_of(POSITIVE, "a list of positive numbers", 1),
        NULL,
    ),
    "gradient_checkpointing": SWITCH,
    "strong_weight": NOT_NEGATIVE,
    "generative": NOT_NEGATIVE,
    "contrastive": NOT_NEGATIVE,
    "normalise_targets": SWITCH,
    "mask_share": INSIDE,
    "mask_cluster": _or(
        _list_of(COUNT, "the shortest and the longest side: [3, 5]", 2, 2), NULL
    ),
    "mixup": SHARE,
    "snr": FINITE,
    # Decoding, scores
    "beam_size": _or(COUNT, NULL),
    "lm_weight": NOT_NEGATIVE,
    "word_score": FINITE,
    "score_norm": SWITCH,
    "cohort_size": _whole(2),
    "cohort_top_n": COUNT,
    "p_target": INSIDE,
    "c_miss": POSITIVE,
    "c_fa": POSITIVE,
    "test_scores": _one_of("csv", "parquet", None),
    # Model, features
    "init_from": _or(PATH, NULL),
    "teachers": NAMES,
    "embed_dim": COUNT,
    "depth": COUNT,
    "depths": _list_of(COUNT, "a whole number per stage: [2, 2, 8, 2]", 1),
    "widths": _list_of(COUNT, "a whole number per stage", 1),
    "n_heads": COUNT,
    "width": COUNT,
    "channels": _list_of(COUNT, "a list of whole numbers", 1),
    "patch_size": PAIR,
    "stride": PAIR,
    "scan": _one_of(*SCANS),
    "cls_token": _one_of("front", "middle", "end", "both", None),
    "pooling": _one_of(*POOLINGS),
    "n_mels": COUNT,
    "n_frames": _or(COUNT, NULL),
    "feature_mean": _or(FINITE, _one_of("auto")),
    "feature_std": _or(POSITIVE, _one_of("auto")),
    "freq_mask": _whole(0),
    "time_mask": _whole(0),
    "speeds": _list_of(COUNT, "a list of percentages", 1),
    # Loaders
    "num_workers": _whole(0),
    "balanced_sampling": SWITCH,
    "train_loader": LOADER,
    "valid_loader": LOADER,
    "test_loader": LOADER,
    "shuffle": SWITCH,
    # Objects
    **dict.fromkeys(
        (
            "compute_features",
            "mean_var_norm",
            "embedding_model",
            "classifier",
            "pretext",
            "patch_mask",
            "epoch_counter",
            "compute_loss",
            "opt_class",
            "lr_schedule",
            "metrics",
            "epoch_log",
            "checkpointer",
        ),
        OBJECT,
    ),
    **dict.fromkeys(
        ("crop", "wav_augment", "spec_augment", "norm_augment", "distillation"),
        _or(OBJECT, NULL),
    ),
    "modules": OBJECTS,
}
# Files and folders that may be left out
_OPTIONAL = (
    "clips_csv",
    "strong_csv",
    "meta_file",
    "noise_folder",
    "lm_file",
    "teacher_scores",
)
RANGES |= dict.fromkeys(_OPTIONAL, _or(PATH, NULL))
RANGES |= dict.fromkeys(
    (
        "data_folder",
        "output_folder",
        "manifest_folder",
        "save_folder",
        "model_folder",
        "cohort_manifest",
        "label_file",
        "tokenizer_file",
        "train_csv",
        "valid_csv",
        "test_csv",
    ),
    PATH,
)


def check_ranges(settings: Mapping[str, object], name: str = "") -> None:
    """Refuse values that are impossible, whatever else is given.

    Arguments
    ---------
    settings : dict
        Plain values of a YAML; keys that are not in ``RANGES`` are left alone.
    name : str
        The key that holds them, of those within.

    Raises
    ------
    PreparationError
        Naming key, value and range.

    Example
    -------
    >>> check_ranges({"lr": 0.1, "train_loader": {"batch_size": 0}})
    Traceback (most recent call last):
        ...
    audiomamba.dataio.problems.PreparationError: train_loader.batch_size is 0; \
it must be a whole number of at least 1.
    """
    for key, value in settings.items():
        known = RANGES.get(key)
        if known is None:
            continue
        if not known.holds(value):
            shown = "null" if value is None else repr(value)[:200]
            raise PreparationError(
                f"{name}{key} is {shown}; it must be {known.words}."
                + (" YAML writes infinity as .inf." if value == "inf" else "")
            )
        if isinstance(value, dict) and not OBJECT.holds(value):
            check_ranges(value, f"{name}{key}.")
