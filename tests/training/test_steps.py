"""Clipping, weight decay, learning rates, accumulation, broken losses."""

import math
import re

import pytest
import torch
from speechbrain.processing.features import InputNormalization

from audiomamba.training.losses import cross_entropy
from audiomamba.training.optim import parameter_groups
from audiomamba.training.results import run_record
from audiomamba.training.runs.folder import RunError
from audiomamba.training.tasks.classification import ClassificationBrain


def gradients(brain):
    return [
        parameter.grad
        for group in brain.optimizer.param_groups
        for parameter in group["params"]
    ]


def test_every_group_is_clipped(make_run):
    norms = []

    class Watching(ClassificationBrain):
        def optimizers_step(self):
            step = self.optimizer.step

            def watched(*args, **kwargs):
                squares = [grad.square().sum() for grad in gradients(self)]
                norms.append(torch.stack(squares).sum().sqrt().item())
                return step(*args, **kwargs)

            self.optimizer.step = watched
            super().optimizers_step()
            self.optimizer.step = step

    run = make_run(brain_class=Watching, max_grad_norm=0.01)
    run.fit()
    assert len(run.brain.optimizer.param_groups) == 3
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("norm", [-1, 0, math.nan])
def test_a_norm_that_is_not_positive_is_refused(make_run, norm):
    with pytest.raises(ValueError, match=r"\.inf"):
        make_run(max_grad_norm=norm)


def test_tagged_parameters_do_not_decay(make_run):
    run = make_run(epochs=1)
    run.fit()
    shift = run.brain.modules.embedding_model.shift
    for group in run.brain.optimizer.param_groups:
        tagged = any(parameter is shift for parameter in group["params"])
        assert group["weight_decay"] == (0.0 if tagged else 0.1)
    assert sum(len(g["params"]) for g in run.brain.optimizer.param_groups) == 5


def test_groups_exclude_frozen_and_repeated_parameters():
    layer = torch.nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    modules = torch.nn.ModuleDict({"a": layer, "classifier": layer})
    assert parameter_groups(modules) == [
        {"params": [layer.weight], "lr_scale": 1.0}
    ]


def test_the_schedule_keeps_the_learning_rate_scale_of_the_head(make_run):
    seen = []

    class Watching(ClassificationBrain):
        def optimizers_step(self):
            super().optimizers_step()
            rates = {
                g["lr_scale"]: g["lr"] for g in self.optimizer.param_groups
            }
            seen.append((self.epoch, rates[1.0], rates[10.0]))

    run = make_run(brain_class=Watching)
    run.fit()
    assert all(head == pytest.approx(10 * body) for _, body, head in seen)
    rates = [round(body, 6) for _, body, _ in seen]
    # 6 steps per epoch: four of warm-up in pairs, then 1, 0.5, 0.25
    assert rates[:6] == [0.0, 0.0, 0.005, 0.005, 0.01, 0.01]
    assert rates[6:12] == [0.005] * 6
    assert rates[12:] == [0.0025] * 6


def test_a_learning_rate_of_zero_changes_no_weight(make_run):
    run = make_run(
        epochs=1, n_train=8
    )  # two steps, both at the first warm-up rate
    before = run.weights()
    run.fit()
    for name, value in run.weights().items():
        assert torch.equal(value, before[name]), name


def test_the_last_accumulation_group_is_weighted_by_its_size(make_run):
    """22 clips in batches of 4 are 6 batches: groups of 4 and of 2."""
    sizes = []

    class Watching(ClassificationBrain):
        def optimizers_step(self):
            sizes.append(self._group_of_step())
            super().optimizers_step()

    run = make_run(brain_class=Watching, epochs=1, grad_accumulation_factor=4)
    run.fit()
    assert sizes == [(True, 4), (True, 2)]
    assert run.brain.optimizer_step == 2
    assert run.brain.steps_per_epoch == 2


def test_accumulated_gradients_equal_those_of_the_whole_batch(make_run):
    """Without noise, three batches of four equal one of twelve."""
    collected = {}

    def run_with(name, batch, factor):
        class Watching(ClassificationBrain):
            def optimizers_step(self):
                collected[name] = [g.clone() for g in gradients(self)]
                super().optimizers_step()

        torch.manual_seed(0)
        run = make_run(
            name,
            epochs=1,
            n_train=12,
            brain_class=Watching,
            grad_accumulation_factor=factor,
            wav_augment=None,
        )
        run.brain.modules.embedding_model.dropout.p = 0.0
        loader = {"batch_size": batch}
        run.brain.hparams.protocols = ["honest"]
        run.brain.fit(
            run.brain.checkpointer.recoverables["counter"],
            *run.sets[:2],
            train_loader_kwargs=loader,
            valid_loader_kwargs=loader,
        )

    run_with("one", 12, 1)
    run_with("three", 4, 3)
    for one, three in zip(collected["one"], collected["three"]):
        torch.testing.assert_close(one, three)


def broken_at(steps, target="loss"):
    """Return a loss that is NaN at those calls, or whose gradient is."""
    calls = []

    def compute_loss(logits, targets):
        loss = cross_entropy(logits, targets)
        if not torch.is_grad_enabled():
            return loss
        calls.append(1)
        if len(calls) in steps:
            if target == "loss":
                return loss * math.nan
            # sqrt(0) has an infinite slope: finite loss, broken gradient
            return loss + (logits - logits).abs().sum().sqrt()
        return loss

    return compute_loss


@pytest.mark.parametrize("target", ["loss", "gradient"])
def test_a_broken_step_changes_no_weight(make_run, target):
    run = make_run(epochs=2, compute_loss=broken_at({3, 8}, target))
    run.fit()
    assert all(value.isfinite().all() for value in run.weights().values())
    assert run.brain.optimizer_step == 12
    state = run.brain.optimizer.state.values()
    assert {int(entry["step"]) for entry in state} == {10}


def test_too_many_broken_steps_stop_the_run(make_run):
    run = make_run(compute_loss=broken_at(range(1, 99)), nonfinite_patience=2)
    before = run.weights()
    with pytest.raises(RunError, match="clips clip.*number 3"):
        run.fit()
    for name, value in run.weights().items():
        assert torch.equal(value, before[name]), name


def test_a_broken_step_names_the_clips_of_all_processes(
    make_run, monkeypatch, caplog
):
    """Once only those of the first, which need not be the ones at fault."""
    run = make_run(epochs=1, compute_loss=broken_at({3}))
    monkeypatch.setattr(
        "audiomamba.training.steps.all_gather", lambda ids: [ids, ["theirs"]]
    )
    run.fit()
    assert re.search(r"step 3: .* on clips clip.*, theirs: this", caplog.text)


def test_a_step_is_no_part_of_the_mean_loss_if_it_is_skipped(make_run):
    found = []

    class Watching(ClassificationBrain):
        def fit_batch(self, batch):
            found.append(super().fit_batch(batch))
            return found[-1]

    run = make_run(
        epochs=1, brain_class=Watching, compute_loss=broken_at({2, 3})
    )
    run.fit()
    found = [loss.item() for loss in found if loss.isfinite()]
    (row,) = run.hparams["epoch_log"].history()
    assert len(found) == 4 and row["train_skipped"] == 2
    assert row["train_loss"] == pytest.approx(sum(found) / 4)


def test_the_limit_of_steps_ends_a_run_once(make_run):
    for _ in range(2):
        run = make_run(epochs=9, optimizer_step_limit=8)
        run.fit()
        rows = run.hparams["epoch_log"].history()
        assert [row["epoch"] for row in rows] == [1, 2]
        assert run.brain.optimizer_step == 8


def test_a_trial_of_a_few_batches_takes_a_step(make_run):
    run = make_run(epochs=1, debug=True, grad_accumulation_factor=4)
    run.fit()
    assert run.brain.optimizer_step == 1


def test_skipped_steps_are_reported(make_run):
    run = make_run(epochs=2, compute_loss=broken_at({3, 8}))
    run.fit()
    rows = run.hparams["epoch_log"].history()
    assert [row["train_skipped"] for row in rows] == [1, 2]
    lines = run.hparams["epoch_log"].text.read_text().splitlines()
    assert "2 steps skipped" in lines[1]
    record = run_record(
        "Miniature", "a.yaml", run.test(), run.brain, run.hparams
    )
    assert record["skipped_steps"] == 2
    again = make_run(epochs=2, test_only=True)
    again.fit()
    record = run_record(
        "Miniature", "a.yaml", again.test(), again.brain, again.hparams
    )
    assert record["skipped_steps"] == 2


@pytest.mark.parametrize("target", ["loss", "gradient"])
def test_fp16_does_not_hide_a_gradient_that_is_always_nan(make_run, target):
    """Such a run once trained to the end in silence, with no weight changed."""
    run = make_run(epochs=50, compute_loss=broken_at(range(1, 999), target))
    run.brain.scaler = torch.GradScaler("cpu", enabled=True)
    with pytest.raises(ValueError, match="clips clip.*number 4 in a row"):
        run.fit()
    assert run.brain.skipped_steps == 4


def test_fp16_stops_at_the_floor_of_its_scale(make_run):
    run = make_run(
        epochs=50,
        nonfinite_patience=999,
        compute_loss=broken_at(range(1, 999)),
    )
    run.brain.scaler = torch.GradScaler("cpu", enabled=True)
    with pytest.raises(ValueError, match="clips clip"):
        run.fit()
    # 65536 is halved below 1e-4 after 30 steps
    assert run.brain.skipped_steps == 31


def test_fp16_trains_once_its_scale_fits(make_run):
    run = make_run(epochs=2, compute_loss=broken_at({1, 2}))
    before = run.weights()
    run.brain.scaler = torch.GradScaler("cpu", enabled=True)
    run.fit()
    assert run.brain.scaler.get_scale() == 2.0**14
    changed = [not torch.equal(v, before[k]) for k, v in run.weights().items()]
    assert any(changed) and run.brain.skipped_in_row == 0


def test_mid_epoch_checkpoints_do_not_accumulate(make_run):
    """SpeechBrain's default list of rules grew with each save."""
    from speechbrain.utils.checkpoints import Checkpointer

    def defaults():
        return [str(v) for v in Checkpointer.save_and_keep_only.__defaults__]

    run, before = make_run(epochs=2, ckpt_interval_steps=1), defaults()
    run.fit()
    assert defaults() == before
    metas = [c.meta for c in run.brain.checkpointer.list_checkpoints()]
    assert all("epoch" in meta for meta in metas)


def test_speechbrains_weight_decay_option_is_refused(make_run):
    with pytest.raises(ValueError, match="_no_weight_decay"):
        make_run(remove_vector_weight_decay=True)


def test_a_missing_key_is_named(make_run):
    class Wanting(ClassificationBrain):
        REQUIRED = ("seed", "colour")

    with pytest.raises(ValueError, match="colour"):
        make_run(brain_class=Wanting)


def test_a_norm_whose_statistics_move_with_training_is_refused(make_run):
    modules = {"mean_var_norm": InputNormalization(norm_type="global")}
    with pytest.raises(ValueError, match="mean_var_norm: .*auto.*'sentence'"):
        make_run(modules=modules)


def test_a_given_sampler_is_told_the_epoch(make_run):
    from speechbrain.dataio.sampler import ReproducibleWeightedRandomSampler

    run = make_run(epochs=2, protocols=["honest"])
    sampler = ReproducibleWeightedRandomSampler(
        [1.0] * 22, 22, replacement=True, seed=1
    )
    run.brain.fit(
        run.brain.checkpointer.recoverables["counter"],
        *run.sets[:2],
        train_loader_kwargs={"batch_size": 4, "sampler": sampler},
        valid_loader_kwargs={"batch_size": 4},
    )
    assert sampler.epoch == 2


def test_the_dataset_is_told_the_epoch(make_run):
    run = make_run(epochs=2)
    heard = []
    run.sets[0].set_epoch = heard.append
    run.fit()
    assert heard == [1, 2]
