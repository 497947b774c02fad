"""The options ``--model`` and ``--device``, which several commands have."""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # loading PyTorch would delay --help
    from audiomamba.lite import LiteTagger


MODEL_HELP = (
    "an exported model, the output folder of a run, or a name on the Hugging "
    "Face hub, only from a source you trust: it can run code; or a published "
    "one, as saurabhati/DASS_small_AudioSet_47.2, whose code is not run"
)


def add_model_options(parser: argparse.ArgumentParser, also: str = "") -> None:
    """Let a command take a model and a device.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Of the command.
    also : str
        What else the command takes as a model, for its help.

    Example
    -------
    >>> parser = argparse.ArgumentParser()
    >>> add_model_options(parser)
    >>> parser.parse_args(["--model", "exported"]).model
    'exported'
    """
    parser.add_argument(
        "--model", required=True, metavar="M", help=MODEL_HELP + also
    )
    parser.add_argument(
        "--device", help="cpu, cuda:0, ...; default: a GPU if there is one"
    )


def is_onnx(model: str) -> bool:
    """Say whether a model is a file of ``audiomamba-export``.

    Arguments
    ---------
    model : str
        From the command line.

    Returns
    -------
    bool

    Example
    -------
    >>> is_onnx("model.onnx"), is_onnx("exported")
    (True, False)
    """
    return model.endswith(".onnx")


def load_onnx(command: str, path: str) -> "LiteTagger":
    """Load a model in ONNX, or exit with the reason why it cannot be loaded.

    Arguments
    ---------
    command : str
        Name of the command, for the message.
    path : str
        The file.

    Returns
    -------
    LiteTagger
    """
    try:
        from audiomamba.lite import LiteTagger

        return LiteTagger(path)
    except ModuleNotFoundError as error:
        sys.exit(f"{command}: {error}: pip install onnxruntime")
    except (OSError, ValueError) as error:
        sys.exit(f"{command}: {error}")


def _checked_device(command, name):
    """Return a device that there is, or exit."""
    import torch

    try:
        torch.empty(1, device=name).item()
    # An unknown name, another build of PyTorch, and no such device
    except (AssertionError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        sys.exit(f"{command}: --device {name}: {reason}; cpu always works")
    return name


def load_model(
    command: str, arguments: argparse.Namespace, kind: str = "AudioTagger"
) -> Any:
    """Load the model, or exit with the reason why it cannot be loaded.

    Arguments
    ---------
    command : str
        Name of the command, for the message.
    arguments : argparse.Namespace
        With the options of `add_model_options`.
    kind : str
        Name of a class in `audiomamba.inference`.

    Returns
    -------
    object
        Of that class.
    """
    if find_spec("audiomamba.inference") is None:
        sys.exit(
            f"{command}: audiomamba-lite takes a model in ONNX (model.onnx), "
            f"not {arguments.model}: make one with audiomamba-export, where "
            "the whole package is installed (pip install audiomamba)."
        )
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    from audiomamba import inference

    model = arguments.model
    if is_onnx(model):
        sys.exit(
            f"{command}: {model}: only audiomamba-tag takes a model in ONNX; "
            "give the folder that it was exported from."
        )
    run_opts = None
    if arguments.device:
        run_opts = {"device": _checked_device(command, arguments.device)}
    try:
        return getattr(inference, kind).from_hparams(model, run_opts=run_opts)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        if Path(model).exists():
            sys.exit(f"{command}: {error}")
        sys.exit(
            f"{command}: there is no folder {model} here, and the hub "
            f"does not give it: {error}"
        )
    except ValueError as error:
        # Such as an unfinished run, or a model of another kind
        sys.exit(f"{command}: {model}: {error}")
