"""The plant: chilled water, chiller, condenser water, cooling tower, pumps, power supply. SI units, temperatures in °C.

Two nodes hold heat: the chilled-water loop and the tower's basin. With the basin a node of its own, the tower meets the
water of the moment, and nothing has to be iterated.
"""

import math

from numba import njit

from rlops.envs.cooling.elementary import effectiveness, power
from rlops.envs.cooling.hall import WATER_J_PER_KG_K, relaxed
from rlops.envs.cooling.psychrometrics import saturated_enthalpy_j_per_kg

LOOP_J_PER_K = 25e6
"""[J/K] Chilled water of a 1-MW hall."""
EVAPORATOR_APPROACH_K = 1.5
CONDENSER_APPROACH_K, CONDENSER_APPROACH_PER_LOAD_K = 1.5, 5.0
LEAST_LIFT_K = 9.0
LEAST_ENTERING_C = 15.5
"""[°C] Of condenser water: below, the tower is bypassed."""
LEAST_LOAD = 0.1
"""[-] Part load below which a chiller cycles between this and nothing."""
PART_LOAD = (0.222903, 0.313387, 0.463710)
"""Share of full power at part load: DOE-2 centrifugal chiller, COP 5.50 (EnergyPlus reference data set)."""

CONDENSER_KG_PER_S = 62.0
BASIN_J_PER_K = CONDENSER_KG_PER_S * 120.0 * WATER_J_PER_KG_K
"""[J/K] Two minutes of the condenser's flow."""
TOWER_AIR_KG_PER_S = 51.8
"""[kg/s] At which ``c = 1.3`` cools 62 kg/s from 35 to 29.4 °C at a wet bulb of 25.6 °C (CTI rating point)."""
TOWER_FAN_W = 18e3
TOWER_FAN = (-0.0093, 0.0512, -0.0838, 1.0419)
"""Cubic of a variable-speed tower fan (EnergyPlus example files)."""
TOWER_FAN_STOPPED = 0.05
CHILLED_PUMP_KG_PER_S, CHILLED_PUMP_W, CHILLED_PUMP_STANDING_W = 44.0, 17e3, 300.0
CONDENSER_PUMP_W = 18.5e3
UPS_W, UPS_LINEAR, UPS_SQUARE = 1.2e6, 0.012, 0.018
DISTRIBUTION = 0.015
"""[-] Loss of transformers and distribution units, of the IT power."""
LIGHTS_W = 10e3
EVAPORATION_J_PER_KG = 2.43e6
"""[J/kg] Of water at 30 °C (ASHRAE Fundamentals 2017, ch. 1, table 3)."""
CYCLES = 4.5
"""[-] Of concentration in the tower: what is evaporated takes 1 / (cycles - 1) of blow-down with it."""

PLANT_FIELDS = [
    ("chilled_c", "f8"),  # supply
    ("basin_c", "f8"),  # condenser water that enters the chiller
    ("tower_fan", "f8"),  # actual speed [-]
    ("evaporator_w", "f8"),
    ("load", "f8"),  # part load of the chiller [-]
    ("compressor_w", "f8"),
    ("chilled_pump_w", "f8"),
    ("condenser_pump_w", "f8"),
    ("tower_fan_w", "f8"),
    ("tower_w", "f8"),  # heat rejected
]


@njit(error_model="numpy")
def chiller_w(p, heat_w, capacity_w, chilled_c, entering_c, factor):
    """Return the compressor's power [W].

    A share ``eta`` of Carnot's efficiency, at part load by the DOE-2 polynomial, which alone is valid at any water
    temperature: the published temperature polynomials turn over above 10 °C.

    Args:
        p: Parameters.
        heat_w: Heat taken from the chilled water.
        capacity_w: The most it can take.
        chilled_c: Leaving chilled water.
        entering_c: Entering condenser water.
        factor: Of the efficiency: its drift.
    """
    if heat_w <= 0.0:
        return 0.0
    asked = heat_w / capacity_w
    load = max(asked, LEAST_LOAD)
    evaporating_k = chilled_c - EVAPORATOR_APPROACH_K + 273.15
    condensing_k = entering_c + CONDENSER_APPROACH_PER_LOAD_K * load + CONDENSER_APPROACH_K + 273.15
    lift_k = max(condensing_k - evaporating_k, LEAST_LIFT_K)
    at_load = PART_LOAD[0] + load * (PART_LOAD[1] + load * PART_LOAD[2])
    full_w = capacity_w * lift_k / (p.chiller_eta * factor * evaporating_k)
    return full_w * at_load * asked / load


@njit(error_model="numpy")
def move_chilled_water(p, s, heat_w, set_c, capacity_w, loop_j_per_k, dt_s):
    """Move the chilled-water loop by a substep: the chiller pulls it to its set point as far as its capacity goes.

    ``heat_w`` flows into the loop; ``evaporator_w`` is what the chiller takes, never less than nothing.
    """
    before = s.chilled_c
    pulled, _ = relaxed(before, set_c, 1.0 / p.loop_lag_s, dt_s)
    s.evaporator_w = min(max(heat_w - loop_j_per_k * (pulled - before) / dt_s, 0.0), capacity_w)
    s.chilled_c = before + (heat_w - s.evaporator_w) * dt_s / loop_j_per_k
    s.load = s.evaporator_w / capacity_w


@njit(error_model="numpy")
def tower_w(p, fan, leaving_c, range_k, air_enthalpy_j_per_kg, pressure_pa):
    """Return the heat that a tower gives to the air (Braun 1988, effectiveness after Merkel) [W].

    Args:
        p: Parameters.
        fan: Speed of the fan.
        leaving_c: Water in the basin, which leaves.
        range_k: Entering water above it.
        air_enthalpy_j_per_kg: Of the ambient air, that of saturation at its wet bulb.
        pressure_pa: Of the site.
    """
    entering_c = leaving_c + range_k
    enthalpy = saturated_enthalpy_j_per_kg(entering_c, pressure_pa)
    span_k = max(range_k, 0.1)
    slope = (enthalpy - saturated_enthalpy_j_per_kg(entering_c - span_k, pressure_pa)) / span_k
    air = TOWER_AIR_KG_PER_S * fan
    units = p.tower_c * power(CONDENSER_KG_PER_S / air, 0.4)
    ratio = air * slope / (CONDENSER_KG_PER_S * WATER_J_PER_KG_K)
    return effectiveness(units, ratio) * air * (enthalpy - air_enthalpy_j_per_kg)


@njit(error_model="numpy")
def tower_fan_w(fan):
    """Return the power of the tower's fan [W]."""
    if fan < TOWER_FAN_STOPPED:
        return 0.0
    return TOWER_FAN_W * (TOWER_FAN[0] + fan * (TOWER_FAN[1] + fan * (TOWER_FAN[2] + fan * TOWER_FAN[3])))


@njit(error_model="numpy")
def move_basin(p, s, air_enthalpy_j_per_kg, pressure_pa, dt_s):
    """Move the condenser water by a substep: the chiller's and the pump's heat in, the tower's out."""
    heat = s.evaporator_w + s.compressor_w + s.condenser_pump_w
    range_k = heat / (CONDENSER_KG_PER_S * WATER_J_PER_KG_K)
    taken = tower_w(p, s.tower_fan, s.basin_c, range_k, air_enthalpy_j_per_kg, pressure_pa)
    to_the_limit = heat + BASIN_J_PER_K * (s.basin_c - LEAST_ENTERING_C) / dt_s
    s.tower_w = min(taken, max(to_the_limit, 0.0))
    s.basin_c += (heat - s.tower_w) * dt_s / BASIN_J_PER_K


@njit(error_model="numpy")
def chilled_pump_w(flow_kg_per_s, hall_share):
    """Return the power of the chilled-water pump of a ``hall_share`` of the hall; all of it heats the water [W]."""
    x = flow_kg_per_s / (CHILLED_PUMP_KG_PER_S * hall_share)
    return hall_share * (CHILLED_PUMP_W * x * x * math.sqrt(x) + CHILLED_PUMP_STANDING_W)


@njit(error_model="numpy")
def supply_loss_w(p, it_w, hall_share):
    """Return the loss of power supply and distribution, which is shed outside the hall [W]."""
    rated = UPS_W * hall_share
    x = it_w / rated
    return rated * (p.ups_standing + x * (UPS_LINEAR + x * UPS_SQUARE)) + DISTRIBUTION * it_w
