"""One self-contained HTML page about a model: `write_report(path, EvaluationReport(...))`."""

from __future__ import annotations

from visage.tracking.report.content import (
    AblationRow,
    EndpointAnswer,
    EvaluationReport,
    Mistake,
    PairedComparison,
    Picture,
)
from visage.tracking.report.render import write_report
from visage.tracking.report.sources import report_of

__all__ = [
    "AblationRow",
    "EndpointAnswer",
    "EvaluationReport",
    "Mistake",
    "PairedComparison",
    "Picture",
    "report_of",
    "write_report",
]
