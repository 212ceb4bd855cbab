"""What the code within an image says of itself: ``python -S -m rlops.registry.probe ID FOLDER``, run from its layers.

It writes into FOLDER: ``facts.json`` (fingerprint and what is declared), ``golden.npz`` (episodes to hold other
releases to) and, as it plays them, compiled code where ``RLOPS_CACHE_DIR`` says. That code is the same to the last
byte wherever it is compiled for the same class of processors: what Numba writes into it of where sources lie is made
that of the image, or left out, and a number that is an address in memory becomes a counter.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def make_compilation_reproducible() -> None:
    """Keep places and addresses out of what Numba writes to its disk cache."""
    from numba.core import ir
    from numba.core.annotations.type_annotations import TypeAnnotation
    from numba.parfors.parfor import Parfor

    TypeAnnotation.__str__ = lambda self: ""
    Parfor.__hash__ = lambda self: self.id
    remember = ir.Loc.__init__

    def within_the_image(self: Any, filename: str, *arguments: Any, **options: Any) -> None:
        _, root, path = filename.rpartition("/opt/rlops/")
        remember(self, root + path, *arguments, **options)

    ir.Loc.__init__ = within_the_image


def facts(id: str) -> dict[str, Any]:
    """Return what an image's labels say of its environment."""
    import gymnasium
    from gymnasium.vector import AutoresetMode

    import rlops
    from rlops.registry.dynamics.fingerprint import fingerprint
    from rlops.registry.dynamics.kernels import KernelSubject

    subject = KernelSubject(id)
    declared = subject.specification()
    return {
        "id": id,
        "rlops": rlops.__version__,
        "reason": subject.family.version(subject.number).reason,
        "story": subject.family.story,
        "spec": json.loads(gymnasium.spec(id).to_json()),
        "spaces": {name: declared[name] for name in ("observation", "action", "agents", "variants")},
        "parameters": declared["parameters"],
        "autoreset": [mode.value for mode in AutoresetMode],
        "fingerprint": fingerprint(subject).as_json(),
    }


def main() -> None:
    """Write what is said, and the golden file."""
    from rlops.envs.warming import warm
    from rlops.registry.dynamics.golden import record
    from rlops.registry.dynamics.kernels import KernelSubject

    id, folder = sys.argv[1], Path(sys.argv[2])
    make_compilation_reproducible()
    warm(id)
    told = facts(id)
    written = record(KernelSubject(id), told["reason"], folder / "golden", returns=0)
    written.rename(folder / "golden.npz")
    (folder / "facts.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
