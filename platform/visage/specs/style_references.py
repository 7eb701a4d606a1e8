"""What the four key motion templates are: None, M, R and O (models.md A.6)."""

from __future__ import annotations

from pydantic import Field, model_validator

from visage.specs.base import Spec

__all__ = ["Band", "Ramp", "StyleReferenceSpec"]

Band = tuple[float, float]
"""(least, most); what lies between is equally good."""
Ramp = tuple[float, float]
"""(where a condition is met in full, where it is not met at all); linear between."""


class StyleReferenceSpec(Spec):
    """Templates, similarity and coverage.

    Lengths are in distances of the outer eye corners, after the head's pose is undone. Widths of
    the mouth and thicknesses of the lips are ratios to the clip's median.
    """

    open_above: float = Field(0.05, ge=0.0)
    """Inner lips further apart than this make an open mouth."""
    none_opening: Band = (0.02, 0.05)
    """The resting mouth: as open as the quarter most closed of the clip, held between these."""
    none_percentile: float = Field(25.0, ge=0.0, le=100.0)
    m_opening: Band = (0.0, 0.0)
    """Closed syllables (m, b, p)."""
    m_thickness_percentile: float = Field(5.0, ge=0.0, le=100.0)
    """Pressed lips are at most as thick as those of this share of frames, and at least as thick as
    `m_thickness_floor`: below that the tracker was lost."""
    m_thickness_floor: float = Field(0.4, ge=0.0)
    r_opening_percentiles: Band = (35.0, 50.0)
    """Small round syllables: so far open, among the open mouths."""
    r_width: Band = (0.6, 0.9)
    o_opening_percentile: float = Field(95.0, ge=0.0, le=100.0)
    """Open round syllables: at least so far open, among all frames, and at most `o_limit`."""
    o_limit: float = Field(0.8, gt=0.0)
    o_width: Band = (0.4, 0.9)

    candidates: int = Field(100, ge=1)
    """Frames nearest to the extreme of a template among which the best is taken: a single extreme
    frame is often an error of the tracker."""
    candidate_share: float = Field(0.25, gt=0.0, le=1.0)
    """Never more candidates than this share of the clip."""
    pose_weight: float = Field(0.1, ge=0.0)
    """Score for each degree that the head is turned from its median."""
    blink_weight: float = Field(2.0, ge=0.0)
    """Score of fully closed lids."""
    neutral_pose_weight: float = Field(0.3, ge=0.0)
    """For the neutral picture: score for each degree that the head is turned away from the camera
    or tilted."""

    none_closed: Ramp = (0.05, 0.15)
    m_closed: Ramp = (0.02, 0.06)
    m_pressed: Ramp = (0.92, 1.05)
    r_open: Ramp = (0.08, 0.03)
    r_not_wide_open: Ramp = (0.2, 0.3)
    r_round: Ramp = (0.92, 1.0)
    o_open: Ramp = (0.2, 0.05)
    o_round: Ramp = (0.95, 1.02)
    """Conditions of coverage; the weakest one of a template counts."""

    @model_validator(mode="after")
    def _ramps_lead_somewhere(self) -> StyleReferenceSpec:
        for name in (
            "none_closed", "m_closed", "m_pressed", "r_open", "r_not_wide_open", "r_round",
            "o_open", "o_round",
        ):  # fmt: skip
            full, none = getattr(self, name)
            if full == none:
                raise ValueError(f"{name}: the two ends of a ramp must differ")
        for name in ("none_opening", "m_opening", "r_opening_percentiles", "r_width", "o_width"):
            least, most = getattr(self, name)
            if not 0 <= least <= most:
                raise ValueError(f"{name}: a band is (least, most), neither below 0")
        if self.r_opening_percentiles[1] > 100:
            raise ValueError("r_opening_percentiles end at 100")
        return self
