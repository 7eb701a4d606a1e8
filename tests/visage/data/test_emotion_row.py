"""From a picture to a row and back to arrays: which face counts, and what the row keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from corpora import SMALL_INPUT, SMALL_MODEL
from prepare_life import DrawnProvider

from visage.data.emotion_builder import emotion_row
from visage.data.emotion_rows import EMOTION_SCHEMA, EmotionDecoder, stored_inputs
from visage.errors import MediaError
from visage.faces.mapper import LandmarkRegions
from visage.faces.provider import Box, Face, Image
from visage.media.image import decode_image
from visage.seeds import rng_of

PICTURE = rng_of("emotion row").integers(0, 255, (60, 80, 3), dtype=np.uint8)
SURE, LARGE = (10, 10, 30, 30), (35, 5, 75, 55)


class _Faces(DrawnProvider):
    """Finds the faces it was told; says where it looked for landmarks."""

    def __init__(self, *faces: tuple[Box, float]) -> None:
        super().__init__()
        self.faces = [Face(box=box, score=score) for box, score in faces]
        self.looked_at: list[Box] = []

    def detect(self, image: Image) -> list[Face]:
        self.asked += 1
        return self.faces

    def landmarks(self, image: Image, box: Box) -> Any:
        self.looked_at.append(box)
        return super().landmarks(image, box)


def _row(provider: _Faces, **options: Any) -> dict[str, Any]:
    return emotion_row(
        PICTURE, provider=provider, regions=LandmarkRegions(), inputs=SMALL_INPUT, **options
    )


def _two() -> _Faces:
    return _Faces((SURE, 0.9), (LARGE, 0.4))


def test_a_row_fits_the_schema_and_keeps_sizes_box_and_landmarks() -> None:
    row = _row(_two())
    rest = {"key": "k", "label": 0, "group": "", "source_sha256": ""}
    assert set(row) | set(rest) == set(EMOTION_SCHEMA.names)
    pa.Table.from_pylist([{**rest, **row}], schema=EMOTION_SCHEMA)
    assert (row["width"], row["height"], row["score"]) == (80, 60, 0.9)
    assert row["box"] == list(SURE)
    assert len(row["landmarks"]) == 136
    assert decode_image(row["face"]).shape == (32, 32, 3)
    assert decode_image(row["context"]).shape == (40, 48, 3)
    assert decode_image(row["regions"]).shape[:2] == (32, 32)


@pytest.mark.parametrize(("policy", "box"), [("surest", SURE), ("largest", LARGE)])
def test_the_policy_says_which_face_counts(policy: str, box: Box) -> None:
    assert _row(_two(), policy=policy)["box"] == list(box)


def test_the_policy_only_wants_exactly_one_face() -> None:
    assert _row(_Faces((SURE, 0.9)), policy="only")["box"] == list(SURE)
    with pytest.raises(MediaError, match="2 faces") as caught:
        _row(_two(), policy="only")
    assert caught.value.code == "several_faces"


def test_a_picture_without_a_face_is_rejected() -> None:
    with pytest.raises(MediaError) as caught:
        _row(_Faces())
    assert caught.value.code == "no_face"


def test_a_stated_box_is_believed_and_nobody_looks_for_faces() -> None:
    provider = _two()
    row = _row(provider, box=(1, 2, 21, 22))
    assert (row["box"], row["score"], provider.asked) == ([1, 2, 21, 22], 1.0, 0)
    assert provider.looked_at == [(1, 2, 21, 22)]


def test_a_box_that_leaves_the_picture_is_clipped_to_it() -> None:
    assert _row(_two(), box=(-9, 50, 20, 90))["box"] == [0, 50, 20, 60]


@pytest.mark.parametrize("box", [(80, 0, 90, 10), (5, 5, 5, 9), (9, 9, 3, 20), (-9, -9, 0, 0)])
def test_a_box_without_area_in_the_picture_is_rejected(box: Box) -> None:
    with pytest.raises(MediaError, match="outside the picture of 80x60") as caught:
        _row(_two(), box=box)
    assert caught.value.code == "bad_box"


def test_time_is_collected_by_stage_over_pictures() -> None:
    seconds: dict[str, float] = {"write": 100.0}
    times = iter([0.0, 1.0, 3.0, 7.0] * 2)
    for _ in range(2):
        _row(_two(), seconds=seconds, clock=lambda: next(times))
    assert seconds == {"faces": 2.0, "masks": 4.0, "write": 108.0}


def test_evaluation_reads_the_same_arrays_every_time_training_draws_them() -> None:
    row = {**_row(_two()), "label": 3}
    fixed = EmotionDecoder(model=SMALL_MODEL)
    drawn = EmotionDecoder(model=SMALL_MODEL, augment="modern", training=True)

    def arrays(decoder: EmotionDecoder, seed: int) -> list[bytes]:
        return [one.tobytes() for one in decoder(row, rng_of(seed)).values()]

    assert arrays(fixed, 0) == arrays(fixed, 1)
    assert arrays(drawn, 0) == arrays(drawn, 0)
    assert len({arrays(drawn, seed)[1] for seed in range(8)}) > 1
    assert int(fixed(row, rng_of(0))["label"]) == 3


def test_the_stored_box_lies_on_the_face_in_the_stored_context() -> None:
    inputs = stored_inputs(_row(_two()))
    x1, y1, x2, y2 = inputs.box
    expected = np.array(SURE) * np.array([48 / 80, 40 / 60] * 2)
    assert np.all(np.abs(np.array([x1, y1, x2, y2]) - expected) <= 1)
