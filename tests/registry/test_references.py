"""A name of an image means one thing, or is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rlops
from rlops.errors import InvalidReference
from rlops.registry.references import Reference, environment_id, full_id, image_name

DIGEST = "sha256:" + "0123456789abcdef" * 4
WORD = st.from_regex(r"[a-z0-9]{1,6}(-[a-z0-9]{1,4})?", fullmatch=True)
VERSION = st.one_of(st.just(""), st.from_regex(r"[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,2}(-rc\.[0-9])?", fullmatch=True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dispatch", Reference("dispatch")),
        ("dispatch:2.0.1", Reference("dispatch", "2.0.1")),
        ("team/dispatch:latest", Reference("team/dispatch", "latest")),
        (f"dispatch@{DIGEST}", Reference("dispatch", digest=DIGEST)),
        (f"dispatch:2.0.1@{DIGEST}", Reference("dispatch", "2.0.1", DIGEST)),
        ("localhost/dispatch", Reference("dispatch", host="localhost")),
        ("localhost:5000/team/dispatch:2.0.1", Reference("team/dispatch", "2.0.1", host="localhost:5000")),
        ("ghcr.io/a/b/c:1.0.0", Reference("a/b/c", "1.0.0", host="ghcr.io")),
        ("[::1]:5000/dispatch", Reference("dispatch", host="[::1]:5000")),
    ],
)
def test_a_name_is_taken_apart_as_docker_does(text, expected):
    assert Reference.parse(text) == expected
    assert str(Reference.parse(text)) == text


@given(
    st.builds(
        Reference, st.lists(WORD, min_size=1, max_size=3).map("/".join), VERSION, st.sampled_from(["", DIGEST]),
        st.sampled_from(["", "localhost", "localhost:5000", "ghcr.io", "127.0.0.1:8080", "[::1]:5000"]),
    )
)  # fmt: skip
def test_what_is_written_is_read_back(reference):
    assert Reference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    "text",
    ["", "Dispatch", "dispatch:", "dispatch@", "dispatch@sha256:12", "dispatch@md5:" + "0" * 32, "a//b", "/a", "a/",
     "a:b:c", "dispatch:2.0.1+build", "dis patch", "-a", "a-", "../a", "localhost:5000/", "http://localhost/a",
     "localhost:port/a", "a" * 300, "dispatch:" + "1" * 129, f"dispatch@{DIGEST.upper()}", "dispatch\n"],
)  # fmt: skip
def test_what_does_not_follow_the_grammar_is_refused(text):
    with pytest.raises(InvalidReference, match="must"):
        Reference.parse(text)


@pytest.mark.parametrize("text", ["dispatch", "dispatch:latest", "dispatch:2", "dispatch:2.0", "dispatch:02.0.1"])
def test_a_moving_name_is_refused_unless_it_is_allowed(text):
    reference = Reference.parse(text)
    with pytest.raises(InvalidReference, match="another image tomorrow"):
        reference.checked_fixed()
    assert reference.checked_fixed(allow_moving=True).version in ("latest", "2", "2.0", "02.0.1")


@pytest.mark.parametrize("text", ["dispatch:2.0.1", "dispatch:2.0.1-rc.1", f"dispatch:latest@{DIGEST}", f"x@{DIGEST}"])
def test_a_full_version_or_a_digest_is_fixed(text):
    assert Reference.parse(text).checked_fixed() == Reference.parse(text)


def test_every_id_has_an_image_name_that_leads_back_to_it():
    for family in rlops.envs.FAMILIES:
        for version, id in zip(family.versions, family.ids, strict=True):
            reference = Reference.parse(f"localhost:5000/team/{image_name(id)}:{version.number}.4.2")
            assert environment_id(reference) == id
            assert full_id(id.removeprefix("rlops/")) == id


def test_an_id_in_place_of_an_image_is_explained():
    with pytest.raises(InvalidReference, match="its images are called datacenter-cooling"):
        Reference.parse("rlops/DatacenterCooling-v0")
