"""Published models tag with the settings beside their weights, without code."""

import json

import pytest
import soundfile
import torch
from huggingface_hub.errors import EntryNotFoundError
from safetensors.torch import save_file

from audiomamba.cli.tag import main
from audiomamba.inference import AudioTagger
from audiomamba.lobes import DASS, KaldiFbank
from audiomamba.pretrained import CheckpointError

CPU = {"device": "cpu"}
NAMES = ["Speech", "Rain, wind", "Car"]


@pytest.fixture
def model(tmp_path):
    """Return a folder as DASS's copies on the hub, the encoder and the head."""
    torch.manual_seed(0)
    encoder = DASS(widths=[8, 16], depths=[1, 1], mask_padding=False).eval()
    head = torch.nn.Linear(16, 3)
    state = {f"dass.{k}": v for k, v in encoder.state_dict().items()}
    state |= {f"head.{k}": v for k, v in head.state_dict().items()}
    folder = tmp_path / "DASS_tiny"
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    (folder / "modeling_dass.py").write_text("raise SystemExit('code was run')")
    names = {str(index): name for index, name in enumerate(NAMES)}
    auto_map = {"AutoModel": "modeling_dass.DASS"}
    config = {"id2label": names, "auto_map": auto_map, "num_classes": 3}
    (folder / "config.json").write_text(json.dumps(config))
    settings = {"max_length": 64, "mean": -4.0, "std": 4}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder, encoder, head


def wanted_of(wav, encoder, head):
    """Return the probabilities by the published settings."""
    feats, _ = KaldiFbank(n_frames=64)((wav - wav.mean())[None], torch.ones(1))
    with torch.no_grad():
        return head(encoder((feats + 4.0) / 8.0))[0, 0].sigmoid()


def test_a_published_folder_tags(model):
    folder, encoder, head = model
    tagger = AudioTagger.from_hparams(folder, run_opts=CPU)
    assert tagger.labels == NAMES
    assert tagger.max_duration == pytest.approx(0.655)
    wavs = [torch.randn(8000), torch.randn(3000)]
    for wav, scores in zip(wavs, tagger.score_batch(wavs)):
        wanted = wanted_of(wav, encoder, head)
        torch.testing.assert_close(scores, wanted, atol=1e-5, rtol=0)


def test_without_settings_the_features_are_audiosets(model):
    folder, *_ = model
    (folder / "preprocessor_config.json").unlink()
    tagger = AudioTagger.from_hparams(folder, run_opts=CPU)
    assert tagger.max_duration == pytest.approx(10.255)
    assert tagger.mods.mean_var_norm.mean == pytest.approx(-4.2677393)


def test_a_published_model_tags_by_the_name_of_its_repository(
    model, tmp_path, monkeypatch, capsys
):
    folder, encoder, head = model
    asked = []

    def no_such_file(repository, filename):
        raise EntryNotFoundError(f"{repository} has no {filename}")

    def download(repository, allow_patterns):
        asked.append((repository, allow_patterns))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", no_such_file)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    wav = torch.randn(8000)
    soundfile.write(tmp_path / "a.wav", wav.numpy() / 8, 16000, "FLOAT")
    line = [str(tmp_path / "a.wav"), "--model", "owner/DASS", "--json"]
    assert main([*line, "--device", "cpu"]) == 0
    tags = json.loads(capsys.readouterr().out)["tags"]
    wanted = wanted_of(wav / 8, encoder, head)
    found = {tag["label"]: tag["probability"] for tag in tags}
    for name, probability in zip(NAMES, wanted.tolist()):
        assert found[name] == pytest.approx(probability, abs=1e-5)
    for repository, patterns in asked:
        assert repository == "owner/DASS"
        assert not any(pattern.endswith("py") for pattern in patterns)


@pytest.mark.parametrize(
    "file, content, words",
    [
        ("config.json", {}, "3 classes and 0 class names.*--labels"),
        ("config.json", {"id2label": {"0": "a"}}, "and 1 class names"),
        ("preprocessor_config.json", {"std": 0}, "std"),
        ("preprocessor_config.json", {"mean": "-4"}, "mean"),
        ("preprocessor_config.json", {"max_length": 9.5}, "max_length"),
        ("preprocessor_config.json", [], "no settings by name"),
    ],
)
def test_settings_that_do_not_fit_are_refused(model, file, content, words):
    folder, *_ = model
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=words):
        AudioTagger.from_hparams(folder, run_opts=CPU)
    with pytest.raises(SystemExit, match=words):
        main(["a.wav", "--model", str(folder)])


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="not an exported model"):
        AudioTagger.from_hparams(tmp_path, run_opts=CPU)
