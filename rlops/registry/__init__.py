"""What makes an environment that is shared the same everywhere: its dynamics, its image, and where it runs.

``references`` names images; ``oci``, ``layers``, ``store``, ``unpacking`` and ``bundles`` keep them;
``distribution``, ``credentials``, ``transfers`` and ``server`` bring them from and to registries; ``wheels``,
``project``, ``probe``, ``labels``, ``sbom`` and ``images`` build them, ``rebuilding`` builds them again; ``signing``,
``identity`` and ``locks`` say which one is meant; ``inside`` runs the code of one; ``runtimes`` starts an image, and
``remote`` steps its rows from here.

::

    import rlops.registry

    envs = rlops.registry.make("dispatch:2.0.3", num_envs=1024, runtime="docker")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlops.registry.remote.client import RemoteVectorEnv

__all__ = ["make"]


def make(
    ref: str,
    num_envs: int = 1,
    *,
    runtime: str = "auto",
    require: Sequence[str] = (),
    verify: bool = False,
    **options: Any,
) -> RemoteVectorEnv:
    """Return the vector environment of an image, whose rows step within the image.

    The image must be in the store on this machine (``rlops build``, ``rlops pull``). What is connected to must be that
    environment with that digest and fingerprint, else it is refused.

    Args:
        ref: Name of the image, for example ``dispatch:2.0.3`` or ``dispatch@sha256:…``.
        num_envs: How many rows.
        runtime: ``process``, ``docker`` or ``podman``; ``auto``: what gives what is required, by preference a process.
        require: What must be isolated: ``filesystem``, ``network``, ``user``, ``limits``, or ``isolation`` for all.
        verify: Whether the fingerprint is recomputed within the image first, and must be that of its label.
        options: Of :func:`rlops.registry.runtimes.connect` and
            :class:`rlops.registry.remote.client.RemoteVectorEnv`: ``autoreset_mode``, ``copy``, ``shared_memory``,
            ``timeout_s``, ``params`` and so on.

    Raises:
        NotIsolated: If what is required is not given.
        RuntimeUnavailable: If the runtime is not there, or the image does not start.
        IdentityMismatch: If what starts is something else.
    """
    from rlops.registry.runtimes import chosen, connect
    from rlops.registry.runtimes.verifying import check_fingerprint, image_of

    engine = chosen(runtime, require, **options.pop("runtime_options", None) or {})
    env = connect(image_of(ref, engine.name), num_envs, runtime=engine, require=require, **options)
    if verify:
        try:
            check_fingerprint(env)
        except BaseException:
            env.close()
            raise
    return env
