"""The NCAER-S builder: a few stills of each clip, with no clip on both sides of a split.

Each clip is cut into equal parts, and one frame of each part is drawn by (seed, clip, part): the
same on every machine. Everything lies as the reader `ncaer-s` expects it, the manifest comes last:

    images/<split>/<Class>/<name>.jpg    crop/<split>/<Class>/<name>.txt    manifest.jsonl

Invariant: a manifest stands only beside a complete build whose splits were proven to share no
source, no file and no picture. A broken build continues from `build.jsonl`; whole pictures are not
made again.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Literal

from visage.data.disjoint import assign_shows, identical_files, prove_disjoint, surplus
from visage.data.records import Corpus, Record, Split
from visage.data.stills import BuildJournal, Still, draw_stills, json_lines, write_whole
from visage.errors import DataError, MediaError, SpecError
from visage.faces.provider import FaceProvider, Image
from visage.media.image import encode_jpeg
from visage.media.sandbox import MediaSandbox

__all__ = ["Disjoint", "Duplicates", "NcaersReport", "build_ncaers", "plan_splits"]

MANIFEST = "manifest.jsonl"
TIMEOUT_S = 600.0
QUEUED_PER_WORKER = 2

Disjoint = Literal["video", "show"]
"""What no two splits may share."""
Duplicates = Literal["refuse", "drop"]
"""What happens to equal content in two splits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NcaersReport:
    """What a build did."""

    out: str
    stills: tuple[Still, ...]
    """All lines of the manifest, sorted by path."""
    written: int
    reused: int
    """Pictures that an earlier, broken build had made."""
    rejected: dict[str, int]
    """Clips that could not be used, by code."""
    dropped: int
    """Clips and pictures left out because another split holds the same."""

    def summary(self) -> dict[str, object]:
        """Plain numbers for people and for JSON."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for still in self.stills:
            counts[still.split][still.label] += 1
        return {
            "out": self.out,
            "pictures": len(self.stills),
            "without_box": sum(still.box is None for still in self.stills),
            "written": self.written,
            "reused": self.reused,
            "rejected": self.rejected,
            "dropped": self.dropped,
            "counts": {split: dict(sorted(row.items())) for split, row in sorted(counts.items())},
        }


def build_ncaers(
    corpus: Corpus,
    out: Path,
    *,
    parts: int = 2,
    seed: int = 0,
    disjoint: Disjoint = "video",
    shows: Mapping[str, str] | None = None,
    duplicates: Duplicates = "refuse",
    provider: FaceProvider | None = None,
    jpeg_quality: int = 95,
    workers: int | None = None,
    sandbox: MediaSandbox | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NcaersReport:
    """Draw the stills of a corpus of clips, write them, prove the splits apart, write the manifest.

    Args:
        corpus: Whole clips with labels, such as CAER; its splits stay unless `disjoint` is show.
        out: Folder of the build; a broken build of the same settings there is continued.
        parts: Stills of each clip; 2 gives the size that is published.
        seed: Of the draws, and of the shows' split.
        disjoint: video keeps the corpus' splits; show draws them anew, each show in one split.
        shows: Show by clip path, for `disjoint="show"`.
        duplicates: What to do with equal files or pictures in two splits: stop, or keep test's.
        provider: Finds the face boxes; without one there are none.
        jpeg_quality: Of the pictures, 1 to 100.
        workers: Decoding processes; by default one a core, at most 8.
        sandbox: Decodes the clips; by default one of its own.
        progress: Told how many clips are done, and of how many.

    Raises:
        SpecError: an argument is wrong, or `out` holds a build of other settings.
        DataError: not whole labelled clips, none of use, or content that splits share.
    """
    if parts < 1:
        raise SpecError(f"parts {parts} must be at least 1; it counts stills of each clip")
    records, dropped = plan_splits(
        corpus, disjoint=disjoint, shows=shows, seed=seed, duplicates=duplicates
    )
    settings = {
        "parts": parts,
        "seed": seed,
        "disjoint": disjoint,
        "provider": provider.name if provider is not None else None,
        "jpeg_quality": jpeg_quality,
        "clips": hashlib.sha256(repr(_identity(records)).encode()).hexdigest(),
    }
    journal, root = BuildJournal.open(out, settings), Path(corpus.root)
    build = _Build(out=out, provider=provider, quality=jpeg_quality, shows=shows or {})
    count = workers or min(8, os.cpu_count() or 1)
    with MediaSandbox(count) if sandbox is None else nullcontext(sandbox) as decoder:
        drawn = _drawn(root, records, journal, decoder, parts=parts, seed=seed, workers=count)
        for done, (record, outcome) in enumerate(drawn, start=1):
            build.take(record, outcome, journal)
            if progress is not None:
                progress(done, len(records))
    if not build.stills:
        raise DataError(f"{corpus.root}: no clip could be used: {dict(build.rejected)}")
    return _publish(build, duplicates, dropped)


def _publish(build: _Build, duplicates: Duplicates, dropped: int) -> NcaersReport:
    """Prove the splits apart, then write the manifest."""
    stills, removed = _without_equal_pictures(build.out, build.stills, duplicates)
    prove_disjoint("source videos", ((still.source_video, still.split) for still in stills))
    prove_disjoint("pictures", ((still.sha256, still.split) for still in stills))
    prove_disjoint("groups", ((still.group, still.split) for still in stills))
    write_whole(build.out / MANIFEST, json_lines(asdict(still) for still in stills))
    return NcaersReport(
        out=str(build.out),
        stills=stills,
        written=build.written,
        reused=build.reused,
        rejected=dict(sorted(build.rejected.items())),
        dropped=dropped + removed,
    )


def plan_splits(
    corpus: Corpus,
    *,
    disjoint: Disjoint,
    shows: Mapping[str, str] | None,
    seed: int,
    duplicates: Duplicates = "refuse",
) -> tuple[tuple[Record, ...], int]:
    """The clips with their final splits, and how many were left out as copies; writes nothing."""
    if "://" in corpus.root:
        raise SpecError(f"{corpus.root}: clips are decoded from a local folder; copy them there")
    unfit = [
        record.key
        for record in corpus.records
        if record.kind != "video" or record.frame is not None or not record.label
    ]
    if unfit or not corpus.records:
        example = f", for example {unfit[0]}" if unfit else ""
        raise DataError(
            f"{corpus.root}: {len(unfit)} of {len(corpus.records)} records are no whole labelled "
            f"clips{example}; give clips such as CAER's"
        )
    names = Counter(_name(record) for record in corpus.records)
    repeated = [name for name, count in names.items() if count > 1]
    if repeated:
        raise DataError(
            f"{corpus.root}: {len(repeated)} clips would give pictures of one name, for example "
            f"{repeated[0]}; rename them"
        )
    records: tuple[Record, ...] = corpus.records
    if disjoint == "show":
        if not shows:
            raise SpecError(
                "disjoint=show needs to know the shows: clip names do not tell them; "
                "give a CSV file with the header path,show (--shows)"
            )
        records = assign_shows(records, shows, seed=seed)
    lost: set[str] = set()
    straddling: list[tuple[str, Split]] = []
    for group in identical_files(Path(corpus.root), records):
        losers = surplus(record.split for record in group)
        lost |= {record.key for record in group if record.split in losers}
        straddling += [(group[0].key, record.split) for record in group]
    if duplicates == "refuse":
        prove_disjoint("identical files", straddling)
    return tuple(record for record in records if record.key not in lost), len(lost)


@dataclass(slots=True, kw_only=True)
class _Build:
    """Collects stills; writes each picture, then its box."""

    out: Path
    provider: FaceProvider | None
    quality: int
    shows: Mapping[str, str]
    stills: list[Still] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    written: int = 0
    reused: int = 0

    def take(
        self,
        record: Record,
        outcome: list[tuple[int, Image]] | MediaError,
        journal: BuildJournal,
    ) -> None:
        """Write the frames of one clip, take over what an earlier run wrote, or count the error."""
        if isinstance(outcome, MediaError):
            self.rejected[outcome.code] += 1
            return
        made = [self._write_one(record, part, *drawn) for part, drawn in enumerate(outcome)]
        if made:
            journal.add(record.path, made)
        known = () if made else journal.whole(record.path)
        self.stills += (*made, *known)
        self.written += len(made)
        self.reused += len(known)

    def _write_one(self, record: Record, part: int, index: int, image: Image) -> Still:
        folder = f"{record.split}/{record.label}"
        name = f"{_name(record)}.part{part}.frame{index:06d}"
        data = encode_jpeg(image, self.quality)
        faces = self.provider.detect(image) if self.provider is not None else []
        box = faces[0].box if faces else None
        write_whole(self.out / f"images/{folder}/{name}.jpg", data)
        if self.provider is not None:
            line = ",".join(map(str, box or (0, 0, 0, 0)))
            write_whole(self.out / f"crop/{folder}/{name}.txt", f"{line}\n".encode())
        return Still(
            path=f"images/{folder}/{name}.jpg",
            label=record.label or "",
            split=record.split,
            box=box,
            source_video=record.path,
            frame=index,
            sha256=hashlib.sha256(data).hexdigest(),
            group=self.shows.get(record.path) or record.group or record.path,
        )


def _drawn(
    root: Path,
    records: Sequence[Record],
    journal: BuildJournal,
    sandbox: MediaSandbox,
    *,
    parts: int,
    seed: int,
    workers: int,
) -> Iterator[tuple[Record, list[tuple[int, Image]] | MediaError]]:
    """Frames of each clip in order; empty where all is done, the error where none can be."""

    def draw(record: Record) -> list[tuple[int, Image]] | MediaError:
        if journal.whole(record.path):
            return []
        try:
            return draw_stills(
                root / record.path, record.path, parts=parts, seed=seed, sandbox=sandbox
            )
        except MediaError as err:
            return err

    pool = ThreadPoolExecutor(workers, thread_name_prefix="stills")
    try:
        waiting = iter(records)
        pending: deque[tuple[Record, Future[list[tuple[int, Image]] | MediaError]]] = deque(
            (record, pool.submit(draw, record))
            for record in islice(waiting, workers * QUEUED_PER_WORKER)
        )
        while pending:
            record, future = pending.popleft()
            try:
                outcome = future.result(timeout=TIMEOUT_S)
            except TimeoutError:
                outcome = MediaError("timeout", f"{record.path}: decoding took over {TIMEOUT_S} s")
            for following in islice(waiting, 1):
                pending.append((following, pool.submit(draw, following)))
            yield record, outcome
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _without_equal_pictures(
    out: Path, stills: Sequence[Still], duplicates: Duplicates
) -> tuple[tuple[Still, ...], int]:
    """The stills sorted by path, without those whose bytes a stronger split holds too."""
    splits: dict[str, set[Split]] = defaultdict(set)
    for still in stills:
        splits[still.sha256].add(still.split)
    kept: list[Still] = []
    for still in sorted(stills, key=lambda still: still.path):
        if duplicates == "drop" and still.split in surplus(splits[still.sha256]):
            (out / still.path).unlink(missing_ok=True)
            crop = PurePosixPath("crop", *PurePosixPath(still.path).parts[1:]).with_suffix(".txt")
            (out / crop).unlink(missing_ok=True)
        else:
            kept.append(still)
    return tuple(kept), len(stills) - len(kept)


def _name(record: Record) -> str:
    return record.path.replace("/", "_")


def _identity(records: Sequence[Record]) -> list[tuple[str, str, str | None]]:
    return [(record.path, record.split, record.label) for record in records]
