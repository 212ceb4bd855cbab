"""The kernels of Dispatch-v1 and DatacenterCooling-v1 against the same kernels in C, on the same arrays.

The C side (``dispatch_v1.c``, ``cooling_v1.c``) is compiled here with ``gcc -O3 -march=native`` and called through
ctypes with the address table that the compiled Python side gets. First both run some thousand steps side by side, and
observations, masks, rewards, flags and whole state records must be equal bit for bit; ``-ffp-contract=off`` makes C
round as IEEE 754 and Numba do. Then both are timed, each on rows of its own that live through the same episodes.

Run ``python -m benchmarks.kernel_c`` from the root of the repository; it needs gcc.
"""

from __future__ import annotations

import ctypes
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.picker import pick
from benchmarks.rounds import RESULTS, arguments, interleaved, median, ratio, show, write
from rlops.envs.batch import Batch
from rlops.envs.contract import parameter_dtype, width
from rlops.envs.cooling import (
    DATACENTER_COOLING,
    accounts,
    elementary,
    hall,
    plant,
    psychrometrics,
    sensors,
    site,
)
from rlops.envs.cooling import kernel_v1 as cooling_v1
from rlops.envs.dispatch import DISPATCH, city
from rlops.envs.dispatch import kernel_v1 as dispatch_v1
from rlops.envs.loops import ARRAYS, HEAD, STEP_OR_RESET

FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-std=gnu11", "-shared", "-fPIC", "-Wall")
HERE = Path(__file__).parent
ACTION_SETS = 64
"""Random vectors of actions, taken in turn."""
C_TYPES = {
    "f8": "double",
    "f4": "float",
    "i8": "int64_t",
    "u8": "uint64_t",
    "i4": "int32_t",
    "i2": "int16_t",
    "i1": "int8_t",
    "b1": "uint8_t",
}


@dataclass(frozen=True)
class Yardstick:
    """A kernel and the same kernel in C."""

    title: str
    family: Any
    kernel: Any
    source: str
    rows: tuple[int, ...]
    checked: tuple[int, int]
    """Rows and steps that are compared."""
    params: Mapping[str, Any]
    """Parameters of the rows that are compared: short episodes, so that they end and begin anew."""
    integers: Mapping[Any, str]
    """Names that C takes from a module, ``C:PYTHON`` where they differ; leading underscores are dropped."""
    numbers: Mapping[Any, str]
    tables: Mapping[Any, str]
    records: Mapping[str, np.dtype]
    """Records within the state."""
    flags: tuple[str, ...] = ()
    """Of the compiler, beside FLAGS."""


DISPATCH_V1 = Yardstick(
    "Dispatch-v1",
    DISPATCH,
    dispatch_v1,
    "dispatch_v1.c",
    rows=(64, 1024),
    checked=(16, 6000),
    params={},
    integers={
        dispatch_v1: """
        VEHICLES SLOTS PAIRS ADVANCE ACTION RECENT_MIN SLOT_ROWS
        OFF IDLE HOLDING TO_PICKUP AT_PICKUP RIDING ALIGHTING VOID FARE DISTANCE LATENESS EXCESS_RIDE MISS
        PICKUP_X PICKUP_Y EARLIEST LATEST EXPIRES AMBULATORY WHEELCHAIR
        _AT_FLEET _FREE_IN _AT_TIMES _AT_ETA _AT_LATE _WIDTH _SEEN_MODE _SEEN_SLOTS _SEEN""",
        city: """
        MAX_BOOKINGS QUARTERS ZONES HIDDEN OPEN ASSIGNED ONBOARD DONE MISSED NO_SHOW CANCELLED
        DEMAND_DAY TRAFFIC_DAY CONGESTION COUNT ASKED PREBOOKED LENGTH HEADING HOT HOT_SPOT ANCHOR_X ANCHOR_Y
        DIRECTED SWAPPED COMPANION BOARD ALIGHT NO_SHOWS CANCELS CANCEL_TIME LEG_NOISE _HOURS _PER_HOUR _HEADINGS
        WHEELCHAIR_STREAM:WHEELCHAIR""",
    },
    numbers={
        dispatch_v1: """
        LATE_CAP_MIN PACE_WEIGHT PACE_LEAST_MIN _PER_WINDOW_MIN _PER_HOUR_MIN _PER_LATE_MIN _PER_OPEN
        _PER_FLEET_KM _PER_MISSED _PER_PLACE""",
        city: """
        HORIZON_MIN END_MIN QUARTER_MIN HOT_SPOT_SD_KM BOARD_CV_AMB BOARD_CV_WC LATE_CANCEL_MIN
        MAX_DEMAND_PER_DAY""",
    },
    tables={
        dispatch_v1: "_CLOCK_SIN _CLOCK_COS",
        city: "DEMAND_SHARE SPEED_SHAPE LENGTH_LOG_MEAN LENGTH_LOG_SD HOT_SPOTS MORNING_MIN AFTERNOON_MIN",
    },
    records={"Booking": city.BOOKING},
)
COOLING_V1 = Yardstick(
    "DatacenterCooling-v1",
    DATACENTER_COOLING,
    cooling_v1,
    "cooling_v1.c",
    rows=(64, 256),
    checked=(16, 3000),
    params={
        "horizon_min": 200,
        "load_mean": 0.3,
        "valve_hysteresis": 0.03,
        "valve_stiction": 0.02,
        "shift_per_day": 20,
    },
    integers={
        cooling_v1: "ZONES FAN VALVE CHILLED_SET TOWER_FAN_WANTED PER_ZONE OF_PLANT OF_WEATHER",
        accounts: """
        SUBSTEPS HISTORY_MIN QUARTER_MIN ENERGY OVER_RECOMMENDED UNDER_RECOMMENDED OVER_ALLOWABLE RATE WEAR STORED
        RUNAWAY CPU SERVER_FAN HANDLER_FAN PUMP TOWER_FAN COMPRESSOR SUPPLY LIGHTS""",
        hall: "SERVERS",
        psychrometrics: "_NEWTON_STEPS",
        site: "START WEATHER ZONE_NOISE BURST SHARES SHIFT SENSOR DAY_MIN DAY_H",
        sensors: "SUPPLY_SENSOR:SUPPLY INLET HOT KINDS",
        elementary: "_MANTISSA _BIAS _ROOT_HALF",
    },
    numbers={
        cooling_v1: "LEAST_FAN COLDEST_SET_C WARMEST_SET_C",
        accounts: """
        SUBSTEP_S J_PER_KWH REFERENCE_INLET_C RECOMMENDED_C LEAST_RECOMMENDED_C ALLOWABLE_C QUARTER_K HOUR_K
        KG_CO2_PER_KWH RUNAWAY_C RUNAWAY_S RUNAWAY_SERVER_C STORED_COP WORST_COP RUNAWAY_FACTOR""",
        hall: """
        AIR_J_PER_KG_K WATER_J_PER_KG_K SERVER_J_PER_K SERVER_UA_W_PER_K SERVER_UA_FLOW_KG_PER_S SERVER_FLOW_KG_PER_S
        SERVER_FAN_W COLD_J_PER_K HOT_J_PER_K RETURN_J_PER_K COIL_J_PER_K STRUCTURE_J_PER_K STRUCTURE_W_PER_K
        HANDLER_FLOW_KG_PER_S HANDLER_FAN_W COIL_UA_W_PER_K COIL_WATER_KG_PER_S LOG_RANGEABILITY VALVE_CLOSED
        FAN_STOPPED""",
        plant: """
        LOOP_J_PER_K EVAPORATOR_APPROACH_K CONDENSER_APPROACH_K CONDENSER_APPROACH_PER_LOAD_K LEAST_LIFT_K
        LEAST_ENTERING_C LEAST_LOAD CONDENSER_KG_PER_S BASIN_J_PER_K TOWER_AIR_KG_PER_S TOWER_FAN_W TOWER_FAN_STOPPED
        CHILLED_PUMP_KG_PER_S CHILLED_PUMP_W CHILLED_PUMP_STANDING_W CONDENSER_PUMP_W UPS_W UPS_LINEAR UPS_SQUARE
        DISTRIBUTION LIGHTS_W EVAPORATION_J_PER_KG CYCLES""",
        psychrometrics: "_WATER_FROM_AIR _CLOSE_ENOUGH_K",
        site: """
        YEAR_D WARMEST_DAY WARMEST_HOUR _WEATHER_KEEPS _WEATHER_RENEWS _NOISE_KEEPS _NOISE_RENEWS BURST_HEIGHT
        _BURST_KEEPS LOAD_DAY LOAD_WEEKEND LEAST_UTILISATION""",
        elementary: "_PER_LN_2 _LN_2_HIGH _LN_2_LOW _ROUND LEAST",
    },
    tables={plant: "PART_LOAD TOWER_CUBIC:TOWER_FAN"},
    records={},
    flags=("-fno-trapping-math", "-fno-math-errno", "-ffinite-math-only", "-fno-signed-zeros"),
)

Step = Callable[[Batch, np.ndarray], int]


def struct(name: str, dtype: np.dtype, records: Mapping[str, np.dtype]) -> str:
    """Return a record dtype as a C struct, with assertions that every field lies where NumPy puts it."""
    assert dtype.names is not None
    assert dtype.fields is not None
    known = {record: c_name for c_name, record in records.items()}
    fields, checks = [], []
    for field in dtype.names:
        kind, offset = dtype.fields[field][:2]
        shape = "".join(f"[{n}]" for n in kind.shape)
        fields.append(f"    {known.get(kind.base) or C_TYPES[kind.base.str[1:]]} {field}{shape};")
        checks.append(f'_Static_assert(offsetof({name}, {field}) == {offset}, "{field}");')
    checks.append(f'_Static_assert(sizeof({name}) == {dtype.itemsize}, "size");')
    return "\n".join(["typedef struct {", *fields, f"}} {name};", *checks])


def named(sources: Mapping[Any, str]) -> Iterator[tuple[str, Any]]:
    """Return the names that C takes from modules, and their values."""
    for module, names in sources.items():
        for name in names.split():
            in_c, _, in_python = name.rpartition(":")
            yield in_c or in_python.lstrip("_"), getattr(module, in_python)


def header(yardstick: Yardstick) -> str:
    """Return layout, constants and tables of a kernel for C."""
    kernel = yardstick.kernel
    lines = ["#include <stddef.h>", "#include <stdint.h>"]
    lines += [f"#define {name} {int(value)}" for name, value in named(yardstick.integers)]
    lines += [f"#define FIGURES {len(kernel.KPIS)}", f"#define TERMS {kernel.STATE['terms'].shape[0]}"]
    if not isinstance(kernel.ACTION, int):
        lines += [f"#define ACTION {width(kernel.ACTION)}", f"#define WIDTH {width(kernel.OBSERVATION)}"]
        lines += [f"#define CONSUMERS {len(accounts.CONSUMERS)}"]
    lines += [f"#define TABLE_{name.upper()} {HEAD + at}" for at, name in enumerate(ARRAYS)]
    lines += [f"#define {name} {float(value).hex()}" for name, value in named(yardstick.numbers)]
    for name, value in named(yardstick.tables):
        table = np.asarray(value, np.float64)
        numbers = ", ".join(float(x).hex() for x in table.ravel())
        shape = "".join(f"[{n}]" for n in table.shape)
        if table.ndim == 2:
            numbers = ", ".join("{" + ", ".join(float(x).hex() for x in row) + "}" for row in table)
        lines.append(f"static const double {name}{shape} = {{{numbers}}};")
    records = {**yardstick.records, "Params": parameter_dtype(kernel.PARAMETERS), "State": kernel.STATE}
    return "\n".join([*lines, *(struct(name, dtype, yardstick.records) for name, dtype in records.items()), ""])


def compiled_c(yardstick: Yardstick) -> Step:
    """Compile the C side and return its step."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    generated, library = (RESULTS / Path(yardstick.source).with_suffix(suffix) for suffix in (".h", ".so"))
    generated.write_text(header(yardstick))
    inputs = (f'-DGENERATED="{generated}"', str(HERE / yardstick.source), "-o", str(library), "-lm")
    subprocess.run(["gcc", *FLAGS, *yardstick.flags, *inputs], check=True)
    function = ctypes.CDLL(str(library)).step_rows
    function.restype = ctypes.c_int64
    function.argtypes = (ctypes.c_uint64, ctypes.c_void_p)
    return lambda batch, actions: function(batch.out.address, actions.ctypes.data)


def compiled_numba(batch: Batch, actions: np.ndarray) -> int:
    """Step the Numba side into its present buffers, past the face."""
    return batch._do(batch.out.address, id(actions), STEP_OR_RESET)


def batch_of(yardstick: Yardstick, rows: int, params: Mapping[str, Any] | None = None) -> Batch:
    """Return freshly reset rows."""
    batch = Batch(yardstick.family, 1, rows, params=dict(params or {}), threads=1)
    batch.seed(np.arange(rows), list(range(rows)))
    batch.reset()
    return batch


def chooser(yardstick: Yardstick, rows: int) -> tuple[np.ndarray, Callable[[Batch, int], None]]:
    """Return an array of actions and what writes random ones into it."""
    if isinstance(yardstick.kernel.ACTION, int):
        legal = np.zeros(rows, np.int64)
        return legal, lambda batch, number: pick(batch.out.mask, number, legal)
    drawn = np.random.default_rng(0).uniform(-1.0, 1.0, (ACTION_SETS, rows, width(yardstick.kernel.ACTION)))
    actions = np.zeros(drawn.shape[1:])

    def write_one(batch: Batch, number: int) -> None:
        actions[:] = drawn[number % ACTION_SETS]

    return actions, write_one


def differences(yardstick: Yardstick, c: Step) -> list[str]:
    """Run both sides side by side and say where they differ; nothing if they are equal bit for bit."""
    kernel, (rows, steps) = yardstick.kernel, yardstick.checked
    sides = [(batch_of(yardstick, rows, yardstick.params), step) for step in (compiled_numba, c)]
    (a, _), (b, _) = sides
    actions, choose = chooser(yardstick, rows)
    ended = 0
    for number in range(steps):
        choose(a, number)
        if isinstance(kernel.ACTION, int) and number % 97 == 0:  # an illegal action now and then
            actions[number % rows] = number % kernel.ACTION
        codes = [step(batch, actions) for batch, step in sides]
        ended += codes[0]
        pairs = {
            name: (getattr(a.out, name), getattr(b.out, name))
            for name in ("obs", "mask", "reward", "terminated", "truncated", "terms", "kpis", "ended")
        }
        pairs["state"] = (a.state, b.state)
        found = [name for name, (x, y) in pairs.items() if x.tobytes() != y.tobytes()]
        if found or codes[0] != codes[1]:
            fields = [
                f"{field} of row {row}"
                for field in kernel.STATE.names or ()
                for row in range(rows)
                if a.state[field][row].tobytes() != b.state[field][row].tobytes()
            ]
            return [f"step {number}: {', '.join(found)}", *fields[:10]]
    print(f"{yardstick.title}: {rows} rows x {steps} steps, {ended} episodes: equal bit for bit")
    return []


def side(yardstick: Yardstick, rows: int, step: Step) -> Callable[[float], float]:
    """Return the rate of ``step`` alone [rows/s] with random legal actions; choosing them is not timed."""
    batch, numbers = batch_of(yardstick, rows), itertools.count()
    actions, choose = chooser(yardstick, rows)

    def rate(seconds: float) -> float:
        spent, calls = 0.0, 0
        while spent < seconds:
            choose(batch, next(numbers))
            begin = time.perf_counter()
            step(batch, actions)
            spent += time.perf_counter() - begin
            calls += 1
        return calls * rows / spent

    return rate


def measured(yardstick: Yardstick, rounds: int, seconds: float) -> dict[str, Any]:
    """Verify one kernel, measure it, print and return the figures."""
    c = compiled_c(yardstick)
    wrong = differences(yardstick, c)
    if wrong:
        sys.exit(f"The two sides of {yardstick.title} differ: " + "; ".join(wrong))
    rows, result = [], {}
    for n in yardstick.rows:
        sides = {"Numba": side(yardstick, n, compiled_numba), "C": side(yardstick, n, c)}
        rates = interleaved(sides, rounds, seconds)
        ns = {name: 1e9 / median(rates, name) for name in sides}
        times = ratio(rates, "C", "Numba")
        rows.append((str(n), f"{ns['Numba']:.0f}", f"{ns['C']:.0f}", f"{times:.2f}"))
        result[str(n)] = {"ns_per_row": ns, "time_numba_over_c": times}
    show(
        f"{yardstick.title}, one thread, ns a row: step, observation, mask and resets",
        ("rows", "Numba", "C", "time Numba / C (target ≤ 1.2)"),
        rows,
    )
    return result


def main() -> None:
    """Verify, measure, print and write."""
    options = arguments(__doc__ or "")
    result = {one.title: measured(one, options.rounds, options.seconds) for one in (DISPATCH_V1, COOLING_V1)}
    write("kernel_c", {"flags": FLAGS, "kernels": result})


if __name__ == "__main__":
    main()
