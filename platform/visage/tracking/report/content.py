"""What a report may say; a section appears only if its data is given.

Pictures are JPEG bytes of any size; make them small (about 480 pixels wide), because every byte is
part of the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from visage.metrics.calibration import ReliabilityBin
from visage.metrics.significance import bootstrap_difference, mcnemar
from visage.tracking.evaluation import PairedAnswers

__all__ = [
    "AblationRow",
    "EndpointAnswer",
    "EvaluationReport",
    "Mistake",
    "PairedComparison",
    "Picture",
    "ScoreTable",
    "TalkingPart",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture of the gallery, with what the model saw in it."""

    title: str
    jpeg: bytes
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One picture the model got wrong, surest mistakes first."""

    key: str
    truth: str
    predicted: str
    probability: float
    """What the model gave its wrong answer, in [0, 1]."""
    jpeg: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedComparison:
    """Two models on the same pictures."""

    candidate: str
    champion: str
    both_right: int
    only_candidate: int
    only_champion: int
    both_wrong: int
    difference: float
    """Accuracy of the candidate minus that of the champion."""
    interval: tuple[float, float]
    """95 % bootstrap interval of the difference."""
    p_value: float
    """Exact McNemar test of "there is no difference"."""

    @classmethod
    def of(cls, pairs: PairedAnswers, *, candidate: str, champion: str) -> PairedComparison:
        """Count and test the answers of two models; the names are for people."""
        a, b = pairs.candidate, pairs.champion
        found = bootstrap_difference(a, b)
        return cls(
            candidate=candidate,
            champion=champion,
            both_right=int((a & b).sum()),
            only_candidate=int((a & ~b).sum()),
            only_champion=int((~a & b).sum()),
            both_wrong=int((~a & ~b).sum()),
            difference=found.difference,
            interval=(found.low, found.high),
            p_value=mcnemar(a, b).p_value,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationRow:
    """One variant of the model beside what was published for it."""

    setting: str
    accuracy: float | None
    """Measured here; None where it was not run."""
    interval: tuple[float, float] | None = None
    published: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointAnswer:
    """One request to a served model and what came back."""

    request: str
    status: int
    latency_ms: float
    body: str
    """The answer as indented JSON, shortened for people."""
    jpeg: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable:
    """Numbers in rows and columns, written out."""

    title: str
    columns: Sequence[str]
    """Of the numbers; the first column, the rows' names, has no heading."""
    rows: Sequence[tuple[str, Sequence[str]]]
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkingPart:
    """What a talking head made and how near to the truth it came."""

    video_mp4: bytes
    """Part of the page, so keep it to seconds."""
    caption: str
    sheet_jpeg: bytes | None = None
    """Frames beside each other, for those who rather look than play."""
    sheet_caption: str = ""
    tables: Sequence[ScoreTable] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """Everything one page shows; only the title is needed."""

    title: str
    subtitle: str = ""
    accuracy: float | None = None
    accuracy_interval: tuple[float, float] | None = None
    """95 % interval of the accuracy."""
    scores: Mapping[str, str] = field(default_factory=dict)
    """Further headline numbers, written out: name → value."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What was evaluated: model, digests, split, seed, machine."""
    notes: Sequence[str] = ()
    """Limits of what this page shows, in sentences."""
    classes: Sequence[str] = ()
    confusion: NDArray[np.int64] | None = None
    """Shape (K, K), rows the truth."""
    reliability: Sequence[ReliabilityBin] = ()
    ece: float | None = None
    face_weights: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Class name → (n,) weights of the face branch in [0, 1]; the context has the rest."""
    talking: TalkingPart | None = None
    gallery: Sequence[Picture] = ()
    mistakes: Sequence[Mistake] = ()
    comparison: PairedComparison | None = None
    ablation: Sequence[AblationRow] = ()
    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    """Metric name (`train/loss`, `val/accuracy`) → (step, value) in step order."""
    stages_s: Mapping[str, float] = field(default_factory=dict)
    """Stage of a demo → seconds, in the order they ran."""
    answers: Sequence[EndpointAnswer] = ()
