"""Any clip of a speaking person as a style: the five pictures that show how they speak.

No sound is needed: what is looked for is a face at rest and the four key motions (models.md A.6).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visage.data.clip_tracking import iter_pictures, track_clip
from visage.errors import MediaError
from visage.faces.provider import FaceProvider
from visage.faces.style_references import mouth_features
from visage.inference.style_card import StyleCard
from visage.inference.talking_head import CLIP_MARGIN, TalkingHead
from visage.media.image import encode_jpeg
from visage.media.sandbox import MediaSandbox
from visage.specs.prepare import ClipPrepareSpec

__all__ = ["LEAST_MOVEMENT", "card_of_clip", "check_speaks", "clip_spec_for"]

LEAST_MOVEMENT = 0.02
"""Change of the opening of the mouth within a clip, in eye distances, below which nobody speaks."""


def clip_spec_for(head: TalkingHead, **settings: Any) -> ClipPrepareSpec:
    """How a clip is read for a model: framed as those that it was trained on were."""
    margin = head.metadata.get(CLIP_MARGIN)
    framing = {} if margin is None else {"margin": float(margin)}
    return ClipPrepareSpec(**framing, **settings)


def card_of_clip(
    path: Path,
    *,
    name: str,
    provider: FaceProvider,
    sandbox: MediaSandbox,
    spec: ClipPrepareSpec | None = None,
) -> StyleCard:
    """The style that a clip shows, without a change of motion.

    Raises:
        MediaError: `closed_mouth` if the mouth never opens; what tracking and decoders say.
    """
    chosen = spec or ClipPrepareSpec()
    clip = track_clip(path, provider=provider, sandbox=sandbox, spec=chosen)
    check_speaks(clip.head.landmarks, clip.head.pose, source=path)
    frames = [clip.motions.neutral, *clip.motions.frames]
    wanted = set(frames)
    bodies = {
        at: encode_jpeg(picture, chosen.jpeg_quality)
        for at, picture in enumerate(iter_pictures(path, clip, sandbox))
        if at in wanted
    }
    return StyleCard(
        name=name,
        pictures=tuple(bodies[at] for at in frames),
        points=clip.points[frames],
        coverage=clip.motions.coverage,
        metadata={"clip": path.name},
    )


def check_speaks(
    landmarks: NDArray[np.float32], pose: NDArray[np.float32], *, source: Path
) -> None:
    """Refuse a clip that shows no way of speaking.

    Args:
        landmarks: Object coordinates of all frames, (T, 68, 3).
        pose: Of all frames, (T, 6).

    Raises:
        MediaError: `closed_mouth` if the mouth never opens.
    """
    closed, opened = np.percentile(mouth_features(landmarks, pose).opening, (5, 95))
    if opened - closed < LEAST_MOVEMENT:
        raise MediaError(
            "closed_mouth",
            f"{source}: the mouth hardly moves ({opened - closed:.3f} eye distances); a style is "
            "shown by somebody who speaks or sings",
        )
