"""The command ``audiomamba-tag``: tag the sounds in audio files."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from audiomamba.cli.ending import command, seconds
from audiomamba.cli.events import (
    EventOutput,
    add_event_options,
    event_fault,
    event_rules,
)
from audiomamba.cli.listing import (
    ResultPlaces,
    as_json,
    as_text,
    decisions_as_text,
    events_as_text,
    window_as_text,
)
from audiomamba.cli.live import (
    add_live_options,
    is_live,
    live_fault,
    tag_live,
)
from audiomamba.cli.model import (
    add_model_options,
    is_onnx,
    load_model,
    load_onnx,
)

if TYPE_CHECKING:  # loading PyTorch would delay --help
    from audiomamba.inference.tagger import AudioTagger, TaggedWindow

# Options that need a recording with an end
_RECORDED = ("plot", "events")
PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")
DESCRIPTION = """\
Tag the sounds in audio files of any format, sample rate and length.

    audiomamba-tag dog.wav --model exported_model
    audiomamba-tag *.flac --model owner/name --top 3 --json > tags.jsonl
    audiomamba-tag street.wav --model exported_model --window 2 --hop 1
    audiomamba-tag street.wav --model exported_model --plot street.png
    audiomamba-tag street.wav --model exported_model --events street.csv
    audiomamba-tag --microphone --model exported_model --window 2 --hop 0.5
    ffmpeg -i URL -f s16le -ar 16000 -ac 1 - | audiomamba-tag - --model M
    audiomamba-tag dog.wav --model model.onnx

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
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="a recording; - for raw samples on standard input",
    )
    add_model_options(parser, "; or name.onnx, of audiomamba-export")
    parser.add_argument(
        "--top", type=_positive, default=5, help="tags to show (default: 5)"
    )
    parser.add_argument(
        "--window",
        type=seconds,
        metavar="S",
        help="tag windows of this many seconds; default: tag the clip as in "
        "training; with --hop or --plot 10 s, or the model's maximum",
    )
    parser.add_argument(
        "--hop",
        type=seconds,
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
        "--decide",
        action="store_true",
        help="print yes or no, by the model's thresholds",
    )
    add_event_options(parser)
    add_live_options(parser)
    arguments = parser.parse_args(argv)
    for find in (
        _fault_of_onnx,
        live_fault,
        _fault_of_plot,
        event_fault,
        _fault_of_decide,
    ):
        if fault := find(arguments):
            parser.error(fault)
    return arguments


def _fault_of_onnx(arguments):
    """What a model in ONNX cannot do, if anything is asked of it."""
    if not is_onnx(arguments.model):
        return None
    for name in ("plot", "events", "device", "microphone", "decide"):
        if getattr(arguments, name):
            return f"--{name}: not with a model in ONNX"
    if "-" in arguments.files:
        return "-: files only, with a model in ONNX"
    return None


def _fault_of_decide(arguments):
    """What is wrong with --decide, if anything."""
    windowed = any(vars(arguments)[x] for x in ("window", "hop", *_RECORDED))
    if arguments.decide and (is_live(arguments) or windowed):
        return "--decide is for whole clips: leave out windows"
    return None


def _fault_of_plot(arguments):
    """What is wrong with the target of pictures, if anything."""
    if is_live(arguments) and any(vars(arguments)[x] for x in _RECORDED):
        return "--plot and --events need a recording that has an end"
    plot = arguments.plot
    if plot is None or plot.is_dir() or not plot.suffix:
        return None
    if len(arguments.files) > 1:
        return f"--plot {plot}: for several files, give a folder"
    if plot.suffix.lower() not in PICTURES:
        return f"--plot {plot}: its name ends in {', '.join(PICTURES)}"
    return None


def _lists_windows(arguments):
    """Whether nothing but lines of windows is asked for."""
    whole = arguments.window is None and arguments.hop is None
    collected = arguments.json or arguments.plot or arguments.events
    return not (whole or collected)


def _positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


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
    if arguments.decide:
        (decisions,) = tagger.decide_batch([path])
        return decisions_as_text(path, decisions, top, arguments.json), None
    if window is None and hop is None and arguments.plot is None:
        return write(path, tagger.tag_file(path, top)), None
    windows = list(tagger.tag_stream(path, window, hop, top))
    return write(path, [], windows), windows


class _Results:
    """What the command line asks for, of one file after the other."""

    def __init__(self, tagger, arguments):
        self.tagger, self.arguments = tagger, arguments
        self.places = ResultPlaces(arguments.files)
        # First, so that rules without meaning leave the file as it is
        self.rules = event_rules(arguments) if arguments.events else None
        self.output = EventOutput(arguments) if arguments.events else None

    def give(self, path):
        """Print the tags or the events of a file, and write its files."""
        arguments, windows, events = self.arguments, None, None
        if self.output is not None:
            events = self._events(path)
        if _lists_windows(arguments):
            self._list_windows(path)
        elif self.output is None or arguments.plot:
            text, windows = tag(self.tagger, path, arguments)
            if self.output is None:
                tqdm.write(text)
        if arguments.plot and windows:
            self._draw(path, windows, events)

    def _list_windows(self, path):
        """Print every window as it comes: hours of sound need little memory."""
        arguments = self.arguments
        for number, window in enumerate(
            self.tagger.tag_stream(
                path, arguments.window, arguments.hop, arguments.top
            )
        ):
            if not number:
                tqdm.write(path)
            tqdm.write(window_as_text(window))

    def _events(self, path):
        """Find, print and write the events of a file."""
        from audiomamba.inference.event_files import events_text
        from audiomamba.inference.events import find_events

        arguments = self.arguments
        events = find_events(
            self.tagger, path, self.rules, arguments.window, arguments.hop
        )
        if arguments.json:
            tqdm.write(events_text(path, events, "jsonl"), end="")
        else:
            tqdm.write(events_as_text(path, events))
        self.output.add(path, events)
        return events

    def _draw(self, path, windows, events):
        """Draw the picture of a file."""
        from audiomamba.inference.plot import plot_tags

        arguments, target = self.arguments, self.arguments.plot
        if target.is_dir() or not target.suffix:
            target = self.places.place(target, path, ".png")
        labels, top = self.tagger.labels, arguments.top
        plot_tags(path, windows, labels, target, top, events)


def _load(arguments):
    """Load the model of the command line."""
    if is_onnx(arguments.model):
        return load_onnx("audiomamba-tag", arguments.model)
    return load_model("audiomamba-tag", arguments)


@command("audiomamba-tag")
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
    from audiomamba.dataio.codecs.opening import AudioError

    arguments = parse_arguments(argv)
    failed = []
    files = arguments.files
    tagger = _load(arguments)
    if arguments.plot:
        from audiomamba.inference.plot import require_matplotlib

        require_matplotlib()
    if is_live(arguments):
        return tag_live(tagger, arguments)
    results = _Results(tagger, arguments)
    for path in tqdm(files, unit="file", disable=len(files) == 1):
        try:
            results.give(path)
        except BrokenPipeError:
            raise
        except (AudioError, OSError) as error:
            failed.append(error)
            tqdm.write(f"audiomamba-tag: {error}", file=sys.stderr)
    if failed:
        total = len(arguments.files)
        print(
            f"audiomamba-tag: {len(failed)} of {total} files failed",
            file=sys.stderr,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
