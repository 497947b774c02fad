"""The YAMLs of the paper's rows against the paper's hyperparameters.

``paper_hyperparameters.csv`` has the hyperparameters of the published scripts,
row by row; ``paper_models.csv`` has the models, and DASS from AudioSet, which
is trained as they are. ``dass_hyperparameters.csv`` has those of DASS's own
scripts, for AudioSet. Models are built on PyTorch's meta device, which
allocates nothing.
"""

import functools
import re
from pathlib import Path

import pandas as pd
import pytest
import torch

from audiomamba.dataio.problems import PreparationError
from audiomamba.lobes.flops import count_parameters
from audiomamba.training.runs.hparams import load_hparams

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CORPORA = pd.read_csv(HERE / "paper_hyperparameters.csv")
MODELS = pd.read_csv(HERE / "paper_models.csv")
DASS = pd.read_csv(HERE / "dass_hyperparameters.csv")
DASS_ROWS = [pytest.param(row, id=row["name"]) for _, row in DASS.iterrows()]
# No AudioSet row starts from weights of AudioSet.
ROWS = [
    pytest.param(corpus, model, id=f"{corpus.corpus}-{model['name']}")
    for _, corpus in CORPORA.iterrows()
    for _, model in MODELS.iterrows()
    if (corpus.recipe, model.initialisation) != ("AudioSet", "AudioSet")
]
# What may differ between the YAMLs of a corpus.
OWN_KEYS = {"output_folder", "init_from", "embed_dim", "scan", "cls_token"}
OWN_KEYS |= {"depth", "embedding_model"}
# Of DASS, and its classifier, whose weights are drawn as PyTorch does.
OWN_KEYS |= {"widths", "depths", "patch_size", "stride", "classifier"}
# Parameters of the paper's models with their classifiers, in millions.
PARAMETERS = {
    ("AudioSet", "aum_base"): 92.108,
    ("VGGSound", "aum_base"): 91.940,
    ("VoxCeleb", "aum_base"): 92.664,
    ("SpeechCommands", "aum_base"): 91.385,
    ("EPIC-Sounds", "aum_base"): 91.736,
    ("AudioSet", "aum_small_imagenet"): 25.539,
    ("VGGSound", "aum_small_imagenet"): 25.455,
    ("VoxCeleb", "aum_small_imagenet"): 25.818,
    ("SpeechCommands", "aum_small_imagenet"): 25.178,
    ("EPIC-Sounds", "aum_small_imagenet"): 25.353,
}


def path_of(corpus, name):
    """Return the YAML of a row."""
    prefix = corpus.prefix if isinstance(corpus.prefix, str) else ""
    folder = ROOT / "recipes" / corpus.recipe / "hparams"
    return folder / f"{prefix}{name}.yaml"


def load(path, tmp_path, **overrides):
    """Load a YAML on the meta device, without features and crops.

    Both compute when they are built, which the meta device cannot.
    """
    text = path.read_text()
    overrides["output_folder"] = str(tmp_path)
    if "!PLACEHOLDER" in text:
        overrides.setdefault("init_from", "weights.pth")
    for key in ("crop", "compute_features"):
        if re.search(rf"^{key}: !new", text, re.MULTILINE):
            overrides[key] = None
    with torch.device("meta"):
        return load_hparams(str(path), overrides)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """YAML -> what it loads, once."""
    folder = tmp_path_factory.mktemp("results")
    return functools.cache(lambda path: load(path, folder))


def schedule_words(schedule):
    """Return a schedule in the table's words."""
    kind = type(schedule).__name__
    if kind == "WarmupMultiStep":
        warm = f"warm-up {schedule.warmup_steps}/{schedule.warmup_every}; "
        decay = f"{schedule.start}/{schedule.every}/{schedule.factor}"
        return (warm if schedule.warmup_steps else "") + f"decay {decay}"
    assert (kind, schedule.variant) == ("WarmupEpochSteps", "intended")
    steps = [f"x{f} at {e}" for e, f in schedule.milestones.items()]
    return "; ".join([f"warm-up {schedule.warmup_epochs} epochs", *steps])


def drop_path_of(encoder):
    """Return the largest rate of stochastic depth."""
    rates = [
        module.rate
        for module in encoder.modules()
        if type(module).__name__ == "DropPath"
    ]
    return max(rates, default=0)


def masks_of(augment):
    """Return the mask and the time warp, or None."""
    kinds = {type(module).__name__: module for module in augment.modules()}
    return kinds["SpectrogramMask"], kinds.get("TimeWarp")


@pytest.mark.parametrize("corpus, model", ROWS)
def test_a_yaml_trains_as_in_the_paper(corpus, model, loaded):
    hparams = loaded(path_of(corpus, model["name"]))
    for key in ("n_classes", "number_of_epochs", "batch_size", "n_frames"):
        assert hparams[key] == corpus[key], key
    for key in ("freq_mask", "time_mask", "feature_mean", "feature_std"):
        assert hparams[key] == corpus[key], key
    from_audioset = model.initialisation == "AudioSet"
    lr = corpus.lr
    if from_audioset and pd.notna(corpus.lr_from_audioset):
        lr = corpus.lr_from_audioset
    assert hparams["lr"] == lr
    mixup = hparams["wav_augment"]
    assert (mixup.probability if mixup else 0) == corpus.mixup
    if mixup:
        assert mixup.alpha == 10
    mask, warp = masks_of(hparams["spec_augment"])
    assert (mask.freq_mask, mask.time_mask) == (
        corpus.freq_mask,
        corpus.time_mask,
    )
    assert mask.n_freq_masks == mask.n_time_masks == corpus.n_masks
    assert (warp.window if warp else 0) == corpus.time_warp
    assert (hparams["norm_augment"] is not None) == corpus.noise
    assert hparams["balanced_sampling"] == corpus.balanced_sampling
    assert hparams["compute_loss"].__name__ == corpus.loss
    assert hparams["metrics"].headline == corpus.metric
    assert schedule_words(hparams["lr_schedule"]) == corpus.schedule


@pytest.mark.parametrize("corpus, model", ROWS)
def test_all_rows_share_these_settings(corpus, model, loaded):
    hparams = loaded(path_of(corpus, model["name"]))
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = hparams["opt_class"]([weight])
    assert type(optimizer) is torch.optim.Adam
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (hparams["lr"], 5e-7)
    assert (tuple(group["betas"]), group["eps"]) == ((0.95, 0.999), 1e-8)
    assert hparams["precision"] == "fp16" and hparams["n_mels"] == 128
    assert hparams["head_lr_scale"] == 1.0
    assert hparams["max_grad_norm"] == float("inf")
    # Padding counts as content, also in the masks.
    assert not masks_of(hparams["spec_augment"])[0].use_lengths
    assert not hparams["embedding_model"].mask_padding
    if corpus.recipe != "EPIC-Sounds":
        norm = hparams["mean_var_norm"]
        assert type(norm).__name__ == "SpectrogramNorm"


@pytest.mark.parametrize("corpus, model", ROWS)
def test_a_yaml_builds_the_papers_model(corpus, model, loaded):
    hparams = loaded(path_of(corpus, model["name"]))
    encoder, head = hparams["embedding_model"], hparams["classifier"]
    assert type(encoder).__name__ == model.model
    assert encoder.embed_dim == model.embed_dim
    if model.model == "DASS":
        assert sum(encoder.depths) == model.depth
        assert drop_path_of(encoder) == 0.2
        count = count_parameters(encoder) / 1e6
        assert round(count, 3) == model.parameters_without_head
        return
    assert encoder.depth == model.depth
    assert tuple(encoder.patch_size) == tuple(encoder.stride) == (16, 16)
    assert encoder.n_frames == corpus.n_frames
    assert drop_path_of(encoder) == 0
    if model.model == "AudioMamba":
        assert encoder.cls_place == model.cls_token == hparams["cls_token"]
        assert hparams["scan"] == model.scan
    else:
        assert encoder.n_heads == model.heads
        assert encoder.tokens == ("cls_token",)
    expected = PARAMETERS.get((corpus.corpus, model["name"]))
    if expected is not None:
        found = count_parameters(encoder) + count_parameters(head)
        assert round(found / 1e6, 3) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("corpus, model", ROWS)
def test_the_error_names_the_weights_to_get(corpus, model):
    path = path_of(corpus, model["name"])
    if model.initialisation == "none":
        assert "\ninit_from: null\n" in path.read_text()
        return
    with pytest.raises(PreparationError, match="init_from") as caught:
        load_hparams(str(path))
    wanted = {
        ("AudioMamba", "ImageNet"): "vim_s_midclstok",
        ("AudioMamba", "AudioSet"): "AudioSet/hparams/aum_base.yaml",
        ("AudioSpectrogramTransformer", "ImageNet"): "deit_small_patch16_224",
        ("AudioSpectrogramTransformer", "AudioSet"): "hparams/ast_base.yaml",
        ("DASS", "AudioSet"): "saurabhati/DASS_small_AudioSet_50.1",
    }
    assert wanted[model.model, model.initialisation] in str(caught.value)


def blocks(path):
    """Return a YAML's text by top-level key, without comments."""
    text = re.sub(r"\s+#.*$|^#.*$", "", path.read_text(), flags=re.MULTILINE)
    parts = re.split(r"^(\w+):", text, flags=re.MULTILINE)
    return {key: value.strip() for key, value in zip(parts[1::2], parts[2::2])}


@pytest.mark.parametrize("corpus, model", ROWS)
def test_yamls_of_a_corpus_differ_in_model_and_initialisation_only(
    corpus, model
):
    own, base = (
        blocks(path_of(corpus, model["name"])),
        blocks(path_of(corpus, "aum_base")),
    )
    allowed = set(OWN_KEYS)
    if corpus.recipe == "ESC50" and model.initialisation == "AudioSet":
        allowed.add("lr")
    if corpus.recipe == "EPIC-Sounds" and model.initialisation != "none":
        # A submission declares what the model was pre-trained on.
        allowed.add("submission")
    differing = {
        key for key in own.keys() | base.keys() if own.get(key) != base.get(key)
    }
    assert differing <= allowed, differing - allowed
    order = [key for key in base if key in own]
    assert [key for key in own if key in base] == order


@pytest.mark.parametrize("row", DASS_ROWS)
def test_dass_trains_as_in_its_authors_code(row, loaded):
    path = ROOT / "recipes/AudioSet/hparams" / f"{row['name']}.yaml"
    hparams = loaded(path)
    assert (hparams["lr"], hparams["patience"]) == (1e-4, 5)
    assert hparams["number_of_epochs"] == row.epochs
    assert hparams["average_from"] == row.average_from
    assert hparams["protocols"][0] == "average"
    assert schedule_words(hparams["lr_schedule"]) == row.schedule
    assert hparams["balanced_sampling"] == row.balanced_sampling
    taught = hparams["distillation"]
    assert len(taught.teachers) == 1 and "0.4593" in taught.teachers[0]
    assert (taught.weight, taught.temperature) == (0.5, 1.0)
    encoder, head = hparams["embedding_model"], hparams["classifier"]
    assert encoder.depths == tuple(map(int, row.depths.split()))
    assert drop_path_of(encoder) == row.drop_path
    assert not encoder.mask_padding
    found = count_parameters(encoder) + count_parameters(head)
    assert found == row.parameters
    with pytest.raises(PreparationError, match=row.weights):
        load_hparams(str(path))


@pytest.mark.parametrize("row", DASS_ROWS)
def test_the_rest_of_dass_is_as_for_the_other_models(row):
    """Features, augmentation, optimiser and the order of the keys."""
    folder = ROOT / "recipes/AudioSet/hparams"
    own = blocks(folder / f"{row['name']}.yaml")
    other = blocks(folder / f"{row.beside}.yaml")
    allowed = OWN_KEYS | {"lr", "patience", "protocols", "average_from"}
    allowed.add("teachers")
    keys = own.keys() | other.keys()
    differing = {key for key in keys if own.get(key) != other.get(key)}
    assert differing <= allowed, differing - allowed
    order = [key for key in other if key in own]
    assert [key for key in own if key in other] == order


@pytest.mark.parametrize("scan", ["fo_fo", "fo_bi", "bi_bi"])
@pytest.mark.parametrize("cls_token", ["front", "middle", "end"])
def test_table_2_needs_two_overrides_only(scan, cls_token, tmp_path):
    path = ROOT / "recipes/VGGSound/hparams/aum_base.yaml"
    hparams = load(path, tmp_path, scan=scan, cls_token=cls_token)
    encoder = hparams["embedding_model"]
    assert encoder.cls_place == cls_token
    names = {name.rpartition(".")[2] for name, _ in encoder.named_parameters()}
    assert ("A_b_log" in names) == (scan != "fo_fo")
    copies = {n for n, _ in encoder.named_parameters() if "conv1d_b" in n}
    assert bool(copies) == (scan == "bi_bi")
