"""Whether two clips move alike, though they say different things: SLD, SLV, SMD.

Every window of F frames of the reference looks for the window of the generated clip that is most
like it; the distances found are averaged (models.md A-M):

    S(D) = mean over windows w_s of the reference of min over windows w_a of D(w_s, w_a)

with windows starting at 0, v, 2v, ... ⌊(N - F) / v⌋ v. D is D-L for SLD, D-V for SLV and D-A for
SMD (`visage.metrics.landmark_distances`). The clips may differ in length.

D(w_s, w_a) is a mean along a diagonal of the matrix of frame distances, so one matrix of N_s x N_a
and its prefix sums along the diagonals give the windows of every size: a size costs N_s x N_a
subtractions whatever F is, where the direct form costs F times as many distances.

Mode `released` repeats the published evaluation code: its normalisation of frames; the number of
windows of both clips taken from the generated one; and a list of distances that is not emptied
between candidate windows, so the minimum is one over running means (a clip compared with itself
does not get 0). SMD has a form of its own there, `legacy`: the mean distance of centred mouth
points in pixels. Published tables may have been made with it: never mix the modes in one table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from visage.errors import DataError
from visage.metrics.landmark_distances import (
    Comparison,
    Lip,
    Missing,
    Mode,
    areas,
    checked,
    mouths,
    positions,
    present,
    velocities,
)

__all__ = ["DiagonalSums", "StyleScores", "StyleSweep", "Windows", "style_scores", "style_sweep"]

MouthForm = Literal["area", "legacy"]
CHUNK_VALUES = 1 << 22
"""Distances between points computed at once; bounds the memory beyond the matrix itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """A window size and the step between neighbouring windows, in frames."""

    size: int = 20
    stride: int = 1

    def __post_init__(self) -> None:
        if self.size < 2 or self.stride < 1:
            raise DataError(
                f"windows of {self.size} frames every {self.stride}: a window needs two frames "
                "(one velocity), a stride one"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleScores:
    """The three style distances; lower is more alike."""

    sld: float
    """Percent of the face width."""
    slv: float
    """Percent of the face width per frame; inversely proportional to the frame rate."""
    smd: float
    """Percent of the reference's largest mouth area, or pixels in the `legacy` form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleSweep:
    """Means over window sizes and strides."""

    mean: StyleScores
    each: dict[Windows, StyleScores]
    too_long: tuple[Windows, ...]
    """Windows that do not fit into the clips, left out of the mean."""


class DiagonalSums:
    """Mean distances of windows of any size from one matrix of frame distances.

    Args:
        distances: (N, M) distances of reference frames to generated frames.
        reference_seen: (N,) which rows count; a window with another frame is left out.
        generated_seen: (M,).
    """

    def __init__(
        self,
        distances: NDArray[np.float64],
        reference_seen: NDArray[np.bool_] | None = None,
        generated_seen: NDArray[np.bool_] | None = None,
    ) -> None:
        rows, columns = distances.shape
        seen = [
            np.ones(count, np.bool_) if given is None else given
            for given, count in ((reference_seen, rows), (generated_seen, columns))
        ]
        self._gaps = [np.concatenate([[0], np.cumsum(~one)]) for one in seen]
        usable = np.where(seen[0][:, None] & seen[1][None, :], distances, 0.0)
        # sums[i, j] = usable[i - 1, j - 1] + usable[i - 2, j - 2] + ...
        self._sums = np.zeros((rows + 1, columns + 1))
        for row in range(rows):
            np.add(self._sums[row, :-1], usable[row], out=self._sums[row + 1, 1:])

    def means(self, size: int, stride: int = 1) -> NDArray[np.float64]:
        """Mean distance of every two windows without gaps, (reference, generated)."""
        low = self._sums[_starts(len(self._sums), size, stride)]
        low = low[:, _starts(self._sums.shape[1], size, stride)]
        high = self._sums[size::stride, size::stride]
        whole = [
            gaps[size::stride] == gaps[_starts(len(gaps), size, stride)] for gaps in self._gaps
        ]
        # differences of sums may fall below 0 by rounding
        means = np.maximum(high - low, 0.0) / size
        return np.asarray(means[whole[0]][:, whole[1]], np.float64)


def style_scores(
    reference: NDArray[Any],
    generated: NDArray[Any],
    *,
    windows: Windows | None = None,
    mode: Mode = "formula",
    mouth: MouthForm | None = None,
    lip: Lip = "outer",
    missing: Missing = "refuse",
) -> StyleScores:
    """The style distances of a generated clip from a reference clip.

    Args:
        reference: (N_s, 68, 2 or 3), frames of NaN where there is no face.
        generated: (N_a, 68, 2 or 3), of the same frame rate.
        windows: 20 frames, every frame, unless given.
        mode: `released` for the behaviour of the published code.
        mouth: Form of SMD; unless given, `area`, or `legacy` with the released mode.
        lip: Whose area SMD takes.
        missing: `skip` leaves out the windows that hold a frame without a face.

    Raises:
        DataError: shapes, a clip shorter than a window, missing faces against the policy, no window
            without gaps, or (released) a reference shorter than the generated clip.
    """
    chosen = windows or Windows()
    sweep = style_sweep(
        reference, generated, sizes=(chosen.size,), strides=(chosen.stride,),
        mode=mode, mouth=mouth, lip=lip, missing=missing,
    )  # fmt: skip
    return sweep.mean


def style_sweep(
    reference: NDArray[Any],
    generated: NDArray[Any],
    *,
    sizes: Iterable[int] = range(10, 101),
    strides: Iterable[int] = range(1, 20),
    mode: Mode = "formula",
    mouth: MouthForm | None = None,
    lip: Lip = "outer",
    missing: Missing = "refuse",
    too_long: Literal["refuse", "skip"] = "refuse",
) -> StyleSweep:
    """Style distances for all window sizes and strides; by default the 1,729 of the release.

    Args:
        sizes: Frames a window.
        strides: Frames between windows.
        too_long: Whether a window size that does not fit is an error or is left out.

    Others and errors as in `style_scores`.
    """
    true, made = _clips(reference, generated, mode)
    grid = [Windows(size=size, stride=stride) for size in sizes for stride in strides]
    shortest = min(len(true), len(made))
    fitting = [one for one in grid if one.size <= shortest]
    if not fitting or (len(fitting) < len(grid) and too_long == "refuse"):
        raise DataError(
            f"clips of {len(true)} and {len(made)} frames are shorter than a window of "
            f"{max(one.size for one in grid) if grid else 0} frames; take smaller windows or "
            "longer clips"
        )
    seen = present(true, missing, "reference"), present(made, missing, "generated")
    form = mouth or ("area" if mode == "formula" else "legacy")
    still, moving = _tables(true, made, seen, mode, form, lip)
    each = {}
    for one in fitting:
        sld, smd = (_score(table, one.size, one.stride, mode) for table in still)
        slv = _score(moving, one.size - 1, one.stride, mode)
        each[one] = StyleScores(sld=sld, slv=slv, smd=smd)
    found = list(each.values())
    return StyleSweep(
        mean=StyleScores(
            sld=float(np.mean([one.sld for one in found])),
            slv=float(np.mean([one.slv for one in found])),
            smd=float(np.mean([one.smd for one in found])),
        ),
        each=each,
        too_long=tuple(one for one in grid if one.size > shortest),
    )


def frame_distances(comparison: Comparison) -> NDArray[np.float64]:
    """Distance of every reference frame to every generated frame, (N, M); chunked over rows."""
    true, made = comparison.reference, comparison.generated
    out = np.empty((len(true), len(made)))
    rows = max(1, CHUNK_VALUES // max(1, made.shape[0] * made.shape[1]))
    for start in range(0, len(true), rows):
        part = slice(start, start + rows)
        squares = np.zeros((len(true[part]), *made.shape[:2]))  # (rows, M, P)
        for axis in range(true.shape[2]):
            squares += (true[part, None, :, axis] - made[None, :, :, axis]) ** 2
        out[part] = np.sqrt(squares, out=squares).mean(axis=2) * comparison.scale[part, None]
    return out


def _starts(sums: int, size: int, stride: int) -> slice:
    """Where windows start among so many prefix sums."""
    return slice(0, max(0, sums - size), stride)


def _tables(
    true: NDArray[np.float64],
    made: NDArray[np.float64],
    seen: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    mode: Mode,
    mouth: MouthForm,
    lip: Lip,
) -> tuple[tuple[DiagonalSums, DiagonalSums], DiagonalSums]:
    """(positions, mouths) and velocities."""
    mouth_points = mouths(true, made) if mouth == "legacy" else areas(true, made, lip=lip)
    pairs = (positions(true, made, mode=mode), mouth_points)
    first, second = (DiagonalSums(frame_distances(one), *seen) for one in pairs)
    moves = (one[1:] & one[:-1] for one in seen)
    moving = DiagonalSums(frame_distances(velocities(true, made, mode=mode)), *moves)
    return (first, second), moving


def _score(table: DiagonalSums, size: int, stride: int, mode: Mode) -> float:
    means = table.means(size, stride)
    if not means.size:
        raise DataError(
            f"no window of {size} frames without a missing face in one of the clips; take smaller "
            "windows"
        )
    if mode == "released":  # the list of distances grows over the candidates of a window
        means = means.cumsum(axis=1) / np.arange(1, means.shape[1] + 1)
    return float(means.min(axis=1).mean())


def _clips(
    reference: NDArray[Any], generated: NDArray[Any], mode: Mode
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    true, made = checked(reference, "reference"), checked(generated, "generated")
    if true.shape[2] != made.shape[2]:
        raise DataError(f"reference {true.shape} and generated {made.shape}: unequal dimensions")
    if mode == "released":
        if len(true) < len(made):
            raise DataError(
                f"released: the reference has {len(true)} frames, the generated clip {len(made)}; "
                "the published code counts windows in the generated clip, so the reference must "
                "not be shorter"
            )
        true = true[: len(made)]
    return true, made
