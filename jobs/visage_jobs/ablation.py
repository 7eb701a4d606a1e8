"""The ablation table of the paper (models.md B.6) on any prepared corpus.

Every variant is an ordinary run of the same preset, seed and data, so an interrupted table
continues and a finished one costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from visage.metrics.significance import mcnemar
from visage.specs.train import EmotionTrainSpec
from visage.tracking.evaluation import Evaluation
from visage.tracking.report.content import AblationRow
from visage_jobs.cli.console import bar
from visage_jobs.cli.train import Watcher
from visage_jobs.cluster import ray_session
from visage_jobs.evaluation_report import Evaluator
from visage_jobs.presets import find_preset
from visage_jobs.train import TrainJob, default_run_name, run_train

__all__ = ["VARIANTS", "AblationResult", "Variant", "run_ablation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One row of the table."""

    name: str
    assignments: tuple[str, ...]
    published: float | None = None
    """Accuracy in percent on NCAER-S (models.md B.4), where it is known."""


def _variant(name: str, inputs: str, attention: str, published: float | None = None) -> Variant:
    assignments = (f"model.inputs={inputs}", f"model.attention={attention}")
    return Variant(name=name, assignments=assignments, published=published)


VARIANTS: tuple[Variant, ...] = (
    _variant("(i) F", "F", "none"),
    _variant("(ii) mC", "mC", "none"),
    _variant("(ii) mC + CA", "mC", "CA"),
    _variant("(ii) mC + GLA", "mC", "GLA"),
    _variant("(iii) fC", "fC", "none"),
    _variant("(iii) fC + GLA", "fC", "GLA"),
    _variant("(iv) F + mC", "F+mC", "none", 43.19),
    _variant("(iv) F + mC + CA", "F+mC", "CA", 44.14),
    _variant("(iv) F + mC + GLA (GLAMOR-Net)", "F+mC", "GLA", 46.91),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationResult:
    """One variant, trained and scored."""

    variant: Variant
    evaluation: Evaluation
    p_against_full: float | None
    """Exact McNemar test against the full model on the same pictures."""

    @property
    def accuracy(self) -> float:
        """On the evaluated split."""
        return self.evaluation.accuracy

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval."""
        return self.evaluation.accuracy_interval

    def as_row(self) -> dict[str, object]:
        """For JSON."""
        return {
            "variant": self.variant.name,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "published_percent": self.variant.published,
            "p_against_full": self.p_against_full,
        }

    def for_report(self) -> AblationRow:
        """For the HTML report."""
        published = self.variant.published
        return AblationRow(
            setting=self.variant.name,
            accuracy=self.accuracy,
            interval=self.interval,
            published=None if published is None else published / 100,
            note=""
            if self.p_against_full is None
            else f"p = {self.p_against_full:.2g} against the full model",
        )


def run_ablation(
    evaluator: Evaluator,
    *,
    preset: str,
    assignments: Sequence[str],
    workers: int,
    say: Callable[[str], None],
    quiet: bool = False,
    variants: Sequence[Variant] = VARIANTS,
) -> list[AblationResult]:
    """Train and score every variant; the report of the last one carries the whole table."""
    path = find_preset(preset)
    results: list[AblationResult] = []
    with ray_session(address=evaluator.address, cpus=max(4, workers + 1)):
        for number, variant in enumerate(variants, start=1):
            say(f"variant {number} of {len(variants)}: {variant.name}")
            found = _one(evaluator, path, [*assignments, *variant.assignments], workers, quiet)
            say(f"  accuracy {found.accuracy:.1%}")
            results.append(AblationResult(variant=variant, evaluation=found, p_against_full=None))
    full = results[-1].evaluation
    return [_compared(one, full) for one in results]


def _one(
    evaluator: Evaluator, preset: Path, assignments: Sequence[str], workers: int, quiet: bool
) -> Evaluation:
    spec = EmotionTrainSpec.load(preset, assignments=assignments)
    place = evaluator.workspace
    job = TrainJob(
        recipe="emotion",
        spec=spec,
        data_uri=evaluator.data_uri,
        run_uri=place.run(default_run_name("emotion", spec, evaluator.data_uri)),
        tracking_uri=place.tracking_uri(),
        workers=workers,
        experiment="emotion-ablation",
        address=evaluator.address,
    )
    with bar(quiet=quiet) as progress:
        done = run_train(job, watch=Watcher(progress))
    found, _ = evaluator.evaluate(done.model_uri, with_report=False)
    return found


def _compared(one: AblationResult, full: Evaluation) -> AblationResult:
    pairs = one.evaluation.paired_with(full)
    if pairs is None or one.evaluation.uri == full.uri:
        return one
    return replace(one, p_against_full=mcnemar(pairs.candidate, pairs.champion).p_value)
