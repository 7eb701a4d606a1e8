"""Promises of the face providers: faces found, points near human ones, nothing downloaded."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from visage.errors import CorruptError, MediaError, SpecError
from visage.faces import fan, open_provider
from visage.faces.dlib68 import Dlib68
from visage.faces.fan import FAN_WEIGHTS, Fan, fan_is_available, fan_weights_folder
from visage.faces.pose import head_pose
from visage.media.image import decode_image

TruthOf = Callable[[Path], np.ndarray]


def _iou(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, width) * max(0, height)
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return shared / (sum(areas) - shared)


def test_a_picture_without_a_face_has_no_faces(dlib68: Dlib68) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    assert dlib68.detect(noise) == []
    assert dlib68.detect(np.zeros((1, 1, 3), np.uint8)) == []
    assert dlib68.detect(np.zeros((3, 400, 3), np.uint8)) == []


@pytest.mark.parametrize("box", [(5, 5, 5, 20), (20, 20, 5, 5), (200, 0, 260, 40), (-40, 0, 0, 40)])
def test_a_box_without_area_in_the_picture_is_a_bad_box(
    box: tuple[int, int, int, int], dlib68: Dlib68
) -> None:
    with pytest.raises(MediaError) as caught:
        dlib68.landmarks(np.zeros((100, 200, 3), np.uint8), box)
    assert caught.value.code == "bad_box"


def test_identity_names_every_setting_that_changes_boxes() -> None:
    variants = [Dlib68(), Dlib68(upsample=0), Dlib68(threshold=0.5), Dlib68(refine=False)]
    assert len({variant.name for variant in variants}) == 4
    assert "iBUG 300-W" in variants[0].licence
    with pytest.raises(SpecError):
        Dlib68(upsample=-1)


@pytest.mark.media
@pytest.mark.parametrize(
    "name",
    [
        "LivePortrait_s9.jpg",
        "SadTalker_people_0.png",
        "celeba_1112.jpg",
        "face_recognition_obama.jpg",
        "skimage_astronaut.png",
    ],
)
def test_every_portrait_has_one_face_with_points_inside(
    name: str, dlib68: Dlib68, media_dir: Path
) -> None:
    image = decode_image((media_dir / "portraits" / name).read_bytes())
    faces = dlib68.detect(image)
    assert len(faces) == 1
    x1, y1, x2, y2 = faces[0].box
    points = dlib68.landmarks(image, faces[0].box)
    assert points.shape == (68, 2)
    assert points.dtype == np.float32
    margin = 0.35 * (x2 - x1)
    assert (points > (x1 - margin, y1 - margin)).all()
    assert (points < (x2 + margin, y2 + margin)).all()
    pose = head_pose(points, width=image.shape[1], height=image.shape[0])
    assert abs(pose.yaw_deg) < 25
    assert abs(pose.roll_deg) < 15


@pytest.mark.media
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("GLAMOR_test_1.jpg", 1),
        ("GLAMOR_test_2.jpg", 2),
        ("faceapi_bbt2_context.jpg", 2),
        ("insightface_t1_context.jpg", 6),
        ("pyfeat_happy_0-f15-hao-ph.jpg", 1),
        ("pyfeat_multi_face.jpg", 4),
        ("pyfeat_surprise_0-f1-su-ph.jpg", 1),
    ],
)
def test_groups_and_film_stills_have_the_faces_a_person_counts(
    name: str, count: int, dlib68: Dlib68, media_dir: Path
) -> None:
    faces = dlib68.detect(decode_image((media_dir / "emotion_images" / name).read_bytes()))
    assert len(faces) >= count
    assert [f.score for f in faces] == sorted((f.score for f in faces), reverse=True)
    boxes = [f.box for f in faces]
    assert all(_iou(a, b) < 0.3 for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.media
@pytest.mark.parametrize(
    ("name", "given", "bound"),
    [
        ("breakingbad", "detected", 0.07),  # nearly a profile
        ("einstein", "detected", 0.08),
        ("einstein", "tight", 0.08),
        ("einstein", "wide", 0.08),
    ],
)
def test_points_are_near_those_that_people_set(
    name: str, given: str, bound: float, dlib68: Dlib68, media_dir: Path, truth_of: TruthOf
) -> None:
    folder = media_dir / "landmarks_gt"
    image = decode_image((folder / f"{name}.jpg").read_bytes())
    truth = truth_of(folder / f"{name}.pts")
    low, high = truth.min(axis=0), truth.max(axis=0)
    margin = 0.15 * (high - low) if given == "wide" else np.zeros(2)
    corners = np.concatenate([low - margin, high + margin])
    box = tuple(np.round(corners).astype(int).tolist())
    if given == "detected":
        # The old photograph is so coarse that doubling it hides the face from HOG.
        detector = dlib68 if name == "breakingbad" else Dlib68(upsample=0)
        box = max((f.box for f in detector.detect(image)), key=lambda found: _iou(found, box))
        assert _iou(box, tuple(corners)) > 0.4
    points = dlib68.landmarks(image, box)
    between_eyes = np.linalg.norm(truth[36] - truth[45])
    error = float(np.linalg.norm(points - truth, axis=1).mean() / between_eyes)
    print(f"NME {name} {given}: {error:.4f}")
    assert error < bound


@pytest.mark.media
def test_boxes_do_not_depend_on_how_large_the_picture_is(dlib68: Dlib68, media_dir: Path) -> None:
    small = decode_image((media_dir / "portraits" / "SadTalker_people_0.png").read_bytes())
    large = cv2.resize(small, None, fx=4.5, fy=4.5, interpolation=cv2.INTER_CUBIC)
    (one,), (other,) = dlib68.detect(small), dlib68.detect(large)
    assert _iou(tuple(round(v * 4.5) for v in one.box), other.box) > 0.75


@pytest.mark.media
def test_points_hardly_depend_on_the_box_they_were_looked_for_in(
    dlib68: Dlib68, media_dir: Path
) -> None:
    image = decode_image((media_dir / "emotion_images" / "GLAMOR_test_1.jpg").read_bytes())
    once = Dlib68(refine=False)
    box = dlib68.detect(image)[0].box
    rng = np.random.default_rng(0)
    boxes = [box + rng.normal(0, 0.08 * (box[2] - box[0]), 4).astype(int) for _ in range(8)]

    def spread(provider: Dlib68) -> float:
        points = [provider.landmarks(image, tuple(b.tolist())) for b in boxes]
        return float(np.std(points, axis=0).mean())

    assert spread(dlib68) < 0.5 * spread(once)


@pytest.mark.media
def test_landmarks_of_small_face_crops_follow_the_face(dlib68: Dlib68, media_dir: Path) -> None:
    large = decode_image((media_dir / "portraits" / "SadTalker_people_0.png").read_bytes())
    face = dlib68.detect(large)[0]
    x1, y1, x2, y2 = face.box
    wanted = (dlib68.landmarks(large, face.box) - (x1, y1)) * (48 / (x2 - x1), 48 / (y2 - y1))
    crop = cv2.resize(large[y1:y2, x1:x2], (48, 48), interpolation=cv2.INTER_AREA)
    points = dlib68.landmarks(crop, (0, 0, 48, 48))
    error = np.linalg.norm(points - wanted, axis=1).mean() / np.linalg.norm(wanted[36] - wanted[45])
    assert error < 0.12


@pytest.mark.media
def test_the_network_detector_finds_the_face_that_hog_finds(media_dir: Path) -> None:
    image = decode_image((media_dir / "portraits" / "SadTalker_people_0.png").read_bytes())
    mmod = Dlib68(detector="mmod", upsample=0, max_side_px=320)
    hog = Dlib68()
    (face,) = mmod.detect(image)
    assert _iou(face.box, hog.detect(image)[0].box) > 0.5
    assert mmod.name != hog.name


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("somebody wanted to download")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


@pytest.mark.usefixtures("no_network")
def test_missing_weights_are_named_with_the_place_to_put_them(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        open_provider("fan", weights_dir=tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert "weights_dir" in message
    assert all(name in message for name in FAN_WEIGHTS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_network")
def test_auto_falls_back_where_the_weights_are_missing(tmp_path: Path) -> None:
    assert not fan_is_available(tmp_path)
    assert open_provider("auto", weights_dir=tmp_path).name.startswith("dlib68")
    with pytest.raises(SpecError):
        open_provider("mtcnn")  # type: ignore[arg-type]


def test_weights_that_are_not_the_published_ones_are_refused(tmp_path: Path) -> None:
    for name in FAN_WEIGHTS:
        (tmp_path / name).write_bytes(b"something else")
    assert fan_is_available(tmp_path)
    with pytest.raises(CorruptError, match="sha256"):
        open_provider("auto", weights_dir=tmp_path)


def test_without_a_folder_the_cache_of_torch_is_meant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert fan_weights_folder() == Path(torch.hub.get_dir()) / "checkpoints"
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert fan_weights_folder() == Path(torch.hub.get_dir()) / "checkpoints"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert fan_weights_folder() == Path(torch.hub.get_dir()) / "checkpoints"
    assert fan_weights_folder(tmp_path) == tmp_path


@pytest.fixture(scope="module")
def untrained_weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Both files as the published ones are laid out, with random numbers inside."""
    from face_alignment.detection.sfd.net_s3fd import s3fd
    from face_alignment.models import FAN

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    digests = {}
    for name, network in zip(FAN_WEIGHTS, (FAN(4), s3fd()), strict=True):
        torch.save(network.state_dict(), folder / name)
        digests[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return folder, digests


def test_points_are_read_from_heat_maps_as_the_package_reads_them() -> None:
    rng = np.random.default_rng(0)
    heat = cv2.GaussianBlur(rng.random((64, 64, 68), np.float32), (0, 0), 3).transpose(2, 0, 1)
    to_crop = fan._crop_matrix((210, 130, 350, 300))
    points = (fan._peaks(np.ascontiguousarray(heat)) - to_crop[:, 2]) / to_crop[0, 0]
    # What face-alignment 1.5.0 gives for the first six; it drops the fractions of pixels.
    published = [(123, 102), (411, 351), (123, 271), (436, 301), (147, 208), (222, 38)]
    assert np.abs(points[:6] - published).max() < 0.75


def test_fan_loads_real_files_and_gives_boxes_and_points(
    untrained_weights: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, digests = untrained_weights
    for name, digest in digests.items():
        monkeypatch.setitem(FAN_WEIGHTS, name, digest)
    provider = open_provider("auto", weights_dir=folder)
    assert isinstance(provider, Fan)
    image = np.random.default_rng(0).integers(0, 256, (120, 100, 3), dtype=np.uint8)
    before = image.copy()
    assert isinstance(provider.detect(image), list)
    box = (30, 20, 90, 100)
    points = provider.landmarks(image, box)
    assert points.shape == (68, 2)
    assert points.dtype == np.float32
    assert np.isfinite(points).all()
    assert np.array_equal(image, before)
    # The crop that the network sees reaches about a box and a half around the face.
    assert (np.abs(points - (60, 60)) < 120).all()
    with pytest.raises(MediaError):
        provider.landmarks(image, (5, 5, 5, 9))


def test_fan_searches_large_pictures_in_a_small_copy_and_answers_in_their_pixels(
    untrained_weights: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from face_alignment.detection.sfd import detect as package

    folder, digests = untrained_weights
    for name, digest in digests.items():
        monkeypatch.setitem(FAN_WEIGHTS, name, digest)
    seen: list[tuple[int, ...]] = []

    def detect(net: object, picture: np.ndarray, device: str) -> list[list[list[float]]]:
        seen.append(picture.shape)
        return [[[100.0, 50.0, 200.0, 150.0, 0.6], [300.0, 50.0, 400.0, 150.0, 0.9]]]

    monkeypatch.setattr(package, "detect", detect)
    provider = Fan(weights_dir=folder)
    faces = provider.detect(np.zeros((2048, 4096, 3), np.uint8))
    assert seen == [(512, 1024, 3)]
    assert [face.box for face in faces] == [(1200, 200, 1600, 600), (400, 200, 800, 600)]
    assert [face.score for face in faces] == [0.9, 0.6]
    provider.detect(np.zeros((60, 1024, 3), np.uint8))
    assert seen[1] == (60, 1024, 3), "nothing is shrunk that is small enough"
    assert provider.name == "fan4-s3fd-t0.5-s1024"
    assert Fan(weights_dir=folder, max_side_px=640).name != provider.name
    with pytest.raises(SpecError, match="max_side_px"):
        Fan(weights_dir=folder, max_side_px=10)
