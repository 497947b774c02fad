"""The model that fine-tuning starts from, as parts of a recipe's YAML."""

import inspect
from pathlib import Path

from hyperpyyaml import load_hyperpyyaml
from ruamel.yaml import YAML

from audiomamba.inference.exported.model_yaml import dump, new_node, plain
from audiomamba.inference.published import FEATURES, features_of
from audiomamba.lobes.dass import DASS
from audiomamba.lobes.patch_encoder import PatchEncoder
from audiomamba.pretrained import load_official
from audiomamba.pretrained.sources import (
    CheckpointError,
    locate,
    settings_file,
)

PARTS = ("compute_features", "mean_var_norm", "embedding_model")


def starting_parts(source: str | Path) -> dict[str, str]:
    """Return the YAML of a model's features, normalisation and encoder.

    Arguments
    ---------
    source : str or Path
        An exported model, a run, a published model or a checkpoint: what
        ``init_from`` of a recipe takes.

    Returns
    -------
    dict
        ``compute_features``, ``mean_var_norm``, ``embedding_model``,
        ``embed_dim``, ``n_mels``, ``sample_rate``: key -> value as YAML text.

    Raises
    ------
    CheckpointError
        (a ValueError) If there is no such model, or it is damaged.

    Example
    -------
    >>> import torch
    >>> from audiomamba.lobes import AudioMamba
    >>> path = getfixture("tmp_path") / "aum.pth"
    >>> torch.save(AudioMamba(embed_dim=32, depth=1).state_dict(), path)
    >>> parts = starting_parts(path)
    >>> parts["embed_dim"], "scan: fo_bi" in parts["embedding_model"]
    ('32', True)
    """
    path = settings_file(source)
    if path is None:
        nodes, sample_rate = _published_nodes(source)
    else:
        nodes = YAML().load(path)
        missing = [k for k in (*PARTS, "sample_rate") if nodes.get(k) is None]
        if missing:
            raise CheckpointError(
                f"{path} has no {', '.join(missing)}: give another model to "
                "start from."
            )
        sample_rate = nodes["sample_rate"]
        features = nodes["compute_features"]
        if str(features.tag).endswith("OwnFrames"):
            nodes["compute_features"] = features["features"]
    texts = {name: dump({name: plain(nodes[name])}) for name in PARTS}
    encoder = load_hyperpyyaml(texts["embedding_model"])["embedding_model"]
    if not isinstance(encoder, PatchEncoder | DASS):
        raise CheckpointError(
            f"{source} has a {type(encoder).__name__}, which no classifier "
            "starts from: give a model with AudioMamba, "
            "AudioSpectrogramTransformer or DASS."
        )
    return {
        **{name: text.partition(": ")[2] for name, text in texts.items()},
        "embed_dim": str(encoder.embed_dim),
        "n_mels": str(encoder.n_mels),
        "sample_rate": str(sample_rate),
    }


def _published_nodes(source):
    """Parts of a model without a YAML, and its sample rate."""
    folder = locate(source)
    features = features_of(folder) if folder.is_dir() else FEATURES
    encoder, _ = load_official(folder, n_mels=features["num_mel_bins"])
    nodes = {
        "compute_features": new_node(
            "audiomamba.lobes.features.KaldiFbank",
            {
                "sample_rate": features["sampling_rate"],
                "n_mels": features["num_mel_bins"],
            },
        ),
        "mean_var_norm": new_node(
            "audiomamba.lobes.normalization.SpectrogramNorm",
            {"mean": features["mean"], "std": features["std"]},
        ),
        "embedding_model": new_node(
            f"{type(encoder).__module__}.{type(encoder).__name__}",
            {**_arguments(encoder), "mask_padding": True},
        ),
    }
    return nodes, features["sampling_rate"]


def _arguments(encoder):
    """The constructor's arguments that an encoder has as attributes."""
    names = inspect.signature(type(encoder).__init__).parameters
    found = {n: getattr(encoder, n) for n in names if n in vars(encoder)}
    if "cls_token" in names:
        # the attribute of this name is the token itself
        found["cls_token"] = encoder.cls_place
    if "distilled" in names:
        found["distilled"] = len(encoder.tokens) > 1
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in found.items()
    }
