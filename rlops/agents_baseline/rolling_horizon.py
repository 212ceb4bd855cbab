"""Rolling horizon: OR-tools plans the open bookings of Dispatch v2 again and again, and commits late.

**Epochs.** A routing problem is made of the present plans (whose stops keep their vehicle and their order, as
in the environment) and of the visible open bookings, when one of them is new and else every
:data:`REPLAN_MIN`. Prices are those of the reward; one expected speed, the mean of the coming hour, stands
for the profile. A vehicle may take a booking that the mask allows it now.

**Execution.** The solution is an intention. Only bookings whose boarding is due within :data:`COMMIT_MIN` are
assigned, to the vehicle that the solution chose; the environment inserts them where its own belief finds it
cheapest, which is mostly but not always where the solution had them. The others stay open and are planned
again.

**Fallback.** The solver runs in a process of its own under its own time limit. If it answers late, the
process is ended and a new one is started for the next epoch; if it has no solution, or ends, the epoch has
none. Then the last solution stays in force, and bookings without one get the cheapest insertion. So does a
booking that a solution leaves out, or whose vehicle the mask has come to forbid, once its window closes. A
solver that fails :data:`MOST_FAILURES` times in a row is given up with a warning.
"""

from __future__ import annotations

import importlib.util
import json
import math
import queue
import subprocess
import sys
import threading
import warnings
import weakref
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rlops.errors import InvalidValue, MissingExtra

REPLAN_MIN = 5.0
"""[min] Longest time between two solutions while bookings are open."""
COMMIT_MIN = 20.0
"""[min] A booking is assigned when its planned boarding is not farther away than this."""
LAST_CALL_MIN = 5.0
"""[min] This long before its window closes, a booking without an intention gets the cheapest insertion."""
LIMIT_S = 1.0
"""[s] What the solver is given for one problem; a descent mostly takes a tenth of it."""
GRACE_S = 2.0
"""[s] What the guard grants beyond the limit before it ends the solver."""
START_S = 60.0
"""[s] What it grants in addition to a solver that has just been started."""
MOST_FAILURES = 3
"""[-] Processes in a row that are started in vain."""
WORKER = (sys.executable, "-m", "rlops.agents_baseline.routing")


class GuardedSolver:
    """A solver in a process of its own that cannot hold up its caller longer than the guard allows.

    The process is started with the first problem, ended when it is too late, and ended with this object.
    """

    def __init__(self, command: tuple[str, ...] = WORKER, grace_s: float = GRACE_S, start_s: float = START_S):
        """Run ``command``, which answers a line for a line; see :mod:`rlops.agents_baseline.routing`."""
        self.command, self.grace_s, self.start_s = command, grace_s, start_s
        self.failures = 0
        """Processes in a row that were late, or ended by themselves."""
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._release: Any = None

    def answer(self, problem: dict[str, Any]) -> Any:
        """Return the answer to ``problem``, or None if there is none in time."""
        if self.failures == MOST_FAILURES:
            return None
        patience_s = problem["limit_s"] + self.grace_s
        if self._process is None:
            self._start()
            patience_s += self.start_s
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(problem) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=patience_s)
            answer = json.loads(line)
            self.failures = 0
            return answer
        except (queue.Empty, OSError, ValueError):  # late, gone, or no answer
            self.close()
        self.failures += 1
        if self.failures == MOST_FAILURES:
            warnings.warn(
                f"The solver {' '.join(self.command)} was late or ended {MOST_FAILURES} times in a row and "
                "is not asked again: bookings get the cheapest insertion. Its messages are on standard error.",
                RuntimeWarning,
                stacklevel=2,
            )
        return None

    def close(self) -> None:
        """End the process; the next problem starts another."""
        if self._process is not None:
            self._release()
        self._process = None

    def _start(self) -> None:
        process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(target=_read, args=(process, answers), daemon=True)
        reader.start()
        self._process, self._answers = process, answers
        self._release = weakref.finalize(self, _end, process, reader)


def _read(process: subprocess.Popen[str], answers: queue.SimpleQueue[str]) -> None:
    """Pass on what the process writes, and an empty line at its end."""
    assert process.stdout is not None
    for line in process.stdout:
        answers.put(line)
    answers.put("")


def _end(process: subprocess.Popen[str], reader: threading.Thread) -> None:
    process.kill()
    process.wait()
    reader.join()
    for pipe in (process.stdin, process.stdout):
        try:
            if pipe is not None:
                pipe.close()
        except OSError:  # what was not written is lost with the process
            pass


@dataclass
class Intention:
    """What the last solution means to do with the open bookings of one row."""

    key: int
    """Of the episode."""
    solved_min: float = -math.inf
    vehicle: dict[int, tuple[int, float]] = field(default_factory=dict)
    """By booking: the vehicle, and when boarding begins [min]."""
    known: frozenset[int] = frozenset()
    """Bookings that the last epoch has seen."""
    failed: bool = False
    """Whether the last epoch had no solution."""


class RollingHorizon:
    """Plans with OR-tools and a guard; see the module."""

    name = "rolling_horizon"

    def __init__(self, limit_s: float = LIMIT_S, commit_min: float = COMMIT_MIN, solver: GuardedSolver | None = None):
        """Give the solver ``limit_s`` for a problem and assign bookings ``commit_min`` before they begin.

        Raises:
            InvalidValue: If ``limit_s`` is not above 0.
            MissingExtra: If OR-tools is not installed.
        """
        if not limit_s > 0.0:
            raise InvalidValue(f"limit_s must be above 0 s, got {limit_s!r}.")
        if solver is None and importlib.util.find_spec("ortools") is None:
            raise MissingExtra(f"The controller {self.name}", "solvers")
        self.limit_s, self.commit_min = limit_s, commit_min
        self.solver = solver or GuardedSolver()
        self._intentions: dict[int, Intention] = {}

    def close(self) -> None:
        """End the solver's process."""
        self.solver.close()

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row, ``(n,)`` int64."""
        return np.array(
            [self._action(i, envs.params[i], envs.state[i], mask) for i, mask in enumerate(masks)], np.int64
        )

    def _action(self, i: int, p: Any, s: Any, mask: np.ndarray) -> int:
        """Return the next assignment that is due in row ``i``, or ADVANCE, the action after the pairs."""
        vehicles = len(s["mode"])
        advance = len(s["slot"]) * vehicles
        slots = {int(b): k for k, b in enumerate(s["slot"]) if b >= 0}
        if not slots or not mask[:advance].any():
            return advance
        now_min = float(s["now_min"])
        intention = self._intentions.get(i)
        if intention is None or intention.key != int(s["key"]) or intention.solved_min > now_min:
            intention = self._intentions[i] = Intention(int(s["key"]))
        age_min = now_min - intention.solved_min
        if age_min >= REPLAN_MIN or (age_min > 0.0 and not slots.keys() <= intention.known):
            self._replan(intention, p, s, slots)
        for b, k in slots.items():
            legal = np.flatnonzero(mask[k * vehicles : (k + 1) * vehicles])
            if len(legal) == 0:
                continue
            v, begin_min = intention.vehicle.get(b, (-1, math.inf))
            if v in legal:
                if begin_min <= now_min + self.commit_min:
                    return k * vehicles + v
            elif intention.failed or s["bookings"][b]["latest_min"] <= now_min + LAST_CALL_MIN:
                cost_usd = s["pair_usd"][s["row_of"][b], legal]
                return k * vehicles + int(legal[np.argmin(cost_usd)])
        return advance

    def _replan(self, intention: Intention, p: Any, s: Any, slots: dict[int, int]) -> None:
        """Solve the present problem; without a solution the old intentions stay."""
        problem, pickups, vehicles = routing_problem(p, s, list(slots), self.limit_s)
        intention.solved_min, intention.known = float(s["now_min"]), frozenset(slots)
        answer = self.solver.answer(problem) if pickups else None
        intention.failed = answer is None and bool(pickups)
        if answer is not None:
            intention.vehicle = {
                b: (vehicles[int(answer[at][0])], answer[at][1]) for b, at in pickups.items() if answer[at] is not None
            }


def routing_problem(
    p: Any, s: Any, bookings: list[int], limit_s: float
) -> tuple[dict[str, Any], dict[int, int], list[int]]:
    """Return the routing problem of a row of v2: plans and open ``bookings``.

    Also returned: the number of the pickup of every booking that somebody may take, and the vehicles that
    take part.
    """
    now_min = float(s["now_min"])
    quarters_min = 15.0 * np.arange(len(s["expected_reach_km"]))
    reach_km = np.interp([now_min, now_min + 60.0], quarters_min, s["expected_reach_km"])
    allowed = {b: np.flatnonzero(s["pair_ok"][s["row_of"][b]]).tolist() for b in bookings}
    allowed = {b: choices for b, choices in allowed.items() if choices}
    numbers = sorted({v for choices in allowed.values() for v in choices})
    stops: list[dict[str, Any]] = []
    problem = {
        "limit_s": limit_s,
        "km_per_min": max(float(reach_km[1] - reach_km[0]) / 60.0, 1e-3),
        "circuity": float(p["circuity"]),
        "km_usd": float(p["km_cost_usd"]),
        "refuse_usd": float(p["fare_usd"] + p["miss_cost_usd"]),
        "vehicles": [_vehicle(p, s, v, stops) for v in numbers],
        "stops": stops,
    }
    pickups = {}
    for b, choices in allowed.items():
        pickups[b] = len(stops)
        stops.extend(_booking(p, s, b, [numbers.index(v) for v in choices], len(stops)))
    return problem, pickups, numbers


def _vehicle(p: Any, s: Any, v: int, stops: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a vehicle as it will be when it is free to go elsewhere, and add the stops of its plan."""
    first = int(s["committed"][v])
    x, y, start_min = s["x_km"][v], s["y_km"][v], max(s["now_min"], s["believed_min"][v])
    amb, wc = int(s["onboard_amb"][v]), int(s["onboard_wc"][v])
    if first:
        x, y, start_min = s["stop_x_km"][v, 0], s["stop_y_km"][v, 0], s["end_min"][v, 0]
        amb, wc = int(s["left_amb"][v, 0]), int(s["left_wc"][v, 0])
    at = len(stops)
    load = [amb, wc]
    for m in range(first, int(s["stops"][v])):
        stops.append(_planned(p, s, v, m, load))
        load = [int(s["left_amb"][v, m]), int(s["left_wc"][v, m])]
    return {
        "x": float(x), "y": float(y), "start_min": float(start_min), "amb": amb, "wc": wc,
        "cap_amb": max(int(p["cap_amb"]), amb), "cap_wc": max(int(p["cap_wc"]), wc),
        "stops": list(range(at, len(stops))),
    }  # fmt: skip


def _planned(p: Any, s: Any, v: int, m: int, load: list[int]) -> dict[str, Any]:
    """Return stop ``m`` of a plan, which must be served; ``load`` is on board before it."""
    stop = {
        "x": float(s["stop_x_km"][v, m]), "y": float(s["stop_y_km"][v, m]),
        "serve_min": float(s["serve_min"][v, m]),
        "opens_min": None, "due_min": None, "last_min": None, "pickup": None, "vehicles": None,
        "amb": int(s["left_amb"][v, m]) - load[0], "wc": int(s["left_wc"][v, m]) - load[1],
    }  # fmt: skip
    picked_at = int(s["picked_at"][v, m])
    if picked_at == -2:
        if math.isfinite(s["due_min"][v, m]):
            stop["opens_min"], stop["due_min"] = float(s["opens_min"][v, m]), float(s["due_min"][v, m])
            stop["usd_per_min"] = float(p["late_cost_usd_per_min"])
        return stop
    # Softly: the present plan must stay feasible whatever the speed.
    aboard_min = s["begin_min"][v, m] - s["ride_min"][v, m]
    stop["due_min"] = float(max(aboard_min + s["limit_min"][v, m], s["begin_min"][v, m]))
    stop["usd_per_min"] = float(p["ride_cost_usd_per_min"])
    return stop


def _booking(p: Any, s: Any, b: int, vehicles: list[int], at: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return pickup and drop-off of an open booking, which may be left out at the price of a miss."""
    booking = s["bookings"][b]
    wheelchair = booking["wheelchair"] > 0
    amb, wc = int(booking["ambulatory"]), int(booking["wheelchair"])
    limit_min = max(float(p["ride_limit_min"]), float(p["ride_limit_factor"]) * float(booking["direct_min"]))
    pickup = {
        "x": float(booking["pickup_x_km"]), "y": float(booking["pickup_y_km"]), "amb": amb, "wc": wc,
        "serve_min": float(p["board_wc_min"] if wheelchair else p["board_amb_min"]),
        "opens_min": float(booking["earliest_min"]), "due_min": float(booking["latest_min"]),
        "last_min": float(booking["expires_min"]), "usd_per_min": float(p["late_cost_usd_per_min"]),
        "pickup": None, "vehicles": vehicles,
    }  # fmt: skip
    dropoff = {
        "x": float(booking["dropoff_x_km"]), "y": float(booking["dropoff_y_km"]), "amb": -amb, "wc": -wc,
        "serve_min": float(p["alight_wc_min"] if wheelchair else p["alight_amb_min"]),
        "opens_min": None, "due_min": None, "last_min": None,
        "pickup": at, "ride_min": limit_min, "vehicles": vehicles,
    }  # fmt: skip
    return pickup, dropoff
