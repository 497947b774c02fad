"""A run that was stopped anywhere resumes and ends with the same bits."""

import pytest
import torch

from audiomamba.training.tasks.classification import ClassificationBrain


class Stopped(Exception):
    """The process is stopped here."""


def stopping_at(epoch, step):
    """Return a Brain class that stops before that step's checkpoint."""

    class StoppingBrain(ClassificationBrain):
        def on_fit_batch_end(self, batch, outputs, loss, should_step):
            if (self.epoch, self.step) == (epoch, step):
                raise Stopped

    return StoppingBrain


CASES = {
    "from the epoch's begin": {},
    "from its middle": {"ckpt_interval_steps": 2},
    "from its last step": {"ckpt_interval_steps": 5},
    "between groups": {
        "ckpt_interval_steps": 1,
        "grad_accumulation_factor": 4,
    },
    "with workers": {"ckpt_interval_steps": 2, "num_workers": 2},
    "with a frozen encoder": {
        "ckpt_interval_steps": 2,
        "freeze": "embedding_model",
        "unfreeze_epoch": 2,
    },
    "with averages": {
        "ckpt_interval_steps": 2,
        "average_from": 2,
        "ema_decay": 0.8,
        "protocols": ["average", "ema", "paper"],
    },
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("stop", [(1, 4), (2, 6)])
def test_a_stopped_run_ends_with_the_same_bits(make_run, options, stop):
    whole = make_run("whole", **options)
    whole.fit()

    first = make_run("cut", brain_class=stopping_at(*stop), **options)
    with pytest.raises(Stopped):
        first.fit()
    torch.rand(5)  # the generator's state must not matter
    second = make_run("cut", **options)
    second.fit()

    assert second.brain.optimizer_step == whole.brain.optimizer_step
    for name, value in whole.weights().items():
        assert torch.equal(value, second.weights()[name]), name
    for protocol, average in whole.brain.averages.items():
        resumed = second.brain.averages[protocol].state_dict()
        for name, value in average.state_dict().items():
            assert torch.equal(value, resumed[name]), (protocol, name)
    curves = [run.hparams["epoch_log"].history() for run in (whole, second)]
    for one, other in zip(*curves):
        for key in ("train_loss", "train_lr", "valid_loss", "test_accuracy"):
            assert one[key] == other[key], (one["epoch"], key)


def test_without_seeds_a_stopped_run_ends_differently(make_run):
    """This shows that the test above can fail."""

    class Unseeded(ClassificationBrain):
        def _seed(self, step):
            pass

    class UnseededStop(Unseeded, stopping_at(2, 3)):
        pass

    whole = make_run("whole", brain_class=Unseeded)
    whole.fit()
    first = make_run("cut", brain_class=UnseededStop)
    with pytest.raises(Stopped):
        first.fit()
    torch.rand(5)
    second = make_run("cut", brain_class=Unseeded)
    second.fit()
    changed = [
        not torch.equal(value, second.weights()[name])
        for name, value in whole.weights().items()
    ]
    assert any(changed)


def test_a_finished_run_starts_again_without_training(make_run):
    run = make_run("done")
    run.fit()
    again = make_run("done")
    again.fit()
    for name, value in run.weights().items():
        assert torch.equal(value, again.weights()[name]), name
    assert len(again.hparams["epoch_log"].history()) == 3


def test_seeds_differ_by_rank_epoch_and_step():
    from audiomamba.training.steps import seed_of_step

    seeds = {
        seed_of_step(seed, rank, epoch, step)
        for seed in (0, 1)
        for rank in (0, 1)
        for epoch in (1, 2)
        for step in (1, 2)
    }
    assert len(seeds) == 16


def test_an_epoch_goes_on_with_another_batch_size(make_run, caplog):
    heard = []

    class Hearing(ClassificationBrain):
        def on_fit_batch_end(self, batch, outputs, loss, should_step):
            heard.extend((self.epoch, name) for name in batch.id)

    class HearingStop(Hearing):
        def on_fit_batch_end(self, batch, *others):
            if (self.epoch, self.step) == (2, 3):
                raise Stopped
            super().on_fit_batch_end(batch, *others)

    options = {"ckpt_interval_steps": 1, "batch_size": 4}
    first = make_run("cut", brain_class=HearingStop, **options)
    with pytest.raises(Stopped):
        first.fit()
    options["batch_size"] = 7
    second = make_run("cut", brain_class=Hearing, **options)
    second.fit()

    whole = {(e, f"clip{i}") for e in (1, 2, 3) for i in range(22)}
    assert len(heard) == len(whole) and set(heard) == whole
    assert "7 clips per step, not 4" in caplog.text
    # 8 of 22 clips were drawn in the second epoch, its share of 4 steps is 1
    assert second.brain.optimizer_step == 4 + (1 + 2) + 4
