"""What comes from a registry is what its digest says, or does not come at all."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from rlops.errors import AccessDenied, CorruptContent, ImmutableVersion, InvalidFile, MissingContent, RegistryError
from rlops.registry import oci
from rlops.registry.credentials import Credentials, docker_credentials
from rlops.registry.distribution import Registry, _Upload
from rlops.registry.references import Reference
from rlops.registry.server import RegistryServer
from rlops.registry.store import Store
from rlops.registry.transfers import pull, push
from tests.registry.conftest import skopeo
from tests.registry.lying_registry import (
    LyingRegistry,
    basic_wanted,
    bearer_wanted,
    failing,
    replaced,
    running,
)
from tests.registry.synthetic import image_of, small_image

NAME = Reference.parse("team/thing:1.0.0")
SECRET = Credentials("ada", "lovelace")


@pytest.fixture
def far(tmp_path):
    """Return a registry that holds a small image, and can be told to lie."""
    store = Store(tmp_path / "far")
    small_image(store, str(NAME), b"x" * 100_000)
    with running(LyingRegistry(store)) as server:
        yield server


@pytest.fixture
def near(tmp_path):
    return Store(tmp_path / "near")


@pytest.fixture
def waits():
    return []


@pytest.fixture
def client(far, waits):
    with Registry(far.address, wait=waits.append, credentials=None) as registry:
        yield registry


def flipped(content):
    """Return ``content`` with one bit changed."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def image(far):
    return far.store.resolve(NAME)


def first_layer(far):
    return far.store.manifest(image(far)).layers[0]


def everything_is_good(store):
    return all(oci.digest_of(p.read_bytes()) == f"sha256:{p.name}" for p in (store.root / "blobs" / "sha256").iterdir())


def nothing_came(near, far):
    named = {p.name for p in (near.root / "blobs" / "sha256").iterdir()}
    return not near.images() and image(far).digest.removeprefix("sha256:") not in named and everything_is_good(near)


def test_an_image_and_what_refers_to_it_come(far, near, client):
    far.store.add_artifact(image(far), "application/vnd.test", b"a note", title="note")
    got = []
    assert pull(near, client, NAME, lambda d, n: got.append(n)) == image(far)
    assert {d.digest for d in near.closure(image(far))} == {d.digest for d in far.store.closure(image(far))}
    assert near.resolve(NAME) == image(far)
    assert sum(got) == sum(d.size for d in near.closure(image(far)) if d.media_type not in oci.MANIFESTS)


def test_an_image_and_what_refers_to_it_go(far, near, client):
    mine = small_image(near, "other:1.2.3", b"y" * 50_000)
    near.add_artifact(mine, "application/vnd.test", b"a note")
    target = Reference.parse("team/other:1.2.3")
    assert push(near, client, Reference.parse("other:1.2.3"), target)
    assert far.store.resolve(target) == mine
    assert [d.artifact_type for d in client.referrers("team/other", mine.digest)] == ["application/vnd.test"]
    assert client.referrers("team/other", mine.digest, "application/vnd.else") == []
    assert "team/other" in client.catalogue()
    assert client.tags("team/other") == ["1.2.3"]
    far.seen.clear()
    assert not push(near, client, Reference.parse("other:1.2.3"), target)
    assert not far.requests("POST")


def test_a_registry_without_the_referrers_api_keeps_them_under_a_tag(far, near, client):
    def no_referrers(handler):
        return "/referrers/" in handler.path and handler.answer(404)

    class Old:
        def __init__(self, handler):
            self.send = handler.send_header

        def __call__(self, name, value):
            if name != "OCI-Subject":
                self.send(name, value)

    def old(handler):
        handler.send_header = Old(handler)
        return False

    far.hooks += [no_referrers, old]
    mine = small_image(near, "other:1.2.3", b"y")
    near.add_artifact(mine, "application/vnd.test", b"a note")
    push(near, client, Reference.parse("other:1.2.3"), Reference.parse("other:1.2.3"))
    assert f"sha256-{mine.digest[7:]}" in client.tags("other")
    third = Store(near.root.parent / "third")
    pull(third, client, Reference.parse("other:1.2.3"))
    assert len(third.referrers(mine.digest)) == 1


@pytest.mark.parametrize("change", [flipped, lambda b: b[:-1], lambda b: b + b"\0"])
@pytest.mark.parametrize("what", ["layer", "config", "manifest"])
def test_tampered_bytes_are_refused_and_not_kept(far, near, client, what, change):
    manifest = far.store.manifest(image(far))
    digest = {"layer": manifest.layers[0], "config": manifest.config, "manifest": image(far)}[what].digest
    part = f"manifests/{digest}" if what == "manifest" else f"blobs/{digest}"
    far.hooks.append(replaced(part, change))
    with pytest.raises(CorruptContent):
        pull(near, client, NAME.at(image(far).digest))
    assert nothing_came(near, far)
    assert not [p for p in (near.root / "ingest").iterdir() if p.name == digest.removeprefix("sha256:")]
    assert len(far.requests("GET", part)) == 1, "wrong bytes are not asked for again"


def test_a_manifest_that_is_not_what_its_tag_promises_is_refused(far, near, client):
    def lie(handler):
        if handler.command == "GET" and handler.path.endswith("/manifests/1.0.0"):
            content = far.store.read(image(far))
            return handler.answer(200, content, Docker_Content_Digest="sha256:" + "0" * 64)
        return False

    far.hooks.append(lie)
    with pytest.raises(CorruptContent, match="must send the manifest"):
        pull(near, client, NAME)
    assert nothing_came(near, far)


def test_another_manifest_under_the_digest_is_refused(far, near, client):
    other = image_of(far.store, "team/thing:1.0.1", [b"evil layer"])
    evil = far.store.read(other)
    far.hooks.append(replaced(f"manifests/{image(far).digest}", lambda content: evil))
    with pytest.raises(CorruptContent):
        pull(near, client, NAME.at(image(far).digest))
    assert nothing_came(near, far)


def test_a_manifest_without_end_is_not_read_to_its_end(far, near, client):
    far.hooks.append(replaced("/manifests/1.0.0", lambda content: b" " * (5 << 20)))
    with pytest.raises(CorruptContent, match="at most"):
        pull(near, client, NAME)


def test_a_truncated_blob_is_refused(far, near, client):
    far.hooks.append(replaced("/blobs/", lambda content: content[: len(content) // 2]))
    with pytest.raises(CorruptContent):
        pull(near, client, NAME)
    assert nothing_came(near, far)


def test_a_broken_connection_is_gone_on_with_where_it_broke(far, near, client, waits):
    layer = first_layer(far)
    content = far.store.read(layer)

    def breaking(handler):
        if handler.command != "GET" or layer.digest not in handler.path or handler.headers.get("Range"):
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", str(layer.size))
        handler.end_headers()
        handler.wfile.write(content[:40_000])
        handler.close_connection = True
        return True

    far.hooks.append(breaking)
    pull(near, client, NAME)
    ranges = [h["Range"] for h in far.requests("GET", layer.digest) if "Range" in h]
    assert ranges == ["bytes=40000-"]
    assert len(waits) == 1
    assert near.sound(layer)


def test_a_registry_that_knows_no_ranges_sends_all_again(far, near, client):
    layer = first_layer(far)
    ingest = near.begin(layer)
    ingest.write(far.store.read(layer)[:1000])
    ingest.close()
    far.hooks.append(replaced(layer.digest, lambda content: content))
    pull(near, client, NAME)
    assert near.sound(layer)


def test_a_pull_repairs_what_has_been_damaged(far, near, client):
    pull(near, client, NAME)
    path = near.blob_path(first_layer(far).digest)
    path.write_bytes(flipped(path.read_bytes()))
    pull(near, client, NAME)
    assert near.sound(first_layer(far))


def test_a_moved_tag_is_refused(far, near, client):
    pinned = NAME.at(image(far).digest)
    other = small_image(far.store, "team/thing:1.0.1", b"other")
    far.hooks.append(replaced("/manifests/1.0.0", lambda content: far.store.read(other)))
    with pytest.raises(ImmutableVersion, match="must stay what it was released as"):
        pull(near, client, pinned)
    assert not near.images()


def test_a_version_that_moved_since_the_last_pull_is_refused(far, near, client):
    pull(near, client, NAME)
    other = small_image(far.store, "team/thing:1.0.1", b"other")
    far.hooks.append(replaced("/manifests/1.0.0", lambda content: far.store.read(other)))
    with pytest.raises(ImmutableVersion):
        pull(near, client, NAME)
    assert near.resolve(NAME) == image(far)


def test_a_deleted_version_is_missing_even_if_its_digest_is_known(far, near, client):
    pinned = NAME.at(image(far).digest)
    far.hooks.append(failing(9, 404, "/manifests/1.0.0"))
    with pytest.raises(MissingContent, match="has been deleted"):
        pull(near, client, pinned)
    with pytest.raises(MissingContent):
        pull(near, client, NAME)
    assert not near.images()


def test_a_missing_blob_is_not_asked_for_again(far, near, client, waits):
    far.hooks.append(failing(9, 404, first_layer(far).digest))
    with pytest.raises(MissingContent):
        pull(near, client, NAME)
    assert len(far.requests("GET", first_layer(far).digest)) == 1
    assert not waits


def test_a_refusal_is_told_and_not_tried_again(far, near, client, waits):
    far.hooks.append(failing(9, 401, WWW_Authenticate='Basic realm="test"'))
    with pytest.raises(AccessDenied, match="docker login"):
        pull(near, client, NAME)
    assert len(far.seen) == 1
    assert not waits


@pytest.mark.parametrize("wanted", [basic_wanted, bearer_wanted])
def test_a_password_opens_the_registry_and_a_wrong_one_does_not(far, near, wanted, waits):
    far.hooks.append(wanted(SECRET.user, SECRET.password))
    with Registry(far.address, credentials=SECRET) as client:
        pull(near, client, NAME)
    assert near.sound(image(far))
    with Registry(far.address, credentials=Credentials("ada", "wrong"), wait=waits.append) as client:
        with pytest.raises(AccessDenied) as refused:
            pull(Store(near.root.parent / "other"), client, NAME)
        assert "wrong" not in str(refused.value)
    assert not waits


def test_a_password_is_read_from_dockers_file(far, near, tmp_path, monkeypatch):
    far.hooks.append(basic_wanted("ada", "lovelace"))
    auth = base64.b64encode(b"ada:lovelace").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {far.address: {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with Registry(far.address) as client:
        pull(near, client, NAME)
    assert docker_credentials("ghcr.io") is None


def test_a_password_is_asked_of_dockers_helper(tmp_path, monkeypatch):
    helper = tmp_path / "docker-credential-test"
    helper.write_text('#!/bin/sh\nread host\necho "{\\"Username\\": \\"ada\\", \\"Secret\\": \\"for $host\\"}"\n')
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {"ghcr.io": "test", "a.b": "gone"}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert docker_credentials("ghcr.io") == Credentials("ada", "for ghcr.io")
    with pytest.raises(AccessDenied, match="docker-credential-gone, which failed"):
        docker_credentials("a.b")


@pytest.mark.parametrize(
    ("entry", "error", "told"),
    [
        ({"identitytoken": "abc"}, AccessDenied, "token of an identity provider"),
        ({"auth": base64.b64encode(b"no colon").decode()}, InvalidFile, "NAME:PASSWORD"),
        ({"auth": "no base64!"}, InvalidFile, "NAME:PASSWORD"),
    ],
)
def test_an_entry_of_dockers_file_without_a_password_is_explained(tmp_path, monkeypatch, entry, error, told):
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"ghcr.io": entry}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with pytest.raises(error, match=told):
        docker_credentials("ghcr.io")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo locked; exit 1", "which failed: locked"),
        ("echo '{}'", "Username and Secret"),
        ("""echo '{"Username": "<token>", "Secret": "abc"}'""", "token of an identity provider"),
        ("echo 'credentials not found in native keychain'; exit 1", None),
    ],
)
def test_what_dockers_helper_says_instead_of_a_password_is_explained(tmp_path, monkeypatch, script, told):
    helper = tmp_path / "docker-credential-test"
    helper.write_text(f"#!/bin/sh\n{script}\n")
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "test"}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    if told is None:
        assert docker_credentials("ghcr.io") is None
    else:
        with pytest.raises(AccessDenied, match=told):
            docker_credentials("ghcr.io")


def test_a_password_is_not_printed():
    assert "lovelace" not in repr(SECRET)


def test_credentials_do_not_follow_a_redirection_to_another_host(far, near, tmp_path):
    far.hooks.append(basic_wanted(SECRET.user, SECRET.password))
    with running(LyingRegistry(far.store)) as elsewhere:

        def redirect(handler):
            if handler.command != "GET" or "/blobs/" not in handler.path:
                return False
            return handler.answer(307, Location=f"http://{elsewhere.address}{handler.path}")

        far.hooks.append(redirect)
        with Registry(far.address, credentials=SECRET) as client:
            pull(near, client, NAME)
        assert elsewhere.seen
        assert not any("Authorization" in headers for _, _, headers in elsewhere.seen)
    assert near.sound(first_layer(far))


def test_an_upload_elsewhere_gets_no_credentials(far, near):
    far.hooks.append(basic_wanted(SECRET.user, SECRET.password))
    mine = small_image(near, "team/new:1.0.0", b"z")
    with running(LyingRegistry(far.store)) as elsewhere:

        def redirect(handler):
            if handler.command != "POST":
                return False
            name = elsewhere.begun()
            return handler.answer(202, Location=f"http://{elsewhere.address}/v2/team/new/blobs/uploads/{name}")

        far.hooks.append(redirect)
        with Registry(far.address, credentials=SECRET) as client:
            push(near, client, Reference.parse("team/new:1.0.0"), Reference.parse("team/new:1.0.0"))
        assert elsewhere.requests("PATCH")
        assert not any("Authorization" in headers for _, _, headers in elsewhere.seen)
    assert far.store.sound(mine)


def test_redirections_without_end_are_given_up(far, near, client):
    far.hooks.append(lambda handler: handler.answer(307, Location=handler.path))
    with pytest.raises(RegistryError, match="redirections"):
        pull(near, client, NAME)


def test_a_redirection_from_https_to_http_is_refused():
    with Registry("registry.invalid") as client, pytest.raises(RegistryError, match="must redirect to https"):
        client._check_scheme(client.url.copy_with(scheme="http"))


def test_too_many_requests_are_tried_again_when_the_registry_says(far, near, client, waits):
    far.hooks.append(failing(2, 429, "/blobs/", Retry_After="7"))
    pull(near, client, NAME)
    assert waits == [7, 7]


def test_a_registry_that_asks_for_too_much_patience_is_given_up(far, near, client, waits):
    far.hooks.append(failing(99, 429, Retry_After="86400"))
    with pytest.raises(RegistryError, match="asks to wait for 86400 s"):
        pull(near, client, NAME)
    assert not waits


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_what_may_pass_is_tried_again_but_not_for_ever(far, near, client, waits, status):
    far.hooks.append(failing(2, status))
    pull(near, client, NAME)
    assert len(waits) == 2
    far.hooks.append(failing(99, status))
    with pytest.raises(RegistryError, match="after 5 attempts"):
        client.tags("team/thing")


def test_nobody_there_is_said(near, waits):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Registry(f"127.0.0.1:{port}", wait=waits.append) as client, pytest.raises(RegistryError, match="Is it there"):
        pull(near, client, NAME)
    assert len(waits) == 4


def test_plain_http_is_spoken_to_this_machine_only():
    urls = {}
    for host, options in {"localhost:1": {}, "[::1]:1": {}, "ghcr.io": {}, "a.lan:1": {"plain_http": True}}.items():
        with Registry(host, **options) as client:
            urls[host] = client.url.scheme
    assert urls == {"localhost:1": "http", "[::1]:1": "http", "ghcr.io": "https", "a.lan:1": "http"}


def test_an_artifact_that_refers_to_something_else_is_refused(far, near, client):
    other = small_image(far.store, "team/thing:1.0.1", b"other")
    note = far.store.add_artifact(other, "application/vnd.test", b"about the other")
    listed = oci.Index(manifests=[note]).encoded()
    far.hooks.append(lambda handler: "/referrers/" in handler.path and handler.answer(200, listed))
    with pytest.raises(CorruptContent, match="but it does not"):
        pull(near, client, NAME)
    assert not near.images()


def test_an_upload_that_breaks_is_gone_on_with(far, near, client, monkeypatch):
    monkeypatch.setattr("rlops.registry.distribution.UPLOAD_CHUNK", 30_000)
    mine = small_image(near, "team/new:1.0.0", os.urandom(100_000))
    broken = []

    def breaking(handler):
        if handler.command != "PATCH" or broken or "30000-" not in handler.headers.get("Content-Range", ""):
            return False
        broken.append(True)
        upload = handler.server.upload(handler.path.rpartition("/")[2])
        upload.write(handler.rfile.read(10_000))
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)
        return True

    far.hooks.append(breaking)
    push(near, client, Reference.parse("team/new:1.0.0"), Reference.parse("team/new:1.0.0"))
    assert broken
    assert far.store.sound(far.store.manifest(mine).layers[0])


def test_a_damaged_blob_is_not_pushed(far, near, client):
    mine = small_image(near, "team/new:1.0.0", b"good" * 1000)
    path = near.blob_path(near.manifest(mine).layers[0].digest)
    path.write_bytes(path.read_bytes().replace(b"good", b"evil", 1))
    with pytest.raises(CorruptContent, match="damaged"):
        push(near, client, Reference.parse("team/new:1.0.0"), Reference.parse("team/new:1.0.0"))
    assert not far.store.has(mine)


def test_a_released_version_is_not_pushed_over(far, near, client):
    small_image(near, str(NAME), b"other")
    before = image(far)
    with pytest.raises(ImmutableVersion):
        push(near, client, NAME, NAME)
    assert image(far) == before


def request(far, method, path, body=b"", **headers):
    """Return the status of a request that no honest client would make."""
    asked = urllib.request.Request(f"http://{far.address}{path}", body or None, headers, method=method)
    try:
        with urllib.request.urlopen(asked) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_server_keeps_nothing_that_is_not_what_its_digest_says(far):
    wrong = "sha256:" + "0" * 64
    blobs = len(list((far.store.root / "blobs" / "sha256").iterdir()))
    assert request(far, "POST", f"/v2/team/thing/blobs/uploads/?digest={wrong}", b"evil") == 400
    assert request(far, "PUT", f"/v2/team/thing/manifests/{wrong}", b"{}") == 400
    assert request(far, "PUT", f"/v2/team/thing/manifests/{wrong}", far.store.read(image(far))) == 400
    assert request(far, "PUT", "/v2/team/thing/manifests/1.0.1", b"not json") == 400
    other = far.store.manifest(image(far)).model_copy(update={"annotations": {"a": "b"}})
    assert request(far, "PUT", "/v2/team/thing/manifests/1.0.0", other.encoded()) == 409
    missing = other.model_copy(update={"config": other.config.model_copy(update={"digest": wrong})})
    assert request(far, "PUT", "/v2/team/thing/manifests/1.0.1", missing.encoded()) == 404
    assert len(list((far.store.root / "blobs" / "sha256").iterdir())) <= blobs + 1
    assert everything_is_good(far.store)
    assert len(far.store.images()) == 1


def test_a_release_is_not_removed_through_the_protocol_but_a_moving_name_is(far):
    small_image(far.store, "team/thing:latest", b"moving")
    assert request(far, "DELETE", "/v2/team/thing/manifests/1.0.0") == 405
    assert request(far, "DELETE", "/v2/team/thing/manifests/latest") == 202
    assert [one.reference for one in far.store.images()] == [NAME]


@pytest.mark.parametrize("path", ["/v2/../../etc/passwd", "/v2/a/blobs/sha256:../../x", "/v2/A/tags/list", "/"])
def test_the_server_answers_nothing_that_is_no_name(far, path):
    assert request(far, "GET", path) == 404


def test_a_server_that_is_only_read_takes_nothing(far):
    far.read_only = True
    assert request(far, "POST", "/v2/team/thing/blobs/uploads/") == 405
    assert request(far, "GET", "/v2/team/thing/tags/list") == 200


def test_a_store_that_is_served_is_not_tidied(far):
    assert request(far, "GET", "/v2/") == 200  # it has begun to serve
    with pytest.raises(RegistryError, match="a server"):
        Store(far.store.root).gc(patience_s=0.1)


KILLED = """
import os, signal, sys
from rlops.registry.distribution import Registry
from rlops.registry.references import Reference
from rlops.registry.store import Store
from rlops.registry.transfers import pull, push

verb, root, host, name, left, least_bytes = *sys.argv[1:5], int(sys.argv[5]), int(sys.argv[6])
def progress(descriptor, count):
    global left
    left -= descriptor.size >= least_bytes
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
with Registry(host) as registry:
    if verb == "pull":
        pull(Store(root), registry, Reference.parse(name), progress)
    else:
        push(Store(root), registry, Reference.parse(name), Reference.parse(name), progress)
"""


@pytest.mark.parametrize("left", [1, 3, 5])
def test_a_pull_that_is_killed_leaves_a_whole_store_and_the_next_completes(far, near, client, left):
    command = [sys.executable, "-c", KILLED, "pull", near.root, far.address, str(NAME), str(left), "0"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert everything_is_good(Store(near.root))
    assert not near.images()
    pull(near, client, NAME)
    assert all(near.sound(part) for part in near.closure(near.resolve(NAME)))


def test_a_pull_that_is_killed_is_gone_on_with_by_the_next_process(far, near, client):
    content = os.urandom(1_000_000)
    layer = far.store.manifest(small_image(far.store, "team/big:1.0.0", content)).layers[0]
    command = [sys.executable, "-c", KILLED, "pull", near.root, far.address, "team/big:1.0.0", "6", "100000"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    (begun,) = [p.stat().st_size for p in (near.root / "ingest").iterdir() if p.name in layer.digest]
    assert 0 < begun < layer.size
    far.seen.clear()
    pull(near, client, Reference.parse("team/big:1.0.0"))
    assert [h.get("Range") for h in far.requests("GET", layer.digest)] == [f"bytes={begun}-"]
    assert near.sound(layer)


@pytest.mark.parametrize("lost", [False, True])
def test_a_push_that_is_killed_is_gone_on_with_by_the_next_process(far, near, client, lost):
    mine = small_image(near, "team/new:1.0.0", os.urandom(100_000))
    layer = near.manifest(mine).layers[0]
    code = "import rlops.registry.distribution as d; d.UPLOAD_CHUNK = 30_000\n" + KILLED
    command = [sys.executable, "-c", code, "push", near.root, far.address, "team/new:1.0.0", "4", "50000"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    sent = max(upload.offset for upload in far.uploads.values())
    assert 30_000 <= sent < layer.size
    if lost:  # a registry forgets uploads that nobody goes on with
        while far.uploads:
            far.uploads.popitem()[1].discard()
    far.seen.clear()
    push(near, client, Reference.parse("team/new:1.0.0"), Reference.parse("team/new:1.0.0"))
    begins = [int(h["Content-Range"].split("-")[0]) for h in far.requests("PATCH") if int(h["Content-Length"]) > 10_000]
    assert min(begins) == (0 if lost else sent)
    assert far.store.resolve(Reference.parse("team/new:1.0.0")) == mine
    assert not list((near.root / "uploads").iterdir())


def test_two_processes_that_push_the_same_do_not_share_an_upload(near):
    with near.upload("there") as one:
        one.goes_on_at("first")
        with near.upload("there") as other:
            assert not other.place
            other.goes_on_at("second")
    with near.upload("there") as later:
        assert later.place == "first"


@pytest.mark.parametrize("left", [1, 2])
def test_a_push_that_is_killed_leaves_a_whole_registry_and_the_next_completes(far, near, client, left):
    mine = small_image(near, "team/new:1.0.0", os.urandom(100_000))
    command = [sys.executable, "-c", KILLED, "push", near.root, far.address, "team/new:1.0.0", str(left), "0"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert everything_is_good(far.store)
    assert [one.reference for one in far.store.images()] == [NAME]
    push(near, client, Reference.parse("team/new:1.0.0"), Reference.parse("team/new:1.0.0"))
    assert far.store.resolve(Reference.parse("team/new:1.0.0")) == mine


def test_a_cncf_registry_is_gone_on_with_where_a_killed_push_was(real_registry, tmp_path, monkeypatch):
    store, sent = Store(tmp_path / "a"), []
    small_image(store, "team/killed:1.0.0", os.urandom(100_000))
    code = "import rlops.registry.distribution as d; d.UPLOAD_CHUNK = 30_000\n" + KILLED
    command = [sys.executable, "-c", code, "push", store.root, real_registry, "team/killed:1.0.0", "4", "50000"]
    assert subprocess.run(command, capture_output=True, text=True).returncode == -signal.SIGKILL
    patch = _Upload.send
    monkeypatch.setattr(_Upload, "send", lambda upload, chunk: (sent.append(upload.sent), patch(upload, chunk)))
    with Registry(real_registry) as client:
        push(store, client, Reference.parse("team/killed:1.0.0"), Reference.parse("team/killed:1.0.0"))
        assert pull(Store(tmp_path / "b"), client, Reference.parse("team/killed:1.0.0"))
    assert max(sent) >= 30_000


def test_a_cncf_registry_gives_back_what_it_got(real_registry, tmp_path, monkeypatch):
    monkeypatch.setattr("rlops.registry.distribution.UPLOAD_CHUNK", 30_000)
    store, other = Store(tmp_path / "a"), Store(tmp_path / "b")
    mine = small_image(store, "thing:1.0.0", os.urandom(100_000))
    note = store.add_artifact(mine, "application/vnd.test", b"a note")
    target = Reference.parse("team/thing:1.0.0")
    with Registry(real_registry) as client:
        assert push(store, client, Reference.parse("thing:1.0.0"), target)
        assert pull(other, client, target) == mine
        assert "team/thing" in client.catalogue()
        assert "1.0.0" in client.tags("team/thing")
        with pytest.raises(MissingContent):
            pull(other, client, Reference.parse("team/thing:9.9.9"))
        small_image(other, "thing:1.0.0", b"other")
        with pytest.raises(ImmutableVersion):
            push(other, client, Reference.parse("thing:1.0.0"), target)
    assert [d.digest for d in other.referrers(mine.digest)] == [note.digest]
    assert all(other.sound(part) for part in other.closure(mine))


def test_another_client_reads_and_writes_the_server(tmp_path):
    store = Store(tmp_path / "served")
    mine = small_image(store, "thing:1.0.0")
    options = ["--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests"]
    with running(RegistryServer(store)) as server:
        base = f"docker://{server.address}"
        skopeo("copy", *options, f"{base}/thing:1.0.0", f"{base}/copied:1.0.0")
        skopeo("copy", *options, f"{base}/copied:1.0.0", f"oci:{tmp_path / 'out'}:x:1")
    assert store.resolve(Reference.parse("copied:1.0.0")) == mine
    assert Store(tmp_path / "out").resolve(Reference.parse("x:1")).digest == mine.digest
