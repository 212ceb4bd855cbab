"""``rlops pull``: an image from a registry, every byte of it verified."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from rlops.cli.images import AsJson, Layout, Moving, PlainHttp, emit, opened, transfer_bar
from rlops.cli.options import terminal
from rlops.errors import InvalidReference, UnknownName
from rlops.registry.references import Reference

if TYPE_CHECKING:
    from rlops.registry.locks import Locked


def pull(
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="[IMAGE]…", help="HOST/NAME:VERSION, also with @DIGEST; of a lock all without any."),
    ] = None,
    locked: Annotated[bool, typer.Option("--locked", help="Take exactly what the lock says.")] = False,
    lock: Annotated[Path, typer.Option(metavar="FILE", help="The lock.")] = Path("rlops.lock"),
    allow_moving: Moving = False,
    plain_http: PlainHttp = False,
    store: Layout = None,
    as_json: AsJson = False,
) -> None:
    """Bring images, and what refers to them, into the store.

    Exit codes: 0 they are here, 1 bytes or fingerprints are not what they must be, 2 wrong use or no answer.
    """
    from rlops.registry.distribution import Registry
    from rlops.registry.locks import check_locked, read_lock
    from rlops.registry.transfers import pull as bring

    if not (images or locked):
        raise InvalidReference("An image to pull must be named, or --locked given, got neither.")
    expected = read_lock(lock) if locked else {}
    wanted = [_wanted(text, expected, locked, allow_moving) for text in images or expected]
    here, console, told = opened(store), terminal(), []
    for reference in wanted:
        if not reference.host and locked:  # built here; there is nowhere to pull it from
            digest = here.resolve(reference).digest
        else:
            with (
                Registry(reference.host, plain_http=plain_http) as registry,
                transfer_bar(console, f"pulling {reference.tagged}", not as_json) as progress,
            ):
                digest = bring(here, registry, reference, progress).digest
        if locked:
            check_locked(here, expected[reference.tagged])
        told.append({"image": str(reference.at(digest)), "locked": locked})
        _show(console, told[-1]["image"], as_json)
    if as_json:
        emit(told)


def _wanted(text: str, expected: Mapping[str, Locked], locked: bool, allow_moving: bool) -> Reference:
    reference = Reference.parse(text).checked_fixed(allow_moving or locked)
    if not locked:
        return reference
    if reference.tagged not in expected:
        raise UnknownName("image", reference.tagged, expected, "The lock")
    return expected[reference.tagged].reference


def _show(console: Console, image: object, as_json: bool) -> None:
    if not as_json:
        console.print(f"[green]pulled[/green] {image}", soft_wrap=True, highlight=False)
