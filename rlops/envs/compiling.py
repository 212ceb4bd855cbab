"""Compilation: loops specialised for a kernel, a disk cache that cannot go stale, and threads that cannot hang.

Numba's own disk cache looks at one source file only: a change in a helper of another module would silently
run the old code. Here every cache folder is named after a hash of *all* sources that a kernel is made of and of the
compiler's versions. Old folders are removed when they have not been used for a month.

Environment variables: ``RLOPS_CACHE_DIR`` says where compiled code is kept (default: ``~/.cache/rlops``);
``RLOPS_THREADS`` limits the threads of one batch (default: all cores; 1 in worker processes).
"""

from __future__ import annotations

import ast
import ctypes
import hashlib
import importlib.util
import multiprocessing
import os
import shutil
import site
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

# A spinning barrier of OpenMP makes two processes on the same cores slow each other by two orders of magnitude.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import llvmlite
import llvmlite.binding
import numba
import numba.extending
import numpy as np
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator

import rlops.errors


def _load_tbb() -> None:
    """Load TBB from where pip installs it, which the loader does not search, so that Numba finds it.

    Numba's other threading layers need a library that many containers lack (OpenMP), or sleep between steps (its own).
    """
    packages = Path(numba.__file__).parent.parent
    for prefix in (packages, Path(sys.prefix), Path(site.getuserbase())):
        library = prefix / "lib" / "libtbb.so.12"
        if library.is_file():
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
            return


_load_tbb()

PARALLEL_LOCK = threading.Lock()
"""Held around parallel regions: one of Numba's threading layers aborts when two threads enter."""

_UNUSED_S = 30 * 24 * 3600
_forked = False


def _after_fork() -> None:
    """Remember that this process is a fork: OpenMP ends a child that enters a parallel region."""
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_after_fork)


def forked() -> bool:
    """Return whether this process is a fork, which must not use threads."""
    return _forked


def usable_threads() -> int:
    """Return how many threads one batch may use in this process.

    One in forked children and in worker processes (several batches on the same cores would fight at every
    barrier), else the number of cores, limited by ``RLOPS_THREADS``.
    """
    if _forked or numba.config.DISABLE_JIT:
        return 1
    asked = os.environ.get("RLOPS_THREADS")
    if asked is not None:
        if not asked.isdigit() or int(asked) < 1:
            raise rlops.errors.InvalidValue(
                f"RLOPS_THREADS must be a whole number of at least 1, got {asked!r}. Unset it to use all cores."
            )
        return min(int(asked), int(numba.config.NUMBA_NUM_THREADS))
    if multiprocessing.parent_process() is not None:
        return 1
    return int(numba.config.NUMBA_NUM_THREADS)


@cache
def source_stamp(module: str) -> str:
    """Return a hash of the sources that ``module`` is made of and of everything else that changes its machine code.

    The sources are those of the module, of all modules of its package that it imports, directly or not, and of the
    loops that are specialised for it. What a function imports when it runs is not compiled into anything.
    """
    digest = hashlib.sha256()
    # Machine code for one minor release of Python serves all its patches: Numba itself looks at the bytecode too.
    versions = (sys.implementation.cache_tag, numba.__version__, np.__version__, llvmlite.__version__)
    digest.update(repr(versions).encode())
    for name, source in sorted(_sources("rlops.envs.loops", _sources(module, {})).items()):
        digest.update(name.encode() + b"\0" + source)
    return digest.hexdigest()[:16]


def _sources(module: str, found: dict[str, bytes]) -> dict[str, bytes]:
    """Add the sources of ``module`` and of what it imports from its own package, or from rlops, to ``found``."""
    try:
        spec = importlib.util.find_spec(module) if module not in found else None
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return found
    source = found[module] = Path(spec.origin).read_bytes()
    packages = {module.partition(".")[0], "rlops"}
    for node in _when_imported(ast.parse(source)):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.partition(".")[0] in packages:
                _sources(name, found)
    return found


def _when_imported(node: ast.AST) -> Iterator[ast.AST]:
    """Return what is below ``node``, the bodies of functions left out."""
    for below in ast.iter_child_nodes(node):
        if not isinstance(below, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield below
            yield from _when_imported(below)


@cache
def cache_folder(stamp: str) -> Path | None:
    """Return the folder for compiled code of one ``stamp``, or None (with one warning) if none can be written."""
    root = Path(os.environ.get("RLOPS_CACHE_DIR") or Path.home() / ".cache" / "rlops")
    folder = root / stamp
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}-{threading.get_ident()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        warnings.warn(
            f"Compiled environments cannot be kept in {root} ({error.strerror}): every process compiles them again. "
            "Set RLOPS_CACHE_DIR to a writable folder.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    os.utime(folder)
    _remove_unused(root, folder)
    return folder


def _remove_unused(root: Path, current: Path) -> None:
    """Remove cache folders of other versions that nobody has used for a month."""
    for folder in root.iterdir():
        named_by_stamp = len(folder.name) == 16 and folder.is_dir() and folder != current
        if named_by_stamp and time.time() - folder.stat().st_mtime > _UNUSED_S:
            shutil.rmtree(folder, ignore_errors=True)


class _StampedLocator(_CacheLocator):
    """Tells Numba's cache to live in the stamped folder; the stamp is in its name, so none is compared."""

    def __init__(self, folder: Path):
        self._folder = str(folder)

    def get_cache_path(self) -> str:
        return self._folder

    def get_source_stamp(self) -> str:
        return "in-folder-name"

    def get_disambiguator(self) -> str:
        return ""


def _stamped_cache(function: Callable[..., Any], folder: Path) -> FunctionCache:
    """Return Numba's disk cache for ``function``, in ``folder``."""

    class Locator(_StampedLocator):
        @classmethod
        def from_function(cls, py_func: Any, py_file: Any) -> _StampedLocator:
            return cls(folder)

    class Impl(CompileResultCacheImpl):
        _locator_classes = [Locator]  # noqa: RUF012

    class Cache(FunctionCache):
        _impl_class = Impl

    return Cache(function)


def compiled(function: Callable[..., Any] | None = None, *, sources: str | None = None, parallel: bool = False) -> Any:
    """Return ``function`` compiled by Numba with the settings of every kernel and kept on disk.

    Args:
        function: A module-level function, or one made by :func:`specialised`.
        sources: Name of the module whose functions it calls, if that is not its own.
        parallel: Whether its ``prange`` loops run on threads.
    """
    if function is None:
        return lambda f: compiled(f, sources=sources, parallel=parallel)
    if numba.config.DISABLE_JIT:
        return function
    dispatcher = numba.njit(error_model="numpy", nogil=True, parallel=parallel)(function)
    folder = cache_folder(source_stamp(sources or function.__module__))
    if folder is not None:
        dispatcher._cache = _stamped_cache(function, folder)
    return dispatcher


_NUMBAS = {
    None: numba.types.void, ctypes.c_ssize_t: numba.types.intp, ctypes.c_int: numba.types.intc,
    ctypes.c_double: numba.types.float64,
}  # fmt: skip


def external(name: str, function: Any) -> Any:
    """Return a C ``function`` of ctypes for compiled code, which knows it by its ``name``: so it can be kept on disk.

    What it takes and returns must be said (``argtypes``, ``restype``): addresses as ``c_ssize_t``.
    """
    if numba.config.DISABLE_JIT:
        return function
    llvmlite.binding.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)
    returned, *taken = (_NUMBAS[one] for one in (function.restype, *function.argtypes))
    return numba.types.ExternalFunction(name, returned(*taken))


def specialised(function: Callable[..., Any], name: str, **names: Any) -> Any:
    """Return a copy of a module-level ``function`` in which the globals ``names`` mean something else.

    This is how one loop serves all kernels: the copy refers to a kernel's compiled functions as plain globals. A
    closure would do the same but never hit the disk cache.
    """
    copy = types.FunctionType(
        function.__code__.replace(co_name=name),
        {**function.__globals__, **names},
        name,
        function.__defaults__,
    )
    copy.__qualname__ = name
    copy.__module__ = function.__module__
    return copy


def bound(function: Any, *arguments: Any) -> Callable[[], Any]:
    """Return a compiled ``function`` that takes nothing and always works on ``arguments``, whatever they hold then.

    Numba's dispatcher would look at the types of all arguments in every call, and the function itself would unpack
    arrays: with an engine's memory still in the caches of the core, that takes longer than what is to be done with few
    rows. So the arrays lie ready as compiled code has them, and it is told where.

    Args:
        function: What :func:`compiled` returned.
        arguments: Arrays and whole numbers.
    """
    if numba.config.DISABLE_JIT:
        return partial(function, *arguments)
    words: list[int] = []
    for one in arguments:
        if isinstance(one, np.ndarray):
            words += (0, 0, one.size, one.itemsize, one.ctypes.data, *one.shape, *one.strides)
        else:
            words.append(one)
    table = np.array(words, np.int64)
    call = partial(_told_where(function, tuple(map(numba.typeof, arguments)), len(words)), table.ctypes.data)
    call.keeps = table, arguments  # type: ignore[attr-defined]
    return call


@cache
def _told_where(function: Any, kinds: tuple[Any, ...], words: int) -> Any:
    """Return ``function`` compiled to take the address of its arguments, which are of these ``kinds`` and ``words``."""
    together = numba.types.Tuple(kinds)

    @numba.extending.intrinsic
    def arguments_at(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            layout = context.get_value_type(together)
            assert context.get_abi_sizeof(layout) == 8 * words
            return builder.load(builder.inttoptr(args[0], layout.as_pointer()))

        return together(address), codegen

    name = f"{function.__name__}_{hashlib.sha256(repr(kinds).encode()).hexdigest()[:16]}"
    copy = specialised(_call, name, called=function, arguments_at=arguments_at)
    caller = compiled(copy, sources=function.__module__)
    caller.compile((numba.types.int64,))
    return caller.overloads[(numba.types.int64,)].entry_point


def called(*arguments: Any) -> Any:
    """Stand for the function that :func:`bound` is given."""


def arguments_at(address: int) -> Any:
    """Stand for what takes its arguments from memory."""


def _call(address: int) -> Any:
    return called(*arguments_at(address))
