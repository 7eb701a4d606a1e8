"""CPBD: how many of a picture's edges are sharp to a human eye (Narvekar and Karam, 2011).

The picture is cut into 64 x 64 blocks. In a block with enough edges, every vertical edge has a
width w: how far the brightness keeps rising (or falling) along the row on both sides of it
(Marziliano's measure). An eye notices blur with probability P = 1 - exp(-(w / w_jnb)^3.6), where
w_jnb, the width that is just noticed, is 5 pixels in blocks of low contrast (<= 50 grey levels) and
3 elsewhere. CPBD is the share of edges with P <= 0.63, that is w <= w_jnb: 1 = sharp, 0 = blurred.

Where the edges are is a choice of its own (an `EdgeDetector`): published ports differ from each
other by more than many results do. Given the same edges, the result is that of the published loops,
exactly; all loops here run over whole arrays. CPBD rewards any sharpening: say whether a restorer
ran before it (models.md A-M).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.errors import DataError

__all__ = [
    "EdgeDetector",
    "EdgeMaps",
    "cpbd",
    "edge_widths",
    "grey_of",
    "paper_edges",
    "released_edges",
]

Grey = NDArray[np.float64]
Mask = NDArray[np.bool_]
Mode = Literal["formula", "released"]

BLOCK = 64
EDGE_SHARE = 0.002
BETA = 3.6
LOW_CONTRAST = 50
LONGEST_SIDE = 100
"""Steps followed on one side of an edge at most."""
LARGEST_SHARP_PERCENT = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeMaps:
    """Where a picture has edges, for the two things they are used for."""

    blocks: Mask
    """(H, W): edges that decide whether a block is looked at (Canny in the paper)."""
    measured: Mask
    """(H, W): vertical edges whose width is measured (Sobel in the paper)."""


EdgeDetector = Callable[[Grey], EdgeMaps]


def cpbd(
    picture: NDArray[Any],
    *,
    edges: EdgeMaps | EdgeDetector | None = None,
    mode: Mode = "formula",
) -> float:
    """Cumulative probability of blur detection, in [0, 1]; higher is sharper.

    Args:
        picture: uint8 RGB (H, W, 3), uint8 grey (H, W), or float grey (H, W) from 0 to 255.
        edges: Ready edge maps, or what finds them; by default that of the mode.
        mode: `formula` is the paper; `released` repeats the published port (see `edge_widths`).

    Returns:
        0 for a picture without any edge that counts.

    Raises:
        DataError: smaller than one block, not a picture, or floats in [0, 1] (the published port
            silently gives 0 for those).
    """
    grey = grey_of(picture)
    if min(grey.shape) < BLOCK:
        raise DataError(f"CPBD needs {BLOCK} pixels on each side; this picture is {grey.shape}")
    if edges is None:
        edges = paper_edges if mode == "formula" else released_edges
    maps = edges if isinstance(edges, EdgeMaps) else edges(grey)
    for name, mask in (("blocks", maps.blocks), ("measured", maps.measured)):
        if mask.shape != grey.shape or mask.dtype != np.bool_:
            raise DataError(
                f"edges.{name}: {mask.dtype} {mask.shape}; need booleans of shape {grey.shape}"
            )
    widths = _blocks(edge_widths(grey, maps.measured, mode=mode))  # (B, 64 * 64)
    levels = _blocks(grey)
    contrast = np.trunc(levels.max(axis=1) - levels.min(axis=1))
    just_noticed = np.where(contrast <= LOW_CONTRAST, 5.0, 3.0)
    counts = np.count_nonzero(_blocks(maps.blocks), axis=1)
    widths[counts <= EDGE_SHARE * BLOCK * BLOCK] = 0
    block, pixel = np.nonzero(widths)
    blur = 1 - np.exp(-((widths[block, pixel] / just_noticed[block]) ** BETA))
    percent = np.rint(blur * 100)
    return float((percent <= LARGEST_SHARP_PERCENT).mean()) if percent.size else 0.0


def edge_widths(grey: Grey, measured: Mask, *, mode: Mode = "formula") -> NDArray[np.int64]:
    """Marziliano's width in pixels of each measured edge whose gradient is horizontal; else 0.

    An edge counts if its gradient's direction, rounded to 45 degrees, is 0 (brightness rises to
    the right) or 180. Each side is as long as the strict rise (fall) goes on, beginning at the
    neighbour of the edge pixel: 1 + at most 100 steps. The outermost pixels never count.

    With `released`, two properties of the published port are kept: a pixel with a vertical
    gradient alone is taken as rising to the right (its test compares a gradient with π/2), and a
    picture in which every pixel's direction is 0 has no widths at all.

    Args:
        grey: (H, W) from 0 to 255.
        measured: (H, W).

    Returns:
        (H, W).
    """
    widths = np.zeros(grey.shape, np.int64)
    rows, columns = (index + 1 for index in np.nonzero(measured[1:-1, 1:-1]))
    across = (grey[rows, columns + 1] - grey[rows, columns - 1]) / 2
    along = (grey[rows + 1, columns] - grey[rows - 1, columns]) / 2
    turns = np.abs(np.rint(np.degrees(np.arctan2(along, across)) / 45))
    if mode == "released":
        if not _any_direction(grey):
            return widths
        turns[(across == 0) & (along != np.pi / 2)] = 0
    step = np.diff(grey, axis=1)  # step[:, x] leads from x to x + 1
    for turn, moves in ((0, step > 0), (4, step < 0)):
        r, c = rows[turns == turn], columns[turns == turn]
        # moves that end at the left neighbour, moves that begin at the right neighbour
        left, right = _run_before(moves)[r, c - 1], _run_after(moves)[r, c + 1]
        widths[r, c] = np.minimum(left, LONGEST_SIDE) + np.minimum(right, LONGEST_SIDE) + 2
    return widths


def grey_of(picture: NDArray[Any]) -> Grey:
    """Grey levels 0 to 255 as float64; RGB by Rec. 601 in PIL's whole-number arithmetic.

    Raises:
        DataError: not a picture, or floats that do not look like 0 to 255.
    """
    pixels = np.asarray(picture)
    if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3:
        red, green, blue = (pixels[..., channel].astype(np.uint32) for channel in range(3))
        return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).astype(np.float64)
    if pixels.ndim != 2 or (pixels.dtype != np.uint8 and pixels.dtype.kind != "f"):
        raise DataError(
            f"{pixels.dtype} {pixels.shape} is no picture for CPBD: give uint8 (H, W, 3) or "
            "(H, W), or float grey (H, W) from 0 to 255"
        )
    grey = pixels.astype(np.float64)
    if pixels.dtype.kind == "f" and pixels.size:
        low, high = float(grey.min()), float(grey.max())
        if not (low >= 0 and 1 < high <= 255):  # false for NaN as well
            raise DataError(
                f"float grey from {low:g} to {high:g}: CPBD is defined on 0 to 255; multiply "
                "pictures in [0, 1] by 255"
            )
    return grey


def paper_edges(grey: Grey) -> EdgeMaps:
    """Canny and vertical Sobel edges with thresholds from the picture itself.

    Canny: Gaussian with a deviation of √2; the upper threshold lets 30 % of the gradients pass, the
    lower is 0.4 of it. Sobel: squared response above four times its mean, thinned to ridges along
    the row (of two equal neighbours the right one stays).
    """
    smooth = cv2.GaussianBlur(grey, (0, 0), 2**0.5, borderType=cv2.BORDER_REPLICATE)
    dx = cv2.Sobel(smooth, cv2.CV_64F, 1, 0, borderType=cv2.BORDER_REPLICATE)
    dy = cv2.Sobel(smooth, cv2.CV_64F, 0, 1, borderType=cv2.BORDER_REPLICATE)
    size = np.hypot(dx, dy)
    if size.max() == 0:
        blocks = np.zeros(grey.shape, np.bool_)
    else:
        scale = 32000 / size.max()  # the detector takes 16-bit gradients
        levels = np.clip(np.histogram(size, 64, (0, size.max()))[0].cumsum() / size.size, 0, 1)
        high = (int(np.argmax(levels > 0.7)) + 1) / 64 * 32000
        found = cv2.Canny(
            np.rint(dx * scale).astype(np.int16), np.rint(dy * scale).astype(np.int16),
            0.4 * high, high, L2gradient=True,
        )  # fmt: skip
        blocks = np.asarray(found) > 0
    strength = _vertical_strength(grey)
    kept = np.where(strength > 4 * strength.mean(), strength, 0.0)
    beside = np.pad(kept, ((0, 0), (1, 1)))
    return EdgeMaps(blocks=blocks, measured=(kept >= beside[:, :-2]) & (kept > beside[:, 2:]))


def released_edges(grey: Grey) -> EdgeMaps:
    """The published port's edges: one thinned Sobel map for both uses.

    Its threshold, 2 √mean of the squared responses, is compared with squared responses, so it
    depends on the unit of brightness: on pictures in [0, 1] hardly an edge is left. A ridge is
    larger than both neighbours of the row, or both of the column; of two equal ones neither stays.
    """
    strength = _vertical_strength(grey)
    kept = np.where(strength > 2 * np.sqrt(strength.mean()), strength, 0.0)
    around = np.pad(kept, 1)
    in_row = (kept > around[1:-1, :-2]) & (kept > around[1:-1, 2:])
    in_column = (kept > around[:-2, 1:-1]) & (kept > around[2:, 1:-1])
    mask = in_row | in_column
    return EdgeMaps(blocks=mask, measured=mask)


def _vertical_strength(grey: Grey) -> Grey:
    """Squared horizontal Sobel derivative, the magnitudes of its weights summing to 1."""
    response = cv2.Sobel(grey, cv2.CV_64F, 1, 0, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(response**2, np.float64)


def _any_direction(grey: Grey) -> bool:
    """Whether the port finds any direction other than 0."""
    steep_y, steep_x = np.gradient(grey)
    level = steep_x == 0
    slanted = ~level & ((steep_y != 0) | (steep_x < 0))
    return bool((slanted | (level & (steep_y == np.pi / 2))).any())


def _run_before(moves: Mask) -> NDArray[np.int32]:
    """How many moves in a row end at each column, (H, W) from moves (H, W - 1)."""
    places = np.arange(moves.shape[1] + 1, dtype=np.int32)
    stops = np.zeros((len(moves), len(places)), np.int32)
    np.multiply(~moves, places[1:], out=stops[:, 1:])
    return places - np.maximum.accumulate(stops, axis=1)


def _run_after(moves: Mask) -> NDArray[np.int32]:
    """How many moves in a row begin at each column, (H, W)."""
    return _run_before(moves[:, ::-1])[:, ::-1]


def _blocks(array: NDArray[Any]) -> NDArray[Any]:
    """Whole blocks as rows, (B, 64 * 64); what is left at the right and the bottom is cut off."""
    down, right = array.shape[0] // BLOCK, array.shape[1] // BLOCK
    cut = array[: down * BLOCK, : right * BLOCK].reshape(down, BLOCK, right, BLOCK)
    return cut.swapaxes(1, 2).reshape(down * right, BLOCK * BLOCK)
