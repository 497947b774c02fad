"""A recipe leaves out clips that cannot be read, on two processes as well."""

from .conftest import TINY, TORCHRUN


def test_two_processes_leave_out_the_same_clips(
    run_recipe, make_corpus, tmp_path, read_results
):
    corpus = make_corpus("ESC50", n_clips=1, seconds=1.0).folder
    options = {
        **TINY,
        "data_folder": corpus,
        "output_folder": tmp_path,
        "number_of_epochs": 1,
        "batch_size": 1,
        "num_workers": 0,
        "n_frames": 96,
        "max_duration": 1.0,
    }
    yaml = "hparams/aum_tiny.yaml"
    run_recipe("ESC50", yaml, "--debug", **options)
    audio = sorted((corpus / "audio").iterdir())
    tested = [path for path in audio if path.name.startswith("1-")]
    trained = [path for path in audio if path not in tested]
    for path in (tested[0], *trained[:3]):
        path.write_bytes(path.read_bytes()[:200])
    options["skip_prep"] = True
    output = run_recipe("ESC50", yaml, fails=True, **options)
    assert "Traceback" not in output and "--on_bad_clip skip" in output
    skip = {"on_bad_clip": "skip", "max_bad_share": 0.2}
    arguments = ["--standalone", "--nproc_per_node=2", "train.py", yaml]
    run_recipe("ESC50", *arguments, script=TORCHRUN, **options, **skip)
    found = read_results(tmp_path)["bad_clips"]
    assert {split: sorted(clips) for split, clips in found.items()} == {
        "test": [tested[0].stem],
        "train": [path.stem for path in trained[:3]],
    }
