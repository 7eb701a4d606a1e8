"""Write a report: one HTML file that needs nothing else, for desk and phone, light and dark."""

from __future__ import annotations

import base64
import datetime
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visage.errors import TrackingError
from visage.metrics.classification import per_class
from visage.tracking.report import plots
from visage.tracking.report.content import EvaluationReport

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["write_report"]

MINUS = "\u2212"
TEMPLATE = "report.html.jinja"
TINT_POWER = 0.6  # lifts rare mistakes above the paper without hiding that they are rare


def write_report(
    path: Path, report: EvaluationReport, *, created: datetime.datetime | None = None
) -> Path:
    """Write the page, replacing an older one atomically; returns the path.

    Raises:
        TrackingError: classes and confusion matrix do not fit, or the file cannot be written.
    """
    _check(report)
    page = (
        _environment()
        .get_template(TEMPLATE)
        .render(
            report=report,
            created=(created or datetime.datetime.now(datetime.UTC)).strftime("%Y-%m-%d %H:%M UTC"),
            matrix=_matrix(report),
            figures=_figures(report),
            stages=_stages(report.stages_s),
            sections=_sections(report),
        )
    )
    arriving = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        arriving.write_text(page, encoding="utf-8")
        arriving.replace(path)
    except OSError as err:
        raise TrackingError(f"{path}: the report cannot be written: {err.strerror}") from None
    return path


def _check(report: EvaluationReport) -> None:
    if report.confusion is None:
        return
    size = len(report.classes)
    if report.confusion.shape != (size, size):
        raise TrackingError(
            f"report {report.title!r}: a confusion matrix {report.confusion.shape} "
            f"does not fit {size} classes"
        )


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("visage.tracking.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    environment.tests["digest"] = _is_digest
    environment.filters["percent"] = _percent
    environment.filters["points"] = _points
    environment.filters["seconds"] = _seconds
    return environment


def _data_uri(body: bytes, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64," + base64.b64encode(body).decode()


def _is_digest(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{32,64}", text) is not None


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}\u202f%"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", MINUS)


def _seconds(value_s: float) -> str:
    if value_s < 60:
        return f"{value_s:.1f} s"
    minutes, seconds = divmod(round(value_s), 60)
    return f"{minutes} min {seconds:02d} s"


def _matrix(report: EvaluationReport) -> list[dict[str, Any]]:
    """Rows of the confusion table: class name, support, and for each cell its share and count."""
    if report.confusion is None:
        return []
    rows = []
    for index, name in enumerate(report.classes):
        counts = report.confusion[index]
        support = int(counts.sum())
        shares = counts / max(1, support)
        cells = [
            {
                "count": int(count),
                "share": float(share),
                "tint": 100 * float(share) ** TINT_POWER,
                "is_hit": at == index,
            }
            for at, (count, share) in enumerate(zip(counts, shares, strict=True))
        ]
        rows.append({"name": name, "support": support, "cells": cells})
    return rows


def _figures(report: EvaluationReport) -> dict[str, Any]:
    from markupsafe import Markup

    drawn: dict[str, str] = {}
    if report.confusion is not None and np.any(report.confusion):
        drawn["classes"] = plots.class_bars(report.classes, per_class(report.confusion))
    if any(part.count for part in report.reliability):
        drawn["reliability"] = plots.reliability_figure(report.reliability, report.ece)
    if any(len(values) for values in report.face_weights.values()):
        drawn["weights"] = plots.face_weight_figure(report.face_weights)
    for quantity in ("loss", "accuracy"):
        curves = _curves_of(report.curves, quantity)
        if curves:
            drawn[quantity] = plots.curve_panel(quantity, curves, is_share=quantity == "accuracy")
    # the SVG is drawn here from numbers, and names in it are escaped by matplotlib
    return {name: Markup(svg) for name, svg in drawn.items()}


def _curves_of(
    curves: Mapping[str, Sequence[tuple[int, float]]], quantity: str
) -> dict[str, Sequence[tuple[int, float]]]:
    finite = {
        name: [(step, value) for step, value in points if math.isfinite(value)]
        for name, points in curves.items()
        if name.endswith(f"/{quantity}")
    }
    return {name: points for name, points in finite.items() if points}


def _stages(stages_s: Mapping[str, float]) -> list[dict[str, Any]]:
    longest = max(stages_s.values(), default=0.0)
    return [
        {"name": name, "seconds": spent, "share": spent / longest if longest else 0.0}
        for name, spent in stages_s.items()
    ]


def _sections(report: EvaluationReport) -> list[tuple[str, str]]:
    """Anchor and name of each section that has data, in page order."""
    figures_of_training = any(_curves_of(report.curves, q) for q in ("loss", "accuracy"))
    wanted = [
        ("evaluated", "What was evaluated", bool(report.facts)),
        ("confusion", "Confusion", report.confusion is not None),
        ("classes", "Classes", report.confusion is not None and bool(np.any(report.confusion))),
        ("calibration", "Calibration", any(part.count for part in report.reliability)),
        ("weights", "Face or context", any(len(v) for v in report.face_weights.values())),
        ("talking", "Talking head", report.talking is not None),
        ("gallery", "Where it looks", bool(report.gallery)),
        ("mistakes", "Worst mistakes", bool(report.mistakes)),
        ("comparison", "Against the champion", report.comparison is not None),
        ("ablation", "Ablation", bool(report.ablation)),
        ("training", "Training", figures_of_training),
        ("endpoint", "Endpoint", bool(report.answers)),
        ("stages", "Time", bool(report.stages_s)),
        ("notes", "Limits", bool(report.notes)),
    ]
    return [(anchor, name) for anchor, name, is_given in wanted if is_given]
