"""The first half of preparing a clip: follow its face, and put the head into space; no sound.

    frames ─► 68 points (true ones of a drawn clip, else tracked) ─► one take ─► one square crop
           ─► head pose, smoothed ─► shape without pose ─► key motions

Frames are decoded a bounded run at a time. Those of a short clip are kept for its pictures, a long
one is decoded again: no clip is ever held whole (models.md part D, A.5, A.6).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visage.data.clip_takes import Take, check_turn, choose_take, seen_part
from visage.data.clip_times import fill_gaps, frame_times, smoothed_in_time
from visage.data.kept_frames import FrameKeeper, KeptFrames
from visage.data.stage_clock import StageClock
from visage.errors import MediaError
from visage.faces.crop import SquareCrop, crop_around
from visage.faces.lift import LiftedHead, lift_heads, measure_poses
from visage.faces.provider import FaceProvider
from visage.faces.style_references import KeyMotions, find_key_motions
from visage.faces.track import FaceTracker
from visage.media.image import Image
from visage.media.sandbox import MediaSandbox
from visage.media.scenes import SceneWatch
from visage.media.video import TimedFrame, VideoInfo
from visage.models.projection import Camera
from visage.specs.prepare import ClipPrepareSpec

__all__ = ["TrackedClip", "iter_pictures", "track_clip"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrackedClip:
    """What was found in the frames of one take, at the times of the frames."""

    info: VideoInfo
    """Of the whole clip."""
    first: int
    """Frame of the clip with which the take begins."""
    start_s: float
    """When that frame is shown, on the clock of the container (as `info.audio_start_s`)."""
    crop: SquareCrop
    """From the source to the pictures."""
    times_s: Doubles
    """When each frame is shown, counted from the first; increasing, shape (n,)."""
    seen: NDArray[np.bool_]
    """Whether the face was found in a frame, shape (n,); elsewhere its points are interpolated."""
    points: Floats
    """Pixels of the crop, shape (n, 68, 2)."""
    pose: Doubles
    """Smoothed: pitch, yaw, roll in degrees, translation in units of the generic head, (n, 6)."""
    head: LiftedHead
    """The same in object coordinates."""
    motions: KeyMotions
    """Neutral frame and style references, among the frames in which the face was seen."""
    kept: KeptFrames | None = field(default=None, repr=False)
    """What the pictures need of the n frames, if it was little enough to be kept."""

    def __len__(self) -> int:
        """Frames."""
        return len(self.points)

    @property
    def duration_s(self) -> float:
        """Until the last frame was shown for as long as frames usually are."""
        if len(self) == 1:
            return 1 / self.info.fps if self.info.fps > 0 else 0.0
        return float(self.times_s[-1] + np.median(np.diff(self.times_s)))


@dataclass(slots=True, kw_only=True)
class _Reading:
    """All frames of a clip, seen once."""

    times_s: Doubles
    cuts: list[int]
    tracker: FaceTracker | None
    keeper: FrameKeeper


def track_clip(
    path: Path,
    *,
    provider: FaceProvider,
    sandbox: MediaSandbox,
    spec: ClipPrepareSpec,
    truth: Floats | None = None,
    clock: StageClock | None = None,
) -> TrackedClip:
    """Follow the one face of a clip through one take.

    Args:
        truth: The points of every frame in its pixels, (n, 68, 2), where they are known; no face
            is looked for then, the clip counts as one take, and nothing is smoothed but the pose.
        clock: Told of the stages `decode`, `scenes`, `detect`, `landmarks`, `crop` and `pose`.

    Raises:
        MediaError: `too_long`, `scene_cut`, `no_face`, `several_faces`, `profile`,
            `face_too_small`, `truncated`, or what the decoders say.
    """
    clock = StageClock({}, sandbox) if clock is None else clock
    with clock("decode"):
        info = sandbox.probe_video(path)
    if info.duration_s > spec.longest_s:
        raise MediaError(
            "too_long",
            f"{path.name}: {info.duration_s:.0f} s; at most {spec.longest_s:.0f} s at once: "
            "cut it into parts, or let visage prepare take longer ones (--set longest_s)",
        )
    reading = _read(path, info, None if truth is not None else provider, sandbox, spec, clock)
    with clock("pose"):
        if truth is None:
            take, source, seen = _found(reading, spec)
        else:
            take, source = Take(start=0, stop=len(truth)), truth
            seen = np.ones(len(truth), np.bool_)
        if len(reading.times_s) < take.stop:
            raise MediaError(
                "truncated",
                f"{path.name}: {len(reading.times_s)} frames of {len(source)} whose points are "
                "known",
            )
        return _lifted(info, reading, take, source, seen, spec)


def iter_pictures(path: Path, clip: TrackedClip, sandbox: MediaSandbox) -> Iterator[Image]:
    """The cropped picture of every frame of a tracked clip, uint8 (size, size, 3), in order.

    Raises:
        MediaError: `truncated` if fewer frames come than were tracked, or what the decoders say.
    """
    if clip.kept is not None:
        yield from clip.kept.cut(clip.crop)
        return
    count = 0
    frames = sandbox.iter_frames(path, clip.info)
    for frame in islice(frames, clip.first, clip.first + len(clip)):
        yield clip.crop.cut(frame)
        count += 1
    if count < len(clip):
        raise MediaError("truncated", f"{path}: frames are missing at the second reading")


def _read(
    path: Path,
    info: VideoInfo,
    provider: FaceProvider | None,
    sandbox: MediaSandbox,
    spec: ClipPrepareSpec,
    clock: StageClock,
) -> _Reading:
    """Decode every frame once: its time, what changes, the face, and the frame if there is room."""
    stated: list[float | None] = []
    tracker = None if provider is None else FaceTracker(provider, timed=clock)
    watch, keeper = SceneWatch(), FrameKeeper(margin=spec.margin)
    for shown in _decoded(path, info, sandbox, clock):
        stated.append(shown.time_s)
        if tracker is not None:
            with clock("scenes"):
                begins_scene = watch.see(shown.image)
            with clock("landmarks"):
                tracker.take(shown.image, begins_scene=begins_scene)
            _stop_early(path, info, stated, watch, tracker, spec)
        with clock("crop"):
            keeper.take(shown.image, None if tracker is None else tracker.last)
    if not stated:
        raise MediaError("empty", f"{path.name}: the clip has no frames")
    cuts = [] if tracker is None else watch.cuts()
    times_s = frame_times(stated, info.fps)
    return _Reading(times_s=times_s, cuts=cuts, tracker=tracker, keeper=keeper)


def _stop_early(
    path: Path,
    info: VideoInfo,
    stated: list[float | None],
    watch: SceneWatch,
    tracker: FaceTracker,
    spec: ClipPrepareSpec,
) -> None:
    """Do not follow to its end what can only be rejected."""
    if spec.scene_cuts != "reject":
        return
    cut = watch.cut_lately()
    if cut is not None:
        choose_take(frame_times(stated, info.fps), [cut], spec)
    whole = max(info.frames, round(info.duration_s * info.fps), len(stated))
    if tracker.lost > spec.most_lost_share * whole:
        raise MediaError(
            "no_face", f"{path.name}: no face in {tracker.lost} of the first {len(stated)} frames"
        )


def _found(reading: _Reading, spec: ClipPrepareSpec) -> tuple[Take, Floats, NDArray[np.bool_]]:
    """The take that can be used, its points in pixels of the source, and where they were seen."""
    assert reading.tracker is not None  # only clips with known points have none
    whole = choose_take(reading.times_s, reading.cuts, spec)
    track = reading.tracker.track()
    take = seen_part(track, reading.times_s, whole, spec)
    points, times_s = track.points[take.start : take.stop], reading.times_s[take.start : take.stop]
    seen = np.isfinite(points[:, 0, 0])
    filled = fill_gaps(points, times_s)
    return take, smoothed_in_time(filled, times_s, spec.points_sigma_s).astype(np.float32), seen


def _lifted(
    info: VideoInfo,
    reading: _Reading,
    take: Take,
    source: Floats,
    seen: NDArray[np.bool_],
    spec: ClipPrepareSpec,
) -> TrackedClip:
    crop = crop_around(
        source, width=info.width, height=info.height, margin=spec.margin, size=spec.size
    )
    points = crop.points(source)
    camera = Camera.of_size(spec.size)
    shown_s = reading.times_s[take.start : take.stop]
    measured = measure_poses(points, camera)
    check_turn(measured[seen, 1], spec)
    pose = smoothed_in_time(measured, shown_s, spec.pose_sigma_s)
    head = lift_heads(points, pose, camera)
    return TrackedClip(
        info=info,
        first=take.start,
        start_s=float(shown_s[0]),
        crop=crop,
        times_s=shown_s - shown_s[0],
        seen=seen,
        points=points,
        pose=pose,
        head=head,
        motions=find_key_motions(head.landmarks, head.pose, among=np.flatnonzero(seen)),
        kept=reading.keeper.kept(crop, take.start, take.stop),
    )


def _decoded(
    path: Path, info: VideoInfo, sandbox: MediaSandbox, clock: StageClock
) -> Iterator[TimedFrame]:
    """All frames; the time they take to come counts for a stage."""
    frames = sandbox.iter_timed_frames(path, info)
    while True:
        with clock("decode"):
            frame = next(frames, None)
        if frame is None:
            return
        yield frame
