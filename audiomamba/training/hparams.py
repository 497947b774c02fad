"""Loading of a recipe's YAML, with as many classes as the data hold."""

import difflib
import io
import re
from pathlib import Path

from hyperpyyaml import load_hyperpyyaml, resolve_references
from speechbrain.utils.distributed import main_process_only
from speechbrain.utils.logger import get_logger

from audiomamba.dataio.problems import PreparationError

logger = get_logger(__name__)


def load_hparams(hparams_file, overrides=""):
    """Load a recipe's YAML and make its objects.

    Arguments
    ---------
    hparams_file : str
        A HyperPyYAML file.
    overrides : str or dict
        From SpeechBrain's ``parse_arguments``, or a mapping.

    Returns
    -------
    dict
        The hyperparameters.

    Raises
    ------
    PreparationError
        If there is no such file; if an override is no key of it; if a value
        must be given and was not, with what the comment behind it says.

    Example
    -------
    >>> path = getfixture("tmpdir") / "tiny.yaml"
    >>> _ = path.write("seed: 1\\nn_classes: 3\\n")
    >>> load_hparams(str(path), "seed: 2")
    {'seed': 2, 'n_classes': 3}
    """
    path = Path(hparams_file)
    if not path.is_file():
        present = sorted(str(other) for other in path.parent.glob("*.yaml"))
        raise PreparationError(
            f"There is no {path}; in its folder "
            + (f"are {', '.join(present)}." if present else "is no YAML.")
        )
    text = path.read_text(encoding="utf-8")
    try:
        return load_hyperpyyaml(text, overrides)
    except KeyError as error:
        unknown = re.search(r"Override '(\w+)' not found", str(error))
        if unknown is None:
            raise
        keys = re.findall(r"^(\w+):", text, re.M)
        close = difflib.get_close_matches(unknown[1], keys)
        raise PreparationError(
            f"{path} has no key {unknown[1]} to change by --{unknown[1]}; "
            + (f"meant: {' or '.join(close)}?" if close else f"it has {keys}.")
        ) from None
    except ValueError as error:
        missing = re.match(r"'(\w+)' is a !PLACEHOLDER", str(error))
        if missing is None:
            raise
        key = missing[1]
        comment = re.search(rf"^{key}: !PLACEHOLDER *#? *(.*)$", text, re.M)
        raise PreparationError(
            f"{hparams_file} needs {key}: give it --{key} <path>.  What is "
            f"meant: {comment[1] if comment else ''}"
        ) from None


def match_classes(hparams, n_classes, hparams_file, overrides=""):
    """Load the YAML again where the data hold another number of classes.

    So a recipe runs on a part of its corpus, or on a miniature one, without a
    change of the YAML.  ``hyperparams.yaml`` in the output folder is written
    again too, so it stays the record of the run.

    Arguments
    ---------
    hparams : dict
        From `load_hparams`.
    n_classes : int
        Number of classes in the data.
    hparams_file : str
        The file they were loaded from.
    overrides : str or dict
        The overrides they were loaded with.

    Returns
    -------
    dict
        ``hparams``, or new ones with that ``n_classes``.

    Example
    -------
    >>> folder = getfixture("tmpdir")
    >>> path = folder / "tiny.yaml"
    >>> _ = path.write(f"n_classes: 3\\noutput_folder: {folder}\\n")
    >>> hparams = load_hparams(str(path))
    >>> match_classes(hparams, 6, str(path))["n_classes"]
    6
    """
    if hparams["n_classes"] == n_classes:
        return hparams
    logger.info(
        f"{hparams_file} says n_classes: {hparams['n_classes']}, the data "
        f"hold {n_classes}: loading it again with n_classes: {n_classes}."
    )
    overrides = _with_classes(overrides, n_classes)
    _write_resolved(hparams["output_folder"], hparams_file, overrides)
    return load_hparams(hparams_file, overrides)


def _with_classes(overrides, n_classes):
    """Overrides, a mapping or lines of YAML, with that ``n_classes``."""
    if not isinstance(overrides, str):
        return {**overrides, "n_classes": n_classes}
    lines = overrides.splitlines()
    kept = [line for line in lines if not line.startswith("n_classes:")]
    return "\n".join([*kept, f"n_classes: {n_classes}"])


@main_process_only
def _write_resolved(folder, hparams_file, overrides):
    """Write the YAML with its references resolved, as SpeechBrain does."""
    source = Path(hparams_file).read_text(encoding="utf-8")
    resolved = resolve_references(io.StringIO(source), overrides).read()
    target = Path(folder) / "hyperparams.yaml"
    target.write_text(f"# From {hparams_file}\n{resolved}", encoding="utf-8")
