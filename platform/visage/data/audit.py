"""The audit of a corpus: duplicates, leaks between splits, boxes outside the picture, class counts.

A leak is content that stands in more than one split: the same file, the same pixels, a picture that
looks the same, or a group (source video, actor). Accuracy measured across a leak is not accuracy.
Run it with `visage audit DIR`.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from visage.data.corpus_files import open_files
from visage.data.duplicates import NEAR_THRESHOLD, Kind, Pair, clusters, find_pairs
from visage.data.fingerprints import Fingerprint, fingerprints
from visage.data.perceptual_hash import is_flat
from visage.data.readers.assembly import count_classes
from visage.data.records import SPLITS, Corpus
from visage.errors import DataError, SpecError
from visage.faces.provider import Box, clip_box

__all__ = ["AUDIT_TABLES", "AuditReport", "AuditStage", "audit_corpus", "box_problem"]

AuditStage = Literal["reading", "comparing"]
BoxProblem = Literal["no area", "outside", "partly outside"]

_KINDS: tuple[Kind, ...] = ("bytes", "pixels", "near")
_EXAMPLES = 3
_FILES = pa.schema(
    [
        ("key", pa.string()),
        ("split", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bytes_sha256", pa.string()),
        ("pixels_sha256", pa.string()),
        ("hash", pa.uint64()),
        ("is_flat", pa.bool_()),
        ("problem", pa.string()),
    ]
)
_DUPLICATES = pa.schema(
    [
        ("cluster", pa.int32()),
        ("kind", pa.string()),
        ("key_a", pa.string()),
        ("split_a", pa.string()),
        ("label_a", pa.string()),
        ("key_b", pa.string()),
        ("split_b", pa.string()),
        ("label_b", pa.string()),
        ("distance_bits", pa.int32()),
        ("likeness", pa.float32()),
        ("is_mirrored", pa.bool_()),
    ]
)
_LEAKS = pa.schema(
    [
        ("kind", pa.string()),
        ("name", pa.string()),
        ("splits", pa.string()),
        *((split, pa.int32()) for split in SPLITS),
        ("examples", pa.string()),
    ]
)
_BOXES = pa.schema(
    [
        ("key", pa.string()),
        ("split", pa.string()),
        ("problem", pa.string()),
        *((side, pa.int32()) for side in ("x1", "y1", "x2", "y2", "width", "height")),
    ]
)
_COUNTS = pa.schema([("split", pa.string()), ("label", pa.string()), ("count", pa.int64())])

AUDIT_TABLES: tuple[str, ...] = ("files", "duplicates", "leaks", "boxes", "counts")
"""Names of the report's tables, and of its Parquet files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What the audit found, as tables."""

    root: str
    layout: str
    notes: tuple[str, ...]
    """What the reader said: aliases applied, files left out."""
    files: pa.Table
    """One row a record; `problem` is the code of what makes it unreadable, else null."""
    duplicates: pa.Table
    """Pairs within and across splits: `kind` bytes, pixels or near."""
    leaks: pa.Table
    """One row for each cluster of duplicates and each group that stands in several splits.

    `kind` is the strongest evidence (bytes, then pixels, then near, or group); the columns named
    after splits count records.
    """
    boxes: pa.Table
    """Boxes that leave the picture or have no area."""
    counts: pa.Table
    """Records by split and label."""

    @property
    def has_leaks(self) -> bool:
        """Whether anything stands in more than one split."""
        return bool(self.leaks.num_rows)

    def summary(self) -> dict[str, object]:
        """Plain numbers: records, unreadable, duplicate pairs, conflicting labels, leaks, boxes."""
        duplicates = self.duplicates.to_pylist()
        problems = [row for row in self.files["problem"].to_pylist() if row is not None]
        leaks = Counter((row["kind"], row["splits"]) for row in self.leaks.to_pylist())
        return {
            "root": self.root,
            "layout": self.layout,
            "records": self.files.num_rows,
            "unreadable": dict(sorted(Counter(problems).items())),
            "flat": sum(self.files["is_flat"].to_pylist()),
            "counts": _nested(self.counts),
            "duplicate_pairs": {
                kind: {
                    "within": sum(_is(row, kind, crosses=False) for row in duplicates),
                    "across": sum(_is(row, kind, crosses=True) for row in duplicates),
                }
                for kind in _KINDS
            },
            "clusters": len(set(self.duplicates["cluster"].to_pylist())),
            "conflicting_labels": sum(row["label_a"] != row["label_b"] for row in duplicates),
            "leaks": {f"{kind} {splits}": count for (kind, splits), count in sorted(leaks.items())},
            "boxes": dict(sorted(Counter(self.boxes["problem"].to_pylist()).items())),
            "notes": list(self.notes),
            "has_leaks": self.has_leaks,
        }

    def write(self, folder: Path) -> tuple[Path, ...]:
        """Write each table as `<name>.parquet`; a file appears whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name in AUDIT_TABLES:
            path = folder / f"{name}.parquet"
            part = path.with_suffix(f".parquet.{os.getpid()}.part")
            pq.write_table(getattr(self, name), part)
            part.replace(path)
            written.append(path)
        return tuple(written)


def audit_corpus(
    corpus: Corpus,
    *,
    near_threshold: int = NEAR_THRESHOLD,
    workers: int | None = None,
    progress: Callable[[AuditStage, int, int], None] | None = None,
) -> AuditReport:
    """Read every record once and report what must not be there.

    Args:
        corpus: What a reader found.
        near_threshold: Bits by which hashes of near duplicates may differ; -1 leaves them out.
        workers: Decoding threads; by default one a core, at most 8.
        progress: Told the stage, how many are done, and of how many.

    Raises:
        SpecError: the threshold is not between -1 and 20. Unreadable files raise nothing.
        DataError: the corpus holds sounds, which cannot be compared as pictures.
    """
    if not -1 <= near_threshold <= 20:
        raise SpecError(f"near_threshold {near_threshold} must lie between -1 (off) and 20 bits")
    sounds = sum(record.kind == "audio" for record in corpus.records)
    if sounds:
        raise DataError(
            f"{corpus.root}: {sounds} records of layout {corpus.layout} are sounds; the audit "
            "compares pictures and clips"
        )
    count = len(corpus.records)
    threads = workers or min(8, os.cpu_count() or 1)
    paths = [record.path for record in corpus.records]
    with open_files(corpus.root).at_hand(paths) as root:
        prints = list(
            fingerprints(
                root,
                corpus.records,
                workers=threads,
                progress=None if progress is None else lambda at: progress("reading", at, count),
            )
        )
    pairs = find_pairs(
        prints,
        near_threshold=near_threshold,
        workers=threads,
        progress=None if progress is None else lambda done, all_: progress("comparing", done, all_),
    )
    groups = clusters(count, pairs)
    leaks = [*_cluster_leaks(prints, pairs, groups), *_group_leaks(corpus)]
    return AuditReport(
        root=corpus.root,
        layout=corpus.layout,
        notes=corpus.notes,
        files=pa.Table.from_pylist([_file_row(item) for item in prints], _FILES),
        duplicates=pa.Table.from_pylist(_duplicate_rows(prints, pairs, groups), _DUPLICATES),
        leaks=pa.Table.from_pylist(leaks, _LEAKS),
        boxes=pa.Table.from_pylist(_box_rows(prints), _BOXES),
        counts=pa.Table.from_pylist(_count_rows(corpus), _COUNTS),
    )


def box_problem(box: Box, *, width: int, height: int) -> BoxProblem | None:
    """What is wrong with a box in a picture of this size, or None."""
    x1, y1, x2, y2 = box
    if x2 <= x1 or y2 <= y1:
        return "no area"
    clipped = clip_box(box, width=width, height=height)
    if clipped is None:
        return "outside"
    return None if clipped == box else "partly outside"


def _file_row(item: Fingerprint) -> dict[str, object]:
    record = item.record
    return {
        "key": record.key,
        "split": record.split,
        "label": record.label,
        "group": record.group,
        "width": item.width,
        "height": item.height,
        "bytes_sha256": item.bytes_sha256,
        "pixels_sha256": item.pixels_sha256,
        "hash": item.hash,
        "is_flat": item.thumb is not None and is_flat(item.thumb),
        "problem": item.problem,
    }


def _duplicate_rows(
    prints: Sequence[Fingerprint], pairs: Iterable[Pair], groups: Sequence[Sequence[int]]
) -> list[dict[str, object]]:
    cluster_of = {at: number for number, group in enumerate(groups) for at in group}
    rows: list[dict[str, object]] = []
    for pair in pairs:
        a, b = prints[pair.first].record, prints[pair.second].record
        rows.append(
            {
                "cluster": cluster_of[pair.first],
                "kind": pair.kind,
                "key_a": a.key,
                "split_a": a.split,
                "label_a": a.label,
                "key_b": b.key,
                "split_b": b.split,
                "label_b": b.label,
                "distance_bits": pair.distance_bits,
                "likeness": pair.likeness,
                "is_mirrored": pair.is_mirrored,
            }
        )
    return rows


def _cluster_leaks(
    prints: Sequence[Fingerprint], pairs: Sequence[Pair], groups: Sequence[Sequence[int]]
) -> list[dict[str, object]]:
    strongest: dict[int, Kind] = {}
    for number in range(1, len(_KINDS) + 1):
        allowed = _KINDS[:number]
        for group in clusters(len(prints), [pair for pair in pairs if pair.kind in allowed]):
            if len({prints[at].record.split for at in group}) > 1:
                for at in group:
                    strongest.setdefault(at, allowed[-1])
    rows = []
    for number, cluster in enumerate(groups):
        kinds = {strongest[at] for at in cluster if at in strongest}
        if kinds:
            kind = min(kinds, key=_KINDS.index)
            members = [(prints[at].record.split, prints[at].record.key) for at in cluster]
            rows.append(_leak_row(kind, f"cluster {number}", members))
    return rows


def _group_leaks(corpus: Corpus) -> list[dict[str, object]]:
    members: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for record in corpus.records:
        if record.group:
            members[record.group].append((record.split, record.key))
    return [
        _leak_row("group", group, found)
        for group, found in sorted(members.items())
        if len({split for split, _ in found}) > 1
    ]


def _leak_row(kind: str, name: str, members: Sequence[tuple[str, str]]) -> dict[str, object]:
    counts = Counter(split for split, _ in members)
    first_of = {split: key for split, key in reversed(members)}
    return {
        "kind": kind,
        "name": name,
        "splits": "+".join(split for split in SPLITS if counts[split]),
        **{split: counts[split] for split in SPLITS},
        "examples": " = ".join(first_of[split] for split in SPLITS if split in first_of),
    }


def _box_rows(prints: Iterable[Fingerprint]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for item in prints:
        box = item.record.box
        if item.problem is not None or box is None:
            continue
        problem = box_problem(box, width=item.width, height=item.height)
        if problem is not None:
            sides = dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))
            size = {"width": item.width, "height": item.height}
            record = item.record
            rows.append(
                {"key": record.key, "split": record.split, "problem": problem, **sides, **size}
            )
    return rows


def _count_rows(corpus: Corpus) -> list[dict[str, object]]:
    return [
        {"split": split, "label": label, "count": count}
        for split, row in count_classes(corpus.records).items()
        for label, count in row.items()
    ]


def _nested(counts: pa.Table) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = defaultdict(dict)
    for row in counts.to_pylist():
        nested[row["split"]][row["label"]] = row["count"]
    return dict(nested)


def _is(row: Mapping[str, object], kind: Kind, *, crosses: bool) -> bool:
    return row["kind"] == kind and (row["split_a"] != row["split_b"]) == crosses
