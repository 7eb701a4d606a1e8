"""Segments of clips: what is packed comes back, and samples belong together."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_clips import made_clip, write_clip_corpus

from visage.data.clip_decoders import FrameDecoder, MotionDecoder, PairDecoder
from visage.data.clip_rows import CLIP_SCHEMA, FPS, cut_row, pack_clip, unpack_clip
from visage.data.feed import Decode, ShardFeed
from visage.data.sampler import Sampler
from visage.data.shards import ShardRows, load_manifest
from visage.errors import DataError
from visage.faces.regions import MOUTH
from visage.seeds import rng_of

FRAMES = 120
DECODERS: list[Decode] = [
    MotionDecoder(window=48, lead_in=12, training=True),
    PairDecoder(size=32, training=True),
    FrameDecoder(size=48, training=True),
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_clip_corpus(tmp_path_factory.mktemp("clips"), frames=FRAMES)


@pytest.fixture(scope="module")
def row() -> dict[str, object]:
    return {"key": "k", **made_clip("k", frames=FRAMES, size=64)}


def test_what_is_packed_comes_back_bit_for_bit(row: dict[str, object]) -> None:
    arrays = unpack_clip(row)
    again = unpack_clip({**row, **pack_clip(arrays)})
    for name in ("audio", "mel", "landmarks", "mean", "pose", "points"):
        np.testing.assert_array_equal(getattr(arrays, name), getattr(again, name))
    assert arrays.torso is None


@pytest.mark.parametrize("name", ["audio", "mel", "landmarks", "pose", "points", "mean"])
def test_arrays_that_do_not_belong_together_are_refused(name: str, row: dict[str, object]) -> None:
    arrays = unpack_clip(row)
    with pytest.raises(DataError, match=r"clip row: \w+ has shape"):
        pack_clip(replace(arrays, **{name: getattr(arrays, name)[:-1]}))


def test_the_parts_of_a_row_are_the_row(row: dict[str, object]) -> None:
    whole = unpack_clip(row)
    bounds = [0, 37, 38, 90, FRAMES]
    named = {**row, "clip": "c", "start_s": 2.0}
    parts = [cut_row(named, start, stop) for start, stop in pairwise(bounds)]
    assert [part["frames"] for part in parts] == list(np.diff(bounds))
    for name in ("landmarks", "mel", "pose", "points"):
        joined = np.concatenate([getattr(unpack_clip(part), name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name))
    assert [body for part in parts for body in part["images"]] == row["images"]
    places = [
        start + at for part, start in zip(parts, bounds, strict=False) for at in part["image_at"]
    ]
    assert places == row["image_at"]
    assert parts[1]["key"] == f"c@{2 + 37 / FPS:.2f}"


def test_a_trajectory_with_nan_is_refused(row: dict[str, object]) -> None:
    arrays = unpack_clip(row)
    broken = arrays.pose.copy()
    broken[3, 2] = np.nan
    with pytest.raises(DataError, match="pose holds NaN"):
        pack_clip(replace(arrays, pose=broken))


@pytest.mark.parametrize("decode", DECODERS, ids=lambda one: type(one).__name__)
def test_a_sample_is_a_function_of_seed_epoch_and_sample_and_needs_only_its_columns(
    decode: Decode, corpus: str
) -> None:
    manifest, store = load_manifest(corpus)
    rows = ShardRows(manifest, store, "train")
    sampler = Sampler(samples=len(rows), global_batch=4, seed=3)
    feeds = [
        ShardFeed(rows, sampler, decode, threads=threads, ahead=ahead)
        for threads, ahead in ((1, 0), (3, 2))
    ]
    for step in (0, 3, 1):
        one, two = (feed.batch(step) for feed in feeds)
        assert one.arrays.keys() == two.arrays.keys()
        for name in one.arrays:
            np.testing.assert_array_equal(one.arrays[name], two.arrays[name])
    for feed in feeds:
        feed.close()
    assert set(decode.columns or ()) < set(CLIP_SCHEMA.names)


@pytest.mark.parametrize("seed", range(8))
def test_a_window_keeps_sound_mel_landmarks_and_pose_in_step(
    seed: int, row: dict[str, object]
) -> None:
    arrays = unpack_clip(row)
    sample = MotionDecoder(window=30, lead_in=10, training=True)(row, rng_of("window", seed))
    matches = [
        start
        for start in range(FRAMES - 39)
        if np.array_equal(arrays.pose[start : start + 40], sample["pose"])
    ]
    assert len(matches) == 1
    start = matches[0]
    np.testing.assert_array_equal(sample["mel"], arrays.mel[2 * start : 2 * start + 80])
    np.testing.assert_array_equal(sample["landmarks"], arrays.landmarks[start + 10 : start + 40])
    assert len(sample["audio"]) == 40 * 16_000 // 60


def test_a_window_longer_than_the_segment_is_refused_with_what_to_do(
    row: dict[str, object],
) -> None:
    with pytest.raises(DataError, match="prepare with longer segments"):
        MotionDecoder(window=FRAMES + 1)(row, rng_of(0))


def test_a_segment_without_room_for_what_leads_in_is_led_into_by_stillness_and_silence(
    row: dict[str, object],
) -> None:
    arrays = unpack_clip(row)
    lead_in, window = 20, FRAMES - 7
    for training in (False, True):
        decode = MotionDecoder(window=window, lead_in=lead_in, training=training)
        sample = decode(row, rng_of(0))
        missing = lead_in - 7
        np.testing.assert_array_equal(sample["landmarks"], arrays.landmarks[7:])
        np.testing.assert_array_equal(sample["pose"][missing:], arrays.pose)
        assert (sample["pose"][:missing] == arrays.pose[0]).all()
        np.testing.assert_array_equal(sample["mel"][2 * missing :], arrays.mel)
        assert (sample["mel"][: 2 * missing] == arrays.mel[0]).all()
        assert len(sample["audio"]) == (lead_in + window) * 16_000 // 60
        assert not sample["audio"][: missing * 16_000 // 60].any()


@pytest.mark.parametrize("size", [32, 64, 96])
def test_the_points_of_a_frame_lie_on_its_picture_at_every_size(
    size: int, row: dict[str, object]
) -> None:
    for seed in range(6):
        sample = FrameDecoder(size=size, training=True)(row, rng_of("frame", seed))
        lips = sample["regions"] == MOUTH
        redness = sample["target"][..., 0].astype(int) - sample["target"][..., 1]
        drawn = (redness > 60) | (sample["target"].sum(-1) < 90)
        both = float((lips & drawn).sum()) / max(1, float(lips.sum()))
        assert both > (0.6 if size < 64 else 0.75), (size, seed, both)
        assert not np.array_equal(sample["source"], sample["target"])


def test_without_training_the_choice_does_not_depend_on_the_generator(
    row: dict[str, object],
) -> None:
    for decode in (MotionDecoder(window=40), PairDecoder(size=32), FrameDecoder(size=32)):
        one, two = decode(row, rng_of(1)), decode(row, rng_of(2))
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])


def test_the_style_key_is_that_of_the_references(row: dict[str, object]) -> None:
    one = FrameDecoder(size=32)(row, rng_of(0))["style_key"]
    changed = {**row, "references": list(reversed(row["references"]))}  # type: ignore[call-overload]
    assert not np.array_equal(one, FrameDecoder(size=32)(changed, rng_of(0))["style_key"])


def test_a_corpus_is_drawn_as_faces(corpus: str) -> None:
    manifest, store = load_manifest(corpus)
    row = ShardRows(manifest, store, "train").row(0)
    picture = cv2.imdecode(np.frombuffer(row["images"][0], np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (64, 64, 3)
    assert len(row["images"]) == len(row["image_at"]) == 50
    assert Path(store.uri).is_dir()
