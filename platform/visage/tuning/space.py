"""Points of a search space, and the training spec that a point makes.

Invariant: a random or grid point is a function of spec and trial number alone, so that a search
that was killed draws what the unbroken one would have drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from visage.errors import SpecError
from visage.seeds import rng_of
from visage.specs.train import TrainSpec
from visage.specs.tune import ParameterSpec, TuneSpec, Value

__all__ = ["check_space", "grid_point", "grid_size", "random_point", "trial_spec"]

TrainSpecT = TypeVar("TrainSpecT", bound=TrainSpec)


def random_point(spec: TuneSpec, number: int) -> dict[str, Value]:
    """Values of trial `number`; a key's values do not depend on the other keys."""
    return {
        key: one.at(float(rng_of(spec.seed, "tune", key, number).random()))
        for key, one in spec.space.items()
    }


def grid_size(spec: TuneSpec) -> int:
    """How many points the grid has."""
    return math.prod(_points(spec, one) for one in spec.space.values())


def grid_point(spec: TuneSpec, number: int) -> dict[str, Value]:
    """Point `number` of the grid, the last key changing fastest.

    Raises:
        IndexError: the grid has fewer points.
    """
    if not 0 <= number < grid_size(spec):
        raise IndexError(f"point {number} of a grid of {grid_size(spec)}")
    values: dict[str, Value] = {}
    for key, one in reversed(spec.space.items()):
        number, at = divmod(number, _points(spec, one))
        values[key] = one.choice[at] if one.choice else one.at(at / (spec.grid_points - 1))
    return {key: values[key] for key in spec.space}


def trial_spec(base: TrainSpecT, spec: TuneSpec, values: Mapping[str, Value]) -> TrainSpecT:
    """The training spec of a trial: the base with fixed and searched keys and budget replaced.

    Raises:
        SpecError: a key does not exist, or the values contradict each other.
    """
    plain = base.model_dump(mode="json")
    for key, value in {**spec.fixed, **values, "epochs": spec.epochs}.items():
        _set(plain, key, value)
    told = ", ".join(f"{key}={value}" for key, value in values.items())
    return type(base).parse(plain, origin=f"trial with {told}")


def check_space(base: TrainSpec, spec: TuneSpec) -> None:
    """Refuse a search before it starts if a key or one end of it cannot be trained.

    Raises:
        SpecError: names the key and the reason.
    """
    for key, one in spec.space.items():
        for value in one.extremes():
            trial_spec(base, spec, {key: value})


def _points(spec: TuneSpec, one: ParameterSpec) -> int:
    return len(one.choice) if one.choice else spec.grid_points


def _set(values: dict[str, Any], key: str, value: Value | None) -> None:
    *folders, last = key.split(".")
    at = values
    for name in folders:
        inner = at.get(name)
        if not isinstance(inner, dict):
            raise SpecError(f"search: {key}: no such key in the training spec; check the spelling")
        at = inner
    at[last] = value
