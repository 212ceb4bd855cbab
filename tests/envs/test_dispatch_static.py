"""Static dispatch: published costs are reproduced, and what is infeasible in the literature is infeasible
here."""

import csv
import math
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops.envs.dispatch import DISPATCH_STATIC
from rlops.envs.dispatch.schedule import MAX_REQUESTS
from rlops.envs.dispatch.static import (
    Instance,
    actions,
    cheapest_insertion,
    check_solution,
    data_from,
    read_cordeau,
    read_instance,
    read_li_lim,
    read_li_lim_solution,
    regret_insertion,
    route_cost,
    schedule,
)
from rlops.envs.faces import Env
from rlops.errors import InvalidFile, InvalidValue, UnknownName

CLOSE = 0
DROP_OFF = MAX_REQUESTS


@cache
def environment():
    return Env(DISPATCH_STATIC, 2)


def replayed(instance, routes):
    """Drive ``routes`` in the environment and return its return and the key figures; every action must be
    legal."""
    env = environment()
    env.reset(seed=0, options={"instance": instance})
    total, ended = 0.0, False
    for action in actions(instance, routes):
        assert not ended
        assert env.action_masks()[action], f"{instance.name}: action {action} is masked"
        _, reward, terminated, truncated, info = env.step(action)
        total += reward
        ended = terminated or truncated
    assert terminated
    return total, info["kpis"]


def table(path):
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def small(**changes):
    """Return two requests on a line: pickups at 10 and 20, deliveries at 30 and 40; windows are wide."""
    fields = {
        "name": "small",
        "vehicles": 2,
        "capacity": 2,
        "max_route_min": 300.0,
        "max_ride_min": 60.0,
        "x": [0.0, 10, 20, 30, 40],
        "y": [0.0] * 5,
        "service": [0.0, 1, 1, 1, 1],
        "load": [0, 1, 1, -1, -1],
        "earliest": [0.0] * 5,
        "latest": [300.0] * 5,
    }
    return Instance(**{**fields, **changes})


# --- the literature --------------------------------------------------------------------------------------


def test_best_known_li_lim_solutions_cost_what_is_published_and_every_action_is_legal(data):
    folder = data / "dispatch" / "li_lim_pdptw"
    rows = table(folder / "best_known.csv")
    assert len(rows) == 56
    for row in rows:
        instance = read_li_lim(folder / "instances" / f"{row['instance']}.txt")
        routes = read_li_lim_solution(folder / "solutions" / Path(row["url"]).name, instance)
        cost = check_solution(instance, routes)
        total, figures = replayed(instance, routes)
        assert -total == pytest.approx(cost, abs=1e-6)
        assert figures["cost"] == pytest.approx(float(row["distance"]), abs=5.1e-5)
        assert figures["vehicles_used"] == int(row["routes"])
        assert figures["served_share"] == 1.0


def test_insertion_stays_between_the_proven_optimum_and_35_percent_above_it(data):
    folder = data / "dispatch" / "cordeau_darp"
    rows = table(folder / "best_known.csv")
    assert len(rows) == 24
    gaps = {"cheapest": [], "regret-3": []}
    for row in rows:
        instance = read_cordeau(folder / f"{row['instance']}.txt")
        assert instance.requests == int(row["requests"])
        for name, routes in (
            ("cheapest", cheapest_insertion(instance)),
            ("regret-3", regret_insertion(instance)),
        ):
            if sum(map(len, routes)) < 2 * instance.requests:
                assert name == "cheapest", f"{row['instance']}: regret-3 serves everything"
                continue
            cost = check_solution(instance, routes)
            gap = 100 * (cost / float(row["optimal_total_distance"]) - 1)
            assert 0 <= gap <= 35, row["instance"]
            gaps[name].append(gap)
            total, figures = replayed(instance, routes)
            assert -total == pytest.approx(cost, abs=1e-9)
            assert figures["longest_ride_min"] <= instance.max_ride_min + 1e-6
    for name, values in gaps.items():
        print(
            f"set a, {name} insertion: {len(values)}/24 fully served, gap {np.mean(values):.1f} % "
            f"({min(values):.1f} ... {max(values):.1f})"
        )
    assert len(gaps["cheapest"]) >= 18
    assert np.mean(gaps["regret-3"]) == pytest.approx(15.3, abs=0.1)
    assert np.mean(gaps["regret-3"]) < np.mean(gaps["cheapest"])


def test_files_that_state_twice_the_requests_are_read_by_their_loads(data):
    instance = read_cordeau(data / "dispatch" / "cordeau_darp" / "a8-96.txt")
    assert (instance.requests, instance.latest[0]) == (96, 720)


def test_the_first_row_tells_the_format(data):
    folder = data / "dispatch"
    assert read_instance(folder / "cordeau_darp" / "a2-16.txt").max_ride_min == 30
    assert read_instance(folder / "li_lim_pdptw" / "instances" / "lc101.txt").max_ride_min == math.inf


# --- what is broken is rejected, by the judge and by the mask --------------------------------------------


def masked_at(instance, route):
    """Return the first stop (from 1) of ``route`` that the mask excludes, or 0."""
    env = environment()
    env.reset(seed=0, options={"instance": instance})
    for stop, action in enumerate(actions(instance, [route]), 1):
        if not env.action_masks()[action]:
            return stop
        env.step(action)
    return 0


@pytest.mark.parametrize(
    ("changes", "route", "rule", "masked"),
    [
        ({}, [3, 1, 2, 4], "precedence", 1),
        ({}, [1, 1, 3, 3], "served once", 2),
        ({}, [1, 3], "served once: node 2", 0),
        ({"latest": [300.0, 300, 20, 300, 300]}, [1, 3, 2, 4], "window", 2 + 1),
        ({"capacity": 1}, [1, 2, 3, 4], "capacity", 2),
        ({"max_ride_min": 25.0}, [1, 2, 4, 3], "ride time", 3),
        ({"max_route_min": 95.0}, [1, 3, 2, 4], "route duration", 3),
    ],
)
def test_a_broken_rule_is_named_and_its_stop_is_masked(changes, route, rule, masked):
    instance = small(**changes)
    with pytest.raises(InvalidValue, match=rule):
        check_solution(instance, [route])
    assert masked_at(instance, route) == masked


def test_pairing_and_the_number_of_vehicles_are_judged():
    with pytest.raises(InvalidValue, match=r"route 1, stop 1 \(node 1\): pairing: node 3"):
        check_solution(small(), [[1], [2, 3, 4]])
    with pytest.raises(InvalidValue, match="number of vehicles: at most 1"):
        check_solution(small(vehicles=1), [[1, 3], [2, 4]])


def test_a_good_solution_is_accepted_with_its_cost():
    assert check_solution(small(), [[1, 2, 3, 4], []]) == 80.0
    assert route_cost(small(), [[1, 3], [2, 4]]) == 140.0


@pytest.mark.parametrize("limits", [{}, {"max_ride_min": math.inf, "max_route_min": math.inf}])
def test_a_stop_that_would_leave_a_rider_undeliverable_is_masked(limits):
    # Rider 1 must be at 30 by minute 35: rider 2 can be fetched on the way, but not be delivered first.
    instance = small(latest=[300.0, 300, 300, 35, 300], **limits)
    assert masked_at(instance, [1, 2, 3, 4]) == 0
    assert masked_at(instance, [1, 2, 4, 3]) == 3


def test_who_cannot_be_delivered_together_is_stranded_and_charged():
    # Deliveries at opposite ends, both by minute 45: each alone is possible, both are not.
    instance = small(vehicles=1, x=[0.0, 0, 0, 30, -30], service=[0.0] * 5, latest=[300.0, 300, 300, 45, 45])
    env = environment()
    env.reset(seed=0, options={"instance": instance})
    env.step(1)
    assert not env.action_masks()[CLOSE]
    env.step(2)
    np.testing.assert_array_equal(np.flatnonzero(env.action_masks()), [CLOSE])
    _, _, terminated, _, info = env.step(CLOSE)
    assert terminated
    assert info["kpis"]["stranded"] == 2
    assert info["reward_terms"] == {"distance": 0.0, "missed": -2 * (60.0 + 60.0)}


# --- the schedule ----------------------------------------------------------------------------------------


def earliest_schedule_exists(instance, route):
    """Solve the limits of a route as difference constraints: raise every time to the least that all allow."""
    tour, n = [0, *route, 0], instance.requests
    begin = [instance.earliest[node] for node in tour]
    lower = []  # begin[b] >= begin[a] + c
    for k in range(1, len(tour)):
        a, b = tour[k - 1], tour[k]
        travel = math.hypot(instance.x[a] - instance.x[b], instance.y[a] - instance.y[b])
        lower.append((k - 1, k, instance.service[a] + travel))
        if b > n:
            i = tour.index(b - n)
            lower.append((k, i, -instance.service[b - n] - instance.max_ride_min))
    lower.append((len(tour) - 1, 0, -instance.max_route_min))
    while all(t <= instance.latest[node] + 1e-7 for t, node in zip(begin, tour, strict=True)):
        changed = False
        for a, b, c in lower:
            if begin[a] + c > begin[b] + 1e-9:
                begin[b], changed = begin[a] + c, True
        if not changed:
            return True
    return False


@st.composite
def routes_with_windows(draw):
    """Draw an instance and one route through it, with windows around a rough timetable."""
    n = draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    nodes = 2 * n + 1
    order, aboard, waiting = [], [], list(range(1, n + 1))
    while waiting or aboard:
        if waiting and (not aboard or rng.random() < 0.5):
            aboard.append(waiting.pop())
            order.append(aboard[-1])
        else:
            order.append(n + aboard.pop(rng.integers(len(aboard))))
    earliest, latest = np.zeros(nodes), np.full(nodes, 480.0)
    now = rng.uniform(10, 60)
    for node in order:
        now += rng.uniform(3, 20)
        if rng.random() < 0.7:
            window = rng.choice([15, 30, 60])
            earliest[node] = max(0.0, now - rng.uniform(0, window))
            latest[node] = earliest[node] + window
    half_width = draw(st.sampled_from([3.0, 6.0, 8.0]))
    xy = np.concatenate([np.zeros((2, 1)), rng.uniform(-half_width, half_width, (2, nodes - 1))], axis=1)
    values = {
        "name": "drawn",
        "vehicles": 1,
        "capacity": n,
        "max_route_min": draw(st.sampled_from([100.0, 150.0, math.inf])),
        "max_ride_min": draw(st.sampled_from([24.0, 30.0, 45.0])),
        "service": np.where(np.arange(nodes) > 0, 3.0, 0.0),
        "load": np.concatenate([[0], np.ones(n), -np.ones(n)]),
        "earliest": earliest,
        "latest": latest,
        "x": xy[0],
        "y": xy[1],
    }
    return values, order


@settings(deadline=None, max_examples=300)
@given(routes_with_windows())
def test_the_eight_steps_find_a_schedule_exactly_if_there_is_one(drawn):
    values, route = drawn
    try:
        instance = Instance(**values)
    except InvalidValue:
        return  # a request that cannot be served even alone
    begin_min = schedule(instance, route)
    assert (begin_min is not None) == earliest_schedule_exists(instance, route)
    if begin_min is not None:
        rides = [
            begin_min[1 + route.index(i + instance.requests)] - begin_min[1 + route.index(i)] - 3.0
            for i in range(1, instance.requests + 1)
        ]
        assert max(rides) <= instance.max_ride_min + 1e-6
        assert begin_min[-1] - begin_min[0] <= instance.max_route_min + 1e-6


@settings(deadline=None, max_examples=150)
@given(routes_with_windows())
def test_a_route_is_drivable_in_the_environment_exactly_if_it_has_a_schedule(drawn):
    values, route = drawn
    try:
        instance = Instance(**values)
    except InvalidValue:
        return
    feasible = masked_at(instance, route) == 0
    assert feasible == (schedule(instance, route) is not None)


def test_departures_are_delayed_so_that_a_ride_is_not_spent_waiting():
    # At once: rider 1 would sit in the vehicle until minute 200, when stop 2 opens.
    instance = small(earliest=[0.0, 0, 200, 0, 0], max_ride_min=40.0)
    begin_min = schedule(instance, [1, 2, 3, 4])
    np.testing.assert_allclose(begin_min, [179, 189, 200, 211, 222, 263])


# --- the environment -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_any_legal_episode_ends_and_its_return_is_minus_cost_and_charges(seed, choices):
    env = environment()
    env.reset(seed=seed, options={"instance": None})
    rng, total, ended, steps = np.random.default_rng(choices), 0.0, False, 0
    while not ended:
        legal = np.flatnonzero(env.action_masks())
        assert len(legal)
        observation, reward, terminated, truncated, info = env.step(int(rng.choice(legal)))
        assert env.observation_space.contains(observation)
        total, steps, ended = total + reward, steps + 1, terminated or truncated
    assert terminated
    s = env.state[0]
    assert steps <= 2 * s["requests"] + s["vehicles"]
    x, y = s["x"], s["y"]
    trip = lambda *tour: sum(math.hypot(x[a] - x[b], y[a] - y[b]) for a, b in pairwise(tour))  # noqa: E731
    cost = sum(trip(*route) for route in s["routes"])
    missed = [i for i in range(1, s["requests"] + 1) if s["status"][i] != 2]
    charge = sum(2 * trip(0, i, DROP_OFF + i, 0) for i in missed)
    assert info["kpis"]["cost"] == pytest.approx(cost, abs=1e-9)
    assert total == pytest.approx(-cost - charge, abs=1e-9)
    assert info["kpis"]["served"] == s["requests"] - len(missed)
    assert info["kpis"]["longest_ride_min"] <= s["max_ride_min"] + 1e-6


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_appending_a_request_never_costs_more_than_refusing_it(seed, choices):
    env = environment()
    env.reset(seed=seed, options={"instance": None, "params": {"miss_factor": 1.0}})
    rng = np.random.default_rng(choices)
    for _ in range(2 * int(rng.integers(1, 12))):
        legal = np.flatnonzero(env.action_masks())
        if legal[0] == CLOSE and legal.size == 1:
            break
        env.step(int(rng.choice(legal[legal != CLOSE])))
    s = env.state[0].copy()
    last = s["routes"][s["vehicle"]][s["stops"]]
    x, y = s["x"], s["y"]
    d = lambda a, b: math.hypot(x[a] - x[b], y[a] - y[b])  # noqa: E731
    for i in range(1, s["requests"] + 1):
        j = DROP_OFF + i
        assert d(last, i) + d(i, j) + d(j, 0) - d(last, 0) <= d(0, i) + d(i, j) + d(j, 0) + 1e-9


def test_drawn_requests_can_be_served_alone_at_every_corner_of_the_parameters():
    env = environment()
    corners = [
        {
            "half_width_min": w,
            "horizon_min": h,
            "max_ride_min": r,
            "service_min": s,
            "window_min": m,
            "n_requests": 40,
        }
        for w in (5, 20)
        for h in (240, 1440)
        for r in (20, 90)
        for s in (0, 10)
        for m in (5, 60)
    ]
    for seed, params in enumerate(corners):
        env.reset(seed=seed, options={"instance": None, "params": params})
        assert env.action_masks()[1:41].all(), params


@pytest.mark.parametrize(
    "params", [{}, {"n_requests": 24, "vehicles": 3, "half_width_min": 18, "max_ride_min": 60, "capacity": 2}]
)
def test_a_drawn_instance_has_a_solution(params):
    env = environment()
    for seed in range(12):
        env.reset(seed=seed, options={"instance": None, "params": params})
        instance = drawn_instance(env.state[0])
        routes = [[] for _ in range(instance.vehicles)]
        for request in range(1, instance.requests + 1):
            assert put_where_it_adds_least(instance, routes, request), (seed, request)
        check_solution(instance, routes)


def drawn_instance(s):
    n = int(s["requests"])
    places = [0, *range(1, n + 1), *range(DROP_OFF + 1, DROP_OFF + n + 1)]
    arrays = {
        name: s[name if name in ("x", "y", "load") else f"{name}_min"][places]
        for name in ("x", "y", "service", "load", "earliest", "latest")
    }
    limits = {name: float(s[name]) for name in ("max_route_min", "max_ride_min")}
    return Instance("drawn", int(s["vehicles"]), int(s["capacity"]), **limits, **arrays)


def put_where_it_adds_least(instance, routes, request):
    options = []
    for v, route in enumerate(routes):
        for i in range(len(route) + 1):
            for j in range(i, len(route) + 1):
                longer = [*route[:i], request, *route[i:j], request + instance.requests, *route[j:]]
                added = route_cost(instance, [longer]) - route_cost(instance, [route])
                options.append((added, v, longer))
    for _, v, longer in sorted(options):
        within = np.cumsum(instance.load[longer]).max() <= instance.capacity
        if within and schedule(instance, longer) is not None:
            routes[v] = longer
            return True
    return False


def test_an_illegal_action_changes_nothing_is_counted_and_the_episode_still_ends():
    env = environment()
    before, _ = env.reset(seed=5, options={"instance": None})
    assert not env.action_masks()[CLOSE]
    for step in range(1, 1000):
        after, reward, terminated, truncated, info = env.step(CLOSE)
        assert info["illegal"] == step
        if truncated:
            break
        assert reward == 0.0
        np.testing.assert_array_equal(after, before)
    assert not terminated
    assert step == 2 * (2 * 16 + 2)
    assert info["kpis"]["served"] == 0
    assert info["reward_terms"]["missed"] < 0


def test_a_route_cut_off_by_truncation_still_drives_home():
    env = environment()
    env.reset(seed=0, options={"instance": small()})
    env.step(1)
    truncated = False
    while not truncated:
        *_, truncated, info = env.step(1)
    assert info["kpis"]["cost"] == 20.0
    assert info["kpis"]["stranded"] == 1


def test_of_several_instances_each_episode_takes_one_and_keeps_it():
    env = environment()
    sizes = set()
    env.reset(seed=0, options={"instance": [small(), small(vehicles=1)]})
    for _ in range(20):
        sizes.add(int(env.state["vehicles"][0]))
        env.reset()
    assert sizes == {1, 2}


# --- what is given is checked ----------------------------------------------------------------------------


def test_an_instance_may_be_given_as_a_mapping_and_its_names_are_checked():
    fields = {name: getattr(small(), name) for name in ("vehicles", "capacity", "x", "y", "service", "load", "latest")}
    with pytest.raises(InvalidValue, match="lacks earliest"):
        data_from(fields)
    rows = data_from({**fields, "earliest": [0] * 5})
    assert rows["max_ride_min"] == math.inf
    assert rows["x"][0, DROP_OFF + 2] == 40
    with pytest.raises(UnknownName, match="seats"):
        data_from({**fields, "seats": 3})
    with pytest.raises(InvalidValue, match="got 7"):
        data_from(7)


def test_records_of_instances_are_instances_too_and_are_checked():
    rows = data_from([small(), small(vehicles=1)])
    assert np.array_equal(data_from(rows), rows)
    rows["earliest_min"][1, DROP_OFF + 2] = 1e4
    with pytest.raises(InvalidValue, match="starts before it ends"):
        data_from(rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({name: [0.0] * 4 for name in ("x", "y", "service", "load", "earliest", "latest")}, "2 n . 1 nodes"),
        ({"y": [0.0] * 4}, "y must be 5 finite numbers"),
        ({"vehicles": 26}, "vehicles must be within .1, 25., got 26"),
        ({"capacity": 1.5}, "capacity must be a whole number"),
        ({"max_ride_min": 0}, "max_ride_min"),
        ({"max_ride_min": math.nan}, "max_ride_min"),
        ({"load": [0, 1, 1, -1, -2]}, "node 4 must have load -1"),
        ({"load": [0, 1, 3, -1, -3]}, "node 2 must have a load of 1 ... 2"),
        ({"load": [0, 1, 0.5, -1, -0.5]}, "load must be whole numbers"),
        ({"earliest": [0.0, 301, 0, 0, 0]}, "node 1 must have a window"),
        ({"service": [0.0, -1, 1, 1, 1]}, "node 1 must have a service time"),
        ({"latest": [300.0, 300, 300, 300, 30]}, "request 2 is not"),
    ],
)
def test_an_impossible_instance_is_refused_with_the_reason(changes, message):
    with pytest.raises(InvalidValue, match=message):
        small(**changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("2 1 480 3\n", "row 1"),
        ("2 1 480 3 30\n0 0 0 0 0 0 480\n1 1 x 3 1 0 480\n", "row 3, column y: must be a number, got 'x'"),
        ("2 1 480 3 30\n0 0 0 0 0 0 480\n2 1 1 3 1 0 480\n", "row 3, column id: nodes must count from 0"),
        ("2 1 480 3 30\n0 0 0 0 0 0 480\n1 1 1 3 1 0 480\n", "1 pickups .* need 3 nodes"),
        ("2 1 480 3 30\n0 0 0 0 0 0 480\n1 1 1 3 1 0 480\n2 1 1 3\n", "row 4: must have 7 columns"),
        ("2 9 1\n0 0 0 0 0 99 0 0 0\n1 1 1 5 0 99 1 0 7\n2 2 2 -5 0 99 1 1 0\n", "row 3, column delivery"),
        (
            "2 9 1\n0 0 0 0 0 99 0 0 0\n1 1 1 5 0 99 1 0 2\n2 2 2 -5 0 99 1 1 0\n3 3 3 -5 0 99 1 1 0\n",
            "row 5, column demand",
        ),
        ("2 9 1\n0 0 0 0 0 99 0 0 0\n1 1 1 5 0 99 1 0 2\n2 2 2 -4 0 99 1 1 0\n", "node 2 must have load -5"),
    ],
)
def test_a_bad_file_is_refused_with_row_and_column(tmp_path, text, message):
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(InvalidFile, match=message):
        read_instance(path)


def test_a_solution_with_an_unknown_stop_is_refused(tmp_path):
    path = tmp_path / "routes.txt"
    path.write_text("Instance name : small\nSolution\nRoute 1 : 1 3\nRoute 2 : 2 9\n")
    with pytest.raises(InvalidFile, match="row 4, column 2 after the colon"):
        read_li_lim_solution(path, small())
    path.write_text("nothing\n")
    with pytest.raises(InvalidFile, match="Route 1"):
        read_li_lim_solution(path, small())
