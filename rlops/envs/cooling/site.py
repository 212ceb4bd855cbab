"""The world around a hall: weather and IT load, from the user's files or made up. Nothing here depends on the policy.

Weather is known at full hours and straight between them. Without a file it is a season, a day and an AR(1) of a day's
memory; the dew point lies below the day's mean. A zone's utilisation is the hall's base load (a file's samples,
straight between them, or a day's and a week's rhythm) times the zone's share, plus noise of 20 minutes' memory and
bursts.
"""

import math

import numpy as np
from numba import njit

from rlops.envs.cooling.psychrometrics import (
    humidity_ratio,
    saturated_enthalpy_j_per_kg,
    saturated_humidity_ratio,
    saturation_pressure_pa,
    wet_bulb_c,
)
from rlops.envs.draws import integer, normal, stream_key, uniform

DATA = np.dtype(
    [
        ("hours", "i8"),  # of weather, the same in every record; 0: made up
        ("samples", "i8"),  # of load; 0: made up
        ("sample_min", "f8"),  # between them
        ("dry_bulb_c", "f8"),  # of the hour of this record
        ("relative_humidity", "f8"),
        ("air_pa", "f8"),
        ("day_of_year", "f8"),  # from 0
        ("utilisation", "f8"),  # sample of this record
    ]
)
"""Record i: hour i of the weather beside sample i of the load; the shorter one is padded."""

START, WEATHER, ZONE_NOISE, BURST, SHARES, SHIFT, SENSOR = range(1, 8)
"""Streams of draws."""

DAY_MIN, DAY_H, YEAR_D = 1440, 24, 365.0
WARMEST_DAY, WARMEST_HOUR = 200.0, 15.0
_WEATHER_KEEPS = math.exp(-1.0 / 24.0)
_WEATHER_RENEWS = math.sqrt(1.0 - _WEATHER_KEEPS**2)
_NOISE_KEEPS = math.exp(-1.0 / 20.0)
_NOISE_RENEWS = math.sqrt(1.0 - _NOISE_KEEPS**2)
BURST_HEIGHT = 0.25
_BURST_KEEPS = math.exp(-1.0 / 15.0)
LOAD_DAY, LOAD_WEEKEND = 0.15, 0.10
"""[-] Half the swing of a made-up day, and how much lower its weekends are."""
LEAST_UTILISATION = 0.02


def site_fields(zones):
    """Return the fields of the state that describe the world around ``zones`` zones."""
    return [
        ("minute", "i8"),  # of the episode
        ("first_day", "i8"),  # of the weather
        ("first_sample", "i8"),  # of the load
        ("weekday", "i8"),  # of the first day, 5 and 6 are weekends
        ("weather_noise_k", "f8"),  # standard normal AR(1)
        ("dry_bulb_0_c", "f8"), ("dry_bulb_1_c", "f8"),  # at the full hours around
        ("wet_bulb_0_c", "f8"), ("wet_bulb_1_c", "f8"),
        ("dry_bulb_c", "f8"),
        ("wet_bulb_c", "f8"),
        ("air_pa", "f8"),
        ("air_j_per_kg", "f8"),  # enthalpy at the wet bulb
        ("share", "f8", (zones,)),  # of the load, mean 1
        ("noise", "f8", (zones,)),
        ("burst", "f8", (zones,)),
    ]  # fmt: skip


@njit(error_model="numpy")
def begin_site(p, s, d):
    """Draw when an episode begins, and the first hour."""
    h = stream_key(s.key, 0, START)
    days = max(1, len(d) and d[0].hours // DAY_H - (p.horizon_min + DAY_MIN - 1) // DAY_MIN)
    if len(d) == 0 or d[0].hours == 0:
        days = int(YEAR_D)
    s.first_day = p.start_day % days if p.start_day >= 0 else integer(h, 0, days)
    s.weekday = integer(h, 1, 7)
    if len(d) > 0 and d[0].samples > 0:
        step = d[0].sample_min
        starts = max(1, int((d[0].samples * step - p.horizon_min) // DAY_MIN))
        s.first_sample = int(integer(h, 2, starts) * DAY_MIN / step)
    s.weather_noise_k = normal(h, 3)
    _write_hour(p, s, d, 0)
    s.dry_bulb_0_c, s.wet_bulb_0_c = s.dry_bulb_1_c, s.wet_bulb_1_c
    _next_hour(p, s, d)
    for z in range(s.share.shape[0]):
        s.share[z] = 1.0
        s.noise[z] = normal(stream_key(s.key, 0, ZONE_NOISE), z)
    write_minute(p, s, d)


@njit(error_model="numpy")
def draw_shares(p, s, hour):
    """Draw how the zones share the load, log-normally with mean 1."""
    h = stream_key(s.key, hour, SHARES)
    zones = s.share.shape[0]
    total = 0.0
    for z in range(zones):
        s.share[z] = math.exp(p.zone_skew * normal(h, z))
        total += s.share[z]
    for z in range(zones):
        s.share[z] *= zones / total


@njit(error_model="numpy")
def shift_shares(p, s):
    """Draw the zones' shares anew if the load moves in the hour that begins with the next minute."""
    hour = (s.minute + 1) // 60
    if (s.minute + 1) % 60 == 0 and uniform(stream_key(s.key, hour, SHIFT), 0) < p.shift_per_day / DAY_H:
        draw_shares(p, s, hour)


@njit(error_model="numpy")
def move_site(p, s, d):
    """Let a minute pass."""
    s.minute += 1
    if s.minute % 60 == 0:
        s.dry_bulb_0_c, s.wet_bulb_0_c = s.dry_bulb_1_c, s.wet_bulb_1_c
        _next_hour(p, s, d)
    noise, burst = stream_key(s.key, s.minute, ZONE_NOISE), stream_key(s.key, s.minute, BURST)
    bursts = uniform(burst, 0) < p.burst_per_day / DAY_MIN
    hit = integer(burst, 1, s.share.shape[0])
    for z in range(s.share.shape[0]):
        s.noise[z] = _NOISE_KEEPS * s.noise[z] + _NOISE_RENEWS * normal(noise, z)
        s.burst[z] *= _BURST_KEEPS
        if bursts and z == hit:
            s.burst[z] += BURST_HEIGHT
    write_minute(p, s, d)


@njit(error_model="numpy")
def _next_hour(p, s, d):
    """Write the weather of the full hour after the present minute."""
    hour = s.minute // 60 + 1
    s.weather_noise_k = _WEATHER_KEEPS * s.weather_noise_k + _WEATHER_RENEWS * normal(
        stream_key(s.key, hour, WEATHER), 0
    )
    _write_hour(p, s, d, hour)


@njit(error_model="numpy")
def _write_hour(p, s, d, hour):
    """Write dry and wet bulb of an ``hour`` of the episode."""
    if len(d) > 0 and d[0].hours > 0:
        record = d[(DAY_H * s.first_day + hour) % d[0].hours]
        dry = record.dry_bulb_c + p.weather_offset_k + p.weather_noise_k * s.weather_noise_k
        pressure = record.air_pa * p.pressure_pa / 101325.0
        ratio = humidity_ratio(record.relative_humidity * saturation_pressure_pa(dry), pressure)
    else:
        day = s.first_day + hour // DAY_H
        swing = math.hypot(p.weather_noise_k, p.weather_variation_k)
        mean = p.weather_mean_c + p.weather_season_k * math.cos(2.0 * math.pi * (day - WARMEST_DAY) / YEAR_D)
        mean += swing * s.weather_noise_k + p.weather_offset_k
        dry = mean + p.weather_day_k * math.cos(2.0 * math.pi * (hour % DAY_H - WARMEST_HOUR) / DAY_H)
        pressure = p.pressure_pa
        ratio = saturated_humidity_ratio(min(dry, mean - p.dew_depression_k), pressure)
    dry = min(max(dry, -40.0), 55.0)
    s.air_pa = pressure
    s.dry_bulb_1_c = dry
    s.wet_bulb_1_c = min(max(wet_bulb_c(dry, ratio, pressure), -40.0), 35.0)


@njit(error_model="numpy")
def write_minute(p, s, d):
    """Write weather and utilisation of the present minute."""
    into = (s.minute % 60) / 60.0
    s.dry_bulb_c = s.dry_bulb_0_c + into * (s.dry_bulb_1_c - s.dry_bulb_0_c)
    s.wet_bulb_c = s.wet_bulb_0_c + into * (s.wet_bulb_1_c - s.wet_bulb_0_c)
    s.air_j_per_kg = saturated_enthalpy_j_per_kg(s.wet_bulb_c, s.air_pa)
    base = _base_load(p, s, d) * p.load_scale
    for z in range(s.share.shape[0]):
        u = base * s.share[z] + p.load_noise * s.noise[z] + s.burst[z]
        s.utilisation[z] = min(max(u, LEAST_UTILISATION), 1.0)


@njit(error_model="numpy")
def _base_load(p, s, d):
    """Return the hall's utilisation before the zones' shares and noise."""
    if len(d) > 0 and d[0].samples > 0:
        at = s.minute / d[0].sample_min
        whole = int(at)
        first = d[(s.first_sample + whole) % d[0].samples].utilisation
        second = d[(s.first_sample + whole + 1) % d[0].samples].utilisation
        return first + (at - whole) * (second - first)
    hour = s.minute / 60.0
    weekend = (s.weekday + s.minute // DAY_MIN) % 7 >= 5
    rhythm = 1.0 + LOAD_DAY * math.cos(2.0 * math.pi * (hour - WARMEST_HOUR) / DAY_H)
    return p.load_mean * (rhythm - LOAD_WEEKEND * weekend)


@njit(error_model="numpy")
def hour_of_day(s):
    """Return the local hour [h], 0 … 24."""
    return (s.minute % DAY_MIN) / 60.0


@njit(error_model="numpy")
def day_of_year(s, d):
    """Return the day of the year, from 0."""
    if len(d) > 0 and d[0].hours > 0:
        return d[(DAY_H * s.first_day + s.minute // 60) % d[0].hours].day_of_year
    return float(s.first_day + s.minute // DAY_MIN) % YEAR_D
