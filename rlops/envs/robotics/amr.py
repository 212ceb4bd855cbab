"""The warehouse's robots: two driven wheels on one axle, castors before and behind, a lidar, a battery.

A robot is told how fast to drive and to turn; a controller with an explicit gain makes torques of that, fifty times a
second. A wheel pushes the floor as far as it slips on it: its force grows with the slip until it is the greatest that
its load allows, along and across together (the circle of friction). Bumpers push off shelves, walls and each other.

All this is stiff, so it is followed here in steps of 2 ms, with the robot's own motion in mind. The engine gets the
mean of these forces over the whole control step, which has their impulse, and moves the robot: a planar base with its
mass, its inertia and its centre of mass off the axle. So for these robots both engines are to agree to round-off.
"""

import math

import numpy as np
from numba import njit

from rlops.envs.draws import normal, stream_key, uniform
from rlops.envs.robotics.hall import RADIUS_M, SIZE_M
from rlops.envs.robotics.model import GRAVITY, Body, Geom, box_inertia, cylinder_inertia
from rlops.envs.robotics.motors import CONTROL_S, drive
from rlops.envs.robotics.rays import length, off_box, ray_to_box, ray_to_circle, ray_to_walls

DECISION_S = 0.1
"""[s] A control step; the wheels' controllers work every ``CONTROL_S`` of it."""
TICKS = round(DECISION_S / CONTROL_S)
MOVES, MOVE_S = 10, CONTROL_S / 10
"""Steps in which the forces are followed between two commands, and how long one is [s]."""
FASTEST_M_PER_S, FASTEST_RAD_PER_S = 1.2, 2.5
STRONGEST_NM = 6.0
"""[N m] Of a wheel's motor with a full battery."""
GAIN = 2.0
"""[N m s/rad] Of a wheel's velocity controller."""
WHEEL_M, TRACK_M = 0.08, 0.44
"""[m] Radius of the wheels, and the distance between them."""
WHEEL_KG_M2, FELT_KG_M2 = 0.03, 0.15
"""Inertia of a wheel with its motor, and what the motor feels of the whole robot, about."""
DRIVEN_SHARE = 0.7
"""Of the weight, on both wheels; the rest is on the castors."""
WET_GRIP = 1.0 / 3.0
"""Of the dry floor's."""
BUMPER_N_PER_M, BUMPER_N_S_PER_M = 2e4, 300.0
HALF_BODY_M, BODY_RADIUS_M, PAYLOAD_HALF_M = 0.1, 0.29, 0.18
CARRIER_KG = 1e-3
"""[kg] A body must weigh something: those that only let the base slide along x and along y."""

BEAMS, RANGE_M = 36, 6.0
"""Of the lidar: beams all round, the first straight ahead, and how far they see [m]."""
VOLTS, LEAST_VOLTAGE = 48.0, 0.5
"""[V] Of a full battery, and the share of it below which nothing works."""
COPPER_W_PER_N2_M2 = 2.0
"""[W/(N m)²] Heat of a motor."""
REGENERATED = 0.5
"""Share of a wheel's braking power that comes back."""
X, Y, TURNED = range(3)
"""Positions of a robot: x, y [m], and how far it has turned from x to y [rad]."""
WET, SLOPE, CHARGE, LOCALISATION, ODOMETRY, LIDAR, DROPOUT = (
    0x72BE5D74F27B896F, 0x80DEB1FE3B1696B1, 0x9BDC06A725C71235, 0xC19BF174CF692694, 0xE49B69C19EF14AD2,
    0xEFBE4786384F25E3, 0x0FC19DC68B8CD5B5,
)  # fmt: skip
"""Streams of draws."""

_ANGLES = 2.0 * np.pi * np.arange(BEAMS) / BEAMS
_BEAM_COS, _BEAM_SIN = np.cos(_ANGLES), np.sin(_ANGLES)
_COLOURS = ((0.16, 0.36, 0.58), (0.75, 0.22, 0.17), (0.45, 0.3, 0.6), (0.13, 0.5, 0.5))


def amr_fields(robots):
    """Return the fields of the state that ``robots`` need besides those of the engine."""
    return [
        ("command", "f8", (robots, 2)),  # speed and turn, as shares
        ("wheel", "f8", (robots, 2)),  # left and right [rad/s]
        ("charge_wh", "f8", (robots,)),
        ("voltage", "f8", (robots,)),  # under load, share of a full battery's
        ("energy_wh", "f8", (robots,)),  # drawn by motors and computer
        ("lost_wh", "f8", (robots,)),  # within the battery
        ("touched", "i1", (robots,)),  # a shelf, a wall or another robot, within the last step
        ("lidar", "f4", (robots, BEAMS)),  # as read [m]
        ("driven_m", "f8", (robots,)),
    ]


def turning_inertia(base_kg, payload_kg):
    """Return the inertia [kg m²] about the vertical through the centre of mass."""
    half = PAYLOAD_HALF_M
    base = cylinder_inertia(base_kg, BODY_RADIUS_M, HALF_BODY_M)
    return base[2] + box_inertia(payload_kg, half, half, half)[2]


@njit(error_model="numpy")
def _turning_inertia(base_kg, payload_kg):
    """Return what :func:`turning_inertia` does."""
    return 0.5 * base_kg * BODY_RADIUS_M**2 + 2.0 * payload_kg * PAYLOAD_HALF_M**2 / 3.0


def amr_bodies(p, r):
    """Return the bodies of robot ``r``: one that slides along x, on it one along y, on it the base that turns."""
    mass, inertia = p.base_mass_kg + p.payload_kg, turning_inertia(p.base_mass_kg, p.payload_kg)
    names, small, half = [f"{part}_{r}" for part in ("along_x", "along_y", "base")], (1e-6, 1e-6, 1e-6), PAYLOAD_HALF_M
    dark, top = (0.2, 0.2, 0.22), 2 * HALF_BODY_M + 0.05
    wheel = [Geom("cylinder", (WHEEL_M, 0.02), (0.0, s * 0.5 * TRACK_M, WHEEL_M), "y", dark) for s in (1, -1)]
    geoms = (
        Geom("cylinder", (BODY_RADIUS_M, HALF_BODY_M), (0.0, 0.0, HALF_BODY_M + 0.05), colour=_COLOURS[r % 4]),
        Geom("box", (half, half, half), (0.0, 0.0, top + half), colour=(0.78, 0.62, 0.42)),
        Geom("box", (0.05, 0.14, 0.03), (BODY_RADIUS_M - 0.04, 0.0, top), colour=(0.95, 0.85, 0.2)),
        *wheel,
    )
    return (
        Body(names[X], CARRIER_KG, small, "slide", "x", driven=True),
        Body(names[Y], CARRIER_KG, small, "slide", "y", names[X], driven=True),
        Body(
            names[TURNED], mass, (inertia, inertia, inertia), "hinge", "z", names[Y], centre=(p.centre_m, 0.0, 0.0),
            driven=True, geoms=geoms,
        ),
    )  # fmt: skip


@njit(error_model="numpy")
def start(p, s, r, x, y):
    """Place robot ``r`` at rest, any way round, with a battery that is not quite full."""
    h = stream_key(s.key, 0, CHARGE)
    s.qpos[3 * r + X], s.qpos[3 * r + Y] = x, y
    s.qpos[3 * r + TURNED] = math.pi * (2.0 * uniform(h, 2 * r) - 1.0)
    share = p.start_charge + (1.0 - p.start_charge) * uniform(h, 2 * r + 1)
    s.charge_wh[r] = share * p.battery_wh
    s.voltage[r] = loaded_voltage(p, s.charge_wh[r], p.idle_w)


@njit(error_model="numpy")
def loaded_voltage(p, charge_wh, power_w):
    """Return the voltage of the battery that gives ``power_w``, as a share of a full one's.

    Its energy is that of a capacitor, so without a load it goes with the root of the charge.
    """
    open_v = VOLTS * math.sqrt(max(charge_wh / p.battery_wh, 0.0))
    root = math.sqrt(max(open_v * open_v - 4.0 * p.battery_ohm * power_w, 0.0))
    return 0.5 * (open_v + root) / VOLTS


@njit(error_model="numpy")
def is_empty(s, r):
    """Return whether the battery of robot ``r`` is of no more use."""
    return s.voltage[r] < LEAST_VOLTAGE


@njit(error_model="numpy")
def draw_power(p, s, r, power_w):
    """Take ``power_w`` from the battery of robot ``r``, or give it, between two commands."""
    s.voltage[r] = loaded_voltage(p, s.charge_wh[r], power_w)
    amperes = power_w / max(VOLTS * s.voltage[r], 1.0)
    hours = CONTROL_S / 3600.0
    lost = p.battery_ohm * amperes * amperes * hours
    s.energy_wh[r] += power_w * hours
    s.lost_wh[r] += lost
    s.charge_wh[r] = s.charge_wh[r] - power_w * hours - lost


@njit(error_model="numpy")
def drive_robots(p, s, action):
    """Let all robots drive for a control step as they are told; write the forces that the engine holds.

    Args:
        p: Parameters of the row.
        s: State of the row.
        action: Speed and turn of every robot in turn, as shares of the greatest.
    """
    robots = s.wheel.shape[0]
    if not np.isfinite(s.qvel).all():  # the engine will say that it cannot
        return
    pose, velocity, wheel = s.qpos.copy(), s.qvel.copy(), s.wheel.copy()
    impulse, force, torque, work = np.zeros(3 * robots), np.zeros(3 * robots), np.zeros((robots, 2)), np.zeros(robots)
    h = stream_key(s.key, 0, SLOPE)
    downhill = 2.0 * math.pi * uniform(h, 0)
    pull_x, pull_y = GRAVITY * p.slope_rad * math.cos(downhill), GRAVITY * p.slope_rad * math.sin(downhill)
    s.touched[:] = 0
    for _ in range(TICKS):
        for r in range(robots):
            _command_wheels(p, s, r, action[2 * r], action[2 * r + 1], wheel, torque)
        work[:] = 0.0
        for _ in range(MOVES):
            for r in range(robots):
                work[r] += _push_floor(p, s, r, pose, velocity, wheel, torque, force)
                _push_off(s, r, pose, velocity, force)
            for r in range(robots):
                _move(p, r, pull_x, pull_y, pose, velocity, force, impulse)
        for r in range(robots):
            heat = COPPER_W_PER_N2_M2 * (torque[r, 0] * torque[r, 0] + torque[r, 1] * torque[r, 1])
            draw_power(p, s, r, p.idle_w + heat + work[r] / CONTROL_S)
    for k in range(3 * robots):
        s.force[k] = impulse[k] / DECISION_S
    for r in range(robots):
        s.command[r, 0], s.command[r, 1] = action[2 * r], action[2 * r + 1]
        s.wheel[r, 0], s.wheel[r, 1] = wheel[r, 0], wheel[r, 1]


@njit(error_model="numpy")
def _command_wheels(p, s, r, speed, turn, wheel, torque):
    """Write the torques of robot ``r`` that follow from what is wanted; an empty battery gives none."""
    ahead = FASTEST_M_PER_S * min(max(speed, -1.0), 1.0)
    across = 0.5 * TRACK_M * FASTEST_RAD_PER_S * min(max(turn, -1.0), 1.0)
    strongest = 0.0 if is_empty(s, r) else STRONGEST_NM * s.voltage[r]
    for w in range(2):
        wanted = (ahead - across if w == 0 else ahead + across) / WHEEL_M
        command = p.servo_gain * GAIN * (wanted - wheel[r, w])
        drive(p, s, 2 * r + w, command, strongest, wheel[r, w], FELT_KG_M2)
        torque[r, w] = s.force[2 * r + w]


@njit(error_model="numpy")
def grip_at(p, s, x, y):
    """Return the grip of the floor at a place: less where it is wet."""
    if p.wet_share <= 0.0:
        return p.grip
    tile = int(min(max(x, 0.0), SIZE_M)) * 16 + int(min(max(y, 0.0), SIZE_M))
    return p.grip * (WET_GRIP if uniform(stream_key(s.key, 0, WET), tile) < p.wet_share else 1.0)


@njit(error_model="numpy")
def wheel_force(most, creep, rolled, along, across, torque, spin, radius):
    """Return the floor's force on a wheel, along and across it [N], and how fast the wheel turns after a move [rad/s].

    Within a move the wheel yields to the force, so that a stiff floor cannot shake it.

    Args:
        most: The greatest force [N].
        creep: Slip from which it is reached [m/s].
        rolled: Resistance to rolling [N m].
        along: Speed of the axle along the wheel [m/s].
        across: Speed of the axle across it [m/s].
        torque: Of the motor [N m].
        spin: How fast the wheel turns [rad/s].
        radius: Of the wheel [m].
    """
    slip = length(along - radius * spin, across)
    stiffness = most / max(slip, creep)
    share = MOVE_S / WHEEL_KG_M2
    moment = torque - rolled * min(max(spin, -1.0), 1.0)
    yielding = (spin + share * (moment + radius * stiffness * along)) / (1.0 + share * radius * radius * stiffness)
    force_along, force_across = stiffness * (radius * yielding - along), -stiffness * across
    total = length(force_along, force_across)
    if total > most:
        force_along, force_across = force_along * most / total, force_across * most / total
    return force_along, force_across, spin + share * (moment - radius * force_along)


@njit(error_model="numpy")
def _push_floor(p, s, r, pose, velocity, wheel, torque, force):
    """Write the floor's force on robot ``r`` and its moment about the axle's middle; return the motors' work [J]."""
    at = 3 * r
    cosine, sine = math.cos(pose[at + TURNED]), math.sin(pose[at + TURNED])
    ahead = velocity[at + X] * cosine + velocity[at + Y] * sine
    sideways = velocity[at + Y] * cosine - velocity[at + X] * sine
    load = 0.5 * DRIVEN_SHARE * GRAVITY * (p.base_mass_kg + p.payload_kg)
    most = load * grip_at(p, s, pose[at + X], pose[at + Y])
    drawn, along, across, moment = 0.0, 0.0, 0.0, 0.0
    for w in range(2):
        lever = 0.5 * TRACK_M if w == 0 else -0.5 * TRACK_M
        radius = WHEEL_M * (1.0 + p.wheel_mismatch) if w == 0 else WHEEL_M
        rolled = p.rolling_resistance * load * WHEEL_M / DRIVEN_SHARE
        before = wheel[r, w]
        one, other, wheel[r, w] = wheel_force(
            most, p.creep_m_per_s, rolled, ahead - lever * velocity[at + TURNED], sideways, torque[r, w], before, radius
        )
        work = 0.5 * (before + wheel[r, w]) * torque[r, w] * MOVE_S
        drawn += work if work > 0.0 else REGENERATED * work
        along, across, moment = along + one, across + other, moment - lever * one
    force[at + X] = along * cosine - across * sine
    force[at + Y] = along * sine + across * cosine
    force[at + TURNED] = moment
    return drawn


@njit(error_model="numpy")
def _push_off(s, r, pose, velocity, force):
    """Add the force of the bumper of robot ``r`` on what it touches."""
    x, y = pose[3 * r + X], pose[3 * r + Y]
    if x < RADIUS_M or SIZE_M - x < RADIUS_M:
        _bump(s, r, 1.0 if x < RADIUS_M else -1.0, 0.0, RADIUS_M - min(x, SIZE_M - x), r, velocity, force)
    if y < RADIUS_M or SIZE_M - y < RADIUS_M:
        _bump(s, r, 0.0, 1.0 if y < RADIUS_M else -1.0, RADIUS_M - min(y, SIZE_M - y), r, velocity, force)
    for k in range(s.shelf_count):
        off_x, off_y = off_box(x, y, s.shelves[k])
        distance = length(off_x, off_y)
        if 0.0 < distance < RADIUS_M:
            _bump(s, r, off_x / distance, off_y / distance, RADIUS_M - distance, r, velocity, force)
    for other in range(s.wheel.shape[0]):
        off_x, off_y = x - pose[3 * other + X], y - pose[3 * other + Y]
        distance = length(off_x, off_y)
        if 0.0 < distance < 2.0 * RADIUS_M:
            _bump(s, r, off_x / distance, off_y / distance, 2.0 * RADIUS_M - distance, other, velocity, force)


@njit(error_model="numpy")
def _bump(s, r, away_x, away_y, depth, other, velocity, force):
    """Push robot ``r`` away from what its bumper is pressed on by ``depth`` [m]: itself (at rest), or an ``other``."""
    off_x, off_y = velocity[3 * r + X], velocity[3 * r + Y]
    if other != r:
        off_x, off_y = off_x - velocity[3 * other + X], off_y - velocity[3 * other + Y]
    speed = off_x * away_x + off_y * away_y
    push = max(BUMPER_N_PER_M * depth - BUMPER_N_S_PER_M * speed, 0.0)
    force[3 * r + X] += push * away_x
    force[3 * r + Y] += push * away_y
    s.touched[r] = 1


@njit(error_model="numpy")
def _move(p, r, pull_x, pull_y, pose, velocity, force, impulse):
    """Move robot ``r`` under the floor's force and the slope's pull [m/s²], and add to the impulse.

    Forces are taken at the middle of the axle, which is before or behind the centre of mass.
    """
    at, mass = 3 * r, p.base_mass_kg + p.payload_kg
    turned, spin = pose[at + TURNED], velocity[at + TURNED]
    centre_x, centre_y = p.centre_m * math.cos(turned), p.centre_m * math.sin(turned)
    force[at + X] += mass * pull_x
    force[at + Y] += mass * pull_y
    force[at + TURNED] += mass * (centre_x * pull_y - centre_y * pull_x)
    about_centre = force[at + TURNED] - (centre_x * force[at + Y] - centre_y * force[at + X])
    angular = about_centre / _turning_inertia(p.base_mass_kg, p.payload_kg)
    velocity[at + X] += MOVE_S * (force[at + X] / mass + angular * centre_y + spin * spin * centre_x)
    velocity[at + Y] += MOVE_S * (force[at + Y] / mass - angular * centre_x + spin * spin * centre_y)
    velocity[at + TURNED] += MOVE_S * angular
    for k in range(at, at + 3):
        pose[k] += MOVE_S * velocity[k]
        impulse[k] += MOVE_S * force[k]


# -- sensors ---------------------------------------------------------------------------------------------------


@njit(error_model="numpy")
def sense(p, s, r, time):
    """Read where robot ``r`` believes to be, how fast its wheels say that it is, and its lidar, at a control step."""
    at = 3 * r
    h = stream_key(s.key, time, LOCALISATION)
    s.read[0, at + X] = s.qpos[at + X] + p.position_noise_m * normal(h, at + X)
    s.read[0, at + Y] = s.qpos[at + Y] + p.position_noise_m * normal(h, at + Y)
    s.read[0, at + TURNED] = s.qpos[at + TURNED] + p.heading_noise_rad * normal(h, at + TURNED)
    h = stream_key(s.key, time, ODOMETRY)
    left = WHEEL_M * (s.wheel[r, 0] + p.odometry_noise * normal(h, 2 * r))
    right = WHEEL_M * (s.wheel[r, 1] + p.odometry_noise * normal(h, 2 * r + 1))
    s.read[1, at + X] = 0.5 * (left + right)
    s.read[1, at + TURNED] = (right - left) / TRACK_M
    _scan(p, s, r, time)


@njit(error_model="numpy")
def _scan(p, s, r, time):
    """Write how far the beams of robot ``r`` go, as read."""
    x, y, turned = s.qpos[3 * r + X], s.qpos[3 * r + Y], s.qpos[3 * r + TURNED]
    cosine, sine = math.cos(turned), math.sin(turned)
    noise, dropout = stream_key(s.key, time, LIDAR), stream_key(s.key, time, DROPOUT)
    for k in range(BEAMS):
        along_x = cosine * _BEAM_COS[k] - sine * _BEAM_SIN[k]
        along_y = sine * _BEAM_COS[k] + cosine * _BEAM_SIN[k]
        far = beam_m(s, r, x, y, along_x, along_y)
        if p.lidar_noise_m > 0.0:
            far += p.lidar_noise_m * normal(noise, BEAMS * r + k)
        if p.lidar_dropout > 0.0 and uniform(dropout, BEAMS * r + k) < p.lidar_dropout:
            far = RANGE_M
        s.lidar[r, k] = min(max(far, 0.0), RANGE_M)


@njit(error_model="numpy")
def beam_m(s, r, x, y, along_x, along_y):
    """Return how far a ray of robot ``r`` from x, y goes: to a wall, a shelf or another robot [m]."""
    far = ray_to_walls(x, y, along_x, along_y, SIZE_M)
    for k in range(s.shelf_count):
        far = min(far, ray_to_box(x, y, along_x, along_y, s.shelves[k]))
    for other in range(s.wheel.shape[0]):
        if other != r:
            at = 3 * other
            far = min(far, ray_to_circle(x, y, along_x, along_y, s.qpos[at + X], s.qpos[at + Y], RADIUS_M))
    return far


@njit(error_model="numpy")
def observe_robot(s, r, out, at):
    """Write what robot ``r`` sees into ``out`` from ``at`` on, clipped; return where to go on."""
    for k in range(BEAMS):
        out[at + k] = s.lidar[r, k]
    at += BEAMS
    to_x, to_y = s.goal[r, 0] - s.read[0, 3 * r + X], s.goal[r, 1] - s.read[0, 3 * r + Y]
    direction = math.atan2(to_y, to_x) - s.read[0, 3 * r + TURNED]
    out[at] = min(length(to_x, to_y), 12.0)
    out[at + 1], out[at + 2] = math.cos(direction), math.sin(direction)
    out[at + 3] = min(max(s.read[1, 3 * r + X], -2.0), 2.0)
    out[at + 4] = min(max(s.read[1, 3 * r + TURNED], -6.0), 6.0)
    out[at + 5], out[at + 6] = s.command[r, 0], s.command[r, 1]
    out[at + 7] = min(max(s.voltage[r], 0.0), 1.0)
    return at + 8
