"""Pictures of the robots: by MuJoCo's OpenGL, or by PyBullet's renderer in software.

MuJoCo draws where there is EGL or OSMesa (packages of the system: ``libegl1 libgl1-mesa-dri``), which need no display.
Where there is neither, and for the engine ``pybullet``, PyBullet draws; the world is the same. Each picture is made of
the row's parameters and state alone.
"""

from __future__ import annotations

import importlib
import os
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from rlops.envs.robotics.model import Geom, Model, from_row, mjcf
from rlops.errors import MissingExtra

WIDTH, HEIGHT = 640, 480
"""[pixels]"""


@dataclass(frozen=True)
class View:
    """Where a camera looks at [m], from how far [m], and from which side [degrees]."""

    at: tuple[float, float, float]
    distance: float
    azimuth: float
    elevation: float


VIEWS = {
    "cart-balance": View((0.0, 0.0, 0.8), 3.7, 90.0, -12.0),
    "arm-reach": View((0.2, 0.0, 0.25), 1.5, 150.0, -28.0),
    "arm-push": View((0.28, 0.0, 0.1), 1.25, 150.0, -38.0),
    "warehouse": View((4.0, 3.9, 0.0), 10.8, 90.0, -72.0),
}
GREEN = (0.2, 0.62, 0.3)


def frame(kernel: Any, p: Any, s: Any, d: Any, engine: str = "mujoco") -> np.ndarray:
    """Return a picture of one row, ``(480, 640, 3)`` uint8.

    Raises:
        MissingExtra: If neither MuJoCo nor PyBullet can draw here.
    """
    return pictured(kernel, p, s, goal_marks(kernel, p, s), engine)


def pictured(kernel: Any, p: Any, s: Any, marks: tuple[Geom, ...], engine: str) -> np.ndarray:
    """Return what :func:`frame` does, with ``marks``: shapes that are only seen."""
    names = [parameter.name for parameter in kernel.PARAMETERS]
    model, qpos = _model(kernel, tuple(float(p[name]) for name in names)), np.array(s["qpos"])
    if engine == "mujoco" and opengl() is not None:
        return _offscreen(model.name, os.getpid(), threading.get_ident()).picture(model, qpos, marks)
    return _drawn_in_software(model, qpos, marks)


@lru_cache(maxsize=64)
def _model(kernel: Any, values: tuple[float, ...]) -> Model:
    names = [parameter.name for parameter in kernel.PARAMETERS]
    return from_row(kernel.build, dict(zip(names, values, strict=True)))


def goal_marks(kernel: Any, p: Any, s: Any) -> tuple[Geom, ...]:
    """Return what shows the goal of a row, where it has one: as large as its tolerance."""
    if not hasattr(kernel, "GOAL"):
        return ()
    goal, reach = [float(one) for one in s["goal"]], float(p["tolerance_m"])
    if len(goal) == 2:
        return (Geom("cylinder", (reach, 0.002), (goal[0], goal[1], 0.002), colour=GREEN),)
    return (Geom("sphere", (reach,), (goal[0], goal[1], goal[2]), colour=GREEN),)


# -- MuJoCo ----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def opengl() -> Any:
    """Return the class of the contexts in which MuJoCo can draw without a display, or None if there is none."""
    asked = os.environ.get("MUJOCO_GL", "").lower()
    for name in [asked] if asked in ("egl", "osmesa") else ["egl", "osmesa"]:
        try:
            context = importlib.import_module(f"mujoco.{name}").GLContext
            context(16, 16).free()
        except Exception:  # every library that is missing or cannot start fails in its own way
            continue
        return context
    return None


class _Offscreen:
    """A context in which worlds of one kind are drawn."""

    def __init__(self) -> None:
        self._context = opengl()(WIDTH, HEIGHT)
        self._drawing: Any = None

    def picture(self, model: Model, qpos: np.ndarray, marks: tuple[Geom, ...]) -> np.ndarray:
        """Return a picture of ``model`` with its joints at ``qpos``."""
        import mujoco

        world = _compiled(model)
        self._context.make_current()
        if self._drawing is None:
            self._drawing = mujoco.MjrContext(world, mujoco.mjtFontScale.mjFONTSCALE_100.value)
            mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._drawing)
        data, scene, view = mujoco.MjData(world), mujoco.MjvScene(world, maxgeom=500), VIEWS[model.name]
        data.qpos[:] = qpos
        mujoco.mj_forward(world, data)
        camera = mujoco.MjvCamera()
        camera.lookat[:], camera.distance = view.at, view.distance
        camera.azimuth, camera.elevation = view.azimuth, view.elevation
        mujoco.mjv_updateScene(world, data, mujoco.MjvOption(), None, camera, mujoco.mjtCatBit.mjCAT_ALL.value, scene)
        for mark in marks:
            _add_mark(scene, mark)
        pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        whole = mujoco.MjrRect(0, 0, WIDTH, HEIGHT)
        mujoco.mjr_render(whole, scene, self._drawing)
        mujoco.mjr_readPixels(pixels, None, whole, self._drawing)
        return np.ascontiguousarray(pixels[::-1])


@lru_cache(maxsize=16)
def _offscreen(name: str, process: int, thread: int) -> _Offscreen:
    """Return the context of one kind of world in one thread: a context belongs to the thread that made it."""
    return _Offscreen()


@lru_cache(maxsize=64)
def _compiled(model: Model) -> Any:
    import mujoco

    return mujoco.MjModel.from_xml_string(mjcf(model))


def _add_mark(scene: Any, mark: Geom) -> None:
    import mujoco

    kinds = {
        "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
        "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
        "box": mujoco.mjtGeom.mjGEOM_BOX,
    }
    size = np.array(mark.size if mark.shape == "box" else [mark.size[0], mark.size[-1], 0.0])
    colour = np.array([*mark.colour, 1.0 if mark.shape == "box" else 0.55], np.float32)
    mujoco.mjv_initGeom(
        scene.geoms[scene.ngeom], kinds[mark.shape].value, size, np.array(mark.at), np.eye(3).ravel(), colour
    )
    scene.ngeom += 1


# -- PyBullet --------------------------------------------------------------------------------------------------


def _drawn_in_software(model: Model, qpos: np.ndarray, marks: tuple[Geom, ...]) -> np.ndarray:
    """Return a picture made by PyBullet's renderer."""
    try:
        from rlops.envs.robotics.engines import bullet
        from rlops.envs.robotics.engines.pybullet import World
    except MissingExtra:
        raise MissingExtra("a picture, where MuJoCo finds neither EGL nor OSMesa,", "robotics") from None
    world, view = World(model, visible=True), VIEWS[model.name]
    try:
        world.place(qpos, np.zeros(model.velocities))
        ground = Geom("box", (12, 12, 0.005), (0, 0, -0.006), colour=(0.83, 0.84, 0.86))
        for shape in (ground, *model.scenery, *marks):
            seen = bullet.create_picture_of(world.server, shape.shape, shape.size, shape.colour)
            bullet.create_body(world.server, visual=seen, at=shape.at, turned=_TURNED[shape.along])
        azimuth, elevation = view.azimuth - 90.0, view.elevation
        return bullet.picture(world.server, WIDTH, HEIGHT, view.at, view.distance, azimuth, elevation)
    finally:
        world.close()


_TURNED = {"x": (0, 0.5**0.5, 0, 0.5**0.5), "y": (0.5**0.5, 0, 0, 0.5**0.5), "z": (0, 0, 0, 1)}
"""Quaternions (x, y, z, w) that turn z into an axis."""
