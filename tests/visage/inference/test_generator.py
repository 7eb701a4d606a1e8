"""Promises of a published generator: it loads as it was saved, and says how to get one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from visage.errors import DataError, NotFoundError
from visage.inference.generator import GENERATOR, load_generator
from visage.inference.parts import save_part
from visage.models.generator import Generator
from visage.specs.generator import GeneratorSpec
from visage.store.open import open_store

SPEC = GeneratorSpec(size=32, widths=(4, 6, 8))


def test_it_draws_the_frame_it_drew_when_it_was_saved(tmp_path: Path) -> None:
    model = Generator(SPEC)
    inputs = torch.rand(2, 16, 32, 32)
    model(inputs)  # statistics of batch normalisation are saved, too
    save_part(open_store(str(tmp_path)), "one", model, kind=GENERATOR, spec=SPEC)
    part = load_generator(f"{tmp_path}/one")
    with torch.no_grad():
        assert torch.equal(part.model(inputs), model.eval()(inputs))
    assert not any(one.requires_grad for one in part.model.parameters())


def test_where_none_is_it_says_how_to_train_one(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="visage train generator"):
        load_generator(f"{tmp_path}/none")


def test_another_part_is_refused(tmp_path: Path) -> None:
    save_part(open_store(str(tmp_path)), "one", Generator(SPEC), kind="judge", spec=SPEC)
    with pytest.raises(DataError, match="judge"):
        load_generator(f"{tmp_path}/one")
