"""Controllers of static dispatch drive what the insertion heuristics build, and never into an illegal stop."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from rlops.agents_baseline.controllers import controllers_for, make_controller, reference_for
from rlops.agents_baseline.evaluate import evaluate
from rlops.envs.dispatch.kernel_static import CLOSE
from rlops.envs.dispatch.schedule import MAX_REQUESTS
from rlops.envs.dispatch.static import actions, cheapest_insertion, check_solution, read_cordeau, regret_insertion
from rlops.envs.faces import Env, VectorEnv

ID = "rlops/DispatchStatic-v2"
LADDER = ("random", "nearest_neighbour", "cheapest_insertion", "regret_insertion")
HEURISTICS = {"cheapest_insertion": cheapest_insertion, "regret_insertion": regret_insertion}


def driven(name, instance, first=()):
    """Return the return and the actions of an episode that begins with the actions ``first``."""
    env, agent = VectorEnv("DispatchStatic", 2, 1), make_controller(name, ID)
    obs, _ = env.reset(seed=0, options={"instance": instance})
    total, taken, ended = 0.0, [], False
    while not ended:
        masks = env.action_masks()
        action = np.array([first[len(taken)]]) if len(taken) < len(first) else agent.actions(env, obs, masks)
        assert masks[0, action[0]]
        obs, reward, terminated, truncated, _ = env.step(action)
        taken.append(int(action[0]))
        total, ended = total + float(reward[0]), bool(terminated[0] | truncated[0])
    return total, taken


@pytest.mark.parametrize("name", HEURISTICS)
def test_an_insertion_drives_the_routes_of_its_heuristic_stop_by_stop(name, data):
    instance = read_cordeau(data / "dispatch" / "cordeau_darp" / "a3-24.txt")
    routes = HEURISTICS[name](instance)
    total, taken = driven(name, instance)
    assert taken == actions(instance, routes)
    assert total == pytest.approx(-check_solution(instance, routes))


def test_the_ladder_stands():
    tables = [evaluate(ID, make_controller(name, ID), range(40), latency=False).table for name in LADDER]
    for worse, better in pairwise(tables):
        gap = better["return"] - worse["return"]
        assert gap.mean() > 2 * gap.std(ddof=1) / np.sqrt(len(gap))
    assert all((table["illegal"] == 0).all() for table in tables)
    assert [table["served_share"].mean() > 0.9 for table in tables] == [False, True, True, True]


def test_the_nearest_neighbour_delivers_before_it_picks_up_another(data):
    _, taken = driven("nearest_neighbour", read_cordeau(data / "dispatch" / "cordeau_darp" / "a2-16.txt"))
    stops = [action for action in taken if action != CLOSE]
    assert len(stops) > 10
    assert [stop - MAX_REQUESTS for stop in stops[1::2]] == stops[::2]


@pytest.mark.parametrize("name", HEURISTICS)
def test_a_row_that_is_not_on_the_plan_is_driven_on_legally(name, data):
    instance = read_cordeau(data / "dispatch" / "cordeau_darp" / "a2-16.txt")
    planned = actions(instance, HEURISTICS[name](instance))
    env = Env("DispatchStatic", 2)
    env.reset(seed=0, options={"instance": instance})
    other = next(stop for stop in np.flatnonzero(env.action_masks()) if stop != planned[0])
    total, taken = driven(name, instance, first=[int(other)])
    assert taken[1] == other + MAX_REQUESTS  # the nearest neighbour takes over
    assert total < driven(name, instance)[0]


@pytest.mark.parametrize("name", LADDER)
def test_what_is_decided_depends_neither_on_the_order_nor_on_the_number_of_rows(name):
    def returns(seeds):
        return evaluate(ID, make_controller(name, ID), seeds, latency=False).table["return"].tolist()

    together = returns([3, 11, 4])
    assert returns([4, 11, 3]) == together[::-1]
    assert returns([11]) == together[1:2]


def test_cheapest_insertion_is_what_others_are_compared_with():
    assert controllers_for(ID) == LADDER
    assert reference_for(ID).name == "cheapest_insertion"
