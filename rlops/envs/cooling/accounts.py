"""What is counted: energy by consumer, the ledger of heat, excursions of the inlets, and dollars.

Shared by all versions: a kernel moves its plant by a substep, then :func:`meter` counts it; at the end of a step
:func:`settle` writes the reward terms.
"""

import math

from numba import njit

from rlops.envs.contract import Column
from rlops.envs.cooling.hall import (
    HANDLER_FAN_W,
    SERVER_FAN_W,
    SERVERS,
    server_fan_speed,
    server_fan_w,
    server_w,
    zone_heat_j,
)
from rlops.envs.cooling.plant import (
    BASIN_J_PER_K,
    CHILLED_PUMP_W,
    CONDENSER_PUMP_W,
    CYCLES,
    EVAPORATION_J_PER_KG,
    LIGHTS_W,
    LOOP_J_PER_K,
    TOWER_FAN_W,
    supply_loss_w,
)

SUBSTEP_S, SUBSTEPS = 5.0, 12
J_PER_KWH = 3.6e6
REFERENCE_INLET_C = 22.0
"""[°C] Inlet at which the IT power is subtracted from the bill: what no action changes."""
RECOMMENDED_C, LEAST_RECOMMENDED_C, ALLOWABLE_C = 27.0, 18.0, 32.0
"""ASHRAE TC 9.9 2021: recommended 18-27 °C, class A1 allowable up to 32 °C."""
QUARTER_K, HOUR_K = 5.0, 20.0
"""[K] ASHRAE TC 9.9 2021: the most an inlet may change within 15 min and within an hour."""
KG_CO2_PER_KWH = 0.4
"""[kg/kWh] Of a mixed grid. Assumption."""
RUNAWAY_C, RUNAWAY_S, RUNAWAY_SERVER_C = 40.0, 60.0, 85.0
STORED_COP = 4.0
"""[-] At which heat left in the hall is charged: compressor, pumps and fans of a good plant."""
WORST_COP = 2.0
RUNAWAY_FACTOR = 2.0
"""[-] A runaway costs this many times the worst that the rest of the horizon could have cost."""
HISTORY_MIN, QUARTER_MIN = 60, 15

ENERGY, OVER_RECOMMENDED, UNDER_RECOMMENDED, OVER_ALLOWABLE, RATE, WEAR, STORED, RUNAWAY = range(8)
REWARD_TERMS = (
    "energy", "over_recommended", "under_recommended", "over_allowable", "rate", "wear", "stored", "runaway",
)  # fmt: skip

CPU, SERVER_FAN, HANDLER_FAN, PUMP, TOWER_FAN, COMPRESSOR, SUPPLY, LIGHTS = range(8)
CONSUMERS = ("cpu", "server_fan", "crah_fan", "pump", "tower_fan", "chiller", "ups", "lights")
"""Every consumer there is; the bill is their sum."""


def account_fields(zones):
    """Return the fields of the state that count."""
    return [
        ("power_w", "f8", (len(CONSUMERS),)),  # of the last substep
        ("step_j", "f8"),  # of the step, all consumers
        ("energy_j", "f8", (len(CONSUMERS),)),  # of the episode
        ("heat_in_j", "f8"),  # into the nodes
        ("heat_out_j", "f8"),  # out of them
        ("first_heat_j", "f8"),  # stored at the beginning
        ("over_recommended_k_min", "f8"),
        ("under_recommended_k_min", "f8"),
        ("over_allowable_k_min", "f8"),
        ("rate_k_min", "f8"),
        ("rate_events", "i8"),  # minutes in which a zone's inlet changed too much
        ("step_strokes", "f8"),
        ("strokes", "f8"),
        ("max_inlet_c", "f8"),
        ("water_kg", "f8"),
        ("wet_bulb_k_min", "f8"),
        ("return_usd", "f8"),
        ("zone_usd", "f8", (zones,)),  # of the step's reward what is a zone's own: its limits, its handler
        ("hot_s", "f8", (zones,)),  # for how long a zone has been at RUNAWAY_C
        ("past_c", "f8", (zones, HISTORY_MIN)),  # worst inlets of the last hour, a ring
    ]


@njit(error_model="numpy")
def stored_heat_j(p, s, hall_share):
    """Return the heat in all nodes, above 0 °C [J]."""
    heat = hall_share * (LOOP_J_PER_K * s.chilled_c + BASIN_J_PER_K * s.basin_c)
    for z in range(s.fan.shape[0]):
        heat += zone_heat_j(p, s, z)
    return heat


@njit(error_model="numpy")
def open_accounts(p, s, hall_share):
    """Remember where an episode begins."""
    s.first_heat_j = stored_heat_j(p, s, hall_share)
    s.max_inlet_c = s.worst_c[0]
    for z in range(s.fan.shape[0]):
        s.max_inlet_c = max(s.max_inlet_c, s.worst_c[z])
        for minute in range(HISTORY_MIN):
            s.past_c[z, minute] = s.worst_c[z]


@njit(error_model="numpy")
def reference_w(p, s):
    """Return what the servers would draw at REFERENCE_INLET_C with their present load [W]."""
    power = 0.0
    for z in range(s.fan.shape[0]):
        speed = server_fan_speed(p, s.utilisation[z], REFERENCE_INLET_C)
        power += server_w(p, s.busy_share[z], REFERENCE_INLET_C) + server_fan_w(speed)
    return SERVERS * p.it_scale * power


@njit(error_model="numpy")
def meter(p, s, hall_share):
    """Count a substep: power by consumer, heat in and out of the nodes, kelvin minutes."""
    for consumer in range(s.power_w.shape[0]):
        s.power_w[consumer] = 0.0
    minutes = SUBSTEP_S / 60.0
    for z in range(s.fan.shape[0]):
        s.power_w[CPU] += s.cpu_w[z]
        s.power_w[SERVER_FAN] += s.server_fan_w[z]
        s.power_w[HANDLER_FAN] += s.handler_fan_w[z]
        worst = s.worst_c[z]
        s.max_inlet_c = max(s.max_inlet_c, worst)
        s.hot_s[z] = s.hot_s[z] + SUBSTEP_S if worst >= RUNAWAY_C else 0.0
        over = max(0.0, worst - RECOMMENDED_C) * minutes
        under = max(0.0, LEAST_RECOMMENDED_C - s.inlet_c[z]) * minutes
        beyond = max(0.0, worst - ALLOWABLE_C) * minutes
        s.over_recommended_k_min += over
        s.under_recommended_k_min += under
        s.over_allowable_k_min += beyond
        s.terms[OVER_RECOMMENDED] -= p.over_recommended_usd * over
        s.terms[UNDER_RECOMMENDED] -= p.under_recommended_usd * under
        s.terms[OVER_ALLOWABLE] -= p.over_allowable_usd * beyond * beyond / minutes
        limits = p.over_recommended_usd * over + p.under_recommended_usd * under
        limits += p.over_allowable_usd * beyond * beyond / minutes
        s.zone_usd[z] -= limits + p.price_usd_per_kwh * s.handler_fan_w[z] * SUBSTEP_S / J_PER_KWH
    s.power_w[PUMP] = s.chilled_pump_w + s.condenser_pump_w
    s.power_w[TOWER_FAN] = s.tower_fan_w
    s.power_w[COMPRESSOR] = s.compressor_w
    s.power_w[SUPPLY] = supply_loss_w(p, s.power_w[CPU] + s.power_w[SERVER_FAN], hall_share)
    s.power_w[LIGHTS] = LIGHTS_W * hall_share
    for consumer in range(s.power_w.shape[0]):
        s.energy_j[consumer] += s.power_w[consumer] * SUBSTEP_S
        s.step_j += s.power_w[consumer] * SUBSTEP_S
    into = s.power_w[CPU] + s.power_w[SERVER_FAN] + s.power_w[HANDLER_FAN] + s.power_w[PUMP] + s.compressor_w
    s.heat_in_j += into * SUBSTEP_S
    s.heat_out_j += s.tower_w * SUBSTEP_S


@njit(error_model="numpy")
def _watch_rate(p, s):
    """Charge inlets that changed by more than they may, and remember where they are."""
    broken = 0
    for z in range(s.fan.shape[0]):
        now = s.worst_c[z]
        quarter = abs(now - s.past_c[z, (s.minute - QUARTER_MIN) % HISTORY_MIN])
        hour = abs(now - s.past_c[z, s.minute % HISTORY_MIN])
        excess = max(0.0, quarter - QUARTER_K) + max(0.0, hour - HOUR_K)
        s.past_c[z, s.minute % HISTORY_MIN] = now
        s.rate_k_min += excess
        s.terms[RATE] -= p.rate_usd * excess
        s.zone_usd[z] -= p.rate_usd * excess
        broken |= excess > 0.0
    s.rate_events += broken


@njit(error_model="numpy")
def worst_usd_per_min(p, s, hall_share):
    """Return more than a minute can cost below RUNAWAY_C: every consumer at its most, every limit broken [$/min]."""
    zones = s.fan.shape[0]
    leak = 1.0 + p.leak_per_k * (RUNAWAY_C + 10.0)
    it = zones * SERVERS * p.it_scale * (p.busy_w * leak + SERVER_FAN_W)
    power = 1.1 * it + zones * HANDLER_FAN_W / p.fan_efficiency + hall_share * (2.0 * CHILLED_PUMP_W + LIGHTS_W)
    power += hall_share * (p.chiller_capacity_w / WORST_COP + CONDENSER_PUMP_W + TOWER_FAN_W)
    power += supply_loss_w(p, it, hall_share)
    kelvin = p.over_recommended_usd * (RUNAWAY_C - RECOMMENDED_C) + p.under_recommended_usd * LEAST_RECOMMENDED_C
    kelvin += p.over_allowable_usd * (RUNAWAY_C - ALLOWABLE_C) ** 2 + p.rate_usd * 2.0 * RUNAWAY_C
    actuators = 2.0 * zones + 2.0
    return p.price_usd_per_kwh * power * 60.0 / J_PER_KWH + zones * kelvin + p.stroke_usd * actuators * SUBSTEPS


@njit(error_model="numpy")
def settle(p, s, reference_j, hall_share):
    """Write the reward terms of a step and whether the episode ends; ``s.minute`` is that of its end."""
    _watch_rate(p, s)
    s.terms[ENERGY] = -p.price_usd_per_kwh * (s.step_j - reference_j) / J_PER_KWH
    s.terms[WEAR] = -p.stroke_usd * s.step_strokes
    s.strokes += s.step_strokes
    s.water_kg += s.tower_w * SUBSTEP_S * SUBSTEPS / EVAPORATION_J_PER_KG * (1.0 + 1.0 / (CYCLES - 1.0))
    s.wet_bulb_k_min += s.wet_bulb_c
    for z in range(s.fan.shape[0]):
        s.terminated |= s.hot_s[z] >= RUNAWAY_S or s.server_c[z] >= RUNAWAY_SERVER_C
    left_min = p.horizon_min - s.minute
    if s.terminated:
        s.terms[RUNAWAY] = -RUNAWAY_FACTOR * (left_min + 1.0) * worst_usd_per_min(p, s, hall_share)
    elif left_min <= 0:
        s.truncated = True
        stored = max(0.0, stored_heat_j(p, s, hall_share) - s.first_heat_j)
        s.terms[STORED] = -p.price_usd_per_kwh * stored / STORED_COP / J_PER_KWH
    for term in range(s.terms.shape[0]):
        s.return_usd += s.terms[term]


@njit(error_model="numpy")
def ledger_residual(p, s, hall_share):
    """Return the heat that is missing: stored less in plus out, over what came in [-]."""
    gained = stored_heat_j(p, s, hall_share) - s.first_heat_j
    return (gained - s.heat_in_j + s.heat_out_j) / s.heat_in_j


KPIS = (
    Column("pue", "-", 1, math.inf, "all consumers over servers with their fans"),
    Column("tue", "-", 1, math.inf, "all consumers over servers without their fans"),
    Column("itue", "-", 1, math.inf, "servers with their fans over servers without: TUE over PUE"),
    Column("kwh_total", "kWh", 0, math.inf, "all consumers"),
    Column("kwh_it", "kWh", 0, math.inf, "servers with their fans"),
    Column("kwh_cooling", "kWh", 0, math.inf, "air handlers, pumps, tower and chiller"),
    Column("kwh_cpu", "kWh", 0, math.inf, "servers without their fans"),
    Column("kwh_server_fan", "kWh", 0, math.inf, "server fans"),
    Column("kwh_crah_fan", "kWh", 0, math.inf, "fans of air handlers"),
    Column("kwh_pump", "kWh", 0, math.inf, "pumps"),
    Column("kwh_tower_fan", "kWh", 0, math.inf, "tower fan"),
    Column("kwh_chiller", "kWh", 0, math.inf, "compressor"),
    Column("kwh_ups", "kWh", 0, math.inf, "losses of power supply and distribution"),
    Column("kwh_lights", "kWh", 0, math.inf, "lights and the rest"),
    Column("over_recommended_k_min", "K min", 0, math.inf, "worst inlets above 27 °C, sum of the zones"),
    Column("under_recommended_k_min", "K min", 0, math.inf, "mean inlets below 18 °C, sum of the zones"),
    Column("over_allowable_k_min", "K min", 0, math.inf, "worst inlets above 32 °C, sum of the zones"),
    Column("rate_events", "min", 0, math.inf, "minutes in which an inlet changed too fast"),
    Column("max_inlet_c", "°C", -math.inf, math.inf, "the hottest inlet"),
    Column("strokes", "-", 0, math.inf, "full strokes of all actuators"),
    Column("water_l", "l", 0, math.inf, "evaporated and blown down"),
    Column("kg_co2", "kg", 0, math.inf, "of the power, at 0.4 kg/kWh"),
    Column("wet_bulb_mean_c", "°C", -40, 35, "of the episode"),
    Column("ledger_residual", "-", -1, 1, "heat that is missing, over heat that came in: round-off"),
    Column("return_usd", "$", -math.inf, math.inf, "sum of rewards"),
    Column("it_kw", "kW", 0, math.inf, "mean power of the servers with their fans"),
)


@njit(error_model="numpy")
def write_kpis(p, s, hall_share, out):
    """Write the key figures of an episode that has ended."""
    total = 0.0
    for consumer in range(s.energy_j.shape[0]):
        total += s.energy_j[consumer]
        out[6 + consumer] = s.energy_j[consumer] / J_PER_KWH
    it = s.energy_j[CPU] + s.energy_j[SERVER_FAN]
    cooling = s.energy_j[HANDLER_FAN] + s.energy_j[PUMP] + s.energy_j[TOWER_FAN] + s.energy_j[COMPRESSOR]
    out[0], out[1], out[2] = total / it, total / s.energy_j[CPU], it / s.energy_j[CPU]
    out[3], out[4], out[5] = total / J_PER_KWH, it / J_PER_KWH, cooling / J_PER_KWH
    out[14], out[15], out[16] = s.over_recommended_k_min, s.under_recommended_k_min, s.over_allowable_k_min
    out[17], out[18], out[19] = s.rate_events, s.max_inlet_c, s.strokes
    out[20], out[21] = s.water_kg, KG_CO2_PER_KWH * total / J_PER_KWH
    out[22] = s.wet_bulb_k_min / s.minute
    out[23] = ledger_residual(p, s, hall_share)
    out[24] = s.return_usd
    out[25] = it / (60.0 * s.minute) / 1e3
