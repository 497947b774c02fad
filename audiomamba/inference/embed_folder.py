"""Embeddings of all recordings in a folder: a table that grows and resumes."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from audiomamba.dataio.audio import AudioError, audio_info
from audiomamba.dataio.codecs.formats import SUFFIXES
from audiomamba.dataio.corpora.corpus import list_audio
from audiomamba.dataio.problems import Problems
from audiomamba.inference.embed_table import (
    Rows,
    UnfinishedTable,
    check_target,
)
from audiomamba.inference.embeddings import duration_batches
from audiomamba.inference.model import ClipModel
from audiomamba.inference.waveforms import window_samples
from audiomamba.nnet.parameters import weights_digest

_BATCH_SECONDS, _BATCH_FILES = 160, 16


class FolderEmbedder:
    """Embeds the recordings in a folder, at any depth.

    Arguments
    ---------
    model : ClipModel
        The model.
    folder : str or Path
        The recordings.
    window, hop : float, optional
        Seconds; None: a row per file, of what the model hears of it.
    frames : bool
        A row per frame of the encoder, side by side.
    complain : callable
        Called with the error of every recording that cannot be read, and with
        a sentence where finished recordings are dropped.

    Raises
    ------
    ValueError
        If the model has no such windows or frames.
    """

    def __init__(
        self,
        model: ClipModel,
        folder: str | Path,
        window: float | None = None,
        hop: float | None = None,
        frames: bool = False,
        complain: Callable[[Exception | str], None] = print,
    ):
        if frames:
            model.frame_windows(window)
        else:
            window_samples(window, hop, model.sample_rate, model.max_duration)
        self.model, self.folder = model, Path(folder)
        self.window, self.hop, self.frames = window, hop, frames
        self.complain, self.n_failed = complain, 0
        problems = Problems()
        self.files = list_audio(
            self.folder, suffixes=SUFFIXES, problems=problems
        )
        self.n_files = len(self.files) + len(problems.messages)
        for fault in problems.messages:
            self._fail(AudioError(fault))

    def key(self) -> str:
        """Return a digest of weights, files and options."""
        digest = hashlib.sha256(weights_digest(self.model.mods).encode())
        digest.update(self.files.to_csv().encode())
        digest.update(repr((self.window, self.hop, self.frames)).encode())
        return digest.hexdigest()

    def rows(self, done: set[str]) -> Iterator[tuple[str, Rows]]:
        """Yield the rows of every recording that is not done yet.

        Arguments
        ---------
        done : set of str
            Paths within the folder.

        Yields
        ------
        str
            Path within the folder.
        Rows
            Its embeddings.
        """
        waiting = [wav for wav in self.files["wav"] if wav not in done]
        if self.window is None and self.hop is None and not self.frames:
            yield from self._whole(waiting)
            return
        for wav in waiting:
            if rows := self._read(wav, self._windows):
                yield wav, rows

    def _read(self, wav, read):
        """Return what ``read`` makes of a file, or None if it cannot."""
        try:
            return read(self.folder / wav)
        except (AudioError, OSError) as error:
            self._fail(error)
            return None

    def _fail(self, error):
        self.n_failed += 1
        self.complain(error)

    def _whole(self, waiting):
        """Yield a row per file, in batches of similar lengths."""
        infos = {wav: self._read(wav, audio_info) for wav in waiting}
        spans = {wav: self._span(x) for wav, x in infos.items() if x}
        wavs = list(spans)
        durations = [stop - start for start, stop in spans.values()]
        for batch in duration_batches(durations, _BATCH_SECONDS):
            for first in range(0, len(batch), _BATCH_FILES):
                names = [wavs[i] for i in batch[first : first + _BATCH_FILES]]
                read = self.model.hparams.audio_normalizer.read
                clips = {wav: self._read(wav, read) for wav in names}
                heard = {k: x for k, x in clips.items() if x is not None}
                if not heard:
                    continue
                found = self.model.embed_batch(list(heard.values()))
                for wav, row in zip(heard, found.numpy()):
                    start, stop = spans[wav]
                    yield wav, _checked(wav, [start], [stop], row[None])

    def _span(self, info):
        """Return from when to when the model hears a file, in seconds."""
        duration = info.n_frames / info.sample_rate
        heard = min(duration, self.model.max_duration or duration)
        centred = self.model.hparams.audio_normalizer.keep == "centre"
        start = (duration - heard) / 2 if centred else 0.0
        return start, start + heard

    def _windows(self, path):
        """Return the rows of the windows or frames of a file."""
        starts, stops, values = [], [], []
        if not self.frames:
            for start, stop, row in self.model.embed_stream(
                path, self.window, self.hop
            ):
                starts.append(start)
                stops.append(stop)
                values.append(row[None])
        else:
            step = self.model.frame_seconds
            for start, _, rows in self.model.embed_timeline(path, self.window):
                begins = start + step * np.arange(len(rows))
                starts += begins.tolist()
                stops += (begins + step).tolist()
                values.append(rows)
        return _checked(path, starts, stops, torch.cat(values).numpy())


def _checked(path, starts, stops, values):
    """Return rows; refuse values that are not finite."""
    if not np.isfinite(values).all():
        raise ValueError(
            f"{path}: its embedding is not finite; check the file and the model"
        )
    return Rows(starts, stops, values.astype(np.float32))


def embed_folder(
    embedder: FolderEmbedder, path: str | Path, progressbar: bool = True
) -> int:
    """Write the embeddings of a folder; go on where the last run stopped.

    Arguments
    ---------
    embedder : FolderEmbedder
        The folder and the model.
    path : str or Path
        ``.parquet`` (columns path, start, stop, values), ``.csv`` (a column
        per value) or ``.npy`` (an array, with path, start and stop in a CSV
        beside it). Rows are sorted by path and time.
    progressbar : bool
        Whether to show one.

    Returns
    -------
    int
        Rows.
    """
    path = check_target(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with UnfinishedTable(path, embedder.key()) as table:
        if table.n_dropped:
            embedder.complain(
                "other weights, files or options than before: starts over, "
                f"without the {table.n_dropped} recordings that were finished"
            )
        done = table.done()
        with tqdm(
            total=len(embedder.files),
            initial=len(done),
            unit="file",
            disable=not progressbar,
        ) as bar:
            for wav, rows in embedder.rows(done):
                table.add(wav, rows)
                bar.update()
        if table.n_rows:
            table.finish(path)
    return table.n_rows
