"""A miniature run: a real Brain, real checkpoints, a toy encoder."""

from types import SimpleNamespace

import pytest
import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.epoch_loop import EpochCounter

from audiomamba.nnet.classifier import LinearClassifier
from audiomamba.training.checkpoints import AtomicCheckpointer
from audiomamba.training.losses import cross_entropy
from audiomamba.training.metrics import ClassificationMetrics
from audiomamba.training.optim import WarmupMultiStep
from audiomamba.training.results import EpochLog
from audiomamba.training.tasks.classification import ClassificationBrain

N_CLASSES = 3


class Frames(torch.nn.Module):
    """Features with 16 samples per frame."""

    def forward(self, wavs, lengths):
        return wavs.unflatten(1, (-1, 16)), lengths


class Encoder(torch.nn.Module):
    """A layer, dropout and a mean, with one parameter without decay."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(16, 8)
        self.shift = torch.nn.Parameter(torch.zeros(8))
        self.shift._no_weight_decay = True
        self.dropout = torch.nn.Dropout(0.3)

    def forward(self, feats, lengths=None):
        hidden = torch.tanh(self.layer(feats)) + self.shift
        return self.dropout(hidden).mean(dim=1, keepdim=True)


class Norm(torch.nn.Module):
    def forward(self, feats, lengths=None):
        return feats


def noisy_mix(wavs, lengths, targets):
    """Add noise from torch's generator."""
    return wavs + 0.1 * torch.randn_like(wavs), lengths, targets


def clips(n_clips, first_seed):
    """Return a dataset whose classes differ by their mean."""
    data = {}
    for index in range(n_clips):
        generator = torch.Generator().manual_seed(first_seed + index)
        label = index % N_CLASSES
        wav = torch.randn(64, generator=generator) + label
        data[f"clip{index}"] = {"sig": wav, "target": label}
    return DynamicItemDataset(data, output_keys=["id", "sig", "target"])


@pytest.fixture
def make_run(tmp_path):
    """Make runs; those of the same name share a folder."""

    def make(
        name="run",
        epochs=3,
        n_train=22,
        brain_class=ClassificationBrain,
        encoder=None,
        modules=None,
        features=None,
        width=8,
        **options,
    ):
        torch.manual_seed(0)
        folder = tmp_path / name
        run_opts = {"device": "cpu", "noprogressbar": True}
        run_options = ("ckpt_interval_steps", "grad_accumulation_factor")
        run_options += ("max_grad_norm", "nonfinite_patience", "test_only")
        run_options += ("device", "debug", "optimizer_step_limit")
        for key in run_options:
            if key in options:
                run_opts[key] = options.pop(key)
        modules = modules or {
            "compute_features": features or Frames(),
            "mean_var_norm": Norm(),
            "embedding_model": encoder or Encoder(),
            "classifier": LinearClassifier(width, N_CLASSES),
        }
        counter = EpochCounter(epochs)
        workers = options.pop("num_workers", 0)
        loader = {"batch_size": options.pop("batch_size", 4)}
        hparams = {
            "seed": 7,
            "n_classes": N_CLASSES,
            "init_from": None,
            "n_frames": 64,
            "n_mels": 16,
            "compute_loss": cross_entropy,
            "metrics": ClassificationMetrics(["accuracy", "top5"]),
            "lr_schedule": WarmupMultiStep(1, 1, 0.5, 4, 2),
            "head_lr_scale": 10.0,
            "protocols": ["honest", "paper"],
            "patience": None,
            "average_from": None,
            "ema_decay": None,
            "freeze": None,
            "unfreeze_epoch": None,
            "layer_lr_decay": None,
            "gradient_checkpointing": False,
            "label_smoothing": 0.0,
            "class_weights": None,
            "distillation": None,
            "epoch_log": EpochLog(folder),
            "wav_augment": noisy_mix,
            "spec_augment": None,
            "norm_augment": None,
            **options,
        }
        trained = ("embedding_model", "classifier", "pretext")
        trained = [name for name in trained if name in modules]
        recoverables = {name: modules[name] for name in trained}
        recoverables["counter"] = counter
        brain = brain_class(
            modules=modules,
            opt_class=lambda groups: torch.optim.Adam(
                groups, lr=0.01, weight_decay=0.1
            ),
            hparams=hparams,
            run_opts=run_opts,
            checkpointer=AtomicCheckpointer(folder / "save", recoverables),
        )
        train_loader = {**loader, "shuffle": True, "num_workers": workers}
        run = SimpleNamespace(brain=brain, folder=folder, hparams=hparams)
        run.sets = clips(n_train, 0), clips(9, 1000), clips(9, 2000)
        run.fit = lambda: brain.fit(
            counter,
            *run.sets,
            train_loader_kwargs=train_loader,
            valid_loader_kwargs=loader,
        )
        run.test = lambda: brain.test(run.sets[2], loader)
        run.weights = lambda: {
            f"{name}.{key}": value.clone()
            for name in trained
            for key, value in modules[name].state_dict().items()
        }
        return run

    return make
