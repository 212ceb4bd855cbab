"""Bullet's C interface, as the library of PyBullet exports it: physics servers, and many of them moved at once.

PyBullet's functions parse their arguments, look a joint up and build tuples at every call, which takes a robot longer
than its physics. What they call in turn is declared in Bullet's ``PhysicsClientC_API.h`` and has the names that are
below, with ``b3`` before them. :func:`move` calls it from compiled code: the same commands in the same order, so the
same motion to the last bit, without Python's lock.

Every function that makes a command writes it where its server keeps its only one: it is submitted before the next.
Identifiers of servers, commands and statuses are addresses.
"""

from __future__ import annotations

import ctypes
import importlib.util
from ctypes import c_char_p, c_double, c_float, c_int, c_ssize_t
from typing import Any, NamedTuple

import numpy as np

from rlops.envs.compiling import compiled, external
from rlops.envs.robotics.engines.exchange import copy_bytes
from rlops.errors import InvalidValue, MissingExtra

_P, _I, _D, _S = c_ssize_t, c_int, c_double, c_char_p
_3D, _4D, _3F = c_double * 3, c_double * 4, c_float * 3


class _JointInfo(ctypes.Structure):
    """The beginning of Bullet's ``b3JointInfo``, with room for the rest."""

    _fields_ = (
        ("link", ctypes.c_char * 1024), ("joint", ctypes.c_char * 1024), ("kind", c_int), ("q", c_int), ("u", c_int),
        ("rest", ctypes.c_char * 1024),
    )  # fmt: skip


class _CameraImage(ctypes.Structure):
    """Bullet's ``b3CameraImageData``."""

    _fields_ = (
        ("width", c_int), ("height", c_int), ("colours", ctypes.POINTER(ctypes.c_uint8)),
        ("depths", ctypes.c_void_p), ("segments", ctypes.c_void_p),
    )  # fmt: skip


_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "ConnectPhysicsDirect": (_P,),
    "DisconnectSharedMemory": (None, _P),
    "SubmitClientCommand": (_I, _P, _P),
    "ProcessServerStatus": (_P, _P),
    "InitResetSimulationCommand": (_P, _P),
    "InitPhysicsParamCommand": (_P, _P),
    "PhysicsParamSetGravity": (_I, _P, _D, _D, _D),
    "PhysicsParamSetTimeStep": (_I, _P, _D),
    "PhysicsParamSetNumSubSteps": (_I, _P, _I),
    "PhysicsParameterSetDeterministicOverlappingPairs": (_I, _P, _I),
    "CreateCollisionShapeCommandInit": (_P, _P),
    "CreateCollisionShapeAddPlane": (_I, _P, _3D, _D),
    "GetStatusCollisionShapeUniqueId": (_I, _P),
    "CreateVisualShapeCommandInit": (_P, _P),
    "CreateVisualShapeAddSphere": (_I, _P, _D),
    "CreateVisualShapeAddBox": (_I, _P, _3D),
    "CreateVisualShapeAddCylinder": (_I, _P, _D, _D),
    "CreateVisualShapeSetRGBAColor": (None, _P, _I, _4D),
    "CreateVisualShapeSetSpecularColor": (None, _P, _I, _3D),
    "GetStatusVisualShapeUniqueId": (_I, _P),
    "CreateMultiBodyCommandInit": (_P, _P),
    "CreateMultiBodyBase": (_I, _P, _D, _I, _I, _3D, _4D, _3D, _4D),
    "LoadUrdfCommandInit": (_P, _P, _S),
    "LoadUrdfCommandSetFlags": (_I, _P, _I),
    "LoadUrdfCommandSetStartPosition": (_I, _P, _D, _D, _D),
    "LoadUrdfCommandSetUseFixedBase": (_I, _P, _I),
    "GetStatusBodyIndex": (_I, _P),
    "GetNumJoints": (_I, _P, _I),
    "GetJointInfo": (_I, _P, _I, _I, ctypes.POINTER(_JointInfo)),
    "InitChangeDynamicsInfo": (_P, _P),
    "ChangeDynamicsInfoSetLinearDamping": (_I, _P, _I, _D),
    "ChangeDynamicsInfoSetAngularDamping": (_I, _P, _I, _D),
    "ChangeDynamicsInfoSetMaxJointVelocity": (_I, _P, _I, _D),
    "ChangeDynamicsInfoSetJointDamping": (_I, _P, _I, _I, _D),
    "ChangeDynamicsInfoSetLateralFriction": (_I, _P, _I, _I, _D),
    "ChangeDynamicsInfoSetRestitution": (_I, _P, _I, _I, _D),
    "CollisionFilterCommandInit": (_P, _P),
    "SetCollisionFilterGroupMask": (None, _P, _I, _I, _I, _I),
    "SetCollisionFilterPair": (None, _P, _I, _I, _I, _I, _I),
    "CreatePoseCommandInit": (_P, _P, _I),
    "CreatePoseCommandSetBasePosition": (_I, _P, _D, _D, _D),
    "CreatePoseCommandSetBaseOrientation": (_I, _P, _D, _D, _D, _D),
    "CreatePoseCommandSetBaseLinearVelocity": (_I, _P, _3D),
    "CreatePoseCommandSetBaseAngularVelocity": (_I, _P, _3D),
    "CreatePoseCommandSetJointPosition": (_I, _P, _P, _I, _D),
    "CreatePoseCommandSetJointVelocity": (_I, _P, _P, _I, _D),
    "JointControlCommandInit2": (_P, _P, _I, _I),
    "JointControlSetDesiredVelocity": (_I, _P, _I, _D),
    "JointControlSetKd": (_I, _P, _I, _D),
    "JointControlSetMaximumForce": (_I, _P, _I, _D),
    "JointControlSetDesiredForceTorque": (_I, _P, _I, _D),
    "InitStepSimulationCommand": (_P, _P),
    "RequestActualStateCommandInit": (_P, _P, _I),
    "GetStatusActualState": (_I, _P, _P, _P, _P, _P, _P, _P, _P),
    "InitRequestCameraImage": (_P, _P),
    "RequestCameraImageSetPixelResolution": (None, _P, _I, _I),
    "RequestCameraImageSetViewMatrix2": (None, _P, _3F, c_float, c_float, c_float, c_float, _I),
    "RequestCameraImageSetFOVProjectionMatrix": (None, _P, c_float, c_float, c_float, c_float),
    "RequestCameraImageSetLightDirection": (None, _P, _3F),
    "RequestCameraImageSelectRenderer": (None, _P, _I),
    "GetCameraImageData": (None, _P, ctypes.POINTER(_CameraImage)),
}
"""What each returns, and what it takes."""


def _library() -> Any:
    """Return PyBullet's library with the types of its functions."""
    spec = importlib.util.find_spec("pybullet")
    if spec is None or spec.origin is None:
        raise MissingExtra("the engine pybullet", "robotics")
    # Not imported, which would print a line about its build.
    library = ctypes.CDLL(spec.origin)
    for name, (returned, *taken) in _FUNCTIONS.items():
        function = getattr(library, f"b3{name}", None)
        if function is None:
            raise InvalidValue(
                f"PyBullet must export Bullet's C interface, but {spec.origin} has no b3{name}. Install 3.2.6 or newer."
            )
        function.restype, function.argtypes = returned, taken
    return library


b3 = _library()

_VELOCITY, _TORQUE = 0, 1
"""Modes of a joint's motor."""
USE_INERTIA_FROM_FILE, IGNORE_VISUAL_SHAPES = 1 << 1, 1 << 20
_SOFTWARE_RENDERER = 1 << 16
_UPRIGHT = 2
"""The axis that a camera has above: z."""


def triple(numbers: Any) -> Any:
    """Return three ``numbers`` as Bullet takes them."""
    return _3D(*numbers)


def submit(server: int, command: int) -> int:
    """Let ``server`` carry out a ``command``; return its status, which lasts until the next one."""
    b3.b3SubmitClientCommand(server, command)
    status: int = b3.b3ProcessServerStatus(server)
    return status


class Joint(NamedTuple):
    """Where a body has a joint: its number there, that of its position and that of its velocity."""

    number: int
    q: int
    u: int


def joints_of(server: int, body: int) -> dict[str, Joint]:
    """Return the joints of a ``body`` by the names of the links that hang on them."""
    found, info = {}, _JointInfo()
    for number in range(b3.b3GetNumJoints(server, body)):
        b3.b3GetJointInfo(server, body, number, info)
        found[info.link.decode()] = Joint(number, info.q, info.u)
    return found


def create_body(
    server: int, collision: int = -1, visual: int = -1, at: Any = (0, 0, 0), turned: Any = (0, 0, 0, 1)
) -> int:
    """Create a body that nothing moves, of the shapes with these numbers (-1: none); return its number."""
    command = b3.b3CreateMultiBodyCommandInit(server)
    b3.b3CreateMultiBodyBase(command, 0.0, collision, visual, _3D(*at), _4D(*turned), _3D(), _4D(0, 0, 0, 1))
    body: int = b3.b3GetStatusBodyIndex(submit(server, command))
    return body


def create_plane(server: int) -> int:
    """Create a shape: the plane z = 0; return its number."""
    command = b3.b3CreateCollisionShapeCommandInit(server)
    b3.b3CreateCollisionShapeAddPlane(command, _3D(0, 0, 1), 0.0)
    shape: int = b3.b3GetStatusCollisionShapeUniqueId(submit(server, command))
    return shape


def create_picture_of(server: int, shape: str, size: Any, colour: Any) -> int:
    """Create a shape that is only seen, by a :class:`rlops.envs.robotics.model.Geom`'s words; return its number."""
    command = b3.b3CreateVisualShapeCommandInit(server)
    if shape == "sphere":
        made = b3.b3CreateVisualShapeAddSphere(command, size[0])
    elif shape == "cylinder":
        made = b3.b3CreateVisualShapeAddCylinder(command, size[0], 2 * size[1])
    else:
        made = b3.b3CreateVisualShapeAddBox(command, _3D(*size))
    b3.b3CreateVisualShapeSetRGBAColor(command, made, _4D(*colour, 1.0))
    b3.b3CreateVisualShapeSetSpecularColor(command, made, _3D(1, 1, 1))
    number: int = b3.b3GetStatusVisualShapeUniqueId(submit(server, command))
    return number


def picture(server: int, width: int, height: int, at: Any, distance: float, yaw: float, pitch: float) -> np.ndarray:
    """Return a picture (height, width, 3) in uint8, drawn without any graphics hardware.

    Args:
        server: With what is to be seen.
        width: [pixels]
        height: [pixels]
        at: The point [m] that the camera looks at.
        distance: Of the camera from it [m].
        yaw: Of the camera [°].
        pitch: Of the camera [°].
    """
    command, image = b3.b3InitRequestCameraImage(server), _CameraImage()
    b3.b3RequestCameraImageSetPixelResolution(command, width, height)
    b3.b3RequestCameraImageSetViewMatrix2(command, _3F(*at), distance, yaw, pitch, 0.0, _UPRIGHT)
    b3.b3RequestCameraImageSetFOVProjectionMatrix(command, 45.0, width / height, 0.05, 20.0)
    b3.b3RequestCameraImageSetLightDirection(command, _3F(1, -1, 2))
    b3.b3RequestCameraImageSelectRenderer(command, _SOFTWARE_RENDERER)
    submit(server, command)
    b3.b3GetCameraImageData(server, image)
    return np.ctypeslib.as_array(image.colours, (image.height, image.width, 4))[:, :, :3].copy()


def without_motor(server: int, body: int, joint: Joint) -> None:
    """Take the force from the motor that every joint has at first, and that brakes it."""
    command = b3.b3JointControlCommandInit2(server, body, _VELOCITY)
    b3.b3JointControlSetDesiredVelocity(command, joint.u, 0.0)
    b3.b3JointControlSetKd(command, joint.u, 1.0)
    b3.b3JointControlSetMaximumForce(command, joint.u, 0.0)
    submit(server, command)


# -- compiled --------------------------------------------------------------------------------------------------


_submit_command = external("b3SubmitClientCommand", b3.b3SubmitClientCommand)
_process_status = external("b3ProcessServerStatus", b3.b3ProcessServerStatus)
_init_joint_control = external("b3JointControlCommandInit2", b3.b3JointControlCommandInit2)
_set_torque = external("b3JointControlSetDesiredForceTorque", b3.b3JointControlSetDesiredForceTorque)
_init_step = external("b3InitStepSimulationCommand", b3.b3InitStepSimulationCommand)
_init_request_state = external("b3RequestActualStateCommandInit", b3.b3RequestActualStateCommandInit)
_get_state = external("b3GetStatusActualState", b3.b3GetStatusActualState)


@compiled
def move(moving, servers, motors, trees, forces, substeps, told):
    """Move worlds of one kind, one after another, by ``substeps`` with their motors' forces held; read what they tell.

    Args:
        moving: Which worlds ``(n,)``.
        servers: Of the worlds ``(n,)``.
        motors: Of every motor its body and the number of its velocity ``(m, 2)``, those of a body in a row.
        trees: Of every tree its body and how many positions and velocities it tells ``(t, 3)``.
        forces: Of the motors [N or N m] ``(n, m)``.
        substeps: Of the physics.
        told: Of every tree its positions, then its velocities, is written here ``(n, numbers)``, contiguous.

    Returns:
        The first world that told nothing, or -1.
    """
    found = np.zeros(2, np.intp)
    for i in range(len(servers)):
        if not moving[i]:
            continue
        server = servers[i]
        for _ in range(substeps):
            for m in range(len(motors)):
                if m == 0 or motors[m, 0] != motors[m - 1, 0]:
                    command = _init_joint_control(server, motors[m, 0], _TORQUE)
                _set_torque(command, motors[m, 1], forces[i, m])
                if m + 1 == len(motors) or motors[m + 1, 0] != motors[m, 0]:
                    _submit_command(server, command)
                    _process_status(server)
            _submit_command(server, _init_step(server))
            _process_status(server)
        target = told.ctypes.data + told.itemsize * i * told.shape[1]
        for t in range(len(trees)):
            _submit_command(server, _init_request_state(server, trees[t, 0]))
            status = _process_status(server)
            if not _get_state(status, 0, 0, 0, 0, found.ctypes.data, found.ctypes.data + found.itemsize, 0):
                return i
            for k in range(2):
                size = told.itemsize * trees[t, 1 + k]
                copy_bytes(target, found[k], size)
                target += size
    return -1
