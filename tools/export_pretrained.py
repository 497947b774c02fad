#!/usr/bin/env python3
"""Export the tested model of a recipe's run, to use it elsewhere.

    python tools/export_pretrained.py recipes/VoxCeleb/results/aum_base/1 model

``audiomamba.inference.AudioTagger.from_hparams("model")`` and SpeechBrain's
``EncoderClassifier`` and ``SpeakerRecognition`` load the folder; so does
``init_from`` of a recipe. With ``--push owner/name`` it goes to the Hugging
Face hub as well, whence its name loads it; log in first: ``hf auth login``.
"""

import argparse
import sys
from pathlib import Path

from audiomamba.inference.export import export_run


def parse_arguments(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "output_folder", type=Path, help="of a run that train.py finished"
    )
    parser.add_argument("target", type=Path, help="the folder to write")
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="CSV",
        help="the label file, where the run's own is gone",
    )
    parser.add_argument(
        "--push", metavar="OWNER/NAME", help="hub repository to upload to"
    )
    parser.add_argument(
        "--private", action="store_true", help="make that repository private"
    )
    return parser.parse_args(argv)


def push(folder, repository, private):
    """Upload an exported folder to the Hugging Face hub.

    Arguments
    ---------
    folder : Path
        The exported model.
    repository : str
        ``owner/name``; made where it does not exist.
    private : bool
        Whether a new one is private.

    Returns
    -------
    str
        Where it can be seen.
    """
    from huggingface_hub import HfApi

    hub = HfApi()
    address = hub.create_repo(repository, private=private, exist_ok=True)
    hub.upload_folder(
        repo_id=repository,
        folder_path=folder,
        commit_message="Export of audiomamba",
    )
    return str(address)


def main(argv=None):
    """Export, and upload where asked to."""
    from huggingface_hub.errors import HfHubHTTPError

    arguments = parse_arguments(argv)
    try:
        target = export_run(
            arguments.output_folder, arguments.target, arguments.labels
        )
    except (ValueError, OSError) as error:
        sys.exit(f"export_pretrained.py: {error}")
    print(f"Exported to {target}")
    if arguments.push is None:
        return
    try:
        address = push(target, arguments.push, arguments.private)
    except (HfHubHTTPError, OSError, ValueError) as error:
        sys.exit(
            f"export_pretrained.py: {target} is whole, but the hub did not "
            f"take it as {arguments.push}: {error}\nLog in by `hf auth login` "
            f"and upload it: hf upload {arguments.push} {target}"
        )
    print(f"Uploaded to {address}")


if __name__ == "__main__":
    main()
