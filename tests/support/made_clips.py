"""Tiny prepared clips, written straight as shards: a drawn face whose mouth follows its sound.

Nothing is decoded or tracked, so a corpus takes a fraction of a second. The opening of the mouth is
a smooth function of time that the mel frames show plainly, so that a network can learn it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from visage.data.clip_rows import CLIP_ROWS, CLIP_SCHEMA, FPS, SAMPLE_RATE, ClipArrays, pack_clip
from visage.data.manifest import Manifest, Shard
from visage.data.records import Split
from visage.data.shards import MANIFEST_NAME, ROWS_PART, shard_bytes
from visage.landmarks import INNER_LIP, JAW, LEFT_EYE, OUTER_LIP, RIGHT_EYE
from visage.media.image import encode_jpeg
from visage.models.projection import Camera, project
from visage.seeds import rng_of
from visage.store.commit import commit
from visage.store.open import open_store

__all__ = ["STYLES", "draw_face", "made_clip", "mean_face", "write_clip_corpus"]

STYLES: dict[str, float] = {"plain": 0.25, "wide": 0.5}
"""Name and largest opening of the mouth, in units of the distance of the eye corners."""
PICTURE_FPS = 25
SPLITS: tuple[Split, ...] = ("train", "val", "test")


def mean_face() -> NDArray[np.float32]:
    """A symmetric resting face in object coordinates, shape (68, 3)."""
    points = np.zeros((68, 3))
    angle = np.linspace(np.pi, 0, 17)
    points[:17] = np.stack(
        [0.78 * np.cos(angle), 0.15 + 1.15 * np.sin(angle), 0.75 - 0.75 * np.sin(angle)], 1
    )
    for start, x in ((17, np.linspace(-0.6, -0.12, 5)), (22, np.linspace(0.12, 0.6, 5))):
        points[start : start + 5] = np.stack(
            [x, -0.22 - 0.05 * np.sin(np.linspace(0, np.pi, 5)), np.full(5, 0.05)], 1
        )
    points[27:31] = [[0, 0, 0], [0, 0.13, -0.08], [0, 0.27, -0.17], [0, 0.41, -0.27]]
    points[31:36] = np.stack([np.linspace(-0.16, 0.16, 5), np.full(5, 0.52), np.full(5, -0.06)], 1)
    for start, x in ((36, -0.35), (42, 0.35)):
        lid = np.array([-0.15, -0.06, 0.06, 0.15, 0.06, -0.06])
        y = np.array([0.0, -0.05, -0.05, 0.0, 0.05, 0.05])
        points[start : start + 6] = np.stack([x + lid, y + 0.02, np.full(6, 0.12)], 1)
    for start, stop, rx, ry in ((48, 60, 0.3, 0.1), (60, 68, 0.22, 0.02)):
        angle = np.linspace(np.pi, np.pi - 2 * np.pi, stop - start, endpoint=False)
        points[start:stop] = np.stack(
            [rx * np.cos(angle), 0.82 - ry * np.sin(angle), np.full(stop - start, -0.05)], 1
        )
    return points.astype(np.float32)


def made_clip(key: str, *, frames: int, size: int, style: str = "plain") -> dict[str, object]:
    """One row of kind `clips/1` without its key columns."""
    rng = rng_of("made clip", key)
    time_s = np.arange(frames) / FPS
    opening = _opening(time_s, rng)
    landmarks = _talking(opening * STYLES[style])
    pose = _pose(time_s, rng, size)
    points = _projected(landmarks, pose, size)
    colour = rng.integers(90, 230, 3)
    image_at = np.unique(np.round(np.arange(0, frames / FPS, 1 / PICTURE_FPS) * FPS).astype(int))
    image_at = image_at[image_at < frames]
    pictures = [_jpeg(draw_face(points[at], size, colour)) for at in image_at]
    shown = [int(np.argmin(np.abs(opening[image_at] - wish))) for wish in (0.1, 0.1, 0, 0.5, 1)]
    arrays = ClipArrays(
        audio=_sound(opening, frames),
        mel=_mel(opening, rng),
        landmarks=landmarks,
        mean=landmarks.mean(axis=0),
        pose=pose,
        points=points,
        torso=None,
    )
    return {
        **pack_clip(arrays),
        "size": size,
        "images": pictures,
        "image_at": image_at.tolist(),
        "references": [pictures[index] for index in shown],
        "reference_points": points[image_at[shown]].astype("<f4").tobytes(),
        "coverage": [1.0] * 4,
        "start_s": 0.0,
        "source_sha256": "0" * 64,
        "style": style,
    }


def write_clip_corpus(
    folder: Path | str,
    *,
    train: int = 12,
    val: int = 4,
    test: int = 4,
    size: int = 64,
    frames: int = 120,
    rows_per_shard: int = 8,
) -> str:
    """Shards and manifest under a folder or URI; returns the URI."""
    store = open_store(str(folder))
    shards: list[Shard] = []
    counts: dict[str, dict[str, int]] = {}
    for split, rows in zip(SPLITS, (train, val, test), strict=True):
        made = list(_rows(split, rows, frames, size))
        counts[split] = {name: sum(row["style"] == name for row in made) for name in STYLES}
        for start in range(0, rows, rows_per_shard):
            part = made[start : start + rows_per_shard]
            body = shard_bytes(pa.Table.from_pylist(part, schema=CLIP_SCHEMA))
            key = f"{split}{start:05d}"
            done = commit(store, f"shards/{key}", {ROWS_PART: body}).parts[ROWS_PART]
            shards.append(
                Shard(
                    path=f"shards/{key}/{done.path}", sha256=done.sha256, rows=len(part),
                    size_bytes=done.size_bytes, split=split,
                )
            )  # fmt: skip
    manifest = Manifest(
        kind=CLIP_ROWS, classes=tuple(STYLES), shards=tuple(shards), settings={"size": size},
        source={"root": "made", "layout": "made"}, counts=counts, rejected={},
    )  # fmt: skip
    store.put(MANIFEST_NAME, manifest.to_json())
    return store.uri


def draw_face(
    points: NDArray[np.float32], size: int, colour: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """A flat face over 68 points in pixels: skin, eyes, lips and an open mouth."""
    canvas = np.full((size, size, 3), (40, 60, 90), np.uint8)
    hull = cv2.convexHull(points.astype(np.float32))
    for polygon, paint in (
        (hull[:, 0], tuple(int(v) for v in colour)),
        (points[RIGHT_EYE], (245, 245, 245)),
        (points[LEFT_EYE], (245, 245, 245)),
        (points[OUTER_LIP], (170, 50, 60)),
        (points[INNER_LIP], (40, 5, 10)),
    ):
        fixed = np.round(polygon * 16).astype(np.int32).reshape(-1, 1, 2)
        cv2.fillPoly(canvas, [fixed], paint, cv2.LINE_AA, shift=4)
    return canvas


def _rows(split: str, count: int, frames: int, size: int) -> Iterator[dict[str, object]]:
    for index in range(count):
        style = list(STYLES)[index % len(STYLES)]
        key = f"{split}/{index:04d}"
        yield {
            "key": key,
            "group": f"{split}-{index // 2}",
            "clip": key,
            **made_clip(key, frames=frames, size=size, style=style),
        }


def _opening(time_s: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """In [0, 1]: syllables of changing size with closures between."""
    rate, phase = rng.uniform(2.5, 4.0), rng.uniform(0, 2 * np.pi)
    size = 0.6 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.3, 0.6) * time_s + rng.uniform(0, 6))
    return np.clip(np.sin(np.pi * rate * time_s + phase), 0, None) ** 1.2 * size


def _talking(opening: NDArray[np.float64]) -> NDArray[np.float32]:
    """Lower lip and chin follow the opening, lids blink at one second."""
    frames = np.repeat(mean_face()[None].astype(np.float64), len(opening), axis=0)
    for index in (*range(55, 60), *range(65, 68)):
        frames[:, index, 1] += opening
    frames[:, JAW[5:12], 1] += 0.8 * opening[:, None]
    return frames.astype(np.float32)


def _pose(time_s: NDArray[np.float64], rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    rates, phases = rng.uniform(0.2, 0.5, 3), rng.uniform(0, 6, 3)
    pose = np.zeros((len(time_s), 6))
    pose[:, :3] = [4, 6, 3] * np.sin(2 * np.pi * rates * time_s[:, None] + phases)
    pose[:, 4] = -0.3
    pose[:, 5] = Camera.of_size(size).focal_px / (0.33 * size)  # eye corners a third of the picture
    return pose.astype(np.float32)


def _projected(
    landmarks: NDArray[np.float32], pose: NDArray[np.float32], size: int
) -> NDArray[np.float32]:
    seen = project(torch.from_numpy(landmarks), torch.from_numpy(pose), Camera.of_size(size))
    return seen.numpy()


def _mel(opening: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    """A bump that rises in height and moves up with the opening, on a little noise."""
    fine = np.repeat(opening, 2)[:, None]
    bins = np.arange(80)
    bump = fine * np.exp(-(((bins - 20 - 30 * fine) / 8) ** 2))
    return (0.2 + 0.7 * bump + rng.normal(0, 0.01, (len(fine), 80))).astype(np.float32)


def _sound(opening: NDArray[np.float64], frames: int) -> NDArray[np.int16]:
    count = frames * SAMPLE_RATE // FPS
    at = np.arange(count) / SAMPLE_RATE
    loud = np.interp(at, np.arange(frames) / FPS, opening)
    tone = loud * np.sin(2 * np.pi * 140 * at + 3 * loud)
    return np.round(tone * 12_000).astype(np.int16)


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    return encode_jpeg(image, 95, chroma="4:4:4")
