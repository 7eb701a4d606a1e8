"""What a clip shows of a style: five pictures, or one typed reason why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn_people import talking, write_film

from visage.errors import MediaError
from visage.faces import open_provider
from visage.media.sandbox import MediaSandbox
from visage.rendering.style_clip import card_of_clip
from visage.specs.prepare import ClipPrepareSpec

FRAMES = 50
PERSON = 1
SPEC = ClipPrepareSpec(size=128)


def _film(path: Path, frames: list[np.ndarray]) -> Path:
    write_film(path, frames)
    return path


def _card(path: Path):
    with MediaSandbox() as sandbox:
        return card_of_clip(
            path, name="mine", provider=open_provider("dlib68"), sandbox=sandbox, spec=SPEC
        )


def test_a_clip_of_a_speaker_gives_a_face_at_rest_and_four_key_motions(tmp_path: Path):
    card = _card(_film(tmp_path / "speaks.mp4", talking(PERSON, FRAMES)))
    pictures = card.images()
    assert [picture.shape for picture in pictures] == [(128, 128, 3)] * 5
    assert card.points.shape == (5, 68, 2)
    assert len(card.coverage) == 4
    opening = card.points[:, 66, 1] - card.points[:, 62, 1]
    assert opening.max() - opening.min() > 1.0
    assert card.motion is None


def test_a_clip_in_which_nobody_speaks_shows_no_style(tmp_path: Path):
    still = talking(PERSON, 1) * FRAMES
    with pytest.raises(MediaError, match="somebody who speaks or sings") as caught:
        _card(_film(tmp_path / "still.mp4", still))
    assert caught.value.code == "closed_mouth"


def test_a_clip_without_a_face_and_a_file_that_is_no_clip_are_typed(tmp_path: Path):
    grey = [np.full((160, 160, 3), 90, np.uint8)] * FRAMES
    with pytest.raises(MediaError) as nobody:
        _card(_film(tmp_path / "nobody.mp4", grey))
    assert nobody.value.code == "no_face"
    (tmp_path / "text.mp4").write_text("not a film")
    with pytest.raises(MediaError):
        _card(tmp_path / "text.mp4")
