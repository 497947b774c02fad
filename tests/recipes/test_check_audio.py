"""The key check_audio: every recipe's preparation obeys it."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from audiomamba.dataio.corpora.preparation import Corpus
from audiomamba.training.runs.hparams import read_settings

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
SCRIPTS = sorted(
    (script.parent.name, script.stem) for script in RECIPES.glob("*/train*.py")
)


class Asked(Exception):
    """Ends a preparation that has begun."""


@pytest.mark.parametrize("recipe, script", SCRIPTS)
def test_every_recipe_hands_it_on(
    load_script, monkeypatch, tmp_path, recipe, script
):
    def begin(corpus, *_):
        raise Asked(corpus.decode)

    monkeypatch.syspath_prepend(RECIPES / recipe)
    monkeypatch.setattr(Corpus, "_prepare", begin)
    module = load_script(recipe, script)
    name = "aum_embeddings_tiny" if "embed" in script else "aum_tiny*"
    (path,) = (RECIPES / recipe / "hparams").glob(f"{name}.yaml")
    for value in ("headers", "decode"):
        options = {"output_folder": str(tmp_path), "check_audio": value}
        with pytest.raises(Asked, match=str(value == "decode")):
            module.prepare(read_settings(path, options))


def test_segments_of_epic_sounds_are_decoded(
    load_script, make_corpus, tmp_path, caplog
):
    corpus = make_corpus("EPIC-Sounds", n_train=3, n_valid=1, n_test=1)
    module = load_script("EPIC-Sounds", "epic_sounds_prepare")
    audio = corpus.folder / "EPIC_audio.hdf5"
    with h5py.File(audio, "r+") as file:
        first, second, *_ = file
        file[first][:] = np.zeros(len(file[first]))
        file[second][:] = np.full(len(file[second]), np.nan)

    def prepare(check_audio):
        module.prepare_epic_sounds(
            corpus.folder,
            tmp_path,
            RECIPES / "EPIC-Sounds" / "labels.csv",
            check_audio=check_audio,
        )

    prepare("headers")
    assert "silent" not in caplog.text
    with pytest.raises(ValueError, match="NaN"):
        prepare("decode")
    assert "segments are silent throughout" in caplog.text
    assert f": {first}_" in caplog.text
