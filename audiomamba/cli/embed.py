"""The command ``audiomamba-embed``: embed all recordings in a folder."""

import argparse
import sys
from pathlib import Path

from audiomamba.cli.ending import INTERRUPTED, command, seconds
from audiomamba.cli.model import add_model_options, load_model

DESCRIPTION = """\
Embed all recordings in a folder, at any depth.

    audiomamba-embed sounds --model exported_model --out emb.parquet
    audiomamba-embed sounds --model owner/name --out emb.npy --window 10 --hop 5
    audiomamba-embed sounds --model exported_model --out emb.csv --frames

The table has a row per file, window or frame: path, start, stop, values; for
.npy, path, start and stop are in a .csv beside it. Run an interrupted
command again to resume it. Files that cannot be read are reported on
standard error and the exit status is 1; the others are still embedded.
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
    >>> parse_arguments(["sounds", "--model", "m", "--out", "a.npy"]).out
    PosixPath('a.npy')
    """
    parser = argparse.ArgumentParser(
        prog="audiomamba-embed",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    add_model_options(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="TABLE",
        help=".parquet, .npy or .csv",
    )
    parser.add_argument(
        "--window",
        type=seconds,
        metavar="S",
        help="a row per window of this many seconds; default: a row per file, "
        "of what the model hears of it",
    )
    parser.add_argument(
        "--hop",
        type=seconds,
        metavar="S",
        help="seconds between windows; default: half a window",
    )
    parser.add_argument(
        "--frames", action="store_true", help="a row per frame of the encoder"
    )
    arguments = parser.parse_args(argv)
    if arguments.frames and arguments.hop is not None:
        parser.error("--frames are side by side: leave out --hop")
    return arguments


@command("audiomamba-embed")
def main(argv: list[str] | None = None) -> int:
    """Embed the folder on the command line.

    Arguments
    ---------
    argv : list of str, optional
        Arguments to parse instead of the command line's.

    Returns
    -------
    int
        Exit status: 0, 1 if a file failed, or 130 after Ctrl-C.
    """
    arguments = parse_arguments(argv)
    from tqdm import tqdm

    from audiomamba.inference.embed_folder import FolderEmbedder, embed_folder
    from audiomamba.inference.embed_table import check_target

    def complain(error):
        tqdm.write(f"audiomamba-embed: {error}", file=sys.stderr)

    try:
        check_target(arguments.out)
        if not arguments.folder.is_dir():
            raise ValueError(f"{arguments.folder} is no folder")
        model = load_model("audiomamba-embed", arguments)
        embedder = FolderEmbedder(
            model,
            arguments.folder,
            arguments.window,
            arguments.hop,
            arguments.frames,
            complain,
        )
        if embedder.files.empty:
            raise ValueError(f"{arguments.folder} has no recordings")
        n_rows = embed_folder(embedder, arguments.out)
    except KeyboardInterrupt:
        complain("stopped; the same command resumes")
        return INTERRUPTED
    if embedder.n_failed:
        complain(f"{embedder.n_failed} of {embedder.n_files} files failed")
    if n_rows:
        print(f"{n_rows} rows in {arguments.out}")
    return 1 if embedder.n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
