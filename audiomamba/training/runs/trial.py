"""A run as one trial of a search for hyperparameters, as in SpeechBrain.

``--hpopt`` with ``--hpopt_mode orion`` reports to Orion, which starts the
script; without a mode, the result is printed as JSON for any other program.
"""

import argparse
import json
import math
from pathlib import Path

from hyperpyyaml import resolve_references
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.hpopt import (
    GenericHyperparameterOptimizationReporter,
    get_reporter,
)

from audiomamba.dataio.problems import PreparationError
from audiomamba.training.protocols import PROTOCOLS, check_protocols
from audiomamba.training.runs.environment import all_gather
from audiomamba.training.runs.hparams import plain, read_settings
from audiomamba.training.runs.options import as_yaml, check_keys

GENERIC = "generic"
# In the result, beside the metrics; lower is better
OBJECTIVE = "error"
# What SpeechBrain's option has in place of a file, and what turns it off
NO_FILE, OFF = ("True", "true"), ("False", "false", "null")


def take_search(argv):
    """Separate the options of a search from those of the recipe.

    Arguments
    ---------
    argv : list of str
        The arguments after the script's name.

    Returns
    -------
    file : str or None
        YAML of what differs in a trial, or "True" if nothing does; None for a
        run that is no trial.
    mode : str
        Of SpeechBrain's reporters.
    others : list of str
        The other arguments.

    Raises
    ------
    PreparationError
        If a mode is given without a search.

    Example
    -------
    >>> take_search(["aum_tiny.yaml", "--hpopt=search.yaml", "--lr=0.1"])
    ('search.yaml', 'generic', ['aum_tiny.yaml', '--lr=0.1'])
    >>> take_search(["aum_tiny.yaml"])
    (None, 'generic', ['aum_tiny.yaml'])
    """
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--hpopt")
    parser.add_argument("--hpopt_mode")
    given, others = parser.parse_known_args(argv)
    file = None if given.hpopt in OFF else given.hpopt
    if given.hpopt_mode and file is None:
        raise PreparationError(
            f"--hpopt_mode {given.hpopt_mode} has no effect without --hpopt: "
            "give a YAML of what differs in a trial, or --hpopt=True."
        )
    return file, given.hpopt_mode or GENERIC, others


class Trial:
    """A run as one trial of a search.

    Its output folder is one of its own within that of the settings, named by
    the search.

    Arguments
    ---------
    file, mode : str
        From `take_search`.

    Raises
    ------
    PreparationError
        If the reporter of the mode cannot be used.

    Example
    -------
    >>> trial = Trial("True", "generic")
    >>> path = getfixture("tmp_path") / "a.yaml"
    >>> _ = path.write_text("output_folder: results\\nprotocols: [honest]\\n")
    >>> found = trial.overrides(path, {})
    >>> found == {"output_folder": f'"results/{trial.id}"'}
    True
    """

    def __init__(self, file, mode):
        self.file = file
        self.reporter = get_reporter(mode, objective_key=OBJECTIVE)
        self.prints = isinstance(
            self.reporter, GenericHyperparameterOptimizationReporter
        )
        # SpeechBrain would go on with the generic one
        if self.prints and mode != GENERIC:
            raise PreparationError(
                f"--hpopt_mode {mode} cannot be used here. For orion, install "
                "it (pip install orion) and let `orion hunt` start the script; "
                "without a mode, the result is printed as JSON."
            )
        # The generic one is the time, which differs from process to process
        self.id = all_gather(self.reporter.trial_id)[0]

    def overrides(self, hparams_file, given):
        """Return the overrides of the trial.

        Arguments
        ---------
        hparams_file : str
            The YAML.
        given : dict
            Those of the command line, which count more than the file's.

        Returns
        -------
        dict
            Key -> value as YAML text.

        Raises
        ------
        PreparationError
            If the file cannot be used, or all protocols choose the weights by
            the reported split.
        """
        overrides = {**self._read(hparams_file), **given}
        settings = read_settings(hparams_file, overrides)
        check_protocols(settings["protocols"], has_valid=True)
        _protocol(settings["protocols"])
        folder = Path(settings["output_folder"])
        if self.id not in folder.parts:
            folder = folder / self.id
        overrides["output_folder"] = as_yaml("output_folder", str(folder))
        return overrides

    def _read(self, hparams_file):
        """The file's values as YAML text; ``<trial_id>`` is known there."""
        if self.file in NO_FILE:
            return {}
        try:
            text = Path(self.file).read_text(encoding="utf-8")
            if not isinstance(YAML().load(text), dict):
                raise ValueError("there is no line such as number_of_epochs: 5")
            stream = resolve_references(text, {"trial_id": self.id})
            values = plain(YAML().load(stream))
        except OSError as error:
            raise PreparationError(
                f"--hpopt {self.file}: {error.strerror}. Give a YAML of what "
                "differs in a trial, or True."
            ) from error
        except (YAMLError, ValueError) as error:
            raise PreparationError(f"--hpopt {self.file}: {error}") from error
        del values["trial_id"]
        check_keys(hparams_file, values, self.file)
        return {key: _as_text(value) for key, value in values.items()}

    def check(self, datasets):
        """Refuse to choose by the clips that are reported.

        Arguments
        ---------
        datasets : dict
            Split -> data set.

        Raises
        ------
        PreparationError
            If there is no validation split.
        """
        if "valid" not in datasets:
            raise PreparationError(
                "--hpopt needs a validation split; without one, it would "
                "choose by the clips that are reported. Where the YAML has "
                "valid_share or valid_splits, give one."
            )

    def report(self, brain, dataset, loader_kwargs):
        """Report the figures of the validation split.

        They are those of the weights that the first protocol would test, or
        of the next one if that chooses by the reported split.  ``error`` is
        the headline metric, or 1 minus it where higher is better.

        Arguments
        ---------
        brain : RecipeBrain
            After training.
        dataset : DynamicItemDataset
            The validation split.
        loader_kwargs : dict
            Options of its loader.
        """
        brain.load_tested(_protocol(brain.hparams.protocols))
        found = brain.score(dataset, "valid", loader_kwargs)
        metrics = brain.hparams.metrics
        value = found[metrics.headline]
        error = 1 - value if metrics.higher_is_better else value
        if if_main_process():
            self.reporter.report_objective({**found, OBJECTIVE: error})
            if self.prints:
                print(flush=True)


def _as_text(value):
    """Plain values, in which the tag of an object is its key, as YAML text."""
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' * (value < 0)}.inf"
    if isinstance(value, list):
        return f"[{', '.join(map(_as_text, value))}]"
    if not isinstance(value, dict):
        return json.dumps(value)
    first = next(iter(value), "")
    if first.startswith("!"):
        return f"{first} {_as_text(value[first])}"
    items = (f"{json.dumps(k)}: {_as_text(v)}" for k, v in value.items())
    return f"{{{', '.join(items)}}}"


def _protocol(protocols):
    """The first protocol that does not look at the reported split."""
    for protocol in protocols:
        if PROTOCOLS[protocol][0] != "test":
            return protocol
    raise PreparationError(
        f"--hpopt with protocols: {protocols} would choose by the clips that "
        "are reported: give --protocols '[honest]'."
    )
