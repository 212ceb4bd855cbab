"""Policies as arrays and JSON: what a trained agent is when it is handed on.

A policy is a folder. ``policy.json`` says for which environment it is, what its network is, and how actions follow from
what the network gives; the arrays lie beside it in a file of NumPy's that is named after its content. To read one runs
nothing that it brings: objects are never unpickled, every array is held against its shape and its hash, and the forward
pass is ours (``networks.py``).

Drawn actions follow from the key of the episode, the step and the row's own scores: a stochastic policy plays the same
episode again, whatever rows play beside it.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rlops.agents_baseline.directions import PER_DIRECTION, appended, checked, indices
from rlops.agents_baseline.networks import ACTIVATIONS, Layers, Linear, Network, Pairs, Shapes
from rlops.agents_baseline.sharing import part_of_each, parts_taken
from rlops.envs import parse_id
from rlops.envs.compiling import compiled
from rlops.envs.contract import bounds, width
from rlops.envs.draws import normal, stream_key, uniform
from rlops.errors import InvalidFile, InvalidValue
from rlops.files import written
from rlops.registry.remote.protocol import Identity

POLICY_FILE = "policy.json"
FORMAT = 1
HEADS = {"maskable_ppo": "logits", "ppo": "logits", "dqn": "values", "sac": "squashed"}
"""How actions follow, by algorithm: ``logits`` of a draw, ``values`` of which the best is taken, a ``gaussian`` draw,
or one that is ``squashed`` by tanh into the bounds. PPO over vectors is ``gaussian``."""
LEAST_LOG_STD, MOST_LOG_STD = -20.0, 2.0
"""Stable-Baselines3 holds SAC's spread within these."""
MOST_STANDARDISED = 10.0
_DRAWS = 0x4BE98134A5976FD3
_MOST_JSON_BYTES, _MOST_BYTES = 4 << 20, 256 << 20


@dataclass(frozen=True)
class Policy:
    """A policy: its arrays, and how actions follow from them.

    Attributes:
        id: The environment.
        algo: What trained it.
        head: One of the values of :data:`HEADS`, or ``gaussian``.
        network: ``layers`` or ``pairs``.
        activation: Between layers.
        masked: Whether illegal actions are excluded.
        arrays: By name, float32. ``mean`` and ``scale``, if they are there, standardise observations.
        trained: What it depends on, as ``rlops train`` writes it.
        directions: Names of vectors in the observation of which the network gets more, see ``directions.py``.
        shared: Whether the network takes the part of one agent, and serves all alike, see ``sharing.py``.
    """

    id: str
    algo: str
    head: str
    network: str
    activation: str
    masked: bool
    arrays: Mapping[str, np.ndarray]
    trained: Mapping[str, Any] = field(default_factory=dict)
    directions: tuple[str, ...] = ()
    shared: bool = False

    def __post_init__(self) -> None:
        self.check()
        made: Network = Pairs(self.arrays, self.id) if self.network == "pairs" else Layers(self.arrays, self.activation)
        object.__setattr__(self, "_network", made)
        object.__setattr__(self, "_at", indices(self.directions, self.id))
        object.__setattr__(self, "_agents", part_of_each(self.id).agents if self.shared else 1)

    def check(self) -> None:
        """Hold the arrays against what the environment shows and takes.

        Raises:
            InvalidValue: If something does not fit.
        """
        _must(self.head in {*HEADS.values(), "gaussian"}, "the head", "one that is known", self.head)
        _must(self.network in ("layers", "pairs"), "the network", "layers or pairs", self.network)
        _must(self.activation in ACTIVATIONS, "the activation", " or ".join(ACTIVATIONS), self.activation)
        family, number = parse_id(self.id)
        kernel = family.kernel(number)
        discrete = isinstance(kernel.ACTION, int)
        _must(
            discrete == (self.head in ("logits", "values")), "the head", f"one for the actions of {self.id}", self.head
        )
        columns, outputs = width(kernel.OBSERVATION), kernel.ACTION if discrete else width(kernel.ACTION)
        if self.shared:
            part = part_of_each(self.id)
            columns, outputs = width(part.columns), width(part.action)
            _must(not self.directions, "directions", "none where a network is shared", ", ".join(self.directions))
        given = len(checked(self.directions, self.id))
        _must(not given or "mean" in self.arrays, "directions", "standardised with the rest", "neither mean nor scale")
        columns += PER_DIRECTION * given
        shapes = {name: array.shape for name, array in self.arrays.items()}
        wanted = self._shapes(columns, outputs)
        _must(shapes == wanted, "the arrays", f"{_shown(wanted)} for {self.id}", _shown(shapes))

    def _shapes(self, columns: int, outputs: int) -> Shapes:
        """Return what the arrays must be."""
        pairs = self.network == "pairs"
        wanted = Pairs.shapes(self.arrays, self.id) if pairs else Layers.shapes(self.arrays, columns, outputs)
        if self.head == "gaussian":
            wanted["log_std"] = (outputs,)
        if self.head == "squashed":
            latent = wanted[f"actor.{len(wanted) // 2 - 1}.weight"][1]
            wanted |= {"spread.weight": (outputs, latent), "spread.bias": (outputs,)}
        if "mean" in self.arrays or "scale" in self.arrays:
            wanted |= {"mean": (columns,), "scale": (columns,)}
        return wanted

    def scores(self, obs: np.ndarray) -> np.ndarray:
        """Return what the network gives for observations ``(n, k)``, ``(n, m)`` float32."""
        made: np.ndarray = self._network(self._standardised(obs))  # type: ignore[attr-defined]
        return self._joined(made)

    def log_std(self, obs: np.ndarray) -> np.ndarray:
        """Return the logarithm of the spread of drawn vectors, ``(d,)`` or ``(n, d)``."""
        if self.head == "gaussian":
            return np.tile(self.arrays["log_std"], self._agents)  # type: ignore[attr-defined]
        hidden = self._network.hidden(self._standardised(obs))  # type: ignore[attr-defined]
        spread = Linear(self.arrays["spread.weight"], self.arrays["spread.bias"])(hidden)
        return self._joined(np.clip(spread, LEAST_LOG_STD, MOST_LOG_STD))

    def _joined(self, made: np.ndarray) -> np.ndarray:
        """Return what the network gave for one part after another in the rows that they belong to."""
        agents: int = self._agents  # type: ignore[attr-defined]
        return made.reshape(len(made) // agents, agents * made.shape[1]) if self.shared else made

    def _standardised(self, obs: np.ndarray) -> np.ndarray:
        """Return what the network takes, float32; if it is shared, a row for every agent of every observation."""
        obs = np.asarray(obs, np.float32)
        if self.shared:
            agents: int = self._agents  # type: ignore[attr-defined]
            obs = obs.reshape(len(obs) * agents, obs.shape[1] // agents)
        if "mean" not in self.arrays:
            return obs
        if self.directions:
            obs = appended(obs, self._at)  # type: ignore[attr-defined]
        most = np.float32(MOST_STANDARDISED)
        limited: np.ndarray = np.clip((obs - self.arrays["mean"]) / self.arrays["scale"], -most, most)
        return limited

    def actions(
        self, obs: np.ndarray, masks: np.ndarray | None = None, draws: tuple[np.ndarray, np.ndarray] | None = None
    ) -> np.ndarray:
        """Return an action for every observation: ``(n,)`` int64, or ``(n, d)`` float32.

        Args:
            obs: Observations, ``(n, k)``.
            masks: Legal actions, ``(n, m)`` bool, if the policy is ``masked``.
            draws: Keys of the episodes and steps in them, each ``(n,)``: what actions are drawn with. None: the best
                action of each row is taken.
        """
        scores = self.scores(obs)
        if self.head in ("logits", "values"):
            return self._numbers(scores, masks if self.masked else None, draws)
        low, high = self._bounds()
        chosen: np.ndarray
        if draws is not None:
            drawn = np.empty(scores.shape)
            _draw_normal(*draws, drawn)
            scores = (scores + np.exp(self.log_std(obs)) * drawn).astype(np.float32)
        if self.head == "squashed":
            chosen = low + np.float32(0.5) * (np.tanh(scores) + np.float32(1)) * (high - low)
        else:
            chosen = np.clip(scores, low, high)
        return chosen

    def _numbers(
        self, scores: np.ndarray, masks: np.ndarray | None, draws: tuple[np.ndarray, np.ndarray] | None
    ) -> np.ndarray:
        if masks is not None:
            scores = np.where(masks, scores, -np.inf)
        if draws is None or self.head == "values":
            return np.asarray(scores.argmax(axis=1), np.int64)
        share = np.exp((scores - scores.max(axis=1, keepdims=True)).astype(np.float64)).cumsum(axis=1)
        drawn = np.empty((len(scores), 1))
        _draw_uniform(*draws, drawn)
        return np.asarray((share < drawn * share[:, -1:]).sum(axis=1), np.int64)

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        family, number = parse_id(self.id)
        return bounds(family.kernel(number).ACTION)

    # -- files -------------------------------------------------------------------------------------------------

    def write(self, folder: str | Path) -> Path:
        """Write the policy into a folder, which is made if needed, and return the path of its ``policy.json``.

        A policy that is there is replaced as a whole: its JSON names the file of its arrays.
        """
        folder = Path(folder)
        packed = io.BytesIO()
        arrays: Any = dict(self.arrays)
        np.savez(packed, **arrays)
        weights = f"policy-{hashlib.sha256(packed.getvalue()).hexdigest()[:12]}.npz"
        about = {
            "format": FORMAT,
            "id": self.id,
            "algo": self.algo,
            "head": self.head,
            "network": self.network,
            "activation": self.activation,
            "masked": self.masked,
            "directions": list(self.directions),
            "shared": self.shared,
            "weights": weights,
            "arrays": {name: {"shape": list(a.shape), "sha256": _hash(a)} for name, a in self.arrays.items()},
            "trained": dict(self.trained),
        }
        with written(folder / weights) as partial:
            partial.write_bytes(packed.getvalue())
        with written(folder / POLICY_FILE) as partial:
            partial.write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        for old in folder.glob("policy-*.npz"):
            if old.name != weights:
                old.unlink()
        return folder / POLICY_FILE

    @classmethod
    def read(cls, folder: str | Path) -> Policy:
        """Return the policy of a folder, or of the ``policy.json`` in it.

        Raises:
            InvalidFile: If a file is missing, truncated, tampered with, of another format, or does not fit.
        """
        file = Path(folder) if Path(folder).name == POLICY_FILE else Path(folder) / POLICY_FILE
        about = _read_json(file)
        try:
            names = ("id", "algo", "head", "network", "activation")
            texts = {name: _of_type(about, name, str) for name in names}
            masked, trained = _of_type(about, "masked", bool), _of_type(about, "trained", dict)
            about = {"directions": [], "shared": False, **about}  # older files know neither
            directions, shared = tuple(_of_type(about, "directions", list)), _of_type(about, "shared", bool)
            arrays = _read_arrays(file.with_name(_of_type(about, "weights", str)), _of_type(about, "arrays", dict))
            return cls(**texts, masked=masked, arrays=arrays, trained=trained, directions=directions, shared=shared)
        except InvalidFile:
            raise
        except (InvalidValue, KeyError) as error:
            raise InvalidFile(f"{file} must describe a policy of an environment here: {error}") from None


class PolicyAgent:
    """A policy as an agent."""

    def __init__(
        self, policy: Policy, deterministic: bool = True, name: str | None = None, origin: Identity | None = None
    ):
        """Let ``policy`` decide; it takes its best action if ``deterministic``, else draws one."""
        self.policy, self.deterministic, self.name = policy, deterministic, name or policy.algo
        self.origin = origin or Identity()
        self.algo = policy.algo

    @property
    def uses_masks(self) -> bool:
        """Whether illegal actions are excluded."""
        return self.policy.masked

    def actions(self, envs: Any, obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return an action for every row: ``(n,)`` int64, or ``(n, d)`` float64 where an action is a vector."""
        draws = None
        if not self.deterministic:
            if not hasattr(envs, "state"):
                raise InvalidValue(
                    "A policy that draws its actions must see the keys of episodes in envs.state, got an environment "
                    "without. Let it act on an environment of this process, or take its best actions."
                )
            draws = np.ascontiguousarray(envs.state["key"]), np.ascontiguousarray(envs.state["steps"])
        chosen = self.policy.actions(obs, masks, draws)
        return chosen if chosen.dtype == np.int64 else chosen.astype(np.float64)


@compiled
def _draw_uniform(keys: Any, steps: Any, out: Any) -> None:
    """Write draws (n, k) from (0, 1) of the episodes' ``keys`` (n,) and ``steps`` (n,)."""
    for i in range(len(keys)):
        h = stream_key(keys[i], steps[i], _DRAWS)
        for k in range(out.shape[1]):
            out[i, k] = uniform(h, k)


@compiled
def _draw_normal(keys: Any, steps: Any, out: Any) -> None:
    """Write standard normal draws (n, k) of the episodes' ``keys`` (n,) and ``steps`` (n,)."""
    for i in range(len(keys)):
        h = stream_key(keys[i], steps[i], _DRAWS)
        for k in range(out.shape[1]):
            out[i, k] = normal(h, k)


def _must(holds: bool, what: str, wanted: str, got: Any) -> None:
    if not holds:
        raise InvalidValue(f"{what} must be {wanted}, got {got}.")


def _shown(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {'×'.join(map(str, shapes[name]))}" for name in sorted(shapes))


def _hash(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _read_json(file: Path) -> dict[str, Any]:
    try:
        size = file.stat().st_size
        about = json.loads(file.read_bytes()) if size <= _MOST_JSON_BYTES else None
    except OSError as error:
        raise InvalidFile(f"{file} must be a policy's description: {error.strerror}.") from None
    except ValueError:
        about = None
    if not isinstance(about, dict) or "format" not in about:
        raise InvalidFile(f"{file} must be a policy's description in JSON, got something else. Export the agent anew.")
    if about["format"] != FORMAT:
        raise InvalidFile(
            f"{file} must have format {FORMAT}, got {about['format']!r}. Use the release of rlops that wrote it, "
            "or export the agent anew."
        )
    return about


def _of_type(about: Mapping[str, Any], name: str, kind: type) -> Any:
    value = about.get(name)
    _must(isinstance(value, kind), f"{name!r}", f"a {kind.__name__}", repr(value))
    return value


def _read_arrays(file: Path, declared: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the declared arrays of a file, each held against its shape and hash."""
    wanted: dict[str, tuple[tuple[int, ...], str]] = {}
    for name, one in declared.items():
        shape, sha = (one.get("shape"), one.get("sha256")) if isinstance(one, dict) else (None, None)
        fits = isinstance(shape, list) and all(isinstance(n, int) and n >= 0 for n in shape) and isinstance(sha, str)
        _must(fits, f"the array {name}", "declared with its shape and its sha256", repr(one))
        wanted[name] = (tuple(shape or ()), str(sha))
    size = 4 * sum(math.prod(shape) for shape, _ in wanted.values())
    _must(size <= _MOST_BYTES, "all arrays", f"at most {_MOST_BYTES >> 20} MiB", f"{size >> 20} MiB")
    return {name: _read_array(file, name, *one) for name, one in wanted.items()}


def _read_array(file: Path, name: str, shape: tuple[int, ...], sha: str) -> np.ndarray:
    try:
        with zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as member:
            array = np.lib.format.read_array(_Limited(member, 4 * math.prod(shape) + 4096), allow_pickle=False)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        raise InvalidFile(
            f"{file} must have the array {name}, got none that can be read. Export the agent anew."
        ) from None
    if array.dtype != np.float32 or array.shape != shape or _hash(array) != sha:
        raise InvalidFile(f"{file} must have the array {name} as policy.json declares it, got another. It was changed.")
    if not np.isfinite(array).all():
        raise InvalidFile(f"{file} must have numbers in the array {name}, got some that are not finite.")
    return array


class _Limited:
    """A file that ends with an error after so many bytes."""

    def __init__(self, file: Any, most: int):
        self._file, self._left = file, most

    def read(self, size: int = -1) -> bytes:
        self._left -= max(size, 0)
        if size < 0 or self._left < 0:
            raise ValueError("longer than declared")
        content: bytes = self._file.read(size)
        return content


# -- from Stable-Baselines3 ------------------------------------------------------------------------------------


def of_model(model: Any, algo: str, id: str, trained: Mapping[str, Any] | None = None) -> Policy:
    """Return the policy of a model of Stable-Baselines3.

    Raises:
        InvalidValue: If its network is none of those that ``networks.py`` computes.
    """
    made = _Reading(model, algo)
    return Policy(
        id=id,
        algo=algo,
        head=made.head,
        network=made.network,
        activation=made.activation,
        masked=algo in ("maskable_ppo", "dqn"),
        arrays=made.arrays,
        trained=trained or {},
        directions=made.directions,
        shared=parts_taken(model, id) > 1,
    )


class _Reading:
    """What is read from the modules of a model."""

    def __init__(self, model: Any, algo: str):
        policy = model.policy
        self.arrays: dict[str, np.ndarray] = {}
        self.directions: tuple[str, ...] = ()
        self.network, self.activation = "layers", "relu"
        self.head = HEADS[algo]
        discrete = hasattr(model.action_space, "n")
        if algo == "ppo" and not discrete:
            self.head = "gaussian"
            self.arrays["log_std"] = _array(policy.log_std)
        if algo == "sac":
            actor = policy.actor
            self._features(actor.features_extractor)
            self._layers([*actor.latent_pi, actor.mu])
            self.arrays |= {"spread.weight": _array(actor.log_std.weight), "spread.bias": _array(actor.log_std.bias)}
            return
        network = policy.q_net.q_net if algo == "dqn" else policy.mlp_extractor
        self._features(policy.q_net.features_extractor if algo == "dqn" else policy.features_extractor)
        if hasattr(network, "score_wait"):
            self.network = "pairs"
            left_out = ("critic.", "_")
            self.arrays |= {n: _array(a) for n, a in network.state_dict().items() if not n.startswith(left_out)}
        else:
            self._layers([*network] if algo == "dqn" else [*network.policy_net, policy.action_net])

    def _features(self, extractor: Any) -> None:
        kind = type(extractor).__name__
        if kind == "Standardised":
            self.arrays |= {"mean": _array(extractor.mean), "scale": _array(extractor.scale)}
            self.directions = extractor.directions
        elif kind != "FlattenExtractor":
            raise InvalidValue(f"The features of a policy must be flat or standardised to be exported, got {kind}.")

    def _layers(self, modules: list[Any]) -> None:
        """Name the linear layers; all activations must be the same."""
        between = {type(module).__name__ for module in modules} - {"Linear"}
        known = {"Tanh": "tanh", "ReLU": "relu"}
        if not between <= set(known) or len(between) > 1:
            raise InvalidValue(
                f"A network must be linear layers with {' or '.join(known)} between them to be exported, got "
                f"{', '.join(sorted(between))}."
            )
        self.activation = known[next(iter(between), "ReLU")]
        linear = [module for module in modules if type(module).__name__ == "Linear"]
        for i, module in enumerate(linear):
            self.arrays[f"actor.{i}.weight"] = _array(module.weight)
            self.arrays[f"actor.{i}.bias"] = _array(module.bias)


def _array(tensor: Any) -> np.ndarray:
    return np.array(tensor.detach().cpu().numpy(), np.float32)
