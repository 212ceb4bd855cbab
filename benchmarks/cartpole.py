"""CartPole as a kernel of ours: a dynamics so light that a benchmark of it measures the faces.

Equations, constants and thresholds are those of Gymnasium's ``CartPole-v1`` (Barto, Sutton & Anderson 1983), in
float32. It is pure array algebra, so it brings its own loop over rows, which the compiler turns into vector
instructions; each row function remains the scalar truth that a test compares it with, bit for bit.
"""

import math

import numpy as np
from numba import njit

from rlops.envs.contract import Column, Family, Parameter, Version, state_dtype
from rlops.envs.draws import bits, episode_key

PARAMETERS = (Parameter("max_steps", "-", 500, 1, 10_000, "physical", "Gymnasium CartPole-v1", integer=True),)
REWARD_TERMS = ("upright",)
ACTION = 2
OBSERVATION = (
    Column("cart_m", "m", -np.inf, np.inf, "cart position"),
    Column("cart_m_per_s", "m/s", -np.inf, np.inf, "cart velocity"),
    Column("pole_rad", "rad", -np.inf, np.inf, "pole angle"),
    Column("pole_rad_per_s", "rad/s", -np.inf, np.inf, "pole angular velocity"),
)
STATE = state_dtype(REWARD_TERMS, [("x", "f4"), ("v", "f4"), ("angle", "f4"), ("spin", "f4")])
"""One row is 64 bytes, a cache line."""
PARALLEL_ROWS = 16384

F = np.float32
GRAVITY, FORCE = F(9.8), F(10.0 / 1.1)  # [m/s²]; the force is over the total mass of 1.1 kg
POLE_PULL = F(0.1 * 0.5 / 1.1)  # [m] mass of the pole x half its length over the total mass
TWO_THIRDS = F(0.5 * 4.0 / 3.0)  # [m] half the length x 4/3
POLE_SHARE = F(0.5 * 0.1 / 1.1)  # [m] half the length x the pole's share of the mass
STEP_S, X_LIMIT, ANGLE_LIMIT = F(0.02), F(2.4), F(12 * 2 * math.pi / 360)
ONE = F(1.0)
S3, S5 = F(-1 / 6), F(1 / 120)
C2, C4, C6 = F(-1 / 2), F(1 / 24), F(-1 / 720)
TO_START = F(0.1 * 2.0**-32)
LOW_WORD, HIGH_SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)
START = F(0.05)
BLOCK = 256
"""Rows whose arrays stay in the first-level cache together."""
FEW = 8
"""Rows below which the blocks cost more than they save."""


@njit(error_model="numpy", inline="always")
def accelerations(angle, spin, force):
    """Return the accelerations of cart [m/s²] and pole [rad/s²]; ``force`` is per total mass.

    Sine and cosine are Taylor polynomials, exact to float32 within the angles from which a step is taken (0.21 rad).
    """
    a2 = angle * angle
    sin = angle * (ONE + a2 * (S3 + a2 * S5))
    cos = ONE + a2 * (C2 + a2 * (C4 + a2 * C6))
    push = force + POLE_PULL * spin * spin * sin
    pole = (GRAVITY * sin - cos * push) / (TWO_THIRDS - POLE_SHARE * cos * cos)
    return push - POLE_PULL * pole * cos, pole


@njit(error_model="numpy", inline="always")
def reset(p, s, d):
    """Start near the middle, upright: four numbers within ±0.05."""
    first, second = bits(s.key, 0), bits(s.key, 1)  # the only draws of an episode, so its key serves as their stream
    s.x = F(first & LOW_WORD) * TO_START - START
    s.v = F(first >> HIGH_SHIFT) * TO_START - START
    s.angle = F(second & LOW_WORD) * TO_START - START
    s.spin = F(second >> HIGH_SHIFT) * TO_START - START


@njit(error_model="numpy", inline="always")
def step(p, s, d, action):
    """Push for 0.02 s (explicit Euler) and see whether the pole still stands."""
    cart, pole = accelerations(s.angle, s.spin, FORCE if action == 1 else -FORCE)
    s.x += STEP_S * s.v
    s.v += STEP_S * cart
    s.angle += STEP_S * s.spin
    s.spin += STEP_S * pole
    s.terms[0] = 1.0
    s.terminated = (abs(s.x) > X_LIMIT) | (abs(s.angle) > ANGLE_LIMIT)
    s.truncated = s.steps + 1 >= p.max_steps


@njit(error_model="numpy", inline="always")
def observe(p, s, d, out):
    """Write the four numbers."""
    out[0] = s.x
    out[1] = s.v
    out[2] = s.angle
    out[3] = s.spin


@njit(error_model="numpy", inline="always")
def begin_again(params, base, state, i):
    """Start the next episode of row ``i``."""
    s = state[i]
    s.episode += 1
    s.key = episode_key(s.seed, s.episode)
    s.steps = 0
    s.terms[0] = 0.0
    s.terminated = False
    s.truncated = False
    params[i] = base[i]


@njit(error_model="numpy")
def step_row(params, base, state, data, obs, reward, terminated, truncated, action, i):
    """Move row ``i`` by the row functions and return 1 if it ends with this step."""
    s = state[i]
    ended = 0
    if s.terminated | s.truncated:
        begin_again(params, base, state, i)
        reset(params[i], s, data)
    else:
        step(params[i], s, data, action)
        s.steps += 1
        ended = int(s.terminated | s.truncated)
    reward[i] = s.terms[0]
    terminated[i] = s.terminated
    truncated[i] = s.truncated
    observe(params[i], s, data, obs[i])
    return ended


@njit(error_model="numpy")
def step_block(params, base, state, data, obs, reward, terminated, truncated, actions, force, over):
    """Move a block of rows and return how many end with this step.

    The numbers of a row are copied to where they are observed, moved there as columns, and copied back. Scratch:
    ``force`` (m,) and ``over`` (m + 1,), the rows that had ended before, which begin anew.
    """
    m = state.shape[0]
    n_over = 0
    for i in range(m):
        s = state[i]
        x, v, angle, spin = s.x, s.v, s.angle, s.spin  # read before anything is written: one copy of 16 bytes
        obs[4 * i], obs[4 * i + 1], obs[4 * i + 2], obs[4 * i + 3] = x, v, angle, spin
        over[n_over] = i
        n_over += s.terminated | s.truncated
    for i in range(m):  # apart, because 64-bit actions would halve the numbers that a vector of the next loop holds
        force[i] = FORCE if actions[i] == 1 else -FORCE
    for i in range(m):
        x, v, angle, spin = obs[4 * i], obs[4 * i + 1], obs[4 * i + 2], obs[4 * i + 3]
        cart, pole = accelerations(angle, spin, force[i])
        x += STEP_S * v
        angle += STEP_S * spin
        obs[4 * i] = x
        obs[4 * i + 1] = v + STEP_S * cart
        obs[4 * i + 2] = angle
        obs[4 * i + 3] = spin + STEP_S * pole
        terminated[i] = (abs(x) > X_LIMIT) | (abs(angle) > ANGLE_LIMIT)
    for i in range(m):
        s = state[i]
        x, v, angle, spin = obs[4 * i], obs[4 * i + 1], obs[4 * i + 2], obs[4 * i + 3]
        steps = s.steps + 1
        fell, late = terminated[i], steps >= params[i].max_steps
        s.x, s.v, s.angle, s.spin = x, v, angle, spin
        s.steps = steps
        s.terms[0] = 1.0
        s.terminated = fell
        s.truncated = late
        truncated[i] = late
    ended = 0
    for i in range(m):
        ended += terminated[i] | truncated[i]
        reward[i] = 1.0
    for j in range(n_over):
        i = over[j]
        ended -= terminated[i] | truncated[i]
        begin_again(params, base, state, i)
        reset(params[i], state[i], data)
        observe(params[i], state[i], data, obs[4 * i : 4 * i + 4])
        reward[i] = 0.0
        terminated[i] = False
        truncated[i] = False
    return ended


@njit(error_model="numpy", inline="always")
def advance_rows(rows, shown, actions, low, high):
    """Move the rows from ``low`` up to ``high``: the same arithmetic as ``step``, in columns of ``BLOCK`` rows."""
    params, base, state, data = rows.params, rows.base, rows.state, rows.data
    obs, reward, terminated, truncated = shown.obs, shown.reward, shown.terminated, shown.truncated
    ended = 0
    if high - low < FEW:
        for i in range(low, high):
            ended += step_row(params, base, state, data, obs, reward, terminated, truncated, actions[i], i)
        return ended
    flat = obs.reshape(4 * state.shape[0])
    force, over = np.empty(BLOCK, np.float32), np.empty(BLOCK + 1, np.int64)
    for lo in range(low, high, BLOCK):
        hi = min(high, lo + BLOCK)
        ended += step_block(
            params[lo:hi], base[lo:hi], state[lo:hi], data, flat[4 * lo : 4 * hi], reward[lo:hi],
            terminated[lo:hi], truncated[lo:hi], actions[lo:hi], force, over,
        )  # fmt: skip
    return ended


CARTPOLE = Family(
    "CartPole",
    "A pole on a cart; here to measure what the faces cost.",
    (Version(1, "Gymnasium's CartPole-v1.", __name__),),
)
