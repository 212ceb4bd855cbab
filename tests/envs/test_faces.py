"""What the faces refuse, word for word, and what only one of them does."""

from __future__ import annotations

import pickle

import gymnasium as gym
import numpy as np
import pytest

import rlops
from rlops.envs import FAMILIES
from rlops.envs.contract import Column, Parameter
from rlops.errors import EpisodeEnded, InvalidAction, InvalidValue, MissingExtra, UnknownName
from rlops.randomization import randomize

V0 = "rlops/Dispatch-v0"


def _message(call, error):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("action", "got"),
    [
        (201, "got 201"),
        (-1, "got -1"),
        (2**70, f"got {2**70}"),
        (1.0, "got 1.0"),
        (float("nan"), "got nan"),
        (True, "got True"),
        ("1", "got '1'"),
        (None, "got None"),
        (np.array([1, 2]), "got array([1, 2])"),
        (np.array(1.5), "got array(1.5)"),
    ],
)
def test_the_single_face_names_an_action_outside_its_space(make, action, got):
    env = make(V0).unwrapped
    env.reset(seed=0)
    env.step(0)
    before = env.save_state()
    assert _message(lambda: env.step(action), InvalidAction) == (
        f"rlops/Dispatch-v0: the action must be an integer within 0 … 200, {got} at step 1. "
        "Sample from the action space, or use the action mask."
    )
    assert env.save_state().tobytes() == before.tobytes()


@pytest.mark.parametrize("action", [np.int64(0), np.int32(0), np.uint8(0), np.array(0), np.array([0])])
def test_the_single_face_takes_any_whole_number(make, action):
    env = make(V0)
    env.reset(seed=0)
    env.unwrapped.step(action)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.array([0, 201, 0]), "the action of row 1 must be within 0 … 200, got 201 at step 0. Sample from the action "
         "space, or use the action mask."),
        (np.array([0, 0, -3]), "the action of row 2 must be within 0 … 200, got -3 at step 0. Sample from the action "
         "space, or use the action mask."),
        ([0, 0], "actions must be integers of shape (3,), got shape (2,)."),
        (np.zeros((3, 1), int), "actions must be integers of shape (3,), got shape (3, 1)."),
        (np.array([0.0, np.nan, 1.0]), "actions must be integers of shape (3,), got dtype float64 with nan in row 1. "
         "Convert them on purpose, for example with actions.astype(int)."),
        (np.array([0.0, 1.0, 2.0]), "actions must be integers of shape (3,), got dtype float64. "
         "Convert them on purpose, for example with actions.astype(int)."),
        (np.array([True, False, True]), "actions must be integers of shape (3,), got dtype bool. "
         "Convert them on purpose, for example with actions.astype(int)."),
    ],
)  # fmt: skip
def test_the_vector_face_names_row_value_and_step_and_moves_nothing(make_vec, actions, message):
    envs = make_vec(V0, 3).unwrapped
    envs.reset(seed=0)
    before = envs.save_state()
    assert _message(lambda: envs.step(actions), InvalidAction) == f"rlops/Dispatch-v0: {message}"
    assert envs.save_state().tobytes() == before.tobytes()
    envs.step(np.zeros(6, np.int32)[::2])  # another integer type and layout are fine


def test_unknown_ids_versions_and_agents_are_named():
    assert _message(lambda: rlops.envs.parallel_env("rlops/Dispatch-v9"), UnknownName) == (
        "rlops has no environment named 'rlops/Dispatch-v9'. Did you mean rlops/Dispatch-v2 or rlops/Dispatch-v1 or "
        f"rlops/Dispatch-v0? It has: {', '.join(sorted(id for family in FAMILIES for id in family.ids))}."
    )
    assert _message(lambda: rlops.envs.parallel_env("Dispatch"), InvalidValue) == (
        "An environment id must look like rlops/Dispatch-v2, got 'Dispatch'."
    )
    assert _message(lambda: rlops.envs.parallel_env(V0), InvalidValue) == (
        "rlops/Dispatch-v0 has no agents: use gymnasium.make for it."
    )
    with pytest.raises(gym.error.VersionNotFound):
        gym.make("rlops/Dispatch-v9")
    with pytest.raises(gym.error.NameNotFound):
        gym.make("rlops/Dispach-v2")
    from rlops.envs.faces import Env

    assert _message(lambda: Env("Dispatch", 9), UnknownName) == (
        "rlops/Dispatch has no version named 'v9'. It has: v0, v1, v2."
    )
    assert _message(lambda: Env("Dispach", 0), UnknownName).startswith("rlops has no family named 'Dispach'. Did you")


def test_bad_parameters_are_named(make, make_vec):
    assert _message(lambda: make(V0, params={"speed_kmhh": 3}), UnknownName).startswith(
        "rlops/Dispatch-v0 has no parameter named 'speed_kmhh'. Did you mean speed_kmh? It has: arrival_else, "
    )
    assert _message(lambda: make(V0, params={"speed_kmh": 900}), InvalidValue) == (
        "rlops/Dispatch-v0: parameter speed_kmh must be within [10, 60] km/h, got 900."
    )
    assert _message(lambda: make(V0, params={"speed_kmh": float("nan")}), InvalidValue) == (
        "rlops/Dispatch-v0: parameter speed_kmh must be within [10, 60] km/h, got nan."
    )
    assert _message(lambda: make(V0, params={"speed_kmh": "fast"}), InvalidValue) == (
        "rlops/Dispatch-v0: parameter speed_kmh must be a number in km/h, got 'fast'."
    )
    assert _message(lambda: make_vec(V0, 3, params={"speed_kmh": [20, 30]}), InvalidValue) == (
        "rlops/Dispatch-v0: parameter speed_kmh must be one value or 3 values, one a row, got 2."
    )
    assert make_vec(V0, 2, params={"speed_kmh": [20, 30]}).unwrapped._batch.base["speed_kmh"].tolist() == [20, 30]


def test_bad_options_are_named(make, make_vec):
    assert _message(lambda: make(V0, sped=3), UnknownName) == (
        "rlops/Dispatch-v0 has no option named 'sped'. It has: expose_context, params, render_mode, threads."
    )
    assert _message(lambda: rlops.envs.faces.Env("Dispatch", 0, render_mode="human"), UnknownName) == (
        "rlops/Dispatch-v0 has no render_mode named 'human'. It has: rgb_array."
    )
    env = make(V0)
    assert _message(lambda: env.reset(options={"parms": {}}), UnknownName) == (
        "rlops/Dispatch-v0 has no reset option named 'parms'. Did you mean params? It has: params."
    )
    assert _message(lambda: env.reset(options={"params": 3}), InvalidValue) == (
        "rlops/Dispatch-v0: options['params'] must be a dict of parameter values, got 3."
    )
    assert _message(lambda: env.unwrapped.reset(options=[1]), InvalidValue) == (
        "rlops/Dispatch-v0: options must be a dict or None, got list."
    )
    assert _message(lambda: make_vec(V0, 2, autoreset_mode="never"), UnknownName).startswith(
        "rlops/Dispatch-v0 has no autoreset_mode named 'never'."
    )
    assert _message(lambda: make_vec(V0, 0), InvalidValue) == ("num_envs must be a whole number of at least 1, got 0.")
    assert _message(lambda: make_vec(V0, 2, threads=0), InvalidValue) == (
        "threads must be None or a whole number of at least 1, got 0."
    )
    envs = make_vec(V0, 2)
    assert _message(lambda: envs.reset(seed=[1]), InvalidValue) == (
        "rlops/Dispatch-v0: a sequence of seeds must have one entry a row, 2, got 1."
    )
    assert _message(lambda: envs.unwrapped.reset(seed=-1), Exception)
    for mask, got in (([True, False], "[True, False]"), (np.ones(3, bool), "bool of shape (3,)")):
        assert _message(lambda mask=mask: envs.reset(options={"reset_mask": mask}), InvalidValue) == (
            f"rlops/Dispatch-v0: options['reset_mask'] must be a bool array of shape (2,), got {got}."
        )
    assert _message(lambda: envs.reset(options={"reset_mask": np.zeros(2, bool)}), InvalidValue) == (
        "rlops/Dispatch-v0: options['reset_mask'] must choose at least one row, got none."
    )


def test_stepping_without_an_episode_is_an_error(make, make_vec):
    env = make(V0).unwrapped
    assert _message(lambda: env.step(0), EpisodeEnded) == "rlops/Dispatch-v0: reset must be called before step."
    env.reset(seed=0)
    while not env.step(0)[2]:
        pass
    before = env.save_state()
    assert _message(lambda: env.step(0), EpisodeEnded) == (
        "rlops/Dispatch-v0: row 0 must be within an episode to step, but its episode has ended. Call reset first."
    )
    assert env.save_state().tobytes() == before.tobytes()
    envs = make_vec(V0, 2, autoreset_mode="Disabled").unwrapped
    assert _message(lambda: envs.step([0, 0]), EpisodeEnded) == "rlops/Dispatch-v0: reset must be called before step."
    envs.reset(seed=0)
    while not envs.step([0, 0])[2].any():
        pass
    assert _message(lambda: envs.step([0, 0]), EpisodeEnded) == (
        "rlops/Dispatch-v0: row 0 must be within an episode to step, but its episode has ended. "
        "Call reset first, with options={'reset_mask': …}."
    )


def test_a_state_of_another_id_is_not_loaded(make):
    env, static = make(V0).unwrapped, make("rlops/DispatchStatic-v2").unwrapped
    env.reset(seed=0)
    static.reset(seed=0)
    assert _message(lambda: env.load_state(static.save_state()), InvalidValue).startswith(
        "rlops/Dispatch-v0: a saved state must be what save_state of the same id returned, got "
    )
    assert _message(lambda: env.load_state("state"), InvalidValue).endswith("got str.")
    two = np.repeat(env.save_state(), 2)
    assert _message(lambda: env.load_state(two), InvalidValue) == (
        "rlops/Dispatch-v0: 1 saved rows must be given, or one for all, got (2,)."
    )


def test_a_reset_mask_leaves_the_other_rows_alone(make_vec):
    envs = make_vec(V0, 3, autoreset_mode="Disabled").unwrapped
    envs.reset(seed=0)
    obs = envs.step([0, 0, 0])[0]
    rows = np.array([False, True, False])
    again, infos = envs.reset(seed=[None, 77, None], options={"reset_mask": rows})
    np.testing.assert_array_equal(again[[0, 2]], obs[[0, 2]])
    assert envs.state["seed"].tolist() == [0, 77, 2]
    assert envs.state["steps"].tolist() == [1, 0, 1]
    assert infos["_action_mask"].tolist() == rows.tolist()


def test_errors_survive_pickling_between_processes():
    for error in (UnknownName("parameter", "a", ["b"]), InvalidAction("no"), MissingExtra("Drawing", "render")):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)


def test_a_parameter_takes_a_choice_by_name_and_refuses_fractions_of_whole_numbers():
    choice = Parameter("shape", "-", 0, 0, 1, "physical", "-", choices=("round", "square"))
    assert choice.checked("square", "Toy") == 1
    assert _message(lambda: choice.checked("sqare", "Toy"), UnknownName) == (
        "Toy has no value of parameter shape named 'sqare'. Did you mean square? It has: round, square."
    )
    whole = Parameter("wheels", "-", 4, 2, 8, "physical", "-", integer=True)
    assert _message(lambda: whole.checked(4.5, "Toy"), InvalidValue) == (
        "Toy: parameter wheels must be a whole number, got 4.5."
    )


def test_columns_make_the_bounds():
    from rlops.envs.contract import bounds, width

    columns = (Column("x", "m", -1, 1, "place", count=2), Column("v", "m/s", 0, 5, "speed"))
    low, high = bounds(columns)
    assert width(columns) == 3
    assert low.tolist() == [-1, -1, 0]
    assert high.tolist() == [1, 1, 5]


def test_what_a_step_returned_stays_as_long_as_anybody_holds_it(make_vec):
    envs = make_vec(V0, 64)
    obs, infos = envs.reset(seed=0)
    held, expected = [(obs, infos["action_mask"])], [(obs.copy(), infos["action_mask"].copy())]
    rewards, last_rows = [], []
    for step in range(12):
        obs, reward, _, _, infos = envs.step(infos["action_mask"].argmax(axis=1))
        held.append((obs, infos["action_mask"]))
        expected.append((obs.copy(), infos["action_mask"].copy()))
        rewards.append((reward[step:], reward[step:].copy()))  # a view alone
        last_rows.append((obs[-1], obs[-1].copy()))
    for one, kept in zip(held, expected, strict=True):
        np.testing.assert_array_equal(one[0], kept[0])
        np.testing.assert_array_equal(one[1], kept[1])
    for view, kept in rewards + last_rows:
        np.testing.assert_array_equal(view, kept)


def test_what_a_step_returned_stays_though_a_randomization_begins(make_vec):
    envs = make_vec(V0, 64)
    _, infos = envs.reset(seed=0)
    held = envs.step(infos["action_mask"].argmax(axis=1))
    kept, infos = held[0].copy(), held[4]
    randomize(envs, "mild")
    for _ in range(6):
        infos = envs.step(infos["action_mask"].argmax(axis=1))[4]
    np.testing.assert_array_equal(held[0], kept)


def test_key_figures_are_those_of_rows_that_end_and_stay_as_long_as_anybody_holds_them(make_vec):
    for rows, copy in ((6, True), (64, True), (64, False)):  # copied, lent, shown as they are
        envs = make_vec(V0, rows, copy=copy)
        infos = envs.reset(seed=0)[1]
        held = []
        for step in range(330):
            if step == 30:  # rows end at two times
                infos = envs.reset(options={"reset_mask": np.arange(rows) < 3})[1]
            _, _, terminated, truncated, infos = envs.step(infos["action_mask"].argmax(axis=1))
            if "kpis" not in infos:
                continue
            over = terminated | truncated
            np.testing.assert_array_equal(infos["_kpis"], over)
            for name, column in infos["kpis"].items():
                assert name.startswith("_") or not column[~over].any(), name
            one = infos["_kpis"] if len(held) % 3 == 2 else infos["kpis"]["reward_per_step"]
            held.append((one, one.copy()))
        assert len(held) >= 6
        for one, before in held if copy else ():
            np.testing.assert_array_equal(one, before)


def test_drawn_parameters_stay_as_long_as_anybody_holds_them_though_others_are_drawn_then(make_vec):
    envs = make_vec(V0, 64)
    randomize(envs, "mild")
    infos = envs.reset(seed=0)[1]
    held, names = [], set()
    for step in range(330):
        if step in (30, 100, 160):  # rows end at four times
            infos = envs.reset(options={"reset_mask": np.arange(64) % 4 == step % 3})[1]
        if step == 200:
            near = {"op": "scale", "dist": "uniform", "low": 0.9, "high": 1.1}
            randomize(envs, {"env": V0, "params": {"near_km": near, "speed_kmh": near}})
        infos = envs.step(infos["action_mask"].argmax(axis=1))[4]
        if "params" in infos:
            names.add(tuple(infos["params"]))
            one = infos["_params"] if len(held) % 3 == 2 else infos["params"]["speed_kmh"]
            held.append((one, one.copy()))
    assert len(held) >= 6
    assert len(names) == 2
    for one, before in held:
        np.testing.assert_array_equal(one, before)


@pytest.mark.parametrize("drawn", [False, True])
def test_a_large_batch_is_not_copied_for_a_caller_who_lets_go(make_vec, drawn):
    envs = make_vec(V0, 64)
    if drawn:
        randomize(envs, "mild")
    infos = envs.reset(seed=0)[1]
    places, told = set(), 0
    for step in range(310):
        if step == 30:
            infos = envs.reset(options={"reset_mask": np.arange(64) < 3})[1]
        obs, _, _, _, infos = envs.step(infos["action_mask"].argmax(axis=1))
        places.add(obs.ctypes.data)
        told += "params" in infos
    assert len(places) <= 3
    assert told >= 2 * drawn


@pytest.mark.parametrize(
    "actions",
    [
        np.zeros(4, np.int32),
        np.zeros(4, np.longlong),
        np.zeros(8, np.int64)[::2],
        np.zeros(4, ">i8"),
        np.zeros((4, 1), np.int64)[:, 0],
        [0, 0, 0, 0],
    ],
)
def test_the_vector_face_takes_whole_numbers_of_any_type_and_layout(make_vec, actions):
    envs, plain = make_vec(V0, 4), make_vec(V0, 4)
    envs.reset(seed=0)
    plain.reset(seed=0)
    np.testing.assert_array_equal(envs.step(actions)[0], plain.step(np.zeros(4, np.int64))[0])


def test_actions_that_only_look_like_one_a_row_are_refused(make_vec):
    envs = make_vec(V0, 4)
    envs.reset(seed=0)
    for wrong in (np.zeros(5, np.int64), np.zeros((4, 1), np.int64), np.array(0), np.zeros(4)):
        with pytest.raises(InvalidAction, match=r"actions must be integers of shape \(4,\)"):
            envs.step(wrong)
    assert (envs.unwrapped.state["steps"] == 0).all()


@pytest.mark.parametrize("copy", [True, False])
def test_what_a_caller_writes_into_observations_shows_in_no_other_row_of_a_later_reset(make_vec, copy):
    rows = 64  # so many that buffers are lent instead of copied
    envs, untouched = (make_vec(V0, num_envs=rows, autoreset_mode="Disabled", copy=copy) for _ in range(2))
    chosen = np.arange(rows) == 3
    for env in (envs, untouched):
        env.reset(seed=0)
    seen, infos = envs.step(np.full(rows, 200))[::4]
    untouched.step(np.full(rows, 200))
    seen[:], infos["action_mask"][:] = -7.0, 1
    again, expected = (env.reset(options={"reset_mask": chosen}) for env in (envs, untouched))
    np.testing.assert_array_equal(again[0], expected[0])
    np.testing.assert_array_equal(again[1]["action_mask"], expected[1]["action_mask"])


@pytest.mark.parametrize("copy", [True, False])
def test_what_a_caller_does_to_the_dictionaries_of_infos_is_not_seen_in_later_ones(make_vec, copy):
    envs = make_vec(V0, num_envs=2, copy=copy)
    envs.reset(seed=0)
    actions = np.zeros(2, np.int64)
    episodes = 0
    names = {"reward_terms": set(envs.kernel.REWARD_TERMS), "kpis": {column.name for column in envs.kernel.KPIS}}
    while episodes < 4:
        infos = envs.step(actions)[4]
        episodes += "kpis" in infos
        for group in infos.keys() & names.keys():
            assert {name for name in infos[group] if name[0] != "_"} == names[group]
            infos[group].clear()


@pytest.mark.parametrize("id", [family.ids[-1] for family in FAMILIES])
def test_infos_have_one_order_of_names_whether_or_not_they_are_copies(make_vec, id):
    """So that their order never tells how many rows there are, nor whether rows step here or elsewhere."""
    several = [
        randomize(make_vec(id, num_envs=3, copy=copy, autoreset_mode="SameStep"), "full") for copy in (True, False)
    ]
    for envs in several:
        envs.reset(seed=0)
        envs.action_space.seed(0)
    kept = []  # what is held is not lent again, so that soon there are copies
    for _ in range(20):
        copies, views = (envs.step(envs.action_space.sample())[4] for envs in several)
        kept.append(copies)
        assert list(copies) == list(views)
        for name, held in copies.items():
            assert not isinstance(held, dict) or list(held) == list(views[name])


def test_observations_are_shown_in_the_places_that_a_caller_gives(make_vec):
    envs, usual = (make_vec(V0, num_envs=3, copy=False) for _ in range(2))
    places = [np.zeros(usual.observation_space.shape, np.float32) for _ in range(2)]
    envs.show_in(places)
    usual.reset(seed=0)
    assert envs.turn_to(1)
    assert envs.reset(seed=0)[0] is places[1]
    actions = np.zeros(3, np.int64)
    for place in (0, 1, 0):
        expected = usual.step(actions)[0]
        assert envs.turn_to(place)
        assert envs.step(actions)[0] is places[place]
        np.testing.assert_array_equal(places[place], expected)
    before = places[0].copy()
    assert not envs.turn_to(0)  # the present lies there
    np.testing.assert_array_equal(envs.step(actions)[0], usual.step(actions)[0])
    np.testing.assert_array_equal(places[0], before)
    assert not envs.turn_to(None)
    envs.step(actions)
    np.testing.assert_array_equal(places[0], before)


def test_places_for_observations_must_fit(make_vec):
    with pytest.raises(InvalidValue, match="made with copy=False"):
        make_vec(V0, num_envs=2).show_in([])
    envs = make_vec(V0, num_envs=2, copy=False)
    with pytest.raises(InvalidValue, match=r"contiguous float32 of shape \(2, \d+\), got float32 of \(2, 3\)"):
        envs.show_in([np.zeros((2, 3), np.float32)])
    assert not envs.turn_to(None)
    for place in (0, -1):
        with pytest.raises(InvalidValue, match=f"one of the 0 that show_in was given, got {place}"):
            envs.turn_to(place)
