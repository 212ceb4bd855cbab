"""Agents whose decision for a row does not depend on its neighbours, to the last bit.

Controllers and policies in arrays are so. A model of Stable-Baselines3 is not: a matrix product of 64 rows may round
otherwise than that of one, and a policy that draws its actions takes them from a generator that all rows share. Either
would make an episode depend on the batch that it was played in, and no failure could be played again.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rlops
from rlops.agents_baseline.agents import CONFIG_FILE, MODEL_FILE, Agent, TrainedAgent, load_agent
from rlops.agents_baseline.policies import POLICY_FILE, Policy, PolicyAgent
from rlops.envs.draws import stream_key
from rlops.errors import InvalidFile, InvalidValue

BLOCK = 32
"""Rows that a network sees at once, always as many."""
_STREAM = int.from_bytes(hashlib.blake2b(b"rlops-policy", digest_size=8).digest(), "little")


class Blocks:
    """Asks a trained agent about blocks of always as many rows; rows that are missing repeat the last one."""

    def __init__(self, agent: TrainedAgent):
        """Ask ``agent``, which takes its best action."""
        self.agent, self.name = agent, agent.name

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row; see :class:`~rlops.agents_baseline.agents.Agent`."""
        n = len(obs)
        rows = np.minimum(np.arange(-(-n // BLOCK) * BLOCK), n - 1).reshape(-1, BLOCK)
        return np.concatenate([self.agent.actions(envs, obs[block], masks[block]) for block in rows])[:n]


class Keyed:
    """Lets a trained agent draw each row's action by itself, from a generator seeded by the episode's key and step."""

    def __init__(self, agent: TrainedAgent):
        """Ask ``agent``, which draws its actions."""
        self.agent, self.name = agent, f"{agent.name} (stochastic)"

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row; see :class:`~rlops.agents_baseline.agents.Agent`."""
        import torch

        drawn = []
        with torch.random.fork_rng(devices=[]):
            for row in range(len(obs)):
                key, step = np.uint64(envs.state["key"][row]), int(envs.state["steps"][row])
                torch.manual_seed(int(stream_key(key, step, np.uint64(_STREAM))) >> 1)
                drawn.append(self.agent.actions(envs, obs[row : row + 1], masks[row : row + 1]))
        return np.concatenate(drawn)


def policy(name_or_path: str | Path, id: str, deterministic: bool = True) -> Agent:
    """Return the agent of a name or path, as :func:`~rlops.agents_baseline.agents.load_agent` does, row by row.

    Raises:
        InvalidValue: If it was trained for another environment.
        UnknownName, InvalidFile: If there is no such agent.
    """
    trained_for = configuration(name_or_path).get("id", id)
    if trained_for != id:
        raise InvalidValue(
            f"The agent must be trained for {id}, got {name_or_path}, trained for {trained_for}. "
            f"Write its report: rlops robustness {trained_for} --agent {name_or_path}."
        )
    agent = load_agent(name_or_path, id, deterministic)
    if isinstance(agent, PolicyAgent) and not deterministic:
        agent.name = f"{agent.name} (stochastic)"
    if not isinstance(agent, TrainedAgent):
        return agent
    return Blocks(agent) if deterministic else Keyed(agent)


def configuration(name_or_path: str | Path) -> dict[str, Any]:
    """Return what an agent was trained with; empty for a controller, or where nothing says so."""
    import yaml

    path = Path(name_or_path)
    folder = path if path.is_dir() else path.parent
    file = folder / CONFIG_FILE
    if path.exists() and not file.is_file() and (folder / POLICY_FILE).is_file():
        read = Policy.read(folder)
        return {**read.trained, "id": read.id}
    if not (path.exists() and file.is_file()):
        return {}
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {})


def digest_of(name_or_path: str | Path, agent: Agent) -> str:
    """Return what an agent is: the SHA-256 of its file, or the release of rlops that a controller comes with.

    The file of a policy in arrays is its description, which has the hashes of its arrays.
    """
    if isinstance(agent, (Blocks, Keyed, PolicyAgent)):
        path = Path(name_or_path)
        inside = POLICY_FILE if isinstance(agent, PolicyAgent) else MODEL_FILE
        file = path / inside if path.is_dir() else path
        return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    return f"rlops {rlops.__version__}: {agent.name}"


@dataclass(frozen=True)
class Carried:
    """An agent as it goes to another machine: by its name, or with the files that it is loaded from.

    Attributes:
        source: Name of a controller, or path of the agent below the folder of its files.
        id: Environment that it is to act in.
        deterministic: Whether a trained agent takes its best action instead of a drawn one.
        digest: What it is, as :func:`digest_of` says.
        files: Content by path; none for a controller.
    """

    source: str
    id: str
    deterministic: bool
    digest: str
    files: Mapping[str, bytes]

    @classmethod
    def of(cls, name_or_path: str | Path, agent: Agent, id: str, deterministic: bool = True) -> Carried:
        """Return the ``agent`` that :func:`policy` returned for these arguments.

        Raises:
            InvalidFile: If its files are no longer there.
        """
        path = Path(name_or_path)
        if not isinstance(agent, (Blocks, Keyed, PolicyAgent)):
            return cls(str(name_or_path), id, deterministic, digest_of(path, agent), {})
        folder = path if path.is_dir() else path.parent
        within = folder.absolute().name or "agent"
        try:
            files = {f"{within}/{name}": (folder / name).read_bytes() for name in _parts(path, agent)}
            digest = digest_of(path, agent)
        except OSError as error:
            raise InvalidFile(f"{path} must stay as it is until its report is written: {error}.") from None
        return cls(within if path.is_dir() else f"{within}/{path.name}", id, deterministic, digest, files)

    def __call__(self) -> Agent:
        """Return the agent.

        Raises:
            InvalidValue: If it comes out as another one.
        """
        if not self.files:
            return self._checked(self.source)
        with tempfile.TemporaryDirectory() as folder:
            for name, content in self.files.items():
                file = Path(folder, name)
                file.parent.mkdir(exist_ok=True)
                file.write_bytes(content)
            return self._checked(Path(folder, self.source))

    def _checked(self, source: str | Path) -> Agent:
        agent = policy(source, self.id, self.deterministic)
        got = digest_of(source, agent)
        if got != self.digest:
            raise InvalidValue(f"The agent that plays must be {self.digest}, got {got}: it was changed meanwhile.")
        return agent


def _parts(path: Path, agent: Agent) -> list[str]:
    """Return the names of the files that an agent is loaded from."""
    folder = path if path.is_dir() else path.parent
    if isinstance(agent, PolicyAgent):
        return [POLICY_FILE, *(file.name for file in folder.glob("policy-*.npz"))]
    model = MODEL_FILE if path.is_dir() else path.name
    return [model, *([CONFIG_FILE] if (folder / CONFIG_FILE).is_file() else [])]
