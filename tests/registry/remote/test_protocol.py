"""The handshake: spaces, versions, identities and tokens."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import rlops
from rlops.errors import IdentityMismatch, InvalidFile, InvalidValue, ProtocolError, Refused
from rlops.registry.remote.carriers import parse_address, shown
from rlops.registry.remote.protocol import (
    VERSION,
    Identity,
    check_proof,
    check_version,
    new_challenge,
    proof,
    read_token,
    space_as_json,
    space_from_json,
)

SPACES = [
    spaces.Box(-1.0, 1.0, (3,), np.float32),
    spaces.Box(np.array([0.1, -np.inf]), np.array([np.inf, 1 / 3]), dtype=np.float64),
    spaces.Box(0, 255, (2, 2, 3), np.uint8),
    spaces.Discrete(5),
    spaces.Discrete(3, start=-1),
    spaces.MultiDiscrete([2, 3], start=[1, -1]),
    spaces.MultiDiscrete(np.array([[2, 3], [4, 5]])),
    spaces.MultiBinary(4),
    spaces.MultiBinary([2, 3]),
    spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1, ())]),
    spaces.Dict({"z": spaces.Discrete(2), "a": spaces.Dict({"x": spaces.Box(0, 1, (2,))})}),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_a_space_comes_back_equal(space):
    back = space_from_json(json.loads(json.dumps(space_as_json(space), allow_nan=False)))
    assert back == space
    assert back.dtype == space.dtype
    if isinstance(space, spaces.Box):
        assert (back.low.tobytes(), back.high.tobytes()) == (space.low.tobytes(), space.high.tobytes())
    if isinstance(space, spaces.Dict):
        assert list(back.spaces) == list(space.spaces)


@pytest.mark.parametrize("id", [id for family in rlops.envs.FAMILIES for id in family.ids])
def test_the_spaces_of_every_id_come_back_equal(id, recwarn):
    env = gym.make_vec(id, num_envs=1)
    for space in (env.single_observation_space, env.single_action_space):
        assert space_from_json(json.loads(json.dumps(space_as_json(space)))) == space


def test_a_space_that_cannot_travel_is_named():
    with pytest.raises(InvalidValue, match="Text"):
        space_as_json(spaces.Text(3))
    for told in (None, {"space": "Graph"}, {"space": "Box", "dtype": "<f4", "shape": [2], "low": [0], "high": 1}):
        with pytest.raises(ProtocolError, match="must be told"):
            space_from_json(told)


def test_another_major_version_is_refused_and_another_minor_told():
    major, minor, patch = VERSION.split(".")
    assert check_version(VERSION) == ""
    assert check_version(f"{major}.{minor}.{int(patch) + 1}") == ""
    assert "only what both know" in check_version(f"{major}.{int(minor) + 1}.0")
    for wrong in (f"{int(major) + 1}.0.0", "1", None, "1.x.0"):
        with pytest.raises(ProtocolError, match="must"):
            check_version(wrong)


def test_an_identity_holds_what_is_served_to_all_it_says():
    served = Identity("rlops/Dispatch-v0", "sha256:a", {"exact": "b", "portable": "c"})
    for fine in (Identity(), Identity("rlops/Dispatch-v0"), Identity(fingerprint={"portable": "c"}), served):
        fine.check(served)
    for wrong in (Identity("rlops/Dispatch-v1"), Identity(digest="sha256:b"), Identity(fingerprint={"exact": "x"})):
        with pytest.raises(IdentityMismatch, match="must be"):
            wrong.check(served)
    with pytest.raises(IdentityMismatch, match="got none"):
        served.check(Identity("rlops/Dispatch-v0"))
    assert Identity.from_json(served.as_json()) == served
    with pytest.raises(ProtocolError):
        Identity.from_json({"id": 1})


def test_a_proof_is_good_for_one_challenge():
    token = b"a token of 16 bytes"
    first, second = (new_challenge(token)["nonce"] for _ in range(2))
    with pytest.raises(Refused):
        check_proof(token, second, proof(token, first))


def test_only_who_knows_the_token_comes_in():
    token = b"0123456789abcdef"
    check_proof(token, "nonce", proof(token, "nonce"))
    check_proof(None, "", "")
    for given in ("", None, proof(token, "other"), proof(b"another-token-16", "nonce"), token.decode()):
        with pytest.raises(Refused, match="token"):
            check_proof(token, "nonce", given)


def test_a_token_is_read_from_a_file_and_must_be_long(tmp_path):
    file = tmp_path / "token"
    file.write_text("0123456789abcdef\n")
    assert read_token(file) == b"0123456789abcdef"
    file.write_text("short")
    for wrong in (file, tmp_path / "none"):
        with pytest.raises(InvalidFile, match="token"):
            read_token(wrong)


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:70", "tcp://[::1]:7000", "/run/a.sock"])
def test_an_address_reads_as_it_is_shown(text):
    assert shown(parse_address(text)) == text


@pytest.mark.parametrize("text", ["", "tcp://host", "tcp://host:99999", "http://host:1", "/" + "a" * 200])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InvalidValue, match="must"):
        parse_address(text)
