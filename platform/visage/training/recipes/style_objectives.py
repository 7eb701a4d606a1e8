"""L_transfer as modules with exactly the parameters that each phase trains (models.md A.9).

Joint: one module, generator and f, minimises L_mg + L_sc + L_r. Adversarial: the generator
minimises L_mg + L_sc with f held, then f minimises L_r - L_sc: it looks for what tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from visage.models.motion import MotionGenerator
from visage.models.motion.head_pose import Gaussian
from visage.models.motion.losses import landmark_loss, laplacian_loss, pose_nll, velocity_loss
from visage.models.style_transfer import (
    CollapseGuard,
    StyleFeatures,
    critic_directions,
    gradient_penalty,
    mixed,
    registered,
    style_constraint,
)
from visage.specs.style_transfer import StyleTransferTrainSpec
from visage.training.optimizers import build_optimizer
from visage.training.recipe import Phase, Tensors

__all__ = ["Generated", "TransferTerms", "train_only_motion", "transfer_phases"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """What the generator said to a batch, and how it differs from what it should have said."""

    phi: Tensor
    """Registered landmarks φ_mg, (N, T, 68, 3)."""
    loss: Tensor
    """L_mg, a scalar."""
    logged: dict[str, Tensor]
    """Its parts, scalars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferTerms:
    """The losses of a batch, and what is frozen beside them."""

    spec: StyleTransferTrainSpec
    base: MotionGenerator
    """The generator as it was, in evaluation mode."""
    guard: CollapseGuard
    lead_in: int

    def generated(self, model: nn.Module, tensors: Tensors) -> Generated:
        """L_mg against the clip itself where `paired`, elsewhere against what the base says.

        The head's pose has a truth in paired clips alone; without one its loss is 0.
        """
        generator, spec = cast(MotionGenerator, model), self.spec
        paired = tensors["paired"]
        made, pose_loss = self._predicted(generator, tensors)
        with torch.autocast(made.device.type, enabled=False):
            made = made.float()
            true = self._wanted(tensors, made, paired)
            parts = {
                "landmarks": landmark_loss(made, true),
                "pose_nll": pose_loss,
                "velocity": velocity_loss(made, true),
                "laplacian": laplacian_loss(made, true),
            }
            loss = (
                parts["landmarks"]
                + spec.lambda_pose * parts["pose_nll"]
                + spec.lambda_velocity * parts["velocity"]
                + spec.lambda_laplacian * parts["laplacian"]
            )
        mean = tensors["mean"]
        phi = registered(mean[:, None] + made, mean)
        return Generated(phi=phi, loss=loss, logged=parts)

    def watched(self, features: StyleFeatures) -> tuple[bool, dict[str, float]]:
        """Whether f must be pulled up, and what to log; CollapseError if that ends the run."""
        if self.spec.collapse == "off":
            return False, {}
        watch = self.guard.check if self.spec.collapse == "stop" else self.guard.look
        health = watch(features)
        logged = {"feature_spread": health.spread, "feature_gradient": health.gradient}
        return self.guard.has_collapsed(health), logged

    def penalty(self, features: StyleFeatures, phi: Tensor, tensors: Tensors) -> Tensor:
        """L_r of a batch."""
        directions = tensors["direction"]
        if self.spec.scalar == "critic":
            over = self.spec.constraint
            directions = critic_directions(features, phi, tensors["style"], over=over)
        between = mixed(phi, tensors["style"], tensors["gamma"])
        return gradient_penalty(features, between, directions)

    def constraint(self, features: StyleFeatures, phi: Tensor, tensors: Tensors) -> Tensor:
        """L_sc of a batch."""
        return style_constraint(features, phi, tensors["style"], over=self.spec.constraint)

    def weight(self, *, is_weak: bool) -> float:
        """Of L_r."""
        return self.spec.lambda_penalty * (self.spec.collapse_boost if is_weak else 1.0)

    def _predicted(self, generator: MotionGenerator, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Displacements (N, T, 68, 3) and the mean NLL of the poses that have a truth."""
        paired = tensors["paired"]
        if self.spec.anchor == "frozen":
            features = tensors["features"][:, 2 * self.lead_in :]
            return generator.displacements(features), features.new_zeros(())
        sway = generator.pose.sway(tensors["pose"], tensors["rest"])
        prediction = generator(tensors["features"], sway, lead_in=self.lead_in)
        with torch.autocast(sway.device.type, enabled=False):
            if not bool(paired.any()):
                # the graph stays whole, so that every rank exchanges the same gradients
                unused = prediction.pose.mean.sum() + prediction.pose.neg_log_sigma.sum()
                return prediction.displacement, 0 * unused
            chosen = paired.to(sway.device)
            pose = Gaussian(*(one[chosen] for one in prediction.pose))
            share = chosen.float().mean()
            return prediction.displacement, share * pose_nll(pose, sway[chosen])

    @torch.no_grad()
    def _wanted(self, tensors: Tensors, made: Tensor, paired: Tensor) -> Tensor:
        true = tensors["displacement"][:, : made.shape[1]].float()
        if bool(paired.all()):
            return true
        said = self.base.displacements(tensors["features"][:, 2 * self.lead_in :]).float()
        return torch.where(paired.to(true.device)[:, None, None, None], true, said)


def transfer_phases(
    model: nn.Module, features: StyleFeatures, terms: TransferTerms
) -> tuple[Phase, ...]:
    """The phases of the spec's mode."""
    spec = terms.spec
    if spec.mode == "joint":
        module: nn.Module = _Joint(model, features, terms)
        optimizer = build_optimizer(module, spec.optimizer)
        return (Phase(name="transfer", module=module, optimizer=optimizer, schedule=spec.schedule),)
    return (
        Phase(
            name="generator",
            module=_Generator(model, features, terms),
            optimizer=build_optimizer(model, spec.optimizer),
            schedule=spec.schedule,
        ),
        Phase(
            name="features",
            module=_Features(model, features, terms),
            optimizer=build_optimizer(features, spec.features_optimizer),
            schedule=spec.schedule,
        ),
    )


def train_only_motion(model: nn.Module, *, pose: bool) -> None:
    """Let LSTM and head learn, and the WaveNet too if there are poses to learn from.

    The layers that read the sound stay: the style of a voice is not to be unlearnt.
    """
    generator = cast(MotionGenerator, model)
    generator.requires_grad_(False)
    generator.landmarks.lstm.requires_grad_(True)
    generator.landmarks.head.requires_grad_(True)
    generator.pose.wavenet.requires_grad_(pose)


class _Joint(nn.Module):
    def __init__(self, model: nn.Module, features: StyleFeatures, terms: TransferTerms) -> None:
        super().__init__()
        self.model, self.features = model, features
        self._terms = terms

    def forward(self, tensors: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        _to_training(self.model)
        terms, features = self._terms, self.features
        is_weak, health = terms.watched(features)
        made = terms.generated(self.model, tensors)
        constraint = self._constraint(made.phi, tensors, hold=is_weak)
        penalty = terms.penalty(features, made.phi, tensors)
        loss = made.loss + terms.spec.lambda_style * constraint
        loss = loss + terms.weight(is_weak=is_weak) * penalty
        return loss, _sums({**made.logged, "l_sc": constraint, "l_r": penalty}, health, tensors)

    def _constraint(self, phi: Tensor, tensors: Tensors, *, hold: bool) -> Tensor:
        """L_sc; it moves the generator alone if f is held."""
        if not hold:
            return self._terms.constraint(self.features, phi, tensors)
        # nothing of it reaches f, but all weights stay in the graph: every rank exchanges the same
        unused = 0 * self._terms.constraint(self.features, phi.detach(), tensors)
        with _held(self.features) as features:
            return self._terms.constraint(features, phi, tensors) + unused


class _Generator(nn.Module):
    def __init__(self, model: nn.Module, features: StyleFeatures, terms: TransferTerms) -> None:
        super().__init__()
        self.model = model
        self._held = (features,)  # a tuple hides it from parameters()
        self._terms = terms

    def forward(self, tensors: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        _to_training(self.model)
        made = self._terms.generated(self.model, tensors)
        with _held(self._held[0]) as features:
            constraint = self._terms.constraint(features, made.phi, tensors)
        loss = made.loss + self._terms.spec.lambda_style * constraint
        return loss, _sums({**made.logged, "l_sc": constraint}, {}, tensors)


class _Features(nn.Module):
    def __init__(self, model: nn.Module, features: StyleFeatures, terms: TransferTerms) -> None:
        super().__init__()
        self.features = features
        self._held = (model,)
        self._terms = terms

    def forward(self, tensors: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        _to_training(self._held[0])
        terms, features = self._terms, self.features
        is_weak, health = terms.watched(features)
        with torch.no_grad():
            phi = terms.generated(self._held[0], tensors).phi
        constraint = terms.constraint(features, phi, tensors)
        penalty = terms.penalty(features, phi, tensors)
        loss = terms.weight(is_weak=is_weak) * penalty - terms.spec.lambda_style * constraint
        return loss, _sums({"l_r": penalty}, health, tensors)


def _to_training(model: nn.Module) -> None:
    """Dropout on; the statistics of normalisation are those of the base and stay so."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()


def _sums(
    means: dict[str, Tensor], figures: dict[str, float], tensors: Tensors
) -> dict[str, Tensor]:
    count = len(tensors["mean"])
    logged = {name: value.detach() * count for name, value in means.items()}
    whole = {name: torch.tensor(value * count) for name, value in figures.items()}
    return {**logged, **whole}


@contextmanager
def _held(features: StyleFeatures) -> Iterator[StyleFeatures]:
    """Gradients pass through f to its input and do not reach its weights."""
    features.requires_grad_(False)
    try:
        yield features
    finally:
        features.requires_grad_(True)
