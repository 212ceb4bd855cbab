"""Every released version is sound, and an environment that is broken in one way is found by the check for it."""

import random
import warnings

import gymnasium as gym
import numpy as np
import pytest

from rlops.envs import FAMILIES, register_family
from rlops.envs import contract as contracts
from rlops.envs.batch import Batch
from rlops.envs.faces import Env, VectorEnv
from rlops.errors import UnknownName
from rlops.registry.dynamics.negative import CHECKS, EFFECTS, negative_checks
from tests.envs import drift_kernel as kernel
from tests.envs.drift_kernel import DRIFT

IDS = [id for family in FAMILIES for id in family.ids]
DRIFT_ID = "rlops/Drift-v0"


@pytest.mark.parametrize("id", IDS)
def test_every_check_holds_of_a_released_version(id):
    found = negative_checks(id, [name for name in CHECKS if name != EFFECTS])  # effects have tests of their own
    assert [str(one) for one in found if one.holds is not True] == []


# -- environments of Gymnasium that are broken in one way -----------------------------------------------------


class Sound(gym.Env):
    """A walk by chance from a place by chance."""

    action_space = gym.spaces.Discrete(3)
    observation_space = gym.spaces.Box(-100, 100, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.normal(size=2)
        self.steps = 0
        return self.seen(), {}

    def step(self, action):
        self.place += 0.1 * (action - 1) + 0.1 * self.np_random.normal(size=2)
        self.steps += 1
        terms = {"x": float(self.place[0]), "y": float(self.place[1])}
        return self.seen(), sum(terms.values()), False, self.steps >= 30, {"reward_terms": terms}

    def seen(self):
        return self.place.astype(np.float32)


class IgnoresTheSeed(Sound):
    """Every episode is that of one seed."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=7)


class RepeatsItself(Sound):
    """A reset without a seed begins the same episode once more."""

    def reset(self, *, seed=None, options=None):
        self.last = seed if seed is not None else getattr(self, "last", 0)
        return super().reset(seed=self.last)


class DrawsGlobally(Sound):
    """Some of its chance is NumPy's global generator."""

    def step(self, action):
        self.place += np.random.normal(size=2)  # noqa: NPY002
        return super().step(action)


class DrawsFromPythonsGenerator(Sound):
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place += random.random()
        return self.seen(), {}


class ReadsTheGlobalState(Sound):
    """It draws nothing from the global generator, but begins where that stands."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place += 1e-9 * np.random.get_state()[1][1]  # noqa: NPY002
        return self.seen(), {}


class ReadsPythonsState(Sound):
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place += 1e-9 * random.getstate()[1][1]
        return self.seen(), {}


class SeedsTheGlobalGenerator(Sound):
    """No draw of it depends on the global generator, yet others' do on it."""

    def reset(self, *, seed=None, options=None):
        np.random.seed(0)  # noqa: NPY002
        return super().reset(seed=seed)


class Remembers(Sound):
    """What it did before leaks over resets."""

    resets = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets += 1
        self.place += 0.01 * self.resets
        return self.seen(), {}


class CopiesShare(Sound):
    """A copy of it and the original have their steps in common."""

    def __deepcopy__(self, memo):
        other = type(self)()
        other.__dict__ = self.__dict__
        return other


class CannotBeCopied(Sound):
    def __deepcopy__(self, memo):
        raise TypeError("no")


class LendsItsBuffer(Sound):
    """It writes every observation into the same array."""

    buffer = None

    def seen(self):
        self.buffer = np.zeros(2, np.float32) if self.buffer is None else self.buffer
        self.buffer[:] = self.place
        return self.buffer


class ShowsItself(Sound):
    """What it shows is what it is, until the next step, which makes something new."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.place.astype(np.float32)
        return self.place, {}

    def step(self, action):
        self.place = self.place + np.float32(0.1) * self.np_random.normal(size=2).astype(np.float32)
        return self.place, 0.0, False, False, {}


class TooWide(Sound):
    def seen(self):
        return self.place


class LeavesItsSpace(Sound):
    observation_space = gym.spaces.Box(-0.5, 0.5, (2,), np.float32)


class FlagsByNumber(Sound):
    def step(self, action):
        obs, reward, _, truncated, info = super().step(action)
        return obs, reward, 0, truncated, info


class LosesATerm(Sound):
    def step(self, action):
        obs, reward, *rest = super().step(action)
        return obs, reward + 1e-12, *rest


class TakesAnything(Sound):
    def __init__(self, **options):
        pass


class HasADeadColumn(Sound):
    def seen(self):
        return np.array([self.place[0], 3], np.float32)


class Raises(Sound):
    def step(self, action):
        raise ZeroDivisionError("at every step")


@pytest.fixture
def registered():
    """Return a function that makes a class known to Gymnasium and returns its id."""
    before = dict(gym.registry)

    def register(cls, **kwargs):
        gym.register(f"toy/{cls.__name__}-v0", entry_point=cls, **kwargs)
        return f"toy/{cls.__name__}-v0"

    yield register
    gym.registry.clear()
    gym.registry.update(before)


def verdicts(id, names=None):
    """Return whether each check holds, by name; None where it does not apply."""
    return {one.name: one.holds for one in negative_checks(id, names)}


def test_a_sound_environment_of_gymnasium_passes_what_can_be_judged(registered):
    found = negative_checks(registered(Sound))
    assert [str(one) for one in found if one.holds is False] == []
    judged = [one.name for one in found if one.holds]
    assert len(judged) == 11
    assert "reward terms sum to the reward" in judged
    assert {one.told for one in found if one.holds is None} == {"this is judged of environments of rlops only."}


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (IgnoresTheSeed, "different seeds differ"),
        (IgnoresTheSeed, "consecutive resets differ"),
        (RepeatsItself, "consecutive resets differ"),
        (DrawsGlobally, "global generators do not matter"),
        (DrawsFromPythonsGenerator, "global generators do not matter"),
        (ReadsTheGlobalState, "global generators do not matter"),
        (ReadsPythonsState, "global generators do not matter"),
        (SeedsTheGlobalGenerator, "global generators do not matter"),
        (Remembers, "a used environment is like a fresh one"),
        (CopiesShare, "a copy within an episode continues equal"),
        (LendsItsBuffer, "what was returned stays"),
        (ShowsItself, "writing into an observation has no influence"),
        (TooWide, "observations fit their space"),
        (LeavesItsSpace, "observations fit their space"),
        (FlagsByNumber, "observations fit their space"),
        (LosesATerm, "reward terms sum to the reward"),
        (TakesAnything, "unknown options raise"),
        (HasADeadColumn, "no observation column is constant"),
    ],
)
def test_what_is_broken_is_found(registered, broken, check):
    (found,) = negative_checks(registered(broken), [check])
    assert found.holds is False
    assert "must" in found.told


def test_a_finding_says_what_must_hold_and_what_was_got(registered):
    id = registered(Remembers)
    (found,) = negative_checks(id, ["a used environment is like a fresh one"])
    assert found.told.startswith("a used environment that is reset must be like a fresh one, but observation[")
    assert "at step 0 is " in found.told
    assert str(found).startswith("a used environment is like a fresh one: FAILS: ")
    assert "observation[1] never did" in negative_checks(registered(HasADeadColumn), list(CHECKS)[10:11])[0].told
    assert "observation must be of type float32, got float64" in verdict_text(registered(TooWide))


def verdict_text(id):
    return negative_checks(id, ["observations fit their space"])[0].told


def test_only_what_is_broken_is_found(registered):
    failed = [name for name, holds in verdicts(registered(RepeatsItself)).items() if holds is False]
    assert failed == ["consecutive resets differ"]
    failed = [name for name, holds in verdicts(registered(SeedsTheGlobalGenerator)).items() if holds is False]
    assert failed == ["global generators do not matter"]


def test_looking_at_the_global_generators_leaves_them_as_they_were(registered):
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    expected = np.random.random(), random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    verdicts(registered(DrawsGlobally), ["global generators do not matter"])
    assert (np.random.random(), random.random()) == expected  # noqa: NPY002


def test_what_cannot_be_judged_says_why(registered):
    (found,) = negative_checks(registered(CannotBeCopied), ["a copy within an episode continues equal"])
    assert found.holds is None
    assert found.told == "it cannot be copied: TypeError: no"
    assert verdicts("CartPole-v1", ["reward terms sum to the reward"]) == {"reward terms sum to the reward": None}
    assert verdicts("FrozenLake-v1", ["no observation column is constant"]) == {
        "no observation column is constant": None
    }


def test_an_environment_that_raises_is_found(registered):
    (found,) = negative_checks(registered(Raises), ["different seeds differ"])
    assert found.holds is False
    assert "ZeroDivisionError: at every step" in found.told


def test_nested_observations_are_compared_part_by_part(registered):
    class Nested(Sound):
        observation_space = gym.spaces.Dict(
            {"place": Sound.observation_space, "dead": gym.spaces.Tuple([gym.spaces.Box(0, 1, (1,), np.float32)])}
        )

        def seen(self):
            return {"place": super().seen(), "dead": (np.zeros(1, np.float32),)}

    found = {one.name: one for one in negative_checks(registered(Nested))}
    failed = [one.told for one in found.values() if one.holds is False]
    assert len(failed) == 1
    assert "observation.dead.0[0] never did" in failed[0]


def test_only_checks_that_exist_can_be_asked_for():
    with pytest.raises(UnknownName, match="no check named 'luck'"):
        negative_checks("CartPole-v1", ["luck"])
    with pytest.raises(UnknownName, match="Dispatch-v77"):
        negative_checks("rlops/Dispatch-v77")


# -- environments of rlops that are broken in one way ---------------------------------------------------------


@pytest.fixture
def drift(monkeypatch):
    """Return the id of the toy family, known for the time of a test, in which chance decides where the boat begins."""
    before = dict(gym.registry)
    monkeypatch.setattr(contracts, "_ADDED", [])
    register_family(DRIFT)
    yield DRIFT_ID
    gym.registry.clear()
    gym.registry.update(before)


def holds(id, check):
    (found,) = negative_checks(id, [check])
    return found.holds


def changed_step(monkeypatch, face, change):
    """Let ``change`` alter what the step of a face returns."""
    step = face.step

    def changed(self, actions):
        obs, *rest = step(self, actions)
        return (change(self, obs), *rest)

    monkeypatch.setattr(face, "step", changed)


def test_what_draws_nothing_is_the_same_in_all_rows_and_for_all_seeds(drift):
    found = verdicts(drift)
    assert [name for name, holds in found.items() if holds is False] == [
        "different seeds differ", "consecutive resets differ", "rows of a vector differ", EFFECTS,
    ]  # fmt: skip


def test_a_parameter_without_effect_is_found(drift):
    (found,) = negative_checks(drift, [EFFECTS])
    assert "parameter colour must change something" in found.told


def test_a_column_that_no_parameter_moves_is_found(drift, monkeypatch):
    step = Batch.step

    def blind(self, actions, next_step):
        code = step(self, actions, next_step)
        self.out.obs[:] = 0
        return code

    monkeypatch.setattr(Batch, "step", blind)
    monkeypatch.setattr("rlops.registry.dynamics.negative._ROUNDS", 1)
    (found,) = negative_checks(drift, ["no observation column is constant"])
    assert found.told == "every column of an observation must move at some time, but x_m (column 0) never did."


def test_an_unknown_option_that_is_taken_or_refused_in_other_words_is_found(drift, monkeypatch):
    monkeypatch.setattr(Env, "reset", lambda self, *, seed=None, options=None: (np.zeros(1, np.float32), {}))
    (found,) = negative_checks(drift, ["unknown options raise"])
    assert found.told.startswith("reset must refuse an option that does not exist")

    def refuse(self, *, seed=None, options=None):
        raise ValueError("no")

    monkeypatch.setattr(Env, "reset", refuse)
    (found,) = negative_checks(drift, ["unknown options raise"])
    assert found.told == "reset must answer an unknown option with UnknownName, got ValueError: no"


def test_a_vector_of_one_that_is_not_the_single_environment_is_found(drift, monkeypatch):
    changed_step(monkeypatch, VectorEnv, lambda self, obs: obs + 1e-6 if self.num_envs == 1 else obs)
    assert holds(drift, "a vector of one is the single environment") is False
    assert holds(drift, "a row is the single environment of its seed") is True


def test_a_row_that_depends_on_its_place_is_found(drift, monkeypatch):
    changed_step(monkeypatch, VectorEnv, lambda self, obs: obs + 1e-6 * np.arange(self.num_envs)[:, None].astype("f4"))
    assert holds(drift, "a vector of one is the single environment") is True
    assert holds(drift, "a row is the single environment of its seed") is False


def test_seeds_that_all_rows_share_are_found(monkeypatch):
    monkeypatch.setattr(VectorEnv, "_seeds", lambda self, seed: [0] * self.num_envs)
    assert holds("rlops/Dispatch-v0", "rows of a vector differ") is False


@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
def test_a_mode_of_autoreset_in_which_something_else_happens_is_found(drift, monkeypatch, mode):
    def late(self, obs):
        return obs + np.float32(0.01) if self.autoreset_mode.value == mode else obs

    changed_step(monkeypatch, VectorEnv, late)
    (found,) = negative_checks(drift, ["autoreset modes agree"])
    assert f"{mode} must agree in episode 0 of row 0" in found.told


def test_autoreset_that_does_not_begin_anew_is_found(drift, monkeypatch):
    monkeypatch.setattr(Batch, "restart", lambda self, rows: None)
    assert holds(drift, "autoreset modes agree") is False


def test_autoreset_of_what_never_ends_is_not_judged(drift, monkeypatch):
    monkeypatch.setattr("rlops.registry.dynamics.negative._UNTIL_END", 10)
    (found,) = negative_checks(drift, ["autoreset modes agree"])
    assert found.holds is None


def test_a_result_that_depends_on_threads_is_found(drift, monkeypatch):
    monkeypatch.setattr("rlops.registry.dynamics.negative.usable_threads", lambda: 2)
    changed_step(monkeypatch, VectorEnv, lambda self, obs: obs + np.float32(self._batch.threads == 1))
    (found,) = negative_checks(drift, ["threads agree"])
    assert found.told.startswith("row 0 must be the same on one thread and on two, but observation")
    monkeypatch.setattr("rlops.registry.dynamics.negative.usable_threads", lambda: 1)
    assert holds(drift, "threads agree") is None


def test_a_saved_state_that_lacks_something_is_found(drift, monkeypatch):
    save = Batch.save

    def forgetful(self, rows=slice(None)):
        saved = save(self, rows)
        saved["state"]["x_m"] = 0
        return saved

    monkeypatch.setattr(Batch, "save", forgetful)
    assert holds(drift, "a loaded state continues equal") is False


def test_a_pickle_that_lacks_something_is_found(drift, monkeypatch):
    state = Batch.__getstate__

    def forgetful(self):
        kept = state(self)
        return kept | {"state": np.zeros_like(kept["state"])}

    monkeypatch.setattr(Batch, "__getstate__", forgetful)
    assert holds(drift, "a copy within an episode continues equal") is False


def test_rewards_that_are_not_the_sum_of_the_terms_are_found(drift, monkeypatch):
    step = Env.step

    def generous(self, action):
        obs, reward, *rest = step(self, action)
        return obs, reward + 1.0, *rest

    monkeypatch.setattr(Env, "step", generous)
    assert holds(drift, "reward terms sum to the reward") is False


def test_a_vector_that_lends_what_it_should_copy_is_found(drift, monkeypatch):
    copies = VectorEnv.__init__
    monkeypatch.setattr(VectorEnv, "__init__", lambda self, *a, copy=True, **k: copies(self, *a, copy=False, **k))
    assert holds(drift, "what was returned stays") is False


def test_a_vector_that_leaves_its_space_is_found(drift, monkeypatch):
    column = kernel.OBSERVATION[0]
    monkeypatch.setattr(kernel, "OBSERVATION", (contracts.Column("x_m", "m", -0.1, 0.1, column.meaning),))
    (found,) = negative_checks(drift, ["observations fit their space"])
    assert "must be within [-0.1, 0.1]" in found.told


def test_a_vector_of_another_type_than_its_space_is_found(drift, monkeypatch):
    changed_step(monkeypatch, VectorEnv, lambda self, obs: obs.astype(np.float64))
    (found,) = negative_checks(drift, ["observations fit their space"])
    assert found.told == "observation must be of type float32, got float64 at step 1 of a vector at level ood."


def test_no_warning_reaches_the_caller_of_a_check_of_an_older_version():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert holds("rlops/Dispatch-v0", "unknown options raise") is True
