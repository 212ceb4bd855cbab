"""``rlops VERB …``: registers the verbs, and turns every error that rlops raises on purpose into one line."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from rlops.errors import RlopsError

VERBS = (
    "train", "evaluate", "video", "demo", "describe", "check", "diff", "golden", "build", "push", "pull", "inspect",
    "list", "search", "lock", "save", "load", "gc", "sign", "registry", "serve",
    "run", "verify", "conformance", "gap", "export", "robustness", "replay", "baselines", "tune",
)  # fmt: skip
"""Each is a module of this package with a function, or a ``typer.Typer`` of several verbs, of its name."""


def application(debugging: list[bool]) -> typer.Typer:
    """Return the command line; ``debugging`` gets True when ``--debug`` is given."""
    app = typer.Typer(
        help="Versioned reinforcement-learning environments for operations.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(
        debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
    ) -> None:
        if debug:
            debugging.append(True)

    for verb in VERBS:
        command = getattr(importlib.import_module(f"rlops.cli.{verb}"), verb)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=verb)
        else:
            app.command(verb)(command)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Exit codes: 0 done, 1 a check failed or an image is refused, 2 wrong use or an error that rlops explains, 3 one
    that nobody foresaw, 130 interrupted.
    """
    debugging: list[bool] = []
    try:
        application(debugging)(args=None if arguments is None else list(arguments), prog_name="rlops")
    except RlopsError as error:
        if debugging:
            raise
        message = " ".join(str(error).split())
        Console(stderr=True, soft_wrap=True, highlight=False).print(Text(f"error: {message}", style="red"))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:
        traceback.print_exc()
        sys.exit(3)


if __name__ == "__main__":
    main()
