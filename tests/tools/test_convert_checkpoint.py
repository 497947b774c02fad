"""Official checkpoints become folders that load like exported models."""

import json

import pytest
import torch
from safetensors.torch import save_file
from speechbrain.inference.classifiers import EncoderClassifier
from torch.nn.functional import logsigmoid

from audiomamba import DASS, AudioMamba
from audiomamba.inference import AudioTagger
from audiomamba.lobes.ast import AudioSpectrogramTransformer
from audiomamba.nnet.classifier import LinearClassifier
from audiomamba.pretrained import initialise

CPU = {"device": "cpu"}
RECIPE = """
n_mels: 128
sample_rate: 16000
max_duration: 0.655
compute_features: !new:audiomamba.lobes.features.KaldiFbank
    n_mels: !ref <n_mels>
    n_frames: 64
mean_var_norm: !new:audiomamba.lobes.normalization.SpectrogramNorm
    mean: -5.0
    std: 4.0
embedding_model: !new:torch.nn.Identity
classifier: !new:torch.nn.Identity
metrics: !new:audiomamba.training.metrics.ClassificationMetrics
    names: [mAP]
    activation: sigmoid
"""


@pytest.fixture
def files(tmp_path):
    """Write a checkpoint as the authors save it, a recipe and class names."""
    torch.manual_seed(0)
    encoder = AudioMamba(
        n_mels=128,
        n_frames=64,
        embed_dim=16,
        depth=2,
        scan="bi_bi",
        mask_padding=False,
    )
    head = torch.nn.Linear(16, 3)
    state = {f"module.{k}": v for k, v in encoder.state_dict().items()}
    state.update({f"module.head.{k}": v for k, v in head.state_dict().items()})
    torch.save(state, tmp_path / "best_audio_model.pth")
    (tmp_path / "Tones" / "hparams").mkdir(parents=True)
    (tmp_path / "Tones" / "hparams" / "a.yaml").write_text(RECIPE)
    (tmp_path / "labels.csv").write_text(
        'index,mid,display_name\n0,/m/0,Dog\n1,/m/1,"Rain, wind"\n2,/m/2,Car\n'
    )
    return tmp_path, encoder.eval(), head


@pytest.fixture
def convert():
    """Run the tool in this process."""
    from convert_checkpoint import main

    return lambda *arguments: main([*map(str, arguments)])


@pytest.fixture
def options(files):
    folder, *_ = files
    return [
        "--labels",
        folder / "labels.csv",
        "--recipe",
        folder / "Tones" / "hparams" / "a.yaml",
    ]


def test_a_converted_model_computes_what_the_official_one_computes(
    files, convert, options
):
    folder, encoder, head = files
    source, target = folder / "best_audio_model.pth", folder / "model"
    convert(source, target, *options)
    tagger = AudioTagger.from_hparams(target, run_opts=CPU)
    assert tagger.labels == ["Dog", "Rain, wind", "Car"]
    wav = torch.randn(8000, generator=torch.Generator().manual_seed(1))
    feats = tagger.mods.compute_features((wav - wav.mean())[None])
    assert feats.shape == (1, 64, 128)
    with torch.no_grad():
        wanted = head(encoder((feats + 5.0) / 8.0))[0]
    scores = tagger.score_batch([wav])
    torch.testing.assert_close(scores, wanted.sigmoid(), atol=1e-5, rtol=0)
    classifier = EncoderClassifier.from_hparams(str(target), run_opts=CPU)
    posteriors, *_, names = classifier.classify_batch(wav[None])
    torch.testing.assert_close(
        posteriors, logsigmoid(wanted), atol=1e-4, rtol=0
    )
    assert names == [tagger.labels[wanted.argmax()]]


def test_a_converted_model_initialises_another(files, convert, options):
    folder, encoder, head = files
    convert(folder / "best_audio_model.pth", folder / "model", *options)
    target = AudioMamba(128, 96, embed_dim=16, depth=2, scan="bi_bi")
    classifier = LinearClassifier(16, 3)
    assert initialise(target, classifier, folder / "model")
    torch.testing.assert_close(classifier.weight, head.weight)
    kernel = encoder.patch_embed.proj.weight
    torch.testing.assert_close(target.patch_embed.proj.weight, kernel)


def test_the_model_may_have_more_frames_than_the_checkpoint(
    files, convert, options
):
    folder, *_ = files
    source, target = folder / "best_audio_model.pth", folder / "model"
    convert(source, target, *options, "--n_frames", 128)
    tagger = AudioTagger.from_hparams(target, run_opts=CPU)
    assert tagger.max_duration == pytest.approx(1.295)
    assert tagger.mods.embedding_model.n_frames == 128


def test_features_of_a_recipe_may_have_no_arguments(files, convert, options):
    folder, *_ = files
    recipe = folder / "Tones" / "hparams" / "a.yaml"
    arguments = "\n    n_mels: !ref <n_mels>\n    n_frames: 64"
    recipe.write_text(RECIPE.replace(arguments, ""))
    convert(folder / "best_audio_model.pth", folder / "model", *options)
    tagger = AudioTagger.from_hparams(folder / "model", run_opts=CPU)
    assert tagger.mods.compute_features.n_frames is None


def test_for_an_unknown_class_count_the_option_is_named(files, convert):
    folder, *_ = files
    with pytest.raises(SystemExit, match="3 classes.*--recipe"):
        convert(folder / "best_audio_model.pth", folder / "model")


def test_for_missing_and_wrong_labels_the_option_is_named(
    files, convert, options
):
    folder, *_ = files
    source, target = folder / "best_audio_model.pth", folder / "model"
    with pytest.raises(SystemExit, match="3 classes.*no .*--labels"):
        convert(source, target, *options[2:])
    (folder / "labels.csv").write_text("index,label\n0,one\n1,two\n")
    with pytest.raises(SystemExit, match="3 classes.*has 2.*--labels"):
        convert(source, target, *options)
    assert not target.exists()


def test_a_checkpoint_without_a_classifier_is_refused(files, convert, options):
    folder, encoder, _ = files
    torch.save(encoder.state_dict(), folder / "headless.pth")
    with pytest.raises(SystemExit, match="no classifier.*init_from"):
        convert(folder / "headless.pth", folder / "model", *options)


def test_a_checkpoint_of_another_encoder_is_refused(files, convert, options):
    folder, *_ = files
    encoder = AudioSpectrogramTransformer(
        n_mels=128, n_frames=64, embed_dim=64, depth=1, n_heads=1
    )
    torch.save(encoder.state_dict(), folder / "ast.pth")
    with pytest.raises(SystemExit, match="AudioSpectrogramTransformer.*init_"):
        convert(folder / "ast.pth", folder / "model", *options)


@pytest.fixture
def dass_on_the_hub(tmp_path):
    """Return a folder as DASS's copies on the hub, the encoder and the head."""
    torch.manual_seed(0)
    encoder = DASS(widths=[8, 16], depths=[1, 1], mask_padding=False).eval()
    head = torch.nn.Linear(16, 3)
    folder = tmp_path / "DASS_tiny"
    folder.mkdir()
    state = {f"dass.{k}": v for k, v in encoder.state_dict().items()}
    state |= {f"head.{k}": v for k, v in head.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    names = {"0": "Speech", "1": "Rain, wind", "2": "Car"}
    (folder / "config.json").write_text(json.dumps({"id2label": names}))
    return folder, encoder, head


def test_dass_is_converted_with_its_own_class_names(
    files, dass_on_the_hub, convert, options
):
    folder, encoder, head = dass_on_the_hub
    target = folder.parent / "model"
    convert(folder, target, *options[2:])
    tagger = AudioTagger.from_hparams(target, run_opts=CPU)
    assert tagger.labels == ["Speech", "Rain, wind", "Car"]
    assert not tagger.mods.embedding_model.mask_padding
    wav = torch.randn(8000, generator=torch.Generator().manual_seed(1))
    feats = tagger.mods.compute_features((wav - wav.mean())[None])
    with torch.no_grad():
        wanted = head(encoder((feats + 5.0) / 8.0))[0]
    scores = tagger.score_batch([wav])
    torch.testing.assert_close(scores, wanted.sigmoid(), atol=1e-5, rtol=0)
    assert "# DASS on Tones" in (target / "README.md").read_text()
    again = DASS(widths=[8, 16], depths=[1, 1])
    assert initialise(again, LinearClassifier(16, 3), target)
    longer = folder.parent / "longer"
    convert(folder, longer, *options, "--n_frames", 128)
    tagger = AudioTagger.from_hparams(longer, run_opts=CPU)
    assert tagger.mods.compute_features.n_frames == 128
    assert tagger.labels[0] == "Dog"


def test_a_wrong_class_token_is_refused(files, convert, options):
    folder, *_ = files
    source, target = folder / "best_audio_model.pth", folder / "model"
    with pytest.raises(SystemExit, match="cls_token"):
        convert(source, target, *options, "--cls_token", "both")


def test_a_damaged_checkpoint_is_refused(files, convert, options):
    folder, *_ = files
    path = folder / "best_audio_model.pth"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(SystemExit, match="best_audio_model.pth"):
        convert(path, folder / "model", *options)


@pytest.mark.parametrize(
    "n_classes, label, n_frames, activation",
    [
        (527, "Speech", 1024, "sigmoid"),
        (309, "playing tennis", 1024, "sigmoid"),
        (44, "scrub / scrape / scour / wipe", 1024, "softmax"),
        (35, "backward", 128, "sigmoid"),
        (50, "rooster", 512, "softmax"),
    ],
)
def test_the_class_count_of_a_released_model_selects_its_recipe(
    tmp_path, convert, n_classes, label, n_frames, activation
):
    encoder = AudioMamba(n_frames=n_frames, embed_dim=16, depth=1)
    head = torch.nn.Linear(16, n_classes)
    state = {f"head.{k}": v for k, v in head.state_dict().items()}
    torch.save({**encoder.state_dict(), **state}, tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "model")
    tagger = AudioTagger.from_hparams(tmp_path / "model", run_opts=CPU)
    assert len(tagger.labels) == n_classes and label in tagger.labels[:2]
    assert tagger.hparams.activation == activation
    assert tagger.mods.compute_features.n_frames == n_frames


def test_for_a_recipe_without_labels_the_option_is_named(tmp_path, convert):
    encoder = AudioMamba(embed_dim=16, depth=1)
    head = torch.nn.Linear(16, 1251)
    state = {f"head.{k}": v for k, v in head.state_dict().items()}
    torch.save({**encoder.state_dict(), **state}, tmp_path / "a.pth")
    with pytest.raises(SystemExit, match="1251 classes.*--labels"):
        convert(tmp_path / "a.pth", tmp_path / "model")
