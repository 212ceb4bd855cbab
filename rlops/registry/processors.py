"""Classes of processors: what machine code in an image is for, and whether this machine can run it.

A processor that lacks an instruction kills a process without a word (SIGILL), so it is asked first.
"""

from __future__ import annotations

from pathlib import Path

from rlops.errors import RuntimeUnavailable

CPUINFO = Path("/proc/cpuinfo")
_V2 = frozenset({"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"})
_V3 = _V2 | {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}
_V4 = _V3 | {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}
NEEDED = {"x86-64-v2": _V2, "x86-64-v3": _V3, "x86-64-v4": _V4}
"""Flags that a class has beyond those of every x86-64, as ``/proc/cpuinfo`` names them (x86-64 psABI, table 3.1)."""


def check_processor(name: str, cpuinfo: Path | None = None) -> None:
    """Hold this machine to the class of processors that code was compiled for.

    Args:
        name: Of the class, for example ``x86-64-v3``; another one, or none, asks for nothing.
        cpuinfo: What the system tells of its processors; None: :data:`CPUINFO`. Without it nothing is judged.

    Raises:
        RuntimeUnavailable: If this machine lacks instructions of that class.
    """
    missing = NEEDED.get(name, frozenset()) - _flags(cpuinfo or CPUINFO)
    if missing:
        raise RuntimeUnavailable(
            f"The image's compiled code is for processors of class {name}, but this one has no "
            f"{', '.join(sorted(missing))}. Run it elsewhere, make the environment in-process, or start the container "
            "by hand with NUMBA_CPU_NAME=generic: then it compiles anew, for minutes."
        )


def _flags(cpuinfo: Path) -> frozenset[str]:
    """Return the flags of the first processor; all that are known if the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return _V4
    told = next((line.partition(":")[2] for line in lines if line.startswith("flags")), None)
    return _V4 if told is None else frozenset(told.split())
