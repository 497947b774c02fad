"""VoxCeleb from its files to results, as users start, stop and repeat it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from audiomamba.training.checkpoints import AtomicCheckpointer
from audiomamba.training.runs.hparams import load_hparams

RECIPE = Path(__file__).parents[2] / "recipes" / "VoxCeleb"
TINY = {
    "embedding_model": "{embed_dim: 32, depth: 1}",
    "classifier": "{input_size: 32}",
    "max_duration": 0.655,
    "n_frames": 64,
    "batch_size": 2,
    "num_workers": 1,
    "lr": 0.003,
    "number_of_epochs": 3,
}


@pytest.fixture(scope="module")
def corpus(make_corpus):
    return make_corpus("VoxCeleb", n_speakers=3, seconds=1.0).folder


@pytest.fixture(scope="module")
def start(corpus, make_start):
    return make_start("VoxCeleb", corpus, **TINY)


@pytest.fixture(scope="module")
def trained(start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    start(folder, "aum_tiny")
    return folder


def weights(folder):
    """Return the weights of a run's newest checkpoint."""
    newest = AtomicCheckpointer(Path(folder, "save")).find_checkpoint().path
    return {
        f"{name}.{key}": value
        for name in ("embedding_model", "classifier")
        for key, value in torch.load(
            newest / f"{name}.ckpt", weights_only=True
        ).items()
    }


def assert_same_weights(one, other):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_the_loss_falls_and_the_run_leaves_a_record(trained, read_results):
    results = read_results(trained)
    losses = [epoch["train_loss"] for epoch in results["curve"]]
    assert len(losses) == 3 and losses[-1] < losses[0]
    assert results["dataset"] == "VoxCeleb"
    assert results["metric"]["name"] == "accuracy"
    assert results["n_classes"] == 3
    assert results["protocol"] == "honest"
    assert "train.py hparams/aum_tiny.yaml" in results["command"]
    assert len((trained / "train_log.txt").read_text().splitlines()) == 4
    assert len((trained / "classes.csv").read_text().splitlines()) == 4
    assert "n_classes: 3" in (trained / "hyperparams.yaml").read_text()


def test_a_second_start_of_a_finished_run_trains_nothing(trained, start):
    before = (trained / "curve.csv").read_text()
    output = start(trained, "aum_tiny")
    assert "Nothing has changed" in output
    assert "epoch 1/" not in output and "epoch 3/" not in output
    assert (trained / "curve.csv").read_text() == before


def test_another_seed_gives_the_same_manifests(trained, start, tmp_path):
    start(tmp_path, "aum_tiny", seed=2, number_of_epochs=1)
    for name in ("train", "valid", "test", "labels"):
        manifest = Path("manifests", f"{name}.csv")
        ours = (trained / manifest).read_text()
        assert (tmp_path / manifest).read_text() == ours


def test_testing_again_gives_the_same_figures(trained, start, read_results):
    before = read_results(trained)
    start(trained, "aum_tiny", "--test_only")
    after = read_results(trained / "test_only")
    for key in ("metric", "protocols", "epochs_trained", "wall_time_s"):
        assert after[key] == before[key], key


def test_given_weights_are_tested_without_training(
    trained, start, tmp_path, read_results
):
    """This is how a user checks the accuracy of a published checkpoint."""
    wanted = read_results(trained)["protocols"]["honest"]
    chosen = AtomicCheckpointer(trained / "save").find_checkpoint(
        ckpt_predicate=lambda saved: saved.meta.get("epoch") == wanted["epoch"]
    )
    start(tmp_path, "aum_tiny", "--test_only", pretrained_folder=chosen.path)
    found = read_results(tmp_path)
    assert found["protocol"] == "init_from" and found["epochs_trained"] == 0
    assert found["protocols"]["init_from"]["test"] == wanted["test"]


def launch(output_folder, corpus, *flags, launcher=(), **overrides):
    """Start train.py on the CPU in the background, under a launcher or not."""
    folders = {"data_folder": corpus, "output_folder": output_folder}
    settings = {**TINY, **folders, **overrides}
    return subprocess.Popen(
        [
            sys.executable,
            *launcher,
            "train.py",
            "hparams/aum_tiny.yaml",
            "--noprogressbar",
            *flags,
            *(f"--{name}={value}" for name, value in settings.items()),
        ],
        cwd=RECIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_killed_run_resumes_and_ends_with_the_same_bits(
    trained, start, tmp_path, corpus
):
    """SIGKILL in the middle of an epoch, then the same command again."""
    intervals = {"ckpt_interval_steps": 3, "ckpt_interval_minutes": 0}
    process = launch(tmp_path, corpus, "--device=cpu", **intervals)
    deadline = time.monotonic() + 240
    while not in_second_epoch(tmp_path):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "results.json").exists()
    output = start(tmp_path, "aum_tiny")
    assert "epoch 1/" not in output and "epoch 3/" in output
    assert_same_weights(trained, tmp_path)
    curves = [Path(f, "curve.csv").read_text() for f in (trained, tmp_path)]
    losses = [[row.split(",")[1] for row in c.splitlines()] for c in curves]
    assert losses[0] == losses[1]


def in_second_epoch(folder):
    """Whether there is a checkpoint from the middle of epoch 2."""
    for path in Path(folder, "save").glob("CKPT*"):
        try:
            meta = yaml.safe_load((path / "CKPT.yaml").read_text())
            epoch = int((path / "epoch_counter.ckpt").read_text())
        except FileNotFoundError:  # being deleted
            continue
        if not meta["end-of-epoch"] and epoch == 2:
            return True
    return False


def test_both_protocols_come_from_one_run(start, tmp_path, read_results):
    output = start(tmp_path, "aum_base", number_of_epochs=2)
    assert "fp16 needs a GPU; using fp32" in output
    results = read_results(tmp_path)
    assert list(results["protocols"]) == ["paper", "honest"]
    assert results["protocol"] == "paper"
    best = max(epoch["test_accuracy"] for epoch in results["curve"])
    assert results["metric"]["value"] == pytest.approx(best)
    # 12 steps in an epoch and warm-up in steps of 50: the rate is still zero
    assert results["curve"][0]["train_lr"] == 0.0


def test_a_missing_corpus_is_explained(run_without_corpus, tmp_path):
    output = run_without_corpus("VoxCeleb", tmp_path / "nothing")
    assert "VoxCeleb was not found" in output


def test_two_processes_train_and_evaluate_together(
    start, corpus, tmp_path, read_results
):
    torchrun = "-m torch.distributed.run --standalone --nproc_per_node=2"
    averages = {"average_from": 1, "ema_decay": 0.9}
    protocols = {"protocols": "[ema, average, last]", **averages}
    process = launch(
        tmp_path,
        corpus,
        launcher=torchrun.split(),
        number_of_epochs=1,
        **protocols,
    )
    try:
        output, _ = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 0, output[-6000:]
    shared = read_results(tmp_path)
    assert shared["hardware"]["processes"] == 2
    tested = {name: r["test"] for name, r in shared["protocols"].items()}
    assert tested["average"] == pytest.approx(tested["last"], rel=1e-5)
    assert tested["ema"]["loss"] != pytest.approx(tested["last"]["loss"])
    start(tmp_path, "aum_tiny", "--test_only", number_of_epochs=1, **protocols)
    alone = read_results(tmp_path / "test_only")
    together = shared["metrics"]
    assert alone["metrics"] == pytest.approx(together, rel=1e-5)


def test_aum_base_has_every_hyperparameter_of_the_paper():
    hparams = load_hparams(RECIPE / "hparams" / "aum_base.yaml")
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]}]
    optimizer = hparams["opt_class"](groups)
    assert type(optimizer) is torch.optim.Adam
    wanted = {
        "lr": 1e-5,
        "weight_decay": 5e-7,
        "betas": (0.95, 0.999),
        "eps": 1e-8,
    }
    for key, value in wanted.items():
        found = optimizer.defaults[key]
        assert (tuple(found) if key == "betas" else found) == value, key
    schedule = hparams["lr_schedule"]
    assert (schedule.start, schedule.every, schedule.factor) == (5, 2, 0.75)
    assert (schedule.warmup_steps, schedule.warmup_every) == (1000, 50)
    assert hparams["number_of_epochs"] == 20
    assert hparams["train_loader"]["batch_size"] == 12
    assert hparams["compute_features"].n_frames == 1024
    mask = hparams["spec_augment"]
    assert (mask.freq_mask, mask.time_mask, mask.use_lengths) == (
        48,
        192,
        False,
    )
    assert hparams["wav_augment"] is hparams["norm_augment"] is None
    norm = hparams["mean_var_norm"]
    assert norm.mean.item() == pytest.approx(-3.7614744)
    assert norm.std.item() == pytest.approx(4.2011642)
    assert hparams["embedding_model"].mask_padding is False
    assert hparams["precision"] == "fp16"
    assert hparams["max_grad_norm"] == float("inf")
    n_parameters = sum(
        parameter.numel()
        for module in (hparams["embedding_model"], hparams["classifier"])
        for parameter in module.parameters()
    )
    assert round(n_parameters / 1e6, 3) == 92.664
    loss = hparams["compute_loss"](torch.zeros(2, 4), torch.tensor([0, 3]))
    assert loss.item() == pytest.approx(1.3863, abs=1e-4)
