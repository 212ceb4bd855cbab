"""What a picture of a hall shows: the state of any version in one form, and no drawing.

Temperatures are in °C, powers in kW, flows in kg/s. What is known only after the first minute is nan before. A scene
shows the temperatures that are there, not those that are read; it is for people, not policies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from types import ModuleType
from typing import Any

import numpy as np

from rlops.envs.cooling.accounts import (
    ALLOWABLE_C,
    CONSUMERS,
    CPU,
    HISTORY_MIN,
    J_PER_KWH,
    LEAST_RECOMMENDED_C,
    RECOMMENDED_C,
    RUNAWAY_C,
    SERVER_FAN,
)
from rlops.envs.cooling.hall import WATER_J_PER_KG_K
from rlops.envs.cooling.plant import CONDENSER_KG_PER_S, LEAST_ENTERING_C
from rlops.envs.cooling.site import DAY_MIN, YEAR_D
from rlops.envs.figures import Figure, time_of_day
from rlops.errors import InvalidValue

LIMITS_C = (LEAST_RECOMMENDED_C, RECOMMENDED_C, ALLOWABLE_C)
CONSUMER_NAMES = (
    "processors", "server fans", "handler fans", "pumps", "tower fan", "chiller", "power supply", "lights",
)  # fmt: skip
"""Of ``CONSUMERS``, in plain words."""
WITHIN, COLD, WARM, HOT, RUNAWAY = range(5)
"""An inlet within what is recommended, below it, above it, above what is allowable, about to end the episode."""
CONDITIONS = ("", "below 18 °C", "above 27 °C", "above 32 °C", "runaway")
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NOT_A_LEAP_YEAR = 2001


@dataclass(frozen=True)
class Zone:
    """A zone and its air handler. ``past_c``: worst inlets of the last hour, a minute apart, the last one is now."""

    fan: float
    valve: float
    supply_c: float
    cold_c: float
    hot_c: float
    return_c: float
    inlet_c: float
    worst_c: float
    utilisation: float
    air_kg_per_s: float
    server_kg_per_s: float
    water_kg_per_s: float
    back_kg_per_s: float  # from the hot aisle to the inlets
    it_kw: float
    handler_fan_kw: float
    past_c: tuple[float, ...]

    @property
    def condition(self) -> int:
        """Of its inlets; the worst rack counts above, the mean below."""
        if self.worst_c >= RUNAWAY_C:
            return RUNAWAY
        if self.worst_c > ALLOWABLE_C:
            return HOT
        if self.worst_c > RECOMMENDED_C:
            return WARM
        return COLD if self.inlet_c < LEAST_RECOMMENDED_C else WITHIN


@dataclass(frozen=True)
class Plant:
    """Chilled water, chiller, condenser water, tower. A version without a tower fan has nan for its speed."""

    chilled_c: float
    chilled_set_c: float
    chilled_return_c: float
    water_kg_per_s: float
    chilled_pump_kw: float
    load: float
    evaporator_kw: float
    compressor_kw: float
    condenser_c: float
    condenser_return_c: float
    condenser_kg_per_s: float
    condenser_pump_kw: float
    tower_fan: float
    tower_fan_kw: float
    tower_kw: float

    @property
    def cop(self) -> float:
        """Heat that the chiller takes over what its compressor draws; nan while it rests."""
        return self.evaporator_kw / self.compressor_kw if self.compressor_kw > 0.1 else math.nan


@dataclass(frozen=True)
class Scene:
    """One moment of an episode."""

    title: str
    minute: int
    horizon_min: int
    day: str
    ending: str
    zones: tuple[Zone, ...]
    plant: Plant
    dry_bulb_c: float
    wet_bulb_c: float
    hall_share: float  # of a hall of 1 MW
    power_kw: tuple[float, ...]  # by consumer
    energy_kwh: tuple[float, ...]  # by consumer, of the episode so far
    figures: tuple[Figure, ...]

    @property
    def clock(self) -> str:
        """The local time."""
        return time_of_day(self.minute)


def scene(kernel: ModuleType, p: Any, s: Any, d: Any) -> Scene:
    """Return what a picture of one row shows.

    Args:
        kernel: The kernel module of the version.
        p: Parameter record of the row.
        s: State record of the row.
        d: Shared records of the kernel.

    Raises:
        InvalidValue: If the kernel is none of data-centre cooling.
    """
    if "past_c" not in (s.dtype.names or ()):
        raise InvalidValue(
            f"A picture needs the state of a version of DatacenterCooling, got that of {kernel.__name__}."
        )
    power_kw = tuple((s["power_w"] / 1e3).tolist())
    energy_kwh = tuple((s["energy_j"] / J_PER_KWH).tolist())
    minute = int(s["minute"])
    if math.isnan(_known(s)):
        power_kw = (math.nan,) * len(CONSUMERS)
    hall_share = float(getattr(kernel, "HALL_SHARE", 1.0))
    return Scene(
        title=f"Cooling {kernel.__name__.rpartition('kernel_')[2]}",
        minute=minute,
        horizon_min=int(p["horizon_min"]),
        day=_day(p, s, d),
        ending=_ending(s),
        zones=tuple(_zone(s, z) for z in range(s["fan"].shape[0])),
        plant=_plant(kernel, s, hall_share),
        dry_bulb_c=float(s["dry_bulb_c"]),
        wet_bulb_c=float(s["wet_bulb_c"]),
        hall_share=hall_share,
        power_kw=power_kw,
        energy_kwh=energy_kwh,
        figures=_figures(s, power_kw, energy_kwh),
    )


def _day(p: Any, s: Any, d: Any) -> str:
    """Return the date, the weekday, and which day of the episode it is."""
    minute = int(s["minute"])
    days = minute // DAY_MIN
    if len(d) and d["hours"][0] > 0:
        of_year = float(d["day_of_year"][(24 * int(s["first_day"]) + minute // 60) % int(d["hours"][0])])
    else:
        of_year = (int(s["first_day"]) + days) % YEAR_D
    today = date(_NOT_A_LEAP_YEAR, 1, 1) + timedelta(days=int(of_year))
    weekday = _WEEKDAYS[(int(s["weekday"]) + days) % 7]
    last = -(-int(p["horizon_min"]) // DAY_MIN)
    return f"{weekday} {today.day} {_MONTHS[today.month - 1]}, day {min(days + 1, last)} of {last}"


def _known(s: Any) -> float:
    """Return a factor for what follows from the first substep: nan before it."""
    return 1.0 if s["power_w"].any() else math.nan


def _ending(s: Any) -> str:
    if s["terminated"]:
        return "ended by a runaway"
    return "end of the episode" if s["truncated"] else ""


def _zone(s: Any, z: int) -> Zone:
    minute = int(s["minute"])
    known = _known(s)
    seen = min(minute + 1, HISTORY_MIN)
    past = s["past_c"][z, (minute - np.arange(seen)[::-1]) % HISTORY_MIN]
    through, share = float(s["server_kg_per_s"][z]), float(s["share_hot"][z])
    one = {name: float(s[name][z]) for name in ("fan", "valve", "supply_c", "cold_c", "hot_c", "return_c")}
    return Zone(
        **one,
        inlet_c=float(s["inlet_c"][z]),
        worst_c=float(s["worst_c"][z]),
        utilisation=float(s["utilisation"][z]),
        air_kg_per_s=known * float(s["air_kg_per_s"][z]),
        server_kg_per_s=known * through,
        water_kg_per_s=known * float(s["water_kg_per_s"][z]),
        back_kg_per_s=known * share * through,
        it_kw=known * float(s["cpu_w"][z] + s["server_fan_w"][z]) / 1e3,
        handler_fan_kw=known * float(s["handler_fan_w"][z]) / 1e3,
        past_c=tuple(past.tolist()),
    )


def _plant(kernel: Any, s: Any, hall_share: float) -> Plant:
    known = _known(s)
    has_tower = "chilled_return_c" in s.dtype.names
    water = float(s["water_kg_per_s"].sum())
    chilled_c = float(s["chilled_c"])
    if has_tower:
        set_c = kernel.COLDEST_SET_C + float(s["chilled_set"]) * (kernel.WARMEST_SET_C - kernel.COLDEST_SET_C)
        condenser_c, return_c = float(s["basin_c"]), float(s["chilled_return_c"])
    else:
        set_c = kernel.CHILLED_SET_C
        condenser_c = max(LEAST_ENTERING_C, float(s["wet_bulb_c"]) + kernel.TOWER_APPROACH_K)
        return_c = chilled_c + float(s["coil_w"].sum()) / (water * WATER_J_PER_KG_K) if water > 0 else math.nan
    condenser_kg_per_s = hall_share * CONDENSER_KG_PER_S
    heat_w = float(s["evaporator_w"] + s["compressor_w"] + s["condenser_pump_w"])
    return Plant(
        chilled_c=chilled_c,
        chilled_set_c=set_c,
        chilled_return_c=known * return_c,
        water_kg_per_s=known * water,
        chilled_pump_kw=known * float(s["chilled_pump_w"]) / 1e3,
        load=known * float(s["load"]),
        evaporator_kw=known * float(s["evaporator_w"]) / 1e3,
        compressor_kw=known * float(s["compressor_w"]) / 1e3,
        condenser_c=condenser_c,
        condenser_return_c=known * (condenser_c + heat_w / (condenser_kg_per_s * WATER_J_PER_KG_K)),
        condenser_kg_per_s=condenser_kg_per_s,
        condenser_pump_kw=known * float(s["condenser_pump_w"]) / 1e3,
        tower_fan=float(s["tower_fan"]) if has_tower else math.nan,
        tower_fan_kw=known * float(s["tower_fan_w"]) / 1e3,
        tower_kw=known * float(s["tower_w"]) / 1e3,
    )


def _figures(s: Any, power_kw: tuple[float, ...], energy_kwh: tuple[float, ...]) -> tuple[Figure, ...]:
    total_kw, it_kw = sum(power_kw), power_kw[CPU] + power_kw[SERVER_FAN]
    return (
        Figure("PUE now", number(total_kw / it_kw, 3)),
        Figure("Power", number(total_kw), "kW"),
        Figure("Servers", number(it_kw), "kW"),
        Figure("Return", short(float(s["return_usd"])), "$"),
        Figure("Energy", short(sum(energy_kwh)), "kWh"),
        Figure("Water", short(float(s["water_kg"])), "l"),
        Figure("Above 27 °C", short(float(s["over_recommended_k_min"])), "K min", bad=True),
        Figure("Above 32 °C", short(float(s["over_allowable_k_min"])), "K min", bad=True),
        Figure("Below 18 °C", short(float(s["under_recommended_k_min"])), "K min", bad=True),
    )


def number(value: float, digits: int = 0) -> str:
    """Return a number for people; a dash for what is not known.

    >>> number(-1234.5, 1), number(-0.01, 1), number(float("nan"))
    ('-1,234.5', '0.0', '-')
    """
    if math.isnan(value):
        return "-"
    text = f"{value:,.{digits}f}"
    return text if text.strip("-0.,") else text.lstrip("-")


def short(value: float) -> str:
    """Return a number of at most four digits, of thousands or millions if need be.

    >>> short(-173.2), short(20_364.0), short(-2_628_217.0)
    ('-173', '20.4k', '-2.63M')
    """
    if abs(value) < 9999.5:
        return number(value)
    return f"{value / 1e3:,.1f}k" if abs(value) < 999_950 else f"{value / 1e6:,.2f}M"
