"""``rlops registry``: a registry of one's own, for a laptop or a LAN."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

from rlops.cli.images import AsJson, Layout, emit, opened
from rlops.cli.options import terminal

registry = typer.Typer(help="A registry of one's own.", no_args_is_help=True)


@registry.callback()
def verbs() -> None:
    """A registry of one's own."""


@registry.command("serve")
def serve(
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.")
    ] = "127.0.0.1:5000",
    read_only: Annotated[bool, typer.Option("--read-only", help="Let nobody push.")] = False,
    store: Layout = None,
    as_json: AsJson = False,
) -> None:
    """Serve the store to others until interrupted, without passwords and without encryption."""
    from rlops.registry.distribution import is_loopback
    from rlops.registry.server import RegistryServer, checked_address

    host, port = checked_address(address)
    console, here = terminal(), opened(store)
    with RegistryServer(here, host, port, read_only=read_only) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        if as_json:
            emit({"address": server.address, "store": str(here.root), "read_only": read_only})
        else:
            console.print(f"serving {here.root} at {server.address}", highlight=False, soft_wrap=True)
            if not is_loopback(host):
                console.print("[yellow]Everybody who reaches this address may read it, and write unless --read-only.")
        server.serve()
