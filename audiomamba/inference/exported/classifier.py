"""A classifier or tagger as the files of an exported folder."""

from dataclasses import dataclass
from pathlib import Path

import torch
from ruamel.yaml import YAML

from audiomamba.dataio.files import write_json
from audiomamba.inference.exported.card import model_card
from audiomamba.inference.exported.folder import ExportError
from audiomamba.inference.exported.model_yaml import (
    PARTS,
    model_yaml,
    new_node,
    plain,
)
from audiomamba.nnet.probabilities import default_activation
from audiomamba.pretrained.sources import HPARAMS_FILE, LABEL_FILE
from audiomamba.pretrained.weights import write_class_names

# Defaults of the recipes' readers, for keys that the YAML does not have
_READER = {"remove_mean": True, "keep": "start"}
# EPIC-Sounds is recognised by its features
_EPIC_FEATURES = "LogMelSpectrogram"
_EPIC_READER = {"remove_mean": False, "keep": "centre"}


def read_recipe(text: str, name: str | Path) -> tuple[dict, dict]:
    """Read a model's modules and options from a recipe's YAML.

    Arguments
    ---------
    text : str
        A HyperPyYAML with resolved references, as written by a run.
    name : str or Path
        Name of the file, for error messages.

    Returns
    -------
    dict
        Module name -> YAML node.
    dict
        ``sample_rate``, ``max_duration``, ``remove_mean``, ``keep`` (see
        `audiomamba.inference.waveforms.WaveformNormalizer`), ``activation``.

    Raises
    ------
    ExportError
        If a module is missing, or an exported folder cannot hold it.

    Example
    -------
    >>> read_recipe("compute_features: !new:torch.nn.Identity", "a.yaml")
    Traceback (most recent call last):
        ...
    audiomamba.inference.exported.folder.ExportError: a.yaml has no ...
    """
    recipe = YAML().load(text)
    wanted = (*PARTS, "sample_rate", "metrics")
    missing = [key for key in wanted if recipe.get(key) is None]
    if missing:
        raise ExportError(
            f"{name} has no {', '.join(missing)}: give the YAML of a "
            "classification recipe."
        )
    _check_norm(recipe["mean_var_norm"], name)
    metrics = recipe["metrics"]
    usual = default_activation(metrics.get("multi_label", False))
    of_epic = str(recipe["compute_features"].tag).endswith(_EPIC_FEATURES)
    reader = _EPIC_READER if of_epic else _READER
    options = {
        "sample_rate": recipe["sample_rate"],
        "max_duration": recipe.get("max_duration"),
        **{name: recipe.get(name, value) for name, value in reader.items()},
        "activation": metrics.get("activation") or usual,
    }
    return {key: plain(recipe[key]) for key in PARTS}, options


def _check_norm(node, name):
    """Refuse SpeechBrain's normalisation by statistics of the training."""
    known = isinstance(node, dict) and "InputNormalization" in str(node.tag)
    if known and node.get("norm_type", "global") == "global":
        raise ExportError(
            f"{name}: norm_type is global in mean_var_norm, so the model needs "
            "statistics that an exported folder does not hold: train with "
            "SpectrogramNorm, or with norm_type: sentence."
        )


@dataclass
class Classifier:
    """What an exported folder says of a classifier.

    Arguments
    ---------
    parts : dict
        Module name -> YAML node, from `read_recipe`.
    options : dict
        From `read_recipe`.
    weights : dict
        Module name -> state dict; at least for encoder and classifier.
    labels : list of str
        Class names in the order of the classifier's outputs.
    title, origin : str
        See `audiomamba.inference.exported.card.model_card`.
    licence : str, optional
        See `audiomamba.inference.exported.card.model_card`.
    record : dict, optional
        The content of ``results.json``.
    training : tuple of Path, optional
        Manifest and data folder of the training clips.
    """

    parts: dict
    options: dict
    weights: dict
    labels: list[str]
    title: str
    origin: str
    licence: str | None = None
    record: dict | None = None
    training: tuple[Path, Path] | None = None

    def write(self, folder: Path) -> None:
        """Write the files of the folder, unchecked.

        Arguments
        ---------
        folder : Path
            An empty folder.
        """
        self.write_yaml(folder, [*self.weights])
        for name, state in self.weights.items():
            torch.save(state, folder / f"{name}.ckpt")
        write_class_names(folder / LABEL_FILE, self.labels)
        card = model_card(
            self.title,
            self.origin,
            self.options,
            len(self.labels),
            self.record,
            self.licence,
        )
        (folder / "README.md").write_text(card, encoding="utf-8")
        if self.record is not None:
            write_json(folder / "results.json", self.record)

    def write_yaml(self, folder: Path, weights: list[str]) -> None:
        """Write ``hyperparams.yaml``.

        Arguments
        ---------
        folder : Path
            The folder.
        weights : list of str
            What has a ``.ckpt`` file in it.
        """
        parts = self.parts
        if _hides_padding(parts):
            own_frames = new_node(
                "audiomamba.inference.programs.features.OwnFrames",
                {"features": parts["compute_features"]},
            )
            parts = {**parts, "compute_features": own_frames}
        text = model_yaml(parts, self.options, weights)
        (folder / HPARAMS_FILE).write_text(text, encoding="utf-8")


def _hides_padding(parts):
    """Whether the encoder masks the padding that the features add."""
    encoder, features = parts["embedding_model"], parts["compute_features"]
    # An object without arguments is no mapping
    if not (isinstance(encoder, dict) and isinstance(features, dict)):
        return False
    masks = encoder.get("mask_padding", True)
    padded = features.get("n_frames") is not None
    return ":audiomamba." in str(encoder.tag) and masks and padded
