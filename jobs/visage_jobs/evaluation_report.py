"""Evaluations of one corpus split in a workspace: find the model, score it, write its report."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from visage.data.records import Split
from visage.data.shards import load_manifest
from visage.inference.artifact import load_emotion_model
from visage.store.base import join_uri
from visage.store.open import open_store
from visage.tracking.evaluation import Evaluation
from visage.tracking.registry import Registry
from visage.tracking.report import write_report
from visage.tracking.report.content import EvaluationReport, PairedComparison
from visage.tracking.report.sources import report_of
from visage.tracking.runs import open_run
from visage.training.checkpoint import restore
from visage.training.run_dir import ledger_chain
from visage_jobs.evaluate import EvaluateJob, Progress, evaluate_emotion, evaluation_name
from visage_jobs.gallery import gallery, worst_mistakes
from visage_jobs.workspace import Workspace

__all__ = ["Evaluator", "curves_of_run"]

CURVE_POINTS = 200
REPORT_FILE = "report.html"


@dataclass(frozen=True, slots=True)
class Evaluator:
    """One split of one prepared corpus, and where evaluations of it go."""

    workspace: Workspace
    data_uri: str
    split: Split
    address: str | None = None

    def model_uri(self, reference: str) -> str:
        """The weights that a registry reference, a run's name or a URI stands for."""
        if "@" in reference or (
            reference.count("/") == 1 and reference.rpartition("/")[2].isdigit()
        ):
            return Registry(self.workspace.tracking_uri()).resolve(reference).uri
        if "/" in reference:
            return reference
        return join_uri(self.workspace.run(reference), "model")

    def plan(self, reference: str) -> dict[str, object]:
        """What an evaluation would read and write."""
        uri = self.model_uri(reference)
        return {"model": uri, "data": self.data_uri, "split": self.split, "out": self._out(uri)}

    def evaluate(
        self,
        reference: str,
        *,
        against: str | None = None,
        progress: Progress | None = None,
        with_report: bool = True,
    ) -> tuple[Evaluation, str]:
        """The evaluation of a model and the path of its report ("" without one)."""
        uri = self.model_uri(reference)
        found = self._evaluate(uri, progress)
        if not with_report:
            return found, ""
        comparison = None
        if against is not None:
            other_uri = self.model_uri(against)
            pairs = found.paired_with(self._evaluate(other_uri, progress))
            if pairs is not None:
                comparison = PairedComparison.of(pairs, candidate=uri, champion=other_uri)
        report = replace(self.report(found), comparison=comparison)
        page = self.write(report, found)
        self.track(found)
        return found, page

    def report(self, found: Evaluation) -> EvaluationReport:
        """Scores, plots, attention overlays and worst mistakes of an evaluation."""
        corpus = self.data_uri.rstrip("/").rpartition("/")[2]
        return replace(
            report_of(found, title="Emotion recognition", subtitle=f"{corpus}, {self.split}"),
            gallery=gallery(found, self.data_uri),
            mistakes=worst_mistakes(found, self.data_uri),
        )

    def write(self, report: EvaluationReport, found: Evaluation) -> str:
        """Put the page beside the evaluation; returns its path or URI."""
        with tempfile.TemporaryDirectory() as folder:
            page = write_report(Path(folder) / REPORT_FILE, report)
            open_store(found.uri).replace(REPORT_FILE, page.read_bytes())
        return join_uri(found.uri, REPORT_FILE)

    def track(self, found: Evaluation) -> None:
        """Record scores and report as an MLflow run; the same evaluation is always the same run."""
        name = found.uri.rstrip("/").rpartition("/")[2]
        key = hashlib.sha256(found.uri.encode()).hexdigest()[:32]
        low, high = found.accuracy_interval
        with open_run(
            self.workspace.tracking_uri(),
            experiment="emotion-evaluation",
            name=name,
            run_id=key,
            params={"model": found.model_uri, "digest": found.model_digest, "split": found.split},
        ) as tracked:
            tracked.log_dataset("emotion", found.data_digest, self.data_uri, self.split, found.rows)
            tracked.log_metrics(
                {
                    "test/accuracy": found.accuracy,
                    "test/accuracy_low": low,
                    "test/accuracy_high": high,
                    "test/macro_f1": found.macro_f1,
                    "test/ece": found.ece,
                },
                step=0,
            )
            page = open_store(found.uri).get(REPORT_FILE)  # wherever the workspace is
            tracked.log_text(page.decode(), f"report/{REPORT_FILE}")

    def _out(self, model_uri: str) -> str:
        manifest, _ = load_manifest(self.data_uri)
        digest = load_emotion_model(model_uri).digest
        return self.workspace.evaluation(evaluation_name(digest, manifest.digest(), self.split))

    def _evaluate(self, model_uri: str, progress: Progress | None) -> Evaluation:
        job = EvaluateJob(
            model_uri=model_uri,
            data_uri=self.data_uri,
            out=self._out(model_uri),
            split=self.split,
            address=self.address,
        )
        return evaluate_emotion(job, progress=progress)


def curves_of_run(run_uri: str) -> dict[str, list[tuple[int, float]]]:
    """Training curves for a report, from the run's ledger and its state; thinned to 200 points."""
    store = open_store(run_uri)
    newest = restore(store)
    if newest is None:
        return {}
    rows = [row for row in ledger_chain(store, newest.state.ledger) if row.rank == 0]
    width = max(1, len(rows) // CURVE_POINTS)
    spans = [rows[start : start + width] for start in range(0, len(rows), width)]
    losses = [(span[-1].step + 1, sum(row.loss for row in span) / len(span)) for span in spans]
    seen = newest.state.validations
    return {
        "train/loss": losses,
        "val/loss": [(one.step, one.loss) for one in seen],
        "val/accuracy": [(one.step, one.score) for one in seen],
    }
