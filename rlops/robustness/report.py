"""The robustness report of a policy: played, judged and written as a page, JSON, JUnit XML and a table of episodes."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import rlops
from rlops.agents_baseline.agents import Agent, located
from rlops.agents_baseline.evaluate import finite
from rlops.agents_baseline.scale import Pool, versions
from rlops.errors import InvalidFile, InvalidValue
from rlops.files import written
from rlops.randomization import Randomization
from rlops.registry.dynamics.fingerprint import fingerprint
from rlops.registry.dynamics.kernels import KernelSubject
from rlops.robustness import baseline, parts
from rlops.robustness.deciding import Carried, configuration, digest_of, policy
from rlops.robustness.episodes import Design, Job, Work, read_parquet, write_parquet
from rlops.robustness.failures import catalogue
from rlops.robustness.figures import Figures
from rlops.robustness.gates import EXIT, FAIL, judged, verdict
from rlops.robustness.page import page
from rlops.robustness.parts import Setting
from rlops.robustness.spec import Spec, trained_for

FORMAT = "rlops/robustness-report@1"
REPORT, PAGE, JUNIT, EPISODES, WORK = "report.json", "report.html", "report.junit.xml", "episodes.parquet", "work"
GAP_EPISODES, GAP_EVERY = 4, 20
"""Episodes in whose states the engines of a robot are compared, and every which of them: each state takes a world of
PyBullet, which is tens of megabytes."""

Tell = Callable[[str, int, int], None]
"""Is told what is done, and how many episodes of how many."""


@dataclass(frozen=True)
class Policy:
    """Who plays.

    Attributes:
        source: Name or path from which the agent is loaded.
        id: Environment that it acts in.
        agent: The agent.
        digest: What it is.
        deterministic: Whether it takes its best action instead of a drawn one.
    """

    source: str
    id: str
    agent: Agent
    digest: str
    deterministic: bool

    @classmethod
    def load(cls, source: str | Path, id: str, deterministic: bool = True) -> Policy:
        """Return the policy of a name or of a trained agent's path."""
        agent = policy(source, id, deterministic)
        return cls(str(source), id, agent, digest_of(located(source, id), agent), deterministic)

    @cached_property
    def carried(self) -> Carried:
        """It as it goes to another machine."""
        return Carried.of(located(self.source, self.id), self.agent, self.id, self.deterministic)

    def as_json(self) -> dict[str, Any]:
        """Return what a report says of it."""
        return {
            "name": self.agent.name, "source": self.source, "digest": self.digest, "deterministic": self.deterministic,
        }  # fmt: skip


@dataclass(frozen=True)
class Data:
    """The user's data that an environment is made with.

    Attributes:
        options: Construction options, for example ``{"demand": …}``.
        params: Parameters that describe the data.
        files: What they were read from, by the command line's names, as the report tells it.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def robustness(
    spec: Spec,
    agent: str | Path,
    out: str | Path,
    *,
    against: str | Path | None = None,
    deterministic: bool = True,
    data: Data | None = None,
    before: str | Path | None = None,
    tell: Tell | None = None,
    pool: Pool | None = None,
) -> dict[str, Any]:
    """Play all parts of a report, judge them, and write the report into the folder ``out``.

    Work that was interrupted there goes on; what it had finished is not played again.

    Args:
        spec: What is played and demanded (:func:`rlops.robustness.spec.shipped`).
        agent: Name of a controller, or path of a trained agent: whose report it is.
        out: Folder of ``report.html``, ``report.json``, ``report.junit.xml`` and ``episodes.parquet``.
        against: Another policy, which meets the same worlds.
        deterministic: Whether trained agents take their best action instead of a drawn one.
        data: The user's data.
        before: An earlier report, than which the policy must not be worse.
        tell: Is told how far it is.
        pool: The cluster that plays (:func:`rlops.agents_baseline.scale.cluster`); None: this process does.

    Returns:
        The content of ``report.json``.

    Raises:
        InvalidValue, InvalidFile, UnknownName: If something does not fit.
        MissingExtra: If PyArrow is not installed.
    """
    began = time.monotonic()
    out, data = Path(out), data or Data()
    earlier = None if before is None else load(before)
    if earlier is not None and earlier[0]["header"]["id"] != spec.env:
        raise InvalidValue(f"The baseline must be a report of {spec.env}, got one of {earlier[0]['header']['id']}.")
    policies = {"a": Policy.load(agent, spec.env, deterministic)}
    if against is not None:
        policies["b"] = Policy.load(against, spec.env, deterministic)
    setting = Setting(spec, trained_for(spec, configuration(located(agent, spec.env))), data.options, data.params)
    header = _header(setting, policies, data)
    work = Work(out / WORK, {"header": header, "policies": {key: one.as_json() for key, one in policies.items()}})
    figures = _played(setting, policies, work, tell, pool)
    report = {
        "format": FORMAT,
        "header": {
            **header,
            "episodes": len(figures.table),
            "errors": int((~np.isfinite(figures.table["return"])).sum()),
        },
        "spec": spec.model_dump(mode="json", by_alias=True),
        "trained": json.loads(setting.trained.canonical()),
        "policies": {key: one.as_json() for key, one in policies.items()},
        **_parts(figures, policies),
    }
    report["verdict"] = verdict(report["gates"])
    report["baseline"] = None
    if earlier is not None:
        report["baseline"] = baseline.compared(figures, header["fingerprint"]["portable"], *earlier)
        if report["baseline"]["worse"]:
            report["verdict"] = FAIL
    report["header"]["seconds"] = round(time.monotonic() - began, 1)
    told: dict[str, Any] = finite(report)
    write(told, figures.table, out)
    work.remove()
    return told


def exit_code(report: Mapping[str, Any]) -> int:
    """Return what the command line ends with: 0 all gates pass, 1 one fails or it got worse, 2 one is undecided."""
    return EXIT[report["verdict"]]


def _header(setting: Setting, policies: Mapping[str, Policy], data: Data) -> dict[str, Any]:
    """Return all that the episodes depend on beside the policies."""
    spec = setting.spec
    return {
        "id": setting.id,
        "rlops": rlops.__version__,
        "fingerprint": fingerprint(KernelSubject(setting.id)).as_json(),
        "engine": setting.engine,
        "versions": versions(),
        "spec": spec.hash,
        "trained": setting.trained.hash,
        "success": spec.success,
        "first_seed": spec.seed,
        "params": dict(setting.world.params),
        "data": dict(data.files),
        "options": {name: value for name, value in data.options.items() if isinstance(value, (str, bool))},
    }


def _played(
    setting: Setting, policies: Mapping[str, Policy], work: Work, tell: Tell | None, pool: Pool | None
) -> Figures:
    """Play all designs with every policy; the last part takes its parameters from those before."""
    first = [
        parts.nominal(setting), parts.in_distribution(setting), parts.curves(setting), parts.battery(setting),
        *parts.transfer(setting),
    ]  # fmt: skip
    first = [design for design in first if len(design)]
    side = setting.spec.heatmap.points
    wanted = setting.spec.heatmap.params or setting.swept[:2]
    cells = side * side * setting.spec.heatmap.episodes if len(wanted) == 2 else 0
    total = len(policies) * (sum(map(len, first)) + cells)

    def tables(designs: Sequence[Design], before: int) -> np.ndarray:
        def progress(job: Job, ended: int) -> None:
            if tell is not None:
                tell(f"{job.agent.name}: {job.design.part.replace('_', ' ')}", before + ended, total)

        jobs = [
            Job(design, one.agent, key, one.carried if pool else None)
            for key, one in policies.items()
            for design in designs
        ]
        return work.tables(jobs, progress=progress, pool=pool)

    figures = Figures(setting, tables(first, 0))
    pair = heatmap_pair(figures)
    if not pair:
        return figures
    return Figures(setting, np.concatenate([figures.table, tables([parts.heatmap(setting, pair)], len(figures.table))]))


def heatmap_pair(figures: Figures) -> tuple[str, ...]:
    """Return the two parameters of the heatmap; none if fewer than two are swept."""
    chosen = figures.setting.spec.heatmap.params or figures.most_sensitive()[:2]
    return tuple(chosen) if len(chosen) == 2 else ()


def _parts(figures: Figures, policies: Mapping[str, Policy]) -> dict[str, Any]:
    pair = heatmap_pair(figures)
    return {
        "nominal": {key: figures.nominal(key) for key in policies},
        "in_distribution": {key: figures.in_distribution(key) for key in policies},
        "comparison": figures.comparison(),
        "curves": figures.curves(),
        "most_sensitive": list(figures.most_sensitive()),
        "heatmap": figures.heatmap(pair) if pair else None,
        "worst": {key: figures.worst(key) for key in policies},
        "failures": catalogue(figures, policies["a"].agent),
        "transfer": {**figures.transfer(), "gap": _gap(figures.setting, policies["a"].agent)},
        "battery": figures.battery(),
        "gates": judged(figures),
    }


def _gap(setting: Setting, agent: Agent) -> dict[str, Any] | None:
    """Return how far the engines of a robot are apart; None without two engines."""
    engines: tuple[str, ...] = getattr(setting.kernel, "ENGINES", ())
    if len(engines) < 2:
        return None
    from rlops.agents_baseline.engine_gap import engine_gap

    found = engine_gap(
        setting.id, agent, (engines[0], engines[1]), episodes=GAP_EPISODES, every=GAP_EVERY,
        seed=setting.spec.seed, params=setting.world.params,
    )  # fmt: skip
    return {
        "engines": list(found.engines), "states": found.states, "share": found.share,
        "equivalents": [asdict(one) for one in found.equivalents],
    }  # fmt: skip


# -- files -------------------------------------------------------------------------------------------------------------


def write(report: Mapping[str, Any], table: np.ndarray, out: Path) -> None:
    """Write the files of a report, each all or nothing, ``report.json`` last: where it is, the others are."""
    write_parquet(table, out / EPISODES)
    with written(out / PAGE) as partial:
        partial.write_text(page(report), encoding="utf-8")
    with written(out / JUNIT) as partial:
        partial.write_bytes(junit(report))
    with written(out / REPORT) as partial:
        partial.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def junit(report: Mapping[str, Any]) -> bytes:
    """Return the gates of a report, and what got worse than its baseline, as JUnit XML."""
    header = report["header"]
    suites = ET.Element("testsuites", name="rlops robustness")
    suite = ET.SubElement(suites, "testsuite", name=header["id"], time=f"{header['seconds']:.3f}")
    counts = {"failures": 0, "errors": 0, "skipped": 0}
    for gate in report["gates"]:
        case = ET.SubElement(suite, "testcase", classname=header["id"], name=gate["name"])
        if gate["answer"] == FAIL:
            ET.SubElement(case, "failure", message=f"got {spoken(gate['estimate'])}")
            counts["failures"] += 1
        elif gate["answer"] != "pass":
            ET.SubElement(case, "skipped", message=f"cannot decide: {gate['reason']}")
            counts["skipped"] += 1
    if report["baseline"] is not None:
        case = ET.SubElement(suite, "testcase", classname=header["id"], name="not worse than the baseline")
        if report["baseline"]["worse"]:
            text = "\n".join(report["baseline"]["told"])
            ET.SubElement(case, "failure", message=report["baseline"]["told"][0]).text = text
            counts["failures"] += 1
    suite.attrib.update({name: str(count) for name, count in {"tests": len(suite), **counts}.items()})
    ET.indent(suites)
    return bytes(ET.tostring(suites, encoding="utf-8", xml_declaration=True))


def spoken(estimate: Mapping[str, float | None]) -> str:
    """Return an estimate in words: its value, and its interval if it has one."""
    if estimate["value"] is None:
        return "no number"
    interval = "" if estimate["low"] is None else f" [{estimate['low']:.4g}, {estimate['high']:.4g}]"
    return f"{estimate['value']:.4g}{interval}"


def load(path: str | Path) -> tuple[dict[str, Any], np.ndarray]:
    """Return a report and its episodes, from its folder or its ``report.json``.

    Raises:
        InvalidFile: If it is no report, is cut off, or is one of another format.
    """
    file = Path(path) / REPORT if Path(path).is_dir() else Path(path)
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InvalidFile(f"{file} must be the report.json of a robustness report, whole, got: {error}") from None
    if not isinstance(report, dict) or "format" not in report:
        raise InvalidFile(f"{file} must be the report.json of a robustness report, got other JSON.")
    if report["format"] != FORMAT:
        raise InvalidFile(
            f"{file} must be a report of format {FORMAT}, got {report['format']}. Write it anew with this release "
            f"of rlops, {rlops.__version__}."
        )
    table = read_parquet(file.with_name(EPISODES))
    if len(table) != report["header"]["episodes"]:
        raise InvalidFile(
            f"{file.with_name(EPISODES)} must hold the {report['header']['episodes']} episodes of {file.name}, got "
            f"{len(table)}. Keep the files of a report together."
        )
    return report, table


def setting_of(report: Mapping[str, Any], data: Data) -> Setting:
    """Return the setting in which a report was played, with the user's ``data`` read again."""
    spec = Spec.model_validate(report["spec"])
    options = {**data.options, **report["header"]["options"]}
    return Setting(spec, Randomization.model_validate(report["trained"]), options, report["header"]["params"])
