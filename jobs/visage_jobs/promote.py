"""Promote a model: find its evaluation, run the gates, move the alias by compare-and-set.

A model is named by what is at hand: a registered version (`emotion/3`, `emotion@challenger`), an
evaluation (folder or name in the workspace), a training run (folder or name), or the folder of its
weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from visage.errors import CorruptError, NotFoundError, SpecError, TrackingError
from visage.store.base import join_uri
from visage.store.commit import MARKER
from visage.store.open import open_store
from visage.tracking.evaluation import EVALUATION_FILE, Evaluation
from visage.tracking.gates import (
    GatePolicy,
    GateResult,
    accuracy_gate,
    all_passed,
    champion_gate,
    latency_gate,
    measure_latency_ms,
    recall_gate,
    size_gate,
)
from visage.tracking.registry import ModelVersion, Registry, committed_weights
from visage_jobs.workspace import Workspace

__all__ = ["ModelProbe", "PromoteJob", "Promotion", "probe_model", "run_promote"]

EVALUATION_TAG = "visage.evaluation"
RUN_MODEL = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteJob:
    """What to promote to what, and how strictly."""

    target: str
    workspace: Workspace
    name: str = "emotion"
    alias: str = "champion"
    policy: GatePolicy = field(default_factory=GatePolicy)
    evaluation: str | None = None
    """Folder of the evaluation to judge by; found by the model's digest if not given."""
    force: bool = False
    """Move the alias although a gate fails; the version is labelled with it."""
    dry_run: bool = False
    """Judge only; register nothing, move nothing."""
    device: str = "cpu"
    """Where the latency is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProbe:
    """What only the loaded model can tell."""

    latency_ms: float
    spec_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """How it went."""

    name: str
    alias: str
    model_uri: str
    model_digest: str
    evaluation: str
    gates: tuple[GateResult, ...]
    passed: bool
    previous: str | None
    """Version the alias pointed to before."""
    version: str | None
    """Version of the candidate; None if nothing was registered."""
    moved: bool
    """Whether the alias points to the candidate because of this call."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return asdict(self)


Probe = Callable[[str, str], ModelProbe]


def run_promote(job: PromoteJob, *, probe: Probe | None = None) -> Promotion:
    """Judge the model and, if it may, point the alias to it.

    Args:
        probe: Measures the model at a URI on a device; `probe_model` if not given.

    Raises:
        NotFoundError: no model or no evaluation under that name.
        CorruptError: the weights are not those that were evaluated.
        TrackingError: somebody moved the alias meanwhile, or the registry does not answer.
    """
    registry = Registry(job.workspace.tracking_uri())
    evaluation = _candidate(job, registry)
    weights = committed_weights(evaluation.model_uri)
    if weights.digest() != evaluation.model_digest:
        raise CorruptError(
            f"{evaluation.model_uri}: the weights have digest {weights.digest()[:12]}…, but "
            f"{evaluation.model_digest[:12]}… was evaluated; evaluate again"
        )
    previous = registry.alias(job.name, job.alias)
    champion = None if previous is None else registry.resolve(f"{job.name}/{previous}")
    measured = (probe or probe_model)(evaluation.model_uri, job.device)
    gates = (
        accuracy_gate(evaluation, job.policy),
        _champion_gate(job, evaluation, champion),
        recall_gate(evaluation, job.policy),
        latency_gate(measured.latency_ms, job.policy),
        size_gate(sum(part.size_bytes for part in weights.parts.values()), job.policy),
    )
    passed = all_passed(gates)
    version = None
    if not job.dry_run and (passed or job.force):
        version = _register(job, registry, evaluation, measured, gates).version
        registry.set_alias(job.name, job.alias, version, expected=previous)
    return Promotion(
        name=job.name,
        alias=job.alias,
        model_uri=evaluation.model_uri,
        model_digest=evaluation.model_digest,
        evaluation=evaluation.uri,
        gates=gates,
        passed=passed,
        previous=previous,
        version=version,
        moved=version is not None and version != previous,
    )


def probe_model(uri: str, device: str) -> ModelProbe:
    """Load the model and time it on one black picture after another."""
    import numpy as np

    from visage.inference.artifact import load_emotion_model
    from visage.inference.emotion import EmotionPredictor

    artifact = load_emotion_model(uri, device=device)
    predictor = EmotionPredictor(artifact)
    size = artifact.spec.input
    face = np.zeros((1, size.face_size, size.face_size, 3), np.uint8)
    context = np.zeros((1, size.context_height, size.context_width, 3), np.uint8)
    box = np.zeros((1, 4), np.int64)
    latency_ms = measure_latency_ms(lambda: predictor.predict_batch(face, context, box))
    return ModelProbe(latency_ms=latency_ms, spec_digest=artifact.spec.digest())


def _candidate(job: PromoteJob, registry: Registry) -> Evaluation:
    """The evaluation to judge by, whatever the target names."""
    for place in _places(job):
        if _holds(place, EVALUATION_FILE):
            return Evaluation.read(place)
        for weights in (place, join_uri(place, RUN_MODEL)):
            if _holds(weights, MARKER):
                return _evaluation_of(job, committed_weights(weights).digest(), weights, None)
    if "/" not in job.target and "@" not in job.target:
        raise NotFoundError(
            f"{job.target}: no evaluation or run of that name in {job.workspace.root}; "
            "name a folder, a run, or a version like emotion/3"
        )
    version = registry.resolve(job.target)
    return _evaluation_of(job, version.digest, version.uri, version)


def _places(job: PromoteJob) -> Iterator[str]:
    if "://" in job.target:
        yield job.target.rstrip("/")
        return
    folder = Path(job.target).expanduser()
    if folder.is_dir():
        yield str(folder.resolve())
    if "/" not in job.target and "@" not in job.target:
        yield job.workspace.evaluation(job.target)
        yield job.workspace.run(job.target)


def _holds(uri: str, key: str) -> bool:
    return open_store(uri).stat(key) is not None


def _evaluation_of(
    job: PromoteJob, digest: str, uri: str, version: ModelVersion | None
) -> Evaluation:
    if job.evaluation is not None:
        evaluation = Evaluation.read(job.evaluation)
        if evaluation.model_digest != digest:
            raise SpecError(
                f"--evaluation {job.evaluation}: it judges {evaluation.model_digest[:12]}…, "
                f"not {digest[:12]}… of {uri}"
            )
        return evaluation
    found = _evaluations(job, digest, version)
    if not found:
        raise NotFoundError(
            f"{uri}: no evaluation of this model in {job.workspace.root}; "
            "run `visage evaluate` on the test split, then promote again"
        )
    return max(found, key=lambda evaluation: (evaluation.split == "test", evaluation.rows))


def _evaluations(job: PromoteJob, digest: str, version: ModelVersion | None) -> list[Evaluation]:
    """All evaluations of one model: the one its version names, then those of the workspace."""
    places = [] if version is None else [version.tags.get(EVALUATION_TAG, "")]
    folder = job.workspace.evaluation("")
    for stat in open_store(folder).list():
        place, _, file = stat.key.rpartition("/")
        if file == EVALUATION_FILE:
            places.append(join_uri(folder, place))
    found = []
    for place in dict.fromkeys(place for place in places if place):
        try:
            evaluation = Evaluation.read(place)
        except (NotFoundError, TrackingError):
            continue  # deleted meanwhile, or written by another version: it cannot judge anything
        if evaluation.model_digest == digest:
            found.append(evaluation)
    return found


def _champion_gate(
    job: PromoteJob, candidate: Evaluation, champion: ModelVersion | None
) -> GateResult:
    if champion is None:
        return champion_gate(candidate, None, job.policy, has_champion=False)
    if champion.digest == candidate.model_digest:
        return champion_gate(candidate, candidate, job.policy, has_champion=True)
    known = _evaluations(job, champion.digest, champion)
    same_data = (candidate.data_digest, candidate.split)
    comparable = [one for one in known if (one.data_digest, one.split) == same_data]
    best = next(iter(comparable or known), None)
    return champion_gate(candidate, best, job.policy, has_champion=True)


def _register(
    job: PromoteJob,
    registry: Registry,
    evaluation: Evaluation,
    measured: ModelProbe,
    gates: tuple[GateResult, ...],
) -> ModelVersion:
    version = registry.register(job.name, uri=evaluation.model_uri, digest=evaluation.model_digest)
    failed = [gate.name for gate in gates if not gate.passed]
    tags = {
        EVALUATION_TAG: evaluation.uri,
        "visage.data_digest": evaluation.data_digest,
        "visage.spec_digest": measured.spec_digest,
        "accuracy": f"{evaluation.accuracy:.4f}",
        "accuracy_low": f"{evaluation.accuracy_interval[0]:.4f}",
        "accuracy_high": f"{evaluation.accuracy_interval[1]:.4f}",
        "macro_f1": f"{evaluation.macro_f1:.4f}",
        "latency_ms": f"{measured.latency_ms:.2f}",
    }
    if failed:
        tags["visage.forced_past"] = ", ".join(failed)
    registry.set_tags(version, tags)
    return version
