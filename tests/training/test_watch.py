"""When a process counts as stopped."""

import threading

import pytest

from audiomamba.training.runs.watch import (
    FINISHED,
    ProcessWatch,
    silent_ranks,
)


def test_only_what_was_silent_for_too_long_is_named():
    seen = {}
    for now in range(0, 20, 2):
        counts = {0: now, 1: min(now, 6), 2: min(now, 14)}
        found = silent_ranks(counts, seen, now, timeout=5)
        assert found == ([1] if now > 11 else []), now


def test_a_finished_process_may_be_silent():
    seen = {}
    assert silent_ranks({0: 5, 1: FINISHED + 5}, seen, 0, timeout=1) == []
    assert silent_ranks({0: 6, 1: FINISHED + 5}, seen, 9, timeout=1) == []


@pytest.mark.parametrize("timeout", [None, 1.0])
def test_a_single_process_watches_nobody(timeout):
    watch = ProcessWatch()
    watch.start(timeout)
    assert watch._thread is None
    watch.stop()


def test_a_store_that_does_not_answer_is_a_silent_rank_0(monkeypatch):
    # rank 0 keeps the store where torchrun is told not to share its own
    watch, named = ProcessWatch(), threading.Event()

    def end(silent):
        assert silent == [0]
        named.set()
        watch._ended.set()

    monkeypatch.setattr(watch, "_end", end)
    monkeypatch.setattr(watch, "_connect", threading.Event().wait)
    watch._timeout, watch._rank, watch._names = 0.2, 1, ["a", "b"]
    watch._watch()
    assert named.is_set()
