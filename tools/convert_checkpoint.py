#!/usr/bin/env python3
"""Convert an official checkpoint of AuM or DASS to a folder for any use.

    python tools/convert_checkpoint.py aum-base_vggsound.pth model
    python tools/convert_checkpoint.py saurabhati/DASS_small_AudioSet_47.2 dass

``audiomamba.inference.AudioTagger.from_hparams("model")`` and SpeechBrain's
``EncoderClassifier`` load the folder; so does ``init_from`` of a recipe.
Features and normalisation are those of the recipe with the checkpoint's number
of classes, or of the one that --recipe names; so are the class names, unless
the checkpoint has its own.
"""

import argparse
import sys
from pathlib import Path

from hyperpyyaml import resolve_references
from ruamel.yaml.comments import CommentedMap

from audiomamba import DASS, AudioMamba, load_official
from audiomamba.dataio.manifest import class_names
from audiomamba.inference.export import ExportError, write_model
from audiomamba.inference.exported.classifier import read_recipe
from audiomamba.inference.exported.model_yaml import new_node
from audiomamba.pretrained import read_class_names
from audiomamba.pretrained.family import AUTO

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
# Number of classes -> recipe, for the corpora of the released checkpoints
CORPORA = {
    527: "AudioSet",
    309: "VGGSound",
    1251: "VoxCeleb",
    35: "SpeechCommands",
    44: "EPIC-Sounds",
    50: "ESC50",
}


def pair(text):
    """Read ``16`` or ``128,4``: bins and frames."""
    numbers = [int(number) for number in text.split(",")]
    if len(numbers) > 2:
        raise argparse.ArgumentTypeError(f"{text}: one or two numbers")
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def parse_arguments(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "checkpoint",
        help="a .pth or .safetensors file, a folder, or a hub repository",
    )
    add("target", type=Path, help="the folder to write")
    add(
        "--labels",
        type=Path,
        metavar="CSV",
        help="class names: index,label or index,mid,display_name",
    )
    add(
        "--recipe",
        type=Path,
        metavar="YAML",
        help="recipe with the features and normalisation of the training",
    )
    add(
        "--cls_token",
        choices=(AUTO, "front", "middle", "end", "both", "none"),
        default=AUTO,
        help="position of the class token (default: that of a hyperparams.yaml "
        "beside the weights, else middle)",
    )
    add(
        "--token_order",
        choices=(AUTO, "frequency", "time"),
        default=AUTO,
        help="time: the model was trained on transposed tokens",
    )
    add("--n_frames", type=int, help="resample the position table to these")
    for name in ("patch_size", "stride"):
        add(f"--{name}", type=pair, metavar="N or BINS,FRAMES", help="resize")
    return parser.parse_args(argv)


def find_recipe(n_classes: int, recipe: Path | None) -> Path:
    """Return ``recipe``, or the YAML of the corpus with so many classes.

    Raises
    ------
    ExportError
        If there is none.
    """
    if recipe is None and n_classes in CORPORA:
        recipe = RECIPES / CORPORA[n_classes] / "hparams" / "aum_base.yaml"
    if recipe is None or not recipe.is_file():
        missing = f"{recipe} does not exist" if recipe else "no recipe does"
        raise ExportError(
            f"The checkpoint has {n_classes} classes; {missing}. Name the "
            "YAML it was trained with by --recipe."
        )
    return recipe


def find_labels(
    n_classes: int, labels: Path | None, recipe: Path, known: list[str] | None
) -> list[str]:
    """Return the class names of a label file, the checkpoint or the recipe.

    Raises
    ------
    ExportError
        If there are none.
    """
    if labels is None and known is not None:
        return known
    path = labels or recipe.resolve().parents[1] / "labels.csv"
    if not path.is_file():
        raise ExportError(
            f"The checkpoint has {n_classes} classes and there is no {path}. "
            "Name a label file by --labels CSV, with the columns index,label "
            "or index,mid,display_name."
        )
    return class_names(path)


def encoder_node(encoder: AudioMamba | DASS) -> CommentedMap:
    """Return the YAML node that makes an encoder like this one."""
    # The released checkpoints were trained with padding as content.
    shared = {"n_mels": encoder.n_mels, "mask_padding": False}
    if isinstance(encoder, DASS):
        return new_node(
            "audiomamba.lobes.dass.DASS",
            {
                "widths": list(encoder.widths),
                "depths": list(encoder.depths),
                "state_size": encoder.state_size,
                **shared,
            },
        )
    mixer = encoder.layers[0].mixer
    return new_node(
        "audiomamba.lobes.audio_mamba.AudioMamba",
        {
            "n_frames": encoder.n_frames,
            "patch_size": list(encoder.patch_size),
            "stride": list(encoder.stride),
            "embed_dim": encoder.embed_dim,
            "depth": encoder.depth,
            "scan": encoder.scan,
            "cls_token": encoder.cls_place,
            "token_order": encoder.token_order,
            "state_size": mixer.state_size,
            "conv_size": mixer.conv1d.kernel_size[0],
            "expansion": mixer.inner_dim // encoder.embed_dim,
            **shared,
        },
    )


def convert(
    checkpoint: str | Path,
    target: Path,
    labels: Path | None = None,
    recipe: Path | None = None,
    **arguments,
) -> Path:
    """Write the folder of a checkpoint.

    Arguments
    ---------
    checkpoint : str or Path
        As for `audiomamba.load_official`.
    target : Path
        The folder; must not exist, or be empty.
    labels : Path, optional
        Label file.
    recipe : Path, optional
        YAML with the features and normalisation of the training.
    **arguments
        Of `audiomamba.load_official`.

    Returns
    -------
    Path
        ``target``.

    Raises
    ------
    ValueError
        If the checkpoint, the labels or the recipe do not fit.
    """
    encoder, head = load_official(checkpoint, **arguments)
    if not isinstance(encoder, (AudioMamba, DASS)):
        raise ExportError(
            f"{checkpoint} holds an {type(encoder).__name__}, and this tool "
            "converts AudioMamba and DASS only. Give it to init_from of a "
            "recipe as it is, or load it with audiomamba.load_official."
        )
    if head is None:
        raise ExportError(
            f"{checkpoint} has no classifier of sounds, so it cannot tag. "
            "Give it to init_from of a recipe as it is."
        )
    recipe = find_recipe(head.out_features, recipe)
    known = read_class_names(checkpoint)
    names = find_labels(head.out_features, labels, recipe, known)
    if len(names) != head.out_features:
        raise ExportError(
            f"The checkpoint has {head.out_features} classes, "
            f"{labels or 'its list of class names'} has {len(names)}. Name the "
            "right file by --labels CSV."
        )
    with open(recipe, encoding="utf-8") as file:
        text = resolve_references(file).read()
    parts, options = read_recipe(text, recipe)
    features = parts["compute_features"]
    # Of DASS, which has no position table, what is asked for.
    n_frames = getattr(encoder, "n_frames", arguments.get("n_frames"))
    # A node without arguments is a scalar
    given = features.get("n_frames") if isinstance(features, dict) else None
    if None not in (n_frames, given) and n_frames != given:
        # max_duration is that of the recipe's n_frames.
        features["n_frames"], options["max_duration"] = n_frames, None
    parts["embedding_model"] = encoder_node(encoder)
    parts["classifier"] = new_node(
        "audiomamba.nnet.classifier.LinearClassifier",
        {"input_size": head.in_features, "n_classes": head.out_features},
    )
    weights = {
        "embedding_model": encoder.state_dict(),
        "classifier": head.state_dict(),
    }
    corpus = recipe.resolve().parents[1].name
    return write_model(
        target,
        parts,
        options,
        weights,
        names,
        title=f"{type(encoder).__name__} on {corpus}",
        origin=f"Converted from `{Path(checkpoint).name}`, with the features "
        f"and the normalisation of the recipe for {corpus}.",
    )


def main(argv=None):
    """Convert what the command line names."""
    arguments = vars(parse_arguments(argv))
    if arguments["cls_token"] == "none":
        arguments["cls_token"] = None
    try:
        target = convert(**arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"convert_checkpoint.py: {error}")
    print(f"Converted to {target}")


if __name__ == "__main__":
    main()
