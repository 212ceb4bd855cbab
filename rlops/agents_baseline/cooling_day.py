"""An episode of data-centre cooling, recorded and drawn as one picture: temperatures, actuators, power, the bill."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlops.agents_baseline.agents import decision, id_of
from rlops.agents_baseline.charts import INK, RULE, SOFT_INK, save, styled
from rlops.envs.cooling.accounts import J_PER_KWH, REWARD_TERMS, SERVER_FAN
from rlops.envs.cooling.scene import CONSUMER_NAMES, LIMITS_C, scene
from rlops.envs.figures import time_of_day
from rlops.errors import InvalidValue

if TYPE_CHECKING:
    from rlops.agents_baseline.agents import Agent

DAY_H = 24.0


@dataclass(frozen=True)
class CoolingDay:
    """What happened in an episode of data-centre cooling, minute by minute; power is the mean of a minute.

    Attributes:
        id: Environment.
        agent: Who operated the hall.
        seed: Of the episode.
        hours: When it was looked at, at the ends of the minutes, ``(t,)``, after the first midnight.
        worst_c: Inlets of the worst racks [°C], ``(t, z)``.
        utilisation: Of the zones [-], ``(t, z)``.
        fan: Actual speeds [-], ``(t, z)``.
        valve: Actual openings [-], ``(t, z)``.
        tower_fan: Actual speed [-], ``(t,)``; nan without one.
        dry_bulb_c: Outdoors [°C], ``(t,)``.
        wet_bulb_c: Outdoors [°C], ``(t,)``.
        chilled_c: Chilled water, supply [°C], ``(t,)``.
        chilled_set_c: Its set point [°C], ``(t,)``.
        condenser_c: Condenser water that enters the chiller [°C], ``(t,)``.
        energy_kwh: Of every minute, by consumer, ``(t, c)``.
        terms_usd: Rewards, by term, ``(t, r)``.
        price_usd_per_kwh: Of the episode.
        terminated: Whether a runaway ended it.
        total_usd: Return of the episode.
        kpis: Key figures of the episode.
    """

    id: str
    agent: str
    seed: int
    hours: np.ndarray
    worst_c: np.ndarray
    utilisation: np.ndarray
    fan: np.ndarray
    valve: np.ndarray
    tower_fan: np.ndarray
    dry_bulb_c: np.ndarray
    wet_bulb_c: np.ndarray
    chilled_c: np.ndarray
    chilled_set_c: np.ndarray
    condenser_c: np.ndarray
    energy_kwh: np.ndarray
    terms_usd: np.ndarray
    price_usd_per_kwh: float
    terminated: bool
    total_usd: float
    kpis: dict[str, float]

    def consumers(self) -> list[tuple[str, float, float]]:
        """Return name, energy [kWh] and its price [$] of every consumer, in the order of the accounts."""
        sums = self.energy_kwh.sum(axis=0).tolist()
        return [(name, kwh, self.price_usd_per_kwh * kwh) for name, kwh in zip(CONSUMER_NAMES, sums, strict=True)]

    def bill(self) -> list[tuple[str, float]]:
        """Return name and sum [$] of every reward term."""
        sums = self.terms_usd.sum(axis=0).tolist()
        return [(name.replace("_", " "), usd) for name, usd in zip(REWARD_TERMS, sums, strict=True)]

    def picture(self, path: str | Path) -> Path:
        """Draw the episode into an image file whose suffix says the format, and return its path.

        Raises:
            MissingExtra: If Matplotlib or Pillow is not installed.
        """
        return save(_figure(self), path)


def record_cooling_day(env: Any, policy: Agent, seed: int) -> CoolingDay:
    """Play one episode and record it minute by minute.

    Args:
        env: A single environment of data-centre cooling.
        policy: Who operates the hall.
        seed: Of the episode.

    Raises:
        InvalidValue: If the environment is of another family.
    """
    env = env.unwrapped
    if "past_c" not in env.state.dtype.names:
        raise InvalidValue(f"A day of cooling needs an environment of DatacenterCooling, got {id_of(env)}.")
    obs, _ = env.reset(seed=seed)
    samples: list[dict[str, Any]] = []
    spent_j = env.state["energy_j"][0].copy()
    total_usd, ended = 0.0, False
    while not ended:
        obs, reward, terminated, truncated, info = env.step(decision(policy, env, obs))
        total_usd += reward
        ended = terminated or truncated
        now_j = env.state["energy_j"][0].copy()
        terms_usd = env.state["terms"][0].copy()
        samples.append({**_sampled(env), "energy_kwh": (now_j - spent_j) / J_PER_KWH, "terms_usd": terms_usd})
        spent_j = now_j
    return CoolingDay(
        id=id_of(env),
        agent=policy.name,
        seed=seed,
        price_usd_per_kwh=float(env.params["price_usd_per_kwh"][0]),
        terminated=bool(terminated),
        total_usd=total_usd,
        kpis=dict(info["kpis"]),
        **{name: np.array([sample[name] for sample in samples]) for name in samples[0]},
    )


def _sampled(env: Any) -> dict[str, Any]:
    """Return what is looked at once a minute, by its name in the record."""
    shown = scene(env.kernel, env.params[0], env.state[0], env.data)
    plant = shown.plant
    return {
        "hours": shown.minute / 60.0,
        **{name: [getattr(zone, name) for zone in shown.zones] for name in ("worst_c", "utilisation", "fan", "valve")},
        "tower_fan": plant.tower_fan,
        "dry_bulb_c": shown.dry_bulb_c,
        "wet_bulb_c": shown.wet_bulb_c,
        "chilled_c": plant.chilled_c,
        "chilled_set_c": plant.chilled_set_c,
        "condenser_c": plant.condenser_c,
    }


# --- the picture ----------------------------------------------------------------------------------------

_ROWS = ((0.663, 0.205), (0.413, 0.165), (0.075, 0.255))
_LEFTS, _WIDE = (0.042, 0.402), 0.295
_TABLE_LEFT, _TABLE_RIGHT, _LINE = 0.758, 0.985, 0.0245
_WITHIN, _WARM, _HOT, _COLD = "#e9ede9", "#ac6400", "#cc2936", "#185296"
_DRY, _WET, _CHILLED, _CONDENSER = "#e08a2e", "#178b79", "#185296", "#8f74aa"


def _figure(day: CoolingDay) -> Any:
    with styled():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(17, 9), dpi=110)
        figure.text(0.04, 0.95, f"{_span(day)} of {day.id}", fontsize=17)
        figure.text(0.04, 0.92, _summary(day), color=SOFT_INK, fontsize=10.5)
        axes = [[figure.add_axes((left, low, _WIDE, high)) for low, high in _ROWS] for left in _LEFTS]
        _draw_inlets(axes[0][0], day)
        _draw_utilisation(axes[0][1], day)
        _draw_actuators(axes[0][2], day)
        _draw_waters(axes[1][0], day)
        _draw_servers(axes[1][1], day)
        _draw_rest(axes[1][2], day)
        for column in axes:
            for one in column:
                _label_time(one, day)
        _write_tables(figure, day)
    return figure


def _span(day: CoolingDay) -> str:
    hours = float(day.hours[-1])
    if abs(hours - DAY_H) < 0.5:
        return "A day"
    if hours >= 2 * DAY_H:
        return f"{hours / DAY_H:.3g} days"
    return f"{hours:.1f} h" if hours >= 2 else f"{60 * hours:.0f} min"


def _summary(day: CoolingDay) -> str:
    name = day.agent if len(day.agent) < 60 else f"{day.agent[:57]}…"
    parts = [
        f"{name}, seed {day.seed}:  PUE {day.kpis['pue']:.3f}",
        f"{day.kpis['kwh_total']:,.0f} kWh",
        f"hottest inlet {day.kpis['max_inlet_c']:.1f} °C",
        f"return {day.total_usd:+,.2f} $",
    ]
    return ",  ".join(parts) + (",  ended by a runaway" if day.terminated else "")


def _titled(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10.5, color=INK)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _label_time(axes: Any, day: CoolingDay) -> None:
    """Mark hours of a day, or the midnights of a longer episode."""
    end_h = float(day.hours[-1])
    axes.set_xlim(0, end_h)
    if end_h <= 2 * DAY_H:
        step_h = next(step for step in (1 / 60, 1 / 12, 0.25, 0.5, 1, 3, 6) if end_h / step <= 9)
        ticks = np.arange(0, end_h + 1e-9, step_h)
        axes.set_xticks(ticks, [time_of_day(60 * hour) for hour in ticks])
        return
    days = np.arange(0, end_h / DAY_H + 1e-9, max(1, round(end_h / DAY_H / 8)))
    axes.set_xticks(days * DAY_H, [f"{int(one)} d" for one in days])


def _zone_colours() -> list[tuple[float, ...]]:
    from rlops.envs.cooling.render import ZONE_COLOURS

    return [tuple(c / 255 for c in colour) for colour in ZONE_COLOURS]


def _named(axes: Any, x: float, ends: list[tuple[float, str, Any]], low: float, high: float) -> None:
    """Write names at the ends of lines, apart from each other."""
    from rlops.envs.drawing import apart

    for i, at in apart([value for value, _, _ in ends], 0.1 * (high - low), low, high):
        _, name, colour = ends[i]
        axes.annotate(
            name, (x, at), (5, 0), textcoords="offset points", color=colour, va="center", annotation_clip=False
        )


def _draw_inlets(axes: Any, day: CoolingDay) -> None:
    _titled(axes, "Inlets of the worst racks [°C]")
    low = min(16.0, float(day.worst_c.min()) - 1.0)
    high = max(34.0, float(day.worst_c.max()) + 1.0)
    axes.axhspan(LIMITS_C[0], LIMITS_C[1], color=_WITHIN, linewidth=0, zorder=0)
    for limit, colour in zip(LIMITS_C, (_COLD, _WARM, _HOT), strict=True):
        axes.axhline(limit, color=colour, linewidth=0.9, alpha=0.5)
    _draw_zones(axes, day, day.worst_c, low, high)
    axes.set_ylim(low, high)
    axes.set_yticks([*LIMITS_C, *([40.0] if high > 41 else [])])


def _draw_zones(axes: Any, day: CoolingDay, values: np.ndarray, low: float, high: float) -> None:
    ends = []
    for z, colour in zip(range(values.shape[1]), _zone_colours(), strict=False):
        axes.plot(day.hours, values[:, z], color=colour, linewidth=1.1)
        ends.append((float(values[-1, z]), f"zone {z}", colour))
    _named(axes, float(day.hours[-1]), ends, low, high)


def _draw_utilisation(axes: Any, day: CoolingDay) -> None:
    _titled(axes, "Utilisation [%]")
    _draw_zones(axes, day, 100.0 * day.utilisation, 4.0, 100.0)
    axes.set(ylim=(0, 104), yticks=(0, 25, 50, 75, 100))


def _draw_actuators(axes: Any, day: CoolingDay) -> None:
    _titled(axes, "Fans (full lines) and valves (dashed) of the zones, tower fan (dotted) [%]")
    for z, colour in zip(range(day.fan.shape[1]), _zone_colours(), strict=False):
        axes.plot(day.hours, 100.0 * day.fan[:, z], color=colour, linewidth=1.1)
        axes.plot(day.hours, 100.0 * day.valve[:, z], color=colour, linewidth=1.1, linestyle=(0, (4, 2)))
    ends = [
        (100.0 * float(np.median(day.fan[-1])), "fans", INK),
        (100.0 * float(np.median(day.valve[-1])), "valves", INK),
    ]
    if not np.isnan(day.tower_fan).any():
        axes.plot(day.hours, 100.0 * day.tower_fan, color=INK, linewidth=1.2, linestyle=":")
        ends.append((100.0 * float(day.tower_fan[-1]), "tower", INK))
    _named(axes, float(day.hours[-1]), ends, 4.0, 100.0)
    axes.set(ylim=(0, 104), yticks=(0, 25, 50, 75, 100))


def _draw_waters(axes: Any, day: CoolingDay) -> None:
    _titled(axes, "Outdoors and water [°C]; the set point of the chilled water is dashed")
    lines = (
        ("dry bulb", day.dry_bulb_c, _DRY),
        ("wet bulb", day.wet_bulb_c, _WET),
        ("chilled", day.chilled_c, _CHILLED),
        ("condenser", day.condenser_c, _CONDENSER),
    )
    axes.plot(day.hours, day.chilled_set_c, color=_CHILLED, linewidth=0.9, linestyle=(0, (4, 2)), alpha=0.7)
    for _, values, colour in lines:
        axes.plot(day.hours, values, color=colour, linewidth=1.3)
    every = np.concatenate([values for _, values, _ in lines] + [day.chilled_set_c])
    low, high = float(every.min()) - 1.0, float(every.max()) + 1.0
    ends = [(float(values[-1]), name, colour) for name, values, colour in lines]
    _named(axes, float(day.hours[-1]), ends, low, high)
    axes.set_ylim(low, high)


def _draw_servers(axes: Any, day: CoolingDay) -> None:
    _titled(axes, "Power of the servers [kW], stacked")
    _draw_stack(axes, day, range(SERVER_FAN + 1))


def _draw_rest(axes: Any, day: CoolingDay) -> None:
    _titled(axes, "Power of all the rest [kW], stacked; colours as in the table")
    _draw_stack(axes, day, range(SERVER_FAN + 1, len(CONSUMER_NAMES)))


def _draw_stack(axes: Any, day: CoolingDay, which: range) -> None:
    power_kw = 60.0 * day.energy_kwh[:, list(which)].T
    axes.stackplot(day.hours, power_kw, colors=[_consumer_colour(c) for c in which], linewidth=0)
    axes.set_ylim(0, 1.05 * max(1.0, float(power_kw.sum(axis=0).max())))


def _consumer_colour(consumer: int) -> tuple[float, ...]:
    from rlops.envs.cooling.render import CONSUMER_COLOURS

    return tuple(c / 255 for c in CONSUMER_COLOURS[consumer])


def _write_tables(figure: Any, day: CoolingDay) -> None:
    y = _write_consumers(figure, day, 0.868)
    y = _write_bill(figure, day, y - 0.035)
    _write_figures(figure, day, y - 0.035)


def _heading(figure: Any, y: float, *texts: str) -> None:
    from matplotlib.lines import Line2D

    _write_line(figure, y, *texts, colour=SOFT_INK)
    under = y - 0.3 * _LINE
    figure.add_artist(Line2D((_TABLE_LEFT, _TABLE_RIGHT), (under, under), color=RULE, linewidth=1.0))


def _write_line(figure: Any, y: float, *texts: str, colour: str = INK, weight: str = "normal") -> None:
    """Write a name, and numbers right-aligned in columns from the right."""
    figure.text(_TABLE_LEFT, y, texts[0], color=colour, weight=weight)
    for column, text in enumerate(reversed(texts[1:])):
        figure.text(_TABLE_RIGHT - 0.055 * column, y, text, color=colour, weight=weight, ha="right")


def _write_consumers(figure: Any, day: CoolingDay, y: float) -> float:
    from matplotlib.patches import Rectangle

    _heading(figure, y, "Consumer", "kWh", "share", "$")
    rows = day.consumers()
    total_kwh = sum(kwh for _, kwh, _ in rows)
    for i, (name, kwh, usd) in enumerate(rows):
        y -= _LINE
        _write_line(figure, y, f"     {name}", f"{kwh:,.0f}", f"{100 * kwh / total_kwh:.1f} %", f"{usd:,.2f}")
        swatch = Rectangle((_TABLE_LEFT, y), 0.0065, 0.0125, color=_consumer_colour(i), transform=figure.transFigure)
        figure.add_artist(swatch)
    y -= _LINE
    _write_line(figure, y, "all", f"{total_kwh:,.0f}", "100 %", f"{sum(usd for _, _, usd in rows):,.2f}", weight="bold")
    return y


def _write_bill(figure: Any, day: CoolingDay, y: float) -> float:
    _heading(figure, y, "Reward", "$")
    for name, usd in day.bill():
        y -= _LINE
        said = "energy, less servers at 22 °C" if name == "energy" else name
        _write_line(figure, y, said, f"{usd:,.2f}" if abs(usd) >= 0.005 else "0")
    y -= _LINE
    _write_line(figure, y, "return", f"{day.total_usd:,.2f}", weight="bold")
    return y


def _write_figures(figure: Any, day: CoolingDay, y: float) -> None:
    _heading(figure, y, "Key figure")
    kpis = day.kpis
    for name, text in (
        ("PUE, TUE", f"{kpis['pue']:.3f}, {kpis['tue']:.3f}"),
        ("hottest inlet", f"{kpis['max_inlet_c']:.1f} °C"),
        (
            "above 27 °C, above 32 °C",
            f"{kpis['over_recommended_k_min']:,.0f}, {kpis['over_allowable_k_min']:,.0f} K min",
        ),
        ("below 18 °C", f"{kpis['under_recommended_k_min']:,.0f} K min"),
        ("changed too fast", f"{kpis['rate_events']:,.0f} min"),
        ("full strokes", f"{kpis['strokes']:,.1f}"),
        ("water", f"{kpis['water_l']:,.0f} l"),
        ("CO₂", f"{kpis['kg_co2']:,.0f} kg"),
    ):
        y -= _LINE
        _write_line(figure, y, name, text)
