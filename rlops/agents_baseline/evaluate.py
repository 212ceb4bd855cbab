"""One evaluation for all agents: the same worlds for each, whole episodes only, intervals, decision latency.

Every agent meets the same seeds, and the draws of an environment do not depend on its policy: differences
between two agents are paired, episode by episode. A figure that counts served bookings only says nothing
without the share that was served; :data:`SERVED_ONLY` names them, and :func:`shown` never prints one alone.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from rlops.agents_baseline.agents import Agent, one_torch_thread
from rlops.agents_baseline.worlds import World
from rlops.envs.robotics.engines import COMFORTABLE_ROWS
from rlops.errors import InvalidValue
from rlops.files import written
from rlops.randomization import Randomization, spec_of
from rlops.registry.origins import check_origin, identity_of
from rlops.registry.remote.protocol import Identity

SERVED_ONLY = frozenset(
    {
        "mean_distance_km",
        "km_per_completed",
        "lateness_share",
        "lateness_mean_min",
        "lateness_p95_min",
        "excess_ride_mean_min",
        "cost",
        "cost_per_served",
        "mean_ride_min",
        "longest_ride_min",
    }
)
"""Key figures over served bookings: an agent that refuses the hard ones makes them look good."""

COMPLETION, SERVED = "completion_rate", "served_share"
"""Key figures that say how many were served: of bookings, and of requests that were all known beforehand."""
SUCCESS = "is_success"
"""A key figure that is 1 or 0: its interval is exact."""
_TO_A_THOUSANDTH = ("pue", "tue", "itue")
"""Ratios near 1 whose differences are what counts."""
MAX_ROWS = 64
"""Rows that are played side by side; the result does not depend on it."""
RESAMPLES = 4000
LATENCY_DECISIONS = 400
LATENCY_BUDGET_S = 3.0
LATENCY_WARM_UP = 3


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval: of a share exact, else by percentile bootstrap over episodes."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Latency:
    """Time that an agent takes for one decision of one environment [ms], over ``decisions`` measured ones."""

    p50_ms: float
    p95_ms: float
    decisions: int


@dataclass(frozen=True)
class Episodes:
    """What one agent did in the episodes of some seeds.

    Attributes:
        id: The environment.
        agent: The agent's name.
        table: Record array, one row an episode: ``seed``, ``return``, ``steps``, ``end`` (``terminated`` or
            ``truncated``), ``term_<name>`` for every reward term, and every key figure by its name.
        latency: Of decisions between two or more legal actions (all, without masks); None if it was not measured.
        terms, kpis: Names of the reward terms and of the key figures.
        randomization: Hash of what every episode drew its parameters from; empty: they were the nominal ones.
        digest: Of the image that the episodes were played in; empty: in this process.
        fingerprint: Of the dynamics, by field.
    """

    id: str
    agent: str
    table: np.ndarray
    latency: Latency | None = None
    terms: tuple[str, ...] = field(default=())
    kpis: tuple[str, ...] = field(default=())
    randomization: str = ""
    digest: str = ""
    fingerprint: Mapping[str, str] = field(default_factory=dict)

    def figures(self) -> dict[str, np.ndarray]:
        """Return every number by name, each ``(episodes,)``: ``return``, ``steps``, terms and key figures."""
        names = ["return", "steps", *(f"term_{t}" for t in self.terms), *self.kpis]
        return {name: self.table[name].astype(float) for name in names}

    def intervals(self) -> dict[str, Interval]:
        """Return the mean of every figure with its interval."""
        found = bootstrap(self.figures())
        return found | ({SUCCESS: proportion(*self.successes())} if SUCCESS in self.kpis else {})

    def successes(self) -> tuple[int, int]:
        """Return how many episodes succeeded, and of how many."""
        return int(self.table[SUCCESS].sum()), len(self.table)

    def difference(self, other: Episodes) -> dict[str, Interval]:
        """Return the mean of this less ``other``, episode by episode, with its interval.

        Raises:
            InvalidValue: If the two did not play the same seeds of the same environment, randomized the same way.
        """
        if self.randomization != other.randomization:
            raise InvalidValue(
                f"Episodes to compare must be randomized the same way, got {self.randomization[:12] or 'none'} and "
                f"{other.randomization[:12] or 'none'}. Evaluate both with the same randomization."
            )
        if self.id != other.id or not np.array_equal(self.table["seed"], other.table["seed"]):
            raise InvalidValue(
                f"Episodes to compare must have the same id and seeds, got {self.id} ({len(self.table)} "
                f"episodes) and {other.id} ({len(other.table)} episodes). Evaluate both with the same seeds."
            )
        theirs = other.figures()
        return bootstrap({name: mine - theirs[name] for name, mine in self.figures().items()})


def bootstrap(figures: Mapping[str, np.ndarray], resamples: int = RESAMPLES) -> dict[str, Interval]:
    """Return mean and 95 % percentile interval of every figure, resampling episodes with a fixed seed.

    Args:
        figures: Arrays ``(n,)``; NaN gives NaN.
        resamples: How often the ``n`` episodes are drawn with replacement.
    """
    values = np.stack(list(figures.values()), axis=1)
    n = len(values)
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=resamples) / n
    with np.errstate(invalid="ignore"):
        means = weights @ values
        low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return {name: Interval(float(values[:, i].mean()), float(low[i]), float(high[i])) for i, name in enumerate(figures)}


def proportion(successes: int, trials: int) -> Interval:
    """Return a share with its exact 95 % interval (Clopper and Pearson 1934)."""
    return Interval(
        successes / trials, least_share(successes, trials, 0.975), 1.0 - least_share(trials - successes, trials, 0.975)
    )


def least_share(successes: int, trials: int, confidence: float = 0.95) -> float:
    """Return the least share of successes that the exact one-sided binomial test does not reject.

    >>> round(least_share(59, 59), 3), round(least_share(92, 93), 3)
    (0.95, 0.95)

    Args:
        successes: Of ``trials``.
        trials: At least 1.
        confidence: That the true share is not below.
    """
    low, high = 0.0, successes / trials
    for _ in range(60):  # halve what is between, until the digits of a float are used up
        middle = 0.5 * (low + high)
        if _at_least(successes, trials, middle) < 1.0 - confidence:
            low = middle
        else:
            high = middle
    return low


def _at_least(successes: int, trials: int, share: float) -> float:
    """Return the probability of so many ``successes`` or more, each trial succeeding with probability ``share``."""
    if successes == 0 or share <= 0.0:
        return float(successes == 0)
    if share >= 1.0:
        return 1.0
    logs = [
        math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
        + k * math.log(share) + (trials - k) * math.log1p(-share)
        for k in range(successes, trials + 1)
    ]  # fmt: skip
    return math.fsum(map(math.exp, logs))


def evaluate(
    id: str,
    agent: Agent,
    seeds: Sequence[int],
    *,
    params: Mapping[str, Any] | None = None,
    randomization: Randomization | Mapping[str, Any] | str | Path | None = None,
    latency: bool = True,
    max_rows: int = MAX_ROWS,
    progress: Callable[[int], None] | None = None,
    image: str = "",
    runtime: str = "auto",
    any_dynamics: bool = False,
    **options: Any,
) -> Episodes:
    """Let ``agent`` play one whole episode of every seed and return what happened.

    Args:
        id: The environment, for example ``rlops/Dispatch-v2``.
        agent: What decides.
        seeds: One episode each; repeat them for every agent that is to be compared.
        params: Parameters that differ from the nominal ones.
        randomization: What every episode draws its parameters from, as :func:`rlops.randomization.randomize` takes it.
        latency: Whether to time single decisions in part of an extra episode.
        max_rows: Rows played side by side.
        progress: Called with the number of episodes that have ended so far.
        image: Reference of an image of ``id`` in the store on this machine, in which the episodes are played; empty: in
            this process.
        runtime: What runs the image.
        any_dynamics: Whether an agent may meet other dynamics of ``id`` than those that it was trained in.
        options: The environment's own options, for example ``demand=`` of Dispatch or ``traces=`` of data-centre
            cooling; one that is None is left out.

    Raises:
        InvalidValue: If there is no seed, or a seed comes twice.
        UnknownName: If the environment has no such option.
        IdentityMismatch: If the agent's checkpoint names other dynamics of ``id``.
    """
    seeds = [int(seed) for seed in seeds]
    if not seeds or len(set(seeds)) != len(seeds):
        raise InvalidValue(f"seeds must be at least one and differ from each other, got {seeds[:10]}.")
    spec = None if randomization is None else spec_of(id, randomization)
    world = World(id, options, params or {}, spec, image, runtime)
    nominal = replace(world, randomization=None)
    rows = min(len(seeds), max_rows, COMFORTABLE_ROWS.get(options.get("engine") or "", max_rows))
    with one_torch_thread(), closing(world.rows(rows, AutoresetMode.DISABLED)) as envs:
        met = identity_of(envs, id)
        if not any_dynamics:
            check_origin(getattr(agent, "origin", Identity()), met, agent.name)
        table, _ = played(envs, agent, seeds, progress=progress)
        kernel = envs.kernel
    timed = None
    if latency:
        with one_torch_thread(), closing(nominal.rows(1, AutoresetMode.DISABLED)) as single:
            timed = _timed(single, agent, seeds[0])
    drawn = spec.hash if spec else ""
    return Episodes(
        id, agent.name, table, timed, tuple(kernel.REWARD_TERMS), _kpi_names(kernel), drawn, met.digest, met.fingerprint
    )


def _kpi_names(kernel: Any) -> tuple[str, ...]:
    return tuple(column.name for column in getattr(kernel, "KPIS", ()))


def _table(kernel: Any, seeds: Sequence[int]) -> np.ndarray:
    numbers = [*(f"term_{term}" for term in kernel.REWARD_TERMS), *_kpi_names(kernel)]
    dtype = [
        ("seed", "i8"),
        ("return", "f8"),
        ("steps", "i8"),
        ("end", "U10"),
        *((name, "f8") for name in numbers),
    ]
    table = np.zeros(len(seeds), np.dtype(dtype))
    table["seed"] = seeds
    return table


def played(
    envs: Any,
    agent: Agent,
    seeds: Sequence[int],
    overrides: Mapping[str, np.ndarray] | None = None,
    *,
    progress: Callable[[int], None] | None = None,
    watch: Callable[[np.ndarray, Any], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Let ``agent`` play one whole episode of every seed, in rows that take the next one when theirs has ended.

    Args:
        envs: A :class:`~rlops.envs.faces.VectorEnv` without autoreset.
        agent: What decides.
        seeds: One for every episode, ``(e,)``.
        overrides: Parameters by name, one value an episode, ``(e,)`` each.
        progress: Called with the number of episodes that have ended so far.
        watch: Called after every step with the episode that each row plays, ``(n,)``, and ``envs``; rows without one
            go on unrecorded, with a number of ``e`` or above.

    Returns:
        The episodes, as :attr:`Episodes.table` has them, and the parameters that each began with, ``(e,)`` records.
    """
    n, last = envs.num_envs, len(seeds) - 1
    table, params = _table(envs.kernel, seeds), np.zeros(len(seeds), envs.params.dtype)
    episode = np.arange(n)
    upcoming, ended_count = n, 0
    returns, terms = np.zeros(n), np.zeros((n, len(envs.kernel.REWARD_TERMS)))

    def begin(rows: np.ndarray) -> np.ndarray:
        options: dict[str, Any] = {"reset_mask": rows}
        if overrides:
            which = np.minimum(episode[rows], last)
            options["params"] = {name: values[which] for name, values in overrides.items()}
        begun = [
            int(seeds[e]) if again and e <= last else None for again, e in zip(rows, episode.tolist(), strict=True)
        ]
        obs, _ = envs.reset(seed=begun, options=options)
        recorded = rows & (episode <= last)
        params[episode[recorded]] = envs.params[recorded]
        return np.asarray(obs)

    obs = begin(np.ones(n, np.bool_))
    while ended_count < len(seeds):
        actions = agent.actions(envs, obs, envs.action_masks())
        obs, rewards, terminated, truncated, infos = envs.step(actions)
        returns += rewards
        terms += envs.state["terms"]
        if watch is not None:
            watch(episode, envs)
        done = terminated | truncated
        if not done.any():
            continue
        for row in np.flatnonzero(done):
            if episode[row] <= last:
                ended_count += 1
                record = table[episode[row]]
                record["return"], record["steps"] = returns[row], envs.state["steps"][row]
                record["end"] = "terminated" if terminated[row] else "truncated"
                for term, value in zip(envs.kernel.REWARD_TERMS, terms[row], strict=True):
                    record[f"term_{term}"] = value
                for name in _kpi_names(envs.kernel):
                    record[name] = infos["kpis"][name][row]
            episode[row], upcoming = upcoming, upcoming + 1
            returns[row], terms[row] = 0.0, 0.0
        if progress is not None:
            progress(ended_count)
        if ended_count < len(seeds):
            obs = begin(done)
    return table, params


def _timed(envs: Any, agent: Agent, seed: int) -> Latency:
    """Time single decisions of one environment, outside of it, from the start of the day of ``seed``."""
    obs, _ = envs.reset(seed=seed)
    spent_s: list[float] = []
    began_s = time.perf_counter()
    while len(spent_s) < LATENCY_DECISIONS + LATENCY_WARM_UP and time.perf_counter() - began_s < LATENCY_BUDGET_S:
        masks = envs.action_masks()
        before_s = time.perf_counter()
        actions = agent.actions(envs, obs, masks)
        after_s = time.perf_counter()
        if not masks.size or masks.sum() > 1:
            spent_s.append(after_s - before_s)
        obs, _, terminated, truncated, _ = envs.step(actions)
        if terminated[0] or truncated[0]:
            break
    spent_s = spent_s[LATENCY_WARM_UP:] or spent_s
    if not spent_s:
        return Latency(float("nan"), float("nan"), 0)
    p50_ms, p95_ms = (1e3 * np.percentile(spent_s, [50, 95])).tolist()
    return Latency(p50_ms, p95_ms, len(spent_s))


def shown(name: str, intervals: Mapping[str, Interval]) -> str:
    """Return the mean of one figure as text, always with the completion if it counts served bookings only."""
    mean = intervals[name].mean
    is_share = name.endswith(("_share", "_rate", "_efficiency")) or name.startswith(
        ("completion_", "on_time_", "min_class", SUCCESS)
    )
    text = f"{mean:.1%}" if is_share else f"{mean:.3f}" if name in _TO_A_THOUSANDTH else f"{mean:,.1f}"
    served = share_served(intervals) if name in SERVED_ONLY else None
    return text if served is None else f"{text} ({intervals[served].mean:.0%} served)"


def share_served(figures: Container[str]) -> str | None:
    """Return the name of the figure that says how many were served, or None if there is none."""
    return next((name for name in (COMPLETION, SERVED) if name in figures), None)


def summary(results: Sequence[Episodes]) -> list[dict[str, Any]]:
    """Return all that the evaluation knows, ready for JSON: one entry an agent, the first is the reference.

    Figures have ``mean``, ``low`` and ``high`` (95 % interval); ``difference`` is to the first agent, paired
    by seed; those that count served bookings only also carry the mean ``completion_rate``. ``success_at_least`` holds
    with 95 % confidence, by the exact one-sided binomial test.
    """
    entries = []
    for result in results:
        intervals = result.intervals()
        entry: dict[str, Any] = {
            "agent": result.agent,
            "id": result.id,
            "digest": result.digest or None,
            "fingerprint": dict(result.fingerprint),
            "randomization": result.randomization,
            "seeds": result.table["seed"].tolist(),
            "returns": result.table["return"].tolist(),
            "ends": {
                str(end): int(count)
                for end, count in zip(*np.unique(result.table["end"], return_counts=True), strict=True)
            },
            "figures": {name: _entry(name, i, intervals) for name, i in intervals.items()},
            "latency_ms": vars(result.latency) if result.latency else None,
        }
        if SUCCESS in result.kpis:
            entry["success_at_least"] = least_share(*result.successes())
        if result is not results[0]:
            entry["difference"] = {name: vars(i) for name, i in result.difference(results[0]).items()}
        entries.append(entry)
    return entries


def _entry(name: str, interval: Interval, intervals: Mapping[str, Interval]) -> dict[str, float]:
    entry = dict(vars(interval))
    served = share_served(intervals) if name in SERVED_ONLY else None
    if served is not None:
        entry[served] = intervals[served].mean
    return entry


def write_json(path: str | Path, results: Sequence[Episodes]) -> None:
    """Write :func:`summary` as JSON."""
    save_json(path, summary(results))


def save_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as JSON, all or nothing; what is not a number becomes null."""
    with written(path) as partial:
        partial.write_text(json.dumps(finite(content), indent=1) + "\n", encoding="utf-8")


def finite(value: Any) -> Any:
    """Return ``value`` with every float that JSON cannot hold replaced by None."""
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
