"""Draws a corpus in the layout of VoxCeleb2: people who speak in styles, with all of its truth.

<root>/{dev,test}/mp4/idNNNNN/<video>/NNNNN.mp4 txt/… aac/… truth/… vox2_meta.csv truth.jsonl
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from visage.data.clip_truth import ClipTruth, pack_truth, truth_path
from visage.errors import DataError
from visage.media.audio_writer import write_sound
from visage.media.video_writer import write_video
from visage.synth.face import tight_box
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
from visage.synth.spec import VoxCeleb2Spec
from visage.synth.takes import Take, shoot, takes_of

__all__ = ["write_take", "write_voxceleb2"]

INDEX_SCHEMA = "visage.synth-clips/1"
META_FILE = "vox2_meta.csv"


@dataclass(frozen=True, slots=True)
class _Job:
    root: str
    spec: VoxCeleb2Spec
    take: Take


def write_voxceleb2(
    out: str | Path,
    spec: VoxCeleb2Spec | None = None,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> SynthReport:
    """Draw the clips into the folder `out`, keeping what an earlier run of the same spec has made.

    Args:
        out: The root of the corpus; created if absent.
        spec: What to draw; the defaults of VoxCeleb2Spec if not given.
        workers: Processes; one a core by default.
        progress: Called with clips done and clips in all.

    Raises:
        DataError: the folder holds something else, or cannot be written.
    """
    chosen, root, watch = spec or VoxCeleb2Spec(), Path(out), Stopwatch()
    claim(root, chosen)
    takes = takes_of(chosen)
    jobs = [_Job(str(root), chosen, take) for take in takes]
    written, kept = produce(jobs, _draw, workers=workers, progress=progress, batch=1)
    write_atomically(root / META_FILE, _meta(chosen, takes).encode())
    write_truth(root, (_index_row(chosen, take) for take in takes))
    counts: dict[str, dict[str, int]] = {}
    for take in takes:
        row = counts.setdefault(take.part, dict.fromkeys(chosen.styles, 0))
        row[take.style] += 1
    return SynthReport(
        root=root,
        layout=chosen.layout,
        written=written,
        kept=kept,
        size_bytes=size_of(root, (take.path for take in takes)),
        seconds=watch.seconds(),
        counts=counts,
    )


def _draw(job: _Job) -> bool:
    return write_take(Path(job.root), job.spec, job.take)


def write_take(root: Path, spec: VoxCeleb2Spec, take: Take) -> bool:
    """Write one clip and what belongs to it unless it is there; the clip itself comes last.

    Returns whether it was drawn. Raises DataError if it cannot be written.
    """
    path = root / take.path
    if path.is_file() and path.stat().st_size > 0:
        return False
    shot = shoot(spec, take)
    write_atomically(root / truth_path(take.path), pack_truth(shot.truth))
    write_atomically(root / f"{take.part}/txt/{take.name}.txt", _boxes(take, shot.truth).encode())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if spec.sounds:
            sound = root / f"{take.part}/aac/{take.name}.m4a"
            sound.parent.mkdir(parents=True, exist_ok=True)
            write_sound(sound, shot.sound, spec.sample_rate, kind="m4a")
        write_video(
            path,
            shot.frames(),
            fps=spec.fps,
            audio=shot.sound,
            audio_rate=spec.sample_rate,
            crf=spec.crf,
            audio_bit_rate=64_000,
            threads=1,
        )
    except OSError as err:
        raise DataError(f"{path}: cannot be written: {err}") from None
    return True


def _boxes(take: Take, truth: ClipTruth) -> str:
    """The face box of each frame as shares of the picture, under the header of the real lists."""
    person, video, _ = take.name.split("/")
    lines = [
        f"Identity  : \t{person}",
        f"Reference : \t{video}",
        "Offset    : \t0",
        "FV Conf   : \t1.000\t(1)",
        "ASD Conf  : \t1.000",
        "",
        "FRAME \tX \tY \tW \tH ",
    ]
    for index, points in enumerate(truth.points):
        x1, y1, x2, y2 = tight_box(points)
        across, down = truth.width, truth.height
        shares = (x1 / across, y1 / down, (x2 - x1) / across, (y2 - y1) / down)
        lines.append(f"{index:06d} \t" + " \t".join(f"{share:.3f}" for share in shares) + " ")
    return "\n".join(lines) + "\n"


def _meta(spec: VoxCeleb2Spec, takes: list[Take]) -> str:
    parts = {take.person: take.part for take in takes}
    rows = [
        f"id{person:05d} ,n{person:06d} ,{'m' if person % 2 else 'f'} ,{parts[person]} "
        for person in range(1, spec.identities + 1)
    ]
    return "\n".join(["VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set ", *rows]) + "\n"


def _index_row(spec: VoxCeleb2Spec, take: Take) -> dict[str, object]:
    return {
        "schema": INDEX_SCHEMA,
        "path": take.path,
        "truth": truth_path(take.path),
        "part": take.part,
        "group": f"id{take.person:05d}",
        "identity": take.person,
        "style": take.style,
        "fps": spec.fps,
        "frames": max(2, round(spec.seconds * spec.fps)),
        "width": spec.size,
        "height": spec.size,
    }
