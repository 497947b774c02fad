"""A model as the HEAR benchmark calls it (https://hearbenchmark.com).

    python -m heareval.embeddings.runner audiomamba.hear --model exported_model

Any model of `audiomamba.inference.AudioTagger` works. Timestamps are the
centres of the encoder's frames.
"""

from pathlib import Path

import torch

from audiomamba.inference.tagger import AudioTagger


class HearModel(torch.nn.Module):
    """A model with the attributes that HEAR asks for.

    Arguments
    ---------
    tagger : AudioTagger
        The model; on a GPU after ``to("cuda")``.
    """

    def __init__(self, tagger: AudioTagger):
        super().__init__()
        self.tagger = tagger
        self.sample_rate = tagger.sample_rate
        size = tagger.embed_batch([torch.zeros(tagger.sample_rate)]).shape[1]
        self.scene_embedding_size = self.timestamp_embedding_size = size

    def to(self, *arguments, **options) -> "HearModel":
        """Move the model, and what it computes on."""
        super().to(*arguments, **options)
        self.tagger.device = str(next(self.parameters()).device)
        return self

    def whole(self, audio: torch.Tensor) -> bool:
        """Whether the model hears all of these sounds at once, [B, N]."""
        heard = self.tagger.max_duration
        return not heard or audio.shape[1] <= heard * self.sample_rate


def load_model(model_file_path: str | Path = "") -> HearModel:
    """Load a model.

    Arguments
    ---------
    model_file_path : str or Path
        See `AudioTagger.from_hparams`.

    Returns
    -------
    HearModel

    Raises
    ------
    ValueError
        If there is no path, as no weights come with this package.
    """
    if not str(model_file_path):
        raise ValueError(
            "no weights come with audiomamba: give --model with an exported "
            "model, or the name of one on the hub"
        )
    device = {"device": "cuda" if torch.cuda.is_available() else "cpu"}
    return HearModel(AudioTagger.from_hparams(model_file_path, run_opts=device))


def get_scene_embeddings(audio: torch.Tensor, model: HearModel) -> torch.Tensor:
    """Embed sounds as wholes.

    Arguments
    ---------
    audio : torch.Tensor
        [n_sounds, n_samples], mono at the model's ``sample_rate``.
    model : HearModel
        From `load_model`.

    Returns
    -------
    torch.Tensor
        [n_sounds, scene_embedding_size], float32. Of sounds longer than the
        model hears, the mean of windows.
    """
    tagger = model.tagger
    if model.whole(audio):
        return tagger.embed_batch(list(audio)).to(audio.device)
    means = [
        torch.stack([w.values for w in tagger.embed_stream([wav])]).mean(0)
        for wav in audio
    ]
    return torch.stack(means).to(audio.device)


def get_timestamp_embeddings(
    audio: torch.Tensor, model: HearModel
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embed sounds over time.

    Arguments
    ---------
    audio, model
        See `get_scene_embeddings`.

    Returns
    -------
    embeddings : torch.Tensor
        [n_sounds, n_timestamps, timestamp_embedding_size], float32.
    timestamps : torch.Tensor
        Centres in milliseconds, [n_sounds, n_timestamps].
    """
    tagger, step = model.tagger, model.tagger.frame_seconds
    if model.whole(audio):
        frames = torch.stack(tagger.embed_frames(list(audio)))
        starts = torch.arange(frames.shape[1]) * step
    else:
        heard = tagger.max_duration
        found = [list(tagger.embed_timeline([wav], heard)) for wav in audio]
        frames = torch.stack(
            [torch.cat([w.values for w in windows]) for windows in found]
        )
        starts = torch.cat(
            [w.start + torch.arange(len(w.values)) * step for w in found[0]]
        )
    timestamps = (1000 * (starts + step / 2)).expand(len(audio), -1)
    return frames.to(audio.device), timestamps.to(audio.device)
