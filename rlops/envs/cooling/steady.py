"""The steady state of a hall at a load and a weather, without moving it there, and the cheapest one.

A point is the speed of every zone's fan, the worst inlet of every zone, the set point of the chilled water and the
speed of the tower's fan. With the worst inlet given instead of the valve, the limit that matters is a bound of one
coordinate, and a zone is one short fixed point; its valve follows from the heat that its coil must take.

The equations are those of ``hall.py`` and ``plant.py`` with every derivative zero and the structure as warm as its air;
a hall that is held there (``held.py``) comes to the same state.
"""

import math

import numpy as np
from numba import njit

from rlops.envs.compiling import compiled
from rlops.envs.cooling.accounts import ALLOWABLE_C, CONSUMERS, LEAST_RECOMMENDED_C
from rlops.envs.cooling.hall import (
    AIR_J_PER_KG_K,
    COIL_WATER_KG_PER_S,
    LOG_RANGEABILITY,
    SERVER_FLOW_KG_PER_S,
    SERVERS,
    VALVE_CLOSED,
    WATER_J_PER_KG_K,
    busy_share,
    coil_conductance_w_per_k,
    handler_fan_w,
    handler_flow_kg_per_s,
    server_fan_speed,
    server_fan_w,
    server_w,
    valve_flow_kg_per_s,
)
from rlops.envs.cooling.plant import (
    CONDENSER_KG_PER_S,
    CONDENSER_PUMP_W,
    LEAST_ENTERING_C,
    LIGHTS_W,
    chilled_pump_w,
    chiller_w,
    supply_loss_w,
    tower_fan_w,
    tower_w,
)
from rlops.envs.cooling.psychrometrics import saturated_enthalpy_j_per_kg

LEAST_FAN = 0.2
LOW = (LEAST_FAN, 18.0, 7.0, LEAST_FAN)
HIGH = (1.0, 35.0, 18.0, 1.0)
"""Bounds of fan [-], worst inlet [°C], chilled water [°C] and tower fan [-]."""
FIRST_STEP = (0.05, 0.5, 1.0, 0.1)
"""With which the search begins, in the same units; it is halved five times."""
_HALVINGS, _SWEEPS, _WORTH_USD = 6, 12, 1e-5
_COARSE_FAN, _COARSE_WORST = (0.35, 0.5, 0.7, 1.0), (22.0, 25.0, 27.0)
_COARSE_CHILLED, _COARSE_TOWER = (7.0, 10.0, 13.0, 16.0), (0.4, 0.8)
SHORT_USD_PER_H = 100.0
"""[$/h] For asking a coil or the chiller for twice what it can do: steeper than anything that it could save."""
OF_ZONE = (
    "cold_c", "inlet_c", "hot_c", "valve", "air_ratio", "air_kg_per_s", "returned_kg_per_s", "return_c", "cpu_w",
    "server_fan_w",
)  # fmt: skip
COLD, INLET, HOT, VALVE, RATIO, AIR, RETURNED, RETURN, CPU_W, SERVER_FAN_W = range(len(OF_ZONE))
OF_HALL = (*(f"{name}_w" for name in CONSUMERS), "basin_c", "short", "usd_per_h")
BASIN, SHORT, USD = len(CONSUMERS), len(CONSUMERS) + 1, len(CONSUMERS) + 2
SITE = ("wet_bulb_c", "air_pa", "efficiency", "hall_share", "approach_k", "limit_c")
"""Weather; the chiller's present share of its efficiency; share of the 1-MW hall; the condenser water above the wet
bulb [K], NaN where a tower with a fan decides; the worst inlet that costs nothing [°C]."""
WET_BULB, PRESSURE, EFFICIENCY, HALL_SHARE, APPROACH, LIMIT = range(len(SITE))


@njit(error_model="numpy")
def _through_servers(p, utilisation, inlet_c, air_kg_per_s):
    """Return flow of servers, hot share at their inlets, hot aisle above the cold one, power of servers, of fans."""
    n = SERVERS * p.it_scale
    speed = server_fan_speed(p, utilisation, inlet_c)
    through = n * SERVER_FLOW_KG_PER_S * speed
    share = max(p.recirculation, 1.0 - (1.0 - p.bypass) * air_kg_per_s / through)
    cpu, fans = n * server_w(p, busy_share(utilisation), inlet_c), n * server_fan_w(speed)
    return through, share, (cpu + fans) / (through * AIR_J_PER_KG_K * (1.0 - share)), cpu, fans


@njit(error_model="numpy")
def inlet_of_worst_c(p, utilisation, air_kg_per_s, worst_c):
    """Return the mean inlet of a zone whose worst rack gets air of ``worst_c`` [°C]."""
    inlet = worst_c
    for _ in range(60):
        _, _, rise, _, _ = _through_servers(p, utilisation, inlet, air_kg_per_s)
        before, inlet = inlet, worst_c - p.hot_spot * rise
        if abs(inlet - before) < 1e-10:
            break
    return inlet


@njit(error_model="numpy")
def worst_of_supply_c(p, utilisation, air_kg_per_s, supply_c):
    """Return the worst inlet of a zone that is supplied with air of ``supply_c`` [°C]."""
    inlet, rise = supply_c, 0.0
    for _ in range(100):
        _, share, rise, _, _ = _through_servers(p, utilisation, inlet, air_kg_per_s)
        before, inlet = inlet, supply_c + share * rise
        if abs(inlet - before) < 1e-6:
            break
    return inlet + p.hot_spot * rise


@njit(error_model="numpy")
def opening_for(p, air_kg_per_s, conductance_w_per_k):
    """Return the opening of a valve at which a coil has a conductance, and by what share the coil falls short of it."""
    most = coil_conductance_w_per_k(p, air_kg_per_s, valve_flow_kg_per_s(p, 1.0))
    if conductance_w_per_k >= most:
        return 1.0, conductance_w_per_k / most - 1.0
    low, high = VALVE_CLOSED, 1.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        water = COIL_WATER_KG_PER_S * p.valve_gain * math.exp(LOG_RANGEABILITY * (middle - 1.0))
        if coil_conductance_w_per_k(p, air_kg_per_s, water) < conductance_w_per_k:
            low = middle
        else:
            high = middle
    return high, 0.0


@njit(error_model="numpy")
def _basin_c(p, evaporator_w, capacity_w, chilled_c, tower_fan, site):
    """Return the condenser water at which the tower gives off what chiller and pump put in [°C]."""
    air = saturated_enthalpy_j_per_kg(site[WET_BULB], site[PRESSURE])
    low, high = LEAST_ENTERING_C, 70.0
    for _ in range(36):
        basin = 0.5 * (low + high)
        heat = evaporator_w + CONDENSER_PUMP_W
        heat += chiller_w(p, evaporator_w, capacity_w, chilled_c, basin, site[EFFICIENCY])
        range_k = heat / (CONDENSER_KG_PER_S * WATER_J_PER_KG_K)
        if tower_w(p, tower_fan, basin, range_k, air, site[PRESSURE]) < heat:
            low = basin
        else:
            high = basin
    return high


@njit(error_model="numpy")
def settle_hall(p, utilisation, site, point, zones, hall):
    """Write the steady state at a point; return what it costs, limits and all [$/h].

    Args:
        p: Parameters of v1.
        utilisation: Of the zones ``(z,)`` [-].
        site: Numbers that :data:`SITE` names.
        point: Fans ``(z,)``, worst inlets ``(z,)``, chilled water, tower fan.
        zones: Written: ``(z, 10)``, columns as :data:`OF_ZONE` names them.
        hall: Written: what :data:`OF_HALL` names, powers in W.
    """
    n = len(utilisation)
    flow, heat_flow, short, limits = 0.0, 0.0, 0.0, 0.0
    chilled = point[2 * n]
    hall[:] = 0.0
    for z in range(n):
        zone, fan, worst = zones[z], point[z], point[n + z]
        air = handler_flow_kg_per_s(p, fan)
        inlet = inlet_of_worst_c(p, utilisation[z], air, worst)
        through, share, rise, cpu, fans = _through_servers(p, utilisation[z], inlet, air)
        cold, back = inlet - share * rise, (1.0 - share) * through
        zone[COLD], zone[INLET], zone[HOT], zone[RATIO] = cold, inlet, cold + rise, air / through
        zone[AIR], zone[RETURNED], zone[RETURN] = air, back, cold + rise * back / air
        zone[CPU_W], zone[SERVER_FAN_W] = cpu, fans
        hall[0] += cpu
        hall[1] += fans
        hall[2] += handler_fan_w(p, fan)
        flow += air
        heat_flow += air * zone[RETURN]
        limits += p.over_recommended_usd * max(0.0, worst - site[LIMIT])
        limits += p.under_recommended_usd * max(0.0, LEAST_RECOMMENDED_C - inlet)
        limits += p.over_allowable_usd * max(0.0, worst - ALLOWABLE_C) ** 2
    water, heat = 0.0, 0.0
    for z in range(n):
        zone = zones[z]
        carried = zone[AIR] * AIR_J_PER_KG_K
        blown = zone[RETURN] + p.return_mixing * (heat_flow / flow - zone[RETURN])
        blown += handler_fan_w(p, point[z]) / carried
        taken = carried * (blown - zone[COLD])
        zone[VALVE], lacking = opening_for(p, zone[AIR], taken / max(blown - chilled, 0.1))
        short += lacking
        heat += taken
        water += valve_flow_kg_per_s(p, zone[VALVE])
    share_of_hall = site[HALL_SHARE]
    pump, capacity = chilled_pump_w(water, share_of_hall), p.chiller_capacity_w * share_of_hall
    evaporator = heat + pump
    short += max(0.0, evaporator / capacity - 1.0)
    hall[3] = pump + CONDENSER_PUMP_W * share_of_hall
    if site[APPROACH] == site[APPROACH]:
        hall[BASIN] = max(LEAST_ENTERING_C, site[WET_BULB] + site[APPROACH])
    else:
        hall[4] = tower_fan_w(point[2 * n + 1])
        hall[BASIN] = _basin_c(p, evaporator, capacity, chilled, point[2 * n + 1], site)
    hall[5] = chiller_w(p, evaporator, capacity, chilled, hall[BASIN], site[EFFICIENCY])
    hall[6] = supply_loss_w(p, hall[0] + hall[1], share_of_hall)
    hall[7] = LIGHTS_W * share_of_hall
    total = 0.0
    for consumer in range(BASIN):
        total += hall[consumer]
    hall[SHORT] = short
    hall[USD] = p.price_usd_per_kwh * total / 1e3 + 60.0 * limits + SHORT_USD_PER_H * short
    return hall[USD]


@njit(error_model="numpy")
def _kind(k, zones):
    """Return which of LOW and HIGH bounds coordinate ``k`` of a point."""
    return k // zones if k < 2 * zones else k - 2 * zones + 2


@njit(error_model="numpy")
def _tried(p, utilisation, site, point, trial, zones, hall, best):
    """Take ``trial`` over into ``point`` if it is cheaper than ``best``; return the cheaper cost."""
    cost = settle_hall(p, utilisation, site, trial, zones, hall)
    if cost < best - _WORTH_USD:
        point[:] = trial
        return cost
    return best


@njit(error_model="numpy")
def _moved(point, trial, first, last, by, zones):
    """Write ``point`` with coordinates ``first`` … ``last`` moved ``by``, within bounds, into ``trial``."""
    trial[:] = point
    for k in range(first, last):
        kind = _kind(k, zones)
        trial[k] = min(max(trial[k] + by, LOW[kind]), HIGH[kind])


@njit(error_model="numpy")
def _coarse(p, utilisation, site, point, free, zones, hall):
    """Write the cheapest of a coarse grid of points, all zones alike, into ``point``; return its cost."""
    n = len(utilisation)
    trial = point.copy()
    best = np.inf
    for fan in _COARSE_FAN:
        for worst in _COARSE_WORST:
            trial[:n], trial[n : 2 * n] = fan, worst
            for chilled in _COARSE_CHILLED:
                for tower in _COARSE_TOWER:
                    if free > 2 * n:
                        trial[2 * n], trial[2 * n + 1] = chilled, tower
                    best = _tried(p, utilisation, site, point, trial, zones, hall, best)
                    if free == 2 * n:
                        break
                if free == 2 * n:
                    break
    return best


@njit(error_model="numpy")
def search(p, utilisation, site, point, begin, zones, hall):
    """Write the cheapest point that a pattern search finds (Hooke and Jeeves 1961); return its cost [$/h].

    Directions are the coordinates, and those of the zones' fans and of their inlets all together.

    Args:
        p: Parameters of v1.
        utilisation: Of the zones ``(z,)`` [-].
        site: Numbers that :data:`SITE` names; with an approach, chilled water and tower are not searched.
        point: Where it begins; the result.
        begin: Whether a coarse grid chooses where it begins instead.
        zones: Written, as :func:`settle_hall` does.
        hall: Written, as :func:`settle_hall` does.
    """
    n = len(utilisation)
    free = 2 * n if site[APPROACH] == site[APPROACH] else 2 * n + 2
    best = np.inf
    if begin:
        best = _coarse(p, utilisation, site, point, free, zones, hall)
    else:
        best = settle_hall(p, utilisation, site, point, zones, hall)
    trial, before = point.copy(), point.copy()
    size = 1.0
    for _ in range(_HALVINGS):
        for _ in range(_SWEEPS):
            reached = best
            before[:] = point
            for direction in range(-2, free):
                first = direction if direction >= 0 else (direction + 2) * n
                last = direction + 1 if direction >= 0 else first + n
                by = size * FIRST_STEP[_kind(first, n)]
                cost = best
                for sign in (1.0, -1.0):
                    _moved(point, trial, first, last, sign * by, n)
                    best = _tried(p, utilisation, site, point, trial, zones, hall, best)
                    if best < cost:
                        break
            if best >= reached:
                break
            for k in range(free):  # once more as far in the same direction
                kind = _kind(k, n)
                trial[k] = min(max(2.0 * point[k] - before[k], LOW[kind]), HIGH[kind])
            best = _tried(p, utilisation, site, point, trial, zones, hall, best)
        size *= 0.5
    return settle_hall(p, utilisation, site, point, zones, hall)


@compiled
def settle_halls(p, utilisation, site, points, zones, hall):
    """Write the steady states of rows: as :func:`settle_hall`, with a first axis ``(n, …)`` in all arrays."""
    for i in range(len(p)):
        settle_hall(p[i], utilisation[i], site[i], points[i], zones[i], hall[i])


@compiled
def search_halls(p, utilisation, site, points, begin, rows, zones, hall):
    """Write the cheapest points of the ``rows`` (n,) bool: as :func:`search`, with a first axis ``(n, …)``."""
    for i in range(len(p)):
        if rows[i]:
            search(p[i], utilisation[i], site[i], points[i], begin[i], zones[i], hall[i])
