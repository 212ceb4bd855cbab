"""Plugin of pytest: ``pytest --rlops-check`` holds what is installed to its golden files, one test an environment.

For a package whose environments, agents or results depend on the dynamics of a released version::

    pytest --rlops-check=rlops/Dispatch-v2,Ant-v5 --rlops-golden=golden

As it is loaded in every run of pytest, it imports nothing heavy before a check runs.
"""

from __future__ import annotations

from pathlib import Path

import pytest

_EVERY = ""
"""Value of the option without ids: all that have a golden file."""
_FOLDER = "tests/golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the check."""
    group = parser.getgroup("rlops", "dynamics of environments")
    group.addoption(
        "--rlops-check",
        nargs="?",
        const=_EVERY,
        metavar="ID,ID…",
        help="Hold these environments to their golden files, without a value all that have one; give paths first.",
    )
    group.addoption(
        "--rlops-golden", metavar="DIR", help=f"Folder of the golden files (default: {_FOLDER} in the root folder)."
    )
    group.addoption(
        "--rlops-check-strict", action="store_true", help="Fail, instead of skipping, where a check cannot judge."
    )


@pytest.hookimpl(tryfirst=True)  # so that options which select tests select among the checks too
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add a test for every environment that is to be checked."""
    asked = config.getoption("--rlops-check")
    if asked is None:
        return
    given = config.getoption("--rlops-golden")
    folder = config.invocation_params.dir / given if given else config.rootpath / _FOLDER
    strict = bool(config.getoption("--rlops-check-strict"))
    for id in _ids(asked, folder, config.invocation_params.dir):
        items.append(CheckItem.of(session, id, folder, strict))


def _ids(asked: str, folder: Path, invoked_in: Path) -> list[str]:
    """Return the ids that are asked for, each once.

    Raises:
        UsageError: If a path is given instead of ids, if none are given and there are no golden files, or one of them
            cannot be read.
    """
    if asked != _EVERY:
        if (invoked_in / asked).exists():
            raise pytest.UsageError(
                f"--rlops-check must be followed by ids, got the path {asked}. Put paths before it, or write "
                f"--rlops-check= {asked}"
            )
        return list(dict.fromkeys(id.strip() for id in asked.split(",") if id.strip()))
    from rlops.errors import InvalidFile
    from rlops.registry.dynamics.golden import manifest_of

    files = sorted(folder.glob("*.npz"))
    if not files:
        raise pytest.UsageError(
            f"--rlops-check needs golden files, got none in {folder}. Name their folder: --rlops-golden=DIR"
        )
    try:
        return list(dict.fromkeys(str(manifest_of(file)["id"]) for file in files))
    except InvalidFile as error:
        raise pytest.UsageError(str(error)) from None


class CheckFailed(Exception):
    """What is installed is not what was released; the text is the report."""


class CheckItem(pytest.Item):
    """The check of one environment.

    Attributes:
        environment: Its id.
        folder: Where golden files lie.
        strict: Whether it fails, instead of being skipped, if it cannot judge.
    """

    environment: str
    folder: Path
    strict: bool

    @classmethod
    def of(cls, session: pytest.Session, id: str, folder: Path, strict: bool) -> CheckItem:
        """Return the check of ``id``."""
        name = f"rlops-check[{id}]"
        item: CheckItem = cls.from_parent(session, name=name, nodeid=name)
        item.environment, item.folder, item.strict = id, folder, strict
        return item

    def runtest(self) -> None:
        """Judge what is installed.

        Raises:
            CheckFailed: If it changed, or the check itself failed, or could not judge and must.
        """
        from rlops.errors import RlopsError
        from rlops.registry.dynamics.check import check_id

        try:
            result = check_id(self.environment, self.folder)
        except RlopsError as error:
            raise CheckFailed(str(error)) from None
        if result.verdict in ("same", "round-off"):
            return
        if result.verdict == "cannot judge" and not self.strict:
            pytest.skip(str(result))
        raise CheckFailed(str(result))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> object:  # type: ignore[override]
        """Return the report alone; for what is unforeseen, the traceback."""
        if isinstance(excinfo.value, CheckFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return where the test is said to be: the folder of the golden files."""
        return self.folder, None, self.name
