"""Promises of portraits: one clear face of any size is taken, all else is refused with its type."""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from drawn_people import talking
from PIL import Image as Pillow
from tiny_talking_head import FACE, DrawnFaces, mean_face, tiny_head, turned

from visage.errors import MediaError
from visage.faces.dlib68 import Dlib68
from visage.inference.talking_head import CLIP_MARGIN
from visage.media.image import encode_png
from visage.media.sandbox import MediaSandbox
from visage.models.projection import project
from visage.rendering.portrait import MARGIN, SWAY, portrait_for, read_portrait, rested
from visage.specs.render import PortraitSpec


def _picture(height: int = 256, width: int = 256) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


@pytest.mark.parametrize("shape", [(256, 256), (600, 256), (256, 900), (2000, 1500)])
def test_any_shape_of_picture_becomes_a_square_around_the_face(shape):
    centre = FACE.mean(axis=0)
    points = (FACE - centre) * (min(shape) / 300) + np.array([shape[1] / 2, shape[0] / 2])
    points = points.astype(np.float32)
    found = read_portrait(_picture(*shape), DrawnFaces(points, side=shape[1]), size=64)
    assert found.picture.shape == (64, 64, 3)
    assert (found.points > 0).all()
    assert (found.points < 63).all()


def test_the_head_projects_back_to_the_points_it_was_lifted_from():
    found = read_portrait(_picture(), DrawnFaces(FACE), size=64)
    shape, pose = torch.from_numpy(found.shape), torch.from_numpy(found.pose)
    back = project(shape, pose, found.camera)
    np.testing.assert_allclose(back.numpy(), found.points, atol=1e-3)


def test_a_picture_without_a_face_is_refused():
    with pytest.raises(MediaError, match="no face") as caught:
        read_portrait(_picture(), DrawnFaces(), size=64)
    assert caught.value.code == "no_face"


def _moved(scale: float, x: float) -> np.ndarray:
    return ((FACE - FACE.mean(axis=0)) * scale + [x, 128]).astype(np.float32)


def test_two_faces_of_one_size_are_refused_unless_the_largest_is_asked_for():
    faces = DrawnFaces(_moved(0.5, 70), _moved(0.48, 190))
    with pytest.raises(MediaError, match="face_policy=largest") as caught:
        read_portrait(_picture(), faces, size=64)
    assert caught.value.code == "several_faces"
    largest = read_portrait(
        _picture(), faces, size=64, spec=PortraitSpec(face_policy="largest", smallest_px=20)
    )
    assert largest.picture.shape == (64, 64, 3)


def test_small_faces_in_the_background_do_not_matter():
    faces = DrawnFaces(_moved(0.2, 40), _moved(0.8, 150))
    found = read_portrait(_picture(), faces, size=64)
    alone = read_portrait(_picture(), DrawnFaces(_moved(0.8, 150)), size=64)
    np.testing.assert_array_equal(found.points, alone.points)


def test_a_face_of_few_pixels_is_refused_with_what_it_has_and_what_is_needed():
    with pytest.raises(MediaError, match=r"pixels high; at least 40") as caught:
        read_portrait(_picture(), DrawnFaces(_moved(0.2, 128)), size=64)
    assert caught.value.code == "face_too_small"


@pytest.mark.parametrize(("yaw", "is_refused"), [(0, False), (20, False), (-20, False), (60, True)])
def test_a_profile_is_refused_and_a_turned_head_is_not(yaw, is_refused):
    faces = DrawnFaces(turned(yaw))
    if not is_refused:
        assert read_portrait(_picture(), faces, size=64).picture.shape == (64, 64, 3)
        return
    with pytest.raises(MediaError, match="turned by") as caught:
        read_portrait(_picture(), faces, size=64)
    assert caught.value.code == "profile"


@pytest.mark.parametrize("opening", [-0.05, 0.0, 0.2])
def test_a_rested_mouth_is_open_as_the_mean_face_and_the_rest_of_the_face_stays(opening):
    mean = mean_face()
    shape = mean.copy()
    shape[[65, 66, 67, 57, 56, 58], 1] += opening
    calm = rested(shape, mean)
    gap = lambda one: (one[[67, 66, 65], 1] - one[[61, 62, 63], 1]).mean()  # noqa: E731
    assert gap(calm) == pytest.approx(gap(mean), abs=1e-6)
    np.testing.assert_array_equal(calm[17:55], shape[17:55])


@pytest.mark.parametrize(("clips", "own"), [(0.1, None), (None, None), (0.1, 0.8)])
def test_a_portrait_is_framed_as_the_models_clips_were_unless_told_otherwise(
    tmp_path: Path, clips: float | None, own: float | None
) -> None:
    """A face twice as large as those of the training is no face that the generator knows."""
    head = tiny_head(tmp_path)
    metadata = {} if clips is None else {CLIP_MARGIN: clips}
    found = portrait_for(
        replace(head, metadata=metadata), _picture(), DrawnFaces(FACE), PortraitSpec(margin=own)
    )
    room = own if own is not None else (MARGIN if clips is None else clips) + SWAY
    alone = read_portrait(
        _picture(), DrawnFaces(FACE), size=head.generator.spec.size, spec=PortraitSpec(margin=room)
    )
    np.testing.assert_array_equal(found.points, alone.points)
    assert found.picture.shape[0] == head.generator.spec.size


@pytest.fixture(scope="module")
def sandbox() -> Iterator[MediaSandbox]:
    with MediaSandbox() as made:
        yield made


def _most_kib() -> int:
    """High-water mark of this process's memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def test_a_portrait_of_sixty_megapixels_is_read_in_seconds_and_a_few_hundred_mb(
    sandbox: MediaSandbox,
) -> None:
    """A detector that sees all of its pixels takes gigabytes."""
    face = cv2.cvtColor(talking(2, 1)[0], cv2.COLOR_RGB2GRAY)
    picture = np.full((5000, 12_000), 90, np.uint8)
    picture[:, 3500:8500] = cv2.resize(face, (5000, 5000), interpolation=cv2.INTER_LINEAR)
    body = io.BytesIO()
    Pillow.fromarray(picture).save(body, "JPEG")
    del picture
    provider = Dlib68()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the mark begins anew
    except OSError:
        pytest.skip("the mark of most memory cannot be set back here")
    before_kib, before_s = _most_kib(), time.process_time()
    image = sandbox.decode_image(body.getvalue())
    found = read_portrait(image, provider, size=64)
    assert time.process_time() - before_s < 30, "a search in all pixels takes minutes"
    assert _most_kib() - before_kib < 400 << 10, "the picture itself takes 172 MiB"
    assert found.large.shape == (1024, 1024, 3)
    assert (found.points > 0).all()
    assert (found.points < 63).all()


def test_a_portrait_of_more_than_64_megapixels_is_refused_by_its_header(
    sandbox: MediaSandbox,
) -> None:
    body = bytearray(encode_png(np.zeros((2, 2, 3), np.uint8)))
    struct.pack_into(">II", body, 16, 12_000, 12_000)
    with pytest.raises(MediaError, match=r"12000x12000 pixels.*scale it down") as caught:
        sandbox.decode_image(bytes(body))
    assert caught.value.code == "too_large"
