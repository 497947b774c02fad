"""Averages of the weights, and the protocols that test them."""

import pytest
import torch

from audiomamba.pretrained.weights import CheckpointError
from audiomamba.training.protocols import check_averages, weights_of
from audiomamba.training.tasks.classification import ClassificationBrain

from .conftest import Encoder

OPTIONS = {
    "average_from": 2,
    "ema_decay": 0.7,
    "protocols": ["average", "ema", "last"],
}


class Normed(Encoder):
    """With batch normalisation."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(8)

    def forward(self, feats, lengths=None):
        return self.norm(super().forward(feats, lengths)[:, 0])[:, None]


class Recording(ClassificationBrain):
    """Keeps a copy of the weights after each step and each epoch."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.after_steps, self.after_epochs = [], []

    def copy(self):
        return {k: v.clone() for k, v in self.model.state_dict().items()}

    def optimizers_step(self):
        super().optimizers_step()
        self.after_steps.append(self.copy())

    def _end_epoch(self, epoch, stats):
        super()._end_epoch(epoch, stats)
        self.after_epochs.append(self.copy())


@pytest.fixture
def trained(make_run):
    run = make_run(brain_class=Recording, epochs=4, encoder=Normed(), **OPTIONS)
    run.fit()
    return run


def test_the_mean_is_that_of_the_chosen_epochs(trained):
    average = trained.brain.averages["average"].module.state_dict()
    kept = trained.brain.after_epochs[1:]
    for name, value in average.items():
        values = torch.stack([weights[name] for weights in kept])
        whole = not value.is_floating_point()
        expected = values[-1] if whole else values.mean(0)
        torch.testing.assert_close(value, expected)
    assert "embedding_model.norm.running_mean" in average


def test_the_moving_average_follows_every_step(trained):
    moving = trained.brain.averages["ema"].module.state_dict()
    first, *others = trained.brain.after_steps
    for name, value in moving.items():
        expected = first[name]
        for weights in others:
            expected = 0.7 * expected + 0.3 * weights[name]
        if not value.is_floating_point():
            expected = others[-1][name]
        torch.testing.assert_close(value, expected)


def test_each_protocol_tests_its_weights(trained):
    brain, seen = trained.brain, []
    score = brain._score

    def spy(loader, title, enable=None):
        seen.append(brain.copy())
        return score(loader, title, enable)

    brain._score = spy
    tested = trained.test()
    assert list(tested) == ["average", "ema", "last"]
    assert {entry["epoch"] for entry in tested.values()} == {4}
    last, moving, average = seen
    assert brain.after_epochs[-1].keys() == last.keys()
    for name, value in brain.after_epochs[-1].items():
        assert torch.equal(value, last[name])
        for protocol, weights in (("ema", moving), ("average", average)):
            kept = brain.averages[protocol].module.state_dict()[name]
            assert torch.equal(kept, weights[name])
            if kept.is_floating_point():
                assert not torch.equal(kept, last[name])
    # the headline's weights stay loaded
    assert all(torch.equal(v, average[k]) for k, v in brain.copy().items())


def test_a_checkpoint_gives_the_weights_of_a_protocol(trained):
    brain = trained.brain
    checkpoint = brain.checkpointer.find_checkpoint()
    for protocol, weights in (
        ("last", brain.after_epochs[-1]),
        ("average", brain.averages["average"].module.state_dict()),
        ("ema", brain.averages["ema"].module.state_dict()),
    ):
        found = weights_of(checkpoint, protocol)
        assert set(found) == {"embedding_model", "classifier"}
        for part, state in found.items():
            assert state
            for name, value in state.items():
                assert torch.equal(value, weights[f"{part}.{name}"])


class Stopping(ClassificationBrain):
    """Stops after its first epoch."""

    def _end_epoch(self, epoch, stats):
        super()._end_epoch(epoch, stats)
        raise KeyboardInterrupt


def test_an_average_of_nothing_is_not_tested(make_run):
    """Once the initial weights were, in silence."""
    with pytest.raises(KeyboardInterrupt):
        make_run(brain_class=Stopping, **OPTIONS).fit()
    stopped = make_run(test_only=True, **OPTIONS)
    with pytest.raises(CheckpointError, match="until the epoch average_from"):
        stopped.test()


def test_a_trial_of_a_few_batches_has_an_average(make_run):
    run = make_run(epochs=4, debug=True, average_from=4, protocols=["average"])
    run.fit()
    assert run.test()["average"]["epoch"] == 2


@pytest.mark.parametrize(
    "protocols, average_from, ema_decay, message",
    [
        (["average"], None, None, "average_from is None"),
        (["last"], 2, None, "'average' and average_from belong together"),
        (["ema"], None, None, "ema_decay is None"),
        (["last"], None, 0.9, "'ema' and ema_decay belong together"),
        (["average"], 0, None, "average_from is 0"),
        (["average"], 6, None, "1 to number_of_epochs: 5"),
        (["ema"], None, 1.0, "ema_decay is 1.0"),
        (["ema"], None, 0.0, "ema_decay is 0.0"),
    ],
)
def test_averages_without_meaning_are_refused(
    protocols, average_from, ema_decay, message
):
    with pytest.raises(ValueError, match=message):
        check_averages(protocols, average_from, ema_decay, 5)
