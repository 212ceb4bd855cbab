"""What every released version of every family must do, whatever it simulates."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import rlops
from rlops.envs import parse_id
from rlops.envs.contract import width
from rlops.envs.effects import options_for
from tests.envs.rollouts import chosen, digest, options, state_bytes

ROOT = Path(__file__).resolve().parents[2]
STEPS = 150


def test_gymnasiums_checker_passes_without_a_warning(id, make):
    env = make(id)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is out of date.*")
        check_env(env.unwrapped)


def test_stable_baselines_checker_passes_without_a_warning(id, make):
    from stable_baselines3.common.env_checker import check_env as check_for_sb3

    env = make(id)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_for_sb3(env.unwrapped)


def test_the_same_seed_gives_the_same_episode_and_another_seed_another(id, make):
    env = make(id)
    assert _episode(env, 3) == _episode(env, 3) == _episode(make(id), 3)
    assert _episode(env, 4) != _episode(env, 3)


def test_a_used_environment_resets_to_the_same_bytes_as_a_fresh_one(id, make):
    used, fresh = make(id), make(id)
    _episode(used, 8)
    used.reset(seed=3)
    fresh.reset(seed=3)
    np.testing.assert_array_equal(state_bytes(used), state_bytes(fresh))
    assert used.unwrapped.params.tobytes() == fresh.unwrapped.params.tobytes()


def test_a_hundred_episodes_leave_constants_and_parameters_as_they_were(id, make_vec):
    used, fresh = (make_vec(id, 10, autoreset_mode=AutoresetMode.SAME_STEP) for _ in range(2))
    constants, params = _constants(), used.unwrapped.params.tobytes()
    _, infos = used.reset(seed=0)
    for step in itertools.count():
        _, _, _, _, infos = used.step(
            np.array([_hasty(legal, i, step) for i, legal in enumerate(options(used, infos))])
        )
        if used.unwrapped.state["episode"].sum() >= 100:
            break
    assert _constants() == constants
    assert used.unwrapped.params.tobytes() == params
    assert _batch_digest(used, first=10, seed=3) == _batch_digest(fresh, first=10, seed=3)


def _hasty(legal, row, step):
    """Return an action by chance; of vectors any, which end an episode soon."""
    if isinstance(legal, gym.spaces.Box):
        return np.random.default_rng([row, step]).uniform(legal.low, legal.high).astype(np.float32)
    return chosen(legal, row, step)


def _constants():
    """Return the bytes of all arrays that modules of the environments hold."""
    modules = {name: vars(module) for name, module in sys.modules.items() if name.startswith("rlops.envs")}
    return {
        (module, name): value.tobytes()
        for module, names in modules.items()
        for name, value in names.items()
        if isinstance(value, np.ndarray)
    }


TAKES_MORE = {"demand_day": "a table of bookings", "reward_sharing": "agents", "reward_mode": "agents"}
"""Parameters that need more than an environment of one agent to do anything."""
EVENTFUL = {
    "no_show": 0.12, "late_cancel": 0.15, "breakdown_per_km": 2e-3, "ev_share": 0.5, "ev_range_km": 160,
    "ev_charge_kw": 22, "ride_limit_min": 20, "ride_limit_factor": 1.2, "base_speed_kmh": 25, "leg_noise_sd": 0.35,
    "n_vehicles": 6,
}  # fmt: skip
"""A world in which every parameter has something to act on."""


def test_every_parameter_changes_what_is_seen_or_earned_between_its_bounds(id, make_vec):
    kernel = make_vec(id, 1).unwrapped.kernel
    parameters = [p for p in kernel.PARAMETERS if p.name not in TAKES_MORE]
    nominal = make_vec(id, 1).unwrapped.params[0]
    values = {p.name: np.full(2 * len(parameters), EVENTFUL.get(p.name, nominal[p.name])) for p in parameters}
    family, vectors = parse_id(id)[0], not isinstance(kernel.ACTION, int)
    for i, p in enumerate(parameters):
        others = options_for(family, p.name)["params"] if vectors else {}
        for name, value in {**others, p.name: (p.low, p.high)}.items():
            values[name][2 * i : 2 * i + 2] = value
    envs = make_vec(id, 2 * len(parameters), params=values, autoreset_mode=AutoresetMode.SAME_STEP)
    obs, _ = envs.reset(seed=[7] * envs.num_envs)
    differs = (obs[::2] != obs[1::2]).any(1)
    rng = np.random.default_rng(1)
    for step in range(900):
        if vectors:
            actions = np.tile(rng.uniform(-1, 1, width(kernel.ACTION)), (envs.num_envs, 1))
        else:
            masks = envs.unwrapped.action_masks()
            nth = np.floor(rng.random() * masks.sum(1)) if rng.random() < 0.5 else masks.sum(1) - 1
            actions = (masks.cumsum(1) > nth[:, None]).argmax(1)
            if step % 50 == 49:
                actions[:] = rng.integers(envs.single_action_space.n)  # mostly against the mask
        obs, rewards, *_ = envs.step(actions)
        differs |= (obs[::2] != obs[1::2]).any(1) | (rewards[::2] != rewards[1::2])
        if differs.all():
            break
    assert [p.name for p, d in zip(parameters, differs, strict=True) if not d] == []


def test_a_reset_without_a_seed_begins_the_next_episode_of_that_seed(id, make):
    env = make(id)
    first, _ = env.reset(seed=3)
    second, _ = env.reset()
    assert env.unwrapped.state["episode"][0] == 1
    env.reset(seed=3)
    again, _ = env.reset()
    np.testing.assert_array_equal(second, again)
    assert not np.array_equal(first, second)


def test_environments_that_nobody_seeded_differ(id, make, make_vec):
    first, second = make(id), make(id)
    first.reset()
    second.reset()
    assert first.unwrapped.state["key"][0] != second.unwrapped.state["key"][0]
    rows = make_vec(id, 8)
    rows.reset()
    assert len(set(rows.unwrapped.state["key"].tolist())) == 8


@pytest.mark.parametrize(("rows", "threads"), [(1, 1), (7, 1), (7, 2), (64, 1), (64, 2)])
def test_row_i_of_a_batch_is_the_single_environment_with_seed_plus_i(id, make, make_vec, rows, threads):
    envs = make_vec(id, rows, threads=threads)
    obs, infos = envs.reset(seed=100)
    followed = sorted({0, rows // 2, rows - 1})
    singles = {i: make(id).unwrapped for i in followed}
    ended = dict.fromkeys(followed, False)
    for i in followed:
        single_obs, _ = singles[i].reset(seed=100 + i)
        np.testing.assert_array_equal(obs[i], single_obs)
    for step in range(STEPS):
        actions = np.array([chosen(legal, 100 + i, step) for i, legal in enumerate(options(envs, infos))])
        obs, reward, terminated, truncated, infos = envs.step(actions)
        for i in followed:
            if ended[i]:
                expected = (*singles[i].reset(), 0.0, False, False)
                single_obs, info, *rest = expected
            else:
                single_obs, *rest, info = singles[i].step(actions[i])
            np.testing.assert_array_equal(obs[i], single_obs)
            np.testing.assert_array_equal(options(envs, infos)[i], options(singles[i], info))
            assert [reward[i], terminated[i], truncated[i]] == rest
            ended[i] = bool(terminated[i] or truncated[i])
    batch_bytes = state_bytes(envs)
    for i in followed:
        np.testing.assert_array_equal(batch_bytes[i], state_bytes(singles[i])[0])


def test_the_result_does_not_depend_on_the_number_of_rows_or_threads(id, make_vec):
    reference = _batch_digest(make_vec(id, 7, threads=1), first=7)
    assert _batch_digest(make_vec(id, 7, threads=2), first=7) == reference
    assert _batch_digest(make_vec(id, 64, threads=2), first=7) == reference


def test_a_new_process_and_one_without_compilation_give_the_same_bytes(id, make, tmp_path):
    env = make(id).unwrapped
    _, info = env.reset(seed=9)
    for step in range(400):
        masked = "action_mask" in info and step % 3
        action = np.flatnonzero(info["action_mask"])[-1] if masked else chosen(options(env, info), 9, step)
        _, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            _, info = env.reset(seed=9)
    np.save(tmp_path / "busy.npy", env.save_state())
    compiled = _digest_in_a_process(id, tmp_path / "busy.npy", disable_jit=False)
    assert compiled == _digest_in_a_process(id, tmp_path / "busy.npy", disable_jit=True)


def test_the_three_autoreset_modes_tell_the_same_story(id, make_vec):
    stories = [_story(make_vec, id, mode) for mode in AutoresetMode]
    assert stories[0] == stories[1] == stories[2]
    assert len(stories[0]) > 20


def test_same_step_autoreset_hands_over_the_last_observation_and_key_figures(id, make_vec):
    same, disabled = (make_vec(id, 3, autoreset_mode=m) for m in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED))
    _, infos = same.reset(seed=5)
    disabled.reset(seed=5)
    for step in range(5000):
        actions = np.array([_hasty(legal, 5 + i, step) for i, legal in enumerate(options(same, infos))])
        obs, reward, terminated, truncated, infos = same.step(actions)
        last_obs, last_reward, last_terminated, last_truncated, last_infos = disabled.step(actions)
        np.testing.assert_array_equal(reward, last_reward)
        np.testing.assert_array_equal(terminated, last_terminated)
        np.testing.assert_array_equal(truncated, last_truncated)
        rows = terminated | truncated
        if rows.any():
            break
    np.testing.assert_array_equal(infos["_final_obs"], rows)
    row = int(np.flatnonzero(rows)[0])
    np.testing.assert_array_equal(infos["final_obs"][row], last_obs[row])
    assert not np.array_equal(obs[row], last_obs[row])
    names = [c.name for c in same.unwrapped.kernel.KPIS]
    assert names
    for name in names:
        assert infos["final_info"]["kpis"][name][row] == last_infos["kpis"][name][row]
    first_obs, _ = disabled.reset(options={"reset_mask": rows})
    np.testing.assert_array_equal(obs[row], first_obs[row])
    np.testing.assert_array_equal(same.unwrapped.action_masks(), disabled.unwrapped.action_masks())


def test_observations_masks_and_rewards_are_what_the_spaces_and_terms_say(id, make_vec):
    envs = make_vec(id, 16)
    obs, infos = envs.reset(seed=1)
    for step in range(400):
        assert envs.observation_space.contains(obs)
        if hasattr(envs.unwrapped.kernel, "mask"):
            assert infos["action_mask"].dtype == np.int8
            assert infos["action_mask"].any(axis=1).all()
        actions = np.array([chosen(legal, i, step) for i, legal in enumerate(options(envs, infos))])
        obs, reward, terminated, truncated, infos = envs.step(actions)
        assert (obs.dtype, reward.dtype, terminated.dtype, truncated.dtype) == (
            np.float32, np.float64, np.bool_, np.bool_,
        )  # fmt: skip
        terms = [v for k, v in infos["reward_terms"].items() if not k.startswith("_")]
        total = np.zeros(16)
        for term in terms:
            total += term
        np.testing.assert_array_equal(reward, total)


def test_returned_arrays_are_copies_unless_asked_otherwise(id, make_vec):
    copies, views = make_vec(id, 2), make_vec(id, 2, copy=False)
    for envs, shared in ((copies, False), (views, True)):
        first, infos = envs.reset(seed=0)
        kept = first.copy()
        second, *_, after = envs.step(np.array([chosen(o, 0, 0) for o in options(envs, infos)]))
        np.testing.assert_array_equal(first, kept)  # intact during the next step in both cases
        third = envs.step(np.array([chosen(o, 0, 1) for o in options(envs, after)]))[0]
        assert not np.shares_memory(first, second)
        assert np.shares_memory(first, third) == shared


def test_a_row_can_be_saved_loaded_and_cloned(id, make, make_vec):
    env = make(id).unwrapped
    _, info = env.reset(seed=2)
    _, info = _walk(env, info, 5)
    saved = env.save_state()
    expected = _walk(env, info, 30, offset=5)[0]
    env.load_state(saved)
    np.testing.assert_array_equal(_walk(env, info, 30, offset=5)[0], expected)

    rows = make_vec(id, 4).unwrapped
    rows.reset(seed=50)
    rows.load_state(saved, [1, 3])
    assert state_bytes(rows)[1].tobytes() == state_bytes(rows)[3].tobytes() == saved["state"].tobytes()
    rows.clone_rows(0, [2])
    assert state_bytes(rows)[2].tobytes() == state_bytes(rows)[0].tobytes()


def test_an_environment_pickles_in_the_middle_of_an_episode(id, make, make_vec):
    env = make(id)
    _, info = env.reset(seed=2)
    _, info = _walk(env, info, 5)
    other = pickle.loads(pickle.dumps(env))
    np.testing.assert_array_equal(_walk(env, info, 40, offset=5)[0], _walk(other, info, 40, offset=5)[0])
    envs = make_vec(id, 5)
    envs.reset(seed=0)
    twin = pickle.loads(pickle.dumps(envs))
    assert _batch_digest(envs, first=5, seed=None) == _batch_digest(twin, first=5, seed=None)


def test_the_spec_makes_the_same_environment_after_a_round_trip_through_json(id, make):
    parameter = make(id).unwrapped.kernel.PARAMETERS[0]
    env = make(id, params={parameter.name: parameter.high})
    text = env.spec.to_json()
    json.loads(text)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is out of date.*")
        again = gym.make(EnvSpec.from_json(text))
    assert again.unwrapped.params[parameter.name][0] == parameter.high
    assert _episode(env, 6) == _episode(again, 6)


def test_stepping_allocates_nothing_that_grows_with_the_rows(id):
    sizes = []
    for rows in (8, 64):
        script = (
            "import gymnasium, numpy, tracemalloc, warnings, rlops; warnings.simplefilter('ignore')\n"
            f"envs = gymnasium.make_vec('{id}', num_envs={rows}, copy=False, threads=1)\n"
            "envs.reset(seed=0); step = envs.unwrapped.step; masks = envs.unwrapped._batch\n"
            "if masks.out.mask.size: masks.actions[:] = int(numpy.flatnonzero(masks.out.mask.all(axis=0))[-1])\n"
            "actions = masks.actions.copy()\n"
            "for _ in range(5): step(actions)\n"
            "tracemalloc.start(); tracemalloc.reset_peak(); before = tracemalloc.get_traced_memory()[0]\n"
            "for _ in range(20): step(actions)\n"
            "print(tracemalloc.get_traced_memory()[1] - before)"
        )
        sizes.append(int(_run(script)))
    assert sizes[1] < sizes[0] + 1024, sizes


def test_a_sticky_parameter_holds_from_the_next_episode_and_an_override_for_one(id, make, make_vec):
    parameter = make(id).unwrapped.kernel.PARAMETERS[0]
    env = make(id, params={parameter.name: parameter.low}).unwrapped
    env.reset(seed=0, options={"params": {parameter.name: parameter.high}})
    assert env.params[parameter.name][0] == parameter.high
    env.reset()
    assert env.params[parameter.name][0] == parameter.low
    envs = make_vec(id, 3).unwrapped
    envs.set_params({parameter.name: parameter.high}, ids=[1])
    envs.reset(seed=0)
    nominal = envs.family.nominal(envs.version)[parameter.name][0]
    assert envs.params[parameter.name].tolist() == [nominal, parameter.high, nominal]


def test_context_is_shown_only_when_asked_for(id, make, make_vec):
    if not hasattr(make(id).unwrapped.kernel, "CONTEXT"):
        assert "context" not in make(id, expose_context=True).reset(seed=0)[1]
        return
    assert "context" not in make(id).reset(seed=0)[1]
    info = make(id, expose_context=True).reset(seed=0)[1]
    _, infos = make_vec(id, 2, expose_context=True).reset(seed=0)
    assert info["context"].keys() == {k for k in infos["context"] if not k.startswith("_")}
    for name, value in info["context"].items():
        np.testing.assert_array_equal(infos["context"][name][0], value)


def _episode(env, seed):
    """Return the digest of up to STEPS steps of an episode."""
    obs, info = env.reset(seed=seed)
    seen = [obs]
    for step in range(STEPS):
        obs, reward, terminated, truncated, info = env.step(chosen(options(env, info), seed, step))
        seen += [obs, np.array([reward])]
        if terminated or truncated:
            break
    return digest(*seen)


def _walk(env, info, steps, offset=0):
    """Step a fixed legal policy and return all observations and the last info."""
    seen = []
    for step in range(offset, offset + steps):
        obs, _, terminated, truncated, info = env.step(chosen(options(env, info), 0, step))
        seen.append(obs)
        if terminated or truncated:
            break
    return np.array(seen), info


def _batch_digest(envs, first, seed=21):
    """Return the digest of what the ``first`` rows show over STEPS steps."""
    if seed is not None:
        envs.reset(seed=seed)
    seen = []
    masks = {"action_mask": envs.unwrapped.action_masks()} if hasattr(envs.unwrapped.kernel, "mask") else {}
    for step in range(STEPS):
        actions = np.array([chosen(legal, i, step) for i, legal in enumerate(options(envs, masks))])
        obs, reward, terminated, truncated, masks = envs.step(actions)
        seen += [obs[:first], reward[:first], terminated[:first], truncated[:first]]
    return digest(*seen, state_bytes(envs)[:first])


def _story(make_vec, id, mode):
    """Return what two rows live through: (row, episode, step, reward, observation) of every real step and start."""
    envs = make_vec(id, 2, autoreset_mode=mode)
    obs, infos = envs.reset(seed=40)
    state = envs.unwrapped.state
    told = {(i, 0, 0): (0.0, obs[i].tobytes()) for i in range(2)}
    for _ in range(1100):
        before = [(int(e), int(s)) for e, s in zip(state["episode"], state["steps"], strict=True)]
        actions = np.array([_hasty(legal, i, before[i][1]) for i, legal in enumerate(options(envs, infos))])
        obs, reward, terminated, truncated, infos = envs.step(actions)
        ended = terminated | truncated
        for i in range(2):
            episode, steps = int(state["episode"][i]), int(state["steps"][i])
            if mode is AutoresetMode.SAME_STEP and ended[i]:
                told[i, episode - 1, before[i][1] + 1] = (reward[i], infos["final_obs"][i].tobytes())
                told[i, episode, 0] = (0.0, obs[i].tobytes())
            else:
                told[i, episode, steps] = (reward[i], obs[i].tobytes())
        if mode is AutoresetMode.DISABLED and ended.any():
            obs, infos = envs.reset(options={"reset_mask": ended})
            for i in np.flatnonzero(ended):
                told[i, int(state["episode"][i]), 0] = (0.0, obs[i].tobytes())
    return {k: v for k, v in told.items() if k[1] == 0 or (k[1] == 1 and k[2] < 5)}


def _run(script, **environment):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def _digest_in_a_process(id, busy, disable_jit):
    """Return the digest of the beginning of a day, and of what follows a saved busy hour."""
    script = (
        "import numpy, gymnasium, rlops\n"
        "from tests.envs.rollouts import chosen, digest, options, state_bytes\n"
        f"env = gymnasium.make('{id}', disable_env_checker=True).unwrapped; seen = []\n"
        "masked = hasattr(env.kernel, 'mask')\n"
        "def play(steps):\n"
        "    for step in range(steps):\n"
        "        info = {'action_mask': env.action_masks()} if masked else {}\n"
        "        obs, reward, terminated, truncated, info = env.step(chosen(options(env, info), 9, step))\n"
        "        seen.extend([obs, numpy.array([reward]), state_bytes(env)])\n"
        "        if terminated or truncated: break\n"
        "env.reset(seed=9); play(20)\n"
        f"seen.append(env.load_state(numpy.load({str(busy)!r}))); play(20)\n"
        "print(digest(*seen))"
    )
    return _run(script, NUMBA_DISABLE_JIT="1" if disable_jit else "0")


def test_importing_rlops_loads_nothing_heavy():
    loaded = _run("import sys, rlops; print(*sys.modules)").split()
    heavy = {"numba", "torch", "stable_baselines3", "matplotlib", "scipy", "pandas", "pettingzoo", "PIL", "ortools"}
    assert not heavy & set(loaded)
    assert rlops.__version__
