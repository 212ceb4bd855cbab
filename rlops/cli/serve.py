"""``rlops serve``: lets others step an environment over a socket."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from rlops.cli.options import Id, Params, parameters, terminal
from rlops.errors import InvalidValue


def serve(
    id: Id,
    num_envs: Annotated[int, typer.Option(min=1, help="Rows of a session that asks for no other number.")] = 1,
    autoreset_mode: Annotated[
        str, typer.Option(metavar="NextStep|SameStep|Disabled", help="Of a session that asks for no other.")
    ] = "NextStep",
    socket: Annotated[Path | None, typer.Option(metavar="PATH", help="Listen at a Unix socket.")] = None,
    tcp: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Listen at a port; needs --token.")] = None,
    token: Annotated[Path | None, typer.Option(metavar="FILE", help="Clients must know what is in this file.")] = None,
    shared_memory: Annotated[
        bool, typer.Option(help="Let clients on this host have arrays through shared memory.")
    ] = True,
    sessions: Annotated[int, typer.Option(min=1, help="At most so many clients at a time.")] = 16,
    rows: Annotated[int, typer.Option(min=1, help="At most so many rows over all clients.")] = 1 << 20,
    idle: Annotated[float | None, typer.Option(metavar="SECONDS", help="End after so long without a client.")] = None,
    params: Params = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print where it listens as JSON.")] = False,
) -> None:
    """Serve a vector environment: every client steps rows of its own, as docs/remote.md says.

    An image's digest and fingerprint are told if RLOPS_IMAGE_DIGEST and RLOPS_IMAGE_FINGERPRINT are set. Ends at
    SIGTERM or SIGINT.
    """
    from rlops.registry.processors import check_processor
    from rlops.registry.remote.carriers import parse_address, shown
    from rlops.registry.remote.protocol import Identity, read_token
    from rlops.registry.remote.server import Offer, Server

    if (socket is None) == (tcp is None):
        raise InvalidValue("One of --socket PATH and --tcp HOST:PORT must be given.")
    check_processor(os.environ.get("NUMBA_CPU_NAME", ""))
    _unpack_compiled()
    offer = Offer(
        Identity.of_this_image(id),
        num_envs=num_envs,
        autoreset_mode=autoreset_mode,
        options={"params": parameters(params)} if params else {},
        sessions=sessions,
        rows=rows,
        shared_memory=shared_memory,
        token=None if token is None else read_token(token),
        idle_s=idle,
    )
    server = Server(offer, parse_address(str(socket) if socket is not None else f"tcp://{tcp}"))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    told: dict[str, Any] = {"address": shown(server.address), **offer.identity.as_json()}
    if as_json:
        typer.echo(json.dumps(told))
    else:
        terminal().print(f"serving {id} at {told['address']}", highlight=False, soft_wrap=True)
    server.serve()


def _unpack_compiled() -> None:
    """Copy compiled code that belongs to an image, or cannot be written to, to where it may change."""
    from rlops.registry.inside import copy_compiled

    folder = Path(os.environ.get("RLOPS_CACHE_DIR", ""))
    of_an_image = "RLOPS_IMAGE_DIGEST" in os.environ or not os.access(folder, os.W_OK)
    if not os.environ.get("RLOPS_CACHE_DIR") or not folder.is_dir() or not of_an_image:
        return
    own = tempfile.mkdtemp(prefix="rlops-compiled-")
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    copy_compiled(folder, Path(own))
    os.environ["RLOPS_CACHE_DIR"] = own
