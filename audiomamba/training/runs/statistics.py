"""``feature_mean: auto`` and ``feature_std: auto``: from the training clips.

They are computed once, with the run's own features, and kept beside the
manifests until these or the features change.
"""

import hashlib
import json
from pathlib import Path

from speechbrain.utils.distributed import run_on_main
from speechbrain.utils.logger import get_logger

from audiomamba.dataio.files import write_json
from audiomamba.dataio.problems import PreparationError
from audiomamba.lobes.feature_statistics import feature_statistics
from audiomamba.training.runs.hparams import load_hparams, read_settings

logger = get_logger(__name__)

KEYS = ("feature_mean", "feature_std")
AUTO = "auto"
_FILE = "statistics.json"
# What the features of a clip depend on, besides its file
_READING = ("compute_features", "sample_rate", "max_duration", "crop_duration")


def asks_for_statistics(settings):
    """Whether a YAML leaves mean and standard deviation to the recipe.

    Arguments
    ---------
    settings : dict
        Plain values of the YAML.

    Returns
    -------
    bool

    Raises
    ------
    PreparationError
        If only one of the two is ``auto``, or one is another text.

    Example
    -------
    >>> asks_for_statistics({"feature_mean": "auto", "feature_std": "auto"})
    True
    >>> asks_for_statistics({"feature_mean": "auto", "feature_std": 4.5})
    Traceback (most recent call last):
        ...
    audiomamba.dataio.problems.PreparationError: feature_mean: auto, \
feature_std: 4.5; give two numbers, or auto for both
    """
    given = {key: settings[key] for key in KEYS if key in settings}
    if not any(isinstance(value, str) for value in given.values()):
        return False
    if given != dict.fromkeys(KEYS, AUTO):
        shown = ", ".join(f"{key}: {value}" for key, value in given.items())
        raise PreparationError(f"{shown}; give two numbers, or {AUTO} for both")
    return True


def as_overrides(statistics):
    """Return the numbers as YAML text, for the overrides of a run.

    Example
    -------
    >>> as_overrides({"feature_mean": -6.5, "feature_std": 1e-5})
    {'feature_mean': '-6.5000000', 'feature_std': '0.0000100'}
    """
    return {key: f"{statistics[key]:.7f}" for key in KEYS}


def training_statistics(
    hparams_file, overrides, dataio_prep, labels, progress=True
):
    """Return the statistics of the training clips; log them.

    The main process computes them, unless they are known. Without random
    crops: of a longer clip the part counts that is validated, its beginning
    or its middle.

    Arguments
    ---------
    hparams_file : str
        The YAML.
    overrides : dict
        Key -> value as YAML text.
    dataio_prep, labels
        See `audiomamba.training.recipe.run_recipe`.
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict
        ``feature_mean`` and ``feature_std``.
    """
    settings = read_settings(hparams_file, overrides)
    path = Path(settings["manifest_folder"], _FILE)
    arguments = (hparams_file, overrides, dataio_prep, labels, progress)
    run_on_main(_write_statistics, [path, settings, *arguments])
    found = json.loads(path.read_text())
    logger.info(
        "feature_mean: %.7f, feature_std: %.7f, those of %s",
        *(found[key] for key in KEYS),
        _manifest(settings),
    )
    if settings.get("init_from") is not None:
        logger.info(
            "%s was trained with its own, in its hyperparams.yaml; with few "
            "clips, give those",
            settings["init_from"],
        )
    return {key: found[key] for key in KEYS}


def _write_statistics(
    path, settings, hparams_file, overrides, dataio_prep, labels, progress
):
    """Compute the statistics, unless the file has those of the same clips."""
    key = _key(settings)
    if path.is_file() and json.loads(path.read_text())["key"] == key:
        return
    neutral = {"feature_mean": "0.0", "feature_std": "0.5"}
    # A logger would start its record
    unused = {"crop", "train_logger"} & settings.keys()
    neutral |= dict.fromkeys(unused, "null")
    hparams = load_hparams(hparams_file, {**overrides, **neutral})
    mean, std = feature_statistics(
        dataio_prep(hparams, labels)["train"],
        hparams["compute_features"],
        str(_manifest(settings)),
        hparams.get("num_workers", 0),
        progress,
        settings.get("on_bad_clip") == "skip",
    )
    write_json(path, {"key": key, **dict(zip(KEYS, (mean, std)))})


def _manifest(settings):
    return Path(settings["manifest_folder"], "train.csv")


def _key(settings):
    """Digest of the manifest, of what it was made from, and of the features."""
    folder = Path(settings["manifest_folder"])
    reading = {key: settings.get(key) for key in _READING}
    digest = hashlib.sha256(json.dumps(reading, sort_keys=True).encode())
    digest.update(_manifest(settings).read_bytes())
    if (folder / "prepared.json").is_file():
        # its key changes with the audio files
        record = json.loads((folder / "prepared.json").read_text())
        digest.update(record["key"].encode())
    return digest.hexdigest()
