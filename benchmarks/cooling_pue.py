"""PUE of the hand-written operators of the four-zone data centre at sites around the world, by whole episodes.

Every controller plays the same episodes of every site: drawn days of hourly weather, the hourly load of a Google
cluster of 2011 times 0.8, nominal hall. Prints PUE, cooling energy saved by the hourly optimum, minutes above 27 °C,
the regret score, and the share of the optimum's hours in which the limit of 27 °C binds; intervals are 95 %, over
episodes. ``--param hot_spot=0`` plays in a hall without a worst rack. Takes about ten minutes on one free core.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from benchmarks.rounds import ROOT, show, write

ID = "rlops/DatacenterCooling-v1"
SITES = {
    "Tucson": "tmy3/USA_AZ_Davis-Monthan.AFB.722745_TMY3.epw",
    "Chicago": "tmy3/USA_IL_Chicago-OHare.Intl.AP.725300_TMY3.epw",
    "Philadelphia": "weather/US-MIDA-PJM_2020-2024.csv.gz",
    "Frankfurt": "weather/DE-LU_2020-2024.csv.gz",
    "London": "weather/GB_2020-2024.csv.gz",
    "San Jose": "weather/US-CAL-CISO_2020-2024.csv.gz",
    "Mumbai": "weather/IN-WE_2020-2024.csv.gz",
}
LOAD = "load/google2011_cpu_hourly_first672h.csv"
LOAD_SCALE = 0.8
CONTROLLERS = ("legacy_fixed", "tuned_fixed", "pid", "trim_and_respond", "linear_mpc", "hourly_optimum")
AT_LIMIT_K = 0.01


def watched_optimum() -> Any:
    """Return the hourly optimum, which counts the hours in which the limit of a zone binds, as an agent."""
    from rlops.agents_baseline.cooling_control import OPTIMUM_MARGIN_K, HourlyOptimum
    from rlops.envs.cooling.accounts import RECOMMENDED_C

    class Watched(HourlyOptimum):
        hours = bound = 0

        def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
            chosen = super().actions(envs, obs, masks)
            full = envs.state["steps"] % 60 == 0
            inlets = self.goal[full, self.zones : 2 * self.zones]
            self.hours += len(inlets)
            self.bound += int((inlets > RECOMMENDED_C - OPTIMUM_MARGIN_K - AT_LIMIT_K).any(axis=1).sum())
            return chosen

    return Watched("hourly_optimum", 1)


def data_folder() -> Path:
    """Return the folder of the shared data."""
    return (ROOT / os.environ.get("RLOPS_DATA", "../shared/data")).resolve() / "datacenter"


def played(
    site: str, names: Sequence[str], episodes: int, days: int, advance: Any, changed: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what every controller did at a site, and the share of the optimum's hours at the limit as ``at_limit``.

    ``changed`` are parameters of the hall that are not nominal.
    """
    from rlops.agents_baseline.controllers import make_controller
    from rlops.agents_baseline.evaluate import evaluate
    from rlops.envs.cooling.load import read_load
    from rlops.envs.cooling.weather import read_weather

    traces = {"weather": read_weather(data_folder() / SITES[site]), "load": read_load(data_folder() / LOAD)}
    params = {"horizon_min": 1440 * days, "load_scale": LOAD_SCALE, **(changed or {})}
    found: dict[str, Any] = {}
    for name in names:
        agent = watched_optimum() if name == "hourly_optimum" else make_controller(name, ID)
        found[name] = evaluate(ID, agent, range(episodes), params=params, traces=traces, latency=False)
        if name == "hourly_optimum":
            found["at_limit"] = agent.bound / agent.hours
        advance()
    return found


def between(interval: Any, digits: int = 3) -> str:
    """Return a mean with its interval as text."""
    mean, low, high = (interval.mean, interval.low, interval.high) if hasattr(interval, "mean") else interval
    return f"{mean:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def without_lights(episodes: Any) -> float:
    """Return the mean PUE of a hall whose lights were another's."""
    table = episodes.table
    return float(((table["kwh_total"] - table["kwh_lights"]) / table["kwh_it"]).mean())


def per_cent(shares: Sequence[float]) -> str:
    """Return a share with its interval as text."""
    mean, low, high = (100.0 * share for share in shares)
    return f"{mean:.0f} ({low:.0f}-{high:.0f}) %"


def show_all(found: dict[str, dict[str, Any]], names: Sequence[str], days: int) -> None:
    """Print the tables."""
    from rlops.agents_baseline.cooling_score import regret_score, saving

    show(
        "PUE, mean (95 % interval over episodes)",
        ("site", *names),
        [(site, *(between(one[name].intervals()["pue"]) for name in names)) for site, one in found.items()],
    )
    show(
        "the same without the power of lights, which is no part of some accounts",
        ("site", *names),
        [(site, *(f"{without_lights(one[name]):.3f}" for name in names)) for site, one in found.items()],
    )
    if "hourly_optimum" in names:
        against = [name for name in names if name != "hourly_optimum"]
        show(
            "cooling energy that hourly_optimum saves of what the others spend; all energy; hours at the limit",
            ("site", *against, "all energy of T&R", "at the limit"),
            [
                (
                    site,
                    *(per_cent(saving(one["hourly_optimum"], one[name])) for name in against),
                    f"{100 * saving(one['hourly_optimum'], one['trim_and_respond'], 'kwh_total')[0]:.1f} %"
                    if "trim_and_respond" in names
                    else "-",
                    f"{one['at_limit']:.0%}",
                )
                for site, one in found.items()
            ],
        )
    show(
        "K min above 27 °C a day, sum of the zones: mean, and of the worst episode",
        ("site", *names),
        [
            (
                site,
                *(
                    f"{one[name].table['over_recommended_k_min'].mean() / days:.1f}, "
                    f"{one[name].table['over_recommended_k_min'].max() / days:.1f}"
                    for name in names
                ),
            )
            for site, one in found.items()
        ],
    )
    if {"trim_and_respond", "hourly_optimum"} <= set(names):
        rows = []
        for site, one in found.items():
            scores = [regret_score(one[name], one["trim_and_respond"], one["hourly_optimum"]) for name in names]
            rows.append((site, *(f"{s.mean:.2f} of {s.episodes}/{s.of}" for s in scores)))
        show("regret score, and episodes without violation", ("site", *names), rows)


def as_json(one: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the figures of a site, ready for JSON."""
    figures = {name: {k: vars(i) for k, i in one[name].intervals().items()} for name in names}
    return figures | {"at_limit": one.get("at_limit")}


def main() -> None:
    """Play, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--episodes", type=int, default=24, help="of every site")
    parser.add_argument("--days", type=int, default=2, help="of an episode")
    parser.add_argument("--sites", nargs="+", choices=SITES, default=list(SITES))
    parser.add_argument("--controllers", nargs="+", choices=CONTROLLERS, default=list(CONTROLLERS))
    parser.add_argument("--param", metavar="NAME=VALUE", action="append", help="of the hall, instead of the nominal")
    asked = parser.parse_args()
    from rlops.cli.options import parameters

    changed, found = parameters(asked.param), {}
    with Progress(console=Console(width=120), transient=True) as bar:
        task = bar.add_task("", total=len(asked.sites) * len(asked.controllers))
        for site in asked.sites:
            bar.update(task, description=site)
            found[site] = played(
                site, asked.controllers, asked.episodes, asked.days, lambda: bar.advance(task), changed
            )
    show_all(found, asked.controllers, asked.days)
    write("cooling_pue", {site: as_json(one, asked.controllers) for site, one in found.items()})


if __name__ == "__main__":
    main()
