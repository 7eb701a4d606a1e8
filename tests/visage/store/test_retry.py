"""Trying again: bounded in number and time, spread by jitter, and plain about giving up."""

from __future__ import annotations

import itertools
import logging
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage.errors import StoreError, StoreUnavailableError
from visage.store.retry import RetryBudget, TransientError, with_retries


class _Clock:
    """Time that passes only by sleeping and by failing calls."""

    def __init__(self, call_s: float = 0.0) -> None:
        self.now_s = 0.0
        self.call_s = call_s
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now_s += seconds


def _fail(clock: _Clock, budget: RetryBudget, *, times: int | None = None, seed: int = 0) -> str:
    """Call something that fails `times` times (None: always) and then says "done"."""
    tries = itertools.count(1)

    def call() -> str:
        clock.now_s += clock.call_s
        if times is None or next(tries) <= times:
            raise TransientError("503")
        return "done"

    return with_retries(
        call, what="get key", budget=budget, clock=clock, sleep=clock.sleep,
        uniform=random.Random(seed).uniform,
    )  # fmt: skip


def test_a_failure_that_passes_is_not_seen_but_each_try_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = _Clock()
    with caplog.at_level(logging.WARNING):
        assert _fail(clock, RetryBudget(), times=3) == "done"
    assert len(clock.sleeps) == 3
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    assert "get key: try 2 failed (503)" in caplog.text


@given(
    tries=st.integers(1, 12),
    first=st.floats(0.01, 5),
    longest=st.floats(0.01, 20),
    deadline=st.floats(0.1, 200),
    call=st.floats(0, 10),
    seed=st.integers(0, 99),
)
def test_no_budget_is_ever_overdrawn(
    tries: int, first: float, longest: float, deadline: float, call: float, seed: int
) -> None:
    budget = RetryBudget(
        tries=tries, first_wait_s=first, longest_wait_s=longest, deadline_s=deadline
    )
    clock = _Clock(call)
    with pytest.raises(StoreUnavailableError):
        _fail(clock, budget, seed=seed)
    assert len(clock.sleeps) <= tries - 1
    slept_until_s = clock.now_s - call  # the last call itself cannot be cut short
    assert not clock.sleeps or slept_until_s <= deadline + 1e-9
    wait_s = first
    for slept_s in clock.sleeps:
        assert wait_s / 2 <= slept_s <= wait_s
        wait_s = min(wait_s * 2, longest)


def test_two_clients_do_not_wait_in_step() -> None:
    clocks = [_Clock(), _Clock()]
    for seed, clock in enumerate(clocks):
        with pytest.raises(StoreUnavailableError):
            _fail(clock, RetryBudget(), seed=seed)
    assert all(a != b for a, b in zip(clocks[0].sleeps, clocks[1].sleeps, strict=False))


def test_giving_up_names_the_call_the_tries_the_cause_and_the_next_step() -> None:
    budget = RetryBudget(tries=3, first_wait_s=4, longest_wait_s=4)
    with pytest.raises(StoreUnavailableError) as caught:
        _fail(_Clock(), budget)
    message = str(caught.value)
    assert message.startswith("get key: no success in 3 tries")
    assert "503" in message
    assert "run the same command again" in message
    assert caught.value.exit_code == 75


def test_a_final_error_is_raised_at_once() -> None:
    clock = _Clock()

    def refuse() -> None:
        raise StoreError("access denied")

    with pytest.raises(StoreError, match="access denied"):
        with_retries(refuse, what="x", budget=RetryBudget(), clock=clock, sleep=clock.sleep)
    assert clock.sleeps == []
