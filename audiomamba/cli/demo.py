"""The command ``audiomamba-demo``: a local page that tags sounds."""

import argparse
import sys
from importlib.util import find_spec

from audiomamba.cli.ending import command
from audiomamba.cli.model import add_model_options, load_model

DESCRIPTION = """\
Open a page in the browser that tags a file or the microphone.

    audiomamba-demo --model exported_model

The page is served on this machine alone.
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
    >>> parse_arguments(["--model", "exported_model"]).port
    7860
    """
    parser = argparse.ArgumentParser(
        prog="audiomamba-demo",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_options(parser)
    parser.add_argument(
        "--port", type=int, default=7860, help="of the page (default: 7860)"
    )
    return parser.parse_args(argv)


@command("audiomamba-demo")
def main(argv: list[str] | None = None) -> int:
    """Serve the page until it is interrupted.

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
    missing = [n for n in ("gradio", "matplotlib") if find_spec(n) is None]
    if missing:
        sys.exit(
            f"audiomamba-demo: {' and '.join(missing)} missing: pip install "
            "'audiomamba[demo]'"
        )
    from audiomamba.inference.demo import build_demo

    tagger = load_model("audiomamba-demo", arguments)
    demo = build_demo(tagger)
    demo.launch(
        server_name="127.0.0.1", server_port=arguments.port, inbrowser=True
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
