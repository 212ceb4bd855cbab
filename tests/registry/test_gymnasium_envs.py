"""Environments of others as subjects of the dynamics check: what is recorded, put in place and told apart."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.classic_control import CartPoleEnv, PendulumEnv

from rlops.errors import InvalidValue, UnknownName
from rlops.registry.dynamics.gymnasium_envs import MAX_STEPS, MIN_STEPS, GymnasiumSubject
from rlops.registry.dynamics.subjects import Recording
from rlops.registry.dynamics.traces import MOMENTS, Trace, clock, compare

CLASSIC = ("CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "FrozenLake-v1")
MUJOCO = ("InvertedPendulum-v5", "Reacher-v5")


class Counting(gymnasium.Env[np.ndarray, int]):
    """Observes how often it was stepped, and ends by itself after ``end`` steps; ``np_random`` decides the reward."""

    observation_space = spaces.Box(0.0, np.inf, (1,))
    action_space: spaces.Space[Any] = spaces.Discrete(2)

    def __init__(self, end: int = 1000):
        self.end, self.resets, self.taken, self.words = end, 0, 0, "none"

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.taken, self.resets = 0, self.resets + 1
        return self._shown(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.taken += 1
        return self._shown(), self.np_random.random(), self.taken >= self.end, False, {}

    def _shown(self) -> np.ndarray:
        return np.array([self.taken], np.float32)


class Hiding(Counting):
    """Keeps its count where nobody looks."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = {"taken": 0}

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        self.hidden["taken"] = 0
        return super().reset(**options)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.hidden["taken"] += 1
        return np.array([self.hidden["taken"]], np.float32), 0.0, False, False, {}


class Listing(Counting):
    """Observes a count and a place, named."""

    observation_space = spaces.Dict({"count": Counting.observation_space, "place": spaces.Discrete(3)})

    def _shown(self) -> Any:
        return {"count": super()._shown(), "place": self.taken % 3}


class Listening(Counting):
    action_space = spaces.MultiDiscrete([2, 2])


class Telling(Counting):
    observation_space = spaces.Sequence(spaces.Discrete(2))


@pytest.fixture(autouse=True)
def registered() -> Any:
    mine = {"Counting": Counting, "Hiding": Hiding, "Listing": Listing, "Listening": Listening, "Telling": Telling}
    for name, maker in mine.items():
        gymnasium.register(f"tests/{name}-v0", entry_point=maker, max_episode_steps=30)
    yield
    for name in mine:
        del gymnasium.registry[f"tests/{name}-v0"]


@pytest.fixture(scope="module")
def subjects() -> dict[str, tuple[GymnasiumSubject, list[Recording]]]:
    made = {id: GymnasiumSubject(id) for id in (*CLASSIC, *MUJOCO, "Ant-v5")}
    return {id: (one, one.recorded()) for id, one in made.items()}


def all_forced(subject: GymnasiumSubject, one: Recording) -> Trace:
    return subject.forced(one.episode, one.trace, np.arange(len(one.episode.actions)))


def followed(one: Recording) -> Trace:
    """Return what followed each recorded moment, as the recording says."""
    if one.forced is not None:
        return one.forced
    n = len(one.episode.actions)
    moments = {k: v[1:] if k.startswith("state") else v[:n] for k, v in one.trace.items() if clock(k) == MOMENTS}
    return moments | {k: v for k, v in one.trace.items() if clock(k) != MOMENTS}


def assert_same(one: Trace, other: Trace) -> None:
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
        assert one[name].dtype == other[name].dtype


@pytest.mark.parametrize("id", [*CLASSIC, *MUJOCO, "Ant-v5"])
def test_an_episode_replays_bit_for_bit_in_another_environment(id: str, subjects: Any) -> None:
    _, recorded = subjects[id]
    again = GymnasiumSubject(id)
    for one in recorded:
        assert_same(again.play(one.episode), one.trace)


@pytest.mark.parametrize("id", [*CLASSIC, *MUJOCO, "Ant-v5"])
def test_moments_put_in_place_bring_what_was_recorded_of_them_in_any_order(id: str, subjects: Any) -> None:
    subject, recorded = subjects[id]
    assert subject.forces
    for one in recorded:
        assert_same(all_forced(subject, one), followed(one))
        backwards = np.arange(len(one.episode.actions))[::-1]
        backward = subject.forced(one.episode, one.trace, backwards)
        assert_same({name: array[::-1] for name, array in backward.items()}, followed(one))


@pytest.mark.parametrize("id", [*CLASSIC, *MUJOCO, "Ant-v5"])
def test_a_reset_makes_the_recorded_first_state_again(id: str, subjects: Any) -> None:
    subject, recorded = subjects[id]
    for one in recorded:
        again = subject.reset_again(one.episode, one.trace)
        assert_same(again, {name: array[:1] for name, array in one.trace.items() if name.startswith("state.")})


@pytest.mark.parametrize("id", [*CLASSIC, "InvertedPendulum-v5"])
def test_what_is_put_in_place_whole_needs_no_second_recording(id: str, subjects: Any) -> None:
    assert all(one.forced is None for one in subjects[id][1])


def test_a_changed_equation_is_dynamics_and_leaves_the_observation_alone(monkeypatch: Any, subjects: Any) -> None:
    subject, recorded = subjects["Pendulum-v1"]
    one = recorded[0]
    step = PendulumEnv.step

    def heavier(self: Any, u: Any) -> Any:
        self.m = 1.001
        return step(self, u)

    monkeypatch.setattr(PendulumEnv, "step", heavier)
    now, golden = all_forced(subject, one), followed(one)
    moved = {subject.layer(name) for name in now if compare(golden[name], now[name]).changed.any()}
    assert moved == {"dynamics"}
    assert compare(golden["state.state"], now["state.state"]).changed.mean() > 0.9


def test_a_changed_observation_leaves_the_dynamics_alone(monkeypatch: Any, subjects: Any) -> None:
    subject, recorded = subjects["CartPole-v1"]
    one = recorded[0]
    step = CartPoleEnv.step

    def shifted(self: Any, action: Any) -> Any:
        observation, *rest = step(self, action)
        return observation + np.float32(0.01), *rest

    monkeypatch.setattr(CartPoleEnv, "step", shifted)
    now, golden = all_forced(subject, one), followed(one)
    assert {subject.layer(name) for name in now if compare(golden[name], now[name]).changed.any()} == {"observation"}


@pytest.mark.parametrize(
    ("id", "kind"), [("CartPole-v1", np.ndarray), ("MountainCar-v0", tuple), ("MountainCarContinuous-v0", np.ndarray)]
)
def test_a_state_put_in_place_has_the_type_that_a_step_gives_it(id: str, kind: type, subjects: Any) -> None:
    subject, recorded = subjects[id]
    episode, trace = recorded[0].episode, recorded[0].trace
    reset, stepped = gymnasium.make(id).unwrapped, gymnasium.make(id)
    reset.reset(seed=0)
    stepped.reset(seed=0)
    stepped.step(episode.actions[0])
    for moment, like in ((0, reset.state), (3, stepped.unwrapped.state)):
        subject._place(episode, trace, moment)
        placed = subject._env.unwrapped.state
        assert type(placed) is type(like)
        assert np.asarray(placed).dtype == np.asarray(like).dtype
        np.testing.assert_array_equal(placed, trace["state.state"][moment])
    assert type(stepped.unwrapped.state) is kind


def test_random_numbers_that_a_step_draws_are_those_of_the_moment() -> None:
    subject = GymnasiumSubject("tests/Counting-v0")
    assert subject.forces
    one = subject.recorded()[0]
    assert len(np.unique(one.trace["reward"])) == len(one.trace["reward"])
    np.testing.assert_array_equal(all_forced(subject, one)["reward"], one.trace["reward"])


def test_an_attribute_that_a_step_moves_is_state_and_one_that_only_counts_resets_is_not() -> None:
    trace = GymnasiumSubject("tests/Counting-v0").recorded()[0].trace
    assert {name for name in trace if name.startswith("state.")} == {"state.taken", "state.rng"}
    np.testing.assert_array_equal(trace["state.taken"], np.arange(31))


def test_an_environment_that_hides_its_state_is_judged_by_what_it_shows_only() -> None:
    subject = GymnasiumSubject("tests/Hiding-v0")
    one = subject.recorded()[0]
    assert not subject.forces
    assert set(one.trace) == {"observation", "reward", "ended.terminated", "ended.truncated"}
    assert one.forced is None
    assert subject.reset_again(one.episode, one.trace) == {}
    with pytest.raises(InvalidValue, match="cannot be put in place"):
        all_forced(subject, one)


def test_named_observations_become_one_vector() -> None:
    trace = GymnasiumSubject("tests/Listing-v0").recorded()[0].trace
    assert trace["observation"].shape == (31, 4)
    np.testing.assert_array_equal(trace["observation"][4], [4, 0, 1, 0])


@pytest.mark.parametrize("id", ["tests/Listening-v0", "tests/Telling-v0"])
def test_spaces_that_are_no_array_cannot_be_recorded(id: str) -> None:
    with pytest.raises(InvalidValue, match=f"{id} cannot be recorded"):
        GymnasiumSubject(id)


@pytest.mark.parametrize("id", ["NoSuchThing-v0", "CartPole-v77", "nowhere/CartPole-v1"])
def test_an_id_that_gymnasium_does_not_know_is_named(id: str) -> None:
    with pytest.raises(UnknownName, match="CartPole-v1") as error:
        GymnasiumSubject(id)
    assert str(error.value).startswith(f"Gymnasium has no environment named {id!r}")


@pytest.mark.parametrize("id", ["no_such_package_at_all:Mine-v0", "not an id", "a:b:c"])
def test_an_id_that_cannot_be_made_says_why(id: str) -> None:
    with pytest.raises(InvalidValue, match=r"must be one that gymnasium\.make can make"):
        GymnasiumSubject(id)


def test_an_id_may_name_the_package_that_registers_it() -> None:
    subject = GymnasiumSubject("gymnasium:CartPole-v1")
    assert subject.stem == "gymnasium-CartPole-v1"
    assert subject.specification()["max_episode_steps"] == 500


def test_a_time_limit_ends_no_episode_but_is_declared(subjects: Any) -> None:
    subject, recorded = subjects["Reacher-v5"]
    assert subject.specification()["max_episode_steps"] == 50
    assert [len(one.episode.actions) for one in recorded] == [50] * 4
    assert not any(one.trace["ended.truncated"].any() for one in recorded)


def test_episodes_are_short_and_one_of_them_ends_where_an_end_is_found(subjects: Any) -> None:
    for id in (*CLASSIC, "InvertedPendulum-v5", "Ant-v5"):
        recorded = subjects[id][1]
        assert all(len(one.trace["observation"]) == len(one.episode.actions) + 1 <= MAX_STEPS + 1 for one in recorded)
        assert id == "Pendulum-v1" or any(one.trace["ended.terminated"].any() for one in recorded), id
        assert [one.episode.name for one in recorded][:2] == ["random 0", "random 1"]


def test_large_environments_are_recorded_for_fewer_steps(subjects: Any) -> None:
    longest = max(len(one.episode.actions) for one in subjects["Ant-v5"][1])
    assert MIN_STEPS <= longest < 100


def test_vectors_of_actions_swing_through_their_whole_bounds(subjects: Any) -> None:
    recorded = subjects["Ant-v5"][1]
    sine = next(one.episode for one in recorded if one.episode.name == "sine").actions
    assert sine.dtype == np.float32
    assert (sine.max(axis=0) > 0.9).all()
    assert len({tuple(column) for column in sine.T}) == sine.shape[1]
    still = next(one.episode for one in recorded if one.episode.name == "still").actions
    assert not still.any()


def test_returns_are_those_of_whole_episodes() -> None:
    np.testing.assert_array_equal(GymnasiumSubject("CartPole-v1").returns("random", 3), [18.0, 29.0, 14.0])
    assert GymnasiumSubject("Pendulum-v1").returns("random", 2).max() < -200


def test_controllers_play_only_environments_of_rlops() -> None:
    subject = GymnasiumSubject("CartPole-v1")
    with pytest.raises(InvalidValue, match="by chance"):
        subject.returns("reference", 1)
    with pytest.raises(InvalidValue, match="by chance"):
        subject.recorded(reference=object())


def test_a_declared_space_changes_the_specification(subjects: Any, monkeypatch: Any) -> None:
    before = GymnasiumSubject("tests/Counting-v0").specification()
    monkeypatch.setattr(Counting, "observation_space", spaces.Box(0.0, 99.0, (1,)))
    after = GymnasiumSubject("tests/Counting-v0").specification()
    assert {name for name in before if before[name] != after[name]} == {"observation"}
    assert before["observation"]["high"] == "inf"


@pytest.mark.parametrize("id", [*CLASSIC, *MUJOCO, "Ant-v5", "tests/Listing-v0"])
def test_a_specification_is_json_and_the_same_each_time(id: str) -> None:
    one, other = GymnasiumSubject(id).specification(), GymnasiumSubject(id).specification()
    assert json.loads(json.dumps(one, allow_nan=False)) == other


# -- MuJoCo ------------------------------------------------------------------------------------------------


def test_the_state_of_mujoco_is_all_that_it_integrates(subjects: Any) -> None:
    trace = subjects["Ant-v5"][1][0].trace
    sizes = {name: array.shape[1] for name, array in trace.items() if name.startswith("state.") and name != "state.rng"}
    assert sizes == {
        "state.time": 1, "state.qpos": 15, "state.qvel": 14, "state.qacc_warmstart": 14, "state.ctrl": 8,
        "state.qfrc_applied": 14, "state.xfrc_applied": 84,
    }  # fmt: skip
    np.testing.assert_array_equal(trace["observation"][:, :13], trace["state.qpos"][:, 2:])


def test_a_goal_that_a_reset_draws_is_state(subjects: Any) -> None:
    goals = [one.trace["state.goal"] for one in subjects["Reacher-v5"][1]]
    assert all((goal == goal[:1]).all() for goal in goals)
    assert len({goal[0].tobytes() for goal in goals}) == len(goals)


def test_the_warm_start_is_put_in_place(subjects: Any) -> None:
    subject, recorded = subjects["Ant-v5"]
    one = recorded[2]
    cold = replace(one, trace={**one.trace, "state.qacc_warmstart": np.zeros_like(one.trace["state.qacc_warmstart"])})
    assert not np.array_equal(all_forced(subject, one)["state.qvel"], all_forced(subject, cold)["state.qvel"])


def test_a_step_from_a_moment_ends_in_the_state_that_was_played_although_its_reward_may_not(subjects: Any) -> None:
    for one in subjects["Ant-v5"][1]:
        np.testing.assert_array_equal(one.forced["state.qpos"], one.trace["state.qpos"][1:])
        np.testing.assert_array_equal(one.forced["state.qacc_warmstart"], one.trace["state.qacc_warmstart"][1:])
    # Ant takes its velocity from the positions of bodies, which are a substep old after a step that was played.
    assert not np.array_equal(one.forced["reward"], one.trace["reward"])


def test_what_follows_from_a_state_in_place_is_of_that_state(subjects: Any) -> None:
    subject, recorded = subjects["Ant-v5"]
    still = next(one for one in recorded if one.episode.name == "still")
    last = len(still.episode.actions) - 1
    subject._place(still.episode, still.trace, last)
    torso = subject._env.unwrapped.data.body("torso")
    np.testing.assert_array_equal(torso.xpos, still.trace["state.qpos"][last, :3])
    forces = still.forced["observation"][last, 27:]
    assert np.abs(forces).max() > 0.1
    np.testing.assert_array_equal(forces != 0, still.trace["observation"][last, 27:] != 0)


def test_a_changed_model_is_declared_and_moves_the_dynamics(subjects: Any) -> None:
    subject, recorded = GymnasiumSubject("Ant-v5"), subjects["Ant-v5"][1]
    before = subject.specification()["model"]
    subject._env.unwrapped.model.dof_damping[:] *= 1.01
    after = subject.specification()["model"]
    assert {name for name in before if before[name] != after[name]} == {"dof_damping"}
    now, golden = all_forced(subject, recorded[0]), followed(recorded[0])
    assert {"dynamics"} <= {subject.layer(name) for name in now if compare(golden[name], now[name]).changed.any()}
    assert not compare(golden["state.time"], now["state.time"]).changed.any()


def test_round_off_in_the_model_is_not_declared() -> None:
    subject = GymnasiumSubject("Ant-v5")
    before = subject.specification()
    model = subject._env.unwrapped.model
    model.body_mass[:] *= 1 + 1e-14
    model.body_iquat[:] += 1e-16
    assert subject.specification() == before


def test_a_moment_of_another_shape_is_refused(subjects: Any) -> None:
    one = subjects["Ant-v5"][1][0]
    trace = {**one.trace, "state.qpos": one.trace["state.qpos"][:, :-1]}
    with pytest.raises(InvalidValue, match=r"state\.qpos as \(15,\); got \(14,\)"):
        subjects["Ant-v5"][0].forced(one.episode, trace, np.arange(1))


def test_the_engine_is_part_of_name_and_platform(subjects: Any) -> None:
    import mujoco

    subject = subjects["Ant-v5"][0]
    assert subject.engine == f"mujoco {mujoco.__version__}"
    assert subject.stem == "Ant-v5.mujoco"
    found = subject.platform()
    assert (found["mujoco"], found["gymnasium"]) == (mujoco.__version__, gymnasium.__version__)
    plain = subjects["CartPole-v1"][0]
    assert (plain.engine, plain.stem) == ("", "CartPole-v1")
    assert "mujoco" not in plain.platform()


def test_mujoco_leaves_no_log_behind(tmp_path: Path, monkeypatch: Any, capfd: Any) -> None:
    monkeypatch.chdir(tmp_path)
    one = GymnasiumSubject("HalfCheetah-v5")  # its model has a deprecated attribute
    one.returns("random", 1)
    assert os.listdir(tmp_path) == []
    assert capfd.readouterr() == ("", "")
