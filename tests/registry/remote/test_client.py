"""The remote vector environment equals the one in-process, to the last bit, and says clearly what went wrong."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

import rlops.errors
from rlops.errors import (
    ConnectionLost,
    EpisodeEnded,
    IdentityMismatch,
    InvalidAction,
    InvalidValue,
    ReplyTimeout,
    UnknownName,
)
from rlops.registry.remote import carriers
from rlops.registry.remote.client import RemoteVectorEnv
from rlops.registry.remote.frames import read_header
from rlops.registry.remote.protocol import Identity
from tests.registry.remote.comparing import assert_same, play_both
from tests.registry.remote.conftest import COOLING, DISPATCH

MODES = ("NextStep", "SameStep", "Disabled")


@pytest.mark.parametrize("shared_memory", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("id", "rows", "steps"), [(DISPATCH, 48, 220), (COOLING, 8, 60)])
def test_results_equal_those_in_process_to_the_last_bit(address, local, id, rows, steps, mode, shared_memory):
    with RemoteVectorEnv(address(id), rows, autoreset_mode=mode, shared_memory=shared_memory) as remote:
        ends = play_both(local(id, rows, autoreset_mode=mode), remote, steps)
    assert ends or id == COOLING


def test_results_stay_equal_over_ten_thousand_steps(address, local):
    with RemoteVectorEnv(address(DISPATCH), 2, autoreset_mode="SameStep") as remote:
        assert play_both(local(DISPATCH, 2, autoreset_mode="SameStep"), remote, 10_000) > 150


def test_spaces_and_declarations_equal_those_in_process(address, local):
    for id in (DISPATCH, COOLING):
        ours = local(id, 3)
        with RemoteVectorEnv(address(id), 3) as remote:
            for name in ("single_observation_space", "single_action_space", "observation_space", "action_space"):
                assert getattr(remote, name) == getattr(ours, name)
            assert remote.single_observation_space.high.tobytes() == ours.single_observation_space.high.tobytes()
            assert remote.metadata["autoreset_mode"] is ours.metadata["autoreset_mode"]
            assert (remote.spec.id, remote.num_envs, remote.identity.id) == (id, 3, id)


def test_key_figures_of_ended_episodes_arrive(address, local):
    with RemoteVectorEnv(address(COOLING), 2, autoreset_mode="SameStep") as remote:
        ours = local(COOLING, 2, autoreset_mode="SameStep")
        ours.reset(seed=0), remote.reset(seed=0)
        coldest = ours.action_space.low
        for _ in range(2000):
            left, right = ours.step(coldest), remote.step(coldest)
            if "final_info" in left[4]:
                break
        assert left[4]["final_info"]["kpis"]
        assert_same(left, right)


def test_seeds_masks_and_parameters_of_a_reset_arrive(address, local):
    ours = local(DISPATCH, 4)
    with RemoteVectorEnv(address(DISPATCH), 4) as remote:
        ours.reset(seed=1), remote.reset(seed=1)
        for options in (
            {"seed": [5, None, 7, 8]},
            {"seed": 3, "options": {"params": {"speed_kmh": 20.0}}},
            {"options": {"reset_mask": np.array([True, False, True, False])}},
            {"options": {"params": {"speed_kmh": np.array([20.0, 21.0, 22.0, 23.0])}}},
        ):
            assert_same(ours.reset(**options), remote.reset(**options))
            assert_same(ours.params, remote.params)


def test_parameters_and_states_are_read_and_written(address, local):
    ours = local(DISPATCH, 4)
    with RemoteVectorEnv(address(DISPATCH), 4) as remote:
        for env in (ours, remote):
            env.set_params({"speed_kmh": [20.0, 25.0]}, ids=[1, 3])
            env.reset(seed=0)
        assert_same(ours.params, remote.params)
        before = remote.save_state()
        assert_same(ours.save_state(), before)
        wait = np.zeros(4, np.int64)
        ours.step(wait), remote.step(wait)
        remote.load_state(before), ours.load_state(before)
        assert_same(ours.state, remote.state)
        remote.clone_rows(0, slice(2, None)), ours.clone_rows(0, slice(2, None))
        assert_same(ours.action_masks(), remote.action_masks())
        assert_same(ours.step(wait), remote.step(wait))


def test_randomized_parameters_arrive_in_infos(address, local):
    from rlops.randomization import randomize

    ours = randomize(local(DISPATCH, 4, autoreset_mode="SameStep"), "mild")
    with RemoteVectorEnv(address(DISPATCH), 4, autoreset_mode="SameStep") as remote:
        assert play_both(ours, remote.randomize("mild"), 200) > 0
        assert "params" in remote.reset(seed=1)[1]


def test_construction_options_arrive(address, local):
    options = {"params": {"speed_kmh": 25.0}, "expose_context": True}
    with RemoteVectorEnv(address(DISPATCH), 2, **options) as remote:
        play_both(local(DISPATCH, 2, **options), remote, 20)


@pytest.mark.parametrize(
    ("error", "wrong"),
    [
        (InvalidAction, lambda env: env.step(np.array([0, 10_000]))),
        (InvalidAction, lambda env: env.step(np.array([0.5, 0.0]))),
        (InvalidAction, lambda env: env.step(np.zeros(3, np.int64))),
        (InvalidAction, lambda env: env.step([1, "b"])),
        (UnknownName, lambda env: env.reset(options={"wrong": 1})),
        (InvalidValue, lambda env: env.reset(options={"params": {"speed_kmh": -1.0}})),
        (InvalidValue, lambda env: env.reset(seed=[1])),
        (UnknownName, lambda env: env.set_params({"no_such": 1.0})),
    ],
)
def test_errors_are_those_in_process_and_the_session_goes_on(address, local, error, wrong):
    ours = local(DISPATCH, 2)
    with RemoteVectorEnv(address(DISPATCH), 2) as remote:
        ours.reset(seed=0), remote.reset(seed=0)
        with pytest.raises(error) as expected:
            wrong(ours)
        with pytest.raises(error) as got:
            wrong(remote)
        assert str(got.value) == str(expected.value)
        assert type(got.value) is type(expected.value)
        actions = np.zeros(2, np.int64)
        assert_same(ours.step(actions), remote.step(actions))


def test_a_step_before_the_first_reset_is_refused_as_in_process(address):
    with RemoteVectorEnv(address(DISPATCH), 2) as remote, pytest.raises(EpisodeEnded, match="reset must be called"):
        remote.step(np.zeros(2, np.int64))


def test_wrong_construction_options_are_refused_as_in_process(address, local):
    with pytest.raises(UnknownName) as expected:
        local(DISPATCH, 2, wrong=1)
    with pytest.raises(UnknownName) as got:
        RemoteVectorEnv(address(DISPATCH), 2, wrong=1)
    assert str(got.value) == str(expected.value)


@pytest.mark.parametrize("shared_memory", [False, True])
def test_copies_stay_intact_however_long_they_are_held(address, local, shared_memory):
    ours = local(DISPATCH, 8)
    with RemoteVectorEnv(address(DISPATCH), 8, shared_memory=shared_memory) as remote:
        ours.reset(seed=0), remote.reset(seed=0)
        kept = []
        for _ in range(12):
            actions = ours.action_space.sample()
            kept.append((ours.step(actions), remote.step(actions)))
    for expected, got in kept:
        assert_same(expected, got)


@pytest.mark.parametrize("shared_memory", [False, True])
def test_a_view_of_a_copy_stays_intact_too(address, shared_memory):
    with RemoteVectorEnv(address(DISPATCH), 8, shared_memory=shared_memory) as remote:
        first = remote.reset(seed=0)[0][2:4, 3:]
        before = first.copy()
        for _ in range(20):
            remote.step(np.zeros(8, np.int64))
        np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("shared_memory", [False, True])
def test_without_copies_results_survive_one_step_and_share_buffers(address, shared_memory):
    with RemoteVectorEnv(address(DISPATCH), 8, copy=False, shared_memory=shared_memory) as remote:
        last = remote.reset(seed=0)[0]
        for _ in range(5):
            before = last.copy()
            following = remote.step(np.zeros(8, np.int64))[0]
            assert not np.array_equal(following, before)
            np.testing.assert_array_equal(last, before)
            last = following
        rounds = [remote.step(np.zeros(8, np.int64))[0].ctypes.data for _ in range(14)]
        assert len(set(rounds)) < len(rounds)


@pytest.mark.parametrize("shared_memory", [False, True])
def test_what_calls_return_stays_intact_without_copies_too(address, shared_memory):
    with RemoteVectorEnv(address(DISPATCH), 8, copy=False, shared_memory=shared_memory) as remote:
        kept = []
        remote.reset(seed=0)
        for _ in range(12):
            kept += [(got, got.copy()) for got in (remote.save_state(), remote.action_masks())]
            for _ in range(3):
                remote.step(np.zeros(8, np.int64))
    assert all(np.array_equal(got, then) for got, then in kept)


@pytest.mark.parametrize("shared_memory", [False, True])
def test_calls_between_steps_do_not_change_what_rows_show_that_are_not_reset(address, local, shared_memory):
    rows, chosen = 64, np.arange(64) == 3
    ours = local(DISPATCH, rows, autoreset_mode="Disabled")
    with RemoteVectorEnv(
        address(DISPATCH), rows, autoreset_mode="Disabled", shared_memory=shared_memory, copy=False
    ) as remote:
        ours.reset(seed=0), remote.reset(seed=0)
        for _ in range(3):
            actions = ours.action_space.sample()
            ours.step(actions), remote.step(actions)
            for _ in range(9):  # more than there are places for replies
                remote.action_masks()
            options = {"reset_mask": chosen}
            assert_same(ours.reset(options=options), remote.reset(options=options))


@pytest.mark.parametrize("shared_memory", [False, True])
def test_large_frames_with_checksums_arrive_whole(address, local, shared_memory):
    ours = local(DISPATCH, 256)
    with RemoteVectorEnv(address(DISPATCH), 256, shared_memory=shared_memory, checksums=True) as remote:
        assert_same(ours.reset(seed=0), remote.reset(seed=0))
        for _ in range(5):
            actions = ours.action_space.sample()
            assert_same(ours.step(actions), remote.step(actions))


@pytest.mark.parametrize("shared_memory", [False, True])
def test_copies_that_nobody_holds_cost_no_new_memory(address, shared_memory):
    with RemoteVectorEnv(address(DISPATCH), 8, shared_memory=shared_memory) as remote:
        remote.reset(seed=0)
        places = {remote.step(np.zeros(8, np.int64))[0].ctypes.data for _ in range(30)}
        assert len(places) <= 6


@pytest.mark.parametrize("shared_memory", [False, True])
@pytest.mark.parametrize("copy", [False, True])
def test_ordinary_replies_are_prepared_for_before_they_come(address, monkeypatch, copy, shared_memory):
    read = []
    monkeypatch.setattr(carriers, "read_header", lambda buffer: read.append(None) or read_header(buffer))
    with RemoteVectorEnv(address(DISPATCH), 8, copy=copy, shared_memory=shared_memory) as remote:
        remote.reset(seed=0)
        for _ in range(20):
            remote.step(np.zeros(8, np.int64))
        remote.action_masks()
        before = len(read)
        for _ in range(20):
            remote.step(np.zeros(8, np.int64))
    assert len(read) == before


def test_returned_arrays_can_be_written_to(address):
    with RemoteVectorEnv(address(DISPATCH), 2) as remote:
        seen, infos = remote.reset(seed=0)
        seen += 1
        infos["action_mask"][:] = 0
        assert remote.reset(seed=0)[1]["action_mask"].any()


def test_pickling_is_refused_with_what_to_do(address):
    with RemoteVectorEnv(address(DISPATCH), 1) as remote, pytest.raises(InvalidValue, match="connect there"):
        pickle.dumps(remote)


@pytest.mark.parametrize("expected", [Identity("rlops/Dispatch-v1"), Identity(digest="sha256:aa"),
                                      Identity(fingerprint={"exact": "aa"})])  # fmt: skip
def test_another_environment_digest_or_fingerprint_is_refused(address, expected):
    with pytest.raises(IdentityMismatch, match="must be"):
        RemoteVectorEnv(address(DISPATCH), 1, expect=expected)


def test_a_server_that_does_not_look_at_what_is_expected_is_refused_all_the_same(address):
    class Silent(Identity):
        def as_json(self):
            return Identity().as_json()

    with pytest.raises(IdentityMismatch, match="environment must be rlops/Dispatch-v1"):
        RemoteVectorEnv(address(DISPATCH), 1, expect=Silent("rlops/Dispatch-v1"))


def test_what_the_image_says_of_itself_reaches_the_client(serve):
    environ = {"RLOPS_IMAGE_DIGEST": "sha256:ab", "RLOPS_IMAGE_FINGERPRINT": '{"exact": "cd"}'}
    serving = serve(DISPATCH, environ=environ)
    expected = Identity(DISPATCH, "sha256:ab", {"exact": "cd"})
    with RemoteVectorEnv(serving.address, 1, expect=expected) as remote:
        assert remote.identity == expected
    serving.end()


def test_a_server_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConnectionLost, match="rlops serve"):
        RemoteVectorEnv(str(tmp_path / "none"), 1)


def test_a_killed_server_is_noticed_and_stays_closed(serve):
    serving = serve(DISPATCH)
    remote = RemoteVectorEnv(serving.address, 2)
    remote.reset(seed=0)
    serving.process.kill()
    serving.process.wait()
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            remote.step(np.zeros(2, np.int64))
    os.unlink(serving.address)


def test_a_late_reply_is_never_taken_for_the_next(serve, local):
    serving = serve(DISPATCH)
    with RemoteVectorEnv(serving.address, 2) as warm:
        warm.reset(seed=0), warm.step(np.zeros(2, np.int64))
    ours = local(DISPATCH, 2)
    for shared_memory in (False, True):
        with RemoteVectorEnv(serving.address, 2, timeout_s=2.0, shared_memory=shared_memory) as remote:
            ours.reset(seed=0), remote.reset(seed=0)
            serving.process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, serving.process.pid, os.WSTOPPED)
            try:
                with pytest.raises(ReplyTimeout, match="within 2 s"):
                    remote.step(np.ones(2, np.int64))
            finally:
                serving.process.send_signal(signal.SIGCONT)
            ours.step(np.ones(2, np.int64))
            actions = np.zeros(2, np.int64)
            assert_same(ours.step(actions), remote.step(actions))
    serving.end()


def test_closing_twice_and_using_after_is_clear(address):
    remote = RemoteVectorEnv(address(DISPATCH), 1)
    remote.close()
    remote.close()
    with pytest.raises(ConnectionLost, match="was closed"):
        remote.ping()


@pytest.mark.parametrize("how", ["collected", "closed"])
def test_what_was_started_for_an_environment_is_stopped_once(address, how):
    stopped = []
    remote = RemoteVectorEnv(address(DISPATCH), 1, stop=lambda: stopped.append(how))
    if how == "closed":
        remote.close()
    del remote
    gc.collect()
    assert stopped == [how]


def test_every_error_travels_by_name_and_message():
    from rlops.registry.remote.protocol import error_as_json, error_from_json

    for name in dir(rlops.errors):
        kind = getattr(rlops.errors, name)
        if isinstance(kind, type) and issubclass(kind, rlops.errors.RlopsError):
            error = rlops.errors._rebuilt(kind, ("what must hold",))
            back = error_from_json(error_as_json(error))
            assert (type(back), str(back)) == (kind, "what must hold")


def test_a_client_that_exits_without_closing_leaves_the_server_ready(dispatch):
    code = (
        "import sys, numpy as np\n"
        "from rlops.registry.remote.client import RemoteVectorEnv\n"
        "env = RemoteVectorEnv(sys.argv[1], 2)\nenv.reset(seed=0)\nprint('ready', flush=True)\nsys.exit()\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code, dispatch.address], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "ready", "")
    with RemoteVectorEnv(dispatch.address, 1) as remote:
        remote.ping()


def test_other_environments_of_gymnasium_can_be_served_too(serve):
    serving = serve("CartPole-v1")
    for mode in MODES:
        ours = gym.make_vec(
            "CartPole-v1", num_envs=3, vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": gym.vector.AutoresetMode(mode)},
        )  # fmt: skip
        with RemoteVectorEnv(serving.address, 3, autoreset_mode=mode) as remote:
            assert play_both(ours, remote, 150) > 0
            with pytest.raises(UnknownName, match="no call named 'params'"):
                _ = remote.params
        ours.close()
    serving.end()
