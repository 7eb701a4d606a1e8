"""Promises of the search for style references, on mouths whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from moving_faces import face

from visage.errors import DataError, SpecError
from visage.faces.style_references import TEMPLATES, find_key_motions, mouth_features
from visage.models.projection import Camera, project
from visage.specs.style_references import StyleReferenceSpec

SHAPES = {
    "None": {"opening": 0.03},
    "M": {"opening": 0.0, "lips": 0.058},
    "R": {"opening": 0.12, "width": 0.425},
    "O": {"opening": 0.36, "width": 0.44},
}
AT = {"None": 40, "M": 90, "R": 150, "O": 200}


def _clip(*, without: tuple[str, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    """240 frames of wide, half-open chatter in which each template is shown for three frames."""
    draws = np.random.default_rng(1)
    frames = []
    for t in range(240):
        values = {"opening": 0.1 + 0.1 * np.sin(t / 3) ** 2, "width": 0.52}
        for template, start in AT.items():
            if start <= t < start + 3 and template not in without:
                values = {"width": 0.52, **SHAPES[template]}
                values["opening"] += 0.002 * abs(t - start - 1)  # the middle frame is the purest
        frames.append(face(**values))
    pose = np.zeros((240, 6))
    pose[:, :3] = draws.normal(0, 0.3, (240, 3))
    pose[[t for start in AT.values() for t in range(start, start + 3)], :3] = 0
    return np.stack(frames), pose


CLIP, POSE = _clip()


def test_each_template_is_found_where_it_was_shown():
    found = find_key_motions(CLIP, POSE).references
    assert [one.template for one in found] == list(TEMPLATES)
    for one in found:
        assert AT[one.template] <= one.frame < AT[one.template] + 3, one
        assert one.coverage > 0.8, one


@pytest.mark.parametrize("template", ["M", "R", "O"])
def test_coverage_tells_that_a_template_is_not_in_the_clip(template):
    motions = find_key_motions(*_clip(without=(template,)))
    found = dict(zip(TEMPLATES, motions.references, strict=True))
    assert found[template].coverage < 0.4
    others = {name: one for name, one in found.items() if name not in (template, "None")}
    assert all(one.coverage > 0.7 for one in others.values())


def test_a_still_open_mouth_covers_no_template():
    clip = np.stack([face(opening=0.5, width=0.6)] * 30)
    found = find_key_motions(clip, np.zeros((30, 6))).references
    assert all(one.frame == 0 for one in found)
    assert [one.coverage for one in found[:3]] == [0, 0, 0]
    assert found[3].coverage < 0.35


@pytest.mark.parametrize(
    ("scale", "turn_deg", "shift"), [(1, 0, (0, 0)), (130, 0, (256, 240)), (0.4, 35, (-3, 9))]
)
def test_place_size_and_tilt_of_the_clip_do_not_matter(scale, turn_deg, shift):
    angle = np.radians(turn_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = scale * CLIP @ turn.T + np.array(shift)
    pose = POSE + np.array([0, 0, turn_deg, 5, 6, 7])
    found, plain = find_key_motions(moved, pose).references, find_key_motions(CLIP, POSE).references
    assert [one.frame for one in found] == [one.frame for one in plain]
    assert [one.score for one in found] == pytest.approx([one.score for one in plain])
    assert [one.coverage for one in found] == pytest.approx([one.coverage for one in plain])


def test_points_in_space_may_be_turned_any_way():
    flat = np.concatenate([CLIP, np.full((240, 68, 1), 0.1)], axis=-1)
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    found = find_key_motions(7 * flat @ turn.T + 2, POSE).references
    assert [one.frame for one in found] == [
        one.frame for one in find_key_motions(CLIP, POSE).references
    ]


def test_a_turned_head_in_a_picture_is_measured_as_if_it_looked_ahead():
    spatial = np.concatenate([CLIP[:60], np.zeros((60, 68, 1))], axis=-1)
    frontal = mouth_features(CLIP[:60], POSE[:60])
    pose = np.tile(np.array([12.0, 20.0, -8.0, 0.3, -0.2, 30.0]), (60, 1))
    camera = Camera(size_px=512, focal_px=3000)
    pictured = project(torch.from_numpy(spatial), torch.from_numpy(pose), camera).numpy()
    turned = mouth_features(pictured, pose)
    assert np.allclose(turned.opening, frontal.opening, atol=0.012)
    assert np.allclose(turned.width, frontal.width, rtol=0.06)
    # without undoing the pose the width would be off by more
    assert not np.allclose(mouth_features(pictured, pose * 0).opening, frontal.opening, atol=0.012)


def test_the_features_are_the_lengths_that_the_face_was_drawn_with():
    features = mouth_features(face(opening=0.2, width=0.6, lips=0.07)[None], np.zeros((1, 6)))
    assert features.opening[0] == pytest.approx(0.2 * (1 + 2 * np.sin(np.pi / 4)) / 3)
    assert features.width[0] == pytest.approx(0.6)
    assert features.inner_width[0] == pytest.approx(0.36 * 2 * 0.6)
    assert features.thickness[0] == pytest.approx(0.07)
    assert features.lids[0] == pytest.approx(0.06)


def test_the_neutral_frame_is_a_resting_mouth_that_looks_straight_ahead():
    clip, pose = _clip()
    clip[100:103] = clip[40:43]
    pose[:, 1] += 12
    pose[100:103, :3] = [0, 1, 0]
    motions = find_key_motions(np.concatenate([clip, np.zeros((240, 68, 1))], -1), pose)
    assert 100 <= motions.neutral < 103
    assert 40 <= motions.frames[0] < 43  # the reference keeps to the usual pose of the clip
    assert len(motions.coverage) == 4


def test_of_equal_frames_the_earliest_is_taken():
    twice, poses = np.concatenate([CLIP, CLIP]), np.concatenate([POSE, POSE])
    assert all(one.frame < 240 for one in find_key_motions(twice, poses).references)


def test_a_blink_or_a_turned_head_is_avoided_if_the_same_mouth_is_there_without():
    clip, pose = _clip()
    clip[200:203, 36:48] = face(lids=0.005)[36:48]
    clip[210:213] = clip[200:203]
    clip[210:213, 36:48] = face()[36:48]
    assert 210 <= find_key_motions(clip, pose).references[3].frame < 213
    clip, pose = _clip()
    clip[210:213] = clip[200:203]
    pose[200:203, 1] = 25.0
    pose[210:213] = 0
    clip[200:203, :, 0] *= np.cos(np.radians(25))
    assert 210 <= find_key_motions(clip, pose).references[3].frame < 213


def test_one_frame_of_a_lost_tracker_is_not_the_reference():
    clip, pose = _clip()
    clip[10] = face(opening=2.5, width=1.5)
    clip[11] = face(opening=0.0, width=0.02, lips=0.3)
    found = {one.template: one.frame for one in find_key_motions(clip, pose).references}
    assert not {10, 11} & set(found.values())
    assert 200 <= found["O"] < 203


def test_only_frames_that_may_be_chosen_are_and_frames_without_a_face_never():
    some = np.arange(0, 240, 7)
    found = find_key_motions(CLIP, POSE, among=some).references
    assert all(one.frame in some for one in found)
    clip = CLIP.copy()
    clip[199:204] = np.nan
    assert not 199 <= find_key_motions(clip, POSE).references[3].frame < 204
    with pytest.raises(DataError, match="none of the 240 frames"):
        find_key_motions(CLIP * np.nan, POSE)


@pytest.mark.parametrize("frames", [1, 3, 50, 240])
def test_clips_of_any_length_have_four_references(frames):
    found = find_key_motions(CLIP[:frames], POSE[:frames]).references
    assert len(found) == 4
    assert all(0 <= one.frame < frames and 0 <= one.coverage <= 1 for one in found)


@pytest.mark.parametrize(
    ("landmarks", "pose"),
    [
        (CLIP[:, :60], POSE),
        (CLIP, POSE[:, :3]),
        (CLIP[:0], POSE[:0]),
        (np.zeros((5, 68, 2)), POSE[:5]),
    ],
)
def test_what_is_no_clip_of_a_face_is_refused(landmarks, pose):
    with pytest.raises(DataError):
        find_key_motions(landmarks, pose)


def test_the_templates_are_a_spec_that_refuses_nonsense():
    with pytest.raises(SpecError, match="none_opening"):
        StyleReferenceSpec.parse({"none_opening": (0.2, 0.1)})
    with pytest.raises(SpecError, match="o_round"):
        StyleReferenceSpec.parse({"o_round": (1.0, 1.0)})
    wide = StyleReferenceSpec(o_width=(0.1, 0.2))
    assert find_key_motions(CLIP, POSE, spec=wide).references[3].score > 0
