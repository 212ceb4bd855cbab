"""``rlops inspect``: what an image is and says of itself."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from rlops.cli.images import AsJson, Image, Layout, emit, entry, opened, resolved
from rlops.cli.options import terminal


def inspect(
    image: Image,
    sbom: Annotated[bool, typer.Option("--sbom", help="Print the list of its parts (CycloneDX) instead.")] = False,
    store: Layout = None,
    as_json: AsJson = False,
) -> None:
    """Show digests, layers, labels and what refers to an image of the store."""
    from rlops.registry import oci
    from rlops.registry.labels import about_image

    here, reference = opened(store), resolved(image)
    descriptor = here.resolve(reference)
    if sbom:
        (artifact, *_) = [*here.referrers(descriptor.digest, oci.SBOM), None]
        typer.echo(here.read(here.manifest(artifact).layers[0]).decode() if artifact else "{}")
        return
    manifest = here.manifest(descriptor)
    told: dict[str, Any] = {
        **entry(here, reference, descriptor),
        "config": manifest.config.digest,
        "layers": [
            {"holds": (one.annotations or {}).get(oci.LAYER_OF, "base"), "digest": one.digest, "bytes": one.size}
            for one in manifest.layers
        ],
        "referrers": [{"type": one.artifact_type, "digest": one.digest} for one in here.referrers(descriptor.digest)],
    }
    if told["environment"]:
        told["labels"] = about_image(here, descriptor).told
    if as_json:
        emit(told)
        return
    console = terminal()
    console.print(f"[bold]{reference.tagged}[/bold]@{descriptor.digest}", highlight=False, soft_wrap=True)
    parts = Table("layer", "digest")
    parts.add_column("size", justify="right")
    for one in told["layers"]:
        parts.add_row(one["holds"], one["digest"], f"{one['bytes'] / 1e6:,.1f} MB")
    console.print(parts)
    for one in told["referrers"]:
        console.print(f"{one['type']}  {one['digest']}", highlight=False)
    for name, value in told.get("labels", {}).items():
        shown = value if isinstance(value, str) else f"{len(value)} entries: --json shows them"
        console.print(f"{name} = {shown}", highlight=False, markup=False)
