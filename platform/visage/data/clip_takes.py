"""Which part of a clip is one take of one person, and whether it can be used.

A take ends where another scene begins, and where no picture is shown for too long. What is wanted
of it stands in `ClipPrepareSpec`; what is not met is one typed rejection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from visage.errors import MediaError
from visage.faces.track import FaceTrack
from visage.specs.prepare import ClipPrepareSpec

__all__ = ["Take", "check_turn", "choose_take", "seen_part"]

Doubles = NDArray[np.float64]
_LARGE_RIVAL = 0.5
"""Height of a face that competes, in heights of the one that is followed."""
_MOST_RIVAL_SHARE = 0.5
"""Of the searches that may see a rival, unless nobody else may be there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """Frames `start` to `stop` (exclusive) of a clip."""

    start: int
    stop: int

    def __len__(self) -> int:
        """Frames."""
        return self.stop - self.start


def choose_take(times_s: Doubles, cuts: Sequence[int], spec: ClipPrepareSpec) -> Take:
    """The whole clip if it is one take, else what `spec.scene_cuts` says: nothing, or the longest.

    Args:
        times_s: Of all frames, increasing, shape (n,), n > 0.
        cuts: Frames with which another scene begins.

    Raises:
        MediaError: `scene_cut` if there are several and they are to be rejected.
    """
    gaps = np.flatnonzero(np.diff(times_s) > spec.longest_gap_s) + 1
    ends = sorted({*cuts, *gaps.tolist()})
    if ends and spec.scene_cuts == "reject":
        at = ends[0]
        after_s = float(times_s[at] - times_s[0])
        what = f"another scene begins at {after_s:.2f} s"
        if at not in cuts:
            gone_s = float(times_s[at] - times_s[at - 1])
            what = f"no picture is shown for {gone_s:.2f} s before {after_s:.2f} s"
        more = f" (and {len(ends) - 1} more)" if len(ends) > 1 else ""
        raise MediaError(
            "scene_cut",
            f"{what}{more}; cut the clip there, or let visage prepare take its longest scene "
            "(--set scene_cuts=longest)",
        )
    takes = [Take(start=a, stop=b) for a, b in pairwise([0, *ends, len(times_s)])]
    return max(takes, key=lambda take: float(times_s[take.stop - 1] - times_s[take.start]))


def seen_part(track: FaceTrack, times_s: Doubles, take: Take, spec: ClipPrepareSpec) -> Take:
    """The take from the first to the last frame that shows its face.

    Raises:
        MediaError: `no_face` if it is gone too often or too long, `several_faces`.
    """
    seen = np.isfinite(track.points[take.start : take.stop, 0, 0])
    lost = len(take) - int(seen.sum())
    if lost == len(take):
        raise MediaError("no_face", f"no face in any of {lost} frames")
    if lost > spec.most_lost_share * len(take):
        raise MediaError("no_face", f"the face is lost in {lost} of {len(take)} frames")
    where = take.start + np.flatnonzero(seen)
    away_s = np.diff(times_s[where])
    if len(away_s) and away_s.max() > spec.longest_gap_s:
        at = float(times_s[where[int(away_s.argmax())]] - times_s[0])
        raise MediaError("no_face", f"the face is gone for {away_s.max():.2f} s from {at:.2f} s on")
    _check_rivals(track.rivals[take.start : take.stop], spec)
    return Take(start=int(where[0]), stop=int(where[-1]) + 1)


def check_turn(yaw_deg: Doubles, spec: ClipPrepareSpec) -> None:
    """Refuse a head of which one half is hidden.

    Raises:
        MediaError: `profile`.
    """
    share = float((np.abs(yaw_deg) > spec.most_yaw_deg).mean())
    if share > spec.most_profile_share:
        raise MediaError(
            "profile",
            f"the head is turned by more than {spec.most_yaw_deg:g} degrees in {share:.0%} of the "
            "frames; half of the face is hidden",
        )


def _check_rivals(rivals: NDArray[np.float32], spec: ClipPrepareSpec) -> None:
    searched = rivals[np.isfinite(rivals)]
    if spec.several_faces == "largest" or not len(searched):
        return
    least = _LARGE_RIVAL if spec.several_faces == "clear" else 0.0
    there = searched > least
    share = float(there.mean())
    # One search may take a shadow for a face; whoever is there is found by the next one too.
    stays = spec.several_faces == "reject" and bool((there[1:] & there[:-1]).any())
    if stays or share > _MOST_RIVAL_SHARE:
        raise MediaError(
            "several_faces",
            f"another face, {float(np.median(searched[there])):.0%} as tall, is there in "
            f"{share:.0%} of the searches; crop the clip, or let visage prepare follow the largest "
            "(--set several_faces=largest)",
        )
