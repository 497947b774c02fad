"""A recipe's command line and YAML."""

import argparse
import dataclasses
import difflib
import io
import json
import re
from contextlib import contextmanager
from pathlib import Path

import speechbrain as sb
import torch
from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml import YAML
from speechbrain.utils.logger import get_logger

from audiomamba.dataio.problems import PreparationError

logger = get_logger(__name__)

# Keys whose values are names of files and folders: text, never YAML
_PATH_KEY = re.compile(r"\w*_(folder|file|csv|manifest|scores)|init_from")
_SEARCH = (
    "let the search start the script with options, and read metric.value in "
    "results.json"
)
_LOADERS = "give train_loader, valid_loader and test_loader"
# SpeechBrain's options, and keys that its scripts read, and what to do instead
_INSTEAD = {
    "hpopt": _SEARCH,
    "hpopt_mode": _SEARCH,
    "distributed_launch": "start the script by torchrun, which is enough",
    "data_parallel_backend": "start the script by torchrun",
    "auto_mix_prec": "give precision: fp16",
    "bfloat16_mix_prec": "give precision: bf16",
    "remove_vector_weight_decay": "leave it out: parameters that are tagged "
    "_no_weight_decay have none",
    "tqdm_colored_bar": "leave it out: progress bars have no colours",
    "lr_annealing": "give lr_schedule",
    "noam_annealing": "give lr_schedule",
    "compute_cost": "give compute_loss",
    "error_stats": "give metrics",
    "augmentation": "give wav_augment",
    "pretrained_encoder": "call it pretrainer",
    "dataloader_options": _LOADERS,
    "train_dataloader_opts": _LOADERS,
    "valid_dataloader_opts": _LOADERS,
    "test_dataloader_opts": _LOADERS,
}


def parse_arguments(argv):
    """Read a recipe's command line.

    Every key of the YAML is an option, and the last value given counts.
    Values are YAML, but those of folders and files are taken literally:
    ``20240101`` and ``take #2`` are good names.  All other options are
    SpeechBrain's.  ``--pretrained_folder`` is an alias of ``--init_from``.

    Arguments
    ---------
    argv : list of str
        The arguments after the script's name.

    Returns
    -------
    hparams_file : str
        The YAML.
    run_opts : RunOptions
        SpeechBrain's run options.
    overrides : dict
        Key -> value as YAML text.

    Raises
    ------
    PreparationError
        If there is no such YAML, or an option is no key of it.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.yaml"
    >>> _ = path.write_text("lr: 0.1\\ndata_folder: data\\n")
    >>> options = ["--lr=1", "--data_folder", "take #2", "--lr", "2"]
    >>> parse_arguments([str(path), *options])[2]
    {'data_folder': '"take #2"', 'lr': '2'}
    """
    alias = re.compile(r"--pretrained_folder(?==|$)")
    argv = [alias.sub("--init_from", argument) for argument in argv]
    if not torch.cuda.is_available():
        # The default, NCCL, needs a GPU; first, so that the user's choice wins
        argv = ["--distributed_backend=gloo", *argv]
    hparams_file, _, _ = sb.parse_arguments(argv)
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    for key in dict.fromkeys(_keys(_read(hparams_file))):
        parser.add_argument(f"--{key}", default=argparse.SUPPRESS)
    given, others = parser.parse_known_args(argv)
    hparams_file, run_opts, unknown = sb.parse_arguments(others)
    for key in _keys(unknown):
        raise _unknown_key(hparams_file, key)
    if run_opts["optimizer_step_limit"] is not None:
        # SpeechBrain compares the text with a number
        limit = int(run_opts["optimizer_step_limit"])
        run_opts = dataclasses.replace(run_opts, optimizer_step_limit=limit)
    overrides = {
        key: as_yaml(key, text) for key, text in sorted(vars(given).items())
    }
    return hparams_file, run_opts, overrides


def as_yaml(key, text):
    """Return the value of an option as YAML text.

    Example
    -------
    >>> as_yaml("lr", "1e-3"), as_yaml("noise_folder", "null")
    ('1e-3', 'null')
    >>> as_yaml("data_folder", "20240101")
    '"20240101"'
    """
    if _PATH_KEY.fullmatch(key) and text not in ("null", "None"):
        return json.dumps(text, ensure_ascii=False)
    return text


def _keys(text):
    """Top-level keys of YAML text, in order."""
    return re.findall(r"^(\w+):", text, re.MULTILINE)


def _read(hparams_file):
    path = Path(hparams_file)
    if not path.is_file():
        present = sorted(str(other) for other in path.parent.glob("*.yaml"))
        raise PreparationError(
            f"There is no {path}; its folder has "
            + (f"{', '.join(present)}." if present else "no YAML.")
        )
    return path.read_text(encoding="utf-8")


def _unknown_key(hparams_file, key):
    if key in _INSTEAD:
        return _not_used(f"--{key}")
    keys = _keys(_read(hparams_file))
    close = difflib.get_close_matches(key, keys)
    return PreparationError(
        f"{hparams_file} has no key {key} to change by --{key}; "
        + (f"did you mean {' or '.join(close)}?" if close else f"keys: {keys}.")
    )


def _not_used(name):
    instead = _INSTEAD[name.removeprefix("--")]
    return PreparationError(
        f"{name} has no effect in the recipes here: {instead}."
    )


def check_options(settings, run_opts):
    """Refuse what SpeechBrain or its scripts know and recipes do not use.

    Arguments
    ---------
    settings : dict
        Plain values of the YAML.
    run_opts : RunOptions
        SpeechBrain's run options.

    Raises
    ------
    PreparationError
        Naming the option or key, and what to do instead.

    Example
    -------
    >>> check_options({"lr_annealing": {}}, sb.utils.run_opts.RunOptions())
    Traceback (most recent call last):
        ...
    audiomamba.dataio.problems.PreparationError: lr_annealing has no effect \
in the recipes here: give lr_schedule.
    """
    given = {key: run_opts[key] for key in run_opts.overridden_args}
    given = {**settings, **given}
    for key in _INSTEAD:
        # An option of SpeechBrain may be in the YAML and off
        if key in given and given[key] is not False:
            raise _not_used(f"--{key}" if key in run_opts else key)
    for kind in ("jit", "compile"):
        keys = f"{kind}_module_keys"
        if given.get(keys) is not None and not given.get(kind):
            raise PreparationError(
                f"--{keys} has no effect without --{kind}: give both."
            )
    if given.get("jit") and given.get("jit_module_keys") is None:
        raise PreparationError(
            "--jit is for every module, and not all of them can be scripted: "
            "name some by --jit_module_keys, or give --compile instead."
        )


def _lines(overrides):
    return "\n".join(f"{key}: {value}" for key, value in overrides.items())


def resolved_text(hparams_file, overrides=None):
    """Return a YAML with overrides applied and references resolved.

    Arguments
    ---------
    hparams_file : str
        The YAML.
    overrides : dict, optional
        Key -> value as YAML text.

    Returns
    -------
    str
        YAML text; nothing in it was instantiated.
    """
    stream = io.StringIO(_read(hparams_file))
    with _structure_named(hparams_file):
        return resolve_references(stream, _lines(overrides or {})).read()


@contextmanager
def _structure_named(hparams_file):
    """Say in words that an option gives keys to a value that has none."""
    try:
        yield
    except ValueError as error:
        if "structure of the overrides" not in str(error):
            raise
        given = {
            key: value
            for key, value in error.args[-1].items()
            if isinstance(value, dict)
        }
        raise PreparationError(
            f"{hparams_file}: one of the options {given} gives keys to a value "
            "that has none in the YAML; give a value of the same kind"
        ) from None


def write_settings(folder, hparams_file, overrides):
    """Write ``hyperparams.yaml``: the YAML with its references resolved.

    Arguments
    ---------
    folder : str or Path
        The output folder.
    hparams_file : str
        The YAML.
    overrides : dict
        Key -> value as YAML text.
    """
    text = resolved_text(hparams_file, overrides)
    head = f"# From {hparams_file}\n# yamllint disable\n"
    path = Path(folder, "hyperparams.yaml")
    path.write_text(head + text, encoding="utf-8")


def read_settings(hparams_file, overrides=None):
    """Read the values of a YAML without making its objects.

    Arguments
    ---------
    hparams_file : str
        The YAML.
    overrides : dict, optional
        Key -> value as YAML text.

    Returns
    -------
    dict
        Plain values; an object is a mapping with its tag as the only key.

    Raises
    ------
    PreparationError
        If a ``!PLACEHOLDER`` was not given.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.yaml"
    >>> _ = path.write_text("a: 2\\nb: !new:torch.nn.ReLU {inplace: !ref <a>}")
    >>> read_settings(path, {"a": "1"})
    {'a': 1, 'b': {'!new:torch.nn.ReLU': {'inplace': 1}}}
    """
    _check_placeholders(hparams_file, overrides)
    return _plain(YAML().load(resolved_text(hparams_file, overrides)))


def _check_placeholders(hparams_file, overrides):
    """Refuse a YAML with a value that must be given, and was not."""
    for key, hint in re.findall(
        r"^(\w+): !PLACEHOLDER *#? *(.*)$", _read(hparams_file), re.MULTILINE
    ):
        if key not in (overrides or {}):
            raise PreparationError(
                f"{hparams_file} needs --{key} <value>: {hint}"
            )


def _plain(node):
    """Return a YAML node as dicts, lists and scalars."""
    if isinstance(node, dict):
        value = {str(key): _plain(entry) for key, entry in node.items()}
    elif isinstance(node, list):
        value = [_plain(entry) for entry in node]
    elif isinstance(node, bool) or node is None:
        return node
    else:
        # ruamel's scalars remember how they were written
        base = next((t for t in (int, float) if isinstance(node, t)), str)
        value = base(getattr(node, "value", node))
    tag = getattr(getattr(node, "tag", None), "value", None)
    is_object = tag and tag.startswith("!")
    return {tag: value} if is_object else value


def load_hparams(hparams_file, overrides=None):
    """Load a recipe's YAML and make its objects.

    Arguments
    ---------
    hparams_file : str
        A HyperPyYAML file.
    overrides : dict, optional
        Key -> value as YAML text.

    Returns
    -------
    dict
        The hyperparameters.

    Raises
    ------
    PreparationError
        If there is no such file, a ``!PLACEHOLDER`` was not given, or the
        features are for another sampling rate than the waveforms.

    Example
    -------
    >>> path = getfixture("tmp_path") / "tiny.yaml"
    >>> _ = path.write_text("seed: 1\\nn_classes: 3\\n")
    >>> load_hparams(path, {"seed": "2"})
    {'seed': 2, 'n_classes': 3}
    """
    _check_placeholders(hparams_file, overrides)
    with _structure_named(hparams_file):
        hparams = load_hyperpyyaml(_read(hparams_file), _lines(overrides or {}))
    rate = hparams.get("sample_rate")
    expected = getattr(hparams.get("compute_features"), "sample_rate", rate)
    if expected != rate:
        raise PreparationError(
            f"sample_rate: {rate}, but compute_features of {hparams_file} are "
            f"for {expected} Hz; give these the same sample_rate, for example "
            f"by --compute_features '{{sample_rate: {rate}}}'"
        )
    return hparams


def fit_precision(hparams, run_opts):
    """Replace fp16 by fp32 where there is no GPU, and say so.

    Arguments
    ---------
    hparams : dict
        With ``precision``, if the run options do not name it.
    run_opts : RunOptions
        SpeechBrain's run options.

    Returns
    -------
    RunOptions
        With the precision of training and evaluation that will be used.

    Example
    -------
    >>> from speechbrain.utils.run_opts import RunOptions
    >>> options = RunOptions.from_dictionary({"device": "cpu"})
    >>> fit_precision({"precision": "fp16"}, options)["precision"]
    'fp32'
    """
    device = run_opts["device"] or sb.utils.distributed.infer_device()
    used = {}
    for name in ("precision", "eval_precision"):
        wanted = hparams.get(name, run_opts[name])
        if name in run_opts.overridden_args:
            wanted = run_opts[name]
        used[name] = wanted
        if wanted == "fp16" and str(device).startswith("cpu"):
            logger.info(f"{name}: fp16 needs a GPU; using fp32 on the CPU.")
            used[name] = "fp32"
    return dataclasses.replace(
        run_opts, **used, overridden_args={*run_opts.overridden_args, *used}
    )
