"""What lies between a command and a joint, and between a joint and a reading: the same for every engine.

A command reaches its motor after ``latency_s``; the motor follows it with a first-order lag; what it gives is scaled by
``motor_gain`` and lessened by dry friction. An engine holds a force for a whole control step, so it gets the mean of
what the motor gives within it, which has the impulse of the real course. Joints are read with noise, and in steps of an
encoder.
"""

import math

from numba import njit

from rlops.envs.contract import Parameter
from rlops.envs.draws import normal, stream_key

CONTROL_S = 0.02
"""A control step [s]: 50 Hz."""
REMEMBERED = 6
"""Commands that are remembered, the present one among them: enough for the longest latency."""
LONGEST_LATENCY_S = 0.1
POSITION, VELOCITY = 0x3C6EF372FE94F82B, 0x1F83D9ABFB41BD6B
"""Streams of what joints' sensors add."""
GUESS = "assumption"

# fmt: off
MOTOR_PARAMETERS = (
    Parameter("motor_gain", "-", 1, 0.5, 1.5, "actuation", "of the motors' force", plausible=(0.85, 1.15)),
    Parameter("motor_lag_s", "s", 0, 0, 0.2, "actuation", f"{GUESS}: first order", plausible=(0, 0.04)),
    Parameter("latency_s", "s", 0, 0, LONGEST_LATENCY_S, "latency", f"{GUESS}: from command to motor",
              plausible=(0, 0.04)),
    Parameter("dry_friction", "-", 0, 0, 0.3, "actuation", f"{GUESS}: of the motors' greatest force",
              plausible=(0, 0.05)),
)
SENSOR_PARAMETERS = (
    Parameter("position_noise", "rad or m", 0, 0, 0.05, "noise", f"{GUESS}: standard deviation of a joint's reading",
              plausible=(0, 0.003)),
    Parameter("velocity_noise", "rad/s or m/s", 0, 0, 0.5, "noise", f"{GUESS}: standard deviation of a joint's reading",
              plausible=(0, 0.05)),
    Parameter("encoder_step", "rad or m", 0, 0, 0.05, "noise", "readings are multiples; 4,096 a turn: 0.0015",
              plausible=(0, 0.0031)),
)
# fmt: on


def engine_fields(positions, velocities, motors, joints):
    """Return the fields of the state that an engine, the motors and the sensors need.

    Args:
        positions: Of the model.
        velocities: Of the model.
        motors: How many there are.
        joints: How many are read.
    """
    return [
        ("moving", "?"),  # an engine is to move this row
        ("failed", "?"),  # the engine could not
        ("qpos", "f8", (positions,)),
        ("qvel", "f8", (velocities,)),
        ("warmstart", "f8", (velocities,)),  # accelerations that the solver starts from
        ("force", "f8", (motors,)),  # held within the step [N or N m]
        ("commands", "f8", (motors, REMEMBERED)),  # the latest first
        ("motor", "f8", (motors,)),  # what they give now, before gain and friction
        ("read", "f8", (2, joints)),  # positions and velocities, as read
    ]


@njit(error_model="numpy")
def drive(p, s, m, command, strongest, velocity, inertia):
    """Give motor ``m`` a ``command`` [N or N m] and write the force that its joint gets.

    Dry friction holds the joint or brings it to rest if it can within the step, and else opposes its motion.

    Args:
        p: Parameters of the row.
        s: State of the row.
        m: Which motor.
        command: What is wanted of it.
        strongest: The greatest force that it has.
        velocity: Of its joint [m/s or rad/s].
        inertia: That the motor feels, about [kg or kg m²].
    """
    for k in range(REMEMBERED - 1, 0, -1):
        s.commands[m, k] = s.commands[m, k - 1]
    s.commands[m, 0] = min(max(command, -strongest), strongest)
    late = p.latency_s / CONTROL_S
    whole = int(late)
    part = late - whole
    given = _follow(p, s, m, s.commands[m, whole + 1], part * CONTROL_S) if part > 0.0 else 0.0
    given += _follow(p, s, m, s.commands[m, whole], (1.0 - part) * CONTROL_S)
    force = p.motor_gain * given / CONTROL_S
    most = p.dry_friction * strongest
    s.force[m] = force - min(max(force + velocity * inertia / CONTROL_S, -most), most)


@njit(error_model="numpy")
def _follow(p, s, m, command, duration_s):
    """Let motor ``m`` follow ``command`` for a while; return its impulse [N s or N m s]."""
    if p.motor_lag_s <= 0.0:
        s.motor[m] = command
        return command * duration_s
    left = math.exp(-duration_s / p.motor_lag_s)
    behind = s.motor[m] - command
    s.motor[m] = command + behind * left
    return command * duration_s + behind * p.motor_lag_s * (1.0 - left)


@njit(error_model="numpy")
def read_joint(p, s, time, j, position, velocity):
    """Write what the sensors of joint ``j`` read at the control step ``time``."""
    if p.position_noise > 0.0:
        position += p.position_noise * normal(stream_key(s.key, time, POSITION), j)
    if p.encoder_step > 0.0:
        position = p.encoder_step * math.floor(position / p.encoder_step + 0.5)
    s.read[0, j] = position
    if p.velocity_noise > 0.0:
        velocity += p.velocity_noise * normal(stream_key(s.key, time, VELOCITY), j)
    s.read[1, j] = velocity
