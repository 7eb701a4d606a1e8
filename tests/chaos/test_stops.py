"""How fast a real group of two workers stops: asked to, told that its node goes, or hurt.

Every run is the command that a person would type. The figures that docs/promises.md quotes are
printed with `pytest -s`.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_proxy import FaultProxy
from invariants import check_run
from s3_server import S3Server
from train_site import Site
from watched import Watched, await_true, begin, ray_workers

from visage.training.verify import verify_run

pytestmark = [pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(1200)]
GRACE_S = 30.0
PROMISED_S = 10.0
EVERY = 30
RARE = (f"checkpoint_every_steps={EVERY}", "checkpoint_every_s=600", "epochs=2000",
        "validate_every_epochs=50")  # fmt: skip
"""One checkpoint each thirty steps, and more steps than a test has time for."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("stops"))
    yield made
    made.close()


def _start(site: Site, name: str, *assign: str, **environment: str) -> Watched:
    """A run that has trained for a while, in processes that bear its mark."""
    mark = f"{name}-mark"
    words = [*RARE, *assign]
    return begin(
        lambda: site.start(name, preset="long", assign=words, VISAGE_TEST_MARK=mark, **environment),
        lambda: site.newest_step(name) > 0,
    )


def _goes_on_from(site: Site, name: str, step: int, *assign: str) -> None:
    """The same command continues there; it is stopped again, as all that follows was proven."""
    watched = begin(
        lambda: site.start(name, preset="long", assign=[*RARE, *assign]),
        lambda: site.newest_step(name) > step,
    )
    watched.await_said(f"continuing after step {step}")
    watched.process.send_signal(signal.SIGTERM)
    assert watched.end()[0] == 75, watched.said
    assert verify_run(site.run_uri(name)).is_exact


SHORT = ("checkpoint_every_s=600", "stall_limit_s=500", "epochs=8")


def _tell(what: str, seconds: float) -> None:
    print(f"\nFIGURE {what}: {seconds:.1f} s")


def test_sigterm_saves_one_checkpoint_within_the_grace_and_exits_75(site: Site) -> None:
    watched = _start(site, "stopped")
    before = set(site.steps("stopped"))
    asked = time.monotonic()
    watched.process.send_signal(signal.SIGTERM)
    code, ended = watched.end()
    assert code == 75, watched.said
    _tell("SIGTERM to exit 75", ended - asked)
    print(watched.timeline(asked))
    assert ended - asked <= GRACE_S
    made = [step for step in site.steps("stopped") if step not in before and step % EVERY]
    assert len(made) == 1, site.steps("stopped")
    assert f"stopped on request after step {made[0]}; state saved" in watched.said
    await_true(lambda: not ray_workers("stopped-mark"), limit_s=30.0)
    _goes_on_from(site, "stopped", made[0])


def test_a_step_that_outlasts_the_grace_ends_the_command_in_time_and_loses_only_its_interval(
    site: Site,
) -> None:
    struck = site.folder / "hang.struck"
    watched = begin(
        lambda: site.start(
            "outlasting", preset="long", assign=SHORT, VISAGE_TEST_MARK="outlasting-mark",
            VISAGE_FAULT_POINT="train.before_step@20:hang", VISAGE_FAULT_ONCE=str(struck),
        ),
        struck.exists,
    )  # fmt: skip
    await_true(lambda: site.newest_step("outlasting") == 18, watched)
    asked = time.monotonic()
    watched.process.send_signal(signal.SIGTERM)
    code, ended = watched.end()
    assert code == 75, watched.said
    _tell("SIGTERM to exit 75 with a hung step", ended - asked)
    assert 0.5 * GRACE_S < ended - asked <= GRACE_S + 3.0
    assert "The same command continues from the newest checkpoint" in watched.said
    await_true(lambda: not ray_workers("outlasting-mark"), limit_s=30.0)
    code, said = site.run("outlasting", preset="long", assign=SHORT)
    assert code == 0, said
    assert "continuing after step 18" in said
    assert check_run(site.folder / "runs" / "outlasting") == []


def test_sigterm_to_one_worker_saves_and_starts_the_group_again_without_losing_a_step(
    site: Site,
) -> None:
    watched = _start(site, "worker")
    pid = max(ray_workers("worker-mark"))
    asked = time.monotonic()
    subprocess.run(["kill", "-TERM", str(pid)], check=True)
    told = watched.await_said("worker group restarts: .* SIGTERM|worker group restarts")
    _tell("SIGTERM to a worker until the group restarts", told - asked)
    found = re.search(r"stopped on request after step (\d+); state saved", watched.said)
    assert found, watched.said
    watched.await_said(f"continuing after step {found.group(1)}")
    watched.process.send_signal(signal.SIGTERM)
    assert watched.end()[0] == 75, watched.said
    assert verify_run(site.run_uri("worker")).is_exact


def test_when_one_rank_raises_the_last_process_of_its_group_ends_within_ten_seconds(
    site: Site,
) -> None:
    struck = site.folder / "raise.struck"
    watched = begin(
        lambda: site.start(
            "raising", VISAGE_FAULT_POINT="train.after_step@8:raise", VISAGE_FAULT_ONCE=str(struck),
            VISAGE_TEST_MARK="raising-mark",
        ),
        lambda: len(ray_workers("raising-mark")) == 2,
    )  # fmt: skip
    group = ray_workers("raising-mark")
    raised = await_true(struck.exists, watched)
    gone = await_true(lambda: not group & ray_workers("raising-mark"), watched)
    told = watched.await_said("worker group restarts")
    _tell("raise of one rank to the end of the last process", gone - raised)
    _tell("raise of one rank until it is told", told - raised)
    assert gone - raised <= PROMISED_S
    assert watched.end()[0] == 0, watched.said
    assert "fault point train.after_step" in watched.said


def test_a_killed_worker_is_detected_within_ten_seconds_and_its_peer_ends(site: Site) -> None:
    watched = _start(site, "killed")
    group = ray_workers("killed-mark")
    killed = time.monotonic()
    subprocess.run(["kill", "-KILL", str(max(group))], check=True)
    gone = await_true(lambda: not group & ray_workers("killed-mark"), watched)
    told = watched.await_said("worker group restarts")
    _tell("SIGKILL of a worker until it is told", told - killed)
    _tell("SIGKILL of a worker to the end of its peer", gone - killed)
    assert told - killed <= PROMISED_S
    assert gone - killed <= PROMISED_S
    watched.await_said("continuing after step")
    watched.process.send_signal(signal.SIGTERM)
    assert watched.end()[0] == 75, watched.said
    assert verify_run(site.run_uri("killed")).is_exact


@pytest.fixture
def slow_site(
    s3_server: S3Server, s3_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[Site, FaultProxy]]:
    """A workspace on s3:// behind a proxy, for which this machine has a rescue folder."""
    with FaultProxy(s3_server.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
        site = Site(tmp_path, s3_uri)
        yield site, proxy
        site.close()


@pytest.mark.parametrize(("delay_s", "where"), [(0.3, "state saved"), (4.0, "it is kept on")])
def test_a_slow_store_has_half_the_grace_and_then_the_machines_disk_takes_the_state(
    delay_s: float, where: str, slow_site: tuple[Site, FaultProxy], tmp_path: Path
) -> None:
    site, proxy = slow_site
    watched = _start(site, "slow")
    proxy.faults.delay_s = delay_s
    asked = time.monotonic()
    watched.process.send_signal(signal.SIGTERM)
    code, ended = watched.end()
    assert code == 75, watched.said
    _tell(f"SIGTERM to exit 75 with {delay_s:.1f} s for each request", ended - asked)
    assert ended - asked <= GRACE_S
    assert where in watched.said, watched.said
    proxy.faults.delay_s = 0.0
    found = re.search(r"stopped on request after step (\d+);", watched.said)
    assert found, watched.said
    _goes_on_from(site, "slow", int(found.group(1)))


def test_rays_word_that_a_node_goes_saves_at_once_and_the_run_ends_on_other_nodes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    name = f"drained-{uuid.uuid4().hex[:6]}"
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        watched = begin(
            lambda: site.start(name, preset="long", assign=RARE), lambda: site.newest_step(name) > 0
        )
        cluster.add_node(num_cpus=1)
        before = set(site.steps(name))
        words = ["--address", cluster.address, "--node-id", nodes[0].node_id]
        words += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
        words += ["--deadline-remaining-seconds", "20"]
        asked = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", "drain-node", *words],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        told = watched.await_said("will be taken away; saving")
        _tell("Ray's word until it is told", told - asked)
        saved = await_true(
            lambda: [one for one in set(site.steps(name)) - before if one % EVERY], watched
        )
        _tell("Ray's word until the checkpoint is published", saved - asked)
        await_true(lambda: len(re.findall("continuing after step", watched.said)) > 0, watched)
        watched.process.send_signal(signal.SIGTERM)
        assert watched.end()[0] == 75, watched.said
    finally:
        cluster.shutdown()
    assert verify_run(site.run_uri(name)).is_exact
