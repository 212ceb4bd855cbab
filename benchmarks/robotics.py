"""What the vector face of the robots costs over MuJoCo's batch itself, and what randomizing every parameter costs.

After every step of the face, a bare ``mujoco.batch.Batch`` takes the same step from the same states with the same forces
on the same model, so both do the same physics: contacts, iterations of the solver and all. What differs is what the face
adds: actions, motors, sensors, rewards, autoreset, infos.

Run ``python -m benchmarks.robotics`` from the root of the repository.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from mujoco.batch import Batch as NativeBatch

from benchmarks.rounds import arguments, show, write
from rlops.envs.faces import VectorEnv
from rlops.envs.robotics.engines import nominal_model
from rlops.envs.robotics.engines.mujoco import STATE_FIELDS
from rlops.randomization import randomize

FAMILIES = ("CartBalance", "ArmReach", "ArmPush")
ROWS = (64, 256, 1024)
THREADS = 2
STEPS = 64
"""In a round, with as many actions made beforehand."""
TARGET, RANDOMIZED_TARGET = 0.95, 0.02


def face(name: str, rows: int) -> VectorEnv:
    """Return the vector face in the midst of episodes."""
    env = VectorEnv(name, 0, rows, threads=THREADS, copy=False)
    env.reset(seed=0)
    for actions in drawn(env, 20):
        env.step(actions)
    return env


def drawn(env: VectorEnv, count: int) -> np.ndarray:
    """Return actions by chance, ``(count, rows, d)``."""
    return np.random.default_rng(0).uniform(-1, 1, (count, *env.action_space.shape))


def bare(env: VectorEnv) -> tuple[NativeBatch, dict[str, np.ndarray]]:
    """Return MuJoCo's batch of the nominal model, and its state by our names."""
    import mujoco

    from rlops.envs.robotics.model import mjcf

    batch = NativeBatch(mujoco.MjModel.from_xml_string(mjcf(nominal_model(env.kernel))), env.num_envs, THREADS)
    return batch, {name: batch.bind(field) for name, field in STATE_FIELDS.items()}


def round_of(env: VectorEnv, batch: NativeBatch, bound: dict[str, np.ndarray]) -> tuple[float, float]:
    """Return the seconds that the face and the batch take for :data:`STEPS` steps, turn by turn."""
    taken = [0.0, 0.0]
    for actions in drawn(env, STEPS):
        for name in ("qpos", "qvel", "warmstart"):
            bound[name][:] = env.state[name]
        start = time.perf_counter()
        env.step(actions)
        taken[0] += time.perf_counter() - start
        bound["force"][:] = env.state["force"]
        start = time.perf_counter()
        batch.step(nstep=env.kernel.SUBSTEPS)
        taken[1] += time.perf_counter() - start
    return taken[0], taken[1]


def cost_of_randomization(name: str, rows: int, rounds: int) -> list[float]:
    """Return what drawing every parameter adds to the time of whole episodes, as a share, one number a round."""
    unchanged = {"op": "add", "dist": "uniform", "low": 0, "high": 0}
    sides = [face(name, rows), face(name, rows)]
    kernel = sides[0].kernel
    terms = {p.name: {"dist": "choice", "values": [0]} if p.choices else unchanged for p in kernel.PARAMETERS}
    randomize(sides[1], {"env": f"rlops/{name}-v0", "params": terms})
    horizon = int(sides[0].params["horizon_steps"][0])
    found = []
    for _ in range(rounds):
        taken = []
        for env in sides:
            env.reset(seed=0)
            actions = drawn(env, 16)
            start = time.perf_counter()
            for step in range(horizon):
                env.step(actions[step % 16])
            taken.append(time.perf_counter() - start)
        found.append(taken[1] / taken[0] - 1.0)
    return found


def main() -> None:
    """Print the tables and write them down."""
    given = arguments(__doc__)
    results: dict[str, Any] = {"face over batch": {}, "randomization": {}}
    lines = []
    for name in FAMILIES:
        for rows in ROWS:
            env = face(name, rows)
            batch, bound = bare(env)
            rounds = np.array([round_of(env, batch, bound) for _ in range(given.rounds)])
            rate = rows * STEPS / np.median(rounds[:, 0])
            share = float(np.median(rounds[:, 1] / rounds[:, 0]))
            results["face over batch"][f"{name} {rows}"] = share
            lines.append((name, str(rows), f"{rate:,.0f}", f"{share:.3f}", f"{TARGET}"))
    show(
        "vector face over mujoco.batch, two threads",
        ("robot", "rows", "steps/s", "share of the bare rate", "target"),
        lines,
    )
    lines = []
    for name in FAMILIES:
        cost = float(np.median(cost_of_randomization(name, 256, max(3, given.rounds // 3))))
        results["randomization"][name] = cost
        lines.append((name, "256", f"{cost:+.1%}", f"{RANDOMIZED_TARGET:.0%}"))
    show("every parameter drawn at every reset", ("robot", "rows", "cost", "target"), lines)
    write("robotics", results)


if __name__ == "__main__":
    main()
