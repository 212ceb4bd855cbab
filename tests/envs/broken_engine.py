"""A physics engine that opens, and raises when the rows are to move."""


class _Broken:
    def advance(self):
        raise ArithmeticError("the world fell apart")


def opened(kernel, params, state, threads):
    """Return the engine."""
    return _Broken()
