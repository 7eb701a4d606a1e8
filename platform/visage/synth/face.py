"""Draws a person: identity, expression, pose and light in; a picture, 68 points and a box out.

The head is painted unturned, lit as a relief and turned by resampling, and the 68 points go
through the same projection, so the truth is exact. `render_portrait` gives a studio portrait;
`draw_person` draws into a scene.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from visage.errors import SpecError
from visage.faces.provider import Box, Image, Landmarks
from visage.synth.body import paint_body
from visage.synth.expression import Expression
from visage.synth.features import paint_details, paint_skin
from visage.synth.geometry import Features, features_of, landmarks_2d
from visage.synth.hair import BACK_HAIR, paint_back_hair, paint_front_hair
from visage.synth.identity import Colour, Identity
from visage.synth.paint import Canvas, Floats, Region, arc
from visage.synth.relief import Light, Pose, heights, project, shade, soft_parts, unproject

__all__ = [
    "HEAD",
    "TURNED",
    "Person",
    "Portrait",
    "aligned",
    "composite",
    "draw_person",
    "light_skin",
    "paint_ears",
    "person_landmarks",
    "placed_points",
    "render_portrait",
    "tight_box",
    "turned",
]

HEAD = {"left": -1.75, "top": -2.1, "right": 1.75, "bottom": 2.55}
TURNED = {"left": -1.95, "top": -2.25, "right": 1.95, "bottom": 2.75}
_FACE = {"left": -1.08, "top": -1.42, "right": 1.08, "bottom": 1.98}
_FINE = 140.0  # width at which a face is painted; super-sampling small faces more costs little
_FOREHEAD = 0.14  # of the box's height, above the brows


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Everything that decides how one person looks in one picture."""

    identity: Identity
    expression: Expression = field(default_factory=Expression)
    pose: Pose = field(default_factory=Pose)
    light: Light = field(default_factory=Light)
    x: float
    """Where the middle between the eyes lies, pixels."""
    y: float
    face_width: float
    """Distance between the ears in pixels, 16 to 1024."""
    lean: float = 0.0
    """Shoulders to the side of the head, in halves of the face width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Portrait:
    """A picture and its truth."""

    image: Image
    landmarks: Landmarks
    box: Box


def render_portrait(
    identity: Identity,
    expression: Expression,
    *,
    size: int = 256,
    pose: Pose | None = None,
    light: Light | None = None,
    backdrop: Colour = (0.62, 0.66, 0.70),
) -> Portrait:
    """A square studio portrait of `size` pixels (64 to 2048); raises SpecError beyond."""
    if not 64 <= size <= 2048:
        raise SpecError(f"portrait size {size}: choose 64 to 2048 pixels")
    x, y = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    glow = (1.08 - 0.28 * np.hypot(x + 0.2, y + 0.2))[..., None]
    image = np.clip(np.asarray(backdrop) * glow * 255, 0, 255).astype(np.uint8)
    person = Person(
        identity=identity,
        expression=expression,
        pose=pose or Pose(),
        light=light or Light(),
        x=size / 2,
        y=size * 0.46,
        face_width=size * 0.40,
    )
    points = draw_person(image, person)
    return Portrait(image=image, landmarks=points, box=tight_box(points))


def person_landmarks(person: Person) -> Landmarks:
    """The 68 points of a person in pixels, without drawing anything."""
    features = features_of(person.identity, person.expression)
    return placed_points(person, features)[0]


def placed_points(person: Person, features: Features) -> tuple[Landmarks, Floats]:
    """The 68 points of a person with these features: in pixels, and on the unturned head.

    The latter, (68, 3), is x right, y down, z towards the viewer, in units of half the face width
    from the middle between the eyes.
    """
    flat = landmarks_2d(features)
    z = heights(flat[:, 0], flat[:, 1], features, nose=person.identity.nose_width)
    units = project(flat, z, person.pose)
    origin = np.array([person.x, person.y], np.float32)
    points = (units * np.float32(person.face_width / 2) + origin).astype(np.float32)
    return points, np.concatenate([flat, z[:, None]], axis=1).astype(np.float32)


def tight_box(points: Landmarks) -> Box:
    """The face box of 68 points: some forehead to the chin, ear to ear and not beyond.

    Every pixel beyond the ears would show the setting to a model that shall see the face alone.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    top = low[1] - (high[1] - low[1]) * _FOREHEAD
    x1, y1 = math.floor(float(low[0])), math.floor(float(top))
    return x1, y1, math.floor(float(high[0])) + 1, math.floor(float(high[1])) + 1


def draw_person(image: Image, person: Person) -> Landmarks:
    """Draw onto an RGB picture in place; returns the 68 points, SpecError for a bad size."""
    if not 16 <= person.face_width <= 1024:
        raise SpecError(f"face_width {person.face_width:.0f}: choose 16 to 1024 pixels")
    features = features_of(person.identity, person.expression)
    sharpness = float(np.clip(_FINE / person.face_width, 1.2, 2.0))
    scale = person.face_width / 2
    if person.identity.hair_style in BACK_HAIR:
        hair = Canvas(**HEAD, scale=scale)
        paint_back_hair(hair, person.identity)
        composite(image, turned(hair.flattened(), hair, person, None), person)
    body = _visible_body(image, person)
    paint_body(body, person.identity, chin=features.chin, lean=person.lean)
    composite(image, (body.flattened(), body), person)
    head = _paint_head(person, features, scale=scale * sharpness)
    composite(image, turned(head.flattened(), head, person, features), person)
    return placed_points(person, features)[0]


def _paint_head(person: Person, features: Features, *, scale: float) -> Canvas:
    """The unturned head on a canvas of `scale` pixels to the unit."""
    identity, expression = person.identity, person.expression
    head = Canvas(**HEAD, scale=scale)
    paint_ears(head, identity)
    head.fill(features.contour, identity.skin)
    paint_skin(head, identity, expression, features)
    light_skin(head, person, features)
    paint_details(head, identity, expression, features)
    paint_front_hair(head, identity)
    return head


def light_skin(
    canvas: Canvas, person: Person, features: Features, *, finest: float | None = None
) -> None:
    """Light the painted skin; at most `finest` pixels to the unit, the rest between them."""
    region = canvas.region(**_FACE)
    scale = canvas.scale if finest is None else min(finest, canvas.scale)
    if scale == canvas.scale:
        x, y = canvas.grid(region)
    else:
        x, y = _between(canvas, region, scale)
    nose = person.identity.nose_width
    z = heights(x, y, features, nose=nose)
    z = z + soft_parts(x, y, features, expression=person.expression, identity=person.identity)
    level, shine = shade(z, scale=scale, light=person.light, pose=person.pose)
    part = canvas.rgb[region]
    if level.shape != part.shape[:2]:
        size = (part.shape[1], part.shape[0])
        level, shine = (cv2.resize(one, size) for one in (level, shine))
    # Light that has gone through skin is red, so its shadows are warm.
    dark = np.asarray(person.light.ambient, np.float32) * np.array([0.66, 0.52, 0.50], np.float32)
    lit = np.asarray(person.light.key, np.float32) * np.float32(1.06)
    for plane in range(3):
        here = part[..., plane]
        here *= dark[plane] + (lit[plane] - dark[plane]) * level
        here += np.float32(0.16 * person.light.key[plane]) * shine
        np.clip(here, 0, 1, out=here)


def _between(canvas: Canvas, region: Region, scale: float) -> tuple[Floats, Floats]:
    """x (1, w) and y (h, 1) in units over a region, at another scale than the canvas'."""
    ways = []
    for part, origin in ((region[1], canvas.left), (region[0], canvas.top)):
        count = round((part.stop - part.start) * scale / canvas.scale)
        at = (np.arange(count, dtype=np.float32) + np.float32(0.5)) / np.float32(scale)
        ways.append(at + np.float32(origin + part.start / canvas.scale))
    return ways[0][None, :], ways[1][:, None]


def paint_ears(canvas: Canvas, identity: Identity) -> None:
    """Ears, before the head is painted over their roots."""
    skin = np.asarray(identity.skin, np.float32)
    for side in (-1.0, 1.0):
        canvas.fill(arc(side * 1.0, 0.16, rx=0.15, ry=0.28), skin * 0.86, blur=0.01)
        inner = skin * np.array([0.66, 0.52, 0.5], np.float32)
        canvas.fill(arc(side * 1.04, 0.13, rx=0.065, ry=0.16), inner, opacity=0.6, blur=0.03)


def turned(
    source: Image,
    canvas: Canvas,
    person: Person,
    features: Features | None,
    *,
    reach: Mapping[str, float] | None = None,
    coarser: int = 1,
) -> tuple[Image, Canvas]:
    """A painted canvas after the pose, at picture resolution, and the canvas it then belongs to.

    Args:
        source: The flattened pixels of `canvas`, premultiplied RGBA.
        canvas: What was painted, unturned.
        person: Pose and place.
        features: The relief to turn; None turns flat hair behind the head.
        reach: Edges of what can be seen, in units; TURNED where nothing else is known.
        coarser: Every how many pixels the turn is computed; between them it is interpolated.
    """
    scale = person.face_width / 2
    target = aligned(person, **(reach or TURNED))
    grid = target
    if coarser > 1:
        right, bottom = target.left + target.width / scale, target.top + target.height / scale
        grid = Canvas(left=target.left, top=target.top, right=right + coarser / scale,
                      bottom=bottom + coarser / scale, scale=scale / coarser)  # fmt: skip
    everything = (slice(0, grid.height), slice(0, grid.width))
    x, y = (np.ascontiguousarray(v) for v in np.broadcast_arrays(*grid.grid(everything)))
    if features is None:
        field_z = np.full((2, 2), -0.1, np.float32)
    else:
        field_z = heights(*grid.grid(everything), features, nose=person.identity.nose_width)
    columns, rows = unproject(x, y, field_z, grid=grid, pose=person.pose)
    if coarser > 1:
        size = (grid.width * coarser, grid.height * coarser)
        columns, rows = (
            cv2.resize(one, size)[: target.height, : target.width] for one in (columns, rows)
        )
    columns = (columns - np.float32(canvas.left)) * np.float32(canvas.scale) - np.float32(0.5)
    rows = (rows - np.float32(canvas.top)) * np.float32(canvas.scale) - np.float32(0.5)
    if canvas.scale > scale:  # sampled more coarsely than painted: average first
        source = np.asarray(cv2.blur(source, (2, 2), anchor=(0, 0)), np.uint8)
        columns, rows = columns - 0.5, rows - 0.5
    found = cv2.remap(source, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(found, np.uint8), target


def aligned(person: Person, *, left: float, top: float, right: float, bottom: float) -> Canvas:
    """A canvas at picture resolution whose pixels are pixels of the picture."""
    scale = person.face_width / 2
    column, row = np.floor(person.x + left * scale), np.floor(person.y + top * scale)
    # Positions are of pixel centres, as detectors and annotators state them; hence the half.
    left, top = (column - 0.5 - person.x) / scale, (row - 0.5 - person.y) / scale
    return Canvas(left=left, top=top, right=right, bottom=bottom, scale=scale)


def _visible_body(image: Image, person: Person) -> Canvas:
    """A canvas for the body that ends where the picture does."""
    scale = person.face_width / 2
    left = max(-2.9 + min(person.lean, 0), -person.x / scale)
    right = min(2.9 + max(person.lean, 0), (image.shape[1] - person.x) / scale)
    bottom = max((image.shape[0] - person.y) / scale, 1.0)
    return aligned(person, left=left, top=0.6, right=max(right, left + 0.1), bottom=bottom)


def composite(image: Image, layer: tuple[Image, Canvas], person: Person) -> None:
    """Lay premultiplied RGBA over the picture where an aligned canvas belongs."""
    rgba, canvas = layer
    x = round(person.x + 0.5 + canvas.left * canvas.scale)
    y = round(person.y + 0.5 + canvas.top * canvas.scale)
    x1, y1 = max(0, x), max(0, y)
    x2, y2 = min(image.shape[1], x + canvas.width), min(image.shape[0], y + canvas.height)
    if x2 <= x1 or y2 <= y1:
        return
    part = rgba[y1 - y : y2 - y, x1 - x : x2 - x]
    under = image[y1:y2, x1:x2]
    # All in 16 bits: x * a / 255 as (x * a + 128) * 257 >> 16 would need more, and 1/256 is unseen.
    through = np.uint16(256) - part[..., 3] - (part[..., 3] >> 7)
    for plane in range(3):
        mixed = part[..., plane] + ((under[..., plane] * through + np.uint16(128)) >> 8)
        under[..., plane] = np.minimum(mixed, 255)
