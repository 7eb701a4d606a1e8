"""The first half of preparing a clip: follow its face, and put the head into space; no sound.

    frames ─► 68 points (true ones of a drawn clip, else tracked) ─► one steady square crop
           ─► head pose, smoothed ─► shape without pose ─► key motions

Frames are decoded a bounded run at a time and again for the pictures; no clip is ever held whole
(models.md part D, A.5, A.6).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visage.errors import MediaError
from visage.faces.crop import SquareCrop, crop_around
from visage.faces.lift import LiftedHead, lift_heads, measure_poses, smoothed
from visage.faces.provider import FaceProvider
from visage.faces.style_references import KeyMotions, find_key_motions
from visage.faces.track import track_face
from visage.media.image import Image
from visage.media.sandbox import MediaSandbox
from visage.media.video import VideoInfo
from visage.models.projection import Camera
from visage.specs.prepare import ClipPrepareSpec

__all__ = ["TrackedClip", "iter_pictures", "stage", "track_clip"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrackedClip:
    """What was found in the frames of one clip, at the times of the frames."""

    info: VideoInfo
    crop: SquareCrop
    """From the source to the pictures."""
    times_s: Doubles
    """When each frame is shown, counted from the first; increasing, shape (n,)."""
    points: Floats
    """Pixels of the crop, shape (n, 68, 2)."""
    pose: Doubles
    """Smoothed: pitch, yaw, roll in degrees, translation in units of the generic head, (n, 6)."""
    head: LiftedHead
    """The same in object coordinates."""
    motions: KeyMotions
    """Neutral frame and style references."""

    def __len__(self) -> int:
        """Frames."""
        return len(self.points)


def track_clip(
    path: Path,
    *,
    provider: FaceProvider,
    sandbox: MediaSandbox,
    spec: ClipPrepareSpec,
    truth: Floats | None = None,
    seconds: dict[str, float] | None = None,
) -> TrackedClip:
    """Follow the one face of a clip through all of its frames.

    Args:
        truth: The points of every frame in its pixels, (n, 68, 2), where they are known; no face
            is looked for then, and nothing is smoothed but the pose.
        seconds: Collects time by stage.

    Raises:
        MediaError: `no_face`, `face_too_small`, or what the decoders say.
    """
    spent = {} if seconds is None else seconds
    with stage(spent, "decode"):
        info = sandbox.probe_video(path)
    source = truth
    if source is None:
        with stage(spent, "faces"):
            found = track_face(sandbox.iter_frames(path, info), provider)
            sigma = spec.points_sigma_s * info.fps
            source = smoothed(found.astype(np.float64), sigma).astype(np.float32)
    with stage(spent, "lift"):
        return _lifted(info, source, spec)


def iter_pictures(path: Path, clip: TrackedClip, sandbox: MediaSandbox) -> Iterator[Image]:
    """The cropped picture of every frame of a tracked clip, uint8 (size, size, 3), in order.

    Raises:
        MediaError: `truncated` if fewer frames come than were tracked, or what the decoders say.
    """
    count = 0
    for frame in sandbox.iter_frames(path, clip.info):
        if count == len(clip):
            return
        yield clip.crop.cut(frame)
        count += 1
    if count < len(clip):
        raise MediaError("truncated", f"{path}: frames are missing at the second reading")


@contextmanager
def stage(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the time inside to a stage."""
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start


def _lifted(info: VideoInfo, source: Floats, spec: ClipPrepareSpec) -> TrackedClip:
    crop = crop_around(
        source, width=info.width, height=info.height, margin=spec.margin, size=spec.size
    )
    points = crop.points(source)
    camera = Camera.of_size(spec.size)
    pose = smoothed(measure_poses(points, camera), spec.pose_sigma_s * info.fps)
    head = lift_heads(points, pose, camera)
    return TrackedClip(
        info=info,
        crop=crop,
        times_s=np.arange(len(source)) / info.fps,
        points=points,
        pose=pose,
        head=head,
        motions=find_key_motions(head.landmarks, head.pose),
    )
