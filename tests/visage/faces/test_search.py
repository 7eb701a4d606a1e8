"""Looking for faces more than once: what only another look can see is found, where it is."""

from __future__ import annotations

import numpy as np
import pytest

from visage.faces.provider import Box, Face, Image, Landmarks
from visage.faces.search import area_of, find_faces, overlap

BACKGROUND, FACE = 40, 250


class Window:
    """A detector of bright squares: they must have a certain size, and room around them."""

    name = licence = "window"

    def __init__(self, *, least: int, most: int, room: int = 0) -> None:
        self.least, self.most, self.room, self.looks = least, most, room, 0
        self.pixels = 0

    def detect(self, image: Image) -> list[Face]:
        self.looks += 1
        self.pixels += image.shape[0] * image.shape[1]
        rows, columns = np.nonzero(image[..., 0] > (BACKGROUND + FACE) / 2)
        if not len(rows):
            return []
        box = int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
        height, width = image.shape[:2]
        free = min(box[0], box[1], width - box[2], height - box[3])
        fits = self.least <= box[3] - box[1] <= self.most and free >= self.room
        return [Face(box=box, score=1.0)] if fits else []

    def landmarks(self, image: Image, box: Box) -> Landmarks:
        raise AssertionError("nothing is placed by a search")


def _picture(box: Box, *, width: int = 320, height: int = 240) -> Image:
    picture = np.full((height, width, 3), BACKGROUND, np.uint8)
    picture[box[1] : box[3], box[0] : box[2]] = FACE
    return picture


@pytest.mark.parametrize("size", [40, 100, 180])
@pytest.mark.parametrize(("x", "y"), [(60, 30), (100, 50)])
def test_a_known_face_is_found_where_it_is_whatever_its_size(size: int, x: int, y: int) -> None:
    box = (x, y, x + size, y + size)
    faces = find_faces(_picture(box), Window(least=30, most=130), near=box)
    assert len(faces) == 1
    np.testing.assert_allclose(faces[0].box, box, atol=size / 25 + 1)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("box", [(2, 2, 222, 222), (2, 40, 162, 200), (60, 70, 220, 222)])
def test_a_face_at_the_edge_is_found_with_room_around_the_picture(box: Box, known: bool) -> None:
    picture = _picture(box, width=224, height=224)
    assert not Window(least=50, most=500, room=10).detect(picture)
    faces = find_faces(picture, Window(least=50, most=500, room=10), near=box if known else None)
    assert len(faces) == 1
    np.testing.assert_allclose(faces[0].box, box, atol=6)


def test_a_face_that_fills_a_large_picture_is_found_at_another_scale() -> None:
    box = (40, 20, 600, 460)
    faces = find_faces(_picture(box, width=640, height=480), Window(least=60, most=200))
    assert len(faces) == 1
    np.testing.assert_allclose(faces[0].box, box, atol=8)


def test_a_large_picture_is_not_looked_at_whole_where_a_small_one_shows_the_face() -> None:
    large, tiny = Window(least=40, most=200), Window(least=40, most=200)
    box = (800, 300, 1200, 700)
    faces = find_faces(_picture(box, width=1920, height=1080), large)
    np.testing.assert_allclose(faces[0].box, box, atol=8)
    assert large.pixels <= 512 * 512
    box = (800, 300, 900, 400)
    assert find_faces(_picture(box, width=1920, height=1080), tiny)[0].box == box


def test_nobody_looks_twice_where_the_first_look_found_what_was_wanted() -> None:
    box = (100, 60, 190, 150)
    for near in (box, None):
        window = Window(least=30, most=200)
        assert find_faces(_picture(box), window, near=near)
        assert window.looks == 1


def test_others_are_told_although_the_one_that_is_wanted_is_not_there() -> None:
    window = Window(least=20, most=200)
    faces = find_faces(_picture((10, 10, 60, 60)), window, near=(200, 100, 290, 190))
    assert [overlap(face.box, (10, 10, 60, 60)) > 0.8 for face in faces] == [True]
    assert window.looks == 2


def test_nothing_is_found_in_a_picture_of_nothing() -> None:
    assert find_faces(_picture((0, 0, 0, 0)), Window(least=1, most=500)) == []


@pytest.mark.parametrize(
    ("one", "two", "wanted"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (5, 0, 15, 10), 1 / 3),
        ((0, 0, 10, 10), (10, 0, 20, 10), 0.0),
        ((-5, -5, 5, 5), (0, 0, 5, 5), 0.25),
        ((3, 3, 3, 3), (3, 3, 3, 3), 0.0),
    ],
)
def test_overlap_is_shared_by_joint_area(one: Box, two: Box, wanted: float) -> None:
    assert overlap(one, two) == overlap(two, one) == pytest.approx(wanted)
    assert area_of((5, 5, 2, 2)) == 0
