"""Probes of frozen encoders, and what they are compared with."""

import json

import numpy as np
import pytest
import soundfile
import torch

from audiomamba import AudioMamba

YAML = """
sample_rate: 8000
max_duration: 1.0
compute_features: !new:audiomamba.lobes.features.KaldiFbank
    sample_rate: 8000
    n_mels: 32
mean_var_norm: !new:audiomamba.lobes.normalization.SpectrogramNorm
    mean: -6.0
    std: 4.0
embedding_model: !new:audiomamba.lobes.audio_mamba.AudioMamba
    n_mels: 32
    n_frames: 64
    patch_size: 16
    embed_dim: 16
    depth: 1
    cls_token: null
"""
NAMES = ("model, embedding", "model, rows", "random encoder, embedding")
NAMES += ("random encoder, rows", "filter banks")
SIZES = dict(n_mels=32, n_frames=64, patch_size=16, embed_dim=16, depth=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a small encoder."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    encoder = AudioMamba(**SIZES, cls_token=None)
    torch.save(encoder.state_dict(), folder / "embedding_model.ckpt")
    (folder / "hyperparams.yaml").write_text(YAML)
    return folder


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Tones of two pitches, a class each, of different lengths."""
    folder = tmp_path_factory.mktemp("sounds")
    generator = np.random.default_rng(0)
    lines = ["ID,duration,wav,label,room"]
    for i in range(12):
        label, n = ("low", "high")[i % 2], 2000 + 400 * i
        wave = np.sin(2 * np.pi * (300, 2000)[i % 2] * np.arange(n) / 8000)
        (folder / label).mkdir(exist_ok=True)
        wave = 0.3 * wave + 0.01 * generator.normal(size=n)
        soundfile.write(folder / label / f"{i}.wav", wave, 8000)
        lines.append(f"c{i},1,{label}/{i}.wav,{label},r{i // 4}")
    for name, chosen in (("all", lines), ("few", lines[:5])):
        (folder / f"{name}.csv").write_text("\n".join(chosen) + "\n")
    return folder


@pytest.fixture
def probe(model, tmp_path, capsys):
    """Run the tool: arguments -> what it prints, its record."""

    def run(*arguments):
        from probe import main

        folder = tmp_path / "out"
        main([str(model), *map(str, arguments), f"--output_folder={folder}"])
        record = json.loads((folder / "results.json").read_text())
        return capsys.readouterr().out, record

    return run


def test_every_figure_stands_beside_its_baselines(probe, sounds):
    printed, record = probe(sounds, "--folds=3")
    assert list(record["probes"]) == list(NAMES)
    for name in NAMES:
        assert f"\n{name}" in printed or printed.lstrip().startswith(name)
    banks = record["probes"]["filter banks"]
    assert banks["logistic regression"] == [1.0, 1.0, 1.0]
    assert record["most_frequent_class"] == [0.5, 0.5, 0.5]
    value = np.mean(record["probes"]["model, rows"]["logistic regression"])
    assert record["metric"]["value"] == value
    assert record["n_classes"] == 2 and record["clips"] == {
        "train": 8,
        "test": 4,
    }
    assert record["versions"] and record["command"]


def test_a_second_probe_reads_what_the_first_computed(
    probe, sounds, monkeypatch
):
    lists = (sounds / "few.csv", sounds / "all.csv")
    _, first = probe(*lists)
    monkeypatch.setattr("probe.represent", lambda *arguments: 1 / 0)
    _, second = probe(*lists, "--neighbours=3")
    linear = [
        [found["logistic regression"] for found in record["probes"].values()]
        for record in (first, second)
    ]
    assert linear[0] == linear[1] and second["neighbours"] == 3
    with pytest.raises(ZeroDivisionError):
        probe(sounds / "all.csv", "--folds=2")


def test_representations_are_those_of_a_clip_alone(model, sounds, probe):
    import probe as tool

    probe(sounds / "few.csv", sounds / "all.csv")
    arguments = tool.parse_arguments(
        [str(model), *(str(sounds / f"{n}.csv") for n in ("few", "all"))]
        + [f"--output_folder={sounds}/out"]
    )
    clips = tool.read_clips(arguments)
    found, _, _ = tool.representations(arguments, clips)
    embedder, _ = tool.load_embedder(model)
    row = clips.table.index[clips.table["ID"] == "test/c1"][0]
    wav = torch.from_numpy(soundfile.read(sounds / "high/1.wav")[0]).float()
    with torch.no_grad():
        feats, lengths = embedder.features(
            (wav - wav.mean())[None], torch.ones(1)
        )
        rows = embedder.embedding_model(feats, lengths, output="rows")
    torch.testing.assert_close(
        torch.from_numpy(found["model, rows"][row]), rows[0].flatten()
    )
    banks = found["filter banks"][row]
    torch.testing.assert_close(banks[:32], feats[0].mean(0).numpy())
    deviation = feats[0].std(0, correction=0).numpy()
    torch.testing.assert_close(banks[32:], deviation, atol=1e-3, rtol=1e-3)


def test_clips_of_a_group_are_in_one_fold(probe, sounds):
    import probe as tool

    arguments = ["m", str(sounds / "all.csv"), "--folds=3", "--group=room"]
    clips = tool.read_clips(tool.parse_arguments(arguments))
    rooms = clips.table["room"].to_numpy()
    assert len(clips.parts) == 3
    for train, test in clips.parts:
        assert not {*rooms[train]} & {*rooms[test]}


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["all.csv", "--folds=7"], "6 clips, too few for 7 folds"),
        (["all.csv", "--folds=2", "--group=day"], "no column 'day'"),
        (["all.csv"], "give two lists"),
        (["low", "high"], "a folder is probed alone"),
        (["low", "--folds=2"], "no <class>/<name>.wav"),
        (["gone.csv", "--folds=2"], "gone.csv"),
    ],
)
def test_what_cannot_be_probed_is_explained(
    probe, sounds, monkeypatch, arguments, words, capsys
):
    with pytest.raises(SystemExit) as caught:
        monkeypatch.chdir(sounds)
        probe(*arguments)
    assert words in str(caught.value) + capsys.readouterr().err
