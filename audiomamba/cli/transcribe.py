"""The command ``audiomamba-transcribe``: write down speech."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from tqdm import tqdm

from audiomamba.cli.ending import command, seconds
from audiomamba.cli.live import (
    add_live_options,
    is_live,
    live_fault,
    open_sound,
)
from audiomamba.cli.model import add_model_options, load_model

if TYPE_CHECKING:  # loading PyTorch would delay --help
    from audiomamba.inference.transcriber import Transcriber

DESCRIPTION = """\
Write down what is said in audio files of any format, sample rate and length.

    audiomamba-transcribe speech.wav --model exported_model
    audiomamba-transcribe *.flac --model owner/name --json > transcripts.jsonl
    audiomamba-transcribe --microphone --model exported_model
    ffmpeg -i URL -f s16le -ar 16000 -ac 1 - | audiomamba-transcribe - --model M

Files that cannot be read are reported on standard error and the exit status is
1; the other files are still transcribed.
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
    >>> parse_arguments(["a.wav", "--model", "m", "--window", "20"]).window
    20.0
    """
    parser = argparse.ArgumentParser(
        prog="audiomamba-transcribe",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="audio files; - is standard input, see --rate",
    )
    add_model_options(parser)
    parser.add_argument(
        "--window",
        type=seconds,
        default=30.0,
        metavar="S",
        help="hear longer files in overlapping windows of this many seconds, "
        "if the model needs to look ahead (default: 30)",
    )
    parser.add_argument(
        "--beam", type=int, metavar="N", help="beam of N words; default: none"
    )
    parser.add_argument(
        "--lm",
        metavar="ARPA",
        help="language model for the beam; needs KenLM",
    )
    parser.add_argument(
        "--json", action="store_true", help="print a line of JSON per file"
    )
    add_live_options(parser)
    arguments = parser.parse_args(argv)
    if fault := live_fault(arguments):
        parser.error(fault)
    if arguments.json and is_live(arguments):
        parser.error("--json is for files")
    if arguments.microphone and arguments.beam is not None:
        parser.error("--beam hears to the end, which a microphone has not")
    return arguments


def transcribe_live(
    transcriber: "Transcriber", arguments: argparse.Namespace
) -> int:
    """Print words as they are heard, until the sound or Ctrl-C ends it.

    Arguments
    ---------
    transcriber : Transcriber
        The model.
    arguments : argparse.Namespace
        Of the command line.

    Returns
    -------
    int
        Exit status.

    Raises
    ------
    ValueError
        If there is no sound to hear, or the model cannot hear it so.
    """
    _, blocks, rate = open_sound(arguments, transcriber.sample_rate)
    try:
        for text in transcriber.transcribe_stream(blocks, rate):
            print(text, end="", flush=True)
    except KeyboardInterrupt:
        pass
    print()
    return 0


@command("audiomamba-transcribe")
def main(argv: list[str] | None = None) -> int:
    """Transcribe the files on the command line.

    Arguments
    ---------
    argv : list of str, optional
        Arguments to parse instead of the command line's.

    Returns
    -------
    int
        Exit status: 0, or 1 if a file failed.
    """
    arguments = parse_arguments(argv)
    from audiomamba.dataio.audio import AudioError

    transcriber = load_model("audiomamba-transcribe", arguments, "Transcriber")
    n_failed, files = 0, arguments.files
    transcriber.use_beam(arguments.beam, arguments.lm)
    if is_live(arguments):
        return transcribe_live(transcriber, arguments)
    for path in tqdm(files, unit="file", disable=len(files) == 1):
        try:
            text = transcriber.transcribe_file(path, arguments.window)
        except (AudioError, OSError) as error:
            n_failed += 1
            tqdm.write(f"audiomamba-transcribe: {error}", file=sys.stderr)
            continue
        row = {"file": path, "text": text}
        line = json.dumps(row, ensure_ascii=False)
        tqdm.write(line if arguments.json else f"{path}: {text}")
    if n_failed:
        print(
            f"audiomamba-transcribe: {n_failed} of {len(files)} files failed",
            file=sys.stderr,
        )
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
