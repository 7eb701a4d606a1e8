"""Recipe `style-mapping`: pairs of frames of one person; the source must become the driving frame.

Two phases: the generator side (keypoints, head and expression, generator; seven losses), then the
discriminator on the pictures that the first phase just made. Score: -L1 of the reconstruction on
pictures in [0, 1]; beside it stands what copying the source would score (models.md A.7).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from visage.data.feed import Batch
from visage.data.manifest import Manifest
from visage.data.pair_augment import AugmentedPairs
from visage.errors import TrainingError
from visage.inference.parts import read_weights, save_part
from visage.media.image import encode_png
from visage.models.perceptual import PerceptualNet
from visage.models.style_mapping import StyleMapping, Transfer, losses
from visage.models.style_mapping.discriminator import PictureDiscriminator
from visage.models.style_mapping.random_warps import (
    RandomWarp,
    draw_warps,
    warp_pictures,
    warp_points,
)
from visage.seeds import seed_of
from visage.specs.style_mapping import StyleMappingLossSpec, StyleMappingTrainSpec
from visage.store.base import Store
from visage.training.optimizers import build_optimizer
from visage.training.recipe import Phase, Sample, Tensors

__all__ = ["KIND", "StyleMappingRecipe"]

KIND = "style-mapping"
"""Of the exported part."""


class StyleMappingRecipe:
    """Generator side and discriminator."""

    score_name = "-L1"

    def __init__(
        self, spec: StyleMappingTrainSpec, manifest: Manifest, device: torch.device
    ) -> None:
        self.spec = spec
        torch.manual_seed(seed_of(spec.seed, "weights"))
        self.model = StyleMapping(spec.model).to(device)
        judge = PictureDiscriminator(spec.discriminator).to(device)
        self._layout = torch.contiguous_format
        if spec.channels_last and device.type == "cuda":
            self._layout = torch.channels_last
            for parameter in (*self.model.parameters(), *judge.parameters()):
                if parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=self._layout)
        self.companions: Mapping[str, nn.Module] = {"discriminator": judge}
        made = _MadePictures()
        self.phases = (
            Phase(
                name="generator",
                module=_GeneratorSide(self.model, judge, _perceptual(spec, device), made, spec),
                optimizer=build_optimizer(self.model, spec.optimizer),
                schedule=spec.schedule,
            ),
            Phase(
                name="discriminator",
                module=_DiscriminatorSide(judge, made),
                optimizer=build_optimizer(judge, spec.discriminator_optimizer),
                schedule=spec.discriminator_schedule,
            ),
        )

    def decoder(self, *, training: bool) -> AugmentedPairs:
        """Stored segments to pairs; mirrored and recoloured for training."""
        return AugmentedPairs(
            size=self.spec.model.size, training=training, flip=self.spec.flip,
            jitter=self.spec.jitter,
        )  # fmt: skip

    def tensors(self, batch: Batch, device: torch.device) -> dict[str, Tensor]:
        """Pictures (N, 3, S, S) in [-1, 1], angles (N, 3), and each sample's random warp."""
        warps = [self._warp(batch.step, int(sample)) for sample in batch.ids]
        return {
            "source": self._picture(batch.arrays["source"], device),
            "driving": self._picture(batch.arrays["driving"], device),
            "driving_angles": torch.from_numpy(batch.arrays["driving_pose"][:, :3]).to(device),
            "affine": torch.cat([one.affine for one in warps]).to(device),
            "bend": torch.cat([one.bend for one in warps]).to(device),
            "place": torch.arange(len(batch)),
        }

    def validate(self, model: nn.Module, tensors: Tensors) -> dict[str, Tensor]:
        """L1 and PSNR of the reconstruction, and of the source as it is, on [0, 1]."""
        picture, _ = _moved(model, tensors)
        l1, psnr = _errors(picture, tensors["driving"])
        copy_l1, copy_psnr = _errors(tensors["source"], tensors["driving"])
        return {
            "score": -l1,
            "loss": l1,
            "psnr_db": psnr,
            "copy_l1": copy_l1,
            "copy_psnr_db": copy_psnr,
        }

    def samples(self, model: nn.Module, tensors: Tensors) -> list[Sample]:
        """One picture: a row a pair, source | driving | generated."""
        first = {name: one[: self.spec.sample_rows] for name, one in tensors.items()}
        picture, _ = _moved(model, first)
        columns = torch.stack([first["source"], first["driving"], picture.float()])
        levels = ((columns.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
        # (3, N, C, S, S) → (N, S, 3, S, C) → (N · S, 3 · S, C)
        grid = levels.permute(1, 3, 0, 4, 2).flatten(2, 3).flatten(0, 1).contiguous().numpy()
        return [Sample(name="source-driving-generated", suffix="png", body=encode_png(grid))]

    def export(
        self, store: Store, prefix: str, model: nn.Module, *, metadata: Mapping[str, object]
    ) -> str:
        """Publish the generator side with its spec."""
        return save_part(store, prefix, model, kind=KIND, spec=self.spec.model, metadata=metadata)

    def _warp(self, step: int, sample: int) -> RandomWarp:
        draws = torch.Generator().manual_seed(seed_of(self.spec.seed, "warp", step, sample))
        weights = self.spec.losses
        return draw_warps(
            1, affine_sigma=weights.affine_sigma, bend_sigma=weights.bend_sigma,
            bend_points=weights.bend_points, generator=draws,
        )  # fmt: skip

    def _picture(self, pixels: np.ndarray, device: torch.device) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(pixels)).to(device, non_blocking=True)
        unit = tensor.permute(0, 3, 1, 2).float() / 127.5 - 1
        return unit.contiguous(memory_format=self._layout)


class _MadePictures:
    """What the generator side made in this step, for the discriminator to judge.

    It holds one step's pictures by their place in the batch, so that the second phase need not make
    them again, however either phase cuts the batch up.
    """

    def __init__(self) -> None:
        self._by_place: dict[int, Tensor] = {}

    def keep(self, places: Tensor, pictures: Tensor) -> None:
        """Remember pictures, cut from their graph."""
        for place, picture in zip(places.tolist(), pictures.detach(), strict=True):
            self._by_place[place] = picture

    def taken(self, places: Tensor) -> Tensor:
        """The pictures of these places."""
        missing = [place for place in places.tolist() if place not in self._by_place]
        if missing:
            raise TrainingError(
                "style-mapping: the discriminator's phase comes after the generator's, with the "
                f"same batch; nothing was made for places {missing[:4]}"
            )
        return torch.stack([self._by_place[place] for place in places.tolist()])


class _GeneratorSide(nn.Module):
    """The model with its losses; the judge and the feature network are no part of it."""

    def __init__(
        self,
        model: StyleMapping,
        judge: PictureDiscriminator,
        perceptual: PerceptualNet | None,
        made: _MadePictures,
        spec: StyleMappingTrainSpec,
    ) -> None:
        super().__init__()
        self.model = model
        self._others = (judge, perceptual)  # a tuple hides them from parameters()
        self._made, self._weights = made, spec.losses

    def forward(self, tensors: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        driving = tensors["driving"]
        picture, transfer = _moved(self.model, tensors)
        self._made.keep(tensors["place"], picture)
        terms = {
            **self._picture_terms(picture, driving),
            **self._point_terms(transfer, tensors),
        }
        loss = torch.stack([getattr(self._weights, name) * one for name, one in terms.items()])
        count = len(driving)
        return loss.sum(), {name: one.detach() * count for name, one in terms.items()}

    def _picture_terms(self, picture: Tensor, driving: Tensor) -> dict[str, Tensor]:
        judge, perceptual = self._others
        weights, terms = self._weights, {}
        if weights.pixel > 0:
            terms["pixel"] = (picture.float() - driving).abs().mean()
        if perceptual is not None:
            terms["perceptual"] = losses.perceptual_pyramid(
                perceptual, picture, driving, scales=weights.perceptual_scales
            )
        if weights.gan > 0 or weights.feature_matching > 0:
            with _frozen(judge):
                made = judge(picture)
                with torch.no_grad():
                    real = judge(driving)
            terms["gan"] = losses.hinge_generator(made.logits)
            terms["feature_matching"] = losses.feature_matching(made.features, real.features)
        return terms

    def _point_terms(self, transfer: Transfer, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        weights = self._weights
        terms = {
            "keypoint_prior": losses.keypoint_prior(
                transfer.driving_points, least_distance=weights.least_distance,
                mean_depth=weights.mean_depth,
            ),
            "head_pose": losses.head_pose_error(
                transfer.driving.angles_deg, tensors["driving_angles"]
            ),
            "expression": losses.expression_size(transfer.driving.expression),
        }  # fmt: skip
        if weights.equivariance > 0:
            warp = RandomWarp(affine=tensors["affine"], bend=tensors["bend"])
            found = self.model.points(transfer.canonical, warp_pictures(warp, tensors["driving"]))
            terms["equivariance"] = losses.equivariance(
                transfer.driving_points, warp_points(warp, found[..., :2])
            )
        return terms


class _DiscriminatorSide(nn.Module):
    """The judge with its loss; its parameters are the judge's."""

    def __init__(self, judge: PictureDiscriminator, made: _MadePictures) -> None:
        super().__init__()
        self.judge = judge
        self._made = made

    def forward(self, tensors: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        made = self.judge(self._made.taken(tensors["place"])).logits
        real = self.judge(tensors["driving"]).logits
        loss = losses.hinge_discriminator(real, made)
        return loss, {"judge": loss.detach() * len(tensors["driving"])}


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Gradients pass through the network to its input and do not reach its weights."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def _moved(model: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Transfer]:
    transfer = cast(StyleMapping, model).transfer(tensors["source"], tensors["driving"])
    return transfer.picture, transfer


def _errors(made: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over samples of L1 and PSNR in dB, of pictures in [-1, 1] seen as [0, 1]."""
    apart = (made.double() - truth.double()).flatten(1) / 2
    squared = apart.square().mean(1).clamp_min(1e-10)
    return apart.abs().mean(1).sum(), (-10 * squared.log10()).sum()


def _perceptual(spec: StyleMappingTrainSpec, device: torch.device) -> PerceptualNet | None:
    chosen: StyleMappingLossSpec = spec.losses
    if chosen.perceptual == 0:
        return None
    path = chosen.perceptual_weights
    network = PerceptualNet(
        chosen.perceptual_network,
        weights=None if path is None else read_weights(Path(path)),
        width=chosen.perceptual_width,
    )
    return network.to(device).eval()
