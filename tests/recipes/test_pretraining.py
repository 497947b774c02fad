"""Pre-training on folders of audio, and recipes that start from it."""

import numpy as np
import pytest
import soundfile

from audiomamba.dataio.manifest import read_manifest
from audiomamba.dataio.problems import PreparationError

TINY = {
    "embedding_model": "{embed_dim: 16, depth: 1}",
    "pretext": "{embed_dim: 16}",
    "number_of_epochs": 2,
    "num_workers": 0,
    "n_frames": 64,
    "part_duration": 1.0,
    "max_duration": 0.5,
    "valid_share": 0.25,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two folders of noise at two rates, one file of them long."""
    folder = tmp_path_factory.mktemp("unlabelled")
    generator = np.random.default_rng(0)
    for name, rate, seconds in (
        ("music/long.flac", 16000, 3.3),
        ("music/a.wav", 16000, 0.7),
        *((f"speech/deep/{i}.wav", 8000, 0.6) for i in range(6)),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = 0.1 * generator.normal(size=round(rate * seconds))
        soundfile.write(path, noise, rate)
    (folder / "speech" / "notes.txt").write_text("not audio")
    return folder


@pytest.fixture
def prepare(load_script, corpus, tmp_path):
    """Prepare the corpus; return its two manifests."""

    def prepare(data_folder=corpus, **options):
        script = load_script("Pretraining", "pretraining_prepare")
        options = {"valid_share": 0.25, "part_duration": 1.0, **options}
        script.prepare_pretraining(data_folder, tmp_path, **options)
        return [
            read_manifest(tmp_path / f"{s}.csv") for s in ("train", "valid")
        ]

    return prepare


def test_long_files_are_cut_and_held_out_as_a_whole(prepare):
    train, valid = prepare()
    assert "label" not in train and not {*train["wav"]} & {*valid["wav"]}
    rows = next(t for t in (train, valid) if "music/long.flac" in {*t["wav"]})
    parts = rows[rows["wav"] == "music/long.flac"].sort_values("start")
    assert parts["start"].tolist() == [0, 13200, 26400, 39600]
    assert parts["stop"].tolist() == [13200, 26400, 39600, 52800]
    assert (parts["duration"] == 0.825).all()
    assert len(train) + len(valid) == 4 + 1 + 6


def test_each_folder_gets_its_share_and_is_held_out_by_itself(
    prepare, load_script
):
    train, valid = prepare(shares={"music": 1, "speech": 3})
    assert {*train["folder"]} == {*valid["folder"]} == {"music", "speech"}
    script = load_script("Pretraining", "pretraining_prepare")
    weights = script.share_weights(train["folder"], {"music": 1, "speech": 3})
    music = weights[train["folder"] == "music"].sum()
    assert music / weights.sum() == pytest.approx(0.25)


def test_a_list_chooses_files(prepare, tmp_path):
    path = tmp_path / "lists" / "some.csv"
    path.parent.mkdir()
    wavs = [f"speech/deep/{i}.wav" for i in range(4)]
    path.write_text("\n".join(["ID,wav", *(f"{w[-5]},{w}" for w in wavs)]))
    train, valid = prepare(clips_csv=path)
    assert sorted([*train["wav"], *valid["wav"]]) == wavs
    path.write_text("wav\nspeech/deep/0.wav\nspeech/deep/7.wav\n")
    with pytest.raises(PreparationError, match="7.wav: is in .*some.csv"):
        prepare(clips_csv=path)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"shares": {"musik": 1}}, "musik"),
        ({"shares": {"": 1, "music": 1}}, "in two of the folders"),
        ({"shares": {"music": 0}}, "must be positive"),
        ({"valid_share": 0.0}, "between 0 and 1"),
        ({"part_duration": 0.0}, "must be positive"),
        ({"data_folder": "nowhere"}, "need no labels"),
    ],
)
def test_what_cannot_be_prepared_is_explained(prepare, options, words):
    with pytest.raises(PreparationError, match=words):
        prepare(**options)


def test_a_single_file_and_damaged_files_are_named(prepare, tmp_path):
    folder = tmp_path / "bad"
    folder.mkdir()
    soundfile.write(folder / "a.wav", [0.1] * 800, 8000)
    with pytest.raises(PreparationError, match="one file of audio"):
        prepare(folder)
    (folder / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(PreparationError, match="broken.wav"):
        prepare(folder)


def test_another_recipe_starts_from_a_finished_run(
    corpus, run_recipe, read_results, make_corpus, tmp_path
):
    options = {**TINY, "data_folder": corpus, "contrastive": 0.1}
    options["output_folder"] = tmp_path / "pre"
    yaml = "hparams/aum_tiny.yaml"
    log = run_recipe(
        "Pretraining", yaml, shares="{music: 1, speech: 1}", **options
    )
    assert "held out: relative_mse" in log and "chance" in log
    results = read_results(tmp_path / "pre")
    assert results["metric"]["name"] == "loss" and results["n_classes"] is None
    assert results["flops_per_clip"] is None
    assert set(results["metrics"]) >= {"relative_mse", "accuracy", "chance"}
    # More frames, overlapping patches
    log = run_recipe(
        "ESC50",
        yaml,
        data_folder=make_corpus("ESC50", n_clips=1, seconds=1.0).folder,
        output_folder=tmp_path / "fine",
        init_from=tmp_path / "pre",
        embedding_model="{embed_dim: 16, depth: 1, stride: 10}",
        classifier="{input_size: 16}",
        number_of_epochs=1,
        num_workers=0,
    )
    assert "tensors loaded" in log
    assert "resampled: pos_embed.pos_embed [1, 16, 16]" in log
