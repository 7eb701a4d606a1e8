"""The two sides of recipe `generator`: each a module that knows its loss and its own weights.

Generator side (models.md A.8): L_G = λ_gan · LSGAN + λ_1 · L1 + λ_m · L1 of the mouth
+ λ_p · perceptual + λ_g · Gram + λ_fm · feature matching + λ_sp · L_sp. The judge and the feature
network stand beside it, hidden from its parameters: gradients go through them and stop there.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visage.faces.regions import MOUTH
from visage.models.generator import Judge
from visage.models.generator import losses as terms_of
from visage.models.generator.style_match import Patterns, StyleMatch, match_style
from visage.models.perceptual import PerceptualNet, feature_distance
from visage.specs.generator import GeneratorLossSpec
from visage.training.adversarial import MadePictures, frozen

__all__ = ["GeneratorSide", "JudgeSide", "matched_style", "surroundings_of_mouth"]

Terms = dict[str, Tensor]
_BAND_OF_SIDE = 22 / 512


class GeneratorSide(nn.Module):
    """The generator with its losses; its parameters are the generator's."""

    def __init__(
        self,
        model: nn.Module,
        judge: Judge,
        network: PerceptualNet,
        made: MadePictures,
        spec: GeneratorLossSpec,
    ) -> None:
        super().__init__()
        self.model = model
        self._beside = (judge, network)  # a tuple hides them from parameters()
        self._made, self._spec = made, spec

    def forward(self, tensors: dict[str, Tensor]) -> tuple[Tensor, Terms]:
        """Weighted sum of the terms, and each term summed over the samples."""
        target, spec = tensors["target"], self._spec
        picture = self.model(tensors["conditions"])
        self._made.keep(tensors["place"], picture)
        terms: Terms = {"l1": (picture.float() - target).abs().mean()}
        if spec.mouth_l1 > 0:
            around = surroundings_of_mouth(tensors["regions"])
            terms["mouth_l1"] = terms_of.weighted_l1(picture, target, around).mean()
        terms |= self._feature_terms(picture, target)
        terms |= self._judged_terms(tensors["conditions"], picture, target)
        weighted = {name: getattr(spec, name) * value for name, value in terms.items()}
        if spec.style.weight > 0:
            terms["style"], weighted["style"] = self._style_term(picture, tensors)
        count = len(target)
        sums = {name: value.detach() * count for name, value in terms.items()}
        return torch.stack(list(weighted.values())).sum(), sums

    def _feature_terms(self, picture: Tensor, target: Tensor) -> Terms:
        network, spec = self._beside[1], self._spec
        if spec.perceptual == spec.gram == 0:
            return {}
        ours = network(_reduced(picture, spec.perceptual_size))
        with torch.no_grad():
            theirs = network(_reduced(target, spec.perceptual_size))
        return {
            "perceptual": feature_distance(ours, theirs),
            "gram": spec.gram_scale * terms_of.gram_distance(ours, theirs),
        }

    def _judged_terms(self, conditions: Tensor, picture: Tensor, target: Tensor) -> Terms:
        judge, spec = self._beside[0], self._spec
        if spec.gan == spec.feature_matching == 0:
            return {}
        with frozen(judge):
            made = judge(conditions, picture)
            with torch.no_grad():
                real = judge(conditions, target)
        return {
            "gan": terms_of.lsgan_generator(made),
            "feature_matching": terms_of.feature_matching(made, real),
        }

    def _style_term(self, picture: Tensor, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        spec = self._spec.style
        match = matched_style(tensors, self._beside[1], self._spec)
        each = terms_of.style_photometric(picture, match.picture, match.weights)
        each = each * (1 - tensors["is_foreign"].float())
        warmth = ((tensors["step"] + 1) / max(1, spec.warmup_steps)).clamp(max=1.0)
        return each.mean(), spec.weight * (warmth * each).mean()


class JudgeSide(nn.Module):
    """The judge with its loss; its parameters are the judge's."""

    def __init__(self, judge: Judge, made: MadePictures, spec: GeneratorLossSpec) -> None:
        super().__init__()
        self.judge = judge
        self._made, self._spec = made, spec

    def forward(self, tensors: dict[str, Tensor]) -> tuple[Tensor, Terms]:
        """LSGAN's loss on the true frames and on those that the generator's phase just made."""
        conditions = tensors["conditions"]
        made = self.judge(conditions, self._made.take(tensors["place"]))
        real = self.judge(conditions, tensors["target"])
        loss = terms_of.lsgan_judge(real, made, real_weight=self._spec.real_weight)
        return loss, {"judge": loss.detach() * len(conditions)}


def matched_style(
    tensors: Mapping[str, Tensor], network: PerceptualNet, spec: GeneratorLossSpec
) -> StyleMatch:
    """I_m and W of a batch; the target and its regions where nothing is matched."""
    return match_style(
        tensors["target"],
        Patterns(
            pictures=tensors["patterns"],
            points=tensors["pattern_points"],
            regions=tensors["pattern_regions"],
        ),
        points=tensors["points"],
        regions=tensors["regions"],
        network=network,
        spec=spec.style,
    )


def surroundings_of_mouth(regions: Tensor) -> Tensor:
    """The mouth's labels widened to a band as broad as the published 22 of 512 pixels.

    (N, S, S) whole numbers to fp32 (N, 1, S, S) of 0 and 1.
    """
    mouth = (regions == MOUTH).float()[:, None]
    band = max(1, round(_BAND_OF_SIDE * regions.shape[-1]))
    return F.max_pool2d(mouth, 2 * band + 1, stride=1, padding=band)


def _reduced(pictures: Tensor, size: int | None) -> Tensor:
    if size is None or pictures.shape[-1] <= size:
        return pictures
    return F.interpolate(pictures, (size, size), mode="area")
