"""`visage evaluate talking-head` on Ray Data: held-out clips said again, then both tables.

    evaluations/<model>-<data>-<split>-<settings>/clips.parquet          a row a clip and subject
                                                  sheet.jpg              for people
                                                  head_evaluation.json   written last

Rows that travel through Ray are numbers of samples and scores; of a few clips also a strip of the
contact sheet. The folder's name is the content's, so the same evaluation is made once.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from visage.data.clip_rows import CLIP_ROWS
from visage.data.manifest import Manifest
from visage.data.records import Split
from visage.data.shards import ShardRows, load_manifest
from visage.errors import AlreadyExistsError, ClusterError, CorruptError, DataError, MediaError
from visage.faces.dlib68 import Dlib68
from visage.inference.style_card import StyleCard
from visage.inference.talking_head import TalkingHead, load_talking_head
from visage.media.image import encode_jpeg
from visage.media.stored import decode_stored
from visage.metrics.head_tables import COLUMNS, spreads, wins
from visage.rendering.contact_sheet import contact_sheet, contact_strip
from visage.rendering.held_out import SUBJECTS, HeldOutClip, say_again
from visage.specs.evaluate import HeadEvaluationSpec
from visage.store.open import open_store
from visage.tracking.head_evaluation import (
    CLIPS_FILE,
    HEAD_EVALUATION_FILE,
    HEAD_EVALUATION_SCHEMA,
    SHEET_FILE,
    HeadEvaluation,
)
from visage.tracking.runs import open_run
from visage_jobs.cluster import quiet_ray_data, ray_session, usable_cpus
from visage_jobs.evaluate import evaluation_name
from visage_jobs.talking_heads import DEFAULT_MODEL, FoundHead, find_style, find_talking_head
from visage_jobs.workspace import Workspace

__all__ = ["HeadEvaluationJob", "evaluate_head", "plan_head_evaluation"]

EXPERIMENT = "talking-head-evaluation"
SHEET_COLUMNS = 8
SHOWN = ("truth", "painted", "generated", "frozen")
QUALITY = 88
SCORES = pa.schema(
    [
        ("key", pa.string()),
        ("clip_style", pa.string()),
        ("style", pa.string()),
        ("frames", pa.int64()),
        ("subject", pa.string()),
        *((column.name, pa.float64()) for column in COLUMNS),
    ],
    metadata={"schema": "visage.head_scores/1"},
)
Progress = Callable[[int, int], None]
Clip = dict[str, Any]
"""One compared clip as it travels: key, styles, frames, scores by subject, perhaps a strip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadEvaluationJob:
    """A model on a split of prepared clips."""

    workspace: Workspace
    data_uri: str
    split: Split = "test"
    model: str = DEFAULT_MODEL
    spec: HeadEvaluationSpec = field(default_factory=HeadEvaluationSpec)
    device: str = "cpu"
    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    found: FoundHead
    manifest: Manifest
    samples: tuple[int, ...]
    out: str


Work = Callable[[HeadEvaluationJob, str, str, Sequence[dict[str, Any]]], Iterator[Clip]]
"""Job, URI and digest of the model, items → what `ClipActor` gives for each."""


def plan_head_evaluation(job: HeadEvaluationJob) -> dict[str, object]:
    """What an evaluation would read and write."""
    plan = _planned(job)
    return {
        "model": plan.found.pinned.title,
        "data": job.data_uri,
        "split": job.split,
        "clips": len(plan.samples),
        "out": plan.out,
    }


def evaluate_head(
    job: HeadEvaluationJob,
    *,
    progress: Progress = lambda done, total: None,
    work: Work | None = None,
) -> HeadEvaluation:
    """Compare, publish and track; a standing evaluation of the same content is returned as it is.

    Args:
        work: Who compares the clips; Ray Data unless given.

    Raises:
        NotFoundError: no model; says how to get one.
        DataError: no clips are prepared there, the split is empty, or no clip can be compared.
        SpecError: the model has no such style.
    """
    plan = _planned(job)
    store = open_store(plan.out)
    if store.stat(HEAD_EVALUATION_FILE) is None:
        clips = _compared(job, plan, progress, work or _on_ray)
        told = [clip for clip in clips if "scores" in clip]
        if not told:
            raise DataError(
                f"{job.data_uri}: none of {len(clips)} clips can be compared; the first: "
                f"{clips[0]['skipped']}"
            )
        store.replace(CLIPS_FILE, _table_bytes(told))  # a killed job may have left one
        strips = [decode_stored(clip["strip"]) for clip in told if clip.get("strip")]
        if strips:  # unless all clips that it should show were skipped
            store.replace(SHEET_FILE, encode_jpeg(contact_sheet(strips), QUALITY))
        body = json.dumps(_body(job, plan, clips), indent=1).encode()
        with suppress(AlreadyExistsError):  # another job compared the same content meanwhile
            store.put(HEAD_EVALUATION_FILE, body)
    found = HeadEvaluation.read(plan.out)
    _track(job, found)
    return found


class ClipActor:
    """One actor: holds the model and the rows, says clip after clip again."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        import cv2
        import torch

        cv2.setNumThreads(1)  # one actor is one core; more threads only contend
        torch.set_num_threads(1)
        self._spec = HeadEvaluationSpec.parse(settings["spec"])
        self._head = load_talking_head(settings["model_uri"], device=settings["device"])
        if self._head.digest != settings["model_digest"]:
            raise CorruptError(
                f"{settings['model_uri']}: the model changed meanwhile; run it again"
            )
        self._workspace = Workspace(settings["workspace"])
        self._follower = Dlib68()
        manifest, store = load_manifest(settings["data_uri"])
        self._rows = ShardRows(manifest, store, settings["split"])

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """A sample's number to its scores as JSON, and a strip of the sheet if it is wished."""
        row = self._rows.row(int(item["sample"]))
        key = str(row["key"])
        try:
            clip = HeldOutClip.of_row(row)
            style = self._style(clip.style)
            said = say_again(
                self._head, clip, style, frames=self._spec.frames, seed=self._spec.seed
            )
            scores = said.scores(self._follower)
        except (DataError, MediaError) as err:
            return {"told": json.dumps({"key": key, "skipped": str(err)}), "strip": b""}
        strip = b""
        if item["with_strip"]:
            shown = {name: said.pictures[name] for name in SHOWN}
            title = f"{key}  {style.name}"
            columns = min(SHEET_COLUMNS, self._spec.frames)
            strip = encode_jpeg(contact_strip(title, shown, columns=columns), 95)
        told = {
            "key": key, "clip_style": clip.style, "style": style.name, "frames": len(clip.arrays),
            "size": clip.size, "scores": scores,
        }  # fmt: skip
        return {"told": json.dumps(told), "strip": strip}

    def _style(self, own: str) -> StyleCard:
        if self._spec.style is not None:
            return find_style(self._workspace, self._head, self._spec.style)
        return self._head.style(own if own in self._head.styles else None)


def _planned(job: HeadEvaluationJob) -> _Plan:
    manifest, _ = load_manifest(job.data_uri)
    if manifest.kind != CLIP_ROWS:
        raise DataError(
            f"{job.data_uri}: rows of kind {manifest.kind}; a talking head is compared with clips "
            "(visage prepare --rows clips)"
        )
    rows = manifest.rows(job.split)
    if not rows:
        raise DataError(f"{job.data_uri}: the split {job.split!r} is empty")
    found = find_talking_head(job.workspace, job.model)
    if job.spec.style is not None:
        find_style(job.workspace, found.head, job.spec.style)  # refused before workers start
    name = evaluation_name(found.head.digest, manifest.digest(), job.split)
    return _Plan(
        found=found,
        manifest=manifest,
        samples=_evenly(rows, job.spec.clips),
        out=job.workspace.evaluation(f"{name}-{job.spec.digest()[:8]}"),
    )


def _evenly(rows: int, most: int | None) -> tuple[int, ...]:
    count = rows if most is None else min(rows, most)
    return tuple(sorted({int(at) for at in np.round(np.linspace(0, rows - 1, count))}))


def _compared(job: HeadEvaluationJob, plan: _Plan, progress: Progress, work: Work) -> list[Clip]:
    shown = {plan.samples[at] for at in _evenly(len(plan.samples), job.spec.sheet_clips)}
    items = [{"sample": one, "with_strip": one in shown} for one in plan.samples]
    head: TalkingHead = plan.found.head
    clips: list[Clip] = []
    progress(0, len(items))
    for clip in work(job, head.uri, head.digest, items):
        clips.append(clip)
        progress(len(clips), len(items))
    if len(clips) != len(items):
        raise DataError(f"{job.data_uri}: {len(clips)} of {len(items)} clips came back; run again")
    return sorted(clips, key=lambda clip: str(clip["key"]))


def _on_ray(
    job: HeadEvaluationJob, model_uri: str, model_digest: str, items: Sequence[dict[str, Any]]
) -> Iterator[Clip]:
    with ray_session(address=job.address):
        import ray

        quiet_ray_data()
        settings = {
            "spec": job.spec.model_dump(mode="json"),
            "model_uri": model_uri,
            "model_digest": model_digest,
            "workspace": job.workspace.root,
            "device": job.device,
            "data_uri": job.data_uri,
            "split": job.split,
        }
        most = max(1, min(len(items), int(ray.cluster_resources().get("CPU", 1)) - 1,
                          usable_cpus() if job.address is None else len(items)))  # fmt: skip
        dataset = ray.data.from_items(list(items), override_num_blocks=min(len(items), 2_000)).map(
            ClipActor,
            fn_constructor_args=(settings,),
            concurrency=(1, most),
            num_cpus=1,
            num_gpus=1 if job.device != "cpu" else 0,
        )
        try:
            for row in dataset.iter_rows():
                yield {**json.loads(row["told"]), "strip": row["strip"]}
        except ray.exceptions.RayError as err:
            raise ClusterError(f"a clip could not be compared: {err}") from err


def _body(job: HeadEvaluationJob, plan: _Plan, clips: Sequence[Clip]) -> dict[str, Any]:
    told = [clip for clip in clips if "scores" in clip]
    by_subject = {name: [clip["scores"][name] for clip in told] for name in SUBJECTS}
    return {
        "schema": HEAD_EVALUATION_SCHEMA,
        "model": plan.found.pinned.title,
        "model_uri": plan.found.head.uri,
        "model_digest": plan.found.head.digest,
        "data_uri": job.data_uri,
        "data_digest": plan.manifest.digest(),
        "split": job.split,
        "clips": len(told),
        "skipped": {clip["key"]: clip["skipped"] for clip in clips if "skipped" in clip},
        "picture_px": [told[0]["size"], plan.found.head.generator.spec.size],
        "settings": job.spec.model_dump(mode="json"),
        "subjects": {
            name: {column: asdict(one) for column, one in spreads(scores).items()}
            for name, scores in by_subject.items()
        },
        "wins": {
            name: wins(by_subject["generated"], by_subject[name]) for name in ("frozen", "mean")
        },
    }


def _table_bytes(clips: Sequence[Clip]) -> bytes:
    lines = [
        {
            **{name: clip[name] for name in ("key", "clip_style", "style", "frames")},
            "subject": subject,
            **{column.name: scores.get(column.name) for column in COLUMNS},
        }
        for clip in clips
        for subject, scores in clip["scores"].items()
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(lines, schema=SCORES), sink)
    return sink.getvalue()


def _track(job: HeadEvaluationJob, found: HeadEvaluation) -> None:
    """One MLflow run; the same evaluation is always the same run."""
    store = open_store(found.uri)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_run(
            job.workspace.tracking_uri(),
            experiment=EXPERIMENT,
            name=found.uri.rstrip("/").rpartition("/")[2],
            run_id=hashlib.sha256(found.uri.encode()).hexdigest()[:32],
            params={
                "model": found.model,
                "digest": found.model_digest,
                "split": found.split,
                **found.settings,
            },
        ) as tracked,
    ):
        tracked.log_dataset(
            "talking-head", found.data_digest, job.data_uri, found.split, found.clips
        )
        tracked.log_metrics(found.metrics(), step=0)
        tracked.log_text(store.get(HEAD_EVALUATION_FILE).decode(), HEAD_EVALUATION_FILE)
        if store.stat(SHEET_FILE) is not None:
            sheet = Path(folder) / SHEET_FILE
            sheet.write_bytes(store.get(SHEET_FILE))
            tracked.log_artifact(sheet)
            tracked.flush(force=True)  # the sheet is sent before its folder goes
