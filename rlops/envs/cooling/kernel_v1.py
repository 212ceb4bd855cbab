"""Data-centre cooling v1: a hall of 1 MW in four zones, each with its air handler, on one chiller and one tower.

An action wants, within -1 … 1: the speeds of four fans (0.2 … 1), the openings of four valves (0 … 1), the set point of
the chilled water (7 … 18 °C) and the speed of the tower's fan (0.2 … 1). A step is a minute of twelve substeps.
"""

import math
from dataclasses import replace

import numpy as np
from numba import njit

from rlops.envs.contract import Column, state_dtype
from rlops.envs.cooling.accounts import (
    COMPRESSOR,
    HANDLER_FAN,
    PUMP,
    REWARD_TERMS,
    SUBSTEP_S,
    SUBSTEPS,
    TOWER_FAN,
    account_fields,
    meter,
    open_accounts,
    reference_w,
    settle,
    write_kpis,
)
from rlops.envs.cooling.accounts import KPIS as KPIS
from rlops.envs.cooling.hall import (
    WATER_J_PER_KG_K,
    busy_share,
    mean_return_c,
    move_actuators,
    move_zone,
    moved,
    sense_inlet,
    update_handler,
    zone_fields,
    zones_of,
)
from rlops.envs.cooling.params import V1_PARAMETERS
from rlops.envs.cooling.plant import (
    CONDENSER_PUMP_W,
    LEAST_ENTERING_C,
    LOOP_J_PER_K,
    PLANT_FIELDS,
    chilled_pump_w,
    chiller_w,
    move_basin,
    move_chilled_water,
    tower_fan_w,
)
from rlops.envs.cooling.sensors import (
    HOT,
    INLET,
    follow_sensors,
    read_sensors,
    sensor_fields,
    settle_sensors,
)
from rlops.envs.cooling.sensors import SUPPLY as SUPPLY_SENSOR
from rlops.envs.cooling.site import DATA as DATA
from rlops.envs.cooling.site import (
    DAY_MIN,
    YEAR_D,
    begin_site,
    day_of_year,
    draw_shares,
    move_site,
    shift_shares,
    site_fields,
    write_minute,
)
from rlops.envs.cooling.traces import data_from as data_from

PARAMETERS = V1_PARAMETERS
DATA_OPTION = "traces"
RENDER = "rlops.envs.cooling.render"
RENDER_FPS = 20
STEP_MINUTES = 1.0
PARALLEL_ROWS = 64
DERIVED = {"read_c": "observation", "return_usd": "reward", "zone_usd": "reward"}

ZONES = 4
WHOLE_HALL = 1.0
LEAST_FAN, COLDEST_SET_C, WARMEST_SET_C = 0.2, 7.0, 18.0

ACTION = (
    Column("fan", "-", -1, 1, "speed of an air handler's fan, 0.2 … 1", ZONES),
    Column("valve", "-", -1, 1, "opening of its valve, 0 … 1", ZONES),
    Column("chilled_set", "-", -1, 1, "set point of the chilled water, 7 … 18 °C"),
    Column("tower_fan", "-", -1, 1, "speed of the tower's fan, 0.2 … 1"),
)
FAN, VALVE, CHILLED_SET, TOWER_FAN_WANTED = 0, ZONES, 2 * ZONES, 2 * ZONES + 1

ZONE = (
    Column("supply_c", "°C", 0, 60, "supply air, as read"),
    Column("inlet_c", "°C", 0, 60, "inlet of the worst rack, as read"),
    Column("hot_c", "°C", 0, 90, "hot aisle, as read"),
    Column("utilisation", "-", 0, 1, "of the servers"),
    Column("it_kw", "kW", 0, 600, "power of the servers with their fans"),
    Column("fan", "-", 0, 1, "actual speed of the fan"),
    Column("valve", "-", 0, 1, "actual opening of the valve"),
    Column("air_ratio", "-", 0, 10, "air of the handler over air of the servers"),
)
PLANT = (
    Column("chilled_c", "°C", 0, 60, "chilled water, supply"),
    Column("chilled_return_c", "°C", 0, 90, "chilled water, return"),
    Column("condenser_c", "°C", 0, 60, "condenser water that enters the chiller"),
    Column("chiller_load", "-", 0, 1.2, "part load of the chiller"),
    Column("cooling_kw", "kW", 0, 1500, "air handlers, pumps, tower and chiller"),
)
WEATHER = (
    Column("dry_bulb_c", "°C", -40, 55, "outdoors"),
    Column("wet_bulb_c", "°C", -40, 35, "outdoors"),
)
TIME = (
    Column("hour_sin", "-", -1, 1, "sine of the hour of the day"),
    Column("hour_cos", "-", -1, 1, "cosine of the hour of the day"),
    Column("year_sin", "-", -1, 1, "sine of the day of the year"),
    Column("year_cos", "-", -1, 1, "cosine of the day of the year"),
)
PER_ZONE, OF_PLANT, OF_WEATHER, OF_TIME = len(ZONE), len(PLANT), len(WEATHER), len(TIME)
OBSERVATION = (*(replace(column, count=ZONES) for column in ZONE), *PLANT, *WEATHER, *TIME)

AGENTS = (*(f"crah_{z}" for z in range(ZONES)), "plant")
_OF_HANDLER = (replace(ACTION[0], count=1), replace(ACTION[1], count=1))
AGENT_ACTION = (*((_OF_HANDLER,) * ZONES), ACTION[2:])
_SEEN_BY_HANDLER = (
    *ZONE,
    Column("other_inlet_c", "°C", 0, 60, "of the other zones, as read", ZONES - 1),
    *PLANT,
    *TIME,
)
_SEEN_BY_PLANT = (
    *PLANT,
    *WEATHER,
    *TIME,
    Column("mean_inlet_c", "°C", 0, 60, "of the zones, as read"),
    Column("max_inlet_c", "°C", 0, 60, "of the zones, as read"),
    Column("mean_valve", "-", 0, 1, "of the zones"),
    Column("max_valve", "-", 0, 1, "of the zones"),
)
AGENT_OBSERVATION = (*((_SEEN_BY_HANDLER,) * ZONES), _SEEN_BY_PLANT)
LOCAL = 1
"""``reward_mode``: an air handler is paid for its zone's limits, its fan and its wear, the plant for all the rest."""

STATE = state_dtype(
    REWARD_TERMS,
    [
        *zone_fields(ZONES),
        *PLANT_FIELDS,
        *site_fields(ZONES),
        *sensor_fields(ZONES),
        *account_fields(ZONES),
        ("chilled_return_c", "f8"),
        ("chilled_set", "f8"),  # wanted last, share of its range
    ],
)


@njit(error_model="numpy")
def _share(action):
    """Return -1 … 1 as 0 … 1."""
    return 0.5 * (min(max(action, -1.0), 1.0) + 1.0)


@njit(error_model="numpy")
def reset(p, s, d):
    """Draw the world and begin near a steady state: 20 °C supply air, chilled water of 10 °C."""
    begin_site(p, s, d)
    draw_shares(p, s, 0)
    write_minute(p, s, d)
    for z in range(ZONES):
        s.fan[z], s.drive[z], s.valve[z] = 0.7, 0.6, 0.6
        s.share_hot[z] = p.recirculation
        s.supply_c[z] = s.cold_c[z] = s.structure_c[z] = 20.0
        s.hot_c[z] = s.return_c[z] = 33.0
        s.server_c[z] = 45.0
        sense_inlet(p, s, z)
        s.busy_share[z] = busy_share(s.utilisation[z])
    s.chilled_c, s.chilled_return_c = 10.0, 15.0
    s.chilled_set = (10.0 - COLDEST_SET_C) / (WARMEST_SET_C - COLDEST_SET_C)
    s.basin_c = max(LEAST_ENTERING_C, s.wet_bulb_c + 5.0)
    s.tower_fan = 0.7
    settle_sensors(p, s)
    open_accounts(p, s, WHOLE_HALL)


@njit(error_model="numpy")
def step(p, s, d, action):
    """Move a minute towards what the action wants."""
    s.step_j = s.step_strokes = 0.0
    s.zone_usd[:] = 0.0
    follow = -math.expm1(-SUBSTEP_S / p.sensor_lag_s)
    set_share = _share(action[CHILLED_SET])
    s.step_strokes += abs(set_share - s.chilled_set)
    s.chilled_set = set_share
    reference_j = reference_w(p, s) * SUBSTEP_S * SUBSTEPS
    hall = zones_of(p)
    for substep in range(SUBSTEPS):
        strokes = 0.0
        for z in range(ZONES):
            fan = LEAST_FAN + (1.0 - LEAST_FAN) * _share(action[FAN + z])
            travelled = move_actuators(p, s, z, fan, _share(action[VALVE + z]), SUBSTEP_S)
            strokes += travelled
            s.zone_usd[z] -= p.stroke_usd * travelled
        if strokes > 0.0 or substep == 0:
            for z in range(ZONES):
                update_handler(hall, s, z)
        before = s.tower_fan
        wanted = LEAST_FAN + (1.0 - LEAST_FAN) * _share(action[TOWER_FAN_WANTED])
        s.tower_fan = moved(before, wanted, SUBSTEP_S / p.fan_slew_s)
        s.step_strokes += strokes + abs(s.tower_fan - before)
        move_hall_and_plant(p, s)
        follow_sensors(s, follow)
        meter(p, s, WHOLE_HALL)
    shift_shares(p, s)
    move_site(p, s, d)
    for z in range(ZONES):
        s.busy_share[z] = busy_share(s.utilisation[z])
    read_sensors(p, s, False)
    settle(p, s, reference_j, WHOLE_HALL)


@njit(error_model="numpy")
def step_agents(p, s, d, actions, rewards):
    """Move a minute towards what the agents want, each two numbers."""
    action = np.empty(2 * ZONES + 2)
    for z in range(ZONES):
        action[FAN + z], action[VALVE + z] = actions[z, 0], actions[z, 1]
    action[CHILLED_SET], action[TOWER_FAN_WANTED] = actions[ZONES, 0], actions[ZONES, 1]
    step(p, s, d, action)
    rest = 0.0
    for term in range(s.terms.shape[0]):
        rest += s.terms[term]
    for a in range(ZONES + 1):
        rewards[a] = rest
    if p.reward_mode == LOCAL:
        for z in range(ZONES):
            rewards[z] = s.zone_usd[z]
            rewards[ZONES] -= s.zone_usd[z]


@njit(error_model="numpy")
def move_hall_and_plant(p, s):
    """Move every node by a substep, with the actuators where they are and the handlers updated."""
    hall, mixing = zones_of(p), p.return_mixing
    mean_return, chilled = mean_return_c(s), s.chilled_c
    for z in range(ZONES):
        entering = s.return_c[z] + mixing * (mean_return - s.return_c[z])
        move_zone(hall, s, z, entering, chilled, SUBSTEP_S)
    water, heat = 0.0, 0.0
    for z in range(ZONES):
        water += s.water_kg_per_s[z]
        heat += s.coil_w[z]
    if water > 0.0:
        s.chilled_return_c = chilled + heat / (water * WATER_J_PER_KG_K)
    s.chilled_pump_w = chilled_pump_w(water, WHOLE_HALL)
    set_c = COLDEST_SET_C + s.chilled_set * (WARMEST_SET_C - COLDEST_SET_C)
    move_chilled_water(p, s, heat + s.chilled_pump_w, set_c, p.chiller_capacity_w, LOOP_J_PER_K, SUBSTEP_S)
    drifted = 1.0 + p.chiller_drift * s.minute / (30.0 * DAY_MIN)
    s.compressor_w = chiller_w(p, s.evaporator_w, p.chiller_capacity_w, chilled, s.basin_c, drifted)
    s.condenser_pump_w = CONDENSER_PUMP_W
    s.tower_fan_w = tower_fan_w(s.tower_fan)
    move_basin(p, s, s.air_j_per_kg, s.air_pa, SUBSTEP_S)


@njit(error_model="numpy")
def observe(p, s, d, out):
    """Write the observation, clipped into its bounds."""
    for z in range(ZONES):
        _observe_zone(s, z, out, z, ZONES)
    at = PER_ZONE * ZONES
    _observe_plant(s, out, at)
    at += OF_PLANT
    out[at], out[at + 1] = s.dry_bulb_c, s.wet_bulb_c
    _observe_time(s, d, out, at + OF_WEATHER)


@njit(error_model="numpy")
def observe_agent(p, s, d, a, out):
    """Write what an air handler sees (its zone, the others' inlets, the plant) or what the plant sees."""
    if a < ZONES:
        _observe_zone(s, a, out, 0, 1)
        at = PER_ZONE
        for z in range(ZONES):
            if z != a:
                out[at] = min(max(s.read_c[INLET, z], 0.0), 60.0)
                at += 1
        _observe_plant(s, out, at)
        _observe_time(s, d, out, at + OF_PLANT)
        return
    _observe_plant(s, out, 0)
    at = OF_PLANT
    out[at], out[at + 1] = s.dry_bulb_c, s.wet_bulb_c
    _observe_time(s, d, out, at + OF_WEATHER)
    at += OF_WEATHER + OF_TIME
    inlet, inlets, valve, valves = 0.0, 0.0, 0.0, 0.0
    for z in range(ZONES):
        reading, opening = min(max(s.read_c[INLET, z], 0.0), 60.0), min(max(s.valve[z], 0.0), 1.0)
        inlet, valve = max(inlet, reading), max(valve, opening)
        inlets += reading
        valves += opening
    out[at], out[at + 1], out[at + 2], out[at + 3] = inlets / ZONES, inlet, valves / ZONES, valve


@njit(error_model="numpy")
def _observe_zone(s, z, out, at, stride):
    """Write what is seen of a zone, one number every ``stride``."""
    out[at] = min(max(s.read_c[SUPPLY_SENSOR, z], 0.0), 60.0)
    out[at + stride] = min(max(s.read_c[INLET, z], 0.0), 60.0)
    out[at + 2 * stride] = min(max(s.read_c[HOT, z], 0.0), 90.0)
    out[at + 3 * stride] = s.utilisation[z]
    out[at + 4 * stride] = min((s.cpu_w[z] + s.server_fan_w[z]) / 1e3, 600.0)
    out[at + 5 * stride] = s.fan[z]
    out[at + 6 * stride] = min(max(s.valve[z], 0.0), 1.0)
    through = s.server_kg_per_s[z]
    out[at + 7 * stride] = min(s.air_kg_per_s[z] / through, 10.0) if through > 0.0 else 0.0


@njit(error_model="numpy")
def _observe_plant(s, out, at):
    """Write what is seen of the plant."""
    out[at] = min(max(s.chilled_c, 0.0), 60.0)
    out[at + 1] = min(max(s.chilled_return_c, 0.0), 90.0)
    out[at + 2] = min(max(s.basin_c, 0.0), 60.0)
    out[at + 3] = min(s.load, 1.2)
    cooling = s.power_w[HANDLER_FAN] + s.power_w[PUMP] + s.power_w[TOWER_FAN] + s.power_w[COMPRESSOR]
    out[at + 4] = min(cooling / 1e3, 1500.0)


@njit(error_model="numpy")
def _observe_time(s, d, out, at):
    """Write the time of day and year."""
    hour = 2.0 * math.pi * (s.minute % DAY_MIN) / DAY_MIN
    year = 2.0 * math.pi * day_of_year(s, d) / YEAR_D
    out[at], out[at + 1] = math.sin(hour), math.cos(hour)
    out[at + 2], out[at + 3] = math.sin(year), math.cos(year)


@njit(error_model="numpy")
def kpis(p, s, d, out):
    """Write the key figures of an episode that has ended."""
    write_kpis(p, s, WHOLE_HALL, out)
