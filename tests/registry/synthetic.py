"""Small images, and layers that nobody should make."""

from __future__ import annotations

import io
import tarfile

from rlops.registry import oci
from rlops.registry.layers import File, layer
from rlops.registry.oci import Manifest
from rlops.registry.references import Reference


def small_image(store, name="team/thing:1.0.0", content=b"print('hello')", files=None, labels=None):
    """Put an image of one layer into ``store`` and return the descriptor of its manifest."""
    blob = b"".join(layer(files or {"opt/thing.py": File(content)}))
    return image_of(store, name, [blob], labels=labels)


def image_of(store, name, blobs, media_type=oci.LAYER, labels=None):
    """Put an image of the layers ``blobs`` into ``store`` and return the descriptor of its manifest."""
    with store.writing():
        layers = [store.add(blob, media_type) for blob in blobs]
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": labels or {}},
            "rootfs": {"type": "layers", "diff_ids": [one.digest for one in layers]},
        }
        manifest = Manifest(config=store.add(oci.canonical_json(config), oci.CONFIG), layers=layers)
        descriptor = store.add_manifest(manifest.encoded())
        store.tag(Reference.parse(name), descriptor)
    return descriptor


def tar(*entries):
    """Return an archive of ``(name, options)``: ``content``, or any field of a TarInfo."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, options in entries:
            content = options.pop("content", None)
            entry = tarfile.TarInfo(name)
            for field, value in options.items():
                setattr(entry, field, value)
            if content is not None:
                entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content) if content is not None else None)
    return buffer.getvalue()
