"""Embeddings: one per file, by the best epoch, whatever the batch."""

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from audiomamba import AudioMamba
from audiomamba.dataio.problems import PreparationError
from audiomamba.dataio.reader import AudioReader
from audiomamba.inference.embeddings import (
    duration_batches,
    embed_manifest,
    find_weights,
    load_embedder,
)
from audiomamba.lobes import KaldiFbank, SpectrogramNorm
from audiomamba.lobes.clip_encoder import ClipEncoder
from audiomamba.pretrained.weights import CheckpointError
from audiomamba.training.checkpoints import AtomicCheckpointer
from audiomamba.training.protocols import PROTOCOLS, make_averages

RATE = 16000
DURATIONS = [0.3, 2.5, 1.0, 1.2, 0.05, 1.1]


@pytest.fixture
def manifest(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for index, seconds in enumerate(DURATIONS):
        samples = 0.1 * rng.normal(size=round(seconds * RATE))
        soundfile.write(tmp_path / f"{index}.wav", samples, RATE)
        rows.append((f"f{index}", seconds, f"{index}.wav", "x"))
    path = tmp_path / "files.csv"
    columns = ["ID", "duration", "wav", "label"]
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
    return path


def embedder(**options):
    torch.manual_seed(0)
    encoder = AudioMamba(n_frames=100, embed_dim=16, depth=2, **options)
    norm = SpectrogramNorm(mean=-7.0, std=4.0)
    return ClipEncoder(KaldiFbank(), norm, encoder).eval()


def embed(model, manifest, key="k", max_seconds=120.0):
    return embed_manifest(
        model,
        manifest,
        AudioReader(manifest.parent, RATE),
        manifest.parent / "files.npy",
        key,
        max_seconds,
    )


@pytest.mark.parametrize("max_seconds", [120.0, 3.0, 0.0])
@pytest.mark.parametrize("mask_padding", [True, False])
def test_embeddings_do_not_depend_on_the_batch(
    manifest, max_seconds, mask_padding
):
    model = embedder(mask_padding=mask_padding)
    rows, found = embed(model, manifest, max_seconds=max_seconds)
    assert found.shape == (len(DURATIONS), 16)
    reader = AudioReader(manifest.parent, RATE)
    for index in range(len(DURATIONS)):
        sig = reader("f", f"{index}.wav", 0, -1)
        with torch.no_grad():
            alone = model(sig[None], torch.ones(1)).squeeze(1)
        alone = torch.nn.functional.normalize(alone)[0]
        np.testing.assert_allclose(found[rows[f"f{index}"]], alone, atol=1e-5)


def test_embeddings_are_reused_until_the_key_changes(manifest):
    def when():
        return (manifest.parent / "files.npy").stat().st_ino

    model = embedder()
    embed(model, manifest)
    first = when()
    _, again = embed(None, manifest)  # no model that could compute them
    assert when() == first and len(again) == len(DURATIONS)
    embed(model, manifest, key="other")
    assert when() != first


def test_batches_are_bounded_in_duration():
    rng = np.random.default_rng(1)
    durations = rng.uniform(1, 30, 500)
    batches = duration_batches(durations, max_seconds=60)
    assert sorted(sum(batches, [])) == list(range(500))
    for batch in batches:
        longest = durations[batch].max()
        assert len(batch) == 1 or longest * len(batch) <= 60
    assert len(batches) < 250
    assert durations[batches[0][0]] == durations.max()


def test_a_damaged_model_is_named(manifest):
    model = embedder()
    with torch.no_grad():
        model.embedding_model.norm_f.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="f1: its embedding is not finite"):
        embed(model, manifest)
    assert not (manifest.parent / "files.npy").exists()


def test_the_best_epoch_of_a_run_is_found(tmp_path):
    (tmp_path / "hyperparams.yaml").write_text(
        "sample_rate: 16000\n"
        "compute_features: !new:audiomamba.lobes.features.KaldiFbank\n"
        "mean_var_norm: !new:audiomamba.lobes.normalization.SpectrogramNorm\n"
        "    {mean: 0.0, std: 1.0}\n"
        "embedding_model: !new:torch.nn.Linear\n"
        "    {in_features: 1, out_features: 1}\n"
        "wav_augment: !new:a.module.that.is.not.There\n"
        "checkpointer: !new:a.module.that.is.not.There\n"
        "protocols: [honest, last]\n"
    )
    layer = torch.nn.Linear(1, 1)
    checkpointer = AtomicCheckpointer(
        tmp_path / "save", {"embedding_model": layer}
    )
    for epoch, accuracy in enumerate([0.2, 0.7, 0.7, 0.5], start=1):
        torch.nn.init.constant_(layer.weight, epoch)
        meta = {"epoch": epoch, "valid_accuracy": accuracy}
        checkpointer.save_checkpoint(meta, name=f"epoch{epoch}")
    model, (path, epoch, rule) = load_embedder(tmp_path)
    assert epoch == 2 and "epoch2" in str(path) and "best epoch" in rule
    assert model.embedding_model.weight.item() == 2
    torch.save(layer.state_dict(), tmp_path / "embedding_model.ckpt")
    model, (path, epoch, rule) = load_embedder(tmp_path)
    assert epoch is None and rule == "an exported model"
    assert model.embedding_model.weight.item() == 4


def test_without_validation_the_last_epoch_is_taken(tmp_path):
    (tmp_path / "hyperparams.yaml").write_text("protocols: [last]\n")
    checkpointer = AtomicCheckpointer(
        tmp_path / "save", {"embedding_model": torch.nn.Linear(1, 1)}
    )
    for epoch in (1, 2):
        meta = {"epoch": epoch, "test_accuracy": 1 / epoch}
        checkpointer.save_checkpoint(meta, name=f"epoch{epoch}")
    path, epoch, rule = find_weights(tmp_path)
    assert epoch == 2 and "epoch2" in str(path) and "last epoch" in rule


@pytest.mark.parametrize("protocol", ["average", "ema"])
def test_a_run_that_reports_an_average_gives_its_weights(tmp_path, protocol):
    (tmp_path / "hyperparams.yaml").write_text(
        "sample_rate: 16000\n"
        "compute_features: !new:audiomamba.lobes.features.KaldiFbank\n"
        "mean_var_norm: !new:audiomamba.lobes.normalization.SpectrogramNorm\n"
        "    {mean: 0.0, std: 1.0}\n"
        "embedding_model: !new:torch.nn.Linear\n"
        "    {in_features: 1, out_features: 1}\n"
        f"protocols: [{protocol}, honest]\n"
    )
    model = torch.nn.ModuleDict({"embedding_model": torch.nn.Linear(1, 1)})
    (average,) = make_averages(
        model,
        1 if protocol == "average" else None,
        0.5 if protocol == "ema" else None,
    ).values()
    checkpointer = AtomicCheckpointer(
        tmp_path / "save", {**model, protocol: average}
    )
    checkpointer.save_checkpoint({"epoch": 0, "valid_accuracy": 0.0})
    with pytest.raises(CheckpointError, match="no average yet"):
        load_embedder(tmp_path)
    for epoch in (1, 3):
        torch.nn.init.constant_(model["embedding_model"].weight, epoch)
        average.update_parameters(model)
        meta = {"epoch": epoch, "valid_accuracy": 1 / epoch}
        checkpointer.save_checkpoint(meta)
    embedder, (path, epoch, rule) = load_embedder(tmp_path)
    assert embedder.embedding_model.weight.item() == 2
    assert epoch == 3 and rule == PROTOCOLS[protocol][1]
    # the file tells embeddings of other weights apart
    assert path.name == f"{protocol}.ckpt"


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(PreparationError, match="neither"):
        find_weights(tmp_path)
    with pytest.raises(PreparationError, match="neither"):
        find_weights(tmp_path / "none")
    assert not (tmp_path / "save").exists()
