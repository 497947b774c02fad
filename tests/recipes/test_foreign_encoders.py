"""SpeechBrain's encoders in these recipes: one block of the YAML differs."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from speechbrain.inference.classifiers import EncoderClassifier
from speechbrain.utils.data_utils import batch_pad_right

from audiomamba.inference import AudioTagger, export_run

ROOT = Path(__file__).parents[2]
CPU = {"device": "cpu"}
SMALL = {
    "number_of_epochs": 4,
    "batch_size": 8,
    "num_workers": 0,
    "n_frames": 64,
    "max_duration": 0.655,
    "lr": 0.003,
    "classifier": "{input_size: 192}",
}


def block(encoder):
    """Return README.md's YAML block of an encoder, narrowed where possible."""
    text = (ROOT / "README.md").read_text()
    pattern = rf"embedding_model: !new:speechbrain\S+\.{encoder}\n(    .*\n)+"
    found = re.search(pattern, text)[0]
    return found.replace("[1024, 1024, 1024, 1024, 3072]", "[8, 8, 8, 8, 24]")


@pytest.mark.parametrize(
    "recipe, dataset, encoder, options",
    [
        ("VoxCeleb", "VoxCeleb", "ECAPA_TDNN", {"n_speakers": 3}),
        ("ESC50", "ESC50", "Cnn14", {"n_clips": 1}),
    ],
)
def test_a_speechbrain_encoder_trains_and_tags(
    recipe,
    dataset,
    encoder,
    options,
    make_corpus,
    run_recipe,
    read_results,
    tmp_path,
):
    hparams = ROOT / "recipes" / recipe / "hparams" / "aum_tiny.yaml"
    changed, count = re.subn(
        r"^embedding_model:.*\n(    .*\n)+",
        block(encoder),
        hparams.read_text(),
        flags=re.MULTILINE,
    )
    assert count == 1 and "AudioMamba" not in changed
    (tmp_path / "changed.yaml").write_text(changed)
    corpus = make_corpus(dataset, seconds=1.0, **options).folder
    run_recipe(
        recipe,
        tmp_path / "changed.yaml",
        **SMALL,
        data_folder=corpus,
        output_folder=tmp_path / "run",
    )
    results = read_results(tmp_path / "run")
    first, *_, last = (row["train_loss"] for row in results["curve"])
    assert last < first and 0 <= results["metric"]["value"] <= 1

    exported = export_run(tmp_path / "run", tmp_path / "model")
    tagger = AudioTagger.from_hparams(exported, run_opts=CPU)
    wav = next(corpus.rglob("*.wav"))
    assert len(tagger.tag_file(wav, top_k=2)) == 2
    # Cnn14 has 80 million parameters, and pytest keeps temporary folders
    shutil.rmtree(tmp_path / "run" / "save")
    shutil.rmtree(tmp_path / "model")


def test_speechbrains_features_and_normalisation_train_and_tag(
    make_corpus, run_recipe, tmp_path
):
    text = (ROOT / "recipes/ESC50/hparams/aum_tiny.yaml").read_text()
    for key, value in (
        ("compute_features", "!new:audiomamba.lobes.SpeechBrainFbank\n"),
        (
            "mean_var_norm",
            "!new:speechbrain.processing.features.InputNormalization\n"
            "    norm_type: sentence\n",
        ),
        ("n_mels", "40\n"),
    ):
        pattern = rf"^{key}:.*\n(    .*\n)*"
        text, count = re.subn(
            pattern, f"{key}: {value}", text, flags=re.MULTILINE
        )
        assert count == 1
    (tmp_path / "changed.yaml").write_text(text)
    corpus = make_corpus("ESC50", n_clips=1, seconds=1.0).folder
    small = {**SMALL, "number_of_epochs": 1, "classifier": "{input_size: 16}"}
    run_recipe(
        "ESC50",
        tmp_path / "changed.yaml",
        **small,
        embedding_model="{embed_dim: 16, depth: 1}",
        data_folder=corpus,
        output_folder=tmp_path / "run",
    )
    exported = export_run(tmp_path / "run", tmp_path / "model")
    classifier = EncoderClassifier.from_hparams(str(exported), run_opts=CPU)
    sizes = torch.randint(3000, 16000, (30,)).tolist()
    waves = [0.1 * torch.randn(size) for size in sizes]
    together, *_ = classifier.classify_batch(*batch_pad_right(waves))
    alone = [classifier.classify_batch(wave)[0] for wave in waves]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


# README.md's WavLM, without a download
TINY_WAVLM = """!new:transformers.WavLMModel
        config: !new:transformers.WavLMConfig
            hidden_size: 16
            num_hidden_layers: 1
            num_attention_heads: 2
            intermediate_size: 32
            conv_dim: [8, 8, 8, 8, 8, 8, 8]
            num_conv_pos_embeddings: 8
            num_conv_pos_embedding_groups: 2
            feat_extract_norm: layer
            do_stable_layer_norm: True
"""


def test_a_model_of_transformers_trains_and_tags(
    make_corpus, run_recipe, read_results, tmp_path
):
    readme = (ROOT / "README.md").read_text()
    start = readme.index("compute_features: !new:audiomamba.lobes.Waveforms")
    theirs = readme[start : readme.index("```", start)]
    theirs, count = re.subn(
        r"!apply:transformers.WavLMModel.*\n", TINY_WAVLM, theirs
    )
    assert count == 1
    text = (ROOT / "recipes/ESC50/hparams/aum_tiny.yaml").read_text()
    for key, value in (
        ("compute_features", ""),
        ("mean_var_norm", ""),
        ("spec_augment", "spec_augment: null\n"),
        ("embedding_model", theirs),
    ):
        pattern = rf"^{key}:.*\n(    .*\n)*"
        text, count = re.subn(pattern, value, text, count=1, flags=re.M)
        assert count == 1
    (tmp_path / "changed.yaml").write_text(text)
    corpus = make_corpus("ESC50", n_clips=1, seconds=1.0).folder
    run_recipe(
        "ESC50",
        tmp_path / "changed.yaml",
        **{**SMALL, "classifier": "{input_size: 16}"},
        layer_lr_decay=0.8,
        data_folder=corpus,
        output_folder=tmp_path / "run",
    )
    curve = read_results(tmp_path / "run")["curve"]
    assert curve[-1]["train_loss"] < curve[0]["train_loss"]
    exported = export_run(tmp_path / "run", tmp_path / "model")
    tagger = AudioTagger.from_hparams(exported, run_opts=CPU)
    wav = next(corpus.rglob("*.wav"))
    assert len(tagger.tag_file(wav, top_k=2)) == 2
