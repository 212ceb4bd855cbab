"""A day of dispatch, recorded and drawn as one picture: trips, what vehicles did, and how the day went."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlops.agents_baseline.agents import decision, id_of
from rlops.agents_baseline.charts import INK, RULE, SOFT_INK, save, styled
from rlops.agents_baseline.cooling_day import CoolingDay, record_cooling_day
from rlops.envs.dispatch import city
from rlops.envs.dispatch.scene import MODE_NAMES, OFF_SHIFT, WAITING, lateness_min, vehicles
from rlops.errors import InvalidValue

if TYPE_CHECKING:
    from rlops.agents_baseline.agents import Agent

_LATE_MIN = 1e-6


@dataclass(frozen=True)
class Day:
    """What happened in an episode of Dispatch v1 or v2.

    Attributes:
        id: Environment.
        agent: Who dispatched.
        seed: Of the episode.
        half_width_km: Of the service area.
        minutes: When the vehicles were looked at, ``(t,)``, after 06:00.
        modes: What each of them did (:mod:`rlops.envs.dispatch.scene`), ``(t, v)``.
        places_km: Where they were, east and north of the centre, ``(t, v, 2)``.
        riders: How many were on board, ``(t, v)``.
        status: Of each booking at the end (:mod:`rlops.envs.dispatch.city`), ``(b,)``.
        pickups_km: Where it was picked up or waited, ``(b, 2)``.
        dropoffs_km: Where it went, ``(b, 2)``.
        late_min: How long after its window its boarding began, nan if it did not, ``(b,)``.
        picked_min: When it was on board, nan if never, ``(b,)``.
        closed_min: When it was dropped off or given up, ``(b,)``.
        total_usd: Return of the episode.
        kpis: Key figures of the episode.
    """

    id: str
    agent: str
    seed: int
    half_width_km: float
    minutes: np.ndarray
    modes: np.ndarray
    places_km: np.ndarray
    riders: np.ndarray
    status: np.ndarray
    pickups_km: np.ndarray
    dropoffs_km: np.ndarray
    late_min: np.ndarray
    picked_min: np.ndarray
    closed_min: np.ndarray
    total_usd: float
    kpis: dict[str, float]

    def served(self) -> np.ndarray:
        """Return which bookings were served, ``(b,)`` bool."""
        return np.asarray(self.status == city.DONE)

    def late(self) -> np.ndarray:
        """Return which of them were late, ``(b,)`` bool."""
        return self.served() & (self.late_min > _LATE_MIN)

    def missed(self) -> np.ndarray:
        """Return which bookings were missed, ``(b,)`` bool."""
        return np.asarray(self.status == city.MISSED)

    def withdrawn(self) -> np.ndarray:
        """Return whose riders cancelled or did not show up, ``(b,)`` bool."""
        return np.isin(self.status, (city.CANCELLED, city.NO_SHOW))

    def picture(self, path: str | Path) -> Path:
        """Draw the day into an image file whose suffix says the format, and return its path.

        Raises:
            MissingExtra: If Matplotlib is not installed.
        """
        return save(_figure(self), path)


def record_day(env: Any, policy: Agent, seed: int) -> Day | CoolingDay:
    """Play one episode and record it minute by minute.

    Args:
        env: A single environment of Dispatch v1 or v2, or of data-centre cooling.
        policy: Who decides.
        seed: Of the episode.

    Returns:
        What happened; its ``picture`` draws it.

    Raises:
        InvalidValue: If there is no such record of the environment, as of vehicles that do not drive.
    """
    env = env.unwrapped
    if "past_c" in env.state.dtype.names:
        return record_cooling_day(env, policy, seed)
    if "next_booking" not in env.state.dtype.names:
        raise InvalidValue(
            f"A day needs vehicles that drive: rlops/Dispatch-v1 or v2, got {id_of(env)}. Make one of these."
        )
    obs, _ = env.reset(seed=seed)
    samples = [_sampled(env)]
    total_usd, ended = 0.0, False
    while not ended:
        obs, reward, terminated, truncated, info = env.step(decision(policy, env, obs))
        total_usd += reward
        ended = terminated or truncated
        if env.state["now_min"][0] > samples[-1][0]:
            samples.append(_sampled(env))
    return _day(env, policy.name, seed, samples, total_usd, info["kpis"])


def _sampled(env: Any) -> tuple[float, list[tuple[float, float, int, int]]]:
    """Return the time and, for every vehicle, place, mode and riders."""
    fleet = vehicles(env.kernel, env.params[0], env.state[0])
    return float(env.state["now_min"][0]), [(v.x_km, v.y_km, v.mode, v.ambulatory + v.wheelchair) for v in fleet]


def _day(env: Any, agent: str, seed: int, samples: list[Any], total_usd: float, kpis: dict[str, float]) -> Day:
    s = env.state[0]
    bookings = s["bookings"][: int(s["next_booking"])]
    end_min = float(s["now_min"])
    gone_min = np.minimum(np.minimum(bookings["expires_min"], bookings["cancel_min"]), end_min)
    fleet = np.array([sample[1] for sample in samples])
    return Day(
        id=id_of(env),
        agent=agent,
        seed=seed,
        half_width_km=float(env.params["area_half_width_km"][0]),
        minutes=np.array([sample[0] for sample in samples]),
        modes=fleet[:, :, 2].astype(int),
        places_km=fleet[:, :, :2],
        riders=fleet[:, :, 3].astype(int),
        status=bookings["status"].copy(),
        pickups_km=np.stack([bookings["pickup_x_km"], bookings["pickup_y_km"]], axis=1),
        dropoffs_km=np.stack([bookings["dropoff_x_km"], bookings["dropoff_y_km"]], axis=1),
        late_min=lateness_min(s),
        picked_min=bookings["picked_min"].copy(),
        closed_min=np.where(bookings["status"] == city.DONE, bookings["dropped_min"], gone_min),
        total_usd=total_usd,
        kpis=dict(kpis),
    )


# --- the picture ----------------------------------------------------------------------------------------

_SERVED, _LATE, _MISSED, _WITHDRAWN = "#185296", "#e6961e", "#cc2936", "#9ca2ab"


def _figure(day: Day) -> Any:
    with styled():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(15, 8), dpi=110)
        figure.text(0.047, 0.945, f"A day of {day.id}", fontsize=17)
        figure.text(0.047, 0.912, _summary(day), color=SOFT_INK, fontsize=10.5)
        _draw_trips(figure.add_axes((0.05, 0.105, 0.405, 0.7594)), day)
        fleet = figure.add_axes((0.52, 0.475, 0.465, 0.35))
        course = figure.add_axes((0.52, 0.105, 0.465, 0.27))
        _draw_fleet(fleet, day)
        _draw_course(course, day)
        for axes in (fleet, course):
            _label_hours(axes, day)
    return figure


def _summary(day: Day) -> str:
    eligible = int((~day.withdrawn()).sum())
    served = int(day.served().sum())
    share = 100.0 * served / max(1, eligible)
    return ",  ".join(
        (
            f"{day.agent}, seed {day.seed}:  {served} of {eligible} eligible bookings served ({share:.0f} %)",
            f"{int(day.late().sum())} of them late",
            f"{day.kpis['km_total']:,.0f} km",
            f"return {day.total_usd:+,.0f} $",
        )
    )


def _draw_trips(axes: Any, day: Day) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Rectangle

    half = day.half_width_km
    axes.add_patch(Rectangle((-half, -half), 2 * half, 2 * half, facecolor="white", edgecolor=RULE, zorder=0))
    on_time = day.served() & ~day.late()
    groups = (
        ("withdrawn", day.withdrawn(), _WITHDRAWN, 0.5, 0.8),
        ("served on time", on_time, _SERVED, 0.3, 1.0),
        ("served late", day.late(), _LATE, 0.9, 1.3),
        ("missed", day.missed(), _MISSED, 0.95, 1.5),
    )
    for order, (name, which, colour, alpha, width) in enumerate(groups, start=1):
        trips = np.stack([day.pickups_km[which], day.dropoffs_km[which]], axis=1)
        axes.add_collection(LineCollection(list(trips), colors=colour, alpha=alpha, linewidths=width, zorder=order))
        axes.scatter(
            *day.pickups_km[which].T,
            s=16,
            facecolor="white",
            edgecolor=colour,
            linewidth=1.1,
            zorder=order + 4,
        )
        axes.scatter(
            *day.dropoffs_km[which].T,
            s=13,
            marker="s",
            color=colour,
            label=f"{name} ({which.sum()})",
            zorder=order + 4,
        )
    axes.set(xlim=(-1.03 * half, 1.03 * half), ylim=(-1.03 * half, 1.03 * half), aspect="equal")
    axes.set_title("Trips: from the rings to the squares", loc="left", fontsize=10.5, color=INK)
    axes.set_xlabel("km east of the centre")
    axes.set_ylabel("km north")
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.055), ncols=4, frameon=False, handletextpad=0.2)


def _draw_fleet(axes: Any, day: Day) -> None:
    """Draw what every vehicle did: one row each."""
    from rlops.envs.dispatch.render import MODE_COLOURS

    ends_min = np.append(day.minutes[1:], day.minutes[-1] + 1.0)
    count = day.modes.shape[1]
    for mode, name in enumerate(MODE_NAMES):
        if mode == OFF_SHIFT or not (day.modes == mode).any():
            continue
        colour = tuple(c / 255 for c in MODE_COLOURS[mode])
        for v in range(count):
            runs = _runs(day.modes[:, v] == mode, day.minutes, ends_min)
            height = 0.22 if mode == WAITING else 0.72
            axes.broken_barh(
                runs, (v - 0.5 * height, height), color=colour, linewidth=0, label=name if v == 0 else None
            )
    axes.set(ylim=(count - 0.4, -0.6), yticks=range(count), ylabel="vehicle")
    axes.set_title("Vehicles by hour of the day", loc="left", fontsize=10.5, color=INK, pad=24)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 0.99),
        ncols=6,
        frameon=False,
        handlelength=1.0,
        borderaxespad=0.0,
        columnspacing=1.2,
    )


def _runs(holds: np.ndarray, begins_min: np.ndarray, ends_min: np.ndarray) -> list[tuple[float, float]]:
    """Return begin and length of every stretch of time in which ``holds`` is true."""
    edges = np.diff(np.concatenate([[0], holds.astype(int), [0]]))
    first, last = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    return [(float(begins_min[i]), float(ends_min[j] - begins_min[i])) for i, j in zip(first, last, strict=True)]


def _draw_course(axes: Any, day: Day) -> None:
    """Draw how many bookings were served, late and missed so far."""
    end_min = day.minutes[-1]
    curves = (
        ("served", day.closed_min[day.served()], _SERVED),
        ("late", day.picked_min[day.late()], _LATE),
        ("missed", day.closed_min[day.missed()], _MISSED),
    )
    for name, times_min, colour in curves:
        times_min = np.sort(times_min)
        steps = np.arange(len(times_min) + 1)
        x, y = np.concatenate([[0.0], times_min, [end_min]]), np.append(steps, steps[-1])
        axes.step(x, y, where="post", color=colour, linewidth=1.6)
        if name == "served":
            axes.fill_between(x, y, step="post", color=colour, alpha=0.08, linewidth=0)
    ends = sorted((len(times_min), name, colour) for name, times_min, colour in curves)
    top = max(1, ends[-1][0])
    floor = 0.0
    for count, name, colour in ends:
        at = max(float(count), floor)
        axes.annotate(f" {count} {name}", (end_min, at), color=colour, va="center", annotation_clip=False)
        floor = at + 0.09 * top
    axes.set(ylim=(0, 1.06 * top))
    axes.set_title("Bookings so far, by hour of the day", loc="left", fontsize=10.5, color=INK)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _label_hours(axes: Any, day: Day) -> None:
    hours = np.arange(0, day.minutes[-1] + 1, 60)
    axes.set_xticks(hours, [f"{city.DAY_START_HOUR + int(h // 60):02d}" for h in hours])
    axes.set_xlim(0, 1.11 * day.minutes[-1])
