"""The kernel of Dispatch-v1 against the same kernel in C (``dispatch_v1.c``), on the same arrays.

The C side is compiled here with ``gcc -O3 -march=native`` and called through ctypes with the address table that the
compiled Python side gets. First both run some thousand steps side by side, and observations, masks, rewards, flags
and whole state records must be equal bit for bit; ``-ffp-contract=off`` makes C round as IEEE 754 and Numba do. Then
both are timed at 64 and 1,024 rows, each on rows of its own that live through the same episodes.

Run ``python -m benchmarks.kernel_c`` from the root of the repository; it needs gcc.
"""

from __future__ import annotations

import ctypes
import itertools
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.picker import pick
from benchmarks.rounds import RESULTS, arguments, interleaved, median, ratio, show, write
from rlops.envs.batch import Batch
from rlops.envs.contract import parameter_dtype
from rlops.envs.dispatch import DISPATCH, city
from rlops.envs.dispatch import kernel_v1 as kernel
from rlops.envs.loops import ARRAYS, HEAD, STEP_OR_RESET

ROWS = (64, 1024)
CHECKED_ROWS, CHECKED_STEPS = 16, 6000
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-std=gnu11", "-shared", "-fPIC", "-Wall")
SOURCE = Path(__file__).with_name("dispatch_v1.c")
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
RECORDS = {city.BOOKING: "Booking"}

INTEGERS = {
    kernel: """
        VEHICLES SLOTS PAIRS ADVANCE ACTION RECENT_MIN SLOT_ROWS
        OFF IDLE HOLDING TO_PICKUP AT_PICKUP RIDING ALIGHTING VOID FARE DISTANCE LATENESS EXCESS_RIDE MISS
        PICKUP_X PICKUP_Y EARLIEST LATEST EXPIRES AMBULATORY WHEELCHAIR
        _AT_FLEET _FREE_IN _AT_TIMES _AT_ETA _AT_LATE _WIDTH _SEEN_MODE _SEEN_SLOTS _SEEN""",
    city: """
        MAX_BOOKINGS QUARTERS ZONES HIDDEN OPEN ASSIGNED ONBOARD DONE MISSED NO_SHOW CANCELLED
        DEMAND_DAY TRAFFIC_DAY CONGESTION COUNT ASKED PREBOOKED LENGTH HEADING HOT HOT_SPOT ANCHOR_X ANCHOR_Y
        DIRECTED SWAPPED COMPANION BOARD ALIGHT NO_SHOWS CANCELS CANCEL_TIME LEG_NOISE _HOURS _PER_HOUR _HEADINGS""",
}
NUMBERS = {
    kernel: """
        LATE_CAP_MIN PACE_WEIGHT PACE_LEAST_MIN _PER_WINDOW_MIN _PER_HOUR_MIN _PER_LATE_MIN _PER_OPEN
        _PER_FLEET_KM _PER_MISSED _PER_PLACE""",
    city: """
        HORIZON_MIN END_MIN QUARTER_MIN HOT_SPOT_SD_KM BOARD_CV_AMB BOARD_CV_WC LATE_CANCEL_MIN
        MAX_DEMAND_PER_DAY""",
}
TABLES = {
    kernel: "_CLOCK_SIN _CLOCK_COS",
    city: "DEMAND_SHARE SPEED_SHAPE LENGTH_LOG_MEAN LENGTH_LOG_SD HOT_SPOTS MORNING_MIN AFTERNOON_MIN",
}

Step = Callable[[Batch, np.ndarray], int]


def struct(name: str, dtype: np.dtype) -> str:
    """Return a record dtype as a C struct, with assertions that every field lies where NumPy puts it."""
    assert dtype.names is not None
    assert dtype.fields is not None
    fields, checks = [], []
    for field in dtype.names:
        kind, offset = dtype.fields[field][:2]
        shape = "".join(f"[{n}]" for n in kind.shape)
        fields.append(f"    {RECORDS.get(kind.base) or C_TYPES[kind.base.str[1:]]} {field}{shape};")
        checks.append(f'_Static_assert(offsetof({name}, {field}) == {offset}, "{field}");')
    checks.append(f'_Static_assert(sizeof({name}) == {dtype.itemsize}, "size");')
    return "\n".join(["typedef struct {", *fields, f"}} {name};", *checks])


def header() -> str:
    """Return layout, constants and tables of the kernel for C."""
    lines = ["#include <stddef.h>", "#include <stdint.h>"]
    for module, names in INTEGERS.items():
        lines += [f"#define {name.lstrip('_')} {int(getattr(module, name))}" for name in names.split()]
    lines += [f"#define WHEELCHAIR_STREAM {city.WHEELCHAIR}", f"#define FIGURES {len(kernel.KPIS)}"]
    lines += [f"#define TABLE_{name.upper()} {HEAD + at}" for at, name in enumerate(ARRAYS)]
    for module, names in NUMBERS.items():
        lines += [f"#define {name.lstrip('_')} {float(getattr(module, name)).hex()}" for name in names.split()]
    for module, names in TABLES.items():
        for name in names.split():
            table = np.asarray(getattr(module, name), np.float64)
            numbers = ", ".join(float(x).hex() for x in table.ravel())
            shape = "".join(f"[{n}]" for n in table.shape)
            if table.ndim == 2:
                numbers = ", ".join("{" + ", ".join(float(x).hex() for x in row) + "}" for row in table)
            lines.append(f"static const double {name.lstrip('_')}{shape} = {{{numbers}}};")
    records = {city.BOOKING: "Booking", parameter_dtype(kernel.PARAMETERS): "Params", kernel.STATE: "State"}
    return "\n".join([*lines, *(struct(name, dtype) for dtype, name in records.items()), ""])


def compiled_c() -> Step:
    """Compile the C side and return its step."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "generated.h").write_text(header())
    library = RESULTS / "dispatch_v1.so"
    command = ["gcc", *FLAGS, f"-I{RESULTS}", str(SOURCE), "-o", str(library), "-lm"]
    subprocess.run(command, check=True)
    function = ctypes.CDLL(str(library)).step_rows
    function.restype = ctypes.c_int64
    function.argtypes = (ctypes.c_uint64, ctypes.c_void_p)
    return lambda batch, actions: function(batch.out.address, actions.ctypes.data)


def compiled_numba(batch: Batch, actions: np.ndarray) -> int:
    """Step the Numba side into its present buffers, past the face."""
    return batch._do(batch.out.address, id(actions), STEP_OR_RESET)


def batch_of(rows: int) -> Batch:
    """Return freshly reset rows."""
    batch = Batch(DISPATCH, 1, rows, threads=1)
    batch.seed(np.arange(rows), list(range(rows)))
    batch.reset()
    return batch


def differences(c: Step) -> list[str]:
    """Run both sides side by side and say where they differ; nothing if they are equal bit for bit."""
    sides: list[tuple[Batch, Step]] = [(batch_of(CHECKED_ROWS), compiled_numba), (batch_of(CHECKED_ROWS), c)]
    actions = np.zeros(CHECKED_ROWS, np.int64)
    ended = 0
    for number in range(CHECKED_STEPS):
        pick(sides[0][0].out.mask, number, actions)
        if number % 97 == 0:  # an illegal action now and then
            actions[number % CHECKED_ROWS] = number % kernel.ACTION
        codes = [step(batch, actions) for batch, step in sides]
        ended += codes[0]
        (a, _), (b, _) = sides
        pairs = {
            name: (getattr(a.out, name), getattr(b.out, name))
            for name in ("obs", "mask", "reward", "terminated", "truncated", "terms", "kpis")
        }
        pairs["state"] = (a.state, b.state)
        found = [name for name, (x, y) in pairs.items() if x.tobytes() != y.tobytes()]
        if found or codes[0] != codes[1]:
            fields = [
                f"{field} of row {row}"
                for field in kernel.STATE.names or ()
                for row in range(CHECKED_ROWS)
                if a.state[field][row].tobytes() != b.state[field][row].tobytes()
            ]
            return [f"step {number}: {', '.join(found)}", *fields[:10]]
    print(f"{CHECKED_ROWS} rows x {CHECKED_STEPS} steps, {ended} episodes: equal bit for bit")
    return []


def side(batch: Batch, step: Step) -> Callable[[float], float]:
    """Return the rate of ``step`` alone [rows/s] with random legal actions; picking them is not timed."""
    actions, numbers = np.zeros(batch.rows, np.int64), itertools.count()

    def rate(seconds: float) -> float:
        spent, calls = 0.0, 0
        while spent < seconds:
            pick(batch.out.mask, next(numbers), actions)
            begin = time.perf_counter()
            step(batch, actions)
            spent += time.perf_counter() - begin
            calls += 1
        return calls * batch.rows / spent

    return rate


def main() -> None:
    """Verify, measure, print and write."""
    options = arguments(__doc__ or "")
    c = compiled_c()
    wrong = differences(c)
    if wrong:
        sys.exit("The two sides differ: " + "; ".join(wrong))
    rows, result = [], {}
    for n in ROWS:
        sides = {"Numba": side(batch_of(n), compiled_numba), "C": side(batch_of(n), c)}
        rates = interleaved(sides, options.rounds, options.seconds)
        ns = {name: 1e9 / median(rates, name) for name in sides}
        times = ratio(rates, "C", "Numba")
        rows.append((str(n), f"{ns['Numba']:.0f}", f"{ns['C']:.0f}", f"{times:.2f}"))
        result[str(n)] = {"ns_per_row": ns, "time_numba_over_c": times}
    show(
        "Dispatch-v1, one thread, ns a row: step, observation, mask and resets",
        ("rows", "Numba", "C", "time Numba / C (target ≤ 1.2)"),
        rows,
    )
    write("kernel_c", {"flags": FLAGS, "rows": result})


if __name__ == "__main__":
    main()
