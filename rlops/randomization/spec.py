"""The declarative specification of a randomization: YAML, JSON or a mapping, checked against an environment.

::

    env: rlops/Dispatch-v2
    params:
      base_speed_kmh: {dist: uniform, low: 26, high: 38, unit: km/h}
      demand_per_day: {op: scale, dist: uniform, low: 0.8, high: 1.2}
      leg_noise_sd:   {dist: truncnormal, mean: 0.2, std: 0.05, low: 0.05, high: 0.35}
    correlations:
      - {params: [base_speed_kmh, demand_per_day], rho: -0.3}

The models say what a specification may look like; :func:`rlops.randomization.plan.plan_of` says what it may ask of an
environment.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from rlops.errors import InvalidFile, InvalidValue, UnknownName


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Term(_Model):
    """What every term has: what its value does to the nominal one, and when it is drawn."""

    op: Literal["abs", "scale", "add"] = "abs"
    unit: str | None = None
    per: Literal["episode", "step", "interval"] = "episode"
    every: tuple[float, float] | None = None
    """Shortest and longest interval [steps], with ``per: interval``."""

    @model_validator(mode="after")
    def _interval_is_whole(self) -> _Term:
        if (self.per == "interval") != (self.every is not None):
            raise ValueError("every: [shortest, longest] must be given with per: interval, and only with it")
        if self.every is not None and not 1 <= self.every[0] <= self.every[1]:
            raise ValueError(f"every must be [shortest, longest] in steps, 1 <= shortest <= longest, got {self.every}")
        return self


class Constant(_Term):
    """One value."""

    dist: Literal["constant"]
    value: float


class _Between(_Term):
    low: float
    high: float

    @model_validator(mode="after")
    def _is_a_range(self) -> _Between:
        if not self.low <= self.high:
            raise ValueError(f"low must not be above high, got {self.low:g} and {self.high:g}")
        return self


class Uniform(_Between):
    """As likely anywhere from ``low`` to ``high``."""

    dist: Literal["uniform"]


class LogUniform(_Between):
    """Its logarithm as likely anywhere."""

    dist: Literal["loguniform"]

    @model_validator(mode="after")
    def _is_positive(self) -> LogUniform:
        if not self.low > 0:
            raise ValueError(f"low must be above 0 for a logarithm, got {self.low:g}")
        return self


class Normal(_Term):
    """Gaussian; what lies outside the parameter's hard bounds is cut off."""

    dist: Literal["normal"]
    mean: float
    std: float = Field(gt=0)


class TruncNormal(_Between):
    """Gaussian between ``low`` and ``high``."""

    dist: Literal["truncnormal"]
    mean: float
    std: float = Field(gt=0)

    @model_validator(mode="after")
    def _holds_something(self) -> TruncNormal:
        share = math.erf((self.high - self.mean) / self.std / 2**0.5) - math.erf(
            (self.low - self.mean) / self.std / 2**0.5
        )
        if share < 1e-9:
            raise ValueError(
                f"low and high must hold a part of the Gaussian, got [{self.low:g}, {self.high:g}] for mean "
                f"{self.mean:g} and std {self.std:g}"
            )
        return self


class Choice(_Term):
    """One of ``values``, as likely as its weight; values of a categorical parameter may be names."""

    dist: Literal["choice"]
    values: tuple[float | str, ...] = Field(min_length=1)
    weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None

    @model_validator(mode="after")
    def _has_a_weight_each(self) -> Choice:
        if self.weights is not None and (len(self.weights) != len(self.values) or sum(self.weights) <= 0):
            raise ValueError(
                f"weights must be {len(self.values)} numbers, one a value, and not all 0, got {self.weights}"
            )
        return self


class Grid(_Between):
    """``n`` points from ``low`` to ``high``, both included; several grids make a product. For evaluation."""

    dist: Literal["grid"]
    n: int = Field(ge=1)


class Sobol(_Between):
    """A column of a scrambled Sobol sequence of ``n`` points, a power of 2. For evaluation."""

    dist: Literal["sobol"]
    n: int = Field(ge=2)

    @field_validator("n")
    @classmethod
    def _is_a_power_of_two(cls, n: int) -> int:
        if n & (n - 1):
            raise ValueError(f"n must be a power of 2, or the sequence loses its balance, got {n}")
        return n


class LatinHypercube(_Between):
    """A column of a Latin hypercube of ``n`` points. For evaluation."""

    dist: Literal["lhs"]
    n: int = Field(ge=2)


class Empirical(_Term):
    """One of the samples of a column of a CSV file; terms of one file draw the same row."""

    dist: Literal["empirical"]
    file: str
    column: str


Term = Annotated[
    Constant | Uniform | LogUniform | Normal | TruncNormal | Choice | Grid | Sobol | LatinHypercube | Empirical,
    Field(discriminator="dist"),
]


class Correlation(_Model):
    """Two parameters whose underlying Gaussians are correlated (Gaussian copula)."""

    params: tuple[str, str]
    rho: float = Field(gt=-1, lt=1)


class Expose(_Model):
    """What is shown of the drawn parameters."""

    info: bool = True
    privileged: tuple[str, ...] = ()
    """Parameters that a privileged observation has (:func:`rlops.wrappers.privileged`)."""


class Always(_Model):
    """The whole ranges from the first episode on."""

    kind: Literal["constant"] = "constant"


class Linear(_Model):
    """Ranges widen from the nominal values in a line, over so many steps of all rows."""

    kind: Literal["linear"]
    steps: int = Field(ge=1)


class Adr(_Model):
    """Ranges widen from the nominal values as far as the agent's performance allows (OpenAI et al. 2019)."""

    kind: Literal["adr"]
    metric: str
    """A key figure, or ``length``: the steps of an episode."""
    low: float
    """Mean of the metric up to which an end is narrowed."""
    high: float
    """Mean of the metric from which an end is widened."""
    delta: float = Field(default=0.05, gt=0, le=1)
    """Share of the whole range by which an end is moved."""
    window: int = Field(default=256, ge=1)
    """Episodes at an end that decide together."""
    boundary_prob: float = Field(default=0.5, gt=0, le=1)
    """Share of episodes in which one parameter is at one of its ends."""

    @model_validator(mode="after")
    def _is_a_band(self) -> Adr:
        if not self.low < self.high:
            raise ValueError(
                f"low must be below high, or an end would be moved both ways, got {self.low:g} and {self.high:g}"
            )
        return self


class Randomization(_Model):
    """A whole specification."""

    schema_: Literal["rlops/randomization@1"] = Field(default="rlops/randomization@1", alias="schema")
    env: str
    params: dict[str, Term]
    correlations: tuple[Correlation, ...] = ()
    schedule: Annotated[Always | Linear | Adr, Field(discriminator="kind")] = Always()
    expose: Expose = Expose()

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON: the same for every order of parameters and every way to write a number."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    def canonical(self) -> str:
        """Return the specification as JSON with sorted keys and without spaces."""
        content = self.model_dump(mode="json", by_alias=True)
        content["correlations"] = sorted(
            ({**pair, "params": sorted(pair["params"])} for pair in content["correlations"]), key=lambda c: c["params"]
        )
        return json.dumps(content, sort_keys=True, separators=(",", ":"))


def read(spec: Randomization | Mapping[str, Any] | str | Path) -> Randomization:
    """Return a specification from a mapping or from a YAML or JSON file.

    Raises:
        InvalidFile: If the file cannot be read.
        InvalidValue: If it is no specification; the message says where and why.
        UnknownName: If it names a field or a distribution that does not exist.
    """
    if isinstance(spec, Randomization):
        return spec
    where = "randomization"
    if isinstance(spec, (str, Path)):
        where = str(spec)
        try:
            spec = yaml.safe_load(Path(spec).read_text())
        except (OSError, yaml.YAMLError) as error:
            raise InvalidFile(f"{where} must be a YAML or JSON file of a randomization, got: {error}") from None
    if not isinstance(spec, Mapping):
        raise InvalidValue(f"{where} must be a mapping with env and params, got {spec!r}.")
    try:
        return Randomization.model_validate(dict(spec))
    except ValidationError as error:
        raise _told(where, error) from None


_DISTRIBUTIONS = (
    "constant",
    "uniform",
    "loguniform",
    "normal",
    "truncnormal",
    "choice",
    "grid",
    "sobol",
    "lhs",
    "empirical",
)


_SCHEDULES = ("constant", "linear", "adr")


def _told(where: str, error: ValidationError) -> InvalidValue | UnknownName:
    """Return pydantic's first complaint in our words."""
    errors = error.errors()
    # a misspelt field is also missing: its name tells more
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    tags = _SCHEDULES if first["loc"][:1] == ("schedule",) else _DISTRIBUTIONS
    path = [str(part) for part in first["loc"] if part not in tags]
    place = ".".join(path)
    if first["type"] == "extra_forbidden":
        return UnknownName("field", path[-1], _fields(path[:-1], first["loc"]), ".".join([where, *path[:-1]]))
    if first["type"] == "union_tag_invalid":
        what = "kind" if tags is _SCHEDULES else "distribution"
        return UnknownName(what, first["ctx"]["tag"], tags, f"{where}: {place}")
    if first["type"] == "union_tag_not_found":
        what = "kind" if tags is _SCHEDULES else "dist"
        return InvalidValue(f"{where}: {place} must have a {what}, one of {', '.join(tags)}, got {first['input']!r}.")
    if first["type"] == "missing":
        return InvalidValue(f"{where}: {place} must be given, but is missing.")
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "value_error":
        return InvalidValue(f"{where}: {place}: {message}.")
    return InvalidValue(f"{where}: {place}: {message[0].lower()}{message[1:]}, got {first['input']!r}.")


def _fields(path: list[str], loc: tuple[int | str, ...]) -> list[str]:
    """Return the fields that a specification has at a place."""
    kinds: dict[str, type[BaseModel]] = {
        "constant": Constant, "uniform": Uniform, "loguniform": LogUniform, "normal": Normal,
        "truncnormal": TruncNormal, "choice": Choice, "grid": Grid, "sobol": Sobol, "lhs": LatinHypercube,
        "empirical": Empirical,
    }  # fmt: skip
    if loc[0] == "schedule":
        kinds = {"constant": Always, "linear": Linear, "adr": Adr}
    named = [kinds[str(part)] for part in loc if part in kinds]
    places: dict[str, type[BaseModel]] = {"expose": Expose, "correlations": Correlation}
    model = named[0] if named else places.get(path[0] if path else "", Randomization)
    return [field.alias or name for name, field in model.model_fields.items()]
