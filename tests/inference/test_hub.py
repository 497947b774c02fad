"""A model on the Hugging Face hub, with a stand-in for its client."""

import pytest
import torch
from speechbrain.inference.classifiers import EncoderClassifier
from speechbrain.inference.speaker import SpeakerRecognition

from audiomamba.inference import AudioTagger
from audiomamba.inference.exported.start import starting_parts
from audiomamba.pretrained.teachers import Teacher

CPU = {"device": "cpu"}


@pytest.fixture
def hub(run, monkeypatch):
    """Name of a repository with the exported model, and the files requested."""
    asked = []

    def hf_hub_download(repo_id, filename, **options):
        asked.append((repo_id, filename))
        assert (run.exported / filename).is_file(), filename
        return str(run.exported / filename)

    def snapshot_download(repo_id, allow_patterns):
        return str(run.exported)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", hf_hub_download)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return asked


@pytest.mark.parametrize(
    "interface", [AudioTagger, EncoderClassifier, SpeakerRecognition]
)
def test_a_model_loads_by_the_name_of_its_repository(
    run, hub, interface, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    model = interface.from_hparams("owner/name", run_opts=CPU)
    assert {repository for repository, _ in hub} == {"owner/name"}
    # SpeechBrain's classes do not compare digests
    checked = {"SHA256SUMS", "results.json"}
    assert {filename for _, filename in hub} - checked == {
        "hyperparams.yaml",
        "embedding_model.ckpt",
        "classifier.ckpt",
        "label_encoder.ckpt",
        "mean_var_norm_emb.ckpt",
    }
    fetched = {filename for _, filename in hub}
    assert (checked <= fetched) == (interface is AudioTagger)
    local = AudioTagger.from_hparams(run.exported, run_opts=CPU)
    weights = model.hparams.embedding_model.state_dict()
    torch.testing.assert_close(
        weights, local.mods.embedding_model.state_dict(), atol=0, rtol=0
    )


def test_a_model_on_the_hub_teaches_and_starts_with_its_own_features(
    run, hub, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    here, there = Teacher(run.exported), Teacher("owner/name")
    assert there.sample_rate == here.sample_rate == 16000
    wavs = torch.randn(1, 9000)
    feats = [
        teacher.features.features(wavs, torch.ones(1))[0]
        for teacher in (here, there)
    ]
    assert torch.equal(*feats)
    parts = starting_parts("owner/name")
    assert parts == starting_parts(run.exported) == starting_parts(run.folder)
