"""From one clip of one talking person to rows: tracked, cropped, lifted, resampled, cut.

    frames ─► 68 points (true ones of a drawn clip, else tracked) ─► one steady square crop
           ─► head pose, smoothed ─► shape without pose ─► 60 Hz            ┐
    sound  ─► 16 kHz ─► log-mel at 120 Hz                                   ├─► segments ─► rows
    the clip's own key motions ─► neutral picture and four style references ┘

Frames are decoded twice, a bounded run at a time: once to follow the face, once to crop it; no clip
is ever held whole (models.md part D, A.5, A.6).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visage.data.clip_rows import CLIP_SCHEMA, FPS, SAMPLE_RATE, ClipArrays, pack_clip
from visage.data.clip_truth import read_truth
from visage.data.records import Record
from visage.data.resample import resample_track, steady_times
from visage.data.row_maker import Row
from visage.errors import MediaError
from visage.faces.crop import SquareCrop, crop_around
from visage.faces.lift import LiftedHead, lift_heads, measure_poses, smoothed
from visage.faces.provider import FaceProvider
from visage.faces.style_references import KeyMotions, find_key_motions
from visage.faces.torso import find_shoulders, track_shoulders
from visage.faces.track import track_face
from visage.media.image import Image, encode_jpeg
from visage.media.sandbox import MediaSandbox
from visage.media.video import VideoInfo
from visage.models.audio.mel import log_mel
from visage.models.projection import Camera
from visage.specs.audio import AudioFrontSpec
from visage.specs.prepare import ClipPrepareSpec

__all__ = ["ClipRowMaker"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
DIGEST_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clip:
    """One clip on its way: what was found in its frames, at the times of the frames."""

    info: VideoInfo
    crop: SquareCrop
    times_s: Doubles
    points: Floats
    """Pixels of the crop, (n, 68, 2)."""
    pose: Doubles
    """Smoothed, units of the generic head, (n, 6)."""
    motions: KeyMotions


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRowMaker:
    """Turns clips into rows with one set of tools."""

    spec: ClipPrepareSpec
    provider: FaceProvider
    sandbox: MediaSandbox

    schema = CLIP_SCHEMA

    def count_by(self, row: Mapping[str, Any]) -> str:
        """The style, `unknown` where the corpus states none."""
        return str(row["style"]) or "unknown"

    def rows(self, record: Record, root: Path, seconds: dict[str, float]) -> list[Row]:
        """Segments of one clip.

        Raises:
            MediaError: `no_audio`, `too_short`, `too_long`, `no_face`, or what the decoders say.
        """
        path = root / record.path
        with _timed(seconds, "decode"):
            info = self.sandbox.probe_video(path)
            if not info.has_audio:
                raise MediaError("no_audio", f"{record.key}: the clip has no sound")
            sound = self.sandbox.decode_audio(path, sample_rate=SAMPLE_RATE)
        source = self._points(record, root, path, info, seconds)
        frames = self._frames_at_60_hz(record, len(source) / info.fps, len(sound))
        with _timed(seconds, "lift"):
            clip = self._clip(info, source)
        with _timed(seconds, "crop"):
            pictures, torso = self._pictures(path, clip)
        with _timed(seconds, "lift"):
            arrays = self._arrays(clip, sound, frames, torso)
        with _timed(seconds, "write"):
            shared = {
                "group": record.group,
                "style": record.style,
                "clip": record.key,
                "source_sha256": _sha256(path),
                "size": self.spec.size,
                **_references(clip, pictures),
            }
            return list(self._segments(record.key, clip, arrays, pictures, shared))

    def _points(
        self, record: Record, root: Path, path: Path, info: VideoInfo, seconds: dict[str, float]
    ) -> Floats:
        """The 68 points of every frame in its pixels: true ones where the corpus has them."""
        truth = read_truth(root, record)
        if truth is not None:
            return truth.points
        with _timed(seconds, "faces"):
            frames = self.sandbox.iter_frames(path, info)
            found = track_face(frames, self.provider)
            sigma = self.spec.points_sigma_s * info.fps
            return smoothed(found.astype(np.float64), sigma).astype(np.float32)

    def _frames_at_60_hz(self, record: Record, picture_s: float, samples: int) -> int:
        """How many frames both picture and sound cover."""
        duration_s = min(picture_s, samples / SAMPLE_RATE)
        if duration_s < self.spec.shortest_s:
            raise MediaError(
                "too_short",
                f"{record.key}: {duration_s:.2f} s of picture and sound; at least "
                f"{self.spec.shortest_s} s are needed",
            )
        if duration_s > self.spec.longest_s:
            raise MediaError(
                "too_long",
                f"{record.key}: {duration_s:.0f} s; at most {self.spec.longest_s:.0f} s at once: "
                "cut the clip, or raise longest_s",
            )
        return len(steady_times(duration_s, FPS))

    def _clip(self, info: VideoInfo, source: Floats) -> _Clip:
        crop = crop_around(
            source, width=info.width, height=info.height, margin=self.spec.margin,
            size=self.spec.size,
        )  # fmt: skip
        points = crop.points(source)
        camera = Camera.of_size(self.spec.size)
        pose = smoothed(measure_poses(points, camera), self.spec.pose_sigma_s * info.fps)
        head = lift_heads(points, pose, camera)
        return _Clip(
            info=info,
            crop=crop,
            times_s=np.arange(len(source)) / info.fps,
            points=points,
            pose=pose,
            motions=find_key_motions(head.landmarks, head.pose),
        )

    def _arrays(self, clip: _Clip, sound: Floats, frames: int, torso: Floats | None) -> ClipArrays:
        """The whole clip at 60 Hz; `torso` is that of the source's frames."""
        wanted = np.arange(frames) / FPS
        points = resample_track(clip.points, clip.times_s, wanted).astype(np.float32)
        pose = resample_track(clip.pose, clip.times_s, wanted)
        head: LiftedHead = lift_heads(points, pose, Camera.of_size(self.spec.size))
        samples = np.zeros(frames * SAMPLE_RATE // FPS, np.float32)
        heard = min(len(samples), len(sound))
        samples[:heard] = sound[:heard]
        return ClipArrays(
            audio=np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16),
            mel=log_mel(sound, AudioFrontSpec(), video_frames=frames),
            landmarks=head.landmarks,
            mean=head.mean,
            pose=head.pose,
            points=points,
            torso=None if torso is None else _at_60_hz(torso, clip.times_s, wanted),
        )

    def _pictures(self, path: Path, clip: _Clip) -> tuple[list[bytes], Floats | None]:
        """Every frame of the source, cropped and encoded, and its shoulders if they are wanted."""
        bodies: list[bytes] = []

        def cropped() -> Iterator[Image]:
            for frame in self.sandbox.iter_frames(path, clip.info):
                picture = clip.crop.cut(frame)
                bodies.append(encode_jpeg(picture, self.spec.jpeg_quality))
                yield picture

        frames, torso = cropped(), None
        if self.spec.torso == "flow":
            first = next(frames)
            torso = track_shoulders(chain([first], frames), find_shoulders(first, clip.points[0]))
        for _ in frames:
            pass
        if len(bodies) < len(clip.points):
            raise MediaError("truncated", f"{path}: frames are missing at the second reading")
        return bodies, None if torso is None else torso[: len(clip.points)]

    def _segments(
        self, key: str, clip: _Clip, arrays: ClipArrays, pictures: list[bytes], shared: Row
    ) -> Iterator[Row]:
        frames = len(arrays)
        count = max(1, int(frames / FPS / self.spec.segment_s))
        bounds = np.round(np.linspace(0, frames, count + 1)).astype(int)
        at = np.round(clip.times_s * FPS).astype(int)
        for start, stop in pairwise(bounds.tolist()):
            inside = np.flatnonzero((at >= start) & (at < stop))
            yield {
                "key": f"{key}@{start / FPS:.2f}",
                "start_s": start / FPS,
                "images": [pictures[index] for index in inside],
                "image_at": (at[inside] - start).tolist(),
                **pack_clip(_cut(arrays, start, stop)),
                **shared,
            }


def _cut(arrays: ClipArrays, start: int, stop: int) -> ClipArrays:
    first = start * SAMPLE_RATE // FPS
    return ClipArrays(
        audio=arrays.audio[first : first + (stop - start) * SAMPLE_RATE // FPS],
        mel=arrays.mel[2 * start : 2 * stop],
        landmarks=arrays.landmarks[start:stop],
        mean=arrays.mean,
        pose=arrays.pose[start:stop],
        points=arrays.points[start:stop],
        torso=None if arrays.torso is None else arrays.torso[start:stop],
    )


def _at_60_hz(track: Floats, times_s: Doubles, wanted_s: Doubles) -> Floats:
    """Points that may get lost, interpolated; what was lost between two frames stays NaN."""
    return resample_track(track, times_s, wanted_s).astype(np.float32)


def _references(clip: _Clip, pictures: list[bytes]) -> Row:
    """Neutral picture and the four references with their points."""
    chosen = [clip.motions.neutral, *clip.motions.frames]
    return {
        "references": [pictures[index] for index in chosen],
        "reference_points": clip.points[chosen].astype("<f4").tobytes(),
        "coverage": list(clip.motions.coverage),
    }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(DIGEST_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
