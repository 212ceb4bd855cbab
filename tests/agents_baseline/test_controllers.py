"""Hand-written controllers: the ladder that dispatching must have, and a solver that cannot hang."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest

import rlops  # noqa: F401
from rlops.agents_baseline import rolling_horizon
from rlops.agents_baseline.controllers import Controller, controllers_for, make_controller
from rlops.agents_baseline.rolling_horizon import GuardedSolver, RollingHorizon, routing_problem
from rlops.errors import InvalidValue, MissingExtra, UnknownName

SEEDS = 20
V0, V1, V2 = "rlops/Dispatch-v0", "rlops/Dispatch-v1", "rlops/Dispatch-v2"


def opened(id, rows, **options):
    return gym.make_vec(id, num_envs=rows, autoreset_mode="Disabled", **options)


def played(id, agent, seeds, until_min=np.inf, **options):
    """Let ``agent`` play one episode of every seed; return returns, key figures and actions."""
    envs = opened(id, len(seeds), **options)
    obs, _ = envs.reset(seed=list(seeds))
    n = len(seeds)
    returns, live, kpis, taken = np.zeros(n), np.ones(n, np.bool_), [{} for _ in seeds], [[] for _ in seeds]
    while live.any() and envs.state["now_min"].min() < until_min:
        masks = envs.action_masks()
        actions = agent.actions(envs, obs, masks)
        assert actions.dtype == np.int64
        assert actions.shape == (n,)
        assert masks[np.arange(n), actions].all()
        obs, rewards, terminated, truncated, infos = envs.step(actions)
        returns += rewards * live
        ended = terminated | truncated
        for i in np.flatnonzero(live):
            taken[i].append(int(actions[i]))
            if ended[i]:
                kpis[i] = {name: values[i] for name, values in infos["kpis"].items() if not name.startswith("_")}
        live &= ~ended
        if ended.any() and live.any():  # an ended row goes on with an episode that nobody records
            obs, _ = envs.reset(options={"reset_mask": ended})
    return SimpleNamespace(returns=returns, kpis=kpis, actions=taken)


class HoldToEnd(Controller):
    """Assigns nothing before the last quarter of an hour of the day."""

    def __init__(self, version):
        super().__init__("hold_to_end", version)
        self.then = make_controller("nearest_idle", f"rlops/Dispatch-v{version}")

    def actions(self, envs, obs, masks):
        late = envs.state["now_min"] >= 705.0
        return np.where(late, self.then.actions(envs, obs, masks), masks.shape[1] - 1)


class AssignThenNothing(Controller):
    """Assigns for two hours, then only lets time pass."""

    def __init__(self, version):
        super().__init__("assign_then_nothing", version)
        self.first = make_controller("nearest_idle", f"rlops/Dispatch-v{version}")

    def actions(self, envs, obs, masks):
        early = envs.state["now_min"] < 120.0
        return np.where(early, self.first.actions(envs, obs, masks), masks.shape[1] - 1)


def ladder(id):
    version = int(id[-1])
    names = [name for name in controllers_for(id) if name != "rolling_horizon"]
    agents = [make_controller(name, id) for name in names] + [HoldToEnd(version), AssignThenNothing(version)]
    return {agent.name: played(id, agent, range(SEEDS)) for agent in agents}


@pytest.fixture(scope="module")
def v1():
    return ladder(V1)


@pytest.fixture(scope="module")
def v2():
    return ladder(V2)


def gap(better, worse):
    """Return the mean paired difference of the returns and its standard error [$]."""
    difference = better.returns - worse.returns
    return difference.mean(), difference.std(ddof=1) / np.sqrt(len(difference))


LADDER = [("cherry_pick", "do_nothing"), ("random", "cherry_pick"), ("hungarian", "nearest_idle")]
LATE = ("late_insertion", "cheapest_insertion")


@pytest.mark.parametrize(("better", "worse"), [*LADDER, ("cheapest_insertion", "hungarian"), LATE])
def test_the_ladder_of_v2_stands(v2, better, worse):
    mean_usd, error_usd = gap(v2[better], v2[worse])
    assert mean_usd > 2 * error_usd


@pytest.mark.parametrize(("better", "worse"), LADDER)
def test_the_ladder_of_v1_stands(v1, better, worse):
    mean_usd, error_usd = gap(v1[better], v1[worse])
    assert mean_usd > 2 * error_usd


@pytest.mark.parametrize("name", ["do_nothing", "cherry_pick", "hold_to_end", "assign_then_nothing"])
@pytest.mark.parametrize("rungs", ["v1", "v2"])
def test_no_trick_earns_half_of_what_the_matching_earns(rungs, name, request):
    results = request.getfixturevalue(rungs)
    idle = results["do_nothing"].returns.mean()
    assert results[name].returns.mean() - idle < 0.5 * (results["hungarian"].returns.mean() - idle)


def test_pooling_beats_one_booking_at_a_time(v2):
    for pooled in ("cheapest_insertion", "regret_insertion"):
        for single in ("nearest_idle", "earliest_deadline", "hungarian"):
            mean_usd, error_usd = gap(v2[pooled], v2[single])
            assert mean_usd > 2 * error_usd
    shares = {name: np.mean([k["rider_km_per_km"] for k in v2[name].kpis]) for name in v2}
    assert shares["cheapest_insertion"] > shares["hungarian"]


@pytest.mark.parametrize("rungs", ["v1", "v2"])
def test_the_cherry_picker_has_the_fairest_figures_and_serves_nobody_in_a_wheelchair(rungs, request):
    results = request.getfixturevalue(rungs)

    def mean(name, figure):
        return np.mean([k[figure] for k in results[name].kpis])

    assert mean("cherry_pick", "completion_wc") == 0.0
    assert mean("cherry_pick", "km_per_completed") < 0.75 * mean("hungarian", "km_per_completed")
    assert mean("cherry_pick", "completion_rate") < 0.5 * mean("hungarian", "completion_rate")


def test_matching_drives_less_than_the_nearest_vehicle_to_whoever_asked_first(v2):
    km = {name: np.mean([k["km_per_completed"] for k in v2[name].kpis]) for name in ("nearest_idle", "hungarian")}
    assert km["hungarian"] < km["nearest_idle"]


def test_in_the_historical_task_every_rule_beats_chance():
    results = {name: played(V0, make_controller(name, V0), range(SEEDS)) for name in controllers_for(V0)}
    for name in ("nearest_idle", "earliest_deadline", "hungarian"):
        for chance in ("random", "do_nothing"):
            mean, error = gap(results[name], results[chance])
            assert mean > 2 * error


@pytest.mark.parametrize("id", [V0, V1, V2])
def test_what_is_decided_depends_neither_on_the_order_nor_on_the_number_of_rows(id):
    seeds = [3, 11, 4]
    for name in controllers_for(id):
        if name == "rolling_horizon":
            continue
        together = played(id, make_controller(name, id), seeds).actions
        assert played(id, make_controller(name, id), seeds[::-1]).actions == together[::-1]
        assert played(id, make_controller(name, id), seeds[1:2]).actions == together[1:2]


def test_where_vehicles_may_be_moved_the_controllers_of_v2_do_what_they_do_there():
    moving = "rlops/DispatchReposition-v2"
    assert controllers_for(moving) == controllers_for(V2)
    for name in ("nearest_idle", "late_insertion"):
        here, there = (played(id, make_controller(name, id), [6], until_min=200.0) for id in (V2, moving))
        assert here.actions == there.actions
        np.testing.assert_array_equal(here.returns, there.returns)


def test_the_random_controller_repeats_itself_by_seed_and_uses_every_legal_action():
    envs = opened(V2, 400)
    obs, _ = envs.reset(seed=[7] * 400)
    for _ in range(70):
        obs, *_ = envs.step(np.full(400, 256))
    masks = envs.action_masks()
    envs.state["key"] += np.arange(400, dtype=np.uint64)
    drawn = make_controller("random", V2, seed=1).actions(envs, obs, masks)
    assert np.array_equal(drawn, make_controller("random", V2, seed=1).actions(envs, obs, masks))
    assert not np.array_equal(drawn, make_controller("random", V2, seed=2).actions(envs, obs, masks))
    legal = np.flatnonzero(masks[0])
    counts = np.bincount(drawn, minlength=257)[legal]
    assert counts.sum() == 400
    expected = 400 / len(legal)
    # χ² has mean len(legal) - 1 and standard deviation √(2 (len(legal) - 1))
    chi2, freedom = ((counts - expected) ** 2 / expected).sum(), len(legal) - 1
    assert abs(chi2 - freedom) < 5 * np.sqrt(2 * freedom)


def test_insertions_take_the_least_cost_and_the_greatest_regret():
    envs = opened(V2, 1)
    obs, _ = envs.reset(seed=5)
    compared = 0
    while envs.state["now_min"][0] < 180.0:
        masks, s = envs.action_masks(), envs.state[0]
        cheapest = make_controller("cheapest_insertion", V2).actions(envs, obs, masks)
        regret = make_controller("regret_insertion", V2).actions(envs, obs, masks)
        cost_usd = np.full((16, 16), np.inf)
        for k, b in enumerate(s["slot"]):
            if b >= 0:
                legal = masks[0, 16 * k : 16 * k + 16]
                cost_usd[k, legal] = s["pair_usd"][s["row_of"][b], legal]
        late = make_controller("late_insertion", V2).actions(envs, obs, masks)
        due = (s["slot"] >= 0) & (s["bookings"]["earliest_min"][s["slot"]] - s["now_min"] <= 10.0)
        late_usd = np.where(due[:, None], cost_usd, np.inf)
        assert late[0] == (late_usd.argmin() if np.isfinite(late_usd).any() else 256)
        if np.isfinite(cost_usd).any():
            assert cheapest[0] == cost_usd.argmin()
            three = np.minimum(np.sort(cost_usd, 1)[:, :3], 1000.0)
            regrets = np.where(np.isfinite(cost_usd.min(1)), (three - three[:, :1]).sum(1), -np.inf)
            assert regrets[regret[0] // 16] == pytest.approx(regrets.max())
            assert cost_usd[regret[0] // 16].argmin() == regret[0] % 16
            compared += 1
        else:
            assert cheapest[0] == regret[0] == 256
        obs, *_ = envs.step(cheapest if compared % 3 else regret)
    assert compared > 20


def test_one_minute_carries_out_one_matching():
    scipy = pytest.importorskip("scipy.optimize")
    envs, agent = opened(V2, 1), make_controller("hungarian", V2)
    obs, _ = envs.reset(seed=2)
    matched = 0
    while envs.state["now_min"][0] < 240.0:
        minute, bookings = envs.state["now_min"][0], envs.state["slot"][0].copy()
        o = agent.layout.offers(envs, envs.action_masks())
        begin_min = np.maximum(o.drive_min, o.opens_min[:, :, None])[0]
        cost_min = np.where(o.legal[0], begin_min + o.late_min[0], 1e6)
        expected = {(k, v) for k, v in zip(*scipy.linear_sum_assignment(cost_min), strict=True) if o.legal[0, k, v]}
        done = set()
        while True:
            action = agent.actions(envs, obs, envs.action_masks())
            obs, *_ = envs.step(action)
            if action[0] == 256:
                break
            done.add((action[0] // 16, action[0] % 16))
        assert done == expected, (minute, bookings)
        matched += len(done)
    assert matched > 10


@pytest.mark.parametrize("id", [V0, V1, V2])
def test_an_unknown_controller_names_those_of_the_id(id):
    with pytest.raises(UnknownName, match="hungarian"):
        make_controller("hungerian", id)
    if id != V2:
        with pytest.raises(UnknownName, match=r"no controller named 'cheapest_insertion'"):
            make_controller("cheapest_insertion", id)


@pytest.mark.parametrize(("name", "module"), [("hungarian", "scipy.optimize"), ("rolling_horizon", "ortools")])
def test_a_missing_solver_names_its_extra(name, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(rolling_horizon.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"rlops\[solvers\]"):
        make_controller(name, V2)


# --- rolling horizon ------------------------------------------------------------------------------------


def python(code):
    """Return the command of a process that speaks the solver's protocol, or does not."""
    return (sys.executable, "-c", code)


NEVER = python("import time; time.sleep(3600)")
NOTHING = python("import sys\nfor line in sys.stdin: print('null', flush=True)")
DIES = python("")
NONSENSE = python("import sys\nfor line in sys.stdin: print('no JSON', flush=True)")


@pytest.mark.parametrize("command", [NEVER, NOTHING, DIES, NONSENSE], ids=["never", "nothing", "dies", "nonsense"])
def test_without_a_solution_the_guard_returns_and_every_booking_gets_the_cheapest_insertion(command):
    solver = GuardedSolver(command, grace_s=0.01, start_s=10.0 if command is NOTHING else 0.5)
    agent = RollingHorizon(limit_s=0.01, solver=solver)
    try:
        if command is NOTHING:
            fallen_back = played(V2, agent, [1], until_min=60.0)
        else:
            with pytest.warns(RuntimeWarning, match="late or ended 3 times in a row"):
                fallen_back = played(V2, agent, [1], until_min=60.0)
        assert (solver.failures == 0) is (command is NOTHING)
        # Slot by slot instead of the cheapest slot first: the same bookings, in the same minutes.
        cheapest = played(V2, make_controller("cheapest_insertion", V2), [1], until_min=60.0)
        assert len(fallen_back.actions[0]) == len(cheapest.actions[0])
        assert sum(action < 256 for action in fallen_back.actions[0]) > 5
    finally:
        agent.close()


def test_a_late_solver_is_ended_and_the_next_problem_gets_a_new_one(tmp_path):
    first = tmp_path / "first"
    code = f"""
import pathlib, sys, time
first = pathlib.Path({str(first)!r})
if not first.exists():
    first.touch()
    time.sleep(3600)
for line in sys.stdin: print('[[0, 1.0]]', flush=True)
"""
    solver = GuardedSolver(python(code), grace_s=0.01, start_s=1.0)
    try:
        assert solver.answer({"limit_s": 0.01}) is None
        assert solver.failures == 1
        solver.start_s = 30.0
        assert solver.answer({"limit_s": 0.01}) == [[0, 1.0]]
        assert solver.failures == 0
    finally:
        solver.close()


def test_the_last_solution_stays_in_force_when_there_is_no_new_one():
    envs = opened(V2, 1)
    obs, _ = envs.reset(seed=1)
    agent = make_controller("do_nothing", V2)
    while envs.action_masks()[0, :256].reshape(16, 16).sum(1).max() < 2:
        obs, *_ = envs.step(agent.actions(envs, obs, envs.action_masks()))
    s, mask = envs.state[0], envs.action_masks()[0]
    slot = next(k for k in range(16) if mask[16 * k : 16 * k + 16].sum() > 1)
    b, legal = int(s["slot"][slot]), np.flatnonzero(mask[16 * slot : 16 * slot + 16])
    cheapest = np.argmin(s["pair_usd"][s["row_of"][b], legal])
    dear = int(legal[cheapest - 1])  # any other
    rolling = RollingHorizon(limit_s=0.01, solver=GuardedSolver(NOTHING, start_s=30.0))
    kept = rolling_horizon.Intention(int(s["key"]), vehicle={b: (dear, float(s["now_min"]))})
    rolling._intentions[0] = kept
    chosen = set()
    try:
        while (action := int(rolling.actions(envs, obs, envs.action_masks())[0])) < 256:
            chosen.add(action)
            obs, *_ = envs.step(np.array([action]))
    finally:
        rolling.close()
    assert kept.failed
    assert 16 * slot + dear in chosen


@pytest.fixture(scope="module")
def morning():
    """A short horizon of the real solver, with the problems that it was asked and what it answered."""
    pytest.importorskip("ortools")
    asked = []

    class Noted(GuardedSolver):
        def answer(self, problem):
            asked.append((problem, super().answer(problem)))
            return asked[-1][1]

    agent = RollingHorizon(limit_s=0.2, solver=Noted(grace_s=30.0))
    try:
        result = played(V2, agent, [1], until_min=75.0)
    finally:
        agent.close()
    return SimpleNamespace(result=result, asked=asked)


def test_the_solver_serves_bookings_and_assigns_them(morning):
    assert any(answer is not None and any(answer) for _, answer in morning.asked)
    assert sum(action < 256 for action in morning.result.actions[0]) > 5


def test_a_solution_keeps_pairs_plans_and_windows(morning):
    for problem, answer in morning.asked:
        assert answer is not None
        stops = problem["stops"]
        for v, vehicle in enumerate(problem["vehicles"]):
            begins = [answer[i][1] for i in vehicle["stops"]]
            assert begins == sorted(begins)
            assert all(answer[i][0] == v for i in vehicle["stops"])
        for i, stop in enumerate(stops):
            if answer[i] is None:
                assert stop["vehicles"] is not None
                continue
            assert stop["opens_min"] is None or answer[i][1] >= stop["opens_min"] - 0.1
            assert stop["last_min"] is None or answer[i][1] <= stop["last_min"] + 0.1
            if stop["pickup"] is not None:
                picked_v, picked_min = answer[stop["pickup"]]
                assert picked_v == answer[i][0]
                ride_min = answer[i][1] - picked_min - stops[stop["pickup"]]["serve_min"]
                assert -0.2 <= ride_min <= stop["ride_min"] + 0.2


def test_a_problem_holds_what_the_row_believes():
    envs, agent = opened(V2, 1), make_controller("cheapest_insertion", V2)
    obs, _ = envs.reset(seed=4)
    held = 0
    while envs.state["now_min"][0] < 150.0:
        s = envs.state[0]
        bookings = [int(b) for b in s["slot"] if b >= 0]
        problem, pickups, vehicles = routing_problem(envs.params[0], s, bookings, 1.0)
        planned = sum(len(vehicle["stops"]) for vehicle in problem["vehicles"])
        assert len(problem["stops"]) == planned + 2 * len(pickups)
        for v, vehicle in zip(vehicles, problem["vehicles"], strict=True):
            assert len(vehicle["stops"]) == s["stops"][v] - s["committed"][v]
            end_amb = vehicle["amb"] + sum(problem["stops"][i]["amb"] for i in vehicle["stops"])
            assert end_amb == 0  # at the end of a plan nobody is on board
            held += len(vehicle["stops"])
        obs, *_ = envs.step(agent.actions(envs, obs, envs.action_masks()))
    assert held > 0


def test_a_time_limit_must_be_positive():
    with pytest.raises(InvalidValue, match="above 0 s"):
        RollingHorizon(limit_s=0.0)
