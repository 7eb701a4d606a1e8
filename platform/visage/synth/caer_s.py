"""Draws a corpus in the layout of CAER-S: class folders of pictures, and the community's box lists.

<root>/train/<Class>/NNNN.jpg <root>/test/<Class>/NNNN.jpg (val pictures lie under test/)
<root>/train.txt val.txt test.txt relpath,label_index,x1,y1,x2,y2 <root>/truth.jsonl synth.json
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from visage.data.records import SPLITS, Split
from visage.media.image import encode_jpeg, encode_png
from visage.specs.emotion import EMOTIONS
from visage.synth.production import (
    Progress,
    Stopwatch,
    SynthReport,
    claim,
    produce,
    size_of,
    write_atomically,
    write_truth,
)
from visage.synth.scene import ScenePlan, draw_scene, plan_scene, scene_box, truth_row
from visage.synth.spec import CaerSSpec

__all__ = ["Picture", "pictures_of", "plan_of", "write_caer_s"]

_TAILS = {"jpg": b"\xff\xd9", "png": b"IEND\xaeB`\x82"}
_PNG_LEVEL = 3  # a tenth larger than level 6, a third of its time


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The place of one picture in the corpus."""

    label: str
    split: Split
    index: int
    """From 0 within split and class."""
    path: str
    """Relative to the root."""


@dataclass(frozen=True, slots=True)
class _Job:
    root: str
    spec: CaerSSpec
    picture: Picture


def write_caer_s(
    out: str | Path,
    spec: CaerSSpec | None = None,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> SynthReport:
    """Draw the corpus into the folder `out`, keeping what an earlier run of the same spec has made.

    Args:
        out: The root of the corpus; created if absent.
        spec: What to draw; the defaults of CaerSSpec if not given.
        workers: Processes; one a core by default.
        progress: Called with pictures done and pictures in all.

    Raises:
        DataError: the folder holds something else, or cannot be written.
    """
    chosen, root, watch = spec or CaerSSpec(), Path(out), Stopwatch()
    claim(root, chosen)
    pictures = pictures_of(chosen)
    jobs = [_Job(str(root), chosen, picture) for picture in pictures]
    written, kept = produce(jobs, _draw, workers=workers, progress=progress)
    plans = [plan_of(chosen, picture) for picture in pictures]
    _write_lists(root, pictures, plans)
    write_truth(
        root,
        (
            truth_row(plan, path=picture.path, split=picture.split, group=_group(plan))
            for picture, plan in zip(pictures, plans, strict=True)
        ),
    )
    return SynthReport(
        root=root,
        layout=chosen.layout,
        written=written,
        kept=kept,
        size_bytes=size_of(root, (picture.path for picture in pictures)),
        seconds=watch.seconds(),
        counts={split: dict.fromkeys(EMOTIONS, count) for split, count in chosen.counts().items()},
    )


def pictures_of(spec: CaerSSpec) -> list[Picture]:
    """All pictures of the corpus, sorted by split and class."""
    return list(_pictures(spec))


def plan_of(spec: CaerSSpec, picture: Picture) -> ScenePlan:
    """What one picture shows; a function of the spec's seed, cues and size, and of the place."""
    return plan_scene(
        picture.label,
        seed=spec.seed,
        place=f"{picture.split}/{picture.label}/{picture.index}",
        identities=spec.people(picture.split),
        cues=spec.cues,
        width=spec.width,
        height=spec.height,
    )


def _pictures(spec: CaerSSpec) -> Iterator[Picture]:
    counts = spec.counts()
    for split in SPLITS:
        folder = "train" if split == "train" else "test"
        # As in the published lists, val pictures lie among the test pictures, here behind them.
        first = counts["test"] + 1 if split == "val" else 1
        for label in EMOTIONS:
            for index in range(counts[split]):
                name = f"{first + index:04d}.{spec.image_format}"
                yield Picture(
                    label=label, split=split, index=index, path=f"{folder}/{label}/{name}"
                )


def _draw(job: _Job) -> bool:
    """Write one picture unless it is there."""
    path = Path(job.root) / job.picture.path
    if _is_whole(path, _TAILS[job.spec.image_format]):
        return False
    image = draw_scene(plan_of(job.spec, job.picture))
    if job.spec.image_format == "jpg":
        body = encode_jpeg(image, job.spec.jpeg_quality)
    else:
        body = encode_png(image, compression=_PNG_LEVEL)
    write_atomically(path, body)
    return True


def _is_whole(path: Path, tail: bytes) -> bool:
    """Whether a picture is there to its last byte; somebody may have copied half a corpus."""
    try:
        with path.open("rb") as body:
            body.seek(-len(tail), 2)
            return body.read() == tail
    except OSError:
        return False


def _group(plan: ScenePlan) -> str:
    return f"person-{plan.person.identity.number:04d}"


def _write_lists(root: Path, pictures: Sequence[Picture], plans: Sequence[ScenePlan]) -> None:
    for split in SPLITS:
        lines = []
        for picture, plan in zip(pictures, plans, strict=True):
            if picture.split == split:
                inside = picture.path.split("/", 1)[1]
                box = ",".join(str(edge) for edge in scene_box(plan))
                lines.append(f"{inside},{EMOTIONS.index(picture.label)},{box}\n")
        write_atomically(root / f"{split}.txt", "".join(lines).encode())
