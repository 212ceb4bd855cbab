"""The disk cache and the threads."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rlops.envs import batch
from rlops.envs.batch import Batch
from rlops.envs.warming import warm

ROOT = Path(__file__).resolve().parents[2]


def run(script, **environment):
    """Run ``script`` in a new process and return what it printed; its errors are ours."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore:.*out of date", "-c", script],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.strip(), result.stderr


STEP_V0 = """
import gymnasium, rlops
envs = gymnasium.make_vec("rlops/Dispatch-v0", num_envs=2)
envs.reset(seed=0); envs.step([0, 0])
verbs = envs.unwrapped._batch._verbs
print(sum(verbs.do.stats.cache_hits.values()), sum(verbs.do.stats.cache_misses.values()))
"""


def test_a_second_process_loads_compiled_code_and_adds_no_file(tmp_path):
    assert run(STEP_V0, RLOPS_CACHE_DIR=str(tmp_path))[0] == "0 1"
    files = sorted(p.name for p in tmp_path.rglob("*") if p.is_file())
    assert run(STEP_V0, RLOPS_CACHE_DIR=str(tmp_path))[0] == "1 0"
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == files


def test_a_robot_is_warmed_in_every_engine_that_it_has(monkeypatch):
    stepped = set()

    class Seen(Batch):
        def step(self, *given):
            stepped.add(type(self._engine).__module__.rpartition(".")[2])
            super().step(*given)

    monkeypatch.setattr(batch, "Batch", Seen)
    warm("rlops/CartBalance-v0")
    assert stepped == {"mujoco", "pybullet"}


def test_a_changed_helper_in_another_module_changes_the_cache_folder(tmp_path, monkeypatch):
    from rlops.envs import compiling

    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "toyfamily"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "kernel.py").write_text(
        "from toyfamily.helper import GRAVITY\ndef drawn():\n    from toyfamily import picture\n    return picture\n"
    )
    (package / "helper.py").write_text("from toyfamily import numbers\nGRAVITY = 9.8\n")
    (package / "numbers.py").write_text("ONE = 1\n")
    (package / "picture.py").write_text("import json\n")
    stamp = compiling.source_stamp.__wrapped__
    before = stamp("toyfamily.kernel")
    assert stamp("toyfamily.kernel") == before
    (package / "picture.py").write_text("import csv\n")  # imported when a function runs: no part of what is compiled
    assert stamp("toyfamily.kernel") == before
    for name, text in (("helper.py", "from toyfamily import numbers\nGRAVITY = 9.9\n"), ("numbers.py", "ONE = 2\n")):
        (package / name).write_text(text)
        after = stamp("toyfamily.kernel")
        assert after != before
        before = after


def test_a_patch_of_python_finds_what_another_compiled_and_a_minor_release_does_not(monkeypatch):
    from rlops.envs import compiling

    stamp = compiling.source_stamp.__wrapped__
    before = stamp("rlops.envs.dispatch.kernel_v0")
    monkeypatch.setattr(sys, "version", "3.11.99 (another build)")
    assert stamp("rlops.envs.dispatch.kernel_v0") == before
    monkeypatch.setattr(sys.implementation, "cache_tag", "cpython-399")
    assert stamp("rlops.envs.dispatch.kernel_v0") != before


def test_without_a_writable_folder_everything_works_with_one_warning(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    out, err = run(STEP_V0.replace("print(sum", "print('stepped') or (sum"), RLOPS_CACHE_DIR=str(blocked / "cache"))
    assert out == "stepped"
    assert err.count("Set RLOPS_CACHE_DIR to a writable folder") == 1


def test_folders_unused_for_a_month_are_removed(tmp_path):
    from rlops.envs import compiling

    old, other = tmp_path / ("0" * 16), tmp_path / "keep-me"
    for folder in (old, other):
        folder.mkdir()
        os.utime(folder, (1, 1))
    compiling._remove_unused(tmp_path, tmp_path / ("1" * 16))
    assert not old.exists()
    assert other.exists()


PARALLEL_FIRST = """
import warnings; warnings.simplefilter("ignore")
import gymnasium, numpy, rlops, threading
if __name__ == "__main__":
    envs = gymnasium.make_vec("rlops/Dispatch-v0", num_envs=8, threads=2)
    envs.reset(seed=0); envs.step([0] * 8)
"""


@pytest.mark.parametrize("context", ["fork", "forkserver", "spawn"])
def test_asynchronous_vector_environments_work_after_threads_were_used(context, tmp_path):
    script = tmp_path / "main.py"
    script.write_text(
        PARALLEL_FIRST
        + f"""
    make = lambda: gymnasium.make("rlops/Dispatch-v0")
    workers = gymnasium.vector.AsyncVectorEnv([make] * 2, context="{context}")
    obs, _ = workers.reset(seed=0)
    numpy.testing.assert_array_equal(obs, gymnasium.make_vec("rlops/Dispatch-v0", num_envs=2).reset(seed=0)[0])
    workers.step([0, 0]); workers.close(); print("done")
"""
    )
    assert run(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')")[0].endswith("done")


def test_a_forked_child_steps_its_parents_batch(tmp_path):
    script = (
        PARALLEL_FIRST
        + """
    import multiprocessing
    def child(queue):
        queue.put(envs.step([0] * 8)[0].sum())
    context = multiprocessing.get_context("fork"); queue = context.Queue()
    process = context.Process(target=child, args=(queue,)); process.start()
    assert queue.get(timeout=60) == envs.step([0] * 8)[0].sum()
    process.join(); print(process.exitcode)
"""
    )
    assert run(script)[0] == "0"


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="there is no wheel of TBB")
def test_threads_are_those_of_tbb_where_pip_has_put_it():
    assert run(PARALLEL_FIRST + "    import numba; print(numba.threading_layer())")[0] == "tbb"


@pytest.mark.parametrize("layer", ["tbb", "omp", "workqueue"])
def test_two_python_threads_may_step_parallel_batches_at_once(layer):
    script = (
        PARALLEL_FIRST
        + """
    batches = [gymnasium.make_vec("rlops/Dispatch-v0", num_envs=64, threads=2) for _ in range(2)]
    for b in batches: b.reset(seed=0)
    def go(b):
        for _ in range(300): b.step(numpy.zeros(64, int))
    threads = [threading.Thread(target=go, args=(b,)) for b in batches]
    for t in threads: t.start()
    for t in threads: t.join()
    assert batches[0].unwrapped.save_state().tobytes() == batches[1].unwrapped.save_state().tobytes()
    print("done")
"""
    )
    assert run(script, NUMBA_THREADING_LAYER=layer)[0] == "done"


def test_a_step_on_threads_leaves_the_callers_own_parallel_chunks_as_they_were():
    import numba

    from rlops.envs.batch import Batch
    from rlops.envs.contract import family

    batch = Batch(family("Dispatch"), 0, 600, threads=2)
    batch.seed(np.arange(600), list(range(600)))
    batch.reset()
    before = numba.set_parallel_chunksize(7)
    try:
        batch.step(batch.actions, True)
        assert numba.get_parallel_chunksize() == 7
    finally:
        numba.set_parallel_chunksize(before)


def test_more_threads_than_cores_and_than_rows_step_as_one_does():
    script = """
import numpy
import rlops
from rlops.envs.batch import Batch
from rlops.envs.contract import family
for rows in (2, 5, 333):
    one, four = (Batch(family("Dispatch"), 0, rows, threads=n) for n in (1, 4))
    assert (one.threads, four.threads) == (1, 4)
    for batch in (one, four):
        batch.seed(numpy.arange(rows), list(range(rows)))
        batch.reset()
        for _ in range(300):
            batch.step(numpy.zeros(rows, numpy.int64), True)
    assert one.save().tobytes() == four.save().tobytes()
print("done")
"""
    assert run(script, NUMBA_NUM_THREADS="4")[0] == "done"


def test_worker_processes_use_one_thread_unless_told_otherwise(monkeypatch):
    from rlops.envs import compiling
    from rlops.errors import InvalidValue

    monkeypatch.delenv("RLOPS_THREADS", raising=False)
    monkeypatch.setattr(compiling.multiprocessing, "parent_process", lambda: object())
    assert compiling.usable_threads() == 1
    monkeypatch.setenv("RLOPS_THREADS", "2")
    assert compiling.usable_threads() == min(2, compiling.numba.config.NUMBA_NUM_THREADS)
    monkeypatch.setenv("RLOPS_THREADS", "many")
    with pytest.raises(InvalidValue, match="RLOPS_THREADS must be a whole number of at least 1, got 'many'"):
        compiling.usable_threads()
