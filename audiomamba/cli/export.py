"""The command ``audiomamba-export``: a model for use without PyTorch."""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from audiomamba.cli.ending import command
from audiomamba.cli.model import MODEL_HELP, is_onnx, load_model

DESCRIPTION = """\
Export a model to one ONNX file, from waveform to probabilities and embedding.

    audiomamba-export exported_model model.onnx
    audiomamba-tag dog.wav --model model.onnx
    audiomamba-export exported_model small.onnx --int8 \\
        --list test.csv --data_folder ESC-50

--web writes a folder for any static host instead: a page that tags files and
the microphone in the browser.

    audiomamba-export exported_model site/ --web
    python -m http.server --directory site

Any ONNX runtime can run the file; docs/deployment.md says how.
"""


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Arguments
    ---------
    argv : list of str, optional
        Arguments to parse instead of the command line's.

    Returns
    -------
    argparse.Namespace

    Example
    -------
    >>> parse_arguments(["exported_model", "model.onnx"]).target
    PosixPath('model.onnx')
    """
    parser = argparse.ArgumentParser(
        prog="audiomamba-export",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "target", type=Path, metavar="TARGET", help="the file to write, .onnx"
    )
    parser.add_argument(
        "--web",
        action="store_true",
        help="write a page with onnxruntime-web, which npm fetches, to the "
        "folder TARGET",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="store the weights of products in 8 bits: a quarter to a half "
        "of the size, less exact",
    )
    parser.add_argument(
        "--list",
        type=Path,
        metavar="CSV",
        help="manifest of labelled clips, as a run's manifests/test.csv: print "
        "what --int8 costs on them",
    )
    parser.add_argument(
        "--data_folder",
        type=Path,
        metavar="DIR",
        help="what the paths in --list are relative to",
    )
    # The weights of a program for CPUs
    parser.set_defaults(device="cpu")
    arguments = parser.parse_args(argv)
    if arguments.web and arguments.int8:
        parser.error("--web takes no --int8")
    if arguments.list and not arguments.int8:
        parser.error("--list is for --int8")
    if (arguments.list is None) != (arguments.data_folder is None):
        parser.error("--list and --data_folder belong together")
    if not (arguments.web or is_onnx(str(arguments.target))):
        parser.error(f"TARGET {arguments.target}: its name ends in .onnx")
    if arguments.list and not arguments.list.is_file():
        parser.error(f"--list {arguments.list} is no file")
    return arguments


def _export_int8(tagger, arguments):
    """Export in 8 bits; say what that costs on the list, if there is one."""
    from audiomamba.inference import export_onnx
    from audiomamba.inference.programs.onnx_int8 import compare, quantize

    with TemporaryDirectory() as folder:
        whole = export_onnx(tagger, Path(folder) / "model.onnx")
        arguments.target.parent.mkdir(parents=True, exist_ok=True)
        quantize(whole, arguments.target)
        if arguments.list:
            models = (whole, arguments.target)
            print(
                compare(tagger, models, arguments.list, arguments.data_folder)
            )


@command("audiomamba-export")
def main(argv: list[str] | None = None) -> int:
    """Export the model on the command line.

    Arguments
    ---------
    argv : list of str, optional
        Arguments to parse instead of the command line's.

    Returns
    -------
    int
        Exit status, 0.
    """
    arguments = parse_arguments(argv)
    from audiomamba.inference import export_onnx

    tagger = load_model("audiomamba-export", arguments)
    try:
        if arguments.web:
            from audiomamba.inference.programs.website import export_website

            print(f"{export_website(tagger, arguments.target)}/index.html")
            return 0
        if arguments.int8:
            _export_int8(tagger, arguments)
        else:
            export_onnx(tagger, arguments.target)
    except ModuleNotFoundError as error:
        sys.exit(f"audiomamba-export: {error}")
    size = arguments.target.stat().st_size
    print(f"{arguments.target}: {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
