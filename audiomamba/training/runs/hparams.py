"""A recipe's YAML: its values, and the objects that it names."""

import dataclasses
import io
import re
import sys
from contextlib import contextmanager
from pathlib import Path

import speechbrain as sb
import torch
from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml import YAML
from speechbrain.utils.logger import get_logger

from audiomamba.dataio.problems import PreparationError

logger = get_logger(__name__)


class Values(dict):
    """The values of a YAML by key; to ask for one that it lacks is a fault.

    Arguments
    ---------
    hparams_file : str
        The YAML.
    values : dict
        What it has.
    """

    def __init__(self, hparams_file, values):
        super().__init__(values)
        self.hparams_file = hparams_file

    def __missing__(self, key):
        raise PreparationError(
            f"{self.hparams_file} has no {key}, which {sys.argv[0]} needs: "
            "give a YAML of this script, or add the key."
        )


def top_keys(text):
    """Return the top-level keys of YAML text, in order.

    Example
    -------
    >>> top_keys("a: 1\\nb:\\n    c: 2\\n")
    ['a', 'b']
    """
    return re.findall(r"^(\w+):", text, re.MULTILINE)


def read_yaml(hparams_file):
    """Return the text of a YAML.

    Raises
    ------
    PreparationError
        If there is no such file; names those beside it.
    """
    path = Path(hparams_file)
    if not path.is_file():
        present = sorted(str(other) for other in path.parent.glob("*.yaml"))
        raise PreparationError(
            f"There is no {path}; its folder has "
            + (f"{', '.join(present)}." if present else "no YAML.")
        )
    return path.read_text(encoding="utf-8")


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
    stream = io.StringIO(read_yaml(hparams_file))
    with _structure_named(hparams_file):
        return resolve_references(stream, _lines(overrides or {})).read()


@contextmanager
def _structure_named(hparams_file):
    """Explain that an option gives keys to a value that has none."""
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
    values = plain(YAML().load(resolved_text(hparams_file, overrides)))
    return Values(hparams_file, values)


def _check_placeholders(hparams_file, overrides):
    """Refuse a YAML with a value that must be given, and was not."""
    for key, hint in re.findall(
        r"^(\w+): !PLACEHOLDER *#? *(.*)$",
        read_yaml(hparams_file),
        re.MULTILINE,
    ):
        if key not in (overrides or {}):
            raise PreparationError(
                f"{hparams_file} needs --{key} <value>: {hint}"
            )


def plain(node):
    """Return a node of ruamel's YAML as dicts, lists and scalars.

    An object is a mapping with its tag as the only key.
    """
    if isinstance(node, dict):
        value = {str(key): plain(entry) for key, entry in node.items()}
    elif isinstance(node, list):
        value = [plain(entry) for entry in node]
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
        If there is no such file, a ``!PLACEHOLDER`` was not given, a package
        is missing, an object refuses its arguments, or the features are for
        another sampling rate than the waveforms.

    Example
    -------
    >>> path = getfixture("tmp_path") / "tiny.yaml"
    >>> _ = path.write_text("seed: 1\\nn_classes: 3\\n")
    >>> load_hparams(path, {"seed": "2"})
    {'seed': 2, 'n_classes': 3}
    """
    _check_placeholders(hparams_file, overrides)
    with _objects_named(hparams_file), _structure_named(hparams_file):
        hparams = load_hyperpyyaml(
            read_yaml(hparams_file), _lines(overrides or {})
        )
    rate = hparams.get("sample_rate")
    expected = getattr(hparams.get("compute_features"), "sample_rate", rate)
    if expected != rate:
        raise PreparationError(
            f"sample_rate: {rate}, but compute_features of {hparams_file} are "
            f"for {expected} Hz; give these the same sample_rate, for example "
            f"by --compute_features '{{sample_rate: {rate}}}'"
        )
    return Values(hparams_file, hparams)


@contextmanager
def _objects_named(hparams_file):
    """Explain why an object of a YAML cannot be made."""
    try:
        yield
    except ImportError as error:
        raise PreparationError(
            f"{hparams_file}: {error}. Install the package, or correct the name"
        ) from error
    except PreparationError:
        raise
    except (TypeError, ValueError) as error:
        why = [*map(str, error.args)]
        if error.__context__ is not None:
            # SpeechBrain's WandBLogger fails while it says why it cannot start
            why[1:] = [str(error.__context__)]
        raise PreparationError(": ".join([str(hparams_file), *why])) from error


def _slow_in_bf16() -> bool:
    """Return whether oneDNN, which multiplies in bf16, knows no fast way."""
    onednn = torch.backends.mkldnn.is_available()
    return onednn and not torch.ops.mkldnn._is_mkldnn_bf16_supported()


def fit_precision(hparams, run_opts):
    """Replace fp16 by fp32 where there is no GPU, and say so.

    bf16 is kept, with a warning where the processor lacks its instructions.

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
        if not str(device).startswith("cpu"):
            continue
        if wanted == "fp16":
            logger.info(f"{name}: fp16 needs a GPU; using fp32 on the CPU.")
            used[name] = "fp32"
        if wanted == "bf16" and _slow_in_bf16():
            logger.warning(
                f"{name}: bf16 is many times slower than fp32 on this "
                "processor, which lacks fast products; give --precision fp32."
            )
    return dataclasses.replace(
        run_opts, **used, overridden_args={*run_opts.overridden_args, *used}
    )
