"""A model on the Hugging Face hub, with a stand-in for its client."""

import pytest
import torch
from speechbrain.inference.classifiers import EncoderClassifier
from speechbrain.inference.speaker import SpeakerRecognition

from audiomamba.inference import AudioTagger

CPU = {"device": "cpu"}


@pytest.fixture
def hub(run, monkeypatch):
    """Name of a repository with the exported model, and the files requested."""
    asked = []

    def hf_hub_download(repo_id, filename, **options):
        asked.append((repo_id, filename))
        assert (run.exported / filename).is_file(), filename
        return str(run.exported / filename)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", hf_hub_download)
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
