"""Figures of the report as inline SVG that follows the page's colours and fonts.

Every colour drawn here is a stand-in that becomes a CSS variable, so the same figure suits light
and dark. Figures are about 460 units wide: two stand side by side on a desk, one fills a phone,
both legible.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visage.metrics.calibration import ReliabilityBin
from visage.metrics.classification import ClassScores

__all__ = ["class_bars", "curve_panel", "face_weight_figure", "reliability_figure"]

# stand-ins: colours nobody would draw, each one exchanged for a variable of the page
INK, MUTED, RULE, ACCENT, WARM, SOFT = (
    "#010203",
    "#040506",
    "#070809",
    "#0a0b0c",
    "#0d0e0f",
    "#101112",
)
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    ACCENT: "var(--accent)",
    WARM: "var(--warm)",
    SOFT: "var(--soft)",
}
SERIES = (ACCENT, WARM, MUTED, INK)
WIDTH_PX = 460
TEXT_PX = 12
POINTS_DRAWN = 400
_PX_PER_INCH = 72  # an SVG of matplotlib counts points: one point of it is one unit of the picture


def class_bars(classes: Sequence[str], scores: Sequence[ClassScores]) -> str:
    """Recall of each class with its 95 % interval, and precision as a tick, as SVG."""

    def draw(axes: Any) -> None:
        rows = np.arange(len(classes))
        recall = np.array([score.recall for score in scores])
        ends = np.array([score.recall_interval for score in scores])
        axes.barh(rows, recall, height=0.56, color=SOFT)
        axes.hlines(rows, ends[:, 0], ends[:, 1], color=ACCENT, linewidth=1.5)
        axes.plot(recall, rows, "o", color=ACCENT, markersize=5, label="recall, 95 % interval")
        precision = [score.precision for score in scores]
        axes.plot(precision, rows, "|", color=WARM, markersize=13, mew=2, label="precision")
        labels = [f"{name}  {score.support}" for name, score in zip(classes, scores, strict=True)]
        axes.set_yticks(rows, labels)
        axes.set_ylim(len(classes) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        _percent_axis(axes.xaxis)
        axes.set_xlim(0, 1)
        axes.grid(axis="x", color=RULE, linewidth=0.8)
        _legend_above(axes, columns=2)

    worst = min(zip(classes, scores, strict=True), key=lambda pair: pair[1].recall)
    return _svg(
        "classes",
        f"Recall and precision of {len(classes)} classes; weakest recall: {worst[0]} at "
        f"{worst[1].recall:.0%}.",
        draw,
        height_px=64 + 30 * len(classes),
    )


def reliability_figure(bins: Sequence[ReliabilityBin], ece: float | None) -> str:
    """Accuracy against confidence with intervals, and how many pictures each bin holds, as SVG."""
    filled = [part for part in bins if part.count]

    def draw(axes: Any) -> None:
        confidence = np.array([part.confidence for part in filled])
        accuracy = np.array([part.accuracy for part in filled])
        ends = np.array([part.accuracy_interval for part in filled])
        share = np.array([part.count for part in filled]) / max(1, sum(p.count for p in filled))
        left = [part.low for part in filled]
        widths = [part.high - part.low for part in filled]
        axes.bar(left, share, widths, align="edge", color=SOFT, label="share of pictures")
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        axes.vlines(confidence, ends[:, 0], ends[:, 1], color=ACCENT, linewidth=1.5)
        axes.plot(confidence, accuracy, "o-", color=ACCENT, markersize=5, lw=1.2, label="accuracy")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        _percent_axis(axes.xaxis)
        _percent_axis(axes.yaxis)
        axes.set_xlabel("confidence of the answer")
        axes.grid(color=RULE, linewidth=0.8)
        _legend_above(axes, columns=2)

    said = "" if ece is None else f" Expected calibration error {ece:.3f}."
    return _svg("reliability", f"Accuracy against confidence in {len(filled)} bins.{said}", draw)


def face_weight_figure(weights: Mapping[str, NDArray[np.float32]]) -> str:
    """The spread of the face branch's weight by class: 5 to 95 %, quartiles, median, as SVG."""
    names = [name for name, values in weights.items() if len(values)]
    marks = np.array([np.quantile(weights[n], [0.05, 0.25, 0.5, 0.75, 0.95]) for n in names])

    def draw(axes: Any) -> None:
        rows = np.arange(len(names))
        axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        axes.hlines(rows, marks[:, 0], marks[:, 4], color=ACCENT, linewidth=1.5, label="5 to 95 %")
        axes.hlines(rows, marks[:, 1], marks[:, 3], color=ACCENT, linewidth=7, label="middle half")
        axes.plot(marks[:, 2], rows, "o", color=WARM, markersize=5, label="median")
        axes.set_yticks(rows, names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, 1)
        axes.set_xticks(
            [0, 0.25, 0.5, 0.75, 1], ["context", "25\u202f%", "50\u202f%", "75\u202f%", "face"]
        )
        axes.grid(axis="x", color=RULE, linewidth=0.8)
        _legend_above(axes, columns=3)

    middle = ", ".join(f"{name} {row[2]:.0%}" for name, row in zip(names, marks, strict=True))
    return _svg(
        "weights",
        f"Weight of the face branch; medians: {middle}.",
        draw,
        height_px=64 + 30 * len(names),
    )


def curve_panel(
    quantity: str, curves: Mapping[str, Sequence[tuple[int, float]]], *, is_share: bool
) -> str:
    """Values over optimizer steps, one line a metric, as SVG; long curves are thinned."""

    def draw(axes: Any) -> None:
        for colour, (name, points) in zip(SERIES * 8, curves.items(), strict=False):
            shown = list(points)[:: max(1, len(points) // POINTS_DRAWN)]
            if points and shown[-1] != points[-1]:
                shown.append(points[-1])
            steps = [step for step, _ in shown]
            marker = "o" if len(shown) < 12 else ""
            axes.plot(
                steps,
                [value for _, value in shown],
                color=colour,
                linewidth=1.4,
                marker=marker,
                markersize=3.5,
                label=name,
            )
        if is_share:
            axes.set_ylim(0, 1)
            _percent_axis(axes.yaxis)
        else:
            axes.set_ylim(bottom=0)
        axes.set_xlabel("optimizer step")
        axes.grid(color=RULE, linewidth=0.8)
        _legend_above(axes, columns=2)

    ends = ", ".join(f"{name} ends at {p[-1][1]:.3g}" for name, p in curves.items() if p)
    return _svg(f"curve-{quantity}", f"{quantity} over optimizer steps: {ends}.", draw)


def _percent_axis(axis: Any) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol="\u202f%"))


def _legend_above(axes: Any, *, columns: int) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=columns,
        frameon=False,
        borderpad=0.2,
        borderaxespad=0,
        handlelength=1.4,
        labelcolor=MUTED,
    )


def _svg(name: str, description: str, draw: Callable[[Any], None], *, height_px: int = 320) -> str:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,
        "font.size": TEXT_PX,
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": RULE,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "xtick.major.pad": 6,
        "ytick.major.pad": 6,
    }
    with matplotlib.rc_context(style):
        figure = Figure(
            figsize=(WIDTH_PX / _PX_PER_INCH, height_px / _PX_PER_INCH), layout="constrained"
        )
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _for_page(buffer.getvalue(), description)


def _for_page(svg: str, description: str) -> str:
    """Strip what only a file of its own needs; name the picture; hand colours and fonts over."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[a-z_0-9.]+">', "<g>", body)
    body = re.sub(r"font: ([0-9.]+px) [^;\"]+", r"font-size: \1", body)
    for stand_in, variable in _VARIABLES.items():
        body = body.replace(stand_in, variable)
    named = escape(description, quote=True)
    opening = re.search(r'viewBox="[^"]+"', body)
    if opening is None:
        return ""
    start = f'<svg {opening[0]} role="img" aria-label="{named}" xmlns="http://www.w3.org/2000/svg">'
    return re.sub(r"<svg[^>]*>", start, body, count=1)
