"""Draws a corpus in the layout of CAER: short silent clips of people in settings.

<root>/{train,validation,test}/<Class>/NNNN.avi <root>/truth.jsonl synth.json
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from visage.data.records import SPLITS, Split
from visage.errors import DataError
from visage.faces.provider import Image
from visage.seeds import rng_of
from visage.specs.emotion import EMOTIONS
from visage.synth.face import draw_person, person_landmarks, tight_box
from visage.synth.motion import Motion, draw_motion
from visage.synth.production import (
    Progress,
    Stopwatch,
    SynthReport,
    claim,
    produce,
    size_of,
    write_truth,
)
from visage.synth.scene import ScenePlan, moved, plan_scene, truth_row
from visage.synth.settings import draw_setting
from visage.synth.spec import CaerSpec

__all__ = ["ClipPlan", "clip_frames", "frame_truth", "write_caer"]

_FOLDERS: Mapping[Split, str] = {"train": "train", "val": "validation", "test": "test"}
_DRIFT = 0.03  # share of the picture by which the camera drifts at most


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipPlan:
    """One clip: a scene, and how its person and the camera move."""

    path: str
    split: Split
    scene: ScenePlan
    motion: Motion
    drift: tuple[float, float]
    """Pixels by which the background moves over the clip."""
    frames: int
    fps: int

    def at(self, index: int) -> ScenePlan:
        """The scene in one frame."""
        moment = self.motion.at(index / self.fps)
        width = self.scene.person.face_width
        return moved(
            self.scene,
            expression=moment.expression,
            pose=moment.pose,
            dx=moment.dx * width,
            dy=moment.dy * width,
        )


@dataclass(frozen=True, slots=True)
class _Job:
    root: str
    plan: ClipPlan


def write_caer(
    out: str | Path,
    spec: CaerSpec | None = None,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> SynthReport:
    """Draw the clips into the folder `out`, keeping what an earlier run of the same spec has made.

    Args:
        out: The root of the corpus; created if absent.
        spec: What to draw; the defaults of CaerSpec if not given.
        workers: Processes; one a core by default.
        progress: Called with clips done and clips in all.

    Raises:
        DataError: the folder holds something else, or cannot be written.
    """
    chosen, root, watch = spec or CaerSpec(), Path(out), Stopwatch()
    claim(root, chosen)
    plans = list(_plans(chosen))
    written, kept = produce(
        [_Job(str(root), plan) for plan in plans], _draw, workers=workers, progress=progress
    )
    write_truth(root, (_truth(plan) for plan in plans))
    return SynthReport(
        root=root,
        layout=chosen.layout,
        written=written,
        kept=kept,
        size_bytes=size_of(root, (plan.path for plan in plans)),
        seconds=watch.seconds(),
        counts={split: dict.fromkeys(EMOTIONS, count) for split, count in chosen.counts().items()},
    )


def clip_frames(plan: ClipPlan) -> Iterator[Image]:
    """The frames of a clip, RGB (height, width, 3)."""
    scene = plan.scene
    margin_x, margin_y = (
        round(_DRIFT * scene.width) + 1,
        round(_DRIFT * scene.height) + 1,
    )
    wide = draw_setting(
        scene.shown_setting,
        rng_of(scene.setting_seed),
        width=scene.width + 2 * margin_x,
        height=scene.height + 2 * margin_y,
    )
    for index in range(plan.frames):
        part = index / max(1, plan.frames - 1) - 0.5
        x, y = margin_x + round(plan.drift[0] * part), margin_y + round(plan.drift[1] * part)
        image = wide[y : y + scene.height, x : x + scene.width].copy()
        draw_person(image, plan.at(index).person)
        yield image


def frame_truth(plans: Iterator[ScenePlan]) -> list[dict[str, object]]:
    """Box, 68 points and pose of every frame."""
    rows: list[dict[str, object]] = []
    for plan in plans:
        points = person_landmarks(plan.person)
        rows.append(
            {
                "box": list(tight_box(points)),
                "landmarks": np.round(points.astype(float), 2).tolist(),
                "mouth_open": round(plan.person.expression.mouth_open, 4),
                "yaw_deg": round(plan.person.pose.yaw_deg, 3),
                "pitch_deg": round(plan.person.pose.pitch_deg, 3),
                "roll_deg": round(plan.person.pose.roll_deg, 3),
            }
        )
    return rows


def _plans(spec: CaerSpec) -> Iterator[ClipPlan]:
    for split in SPLITS:
        for label in EMOTIONS:
            for index in range(spec.counts()[split]):
                yield _plan(spec, split=split, label=label, index=index)


def _plan(spec: CaerSpec, *, split: Split, label: str, index: int) -> ClipPlan:
    place = f"clip/{split}/{label}/{index}"
    scene = plan_scene(
        label,
        seed=spec.seed,
        place=place,
        identities=spec.people(split),
        cues=spec.cues,
        width=spec.width,
        height=spec.height,
    )
    rng = rng_of(spec.seed, "motion", place)
    person = scene.person
    drift = rng.uniform(-2 * _DRIFT, 2 * _DRIFT, 2) * (spec.width, spec.height)
    return ClipPlan(
        path=f"{_FOLDERS[split]}/{label}/{index + 1:04d}.avi",
        split=split,
        scene=scene,
        motion=draw_motion(
            person.expression, person.pose, duration_s=spec.frames / spec.fps, rng=rng
        ),
        drift=(float(drift[0]), float(drift[1])),
        frames=spec.frames,
        fps=spec.fps,
    )


def _truth(plan: ClipPlan) -> dict[str, object]:
    group = f"person-{plan.scene.person.identity.number:04d}"
    row = dict(truth_row(plan.scene, path=plan.path, split=plan.split, group=group))
    for name in ("box", "landmarks", "pose", "expression"):
        row.pop(name)
    row["fps"] = plan.fps
    row["frames"] = frame_truth(plan.at(index) for index in range(plan.frames))
    return row


def _draw(job: _Job) -> bool:
    """Write one clip unless it is there; clips only get their name when whole."""
    path = Path(job.root) / job.plan.path
    if path.is_file() and path.stat().st_size > 0:
        return False
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _encode(partial, clip_frames(job.plan), fps=job.plan.fps)
        partial.replace(path)
    except (OSError, av.error.FFmpegError) as err:
        raise DataError(f"{path}: cannot be written: {err}") from None
    finally:
        with suppress(OSError):  # the error above says more than this one could
            partial.unlink(missing_ok=True)
    return True


def _encode(path: Path, frames: Iterator[Image], *, fps: int) -> None:
    """MPEG-4 in AVI, as the real clips are; one thread and no dates, so the bytes are the same."""
    with av.open(str(path), "w", format="avi", options={"fflags": "+bitexact"}) as container:
        first = next(frames)
        stream = container.add_stream(
            "mpeg4", rate=fps, options={"qscale": "3", "flags": "+qscale"}
        )
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.gop_size = fps
        stream.thread_count = 1
        stream.codec_context.global_quality = 3 * 118  # FF_QP2LAMBDA: quantiser 3
        for image in _chained(first, frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _chained(first: Image, rest: Iterator[Image]) -> Iterator[Image]:
    yield first
    yield from rest
