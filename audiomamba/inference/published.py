"""Published models of AudioSet as taggers, from their weights and settings.

DASS's copies on the Hugging Face hub come with code of their own, which is
neither needed nor run here: ``config.json`` has the class names and
``preprocessor_config.json`` the features, and both are data.
"""

from pathlib import Path

from speechbrain.dataio.encoder import CategoricalEncoder

from audiomamba.inference.waveforms import WaveformNormalizer
from audiomamba.lobes.features import KaldiFbank
from audiomamba.lobes.normalization import SpectrogramNorm
from audiomamba.pretrained import load_official, read_class_names
from audiomamba.pretrained.sources import (
    CONFIG_FILE,
    HPARAMS_FILE,
    CheckpointError,
    locate,
    read_config,
    settings_file,
)

FEATURES_FILE = "preprocessor_config.json"
# Of DASS and of AST, where the file does not say otherwise.
FEATURES = {
    "sampling_rate": 16000,
    "num_mel_bins": 128,
    "max_length": 1024,
    "mean": -4.2677393,
    "std": 4.5689974,
}


def is_published(source: str | Path) -> bool:
    """Whether a model is a published one, not exported by this package.

    Arguments
    ---------
    source : str or Path
        A folder, or ``owner/name`` on the Hugging Face hub.

    Returns
    -------
    bool

    Raises
    ------
    CheckpointError
        (a ValueError) If there is no such folder, and it is no name on the
        hub.
    FileNotFoundError
        If it is a file, or a folder that is neither.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> (folder / "config.json").touch()
    >>> is_published(folder)
    True
    """
    folder = Path(source)
    if folder.is_file():
        raise FileNotFoundError(
            f"{folder} is a file, not the folder of a model. If it is a "
            f"checkpoint, convert it: tools/convert_checkpoint.py {folder} "
            "<folder>; or load it with audiomamba.load_official."
        )
    if settings_file(source) is not None:
        return False
    if folder.is_dir() and not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(
            f"{folder} has no {HPARAMS_FILE}: it is not an exported model. "
            "Make one with tools/export_pretrained.py from a run's output "
            "folder, or with tools/convert_checkpoint.py from a checkpoint."
        )
    return True


def published_parts(source: str | Path) -> dict:
    """Return the parts of a tagger.

    Padding is content, as in the training of the published models.

    Arguments
    ---------
    source : str or Path
        A folder with weights and ``config.json``, or ``owner/name`` on the
        Hugging Face hub.

    Returns
    -------
    dict
        ``modules`` and ``hparams`` of `audiomamba.inference.AudioTagger`.

    Raises
    ------
    CheckpointError
        (a ValueError) If the weights or the settings are damaged, or the model
        has no classifier or no class names.
    """
    folder = Path(str(locate(source)))
    encoder, head = load_official(folder)
    names = read_class_names(folder)
    n_classes = 0 if head is None else head.out_features
    if head is None or names is None or len(names) != n_classes:
        raise CheckpointError(
            f"{source} has a classifier of {n_classes} classes and "
            f"{len(names or [])} class names, in id2label of {CONFIG_FILE}. "
            "Convert it with tools/convert_checkpoint.py and --labels."
        )
    features = features_of(folder)
    encoder.mask_padding = False
    labels = CategoricalEncoder()
    labels.update_from_iterable(names)
    return {
        "modules": {
            "compute_features": KaldiFbank(
                sample_rate=features["sampling_rate"],
                n_mels=features["num_mel_bins"],
                n_frames=features["max_length"],
            ),
            "mean_var_norm": SpectrogramNorm(features["mean"], features["std"]),
            "embedding_model": encoder,
            "classifier": head,
        },
        "hparams": {
            "label_encoder": labels,
            "activation": "sigmoid",
            "audio_normalizer": WaveformNormalizer(features["sampling_rate"]),
        },
    }


def features_of(folder: Path) -> dict:
    """Return the settings of a published model's features, checked.

    Arguments
    ---------
    folder : Path
        With ``preprocessor_config.json``, if they are not the usual ones.

    Returns
    -------
    dict
        The keys of ``FEATURES``.

    Raises
    ------
    CheckpointError
        If the file is damaged, or sets what no features have.

    Example
    -------
    >>> features_of(getfixture("tmp_path"))["num_mel_bins"]
    128
    """
    path, features = folder / FEATURES_FILE, dict(FEATURES)
    if path.is_file():
        given = read_config(path)
        features |= {key: given[key] for key in FEATURES if key in given}
    broken = {
        key: value
        for key, value in features.items()
        if type(value) not in (int, type(FEATURES[key]))
        or (key != "mean" and not 0 < value < float("inf"))
    }
    if broken:
        raise CheckpointError(
            f"{path} sets {broken}, which no features have: download the model "
            "again."
        )
    return features
