"""What a family of environments consists of: parameters, columns, versions and a kernel.

A **kernel** is a module. It knows no Gymnasium; it states its layout in constants and its dynamics in small
compiled functions (``numba.njit``) over **one row**: ``p`` is the row's parameter record, ``s`` its state record,
``d`` the read-only record array that all rows share (a user's bookings, a weather file; often empty).

Constants of a kernel:

=================  ==================================================================================
``PARAMETERS``     tuple of :class:`Parameter`; the dtype of ``p`` follows from it
``STATE``          dtype of ``s``, made with :func:`state_dtype` (which puts the common header first)
``DATA``           dtype of one record of ``d`` (optional)
``ACTION``         int ``m``: a discrete action 0 … m-1; or a tuple of :class:`Column`: a vector
``OBSERVATION``    tuple of :class:`Column`: what is observed, in order
``REWARD_TERMS``   names of the reward terms; the reward is their sum
``KPIS``           tuple of :class:`Column`, none repeated: key figures at the end of an episode (optional)
``CONTEXT``        tuple of :class:`Column`: hidden quantities for ``expose_context=True`` (optional)
``AGENTS``         names of the agents of the parallel face (optional), with ``AGENT_ACTION`` (an int for all
                   alike, or a tuple with the columns of each agent) and ``AGENT_OBSERVATION`` (columns for all
                   alike, or a tuple with those of each)
``DERIVED``        fields of the state that only keep what another layer says: name → ``reward``, ``observation``
                   or ``mask``; so that a check can tell a moved reward from moved dynamics (optional)
``ENGINES``        names of the physics engines that can move it, the default one first (optional); with ``build(p)``,
                   which returns the :class:`~rlops.envs.robotics.model.Model` of a row, and ``SUBSTEPS``, how many
                   of the engine's steps a control step has. The state is made with ``engine_fields``
``STEP_MINUTES``   nominal length of a step [min], for frame rates and rates per hour (optional)
``VARIANTS``       construction options that change what may be decided (optional): the option's name → import
                   path of the kernel that takes this one's place when the option is true. A variant has the
                   same ``PARAMETERS``; its actions go on where this kernel's end
=================  ==================================================================================

Row functions of a kernel (``s.key`` is set, ``s.terms`` is zeroed before ``step``; the rest of ``s`` is zeroed
before ``reset``):

==============================  =====================================================================
``reset(p, s, d)``              write a fresh row
``step(p, s, d, action)``       move the row one step: write ``s.terms``, ``s.terminated``, ``s.truncated``
``act(p, s, d, action)``        with ``ENGINES``: write the motors' ``s.force``; the engine then moves the row, and
                                ``step`` only judges what has become of it
``observe(p, s, d, out)``       write the observation, ``out`` is ``(k,)`` float32
``mask(p, s, d, out)``          write 1 for every legal action, ``out`` is ``(m,)`` int8 (optional)
``kpis(p, s, d, out)``          write the key figures, ``(len(KPIS),)`` float64, of an episode that has ended
``context(p, s, d, out)``       write the hidden context, ``(len(CONTEXT),)`` float64
``step_agents(p, s, d, actions, rewards)``
                                ``step`` from one action an agent, ``(a,)``, or vectors ``(a, w)`` of the longest
                                one's length; write the reward of each, ``(a,)`` (with ``AGENTS``)
``observe_agent(p, s, d, a, out)`` and ``mask_agent(p, s, d, a, out)``
                                what agent ``a`` sees (``out`` has the longest one's length) and may do (with
                                ``AGENTS``; the mask is optional)
``advance_rows(rows, shown, actions, low, high)``
                                a loop of the kernel's own over the rows from ``low`` up to ``high``, in place of
                                that in ``loops.py``: for dynamics so light that a row at a time is too slow. Its
                                parameters cannot be randomized (optional)
==============================  =====================================================================

The loops over rows, threads, autoreset and the faces are written once (``loops.py``, ``faces.py``).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np

from rlops.errors import InvalidValue, UnknownName

Kind = Literal["physical", "actuation", "latency", "noise", "disturbance", "demand", "reset"]
"""What a parameter describes; randomization levels and report axes are grouped by it."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a family, declared once.

    ``nominal``, ``low`` and ``high`` are in ``unit`` ("-" if dimensionless). ``choices`` makes it categorical: the
    value is the index of a name. ``integer`` restricts it to whole numbers.

    ``plausible`` is the range that the world may well have, from which the levels of randomization follow; None for
    what the user decides, such as a fleet's size or a price. ``effect`` is what must happen from the low to the high
    bound: with ``"+bookings"`` the key figure ``bookings`` rises, with ``"-reward.lateness"`` the sum of that reward
    term falls; empty where no sign is certain. ``engines`` names the engines that can vary it; empty: all.
    """

    name: str
    unit: str
    nominal: float
    low: float
    high: float
    kind: Kind
    source: str
    integer: bool = False
    choices: tuple[str, ...] = ()
    plausible: tuple[float, float] | None = None
    effect: str = ""
    engines: tuple[str, ...] = ()

    @property
    def dtype(self) -> str:
        """NumPy type of the record field."""
        return "i8" if self.integer or self.choices else "f8"

    def checked(self, value: object, owner: str) -> float:
        """Return ``value`` as a number within the hard bounds; a choice may be given by name.

        Raises:
            InvalidValue: If it is no number, not whole where it must be, or outside the bounds.
            UnknownName: If it is a name that is not among the choices.
        """
        if self.choices and isinstance(value, str):
            if value not in self.choices:
                raise UnknownName(f"value of parameter {self.name}", value, self.choices, owner)
            return self.choices.index(value)
        unit = "" if self.unit == "-" else f" {self.unit}"
        must = f"{owner}: parameter {self.name} must be"
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise InvalidValue(f"{must} a number{' in' + unit if unit else ''}, got {value!r}.") from None
        if not self.low <= number <= self.high:
            raise InvalidValue(f"{must} within [{self.low:g}, {self.high:g}]{unit}, got {value!r}.")
        if self.dtype == "i8" and number != int(number):
            raise InvalidValue(f"{must} a whole number, got {value!r}.")
        return number


@dataclass(frozen=True)
class Column:
    """One column of an observation, an action or a table of key figures, with unit, bounds and meaning.

    ``count`` repeats it, for example for the vehicles of a fleet.
    """

    name: str
    unit: str
    low: float
    high: float
    meaning: str
    count: int = 1


def bounds(columns: tuple[Column, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper bounds of ``columns``, each ``(k,)`` float32."""
    low = np.concatenate([np.full(c.count, c.low, np.float32) for c in columns])
    high = np.concatenate([np.full(c.count, c.high, np.float32) for c in columns])
    return low, high


def width(columns: tuple[Column, ...]) -> int:
    """Return how many numbers ``columns`` make."""
    return sum(c.count for c in columns)


def agent_observations(kernel: Any) -> tuple[tuple[Column, ...], ...]:
    """Return the columns that each agent observes; none without agents."""
    seen: tuple[Any, ...] = getattr(kernel, "AGENT_OBSERVATION", ())
    return (seen,) * len(kernel.AGENTS) if seen and isinstance(seen[0], Column) else seen


def agent_actions(kernel: Any) -> tuple[int | tuple[Column, ...], ...]:
    """Return what each agent does, as ``ACTION`` says it; none without agents."""
    done = getattr(kernel, "AGENT_ACTION", ())
    return (done,) * len(kernel.AGENTS) if isinstance(done, int) else done


def widest(each: tuple[Any, ...]) -> int:
    """Return how many numbers the longest of some agents' columns makes; 0 for none, or numbered actions."""
    return max((width(columns) for columns in each if not isinstance(columns, int)), default=0)


def shown_terms(kernel: Kernel) -> int:
    """Return how many reward terms ``info`` shows: none if the reward is all there is."""
    return len(kernel.REWARD_TERMS) if len(kernel.REWARD_TERMS) > 1 else 0


def info_dtype(kernel: Kernel) -> np.dtype:
    """Return the record dtype of the state's fields that ``info`` shows."""
    return np.dtype([(name, kernel.STATE[name]) for name in getattr(kernel, "INFO", ())])


def parameter_dtype(parameters: tuple[Parameter, ...]) -> np.dtype:
    """Return the record dtype of one row of parameters."""
    return np.dtype([(p.name, p.dtype) for p in parameters], align=True)


def state_dtype(reward_terms: tuple[str, ...], fields: list[Any]) -> np.dtype:
    """Return the record dtype of one row of state: the header that every family has, then ``fields``."""
    header: list[Any] = [
        ("seed", "u8"),  # of the row; the episode's key follows from seed and episode
        ("key", "u8"),
        ("episode", "i8"),  # from 0
        ("steps", "i8"),  # taken in this episode
        ("terms", "f8", (len(reward_terms),)),  # reward terms of the last step
        ("terminated", "?"),
        ("truncated", "?"),
    ]
    return np.dtype(header + fields, align=True)


class Kernel(Protocol):
    """The constants and row functions that every kernel module has; the optional ones stand above."""

    PARAMETERS: tuple[Parameter, ...]
    STATE: np.dtype
    ACTION: int | tuple[Column, ...]
    OBSERVATION: tuple[Column, ...]
    REWARD_TERMS: tuple[str, ...]

    def reset(self, p: Any, s: Any, d: Any, /) -> None:
        """Write a fresh row."""

    def step(self, p: Any, s: Any, d: Any, action: Any, /) -> None:
        """Move the row one step."""

    def observe(self, p: Any, s: Any, d: Any, out: Any, /) -> None:
        """Write the observation."""


@dataclass(frozen=True)
class Version:
    """One released dynamics: a kernel, and what differs from the version before with its reason."""

    number: int
    reason: str
    kernel: str
    """Import path of the kernel module; it is imported when an environment is made."""
    values: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Parameters whose nominal value differs from the declaration."""

    def next(self, reason: str, kernel: str | None = None, **values: float) -> Version:
        """Return the version after this one: the same but for another kernel or other nominal ``values``."""
        return replace(
            self,
            number=self.number + 1,
            reason=reason,
            kernel=kernel or self.kernel,
            values=MappingProxyType({**self.values, **values}) if kernel is None else MappingProxyType(values),
        )


@dataclass(frozen=True)
class Family:
    """Environments that share a name and a story: ``rlops/<name>-v<number>``."""

    name: str
    story: str
    versions: tuple[Version, ...]
    excite: str = ""
    """Import path of a module with ``excite(name)``: the construction options under which the parameter ``name``
    matters, for parameters that need some (:mod:`rlops.envs.effects`)."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (family, (self.name,))

    @property
    def ids(self) -> tuple[str, ...]:
        """The released ids, oldest first."""
        return tuple(f"rlops/{self.name}-v{v.number}" for v in self.versions)

    def version(self, number: int) -> Version:
        """Return one version.

        Raises:
            UnknownName: If the family never had it. The message lists those it has.
        """
        for version in self.versions:
            if version.number == number:
                return version
        raise UnknownName("version", f"v{number}", [f"v{v.number}" for v in self.versions], f"rlops/{self.name}")

    def kernel(self, number: int, variant: str | None = None) -> Any:
        """Return the kernel module of one version, or that of its ``variant``: a name in the kernel's ``VARIANTS``."""
        kernel = importlib.import_module(self.version(number).kernel)
        return importlib.import_module(kernel.VARIANTS[variant]) if variant else kernel

    def nominal(self, number: int) -> np.ndarray:
        """Return the nominal parameters of one version as a record array ``(1,)``."""
        version = self.version(number)
        parameters = self.kernel(number).PARAMETERS
        row = np.zeros(1, parameter_dtype(parameters))
        for parameter in parameters:
            row[parameter.name] = parameter.nominal
        write_parameters(row, parameters, version.values, f"rlops/{self.name}-v{number}")
        return row


def write_parameters(
    rows: np.ndarray, parameters: tuple[Parameter, ...], values: Mapping[str, Any], owner: str
) -> None:
    """Check ``values`` and write them into parameter records: one value for all ``rows``, or one for each.

    Nothing is written unless everything is valid.

    Raises:
        UnknownName: If ``owner`` has no such parameter.
        InvalidValue: If a value is outside its hard bounds or has the wrong shape.
    """
    known = {p.name: p for p in parameters}
    checked = {}
    for name, value in values.items():
        if name not in known:
            raise UnknownName("parameter", name, known, owner)
        if isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) == 1:
            if len(value) != len(rows):
                raise InvalidValue(
                    f"{owner}: parameter {name} must be one value or {len(rows)} values, one a row, got {len(value)}."
                )
            checked[name] = [known[name].checked(v, owner) for v in value]
        else:
            checked[name] = [known[name].checked(value, owner)] * len(rows)
    for name, column in checked.items():
        rows[name] = column


def family(name: str) -> Family:
    """Return a family by its name, from ``rlops.envs.FAMILIES`` or registered by :func:`add_family`."""
    from rlops.envs import FAMILIES

    for known in (*FAMILIES, *_ADDED):
        if known.name == name:
            return known
    raise UnknownName("family", name, [f.name for f in (*FAMILIES, *_ADDED)])


_ADDED: list[Family] = []


def add_family(new: Family) -> None:
    """Make a family of another package known by its name, so that its environments pickle."""
    from rlops.envs import FAMILIES

    if new not in (*FAMILIES, *_ADDED):
        _ADDED.append(new)
