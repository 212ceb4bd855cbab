"""Compiled loops over rows for the controllers of data-centre cooling."""

import numpy as np

from rlops.envs.compiling import compiled
from rlops.envs.cooling.hall import (
    AIR_J_PER_KG_K,
    HANDLER_FLOW_KG_PER_S,
    handler_fan_w,
    mean_return_c,
    server_fan_speed,
)
from rlops.envs.cooling.steady import inlet_of_worst_c, opening_for, worst_of_supply_c
from rlops.envs.draws import stream_key, uniform

CONTROLLER = 1 << 20
"""Stream of the random controller's draws, far from those of the kernels."""
_SWEEPS = 60
_OVER_USD_PER_K2 = 30.0
"""[$/(h K²)] Of a predicted inlet above the limit: a tenth of a kelvin costs as much as it could save."""
_MOVE_USD = 0.02
"""[$/h] Of moving a set point as far as it reaches: enough to keep it where moving it gains nothing."""


@compiled
def random_vectors(keys, steps, seed, out):
    """Write actions (n, d) drawn uniformly from -1 … 1: a hash of the episode's key, the step and ``seed``."""
    for i in range(out.shape[0]):
        h = stream_key(stream_key(keys[i], steps[i], CONTROLLER), seed, CONTROLLER)
        for k in range(out.shape[1]):
            out[i, k] = 2.0 * uniform(h, k) - 1.0


@compiled
def worst_of_supplies(p, utilisation, fan, supply_c, out):
    """Write the worst inlets (n, z) that the model expects of fans and supply air in a steady state [°C]."""
    for i in range(len(p)):
        for z in range(utilisation.shape[1]):
            air = HANDLER_FLOW_KG_PER_S * p[i].fan_gain * max(fan[i, z], 0.1)
            out[i, z] = worst_of_supply_c(p[i], utilisation[i, z], air, supply_c[i, z])


@compiled
def follow_point(p, s, point, utilisation, fan, valve):
    """Write fans and valves (n, z) that keep rows at their points while the load moves.

    Args:
        p: Parameters of v1 ``(n,)``.
        s: State ``(n,)``, of any version.
        point: As :func:`rlops.envs.cooling.steady.settle_hall` takes it, ``(n, 2 z + 2)``.
        utilisation: At which the points were found, ``(n, z)``.
        fan: Written: speeds 0 … 1, ``(n, z)``.
        valve: Written: openings 0 … 1, ``(n, z)``.
    """
    for i in range(len(p)):
        row, here = s[i], p[i]
        mean_return = mean_return_c(row)
        n = utilisation.shape[1]
        for z in range(n):
            worst = point[i, n + z]
            air = HANDLER_FLOW_KG_PER_S * here.fan_gain * point[i, z]
            inlet = inlet_of_worst_c(here, utilisation[i, z], air, worst)
            then = server_fan_speed(here, utilisation[i, z], inlet)
            now = server_fan_speed(here, row.utilisation[z], inlet)
            fan[i, z] = min(max(point[i, z] * now / then, 0.2), 1.0)
            # the worst rack gets (1 - w) cold + w hot
            hot_share = row.share_hot[z] + here.hot_spot
            cold = (worst - hot_share * row.hot_c[z]) / (1.0 - hot_share)
            air = HANDLER_FLOW_KG_PER_S * here.fan_gain * fan[i, z]
            carried = air * AIR_J_PER_KG_K
            blown = row.return_c[z] + here.return_mixing * (mean_return - row.return_c[z])
            blown += handler_fan_w(here, fan[i, z]) / carried
            wanted = carried * (blown - cold) / max(blown - row.chilled_c, 0.1)
            opening, _ = opening_for(here, air, max(wanted, 1.0))
            play = 0.5 * here.valve_hysteresis
            if opening > row.valve[z]:
                opening += play
            elif opening < row.valve[z]:
                opening -= play
            valve[i, z] = min(max(opening, 0.0), 1.0)


@compiled
def planned_moves(slope, curvature, low, high, reach, measured_c, limit_c, keeps, blocks, point):
    """Move points (n, d) to the first block of their plans.

    A plan ``x_0 … x_(K-1)``, as moves from the point, minimises the sum over its blocks of

    * ``slope·x + ½ x·curvature·x``, the bill,
    * ``½ c |(x_k - x_(k-1)) / reach|²``, for moving,
    * ``½ w (y_(k+1) - limit)⁺²`` over the zones, with ``y_(k+1) = keeps y_k + (1 - keeps)(set point of the inlet)``,

    within bounds that widen by ``reach`` with every block. It is convex; coordinate descent with the exact curvature of
    the present active set finds its minimum.

    Args:
        slope: Of the bill [$/h], ``(n, d)``.
        curvature: Of the bill [$/h], ``(n, d, d)``, convex.
        low: Bounds ``(d,)``.
        high: Bounds ``(d,)``.
        reach: Of one block ``(d,)``.
        measured_c: Worst inlets now ``(n, z)`` [°C].
        limit_c: That they should not pass [°C].
        keeps: Share of its distance that an inlet keeps within a block [-].
        blocks: K.
        point: Moved.
    """
    n, d = point.shape
    zones = measured_c.shape[1]
    for i in range(n):
        x = np.zeros((blocks, d))
        over = np.zeros((blocks, zones))
        for z in range(zones):
            inlet = measured_c[i, z]
            for k in range(blocks):
                inlet = keeps * inlet + (1.0 - keeps) * point[i, zones + z]
                over[k, z] = inlet - limit_c
        for _ in range(_SWEEPS):
            furthest = 0.0
            for k in range(blocks):
                for j in range(d):
                    to_move = _MOVE_USD / (reach[j] * reach[j])
                    rise, bend = slope[i, j], curvature[i, j, j] + to_move
                    for other in range(d):
                        rise += curvature[i, j, other] * x[k, other]
                    rise += to_move * (x[k, j] - (x[k - 1, j] if k else 0.0))
                    if k + 1 < blocks:
                        rise -= to_move * (x[k + 1, j] - x[k, j])
                        bend += to_move
                    if zones <= j < 2 * zones:
                        gain = 1.0 - keeps
                        for later in range(k, blocks):
                            if over[later, j - zones] > 0.0:
                                rise += _OVER_USD_PER_K2 * over[later, j - zones] * gain
                                bend += _OVER_USD_PER_K2 * gain * gain
                            gain *= keeps
                    widest = (k + 1.0) * reach[j]
                    least = min(max(low[j] - point[i, j], -widest), 0.0)
                    most = max(min(high[j] - point[i, j], widest), 0.0)
                    moved = min(max(x[k, j] - rise / bend, least), most) - x[k, j]
                    x[k, j] += moved
                    furthest = max(furthest, abs(moved) / reach[j])
                    if zones <= j < 2 * zones:
                        gain = (1.0 - keeps) * moved
                        for later in range(k, blocks):
                            over[later, j - zones] += gain
                            gain *= keeps
            if furthest < 1e-6:
                break
        for j in range(d):
            point[i, j] = min(max(point[i, j] + x[0, j], low[j]), high[j])
