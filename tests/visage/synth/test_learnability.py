"""Drawn cues can be read: even a linear probe on thumbnails does, and two cues beat one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from visage.specs.emotion import EMOTIONS
from visage.synth.caer_s import pictures_of, plan_of
from visage.synth.scene import draw_scene, scene_box
from visage.synth.spec import CaerSSpec

SPEC = CaerSSpec(per_class=40, height=128, width=171, identities=40, test_fraction=0.35)


@pytest.fixture(scope="module")
def thumbnails() -> dict[str, np.ndarray]:
    faces, contexts, labels, splits = [], [], [], []
    for picture in pictures_of(SPEC):
        plan = plan_of(SPEC, picture)
        image = draw_scene(plan)
        x1, y1, x2, y2 = scene_box(plan)
        face = cv2.resize(image[y1:y2, x1:x2], (24, 24), interpolation=cv2.INTER_AREA)
        faces.append(_edges(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)))
        image[y1:y2, x1:x2] = 0
        context = cv2.resize(image, (12, 9), interpolation=cv2.INTER_AREA)
        contexts.append(context.astype(float).ravel())
        labels.append(EMOTIONS.index(plan.label))
        splits.append(picture.split)
    return {
        "face": _scaled(np.array(faces)),
        "context": _scaled(np.array(contexts)),
        "label": np.array(labels),
        "train": np.array(splits) == "train",
    }


def _edges(grey: np.ndarray) -> np.ndarray:
    """Brightness steps: what an expression is, whatever the skin."""
    grey = grey.astype(float)
    return np.concatenate([np.diff(grey, axis=0).ravel(), np.diff(grey, axis=1).ravel()])


def _scaled(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-3)


def _accuracy(features: np.ndarray, data: dict[str, np.ndarray]) -> float:
    train, label = data["train"], data["label"]
    kernel = features @ features[train].T
    kernel = np.exp((kernel - kernel.max()) / features.shape[1]) + 0.2 * kernel / features.shape[1]
    inside = kernel[train] + 0.3 * np.eye(int(train.sum()))
    weights = np.linalg.solve(inside, np.eye(len(EMOTIONS))[label[train]])
    guess = (kernel[~train] @ weights).argmax(axis=1)
    return float(np.mean(guess == label[~train]))


def test_each_cue_tells_the_label_far_above_chance_and_both_tell_more(
    thumbnails: dict[str, np.ndarray],
) -> None:
    face = _accuracy(thumbnails["face"], thumbnails)
    context = _accuracy(thumbnails["context"], thumbnails)
    sizes = [thumbnails[name].shape[1] for name in ("face", "context")]
    joined = np.concatenate(
        [
            thumbnails[name] * np.sqrt(max(sizes) / size)
            for name, size in zip(("face", "context"), sizes, strict=True)
        ],
        axis=1,
    )
    both = _accuracy(joined, thumbnails)
    assert face > 2 / len(EMOTIONS)
    assert context > 2 / len(EMOTIONS)
    assert both > max(face, context)
