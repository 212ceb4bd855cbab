"""Who waits for another process stays awake for a moment, and the more seldom the more often that was in vain."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from rlops import arrivals
from rlops.arrivals import Arrivals


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def looks(monkeypatch):
    """Return the times of all looks; between two of them passes half a second."""
    seen = []

    def now():
        seen.append(0.5 * len(seen))
        return seen[-1]

    monkeypatch.setattr(arrivals, "time", SimpleNamespace(perf_counter=now))
    return seen


def looked(watch, looks, most_s):
    """Return how often ``watch`` looks at the clock before it lets the waiting go to sleep."""
    before = len(looks)
    watch.stay_awake(most_s)
    return len(looks) - before


def test_what_has_come_is_not_waited_for(pipe, looks):
    os.write(pipe[1], b".")
    assert looked(Arrivals(pipe[0]), looks, most_s=100.0) == 1


def test_nothing_is_waited_for_longer_than_said(pipe, looks):
    assert looked(Arrivals(pipe[0]), looks, most_s=2.0) == 1 + 5


def test_the_more_often_it_was_in_vain_the_more_waits_sleep_at_once_up_to_a_limit(pipe, looks):
    watch, sleeping = Arrivals(pipe[0]), [0]
    for _ in range(300):
        if looked(watch, looks, most_s=1.0):
            sleeping.append(0)
        else:
            sleeping[-1] += 1
    assert sleeping[:8] == [0, 1, 3, 7, 15, 31, 63, 63]


def test_after_something_came_in_time_all_that_was_in_vain_is_forgotten(pipe, looks):
    watch = Arrivals(pipe[0])
    for _ in range(3):  # in vain, asleep at once, in vain
        watch.stay_awake(1.0)
    os.write(pipe[1], b".")
    assert [looked(watch, looks, most_s=1.0) for _ in range(4)] == [0, 0, 0, 1]
    os.read(pipe[0], 1)
    assert [looked(watch, looks, most_s=1.0) > 0 for _ in range(3)] == [True, False, True]
