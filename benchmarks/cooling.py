"""DatacenterCooling-v1: steps per second, and against the loop of EnergyPlus on its data-centre example.

EnergyPlus 25.2 runs ``2ZoneDataCenterHVAC_wEconomizer`` (two zones, chiller, tower) through its Python API: a callback
at the beginning of every zone time step reads five sensors and writes two set points, as an environment over it would.
Only simulated days count, from May on, not sizing and warm-up. It is measured with its own time step of 15 min and
with 1 min, the step of ours. Its set points follow a sine of a day: random ones keep its solvers at their limits of
iteration and make it several times slower. Ours get random actions. The sides take turns within one process.

Run ``make bench``, or ``python -m benchmarks.cooling`` from the root of the repository in an environment that
``benchmarks/install_energyplus.sh`` has prepared. Without EnergyPlus only our side is measured.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rounds import arguments, interleaved, median, per_second, ratio, show, write
from rlops.envs.faces import VectorEnv

ROWS = (1, 64, 256, 1024)
PEER_ROWS = 256
THREADS = (1, 2)
ACTION_SETS = 64
STEPS_PER_HOUR = (4, 60)
"""Of EnergyPlus: what its example sets, and our step."""
BUILDING = Path(sys.prefix) / "share" / "energyplus" / "2ZoneDataCenterHVAC_wEconomizer.epJSON"
SENSORS = (
    ("Site Outdoor Air Drybulb Temperature", "Environment"),
    ("Zone Mean Air Temperature", "West Zone"),
    ("Zone Mean Air Temperature", "East Zone"),
    ("Facility Total HVAC Electricity Demand Rate", "Whole Building"),
    ("Facility Total Building Electricity Demand Rate", "Whole Building"),
)
SET_POINTS = (("Cooling Setpoints", 22.0, 25.0), ("CW Loop Temp Schedule", 6.7, 9.0))
"""Schedules that the callback overrides, and between which values [°C]."""
SINCE_23_1 = {"ZoneAveraged": "EnclosureAveraged", "watts_per_zone_floor_area": "watts_per_floor_area"}
"""What the example, which is published for EnergyPlus 23.1, calls otherwise in 25.2."""
WEATHER_RUN, FIRST_MONTH, WARM_STEPS = 3, 5, 50
"""Kind of simulation that is a run through a weather file (DataExchange.kind_of_sim); month in which it begins; steps
of a run that are not counted."""


def ours(rows: int, threads: int | None, clock: Callable[[], float] = time.perf_counter) -> Callable[[float], float]:
    """Return the vector face of v1 as a side, in environment steps per second of a clock."""
    env = VectorEnv("DatacenterCooling", 1, rows, threads=threads, copy=False)
    env.reset(seed=0)
    actions = list(np.random.default_rng(0).uniform(-1.0, 1.0, (ACTION_SETS, rows, 10)))

    def rate(seconds: float) -> float:
        calls, begin = 0, clock()
        while (spent := clock() - begin) < seconds:
            env.step(actions[calls % ACTION_SETS])
            calls += 1
        return calls * rows / spent

    return rate


class EnergyPlusLoop:
    """EnergyPlus on its data-centre example, as a side: zone time steps per second of a run.

    A round is one run, which is stopped when its seconds are over; its first ``WARM_STEPS`` are not timed.
    """

    def __init__(self, steps_per_hour: int, folder: str) -> None:
        from pyenergyplus.api import EnergyPlusAPI
        from pyenergyplus.dataset import weather_files

        self._api, self._weather = EnergyPlusAPI(), weather_files["usa_az_phoenix"]
        self._folder = Path(folder) / str(steps_per_hour)
        self._folder.mkdir(parents=True)
        text = BUILDING.read_text()
        for before, now in SINCE_23_1.items():
            text = text.replace(before, now)
        model = json.loads(text)
        next(iter(model["Version"].values()))["version_identifier"] = "25.2"
        next(iter(model["RunPeriod"].values()))["begin_month"] = FIRST_MONTH
        next(iter(model["Timestep"].values()))["number_of_timesteps_per_hour"] = steps_per_hour
        for drawing in ("Output:Surfaces:Drawing", "Output:Table:SummaryReports", "Output:VariableDictionary"):
            model.pop(drawing, None)
        self._model = self._folder / "model.epJSON"
        self._model.write_text(json.dumps(model))
        self._steps_per_day = 24 * steps_per_hour
        self.read = 0.0

    def __call__(self, seconds: float) -> float:
        """Return the steps per second of a run of about ``seconds``."""
        exchange, runtime = self._api.exchange, self._api.runtime
        state = self._api.state_manager.new_state()
        runtime.set_console_output_status(state, False)
        for name, key in SENSORS:
            exchange.request_variable(state, name, key)
        handles: dict[str, list[int]] = {}
        steps, first, last = 0, 0.0, 0.0

        def step(state: Any) -> None:
            nonlocal steps, first, last
            if not exchange.api_data_fully_ready(state) or exchange.warmup_flag(state):
                return
            if exchange.kind_of_sim(state) != WEATHER_RUN:
                return
            if not handles:
                handles["read"] = [exchange.get_variable_handle(state, *one) for one in SENSORS]
                handles["write"] = [
                    exchange.get_actuator_handle(state, "Schedule:Compact", "Schedule Value", name)
                    for name, _, _ in SET_POINTS
                ]
                if min(*handles["read"], *handles["write"]) < 0:
                    raise RuntimeError(f"EnergyPlus must know every sensor and schedule, got {handles}.")
            self.read += sum(exchange.get_variable_value(state, one) for one in handles["read"])
            share = 0.5 + 0.5 * math.sin(2.0 * math.pi * steps / self._steps_per_day)
            for handle, (_, low, high) in zip(handles["write"], SET_POINTS, strict=True):
                exchange.set_actuator_value(state, handle, low + (high - low) * share)
            last = time.perf_counter()
            if steps == WARM_STEPS:
                first = last
            steps += 1
            if steps > WARM_STEPS and last - first > seconds:
                runtime.stop_simulation(state)

        runtime.callback_begin_zone_timestep_after_init_heat_balance(state, step)
        # EnergyPlus steps into the folder of its output and stays there.
        here = os.getcwd()
        code = runtime.run_energyplus(state, ["-w", self._weather, "-d", str(self._folder), str(self._model)])
        os.chdir(here)
        self._api.state_manager.delete_state(state)
        if steps <= 2 * WARM_STEPS:
            raise RuntimeError(f"EnergyPlus must run, got {steps} steps and code {code}: see {self._folder}.")
        return (steps - 1 - WARM_STEPS) / (last - first)


def measured_rows(rounds: int, seconds: float) -> dict[str, Any]:
    """Measure our side alone."""
    result = {}
    for rows in ROWS:
        sides = {str(n): ours(rows, n) for n in THREADS}
        rates = interleaved(sides | {"cpu": ours(rows, 1, time.thread_time)}, rounds, seconds)
        result[str(rows)] = {
            "steps_per_s": {n: median(rates, n) for n in rates},
            "best": {n: max(rates[n]) for n in rates},
            "gain": ratio(rates, "2", "1"),
        }
    return result


def measured_peer(rounds: int, seconds: float) -> dict[str, Any]:
    """Measure both sides in turn."""
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for steps_per_hour in STEPS_PER_HOUR:
            sides = {"rlops": ours(PEER_ROWS, 1), "default": ours(PEER_ROWS, None), "single": ours(1, 1)}
            sides["EnergyPlus"] = EnergyPlusLoop(steps_per_hour, folder)
            rates = interleaved(sides, rounds, seconds)
            result[str(60 // steps_per_hour)] = {
                "steps_per_s": {name: median(rates, name) for name in rates},
                "ratios": {name: ratio(rates, name, "EnergyPlus") for name in ("rlops", "default", "single")},
            }
    return result


def main() -> None:
    """Measure, print and write."""
    options = arguments(__doc__ or "")
    rows = measured_rows(options.rounds, options.seconds)
    show(
        f"DatacenterCooling-v1, environment steps/s of 12 substeps, {os.cpu_count()} cores, random actions "
        "(target at 256 rows, two threads: ≥ 100 k/s)",
        ("rows", "1 thread", "2 threads", "gain", "best of 2 threads", "1 thread, per CPU second"),
        [
            (
                n,
                *(per_second(one["steps_per_s"][t]) for t in ("1", "2")),
                f"{one['gain']:.2f}x",
                per_second(one["best"]["2"]),
                per_second(one["steps_per_s"]["cpu"]),
            )
            for n, one in rows.items()
        ],
    )
    if not BUILDING.exists():
        print(f"EnergyPlus is left out: {BUILDING} does not exist", file=sys.stderr)
        write("cooling", {"rows": rows})
        return
    peer = measured_peer(options.rounds, options.seconds)
    show(
        f"Against the loop of EnergyPlus ({PEER_ROWS} rows unless said; target ≥ 25x in steps)",
        ("EnergyPlus' step", "EnergyPlus", "1 row", "1 thread", "default", "ratio of steps", "of simulated minutes"),
        [
            (
                f"{minutes} min",
                *(per_second(one["steps_per_s"][name]) for name in ("EnergyPlus", "single", "rlops", "default")),
                " / ".join(f"{one['ratios'][name]:.1f}x" for name in ("single", "rlops", "default")),
                " / ".join(f"{one['ratios'][name] / int(minutes):.1f}x" for name in ("single", "rlops", "default")),
            )
            for minutes, one in peer.items()
        ],
    )
    write("cooling", {"rows": rows, "energyplus": peer})


if __name__ == "__main__":
    main()
