"""``rlops sign``: a signature by an ed25519 key, kept beside an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlops.cli.images import AsJson, Layout, emit, opened, resolved
from rlops.cli.options import terminal
from rlops.errors import InvalidValue


def sign(
    image: Annotated[
        str | None, typer.Argument(metavar="[IMAGE]", help="Of the store; none with --new-key.", show_default=False)
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="Private key to sign with.")] = None,
    new_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Make a key; its public half is FILE.pub.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option(metavar="FILE|DIR", help="Do not sign: look for a signature by one of these keys.")
    ] = None,
    store: Layout = None,
    as_json: AsJson = False,
) -> None:
    """Sign an image, make a key, or look whether a trusted key has signed.

    Exit codes: 0 done, 1 no trusted signature, 2 wrong use.
    """
    from rlops.registry import signing

    console = terminal()
    if sum(option is not None for option in (key, new_key, check)) != 1 or (image is None) != (new_key is not None):
        raise InvalidValue("sign must get IMAGE --key FILE, IMAGE --check FILE|DIR, or --new-key FILE.")
    if new_key is not None:
        public = signing.make_key(new_key)
        told, shown = (
            {"private": str(new_key), "public": str(public)},
            f"{new_key}, and {public} for those who trust it",
        )
    else:
        assert image is not None
        here, reference = opened(store), resolved(image)
        descriptor = here.resolve(reference)
        if key is not None:
            made = signing.sign(here, reference, descriptor, key)
            told, shown = {"image": str(reference.at(descriptor.digest)), "signature": made.digest}, made.digest
        else:
            assert check is not None
            found = signing.verify(here, descriptor, check)
            told = {"image": str(reference.at(descriptor.digest)), "key": found[0].key}
            shown = f"{reference} by {', '.join(str(one.file) for one in found)}"
    if as_json:
        emit(told)
        return
    verb = "wrote" if check is None else "signed"
    console.print(f"[green]{verb}[/green] {shown}", highlight=False, soft_wrap=True)
