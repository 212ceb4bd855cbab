"""How good an operator of a data centre is, between trim-and-respond and what is possible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlops.agents_baseline.evaluate import Episodes
from rlops.envs.cooling.site import DAY_MIN
from rlops.errors import InvalidValue

FREE_K_MIN_PER_DAY = 10.0
"""[K min/d] Above 27 °C, sum of the zones: what bursts of load cost even those who know everything but the future. More
is a violation."""


@dataclass(frozen=True)
class Score:
    """Share of the possible saving that an agent makes, with its 95 % interval by bootstrap over episodes.

    Attributes:
        mean, low, high: 1 for the optimum, 0 for trim-and-respond, below 0 for who spends more; NaN if none counts.
        episodes: Without violation: those that count.
        of: Episodes that were played.
    """

    mean: float
    low: float
    high: float
    episodes: int
    of: int


def saving(agent: Episodes, reference: Episodes, figure: str = "kwh_cooling") -> np.ndarray:
    """Return the share of ``figure`` that ``agent`` saves of what ``reference`` spends: mean, low, high, ``(3,)`` [-].

    The interval is 95 % by bootstrap over episodes.

    Raises:
        InvalidValue: If the two did not play the same seeds of the same environment, randomized the same way.
    """
    agent.difference(reference)
    spent, instead = reference.table[figure], agent.table[figure]
    return _ratio(spent - instead, spent)


def regret_score(
    agent: Episodes, trim_and_respond: Episodes, optimum: Episodes, most_k_min_per_day: float = FREE_K_MIN_PER_DAY
) -> Score:
    """Return ``(E_trim - E) / (E_trim - E_optimum)`` of the energies of all consumers, over episodes without violation.

    An episode counts if ``agent`` played it to its horizon with at most ``most_k_min_per_day`` above 27 °C: who lets
    the hall get hot gets no score for it. Energies are summed before they are divided, so that a day on which nothing
    can be saved does not decide. The energy is that of all consumers with the servers, as a warmer hall moves power
    from the chiller to the servers' fans.

    Args:
        agent: Who is judged.
        trim_and_respond: The same episodes by ``trim_and_respond``.
        optimum: The same episodes by ``hourly_optimum``.
        most_k_min_per_day: Above 27 °C, sum of the zones [K min/d].

    Raises:
        InvalidValue: If they did not play the same seeds of the same environment, or the energies do not differ.
    """
    for other in (trim_and_respond, optimum):
        agent.difference(other)
    table = agent.table
    days = table["steps"] / DAY_MIN
    free = (table["end"] == "truncated") & (table["over_recommended_k_min"] <= most_k_min_per_day * days)
    energy = [one.table["kwh_total"][free] for one in (agent, trim_and_respond, optimum)]
    possible = energy[1] - energy[2]
    if free.any() and possible.sum() <= 0.0:
        raise InvalidValue(
            f"The optimum must spend less than trim-and-respond, got {energy[2].sum():.1f} and "
            f"{energy[1].sum():.1f} kWh. "
            "Evaluate controllers of these names."
        )
    mean, low, high = _ratio(energy[1] - energy[0], possible)
    return Score(mean, low, high, int(free.sum()), len(table))


def _ratio(above: np.ndarray, below: np.ndarray, resamples: int = 4000) -> np.ndarray:
    """Return sum over sum with its 95 % percentile interval over episodes, ``(3,)``; NaN without any."""
    n = len(above)
    if n == 0:
        return np.full(3, np.nan)
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=resamples)
    low, high = np.percentile((weights @ above) / (weights @ below), [2.5, 97.5])
    return np.array([above.sum() / below.sum(), low, high])
