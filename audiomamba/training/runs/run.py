"""The folder of a run, which holds the results of one set of settings.

``run.json`` says what was trained: settings, classes, data, engine.  The first
start writes it.  A later start resumes if it agrees, and stops if it does not.
"""

import hashlib
import json
from pathlib import Path

from speechbrain.utils.checkpoints import CKPT_PREFIX, METAFNAME
from speechbrain.utils.distributed import run_on_main
from speechbrain.utils.logger import get_logger

from audiomamba.dataio.files import strict_json, write_json
from audiomamba.ops import current_engine
from audiomamba.pretrained.weights import label_difference
from audiomamba.training.protocols import MODEL
from audiomamba.training.runs.environment import all_gather, environment
from audiomamba.training.runs.folder import (
    FolderLock,
    RunError,
    check_shared,
    open_folder,
)
from audiomamba.training.runs.hparams import read_settings, write_settings
from audiomamba.training.runs.options import as_yaml
from audiomamba.training.runs.ranges import check_ranges
from audiomamba.training.runs.statistics import (
    as_overrides,
    asks_for_statistics,
    training_statistics,
)
from audiomamba.training.runs.watch import process_watch

logger = get_logger(__name__)

RECORD = "run.json"
# Where things are, how fast they are read and what is written at the end does
# not change what is trained
FREE = (
    "data_folder",
    "output_folder",
    "num_workers",
    "skip_prep",
    "download",
    "check_audio",
    "ckpt_interval_minutes",
    "process_timeout",
    "test_scores",
    "on_bad_clip",
    "max_bad_share",
)
GROWS = "number_of_epochs"
# The place in an epoch is kept in clips, so how many make a step may change
SHARED_OUT = "batch_size"


def differences(old, new, name=""):
    """List the entries in which two records differ.

    Arguments
    ---------
    old, new : object
        Dicts of plain values, nested.
    name : str
        Where they are, for the names of the entries.

    Returns
    -------
    list of tuple
        (name, old value, new value).

    Example
    -------
    >>> differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
    [('b.c', 2, 3)]
    """
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [(name, old, new)]
    found = []
    for key in {**old, **new}:
        where = f"{name}.{key}" if name else key
        found += differences(old.get(key), new.get(key), where)
    return found


class Run:
    """A start of a recipe in its output folder.

    Training owns the folder.  ``--test_only`` on a trained folder writes to
    ``test_only`` in it, ``--debug`` to ``debug``.  The manifests are those of
    the training, unless a test has other settings.

    Arguments
    ---------
    hparams_file : str
        The YAML.
    overrides : dict
        Key -> value as YAML text.
    run_opts : RunOptions
        SpeechBrain's run options.

    Raises
    ------
    RunError
        If the folder was trained with other settings, or there is nothing to
        test.
    PreparationError
        If a value of the YAML is impossible.
    """

    def __init__(self, hparams_file, overrides, run_opts):
        self.hparams_file, self.overrides = str(hparams_file), overrides
        self.debug = run_opts["debug"]
        self.settings = read_settings(hparams_file, overrides)
        check_ranges(self.settings)
        self.auto = asks_for_statistics(self.settings)
        self.output_folder = Path(self.settings["output_folder"])
        save_folder = Path(self.settings["save_folder"])
        trained = any(save_folder.glob(f"{CKPT_PREFIX}*/{METAFNAME}"))
        self.looks = run_opts["test_only"] and trained
        gives = self.settings.get("init_from") is not None
        if run_opts["test_only"] and not (trained or gives):
            raise RunError(
                f"There is no checkpoint in {save_folder}: train first, "
                "without --test_only; or test given weights with --init_from."
            )
        done = trained or (self.output_folder / "results.json").is_file()
        self.recorded = self._read(trained) if done else None
        # Those of the recorded run, if it computed them
        self.statistics = (self.recorded or {}).get("statistics")
        self.folder = self.output_folder
        if self.debug:
            self._move_to("debug")
        elif self.looks:
            self._move_to("test_only")
        if self.recorded and not self.debug:
            self._check_settings()

    def _read(self, trained):
        path = self.output_folder / RECORD
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
        if trained:
            raise RunError(
                f"{self.output_folder} has checkpoints, but no {RECORD} that "
                "says what they were trained with: choose another "
                "output_folder."
            )
        return None

    def _move_to(self, name):
        """Write to a folder within; read manifests and checkpoints as ever."""
        self.folder = self.output_folder / name
        kept = {
            key: self.settings[key]
            for key in ("manifest_folder", "save_folder")
        }
        self._override(output_folder=str(self.folder), **kept)

    def _override(self, **folders):
        """Change settings that are folders."""
        texts = {key: as_yaml(key, value) for key, value in folders.items()}
        self.overrides = {**self.overrides, **texts}
        self.settings = read_settings(self.hparams_file, self.overrides)

    def _check_settings(self):
        """Compare the settings with those that the folder was trained with."""
        old = self.recorded["settings"]
        # What follows from a free key is free as well; the data, which are
        # compared later, say how many classes there are
        # Older runs do not know every key
        given = {
            key: json.dumps(old.get(key), ensure_ascii=False)
            for key in (*FREE, GROWS, SHARED_OUT, "n_classes")
            if key in {**old, **self.settings}
        }
        if self.auto and self.statistics:
            given |= as_overrides(self.statistics)
        new = read_settings(self.hparams_file, {**self.overrides, **given})
        # The record is in JSON, which has no infinite numbers
        found = differences(old, strict_json(new))
        if self.looks:
            if found and not self.settings.get("skip_prep"):
                self._override(manifest_folder=str(self.folder / "manifests"))
            found = [d for d in found if d[0].partition(".")[0] in MODEL]
        elif GROWS in old and self.settings[GROWS] < old[GROWS]:
            name = f"{GROWS} (may only grow)"
            found.append((name, old[GROWS], self.settings[GROWS]))
        if found:
            self._refuse(found)

    def _refuse(self, found):
        # An object's argument repeats the key that it comes from
        keys = [[old, new] for name, old, new in found if "." not in name]
        lines = [
            f"  {name}: {old} -> {new}"
            for name, old, new in found
            if "." not in name or [old, new] not in keys
        ]
        raise RunError(
            f"{self.output_folder} was trained with other settings:\n"
            + "\n".join(lines)
            + "\nChoose another --output_folder, or start with the old "
            f"settings; only --{GROWS} may grow, and --{SHARED_OUT} change."
        )

    def open(self, log_config=None):
        """Make the folder, own it if this run trains, and log to it.

        Arguments
        ---------
        log_config : str, optional
            SpeechBrain's run option of that name.

        Raises
        ------
        RunError
            If another run owns the folder, or a machine does not see it.
        """
        process_watch.start(self.settings.get("process_timeout"))
        if not self.looks:
            self.lock = FolderLock(self.folder)
            run_on_main(self.lock.take)
        open_folder(self.folder, log_config, self.debug)
        check_shared(self.folder)

    def fill_statistics(self, dataio_prep, labels, progress=True):
        """Put numbers in place of ``feature_mean: auto, feature_std: auto``.

        A recorded run keeps its own; `bind` refuses other training clips.

        Arguments
        ---------
        dataio_prep, labels
            See `audiomamba.training.recipe.run_recipe`.
        progress : bool
            Show a progress bar.
        """
        if not self.auto:
            return
        if self.statistics is None:
            self.statistics = training_statistics(
                self.hparams_file, self.overrides, dataio_prep, labels, progress
            )
        self.overrides = {**self.overrides, **as_overrides(self.statistics)}
        self.settings = read_settings(self.hparams_file, self.overrides)

    def bind(self, labels, device, precision):
        """Compare with ``run.json``, or write it; set ``n_classes``.

        Arguments
        ---------
        labels : list of str or None
            Class names, by index.
        device : str
            Where the run computes.
        precision : str
            Of training.

        Raises
        ------
        RunError
            If the folder was trained on other classes or data, or with another
            engine or precision; if the processes would use different engines.
        """
        engines = all_gather(current_engine(device))
        if len(set(engines)) > 1:
            raise RunError(
                f"The processes would compute with different engines: {engines}"
                " by rank. Install the same packages on all machines."
            )
        if labels is not None:
            self.overrides = {**self.overrides, "n_classes": str(len(labels))}
            self.settings = read_settings(self.hparams_file, self.overrides)
        identity = {
            "seed": self.settings.get("seed"),
            "labels": labels,
            "manifests": self._digests(),
            "engine": engines[0],
            "precision": precision,
        }
        if self.recorded and not self.debug:
            self._check_identity(identity)
        run_on_main(
            write_settings, [self.folder, self.hparams_file, self.overrides]
        )
        if self.looks:
            return
        started = environment(device)
        if self.recorded and not self.debug:
            self._warn_of_versions(started["versions"])
            started = {key: self.recorded[key] for key in started}
        record = {
            "hparams_file": self.hparams_file,
            **identity,
            "statistics": self.statistics,
            "settings": self.settings,
            **started,
        }
        run_on_main(write_json, [self.folder / RECORD, record])

    def _digests(self):
        folder = Path(self.settings["manifest_folder"])
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            for path in sorted(folder.glob("*.csv"))
            if path.name != "coverage.csv"
        }

    def _warn_of_versions(self, versions):
        found = differences(self.recorded["versions"], versions)
        if found:
            logger.warning(
                "%s was started with other versions: %s. The resumed run may "
                "differ in its last digits from one without a break.",
                self.output_folder,
                ", ".join(f"{name} {old} -> {new}" for name, old, new in found),
            )

    def _check_identity(self, identity):
        """Compare what is known only after the preparation."""
        known, labels = self.recorded["labels"], identity["labels"]
        if known is not None and (what := label_difference(known, labels)):
            raise RunError(
                f"{self.output_folder} was trained on other classes than the "
                f"data has: {what}. Restore the labels of the data, or choose "
                "another --output_folder."
            )
        if self.looks:
            return
        found = differences(
            {key: self.recorded[key] for key in identity}, identity
        )
        if found:
            self._refuse(found)
