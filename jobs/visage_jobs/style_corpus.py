"""A clip of one style as a corpus of its own: learnt from, but for its end to compare with.

Pictures are not kept: only how the person moves and sounds is learnt from such a corpus.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from visage.data.clip_builder import ClipRowMaker
from visage.data.clip_rows import CLIP_ROWS, CLIP_SCHEMA, cut_row, unpack_clip
from visage.data.manifest import Manifest, Shard
from visage.data.records import Record, Split
from visage.data.row_maker import Row
from visage.data.shards import MANIFEST_NAME, ROWS_PART, shard_bytes
from visage.errors import about
from visage.faces import ProviderName, open_provider
from visage.inference.talking_head import TalkingHead
from visage.media.sandbox import MediaSandbox
from visage.rendering.provenance import file_digest
from visage.rendering.style_clip import check_speaks, clip_spec_for
from visage.store.commit import commit
from visage.store.open import open_store
from visage_jobs.workspace import Workspace

__all__ = ["StyleCorpus", "parted", "style_corpus"]

HELD_OUT = 0.25
READ_S = 60.0
"""A longer clip is read in rows of at least so much."""
LEARNT_WINDOWS, COMPARED_WINDOWS = 3.0, 1.5
"""Least lengths of the rows that are learnt from and compared with, in windows of training; what
leads into a window is half as long with the small preset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleCorpus:
    """Where it lies, and what it can teach."""

    uri: str
    first: Row
    """With the pictures of the style."""
    is_heard: bool
    is_held_out: bool
    """Whether its validation split is not in its training split."""


def style_corpus(
    workspace: Workspace,
    head: TalkingHead,
    clip: Path,
    *,
    style: str,
    faces: ProviderName,
    window: int,
) -> StyleCorpus:
    """Read a clip, framed as those of the model were, and publish it.

    Args:
        window: Frames of a training sample.

    Raises:
        MediaError: the clip cannot be used; `code` says why, `closed_mouth` if nobody speaks.
    """
    spec = clip_spec_for(head, segment_s=READ_S, faces=faces, without_sound="silence")
    provider = open_provider(faces)
    record = Record(
        key=clip.name, path=clip.name, kind="video", label=None, split="train", group=clip.stem,
        style=style,
    )  # fmt: skip
    with MediaSandbox() as sandbox, about(clip):
        maker = ClipRowMaker(spec=spec, provider=provider, sandbox=sandbox)
        made = maker.rows(record, clip.parent, {})
    rows: list[Row] = [{**row, "images": [], "image_at": []} for row in made]
    shown = [unpack_clip(row) for row in rows]
    check_speaks(
        np.concatenate([one.landmarks for one in shown]),
        np.concatenate([one.pose for one in shown]),
        source=clip,
    )
    learnt, compared = parted(rows, window)
    cuts = [(row["key"], row["frames"]) for row in (*learnt, *compared)]
    made_of = f"{file_digest(clip)}:{spec.digest()}:{provider.name}:{cuts}"
    uri = workspace.data(f"style-{style}-{hashlib.sha256(made_of.encode()).hexdigest()[:10]}")
    source = {"root": str(clip), "layout": "clip"}
    settings = {**spec.model_dump(mode="json"), "faces": provider.name}
    _publish(uri, {"train": learnt, "val": compared or learnt}, style, settings, source)
    return StyleCorpus(
        uri=uri,
        first=rows[0],
        is_heard=any(one.audio.any() for one in shown),
        is_held_out=bool(compared),
    )


def parted(rows: Sequence[Row], window: int) -> tuple[list[Row], list[Row]]:
    """Rows to learn from and the end, which is empty if no window would be left to either.

    No row is cut where less than a window would be left of it.
    """
    lengths = [int(row["frames"]) for row in rows]
    split = sum(lengths) - max(window, round(HELD_OUT * sum(lengths)))
    if split < window:
        return list(rows), []
    learnt: list[Row] = []
    compared: list[Row] = []
    begin = 0
    for row, frames in zip(rows, lengths, strict=True):
        at = min(max(split - begin, 0), frames)
        at = 0 if at < window else frames if frames - at < window else at
        learnt += _pieces(row, 0, at, LEARNT_WINDOWS * window)
        compared += _pieces(row, at, frames, COMPARED_WINDOWS * window)
        begin += frames
    return learnt, compared


def _pieces(row: Row, start: int, stop: int, least: float) -> list[Row]:
    """Equal parts of a span of a row, of so many frames at least unless the span is shorter."""
    if start == stop:
        return []
    count = max(1, int((stop - start) / least))
    bounds = np.linspace(start, stop, count + 1).round().astype(int).tolist()
    return [cut_row(row, first, last) for first, last in pairwise(bounds)]


def _publish(
    uri: str,
    parts: Mapping[Split, Sequence[Row]],
    style: str,
    settings: Mapping[str, Any],
    source: Mapping[str, str],
) -> None:
    """Rows of each split as a prepared corpus of one shard each."""
    store = open_store(uri)
    shards: list[Shard] = []
    for split, rows in parts.items():
        body = shard_bytes(pa.Table.from_pylist(list(rows), schema=CLIP_SCHEMA))
        made = commit(store, f"shards/{split}", {ROWS_PART: body}, metadata={"rows": len(rows)})
        part = made.parts[ROWS_PART]
        shards.append(
            Shard(
                path=f"shards/{split}/{part.path}",
                sha256=part.sha256,
                rows=len(rows),
                size_bytes=part.size_bytes,
                split=split,
            )
        )
    manifest = Manifest(
        kind=CLIP_ROWS, classes=(), shards=tuple(shards), settings=dict(settings),
        source=dict(source), rejected={},
        counts={split: {style: len(rows)} for split, rows in parts.items()},
    )  # fmt: skip
    store.replace(MANIFEST_NAME, manifest.to_json())
