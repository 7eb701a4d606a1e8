from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage_serve.admission import Admission
from visage_serve.refusal import Refusal


@given(
    limit=st.integers(1, 5),
    steps=st.lists(st.sampled_from(["enter", "leave", "fail"]), max_size=60),
)
def test_the_count_is_what_is_inside_and_never_above_the_limit(limit, steps):
    admission = Admission(limit)
    inside = []
    for step in steps:
        if step == "enter":
            place = contextlib.ExitStack()
            if len(inside) < limit:
                place.enter_context(admission.enter())
                inside.append(place)
            else:
                with pytest.raises(Refusal, match="in flight"):
                    place.enter_context(admission.enter())
        elif inside and step == "leave":
            inside.pop(0).close()
        elif inside:
            with contextlib.suppress(RuntimeError), inside.pop():
                raise RuntimeError
        assert admission.in_flight == len(inside) <= limit


@pytest.mark.parametrize(("took_s", "told_s"), [(0.01, 1), (2.2, 3), (1000.0, 60)])
def test_the_time_to_come_back_follows_what_requests_take(took_s, told_s):
    now = [0.0]
    admission = Admission(1, clock=lambda: now[0])
    assert admission.retry_after_s() == 1
    for _ in range(50):
        with admission.enter():
            now[0] += took_s
    assert admission.retry_after_s() == told_s


def test_a_failed_request_does_not_teach_that_requests_are_fast():
    now = [0.0]
    admission = Admission(1, clock=lambda: now[0])
    with admission.enter():
        now[0] += 9.5
    for _ in range(50):
        with contextlib.suppress(ValueError), admission.enter():
            raise ValueError
    assert admission.retry_after_s() == 10
