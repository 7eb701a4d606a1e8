"""The facial map on any device: a batch of faces as white lines on black.

A landmark picture tells the generator where everything is (models.md A.5). Two ways of drawing:

- hard (published): ends cut to whole pixels, lines two pixels thick, values 0 or 1. It follows the
  fixed-point arithmetic of OpenCV's thick line, so that it equals `visage.faces.facial_map` pixel
  for pixel (within a pixel if points lie far outside). From frame to frame, points jump by whole
  pixels.
- smooth: a pixel's value falls linearly over the pixel around the line's edge, by its distance to
  the line. Nothing jumps, and gradients reach the points.

A segment with an end that is not finite is not drawn, so unknown torso points (NaN) cost no branch
on the host; whoever reads landmarks from outside checks them first, as the CPU form does.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.amp.autocast_mode import autocast

from visage.errors import SpecError
from visage.landmarks import INNER_LIP, POINTS, SEGMENTS, TORSO_POINTS, TORSO_SEGMENTS

__all__ = ["FAR_PX", "draw_facial_map", "share_inside"]

FAR_PX = 1e4
"""Coordinates further out are drawn at this distance; a face is nowhere near it."""
_BITS = 16  # of the fraction of a fixed-point coordinate, as in OpenCV
_ONE, _HALF = 1 << _BITS, 1 << (_BITS - 1)
_LEAN_PX = (
    0.3  # OpenCV's smooth lines fade to a half at thickness - 0.3 from their middle (measured)
)
_NEVER = 1 << 40  # beyond every pixel: the end of an empty interval
_BUDGET = 1 << 22  # pixels of smooth segments that are worked on at a time


def draw_facial_map(
    points: Tensor,
    *,
    size: int,
    torso: Tensor | None = None,
    thickness_px: float = 2,
    antialias: bool = False,
    mouth_fill: float = 0.0,
) -> Tensor:
    """Lines between the landmarks of each face.

    Args:
        points: Pixels of a picture of side `size`, shape (N, 68, 2); pixel centres are whole.
        size: Side of the map.
        torso: Two polylines of nine points across the shoulders, shape (N, 18, 2), NaN if unknown.
        thickness_px: Of the lines, as OpenCV understands it; hard lines are 2 (three pixels wide).
        antialias: Draw smooth lines.
        mouth_fill: Brightness of the opening between the lips, with smooth edges.

    Returns:
        fp32 in [0, 1], shape (N, 1, size, size).

    Raises:
        SpecError: shapes that are none of faces, or hard lines of another thickness than 2.
    """
    if points.shape[1:] != (POINTS, 2) or (
        torso is not None and torso.shape != (len(points), TORSO_POINTS, 2)
    ):
        raise SpecError(f"facial map: points {tuple(points.shape)}: need (N, 68, 2), torso 18")
    if not antialias and thickness_px != 2:
        raise SpecError("facial map: hard lines are 2 pixels thick; set antialias for others")
    with autocast(points.device.type, enabled=False):
        ends = _ends(points, SEGMENTS)
        if torso is not None:
            ends = torch.cat((ends, _ends(torso, TORSO_SEGMENTS)), 1)
        known = ends.isfinite().all(-1).all(-1)
        ends = ends.nan_to_num().clamp(-FAR_PX, FAR_PX)
        if not antialias:
            return _hard(ends.trunc().long(), known, size).float()[:, None]
        reach_px = thickness_px - _LEAN_PX
        drawn = _smooth_lines(ends, known, size, reach_px)
        if mouth_fill > 0:
            lips = points[:, INNER_LIP].float().nan_to_num().clamp(-FAR_PX, FAR_PX)
            drawn = torch.maximum(drawn, mouth_fill * share_inside(lips, size))
        return drawn[:, None]


def _smooth_lines(ends: Tensor, known: Tensor, size: int, reach_px: float) -> Tensor:
    """All lines by whichever way suits the device, (N, size, size)."""
    count = len(ends)
    if ends.device.type == "cpu" and not ends.requires_grad and ends.numel():
        return _smooth_near(ends, known, size, reach_px)
    chunk = max(1, _BUDGET // max(1, count * size * size))
    drawn = torch.zeros(count, size, size, device=ends.device)
    for some, kept in zip(torch.split(ends, chunk, 1), torch.split(known, chunk, 1), strict=True):
        drawn = torch.maximum(drawn, _smooth(some, kept, size, reach_px))
    return drawn


def share_inside(corners: Tensor, size: int) -> Tensor:
    """How much of each pixel lies in a closed polygon (N, P, 2), 0 ... 1, (N, size, size).

    By the distance to the nearest edge, its sign by the number of edges to the right.
    """
    along = torch.arange(size, device=corners.device, dtype=torch.float32)
    x, y = along[None, None], along[None, :, None]
    is_inside = torch.zeros(len(corners), size, size, dtype=torch.bool, device=corners.device)
    nearest = torch.full((len(corners), size, size), torch.inf, device=corners.device)
    for one, other in zip(corners.unbind(1), corners.roll(-1, 1).unbind(1), strict=True):
        # (N, 1, 1) each
        from_x, from_y, to_x, to_y = (
            end[:, axis, None, None] for end in (one, other) for axis in (0, 1)
        )
        crossing = from_x + (y - from_y) * (to_x - from_x) / (to_y - from_y)
        is_inside ^= ((from_y > y) != (to_y > y)) & (x < crossing)
        across, down = to_x - from_x, to_y - from_y
        length2 = (across.square() + down.square()).clamp_min(1e-12)
        where = (((x - from_x) * across + (y - from_y) * down) / length2).clamp(0, 1)
        apart2 = (x - from_x - where * across).square() + (y - from_y - where * down).square()
        nearest = torch.minimum(nearest, apart2)
    distance = nearest.clamp_min(1e-12).sqrt()
    return (0.5 + torch.where(is_inside, distance, -distance)).clamp(0, 1)


def _ends(points: Tensor, pairs: NDArray[np.int64]) -> Tensor:
    """Ends of the segments, fp32 (N, S, 2 ends, 2 coordinates)."""
    index = torch.as_tensor(pairs, device=points.device)
    # (N, P, 2) -> (N, S, 2, 2)
    return points.float()[:, index]


def _smooth(ends: Tensor, known: Tensor, size: int, reach_px: float) -> Tensor:
    """The brightest line at each pixel, (N, size, size); one half at `reach_px` from it."""
    pixels = torch.arange(size, device=ends.device, dtype=torch.float32)
    # (N, S, size, size)
    lit = _lit(ends, pixels[None, None, None], pixels[None, None, :, None], reach_px)
    return (lit * known[..., None, None]).amax(1)


def _smooth_near(ends: Tensor, known: Tensor, size: int, reach_px: float) -> Tensor:
    """The same values, worked out in a window around each segment only.

    The side of the windows is that of the longest segment, which a GPU would have to wait for.
    """
    margin = reach_px + 1
    low = (ends.amin(2) - margin).floor().clamp(0, size)
    high = (ends.amax(2) + margin).ceil().clamp(0, size)
    extents = ((high - low) * known[..., None]).amax((0, 1, 2))
    side = min(size, int(extents.item()) + 1)
    first = low.clamp(max=size - side)
    steps = torch.arange(side, dtype=torch.float32)
    # (N, S, 1, side) and (N, S, side, 1)
    x = first[..., 0, None, None] + steps
    y = first[..., 1, None, None] + steps[:, None]
    lit = _lit(ends, x, y, reach_px) * known[..., None, None]
    places = (y * size + x).long()
    canvas = torch.zeros(len(ends), size * size)
    canvas.scatter_reduce_(1, places.flatten(1), lit.flatten(1), "amax")
    return canvas.view(-1, size, size)


def _lit(ends: Tensor, x: Tensor, y: Tensor, reach_px: float) -> Tensor:
    """How bright each segment (N, S, 2, 2) is at pixels (N, S, rows, columns), 0 ... 1."""
    first, second = ends.unbind(2)
    along = second - first
    length2 = along.square().sum(-1).clamp_min(1e-12)[..., None, None]
    x = x - first[..., 0, None, None]
    y = y - first[..., 1, None, None]
    across, down = along[..., 0, None, None], along[..., 1, None, None]
    where = ((x * across + y * down) / length2).clamp(0, 1)
    distance2 = (x - where * across).square() + (y - where * down).square()
    # the root of 0 has no gradient
    return (reach_px + 0.5 - distance2.clamp_min(1e-12).sqrt()).clamp(0, 1)


def _hard(ends: Tensor, known: Tensor, size: int) -> Tensor:
    """Pixels of OpenCV's lines of thickness 2: a filled quadrilateral with round ends.

    What a convex outline holds of a row or of a column is an interval. A pixel is on if it lies in
    an interval of its row or of its column, so the work grows with rows, not with pixels.

    Args:
        ends: Whole pixels, (N, S, 2, 2).
        known: Which segments exist, (N, S).
    """
    corners = _corners(ends)
    following = corners.roll(-1, dims=2)
    # a stroke of no length has no outline, only its round ends
    has_length = (known & (ends[:, :, 0] != ends[:, :, 1]).any(-1))[..., None]
    run, rise = (following - corners).abs().unbind(-1)
    columns = _traced(corners, following, has_length & (run > rise), size)
    rows = _joined(
        _traced(corners.flip(-1), following.flip(-1), has_length & (run <= rise), size),
        _filled(corners, following, has_length, size),
    )
    on = _covered(*rows, size) | _covered(*columns, size).transpose(1, 2)
    return on | _discs(ends, known, size)


def _covered(first: Tensor, last: Tensor, size: int) -> Tensor:
    """Where at least one interval lies: (N, S, L) twice to (N, L, size)."""
    starts = first.clamp(0, size)
    stops = (last + 1).clamp(0, size).maximum(starts)  # an empty interval starts where it stops
    starts, stops = starts.transpose(1, 2), stops.transpose(1, 2)
    opened = torch.zeros(*starts.shape[:2], size + 1, dtype=torch.int32, device=first.device)
    one = torch.ones((), dtype=torch.int32, device=first.device).expand(starts.shape)
    opened.scatter_add_(2, starts, one).scatter_add_(2, stops, -one)
    return opened.cumsum(2)[..., :size] > 0


def _discs(ends: Tensor, known: Tensor, size: int) -> Tensor:
    """Round ends: a disc of radius 1 is a plus sign; (N, size, size)."""
    pad = 3  # centres outside end up in a margin that is cut off, whatever they paint there
    centres = ends.clamp(-2, size + 1).where(known[..., None, None], -2) + pad
    side = size + 2 * pad
    cross = torch.tensor((0, -1, 1, -side, side), device=ends.device)
    # (N, S, 2 ends, 5)
    places = (centres[..., 1] * side + centres[..., 0])[..., None] + cross
    canvas = torch.zeros(len(ends), side * side, dtype=torch.bool, device=ends.device)
    canvas.scatter_(1, places.flatten(1), True)
    return canvas.view(-1, side, side)[:, pad:-pad, pad:-pad]


def _corners(ends: Tensor) -> Tensor:
    """Whole ends (N, S, 2, 2) to fixed-point corners (N, S, 4, 2), one pixel to either side."""
    first, second = ends.unbind(2)
    along = (second - first).double()
    scale = _ONE / along.square().sum(-1, keepdim=True).clamp_min(1).sqrt()
    # torch rounds halves to even, as OpenCV does
    aside = (torch.stack((along[..., 1], -along[..., 0]), -1) * scale).round().long()
    first, second = first << _BITS, second << _BITS
    return torch.stack((first + aside, first - aside, second - aside, second + aside), 2)


def _traced(starts: Tensor, stops: Tensor, chosen: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Intervals of the chosen outline edges, by position along their longer axis.

    Args:
        starts, stops: Corners (N, S, 4, 2), the longer axis first.
        chosen: Which edges, (N, S, 4).

    Returns:
        First and last pixel on the other axis at each position, both (N, S, size).
    """
    swapped = (starts[..., 0] > stops[..., 0])[..., None]
    starts, stops = torch.where(swapped, stops, starts), torch.where(swapped, starts, stops)
    run, rise = (stops - starts).unbind(-1)
    step = torch.div(rise << _BITS, run | 1, rounding_mode="trunc")
    positions = torch.arange(size, device=starts.device)
    # steps begin at the pixel of the first corner, whatever its fraction
    count = positions - _pixel(starts[..., 0])[..., None]
    other = _pixel(starts[..., 1, None] + count * step[..., None])
    is_on = chosen[..., None] & (count >= 0) & (count <= (run >> _BITS)[..., None])
    is_last = chosen[..., None] & (positions == _pixel(stops[..., 0])[..., None])
    last = _pixel(stops[..., 1])[..., None].expand_as(other)
    return _joined(_interval(other, is_on), _interval(last, is_last))


def _filled(starts: Tensor, stops: Tensor, has_length: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """What lies between the edges in each row: first and last column, both (N, S, size)."""
    swapped = (starts[..., 1] > stops[..., 1])[..., None]
    starts, stops = torch.where(swapped, stops, starts), torch.where(swapped, starts, stops)
    top, bottom = _pixel(starts[..., 1]), _pixel(stops[..., 1])
    height = (bottom - top).clamp_min(1)
    run = (stops - starts)[..., 0]
    step = torch.div(run * 2 + height, height * 2, rounding_mode="trunc")
    rows = torch.arange(size, device=starts.device)
    below = rows - top[..., None]
    x = _pixel(starts[..., 0, None] + below * step[..., None])
    is_crossed = has_length[..., None] & (below >= 0) & (rows < bottom[..., None])
    return _interval(x, is_crossed)


def _interval(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest value where the mask holds, over the edges (axis 2)."""
    # four edges: chained minima are many times faster than a reduction over whole numbers
    return (
        functools.reduce(torch.minimum, torch.where(mask, values, _NEVER).unbind(2)),
        functools.reduce(torch.maximum, torch.where(mask, values, -_NEVER).unbind(2)),
    )


def _joined(one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.minimum(one[0], two[0]), torch.maximum(one[1], two[1])


def _pixel(fixed: Tensor) -> Tensor:
    """The pixel that a fixed-point coordinate lies in; halves go up."""
    return (fixed + _HALF) >> _BITS
