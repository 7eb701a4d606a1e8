"""`visage transfer-style`: a clip of somebody speaking becomes a style of a talking head.

The clip gives five pictures (neutral and the four key motions) and a small change of the motion
generator, fine-tuned on how the person in it moves (models.md A.9). A clip with sound is learnt
from together with its sound; of one without, only the way of moving is taken, and the corpus that
the model was put together with keeps the lips in time. The last quarter of the clip is held out:
what is reported was measured on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from visage.data.clip_builder import ClipRowMaker
from visage.data.clip_rows import CLIP_ROWS, CLIP_SCHEMA, unpack_clip
from visage.data.manifest import Manifest, Shard
from visage.data.records import Record, Split
from visage.data.row_maker import Row
from visage.data.shards import MANIFEST_NAME, ROWS_PART, shard_bytes
from visage.errors import AlreadyExistsError, MediaError, SpecError
from visage.faces import ProviderName, open_provider
from visage.inference.style_card import (
    StyleCard,
    check_style_name,
    load_style_card,
    save_style_card,
)
from visage.inference.style_delta import load_style
from visage.landmarks import POINTS
from visage.media.sandbox import MediaSandbox
from visage.rendering.provenance import file_digest
from visage.rendering.style_clip import check_speaks
from visage.specs.prepare import ClipPrepareSpec
from visage.specs.style_transfer import StyleTransferTrainSpec
from visage.store.base import join_uri
from visage.store.commit import MARKER, commit
from visage.store.open import open_store
from visage_jobs.presets import find_preset
from visage_jobs.talking_heads import DEFAULT_MODEL, FoundHead, find_talking_head, styles_uri
from visage_jobs.train import TrainJob, run_train
from visage_jobs.workspace import Workspace

__all__ = ["StyleScoresTold", "TransferJob", "Transferred", "run_transfer"]

Watch = Callable[[Mapping[str, Any]], None]
Note = Callable[[str], None]
HELD_OUT = 0.25
SEGMENT_S = 3.1
"""Of a row: a window of the small preset and what leads into it."""
METRICS = ("sld", "slv", "smd")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferJob:
    """Which clip, to what name, on which model."""

    workspace: Workspace
    clip: Path
    name: str
    model: str = DEFAULT_MODEL
    preset: str = "style-transfer-small"
    assignments: tuple[str, ...] = ()
    workers: int = 1
    faces: ProviderName = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleScoresTold:
    """One style metric on the held-out end of the clip; lower is nearer to the style."""

    before: float
    after: float
    scaled: float
    """With the mouth of the untouched model made larger, and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transferred:
    """A style that was made."""

    card: StyleCard
    uri: str
    scores: dict[str, StyleScoresTold]
    """SLD, SLV, SMD."""
    run_uri: str
    seconds: float
    notes: tuple[str, ...] = field(default=())


def run_transfer(
    job: TransferJob, *, watch: Watch | None = None, note: Note = lambda text: None
) -> Transferred:
    """Make a style; the same clip, name and model again give the style that stands.

    Raises:
        NotFoundError: no model.
        MediaError: the clip cannot be used; `code` says why, `closed_mouth` if nobody speaks.
        SpecError: a name that another style has, or none.
    """
    check_style_name(job.name)
    if not job.clip.is_file():
        raise SpecError(f"--clip {job.clip}: there is no such file")
    found = find_talking_head(job.workspace, job.model)
    _check_name_is_free(job, found)
    notes: list[str] = []
    data_uri, rows = _rows_of_clip(job, notes)
    for text in notes:
        note(text)
    is_paired = bool(np.frombuffer(rows[0]["audio"], "<i2").any())
    spec = _spec(job, found, data_uri, is_paired=is_paired)
    trained_on = data_uri if is_paired else str(found.head.metadata["data"])
    identity = hashlib.sha256(f"{spec.digest()}:{data_uri}:{trained_on}".encode()).hexdigest()
    done = run_train(
        TrainJob(
            recipe="style-transfer",
            spec=spec,
            data_uri=trained_on,
            run_uri=job.workspace.run(f"style-{job.name}-{identity[:8]}"),
            tracking_uri=job.workspace.tracking_uri(),
            experiment="style-transfer",
            workers=job.workers,
        ),
        watch=watch,
    )
    told = _told(done.means)
    card = _card(job, rows, done.model_uri, told)
    uri = _saved(job, card)
    return Transferred(
        card=card,
        uri=uri,
        scores=told,
        run_uri=done.run_uri,
        seconds=sum(done.seconds.get(name, 0.0) for name in ("start_workers", "train")),
        notes=tuple(notes),
    )


def _rows_of_clip(job: TransferJob, notes: list[str]) -> tuple[str, list[Row]]:
    """The clip prepared as a corpus of its own: its first part to train on, its end to compare."""
    spec = ClipPrepareSpec(segment_s=SEGMENT_S, faces=job.faces, without_sound="silence")
    provider = open_provider(job.faces)
    record = Record(
        key=job.clip.name, path=job.clip.name, kind="video", label=None, split="train",
        group=job.clip.stem, style=job.name,
    )  # fmt: skip
    with MediaSandbox() as sandbox:
        maker = ClipRowMaker(spec=spec, provider=provider, sandbox=sandbox)
        rows = maker.rows(record, job.clip.parent, {})
    shown = [unpack_clip(row) for row in rows]
    check_speaks(
        np.concatenate([one.landmarks for one in shown]),
        np.concatenate([one.pose for one in shown]),
        source=job.clip,
    )
    kept = max(1, round(HELD_OUT * len(rows)))
    train, held_out = (rows[:-kept], rows[-kept:]) if len(rows) > 1 else (rows, rows)
    if train is held_out:
        notes.append(
            f"{job.clip}: too short to hold a part out; scores are of what was learnt from"
        )
    made_of = f"{file_digest(job.clip)}:{spec.digest()}:{provider.name}"
    uri = job.workspace.data(
        f"style-{job.name}-{hashlib.sha256(made_of.encode()).hexdigest()[:10]}"
    )
    store = open_store(uri)
    shards: list[Shard] = []
    counts: dict[str, dict[str, int]] = {}
    parts: tuple[tuple[Split, Sequence[Row]], ...] = (("train", train), ("val", held_out))
    for split, some in parts:
        body = shard_bytes(pa.Table.from_pylist(list(some), schema=CLIP_SCHEMA))
        made = commit(store, f"shards/{split}", {ROWS_PART: body}, metadata={"rows": len(some)})
        part = made.parts[ROWS_PART]
        shards.append(
            Shard(
                path=f"shards/{split}/{part.path}",
                sha256=part.sha256,
                rows=len(some),
                size_bytes=part.size_bytes,
                split=split,
            )
        )
        counts[split] = {job.name: len(some)}
    manifest = Manifest(
        kind=CLIP_ROWS, classes=(), shards=tuple(shards),
        settings={**spec.model_dump(mode="json"), "faces": provider.name},
        source={"root": str(job.clip), "layout": "clip"}, counts=counts, rejected={},
    )  # fmt: skip
    store.replace(MANIFEST_NAME, manifest.to_json())
    return uri, rows


def _spec(
    job: TransferJob, found: FoundHead, data_uri: str, *, is_paired: bool
) -> StyleTransferTrainSpec:
    head = found.head
    if not is_paired and "data" not in head.metadata:
        raise MediaError(
            "no_audio",
            f"{job.clip}: without sound, a style is learnt beside the clips that the model was put "
            "together with, and this model does not name them; give a clip with sound",
        )
    return StyleTransferTrainSpec.load(
        find_preset(job.preset),
        assignments=job.assignments,
        motion=join_uri(head.uri, "motion"),
        audio_encoder=None if head.audio_encoder is None else join_uri(head.uri, "audio-encoder"),
        style_clips=data_uri,
        name=job.name,
        anchor="paired" if is_paired else "frozen",
    )


def _told(scores: Mapping[str, float]) -> dict[str, StyleScoresTold]:
    return {
        name: StyleScoresTold(
            before=scores[f"{name}_before"], after=scores[name], scaled=scores[f"{name}_scaled"]
        )
        for name in METRICS
        if name in scores
    }


def _card(
    job: TransferJob, rows: Sequence[Row], delta_uri: str, told: Mapping[str, StyleScoresTold]
) -> StyleCard:
    row = rows[0]
    return StyleCard(
        name=job.name,
        pictures=tuple(row["references"]),
        points=np.frombuffer(row["reference_points"], "<f4").reshape(-1, POINTS, 2),
        coverage=tuple(float(one) for one in row["coverage"]),
        motion=load_style(delta_uri),
        metadata={
            "clip": job.clip.name,
            "clip_sha256": str(row["source_sha256"]),
            "scores": {
                name: {"before": one.before, "after": one.after, "scaled": one.scaled}
                for name, one in told.items()
            },
        },
    )


def _check_name_is_free(job: TransferJob, found: FoundHead) -> None:
    """Refuse in a second what else would be refused after minutes of training."""
    store = open_store(job.workspace.root)
    if store.stat(f"styles/{job.name}/{MARKER}") is None:
        return
    card = load_style_card(styles_uri(job.workspace, job.name))
    base = None if card.motion is None else card.motion.spec.base
    is_same_clip = card.metadata.get("clip_sha256") == file_digest(job.clip)
    if not is_same_clip or base != found.head.motion.digest:
        raise _taken(job)


def _saved(job: TransferJob, card: StyleCard) -> str:
    try:
        save_style_card(open_store(job.workspace.root), f"styles/{job.name}", card)
    except AlreadyExistsError:
        raise _taken(job) from None
    return styles_uri(job.workspace, job.name)


def _taken(job: TransferJob) -> SpecError:
    return SpecError(
        f"style {job.name!r} exists and was made of something else; choose another --name, or "
        f"delete {styles_uri(job.workspace, job.name)}"
    )
