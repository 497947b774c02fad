#!/usr/bin/env python3
"""Pack the clips of a corpus into tar archives, a few large files for many.

    python tools/make_shards.py results/aum_tiny/1/manifests SHARDS \\
        --data_folder DATA
    python train.py hparams/aum_tiny.yaml --data_folder SHARDS \\
        --manifest_folder SHARDS --skip_prep True

The first folder has the manifests that a recipe's preparation wrote: train.csv,
valid.csv and test.csv, or some of them. In the second one every clip is a
member of a shard, train-000000.tar and so on, with its bytes as they are, and
the new manifests point to it. Run the same command again to resume;
sha256sum -c SHA256SUMS in the folder checks everything.

webdataset reads the shards as well: a sample is the audio file and json, with
the rows of the manifest that are about it. Clips are in random order.
"""

import argparse
import hashlib
import io
import json
import shutil
import sys
import tarfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from audiomamba.dataio.audio import AudioError, audio_info
from audiomamba.dataio.corpora.corpus import stat_audio
from audiomamba.dataio.files import SUMS, file_digest, replaced_file, write_json
from audiomamba.dataio.manifest import LABEL_FILE, read_manifest
from audiomamba.dataio.problems import PreparationError
from audiomamba.dataio.tables import write_csv

SPLITS = ("train", "valid", "test")


def parse_arguments(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("manifests", type=Path, help="folder of the recipe's manifests")
    add("shards", type=Path, help="folder to write")
    text = "what the manifests' paths are relative to"
    add("--data_folder", type=Path, required=True, help=text)
    add("--megabytes", type=float, default=1000.0, help="of a shard")
    add("--seed", type=int, default=1, help="of the order of the clips")
    arguments = parser.parse_args(argv)
    if arguments.megabytes <= 0:
        parser.error("--megabytes must be positive")
    return arguments


def plan(rows, arguments):
    """Distribute the files of a manifest over shards.

    Returns a list of tables with ``wav``, ``size``, ``mtime`` and ``number``,
    one per shard.
    """
    files = stat_audio(arguments.data_folder, rows["wav"])
    lost = sorted(set(rows["wav"]) - set(files["wav"]))
    if lost:
        raise PreparationError(
            f"{len(lost)} files of the manifest are missing, the first is "
            f"{arguments.data_folder / lost[0]}; correct --data_folder"
        )
    order = np.random.default_rng(arguments.seed).permutation(len(files))
    files = files.iloc[order].reset_index(drop=True)
    files["number"] = files.index
    before = files["size"].cumsum() - files["size"]
    shard = (before // (arguments.megabytes * 1e6)).astype(int)
    return [table for _, table in files.groupby(shard)]


def write_shard(path, files, rows, data_folder):
    """Write a shard; return the places of its files, and its digest."""
    places, own = {}, defaultdict(list)
    for row in rows.to_dict("records"):
        own[row.pop("wav")].append(row)
    with replaced_file(path) as draft:
        with tarfile.open(draft, "w", format=tarfile.USTAR_FORMAT) as archive:
            for file in files.itertuples():
                source = data_folder / file.wav
                member = tarfile.TarInfo(f"{file.number:09}{source.suffix}")
                member.size = file.size
                offset = archive.offset + tarfile.BLOCKSIZE
                with open(source, "rb") as audio:
                    archive.addfile(member, audio)
                places[file.wav] = f"{path.name}#{offset}+{file.size}"
                _add_json(archive, f"{file.number:09}.json", own[file.wav])
        digest = file_digest(draft)
    for wav, place in places.items():
        _check(path.parent / place, data_folder / wav)
    return places, digest


def _add_json(archive, name, rows):
    """Add the rows of a clip."""
    data = json.dumps(rows, ensure_ascii=False).encode()
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def _check(place, source):
    """Refuse what cannot be read in a shard, such as m4a."""
    try:
        audio_info(place)
    except AudioError as error:
        raise PreparationError(
            f"{source} cannot be read in a shard, only as a file: convert it "
            f"to flac ({error})"
        ) from error


def pack(split, rows, arguments):
    """Write the shards of a split; return its new manifest, and digests."""
    places, digests = {}, {}
    shards = plan(rows, arguments)
    for number, files in enumerate(tqdm(shards, split, unit=" shards")):
        path = arguments.shards / f"{split}-{number:06}.tar"
        own = rows[rows["wav"].isin(files["wav"])]
        content = files.to_csv() + own.to_csv()
        key = hashlib.sha256(content.encode()).hexdigest()
        record = path.with_suffix(".json")
        done = json.loads(record.read_text()) if record.is_file() else {}
        if done.get("key") != key or not path.is_file():
            record.unlink(missing_ok=True)
            found, digest = write_shard(path, files, own, arguments.data_folder)
            done = {"key": key, "sha256": digest, "places": found}
            write_json(record, done)
        places |= done["places"]
        digests[path.name] = done["sha256"]
    return rows.assign(wav=rows["wav"].map(places)), digests


def write(arguments):
    """Write shards, manifests and digests."""
    digests = {}
    found = [s for s in SPLITS if (arguments.manifests / f"{s}.csv").is_file()]
    if not found:
        raise PreparationError(
            f"{arguments.manifests} has none of the manifests "
            f"{', '.join(f'{split}.csv' for split in SPLITS)}"
        )
    for split in found:
        rows = read_manifest(arguments.manifests / f"{split}.csv")
        rows, own = pack(split, rows, arguments)
        digests |= own
        write_csv(arguments.shards / f"{split}.csv", rows)
        digests[f"{split}.csv"] = file_digest(arguments.shards / f"{split}.csv")
    labels = arguments.manifests / LABEL_FILE
    if labels.is_file():
        shutil.copy(labels, arguments.shards)
        digests[LABEL_FILE] = file_digest(labels)
    with replaced_file(arguments.shards / SUMS) as draft:
        lines = [f"{digest}  {name}\n" for name, digest in digests.items()]
        draft.write_text("".join(lines))
    print(f"{arguments.shards}: {sum('.tar' in n for n in digests)} shards")


def main(argv=None):
    """Write the shards."""
    try:
        write(parse_arguments(argv))
    except (OSError, ValueError) as error:
        sys.exit(f"make_shards.py: {error}")


if __name__ == "__main__":
    main()
