"""A registry over a store that can be told to lie, to be slow-witted, or to want a password."""

from __future__ import annotations

import base64
import threading
from contextlib import contextmanager

from rlops.registry.server import RegistryServer, _Handler


class LyingHandler(_Handler):
    """The honest registry, whose answers pass through the hooks of its server."""

    def _act(self):
        request = (self.command, self.path, dict(self.headers))
        self.server.seen.append(request)
        for hook in self.server.hooks:
            if hook(self):
                return
        super()._act()

    def answer(self, status, content=b"", **headers):
        """Answer anything at all."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = True
        return True


class LyingRegistry(RegistryServer):
    """A registry with hooks: functions that get the handler of a request and return whether they answered it."""

    def __init__(self, store):
        super().__init__(store)
        self.RequestHandlerClass = LyingHandler
        self.hooks, self.seen = [], []

    def requests(self, method, part=""):
        """Return the headers of the requests that came."""
        return [headers for command, path, headers in self.seen if command == method and part in path]


@contextmanager
def running(server):
    """Serve on a thread of its own."""
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def replaced(part, change):
    """Return a hook that changes the body of what is read from a path with ``part`` in it."""

    def hook(handler):
        if handler.command != "GET" or part not in handler.path:
            return False
        store = handler.server.store
        digest = handler.path.rpartition("/")[2]
        if not digest.startswith("sha256:"):
            digest = handler._resolved(handler.path.removeprefix("/v2/").partition("/manifests/")[0], digest).digest
        content = store.blob_path(digest).read_bytes()
        return handler.answer(200, change(content), Content_Type="application/vnd.oci.image.manifest.v1+json")

    return hook


def failing(times, status, part="", **headers):
    """Return a hook that fails the first ``times`` requests whose path has ``part`` in it."""
    left = [times]

    def hook(handler):
        if part not in handler.path or not left[0]:
            return False
        left[0] -= 1
        return handler.answer(status, **headers)

    return hook


def basic_wanted(user, password):
    """Return a hook that wants a name and a password."""
    wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def hook(handler):
        if handler.headers.get("Authorization") == wanted:
            return False
        return handler.answer(401, WWW_Authenticate='Basic realm="test"')

    return hook


def bearer_wanted(user, password, token="a-token"):
    """Return a hook that wants a token, which it gives for a name and a password under ``/token``."""
    basic = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def hook(handler):
        if handler.path.startswith("/token"):
            if handler.headers.get("Authorization") != basic:
                return handler.answer(401)
            return handler.answer(200, b'{"token": "%s"}' % token.encode(), Content_Type="application/json")
        if handler.headers.get("Authorization") == f"Bearer {token}":
            return False
        realm = f"http://{handler.server.address}/token"
        challenge = f'Bearer realm="{realm}",service="test",scope="repository:team/thing:pull,push"'
        return handler.answer(401, WWW_Authenticate=challenge)

    return hook
