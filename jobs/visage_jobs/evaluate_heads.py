"""`visage evaluate talking-head` on Ray Data: held-out clips said again, then both tables.

    evaluations/<model>-<data>-<split>-<tag>/clips.<sum>.parquet         a row a clip and subject
                                             sheet.<sum>.jpg             for people
                                             head_evaluation.<sum>.json  the scores
                                             COMMIT                      makes it whole

What travels through Ray are numbers of samples and scores; of a few clips also a strip of the
contact sheet. The folder's name is that of all that goes in, so the same evaluation is made once.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from visage.data.clip_rows import CLIP_ROWS
from visage.data.manifest import Manifest
from visage.data.records import Split
from visage.data.shards import ShardRows, load_manifest
from visage.errors import CorruptError, DataError, MediaError
from visage.faces.dlib68 import Dlib68
from visage.inference.style_card import StyleCard
from visage.inference.talking_head import load_talking_head
from visage.media.image import encode_jpeg
from visage.media.stored import decode_stored
from visage.metrics.head_tables import spreads, wins
from visage.rendering.contact_sheet import contact_sheet, contact_strip
from visage.rendering.held_out import SUBJECTS, HeldOutClip, say_again
from visage.specs.evaluate import HeadEvaluationSpec
from visage.tracking.head_evaluation import (
    CLIPS_FILE,
    HEAD_EVALUATION_FILE,
    HEAD_EVALUATION_SCHEMA,
    SHEET_FILE,
    HeadEvaluation,
    has_head_evaluation,
    publish_head_evaluation,
    scores_bytes,
)
from visage.tracking.runs import open_run
from visage_jobs.actor_pool import over_actors
from visage_jobs.evaluate import evaluation_name
from visage_jobs.talking_heads import DEFAULT_MODEL, FoundHead, find_style, find_talking_head
from visage_jobs.workspace import Workspace

__all__ = ["HeadEvaluationJob", "evaluate_head", "plan_head_evaluation"]

EVALUATION_VERSION = "2"
"""Of the comparison: raise it with any change to what held_out, painter or the metrics give."""
EXPERIMENT = "talking-head-evaluation"
SHEET_COLUMNS = 8
SHOWN = ("truth", "painted", "generated", "frozen")
QUALITY = 88
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
    style_digest: str | None
    """Of the style that is asked for; None = each clip's own."""
    samples: tuple[int, ...]
    out: str


Item = dict[str, Any]
"""`sample`, a number, and `with_strip`: whether the contact sheet shows it."""
Work = Callable[[Mapping[str, Any], Sequence[Item]], Iterator[Clip]]
"""Settings of a `ClipActor`, items → what it gives for each."""


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
        SpecError: the model has no such style, or this machine no such device.
        CorruptError: the model or the style changed meanwhile.
        ClusterError: Ray failed.
    """
    plan = _planned(job)
    if not has_head_evaluation(plan.out):
        clips = _compared(job, plan, progress, work or partial(_on_ray, job))
        told = [clip for clip in clips if "scores" in clip]
        if not told:
            raise DataError(
                f"{job.data_uri}: none of {len(clips)} clips can be compared; the first: "
                f"{clips[0]['skipped']}"
            )
        parts = {
            CLIPS_FILE: scores_bytes(told),
            HEAD_EVALUATION_FILE: json.dumps(_body(job, plan, clips), indent=1).encode(),
        }
        strips = [decode_stored(clip["strip"]) for clip in told if clip.get("strip")]
        if strips:  # unless all clips that it should show were skipped
            parts[SHEET_FILE] = encode_jpeg(contact_sheet(strips), QUALITY)
        publish_head_evaluation(plan.out, parts)
    found = HeadEvaluation.read(plan.out)
    _track(job, found)
    return found


class ClipActor:
    """What an actor holds: the model and the rows; says clip after clip again."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        import cv2
        import torch

        cv2.setNumThreads(1)  # one actor is one core; more threads only contend
        torch.set_num_threads(1)
        self._spec: HeadEvaluationSpec = settings["spec"]
        self._head = load_talking_head(settings["model_uri"], device=settings["device"])
        if self._head.digest != settings["model_digest"]:
            raise CorruptError(
                f"{settings['model_uri']}: the model changed meanwhile; run it again"
            )
        self._asked = None
        if self._spec.style is not None:
            workspace = Workspace(settings["workspace"])
            self._asked = find_style(workspace, self._head, self._spec.style)
            if self._asked.digest != settings["style_digest"]:
                raise CorruptError(
                    f"style {self._spec.style!r}: it was made anew meanwhile; run it again"
                )
        self._follower = Dlib68()
        manifest, store = load_manifest(settings["data_uri"])
        self._rows = ShardRows(manifest, store, settings["split"])

    def __call__(self, item: Item) -> Clip:
        """A sample's number to its scores, and a strip of the sheet if it is wished."""
        row = self._rows.row(int(item["sample"]))
        key = str(row["key"])
        try:
            clip = HeldOutClip.of_row(row)
            style = self._asked or self._own_style(clip.style)
            said = say_again(
                self._head, clip, style, frames=self._spec.frames, seed=self._spec.seed
            )
            scores = said.scores(self._follower)
        except (DataError, MediaError) as err:
            return {"key": key, "skipped": str(err)}
        told = {
            "key": key, "clip_style": clip.style, "style": style.name, "frames": len(clip.arrays),
            "size": clip.size, "scores": scores,
        }  # fmt: skip
        if item["with_strip"]:
            shown = {name: said.pictures[name] for name in SHOWN}
            title = f"{key}  {style.name}"
            columns = min(SHEET_COLUMNS, self._spec.frames)
            told["strip"] = encode_jpeg(contact_strip(title, shown, columns=columns), 95)
        return told

    def _own_style(self, own: str) -> StyleCard:
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
    style_digest = None
    if job.spec.style is not None:  # refused before workers start
        style_digest = find_style(job.workspace, found.head, job.spec.style).digest
    name = evaluation_name(found.head.digest, manifest.digest(), job.split)
    return _Plan(
        found=found,
        manifest=manifest,
        style_digest=style_digest,
        samples=_evenly(rows, job.spec.clips),
        out=job.workspace.evaluation(f"{name}-{_tag(job, style_digest)}"),
    )


def _tag(job: HeadEvaluationJob, style_digest: str | None) -> str:
    """Eight digits of what else decides the scores."""
    facts = [EVALUATION_VERSION, job.spec.digest(), style_digest, job.device]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]


def _evenly(rows: int, most: int | None) -> tuple[int, ...]:
    count = rows if most is None else min(rows, most)
    return tuple(sorted({int(at) for at in np.round(np.linspace(0, rows - 1, count))}))


def _compared(job: HeadEvaluationJob, plan: _Plan, progress: Progress, work: Work) -> list[Clip]:
    shown = {plan.samples[at] for at in _evenly(len(plan.samples), job.spec.sheet_clips)}
    items = [{"sample": one, "with_strip": one in shown} for one in plan.samples]
    settings = {
        "spec": job.spec,
        "model_uri": plan.found.head.uri,
        "model_digest": plan.found.head.digest,
        "style_digest": plan.style_digest,
        "workspace": job.workspace.root,
        "device": job.device,
        "data_uri": job.data_uri,
        "split": job.split,
    }
    clips: list[Clip] = []
    progress(0, len(items))
    for clip in work(settings, items):
        clips.append(clip)
        progress(len(clips), len(items))
    if len(clips) != len(items):
        raise DataError(f"{job.data_uri}: {len(clips)} of {len(items)} clips came back; run again")
    return sorted(clips, key=lambda clip: str(clip["key"]))


def _on_ray(
    job: HeadEvaluationJob, settings: Mapping[str, Any], items: Sequence[Item]
) -> Iterator[Clip]:
    def key_of(item: Item) -> str:
        rows = ShardRows(*load_manifest(job.data_uri), job.split)
        return str(rows.row(item["sample"], ["key"])["key"])

    return over_actors(
        items,
        ClipActor,
        settings,
        name=key_of,
        device=job.device,
        address=job.address,
    )


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
        "version": EVALUATION_VERSION,
        "style_digest": plan.style_digest,
        "device": job.device,
        "subjects": {
            name: {column: asdict(one) for column, one in spreads(scores).items()}
            for name, scores in by_subject.items()
        },
        "wins": {
            name: wins(by_subject["generated"], by_subject[name]) for name in ("frozen", "mean")
        },
    }


def _track(job: HeadEvaluationJob, found: HeadEvaluation) -> None:
    """One MLflow run; the same evaluation is always the same run."""
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
        tracked.log_text(found.part(HEAD_EVALUATION_FILE).decode(), HEAD_EVALUATION_FILE)
        if (sheet_jpeg := found.sheet()) is not None:
            sheet = Path(folder) / SHEET_FILE
            sheet.write_bytes(sheet_jpeg)
            tracked.log_artifact(sheet)
            tracked.flush(force=True)  # the sheet is sent before its folder goes
