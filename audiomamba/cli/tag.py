"""The command ``audiomamba-tag``: tag the sounds in audio files."""

import argparse
import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from audiomamba.cli.model import add_model_options, load_model

if TYPE_CHECKING:  # loading PyTorch would delay --help
    from audiomamba.inference.tagger import AudioTagger, TaggedWindow

PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")
DESCRIPTION = """\
Tag the sounds in audio files of any format, sample rate and length.

    audiomamba-tag dog.wav --model exported_model
    audiomamba-tag *.flac --model owner/name --top 3 --json > tags.jsonl
    audiomamba-tag street.wav --model exported_model --window 2 --hop 1
    audiomamba-tag street.wav --model exported_model --plot street.png

Files that cannot be read are reported on standard error and the exit status is
1; the other files are still tagged.
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
    >>> parse_arguments(["a.wav", "--model", "m", "--top", "3"]).top
    3
    """
    parser = argparse.ArgumentParser(
        prog="audiomamba-tag",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE")
    add_model_options(parser)
    parser.add_argument(
        "--top", type=_positive, default=5, help="tags to show (default: 5)"
    )
    parser.add_argument(
        "--window",
        type=float,
        metavar="S",
        help="tag windows of this many seconds; default: tag the clip as in "
        "training; with --hop or --plot 10 s, or the model's maximum",
    )
    parser.add_argument(
        "--hop",
        type=float,
        metavar="S",
        help="seconds between windows; default: half a window",
    )
    parser.add_argument(
        "--json", action="store_true", help="print a line of JSON per file"
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="PNG",
        help="plot spectrogram and tags; for several files, give a folder",
    )
    arguments = parser.parse_args(argv)
    if fault := arguments.plot and _fault_of_plot(**vars(arguments)):
        parser.error(f"--plot {arguments.plot}: {fault}")
    return arguments


def _fault_of_plot(plot, files, **others):
    """What is wrong with the target of pictures, if anything."""
    if plot.is_dir() or not plot.suffix:
        return None
    if len(files) > 1:
        return "for several files, give a folder; it gets one image per file"
    if plot.suffix.lower() not in PICTURES:
        return f"the name of a picture ends in {', '.join(PICTURES)}"
    return None


def picture_of(path: str, files: list[str], plot: Path) -> Path:
    """Choose the file for the picture of one of several files.

    Arguments
    ---------
    path : str
        The file.
    files : list of str
        All files. Where two have the same name, their pictures are in folders
        as the files are.
    plot : Path
        From the command line: a picture, or the folder for pictures.

    Returns
    -------
    Path

    Example
    -------
    >>> files = ["a/x.wav", "b/x.wav"]
    >>> [str(picture_of(path, files, Path("out"))) for path in files]
    ['out/a/x.wav.png', 'out/b/x.wav.png']
    """
    if plot.suffix and not plot.is_dir():
        return plot
    places = {os.path.abspath(file) for file in files}
    name = Path(path).name
    if len({Path(place).name for place in places}) < len(places):
        top = os.path.commonpath([os.path.dirname(place) for place in places])
        name = os.path.relpath(path, top)
    return plot / f"{name}.png"


def _positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _rows(tags):
    return [{"label": label, "probability": round(p, 6)} for label, p in tags]


def as_json(
    path: str,
    tags: list[tuple[str, float]],
    windows: "list[TaggedWindow] | None" = None,
) -> str:
    """Format a file's result as a line of JSON.

    Arguments
    ---------
    path : str
        The file.
    tags : list of tuple
        (label, probability) for the whole clip.
    windows : list of TaggedWindow or None
        Results per window, which replace ``tags``.

    Returns
    -------
    str

    Example
    -------
    >>> as_json("a.wav", [("Dog", 0.75)])
    '{"file": "a.wav", "tags": [{"label": "Dog", "probability": 0.75}]}'
    """
    result: dict[str, object] = {"file": path}
    if windows is None:
        result["tags"] = _rows(tags)
    else:
        result["windows"] = [
            {
                "start": round(window.start, 3),
                "stop": round(window.stop, 3),
                "tags": _rows(window.tags),
            }
            for window in windows
        ]
    return json.dumps(result, ensure_ascii=False)


def as_text(
    path: str,
    tags: list[tuple[str, float]],
    windows: "list[TaggedWindow] | None" = None,
) -> str:
    """Format a file's result as readable lines.

    Arguments
    ---------
    path, tags, windows
        As for `as_json`.

    Returns
    -------
    str

    Example
    -------
    >>> print(as_text("a.wav", [("Dog", 0.75), ("Rain", 0.02)]))
    a.wav
      75.0%  Dog
       2.0%  Rain
    """
    if windows is None:
        return "\n".join([path, *(f"  {p:5.1%}  {n}" for n, p in tags)])
    lines = [path]
    for window in windows:
        found = ", ".join(f"{name} {p:.1%}" for name, p in window.tags)
        lines.append(f"  {window.start:8.1f} - {window.stop:.1f} s  {found}")
    return "\n".join(lines)


def tag(
    tagger: "AudioTagger", path: str, arguments: argparse.Namespace
) -> "tuple[str, list[TaggedWindow] | None]":
    """Tag a file as the command line asks.

    Arguments
    ---------
    tagger : AudioTagger
        The model.
    path : str
        The file.
    arguments : argparse.Namespace
        From `parse_arguments`.

    Returns
    -------
    str
        The text to print.
    list of TaggedWindow or None
        The windows, where the command line asks for windows or a picture.
    """
    write = as_json if arguments.json else as_text
    window, hop, top = arguments.window, arguments.hop, arguments.top
    if window is None and hop is None and arguments.plot is None:
        return write(path, tagger.tag_file(path, top)), None
    windows = list(tagger.tag_stream(path, window, hop, top))
    return write(path, [], windows), windows


def main(argv: list[str] | None = None) -> int:
    """Tag the files on the command line.

    Arguments
    ---------
    argv : list of str, optional
        Arguments to parse instead of the command line's.

    Returns
    -------
    int
        Exit status: 0, or 1 if a file failed.
    """
    from audiomamba.dataio.audio import AudioError

    arguments = parse_arguments(argv)
    if arguments.plot:
        from audiomamba.inference.plot import plot_tags, require_matplotlib

        require_matplotlib()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # names of files may have any bytes
            stream.reconfigure(errors="backslashreplace")
    tagger = load_model("audiomamba-tag", arguments)
    failed = []
    files = arguments.files
    for path in tqdm(files, unit="file", disable=len(files) == 1):
        try:
            text, windows = tag(tagger, path, arguments)
            tqdm.write(text)
            if arguments.plot and windows:
                target = picture_of(path, files, arguments.plot)
                plot_tags(path, windows, tagger.labels, target, arguments.top)
        except (AudioError, OSError) as error:
            failed.append(error)
            tqdm.write(f"audiomamba-tag: {error}", file=sys.stderr)
        except ValueError as error:
            sys.exit(f"audiomamba-tag: {error}")
    if failed:
        total = len(arguments.files)
        print(
            f"audiomamba-tag: {len(failed)} of {total} files failed",
            file=sys.stderr,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
