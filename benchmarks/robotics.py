"""What the vector face of the robots costs over bare engines, against EnvPool, and what randomization costs.

Two bare ``mujoco.batch.Batch`` take every step of the face from the same states with the same forces, so all do the
same physics: contacts, iterations of the solver and all. One has the robot's model as its file says it, the other, as
the face has it, without the shapes that are only seen. What differs then is what the face adds: actions, motors,
sensors, rewards, autoreset, infos. PyBullet is stepped in one process and in two, by the face, bare by its own
functions (``bullet.py``) and bare by the commands below these. EnvPool steps Gymnasium's ``Pusher-v5`` with as many
threads as our face, which runs the same model (``pusher.py``; a test holds it to Gymnasium's, bit for bit).

Run ``make bench``, or ``python -m benchmarks.robotics`` from the root of the repository in an environment that has
``benchmarks/requirements.txt``. Without EnvPool or PyBullet, their part is left out.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch as NativeBatch

from benchmarks.pusher import PUSHER
from benchmarks.rounds import arguments, interleaved, median, per_second, ratio, repeated, show, write
from rlops.agents_baseline.controllers import make_controller
from rlops.envs.contract import family
from rlops.envs.faces import VectorEnv
from rlops.envs.robotics.engines import nominal_model
from rlops.envs.robotics.engines.mujoco import STATE_FIELDS, compiled_model
from rlops.envs.robotics.model import mjcf
from rlops.randomization import randomize

FAMILIES = {"CartBalance": "lqr", "ArmReach": "inverse_kinematics", "ArmPush": "scripted_push"}
"""Robots, and who knows how to act: under random actions a pole falls within half a second, and is drawn anew."""
ROWS = (64, 256, 1024)
THREADS = 2
STEPS = 64
"""In a round, with as many actions made beforehand."""
TARGET, RANDOMIZED_TARGET, ENVPOOL_TARGET, BULLET_TARGET = 0.95, 0.02, 1.3, 0.85
BULLET_ROWS = {1: (32, 64), 2: (64, 128)}
"""By the number of processes."""


def face(name: str, rows: int, engine: str = "mujoco", threads: int = THREADS) -> VectorEnv:
    """Return the vector face in the midst of episodes."""
    env = VectorEnv(family(name), 0, rows, threads=threads, copy=False, engine=engine)
    env.reset(seed=0)
    for actions in drawn(env, 20):
        env.step(actions)
    return env


def drawn(env: VectorEnv, count: int) -> np.ndarray:
    """Return actions by chance, ``(count, rows, d)``."""
    return np.random.default_rng(0).uniform(-1, 1, (count, *env.action_space.shape))


def bare(env: VectorEnv) -> list[tuple[NativeBatch, dict[str, np.ndarray]]]:
    """Return MuJoCo's batches of the model as its file says it and as the face has it, and their state."""
    written = mujoco.MjModel.from_xml_string(mjcf(nominal_model(env.kernel)))
    batches = [
        NativeBatch(model, env.num_envs, THREADS) for model in (written, compiled_model(env.kernel.build, env.params))
    ]
    return [(batch, {name: batch.bind(field) for name, field in STATE_FIELDS.items()}) for batch in batches]


def rounds_of(env: VectorEnv, count: int) -> np.ndarray:
    """Return the seconds that the face and the bare batches take for :data:`STEPS` steps, ``(count, 3)``.

    The face plays the same course in every round, and the batches take each of its steps from the same states with the
    same forces. Whose turn comes after whose changes: each finds the caches as the last one has left them.
    """
    batches = bare(env)
    saved, actions = env.save_state(), drawn(env, STEPS)
    course = []
    for one in actions:
        before = {name: env.state[name].copy() for name in ("qpos", "qvel", "warmstart")}
        env.step(one)
        course.append(before | {"force": env.state["force"].copy()})
    taken = np.zeros((count, 1 + len(batches)))
    for turn in range(count):
        env.load_state(saved)
        for step, (one, given) in enumerate(zip(actions, course, strict=True)):
            for side in np.roll(range(1 + len(batches)), step)[:: 1 if turn % 2 else -1]:
                if side:
                    batch, bound = batches[side - 1]
                    for name, values in given.items():
                        bound[name][:] = values
                start = time.perf_counter()
                if side:
                    batch.step(nstep=env.kernel.SUBSTEPS)
                else:
                    env.step(one)
                taken[turn, side] += time.perf_counter() - start
    return taken


def cost_of_randomization(name: str, rows: int, rounds: int, controller: str) -> float:
    """Return what drawing every parameter adds to the time of stepping while ``controller`` acts, as a share.

    What is drawn differs from the nominal value by less than a billionth: every row has a model of its own, made anew
    with every episode, and yet nearly the same contacts to solve as the other side. Where things touch, the courses
    part in time, so every round begins elsewhere. A step of an episode takes what it takes in the median round: where
    the host was away for a while, one side would bear it. Both sides are made anew for every round: where their memory
    comes to lie makes one of two equal environments faster by up to a hundredth.
    """
    kernel = family(name).kernel(0)
    nearly = {"op": "scale", "dist": "uniform", "low": 1 - 1e-9, "high": 1 + 1e-9}
    unchanged = {"op": "add", "dist": "uniform", "low": 0, "high": 0}
    terms = {p.name: unchanged if p.integer or not p.nominal else nearly for p in kernel.PARAMETERS}
    terms |= {p.name: {"dist": "choice", "values": [0]} for p in kernel.PARAMETERS if p.choices}
    player = make_controller(controller, f"rlops/{name}-v0")
    horizon = next(int(p.nominal) for p in kernel.PARAMETERS if p.name == "horizon_steps")
    taken = np.zeros((2, rounds, horizon))
    for turn in range(rounds):
        made = [face(name, rows), face(name, rows)]
        sides = made[:: 1 if turn % 2 else -1]
        randomize(sides[1], {"env": f"rlops/{name}-v0", "params": terms})
        obs = [env.reset(seed=turn)[0] for env in sides]
        for step in range(horizon):
            actions = [player.actions(env, one, None) for env, one in zip(sides, obs, strict=True)]
            for side in (0, 1) if step % 2 else (1, 0):
                start = time.perf_counter()
                obs[side] = sides[side].step(actions[side])[0]
                taken[side, turn, step] = time.perf_counter() - start
    nominal_s, drawn_s = np.median(taken, axis=1).sum(axis=1)
    return float(drawn_s / nominal_s - 1.0)


def bare_bullet(name: str, rows: int, seconds: float, compiled: bool, pipe: Connection) -> None:
    """Tell the rate [rows' control steps/s] at which PyBullet itself steps ``rows`` nominal worlds, whenever asked.

    They move as those of the face do: from where its rows were, under the forces that its motors had, again and again.
    They are told so by PyBullet's functions, as its guide says, or by the commands below these from ``compiled`` code.
    Nobody reads where they are.
    """
    import benchmarks.bullet
    from rlops.envs.robotics.engines import bullet
    from rlops.envs.robotics.engines import pybullet as engine

    kernel = family(name).kernel(0)
    env = face(name, rows, "pybullet", 1)
    begin = list(zip(env.state["qpos"].copy(), env.state["qvel"].copy(), strict=True))
    forces = []
    for actions in drawn(env, STEPS):
        env.step(actions)
        forces.append(env.state["force"].copy())
    env.close()
    model = nominal_model(kernel)
    worlds = [(engine if compiled else benchmarks.bullet).World(model) for _ in range(rows)]
    if compiled:
        servers, motors = np.array([world.server for world in worlds]), engine.Movement(worlds[0]).motors
        everyone, nobody, nothing = np.ones(rows, np.bool_), np.zeros((0, 3), np.int64), np.zeros((rows, 0))
    lists = [now.tolist() for now in forces]

    def run() -> None:
        for world, (qpos, qvel) in zip(worlds, begin, strict=True):
            world.place(qpos, qvel)
        if compiled:
            for now in forces:
                bullet.move(everyone, servers, motors, nobody, now, kernel.SUBSTEPS, nothing)
            return
        for one in lists:
            for world, force in zip(worlds, one, strict=True):
                world.step(force, kernel.SUBSTEPS)

    rate = repeated(run, STEPS * rows)
    pipe.send(rate(seconds))
    while pipe.recv():
        pipe.send(rate(seconds))


@contextlib.contextmanager
def bare_processes(
    name: str, rows: int, seconds: float, count: int, compiled: bool
) -> Iterator[Callable[[float], float]]:
    """Yield a side that steps ``rows`` of PyBullet in ``count`` processes at once, each as fast as it can."""
    context = get_context("spawn")
    pipes = [context.Pipe() for _ in range(count)]
    processes = [
        context.Process(target=bare_bullet, args=(name, rows // count, seconds, compiled, theirs))
        for _, theirs in pipes
    ]
    for process in processes:
        process.start()
    for ours, _ in pipes:
        ours.recv()

    def rate(_: float) -> float:
        for ours, _ in pipes:
            ours.send(True)
        return float(sum(ours.recv() for ours, _ in pipes))

    try:
        yield rate
    finally:
        for (ours, _), process in zip(pipes, processes, strict=True):
            ours.send(False)
            process.join()


def stepping(env: Any, actions: np.ndarray) -> Callable[[float], float]:
    """Return a side that steps ``env`` with one set of ``actions`` (k, rows, d) after another."""

    def run() -> None:
        for one in actions:
            env.step(one)

    return repeated(run, actions.shape[0] * actions.shape[1])


def bullet_shares(name: str, rows: int, rounds: int, seconds: float, processes: int) -> tuple[float, float, float]:
    """Return the rate of the vector face on PyBullet, and its shares of those of PyBullet itself.

    The first share is that of the rate of PyBullet's functions, the second of that of their commands alone.
    """
    env = face(name, rows, "pybullet", processes)
    with (
        bare_processes(name, rows, seconds, processes, compiled=False) as functions,
        bare_processes(name, rows, seconds, processes, compiled=True) as commands,
    ):
        sides = {"face": stepping(env, drawn(env, 4)), "functions": functions, "commands": commands}
        rates = interleaved(sides, rounds, seconds)
    env.close()
    return median(rates, "face"), ratio(rates, "face", "functions"), ratio(rates, "face", "commands")


def over_envpool(rows: int, rounds: int, seconds: float) -> tuple[float, float]:
    """Return the rate of our Pusher, and its ratio to that of EnvPool."""
    import envpool

    ours = VectorEnv(PUSHER, 5, rows, threads=THREADS)
    ours.reset(seed=0)
    theirs = envpool.make("Pusher-v5", env_type="gymnasium", num_envs=rows, num_threads=THREADS, seed=0)
    theirs.reset()
    actions = drawn(ours, 8)
    rates = interleaved({"rlops": stepping(ours, actions), "EnvPool": stepping(theirs, actions)}, rounds, seconds)
    theirs.close()
    return median(rates, "rlops"), ratio(rates, "rlops", "EnvPool")


def main() -> None:
    """Print the tables and write them down."""
    given = arguments(__doc__)
    sections = ("face over batch", "randomization", "face over pybullet", "over EnvPool")
    results: dict[str, dict[str, float]] = {section: {} for section in sections}
    lines = []
    for name in FAMILIES:
        for rows in ROWS:
            rounds = rounds_of(face(name, rows), given.rounds)
            rate = rows * STEPS / np.median(rounds[:, 0])
            shares = np.median(rounds[:, 1:] / rounds[:, :1], axis=0)
            for side, share in zip(("written", "moving"), shares, strict=True):
                results["face over batch"][f"{name} {rows}, {side}"] = float(share)
            lines.append((name, str(rows), f"{rate:,.0f}", *(f"{share:.3f}" for share in shares), f"{TARGET}"))
    show(
        "vector face over mujoco.batch, two threads",
        ("robot", "rows", "steps/s", "share of the bare rate", "without what is only seen", "target"),
        lines,
    )
    lines = []
    for name, expert in FAMILIES.items():
        for controller in (expert, "random"):
            cost = cost_of_randomization(name, 256, given.rounds, controller)
            results["randomization"][f"{name} {controller}"] = cost
            lines.append((name, "256", controller, f"{cost:+.1%}", f"{RANDOMIZED_TARGET:.0%}"))
    show("every parameter drawn at every reset", ("robot", "rows", "acts", "cost", "target"), lines)
    if importlib.util.find_spec("pybullet"):
        lines = []
        for name, (processes, counts) in itertools.product(FAMILIES, BULLET_ROWS.items()):
            for rows in counts:
                rate, *shares = bullet_shares(name, rows, given.rounds, given.seconds, processes)
                for side, share in zip(("functions", "commands"), shares, strict=True):
                    results["face over pybullet"][f"{name} {rows} in {processes}, {side}"] = share
                told = (f"{share:.3f}" for share in shares)
                lines.append((name, str(processes), str(rows), per_second(rate), *told, f"{BULLET_TARGET}"))
        columns = ("robot", "processes", "rows", "steps/s", "share of its functions", "of the commands alone", "target")
        show("vector face over PyBullet itself", columns, lines)
    if importlib.util.find_spec("envpool"):
        lines = []
        for rows in ROWS:
            rate, times = over_envpool(rows, given.rounds, given.seconds)
            results["over EnvPool"][str(rows)] = times
            lines.append(("Pusher-v5", str(rows), per_second(rate), f"{times:.2f}x", f"{ENVPOOL_TARGET}x"))
        columns = ("environment", "rows", "steps/s", "over EnvPool", "target")
        show(f"Gymnasium's Pusher-v5 against EnvPool's, {THREADS} threads", columns, lines)
    write("robotics", results)


if __name__ == "__main__":
    main()
