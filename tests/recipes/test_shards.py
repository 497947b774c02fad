"""A recipe trained from shards gives what it gives from loose files."""

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "make_shards.py"
TINY = {
    "embed_dim": 32,
    "depth": 1,
    "number_of_epochs": 2,
    "batch_size": 3,
    "num_workers": 2,
    "lr": 0.01,
}


def test_shards_train_as_loose_files_do(
    run_recipe, read_results, write_tones, tmp_path
):
    sounds, shards = tmp_path / "sounds", tmp_path / "shards"
    sounds.mkdir()
    write_tones(sounds, n_train=8, seconds=0.5, ending="flac")
    outs = [tmp_path / "loose", tmp_path / "packed"]
    yaml = "hparams/aum_tiny.yaml"
    folders = {"data_folder": sounds, "output_folder": outs[0]}
    run_recipe("Custom", yaml, **TINY, **folders)
    manifests = outs[0] / "manifests"
    command = [TOOL, manifests, shards, "--data_folder", sounds]
    command += ["--megabytes", "0.03"]
    subprocess.run([sys.executable, *map(str, command)], check=True)
    assert len([*shards.glob("train-*.tar")]) > 1
    for path in sounds.glob("*.flac"):
        path.unlink()
    folders = {
        "data_folder": shards,
        "manifest_folder": shards,
        "skip_prep": True,
        "output_folder": outs[1],
    }
    run_recipe("Custom", yaml, **TINY, **folders)
    loose, packed = map(read_results, outs)
    assert loose["protocols"] == packed["protocols"]
    for before, after in zip(loose["curve"], packed["curve"]):
        for key in before:
            if not key.endswith(("seconds", "data_wait")):
                assert before[key] == after[key], key
