"""What a robustness report plays and what it demands: a YAML or JSON file, or what is shipped for an environment.

::

    env: rlops/Dispatch-v2
    success: completion_rate >= 0.8
    trained: full
    curves: {params: [base_speed_kmh, demand_per_day], points: 11, episodes: 30}
    gates:
      require:
        - {figure: success, where: nominal, at_least: 0.7}
        - {figure: return, statistic: cvar5, where: in_distribution, at_least: -4000}

Everything but ``env`` has a default; families without ``is_success`` need ``success``.
"""

from __future__ import annotations

import hashlib
import json
import operator
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from rlops.envs import parse_id
from rlops.errors import InvalidValue, UnknownName
from rlops.files import read_yaml
from rlops.randomization import Randomization, spec_of

_COMPARISONS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_CONDITION = re.compile(r"\s*(\w+)\s*(>=|<=|>|<)\s*(-?[\d.]+(?:[eE][-+]?\d+)?)\s*")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Played(_Model):
    """How many episodes a part plays."""

    episodes: int = Field(ge=2)


class Curves(_Model):
    """One parameter at a time over its hard bounds; without ``params`` the first eight that the world moves."""

    params: tuple[str, ...] | None = None
    points: int = Field(default=11, ge=3)
    episodes: int = Field(default=30, ge=4)
    """At each point."""
    floor: float = Field(default=0.9, gt=0, le=1)
    """The margin ends where success falls below this share of the nominal success."""


class Heatmap(_Model):
    """Two parameters at once; without ``params`` the two to which success, or the return, is most sensitive."""

    params: tuple[str, str] | None = None
    points: int = Field(default=9, ge=2)
    episodes: int = Field(default=12, ge=2)
    """In each cell."""


class Battery(_Model):
    """Disturbances of three severities; without ``params`` latencies, noise, disturbances and payloads."""

    params: tuple[str, ...] | None = None
    episodes: int = Field(default=30, ge=4)
    """At each severity."""


class Catalogue(_Model):
    """How many episodes are described one by one."""

    worst: int = Field(default=8, ge=0)
    borderline: int = Field(default=4, ge=0)


class Gate(_Model):
    """One demand.

    Attributes:
        figure: ``success``, ``return``, ``steps``, a key figure or ``term_<name>``.
        statistic: ``rate`` (of success), ``mean``, ``iqm``, ``cvar5`` (mean of the worst 5 %) or ``degradation`` (by
            what share of its nominal mean the figure fell, episode by episode against the same seeds).
        where: ``nominal``, ``in_distribution``, ``battery/<parameter> <severity>`` or ``transfer/<column>``.
        at_least, at_most: The threshold, one of them.
        name: What it is called; by default what it says.
    """

    figure: str
    statistic: Literal["rate", "mean", "iqm", "cvar5", "degradation"] | None = None
    where: str = "nominal"
    at_least: float | None = None
    at_most: float | None = None
    name: str = ""

    @model_validator(mode="after")
    def _has_one_threshold(self) -> Gate:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a gate must have at_least or at_most, and not both")
        if self.kind == "rate":
            if self.figure != "success" or self.at_least is None or not 0 < self.at_least < 1:
                raise ValueError("a rate must be that of success, at_least a share above 0 and below 1")
        elif self.figure == "success" and self.kind != "degradation":
            raise ValueError(f"success has a rate and a degradation, but no {self.kind}")
        return self

    @property
    def kind(self) -> str:
        """The statistic, by default the rate of success or the mean of anything else."""
        return self.statistic or ("rate" if self.figure == "success" else "mean")

    @property
    def title(self) -> str:
        """The name, or what is demanded in words."""
        sign, threshold = ("≥", self.at_least) if self.at_least is not None else ("≤", self.at_most)
        what = {"rate": self.figure, "mean": f"mean {self.figure}", "iqm": f"IQM of {self.figure}"}.get(self.kind)
        what = what or {"cvar5": f"worst 5 % of {self.figure}"}.get(self.kind) or f"degradation of {self.figure}"
        return self.name or f"{what} {sign} {threshold:g}, {self.where.replace('_', ' ')}"


class Gates(_Model):
    """All demands, and how sure their answers must be.

    Several are corrected for their number (Holm 1979), unless one is declared ``primary``: then it alone decides, and
    the others inform.
    """

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    primary: str | None = None
    require: tuple[Gate, ...] = ()

    @model_validator(mode="after")
    def _names_are_known(self) -> Gates:
        titles = [gate.title for gate in self.require]
        if len(set(titles)) < len(titles):
            raise ValueError(f"gates must differ, got {', '.join(titles)}")
        if self.primary is not None and self.primary not in titles:
            raise ValueError(f"primary must be one of {', '.join(titles) or 'the gates, of which there is none'}")
        return self


class Spec(_Model):
    """A whole specification."""

    schema_: Literal["rlops/robustness@1"] = Field(default="rlops/robustness@1", alias="schema")
    env: str
    success: str | None = None
    """When an episode counts as a success: ``FIGURE >= NUMBER``, several joined by ``and``."""
    trained: str | dict[str, Any] | None = None
    """What the policy was trained for: a level, a file or a randomization. By default what the agent's own
    configuration says, otherwise ``full``."""
    params: dict[str, float | str] = Field(default_factory=dict)
    """Parameters that differ from the nominal ones throughout."""
    seed: int = Field(default=0, ge=0)
    nominal: Played = Played(episodes=200)
    in_distribution: Played = Played(episodes=512)
    curves: Curves = Curves()
    heatmap: Heatmap = Heatmap()
    battery: Battery = Battery()
    transfer: Played = Played(episodes=60)
    catalogue: Catalogue = Catalogue()
    gates: Gates = Gates()

    @model_validator(mode="after")
    def _every_seed_is_on_the_floor(self) -> Spec:
        most = max(self.curves.episodes, self.battery.episodes, self.heatmap.episodes, self.transfer.episodes)
        if self.nominal.episodes < most:
            raise ValueError(f"nominal.episodes must be at least {most}, as other parts are paired with them")
        return self

    @field_validator("success")
    @classmethod
    def _success_is_a_condition(cls, text: str | None) -> str | None:
        if text is not None:
            conditions(text)
        return text

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON."""
        content = self.model_dump(mode="json", by_alias=True)
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def brief(self) -> Spec:
        """Return the same with a tenth of the episodes: to look at, not to release by."""
        curves = self.curves.model_copy(update={"points": min(self.curves.points, 5), "episodes": 8})
        heatmap = self.heatmap.model_copy(update={"points": min(self.heatmap.points, 4), "episodes": 4})
        few = {"nominal": 60, "in_distribution": 200, "transfer": 16}
        return self.model_copy(
            update={
                **{part: Played(episodes=min(n, getattr(self, part).episodes)) for part, n in few.items()},
                "curves": curves,
                "heatmap": heatmap,
                "battery": self.battery.model_copy(update={"episodes": 8}),
            }
        )


def conditions(text: str) -> list[tuple[str, str, float]]:
    """Return the conditions of a definition of success: figure, comparison, number.

    >>> conditions("pue <= 1.3 and max_inlet_c < 30")
    [('pue', '<=', 1.3), ('max_inlet_c', '<', 30.0)]
    """
    found = [(_CONDITION.fullmatch(part), part) for part in text.split(" and ")]
    for match, part in found:
        if match is None:
            raise ValueError(f"success must look like completion_rate >= 0.9, got {part!r}")
    return [(m[1], m[2], float(m[3])) for m, _ in found if m is not None]


def succeeded(text: str, table: np.ndarray) -> np.ndarray:
    """Return which episodes of a table count as successes, ``(n,)`` bool; one that is not finite does not."""
    kept: np.ndarray = np.isfinite(table["return"])
    for figure, comparison, number in conditions(text):
        kept = kept & _COMPARISONS[comparison](table[figure], number)
    return kept


def figures_of(id: str) -> tuple[str, ...]:
    """Return the figures that an episode of an environment has."""
    kernel = _kernel(id)
    terms = tuple(f"term_{term}" for term in kernel.REWARD_TERMS)
    return ("return", "steps", *terms, *(column.name for column in getattr(kernel, "KPIS", ())))


def _kernel(id: str) -> Any:
    family, number = parse_id(id)
    return family.kernel(number)


def shipped(id: str) -> Spec:
    """Return the specification that is shipped for an environment.

    Raises:
        InvalidValue: If none is, and success cannot be told from its key figures.
    """
    file = resources.files("rlops.robustness") / "specs" / f"{id.removeprefix('rlops/')}.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {"env": id}
    return checked(content, id, f"the shipped specification of {id}")


def read_spec(source: str | Path, id: str) -> Spec:
    """Return the specification of a YAML or JSON file, for an environment.

    Raises:
        InvalidFile, InvalidValue, UnknownName: If it is none, or for another environment.
    """
    return checked(read_yaml(source), id, str(source))


def read_gates(source: str | Path, spec: Spec) -> Spec:
    """Return ``spec`` with the gates of a YAML or JSON file in place of its own."""
    return checked({**spec.model_dump(by_alias=True), "gates": read_yaml(source)}, spec.env, str(source))


def checked(content: Any, id: str, where: str) -> Spec:
    """Return a specification whose names all exist in the environment ``id``."""
    if not isinstance(content, Mapping):
        raise InvalidValue(f"{where} must be a mapping with env, got {content!r}.")
    try:
        spec = Spec.model_validate(dict(content))
    except ValidationError as error:
        raise _told(where, error) from None
    if spec.env != id:
        raise InvalidValue(f"{where}: env must be {id}, got {spec.env}. Write one for {id}.")
    figures = figures_of(id)
    if spec.success is None:
        if "is_success" not in figures:
            raise InvalidValue(
                f"{where}: success must be given, as {id} has no is_success: for example "
                f"success: return >= 0, or of {', '.join(figures[2:])}."
            )
        spec = spec.model_copy(update={"success": "is_success >= 1"})
    assert spec.success is not None
    named = [figure for figure, _, _ in conditions(spec.success)]
    named += [gate.figure for gate in spec.gates.require if gate.figure != "success"]
    for figure in named:
        if figure not in figures:
            raise UnknownName("figure", figure, figures, f"{where}: {id}")
    parameters = [p.name for p in _kernel(id).PARAMETERS]
    for name in (*(spec.curves.params or ()), *(spec.heatmap.params or ()), *(spec.battery.params or ()), *spec.params):
        if name not in parameters:
            raise UnknownName("parameter", name, parameters, f"{where}: {id}")
    return spec


def trained_for(spec: Spec, agent_configuration: Mapping[str, Any]) -> Randomization:
    """Return what a policy was trained for: what the specification says, the agent's configuration, or ``full``."""
    own = (agent_configuration.get("randomization") or {}).get("spec")
    source = spec.trained if spec.trained is not None else own if own else "full"
    found = spec_of(spec.env, source)
    return found.model_copy(update={"schedule": type(found).model_fields["schedule"].default})


def _told(where: str, error: ValidationError) -> InvalidValue | UnknownName:
    """Return pydantic's first complaint in our words."""
    errors = error.errors()
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    path = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        return UnknownName("field", path[-1], _fields(path[:-1]), ".".join([where, *path[:-1]]))
    place = f"{where}: {'.'.join(path)}".removesuffix(": ")
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "missing":
        return InvalidValue(f"{place} must be given, but is missing.")
    if first["type"] == "value_error":
        return InvalidValue(f"{place}: {message}.")
    return InvalidValue(f"{place}: {message[0].lower()}{message[1:]}, got {first['input']!r}.")


def _fields(path: list[str]) -> list[str]:
    """Return the fields that a specification has at a place."""
    kind: type[BaseModel] = Spec
    for part in path:
        if part.isdigit():
            continue
        places: dict[str, type[BaseModel]] = {
            "curves": Curves, "heatmap": Heatmap, "battery": Battery, "catalogue": Catalogue, "gates": Gates,
            "require": Gate,
        }  # fmt: skip
        kind = places.get(part, Played)
    return [field.alias or name for name, field in kind.model_fields.items()]
