"""``rlops verify``: is an image what it says, and does it do what it says?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from rlops.cli.options import terminal
from rlops.cli.run import Ref, Require, Runtime
from rlops.errors import IdentityMismatch


def verify(
    ref: Ref,
    runtime: Runtime = "auto",
    require: Require = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE|DIR", help="A trusted key, one of which must have signed the image.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check every byte of an image and its signature, start it, shake hands, and replay its fingerprint within.

    Exit codes: 0 it is what it says, 1 it is not, 2 cannot judge, or wrong use.
    """
    from rlops.registry.runtimes import chosen
    from rlops.registry.runtimes.verifying import check_signature, image_of, verified

    if key is not None:
        check_signature(ref, key)
    engine = chosen(runtime, require or ())
    image = image_of(ref, engine.name)
    try:
        found = verified(image, engine.name, require or ())
    except IdentityMismatch as error:
        if as_json:
            typer.echo(json.dumps({**image.identity.as_json(), "verdict": "changed", "told": str(error)}))
        else:
            terminal().print(Text(str(error), style="red"), soft_wrap=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps({**found.as_json(), "verdict": "same"}))
    else:
        terminal().print(
            Text(f"{ref} is {found.identity.id}, its dynamics are those of its label", style="green"), soft_wrap=True
        )
        terminal().print(f"ran as {found.runtime} ({found.isolation})", highlight=False, soft_wrap=True)
