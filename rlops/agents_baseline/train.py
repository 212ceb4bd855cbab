"""Training with Stable-Baselines3: one call from an id to a folder with the model and all that it depends on.

Hyperparameters stand in ``hyperparameters/<Name>-v<N>.yaml``, one section an algorithm. Besides the settings
of the SB3 class they know ``steps`` (how many suffice), ``num_envs`` (rows), ``reward_scale`` (a constant factor on
what the algorithm sees) after ``least_reward`` (below which rewards are cut off: a catastrophe need only be worse than
all else), a ``learning_rate`` that falls in a line from ``{start: …}`` to ``{end: …}``, ``policy: PairPolicy`` (see
``pair_policy.py``), ``standardise`` (observations by what a controller sees, see ``standardised.py``),
``demonstrations`` for PPO and MaskablePPO: a controller that it imitates first (see ``imitation.py``), and ``shared``:
one policy for agents that are alike (see ``sharing.py``); ``num_envs`` copies of the environment have a row for each.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import platform
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from gymnasium.vector import AutoresetMode

import rlops
from rlops.agents_baseline import imitation
from rlops.agents_baseline.agents import CONFIG_FILE, MODEL_FILE, TrainedAgent, algorithm_class, one_torch_thread
from rlops.agents_baseline.evaluate import COMPLETION
from rlops.agents_baseline.policies import POLICY_FILE, Policy, of_model
from rlops.agents_baseline.sharing import part_of_each
from rlops.agents_baseline.worlds import World
from rlops.envs import parse_id
from rlops.errors import InvalidFile, InvalidValue, UnknownName
from rlops.files import read_yaml, written
from rlops.randomization import Randomization, spec_of

OWN_SETTINGS = ("num_envs", "reward_scale", "least_reward", "standardise", "demonstrations", "shared", "steps")
RECENT_EPISODES = 100
OUTCOMES = {COMPLETION: "rollout/completion_mean", "is_success": "rollout/success_mean"}
"""Key figures that say how much of an episode's task was done, and under what name a training logs their mean."""
PROGRESS_FILE = "tensorboard/progress.csv"
"""What a training has logged, as a table; beside it, the same for TensorBoard."""
_PROGRESS_S = 0.25


@dataclass(frozen=True)
class Progress:
    """How far a training is; means are over the last hundred episodes, NaN before the first has ended.

    ``total`` is what the present speed promises if the time is limited. While a controller is imitated, ``imitating``
    names it, and ``steps`` of ``total`` samples have been seen. ``completion`` is the share of a task that was done: of
    bookings, or of episodes that succeeded.
    """

    steps: int
    total: int
    steps_per_s: float = float("nan")
    mean_return: float = float("nan")
    completion: float = float("nan")
    imitating: str = ""


def hyperparameters(id: str, algo: str) -> dict[str, Any]:
    """Return the shipped hyperparameters of an algorithm for an id.

    Raises:
        UnknownName: If the id or the algorithm does not exist.
        InvalidValue: If none are shipped for this pair.
    """
    parse_id(id)
    algorithm_class(algo)
    file = resources.files("rlops.agents_baseline") / "hyperparameters" / f"{id.removeprefix('rlops/')}.yaml"
    sections = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if algo not in sections:
        raise InvalidValue(
            f"No hyperparameters of {algo} are shipped for {id}. Pass your own: hyperparameters={{...}}, or "
            "a file with --hyperparameters."
        )
    return dict(sections[algo])


def read_hyperparameters(path: str | Path, algo: str) -> dict[str, Any]:
    """Return the section of ``algo`` in a YAML file, or the whole file if it has no such section.

    Raises:
        InvalidFile: If it is no YAML mapping.
    """
    content = read_yaml(path)
    section = content.get(algo, content) if isinstance(content, dict) else content
    if not isinstance(section, dict):
        raise InvalidFile(f"{path} must map names of hyperparameters to values, got {type(section).__name__}.")
    return section


def train(
    id: str,
    algo: str = "maskable_ppo",
    *,
    steps: int | None = None,
    out: str | Path,
    num_envs: int | None = None,
    seed: int = 0,
    params: Mapping[str, Any] | None = None,
    randomization: Randomization | Mapping[str, Any] | str | Path | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    progress: Callable[[Progress], None] | None = None,
    overwrite: bool = False,
    max_seconds: float | None = None,
    image: str = "",
    runtime: str = "auto",
    **options: Any,
) -> Path:
    """Train an agent and return the path of its model, ``out/model.zip``.

    ``out`` also gets the policy in arrays (``policies.py``), ``config.yaml`` (all that the result depends on, the
    fingerprint of the dynamics and the digest of an image included) and ``tensorboard/``, where ``progress.csv`` has
    the same figures. Model, policy and configuration appear only when the training is complete. The same call gives
    the same weights on the same machine.

    Args:
        id: The environment.
        algo: ``maskable_ppo``, ``ppo`` (knows no masks: illegal actions are what the environment makes of
            them), ``dqn`` (masked) or, where actions are vectors, ``ppo`` or ``sac``.
        steps: Environment steps, over all rows; rounded up to whole roll-outs. None: as many as the hyperparameters
            say.
        out: Folder, created if needed.
        num_envs: Rows; by default those of the hyperparameters.
        seed: Of the weights, of exploration and of the environment's rows (``seed + i``).
        params: Parameters that differ from the nominal ones.
        randomization: What every episode draws anew, as :func:`rlops.randomization.randomize` takes it. It is written
            into ``config.yaml``, with its hash and with what its schedule remembers at the end.
        hyperparameters: What differs from the shipped ones.
        progress: Called a few times a second.
        overwrite: Whether a model in ``out`` may be replaced.
        max_seconds: Stop after this time [s], also short of ``steps``; what was learned until then depends on
            the machine's speed.
        image: Reference of an image of ``id`` in the store on this machine, in which the rows step; empty: they step in
            this process.
        runtime: What runs the image.
        options: The environment's own options, for example ``demand=`` or ``traces=``; one that is None is left out.

    Raises:
        UnknownName: If the id, the algorithm, a parameter or a hyperparameter does not exist.
        InvalidValue: If a value does not fit, or ``out`` has a model and ``overwrite`` is false.
        MissingExtra: If Stable-Baselines3 is not installed.
    """
    kind = algorithm_class(algo)
    settings = _settings(id, algo, kind, hyperparameters, num_envs)
    steps = _steps(steps, settings, id, algo)
    out = Path(out)
    if (out / MODEL_FILE).exists() and not overwrite:
        raise InvalidValue(f"{out / MODEL_FILE} must not exist yet. Choose another folder, or overwrite it on purpose.")
    spec = None if randomization is None else spec_of(id, randomization)
    given = {name: value for name, value in options.items() if value is not None}
    config = _configuration(id, algo, steps, seed, given, params, settings)
    _check_actions(id, algo)
    sb3_settings = _sb3_settings(id, algo, settings)
    world = World(id, given, params or {}, spec, image, runtime)
    shared, copies = settings.get("shared"), settings["num_envs"]
    parts = part_of_each(id).agents if shared else 1
    mode = AutoresetMode.SAME_STEP
    rows = world.agents_as_rows(copies, mode) if shared else world.rows(copies, mode, copy=False)  # SB3 keeps copies
    config |= _origin(rows, id)
    env = _adapted(rows, settings)
    out.mkdir(parents=True, exist_ok=True)
    with one_torch_thread():
        if settings.get("standardise"):
            from rlops.agents_baseline.standardised import policy_settings

            with contextlib.closing(world.rows(copies, mode)) as seen:
                standardised = policy_settings(seen, id, **settings["standardise"], parts=parts)
            sb3_settings["policy_kwargs"] = {**sb3_settings["policy_kwargs"], **standardised}
        model = kind(env=env, seed=seed, device="cpu", **sb3_settings)
        model.set_logger(_logger(out / "tensorboard"))
        try:
            if settings.get("demonstrations"):
                _imitate(model, algo, world, settings, progress)
            model.learn(steps, callback=_callback(steps, progress, max_seconds))
        finally:
            model.logger.close()
    env.close()
    if spec is not None:
        schedule = {} if image or shared else rows.schedule_state()
        content = {"spec": json.loads(spec.canonical()), "hash": spec.hash, "schedule": schedule}
        config["randomization"] = content
    _write(out, model, config)
    return out / MODEL_FILE


def planned(
    id: str,
    algo: str,
    *,
    seed: int,
    steps: int | None = None,
    num_envs: int | None = None,
    params: Mapping[str, Any] | None = None,
    randomization: Randomization | Mapping[str, Any] | str | Path | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    max_seconds: float | None = None,
    image: str = "",
    runtime: str = "auto",
    **options: Any,
) -> dict[str, Any]:
    """Return what ``config.yaml`` of a training with these arguments of :func:`train` says of what was asked for.

    Versions and the dynamics are left out, and of a randomization there is the hash, or None.
    """
    settings = _settings(id, algo, algorithm_class(algo), hyperparameters, num_envs)
    given = {name: value for name, value in options.items() if value is not None}
    config = _configuration(id, algo, _steps(steps, settings, id, algo), seed, given, params, settings)
    del config["versions"]
    return config | {"randomization": None if randomization is None else spec_of(id, randomization).hash}


def _steps(asked: int | None, settings: Mapping[str, Any], id: str, algo: str) -> int:
    """Return how many steps to train: those asked for, else those of the hyperparameters."""
    steps = settings.get("steps") if asked is None else asked
    if steps is None:
        raise InvalidValue(f"steps must be given, as no hyperparameters of {algo} for {id} say how many suffice.")
    if not isinstance(steps, int) or steps < 1:
        raise InvalidValue(f"steps must be a whole number of at least 1, got {steps!r}.")
    return steps


def _settings(id: str, algo: str, kind: Any, changed: Mapping[str, Any] | None, num_envs: int | None) -> dict[str, Any]:
    """Return the hyperparameters in force, checked for names that do not exist."""
    try:
        settings = hyperparameters(id, algo)
    except InvalidValue:
        if not changed:
            raise
        settings = {}
    settings |= changed or {}
    if num_envs is not None:
        settings["num_envs"] = num_envs
    parent = inspect.signature(kind.__mro__[1].__init__ if algo == "dqn" else kind.__init__).parameters
    known = {*parent, *OWN_SETTINGS} - {
        "self",
        "env",
        "seed",
        "device",
        "tensorboard_log",
        "_init_setup_model",
        "kwargs",
    }
    for name in settings:
        if name not in known:
            raise UnknownName("hyperparameter", name, known, algo)
    if settings.get("demonstrations"):
        if algo not in ("maskable_ppo", "ppo"):
            raise InvalidValue(f"demonstrations must be used with maskable_ppo or ppo, got {algo}.")
        settings["demonstrations"] = imitation.checked(settings["demonstrations"])
    if settings.get("standardise"):
        from rlops.agents_baseline.standardised import checked

        settings["standardise"] = checked(settings["standardise"], id)
    if not isinstance(settings.get("shared", False), bool):
        raise InvalidValue(f"shared must be true or false, got {settings['shared']!r}.")
    if settings.get("shared"):
        part_of_each(id)
        directions = (settings.get("standardise") or {}).get("directions")
        for name, value in (("demonstrations", settings.get("demonstrations")), ("directions", directions)):
            if value:
                raise InvalidValue(f"{name} must be left out of a shared policy, got {value} beside shared.")
    return {"policy": "MlpPolicy", "num_envs": 64, "reward_scale": 1.0, **settings}


def _check_actions(id: str, algo: str) -> None:
    """Refuse an algorithm whose actions are of another kind than those of ``id``."""
    family, number = parse_id(id)
    numbered = isinstance(family.kernel(number).ACTION, int)
    fit = ("maskable_ppo", "ppo", "dqn") if numbered else ("ppo", "sac")
    if algo not in fit:
        kind = "one of a number" if numbered else "a vector"
        raise InvalidValue(f"{id}: an action is {kind}: the algorithm must be {' or '.join(fit)}, got {algo}.")


def _sb3_settings(id: str, algo: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the constructor arguments of the SB3 class."""
    from stable_baselines3.common.utils import LinearSchedule

    kept = {name: value for name, value in settings.items() if name not in OWN_SETTINGS}
    kept["policy_kwargs"] = dict(kept.get("policy_kwargs") or {})  # SB3 writes into it
    if kept["policy"] == "PairPolicy":
        kept["policy"] = pair_policy(algo)
        kept["policy_kwargs"] = {**kept["policy_kwargs"], "id": id}
    rate = kept.get("learning_rate")
    if isinstance(rate, Mapping):
        if set(rate) != {"start", "end"}:
            raise InvalidValue(f"learning_rate must be a number or have start and end, got {dict(rate)}.")
        kept["learning_rate"] = LinearSchedule(float(rate["start"]), float(rate["end"]), 1.0)
    return kept


def pair_policy(algo: str) -> Any:
    """Return the policy class of ``policy: PairPolicy`` for an algorithm.

    Raises:
        InvalidValue: If the algorithm knows no masks.
    """
    from rlops.agents_baseline.pair_policy import PairDQNPolicy, PairPolicy

    if algo == "ppo":
        raise InvalidValue("PairPolicy must be used with maskable_ppo or dqn, got ppo, which knows no masks.")
    return PairDQNPolicy if algo == "dqn" else PairPolicy


def _origin(rows: Any, id: str) -> dict[str, Any]:
    """Return what a checkpoint says of the environment that it was trained in: digest of its image, and fingerprint."""
    from rlops.registry.origins import identity_of

    told = identity_of(rows, id).as_json()
    return {"digest": told["digest"] or None, "fingerprint": told["fingerprint"]}


def _imitate(
    model: Any,
    algo: str,
    world: World,
    settings: Mapping[str, Any],
    progress: Callable[[Progress], None] | None,
) -> None:
    """Let ``model`` learn from the demonstrations that its settings ask for, and be corrected in further rounds."""
    asked = dict(settings["demonstrations"])
    controller, episodes, rounds = (asked.pop(name) for name in ("controller", "episodes", "rounds"))
    lesson = (world.id, controller, model.gamma, settings["reward_scale"], settings.get("least_reward", -np.inf))
    learner, seen = TrainedAgent("learner", algo, model), 0
    with contextlib.closing(world.rows(episodes, AutoresetMode.SAME_STEP)) as envs:
        shown = imitation.demonstrate(envs, *lesson)
        # a round sees what was shown in all until then; later episodes may be of another length, so this is about
        total = asked["epochs"] * len(shown.obs) * (rounds + 1) * (rounds + 2) // 2

        def tell(samples: int, _: int) -> None:
            if progress is not None:
                progress(Progress(seen + samples, max(total, seen + samples), imitating=controller))

        imitation.imitate(model, shown, progress=tell, **asked)
        for k in range(1, rounds + 1):
            seen += asked["epochs"] * len(shown.obs)
            shown += imitation.demonstrate(envs, *lesson, player=learner, seed=k * episodes)
            imitation.imitate(model, shown, progress=tell, **asked)


def _adapted(rows: Any, settings: Mapping[str, Any]) -> Any:
    from rlops.wrappers.sb3 import ScaledReward, to_sb3

    env, scale, least = to_sb3(rows), settings["reward_scale"], settings.get("least_reward")
    return env if scale == 1 and least is None else ScaledReward(env, scale, least)


def _logger(folder: Path) -> Any:
    from stable_baselines3.common.logger import configure

    return configure(str(folder), ["tensorboard", "csv"])


def _callback(total: int, progress: Callable[[Progress], None] | None, max_seconds: float | None) -> Any:
    """Return an SB3 callback that logs the outcomes, tells ``progress`` and stops after ``max_seconds``."""
    from stable_baselines3.common.callbacks import BaseCallback

    class Watch(BaseCallback):
        """Keeps the recent episodes."""

        def __init__(self) -> None:
            super().__init__()
            self.returns: deque[float] = deque(maxlen=RECENT_EPISODES)
            self.completions: deque[float] = deque(maxlen=RECENT_EPISODES)
            self.began_s = self.told_s = 0.0
            self.began_steps = 0

        def _on_step(self) -> bool:
            if not self.began_s:  # the first step may compile
                self.began_s, self.began_steps = time.perf_counter(), self.num_timesteps
            if self.locals["dones"].any():
                for row in np.flatnonzero(self.locals["dones"]):
                    info = self.locals["infos"][row]
                    self.returns.append(info["episode"]["r"])
                    for figure in OUTCOMES:
                        if figure in info.get("kpis", {}):
                            self.completions.append(float(info["kpis"][figure]))
                            self.logger.record(OUTCOMES[figure], _mean(self.completions))
            if progress is not None and time.perf_counter() - self.told_s > _PROGRESS_S:
                self._tell()
            return max_seconds is None or time.perf_counter() - self.began_s < max_seconds

        def _on_training_end(self) -> None:
            if progress is not None:
                self._tell()

        def _tell(self) -> None:
            assert progress is not None
            self.told_s = time.perf_counter()
            rate = (self.num_timesteps - self.began_steps) / max(self.told_s - self.began_s, 1e-9)
            promised = total if max_seconds is None else min(total, self.began_steps + int(rate * max_seconds))
            progress(Progress(self.num_timesteps, promised, rate, _mean(self.returns), _mean(self.completions)))

    return Watch()


def _mean(values: deque[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _configuration(
    id: str,
    algo: str,
    steps: int,
    seed: int,
    options: Mapping[str, Any],
    params: Mapping[str, Any] | None,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what a model depends on, as plain values."""
    packages = ("gymnasium", "numba", "numpy", "sb3-contrib", "stable-baselines3", "torch")
    return {
        "id": id,
        "algo": algo,
        "steps": steps,
        "seed": seed,
        **{name: _plain(value) for name, value in ({"demand": None} | dict(options)).items()},
        "params": {name: _plain(value) for name, value in (params or {}).items()},
        "hyperparameters": _plain({name: value for name, value in settings.items() if name != "steps"}),
        "versions": {
            "rlops": rlops.__version__,
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
    }


def _plain(value: Any) -> Any:
    """Return ``value`` as something that YAML writes without tags."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _write(out: Path, model: Any, config: Mapping[str, Any]) -> None:
    """Write the configuration, the policy in arrays and the model, each all or nothing, the model last."""
    from stable_baselines3.common.buffers import NStepReplayBuffer

    # The buffer that SB3 chose for rewards of several steps, it takes for one of the user's when it loads the model.
    chosen = getattr(model, "replay_buffer_class", None) is NStepReplayBuffer
    try:
        policy: Policy | None = of_model(model, config["algo"], config["id"], config)
    except InvalidValue as error:  # a network of the user's own
        policy, config = None, {**config, "not_in_arrays": str(error)}
    with written(out / MODEL_FILE) as partial:
        model.save(partial, exclude=["replay_buffer_class"] if chosen else None)
        with written(out / CONFIG_FILE) as text:
            text.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
        (out / POLICY_FILE).unlink(missing_ok=True)
        if policy is not None:
            policy.write(out)
