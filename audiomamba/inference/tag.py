"""The command ``audiomamba-tag``: tag the sounds in audio files."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:  # loading PyTorch would delay --help
    from audiomamba.inference.tagger import AudioTagger, TaggedWindow

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
    parser.add_argument(
        "--model",
        required=True,
        metavar="DIR",
        help="an exported model, or its name on the Hugging Face hub, only "
        "from a source you trust: it can run code; or a published one, as "
        "saurabhati/DASS_small_AudioSet_47.2, whose code is not run",
    )
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
    parser.add_argument(
        "--device", help="cpu, cuda:0, ...; default: a GPU if there is one"
    )
    arguments = parser.parse_args(argv)
    if arguments.plot and len(arguments.files) > 1 and arguments.plot.suffix:
        parser.error(
            f"--plot {arguments.plot}: for several files, give a folder; it "
            "gets one image per file"
        )
    return arguments


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


def tag(tagger: "AudioTagger", path: str, arguments: argparse.Namespace) -> str:
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
    """
    write = as_json if arguments.json else as_text
    window, hop, top = arguments.window, arguments.hop, arguments.top
    if window is None and hop is None and arguments.plot is None:
        return write(path, tagger.tag_file(path, top))
    windows = list(tagger.tag_stream(path, window, hop, top))
    if arguments.plot:
        from audiomamba.inference.plot import plot_tags

        target = arguments.plot
        if not target.suffix:
            target = target / f"{Path(path).name}.png"
        plot_tags(path, windows, tagger.labels, target, top)
    return write(path, [], windows)


def load_model(arguments: argparse.Namespace) -> "AudioTagger":
    """Load the model, or exit with the reason why it cannot be loaded."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    from audiomamba.inference import AudioTagger
    from audiomamba.pretrained import CheckpointError

    run_opts = {"device": arguments.device} if arguments.device else None
    try:
        return AudioTagger.from_hparams(arguments.model, run_opts=run_opts)
    except CheckpointError as error:
        sys.exit(f"audiomamba-tag: {error}")
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        sys.exit(
            f"audiomamba-tag: {arguments.model} is no exported model, neither "
            f"a folder nor on the hub: {error}"
        )


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
        from audiomamba.inference.plot import require_matplotlib

        require_matplotlib()
    tagger = load_model(arguments)
    failed = []
    progress = tqdm(
        arguments.files, unit="file", disable=len(arguments.files) == 1
    )
    for path in progress:
        try:
            tqdm.write(tag(tagger, path, arguments))
        except AudioError as error:
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
