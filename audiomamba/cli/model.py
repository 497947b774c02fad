"""The options ``--model`` and ``--device``, which several commands have."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loading PyTorch would delay --help
    from audiomamba.inference.tagger import AudioTagger


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Let a command take a model and a device.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Of the command.

    Example
    -------
    >>> parser = argparse.ArgumentParser()
    >>> add_model_options(parser)
    >>> parser.parse_args(["--model", "exported"]).model
    'exported'
    """
    parser.add_argument(
        "--model",
        required=True,
        metavar="DIR",
        help="an exported model, the output folder of a run, or a name on "
        "the Hugging Face hub, only "
        "from a source you trust: it can run code; or a published one, as "
        "saurabhati/DASS_small_AudioSet_47.2, whose code is not run",
    )
    parser.add_argument(
        "--device", help="cpu, cuda:0, ...; default: a GPU if there is one"
    )


def load_model(command: str, arguments: argparse.Namespace) -> "AudioTagger":
    """Load the model, or exit with the reason why it cannot be loaded.

    Arguments
    ---------
    command : str
        Name of the command, for the message.
    arguments : argparse.Namespace
        With the options of `add_model_options`.

    Returns
    -------
    AudioTagger
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    from audiomamba.inference import AudioTagger
    from audiomamba.inference.export import ExportError
    from audiomamba.pretrained import CheckpointError

    model = arguments.model
    run_opts = {"device": arguments.device} if arguments.device else None
    try:
        return AudioTagger.from_hparams(model, run_opts=run_opts)
    except (CheckpointError, ExportError) as error:
        sys.exit(f"{command}: {error}")
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        if Path(model).exists():
            sys.exit(f"{command}: {error}")
        sys.exit(
            f"{command}: there is no folder {model} here, and the hub "
            f"does not give it: {error}"
        )
