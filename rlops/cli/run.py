"""``rlops run``: starts the server of an image and keeps it until it is interrupted."""

from __future__ import annotations

import json
import signal
import threading
from typing import Annotated

import typer

from rlops.cli.options import terminal

Ref = Annotated[str, typer.Argument(metavar="REF", help="Image, for example dispatch:2.0.3.", show_default=False)]
Runtime = Annotated[str, typer.Option(metavar="process|docker|podman|auto", help="What runs the image.")]
Require = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ASPECT", help="Must be isolated: filesystem, network, user, limits, or isolation for all; repeatable."
    ),
]


def run(
    ref: Ref,
    runtime: Runtime = "auto",
    require: Require = None,
    num_envs: Annotated[int, typer.Option(min=1, help="Rows of a session that asks for no other number.")] = 1,
    idle: Annotated[float, typer.Option(metavar="SECONDS", help="End after so long without a client.")] = 1e9,
    as_json: Annotated[bool, typer.Option("--json", help="Print where it listens as JSON.")] = False,
) -> None:
    """Run an image's server; others connect with rlops.registry.remote.client.RemoteVectorEnv(address)."""
    from rlops.registry.remote.carriers import wait_for
    from rlops.registry.runtimes import chosen
    from rlops.registry.runtimes.verifying import image_of

    engine = chosen(runtime, require or ())
    image = image_of(ref, engine.name)
    started = engine.start(image, ["--num-envs", str(num_envs), "--idle", str(idle)])
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    try:
        wait_for(str(started.socket), 60.0, started.alive).close()
        told = {"address": str(started.socket), "runtime": engine.name, "isolation": str(started.isolation)}
        if as_json:
            typer.echo(json.dumps({**told, **image.identity.as_json()}))
        else:
            terminal().print(f"{image.identity.id} at {told['address']} ({told['isolation']})", soft_wrap=True)
        while not over.wait(1.0):
            started.alive()
    finally:
        started.stop()
