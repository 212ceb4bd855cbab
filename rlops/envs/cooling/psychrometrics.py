"""Moist air, one number at a time: ASHRAE Handbook of Fundamentals 2017, chapter 1.

Temperatures are in °C, pressures in Pa, humidity ratios in kg of water per kg of dry air, enthalpies in J per kg of
dry air. Valid from -40 to 60 °C, which covers any weather and any water in the plant.
"""

import math

from numba import njit

_WATER_FROM_AIR = 0.621945
"""[-] Ratio of molar masses of water and dry air, eq. 20."""
_NEWTON_STEPS = 12
_CLOSE_ENOUGH_K = 1e-9


@njit(error_model="numpy")
def saturation_pressure_pa(t_c):
    """Return the saturation pressure over ice below 0 °C (eq. 5) and over water above (eq. 6) [Pa].

    >>> round(saturation_pressure_pa(20.0), 1)
    2338.8
    """
    t = t_c + 273.15
    if t_c < 0.0:
        log_pa = (
            -5.6745359e3 / t
            + 6.3925247
            + t * (-9.6778430e-3 + t * (6.2215701e-7 + t * (2.0747825e-9 - t * 9.4840240e-13)))
            + 4.1635019 * math.log(t)
        )
    else:
        log_pa = (
            -5.8002206e3 / t
            + 1.3914993
            + t * (-4.8640239e-2 + t * (4.1764768e-5 - t * 1.4452093e-8))
            + 6.5459673 * math.log(t)
        )
    return math.exp(log_pa)


@njit(error_model="numpy")
def _log_slope_per_k(t_c):
    """Return d ln(saturation pressure) / dT [1/K], the derivative of eq. 5 and 6."""
    t = t_c + 273.15
    if t_c < 0.0:
        polynomial = -9.6778430e-3 + t * (1.24431402e-6 + t * (6.2243475e-9 - t * 3.7936096e-12))
        return 5.6745359e3 / (t * t) + polynomial + 4.1635019 / t
    return 5.8002206e3 / (t * t) - 4.8640239e-2 + t * (8.3529536e-5 - t * 4.3356279e-8) + 6.5459673 / t


@njit(error_model="numpy")
def humidity_ratio(vapour_pa, pressure_pa):
    """Return the humidity ratio of air with a partial pressure of water vapour, eq. 20 [kg/kg]."""
    return _WATER_FROM_AIR * vapour_pa / (pressure_pa - vapour_pa)


@njit(error_model="numpy")
def saturated_humidity_ratio(t_c, pressure_pa):
    """Return the humidity ratio of saturated air, eq. 21 [kg/kg]."""
    return humidity_ratio(saturation_pressure_pa(t_c), pressure_pa)


@njit(error_model="numpy")
def saturated_enthalpy_j_per_kg(t_c, pressure_pa):
    """Return the enthalpy of saturated air per kg of dry air, eq. 30 [J/kg]."""
    return 1006.0 * t_c + saturated_humidity_ratio(t_c, pressure_pa) * (2.501e6 + 1860.0 * t_c)


@njit(error_model="numpy")
def _humidity_by_wet_bulb(t_c, wet_c, saturated, frozen):
    """Return numerator and denominator of eq. 33 (water on the wick) or 35 (ice)."""
    if frozen:
        return (2830.0 - 0.24 * wet_c) * saturated - 1.006 * (t_c - wet_c), 2830.0 + 1.86 * t_c - 2.1 * wet_c
    return (2501.0 - 2.326 * wet_c) * saturated - 1.006 * (t_c - wet_c), 2501.0 + 1.86 * t_c - 4.186 * wet_c


@njit(error_model="numpy")
def wet_bulb_c(t_c, ratio, pressure_pa):
    """Return the thermodynamic wet bulb [°C] of air at ``t_c`` with the humidity ratio ``ratio``.

    Newton's method on eq. 33 or 35 from the dry bulb down. The wick is taken as frozen if its water, at 0 °C, would
    leave the air damper than it is: both branches are increasing and convex, so that Newton converges from above.
    """
    numerator, denominator = _humidity_by_wet_bulb(t_c, 0.0, saturated_humidity_ratio(0.0, pressure_pa), False)
    frozen = numerator > ratio * denominator
    wet_c = min(t_c, 0.0) if frozen else t_c
    for _ in range(_NEWTON_STEPS):
        saturated = saturated_humidity_ratio(wet_c, pressure_pa)
        numerator, denominator = _humidity_by_wet_bulb(t_c, wet_c, saturated, frozen)
        rise = saturated * (1.0 + saturated / _WATER_FROM_AIR) * _log_slope_per_k(wet_c)
        if frozen:
            numerator_rise, denominator_rise = -0.24 * saturated + (2830.0 - 0.24 * wet_c) * rise + 1.006, -2.1
        else:
            numerator_rise, denominator_rise = -2.326 * saturated + (2501.0 - 2.326 * wet_c) * rise + 1.006, -4.186
        miss = numerator - ratio * denominator
        step = miss / (numerator_rise - ratio * denominator_rise)
        wet_c -= step
        if abs(step) < _CLOSE_ENOUGH_K:
            break
    return min(wet_c, t_c)
