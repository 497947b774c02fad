"""A recipe's run in miniature, with real parts, and its export."""

import functools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from audiomamba.dataio.files import write_json
from audiomamba.dataio.pipeline import ClipDataset, LabelEncoder
from audiomamba.dataio.reader import AudioReader
from audiomamba.inference.export import export_run
from audiomamba.training.checkpoints import ClassNames
from audiomamba.training.results import run_record
from audiomamba.training.runs.hparams import load_hparams, write_settings
from audiomamba.training.tasks.classification import ClassificationBrain

LABELS = ["low tone", "high, shrill => tone", "noise"]
# 60 frames: 59 hops of 10 ms and one window of 25 ms
RECIPE = """
# A miniature recipe
seed: 1
init_from: null
data_folder: {clips}
output_folder: {folder}
manifest_folder: !ref <data_folder>
save_folder: !ref <output_folder>/save
n_classes: 3
sample_rate: 16000
max_duration: 0.615

compute_features: !new:audiomamba.lobes.features.KaldiFbank
    n_mels: 32
    n_frames: 60
mean_var_norm: !new:audiomamba.lobes.normalization.SpectrogramNorm
    mean: -6.0
    std: 4.0
embedding_model: !new:audiomamba.lobes.audio_mamba.AudioMamba
    n_mels: 32
    n_frames: 60
    patch_size: [8, 10]
    stride: [8, 10]
    embed_dim: 16
    depth: 2
    mask_padding: {mask_padding}
classifier: !new:audiomamba.nnet.classifier.LinearClassifier

# A comment that ruamel attaches to the classifier
    input_size: 16
    n_classes: !ref <n_classes>
epoch_counter: !new:speechbrain.utils.epoch_loop.EpochCounter
    limit: 2
modules:
    compute_features: !ref <compute_features>
    mean_var_norm: !ref <mean_var_norm>
    embedding_model: !ref <embedding_model>
    classifier: !ref <classifier>

compute_loss: !name:audiomamba.training.losses.cross_entropy
opt_class: !name:torch.optim.AdamW
    lr: 0.01
lr_schedule: !new:audiomamba.training.optim.WarmupCosine
    n_epochs: 2
    warmup_epochs: 1
    final: 0.01
head_lr_scale: 1.0
protocols: [honest]
patience: null
average_from: null
ema_decay: null
freeze: null
unfreeze_epoch: null
layer_lr_decay: null
gradient_checkpointing: False
label_smoothing: 0.0
class_weights: null
distillation: null
wav_augment: null
spec_augment: null
norm_augment: null
metrics: !new:audiomamba.training.metrics.ClassificationMetrics
    names: [accuracy]
    activation: softmax
epoch_log: !new:audiomamba.training.results.EpochLog
    folder: !ref <output_folder>
checkpointer: !new:audiomamba.training.checkpoints.AtomicCheckpointer
    checkpoints_dir: !ref <save_folder>
    recoverables:
        embedding_model: !ref <embedding_model>
        classifier: !ref <classifier>
        epoch_counter: !ref <epoch_counter>
"""


def sound(label, seconds, rate, seed):
    """Return a tone or noise with an offset, which readers remove."""
    generator = np.random.default_rng(seed)
    times = np.arange(round(seconds * rate)) / rate
    pitch = {"low tone": 300, LABELS[1]: 2500}.get(label)
    wave = generator.standard_normal(len(times)) * 0.1
    if pitch:
        wave = 0.1 * wave + 0.4 * np.sin(2 * np.pi * pitch * times)
    return wave + 0.02


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """Write clips of different rates, channels and lengths; a manifest."""
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for index in range(12):
        label = LABELS[index % 3]
        rate = (16000, 44100, 8000)[index % 3]
        # The last three are longer than the model's input
        seconds = 0.25 + 0.06 * index
        wave = sound(label, seconds, rate, index)
        if index % 2:
            wave = np.stack([wave, 0.5 * wave], axis=1)
        soundfile.write(folder / f"{index:02}.wav", wave, rate)
        rows.append((f"{index:02}", seconds, f"{index:02}.wav", label))
    columns = ["ID", "duration", "wav", "label"]
    pd.DataFrame(rows, columns=columns).to_csv(
        folder / "train.csv", index=False
    )
    return folder


def _train(folder, clips, mask_padding):
    """Train for two epochs and write a record, as a recipe does."""
    folder.mkdir()
    source = folder / "recipe.yaml"
    source.write_text(
        RECIPE.format(folder=folder, clips=clips, mask_padding=mask_padding)
    )
    torch.manual_seed(0)
    hparams = load_hparams(source)
    write_settings(folder, source, {})
    reader = AudioReader(clips, 16000, hparams["max_duration"])
    dataset = ClipDataset(clips / "train.csv", reader, LabelEncoder(LABELS))
    hparams["checkpointer"].add_recoverable("label_encoder", ClassNames(LABELS))
    brain = ClassificationBrain(
        hparams["modules"],
        hparams["opt_class"],
        hparams,
        {"device": "cpu", "noprogressbar": True},
        hparams["checkpointer"],
    )
    loader = {"batch_size": 5}
    counter = hparams["epoch_counter"]
    brain.fit(
        counter,
        dataset,
        dataset,
        train_loader_kwargs=loader,
        valid_loader_kwargs=loader,
    )
    tested = brain.test(dataset, loader)
    record = run_record("Tones", "hparams/tones.yaml", tested, brain, hparams)
    write_json(folder / "results.json", record)
    ids, scores, _ = hparams["metrics"].arrays()
    order = np.argsort(ids)
    return torch.from_numpy(np.asarray(scores)[order])


@pytest.fixture(scope="session")
def finish(clips, tmp_path_factory):
    """Finish a run with or without masked padding, once for all files."""

    @functools.cache
    def finish(masked):
        folder = tmp_path_factory.mktemp("runs") / "run"
        scores = _train(folder, clips, masked)
        exported = export_run(folder, folder.with_name("exported"))
        paths = sorted(clips.glob("*.wav"))
        return SimpleNamespace(
            folder=folder, exported=exported, scores=scores, paths=paths
        )

    return finish


@pytest.fixture(scope="session", params=[True, False], ids=["masked", "padded"])
def run(request, finish):
    """A finished run: its folder, its export, its scores on the test split."""
    return finish(request.param)
