"""The warehouse: rays, shortest ways, tyres and batteries, and what ends an episode."""

from __future__ import annotations

import math
from types import SimpleNamespace

import gymnasium as gym
import mujoco
import numpy as np
import pybullet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rlops
from rlops.agents_baseline.controllers import make_controller
from rlops.agents_baseline.evaluate import evaluate
from rlops.envs.batch import Batch
from rlops.envs.contract import family
from rlops.envs.robotics import amr, hall, kernel_warehouse_fleet, kernel_warehouse_nav
from rlops.envs.robotics.model import GRAVITY
from rlops.envs.robotics.rays import is_between, ray_to_box, ray_to_circle

HEIGHT_M = 0.5
NOMINAL = {p.name: p.nominal for p in kernel_warehouse_nav.PARAMETERS}


def _rows(name="WarehouseNav", rows=1, seed=0, engine="mujoco", **params):
    """Return a batch whose rows have begun an episode."""
    batch = Batch(family(name), 0, rows, params=params, engine=engine, threads=1)
    batch.seed(np.arange(rows), [seed + i for i in range(rows)])
    batch.reset()
    return batch


def _step(batch, *action):
    batch.actions[:] = action
    batch.step(batch.actions, False)


def _in_the_open(**params):
    """Return a row whose robot stands in the middle of a hall without shelves and looks along x."""
    batch = _rows(**params)
    s = batch.state
    s["shelf_count"], s["qpos"], s["goal"] = 0, [[1.0, 4.0, 0.0]], [[[7.0, 1.0]]]
    return batch


# -- rays ------------------------------------------------------------------------------------------------------


def _obstacles(s):
    """Return the boxes (centre, half lengths) and the circles' centres that a state's rays can meet."""
    size, thin = hall.SIZE_M, 0.05
    walls = [(side, size / 2, thin, size) for side in (-thin, size + thin)]
    walls += [(size / 2, side, size, thin) for side in (-thin, size + thin)]
    boxes = [*np.asarray(s["shelves"])[: int(s["shelf_count"])].tolist(), *walls]
    return boxes, [s["qpos"][3 * r : 3 * r + 2].tolist() for r in range(len(s["wheel"]))]


def _rays_of_mujoco(boxes, circles, origin, directions):
    geoms = "".join(
        f'<geom type="box" pos="{x} {y} {HEIGHT_M}" size="{half_x} {half_y} {HEIGHT_M}"/>'
        for x, y, half_x, half_y in boxes
    ) + "".join(
        f'<geom type="cylinder" pos="{x} {y} {HEIGHT_M}" size="{hall.RADIUS_M} {HEIGHT_M}"/>' for x, y in circles
    )
    world = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{geoms}</worldbody></mujoco>")
    data = mujoco.MjData(world)
    mujoco.mj_forward(world, data)
    met = np.zeros(1, np.int32)
    start = np.array([*origin, HEIGHT_M])
    return [mujoco.mj_ray(world, data, start, np.array([*way, 0.0]), None, 1, -1, met) for way in directions]


def _rays_of_bullet(boxes, circles, origin, directions):
    client = pybullet.connect(pybullet.DIRECT)
    try:
        for x, y, half_x, half_y in boxes:
            shape = pybullet.createCollisionShape(
                pybullet.GEOM_BOX, halfExtents=(half_x, half_y, HEIGHT_M), physicsClientId=client
            )
            pybullet.createMultiBody(0, shape, basePosition=(x, y, HEIGHT_M), physicsClientId=client)
        for x, y in circles:
            shape = pybullet.createCollisionShape(
                pybullet.GEOM_CYLINDER, radius=hall.RADIUS_M, height=2 * HEIGHT_M, physicsClientId=client
            )
            pybullet.createMultiBody(0, shape, basePosition=(x, y, HEIGHT_M), physicsClientId=client)
        start = (*origin, HEIGHT_M)
        ends = [(origin[0] + 12 * x, origin[1] + 12 * y, HEIGHT_M) for x, y in directions]
        met = pybullet.rayTestBatch([start] * len(ends), ends, physicsClientId=client)
        return [12.0 * one[2] for one in met]
    finally:
        pybullet.disconnect(physicsClientId=client)


@pytest.mark.parametrize("name", ["WarehouseNav", "WarehouseFleet"])
@pytest.mark.parametrize(("traced", "tolerance"), [(_rays_of_mujoco, 1e-6), (_rays_of_bullet, 5e-3)])
def test_the_lidar_sees_what_the_rays_of_an_engine_see(name, traced, tolerance):
    batch = _rows(name, rows=5)
    for s in batch.state:
        boxes, circles = _obstacles(s)
        for r, origin in enumerate(circles):
            turned = s["qpos"][3 * r + 2] + 2 * np.pi * np.arange(amr.BEAMS) / amr.BEAMS
            others = circles[:r] + circles[r + 1 :]
            far = traced(boxes, others, origin, np.stack([np.cos(turned), np.sin(turned)], axis=1))
            np.testing.assert_allclose(s["lidar"][r], np.minimum(far, amr.RANGE_M), rtol=0, atol=tolerance)


@given(angle=st.floats(0, 2 * math.pi), off=st.floats(-0.29, 0.29), far=st.floats(1, 5))
def test_a_ray_meets_a_circle_where_it_is_one_radius_from_its_centre(angle, off, far):
    x, y = math.cos(angle), math.sin(angle)
    centre = far * x - off * y, far * y + off * x
    met = ray_to_circle(0.0, 0.0, x, y, *centre, 0.3)
    assert math.hypot(met * x - centre[0], met * y - centre[1]) == pytest.approx(0.3, abs=1e-9)
    assert ray_to_circle(0.0, 0.0, -x, -y, *centre, 0.3) > 1e9


@given(at=st.tuples(*[st.floats(-3, 3)] * 2), to=st.tuples(*[st.floats(-3, 3)] * 2))
def test_a_box_is_between_two_places_exactly_if_a_ray_meets_it_on_the_way(at, to):
    box, far = np.array([0.2, -0.1, 0.8, 0.4]), math.dist(at, to)
    if far > 1e-3:
        met = ray_to_box(*at, (to[0] - at[0]) / far, (to[1] - at[1]) / far, box)
        if abs(met - far) > 1e-6 and abs(met) > 1e-6:
            assert is_between(*at, *to, box, 0.0) == (met < far)


# -- the hall --------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(seed=st.integers(0, 2**40), rows=st.integers(1, 3), aisle=st.floats(0.9, 1.5))
def test_every_goal_can_be_reached_and_no_aisle_is_narrower_than_asked(seed, rows, aisle):
    batch = _rows(rows=4, seed=seed, shelf_rows=rows, aisle_m=aisle)
    for s in batch.state:
        way, straight = s["way_m"], math.dist(s["goal"][0], s["qpos"][:2])
        assert straight - 1e-9 <= way < 25.0
        shelves = np.asarray(s["shelves"])[: s["shelf_count"]]
        low, high = shelves[:, :2] - shelves[:, 2:], shelves[:, :2] + shelves[:, 2:]
        assert low.min() > aisle - 1e-9
        assert high.max() < hall.SIZE_M - aisle + 1e-9
        for k in range(len(shelves)):
            for other in range(k):
                assert np.maximum(low[k] - high[other], low[other] - high[k]).max() > aisle - 1e-9


def test_the_next_place_of_a_shortest_way_is_in_sight_and_the_way_from_there_is_what_is_left():
    for s in _rows(rows=20).state:
        x, y = s["qpos"][:2]
        to_x, to_y, way = hall.next_place(s, 0, x, y)
        assert hall.in_sight(s, x, y, to_x, to_y, hall.BLOCKING_M)
        rest = hall.next_place(s, 0, to_x, to_y)[2]
        assert way == pytest.approx(math.dist((x, y), (to_x, to_y)) + rest, abs=1e-9)


# -- tyres -----------------------------------------------------------------------------------------------------

SPEED = st.floats(-3, 3)


@settings(max_examples=300)
@given(
    most=st.floats(1, 500), creep=st.floats(0.02, 0.2), along=SPEED, across=SPEED, torque=st.floats(-8, 8),
    spin=st.floats(-40, 40),
)  # fmt: skip
def test_no_wheel_gives_more_than_the_circle_of_friction(most, creep, along, across, torque, spin):
    force_along, force_across, _ = amr.wheel_force(most, creep, 0.0, along, across, torque, spin, amr.WHEEL_M)
    assert math.hypot(force_along, force_across) <= most * (1 + 1e-12)
    assert force_across * across <= 0.0


@given(spin=st.floats(-30, 30), along=SPEED)
def test_a_free_wheel_comes_to_roll(spin, along):
    for _ in range(2000):
        force, _, spin = amr.wheel_force(60.0, 0.03, 0.0, along, 0.0, 0.0, spin, amr.WHEEL_M)
    assert spin * amr.WHEEL_M == pytest.approx(along, abs=1e-6)
    assert abs(force) < 1e-3


def _way_to_stop_m(**params):
    batch = _in_the_open(**params)
    for _ in range(20):
        _step(batch, 1.0, 0.0)
    start = batch.state["qpos"][0, 0]
    for _ in range(20):
        _step(batch, 0.0, 0.0)
    assert abs(batch.state["qvel"][0]).max() < 0.05
    return batch.state["qpos"][0, 0] - start


def test_a_robot_needs_longer_to_stop_on_less_grip_with_more_load_and_on_a_wet_floor():
    usual = _way_to_stop_m()
    assert 0.02 < usual < 0.4
    assert _way_to_stop_m(grip=0.15) > 1.3 * usual
    assert _way_to_stop_m(payload_kg=60) > 1.2 * usual
    assert _way_to_stop_m(wet_share=1.0, grip=0.4) > 1.1 * usual


def test_a_robot_never_brakes_harder_than_its_grip_allows():
    batch = _in_the_open(grip=0.2)
    for _ in range(15):
        _step(batch, 1.0, 0.0)
    for _ in range(10):
        before = batch.state["qvel"][0, 0]
        _step(batch, -1.0, 0.0)
        braking = (before - batch.state["qvel"][0, 0]) / amr.DECISION_S
        assert braking <= GRAVITY * (0.2 * amr.DRIVEN_SHARE + NOMINAL["rolling_resistance"]) + 1e-9
    assert braking > 0.5 * GRAVITY * 0.2 * amr.DRIVEN_SHARE


def test_a_wheel_that_is_too_large_turns_the_robot_away_from_it():
    batch = _in_the_open(wheel_mismatch=0.03)
    for _ in range(30):
        _step(batch, 0.7, 0.0)
    assert batch.state["qpos"][0, 2] < -0.05
    assert abs(batch.state["read"][0, 1, 2]) < 0.02


# -- batteries -------------------------------------------------------------------------------------------------


def test_what_leaves_the_battery_is_drawn_or_lost_and_pays_for_the_motion():
    batch = _in_the_open()
    s = batch.state
    before = s["charge_wh"][0, 0]
    for _ in range(15):
        _step(batch, 1.0, 0.0)
    mass = NOMINAL["base_mass_kg"] + NOMINAL["payload_kg"]
    kinetic_wh = 0.5 * mass * s["qvel"][0, 0] ** 2 / 3600
    idle_wh = NOMINAL["idle_w"] * 1.5 / 3600
    assert before - s["charge_wh"][0, 0] == pytest.approx(s["energy_wh"][0, 0] + s["lost_wh"][0, 0], abs=1e-12)
    assert s["energy_wh"][0, 0] > kinetic_wh + idle_wh
    assert s["energy_wh"][0, 0] < 3 * (kinetic_wh + idle_wh)
    assert s["lost_wh"][0, 0] > 0.0


@given(charge=st.floats(0.3, 1.0), power=st.floats(0, 300), more=st.floats(1, 200))
def test_the_voltage_sags_under_load_and_with_the_charge(charge, power, more):
    p = SimpleNamespace(battery_wh=1.0, battery_ohm=0.2)
    voltage = amr.loaded_voltage.py_func(p, charge, power)
    assert amr.loaded_voltage.py_func(p, charge, power + more) < voltage <= math.sqrt(charge) + 1e-12
    assert amr.loaded_voltage.py_func(p, charge - 0.05, power) < voltage


def test_an_empty_battery_ends_the_episode_as_a_failure():
    batch = _in_the_open(battery_wh=0.3, idle_w=100, start_charge=0.35)
    batch.state["charge_wh"] = 0.08
    for _ in range(40):
        _step(batch, 0.0, 0.0)
        if batch.state["terminated"][0]:
            break
    assert amr.is_empty(batch.state[0], 0)
    assert batch.out.reward[0] < -20.0
    assert batch.out.kpis[0, 0] == 0.0


# -- episodes --------------------------------------------------------------------------------------------------


def test_a_robot_that_drives_into_a_wall_ends_the_episode_with_a_collision():
    batch = _in_the_open()
    for _ in range(100):
        _step(batch, 1.0, 0.0)
        if batch.state["terminated"][0]:
            break
    names = [column.name for column in kernel_warehouse_nav.KPIS]
    figures = dict(zip(names, batch.out.kpis[0], strict=True))
    assert figures["collisions"] == 1.0
    assert figures["is_success"] == 0.0
    assert abs(batch.state["qpos"][0, 0] - (hall.SIZE_M - hall.RADIUS_M)) < 0.1
    assert batch.out.reward[0] < -10.0


@pytest.mark.parametrize("mode", ["dense", "sparse"])
def test_a_robot_that_stands_at_the_goal_has_arrived_and_one_that_races_past_has_not(mode):
    batch = _in_the_open(reward_mode=mode)
    batch.state["goal"] = [[[2.5, 4.0]]]
    arrived_at = []
    for speed in (1.0, 0.35):
        batch.state["qpos"] = [[1.0, 4.0, 0.0]]
        for _ in range(40):
            _step(batch, speed, 0.0)
            if batch.state["terminated"][0]:
                arrived_at.append((speed, batch.out.reward[0]))
                break
            if batch.state["qpos"][0, 0] > 3.0:
                break
    assert [speed for speed, _ in arrived_at] == [0.35]
    assert arrived_at[0][1] == 1.0 if mode == "sparse" else arrived_at[0][1] > 9.0


@pytest.mark.parametrize("name", ["WarehouseNav", "WarehouseFleet"])
def test_both_engines_move_the_robots_alike_to_round_off(name):
    courses = []
    for engine in ("mujoco", "pybullet"):
        batch = _rows(name, rows=2, engine=engine, centre_m=0.05, slope_rad=0.01)
        rng = np.random.default_rng(0)
        found = []
        for _ in range(60):
            batch.actions[:] = rng.uniform(-1, 1, batch.actions.shape)
            batch.step(batch.actions, True)
            found.append(np.concatenate([batch.state["qpos"], batch.state["qvel"]], axis=1))
        courses.append(np.array(found))
    assert np.abs(courses[0] - courses[1]).max() < 1e-9
    assert np.abs(courses[0][-1] - courses[0][0]).max() > 0.1


def test_the_engine_brings_a_robot_to_the_speed_that_its_wheels_were_followed_with():
    batch = _in_the_open()
    for _ in range(20):
        _step(batch, 0.8, 0.6)
    ahead = np.hypot(*batch.state["qvel"][0, :2])
    rolled = batch.state["wheel"][0, 0].mean() * amr.WHEEL_M
    assert rolled == pytest.approx(ahead, rel=0.02)
    turning = np.diff(batch.state["wheel"][0, 0])[0] * amr.WHEEL_M / amr.TRACK_M
    assert turning == pytest.approx(batch.state["qvel"][0, 2], rel=0.03)


def test_pure_pursuit_brings_nearly_every_robot_to_its_goal():
    id = "rlops/WarehouseNav-v0"
    found = evaluate(id, make_controller("pure_pursuit", id), range(100), latency=False)
    assert found.figures()["is_success"].mean() >= 0.95


# -- the fleet -------------------------------------------------------------------------------------------------


def _fleet_state(env):
    state = env.unwrapped.state.copy()
    return state.tobytes()


def test_the_agents_do_what_the_joint_decision_does_bit_for_bit():
    one, agents = gym.make("rlops/WarehouseFleet-v0").unwrapped, rlops.envs.parallel_env("rlops/WarehouseFleet-v0")
    joint, _ = one.reset(seed=5)
    seen, _ = agents.reset(seed=5)
    rng = np.random.default_rng(1)
    for _ in range(80):
        np.testing.assert_array_equal(joint, np.concatenate([seen[name] for name in agents.possible_agents]))
        actions = rng.uniform(-1, 1, (kernel_warehouse_fleet.ROBOTS, 2)).astype(np.float32)
        joint, reward, *_ = one.step(actions.ravel())
        seen, rewards, *_ = agents.step(dict(zip(agents.possible_agents, actions, strict=True)))
        assert _fleet_state(one) == _fleet_state(agents)
        assert sum(rewards.values()) == pytest.approx(reward, abs=1e-9)


def test_what_all_share_is_the_same_for_all():
    env = rlops.envs.parallel_env("rlops/WarehouseFleet-v0", params={"reward_sharing": 1.0})
    env.reset(seed=0)
    for _ in range(5):
        _, rewards, *_ = env.step({agent: np.array([1.0, 0.1]) for agent in env.agents})
        assert len(set(rewards.values())) == 1
    alone = rlops.envs.parallel_env("rlops/WarehouseFleet-v0")
    alone.reset(seed=0)
    _, rewards, *_ = alone.step({agent: np.array([1.0, 0.1]) for agent in alone.agents})
    assert len(set(rewards.values())) == kernel_warehouse_fleet.ROBOTS


def test_robots_that_run_into_each_other_bounce_off_and_count_it():
    batch = _rows("WarehouseFleet", shelf_rows=1)
    s = batch.state
    s["shelf_count"] = 0
    s["qpos"] = [[2.0, 4.0, 0.0, 4.0, 4.0, math.pi, 1.0, 1.0, 0.0, 7.0, 7.0, 0.0]]
    nearest = math.inf
    for _ in range(40):
        _step(batch, 1, 0, 1, 0, 0, 0, 0, 0)
        nearest = min(nearest, math.dist(s["qpos"][0, :2], s["qpos"][0, 3:5]))
    assert s["bumps"][0].tolist()[0] >= 1
    assert s["bumps"][0].tolist()[2:] == [0, 0]
    assert nearest > 2 * hall.RADIUS_M - 0.15
    assert s["qpos"][0, 0] < s["qpos"][0, 3] - 0.45


def test_a_robot_that_stands_where_it_unloads_is_charged_and_gets_its_next_order():
    batch = _rows("WarehouseFleet", service_s=2.0)
    s = batch.state
    s["phase"][0, 0], s["goal"][0, 0] = kernel_warehouse_fleet.TO_DOCK, s["qpos"][0, :2]
    before, goal = s["charge_wh"][0].copy(), s["goal"][0, 0].copy()
    for step in range(20):
        assert s["orders"][0, 0] == 0, step
        _step(batch, *np.zeros(8))
    assert s["orders"][0, 0] == 1
    assert s["phase"][0, 0] == kernel_warehouse_fleet.TO_PICK
    assert not np.array_equal(s["goal"][0, 0], goal)
    assert s["charge_wh"][0, 0] > before[0] + 0.5 * 300 * 2.0 / 3600
    assert (s["charge_wh"][0, 1:] < before[1:]).all()
