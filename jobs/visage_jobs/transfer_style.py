"""`visage transfer-style`: a clip of somebody speaking becomes a style of a talking head.

The clip gives five pictures (neutral and the four key motions) and a small change of the motion
generator, fine-tuned on how the person in it moves (models.md A.9). A clip with sound is learnt
from together with its sound; of one without, only the way of moving is taken, and the corpus that
the model was put together with keeps the lips in time. The end of the clip is held out, a quarter
of it and at least a window of training: what is reported was measured on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visage.data.clip_rows import FPS
from visage.data.row_maker import Row
from visage.errors import AlreadyExistsError, MediaError, SpecError
from visage.faces import ProviderName
from visage.inference.style_card import (
    StyleCard,
    check_style_name,
    load_style_card,
    save_style_card,
)
from visage.inference.style_delta import load_style
from visage.landmarks import POINTS
from visage.rendering.provenance import file_digest
from visage.specs.style_transfer import StyleTransferTrainSpec
from visage.store.base import join_uri
from visage.store.commit import MARKER
from visage.store.open import open_store
from visage_jobs.presets import find_preset
from visage_jobs.style_corpus import StyleCorpus, style_corpus
from visage_jobs.talking_heads import DEFAULT_MODEL, FoundHead, find_talking_head, styles_uri
from visage_jobs.train import TrainJob, run_train
from visage_jobs.workspace import Workspace

__all__ = ["StyleScoresTold", "TransferJob", "Transferred", "plan_transfer", "run_transfer"]

Watch = Callable[[Mapping[str, Any]], None]
Note = Callable[[str], None]
METRICS = ("sld", "slv", "smd")
IDENTITY = "identity"
"""In a card's metadata: digest of clip, model and settings."""


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
    """One style metric on the end of the clip, which was not learnt from; lower is nearer."""

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
    notes: tuple[str, ...]
    """What a person should know: nothing was held out, or there was no sound."""


def plan_transfer(job: TransferJob) -> dict[str, object]:
    """What a transfer would do; the clip is not decoded.

    Raises:
        NotFoundError, SpecError: as `run_transfer`.
    """
    found, standing = _checked(job)
    spec = _preset(job)
    return {
        "model": found.pinned.title,
        "clip": str(job.clip),
        "steps": spec.max_steps,
        "held_out_s": round(spec.window / FPS, 1),  # at least, if the clip is twice as long
        "out": styles_uri(job.workspace, job.name),
        "is_name_taken": standing is not None,
    }


def run_transfer(
    job: TransferJob, *, watch: Watch | None = None, note: Note = lambda text: None
) -> Transferred:
    """Make a style; the same clip, name, settings and model again give the style that stands.

    Raises:
        NotFoundError: no model.
        MediaError: the clip cannot be used; `code` says why, `closed_mouth` if nobody speaks.
        SpecError: a name that another style has, or none.
    """
    found, standing = _checked(job)
    clip = style_corpus(
        job.workspace, found.head, job.clip, style=job.name, faces=job.faces,
        window=_preset(job).window,
    )  # fmt: skip
    spec = _spec(job, found, clip)
    trained_on = clip.uri if clip.is_heard else str(found.head.metadata["data"])
    identity = hashlib.sha256(f"{spec.digest()}:{clip.uri}:{trained_on}".encode()).hexdigest()
    if standing is not None and standing.metadata.get(IDENTITY) != identity:
        raise _taken(job)
    notes = _notes(job, clip)
    for text in notes:
        note(text)
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
    card = _card(job, clip.first, done.model_uri, told, identity=identity)
    uri = _saved(job, card)
    return Transferred(
        card=card,
        uri=uri,
        scores=told,
        run_uri=done.run_uri,
        seconds=sum(done.seconds.get(name, 0.0) for name in ("start_workers", "train")),
        notes=notes,
    )


def _checked(job: TransferJob) -> tuple[FoundHead, StyleCard | None]:
    """The model, and the style that stands under the name."""
    check_style_name(job.name)
    if not job.clip.is_file():
        raise SpecError(f"--clip {job.clip}: there is no such file")
    found = find_talking_head(job.workspace, job.model)
    return found, _standing(job, found)


def _notes(job: TransferJob, clip: StyleCorpus) -> tuple[str, ...]:
    notes = []
    if not clip.is_held_out:
        notes.append(
            f"{job.clip}: too short to hold a part out; scores are of what was learnt from"
        )
    if not clip.is_heard:
        notes.append(
            f"{job.clip}: there is no sound; only the way of moving is learnt, beside the clips "
            "that the model was put together with"
        )
    return tuple(notes)


def _preset(job: TransferJob) -> StyleTransferTrainSpec:
    """The settings before places are known."""
    preset = find_preset(job.preset)
    return StyleTransferTrainSpec.load(
        preset, assignments=job.assignments, motion="-", style_clips="-"
    )


def _spec(job: TransferJob, found: FoundHead, clip: StyleCorpus) -> StyleTransferTrainSpec:
    head = found.head
    if not clip.is_heard and "data" not in head.metadata:
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
        style_clips=clip.uri,
        name=job.name,
        anchor="paired" if clip.is_heard else "frozen",
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
    job: TransferJob,
    row: Row,
    delta_uri: str,
    told: Mapping[str, StyleScoresTold],
    *,
    identity: str,
) -> StyleCard:
    return StyleCard(
        name=job.name,
        pictures=tuple(row["references"]),
        points=np.frombuffer(row["reference_points"], "<f4").reshape(-1, POINTS, 2),
        coverage=tuple(float(one) for one in row["coverage"]),
        motion=load_style(delta_uri),
        metadata={
            "clip": job.clip.name,
            "clip_sha256": str(row["source_sha256"]),
            IDENTITY: identity,
            "scores": {
                name: {"before": one.before, "after": one.after, "scaled": one.scaled}
                for name, one in told.items()
            },
        },
    )


def _standing(job: TransferJob, found: FoundHead) -> StyleCard | None:
    """The style of that name; refused in a second if it is of another clip or another model."""
    store = open_store(job.workspace.root)
    if store.stat(f"styles/{job.name}/{MARKER}") is None:
        return None
    card = load_style_card(styles_uri(job.workspace, job.name))
    base = None if card.motion is None else card.motion.spec.base
    is_same_clip = card.metadata.get("clip_sha256") == file_digest(job.clip)
    if not is_same_clip or base != found.head.motion.digest:
        raise _taken(job)
    return card


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
