"""Promises of prediction: one path, any batch, and attention where the model looked."""

from __future__ import annotations

import json

import numpy as np
import pytest

from visage.data.emotion_inputs import EmotionInputs
from visage.errors import DataError, MediaError, SpecError
from visage.faces.provider import Box, Face, Image, Landmarks
from visage.inference.emotion import CHUNK, EmotionPredictor


class _FakeProvider:
    """Says that faces are where the test says."""

    name = "fake"
    licence = "ours"

    def __init__(self, *faces: Face) -> None:
        self._faces = list(faces)

    def detect(self, image: Image) -> list[Face]:
        return self._faces

    def landmarks(self, image: Image, box: Box) -> Landmarks:
        raise AssertionError("emotion needs no landmarks")


def _picture(height: int = 120, width: int = 200, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def _rows(count: int, spec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    made = [
        EmotionInputs.of(_picture(seed=seed), (20 + seed % 9, 30, 90, 100), spec.input)
        for seed in range(count)
    ]
    size = spec.input
    return (
        np.array([one.face for one in made], np.uint8).reshape(
            -1, size.face_size, size.face_size, 3
        ),
        np.array([one.context for one in made], np.uint8).reshape(
            -1, size.context_height, size.context_width, 3
        ),
        np.array([one.box for one in made], np.int32).reshape(-1, 4),
    )


@pytest.mark.parametrize("count", [0, 1, 3, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
def test_any_number_of_rows_gives_as_many_normalised_outputs(artifact, count):
    batch = EmotionPredictor(artifact).predict_batch(*_rows(count, artifact.spec))
    assert batch.probabilities.shape == (count, 7)
    assert batch.branch_weights.shape == (count, 2)
    assert batch.attention.shape == (count, 3, 3)
    assert batch.probabilities.dtype == np.float32
    assert np.allclose(batch.probabilities.sum(1), 1, atol=1e-5)
    assert np.allclose(batch.branch_weights.sum(1), 1, atol=1e-5)
    assert np.allclose(batch.attention.sum((1, 2)), 1, atol=1e-5)


def test_a_row_gives_the_same_answer_alone_and_among_others(artifact):
    predictor = EmotionPredictor(artifact)
    rows = _rows(CHUNK + 3, artifact.spec)
    whole = predictor.predict_batch(*rows)
    for index in (0, CHUNK - 1, CHUNK + 2):
        alone = predictor.predict_batch(*(column[index : index + 1] for column in rows))
        assert np.allclose(alone.probabilities[0], whole.probabilities[index], atol=1e-5)


def test_read_only_rows_of_a_memory_mapped_shard_are_accepted_and_not_written(artifact):
    rows = _rows(2, artifact.spec)
    before = [column.copy() for column in rows]
    for column in rows:
        column.flags.writeable = False
    EmotionPredictor(artifact).predict_batch(*rows)
    assert all(np.array_equal(a, b) for a, b in zip(rows, before, strict=True))


@pytest.mark.parametrize("column", [0, 1, 2])
def test_rows_prepared_with_another_spec_are_refused(artifact, column):
    rows = list(_rows(2, artifact.spec))
    rows[column] = rows[column][:, :-1]
    with pytest.raises(DataError, match="model's spec"):
        EmotionPredictor(artifact).predict_batch(*rows)
    rows = list(_rows(2, artifact.spec))
    rows[column] = rows[column].astype(np.float32)
    with pytest.raises(DataError, match="model's spec"):
        EmotionPredictor(artifact).predict_batch(*rows)


def test_a_picture_and_its_prepared_row_give_the_same_probabilities(artifact):
    predictor, image, box = EmotionPredictor(artifact), _picture(), (20, 30, 90, 100)
    (face,) = predictor.predict_image(image, [box])
    row = EmotionInputs.of(image, box, artifact.spec.input)
    batch = predictor.predict_batch(row.face[None], row.context[None], np.array([row.box]))
    assert list(face.probabilities.values()) == batch.probabilities[0].tolist()
    assert face.label == max(face.probabilities, key=face.probabilities.__getitem__)
    assert face.score == 1.0


def test_a_picture_without_faces_gives_an_empty_list(artifact):
    assert EmotionPredictor(artifact, _FakeProvider()).predict_image(_picture()) == []
    assert EmotionPredictor(artifact).predict_image(_picture(), []) == []


def test_of_many_detected_faces_the_surest_are_read_surest_first(artifact):
    faces = [Face(box=(10 * k, 10, 10 * k + 30, 60), score=float(k % 4)) for k in range(8)]
    outside = Face(box=(500, 0, 600, 90), score=99.0)
    predictor = EmotionPredictor(artifact, _FakeProvider(*faces, outside))
    found = predictor.predict_image(_picture(), max_faces=3)
    assert [face.score for face in found] == [3.0, 3.0, 2.0]
    assert found[0].box == faces[3].box


def test_given_boxes_are_used_without_asking_the_provider(artifact):
    class Unwanted(_FakeProvider):
        def detect(self, image: Image) -> list[Face]:
            raise AssertionError("the boxes were given")

    boxes = [(0, 0, 50, 50), (-20, -20, 40, 40), (100, 60, 400, 400)]
    found = EmotionPredictor(artifact, Unwanted()).predict_image(_picture(), boxes)
    assert [face.box for face in found] == boxes


@pytest.mark.parametrize(
    "box",
    [
        (50, 50, 50, 80),
        (80, 50, 40, 80),
        (200, 0, 260, 50),
        (-30, -30, 0, 0),
        (1, 2, 3),
        (0.5, 0, 10, 10),
        ("a", 0, 10, 10),
        None,
    ],
)
def test_a_box_that_shows_no_face_is_refused_as_bad_box(artifact, box):
    with pytest.raises(MediaError) as caught:
        EmotionPredictor(artifact).predict_image(_picture(), [(0, 0, 9, 9), box])
    assert caught.value.code == "bad_box"


def test_numpy_integers_make_a_good_box(artifact):
    (face,) = EmotionPredictor(artifact).predict_image(_picture(), [np.array([1, 2, 30, 40])])
    assert face.box == (1, 2, 30, 40)


def test_too_many_boxes_and_no_way_to_find_faces_are_usage_errors(artifact):
    predictor = EmotionPredictor(artifact)
    with pytest.raises(SpecError, match="max_faces"):
        predictor.predict_image(_picture(), [(0, 0, 9, 9)] * 3, max_faces=2)
    with pytest.raises(SpecError, match="provider"):
        predictor.predict_image(_picture())


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_picture_is_a_media_error(artifact, image):
    with pytest.raises(MediaError):
        EmotionPredictor(artifact, _FakeProvider()).predict_image(image)


def test_the_attention_covers_the_centre_crop_in_the_pictures_own_pixels(artifact):
    # context 64x86 with a crop of 48: rows 8 … 56 of 64 and columns 19 … 67 of 86
    (face,) = EmotionPredictor(artifact).predict_image(_picture(640, 860), [(10, 10, 90, 90)])
    assert face.attention_box == (190, 80, 670, 560)
    assert np.shape(face.attention) == (3, 3)


def test_nothing_outside_the_attention_box_and_the_face_changes_the_answer(artifact):
    predictor, image = EmotionPredictor(artifact), _picture(640, 860)
    (before,) = predictor.predict_image(image, [(300, 200, 400, 300)])
    x1, y1, x2, y2 = before.attention_box
    changed = 255 - image
    changed[y1:y2, x1:x2] = image[y1:y2, x1:x2]
    (after,) = predictor.predict_image(changed, [(300, 200, 400, 300)])
    assert after.probabilities == before.probabilities
    assert after.attention == before.attention


def test_a_reply_is_plain_json(artifact):
    (face,) = EmotionPredictor(artifact).predict_image(_picture(), [(0, 0, 50, 50)])
    reply = json.loads(json.dumps(face.to_json()))
    assert set(reply) == {
        "box", "score", "label", "probabilities", "branch_weights", "attention", "attention_box",
    }  # fmt: skip
    assert set(reply["branch_weights"]) == {"face", "context"}
    assert list(reply["probabilities"]) == list(artifact.classes)
