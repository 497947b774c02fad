"""A recipe's command line."""

import argparse
import dataclasses
import difflib
import json
import re

import speechbrain as sb
import torch

from audiomamba.dataio.problems import PreparationError
from audiomamba.training.runs.hparams import read_yaml, top_keys

# SpeechBrain's options that the YAMLs have as keys, and then mean those
_SHARED = (
    "precision",
    "max_grad_norm",
    "nonfinite_patience",
    "grad_accumulation_factor",
    "ckpt_interval_minutes",
)
# Keys whose values are names of files and folders: text, never YAML
_PATH_KEY = re.compile(r"\w*_(folder|file|csv|manifest|scores)|init_from")
_SEARCH = "give it on the command line, or null"
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
    "ckpt_enable": "leave it out: a trial that was stopped resumes",
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
    hparams_file, _, _ = sb.parse_arguments(_given(_SHARED, argv)[1])
    given, others = _given(top_keys(read_yaml(hparams_file)), argv)
    hparams_file, run_opts, unknown = sb.parse_arguments(_as_python(others))
    check_keys(hparams_file, top_keys(unknown))
    if run_opts["optimizer_step_limit"] is not None:
        # SpeechBrain compares the text with a number
        limit = run_opts["optimizer_step_limit"]
        if not limit.isdecimal() or int(limit) < 1:
            raise PreparationError(
                f"--optimizer_step_limit is {limit}; it must be a whole number "
                "of at least 1."
            )
        run_opts = dataclasses.replace(
            run_opts, optimizer_step_limit=int(limit)
        )
    overrides = {
        key: as_yaml(key, text) for key, text in sorted(vars(given).items())
    }
    return hparams_file, run_opts, overrides


def _given(keys, argv):
    """Return the options with these names, and the other arguments."""
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    for key in dict.fromkeys(keys):
        parser.add_argument(f"--{key}", default=argparse.SUPPRESS)
    return parser.parse_known_args(argv)


def _as_python(argv):
    """Write infinity as Python does, for SpeechBrain's options."""
    return [re.sub(r"^(--\w+=)?\.inf$", r"\1inf", text) for text in argv]


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


def check_keys(hparams_file, keys, source=None):
    """Refuse keys that a YAML does not have.

    Arguments
    ---------
    hparams_file : str
        The YAML.
    keys : iterable of str
        What is to be changed.
    source : str, optional
        The file that says so; by default the command line.

    Raises
    ------
    PreparationError
        Naming the first such key, and what to do instead.
    """
    known = top_keys(read_yaml(hparams_file))
    for key in keys:
        if key in known:
            continue
        name = f"--{key}" if source is None else f"{source}: {key}"
        if key in _INSTEAD:
            raise _not_used(name, key)
        close = " or ".join(difflib.get_close_matches(key, known))
        raise PreparationError(
            f"{hparams_file} has no key {key} to change by {source or name}; "
            + (f"did you mean {close}?" if close else f"keys: {known}.")
        )


def _not_used(name, key):
    return PreparationError(
        f"{name} has no effect in the recipes here: {_INSTEAD[key]}."
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
        if key in given and given[key] not in (None, False):
            raise _not_used(f"--{key}" if key in run_opts else key, key)
    for kind in ("jit", "compile"):
        keys = f"{kind}_module_keys"
        if given.get(keys) is not None and not given.get(kind):
            raise PreparationError(
                f"--{keys} has no effect without --{kind}: give both."
            )
        for name in given.get(keys) or ():
            if name not in settings["modules"]:
                known = ", ".join(settings["modules"])
                raise PreparationError(
                    f"--{keys} {name}: there is no such module, but {known}."
                )
    if given.get("jit") and given.get("jit_module_keys") is None:
        raise PreparationError(
            "--jit is for every module, and not all of them can be scripted: "
            "name some by --jit_module_keys, or give --compile instead."
        )
