"""A drawn folder of pictures, a face provider that knows where the face is, and `prepare` in one
process; run as a program it prepares once a fault point and dies there.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visage.data.chunks import ChunkDone, prepare_chunk
from visage.data.emotion_builder import EmotionRowMaker
from visage.data.manifest import Manifest
from visage.data.prepare import Plan, assemble, plan_chunks, settings_digest
from visage.data.records import SPLITS, Corpus, Record
from visage.faces.provider import Box, Face, Image
from visage.media.image import decode_image, encode_png
from visage.seeds import rng_of
from visage.specs.emotion import EMOTIONS, EmotionInputSpec
from visage.specs.prepare import EmotionPrepareSpec
from visage.store.open import open_store

__all__ = [
    "SPEC",
    "DrawnProvider",
    "Prepared",
    "corpus_of",
    "draw_picture",
    "draw_pictures",
    "plan_of",
    "prepare",
]

SPEC = EmotionPrepareSpec(
    input=EmotionInputSpec(face_size=16, context_height=20, context_width=24, context_crop=16),
    rows_per_shard=4,
)
WIDTH, HEIGHT = 48, 40


@dataclass(slots=True)
class DrawnProvider:
    """Finds one face in the middle of every picture that is not black; counts what it was asked."""

    name: str = "drawn"
    licence: str = "none"
    asked: int = field(default=0)

    def detect(self, image: Image) -> list[Face]:
        """The middle of the picture."""
        self.asked += 1
        height, width = image.shape[:2]
        box = (width // 4, height // 4, width * 3 // 4, height * 3 // 4)
        return [Face(box=box, score=0.9)] if image.any() else []

    def landmarks(self, image: Image, box: Box) -> NDArray[np.float32]:
        """68 points on rings inside the box: no face, but never degenerate."""
        x1, y1, x2, y2 = box
        turn = np.arange(68) * 2.4
        radius = 0.15 + 0.3 * (np.arange(68) / 68)
        points = 0.5 + radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        points = points * (x2 - x1, y2 - y1) + (x1, y1)
        return points.astype(np.float32)


class _Here:
    """Decodes in this process what the sandbox would decode in another: we drew it ourselves."""

    cpu_s = 0.0
    """Of other processes: there are none."""

    def decode_image(self, data: bytes) -> Image:
        """As `visage.media.image.decode_image`."""
        return decode_image(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What one run of prepare did."""

    plan: Plan
    done: tuple[ChunkDone, ...]
    manifest: Manifest
    asked: int
    """How many pictures the provider looked at."""


def draw_picture(path: Path, *, seed: int = 0, black: bool = False) -> None:
    """One picture that is a function of its name and the seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = rng_of("picture", path.stem, seed).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    path.write_bytes(encode_png(image * (not black)))


def draw_pictures(root: Path, *, train: int = 10, val: int = 3, test: int = 3) -> Path:
    """`<split>/<class>/<number>.png` under a root."""
    for split, count in zip(SPLITS, (train, val, test), strict=True):
        for number in range(count):
            draw_picture(root / split / EMOTIONS[number % 7] / f"{split}{number:03d}.png")
    return root


def corpus_of(root: Path) -> Corpus:
    """What a reader says of the drawn folder."""
    paths = sorted(path.relative_to(root) for path in root.rglob("*.png"))
    records = tuple(
        Record(
            key=path.as_posix(), path=path.as_posix(), kind="image", label=path.parts[1],
            split=path.parts[0],  # type: ignore[arg-type]
        )
        for path in paths
    )  # fmt: skip
    return Corpus(root=str(root), layout="drawn", classes=EMOTIONS, records=records)


def plan_of(corpus: Corpus, out: Path | str, spec: EmotionPrepareSpec = SPEC) -> Plan:
    """What prepare would do."""
    settings = settings_digest(spec, provider="drawn")
    return plan_chunks(corpus, open_store(str(out)), spec, settings=settings)


def prepare(corpus: Corpus, out: Path | str, spec: EmotionPrepareSpec = SPEC) -> Prepared:
    """The whole of prepare without Ray."""
    store, provider = open_store(str(out)), DrawnProvider()
    settings = settings_digest(spec, provider=provider.name)
    plan = plan_of(corpus, out, spec)
    maker = EmotionRowMaker(
        classes=corpus.classes, spec=spec, provider=provider, sandbox=_Here()  # type: ignore[arg-type]
    )  # fmt: skip
    done = tuple(
        prepare_chunk(
            chunk, maker, root=Path(corpus.root), store=store,
            settings=settings,
        )
        for chunk in plan.chunks
    )  # fmt: skip
    keys = [*plan.standing, *(chunk.key for chunk in plan.chunks)]
    manifest = assemble(keys, corpus, store, spec, provider=provider.name)
    return Prepared(plan=plan, done=done, manifest=manifest, asked=provider.asked)


def main(root: str, outs: str, *points: str) -> None:
    """For each point prepare into `<outs>/<point>` in a child that dies there; print how."""
    for point in points:
        child = os.fork()
        if child == 0:
            os.environ["VISAGE_FAULT_POINT"] = point
            prepare(corpus_of(Path(root)), Path(outs) / point)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(point, os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(*sys.argv[1:])
