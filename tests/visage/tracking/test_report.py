from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_evaluations import MakeEvaluation

from visage.errors import TrackingError
from visage.metrics.calibration import reliability
from visage.tracking.evaluation import PairedAnswers
from visage.tracking.report import (
    AblationRow,
    EndpointAnswer,
    EvaluationReport,
    Mistake,
    PairedComparison,
    Picture,
    report_of,
    write_report,
)

JPEG = b"\xff\xd8 not really a picture \xff\xd9"
PARTS: Mapping[str, dict[str, Any]] = {
    "evaluated": {"facts": {"Model": "emotion/3"}},
    "confusion": {"classes": ("A", "B"), "confusion": np.array([[3, 1], [0, 2]])},
    "calibration": {"reliability": reliability([[0.8, 0.2], [0.4, 0.6]], [0, 0]), "ece": 0.1},
    "weights": {"face_weights": {"A": np.array([0.2, 0.4], np.float32)}},
    "gallery": {"gallery": [Picture(title="one", jpeg=JPEG)]},
    "mistakes": {"mistakes": [Mistake(key="k", truth="A", predicted="B", probability=0.9)]},
    "comparison": {
        "comparison": PairedComparison.of(
            PairedAnswers(candidate=np.array([True, True]), champion=np.array([True, False])),
            candidate="new",
            champion="old",
        )
    },
    "ablation": {"ablation": [AblationRow(setting="no attention", accuracy=0.5, published=0.4319)]},
    "training": {"curves": {"train/loss": [(0, 2.0), (10, 1.0)]}},
    "endpoint": {"answers": [EndpointAnswer(request="POST", status=200, latency_ms=1, body="{}")]},
    "stages": {"stages_s": {"train": 61.0, "serve": 2.0}},
    "notes": {"notes": ["drawn pictures"]},
}


class Page(HTMLParser):
    """Sections, attributes that could load something, and whether tags are balanced."""

    VOID = frozenset({"meta", "img", "br", "link", "path", "use", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.loads: list[str] = []
        self.missing_alt = 0
        self.open_tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "section":
            self.sections.append(str(values.get("id")))
        if tag == "img" and not values.get("alt"):
            self.missing_alt += 1
        if tag == "svg" and not values.get("aria-label"):
            self.missing_alt += 1
        for name in ("src", "href", "xlink:href", "action", "srcset", "data"):
            if values.get(name) is not None:
                self.loads.append(str(values[name]))
        assert tag not in ("script", "link", "iframe", "object")
        if tag not in self.VOID:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        depth = len(self.open_tags)
        self.handle_starttag(tag, attrs)
        del self.open_tags[depth:]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open_tags.pop() == tag


def render(tmp_path: Path, **values: Any) -> tuple[str, Page]:
    path = write_report(tmp_path / "r.html", EvaluationReport(title="Report", **values))
    text = path.read_text()
    return text, Page(text)


def everything() -> dict[str, Any]:
    return {key: value for part in PARTS.values() for key, value in part.items()}


@pytest.mark.parametrize("section", [None, *PARTS])
def test_a_section_appears_exactly_if_its_data_is_given(
    tmp_path: Path, section: str | None
) -> None:
    _, page = render(tmp_path, **(PARTS[section] if section else {}))
    wanted = {None: [], "confusion": ["confusion", "classes"]}.get(section, [section])
    assert page.sections == wanted
    assert page.open_tags == []


def test_the_page_loads_nothing_from_anywhere(tmp_path: Path) -> None:
    text, page = render(tmp_path, accuracy=0.5, accuracy_interval=(0.4, 0.6), **everything())
    assert set(page.sections) >= set(PARTS)
    assert all(load.startswith(("data:image/", "#")) for load in page.loads)
    assert "default-src 'none'" in text
    assert not re.search(r"url\(\s*['\"]?(?!#)", text)
    assert "@import" not in text


def test_every_picture_and_figure_has_words_for_those_who_cannot_see_it(tmp_path: Path) -> None:
    _, page = render(tmp_path, **everything())
    assert page.missing_alt == 0


def test_figures_take_their_colours_from_the_page(tmp_path: Path) -> None:
    text, _ = render(tmp_path, **everything())
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert "var(--accent)" in drawn
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawn)) <= {"#000000"}


def test_words_from_outside_cannot_become_markup(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>$_{x}$\"&"
    text, page = render(
        tmp_path,
        subtitle=evil,
        scores={evil: evil},
        facts={evil: evil},
        notes=[evil],
        classes=(evil, "B"),
        confusion=np.array([[1, 2], [3, 4]]),
        face_weights={evil: np.array([0.5], np.float32)},
        curves={f"{evil}/loss": [(0, 1.0)]},
        gallery=[Picture(title=evil, jpeg=JPEG, caption=evil)],
        mistakes=[Mistake(key=evil, truth=evil, predicted=evil, probability=1.0, jpeg=JPEG)],
        answers=[EndpointAnswer(request=evil, status=200, latency_ms=1, body=evil)],
        ablation=[AblationRow(setting=evil, accuracy=None, note=evil)],
        stages_s={evil: 1.0},
    )
    assert "<script" not in text
    assert page.open_tags == []


def test_the_same_report_is_the_same_file(tmp_path: Path) -> None:
    import datetime

    when = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    report = EvaluationReport(title="Report", **everything())
    one = write_report(tmp_path / "a.html", report, created=when).read_bytes()
    assert write_report(tmp_path / "b.html", report, created=when).read_bytes() == one


def test_a_class_without_a_single_picture_and_a_curve_of_nan_do_not_break_the_page(
    tmp_path: Path,
) -> None:
    _, page = render(
        tmp_path,
        classes=("A", "B"),
        confusion=np.array([[1, 0], [0, 0]]),
        curves={"train/loss": [(0, float("nan"))], "val/loss": [(0, 1.0), (1, float("inf"))]},
        face_weights={"A": np.zeros(0, np.float32)},
        stages_s={"nothing": 0.0},
    )
    assert page.sections == ["confusion", "classes", "training", "stages"]


def test_an_empty_confusion_matrix_is_shown_without_a_figure(tmp_path: Path) -> None:
    _, page = render(tmp_path, classes=("A",), confusion=np.zeros((1, 1), np.int64))
    assert page.sections == ["confusion"]


def test_a_confusion_matrix_of_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="2 classes"):
        render(tmp_path, classes=("A", "B"), confusion=np.zeros((3, 3), np.int64))


def test_a_long_curve_stays_a_small_page(tmp_path: Path) -> None:
    curve = [(step, 1.0 / (1 + step)) for step in range(100_000)]
    text, _ = render(tmp_path, curves={"train/loss": curve})
    assert len(text) < 100_000


def test_writing_again_replaces_the_page_and_leaves_no_other_file(tmp_path: Path) -> None:
    render(tmp_path)
    render(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match="cannot be written"):
        write_report(tmp_path / "file" / "r.html", EvaluationReport(title="Report"))


def test_an_evaluation_folder_alone_fills_the_page(
    make_evaluation: MakeEvaluation, tmp_path: Path
) -> None:
    evaluation = make_evaluation([0, 1, 2] * 10, [0, 1, 1] * 10)
    report = report_of(evaluation, title="Alone")
    page = Page(write_report(tmp_path / "r.html", report).read_text())
    assert page.sections == ["evaluated", "confusion", "classes", "calibration", "weights"]
    assert report.accuracy == pytest.approx(2 / 3)
    extended = replace(report, notes=["more"])
    assert "notes" in Page(write_report(tmp_path / "r.html", extended).read_text()).sections


def test_a_paired_comparison_counts_every_picture_once() -> None:
    candidate = np.array([True, True, True, False, False])
    champion = np.array([True, False, False, True, False])
    found = PairedComparison.of(
        PairedAnswers(candidate=candidate, champion=champion), candidate="a", champion="b"
    )
    counts = (found.both_right, found.only_candidate, found.only_champion, found.both_wrong)
    assert counts == (1, 2, 1, 1)
    assert found.difference == pytest.approx(0.2)
    assert found.interval[0] <= found.difference <= found.interval[1]
