"""The judge of stalled ranks, on a clock that the test moves."""

from __future__ import annotations

import pytest

from visage_jobs.pulse import Pulse
from visage_jobs.train_worker import first_cause

LIMIT_S = 10.0


class Group:
    """Two ranks that beat once a second on a clock of their own."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pulse = Pulse(LIMIT_S, clock=lambda: self.now_s)
        self.notes = {0: 0, 1: 0}
        self.condemned: set[int] = set()

    def run(self, seconds: int, *, at: dict[int, tuple[int, str, bool]]) -> None:
        """Let time pass; of each rank step, phase and whether it moves; the others are silent."""
        for _ in range(seconds):
            self.now_s += 1.0
            for rank, (step, phase, moves) in at.items():
                self.notes[rank] += moves
                if self.pulse.beat(rank, f"process-{rank}", step, phase, self.notes[rank]):
                    self.condemned.add(rank)


def test_ranks_that_move_are_never_suspected() -> None:
    group = Group()
    group.run(100, at={0: (5, "step", True), 1: (5, "step", True)})
    assert group.pulse.stalled() is None
    assert not group.condemned


def test_a_rank_that_hangs_is_told_from_the_one_that_waits_for_it() -> None:
    group = Group()
    group.run(3, at={0: (5, "begin", True), 1: (5, "begin", True)})
    group.run(1, at={0: (5, "step", True), 1: (5, "begin", False)})
    group.run(12, at={0: (5, "step", False), 1: (5, "begin", False)})
    found = group.pulse.stalled()
    assert found is not None
    assert (found.rank, found.step, found.phase, found.is_silent) == (1, 5, "begin", False)
    assert group.condemned == {1}


def test_a_frozen_process_is_named_even_while_the_others_wait_in_the_same_step() -> None:
    group = Group()
    group.run(3, at={0: (7, "step", True), 1: (7, "step", True)})
    group.run(12, at={1: (7, "step", False)})
    found = group.pulse.stalled()
    assert found is not None
    assert (found.rank, found.is_silent) == (0, True)
    assert 10.0 < found.still_s <= 12.0
    assert not group.condemned, "the one that waits must live"


@pytest.mark.parametrize("phase", ["start", "data", "save"])
def test_a_rank_that_waits_for_the_store_is_not_stalled(phase: str) -> None:
    group = Group()
    group.run(3, at={0: (7, phase, True), 1: (7, phase, True)})
    group.run(1, at={0: (7, phase, False), 1: (8, "step", True)})
    group.run(60, at={0: (7, phase, False), 1: (8, "step", False)})
    assert group.pulse.stalled() is None


def test_a_rank_that_left_and_a_group_that_was_replaced_are_forgotten() -> None:
    group = Group()
    group.run(3, at={0: (7, "step", True), 1: (7, "step", True)})
    group.pulse.leave(0)
    group.now_s += 9.0
    assert not group.pulse.beat(1, "another process", 7, "step", 1)
    group.now_s += 9.0
    assert group.pulse.stalled() is None


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_rank_that_failed_by_itself_comes_before_those_that_lost_it(
    order: tuple[int, int],
) -> None:
    said = {
        0: RuntimeError("[../third_party/gloo/pair.cc:534] Connection closed by peer"),
        1: ValueError("the picture is upside down"),
    }
    rank, cause = first_cause({rank: said[rank] for rank in order})
    assert rank == 1
    assert "upside down" in str(cause)


def test_the_first_word_of_no_use_stands_for_the_group_that_comes_after() -> None:
    pulse = Pulse(10.0, lambda: 0.0)
    assert pulse.given_up() is None
    pulse.give_up("row 3 cannot be used")
    pulse.give_up("a peer is gone")
    pulse.beat(0, "second group", 0, "start", 0)
    assert pulse.given_up() == "row 3 cannot be used"
