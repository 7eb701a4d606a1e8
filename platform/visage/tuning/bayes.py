"""Optuna's TPE as a function of what was seen: a fresh study for each proposal, never a saved one.

Choices are handed over by their index, so that any value can be one.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from visage.errors import SpecError
from visage.seeds import seed_of
from visage.specs.tune import ParameterSpec, TuneSpec, Value

if TYPE_CHECKING:
    import optuna

__all__ = ["Tried", "tpe_point"]

STARTUP_TRIALS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One trial as the searcher sees it."""

    values: Mapping[str, Value]
    state: Literal["running", "finished", "stopped", "failed"]
    goodness: float | None
    """The last known; larger is better."""


def tpe_point(spec: TuneSpec, number: int, tried: Iterable[Tried]) -> dict[str, Value]:
    """Values of trial `number` after the trials before it; the same input gives the same point.

    Raises:
        SpecError: Optuna is not installed.
    """
    optuna = _optuna()
    logging.getLogger("optuna").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls the two options it recommends experimental
        sampler = optuna.samplers.TPESampler(
            seed=seed_of(spec.seed, "tpe", number) % 2**32,
            n_startup_trials=STARTUP_TRIALS,
            multivariate=True,
            constant_liar=True,
            warn_independent_sampling=False,
        )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    space = {key: _distribution(optuna, one) for key, one in spec.space.items()}
    for one in tried:
        study.add_trial(_frozen(optuna, spec, space, one))
    asked = study.ask(space)
    return {key: _value(one, asked.params[key]) for key, one in spec.space.items()}


def _optuna() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import optuna
    except ImportError:
        raise SpecError(
            "searcher optuna: Optuna is not installed; pip install 'visage[tune]', or set "
            "searcher=random"
        ) from None
    return optuna


def _distribution(optuna: Any, one: ParameterSpec) -> Any:
    if one.choice:
        return optuna.distributions.CategoricalDistribution(range(len(one.choice)))
    low, high = one.log_uniform or one.uniform or (0.0, 0.0)
    return optuna.distributions.FloatDistribution(low, high, log=one.log_uniform is not None)


def _frozen(
    optuna: Any, spec: TuneSpec, space: Mapping[str, Any], tried: Tried
) -> optuna.trial.FrozenTrial:
    states = optuna.trial.TrialState
    params = {
        key: [*map(repr, one.choice)].index(repr(tried.values[key]))
        if one.choice
        else tried.values[key]
        for key, one in spec.space.items()
    }
    # A stopped trial counts with the value it had: it was poor, and TPE only ranks.
    ended = {"finished": states.COMPLETE, "stopped": states.COMPLETE, "failed": states.FAIL}
    state = ended.get(tried.state, states.RUNNING)
    if state is states.COMPLETE and (tried.goodness is None or not math.isfinite(tried.goodness)):
        state = states.FAIL
    return optuna.trial.create_trial(
        state=state,
        value=tried.goodness if state is states.COMPLETE else None,
        params=params,
        distributions=dict(space),
    )


def _value(one: ParameterSpec, told: Any) -> Value:
    return one.choice[told] if one.choice else float(told)
