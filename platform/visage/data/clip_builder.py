"""From one clip of one talking person to rows: tracked, cropped, lifted, resampled, cut.

    frames ─► `clip_tracking` ─► shape and pose at 60 Hz    ┐
    sound  ─► 16 kHz ─► log-mel at 120 Hz                   ├─► segments ─► rows
    its key motions ─► neutral picture and four references  ┘

A row is a segment of a clip; its pictures are true frames, its trajectories never repeat one
(models.md part D, A.5, A.6).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visage.data.clip_rows import CLIP_SCHEMA, FPS, SAMPLE_RATE, ClipArrays, pack_clip
from visage.data.clip_tracking import TrackedClip, iter_pictures, track_clip
from visage.data.clip_truth import read_truth
from visage.data.records import Record
from visage.data.resample import resample_track, steady_times
from visage.data.row_maker import Row
from visage.data.stage_clock import StageClock
from visage.errors import MediaError
from visage.faces.lift import LiftedHead, lift_heads
from visage.faces.provider import FaceProvider
from visage.faces.torso import find_shoulders, track_shoulders
from visage.media.audio import SILENT
from visage.media.image import Image, encode_jpeg
from visage.media.sandbox import MediaSandbox
from visage.media.sandbox.files import media_sha256
from visage.models.audio.mel import log_mel
from visage.models.projection import Camera
from visage.specs.audio import AudioFrontSpec
from visage.specs.prepare import ClipPrepareSpec

__all__ = ["ClipRowMaker"]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
MOST_PICTURES_BYTES = 3 << 29
"""Encoded pictures of one clip, 1.5 GiB: they are held together, and no column of a batch of rows
may reach 2 GiB. Ten minutes of 25 frames a second at 512 pixels take about 1.2."""


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

    def duration_s(self, row: Mapping[str, Any]) -> float:
        """That of its trajectory."""
        return int(row["frames"]) / FPS

    def rows(self, record: Record, root: Path, seconds: dict[str, float]) -> list[Row]:
        """Segments of one clip.

        Raises:
            MediaError: `no_audio`, `too_short`, `too_long`, `scene_cut`, `no_face`,
                `several_faces`, `profile`, `face_too_small`, or what the decoders say.
        """
        path, clock = root / record.path, StageClock(seconds, self.sandbox)
        with clock("decode"):
            sound = self._sound(record, path)
        truth = read_truth(root, record)
        clip = track_clip(
            path,
            provider=self.provider,
            sandbox=self.sandbox,
            spec=self.spec,
            truth=None if truth is None else truth.points,
            clock=clock,
        )
        origin_s, sound = _in_step(clip, sound)
        frames = self._frames_at_60_hz(record, clip.duration_s - origin_s, sound)
        pictures, torso = self._pictures(record, path, clip, clock)
        arrays = self._arrays(clip, origin_s, sound, frames, torso, clock)
        with clock("write"):
            shared = {
                "group": record.group,
                "style": record.style,
                "clip": record.key,
                "source_sha256": media_sha256(path),
                "size": self.spec.size,
                **_references(clip, pictures),
            }
            return list(self._segments(record.key, clip, origin_s, arrays, pictures, shared))

    def _sound(self, record: Record, path: Path) -> Floats | None:
        """The sound at 16 kHz, or None where there is none and silence may stand for it."""
        reason = "the clip has no sound"
        try:
            sound = self.sandbox.decode_audio(path, sample_rate=SAMPLE_RATE)
            if np.abs(sound).max(initial=0.0) >= SILENT:
                return sound
            reason = "the clip's sound track is silent"  # lips that move to it would teach nothing
        except MediaError as err:
            if err.code != "no_audio":
                raise
        if self.spec.without_sound == "silence":
            return None
        raise MediaError("no_audio", f"{record.key}: {reason}")

    def _frames_at_60_hz(self, record: Record, picture_s: float, sound: Floats | None) -> int:
        """How many frames both picture and sound, if there is any, cover."""
        duration_s = picture_s if sound is None else min(picture_s, len(sound) / SAMPLE_RATE)
        if duration_s < self.spec.shortest_s:
            raise MediaError(
                "too_short",
                f"{record.key}: {max(0.0, duration_s):.2f} s of picture and sound; at least "
                f"{self.spec.shortest_s} s are needed",
            )
        return len(steady_times(duration_s, FPS))

    def _arrays(
        self,
        clip: TrackedClip,
        origin_s: float,
        sound: Floats | None,
        frames: int,
        torso: Floats | None,
        clock: StageClock,
    ) -> ClipArrays:
        """The whole clip at 60 Hz; `torso` is that of the source's frames."""
        wanted = origin_s + np.arange(frames) / FPS
        with clock("pose"):
            points = resample_track(clip.points, clip.times_s, wanted).astype(np.float32)
            pose = resample_track(clip.pose, clip.times_s, wanted)
            head: LiftedHead = lift_heads(points, pose, Camera.of_size(self.spec.size))
            torso = None if torso is None else _at_60_hz(torso, clip.times_s, wanted)
        with clock("mel"):
            samples = np.zeros(frames * SAMPLE_RATE // FPS, np.float32)
            sound = samples if sound is None else sound
            heard = min(len(samples), len(sound))
            samples[:heard] = sound[:heard]
            mel = log_mel(sound, AudioFrontSpec(), video_frames=frames)
        return ClipArrays(
            audio=np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16),
            mel=mel,
            landmarks=head.landmarks,
            mean=head.mean,
            pose=head.pose,
            points=points,
            torso=torso,
        )

    def _pictures(
        self, record: Record, path: Path, clip: TrackedClip, clock: StageClock
    ) -> tuple[list[bytes], Floats | None]:
        """Every frame of the source, cropped and encoded, and its shoulders if they are wanted."""
        bodies: list[bytes] = []
        room_bytes = MOST_PICTURES_BYTES
        pictures = iter_pictures(path, clip, self.sandbox)

        def encoded() -> Iterator[Image]:
            nonlocal room_bytes
            while True:
                with clock("crop"):
                    picture = next(pictures, None)
                if picture is None:
                    return
                with clock("encode"):
                    bodies.append(encode_jpeg(picture, self.spec.jpeg_quality))
                room_bytes -= len(bodies[-1])
                if room_bytes < 0:
                    raise _too_heavy(record, clip, len(bodies))
                yield picture

        frames, torso = encoded(), None
        if self.spec.torso == "flow":
            with clock("flow"):
                first = next(frames)
                shoulders = find_shoulders(first, clip.points[0])
                torso = track_shoulders(chain([first], frames), shoulders)
        for _ in frames:
            pass
        return bodies, torso

    def _segments(
        self,
        key: str,
        clip: TrackedClip,
        origin_s: float,
        arrays: ClipArrays,
        pictures: list[bytes],
        shared: Row,
    ) -> Iterator[Row]:
        frames = len(arrays)
        count = max(1, int(frames / FPS / self.spec.segment_s))
        bounds = np.round(np.linspace(0, frames, count + 1)).astype(int)
        at = np.round((clip.times_s - origin_s) * FPS).astype(int)
        is_first = np.diff(at, prepend=-1) > 0  # of the frames that fall on one place
        for start, stop in pairwise(bounds.tolist()):
            inside = np.flatnonzero((at >= start) & (at < stop) & clip.seen & is_first)
            if not len(inside):
                continue
            yield {
                "key": f"{key}@{start / FPS:.2f}",
                "start_s": start / FPS,
                "images": [pictures[index] for index in inside],
                "image_at": (at[inside] - start).tolist(),
                **pack_clip(arrays.cut(start, stop)),
                **shared,
            }


def _too_heavy(record: Record, clip: TrackedClip, frames: int) -> MediaError:
    return MediaError(
        "too_long",
        f"{record.key}: the pictures of its first {clip.times_s[frames - 1]:.0f} of "
        f"{clip.duration_s:.0f} s take {MOST_PICTURES_BYTES / 2**30:.1f} GiB already; cut it into "
        "parts, or let visage prepare store smaller pictures (--set size)",
    )


def _in_step(clip: TrackedClip, sound: Floats | None) -> tuple[float, Floats | None]:
    """When both picture and sound have begun, counted from the take's first frame, and the sound
    from then on. Which of them begins first is for the container to say."""
    if sound is None:
        return 0.0, None
    late_s = clip.start_s - clip.info.audio_start_s  # of the picture
    return max(0.0, -late_s), sound[max(0, round(late_s * SAMPLE_RATE)) :]


def _at_60_hz(track: Floats, times_s: Doubles, wanted_s: Doubles) -> Floats:
    """Points that may get lost, interpolated; what was lost between two frames stays NaN."""
    return resample_track(track, times_s, wanted_s).astype(np.float32)


def _references(clip: TrackedClip, pictures: list[bytes]) -> Row:
    """Neutral picture and the four references with their points."""
    chosen = [clip.motions.neutral, *clip.motions.frames]
    return {
        "references": [pictures[index] for index in chosen],
        "reference_points": clip.points[chosen].astype("<f4").tobytes(),
        "coverage": list(clip.motions.coverage),
    }
