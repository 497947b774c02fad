#!/usr/bin/env python3
"""Unpack audio that is stored in Parquet files into files of their own.

    python tools/unpack_parquet.py AudioSet/data AudioSet/audio

This is how the Hugging Face hub stores AudioSet: a column holds the bytes of
each original file. They are written as they are, a few
rows at a time, each to <target>/<Parquet file>/<name of the clip>, where the
recipe finds them beside the owners' lists. Run it again to resume after
an interruption. Needs pyarrow (extra parquet).
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from audiomamba.dataio.codecs.formats import SUFFIXES
from audiomamba.dataio.files import replaced_file
from audiomamba.dataio.problems import PreparationError

# Rows in memory at a time; a clip of 10 s is 1 MB or less
ROWS = 16
# Columns that name a clip whose file has no name
NAMES = ("video_id", "ytid", "youtube_id", "id")
# First bytes of the formats that the hub's copies have
MAGIC = {b"fLaC": ".flac", b"RIFF": ".wav", b"OggS": ".ogg", b"ID3": ".mp3"}


def clips(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of every clip in a Parquet file.

    Arguments
    ---------
    path : Path
        With a column of ``{bytes, path}``, the hub's form of audio.

    Raises
    ------
    PreparationError
        If the file has no such column, or a clip has no name or no bytes.
    """
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path, memory_map=True, pre_buffer=False) as file:
            schema = file.schema_arrow
            audio = next((f.name for f in schema if _is_audio(f.type)), None)
            if audio is None:
                raise PreparationError(
                    f"{path}: has the columns {', '.join(schema.names)}, and "
                    "none of them holds the bytes of audio files; give the "
                    "files of a copy with audio"
                )
            named = [name for name in NAMES if name in schema.names]
            for batch in file.iter_batches(ROWS, columns=[audio, *named]):
                for row in batch.to_pylist():
                    yield _name_of(path, row, audio, named), row[audio]["bytes"]
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise PreparationError(
            f"{path}: is damaged or no Parquet file ({error}); download it "
            "again"
        ) from error


def _is_audio(kind):
    """Whether a column has the hub's form of audio."""
    import pyarrow.types as types

    return types.is_struct(kind) and kind.get_field_index("bytes") >= 0


def _name_of(path, row, audio, named):
    """File name of a clip, without any folder."""
    content, given = row[audio]["bytes"], row[audio].get("path")
    # only the name: a path may lead out of the folder
    name = Path(str(given or "").replace("\\", "/")).name
    if not name.lower().endswith(SUFFIXES):
        stem = next((str(row[key]) for key in named if row[key]), "")
        magic = next(
            (m for m in MAGIC if (content or b"")[:4][: len(m)] == m), b""
        )
        name = Path(stem).name + MAGIC.get(magic, "")
    if not content or not name.lower().endswith(SUFFIXES):
        raise PreparationError(
            f"{path}: the clip {name or given!r} has no bytes, or no name with "
            "the ending of an audio format; leave it out"
        )
    return name


def unpack(source: Path, target: Path) -> int:
    """Write the clips of all Parquet files of a folder; return their number.

    Raises
    ------
    PreparationError
        If there is no such file, pyarrow is missing, or a file is damaged.
    """
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError:
        raise PreparationError(
            'pyarrow reads Parquet files: pip install "audiomamba[parquet]"'
        ) from None
    files = sorted(source.rglob("*.parquet"))
    if not files:
        raise PreparationError(f"{source} has no .parquet file in it")
    count = 0
    for path in tqdm(files, unit="file"):
        folder = target / path.relative_to(source).with_suffix("")
        names = set()
        for name, content in clips(path):
            if name in names:
                raise PreparationError(
                    f"{path}: two clips are called {name!r}, and one would "
                    "replace the other: give them names of their own"
                )
            names.add(name)
            file = folder / name
            count += 1
            if file.is_file() and file.stat().st_size == len(content):
                continue
            with replaced_file(file) as draft:
                draft.write_bytes(content)
    return count


def main(argv=None):
    """Unpack what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, help="folder of Parquet files")
    parser.add_argument("target", type=Path, help="folder to write")
    arguments = parser.parse_args(argv)
    try:
        count = unpack(arguments.source, arguments.target)
    except (PreparationError, OSError) as error:
        sys.exit(f"unpack_parquet.py: {error}")
    print(f"{arguments.target}: {count} clips")


if __name__ == "__main__":
    main()
