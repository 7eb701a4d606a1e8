"""Promises of the face parser: the published weights load strictly and see what landmarks see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from visage.errors import CorruptError, MediaError, NotFoundError
from visage.faces.bisenet import BiSeNet, FaceParser
from visage.faces.dlib68 import Dlib68
from visage.faces.regions import MOUTH, REST, region_map, regions_from_parse
from visage.media.image import decode_image

WEIGHTS = "weights/bisenet_79999_iter.pth"


@pytest.fixture(scope="module")
def parser(media_dir: Path) -> FaceParser:
    return FaceParser(media_dir / WEIGHTS)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


@pytest.mark.parametrize("size", [(64, 64), (96, 128)])
def test_scores_have_the_size_of_the_picture(size: tuple[int, int]) -> None:
    with torch.inference_mode():
        scores = BiSeNet().eval()(torch.zeros(2, 3, *size))
    assert scores.shape == (2, 19, *size)


def test_missing_weights_are_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        FaceParser(tmp_path / "none.pth")


@pytest.mark.parametrize("kind", ["text", "empty", "other tensors", "pickled object"])
def test_files_that_hold_something_else_are_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    if kind == "text":
        path.write_bytes(b"not weights at all")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "other tensors":
        torch.save({"layer.weight": torch.zeros(3)}, path)
    else:
        torch.save(Path("anything"), path)
    with pytest.raises(CorruptError):
        FaceParser(path)


@pytest.mark.media
def test_the_published_weights_load_strictly(media_dir: Path) -> None:
    state = torch.load(media_dir / WEIGHTS, weights_only=True, map_location="cpu")
    assert set(BiSeNet().state_dict()) == set(state)


@pytest.mark.media
@pytest.mark.parametrize("name", ["celeba_1112.jpg", "SadTalker_people_0.png"])
def test_parser_and_landmarks_agree_on_a_portrait(
    name: str, parser: FaceParser, dlib68: Dlib68, media_dir: Path
) -> None:
    image = decode_image((media_dir / "portraits" / name).read_bytes())
    height, width = image.shape[:2]
    box = dlib68.detect(image)[0].box
    points = dlib68.landmarks(image, box)
    drawn = region_map(points, width=width, height=height)
    parsed = regions_from_parse(parser.parse(image, box))
    assert parsed.shape == drawn.shape
    below_brows = np.arange(height)[:, None] >= points[17:27, 1].min()
    assert _iou(drawn != REST, (parsed != REST) & below_brows) > 0.85
    assert _iou(drawn == MOUTH, parsed == MOUTH) > 0.8
    assert parsed[0, 0] == REST


@pytest.mark.media
def test_moving_the_picture_moves_the_parse(
    parser: FaceParser, dlib68: Dlib68, media_dir: Path
) -> None:
    image = decode_image((media_dir / "portraits" / "SadTalker_people_0.png").read_bytes())
    box = dlib68.detect(image)[0].box
    moved = np.pad(image, ((37, 0), (11, 0), (0, 0)))
    x1, y1, x2, y2 = box
    still = parser.parse(image, box)
    shifted = parser.parse(moved, (x1 + 11, y1 + 37, x2 + 11, y2 + 37))
    assert (shifted[37:, 11:] == still).mean() > 0.98


@pytest.mark.media
def test_a_box_without_area_is_bad(parser: FaceParser) -> None:
    with pytest.raises(MediaError):
        parser.parse(np.zeros((9, 9, 3), np.uint8), (3, 3, 3, 8))
