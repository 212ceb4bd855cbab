"""Rows shared among processes, for an engine that threads of one process cannot share.

This process moves the first share itself. Every other process has an engine of its own for its share, and memory in
common with this one: parameters and state. A step is a byte through a pipe and a byte back. Who waits for it stays
awake for as long as the last step took, unless that was in vain lately: an idle virtual processor is given away and
comes back with cold caches, and then the engine takes half as long again. The processes start with the first step, and
end with the object, with this process, or when their pipe closes.
"""

from __future__ import annotations

import contextlib
import importlib
import mmap
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import weakref
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from rlops.arrivals import PROCESSORS, Arrivals
from rlops.errors import EngineLost

_GO, _DONE = b"g", b"d"


class Shards:
    """The rows of a batch, a share of them in each of several processes."""

    def __init__(self, module: str, kernel: Any, params: np.ndarray, state: np.ndarray, processes: int):
        """Prepare the processes; none is started before the rows move.

        Args:
            module: Import path of the engine's module.
            kernel: Module of the kernel.
            params: Records of the parameters ``(n,)``.
            state: Records of the state ``(n,)``.
            processes: How many, this one included; none gets less than one row.
        """
        self._module, self._kernel = module, kernel.__name__
        self._params, self._state = np.asarray(params), np.asarray(state)
        edges = np.linspace(0, len(state), min(processes, len(state)) + 1).astype(int)
        own, *self._shares = (slice(low, high) for low, high in pairwise(edges))
        self._awake = len(self._shares) < PROCESSORS
        """Whether who waits may stay awake: every process has a processor."""
        self._own = importlib.import_module(module).opened(kernel, self._params[own], self._state[own], 1)
        self._process, self._workers = os.getpid(), list[_Worker]()

    def advance(self) -> None:
        """See :class:`rlops.envs.robotics.engines.Engine`.

        Raises:
            EngineLost: If a process has ended or its engine has raised an error.
        """
        if self._process != os.getpid():  # a fork must not speak with its parent's processes
            self._process, self._workers = os.getpid(), []
        if len(self._workers) < len(self._shares):
            self._start()
        try:
            self._move()
        except BaseException:  # what other processes may still say belongs to no later step
            self._end_workers()
            raise

    def _move(self) -> None:
        for worker, share in zip(self._workers, self._shares, strict=True):
            worker.begin(self._params[share], self._state[share])
        start = time.perf_counter()
        try:
            self._own.advance()
        except Exception as error:
            raise EngineLost(_told(error)) from error
        awake_s = time.perf_counter() - start if self._awake else 0.0
        for worker, share in zip(self._workers, self._shares, strict=True):
            worker.finish(awake_s, self._state[share])

    def _start(self) -> None:
        self._workers = [
            _Worker(self._module, self._kernel, self._params[share], self._state[share], self._awake)
            for share in self._shares
        ]
        for worker in self._workers:
            weakref.finalize(self, worker.end, os.getpid())

    def close(self) -> None:
        """End the processes."""
        self._own.close()
        self._end_workers()

    def _end_workers(self) -> None:
        for worker in self._workers:
            worker.end(self._process)
        self._workers = []


class _Worker:
    """A process with a share of the rows."""

    def __init__(self, module: str, kernel: str, params: np.ndarray, state: np.ndarray, awake: bool):
        size = params.nbytes + state.nbytes
        ours, theirs = multiprocessing.Pipe()
        with tempfile.TemporaryFile() as file, theirs:
            file.truncate(size)
            memory = mmap.mmap(file.fileno(), size)
            self._params, self._state = map(_as_bytes, _records(memory, len(params), params.dtype, state.dtype))
            lent = (file.fileno(), theirs.fileno())
            # Not by multiprocessing, which runs the caller's main script again in every process that it starts.
            self._process = subprocess.Popen([sys.executable, "-m", __name__, *map(str, lent)], pass_fds=lent)
        self._pipe, self._arrivals = ours, Arrivals(ours.fileno())
        self._pipe.send((module, kernel, len(params), params.dtype, state.dtype, awake))

    def begin(self, params: np.ndarray, state: np.ndarray) -> None:
        """Let the rows move."""
        self._params[:], self._state[:] = _as_bytes(params), _as_bytes(state)
        with contextlib.suppress(OSError):  # a process that has ended is told of by `finish`
            self._pipe.send_bytes(_GO)

    def finish(self, awake_s: float, state: np.ndarray) -> None:
        """Wait until the rows have moved, for ``awake_s`` [s] without sleeping, and write their ``state``."""
        if awake_s:
            self._arrivals.stay_awake(awake_s)
        try:
            told = self._pipe.recv_bytes()
        except (EOFError, OSError):
            raise EngineLost(f"its process ended with exit code {self._process.wait()}") from None
        if told != _DONE:
            raise EngineLost(told.decode())
        _as_bytes(state)[:] = self._state

    def end(self, starter: int) -> None:
        """End the process, if this is the one that started it."""
        if starter == os.getpid():
            self._pipe.close()
            self._process.wait()


def _records(memory: mmap.mmap, rows: int, params: np.dtype, state: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Return the records of parameters and state that lie in ``memory``."""
    return np.frombuffer(memory, params, rows), np.frombuffer(memory, state, rows, rows * params.itemsize)


def _as_bytes(records: np.ndarray) -> np.ndarray:
    """Return contiguous ``records`` as bytes: NumPy copies records field by field, which takes it ten times as long."""
    return records.view(np.uint8)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def main(memory_file: int, pipe_file: int) -> None:
    """Move the rows whenever told to, until the pipe closes."""
    pipe, arrivals = Connection(pipe_file), Arrivals(pipe_file)
    module, kernel, rows, params, state, awake = pipe.recv()
    memory = mmap.mmap(memory_file, 0)
    os.close(memory_file)
    opened = importlib.import_module(module).opened
    engine = opened(importlib.import_module(kernel), *_records(memory, rows, params, state), 1)
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while pipe.recv_bytes() == _GO:
            start = time.perf_counter()
            try:
                engine.advance()
            except Exception as error:
                pipe.send_bytes(_told(error).encode())
                return
            pipe.send_bytes(_DONE)
            if awake:
                arrivals.stay_awake(time.perf_counter() - start)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
