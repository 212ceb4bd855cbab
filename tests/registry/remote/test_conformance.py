"""The conformance suite passes our server, and notices a server that breaks a rule."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from rlops.errors import ConnectionLost
from rlops.registry.remote import carriers, conformance, server
from rlops.registry.remote.frames import Op
from rlops.registry.remote.protocol import Identity
from tests.registry.remote.conftest import DISPATCH


@pytest.fixture
def broken(tmp_path_factory, monkeypatch):
    """Return a function that serves with something changed, and returns what one check finds."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="rlops-") as folder:
        one = server.Server(server.Offer(Identity(DISPATCH), sessions=4), f"{folder}/s")
        thread = threading.Thread(target=one.serve)
        thread.start()

        def found(check):
            (finding,) = conformance.conformance(f"{folder}/s", timeout_s=20.0, checks=(check,))
            return finding

        yield found
        one.stop()
        thread.join()


def test_our_server_conforms(dispatch):
    findings = conformance.conformance(dispatch.address)
    assert [finding for finding in findings if finding.holds is False] == []
    assert sum(finding.holds is True for finding in findings) == len(conformance.CHECKS) - 1, "all but the token's"


def test_a_server_that_keeps_the_rules_passes_each_alone(broken):
    assert broken(conformance.an_unknown_operation_is_an_error_only).holds


def test_another_number_in_a_reply_is_noticed(broken, monkeypatch):
    send = carriers.Channel.send

    def shifted(self, op, sequence, value, **more):
        send(self, op, sequence + (op == Op.RESULT), value, **more)

    monkeypatch.setattr(carriers.Channel, "send", shifted)
    finding = broken(conformance.replies_carry_the_request_s_number)
    assert finding.holds is False
    assert "answered as 2" in finding.told


def test_a_version_that_is_not_looked_at_is_noticed(broken, monkeypatch):
    monkeypatch.setattr(server, "check_version", lambda theirs: "")
    assert broken(conformance.another_major_version_is_refused).holds is False


def test_an_identity_that_is_not_looked_at_is_noticed(broken, monkeypatch):
    monkeypatch.setattr(Identity, "check", lambda self, served: None)
    assert broken(conformance.another_identity_is_refused).holds is False


def test_episodes_that_do_not_follow_the_seed_are_noticed(broken, monkeypatch):
    reset = server.Session._reset
    seeds = iter(range(100))
    monkeypatch.setattr(server.Session, "_reset", lambda self, value: reset(self, {"seed": next(seeds)}))
    assert broken(conformance.the_same_seed_gives_the_same_episode).holds is False
    assert broken(conformance.sessions_do_not_touch_each_other).holds is False


def test_a_checksum_that_is_not_looked_at_is_noticed(broken, monkeypatch):
    monkeypatch.setattr(carriers, "checksum", lambda payload: 0xDEADBEEF)
    assert broken(conformance.a_wrong_checksum_is_noticed).holds is False


def test_observations_outside_their_space_are_noticed(broken, monkeypatch):
    reset = server.Session._reset

    def wrong(self, value):
        seen, infos = reset(self, value)
        return np.full_like(seen, np.nan), infos

    monkeypatch.setattr(server.Session, "_reset", wrong)
    assert broken(conformance.results_fit_the_spaces).holds is False


def test_no_server_at_all_is_no_finding(tmp_path):
    with pytest.raises(ConnectionLost):
        conformance.conformance(str(tmp_path / "none"))
