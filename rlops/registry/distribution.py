"""A client of the OCI distribution protocol that believes nothing: every byte is held to the digest that asked for it.

* Credentials go to the registry's own address and, for a token, to the address that it names for that; never to where
  it redirects.
* What may pass by itself is tried again, a few times: broken connections, 429 (as long as it says), 500 to 504. A
  refusal, something missing and wrong bytes are not.
* Plain HTTP is spoken to this machine only, unless asked for.
"""

from __future__ import annotations

import email.utils
import ipaddress
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

from rlops.errors import AccessDenied, CorruptContent, InvalidReference, MissingContent, MissingExtra, RegistryError
from rlops.registry import oci
from rlops.registry.credentials import Credentials, docker_credentials
from rlops.registry.oci import Descriptor
from rlops.registry.store import Ingest, Store
from rlops.registry.uploads import Upload

if TYPE_CHECKING:
    import httpx

ATTEMPTS = 5
LONGEST_WAIT_S = 60.0
"""A registry that asks for more patience is given up on."""
UPLOAD_CHUNK = 16 << 20
_PASSING = (429, 500, 502, 503, 504)
_REDIRECTS = 5
_ACCEPT = ", ".join((*oci.MANIFESTS, *oci.INDEXES))
_HUB = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}

Progress = Callable[[Descriptor, int], None]
"""Called with a blob and how many of its bytes have come or gone since the last call."""


class Registry:
    """A registry, spoken to over one set of connections; used as a context.

    Attributes:
        host: Its name, with port if it has one.
        url: Where its protocol begins.
    """

    def __init__(
        self,
        host: str,
        *,
        plain_http: bool = False,
        credentials: Credentials | None = None,
        timeout_s: float = 30.0,
        wait: Callable[[float], None] = time.sleep,
    ):
        """Speak to the registry ``host``.

        Args:
            host: Name or address, with port if it has one.
            plain_http: Whether to speak without encryption; done anyway to this machine.
            credentials: Shown if it asks; None: what Docker would show.
            timeout_s: For which a connection may be silent [s].
            wait: What waits between attempts.

        Raises:
            InvalidReference: If there is no host.
            MissingExtra: If httpx is not installed.
        """
        try:
            import httpx
        except ImportError:
            raise MissingExtra("Speaking to a registry", "registry") from None
        if not host:
            raise InvalidReference("A registry must be named HOST or HOST:PORT, for example localhost:5000, got none.")
        self.host = host
        scheme = "http" if plain_http or is_loopback(host) else "https"
        self.url = httpx.URL(f"{scheme}://{_HUB.get(host, host)}/v2/")
        self._plain_http = scheme == "http"
        self._given, self._wait = credentials, wait
        self._authorization: dict[str, str] = {}
        self._lock = threading.Lock()
        self._client = httpx.Client(timeout=timeout_s, follow_redirects=False, trust_env=not is_loopback(host))
        self._failures = httpx.TransportError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    # -- what there is ---------------------------------------------------------------------------------------------

    def tags(self, repository: str) -> list[str]:
        """Return the versions of a repository.

        Raises:
            MissingContent: If there is no such repository.
        """
        return self._listed(f"{repository}/tags/list", "tags", repository)

    def catalogue(self) -> list[str]:
        """Return all repositories, if the registry tells."""
        return self._listed("_catalog", "repositories", "")

    def _listed(self, path: str, key: str, repository: str) -> list[str]:
        found: list[str] = []
        url: Any = self.url.join(path)
        while url is not None:
            with self._answer("GET", url, repository) as answer:
                found += [str(one) for one in self._json(answer).get(key) or []]
                following = answer.links.get("next", {}).get("url")
                after = url.join(following) if following else None
            url = after if after is not None and after.host == self.url.host and after != url else None
        return sorted(found)

    def manifest(self, repository: str, version: str) -> tuple[Descriptor, bytes]:
        """Return a manifest and its descriptor.

        Args:
            repository: Namespace and name.
            version: Tag or digest.

        Raises:
            MissingContent: If there is none.
            CorruptContent: If it is not what its digest says, or no manifest.
        """
        with self._answer("GET", self.url.join(f"{repository}/manifests/{version}"), repository) as answer:
            content = _limited(answer, oci.LARGEST_MANIFEST)
            told = answer.headers.get("Docker-Content-Digest", "")
        found = oci.digest_of(content)
        wanted = version if version.startswith("sha256:") else told or found
        if found != wanted:
            raise CorruptContent(
                f"{self.host} must send the manifest {wanted} of {repository}, got {found}. Nothing of it is kept."
            )
        return oci.descriptor_of(content, oci.media_type_of(content)), content

    def digest(self, repository: str, version: str) -> str:
        """Return the digest that a tag means now; empty: there is no such tag."""
        with suppress(MissingContent):
            return self.manifest(repository, version)[0].digest
        return ""

    def has(self, repository: str, descriptor: Descriptor) -> bool:
        """Return whether the registry holds a blob."""
        try:
            with self._answer("HEAD", self.url.join(f"{repository}/blobs/{descriptor.digest}"), repository):
                return True
        except MissingContent:
            return False

    def referrers(self, repository: str, digest: str, artifact_type: str = "") -> list[Descriptor]:
        """Return the artifacts that say they refer to ``digest``; whether they do, their manifests show.

        Registries without the referrers API keep them in an index that is tagged ``sha256-…``.
        """
        query = "?" + urlencode({"artifactType": artifact_type}) if artifact_type else ""
        try:
            with self._answer("GET", self.url.join(f"{repository}/referrers/{digest}{query}"), repository) as answer:
                found = oci.index_of(_limited(answer, oci.LARGEST_MANIFEST)).manifests
        except MissingContent:
            found = self._tagged_referrers(repository, digest)
        return [one for one in found if artifact_type in ("", one.artifact_type)]

    def _tagged_referrers(self, repository: str, digest: str) -> list[Descriptor]:
        try:
            return oci.index_of(self.manifest(repository, digest.replace(":", "-"))[1]).manifests
        except MissingContent:
            return []

    # -- bringing --------------------------------------------------------------------------------------------------

    def pull_blob(self, store: Store, repository: str, descriptor: Descriptor, progress: Progress) -> None:
        """Bring a blob into the store; what an interrupted attempt has brought is gone on with.

        Raises:
            CorruptContent: If it is not what its digest says. Nothing of it is kept.
            MissingContent: If the registry does not have it.
        """
        if store.sound(descriptor):
            progress(descriptor, descriptor.size)
            return
        ingest = store.begin(descriptor)
        try:
            progress(descriptor, ingest.offset)
            self._patiently(lambda: self._receive(ingest, repository, descriptor, progress))
            ingest.commit()
        except CorruptContent:
            ingest.discard()
            raise
        except BaseException:
            ingest.close()
            raise

    def _receive(self, ingest: Ingest, repository: str, descriptor: Descriptor, progress: Progress) -> None:
        """Receive the rest of a blob; a registry that knows no ranges sends all of it, of which the rest is taken."""
        if ingest.offset == descriptor.size:
            return
        headers = {"Accept-Encoding": "identity"}
        if ingest.offset:
            headers["Range"] = f"bytes={ingest.offset}-"
        url = self.url.join(f"{repository}/blobs/{descriptor.digest}")
        with self._once("GET", url, repository, headers) as answer:
            skipped = ingest.offset if answer.status_code == 200 else 0
            if answer.status_code == 206 and _range_start(answer) != ingest.offset:
                raise CorruptContent(f"{self.host} must send {descriptor.digest} from byte {ingest.offset} on.")
            for chunk in answer.iter_raw():
                taken, skipped = chunk[skipped:], max(skipped - len(chunk), 0)
                ingest.write(taken)
                progress(descriptor, len(taken))

    # -- taking ----------------------------------------------------------------------------------------------------

    def push_blob(self, store: Store, repository: str, descriptor: Descriptor, progress: Progress) -> bool:
        """Take a blob to the registry, unless it has it; return whether that was needed.

        What an interrupted attempt has sent is gone on with, in another process too, if the registry still knows of it.

        Raises:
            CorruptContent: If the store's own bytes are damaged, or the registry says that what came is.
        """
        with store.upload(f"{self.url}{repository}@{descriptor.digest}") as note:
            if self.has(repository, descriptor):
                note.over()
                progress(descriptor, descriptor.size)
                return False
            self._send(store, repository, descriptor, note, progress)
            note.over()
        return True

    def _send(self, store: Store, repository: str, descriptor: Descriptor, note: Upload, progress: Progress) -> None:
        """Send a blob, from where ``note`` says that an earlier attempt came to."""
        with store.reading(descriptor) as reader:
            reader.drain()
        with store.blob_path(descriptor.digest).open("rb") as file:
            upload = self._gone_on_with(note.place, repository, descriptor) or self._begun(repository)
            note.goes_on_at(str(upload.place))
            file.seek(upload.sent)
            progress(descriptor, upload.sent)
            while chunk := file.read(UPLOAD_CHUNK):
                upload.send(chunk)
                note.goes_on_at(str(upload.place))
                progress(descriptor, len(chunk))
            upload.finish(descriptor)

    def _begun(self, repository: str) -> _Upload:
        with self._answer("POST", self.url.join(f"{repository}/blobs/uploads/"), repository) as answer:
            return _Upload(self, repository, self._location(answer))

    def _gone_on_with(self, place: str, repository: str, descriptor: Descriptor) -> _Upload | None:
        """Return an upload of an earlier process as far as it came; None: the registry knows nothing of it any more."""
        if not place:
            return None
        url = self.url.join(place)
        self._check_scheme(url)
        upload = _Upload(self, repository, url)
        try:
            self._patiently(lambda: upload.ask_how_far(descriptor.size))
        except RegistryError:
            return None
        return upload

    def push_manifest(self, repository: str, version: str, content: bytes) -> Descriptor:
        """Take a manifest to the registry under a tag or its digest and return its descriptor.

        An artifact is also listed where registries without the referrers API are looked through.
        """
        descriptor = oci.descriptor_of(content, oci.media_type_of(content))
        url = self.url.join(f"{repository}/manifests/{version}")
        headers = {"Content-Type": descriptor.media_type}
        with self._answer("PUT", url, repository, headers, content) as answer:
            told = answer.headers.get("Docker-Content-Digest", descriptor.digest)
            listed = "OCI-Subject" in answer.headers
        if told != descriptor.digest:
            raise CorruptContent(f"{self.host} must keep {descriptor.digest} as it is, but says that it is {told}.")
        subject = oci.manifest_of(content).subject if descriptor.media_type in oci.MANIFESTS else None
        if subject is not None and not listed:
            self._list_referrer(repository, subject.digest, descriptor, content)
        return descriptor

    def _list_referrer(self, repository: str, subject: str, artifact: Descriptor, content: bytes) -> None:
        manifest = oci.manifest_of(content)
        kind = manifest.artifact_type or manifest.config.media_type
        told = artifact.model_copy(update={"artifact_type": kind, "annotations": manifest.annotations})
        others = [one for one in self._tagged_referrers(repository, subject) if one.digest != artifact.digest]
        listed = oci.Index(manifests=sorted([*others, told], key=lambda d: d.digest))
        self.push_manifest(repository, subject.replace(":", "-"), listed.encoded())

    # -- one request -----------------------------------------------------------------------------------------------

    @contextmanager
    def _answer(
        self,
        method: str,
        url: httpx.URL,
        repository: str,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
    ) -> Iterator[httpx.Response]:
        """Yield a good answer, whose body is not read yet; what may pass by itself is tried again."""
        opened = self._patiently(lambda: self._open(method, url, repository, headers, content))
        try:
            yield opened
        finally:
            opened.close()

    @contextmanager
    def _once(
        self, method: str, url: httpx.URL, repository: str, headers: Mapping[str, str]
    ) -> Iterator[httpx.Response]:
        opened = self._open(method, url, repository, headers, b"")
        try:
            yield opened
        finally:
            opened.close()

    def _patiently(self, attempt: Callable[[], Any]) -> Any:
        """Return what ``attempt`` returns, tried again while what fails may pass."""
        for number in range(1, ATTEMPTS + 1):
            try:
                return attempt()
            except _Passing as failure:
                pause_s, told = failure.wait_s, failure.told
                if pause_s is not None and pause_s > LONGEST_WAIT_S:
                    raise RegistryError(f"{self.host} asks to wait for {pause_s:.0f} s. Try again then.") from None
            except self._failures as error:
                pause_s, told = None, f"{type(error).__name__}: {error}"
            if number < ATTEMPTS:
                self._wait(pause_s if pause_s is not None else 0.25 * 2**number)
        raise RegistryError(f"{self.host} cannot be spoken to, after {ATTEMPTS} attempts: {told}. Is it there?")

    def _open(
        self, method: str, url: httpx.URL, repository: str, headers: Mapping[str, str] | None, content: bytes
    ) -> httpx.Response:
        """Send a request, with credentials if they are asked for, and return an answer that is not an error."""
        answer = self._sent(method, url, repository, headers, content)
        if answer.status_code == 401 and self._same_origin(answer.url):
            challenge = answer.headers.get("WWW-Authenticate", "")
            answer.close()
            self._authorize(challenge, repository)
            answer = self._sent(method, url, repository, headers, content)
        if answer.is_success:
            return answer
        try:
            raise self._failure(answer, method, url)
        finally:
            answer.close()

    def _sent(
        self, method: str, url: httpx.URL, repository: str, headers: Mapping[str, str] | None, content: bytes
    ) -> httpx.Response:
        for _ in range(_REDIRECTS):
            given = {"Accept": _ACCEPT, **(headers or {})}
            if self._same_origin(url) and repository in self._authorization:
                given["Authorization"] = self._authorization[repository]
            request = self._client.build_request(method, url, headers=given, content=content or None)
            answer = self._client.send(request, stream=True)
            if not (answer.has_redirect_location and method in ("GET", "HEAD")):
                return answer
            url = url.join(answer.headers["Location"])
            answer.close()
            self._check_scheme(url)
        raise RegistryError(f"{self.host} must answer after at most {_REDIRECTS} redirections, got more.")

    def _same_origin(self, url: httpx.URL) -> bool:
        return (url.scheme, url.host, url.port) == (self.url.scheme, self.url.host, self.url.port)

    def _check_scheme(self, url: httpx.URL) -> None:
        if url.scheme != "https" and not (url.scheme == "http" and (self._plain_http or is_loopback(url.host))):
            raise RegistryError(f"{self.host} must redirect to https, got {url.scheme}://{url.host}.")

    def _location(self, answer: httpx.Response) -> httpx.URL:
        if "Location" not in answer.headers:
            raise RegistryError(f"{self.host} must say where to upload to, but does not.")
        url: httpx.URL = answer.url.join(answer.headers["Location"])
        self._check_scheme(url)
        return url

    def _failure(self, answer: httpx.Response, method: str, url: httpx.URL) -> Exception:
        """Return the exception that an answer stands for."""
        told = _told(answer)
        where = f"{method} {url.copy_with(query=None)}"
        status = answer.status_code
        if status in _PASSING:
            return _Passing(f"{where}: {status} {told}", _retry_after(answer))
        if status in (401, 403):
            return AccessDenied(
                f"{self.host} must let this user do {where}, but says {status} {told}. Log in: docker login {self.host}"
            )
        if status == 404:
            return MissingContent(f"{self.host} has nothing at {where}: {told}.")
        if "DIGEST_INVALID" in told:
            return CorruptContent(f"{self.host} says that what came is not what its digest says: {told}.")
        return RegistryError(f"{self.host} cannot do {where}: {status} {told}.")

    def _json(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            document = json.loads(_limited(answer, oci.LARGEST_MANIFEST))
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise CorruptContent(f"{self.host} must answer with a JSON object at {answer.url}, got something else.")
        return document

    # -- credentials -----------------------------------------------------------------------------------------------

    def _authorize(self, challenge: str, repository: str) -> None:
        """Do what the registry asks for in ``challenge``: a password, or a token that a password buys."""
        known = self._given or docker_credentials(self.host)
        scheme, _, rest = challenge.partition(" ")
        asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if scheme.lower() == "basic":
            if known is None:
                raise AccessDenied(f"{self.host} wants a name and a password. Log in: docker login {self.host}")
            value = known.basic
        elif scheme.lower() == "bearer" and asked.get("realm"):
            value = "Bearer " + self._token(asked, known)
        else:
            raise AccessDenied(f"{self.host} must ask for a password or a token, got {challenge!r}.")
        with self._lock:
            self._authorization[repository] = value

    def _token(self, asked: Mapping[str, str], known: Credentials | None) -> str:
        import httpx

        realm = httpx.URL(asked["realm"])
        self._check_scheme(realm)
        query = {name: asked[name] for name in ("service", "scope") if name in asked}
        headers = {"Authorization": known.basic} if known else {}
        answer = self._client.get(realm.copy_merge_params(query), headers=headers)
        if answer.status_code in _PASSING:
            raise _Passing(f"GET {realm}: {answer.status_code}", _retry_after(answer))
        if not answer.is_success:
            who = f"{known.user!r}" if known else "nobody in particular"
            raise AccessDenied(
                f"{realm.host} must give a token for {self.host} to {who}, but says {answer.status_code}. "
                f"Log in: docker login {self.host}"
            )
        told = answer.json()
        token = told.get("token") or told.get("access_token")
        if not token:
            raise AccessDenied(f"{realm.host} must answer with a token, but there is none in what it says.")
        return str(token)


class _Upload:
    """A blob on its way to a registry, in pieces that can be sent again.

    Attributes:
        place: Where it goes on.
        sent: Bytes that have arrived.
    """

    def __init__(self, registry: Registry, repository: str, place: httpx.URL):
        self._registry, self._repository, self.place = registry, repository, place
        self.sent = 0

    def send(self, chunk: bytes) -> None:
        """Send a piece; after a broken connection only what has not arrived."""
        last = self.sent + len(chunk)
        first_attempt = True

        def attempt() -> None:
            nonlocal first_attempt
            if not first_attempt:
                self.ask_how_far(last)
            first_attempt = False
            rest = chunk[len(chunk) - (last - self.sent) :]
            if rest:
                self._patch(rest)

        self._registry._patiently(attempt)

    def _patch(self, rest: bytes) -> None:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{self.sent}-{self.sent + len(rest) - 1}",
        }
        answer = self._registry._open("PATCH", self.place, self._repository, headers, rest)
        answer.close()
        self.place = self._registry._location(answer)
        self.sent += len(rest)

    def ask_how_far(self, last: int) -> None:
        """Learn how much has arrived, which is ``last`` at most."""
        answer = self._registry._open("GET", self.place, self._repository, None, b"")
        answer.close()
        match = re.fullmatch(r"(?:bytes=)?0-(\d+)", answer.headers.get("Range", ""))
        arrived = int(match[1]) + 1 if match and match[1] != "0" else 0
        if not self.sent <= arrived <= last:
            raise RegistryError(f"{self._registry.host} has lost a part of what was sent. Push again.")
        self.sent = arrived
        if "Location" in answer.headers:
            self.place = self._registry._location(answer)

    def finish(self, descriptor: Descriptor) -> None:
        """Say that it was all, and what its digest is."""
        url = self.place.copy_merge_params({"digest": descriptor.digest})
        try:
            self._registry._patiently(
                lambda: self._registry._open("PUT", url, self._repository, {"Content-Length": "0"}, b"").close()
            )
        except MissingContent:  # an answer was lost, and the upload is over
            if not self._registry.has(self._repository, descriptor):
                raise


class _Passing(Exception):
    """A failure that may pass by itself.

    Attributes:
        told: What failed.
        wait_s: How long the registry asks to wait [s]; None: it does not say.
    """

    def __init__(self, told: str, wait_s: float | None):
        super().__init__(told)
        self.told, self.wait_s = told, wait_s


def is_loopback(host: str) -> bool:
    """Return whether ``host``, with or without a port, is this machine.

    >>> is_loopback("localhost:5000"), is_loopback("[::1]:80"), is_loopback("ghcr.io")
    (True, True, False)
    """
    name = (
        host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0] if host.count(":") < 2 else host
    )
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _limited(answer: httpx.Response, size: int) -> bytes:
    found = bytearray()
    for chunk in answer.iter_bytes():
        found += chunk
        if len(found) > size:
            raise CorruptContent(f"What {answer.url.host} sends at {answer.url.path} must have at most {size} bytes.")
    return bytes(found)


def _told(answer: httpx.Response) -> str:
    """Return what an answer says of its error, in one short line."""
    with suppress(Exception):
        content = _limited(answer, 1 << 16)
        errors = json.loads(content)["errors"]
        return "; ".join(f"{one.get('code', '')} {one.get('message', '')}".strip() for one in errors)[:300]
    return str(answer.reason_phrase)


def _range_start(answer: httpx.Response) -> int:
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _retry_after(answer: httpx.Response) -> float | None:
    """Return for how long an answer asks to wait [s]: a number, or until a date."""
    told = answer.headers.get("Retry-After", "")
    if told.isdigit():
        return float(told)
    with suppress(ValueError, TypeError):
        return max(email.utils.parsedate_to_datetime(told).timestamp() - time.time(), 0.0)
    return None
