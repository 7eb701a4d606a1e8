"""Which part of a clip is used, and why the rest is not."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage.data.clip_takes import Take, check_turn, choose_take, seen_part
from visage.errors import MediaError
from visage.faces.track import FaceTrack
from visage.specs.prepare import ClipPrepareSpec

SPEC = ClipPrepareSpec()
LONGEST = ClipPrepareSpec(scene_cuts="longest")


def _times(count: int) -> np.ndarray:
    return 3.0 + np.arange(count) / 25


def _track(seen: str, rivals: list[float] | None = None) -> FaceTrack:
    """`x` for a frame with the face, anything else for one without."""
    points = np.zeros((len(seen), 68, 2), np.float32)
    points[[one != "x" for one in seen]] = np.nan
    found = np.full(len(seen), np.nan, np.float32)
    found[: len(rivals or [])] = rivals or []
    return FaceTrack(points=points, rivals=found)


def _whole(track: FaceTrack, spec: ClipPrepareSpec = SPEC) -> Take:
    count = len(track.points)
    return seen_part(track, _times(count), Take(start=0, stop=count), spec)


def _code(track: FaceTrack, spec: ClipPrepareSpec = SPEC) -> str:
    with pytest.raises(MediaError) as found:
        _whole(track, spec)
    return found.value.code


def test_a_clip_of_one_scene_is_one_take() -> None:
    for spec in (SPEC, LONGEST):
        assert choose_take(_times(9), [], spec) == Take(start=0, stop=9)


def test_a_rejection_says_where_after_the_beginning_and_what_to_do() -> None:
    with pytest.raises(MediaError, match=r"begins at 0\.20 s \(and 1 more\).*longest") as found:
        choose_take(_times(20), [5, 9], SPEC)
    assert found.value.code == "scene_cut"


def test_a_setting_is_named_with_the_verb_that_has_it() -> None:
    """Clips are refused by `animate` and `transfer-style` too, which have no such settings."""
    with pytest.raises(MediaError, match=r"visage prepare .*--set scene_cuts=longest"):
        choose_take(_times(20), [5], SPEC)
    with pytest.raises(MediaError, match=r"visage prepare .*--set several_faces=largest"):
        _whole(_track("x" * 4, [0.9] * 4))


@given(st.integers(1, 60), st.sets(st.integers(1, 59)), st.sets(st.integers(1, 59)))
def test_the_longest_take_holds_no_cut_and_no_gap_and_none_is_longer(
    count: int, cuts: set[int], gaps: set[int]
) -> None:
    inside = sorted(one for one in cuts if one < count)
    steps = np.where(np.isin(np.arange(count), list(gaps)), 0.8, 0.04)
    times = np.cumsum(steps)
    take = choose_take(times, inside, LONGEST)
    assert 0 <= take.start < take.stop <= count
    ends = sorted({0, count, *inside, *(one for one in gaps if one < count)})
    assert take.start in ends
    assert take.stop in ends
    assert not [one for one in ends if take.start < one < take.stop]
    lengths = [times[b - 1] - times[a] for a, b in pairwise(ends)]
    assert times[take.stop - 1] - times[take.start] == pytest.approx(max(lengths))


def test_the_ends_without_a_face_are_left_out() -> None:
    spec = ClipPrepareSpec(most_lost_share=0.5)
    assert _whole(_track("..xxx.xxxx."), spec) == Take(start=2, stop=10)


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        ("x" * 100, None),
        ("x" * 50 + "." * 10 + "x" * 40, None),
        ("x" * 50 + "." * 11 + "x" * 39, "no_face"),
        ("." * 30, "no_face"),
        ("x" * 150 + "." * 14 + "x" * 100, "no_face"),  # a few, but on end
    ],
)
def test_a_face_may_be_missing_seldom_and_shortly(seen: str, code: str | None) -> None:
    track = _track(seen)
    if code is None:
        assert _whole(track) == Take(start=0, stop=len(seen))
    else:
        assert _code(track) == code


@pytest.mark.parametrize(
    ("rivals", "codes"),
    [
        ([0.0, 0.0, 0.9, 0.0], (None, None, None)),
        ([0.9, 0.0, 0.9, 0.9], ("several_faces", None, "several_faces")),
        ([0.4, 0.4, 0.4, 0.4], (None, None, "several_faces")),
        ([0.0, 0.3, 0.3, 0.0, 0.0, 0.0, 0.0], (None, None, "several_faces")),  # for a second
        ([0.0, 0.3, 0.0, 0.0, 0.3, 0.0, 0.0], (None, None, None)),  # a shadow, now and then
        ([0.9, 0.9, 0.0, 0.0, 0.0], (None, None, "several_faces")),
        ([], (None, None, None)),
    ],
)
def test_rivals_count_by_size_time_and_policy(
    rivals: list[float], codes: tuple[str | None, ...]
) -> None:
    track = _track("x" * 20, rivals)
    for policy, code in zip(("clear", "largest", "reject"), codes, strict=True):
        spec = ClipPrepareSpec.parse({"several_faces": policy})
        if code is None:
            assert _whole(track, spec) == Take(start=0, stop=20)
        else:
            assert _code(track, spec) == code


@pytest.mark.parametrize(("turned", "is_refused"), [(25, False), (26, True)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_head_may_turn_away_for_a_while(turned: int, is_refused: bool, sign: int) -> None:
    yaw = np.zeros(100)
    yaw[:turned] = sign * 50.0
    if not is_refused:
        check_turn(yaw, SPEC)
        return
    with pytest.raises(MediaError, match="26%") as found:
        check_turn(yaw, SPEC)
    assert found.value.code == "profile"


@pytest.mark.parametrize(("yaw_deg", "is_refused"), [(35.0, False), (42.0, True)])
def test_a_full_profile_is_refused_although_its_points_measure_less(
    yaw_deg: float, is_refused: bool
) -> None:
    # Of a head that shows one eye dlib's points measure 36 to 47 degrees, three quarters up to 35.
    yaw = np.full(50, yaw_deg)
    if not is_refused:
        check_turn(yaw, SPEC)
        return
    with pytest.raises(MediaError) as found:
        check_turn(yaw, SPEC)
    assert found.value.code == "profile"
