"""A registry for a laptop or a LAN: the OCI distribution protocol over a store.

What is uploaded is verified before it gets a name, a manifest is taken only when all that it consists of is there, and
a full version never becomes another image. There is no user management and no encryption: it listens on this machine
unless told otherwise, and belongs behind something else if others can reach it.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from rlops.errors import (
    CorruptContent,
    ImmutableVersion,
    InvalidReference,
    MissingContent,
    RlopsError,
)
from rlops.registry import oci
from rlops.registry.oci import Descriptor
from rlops.registry.references import Reference
from rlops.registry.store import CHUNK, Ingest, Store

SILENT_S = 60.0
"""After which a connection that says nothing is closed [s]."""
_UPLOADS = 64
"""Uploads that are kept open; the oldest is dropped for another."""


class RegistryServer(ThreadingHTTPServer):
    """A registry that serves a store until it is shut down.

    Attributes:
        store: What it serves.
        read_only: Whether nothing may be uploaded.
        uploads: Those that have begun, by the name in their address.
    """

    daemon_threads = True

    def __init__(self, store: Store, host: str = "127.0.0.1", port: int = 0, read_only: bool = False):
        """Listen on ``host`` and ``port``; 0 takes a free one."""
        self.store, self.read_only = store, read_only
        self.uploads: dict[str, Ingest] = {}
        super().__init__((host, port), _Handler)

    @property
    def address(self) -> str:
        """``HOST:PORT``."""
        host, port = self.server_address[:2]
        return f"{host!s}:{port}"

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Keep garbage collection away from what clients are about to name, as long as it serves."""
        with self.store.writing():
            try:
                yield
            finally:
                for upload in self.uploads.values():
                    upload.discard()

    def serve(self) -> None:
        """Serve until :meth:`shutdown`."""
        with self.holding():
            self.serve_forever(poll_interval=0.1)

    def begun(self) -> str:
        """Begin an upload and return its name."""
        while len(self.uploads) >= _UPLOADS:
            self.uploads.pop(next(iter(self.uploads))).discard()
        name = uuid.uuid4().hex
        self.uploads[name] = self.store.begin()
        return name

    def upload(self, name: str) -> Ingest:
        """Return an upload that has begun.

        Raises:
            MissingContent: If there is none of that name.
        """
        try:
            return self.uploads[name]
        except KeyError:
            raise MissingContent(f"There is no upload {name}, or it has been dropped. Begin again.") from None


class _Answer(Exception):
    """An error that is told in the protocol's own words."""

    def __init__(self, status: int, code: str, told: str):
        self.status, self.code, self.told = status, code, told
        super().__init__(told)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: RegistryServer
    protocol_version = "HTTP/1.1"
    timeout = SILENT_S
    server_version, sys_version = "rlops", ""

    # -- from address to method ------------------------------------------------------------------------------------

    def do_GET(self) -> None:
        self._act()

    def do_HEAD(self) -> None:
        self._act()

    def do_POST(self) -> None:
        self._act()

    def do_PATCH(self) -> None:
        self._act()

    def do_PUT(self) -> None:
        self._act()

    def do_DELETE(self) -> None:
        self._act()

    def _act(self) -> None:
        self._unread = int(self.headers.get("Content-Length") or 0)
        split = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(split.query).items()}
        try:
            self._check_supported()
            for methods, pattern, action in _ROUTES:
                match = re.fullmatch(pattern, split.path)
                if match and self.command in methods:
                    if self.server.read_only and self.command not in ("GET", "HEAD"):
                        raise _Answer(405, "UNSUPPORTED", "this registry can only be read")
                    getattr(self, action)(**match.groupdict())
                    return
            raise _Answer(404, "UNSUPPORTED", f"nothing is done for {self.command} {split.path}")
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except _Answer as answer:
            self._refuse(answer.status, answer.code, answer.told)
        except MissingContent as error:
            self._refuse(404, _unknown(split.path), str(error))
        except ImmutableVersion as error:
            self._refuse(409, "DENIED", str(error))
        except CorruptContent as error:
            self._refuse(400, "MANIFEST_INVALID" if "/manifests/" in split.path else "DIGEST_INVALID", str(error))
        except RlopsError as error:
            self._refuse(400, "UNSUPPORTED", str(error))

    def _check_supported(self) -> None:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            self.close_connection = True
            raise _Answer(411, "UNSUPPORTED", "a body must say its length")

    # -- reading ---------------------------------------------------------------------------------------------------

    def version(self) -> None:
        self._say(200, {})

    def catalogue(self) -> None:
        self._say(200, {"repositories": sorted({one.reference.repository for one in self._images()})})

    def tags(self, name: str) -> None:
        found = [one.reference for one in self._images() if one.reference.repository == name]
        if not found:
            raise MissingContent(f"There is no repository {name}.")
        self._say(200, {"name": name, "tags": sorted(one.version for one in found if one.version)})

    def get_manifest(self, name: str, version: str) -> None:
        descriptor = self._resolved(name, version)
        content = self.server.store.read(descriptor)
        self._send(200, content, descriptor.media_type, {"Docker-Content-Digest": descriptor.digest})

    def referrers(self, name: str, digest: str) -> None:
        wanted = self.query.get("artifactType", "")
        found = self.server.store.referrers(digest, wanted)
        headers = {"OCI-Filters-Applied": "artifactType"} if wanted else {}
        self._send(200, oci.Index(manifests=found).encoded(), oci.INDEX, headers)

    def get_blob(self, name: str, digest: str) -> None:
        path = self.server.store.blob_path(digest)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            raise MissingContent(f"There is no blob {digest}.") from None
        with file:
            size = path.stat().st_size
            first = self._first_byte(size)
            file.seek(first)
            headers = {"Docker-Content-Digest": digest, "Accept-Ranges": "bytes"}
            if first:
                headers["Content-Range"] = f"bytes {first}-{size - 1}/{size}"
            self._head(206 if first else 200, size - first, "application/octet-stream", headers)
            while self.command == "GET" and (chunk := file.read(CHUNK)):
                self.wfile.write(chunk)

    def _first_byte(self, size: int) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(match[1]) if match else 0
        if first >= size > 0:
            raise _Answer(416, "SIZE_INVALID", f"there are {size} bytes")
        return first

    def _images(self) -> list[Any]:
        return [one for one in self.server.store.images() if not one.reference.host]

    def _resolved(self, name: str, version: str) -> Descriptor:
        if version.startswith("sha256:"):
            return self.server.store.resolve(Reference(name, digest=oci.checked_digest(version)))
        return self.server.store.resolve(Reference(name, version))

    # -- writing ---------------------------------------------------------------------------------------------------

    def begin_upload(self, name: str) -> None:
        upload = self.server.begun()
        if "digest" in self.query:
            self._take_all(self.server.upload(upload))
            self._finish(name, upload)
        else:
            self._uploading(202, name, upload)

    def append(self, name: str, upload: str) -> None:
        ingest = self.server.upload(upload)
        match = re.fullmatch(r"(?:bytes )?(\d+)-\d+(?:/.*)?", self.headers.get("Content-Range", ""))
        if match and int(match[1]) != ingest.offset:
            self.close_connection = True
            raise _Answer(416, "BLOB_UPLOAD_INVALID", f"it must go on at byte {ingest.offset}")
        self._take_all(ingest)
        self._uploading(202, name, upload)

    def ask_upload(self, name: str, upload: str) -> None:
        self._uploading(204, name, upload)

    def finish_upload(self, name: str, upload: str) -> None:
        self._take_all(self.server.upload(upload))
        self._finish(name, upload)

    def drop_upload(self, name: str, upload: str) -> None:
        self.server.upload(upload).discard()
        del self.server.uploads[upload]
        self._head(204, 0, "application/json", {})

    def _take_all(self, ingest: Ingest) -> None:
        while self._unread:
            chunk = self.rfile.read(min(CHUNK, self._unread))
            if not chunk:
                raise ConnectionError("the body ended too early")
            self._unread -= len(chunk)
            ingest.write(chunk)

    def _finish(self, name: str, upload: str) -> None:
        digest = oci.checked_digest(self.query.get("digest", ""))
        ingest = self.server.uploads.pop(upload)
        ingest.commit(digest)
        self._head(201, 0, "application/json", {
            "Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest,
        })  # fmt: skip

    def _uploading(self, status: int, name: str, upload: str) -> None:
        offset = self.server.upload(upload).offset
        self._head(status, 0, "application/json", {
            "Location": f"/v2/{name}/blobs/uploads/{upload}",
            "Range": f"0-{max(offset - 1, 0)}",
            "Docker-Upload-UUID": upload,
        })  # fmt: skip

    def put_manifest(self, name: str, version: str) -> None:
        if self._unread > oci.LARGEST_MANIFEST:
            self.close_connection = True
            raise _Answer(413, "SIZE_INVALID", f"a manifest must have at most {oci.LARGEST_MANIFEST} bytes")
        content = self.rfile.read(self._unread)
        self._unread = 0
        store = self.server.store
        if version.startswith("sha256:") and oci.digest_of(content) != version:
            raise _Answer(400, "DIGEST_INVALID", f"the manifest's digest is {oci.digest_of(content)}")
        try:
            descriptor = store.add_manifest(content)
        except MissingContent as error:
            raise _Answer(404, "MANIFEST_BLOB_UNKNOWN", str(error)) from None
        headers = {"Location": f"/v2/{name}/manifests/{descriptor.digest}", "Docker-Content-Digest": descriptor.digest}
        subject = store.manifest(descriptor).subject if descriptor.media_type in oci.MANIFESTS else None
        if subject is not None:
            store.attach(descriptor)
            headers["OCI-Subject"] = subject.digest
        if not version.startswith("sha256:"):
            store.tag(Reference(name, version), descriptor)
        elif subject is None:
            store.tag(Reference(name, digest=version), descriptor)
        self._head(201, 0, "application/json", headers)

    def delete_manifest(self, name: str, version: str) -> None:
        if version.startswith("sha256:"):
            raise _Answer(405, "UNSUPPORTED", "only a name can be removed; rlops gc removes what none needs")
        reference = Reference(name, version)
        if reference.release is not None:
            raise _Answer(405, "DENIED", f"{reference} is released; only who has the store can remove it: rlops gc")
        self.server.store.untag(reference)
        self._head(202, 0, "application/json", {})

    # -- answers ---------------------------------------------------------------------------------------------------

    def _say(self, status: int, document: dict[str, Any]) -> None:
        self._send(status, json.dumps(document).encode(), "application/json", {})

    def _refuse(self, status: int, code: str, told: str) -> None:
        if self._unread:
            self.close_connection = True
        self._say(status, {"errors": [{"code": code, "message": told}]})

    def _send(self, status: int, content: bytes, media_type: str, headers: dict[str, str]) -> None:
        self._head(status, len(content), media_type, headers)
        if self.command != "HEAD":
            self.wfile.write(content)

    def _head(self, status: int, size: int, media_type: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Docker-Distribution-API-Version": "registry/2.0", **headers}.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(size))
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: who serves shows what is worth showing."""


def _unknown(path: str) -> str:
    return "MANIFEST_UNKNOWN" if "/manifests/" in path else "BLOB_UNKNOWN" if "/blobs/" in path else "NAME_UNKNOWN"


_NAME = r"/v2/(?P<name>[a-z0-9]+(?:(?:\.|_|__|-+|/)[a-z0-9]+)*)"
_DIGEST = r"(?P<digest>sha256:[0-9a-f]{64})"
_VERSION = r"(?P<version>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|sha256:[0-9a-f]{64})"
_UPLOAD = _NAME + r"/blobs/uploads/(?P<upload>[0-9a-f]{32})"
_READ = ("GET", "HEAD")
_ROUTES = (
    (_READ, r"/v2/?", "version"),
    (("GET",), r"/v2/_catalog", "catalogue"),
    (("GET",), _NAME + r"/tags/list", "tags"),
    (("GET",), _NAME + r"/referrers/" + _DIGEST, "referrers"),
    (_READ, _NAME + r"/manifests/" + _VERSION, "get_manifest"),
    (("PUT",), _NAME + r"/manifests/" + _VERSION, "put_manifest"),
    (("DELETE",), _NAME + r"/manifests/" + _VERSION, "delete_manifest"),
    (("POST",), _NAME + r"/blobs/uploads/?", "begin_upload"),
    (("PATCH",), _UPLOAD, "append"),
    (("GET",), _UPLOAD, "ask_upload"),
    (("PUT",), _UPLOAD, "finish_upload"),
    (("DELETE",), _UPLOAD, "drop_upload"),
    (_READ, _NAME + r"/blobs/" + _DIGEST, "get_blob"),
)


def checked_address(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``.

    >>> checked_address("127.0.0.1:5000")
    ('127.0.0.1', 5000)
    """
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdigit() and int(port) < 1 << 16):
        raise InvalidReference(f"An address to listen on must look like 127.0.0.1:5000, got {text!r}.")
    return host, int(port)
