"""The failure catalogue: single episodes, what went wrong in them, and from which step on."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from rlops.agents_baseline.agents import Agent
from rlops.agents_baseline.worlds import World
from rlops.robustness.episodes import PLACE, Design, play
from rlops.robustness.figures import Figures, of_part
from rlops.robustness.parts import Setting, transfer

REFERENCES = 16
"""Nominal episodes whose steps say what is usual."""


def catalogue(figures: Figures, agent: Agent, policy: str = "a") -> list[dict[str, Any]]:
    """Return the worst episodes of a report and those nearest to failing, each played again step by step.

    The worst are the failures with the least return, the worst of every place of the report first; the borderline ones
    are the successes with the least return in distribution.

    Returns:
        For each: its number in the table, where it belongs, its seed, what it was, and ``first_bad_step``: the first
        step by which the reward term that fell most behind the floor had added up to less than in any usual episode by
        then; None if it never had.
    """
    chosen = _chosen(figures, policy)
    if not chosen:
        return []
    nominal = of_part(figures.table, "nominal", policy)
    usual = _usual(nominal, figures)
    traces = _traces(figures, agent, policy, chosen)
    reference = _steps(_design(figures.setting, nominal[usual]), agent)
    terms = figures.setting.kernel.REWARD_TERMS
    lowest = _lowest(reference, max(map(len, traces)))
    entries = []
    for number, trace in zip(chosen, traces, strict=True):
        episode, success = figures.table[number], bool(figures.succeeded(figures.table[[number]])[0])
        behind = _behind(episode, nominal, terms)
        sums, least = np.cumsum(trace[:, behind]), lowest[: len(trace), behind]
        below = np.flatnonzero(sums < least - 1e-9 * (1.0 + np.abs(least)))
        entries.append(
            {
                "episode": number,
                "part": str(episode["part"]),
                "label": str(episode["label"]),
                "seed": int(episode["seed"]),
                "return": float(episode["return"]),
                "steps": int(episode["steps"]),
                "success": success,
                "class": _class(episode, nominal, success),
                "term": terms[behind],
                "first_bad_step": int(below[0]) + 1 if len(below) else None,
                "changed": changed(figures.setting, episode),
            }
        )
    return entries


def _chosen(figures: Figures, policy: str) -> list[int]:
    spec, table = figures.setting.spec.catalogue, figures.table
    own = table["policy"] == policy
    failed = own & ~figures.succeeded(table)
    order = np.argsort(np.where(np.isfinite(table["return"]), table["return"], -np.inf), kind="stable")
    ranked: list[tuple[int, int]] = []
    rounds: Counter[tuple[str, str]] = Counter()
    seen = set()
    for number in order[failed[order]].tolist():
        world = tuple(table[number].tolist()[len(PLACE) :])
        if world in seen:  # the nominal world stands in more than one part
            continue
        seen.add(world)
        place = (str(table["part"][number]), str(table["label"][number]))
        rounds[place] += 1
        ranked.append((rounds[place], number))
    ranked.sort(key=lambda one: one[0])  # the worst of every place first, so that no place crowds the others out
    near = own & figures.succeeded(table) & (table["part"] == "in_distribution")
    borderline: list[int] = order[near[order]].tolist()[: spec.borderline]
    return [number for _, number in ranked[: spec.worst]] + borderline


def _usual(nominal: np.ndarray, figures: Figures) -> np.ndarray:
    """Return the first nominal episodes that succeeded, or if there are too few the best ones."""
    good = np.flatnonzero(figures.succeeded(nominal))
    if len(good) < REFERENCES:
        good = np.argsort(-nominal["return"], kind="stable")
    return np.asarray(good[:REFERENCES])


def _lowest(reference: list[np.ndarray], steps: int) -> np.ndarray:
    """Return what each term had added up to at least by each step, ``(steps, terms)``; ended episodes stay."""
    sums = [np.cumsum(one, axis=0) for one in reference]
    ways = [one[np.minimum(np.arange(steps), len(one) - 1)] for one in sums]
    return np.asarray(np.min(ways, axis=0))


def _behind(episode: Any, nominal: np.ndarray, terms: tuple[str, ...]) -> int:
    """Return the reward term that lost most against the floor."""
    lost = [float(np.mean(nominal[f"term_{term}"]) - episode[f"term_{term}"]) for term in terms]
    return int(np.argmax(np.nan_to_num(lost, nan=np.inf)))


def _class(episode: Any, nominal: np.ndarray, success: bool) -> str:
    if not np.isfinite(episode["return"]):
        return "not a number"
    if success:
        return "borderline"
    usually_whole = float(np.mean(nominal["end"] == "truncated")) > 0.5
    if usually_whole and episode["end"] == "terminated":
        return "ended early"
    return "time over" if episode["end"] == "truncated" else "below the mark"


def changed(setting: Setting, episode: Any) -> dict[str, float]:
    """Return the parameters of an episode that were not nominal."""
    values = {name: float(episode[f"param_{name}"]) for name in setting.nominal}
    return {name: value for name, value in values.items() if value != setting.nominal[name]}


def world_of(setting: Setting, episode: Any) -> World:
    """Return the world that an episode of the report met."""
    if episode["part"] == "in_distribution":
        return World(setting.id, setting.world.options, setting.world.params, setting.trained)
    if episode["part"] == "transfer":
        return next(design.world for design in transfer(setting) if design.labels[0] == episode["label"])
    return setting.world


def design_of(setting: Setting, episode: Any) -> Design:
    """Return the design of a single episode of the report, from its row in the table."""
    world = world_of(setting, episode)
    values: dict[str, float] = {}
    if world.randomization is None:  # otherwise the world draws them again, the same
        sticky = {**setting.nominal, **_numbers(setting, world)}
        values = {name: float(episode[f"param_{name}"]) for name in sticky}
        values = {name: value for name, value in values.items() if value != sticky[name]}
    overrides = {name: np.array([value]) for name, value in values.items()}
    return Design(
        str(episode["part"]), world, np.array([episode["seed"]], np.int64), (str(episode["label"]),), overrides
    )


def _numbers(setting: Setting, world: World) -> dict[str, float]:
    known = {p.name: p for p in setting.kernel.PARAMETERS}
    return {name: known[name].checked(value, setting.id) for name, value in world.params.items()}


def _design(setting: Setting, episodes: np.ndarray) -> Design:
    return Design("nominal", setting.world, episodes["seed"], ("",) * len(episodes))


def _traces(figures: Figures, agent: Agent, policy: str, chosen: list[int]) -> list[np.ndarray]:
    """Return the reward terms of every step of some episodes, played again one by one."""
    return [_steps(design_of(figures.setting, figures.table[number]), agent)[0] for number in chosen]


def _steps(design: Design, agent: Agent) -> list[np.ndarray]:
    """Return the reward terms of every step, ``(steps, terms)`` for each episode of a design."""
    steps: list[list[np.ndarray]] = [[] for _ in range(len(design))]

    def watch(episode: np.ndarray, envs: Any) -> None:
        for row, number in enumerate(episode.tolist()):
            if number < len(steps):
                steps[number].append(envs.state["terms"][row].copy())

    play(design, agent, watch=watch)
    return [np.array(one) for one in steps]
