"""One source for both engines: what a robot and its world consist of, and the MJCF and URDF that say it.

A model is built by a function of the parameters, ``build(p)``. ``p`` is one row of parameters where a text is written,
or notes what is done to them where a batch of simulations gets values of its own (``formulas.py``): the formulas are
the same, so no engine can lag behind another.

Lengths in m, masses in kg, inertias in kg m². Every body has the joint that connects it to its parent, and its inertia
is diagonal in its own frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Number = Any
"""A float, or how it follows from parameters."""
Triple = tuple[Number, Number, Number]

GRAVITY = 9.81
"""[m/s²]"""
ORIGIN: Triple = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Geom:
    """A shape of a body; ``touches`` makes it the one with which the body touches others.

    ``size`` is the radius of a sphere; radius and half length of a cylinder, whose axis is z unless ``along`` says
    another; half lengths of a box.
    """

    shape: Literal["box", "sphere", "cylinder"]
    size: tuple[Number, ...]
    at: Triple = ORIGIN
    along: Literal["x", "y", "z"] = "z"
    colour: tuple[float, float, float] = (0.6, 0.6, 0.6)
    touches: bool = False


@dataclass(frozen=True)
class Body:
    """A rigid body with the joint to its parent, and a motor on that joint if ``driven``.

    ``joint`` is ``free`` (only without a parent), ``slide`` or ``hinge`` along ``axis``; ``damping`` is viscous
    [N s/m or N m s/rad].
    """

    name: str
    mass: Number
    inertia: Triple
    joint: Literal["free", "slide", "hinge"]
    axis: Literal["x", "y", "z"] = "z"
    parent: str = ""
    at: Triple = ORIGIN
    centre: Triple = ORIGIN
    damping: Number = 0.0
    driven: bool = False
    geoms: tuple[Geom, ...] = ()


@dataclass(frozen=True)
class Contact:
    """Two bodies that touch, one of them perhaps the ``floor``, and the friction between them [-]."""

    bodies: tuple[str, str]
    friction: Number


FLOOR = "floor"


@dataclass(frozen=True)
class Model:
    """A robot and its world.

    Attributes:
        name: Of the world.
        bodies: Parents before their children.
        timestep_s: Of the engine [s].
        contacts: All that touches; anything else passes through.
        scenery: Shapes that are only seen.
    """

    name: str
    bodies: tuple[Body, ...]
    timestep_s: float
    contacts: tuple[Contact, ...] = ()
    scenery: tuple[Geom, ...] = ()

    @property
    def positions(self) -> int:
        """How many numbers the positions of all joints make: seven for a free body, a quaternion among them."""
        return sum(7 if body.joint == "free" else 1 for body in self.bodies)

    @property
    def velocities(self) -> int:
        """How many numbers the velocities of all joints make."""
        return sum(6 if body.joint == "free" else 1 for body in self.bodies)

    @property
    def motors(self) -> tuple[Body, ...]:
        """The bodies whose joints have a motor, in order."""
        return tuple(body for body in self.bodies if body.driven)

    def body(self, name: str) -> Body:
        """Return a body by its name."""
        return next(body for body in self.bodies if body.name == name)

    def roots(self) -> Iterator[tuple[Body, ...]]:
        """Yield every tree of bodies, its root first."""
        for root in self.bodies:
            if not root.parent:
                tree = [root]
                for body in self.bodies:
                    if body.parent in {one.name for one in tree}:
                        tree.append(body)
                yield tuple(tree)


Build = Callable[[Any], Model]


def box_inertia(mass: Number, x: Number, y: Number, z: Number) -> Triple:
    """Return the inertia [kg m²] of a homogeneous box with half lengths ``x``, ``y``, ``z``."""
    third = mass / 3.0
    return third * (y * y + z * z), third * (x * x + z * z), third * (x * x + y * y)


def cylinder_inertia(mass: Number, radius: Number, half: Number, along: str = "z") -> Triple:
    """Return the inertia [kg m²] of a homogeneous cylinder with its axis along ``along``."""
    axial = 0.5 * mass * radius * radius
    across = mass * (0.25 * radius * radius + half * half / 3.0)
    inertia = [across, across, across]
    inertia["xyz".index(along)] = axial
    return inertia[0], inertia[1], inertia[2]


def sphere_inertia(mass: Number, radius: Number) -> Triple:
    """Return the inertia [kg m²] of a homogeneous sphere."""
    one = 0.4 * mass * radius * radius
    return one, one, one


def joined(*parts: tuple[Number, Triple, Triple]) -> tuple[Number, Triple, Triple]:
    """Return mass, centre and inertia of ``parts`` on one axis of their body, each given by its own.

    The centres must lie on one coordinate axis, so that the inertia stays diagonal.
    """
    mass = sum(part[0] for part in parts)
    centre = [sum(m * c[k] for m, c, _ in parts) / mass for k in range(3)]
    inertia = []
    for k in range(3):
        away = [(m, [c[j] - centre[j] for j in range(3) if j != k], i[k]) for m, c, i in parts]
        inertia.append(sum(own + m * sum(d * d for d in distances) for m, distances, own in away))
    return mass, (centre[0], centre[1], centre[2]), (inertia[0], inertia[1], inertia[2])


class _Recorder:
    """Stands for parameters and remembers which were read."""

    def __init__(self, row: Any):
        self._row, self.read = row, set[str]()

    def __getattr__(self, name: str) -> float:
        self.read.add(name)
        return float(self._row[name])


def parameters_of(build: Build, row: Any) -> tuple[str, ...]:
    """Return the names of the parameters that a model depends on, given one record ``row`` of them."""
    recorder = _Recorder(row)
    build(recorder)
    return tuple(sorted(recorder.read))


def from_row(build: Build, row: Any) -> Model:
    """Return the model of one record of parameters."""
    return build(_Recorder(row))


AXES = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}


def _words(values: Any) -> str:
    return " ".join(repr(float(value)) for value in values)


def _rotation(along: str) -> tuple[float, float, float]:
    """Return the roll, pitch and yaw [rad] that turn z into ``along``."""
    return {"x": (0.0, np.pi / 2, 0.0), "y": (np.pi / 2, 0.0, 0.0), "z": (0.0, 0.0, 0.0)}[along]


# -- MJCF ------------------------------------------------------------------------------------------------------

_HEAD = """<mujoco model="{name}">
  <compiler angle="radian" autolimits="false"/>
  <option timestep="{timestep}" integrator="Euler" cone="elliptic" gravity="0 0 -{gravity}">
    <flag eulerdamp="disable" autoreset="disable"/>
  </option>
"""
_LOOK = """  <visual><global offwidth="1280" offheight="960"/><headlight ambient="0.35 0.35 0.35" diffuse="0.5 0.5 0.5"/></visual>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1="0.93 0.95 0.98" rgb2="0.75 0.8 0.88" width="64" height="384"/>
    <texture name="tiles" type="2d" builtin="checker" rgb1="0.86 0.87 0.88" rgb2="0.8 0.81 0.83" width="256" height="256"/>
    <material name="tiles" texture="tiles" texrepeat="1 1" texuniform="true"/>
  </asset>
"""  # noqa: E501


def mjcf(model: Model, *, visible: bool = True) -> str:
    """Return the model as MuJoCo's XML, with what only a picture shows if it is to be ``visible``.

    Without that it moves alike, in less time and memory. The settings are those under which both engines integrate
    alike: semi-implicit Euler with explicit damping, and elliptic friction cones. Friction is a property of a pair, so
    nothing else than what :class:`Contact` says touches.
    """
    out = [_HEAD.format(name=model.name, timestep=repr(model.timestep_s), gravity=GRAVITY)]
    if visible:
        out.append(_LOOK)
    out.append("  <worldbody>\n")
    if visible:
        out.append('    <light pos="0 0 4" dir="0 0 -1" directional="true" diffuse="0.4 0.4 0.4"/>\n')
    if visible or any(FLOOR in contact.bodies for contact in model.contacts):
        tiles = ' material="tiles"' if visible else ""
        out.append(f'    <geom name="{FLOOR}" type="plane" size="0 0 1"{tiles} contype="0" conaffinity="0"/>\n')
    out += ["    " + _mjcf_geom(geom, "") for geom in model.scenery if visible]
    children: dict[str, list[Body]] = {}
    for body in model.bodies:
        children.setdefault(body.parent, []).append(body)
    for root in children.get("", []):
        out += _mjcf_body(root, children, "    ", visible)
    out.append("  </worldbody>\n")
    if model.contacts:
        out.append("  <contact>\n")
        for contact in model.contacts:
            one, other = (name if name == FLOOR else f"{name}.touch" for name in contact.bodies)
            mu = repr(float(contact.friction))
            out.append(f'    <pair geom1="{one}" geom2="{other}" condim="3" friction="{mu} {mu} 0 0 0"/>\n')
        out.append("  </contact>\n")
    if model.motors:
        out.append("  <actuator>\n")
        out += [f'    <motor name="{body.name}" joint="{body.name}"/>\n' for body in model.motors]
        out.append("  </actuator>\n")
    return "".join([*out, "</mujoco>\n"])


def _mjcf_body(body: Body, children: dict[str, list[Body]], indent: str, visible: bool) -> list[str]:
    out = [f'{indent}<body name="{body.name}" pos="{_words(body.at)}">\n']
    if body.joint == "free":
        out.append(f'{indent}  <freejoint name="{body.name}"/>\n')
    else:
        axis, damping = _words(AXES[body.axis]), repr(float(body.damping))
        out.append(f'{indent}  <joint name="{body.name}" type="{body.joint}" axis="{axis}" damping="{damping}"/>\n')
    mass, inertia = repr(float(body.mass)), _words(body.inertia)
    out.append(f'{indent}  <inertial pos="{_words(body.centre)}" mass="{mass}" diaginertia="{inertia}"/>\n')
    shown = [geom for geom in body.geoms if visible or geom.touches]
    out += [f"{indent}  " + _mjcf_geom(geom, f"{body.name}.touch" if geom.touches else "") for geom in shown]
    for child in children.get(body.name, []):
        out += _mjcf_body(child, children, indent + "  ", visible)
    return [*out, f"{indent}</body>\n"]


def _mjcf_geom(geom: Geom, name: str) -> str:
    named = f'name="{name}" ' if name else ""
    turned = "" if geom.along == "z" else f' euler="{_words(_rotation(geom.along))}"'
    return (
        f'<geom {named}type="{geom.shape}" size="{_words(geom.size)}" pos="{_words(geom.at)}"{turned} '
        f'rgba="{_words((*geom.colour, 1.0))}" mass="0" contype="0" conaffinity="0"/>\n'
    )


# -- URDF ------------------------------------------------------------------------------------------------------


def urdf(tree: tuple[Body, ...]) -> str:
    """Return one tree of a model as URDF: its root is either free, or hangs on a link called ``world``."""
    out = [f'<robot name="{tree[0].name}">\n']
    if tree[0].joint != "free":
        out.append('  <link name="world"/>\n')
    for body in tree:
        out += _urdf_link(body)
        if body.joint != "free":
            out.append(_urdf_joint(body))
    return "".join([*out, "</robot>\n"])


def _urdf_link(body: Body) -> list[str]:
    xx, yy, zz = (repr(float(one)) for one in body.inertia)
    out = [f'  <link name="{body.name}">\n']
    out.append(
        f'    <inertial><origin xyz="{_words(body.centre)}"/><mass value="{float(body.mass)!r}"/>'
        f'<inertia ixx="{xx}" iyy="{yy}" izz="{zz}" ixy="0" ixz="0" iyz="0"/></inertial>\n'
    )
    for k, geom in enumerate(body.geoms):
        placed = f'<origin xyz="{_words(geom.at)}" rpy="{_words(_rotation(geom.along))}"/>'
        shape = f"<geometry>{_urdf_shape(geom)}</geometry>"
        colour = f'<material name="{body.name}.{k}"><color rgba="{_words((*geom.colour, 1.0))}"/></material>'
        out.append(f"    <visual>{placed}{shape}{colour}</visual>\n")
        if geom.touches:
            out.append(f"    <collision>{placed}{shape}</collision>\n")
    return [*out, "  </link>\n"]


def _urdf_shape(geom: Geom) -> str:
    if geom.shape == "sphere":
        return f'<sphere radius="{_words(geom.size)}"/>'
    if geom.shape == "cylinder":
        return f'<cylinder radius="{float(geom.size[0])!r}" length="{2.0 * float(geom.size[1])!r}"/>'
    return f'<box size="{_words(2.0 * float(half) for half in geom.size)}"/>'


def _urdf_joint(body: Body) -> str:
    kind = "prismatic" if body.joint == "slide" else "continuous"
    limit = '<limit lower="-1e9" upper="1e9" effort="1e9" velocity="1e9"/>' if kind == "prismatic" else ""
    return (
        f'  <joint name="{body.name}" type="{kind}"><parent link="{body.parent or "world"}"/>'
        f'<child link="{body.name}"/><origin xyz="{_words(body.at)}"/><axis xyz="{_words(AXES[body.axis])}"/>'
        f"{limit}</joint>\n"
    )
