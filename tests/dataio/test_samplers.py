"""Weighted sampling: the published weights, resumable, shared out by rank."""

from collections import Counter

import numpy as np
import pytest
import torch
from speechbrain.dataio.dataloader import SaveableDataLoader
from speechbrain.dataio.sampler import DistributedSamplerWrapper
from speechbrain.utils.checkpoints import Checkpointer

from audiomamba.dataio.pipeline import PackedStrings
from audiomamba.dataio.samplers import label_weights, weighted_sampler

LABELS = ["a"] * 6 + ["a;b"] * 2 + ["c"]


def test_weights_are_those_of_the_published_formula():
    a, b, c = (1000 / (count + 0.01) for count in (8, 2, 1))
    expected = [a] * 6 + [a + b] * 2 + [c]
    np.testing.assert_allclose(label_weights(LABELS), expected)
    packed = PackedStrings(LABELS)
    np.testing.assert_array_equal(label_weights(packed), label_weights(LABELS))


def test_draws_follow_the_weights_with_replacement():
    sampler = weighted_sampler(LABELS, seed=1)
    drawn = Counter()
    for epoch in range(1, 1001):
        sampler.set_epoch(epoch)
        draws = list(sampler)
        assert len(draws) == len(LABELS)
        drawn.update(draws)
    weights = label_weights(LABELS)
    shares = [drawn[row] / 9000 for row in range(9)]
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.02)


def test_seeds_do_not_share_epochs():
    labels = ["a"] * 50

    def draws(seed, epoch):
        sampler = weighted_sampler(labels, seed)
        sampler.set_epoch(epoch)
        return tuple(sampler)

    seen = {draws(seed, epoch) for seed in (1, 2, 3) for epoch in (1, 2, 3)}
    assert len(seen) == 9
    assert draws(1, 2) == draws(1, 2)


def test_the_global_random_state_has_no_say():
    torch.manual_seed(0)
    first = list(weighted_sampler(LABELS, seed=1))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert list(weighted_sampler(LABELS, seed=1)) == first
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_resumed_epoch_goes_on_with_the_same_clips(tmp_path, num_workers):
    data = torch.arange(20)
    labels = ["a"] * 18 + ["b"] * 2

    def loader():
        sampler = weighted_sampler(labels, seed=3)
        sampler.set_epoch(2)
        return SaveableDataLoader(
            data, batch_size=3, sampler=sampler, num_workers=num_workers
        )

    whole = loader()
    checkpointer = Checkpointer(tmp_path, {"loader": whole})
    batches = []
    for number, batch in enumerate(whole):
        batches.append(batch.tolist())
        if number == 2:
            checkpointer.save_checkpoint(end_of_epoch=False)
    resumed = loader()
    Checkpointer(tmp_path, {"loader": resumed}).recover_if_possible()
    assert [batch.tolist() for batch in resumed] == batches[3:]


def test_ranks_take_parts_of_one_list():
    sampler = weighted_sampler(LABELS[:8], seed=1)
    sampler.set_epoch(4)
    whole = list(sampler)
    parts = []
    for rank in (0, 1):
        part = DistributedSamplerWrapper(
            weighted_sampler(LABELS[:8], seed=1),
            num_replicas=2,
            rank=rank,
            shuffle=False,
        )
        part.set_epoch(4)
        parts.append(list(part))
    assert [parts[0], parts[1]] == [whole[0::2], whole[1::2]]
