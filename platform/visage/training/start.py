"""Weights that a run begins with: those of a published part, of whatever corpus it came from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from visage.errors import SpecError
from visage.inference.parts import read_published_weights

__all__ = ["start_from"]

TOLD = 3


def start_from(model: nn.Module, uri: str) -> None:
    """Replace a network's first weights by published ones of the same names and shapes.

    Raises:
        NotFoundError, CorruptError: nothing whole is published there.
        SpecError: they belong to a network of other sizes; the first differences are named.
    """
    theirs, mine = read_published_weights(uri), model.state_dict()
    problems = _differences(mine, theirs)
    if problems:
        more = f" and {len(problems) - TOLD} more" if len(problems) > TOLD else ""
        raise SpecError(
            f"start_from {uri}: {'; '.join(problems[:TOLD])}{more}. Train a network of the same "
            "sizes (model.*), or name a part of this recipe"
        )
    with torch.no_grad():
        for name, value in mine.items():
            value.copy_(theirs[name])


def _differences(mine: dict[str, Tensor], theirs: dict[str, Tensor]) -> list[str]:
    found = [f"{name} is missing there" for name in mine if name not in theirs]
    found += [f"{name} is unknown here" for name in theirs if name not in mine]
    found += [
        f"{name} is {tuple(theirs[name].shape)} there, {tuple(value.shape)} here"
        for name, value in mine.items()
        if name in theirs and theirs[name].shape != value.shape
    ]
    return found
