"""A hall of zones: servers, aisles, air handlers. Scalar physics in SI units, temperatures in °C.

A zone is a pair of contained aisles with an air handler. Air goes round: supply → cold aisle → servers → hot aisle →
return → coil → supply; beside it some supply air goes past the servers (bypass) and some hot air comes back to their
inlets (recirculation). Every flow that leaves a node enters another, at every moment, so heat is neither made nor lost.

**Integration.** Nodes are taken in the direction of the flow. Each is solved exactly over a substep (exponential Euler)
with constant inflows: what flows in is the *mean* of the node upstream over the same substep, so that a node receives
exactly what the other gave. The ring is cut in three places, where what leaves is taken at its value at the start of
the substep, by both sides: the return, the recirculated air, the structure.

**Speed.** What moves a zone neither branches nor calls, and is compiled into the loop over the zones: that lets the
compiler work out four zones side by side, with the same results to the last bit as one after another.
"""

import math
from typing import NamedTuple

from numba import njit

from rlops.envs.cooling.elementary import LEAST, decayed, effectiveness, exp, power

AIR_J_PER_KG_K = 1006.0
"""[J/(kg K)] ASHRAE Fundamentals 2017, ch. 1."""
WATER_J_PER_KG_K = 4186.0

SERVERS = 560
"""Servers in a zone; four zones make 1 MW."""
SERVER_J_PER_K = 12e3
SERVER_UA_W_PER_K = 17.6
SERVER_UA_FLOW_KG_PER_S = 0.025
"""[kg/s] Flow through a server at which it has that UA: half speed."""
SERVER_FLOW_KG_PER_S = 0.05
SERVER_FAN_W = 60.0

COLD_J_PER_K, HOT_J_PER_K, RETURN_J_PER_K = 1.5e6, 1.0e6, 0.3e6
COIL_J_PER_K = 30.0 * 25.0 * AIR_J_PER_KG_K
"""[J/K] Metal and water of a coil: a lag of 30 s at full flow."""
STRUCTURE_J_PER_K, STRUCTURE_W_PER_K = 25e6, 375.0
"""Floor and walls of a zone, on the cold aisle: a quarter of 100 MJ/K and 1.5 kW/K."""

HANDLER_FLOW_KG_PER_S, HANDLER_FAN_W = 25.0, 16e3
COIL_UA_W_PER_K = 30e3
COIL_WATER_KG_PER_S = 11.0
LOG_RANGEABILITY = math.log(30.0)
"""[-] Equal-percentage valve: flow 30^(opening - 1)."""
VALVE_CLOSED = 0.02
FAN_STOPPED = 0.01


class Zones(NamedTuple):
    """The parameters of what is in a zone, read once: a compiler must otherwise expect that a zone changes them."""

    it_scale: float
    idle_w: float
    busy_w: float
    leak_per_k: float
    fan_knee_c: float
    server_mass: float
    air_mass: float
    recirculation: float
    bypass: float
    hot_spot: float
    recirculation_lag_s: float
    fan_gain: float
    fan_efficiency: float
    coil_ua: float
    coil_fouling: float
    valve_gain: float


@njit(error_model="numpy", inline="always")
def zones_of(p):
    """Return the parameters of what is in a zone."""
    return Zones(
        p.it_scale, p.idle_w, p.busy_w, p.leak_per_k, p.fan_knee_c, p.server_mass, p.air_mass, p.recirculation,
        p.bypass, p.hot_spot, p.recirculation_lag_s, p.fan_gain, p.fan_efficiency, p.coil_ua, p.coil_fouling,
        p.valve_gain,
    )  # fmt: skip


def zone_fields(zones):
    """Return the fields of the state that describe ``zones`` zones."""
    names = (
        "fan",  # actual speed [-]
        "drive",  # of the valve [-]
        "valve",  # opening [-]
        "share_hot",  # recirculated share at the inlets [-]
        "supply_c", "cold_c", "hot_c", "return_c", "server_c", "structure_c",
        "inlet_c",  # mean of the zone
        "worst_c",  # of the worst rack
        "utilisation", "air_kg_per_s", "server_kg_per_s", "water_kg_per_s",
        "cpu_w", "server_fan_w", "handler_fan_w", "coil_w", "coil_w_per_k",
        "busy_share",  # of the way from idle to busy power, follows from the utilisation
    )  # fmt: skip
    return [(name, "f8", (zones,)) for name in names]


@njit(error_model="numpy", inline="always")
def relaxed(t_c, target_c, rate_per_s, dt_s):
    """Return a node's temperature after ``dt_s`` and its mean meanwhile: ``dT/dt = rate (target - T)``, exactly."""
    z = rate_per_s * dt_s + LEAST
    gap, gone = t_c - target_c, decayed(z)
    return t_c - gap * gone, target_c + gap * (gone / z)


@njit(error_model="numpy", inline="always")
def moved(position, wanted, most):
    """Return where an actuator is that can move by ``most`` at a time."""
    return position + min(max(wanted - position, -most), most)


# --- servers --------------------------------------------------------------------------------------------


@njit(error_model="numpy", inline="always")
def busy_share(utilisation):
    """Return the share of the way from idle to busy power: 2u - u^1.4 (Fan, Weber, Barroso 2007, fig. 4) [-]."""
    return 2.0 * utilisation - power(utilisation, 1.4)


@njit(error_model="numpy", inline="always")
def server_w(p, busy, inlet_c):
    """Return the power of a server without its fans at an inlet temperature [W]."""
    return (p.idle_w + (p.busy_w - p.idle_w) * busy) * (1.0 + p.leak_per_k * (inlet_c - 25.0))


@njit(error_model="numpy", inline="always")
def server_fan_speed(p, utilisation, inlet_c):
    """Return the speed of the fans in a server [-], 0.25 … 1."""
    return min(max(0.32 + 0.25 * utilisation + 0.030 * max(0.0, inlet_c - p.fan_knee_c), 0.25), 1.0)


@njit(error_model="numpy", inline="always")
def server_fan_w(speed):
    """Return the power of the fans in a server: the cube law [W]."""
    return SERVER_FAN_W * speed * speed * speed


@njit(error_model="numpy", inline="always")
def servers_conductance_w_per_k(n, flow_kg_per_s):
    """Return the heat that ``n`` servers give their air per kelvin above the inlet: eps m cp [W/K]."""
    capacity = flow_kg_per_s * AIR_J_PER_KG_K
    ua = n * SERVER_UA_W_PER_K * power(flow_kg_per_s / (n * SERVER_UA_FLOW_KG_PER_S), 0.8)
    return decayed(ua / capacity) * capacity


# --- air handler ----------------------------------------------------------------------------------------


@njit(error_model="numpy", inline="always")
def handler_flow_kg_per_s(p, fan):
    """Return the air flow of a handler [kg/s]."""
    return HANDLER_FLOW_KG_PER_S * p.fan_gain * fan if fan >= FAN_STOPPED else 0.0


@njit(error_model="numpy", inline="always")
def handler_fan_w(p, fan):
    """Return the power of a handler's fan, all of it heat in the air [W]."""
    return HANDLER_FAN_W * (0.03 + 0.97 * power(fan, 2.8)) / p.fan_efficiency if fan >= FAN_STOPPED else 0.0


@njit(error_model="numpy", inline="always")
def valve_flow_kg_per_s(p, opening):
    """Return the water flow of a coil: equal percentage, shut below 2 % [kg/s]."""
    return (
        COIL_WATER_KG_PER_S * p.valve_gain * exp(LOG_RANGEABILITY * (opening - 1.0)) if opening >= VALVE_CLOSED else 0.0
    )


@njit(error_model="numpy", inline="always")
def coil_conductance_w_per_k(p, air_kg_per_s, water_kg_per_s):
    """Return the heat that a coil takes per kelvin between entering air and entering water: eps C_min [W/K].

    Counterflow; nothing where one of the two stands still.
    """
    flows = air_kg_per_s > 0.0 and water_kg_per_s > 0.0
    air_share = air_kg_per_s / HANDLER_FLOW_KG_PER_S if flows else 1.0
    water_share = water_kg_per_s / COIL_WATER_KG_PER_S if flows else 1.0
    resistance = 0.6 * power(air_share, -0.65) + 0.4 * power(water_share, -0.8) + p.coil_fouling
    air = air_share * (HANDLER_FLOW_KG_PER_S * AIR_J_PER_KG_K)
    water = water_share * (COIL_WATER_KG_PER_S * WATER_J_PER_KG_K)
    least = min(air, water)
    units = COIL_UA_W_PER_K * p.coil_ua / (resistance * least)
    return least * effectiveness(units, least / max(air, water)) if flows else 0.0


@njit(error_model="numpy", inline="always")
def move_actuators(p, s, z, fan, valve, dt_s):
    """Move a zone's fan and valve towards what is wanted; return the strokes travelled [-]."""
    before_fan, before_valve = s.fan[z], s.drive[z]
    s.fan[z] = moved(before_fan, fan, dt_s / p.fan_slew_s)
    wanted = valve if abs(valve - before_valve) > p.valve_stiction else before_valve
    s.drive[z] = moved(before_valve, wanted, dt_s / p.valve_slew_s)
    play = 0.5 * p.valve_hysteresis
    s.valve[z] = min(max(s.valve[z], s.drive[z] - play), s.drive[z] + play)
    return abs(s.fan[z] - before_fan) + abs(s.drive[z] - before_valve)


@njit(error_model="numpy", inline="always")
def update_handler(p, s, z):
    """Write what follows from where a zone's fan and valve are: flows, power, conductance of the coil."""
    s.air_kg_per_s[z] = handler_flow_kg_per_s(p, s.fan[z])
    s.water_kg_per_s[z] = valve_flow_kg_per_s(p, s.valve[z])
    s.handler_fan_w[z] = handler_fan_w(p, s.fan[z])
    s.coil_w_per_k[z] = coil_conductance_w_per_k(p, s.air_kg_per_s[z], s.water_kg_per_s[z])


# --- a zone ---------------------------------------------------------------------------------------------


@njit(error_model="numpy", inline="always")
def sense_inlet(p, s, z):
    """Write the inlet temperatures that follow from the aisles."""
    s.inlet_c[z] = (1.0 - s.share_hot[z]) * s.cold_c[z] + s.share_hot[z] * s.hot_c[z]
    s.worst_c[z] = s.inlet_c[z] + p.hot_spot * (s.hot_c[z] - s.cold_c[z])


@njit(error_model="numpy")
def mean_return_c(s):
    """Return the return temperature of the hall, weighted with the flows of the handlers."""
    flow, heat = 0.0, 0.0
    for z in range(s.fan.shape[0]):
        flow += s.air_kg_per_s[z]
        heat += s.air_kg_per_s[z] * s.return_c[z]
    return heat / flow if flow > 0.0 else 0.0


@njit(error_model="numpy", inline="always")
def move_zone(p, s, z, entering_c, chilled_c, dt_s):
    """Move a zone by a substep.

    Args:
        p: Parameters.
        s: State; what :func:`update_handler` writes is there, the zone's other powers are written.
        z: The zone.
        entering_c: Return air at its handler, of this zone and others.
        chilled_c: Chilled water at its coil.
        dt_s: Length of the substep.
    """
    n = SERVERS * p.it_scale
    air, hot, share = s.air_kg_per_s[z], s.hot_c[z], s.share_hot[z]
    speed = server_fan_speed(p, s.utilisation[z], s.inlet_c[z])
    through = n * SERVER_FLOW_KG_PER_S * speed
    from_cold = (1.0 - share) * through
    past, back = max(0.0, air - from_cold), max(0.0, from_cold - air)
    s.server_kg_per_s[z] = through
    s.cpu_w[z] = n * server_w(p, s.busy_share[z], s.inlet_c[z])
    s.server_fan_w[z] = n * server_fan_w(speed)

    carried = air * AIR_J_PER_KG_K
    per_carried = 1.0 / carried if air > 0.0 else 0.0
    blown_c = entering_c + s.handler_fan_w[z] * per_carried
    coil_w = s.coil_w_per_k[z] * (blown_c - chilled_c)
    s.coil_w[z] = coil_w
    s.supply_c[z], supply = relaxed(s.supply_c[z], blown_c - coil_w * per_carried, carried / COIL_J_PER_K, dt_s)

    structure = s.structure_c[z]
    conductance = (air + back) * AIR_J_PER_KG_K + STRUCTURE_W_PER_K
    inflow = (air * supply + back * hot) * AIR_J_PER_KG_K + STRUCTURE_W_PER_K * structure
    cold_j_per_k = COLD_J_PER_K * p.air_mass
    s.cold_c[z], cold = relaxed(s.cold_c[z], inflow / conductance, conductance / cold_j_per_k, dt_s)
    s.structure_c[z] += STRUCTURE_W_PER_K * (cold - structure) * dt_s / STRUCTURE_J_PER_K

    inlet = (1.0 - share) * cold + share * hot
    mass = n * SERVER_J_PER_K * p.server_mass
    given = servers_conductance_w_per_k(n, through)
    s.server_c[z], solid = relaxed(s.server_c[z], inlet + s.cpu_w[z] / given, given / mass, dt_s)
    exhaust = inlet + (given * (solid - inlet) + s.server_fan_w[z]) / (through * AIR_J_PER_KG_K)

    hot_j_per_k = HOT_J_PER_K * p.air_mass
    returned = air - past
    stays = (through * exhaust - (through - returned) * hot) * AIR_J_PER_KG_K
    target = stays / (returned * AIR_J_PER_KG_K) if returned > 0.0 else hot
    after, mean_hot = relaxed(hot, target, returned * AIR_J_PER_KG_K / hot_j_per_k, dt_s)
    s.hot_c[z] = after if returned > 0.0 else hot + stays * dt_s / hot_j_per_k
    gained = returned * mean_hot + past * cold - air * s.return_c[z]
    s.return_c[z] += gained * AIR_J_PER_KG_K * dt_s / (RETURN_J_PER_K * p.air_mass)
    wanted = max(p.recirculation, 1.0 - (1.0 - p.bypass) * air / through)
    s.share_hot[z], _ = relaxed(share, wanted, 1.0 / p.recirculation_lag_s, dt_s)
    sense_inlet(p, s, z)


@njit(error_model="numpy")
def zone_heat_j(p, s, z):
    """Return the heat stored in a zone, above 0 °C [J]."""
    air = COLD_J_PER_K * s.cold_c[z] + HOT_J_PER_K * s.hot_c[z] + RETURN_J_PER_K * s.return_c[z]
    servers = SERVERS * p.it_scale * SERVER_J_PER_K * p.server_mass * s.server_c[z]
    return p.air_mass * air + servers + COIL_J_PER_K * s.supply_c[z] + STRUCTURE_J_PER_K * s.structure_c[z]
