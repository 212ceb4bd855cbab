"""A cluster plays what this process would have played, bit for bit, whatever becomes of its nodes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import rlops
from rlops.agents_baseline import scale
from rlops.agents_baseline.policies import Policy
from rlops.agents_baseline.scale import Installed, cluster
from rlops.agents_baseline.seeds import train_seeds
from rlops.agents_baseline.worlds import World
from rlops.errors import ConnectionLost, IdentityMismatch, InvalidValue, MissingExtra, UnknownName
from rlops.robustness import episodes
from rlops.robustness.episodes import Design, Job, Work, read_parquet
from rlops.robustness.report import EPISODES, REPORT
from tests.agents_baseline.policies import Random
from tests.robustness.conftest import ID, SPEC

ROOT = Path(rlops.__file__).parent.parent
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}
WATCHED = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}


class Slow(Random):
    """Tells where it begins, and takes its time: on a node that is to be lost, until that has happened."""

    def __init__(self, told: Path | None = None, doomed: str = ""):
        self.pause_s = 0.005
        if told is not None:
            import ray

            here = ray.get_runtime_context().get_node_id()
            (told / f"{time.monotonic_ns()}").write_text(here)
            if here == doomed:
                self.pause_s = 600.0

    def actions(self, envs, obs, masks):
        time.sleep(self.pause_s)
        return super().actions(envs, obs, masks)


class Started:
    """Makes the agent anew on a worker."""

    def __init__(self, told: Path, doomed: str = ""):
        self.given = told, doomed

    def __call__(self):
        return Slow(*self.given)


class Refusing:
    """An agent that has had enough."""

    name = "refusing"

    def actions(self, envs, obs, masks):
        raise InvalidValue("The day must begin with coffee, got none. Brew some.")


def twice(number, shared):
    return 2 * number + len(shared)


def first_dies(file):
    if not file.exists():
        file.touch()
        os._exit(1)
    return "alive"


def always_dies():
    os._exit(1)


def unknown():
    raise UnknownName("agent", "nobody", ["somebody"])


def divided():
    return 1 / 0


def threads():
    from rlops.envs.compiling import usable_threads

    return usable_threads(), os.getpid()


@pytest.fixture(scope="module")
def nodes():
    """Return a cluster of two nodes, each with an address and a CPU of its own."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    head = {**NODE, "node_ip_address": "127.0.0.2", "include_dashboard": False, "_system_config": WATCHED}
    started = Cluster(initialize_head=True, head_node_args=head)
    started.add_node(**NODE, node_ip_address="127.0.0.3")
    yield started
    started.shutdown()


@pytest.fixture
def pool(nodes):
    with cluster(nodes.address, ids=[ID]) as connected:
        yield connected


def design(n=12, part="curves"):
    return Design(part, World(ID), np.arange(n), tuple(map(str, range(n))), {"speed_kmh": np.linspace(20, 40, n)})


@pytest.fixture
def small(monkeypatch):
    """Let a chunk on the cluster have two episodes."""
    monkeypatch.setattr(episodes, "ROWS", 2)


def test_a_report_of_a_cluster_is_that_of_this_process(nodes, written, tmp_path, run):
    local, content, _ = written
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(SPEC))
    out = tmp_path / "report"
    code, told, error = run(
        "robustness", ID, "--agent", "nearest_idle", "--against", "hungarian", "--spec", spec, "--out", out,
        "--ray", nodes.address,
    )  # fmt: skip
    assert "wrote" in told, error
    assert code == {"pass": 0, "fail": 1, "cannot decide": 2}[content["verdict"]]
    one, other = (json.loads((folder / REPORT).read_text()) for folder in (local, out))
    assert one["header"].pop("seconds") >= 0
    assert other["header"].pop("seconds") >= 0
    assert one == other
    assert read_parquet(local / EPISODES).tobytes() == read_parquet(out / EPISODES).tobytes()
    assert not (out / "work").exists()


def test_seeds_trained_on_a_cluster_give_the_same_weights_as_here(pool, tmp_path):
    small = {"n_steps": 16, "batch_size": 32, "n_epochs": 1, "policy_kwargs": {"net_arch": [4]}}
    given = {"steps": 64, "num_envs": 2, "hyperparameters": small}
    told = []
    there = train_seeds(
        ID, "ppo", [0, 1], out=tmp_path / "there", pool=pool, progress=lambda *one: told.append(one), **given
    )
    here = train_seeds(ID, "ppo", [0, 1], out=tmp_path / "here", **given)
    for one, other in zip(there, here, strict=True):
        ours, theirs = (Policy.read(folder).arrays for folder in (one, other))
        assert {name: array.tobytes() for name, array in ours.items()} == {n: a.tobytes() for n, a in theirs.items()}
        assert {file.name for file in one.iterdir()} == {file.name for file in other.iterdir()}
    assert sorted((seed, now.steps) for seed, now in told) == [(0, 64), (1, 64)]
    assert train_seeds(ID, "ppo", [0, 1], out=tmp_path / "there", pool=None, **given) == there


def test_results_come_with_their_number_from_processes_with_one_thread(pool):
    shared = pool.share("abc")
    found = dict(pool.map(twice, [(number, shared) for number in range(5)]))
    assert found == {0: 3, 1: 5, 2: 7, 3: 9, 4: 11}
    ((_, (count, process)),) = pool.map(threads, [()])
    assert count == 1
    assert process != os.getpid()


def test_an_error_of_a_call_is_raised_as_it_is(pool, tmp_path):
    with pytest.raises(UnknownName, match="named 'nobody'"):
        list(pool.map(unknown, [()]))
    with pytest.raises(ZeroDivisionError, match="in divided"):
        list(pool.map(divided, [()]))
    with pytest.raises(InvalidValue, match=r"^The day must begin with coffee, got none\. Brew some\.$"):
        Work(tmp_path, {}).tables([Job(design(2), Refusing(), carried=Refusing)], pool=pool)


def test_an_agent_that_cannot_be_carried_is_refused(pool, tmp_path):
    with pytest.raises(InvalidValue, match="must be made anew on a cluster, but random says not how"):
        Work(tmp_path, {}).tables([Job(design(2), Random())], pool=pool)


def test_a_call_whose_worker_dies_is_made_again_but_not_for_ever(pool, tmp_path, monkeypatch):
    assert list(pool.map(first_dies, [(tmp_path / "died",)])) == [(0, "alive")]
    monkeypatch.setattr(scale, "RETRIES", 1)
    with pytest.raises(ConnectionLost, match="lost with its worker or node, and again 1 times: WorkerCrashedError"):
        list(pool.map(always_dies, [()]))


def test_a_worker_with_another_release_is_refused(nodes, monkeypatch):
    monkeypatch.setattr(rlops, "__version__", "9.9.9")
    with (
        cluster(nodes.address) as pool,
        pytest.raises(IdentityMismatch, match=r"Every node must have rlops 9\.9\.9, got another on "),
    ):
        list(pool.map(twice, [(1, "")]))


def test_other_packages_and_other_dynamics_are_refused_but_not_what_one_side_lacks():
    bits = {"specification": "s", "randomization": "r", "exact": "e", "portable": "p", "platform": "here"}
    ours = Installed("1.0.0", {"numpy": "2.4.6", "torch": "2.13.0"}, {ID: bits})
    ours.check(Installed("1.0.0", {"numpy": "2.4.6", "mujoco": "4.0.0"}, {ID: {**bits, "platform": "there"}}))
    with pytest.raises(IdentityMismatch, match=r"Every node must have numpy 2\.4\.6, got another on .*: 2\.5\.0"):
        ours.check(Installed("1.0.0", {"numpy": "2.5.0"}, {ID: bits}))
    with pytest.raises(IdentityMismatch, match=r"to the bit as here \(here\), .* \(there\): .* exact tier differs"):
        ours.check(Installed("1.0.0", {}, {ID: {**bits, "platform": "there", "exact": "f"}}))


def test_a_process_is_connected_to_one_cluster_at_most(nodes):
    with (
        cluster(nodes.address),
        pytest.raises(InvalidValue, match="must not be connected to Ray yet"),
        cluster(nodes.address),
    ):
        pass


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_without_a_cluster_is_told_at_once(scheme):
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = f"{scheme}127.0.0.1:{unused.getsockname()[1]}"
    with (
        pytest.raises(ConnectionLost, match=f"must be auto, HOST:PORT, .* got '{address}': .*refused"),
        cluster(address),
    ):
        pass


def test_without_ray_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(MissingExtra, match=r"A cluster of Ray needs an optional dependency.*rlops\[ray\]"),
        cluster("auto"),
    ):
        pass


PROGRAM = """
import sys
from pathlib import Path
from rlops.agents_baseline.scale import cluster
from rlops.robustness import episodes
from tests.robustness.test_scale import Job, Slow, Started, Work, design

episodes.ROWS = 2
folder, told, address = sys.argv[1:]
with cluster(address) as pool:
    Work(folder, {}).tables([Job(design(), Slow(), carried=Started(Path(told)))], pool=pool)
"""


def test_a_killed_driver_resumes_without_losing_or_doubling_an_episode(nodes, tmp_path, small):
    told = tmp_path / "told"
    told.mkdir()
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, tmp_path / "work", told, nodes.address], cwd=ROOT)
    manifest = tmp_path / "work" / "manifest.json"
    while child.poll() is None and not (manifest.exists() and json.loads(manifest.read_text())["chunks"]):
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL  # it had not finished
    whole = Work(tmp_path / "alone", {}).table([design()], Random())
    work, ended = Work(tmp_path / "work", {}), []
    assert 1 <= len(work.chunks) < 6
    done = len(work.chunks)
    jobs = [Job(design(), Random(), carried=Random)]
    with cluster(nodes.address) as pool:
        table = work.tables(jobs, pool=pool, progress=lambda job, count: ended.append(count))
    assert table.tobytes() == whole.tobytes()
    assert ended == [2 * chunk for chunk in range(done + 1, 7)]


def test_a_node_that_is_lost_loses_no_episode(nodes, pool, tmp_path, small):
    whole = Work(tmp_path / "alone", {}).table([design()], Random())
    lost = nodes.add_node(**NODE, node_ip_address="127.0.0.4")
    told, ended = tmp_path / "told", []
    told.mkdir()

    def progress(job, count):
        ended.append(count)
        if len(ended) == 1:
            while lost.node_id not in {file.read_text() for file in told.iterdir()}:
                time.sleep(0.05)
            nodes.remove_node(lost, allow_graceful=False)

    jobs = [Job(design(), Slow(), carried=Started(told, doomed=lost.node_id))]
    table = Work(tmp_path / "work", {}).tables(jobs, pool=pool, progress=progress)
    assert table.tobytes() == whole.tobytes()
    assert ended == [2, 4, 6, 8, 10, 12]
    assert len(list(told.iterdir())) > 6  # what the node had begun was begun again
