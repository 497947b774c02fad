"""SpeechBrain's encoders in these recipes: one block of the YAML differs."""

import re
import shutil
from pathlib import Path

import pytest

from audiomamba.inference import AudioTagger, export_run

ROOT = Path(__file__).parents[2]
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
    tagger = AudioTagger.from_hparams(exported, run_opts={"device": "cpu"})
    wav = next(corpus.rglob("*.wav"))
    assert len(tagger.tag_file(wav, top_k=2)) == 2
    # Cnn14 has 80 million parameters, and pytest keeps temporary folders
    shutil.rmtree(tmp_path / "run" / "save")
    shutil.rmtree(tmp_path / "model")
