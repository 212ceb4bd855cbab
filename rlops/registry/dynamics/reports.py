"""What a check found, for machines: JSON and JUnit XML."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import rlops
from rlops.agents_baseline.evaluate import finite
from rlops.files import written
from rlops.registry.dynamics.check import CANNOT_JUDGE, ERROR, Level, Result, check_id
from rlops.registry.dynamics.negative import negative_checks
from rlops.registry.dynamics.traces import CHANGED, SAME

FORMAT = 1


def examined(
    id: str, folder: str | Path, levels: Sequence[str], *, brief: bool = False, reference: Any = None, threads: int = 1
) -> Result:
    """Return the result of a check at ``levels``, those of :func:`check_id` and ``N``: what must hold anyway."""
    result = check_id(
        id, folder, [level for level in levels if level != "N"], brief=brief, reference=reference, threads=threads
    )
    return _with_negative(result) if "N" in levels else result


def _with_negative(result: Result) -> Result:
    started = time.perf_counter()
    findings = negative_checks(result.id)
    broken = [f"{one.name}: {one.told}" for one in findings if one.holds is False]
    told = "; ".join(broken) or f"{sum(one.holds is True for one in findings)} of {len(findings)} apply, and hold"
    level = Level("N", CHANGED if broken else SAME, told)
    changed = result
    if broken and result.verdict not in (CHANGED, "error"):
        changed = replace(result, verdict=CHANGED, told="it breaks what must hold of any environment")
    return replace(changed, levels=(*result.levels, level), seconds=result.seconds + time.perf_counter() - started)


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Return results ready for JSON; what is not a number there becomes null."""
    told = [finite(result.as_json()) for result in results]
    return {"format": FORMAT, "rlops": rlops.__version__, "results": told}


def write_junit(results: Sequence[Result], path: str | Path) -> None:
    """Write results as JUnit XML: a suite an environment, a case a level."""
    suites = ET.Element("testsuites", name="rlops check")
    for result in results:
        suite = ET.SubElement(suites, "testsuite", name=result.id, time=f"{result.seconds:.3f}")
        counts = {"failures": 0, "errors": 0, "skipped": 0}
        for level in result.levels or (Level("golden file", result.verdict, result.told),):
            case = ET.SubElement(suite, "testcase", classname=result.id, name=level.name)
            if level.status == CHANGED:
                ET.SubElement(case, "failure", message=level.told).text = str(result)
                counts["failures"] += 1
            elif level.status == CANNOT_JUDGE:
                ET.SubElement(case, "skipped", message=level.told)
                counts["skipped"] += 1
            elif level.status == ERROR:
                ET.SubElement(case, "error", message=level.told.splitlines()[-1]).text = level.told
                counts["errors"] += 1
        suite.attrib.update({name: str(count) for name, count in {"tests": len(suite), **counts}.items()})
    ET.indent(suites)
    with written(path) as partial:
        partial.write_bytes(ET.tostring(suites, encoding="utf-8", xml_declaration=True))
