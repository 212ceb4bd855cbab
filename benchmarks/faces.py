"""CartPole through the faces of rlops against EnvPool, PufferLib's C, and Gymnasium's array and sync environments.

The kernel (``cartpole.py``) is so light that what is measured is mostly the way from ``step`` to compiled code and
back. Every side gets the same random actions, made beforehand; Gymnasium and EnvPool return new arrays, as the vector
face with ``copy=True`` does; PufferLib returns its own buffers, as the vector face with ``copy=False`` does.

Run ``make bench``, or ``python -m benchmarks.faces`` from the root of the repository in an environment that has
``benchmarks/requirements.txt``. Peers that are not installed are left out.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.cartpole import CARTPOLE
from benchmarks.peers import PEERS
from benchmarks.rounds import arguments, interleaved, median, per_second, ratio, repeated, show, write
from rlops.envs.faces import VectorEnv

ROWS = (1, 64, 1024, 4096)
ACTION_SETS = 16
COPIES, BUFFERS = "rlops, copies", "rlops, buffers"
TARGETS = (
    (1024, COPIES, "EnvPool", 100.0),
    (1024, COPIES, "PufferLib C", 3.0),
    (1024, COPIES, "gymnasium vector", 10.0),
    (1, BUFFERS, "PufferLib C", 1.0),
)
"""Rows, our side, the peer, and the least ratio of rates."""


def ours(rows: int, copy: bool) -> tuple[Any, Callable[[np.ndarray], Any], type]:
    """Return our vector face, its step and the type of its actions."""
    env = VectorEnv(CARTPOLE, 1, rows, copy=copy)
    env.reset(seed=0)
    return env, env.step, np.int64


@contextlib.contextmanager
def sides(rows: int) -> Iterator[dict[str, Callable[[float], float]]]:
    """Make our faces and every peer that is installed, and close them all at the end."""
    made = {COPIES: lambda: ours(rows, True), BUFFERS: lambda: ours(rows, False)}
    made |= {name: lambda make=make: (*make(rows), np.int32) for name, make in PEERS.items()}
    actions = np.random.default_rng(0).integers(0, 2, (ACTION_SETS, rows))
    found, open_envs = {}, []
    for name, make in made.items():
        try:
            # On import PufferLib links a folder into the working directory, gym prints that it has retired.
            with contextlib.chdir(tempfile.gettempdir()), contextlib.redirect_stderr(io.StringIO()):
                env, step, dtype = make()
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        found[name] = repeated(_all_sets(step, list(actions.astype(dtype))), ACTION_SETS * rows)
        open_envs.append(env)
    try:
        yield found
    finally:
        for env in open_envs:
            env.close()


def _all_sets(step: Callable[[np.ndarray], Any], actions: list[np.ndarray]) -> Callable[[], None]:
    """Return a function that takes one step with each of ``actions``."""

    def run() -> None:
        for action in actions:
            step(action)

    return run


def main() -> None:
    """Measure every side at every size, print the tables and write them."""
    options = arguments(__doc__ or "")
    steps_per_s: dict[str, dict[str, float]] = {}
    ratios: dict[str, dict[str, float]] = {}
    for rows in ROWS:
        with sides(rows) as found:
            rates = interleaved(found, options.rounds, options.seconds)
        for name in rates:
            steps_per_s.setdefault(name, {})[str(rows)] = median(rates, name)
            for us in (COPIES, BUFFERS):
                if name not in (COPIES, BUFFERS):
                    ratios.setdefault(f"{us} / {name}", {})[str(rows)] = ratio(rates, us, name)
    show(
        "CartPole, environment steps/s",
        ("side", *(f"{rows} rows" for rows in ROWS)),
        [(name, *(per_second(one[str(rows)]) for rows in ROWS)) for name, one in steps_per_s.items()],
    )
    show(
        "Ratios, medians over rounds",
        ("ours / peer", *(f"{rows} rows" for rows in ROWS)),
        [(name, *(f"{one[str(rows)]:.2f}x" for rows in ROWS)) for name, one in ratios.items()],
    )
    met = []
    for rows, us, peer, least in TARGETS:
        if f"{us} / {peer}" in ratios:
            got = ratios[f"{us} / {peer}"][str(rows)]
            met.append((f"{us} / {peer}, {rows} rows", f"≥ {least:g}x", f"{got:.2f}x", "yes" if got >= least else "no"))
    show("Targets", ("ratio", "target", "measured", "met"), met)
    write("faces", {"steps_per_s": steps_per_s, "ratios": ratios})


if __name__ == "__main__":
    main()
