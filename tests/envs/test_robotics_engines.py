"""The two engines: the same source, the same motion where nothing touches, the same friction where something does."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from copy import copy
from dataclasses import replace
from multiprocessing import get_context
from types import SimpleNamespace

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops.envs.batch import Batch
from rlops.envs.contract import family, parameter_dtype
from rlops.envs.faces import Env
from rlops.envs.robotics import (
    ROBOTICS,
    kernel_arm_push,
    kernel_arm_reach,
    kernel_cart_balance,
    kernel_warehouse_fleet,
    kernel_warehouse_nav,
)
from rlops.envs.robotics.engines import mujoco as mujoco_engine
from rlops.envs.robotics.engines import nominal_model, shards
from rlops.envs.robotics.engines import pybullet as pybullet_engine
from rlops.envs.robotics.engines.bullet import b3, submit
from rlops.envs.robotics.engines.shards import Shards
from rlops.envs.robotics.formulas import Notes, evaluate
from rlops.envs.robotics.model import (
    FLOOR,
    GRAVITY,
    Body,
    Contact,
    Geom,
    Model,
    box_inertia,
    from_row,
    joined,
    mjcf,
    parameters_of,
    sphere_inertia,
)
from rlops.errors import EngineLost, InvalidValue, UnknownName
from tests.envs import broken_engine

NAMES = [f.name for f in ROBOTICS]
CONTACT_FREE = ["CartBalance", "ArmReach", "WarehouseNav"]
KERNELS = {
    "CartBalance": kernel_cart_balance,
    "ArmReach": kernel_arm_reach,
    "ArmPush": kernel_arm_push,
    "WarehouseNav": kernel_warehouse_nav,
    "WarehouseFleet": kernel_warehouse_fleet,
}


def _nominal(kernel):
    return {p.name: p.nominal for p in kernel.PARAMETERS}


def _physical(kernel, share):
    """Return physical parameters at a ``share`` of the way between their bounds."""
    return {
        p.name: p.low + share * (p.high - p.low) for p in kernel.PARAMETERS if p.kind in ("physical", "actuation")
    } | {"motor_lag_s": 0.03 * share, "dry_friction": 0.02 * share}


def _played(name, engine, params, steps=200, rows=1, threads=1, seed=5, serial=False):
    """Return positions and velocities after every step under actions that swing."""
    batch = Batch(family(name), 0, rows, params={"horizon_steps": 1000, **params}, engine=engine, threads=threads)
    if serial:
        batch._engine = mujoco_engine.SerialEngine(batch.kernel, batch.params, batch.state, threads)
    batch.seed(np.arange(rows), [seed + i for i in range(rows)])
    batch.reset()
    found = []
    wide = batch.actions.shape[1]
    for step in range(steps):
        batch.actions[:] = 0.3 * np.sin(step / 7.0 + np.arange(wide) + 0.1 * np.arange(rows)[:, None])
        batch.step(batch.actions, True)
        found.append(np.concatenate([batch.state["qpos"], batch.state["qvel"]], axis=1))
    return np.array(found)


def _course(model):
    """Return where a ``model`` is after each of some steps in which its motors swing, and what its solver starts from.

    Bytes: they also tell a zero from its negative.
    """
    data = mujoco.MjData(model)
    data.qvel[:] = 0.1
    course = []
    for step in range(50):
        data.ctrl[:] = 0.3 * np.sin(step / 7.0 + np.arange(model.nu))
        mujoco.mj_step(model, data, 10)
        course.append(np.concatenate([data.qpos, data.qvel, data.qacc_warmstart]))
    return np.array(course).tobytes()


# -- the twin --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONTACT_FREE)
def test_contact_free_twins_agree_to_1e_9_over_four_seconds(name):
    one, other = (_free_run(name, engine, _nominal(KERNELS[name])) for engine in ("mujoco", "pybullet"))
    assert np.abs(one - other).max() < 1e-9
    assert np.abs(one[-1] - one[0]).max() > 0.1


@settings(max_examples=8, deadline=None)
@given(share=st.floats(0.05, 0.95))
@pytest.mark.parametrize("name", CONTACT_FREE)
def test_contact_free_twins_agree_for_any_physical_parameters(name, share):
    params = _nominal(KERNELS[name]) | _physical(KERNELS[name], share)
    one, other = (_free_run(name, engine, params, seconds=0.5) for engine in ("mujoco", "pybullet"))
    assert np.abs(one - other).max() < 1e-9


def _free_run(name, engine, params, seconds=4.0):
    """Return the course of a model that swings under small forces, whatever a task would say of it."""
    kernel = KERNELS[name]
    model = from_row(kernel.build, params)
    steps = round(seconds / model.timestep_s)
    qpos, qvel = np.full(model.positions, 0.2), np.full(model.velocities, 0.3)
    force = 0.2 * np.arange(1, len(model.motors) + 1)
    found = []
    if engine == "mujoco":
        world = mujoco.MjModel.from_xml_string(mjcf(model))
        data = mujoco.MjData(world)
        data.qpos[:], data.qvel[:], data.ctrl[:] = qpos, qvel, force
        for _ in range(steps):
            mujoco.mj_step(world, data)
            found.append(np.concatenate([data.qpos, data.qvel]))
        return np.array(found)
    world = pybullet_engine.World(model)
    world.place(qpos, qvel)
    move = _moving([world], force[None], 1, qpos[None], qvel[None])
    for _ in range(steps):
        move()
        found.append(np.concatenate([qpos, qvel]))
    world.close()
    return np.array(found)


def _moving(worlds, force, substeps, qpos, qvel):
    """Return what moves all ``worlds`` whenever called."""
    servers = np.array([world.server for world in worlds])
    everyone = np.ones(len(worlds), np.bool_)
    return pybullet_engine.Movement(worlds[0]).of(everyone, servers, force, substeps, qpos, qvel)


# -- friction --------------------------------------------------------------------------------------------------


FLAT_M = 0.015
"""Half the box's height: a higher one pitches, and slides on an edge."""


def _sliding_box(friction):
    box = Body(
        "box", 0.5, box_inertia(0.5, 0.05, 0.05, FLAT_M), "free", at=(0.0, 0.0, FLAT_M),
        geoms=(Geom("box", (0.05, 0.05, FLAT_M), touches=True),),
    )  # fmt: skip
    return Model("sliding-box", (box,), 0.002, (Contact(("box", FLOOR), friction),))


def _slid_m(engine, friction, speed):
    model = _sliding_box(friction)
    qpos, qvel = np.array([0.0, 0, FLAT_M, 1, 0, 0, 0]), np.array([speed, 0.0, 0, 0, 0, 0])
    if engine == "mujoco":
        world = mujoco.MjModel.from_xml_string(mjcf(model))
        data = mujoco.MjData(world)
        mujoco.mj_step(world, data, 250)  # to lie still
        start = data.qpos[0]
        data.qvel[0] = speed
        mujoco.mj_step(world, data, 750)
        return data.qpos[0] - start
    world = pybullet_engine.World(model)
    world.place(qpos, np.zeros(6))
    _moving([world], np.zeros((1, 0)), 250, qpos[None], qvel[None])()
    start = qpos[0]
    qvel[0] = speed
    world.place(qpos, qvel)
    _moving([world], np.zeros((1, 0)), 750, qpos[None], qvel[None])()
    world.close()
    return qpos[0] - start


@pytest.mark.parametrize("friction", [0.3, 0.5, 0.8])
def test_a_box_slides_as_far_in_both_engines_as_on_paper(friction):
    speed = 3.0  # a step of the integrator is then a small part of the way
    exact = speed**2 / (2.0 * friction * GRAVITY)
    far = {engine: _slid_m(engine, friction, speed) for engine in ("mujoco", "pybullet")}
    assert far["mujoco"] == pytest.approx(exact, rel=0.01)
    assert far["pybullet"] == pytest.approx(exact, rel=0.01)
    assert far["mujoco"] == pytest.approx(far["pybullet"], rel=0.01)


def test_what_bullet_tells_of_many_worlds_at_once_is_what_was_put_into_each():
    kernel = family("ArmPush").kernel(0)
    model = nominal_model(kernel)
    assert {body.joint for body in model.bodies} > {"free"}
    rng = np.random.default_rng(0)
    qpos, qvel = rng.normal(size=(3, model.positions)), rng.normal(size=(3, model.velocities))
    turn = 3 + [body.joint for body in model.bodies].index("free")  # all before it have one joint each
    qpos[:, turn] = np.abs(qpos[:, turn])  # the other sign is the same orientation
    qpos[:, turn : turn + 4] /= np.linalg.norm(qpos[:, turn : turn + 4], axis=1, keepdims=True)
    worlds = [pybullet_engine.World(model) for _ in range(3)]
    for world, *placed in zip(worlds, qpos, qvel, strict=True):
        world.place(*placed)
    found = np.full((3, model.positions), 7.0), np.full((3, model.velocities), 7.0)
    servers, moving = np.array([world.server for world in worlds]), np.array([True, False, True])
    pybullet_engine.Movement(worlds[1]).of(moving, servers, np.zeros((3, 2)), 0, *found)()
    for put, got in zip((qpos, qvel), found, strict=True):
        np.testing.assert_allclose(got[moving], put[moving], atol=1e-12)
        assert (got[~moving] == 7.0).all()
    for world in worlds:
        world.close()


def test_a_world_that_tells_nothing_is_an_error():
    world = pybullet_engine.World(nominal_model(kernel_cart_balance))
    submit(world.server, b3.b3InitResetSimulationCommand(world.server))  # and with it all bodies are gone
    with pytest.raises(EngineLost, match="Bullet told nothing of row 0"):
        _moving([world], np.zeros((1, 1)), 1, np.zeros((1, 2)), np.zeros((1, 2)))()
    world.close()


def test_a_body_that_bullet_refuses_is_named():
    cart = nominal_model(kernel_cart_balance)
    twice = replace(cart, bodies=(cart.bodies[0], replace(cart.bodies[1], name="cart")))
    with pytest.raises(InvalidValue, match="Bullet must load the body cart, but it refused"):
        pybullet_engine.World(twice)


@pytest.mark.parametrize("visible", [False, True])
def test_what_only_a_picture_shows_is_loaded_for_pictures_alone(visible):
    class Shapes(ctypes.Structure):
        _fields_ = (("count", ctypes.c_int), ("data", ctypes.c_void_p))

    ask, answer = b3.b3InitRequestVisualShapeInformation, b3.b3GetVisualShapeInformation
    ask.argtypes, ask.restype = (ctypes.c_ssize_t, ctypes.c_int), ctypes.c_ssize_t
    answer.argtypes = (ctypes.c_ssize_t, ctypes.POINTER(Shapes))
    world = pybullet_engine.World(nominal_model(kernel_arm_push), visible=visible)
    count = 0
    for body in {tree for tree, _ in world.places.values()}:
        shapes = Shapes()
        submit(world.server, ask(world.server, body))
        answer(world.server, shapes)
        count += shapes.count
    world.close()
    assert (count > 3) == visible


def test_bullet_gets_a_friction_for_every_body_whose_products_are_those_of_the_pairs():
    contacts = (Contact(("box", FLOOR), 0.5), Contact(("tip", "box"), 0.3), Contact(("tip", "wall"), 0.6))
    found = pybullet_engine.friction_of(contacts)
    for contact in contacts:
        one, other = contact.bodies
        assert found[one] * found[other] == pytest.approx(contact.friction)


def test_a_ring_of_contacts_that_bullet_cannot_have_is_refused():
    ring = (Contact(("a", "b"), 0.5), Contact(("b", "c"), 0.5), Contact(("a", "c"), 0.3))
    with pytest.raises(InvalidValue, match="Let one of them go"):
        pybullet_engine.friction_of(ring)


# -- MuJoCo ----------------------------------------------------------------------------------------------------


def test_what_is_done_beside_an_engine_on_threads_is_what_one_does_bit_for_bit():
    rows = kernel_warehouse_nav.PARALLEL_ROWS_BESIDE_ENGINE
    one, two = (Batch(family("WarehouseNav"), 0, rows, threads=threads) for threads in (1, 2))
    rng = np.random.default_rng(0)
    for batch in (one, two):
        batch.seed(np.arange(rows), [0] * rows)
        batch.reset()
    assert two._step == two._step_on_threads
    for _ in range(5):
        actions = rng.uniform(-1, 1, one.actions.shape)
        for batch in (one, two):
            batch.step(actions, True)
    assert one.state.tobytes() == two.state.tobytes()
    assert one.out.obs.tobytes() == two.out.obs.tobytes()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_native_batch_equals_a_serial_loop_bit_for_bit(name, threads):
    many = {"payload_kg": 0.2} if name != "ArmPush" else {"friction": 0.7, "box_centre_m": 0.01}
    native = _played(name, "mujoco", many, 60, rows=5, threads=threads)
    serial = _played(name, "mujoco", many, 60, rows=5, serial=True)
    np.testing.assert_array_equal(native, serial)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("resting", [1, mujoco_engine._STEPPED_ALONG, mujoco_engine._STEPPED_ALONG + 1, 11, 12])
def test_rows_that_rest_stay_as_they_are_and_the_others_move_as_in_a_serial_loop(name, resting, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log of its own
    native = Batch(family(name), 0, 12, threads=2)
    native.seed(np.arange(12), list(range(12)))
    native.reset()
    for _ in range(3):
        native.step(np.full_like(native.actions, 0.3), True)
    state = native.state
    state["moving"] = np.random.default_rng(resting).permutation(12) >= resting
    state["qvel"][np.flatnonzero(~state["moving"])[0]] = np.nan  # fails, if it is moved at all
    serial, before = state.copy(), state.copy()
    mujoco_engine.SerialEngine(native.kernel, native.params, serial, 1).advance()
    native._engine.advance()
    moving = before["moving"]
    for field in state.dtype.names:
        np.testing.assert_array_equal(state[field], serial[field], err_msg=field)
        np.testing.assert_array_equal(state[field][~moving], before[field][~moving], err_msg=field)
    assert (state["qpos"] != before["qpos"])[moving].any() or resting == 12


def test_an_error_of_a_simulation_fails_its_row_unless_it_rests(monkeypatch):
    batch = Batch(family("CartBalance"), 0, 5, threads=1)
    batch.seed(np.arange(5), list(range(5)))
    batch.reset()
    batch.step(batch.actions, True)
    batch.state["moving"] = np.arange(5) >= 2

    def step(*_):
        raise mujoco_engine.SimulationError(np.array([1, 3]), "out of memory", 5)

    monkeypatch.setattr(batch._engine._batch, "step", step)
    batch._engine.advance()
    assert batch.state["failed"].tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("name", NAMES)
def test_a_row_with_parameters_of_its_own_moves_as_a_model_compiled_from_them(name):
    kernel = KERNELS[name]
    values = _nominal(kernel) | _physical(kernel, 0.7)
    params = np.zeros(2, parameter_dtype(kernel.PARAMETERS))
    for parameter, value in _nominal(kernel).items():
        params[parameter] = value
    for parameter, value in values.items():
        params[parameter][1] = value
    batch = Batch(family(name), 0, 2, engine="mujoco")
    batch.base[:] = params
    batch.seed(np.arange(2), [3, 3])
    batch.reset()
    world = mujoco.MjModel.from_xml_string(mjcf(from_row(kernel.build, values)))
    data = mujoco.MjData(world)
    data.qpos[:], data.qvel[:] = batch.state["qpos"][1], batch.state["qvel"][1]
    for step in range(20):
        batch.actions[:] = 0.3 * np.sin(step / 3.0)
        batch.step(batch.actions, False)
        data.ctrl[:] = batch.state["force"][1]
        mujoco.mj_step(world, data, kernel.SUBSTEPS)
        np.testing.assert_allclose(batch.state["qpos"][1], data.qpos, rtol=0, atol=1e-12)


@given(a=st.floats(0.1, 10), b=st.floats(-10, 10), whole=st.integers(1, 9))
def test_what_is_noted_of_parameters_is_what_python_makes_of_numbers_to_the_last_bit(a, b, whole):
    def formulas(p):
        return (
            p.a + 0.3, 0.3 + p.b, p.a + p.b, p.a - 0.3, 0.3 - p.b, p.a - p.b, p.b * 0.3, 0.3 * p.b, p.a * p.b,
            p.b / 0.3, 0.3 / p.a, p.b / p.a, -p.b, p.b / p.whole, (0.3 - p.a * p.b) / (p.a + p.whole) - p.b * p.b,
        )  # fmt: skip

    record = np.array([(a, b, whole)], [("a", "f8"), ("b", "f8"), ("whole", "i8")])
    notes = Notes(record.dtype)
    noted = notes.formulas(formulas(notes))
    values = np.empty(len(noted[2]))
    evaluate(record[0:1].view(np.int64), record[0:1].view(np.float64), *noted, values)
    assert values.tolist() == list(formulas(SimpleNamespace(a=a, b=b, whole=whole)))


@settings(max_examples=10, deadline=None)
@given(share=st.floats(0, 1))
@pytest.mark.parametrize("name", NAMES)
def test_formulas_give_the_numbers_of_the_model_itself_to_the_last_bit(name, share):
    kernel = KERNELS[name]
    record = np.zeros(1, parameter_dtype(kernel.PARAMETERS))
    for parameter, value in (_nominal(kernel) | _physical(kernel, share)).items():
        record[parameter] = value
    model = from_row(kernel.build, record[0])
    compiled = mujoco_engine.compiled_model(kernel.build, record)
    fields = mujoco_engine.OwnFields(compiled, kernel.build, record.dtype)
    said = {
        (field, index): value
        for field, index, value in mujoco_engine.model_fields(mujoco_engine.places_of(compiled, model), model)
    }
    assert len(fields.places) >= 5
    for place, value in zip(fields.places, fields.of(record), strict=True):
        assert value == said[place]


@pytest.mark.parametrize("name", NAMES)
def test_a_robot_moves_alike_without_what_only_a_picture_shows(name):
    model = nominal_model(KERNELS[name])
    worlds = [mujoco.MjModel.from_xml_string(mjcf(model, visible=visible)) for visible in (True, False)]
    assert _course(worlds[0]) == _course(worlds[1])
    assert worlds[1].ngeom < worlds[0].ngeom
    assert worlds[1].ngeom == sum(geom.touches for body in model.bodies for geom in body.geoms) + bool(model.contacts)
    assert worlds[1].nbuffer < worlds[0].nbuffer / 10


@pytest.mark.parametrize("name", NAMES)
def test_rows_share_the_fields_of_their_model_until_one_has_parameters_of_its_own(name):
    batch = Batch(family(name), 0, 4, threads=1)
    batch.seed(np.arange(4), [0, 1, 2, 3])
    batch.reset()
    batch.step(batch.actions, True)
    assert batch._engine._batch.expanded("body_mass") is None
    read = parameters_of(batch.kernel.build, batch.params[0])
    mass = next(p for p in batch.kernel.PARAMETERS if p.unit == "kg" and p.name in read)
    one = np.arange(4) == 2
    batch.set_params({mass.name: mass.high}, one)
    batch.reset(one)
    batch.step(batch.actions, True)
    masses = batch._engine._batch.expanded("body_mass")
    assert (masses[one] != masses[0]).any()
    np.testing.assert_array_equal(masses[~one], np.broadcast_to(masses[0], masses[~one].shape))


@pytest.mark.parametrize("name", NAMES)
def test_rows_have_all_that_mujoco_derives_from_their_parameters_and_reads_whatever_they_had_before(name):
    batch = Batch(family(name), 0, 4, threads=1)
    batch.seed(np.arange(4), [0, 1, 2, 3])
    batch.reset()
    batch.step(batch.actions, True)
    for shares in ((0.0, 0.3, 0.7, 1.0), (1.0, 0.0, 0.3, 0.3)):
        for row, share in enumerate(shares):
            for parameter, value in _physical(batch.kernel, share).items():
                batch.params[parameter][row] = value
        batch.state["moving"] = True
        serial = mujoco_engine.SerialEngine(batch.kernel, batch.params, batch.state.copy(), 1)
        serial.advance()
        batch._engine.advance()
        derived = mujoco_engine.derived_fields(batch._engine._model)
        for row, model in enumerate(serial._models):
            own = batch._engine._batch.get_model(row)
            for field in {field for field, _ in batch._engine._fields.places} | derived | {"body_sameframe"}:
                np.testing.assert_array_equal(getattr(own, field), getattr(model, field), err_msg=field)
    assert batch._engine._batch.expanded("body_subtreemass") is not None
    unread = set(mujoco.MjModel._setconst_outputs) - derived
    assert all(batch._engine._batch.expanded(field) is None for field in unread)


@pytest.mark.parametrize("name", NAMES)
def test_no_motion_depends_on_what_is_not_read_of_a_model(name):
    kernel = KERNELS[name]
    params = np.zeros(1, parameter_dtype(kernel.PARAMETERS))
    for parameter, value in (_nominal(kernel) | _physical(kernel, 0.7)).items():
        params[parameter] = value
    model = mujoco_engine.compiled_model(kernel.build, params)
    unknown = copy(model)
    unread = set(mujoco.MjModel._setconst_outputs) - mujoco_engine.derived_fields(model) - {"body_sameframe"}
    for field in unread:
        getattr(unknown, field)[:] = np.nan
    assert _course(model) == _course(unknown)


@pytest.mark.parametrize(("name", "has_sizes"), [("CartBalance", False), ("ArmReach", False), ("ArmPush", True)])
def test_rows_have_sizes_of_their_own_only_where_shapes_touch(name, has_sizes):
    batch = Batch(family(name), 0, 3, params=_physical(KERNELS[name], 0.7), threads=1)
    batch.seed(np.arange(3), [0, 1, 2])
    batch.reset()
    batch.set_params(_physical(KERNELS[name], 0.4), np.arange(3) == 1)
    batch.reset(np.arange(3) == 1)
    batch.step(batch.actions, True)
    native = batch._engine._batch
    assert native.expanded("body_inertia") is not None
    assert (native.expanded("geom_size") is not None) == has_sizes


@pytest.mark.parametrize("name", NAMES)
def test_a_simulation_that_explodes_ends_its_episode_alone_and_says_so(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log of its own

    envs = gym.make_vec(f"rlops/{name}-v0", num_envs=3, autoreset_mode="SameStep")
    envs.reset(seed=0)
    envs.unwrapped.state["qvel"][1] = np.nan
    actions = np.zeros(envs.action_space.shape, np.float32)
    obs, reward, terminated, _, infos = envs.step(actions)
    assert terminated.tolist() == [False, True, False]
    assert infos["final_info"]["failed"][1]
    assert reward[1] < -10.0
    assert np.isfinite(obs).all()
    _, _, terminated, _, infos = envs.step(actions)
    assert not terminated.any()
    assert not infos["failed"].any()


def _in_a_child(batch, queue):
    batch.actions[:] = 0.3
    batch.step(batch.actions, False)
    queue.put(batch.state["qpos"].copy())


@pytest.mark.parametrize("engine", ["mujoco", "pybullet"])
def test_a_forked_child_makes_simulations_of_its_own(engine):
    batch = Batch(family("ArmReach"), 0, 2, engine=engine, threads=1)
    batch.seed(np.arange(2), [0, 1])
    batch.reset()
    batch.step(batch.actions, False)
    context = get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_a_child, args=(batch, queue))
    child.start()
    theirs = queue.get(timeout=60)
    child.join(60)
    assert child.exitcode == 0
    batch.actions[:] = 0.3
    batch.step(batch.actions, False)
    np.testing.assert_array_equal(theirs, batch.state["qpos"])


def _forget(batches, queue):
    batches.clear()
    gc.collect()
    queue.put("done")


def test_a_forked_child_forgets_its_parents_simulations_without_waiting_for_their_threads():
    batches = [Batch(family("ArmReach"), 0, 4, engine="mujoco", threads=2)]
    batches[0].seed(np.arange(4), [0, 1, 2, 3])
    batches[0].reset()
    batches[0].step(batches[0].actions, False)
    context = get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_forget, args=(batches, queue))
    child.start()
    try:
        assert queue.get(timeout=30) == "done"
    finally:
        child.join(5)
        child.kill()


# -- PyBullet --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_an_episode_in_a_used_world_of_bullet_is_that_of_a_fresh_one(name):
    fresh = _played(name, "pybullet", {}, 60)
    batch = Batch(family(name), 0, 1, params={"horizon_steps": 1000}, engine="pybullet")
    for _ in range(2):
        batch.seed(np.arange(1), [5])
        batch.reset()
        again = []
        for step in range(60):
            batch.actions[:] = 0.3 * np.sin(step / 7.0 + np.arange(batch.actions.shape[1]))
            batch.step(batch.actions, True)
            again.append(np.concatenate([batch.state["qpos"], batch.state["qvel"]], axis=1))
    np.testing.assert_array_equal(fresh, np.array(again))


def test_a_world_gets_a_new_server_before_the_old_one_has_gathered_much(monkeypatch):
    fresh = _played("ArmPush", "pybullet", {"horizon_steps": 50}, 200)
    monkeypatch.setattr(pybullet_engine, "MOST_REMADE", 1)
    opened, connect = [], pybullet_engine.World._open
    monkeypatch.setattr(pybullet_engine.World, "_open", lambda world: (opened.append(world), connect(world)))
    np.testing.assert_array_equal(_played("ArmPush", "pybullet", {"horizon_steps": 50}, 200), fresh)
    assert len(opened) == 2  # for the episodes 1 and 2, and 3 and 4


MASSES = {"CartBalance": "cart_mass_kg", "ArmReach": "fore_mass_kg", "ArmPush": "box_mass_kg"}


@pytest.mark.parametrize("name", MASSES)
def test_a_used_world_of_bullet_is_a_fresh_one_however_wildly_it_was_used_and_whatever_has_changed(name):
    rng = np.random.default_rng(0)

    def batch():
        return Batch(family(name), 0, 2, params={"horizon_steps": 1000}, engine="pybullet")

    used = batch()
    for episode, mass_kg in enumerate((None, None, 0.7, 0.7, None)):
        fresh = batch()
        for one in (used, fresh):
            one.seed(np.arange(2), [episode] * 2)
            one.reset(override=None if mass_kg is None else {MASSES[name]: mass_kg})
        for _ in range(80):
            actions = rng.uniform(-1, 1, used.actions.shape)
            for one in (used, fresh):
                one.step(actions, True)
            assert used.state["qpos"].tobytes() == fresh.state["qpos"].tobytes()
            assert used.state["qvel"].tobytes() == fresh.state["qvel"].tobytes()


def test_worlds_that_were_interrupted_move_as_if_they_had_not_been(monkeypatch):
    whole, broken = (Batch(family("CartBalance"), 0, 3, engine="pybullet", threads=1) for _ in range(2))
    for batch in (whole, broken):
        batch.seed(np.arange(3), [0, 1, 2])
        batch.reset()
        batch.step(batch.actions + 0.5, True)
    worlds, place = broken._engine._worlds, pybullet_engine.World.place

    def interrupted(world, *given):
        if world is worlds.get(1):
            raise KeyboardInterrupt
        place(world, *given)

    for batch in (whole, broken):
        batch.state["moving"], batch.state["force"] = True, 1.5
        batch.state["qvel"][:, 0] += 0.1
    before = broken.state.copy()
    monkeypatch.setattr(pybullet_engine.World, "place", interrupted)
    with pytest.raises(KeyboardInterrupt):
        broken._engine.advance()
    monkeypatch.undo()
    assert broken.state["qpos"].tobytes() == before["qpos"].tobytes()
    for batch in (whole, broken):
        batch._engine.advance()
    assert broken.state["qpos"].tobytes() == whole.state["qpos"].tobytes() != before["qpos"].tobytes()


def test_worlds_are_closed_with_their_rows(monkeypatch):
    closed, close = [], pybullet_engine.World.close
    monkeypatch.setattr(pybullet_engine.World, "close", lambda world: (closed.append(world.server), close(world)))
    batch = Batch(family("CartBalance"), 0, 3, engine="pybullet", threads=1)
    batch.reset()
    batch.step(batch.actions, True)
    servers = [world.server for world in batch._engine._worlds.values()]
    assert len(set(servers)) == 3
    assert closed == []
    del batch
    gc.collect()
    assert sorted(closed) == sorted(servers)


def test_a_process_that_keeps_worlds_until_its_end_says_nothing():
    code = (
        "import json, gymnasium, rlops\n"
        "envs = gymnasium.make_vec('rlops/CartBalance-v0', num_envs=2, engine='pybullet')\n"
        "envs.reset(seed=0), envs.step(envs.action_space.sample())\n"
        "json.keeps_all_of_this = lambda: None\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("", "")


def test_bullet_refuses_more_rows_than_it_survives():
    with pytest.raises(InvalidValue, match="at most 256 rows a process, got 257 in 1"):
        Batch(family("CartBalance"), 0, 257, engine="pybullet", threads=1)
    with pytest.raises(InvalidValue, match="got 513 in 2"):
        Batch(family("CartBalance"), 0, 513, engine="pybullet", threads=2)


def test_importing_bullet_prints_nothing():
    program = [sys.executable, "-c", "import rlops.envs.robotics.engines.pybullet"]
    done = subprocess.run(program, capture_output=True, check=True)
    assert done.stdout + done.stderr == b""


# -- the source ------------------------------------------------------------------------------------------------


def test_an_engine_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(UnknownName, match="mujoco, pybullet"):
        Batch(family("CartBalance"), 0, 1, engine="bullet")
    with pytest.raises(UnknownName, match="option"):
        Env("Dispatch", 0, engine="mujoco")


@pytest.mark.parametrize("name", NAMES)
def test_no_body_is_lighter_than_air_or_denser_than_steel(name):
    model = from_row(KERNELS[name].build, _nominal(KERNELS[name]))
    for body in (body for body in model.bodies if body.geoms):
        volume = sum(_volume(geom) for geom in body.geoms)
        assert 10.0 < body.mass / volume < 8000.0, body.name


def _volume(geom):
    if geom.shape == "sphere":
        return 4.0 / 3.0 * np.pi * geom.size[0] ** 3
    if geom.shape == "cylinder":
        return 2.0 * np.pi * geom.size[0] ** 2 * geom.size[1]
    return 8.0 * np.prod(geom.size)


@pytest.mark.parametrize("name", NAMES)
def test_every_physical_parameter_of_mass_length_or_friction_reaches_the_model(name):
    kernel = KERNELS[name]
    read = parameters_of(kernel.build, _nominal(kernel))
    told = [p.name for p in kernel.PARAMETERS if p.name.endswith(("mass_kg", "length_m", "friction", "payload_kg"))]
    assert set(told) - {"dry_friction"} <= set(read)


@given(mass=st.floats(0.1, 10), far=st.floats(0.01, 2))
def test_joined_spheres_have_the_inertia_of_two_points_and_their_own(mass, far):
    radius = 0.05
    ball = sphere_inertia(mass, radius)
    total, centre, inertia = joined((mass, (0.0, 0.0, 0.0), ball), (mass, (0.0, 0.0, far), ball))
    assert total == pytest.approx(2 * mass)
    assert centre == pytest.approx((0.0, 0.0, far / 2))
    about = 2 * ball[0] + 2 * mass * (far / 2) ** 2
    assert inertia == pytest.approx((about, about, 2 * ball[0]))


def test_a_model_is_told_apart_by_its_numbers():
    one = from_row(kernel_arm_reach.build, _nominal(kernel_arm_reach))
    assert replace(one, timestep_s=0.001) != one
    assert from_row(kernel_arm_reach.build, _nominal(kernel_arm_reach)) == one


# -- shards ----------------------------------------------------------------------------------------------------


def _sharded(processes, rows=5):
    batch = Batch(family("ArmPush"), 0, rows, engine="pybullet", threads=processes)
    batch.seed(np.arange(rows), [0] * rows)
    batch.reset()
    return batch


def test_rows_shared_among_processes_move_as_in_one_bit_for_bit():
    one, two = _sharded(1), _sharded(2)
    rng = np.random.default_rng(0)
    for _ in range(30):
        actions = rng.uniform(-1, 1, one.actions.shape)
        for batch in (one, two):
            batch.step(actions, True)
    assert one.state.tobytes() == two.state.tobytes()
    assert isinstance(two._engine, Shards)
    two._engine.close()


def test_without_a_processor_for_every_process_nobody_who_waits_stays_awake(monkeypatch):
    def awake(*_):
        raise AssertionError("a process looked for what comes instead of sleeping")

    monkeypatch.setattr(shards, "PROCESSORS", 1)
    monkeypatch.setattr(shards.Arrivals, "stay_awake", awake)
    one, two = _sharded(1), _sharded(2)
    for batch in (one, two):
        batch.step(batch.actions, True)
    assert one.state.tobytes() == two.state.tobytes()
    two._engine.close()


def test_a_process_that_is_killed_is_told_of_and_the_others_end():
    batch = _sharded(1)
    batch._engine = Shards(pybullet_engine.__name__, batch.kernel, batch.params, batch.state, 3)
    batch.step(batch.actions, True)
    first, second = (worker._process for worker in batch._engine._workers)
    first.kill()
    with pytest.raises(EngineLost, match="exit code -9"):
        batch.step(batch.actions, True)
    assert second.poll() == 0


def test_processes_end_with_the_batch():
    batch = _sharded(2)
    batch.step(batch.actions, True)
    (other,) = (worker._process for worker in batch._engine._workers)
    del batch
    gc.collect()
    assert other.poll() == 0


@pytest.mark.parametrize("here", [False, True])
def test_an_error_of_an_engine_is_told_whatever_process_it_is_in(here, monkeypatch):
    monkeypatch.setattr(broken_engine, "breaks_here", here)
    batch = _sharded(1)
    engine = Shards("tests.envs.broken_engine", batch.kernel, batch.params, batch.state, 2)
    with pytest.raises(EngineLost, match="must move the rows, but ArithmeticError: the world fell apart"):
        engine.advance()
    assert not engine._workers
    engine.close()
