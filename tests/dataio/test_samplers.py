"""Batches depend on seed and epoch alone, hold each clip once and resume."""

from collections import Counter
from itertools import zip_longest

import numpy as np
import pytest
import torch
from speechbrain.dataio.dataloader import SaveableDataLoader
from speechbrain.utils.checkpoints import Checkpointer

from audiomamba.dataio.packed import PackedStrings
from audiomamba.dataio.samplers import (
    EpochBatchSampler,
    SharedBatches,
    label_weights,
)

LABELS = ["a"] * 6 + ["a;b"] * 2 + ["c"]


def batches(n_clips, batch_size, epoch=1, seed=1, **options):
    sampler = EpochBatchSampler(n_clips, batch_size, seed, **options)
    sampler.set_epoch(epoch)
    found = list(sampler)
    assert len(found) == len(sampler)
    return found


def test_weights_follow_the_published_formula():
    a, b, c = (1000 / (count + 0.01) for count in (8, 2, 1))
    expected = [a] * 6 + [a + b] * 2 + [c]
    np.testing.assert_allclose(label_weights(LABELS), expected)
    packed = PackedStrings(LABELS)
    np.testing.assert_array_equal(label_weights(packed), label_weights(LABELS))


def test_draws_follow_the_weights_with_replacement():
    weights = label_weights(LABELS)
    drawn = Counter()
    for epoch in range(1, 1001):
        draws = sum(batches(9, 4, epoch, weights=weights), [])
        assert len(draws) == len(LABELS)
        drawn.update(draws)
    shares = [drawn[row] / 9000 for row in range(9)]
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.02)


@pytest.mark.parametrize("weights", [None, np.ones(50)])
def test_epochs_of_different_seeds_have_different_orders(weights):
    """Seed 1 in epoch 2 once had the order of seed 2 in epoch 1."""

    def order(seed, epoch):
        return tuple(sum(batches(50, 8, epoch, seed, weights=weights), []))

    orders = {order(seed, epoch) for seed in (1, 2, 3) for epoch in (1, 2, 3)}
    assert len(orders) == 9
    assert order(1, 2) == order(1, 2)


def test_the_global_random_state_is_neither_used_nor_changed():
    torch.manual_seed(0)
    first = batches(50, 8)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert batches(50, 8) == first
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("n_processes", [1, 2, 3, 5])
@pytest.mark.parametrize("n_clips", [5, 23, 24, 25, 31])
def test_every_clip_is_drawn_once_on_any_number_of_processes(
    n_processes, n_clips
):
    shares = [
        batches(n_clips, 4, rank=rank, n_processes=n_processes)
        for rank in range(n_processes)
    ]
    assert len({len(share) for share in shares}) == 1  # no rank waits
    assert all(batch for share in shares for batch in share)
    drawn = [clip for share in shares for batch in share for clip in batch]
    assert sorted(drawn) == list(range(n_clips))


def test_processes_split_the_batches_of_one_process():
    """Two batches of 4 make up the batch of 8 of a single process."""
    alone = batches(40, 8)
    shares = [batches(40, 4, rank=rank, n_processes=2) for rank in (0, 1)]
    for step, *parts in zip(alone, *shares):
        assert sorted(step) == sorted(sum(parts, []))


def test_without_shuffling_clips_keep_the_order_of_the_dataset():
    assert sum(batches(10, 4, shuffle=False), []) == list(range(10))


def test_fewer_clips_than_processes_are_refused():
    with pytest.raises(ValueError, match="3 training clips for 4 processes"):
        EpochBatchSampler(3, 1, seed=1, n_processes=4)
    with pytest.raises(ValueError, match="batch_size is 0"):
        EpochBatchSampler(3, 0, seed=1)


@pytest.mark.parametrize("n_clips", [16, 17, 18, 19])
@pytest.mark.parametrize("n_processes", [1, 2])
def test_no_batch_has_fewer_than_the_least(n_clips, n_processes):
    shares = [
        batches(n_clips, 8, rank=rank, n_processes=n_processes, least=2)
        for rank in range(n_processes)
    ]
    assert min(len(batch) for share in shares for batch in share) >= 2
    drawn = [clip for share in shares for batch in share for clip in batch]
    assert sorted(drawn) == list(range(n_clips))
    resumed = EpochBatchSampler(n_clips, 8, 1, least=2)
    resumed.resume(1, n_clips - 1)
    assert list(resumed) == [resumed.order()[-2:].tolist()]
    with pytest.raises(ValueError, match="needs 2"):
        EpochBatchSampler(1, 8, seed=1, least=2)


@pytest.mark.parametrize("n_clips", [48, 49])
@pytest.mark.parametrize("first, second", [(1, 2), (2, 1), (2, 3), (3, 3)])
@pytest.mark.parametrize("n_steps", [0, 1, 3])
def test_shared_batches_go_on_with_other_processes(
    n_clips, first, second, n_steps
):
    def ranks(n_processes, n_drawn=0):
        samplers = [
            SharedBatches(EpochBatchSampler(n_clips, 4, 1), rank, n_processes)
            for rank in range(n_processes)
        ]
        for sampler in samplers:
            sampler.set_epoch(2)
            sampler.resume(2, n_drawn)
        return samplers

    begun = ranks(first)
    drawn = [tuple(b) for s in begun for b in list(s)[:n_steps]]
    left = ranks(second, begun[0].n_drawn(n_steps))
    after = [tuple(b) for s in left for b in s]
    assert not set(drawn) & set(after)
    n_extra = len(after) - len(set(after))
    assert n_extra < second  # every process has as many batches
    clips = sum(map(list, {*drawn, *after}), [])
    assert sorted(clips) == list(range(n_clips))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_resumed_epoch_continues_with_the_same_clips(tmp_path, num_workers):
    data = torch.arange(20)

    def loader():
        sampler = EpochBatchSampler(20, 3, seed=3)
        sampler.set_epoch(2)
        return SaveableDataLoader(
            data, batch_sampler=sampler, num_workers=num_workers
        )

    whole = loader()
    checkpointer = Checkpointer(tmp_path, {"loader": whole})
    expected = []
    for number, batch in enumerate(whole):
        expected.append(batch.tolist())
        if number == 2:
            checkpointer.save_checkpoint(end_of_epoch=False)
    resumed = loader()
    Checkpointer(tmp_path, {"loader": resumed}).recover_if_possible()
    assert [batch.tolist() for batch in resumed] == expected[3:]


@pytest.mark.parametrize("n_clips", [24, 25])
@pytest.mark.parametrize("first", [(4, 2), (3, 1), (8, 1), (1, 3)])
@pytest.mark.parametrize("second", [(4, 1), (3, 2), (5, 1), (24, 1)])
@pytest.mark.parametrize("n_batches", [0, 1, 2])
def test_an_epoch_goes_on_with_other_steps(n_clips, first, second, n_batches):
    """Each clip is drawn once, in the same order."""

    def ranks(batch_size, n_processes):
        shared = {"n_clips": n_clips, "batch_size": batch_size, "seed": 1}
        shared["n_processes"] = n_processes
        return [EpochBatchSampler(**shared, rank=r) for r in range(n_processes)]

    def steps(samplers):
        """Clips of each step in the order of the epoch."""
        for batches in zip(*samplers, strict=True):
            turns = zip_longest(*batches)
            yield [c for turn in turns for c in turn if c is not None]

    begun = ranks(*first)
    before = sum(list(steps(begun))[:n_batches], [])
    assert begun[0].n_drawn(n_batches) == len(before)
    resumed = ranks(*second)
    for sampler in resumed:
        sampler.resume(1, len(before))
    after = list(steps(resumed))
    assert before + sum(after, []) == begun[0].order().tolist()
    assert len(after) == len(resumed[0])

    resumed[0].set_epoch(2)
    assert resumed[0].start == 0  # the next epoch is whole


def test_fewer_clips_than_processes_are_filled_up():
    samplers = [
        EpochBatchSampler(5, 1, 1, shuffle=False, rank=rank, n_processes=3)
        for rank in range(3)
    ]
    for sampler in samplers:
        sampler.resume(1, 3)
    assert [list(s) for s in samplers] == [[[2]], [[3]], [[4]]]


def test_an_epoch_that_was_drawn_is_empty():
    sampler = EpochBatchSampler(5, 2, seed=1)
    sampler.resume(1, 5)
    assert len(sampler) == 0 and list(sampler) == []
