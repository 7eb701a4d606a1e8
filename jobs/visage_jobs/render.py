"""`visage render` on Ray Data: rows of a table in, published videos out, every row accounted for.

Rows that travel through Ray are keys, names and outcomes. Media, motion and frames stay inside one
actor, whose memory does not grow with the length of a sound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from visage.data.corpus_files import open_files
from visage.faces import ProviderName, open_provider
from visage.inference.talking_head import load_talking_head
from visage.media.sandbox import MediaSandbox
from visage.rendering.batch_plan import BatchPlan, plan_batch
from visage.rendering.clip_store import ClipStore
from visage.rendering.keys import RenderSetting, StyleRef
from visage.rendering.outcome import (
    OUTCOMES_FILE,
    Outcome,
    Rejected,
    Rendered,
    RowOutcome,
    outcomes_bytes,
    reconcile,
)
from visage.rendering.row_worker import RowWorker
from visage.rendering.rows import RenderTable, read_rows
from visage.specs.render import RenderSpec
from visage.store.base import join_uri
from visage.store.open import open_store
from visage_jobs.actor_pool import ActorBounds, over_actors
from visage_jobs.talking_heads import (
    DEFAULT_MODEL,
    FoundHead,
    find_style,
    find_talking_head,
    styles_uri,
)
from visage_jobs.workspace import Workspace

__all__ = ["RenderJob", "RenderResult", "plan_render", "run_render"]

Progress = Callable[[int, int], None]
"""Told rows that have ended and rows in all."""
GO_ON = "What was rendered is kept; run the same command again to go on"


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderJob:
    """What to render, with what, and where to."""

    workspace: Workspace
    rows: str
    """A table, or a RAVDESS folder."""
    out: str
    root: str | None = None
    """Where the paths of a table begin; None = its own folder."""
    model: str = DEFAULT_MODEL
    spec: RenderSpec = field(default_factory=RenderSpec)
    device: str = "cpu"
    faces: ProviderName = "auto"
    actors: ActorBounds = field(default_factory=ActorBounds)
    retry_rejected: bool = False
    address: str | None = None
    """Ray cluster; None starts one on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderResult:
    """What a job did."""

    job: RenderJob
    model: str
    table: RenderTable
    rows: Sequence[RowOutcome]
    videos: int
    """Made by this job; fewer than rows where rows are doubled."""
    frames: int
    wall_s: float

    @property
    def outcomes_uri(self) -> str:
        """The table with a line for each row."""
        return join_uri(self.job.out, OUTCOMES_FILE)


Work = Callable[[RenderJob, RenderSetting, BatchPlan], Iterator[Outcome]]


def plan_render(job: RenderJob) -> tuple[BatchPlan, RenderSetting]:
    """What a job has to do; nothing is decoded and nothing is written.

    Raises:
        NotFoundError: no table or no model.
        DataError: the table cannot be read.
    """
    table = read_rows(job.rows, root=job.root)
    found = find_talking_head(job.workspace, job.model)
    setting = RenderSetting(
        model=found.pinned.title,
        model_uri=found.head.uri,
        model_digest=found.head.digest,
        faces=open_provider(job.faces).name,
        device=job.device,
        spec=job.spec,
    )
    plan = plan_batch(
        table,
        setting,
        clips=ClipStore(open_store(job.out)),
        find_style=lambda name: _style(job.workspace, found, name),
        retry_rejected=job.retry_rejected,
    )
    return plan, setting


def run_render(
    job: RenderJob, *, progress: Progress = lambda done, total: None, work: Work | None = None
) -> RenderResult:
    """Render what is missing, prove that every row has ended, and write the outcomes.

    Args:
        work: Who renders the tasks of a plan; Ray Data unless given.

    Raises:
        NotFoundError: no table or no model.
        DataError: the table cannot be read, or rows and outcomes do not add up.
        VisageError: the ground is unsound: the store is away, no decoder starts.
    """
    start = perf_counter()
    plan, setting = plan_render(job)
    total = len(plan.table.rows)
    waiting = Counter(plan.keys.values())
    done = total - plan.rows_to_render
    progress(done, total)
    made: dict[str, Outcome] = {}
    if plan.tasks:
        for outcome in (work or _on_ray)(job, setting, plan):
            made[outcome.key] = outcome
            done += waiting[outcome.key]
            progress(done, total)
    store = open_store(job.out)
    rows = reconcile(plan.table.rows, plan.outcomes(made), ClipStore(store).videos())
    store.replace(OUTCOMES_FILE, outcomes_bytes(rows))
    new = [one for one in made.values() if isinstance(one, Rendered) and not one.is_reused]
    return RenderResult(
        job=job,
        model=setting.model,
        table=plan.table,
        rows=rows,
        videos=len(new),
        frames=sum(one.frames for one in new),
        wall_s=perf_counter() - start,
    )


def _open_worker(settings: Mapping[str, Any]) -> RowWorker:
    """What an actor holds: the model, the face provider and a decoder; renders row after row."""
    import cv2
    import torch

    cv2.setNumThreads(1)  # one actor is one core; more threads only contend
    torch.set_num_threads(1)
    setting: RenderSetting = settings["setting"]
    return RowWorker(
        setting,
        head=load_talking_head(setting.model_uri, device=setting.device),
        provider=open_provider(settings["faces"]),
        sandbox=MediaSandbox(),
        files=open_files(settings["root"]),
        clips=ClipStore(open_store(settings["out"])),
    )


def _on_ray(job: RenderJob, setting: RenderSetting, plan: BatchPlan) -> Iterator[Outcome]:
    settings = {
        "setting": setting,
        "faces": job.faces,
        "root": plan.table.files.uri,
        "out": open_store(job.out).uri,  # absolute: actors stand elsewhere
    }
    return over_actors(
        plan.tasks,
        _open_worker,
        settings,
        name=lambda task: f"{task.portrait} with {task.audio}",
        deadly=lambda task, why: Rejected(key=task.key, code="crashed", detail=why),
        device=job.device,
        address=job.address,
        bounds=job.actors,
        go_on=GO_ON,
    )


def _style(workspace: Workspace, found: FoundHead, name: str | None) -> StyleRef:
    """Where a style lies: in the workspace if it was made here, else with the model."""
    card = find_style(workspace, found.head, name)
    standing = found.head.styles.get(card.name)
    is_models = standing is not None and standing.digest == card.digest
    uri = (
        join_uri(found.head.uri, "styles", card.name)
        if is_models
        else styles_uri(workspace, card.name)
    )
    return StyleRef(name=card.name, uri=uri, digest=card.digest)
