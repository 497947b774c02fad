#!/usr/bin/env python3
"""Export the tested model of a recipe's run, to use it elsewhere.

    python tools/export_pretrained.py recipes/VoxCeleb/results/aum_base/1 model

``audiomamba.inference.AudioTagger.from_hparams("model")`` and SpeechBrain's
``EncoderClassifier`` and ``SpeakerRecognition`` load the folder; so does
``init_from`` of a recipe. ``--push owner/name`` also uploads it to the Hugging
Face hub, where all of them find it by that name; log in first: ``hf auth
login``.
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
    add = parser.add_argument
    add("output_folder", type=Path, help="of a run that train.py finished")
    add("target", type=Path, help="the folder to write")
    add(
        "--labels",
        type=Path,
        metavar="CSV",
        help="the label file, if the run is of an older version",
    )
    add(
        "--licence",
        metavar="ID",
        help="of the weights, for the model card, as the hub has it: mit, "
        "cc-by-4.0, ...",
    )
    add("--push", metavar="OWNER/NAME", help="hub repository to upload to")
    add("--private", action="store_true", help="create it as private")
    return parser.parse_args(argv)


def push(folder: Path, repository: str, private: bool) -> str:
    """Upload an exported folder to the Hugging Face hub.

    Arguments
    ---------
    folder : Path
        The exported model.
    repository : str
        ``owner/name``; created if it does not exist.
    private : bool
        Whether a new one is private.

    Returns
    -------
    str
        Its address.
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
    """Export, and upload with --push."""
    arguments = parse_arguments(argv)
    try:
        target = export_run(
            arguments.output_folder,
            arguments.target,
            arguments.labels,
            licence=arguments.licence,
        )
    except (ValueError, OSError) as error:
        sys.exit(f"export_pretrained.py: {error}")
    print(f"Exported to {target}")
    if arguments.push is None:
        return
    try:
        address = push(target, arguments.push, arguments.private)
    # The hub's errors are OSError, too.
    except (OSError, ValueError) as error:
        sys.exit(
            f"export_pretrained.py: {target} is complete, but its upload to "
            f"{arguments.push} failed: {error}\nLog in with `hf auth login`, "
            f"then: hf upload {arguments.push} {target}"
        )
    print(f"Uploaded to {address}")


if __name__ == "__main__":
    main()
