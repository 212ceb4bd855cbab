"""A fingerprint is the same as long as nothing moves."""

from __future__ import annotations

import numpy as np

from rlops.envs import sampling
from rlops.registry.dynamics.fingerprint import _rounded, fingerprint
from rlops.registry.dynamics.golden import golden_file, manifest_of
from rlops.registry.dynamics.kernels import KernelSubject
from tests.registry.conftest import ID


def test_it_is_that_of_the_golden_file(folder):
    found = fingerprint(KernelSubject(ID))
    assert found.as_json() == manifest_of(golden_file(KernelSubject(ID), folder))["fingerprint"]
    assert found.platform in str(found)


def test_another_default_moves_all_but_the_portable_tier_of_numbers_that_round_alike(redeclare):
    before = fingerprint(KernelSubject(ID))
    redeclare("speed_kmh", nominal=30 * (1 + 1e-9))
    after = fingerprint(KernelSubject(ID))
    assert after.specification != before.specification
    assert after.exact != before.exact
    assert after.portable == before.portable


def test_wider_randomization_is_told_from_other_dynamics(redeclare):
    before = fingerprint(KernelSubject(ID))
    redeclare("speed_kmh", plausible=None)
    after = fingerprint(KernelSubject(ID))
    assert after.randomization != before.randomization


def test_one_bit_of_the_state_moves_the_exact_tier_only(monkeypatch):
    before = fingerprint(KernelSubject(ID))
    real = KernelSubject.play

    def nearly(self, episode, expected=None):
        trace = real(self, episode, expected)
        trace["state.pickup_km"] = np.nextafter(trace["state.pickup_km"], np.inf)
        return trace

    monkeypatch.setattr(KernelSubject, "play", nearly)
    after = fingerprint(KernelSubject(ID))
    assert after.exact != before.exact
    assert (after.portable, after.specification) == (before.portable, before.specification)


def test_rounded_numbers_tell_infinities_and_nan_apart_and_forget_round_off():
    a = np.array([1.0, np.inf, -np.inf, np.nan, 0.0, 1e-20])
    b = np.array([1.0 + 1e-12, np.inf, -np.inf, np.nan, -0.0, 0.0])
    assert all(np.array_equal(x, y) for x, y in zip(_rounded(a), _rounded(b), strict=True))
    for k in range(4):
        c = a.copy()
        c[k] = 2.0
        assert not all(np.array_equal(x, y) for x, y in zip(_rounded(a), _rounded(c), strict=True))


def test_no_field_of_a_record_is_hidden_by_an_attribute_of_records():
    hidden = set(dir(np.record))
    kernel = KernelSubject(ID).kernel
    assert not hidden & {*kernel.STATE.names, *sampling.TERM.names, *(p.name for p in kernel.PARAMETERS)}
