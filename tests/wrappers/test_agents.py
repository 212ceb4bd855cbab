"""Every row is one agent of one copy, exactly as it is alone; who has left is padding and trains nobody."""

from __future__ import annotations

from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from pettingzoo import ParallelEnv
from pettingzoo.test import parallel_api_test
from sb3_contrib import MaskablePPO
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback

import rlops
from rlops.errors import EpisodeEnded, InvalidAction, InvalidValue, UnknownName
from rlops.wrappers import agents_as_rows, to_sb3
from rlops.wrappers.sb3 import WithoutPadding

pytestmark = pytest.mark.usefixtures("one_torch_thread")

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]
ACTIONS = 4


class Race(ParallelEnv):
    """Agents reach a goal at times of their own; the last must hurry. Sometimes the third does not start."""

    metadata: ClassVar[dict] = {"name": "race_v0", "render_modes": ["rgb_array"]}
    render_mode = "rgb_array"
    latest = 6

    def __init__(self, early=True, masks="info", third=0.7):
        self.possible_agents, self.agents = ["a", "b", "c"], []
        self.early, self.masks, self.third = early, masks, third
        self.rng = np.random.default_rng(0)
        seen = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
        if masks == "obs":
            seen = gym.spaces.Dict({"seen": seen, "action_mask": gym.spaces.MultiBinary(ACTIONS)})
        self.spaces = seen, gym.spaces.Discrete(ACTIONS)
        self.closed = False

    def observation_space(self, agent):
        return self.spaces[0]

    def action_space(self, agent):
        return self.spaces[1]

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.time, self.asked = 0, options
        self.goals = dict(zip(self.possible_agents, self.rng.integers(1, self.latest + 1, 3).tolist(), strict=True))
        self.agents = self.possible_agents[: 2 + int(self.rng.random() < self.third)]
        told = [self._told(agent) for agent in self.agents]
        return ({a: t[0] for a, t in zip(self.agents, told, strict=True)},
                {a: t[1] for a, t in zip(self.agents, told, strict=True)})  # fmt: skip

    def _told(self, agent):
        mask = np.append(self.rng.random(ACTIONS - 1) < 0.5, True).astype(np.int8)
        seen = (0.01 + 0.99 * self.rng.random(2)).astype(np.float32)
        info = {"terms": {"time": float(self.time)}, "goal": self.goals[agent]}
        if self.masks == "info":
            info["action_mask"] = mask
        return {"seen": seen, "action_mask": mask} if self.masks == "obs" else seen, info

    def step(self, actions):
        assert actions.keys() == set(self.agents)
        self.time += 1
        obs, reward, over, cut, infos = ({} for _ in range(5))
        for agent in self.agents:
            obs[agent], infos[agent] = self._told(agent)
            reward[agent] = float(actions[agent]) + self.rng.random()
            over[agent] = self.early and self.goals[agent] == self.time
            cut[agent] = self.time == self.latest - 1
        self.agents = [agent for agent in self.agents if not (over[agent] or cut[agent])]
        return obs, reward, over, cut, infos

    def render(self):
        return np.full((2, 2, 3), self.time, np.uint8)

    def close(self):
        self.closed = True


def act(obs):
    """Return the action of an agent that observes ``obs``: a function of its bits."""
    seen = obs["seen"] if isinstance(obs, dict) else obs
    return int(seen[0] * 1e5) % ACTIONS


def alone(env, seed, episodes):
    """Play a parallel environment; return of every agent its episodes: what it saw, got and was told."""
    played = {agent: [] for agent in env.possible_agents}
    for episode in range(episodes):
        obs, infos = env.reset(seed=seed if episode == 0 else None)
        for agent in env.agents:
            played[agent].append([(obs[agent], 0.0, False, False, infos[agent])])
        while env.agents:
            obs, *parts = env.step({agent: act(obs[agent]) for agent in env.agents})
            for agent in obs:
                played[agent][-1].append((obs[agent], *(part[agent] for part in parts)))
    return played


def of_row(told, row):
    """Return what vector infos tell of one row."""
    out = {}
    for name, value in told.items():
        if name.startswith("_") or name in ("padding", "final_obs", "final_info") or not told[f"_{name}"][row]:
            continue
        out[name] = of_row(value, row) if isinstance(value, dict) else value[row]
    return out


def item(obs, row):
    return {key: part[row] for key, part in obs.items()} if isinstance(obs, dict) else obs[row]


def parts(obs):
    return [obs[key] for key in sorted(obs)] if isinstance(obs, dict) else [obs]


def in_rows(envs, seed, steps):
    """Play the rows; return of every row its episodes, and check that nothing happens outside of them."""
    same_step = envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    played, resting = [[] for _ in range(envs.num_envs)], np.ones(envs.num_envs, np.bool_)
    obs, infos = envs.reset(seed=seed)
    quiet = np.zeros(envs.num_envs, np.bool_)
    stepped = np.zeros(envs.num_envs), quiet, quiet
    for _ in range(steps + 1):
        over, padding = stepped[1] | stepped[2], infos["padding"]
        assert envs.observation_space.contains(obs)
        for row, episodes in enumerate(played):
            flags = tuple(part[row] for part in stepped)
            own, told = item(obs, row), of_row(infos, row)
            if resting[row]:
                assert flags == (0.0, False, False)
            elif over[row] and same_step:
                episodes[-1].append((infos["final_obs"][row], *flags, of_row(infos["final_info"], row)))
            else:
                episodes[-1].append((own, *flags, told))
            if padding[row]:
                assert not told
                assert not any(part.any() for part in parts(own))
            elif resting[row] or (over[row] and same_step):
                episodes.append([(own, 0.0, False, False, told)])
        resting = padding | (over & (not same_step))
        actions = [9 if padding[row] else act(item(obs, row)) for row in range(envs.num_envs)]  # 9: nobody takes it
        obs, *stepped, infos = envs.step(np.array(actions))
    return played


def assert_same(theirs, ours):
    """Check that a row's episodes, of which the last may not have ended, are those of its agent alone."""
    assert len(ours) >= 3
    for number, episode in enumerate(ours):
        whole = theirs[number][: len(episode)]
        assert len(whole) == len(episode)
        assert len(theirs[number]) == len(episode) or number == len(ours) - 1
        for (obs, *flags, info), (row_obs, *row_flags, row_info) in zip(whole, episode, strict=True):
            np.testing.assert_equal(row_obs, obs)
            assert [part.dtype for part in parts(row_obs)] == [part.dtype for part in parts(obs)]
            assert row_flags == flags
            np.testing.assert_equal(row_info, info)


def rows_of(copies=3, mode=AutoresetMode.SAME_STEP, **options):
    return agents_as_rows(lambda: Race(**options), copies, autoreset_mode=mode)


def test_the_race_is_a_parallel_environment():
    parallel_api_test(Race(third=1.0))


@pytest.mark.parametrize("masks", ["info", "obs"])
@pytest.mark.parametrize("mode", MODES)
def test_every_row_is_its_agent_alone_with_the_seed_of_its_copy(mode, masks):
    envs = rows_of(3, mode, masks=masks)
    played = in_rows(envs, 11, 40)
    assert envs.num_envs == len(played) == 9
    for copy in range(3):
        theirs = alone(Race(masks=masks), 11 + copy, 40)
        for place, agent in enumerate(envs.agents):
            assert_same(theirs[agent], played[3 * copy + place])


@pytest.mark.parametrize("mode", MODES)
def test_an_environment_may_write_all_its_observations_into_the_same_arrays(mode):
    class Frugal(Race):
        def _told(self, agent):
            seen, info = super()._told(agent)
            self.seen = getattr(self, "seen", {}) | {agent: getattr(self, "seen", {}).get(agent, seen)}
            self.seen[agent][:] = seen
            return self.seen[agent], info

    played = in_rows(agents_as_rows(Frugal, 1, autoreset_mode=mode), 5, 30)
    theirs = alone(Race(), 5, 30)
    for row, agent in enumerate("abc"):
        assert_same(theirs[agent], played[row])


@pytest.mark.parametrize("mode", MODES)
def test_the_agents_of_dispatch_are_rows(mode):
    envs = agents_as_rows(lambda: rlops.envs.parallel_env("rlops/Dispatch-v2"), 2, autoreset_mode=mode)
    one = rlops.envs.parallel_env("rlops/Dispatch-v2")
    (obs, infos), (their_obs, their_infos) = envs.reset(seed=4), one.reset(seed=5)
    agents = one.possible_agents
    second = range(len(agents), envs.num_envs)
    assert envs.num_envs == 2 * len(agents)
    for step in range(12):
        own = envs.action_masks()[len(agents) :]
        np.testing.assert_array_equal(own, one.action_masks())
        for agent, row in zip(agents, second, strict=True):
            np.testing.assert_array_equal(obs[row], their_obs[agent])
            np.testing.assert_equal(of_row(infos, row), their_infos[agent])
        choices = own.argmax(axis=1)
        obs, rewards, _, _, infos = envs.step(np.concatenate([choices, choices]))
        their_obs, their_rewards, _, _, their_infos = one.step(dict(zip(agents, choices, strict=True)))
        assert rewards[second].tolist() == list(their_rewards.values()), step
        assert not infos["padding"].any()


@pytest.mark.parametrize("masks", ["info", "obs"])
def test_masks_are_those_of_the_agents_and_padding_may_only_do_the_last(masks):
    envs = rows_of(masks=masks)
    obs, infos = envs.reset(seed=0)
    seen = 0
    for _ in range(30):
        told = obs["action_mask"] if masks == "obs" else infos["action_mask"]
        for row, mask in enumerate(envs.action_masks()):
            expected = [False] * 3 + [True] if infos["padding"][row] else told[row].astype(bool)
            np.testing.assert_array_equal(mask, expected)
        seen += infos["padding"].sum()
        obs, _, _, _, infos = envs.step(np.zeros(9, np.int64))
    assert seen > 20


def test_without_masks_every_action_is_legal():
    envs = rows_of(masks=None)
    _, infos = envs.reset(seed=0)
    for _ in range(10):  # rows that were padding among them
        assert envs.action_masks()[~infos["padding"]].all()
        infos = envs.step(np.zeros(9, np.int64))[4]


def test_what_was_returned_stays_as_it_was():
    envs = rows_of()
    envs.reset(seed=0)
    held = [(*envs.step(np.zeros(9, np.int64)), envs.action_masks()) for _ in range(8)]
    again = rows_of()
    again.reset(seed=0)
    for obs, _, _, _, infos, masks in held:
        fresh_obs, _, _, _, fresh = again.step(np.zeros(9, np.int64))
        np.testing.assert_array_equal(masks, again.action_masks())
        np.testing.assert_array_equal(obs, fresh_obs)
        np.testing.assert_array_equal(infos["padding"], fresh["padding"])


def test_seeds_are_one_a_copy_and_a_sequence_has_one_a_row():
    envs, apart = rows_of(2), rows_of(2)
    obs, _ = envs.reset(seed=7)
    np.testing.assert_array_equal(apart.reset(seed=[7, None, None, 8, None, None])[0], obs)
    assert (envs.reset(seed=7)[0] == obs).all()
    assert (envs.reset()[0] != obs).any()
    with pytest.raises(InvalidValue, match="one entry a row, 6, got 2"):
        envs.reset(seed=[1, 2])


def test_options_pictures_and_closing_reach_the_copies():
    envs = rows_of(2)
    envs.reset(seed=0, options={"lane": 1})
    assert [copy.asked for copy in envs.copies] == [{"lane": 1}] * 2
    envs.copies[1].time = 5
    assert [int(picture[0, 0, 0]) for picture in envs.render()] == [0, 0, 0, 5, 5, 5]
    envs.close()
    assert all(copy.closed for copy in envs.copies)


def test_errors_say_what_to_do():
    with pytest.raises(InvalidValue, match=r"returns a PettingZoo ParallelEnv, got CartPoleEnv.*aec_to_parallel"):
        agents_as_rows(lambda: gym.make("CartPole-v1").unwrapped, 1)
    with pytest.raises(InvalidValue, match="at least 1, got 0"):
        agents_as_rows(Race, 0)
    for mode in ("Disabled", "Sometimes"):
        with pytest.raises(UnknownName, match=rf"named '{mode}'.*NextStep, SameStep"):
            agents_as_rows(Race, 1, autoreset_mode=mode)

    class Unequal(Race):
        def action_space(self, agent):
            return gym.spaces.Discrete(ACTIONS + (agent == "b"))

    with pytest.raises(
        InvalidValue, match=r"one action_space for all agents, got Discrete\(4\) for a and Discrete\(5\) for b"
    ):
        agents_as_rows(Unequal, 1)
    envs = rows_of(1)
    with pytest.raises(EpisodeEnded, match="reset must be called before step"):
        envs.step(np.zeros(3, np.int64))
    envs.reset(seed=0)
    with pytest.raises(InvalidAction, match="one action a row, 3, got 2"):
        envs.step(np.zeros(2, np.int64))


def test_masks_of_vector_actions_are_refused():
    class Steered(Race):
        def action_space(self, agent):
            return gym.spaces.Box(-1, 1, (1,), np.float32)

    envs = agents_as_rows(Steered, 1)
    with pytest.raises(InvalidValue, match="action_masks needs a Discrete action space, got Box"):
        envs.action_masks()


# --- Stable-Baselines3 ----------------------------------------------------------------------------------


class Kept(BaseCallback):
    """Keeps what training will draw its minibatches from, as flat arrays, of the first rollout."""

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        buffer, flat = self.model.rollout_buffer, {}
        self.size = buffer.buffer_size * buffer.n_envs
        for name in ("observations", "actions", "advantages", "returns", "values", "log_probs", "action_masks"):
            array = getattr(buffer, name, None)
            array = array["seen"] if isinstance(array, dict) else array
            if array is not None:
                flat[name] = array if buffer.generator_ready else buffer.swap_and_flatten(array)
        self.rollouts = [*getattr(self, "rollouts", []), flat]


def learner(algorithm=PPO, steps=20, masks="info", **race):
    policy = "MultiInputPolicy" if masks == "obs" else "MlpPolicy"
    settings = {"policy_kwargs": {"net_arch": [8]}, "seed": 2, "device": "cpu"}
    if algorithm is not A2C:
        settings |= {"batch_size": 20, "n_epochs": 2}
    return algorithm(policy, to_sb3(rows_of(masks=masks, **race)), n_steps=steps, **settings)


@pytest.mark.parametrize(
    ("algorithm", "masks"), [(PPO, "info"), (PPO, "obs"), (MaskablePPO, "info"), (MaskablePPO, "obs")]
)
def test_training_sees_all_samples_but_those_that_begin_with_padding(algorithm, masks):
    with_padding, without = Kept(), Kept()
    learner(algorithm, masks=masks).learn(180, callback=with_padding)
    learner(algorithm, masks=masks).learn(180, callback=[WithoutPadding(), without])
    (whole,), (rest,) = with_padding.rollouts, without.rollouts
    lived = (whole["observations"] > 0).all(axis=1)
    assert 0 < lived.sum() < len(lived) == 180
    assert without.size == lived.sum()
    assert whole.keys() == rest.keys()
    assert ("action_masks" in rest) == (algorithm is MaskablePPO)
    for name, array in whole.items():
        np.testing.assert_array_equal(rest[name], array[lived])


@pytest.mark.parametrize("algorithm", [PPO, A2C, MaskablePPO])
def test_several_rollouts_are_learned_from_and_the_buffer_has_its_size_afterwards(algorithm):
    model, kept = learner(algorithm), Kept()
    model.learn(3 * 180, callback=[WithoutPadding(), kept])
    assert [(flat["observations"] > 0).all() for flat in kept.rollouts] == [True] * 3
    assert (model.rollout_buffer.buffer_size, model.rollout_buffer.n_envs) == (20, 9)
    assert all(torch.isfinite(weight).all() for weight in model.policy.parameters())
    model.learn(180)


def test_what_follows_an_agent_that_left_does_not_count_for_it():
    class Last(Kept):
        def _on_rollout_end(self):
            buffer = self.model.rollout_buffer
            lives = (buffer.observations > 0).all(axis=2)
            left = lives[:-1] & ~lives[1:]
            assert left.sum() > 10
            np.testing.assert_allclose(buffer.returns[:-1][left], buffer.rewards[:-1][left], rtol=1e-6)

    learner().learn(180, callback=Last())


def test_without_padding_training_is_what_it_would_be():
    plain = learner(early=False, third=1.0).learn(360).policy.state_dict()
    spared = learner(early=False, third=1.0).learn(360, callback=WithoutPadding()).policy.state_dict()
    assert all(torch.equal(spared[name], plain[name]) for name in plain)


def test_the_length_of_an_episode_does_not_count_padding():
    env = to_sb3(rows_of(2))
    env.seed(3)
    env.reset()
    lengths = {row: [] for row in range(6)}
    for _ in range(40):
        _, _, dones, infos = env.step(np.zeros(6, np.int64))
        for row in np.flatnonzero(dones):
            lengths[row].append(infos[row]["episode"]["l"])
            assert infos[row]["terminal_observation"].all()
    for copy, seed in enumerate((3, 6)):
        theirs = alone(Race(), seed, 40)
        for place, agent in enumerate("abc"):
            own = lengths[3 * copy + place]
            assert own == [len(episode) - 1 for episode in theirs[agent]][: len(own)]
            assert len(own) >= 4


def test_what_cannot_leave_samples_out_is_refused():
    env = to_sb3(rows_of(1))
    with pytest.raises(InvalidValue, match="WithoutPadding needs PPO, A2C or MaskablePPO, got DQN"):
        DQN("MlpPolicy", env, device="cpu").learn(1, callback=WithoutPadding())
    other = PPO("MlpPolicy", "CartPole-v1", device="cpu", n_steps=8, batch_size=8)
    with pytest.raises(InvalidValue, match=r"an environment that says which rows are padding.*agents_as_rows"):
        other.learn(8, callback=WithoutPadding())
