"""Spec of a search: which keys of a training spec are drawn from where, and when a trial is cut."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from visage.specs.base import Spec

__all__ = ["DIRECTIONS", "AshaSpec", "ParameterSpec", "TuneSpec", "Value"]

Value = bool | int | float | str
Mode = Literal["max", "min"]
DIRECTIONS: dict[str, Mode] = {
    "val/accuracy": "max",
    "val/macro_f1": "max",
    "val/score": "max",
    "val/psnr_db": "max",
    "val/cpbd": "max",
    "val/opening_correlation": "max",
    "val/loss": "min",
    "val/ece": "min",
    "val/lmd_px": "min",
    "val/lmd": "min",
    "val/landmarks": "min",
    "val/pose_nll": "min",
    "val/sld": "min",
    "val/slv": "min",
    "val/smd": "min",
}
"""What a search may be after, and whether it wants more or less of it."""


class ParameterSpec(Spec):
    """Where the values of one key come from: exactly one of the three."""

    log_uniform: tuple[float, float] | None = None
    """Low and high end, both above 0; every factor is equally likely (learning rates)."""
    uniform: tuple[float, float] | None = None
    """Low and high end."""
    choice: tuple[Value, ...] | None = None
    """One of these; also the way to search whole numbers."""

    @model_validator(mode="after")
    def _is_one_of_three(self) -> ParameterSpec:
        for problem in self._problems():
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        given = [name for name in ("log_uniform", "uniform", "choice") if getattr(self, name)]
        if len(given) != 1:
            yield "give one of log_uniform: [low, high], uniform: [low, high], choice: [a, b]"
        ends = self.log_uniform or self.uniform
        if ends and not ends[0] < ends[1]:
            yield f"the low end {ends[0]} must lie below the high end {ends[1]}"
        if self.log_uniform and self.log_uniform[0] <= 0:
            yield f"log_uniform needs ends above 0, not {self.log_uniform[0]}; use uniform"
        if self.choice and len(set(map(repr, self.choice))) < len(self.choice):
            yield "a value is listed twice"

    def extremes(self) -> tuple[Value, ...]:
        """The values at which a key that does not exist, or a bound, would show."""
        return self.choice or self.log_uniform or self.uniform or ()

    def at(self, share: float) -> Value:
        """The value at a share in [0, 1] of the way through; choices have equal parts of it."""
        if self.choice:
            return self.choice[min(int(share * len(self.choice)), len(self.choice) - 1)]
        low, high = self.log_uniform or self.uniform or (0.0, 0.0)
        if self.log_uniform:
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            value = low + share * (high - low)
        return min(max(value, low), high)


class AshaSpec(Spec):
    """Asynchronous successive halving: poor trials stop at rungs grace, grace·reduction, … ."""

    grace_epochs: float = Field(2.0, gt=0.0)
    """The first rung; no trial stops before it."""
    reduction: int = Field(3, ge=2)
    """A trial goes on past a rung if it is among the best 1/reduction of those that reached it."""


class TuneSpec(Spec):
    """A search over training specs."""

    space: dict[str, ParameterSpec] = Field(min_length=1)
    """Dotted key of the training spec, such as optimizer.lr, and where its values come from."""
    trials: int = Field(20, ge=1, le=10_000)
    """How many; a finished search can be continued with more."""
    max_concurrent: int | None = Field(None, ge=1)
    """Most trials at once; by default as many as the cluster holds."""
    searcher: Literal["optuna", "random", "grid"] = "optuna"
    """optuna = TPE, which learns from the trials so far; grid goes through all combinations."""
    grid_points: int = Field(3, ge=2)
    """Values of each uniform or log_uniform key in a grid, ends included."""
    asha: AshaSpec | None = AshaSpec()
    """null lets every trial run to the end."""
    fixed: dict[str, Value | None] = Field(default_factory=dict)
    """Keys of the training spec that are the same in all trials and not as in its preset."""
    metric: str = "val/accuracy"
    """What is compared, on the validation split: `val/score`, which every recipe has, or another
    that it reports. Searched weights of a loss must not be judged by that loss."""
    epochs: float = Field(12.0, gt=0.0)
    """The budget of one trial; replaces `epochs` of the training spec."""
    max_tries: int = Field(3, ge=1)
    """Launches of a trial that crashes before it is marked failed and the search goes on."""
    seed: int = 0
    """The values of trial n are a function of it (with optuna: and of what was seen before)."""

    @model_validator(mode="after")
    def _budget_is_not_searched(self) -> TuneSpec:
        if "epochs" in self.space:
            raise ValueError("space: epochs is the budget of every trial; set it beside space")
        return self

    @model_validator(mode="after")
    def _metric_has_a_direction(self) -> TuneSpec:
        if self.metric not in DIRECTIONS:
            raise ValueError(f"metric: choose one of {', '.join(DIRECTIONS)}")
        return self

    @model_validator(mode="after")
    def _keys_are_fixed_or_searched(self) -> TuneSpec:
        for key in self.fixed:
            if key == "epochs" or key in self.space:
                raise ValueError(
                    f"fixed: {key} is {'the budget' if key == 'epochs' else 'searched'}"
                )
        return self

    @property
    def mode(self) -> Mode:
        """Whether larger or smaller values of the metric are better."""
        return DIRECTIONS[self.metric]

    def goodness(self, value: float) -> float:
        """A number that is larger for better values of the metric; NaN is the worst."""
        if math.isnan(value):
            return -math.inf
        return -value if self.mode == "min" else value

    def identity(self) -> dict[str, object]:
        """What may not change while a search is continued: all but its size and its pace."""
        told = self.model_dump(mode="json", exclude={"trials", "max_concurrent", "max_tries"})
        if not self.fixed:  # searches that were begun before there was such a key
            del told["fixed"]
        return told
