"""A physics engine that raises when the rows are to move: in a process of shards, or in the one that asks."""

import sys

breaks_here = False


class _Broken:
    def advance(self):
        if sys.argv[0].endswith("shards.py") != breaks_here:
            raise ArithmeticError("the world fell apart")

    def close(self):
        pass


def opened(kernel, params, state, threads):
    """Return the engine."""
    return _Broken()
