"""Waiting for what another process sends: awake for a moment, as to be woken takes longer than many an answer.

An idle virtual processor is given away, and what its caches held is gone when it comes back.
"""

from __future__ import annotations

import os
import select
import time

AWAKE_S = 200e-6
"""[s] How long is waited without sleeping where answers are quick: to be woken takes up to as long."""
_MOST_NAPS = 63
"""Waits that go to sleep at once, after some that stayed awake in vain."""

PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Arrivals:
    """What comes through a file descriptor."""

    def __init__(self, file: int):
        """Watch the descriptor ``file``."""
        self._poll = select.poll()
        self._poll.register(file, select.POLLIN)
        self._naps = self._naps_left = 0

    def stay_awake(self, most_s: float = AWAKE_S) -> None:
        """Look for what comes for at most ``most_s`` [s], the more seldom the more often that was in vain."""
        if self._naps_left:
            self._naps_left -= 1
            return
        until = time.perf_counter() + most_s
        while not self._poll.poll(0):
            if time.perf_counter() > until:
                self._naps = self._naps_left = min(2 * self._naps + 1, _MOST_NAPS)
                return
        self._naps = 0
