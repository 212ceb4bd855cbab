"""Data-centre cooling v0: one zone of 250 kW, a fan and a valve.

An action wants, within -1 … 1, the speed of the fan (0.2 … 1) and the opening of the valve (0 … 1). The chilled water
is held at 12 °C; the condenser water enters the chiller 4 K above the wet bulb, without a fan that would have to be
paid and without heat of its own. A step is a minute of twelve substeps.
"""

import math

from numba import njit

from rlops.envs.contract import Column, state_dtype
from rlops.envs.cooling.accounts import KPIS as KPIS
from rlops.envs.cooling.accounts import (
    REWARD_TERMS,
    SUBSTEP_S,
    SUBSTEPS,
    account_fields,
    meter,
    open_accounts,
    reference_w,
    settle,
    write_kpis,
)
from rlops.envs.cooling.hall import (
    busy_share,
    move_actuators,
    move_zone,
    sense_inlet,
    update_handler,
    zone_fields,
)
from rlops.envs.cooling.params import V0_PARAMETERS
from rlops.envs.cooling.plant import (
    CONDENSER_PUMP_W,
    LEAST_ENTERING_C,
    LOOP_J_PER_K,
    PLANT_FIELDS,
    chilled_pump_w,
    chiller_w,
    move_chilled_water,
)
from rlops.envs.cooling.sensors import (
    HOT,
    INLET,
    SUPPLY,
    follow_sensors,
    read_sensors,
    sensor_fields,
    settle_sensors,
)
from rlops.envs.cooling.site import DATA as DATA
from rlops.envs.cooling.site import DAY_MIN, begin_site, move_site, site_fields
from rlops.envs.cooling.traces import data_from as data_from

PARAMETERS = V0_PARAMETERS
DATA_OPTION = "traces"
RENDER = "rlops.envs.cooling.render"
RENDER_FPS = 20
STEP_MINUTES = 1.0
PARALLEL_ROWS = 64
DERIVED = {"read_c": "observation", "return_usd": "reward", "zone_usd": "reward"}

HALL_SHARE = 0.25
"""[-] Of the 1-MW hall whose plant serves it."""
LEAST_FAN = 0.2
CHILLED_SET_C = 12.0
TOWER_APPROACH_K = 4.0

ACTION = (
    Column("fan", "-", -1, 1, "speed of the air handler's fan, 0.2 … 1"),
    Column("valve", "-", -1, 1, "opening of its valve, 0 … 1"),
)

OBSERVATION = (
    Column("supply_c", "°C", 0, 60, "supply air, as read"),
    Column("inlet_c", "°C", 0, 60, "inlet of the worst rack, as read"),
    Column("hot_c", "°C", 0, 90, "hot aisle, as read"),
    Column("utilisation", "-", 0, 1, "of the servers"),
    Column("it_kw", "kW", 0, 600, "power of the servers with their fans"),
    Column("fan", "-", 0, 1, "actual speed of the fan"),
    Column("valve", "-", 0, 1, "actual opening of the valve"),
    Column("chilled_c", "°C", 0, 60, "chilled water, supply"),
    Column("wet_bulb_c", "°C", -40, 35, "outdoors"),
    Column("air_ratio", "-", 0, 10, "air of the handler over air of the servers"),
)

STATE = state_dtype(
    REWARD_TERMS,
    [*zone_fields(1), *PLANT_FIELDS, *site_fields(1), *sensor_fields(1), *account_fields(1)],
)


@njit(error_model="numpy")
def _share(action):
    """Return -1 … 1 as 0 … 1."""
    return 0.5 * (min(max(action, -1.0), 1.0) + 1.0)


@njit(error_model="numpy")
def reset(p, s, d):
    """Draw the world and begin near a steady state: 20 °C supply air."""
    begin_site(p, s, d)
    s.fan[0], s.drive[0], s.valve[0] = 0.7, 0.6, 0.6
    s.share_hot[0] = p.recirculation
    s.supply_c[0] = s.cold_c[0] = s.structure_c[0] = 20.0
    s.hot_c[0] = s.return_c[0] = 33.0
    s.server_c[0] = 45.0
    sense_inlet(p, s, 0)
    s.busy_share[0] = busy_share(s.utilisation[0])
    s.chilled_c = CHILLED_SET_C
    settle_sensors(p, s)
    open_accounts(p, s, HALL_SHARE)


@njit(error_model="numpy")
def step(p, s, d, action):
    """Move a minute towards what the action wants."""
    s.step_j = s.step_strokes = s.zone_usd[0] = 0.0
    follow = -math.expm1(-SUBSTEP_S / p.sensor_lag_s)
    fan, valve = LEAST_FAN + (1.0 - LEAST_FAN) * _share(action[0]), _share(action[1])
    reference_j = reference_w(p, s) * SUBSTEP_S * SUBSTEPS
    for substep in range(SUBSTEPS):
        travelled = move_actuators(p, s, 0, fan, valve, SUBSTEP_S)
        s.step_strokes += travelled
        if travelled > 0.0 or substep == 0:
            update_handler(p, s, 0)
        move_hall_and_plant(p, s)
        follow_sensors(s, follow)
        meter(p, s, HALL_SHARE)
    move_site(p, s, d)
    s.busy_share[0] = busy_share(s.utilisation[0])
    read_sensors(p, s, False)
    settle(p, s, reference_j, HALL_SHARE)


@njit(error_model="numpy")
def move_hall_and_plant(p, s):
    """Move every node by a substep, with the actuators where they are and the handler updated."""
    chilled = s.chilled_c
    move_zone(p, s, 0, s.return_c[0], chilled, SUBSTEP_S)
    s.chilled_pump_w = chilled_pump_w(s.water_kg_per_s[0], HALL_SHARE)
    heat, capacity = s.coil_w[0] + s.chilled_pump_w, HALL_SHARE * p.chiller_capacity_w
    move_chilled_water(p, s, heat, CHILLED_SET_C, capacity, HALL_SHARE * LOOP_J_PER_K, SUBSTEP_S)
    entering = max(LEAST_ENTERING_C, s.wet_bulb_c + TOWER_APPROACH_K)
    drifted = 1.0 + p.chiller_drift * s.minute / (30.0 * DAY_MIN)
    s.compressor_w = chiller_w(p, s.evaporator_w, capacity, chilled, entering, drifted)
    s.condenser_pump_w = HALL_SHARE * CONDENSER_PUMP_W
    s.tower_w = s.evaporator_w + s.compressor_w + s.condenser_pump_w


@njit(error_model="numpy")
def observe(p, s, d, out):
    """Write the observation, clipped into its bounds."""
    out[0] = min(max(s.read_c[SUPPLY, 0], 0.0), 60.0)
    out[1] = min(max(s.read_c[INLET, 0], 0.0), 60.0)
    out[2] = min(max(s.read_c[HOT, 0], 0.0), 90.0)
    out[3] = s.utilisation[0]
    out[4] = min((s.cpu_w[0] + s.server_fan_w[0]) / 1e3, 600.0)
    out[5] = s.fan[0]
    out[6] = min(max(s.valve[0], 0.0), 1.0)
    out[7] = min(max(s.chilled_c, 0.0), 60.0)
    out[8] = s.wet_bulb_c
    through = s.server_kg_per_s[0]
    out[9] = min(s.air_kg_per_s[0] / through, 10.0) if through > 0.0 else 0.0


@njit(error_model="numpy")
def kpis(p, s, d, out):
    """Write the key figures of an episode that has ended."""
    write_kpis(p, s, HALL_SHARE, out)
