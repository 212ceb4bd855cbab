"""Agents: what decides, whether trained or written by hand, and loading one by name or path."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml
from gymnasium.spaces import Discrete

from rlops.agents_baseline.policies import POLICY_FILE, Policy, PolicyAgent
from rlops.agents_baseline.sharing import parts_taken
from rlops.envs import parse_id
from rlops.envs.contract import bounds, width
from rlops.errors import InvalidFile, InvalidValue, MissingExtra, UnknownName
from rlops.registry.remote.protocol import Identity

ALGORITHMS = ("maskable_ppo", "ppo", "dqn", "sac")
MODEL_FILE = "model.zip"
CONFIG_FILE = "config.yaml"
CONSTANT = "constant:"
"""Begins the name of an agent that holds the action that follows: ``constant:0.25,0.4``."""


class Agent(Protocol):
    """Decides for all rows of an environment at once.

    What it returns for a row may depend on that row alone, so an episode does not depend on its neighbours.
    """

    name: str

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row: ``(n,)`` int64, or ``(n, d)`` float64 where an action is a vector.

        Args:
            envs: The :class:`~rlops.envs.faces.VectorEnv`; a controller may read ``envs.state`` and
                ``envs.params``.
            obs: Observations, ``(n, k)`` float32.
            masks: Legal actions, ``(n, m)`` bool; ``(n, 0)`` where there are no masks.
        """
        ...


def decision(agent: Agent, env: Any, obs: np.ndarray) -> Any:
    """Return what an agent does in a single environment that shows ``obs``: an integer, or a vector ``(k,)``."""
    chosen = agent.actions(env, obs[None], env.action_masks()[None])[0]
    return int(chosen) if isinstance(env.action_space, Discrete) else np.asarray(chosen, np.float32)


def id_of(env: Any) -> str:
    """Return the id of an environment of this package."""
    return f"rlops/{env.family.name}-v{env.version}"


class Constant:
    """Wants the same of all actuators for ever: what anything that decides has to beat."""

    def __init__(self, action: Sequence[float]):
        """Hold the components of an ``action`` ``(k,)``."""
        self.action = np.asarray(action, np.float32)
        self.name = CONSTANT + ",".join(f"{component:g}" for component in self.action)

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return the action for every row, ``(n, k)`` float32."""
        return np.tile(self.action, (len(obs), 1))


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let PyTorch, if it is loaded, use one thread: small matrices gain nothing from more."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 1
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch:
            torch.set_num_threads(before)


class TrainedAgent:
    """A model of Stable-Baselines3 as an agent.

    Attributes:
        origin: What it was trained in, as far as its checkpoint says.
        parts: How many equal parts of an observation the model takes one by one: agents, if it was trained for one.
    """

    def __init__(
        self,
        name: str,
        algo: str,
        model: Any,
        deterministic: bool = True,
        origin: Identity | None = None,
        parts: int = 1,
    ):
        """Wrap a loaded ``model`` of ``algo``."""
        self.name, self.algo, self.model, self.deterministic = name, algo, model, deterministic
        self.origin, self.parts = origin or Identity(), parts

    @property
    def uses_masks(self) -> bool:
        """Whether illegal actions are excluded; plain PPO and SAC know no masks."""
        return self.algo in ("maskable_ppo", "dqn")

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row: ``(n,)`` int64, or ``(n, d)`` float64 where an action is a vector."""
        masked = {"action_masks": masks} if self.uses_masks else {}
        parts = obs.reshape(len(obs) * self.parts, -1) if self.parts > 1 else obs
        chosen, _ = self.model.predict(parts, deterministic=self.deterministic, **masked)
        if self.parts > 1:
            chosen = np.reshape(chosen, (len(obs), -1))
        return np.asarray(chosen, np.float64 if np.asarray(chosen).dtype.kind == "f" else np.int64)


def load_agent(name_or_path: str | Path, id: str, deterministic: bool = True) -> Agent:
    """Return the agent of a name, or of a folder or zip file that training wrote.

    A name such as ``"ppo"`` means the agent that comes with the package (:func:`shipped_for`).

    A folder is read without unpickling anything if it has a policy in arrays (:mod:`rlops.agents_baseline.policies`),
    as ``rlops train`` and ``rlops export`` write it. A model file of Stable-Baselines3 holds pickled objects: name one
    only if you trust it.

    Args:
        name_or_path: For example ``"cheapest_insertion"``, ``"ppo"``, ``"runs/agent"``, ``"runs/agent/model.zip"``,
            or ``"constant:0.25,0.4"`` for an environment whose actions are vectors.
        id: Environment that it is to act in.
        deterministic: Whether a trained agent takes its best action instead of a drawn one.

    Raises:
        UnknownName: If it is neither a controller, nor an agent that comes with the package, nor an existing path.
        InvalidFile: If the file is no model of a known algorithm.
        InvalidValue: If the model was trained for other observations or actions than those of ``id``, or a constant
            action is none of its.
    """
    parse_id(id)
    if str(name_or_path).startswith(CONSTANT):
        return _constant(str(name_or_path), id)
    path = Path(name_or_path)
    if path.exists() and path.name != str(name_or_path):
        return _trained(path, id, deterministic)
    from rlops.agents_baseline.controllers import CONTROLLERS, make_controller

    if str(name_or_path) in CONTROLLERS:  # a bare name is first of all a controller's
        controller: Agent = make_controller(str(name_or_path), id)
        return controller
    if str(name_or_path) in shipped_for(id):
        return _in_arrays(shipped_folder(id) / str(name_or_path), id, deterministic)
    if path.exists():
        return _trained(path, id, deterministic)
    raise UnknownName("agent", str(name_or_path), [*CONTROLLERS, *shipped_for(id), "(or the path of a trained agent)"])


def located(name_or_path: str | Path, id: str) -> str | Path:
    """Return the folder of an agent that comes with the package if this is its name, anything else as it is."""
    name = str(name_or_path)
    return shipped_folder(id) / name if name in shipped_for(id) else name_or_path


def shipped_for(id: str) -> tuple[str, ...]:
    """Return the names of the trained agents that come with the package for an environment.

    Each is the name of an algorithm, with the level of the randomization that it was trained with behind it, if any:
    ``ppo``, ``ppo_full``.
    """
    return tuple(sorted(file.parent.name for file in shipped_folder(id).glob(f"*/{POLICY_FILE}")))


def shipped_folder(id: str) -> Path:
    """Return the folder of the trained agents that come with the package for an environment."""
    return Path(__file__).parent / "shipped" / id.removeprefix("rlops/")


def _constant(name: str, id: str) -> Constant:
    family, number = parse_id(id)
    action = family.kernel(number).ACTION
    if isinstance(action, int):
        raise InvalidValue(f"{name}: {id} takes integers, not vectors. Name a controller or a trained agent.")
    low, high = bounds(action)
    try:
        agent = Constant([float(component) for component in name.removeprefix(CONSTANT).split(",")])
    except ValueError:
        agent = Constant([])
    if agent.action.shape != low.shape or not ((agent.action >= low) & (agent.action <= high)).all():
        columns = ", ".join(f"{column.count} × {column.name}" for column in action)
        raise InvalidValue(
            f"The action of {id} must be {len(low)} numbers within {low[0]:g} … {high[0]:g} ({columns}), got {name!r}."
        )
    return agent


def _trained(path: Path, id: str, deterministic: bool) -> Agent:
    if path.name == POLICY_FILE or (path / POLICY_FILE).is_file():
        return _in_arrays(path, id, deterministic)
    file = path / MODEL_FILE if path.is_dir() else path
    if not file.is_file():
        raise InvalidFile(f"{path} must contain {MODEL_FILE}, got none. Train one: rlops train {id} --out {path}")
    algo = _algorithm(file)
    model = algorithm_class(algo).load(file, device="cpu")
    parts = parts_taken(model, id)
    if parts == 1:
        _check_spaces(model, file, id)
    name = file.parent.name if file.name == MODEL_FILE else file.stem
    return TrainedAgent(_shown(algo, name), algo, model, deterministic, _origin(_configuration(file)), parts)


def _origin(told: Mapping[str, Any]) -> Identity:
    """Return what an agent was trained in, as far as its configuration says."""
    fingerprint = {str(name): str(value) for name, value in (told.get("fingerprint") or {}).items()}
    return Identity(str(told.get("id") or ""), str(told.get("digest") or ""), fingerprint)


def _configuration(file: Path) -> dict[str, Any]:
    """Return the configuration beside a model file; empty: there is none."""
    config = file.with_name(CONFIG_FILE)
    return dict(yaml.safe_load(config.read_text(encoding="utf-8")) or {}) if config.is_file() else {}


def _in_arrays(path: Path, id: str, deterministic: bool) -> PolicyAgent:
    """Return the agent of a policy in arrays."""
    policy = Policy.read(path)
    if policy.id != id:
        policy = _for_another(policy, path, id)
    folder = path.parent if path.name == POLICY_FILE else path
    return PolicyAgent(policy, deterministic, _shown(policy.algo, folder.name), _origin(policy.trained))


def _for_another(policy: Policy, path: Path, id: str) -> Policy:
    """Return a policy as one for ``id``, if that shows and takes what the policy's own environment does."""
    try:
        return replace(policy, id=id)
    except (InvalidValue, UnknownName) as error:
        raise InvalidValue(f"{path} was trained for {policy.id}; to act in {id}, {error}") from None


def _shown(algo: str, name: str) -> str:
    """Return the name of an agent of ``algo`` in a folder or file of a ``name``."""
    return name if name == algo or name.startswith(f"{algo}_") else f"{algo} {name}"


def algorithm_class(algo: str) -> Any:
    """Return the class of an algorithm name.

    Raises:
        UnknownName: If it is none of ``ALGORITHMS``.
        MissingExtra: If Stable-Baselines3 is not installed.
    """
    try:
        if algo == "maskable_ppo":
            from sb3_contrib import MaskablePPO

            return MaskablePPO
        if algo == "ppo":
            from stable_baselines3 import PPO

            return PPO
        if algo == "sac":
            from stable_baselines3 import SAC

            return SAC
        if algo == "dqn":
            from rlops.agents_baseline.masked_dqn import MaskedDQN

            return MaskedDQN
    except ImportError as error:
        raise MissingExtra(f"The algorithm {algo}", "agents") from error
    raise UnknownName("algorithm", algo, ALGORITHMS)


def _algorithm(file: Path) -> str:
    """Return the algorithm of a model file: from the configuration beside it, else from its policy class."""
    algo = _configuration(file).get("algo")
    if algo in ALGORITHMS:
        return str(algo)
    try:
        with zipfile.ZipFile(file) as archive:
            members = json.loads(archive.read("data"))["policy_class"]
            policy = members["__module__"]
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError):
        raise InvalidFile(f"{file} must be a model that Stable-Baselines3 saved, got something else.") from None
    if policy == "rlops.agents_baseline.pair_policy":
        return "dqn" if "make_q_net" in members else "maskable_ppo"
    for algo, module in (
        ("maskable_ppo", "sb3_contrib.common.maskable.policies"),
        ("ppo", "stable_baselines3.common.policies"),
        ("dqn", "stable_baselines3.dqn.policies"),
        ("sac", "stable_baselines3.sac.policies"),
    ):
        if policy == module:
            return algo
    raise InvalidFile(f"{file} must be a model of {', '.join(ALGORITHMS)}, got one whose policy is of {policy}.")


def _check_spaces(model: Any, file: Path, id: str) -> None:
    family, number = parse_id(id)
    kernel = family.kernel(number)
    columns, discrete = width(kernel.OBSERVATION), isinstance(kernel.ACTION, int)
    wanted = kernel.ACTION if discrete else (width(kernel.ACTION),)
    got = (model.observation_space.shape, getattr(model.action_space, "n", model.action_space.shape))
    if got != ((columns,), wanted):
        actions = f"{wanted} actions" if discrete else f"actions of shape {wanted}"
        raise InvalidValue(
            f"{file} must be trained on {columns} observed numbers and {actions} for {id}, "
            f"got {got[0]} and {got[1]}. Train it on {id}, or evaluate it where it was trained."
        )
