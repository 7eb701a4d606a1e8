"""One optimizer step: the same however it is cut up, and none at all if a number is not finite."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn
from toy_recipe import ToyRecipe, toy_batch

from visage.data.feed import Batch
from visage.errors import NonFiniteLossError, TrainingError
from visage.specs.train import OptimizerSpec
from visage.training.ema import Ema
from visage.training.host import SingleHost
from visage.training.optimizers import build_optimizer
from visage.training.stepper import Stepper
from visage.training.tensors import (
    _DTYPES,
    PIECE_BYTES,
    Snapshot,
    load_module,
    load_optimizer,
    snapshot_bytes,
    snapshot_module,
    snapshot_optimizer,
)

OPTIMIZERS = [
    OptimizerSpec(name="sgd", lr=0.1),
    OptimizerSpec(name="sgd", lr=0.1, momentum=0.0, nesterov=False),
    OptimizerSpec(name="adam", lr=0.01),
    OptimizerSpec(name="adamw", lr=0.01, weight_decay=0.1),
]


def _weights(recipe: ToyRecipe) -> list[Tensor]:
    return [one.detach().clone() for one in recipe.model.parameters()]


def _stepper(recipe: ToyRecipe, host: SingleHost | None = None) -> Stepper:
    return Stepper(recipe, host or SingleHost(), steps=100, epochs=1.0)


def _trained(steps: int = 5, **changes: object) -> ToyRecipe:
    recipe = ToyRecipe(**changes)  # type: ignore[arg-type]
    stepper = _stepper(recipe)
    for step in range(steps):
        stepper.step(toy_batch(step), step, {})
    return recipe


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 5, 8, 128])
@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_the_micro_batch_does_not_change_the_weights(
    micro_batch: int, clip_norm: float | None
) -> None:
    whole = _trained(micro_batch=8, clip_norm=clip_norm)
    cut = _trained(micro_batch=micro_batch, clip_norm=clip_norm)
    for one, two in zip(_weights(whole), _weights(cut), strict=True):
        assert torch.allclose(one, two, rtol=0, atol=1e-6)


@pytest.mark.parametrize("micro_batch", [3, 8])
def test_loss_and_logged_values_are_means_over_the_samples(micro_batch: int) -> None:
    recipe = ToyRecipe(micro_batch=micro_batch)
    batch = toy_batch(0)
    with torch.no_grad():
        error = recipe.model(torch.from_numpy(batch.arrays["x"]))[:, 0].numpy() - batch.arrays["y"]
    result = _stepper(recipe).step(batch, 0, {"save": True, "stop": False})
    assert result.loss == pytest.approx(np.mean(error**2), rel=1e-5)
    assert result.means == {"absolute": pytest.approx(np.mean(np.abs(error)), rel=1e-5)}
    assert result.wishes == {"save": True, "stop": False}
    assert result.lr == 0.1


def test_a_step_follows_the_gradient() -> None:
    recipe = ToyRecipe(optimizer=OPTIMIZERS[1].model_copy(update={"weight_decay": 0.0}))
    batch = toy_batch(0)
    before = _weights(recipe)
    loss, _ = recipe.phases[0].module(recipe.tensors(batch, torch.device("cpu")))
    gradients = torch.autograd.grad(loss, list(recipe.model.parameters()))
    _stepper(recipe).step(batch, 0, {})
    for old, gradient, new in zip(before, gradients, _weights(recipe), strict=True):
        assert torch.allclose(new, old - 0.1 * gradient, atol=1e-7)


def test_the_gradient_is_clipped_to_its_norm() -> None:
    recipe = ToyRecipe(
        optimizer=OPTIMIZERS[1].model_copy(update={"weight_decay": 0.0}), clip_norm=0.01
    )
    before = _weights(recipe)
    _stepper(recipe).step(toy_batch(0), 0, {})
    moved = [new - old for new, old in zip(_weights(recipe), before, strict=True)]
    norm = math.sqrt(sum(float((one**2).sum()) for one in moved))
    assert norm == pytest.approx(0.1 * 0.01, rel=1e-3)


def _poisoned(value: float) -> Batch:
    batch = toy_batch(1)
    batch.arrays["y"][3] = value
    return batch


@pytest.mark.parametrize("micro_batch", [2, 8])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_optimizer_moves_and_names_the_samples(
    value: float, micro_batch: int
) -> None:
    recipe = ToyRecipe(micro_batch=micro_batch)
    stepper = _stepper(recipe)
    stepper.step(toy_batch(0), 0, {})
    weights, momenta = _weights(recipe), snapshot_bytes(snapshot_optimizer(recipe.optimizer))
    with pytest.raises(NonFiniteLossError, match=r"step 1, main.*no rank took.*samples \[0, 1, 2"):
        stepper.step(_poisoned(value), 1, {})
    assert all(torch.equal(a, b) for a, b in zip(weights, _weights(recipe), strict=True))
    assert snapshot_bytes(snapshot_optimizer(recipe.optimizer)) == momenta


def test_a_loss_that_is_not_finite_on_another_rank_stops_this_one_too() -> None:
    class Second(SingleHost):
        def add(self, values: Tensor) -> Tensor:
            return values + torch.full_like(values, math.nan)

    recipe = ToyRecipe()
    weights = _weights(recipe)
    with pytest.raises(NonFiniteLossError):
        _stepper(recipe, Second()).step(toy_batch(0), 0, {})
    assert all(torch.equal(a, b) for a, b in zip(weights, _weights(recipe), strict=True))


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_stops_as_well_though_the_loss_is_finite(
    value: float, clip_norm: float | None
) -> None:
    recipe = ToyRecipe(clip_norm=clip_norm)
    last = recipe.model[2].weight  # type: ignore[index]
    last.register_hook(lambda gradient: gradient * value)
    weights = _weights(recipe)
    with pytest.raises(NonFiniteLossError, match="gradient"):
        _stepper(recipe).step(toy_batch(0), 0, {})
    assert all(torch.equal(a, b) for a, b in zip(weights, _weights(recipe), strict=True))


def test_dropout_is_a_function_of_seed_step_and_rank() -> None:
    def draw(step: int, rank: int, seed: int = 0) -> float:
        host = SingleHost()
        host.rank = rank
        recipe = ToyRecipe(seed=seed)
        torch.manual_seed(99)
        _stepper(recipe, host).step(toy_batch(0), step, {})
        return float(torch.rand(()))

    assert draw(3, 0) == draw(3, 0)
    assert len({draw(3, 0), draw(4, 0), draw(3, 1), draw(3, 0, seed=1)}) == 4


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda spec: f"{spec.name}-{spec.momentum}")
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_a_saved_and_loaded_optimizer_takes_the_same_next_step_bit_for_bit(
    optimizer: OptimizerSpec, steps: int
) -> None:
    went_on = _trained(steps, optimizer=optimizer)
    weights = snapshot_bytes(snapshot_module(went_on.model))
    momenta = snapshot_bytes(snapshot_optimizer(went_on.optimizer))
    resumed = ToyRecipe(optimizer=optimizer, seed=5)
    load_module(resumed.model, weights, origin="x")
    load_optimizer(resumed.optimizer, momenta, origin="x")
    for recipe in (went_on, resumed):
        for step in (steps, steps + 1):
            _stepper(recipe).step(toy_batch(step), step, {})
    for one, two in zip(_weights(went_on), _weights(resumed), strict=True):
        assert torch.equal(one, two)
    saved = [snapshot_bytes(snapshot_optimizer(one.optimizer)) for one in (went_on, resumed)]
    assert saved[0] == saved[1]


def test_a_snapshot_does_not_follow_the_training() -> None:
    recipe = _trained(1)
    taken = snapshot_module(recipe.model)
    before = snapshot_bytes(taken)
    _stepper(recipe).step(toy_batch(9), 9, {})
    assert snapshot_bytes(taken) == before
    assert snapshot_bytes(snapshot_module(recipe.model)) != before


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_snapshot_in_the_memory_of_an_earlier_one_is_the_state_of_now(name: str) -> None:
    recipe = _trained(optimizer=OptimizerSpec(name=name, lr=0.01))
    earlier = [snapshot_module(recipe.model), snapshot_optimizer(recipe.optimizer)]
    places = [one.data_ptr() for taken in earlier for one in taken.tensors.values()]
    _stepper(recipe).step(toy_batch(7), 7, {})
    now = [snapshot_module(recipe.model), snapshot_optimizer(recipe.optimizer)]
    again = [
        snapshot_module(recipe.model, earlier[0]),
        snapshot_optimizer(recipe.optimizer, earlier[1]),
    ]
    assert [snapshot_bytes(one) for one in again] == [snapshot_bytes(one) for one in now]
    assert [one.data_ptr() for taken in again for one in taken.tensors.values()] == places


def test_memory_of_another_shape_or_type_is_not_used() -> None:
    module = nn.Linear(3, 2)
    for other in (nn.Linear(4, 2), nn.Linear(3, 2).half(), nn.ReLU()):
        taken = snapshot_module(module, snapshot_module(other))
        assert snapshot_bytes(taken) == snapshot_bytes(snapshot_module(module))


def test_saved_bytes_are_those_of_safetensors_own_writer() -> None:
    kinds = list(_DTYPES)
    tensors = {f"{index}.ä{kind}": torch.arange(index % 7, dtype=torch.float64).to(kind)
               for index, kind in enumerate(kinds * 3)}  # fmt: skip
    tensors["scalar"] = torch.tensor(2.5)
    tensors["turned"] = torch.arange(6.0).reshape(2, 3).T
    tensors["large"] = torch.arange(PIECE_BYTES // 4 + 3, dtype=torch.float32)
    scalars = {"0.step": 3.0, "1.step": 0.1}
    expected = save(
        {name: one.contiguous() for name, one in tensors.items()},
        metadata={"scalars": json.dumps(scalars)},
    )
    assert snapshot_bytes(Snapshot(tensors=tensors, scalars=scalars)) == expected


def test_weights_of_another_shape_are_refused_by_their_origin() -> None:
    body = snapshot_bytes(Snapshot(tensors={"0.weight": torch.zeros(3, 3)}, scalars={}))
    with pytest.raises(TrainingError, match="checkpoint 7: weights do not fit"):
        load_module(ToyRecipe().model, body, origin="checkpoint 7")


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_weight_decay_spares_biases_and_normalisation(name: str) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    spec = OptimizerSpec.parse({"name": name, "weight_decay": 0.5, "lr": 0.1, "momentum": 0.0})
    before = {key: one.detach().clone() for key, one in module.named_parameters()}
    optimizer = build_optimizer(module, spec)
    for one in module.parameters():
        one.grad = torch.zeros_like(one)
    optimizer.step()
    shrunk = {key for key, one in module.named_parameters() if not torch.equal(one, before[key])}
    assert shrunk == {"0.weight", "3.weight"}


def test_frozen_parameters_are_not_optimised() -> None:
    module = nn.Linear(3, 2).requires_grad_(False)
    module.bias.requires_grad_(True)
    groups = build_optimizer(module, OptimizerSpec()).param_groups
    assert [len(group["params"]) for group in groups] == [0, 1]


@pytest.mark.parametrize("limit", [0.3, 0.999])
def test_the_average_follows_its_formula_and_begins_quickly(limit: float) -> None:
    model = nn.Linear(2, 2)
    ema = Ema(model, limit)
    expected = copy.deepcopy(model).weight.detach()
    for step in range(30):
        with torch.no_grad():
            model.weight.add_(step)
        ema.update(model, step)
        decay = min(limit, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
        assert torch.allclose(ema.module.weight, expected, rtol=1e-5)  # type: ignore[arg-type]


def test_the_average_copies_counters_and_is_never_trained() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ema = Ema(model, 0.9)
    model(torch.randn(4, 2, generator=torch.Generator().manual_seed(0)))
    ema.update(model, 0)
    assert int(ema.module.state_dict()["1.num_batches_tracked"]) == 1
    assert not ema.module.training
    assert not any(one.requires_grad for one in ema.module.parameters())
    before = {key: one.clone() for key, one in model.state_dict().items()}
    assert all(torch.equal(one, before[key]) for key, one in model.state_dict().items())
