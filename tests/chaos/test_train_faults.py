"""What two workers on a real Ray survive beside being killed: frozen, hung, raising, diverging.

Every run is the command that a person would type. The figures that docs/promises.md quotes are
printed with `pytest -s`.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from invariants import check_run
from train_site import Site

from visage.training.verify import verify_run

pytestmark = [pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(400)]
STALL = "stall_limit_s=6"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("chaos"))


@pytest.fixture(scope="module")
def unbroken(site: Site) -> str:
    """Checksum of the weights of a run that nothing disturbed."""
    code, said = site.run("unbroken", assign=[STALL])
    assert code == 0, said
    return site.weights("unbroken")


@pytest.mark.parametrize("action", ["freeze", "hang"])
def test_a_rank_that_stands_still_is_named_within_the_limit_and_restarted(
    action: str, site: Site, unbroken: str
) -> None:
    struck = site.folder / f"{action}.struck"
    code, said = site.run(
        action,
        assign=[STALL],
        VISAGE_FAULT_POINT=f"train.before_step@8:{action}",
        VISAGE_FAULT_ONCE=str(struck),
    )
    assert code == 0, said
    rank = struck.read_text().split()[1]
    found = re.search(r"rank (\d) stalled at step (\d+) \((\w+)\): .* for (\d+) s", said)
    assert found, said
    assert found.group(1) == rank, said
    if action == "hang":  # its beats go on, so its place is exact
        assert found.group(2, 3) == ("7", "begin"), said
    assert int(found.group(4)) <= 2 * 6
    assert check_run(site.folder / "runs" / action) == []
    assert site.weights(action) == unbroken


def test_a_rank_that_raises_ends_all_ranks_and_its_own_error_comes_first(
    site: Site, unbroken: str
) -> None:
    struck = site.folder / "raise.struck"
    code, said = site.run(
        "raise",
        assign=[STALL],
        VISAGE_FAULT_POINT="train.after_step@8:raise",
        VISAGE_FAULT_ONCE=str(struck),
    )
    assert code == 0, said
    rank = struck.read_text().split()[1]
    told = re.search(r"worker group restarts: rank (\d): (.*)", said)
    assert told, said
    assert told.group(1) == rank
    assert "fault point train.after_step" in said[told.start() : told.start() + 300]
    assert site.weights("raise") == unbroken


def test_a_diverging_run_ends_before_the_optimizer_and_names_step_and_samples(site: Site) -> None:
    code, said = site.run("diverging", assign=["optimizer.lr=1e30"])
    assert code == 1, said
    words = " ".join(said.split())
    found = re.search(r"step (\d+), model: the loss is (nan|inf)", words)
    assert found, said
    assert re.search(r"read samples \[[\d, ]+\]", words), said
    assert "no rank took the step" in words
    assert "restarts" not in said


def test_a_run_resized_from_two_workers_to_one_and_back_reads_the_same_order(site: Site) -> None:
    for workers in (2, 1):
        process = site.start("resized", preset="long", workers=workers)
        site.await_checkpoint("resized", process, beyond_step=site.newest_step("resized"))
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=240)
        assert process.returncode == 75, said
    code, said = site.run("resized", preset="long", workers=2)
    assert code == 0, said
    report = verify_run(str(site.folder / "runs" / "resized"))
    assert report.worlds == (2, 1, 2)
    assert check_run(site.folder / "runs" / "resized") == []


def test_a_global_batch_that_the_workers_cannot_share_is_refused_before_any_worker_starts(
    site: Site,
) -> None:
    code, said = site.run("unequal", workers=3)
    assert code == 2, said
    assert "global_batch 8 is not divisible by 3 workers" in " ".join(said.split())
    assert "started" not in said


def test_a_damaged_checkpoint_is_named_beside_the_one_that_is_used_instead(site: Site) -> None:
    process = site.start("damaged", preset="long")
    site.await_checkpoint("damaged", process, beyond_step=3)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 75, said
    older, newest = sorted((site.folder / "runs" / "damaged" / "checkpoints").iterdir())[-2:]
    _flip(next(newest.glob("model.*")))
    code, said = site.run("damaged", preset="long")
    assert code == 0, said
    assert f"checkpoint {newest.name} is damaged" in " ".join(said.split()), said
    assert f"{older.name} is used" in " ".join(said.split()), said
    assert verify_run(str(site.folder / "runs" / "damaged")).is_exact


def _flip(part: Path) -> None:
    body = bytearray(part.read_bytes())
    body[len(body) // 2] ^= 1
    part.write_bytes(bytes(body))
