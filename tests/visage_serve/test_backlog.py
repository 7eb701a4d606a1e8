"""Promises of the backlog: bounded in seconds of video, never leaking, honest about the wait."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage_serve.backlog import Backlog
from visage_serve.refusal import Refusal

LIMIT_S = 60.0


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["enter", "leave", "fail", "render"]),
            st.sampled_from([0.5, 10.0, 20.0, 70.0]),
        ),
        max_size=60,
    )
)
def test_the_sum_is_what_is_inside_and_never_above_the_limit_but_for_a_lone_video(steps):
    backlog = Backlog(LIMIT_S)
    inside = []
    for step, seconds in steps:
        if step == "enter":
            place = contextlib.ExitStack()
            before = backlog.seconds
            if inside and before + seconds > LIMIT_S:
                with pytest.raises(Refusal) as caught:
                    place.enter_context(backlog.enter(seconds))
                assert 1 <= int(caught.value.headers["Retry-After"]) <= 600
            else:
                inside.append((place, place.enter_context(backlog.enter(seconds))))
        elif inside and step == "render":
            inside[0][1].left_s = max(0.0, inside[0][1].left_s - seconds)
        elif inside and step == "leave":
            inside.pop(0)[0].close()
        elif inside:
            with contextlib.suppress(RuntimeError), inside.pop()[0]:
                raise RuntimeError
        assert backlog.seconds == pytest.approx(sum(entry.left_s for _, entry in inside))


def test_a_video_longer_than_the_limit_is_taken_by_an_empty_backlog_only():
    backlog = Backlog(LIMIT_S)
    with backlog.enter(500.0), pytest.raises(Refusal, match="500 s of video wait"):
        backlog.check(1.0)
    backlog.check(500.0)


def test_what_is_rendered_and_not_yet_sent_refuses_what_is_too_long_beside_it():
    backlog = Backlog(LIMIT_S)
    with backlog.enter(10.0) as entry:
        entry.left_s = 0.0
        with pytest.raises(Refusal) as caught:
            backlog.check(500.0)
    assert caught.value.headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("pace", "waiting_s", "asked_s", "told_s"),
    [(1.0, 60.0, 10.0, 10), (3.0, 50.0, 20.0, 30), (0.1, 60.0, 5.0, 1), (100.0, 60.0, 60.0, 600)],
)
def test_the_time_to_come_back_is_that_of_the_video_that_has_to_go_first(
    pace, waiting_s, asked_s, told_s
):
    backlog = Backlog(LIMIT_S)
    backlog.learn(300, 10.0 * pace)
    with backlog.enter(waiting_s), pytest.raises(Refusal) as caught:
        backlog.check(asked_s)
    assert caught.value.status == 429
    assert int(caught.value.headers["Retry-After"]) == told_s


def test_the_pace_follows_the_machine_and_long_videos_count_for_more():
    backlog = Backlog(LIMIT_S)
    assert backlog.pace * 30 == 1.0
    backlog.learn(9, 3.0)  # a short first one pays for the warming up
    backlog.learn(1800, 60.0)
    assert backlog.pace * 30 == pytest.approx(1.0, abs=0.05)
    for _ in range(30):
        backlog.learn(300, 40.0)
    assert backlog.pace * 30 == pytest.approx(4.0, abs=0.01)


@pytest.mark.parametrize(("fps", "told_s"), [(24.0, 48), (30.0, 60), (60.0, 120)])
def test_a_video_with_more_frames_a_second_takes_longer(fps, told_s):
    backlog = Backlog(LIMIT_S)
    backlog.learn(300, 10.0)
    with backlog.enter(60.0, fps=fps):
        assert backlog.retry_after_s() == told_s
