"""``rlops conformance``: does a server do what docs/remote.md says?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from rlops.cli.options import terminal


def conformance(
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="Path of a socket, or tcp://host:port.", show_default=False)
    ],
    token: Annotated[Path | None, typer.Option(metavar="FILE", help="Token that the server asks for.")] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="A reply that takes longer is none.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check a running server of environments, whatever it is written in.

    Exit codes: 0 it conforms, 1 it does not, 2 there is none, or wrong use.
    """
    from rlops.registry.remote.conformance import conformance as findings_of
    from rlops.registry.remote.protocol import read_token

    findings = findings_of(address, None if token is None else read_token(token), timeout)
    if as_json:
        typer.echo(json.dumps([finding.as_json() for finding in findings]))
    else:
        table = Table("", "what must hold", "found instead")
        for finding in findings:
            sign, colour = {True: ("pass", "green"), False: ("fail", "red"), None: ("-", "")}[finding.holds]
            table.add_row(Text(sign, style=colour), finding.name, Text(finding.told))
        terminal().print(table)
    raise typer.Exit(any(finding.holds is False for finding in findings))
