"""Promises of a style card: five pictures and a motion, whole or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_talking_head import tiny_card

from visage.errors import CorruptError, DataError, NotFoundError, SpecError
from visage.inference.style_card import check_style_name, load_style_card, save_style_card
from visage.inference.style_delta import StyleDelta, save_style
from visage.specs.style_transfer import StyleDeltaSpec
from visage.store.open import open_store

DELTA = StyleDelta(
    spec=StyleDeltaSpec(name="opera", base="d" * 64), tensors={"a.weight": torch.ones(2)}
)


def test_a_card_comes_back_with_pictures_points_and_motion(tmp_path: Path) -> None:
    card = replace(tiny_card("opera"), motion=DELTA, metadata={"clip": "x.mp4"})
    digest = save_style_card(open_store(str(tmp_path)), "opera", card)
    back = load_style_card(str(tmp_path / "opera"))
    assert (back.digest, back.name, back.pictures) == (digest, "opera", card.pictures)
    assert (back.coverage, back.metadata) == (card.coverage, card.metadata)
    np.testing.assert_allclose(back.points, card.points, atol=1e-3)
    assert back.motion is not None
    assert torch.equal(back.motion.tensors["a.weight"], torch.ones(2))
    assert [image.shape for image in back.images()] == [(64, 64, 3)] * 5


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 65, "ä", "a b"])
def test_names_that_are_no_folder_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match="use letters"):
        check_style_name(name)


def test_four_pictures_are_no_style(tmp_path: Path) -> None:
    card = tiny_card()
    with pytest.raises(DataError, match="4 pictures"):
        save_style_card(open_store(str(tmp_path)), "x", replace(card, pictures=card.pictures[:4]))


def test_a_motion_that_was_exchanged_is_refused(tmp_path: Path) -> None:
    import shutil

    store = open_store(str(tmp_path))
    save_style_card(store, "opera", replace(tiny_card("opera"), motion=DELTA))
    shutil.rmtree(tmp_path / "opera" / "motion")
    save_style(store, "opera/motion", replace(DELTA, tensors={"a.weight": torch.zeros(2)}))
    with pytest.raises(CorruptError, match="not the motion"):
        load_style_card(str(tmp_path / "opera"))


def test_nothing_and_something_else_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no style was published"):
        load_style_card(str(tmp_path / "none"))
    save_style(open_store(str(tmp_path)), "delta", DELTA)
    with pytest.raises(DataError, match="this is no style"):
        load_style_card(str(tmp_path / "delta"))


def test_what_the_references_hardly_show_is_told() -> None:
    card = replace(tiny_card(), coverage=(1.0, 0.1, 0.3, 0.0))
    assert card.missing() == [("M", 0.1), ("O", 0.0)]
