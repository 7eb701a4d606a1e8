"""Recipe `generator`: a frame from its facial map, another frame of the person, and style patterns.

Two phases: the generator (six losses, models.md A.8), then the judge on the frames that the first
phase just made. Score: -L1 of the mouth on pictures in [0, 1]; beside it stands what copying the
source frame would score. The source is another frame of the same clip, so that it shows who, and
only the map shows what the face does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.amp.autocast_mode import autocast
from torch.nn import functional as F

from visage.data.feed import Batch
from visage.data.manifest import Manifest
from visage.data.styled_frames import StyledFrames
from visage.faces.regions import MOUTH
from visage.inference.generator import GENERATOR
from visage.inference.parts import load_part, read_weights, save_part
from visage.inference.style_patterns import StylePatterns
from visage.media.image import encode_png
from visage.metrics.cpbd import BLOCK, cpbd
from visage.models.facial_map import draw_facial_map
from visage.models.generator import Generator, Judge
from visage.models.generator.face_warp import FacePlaces
from visage.models.perceptual import PerceptualNet
from visage.models.style_mapping import StyleMapping
from visage.seeds import seed_of
from visage.specs.generator import GeneratorTrainSpec
from visage.specs.style_mapping import StyleMappingSpec
from visage.store.base import Store
from visage.training.adversarial import MadePictures
from visage.training.optimizers import build_optimizer
from visage.training.recipe import Phase, Sample, Tensors
from visage.training.recipes.generator_phases import GeneratorSide, JudgeSide, matched_style
from visage.training.recipes.mouth_check import MouthCheck, is_chosen

__all__ = ["GeneratorRecipe"]

STYLE_MAPPING = "style-mapping"
"""The kind of the part that makes style patterns."""


class GeneratorRecipe:
    """Generator and judge."""

    score_name = "-L1 of the mouth"

    def __init__(self, spec: GeneratorTrainSpec, manifest: Manifest, device: torch.device) -> None:
        self.spec = spec
        self._val_rows = manifest.rows("val")
        self._mouths = MouthCheck()
        self._network = _perceptual(spec, device)
        self._patterns = _style_patterns(spec, device)
        torch.manual_seed(seed_of(spec.seed, "weights"))
        self._generator = Generator(spec.model).to(device)
        judge = Judge(spec.judge, condition_channels=spec.model.input_channels).to(device)
        self.model: nn.Module = self._generator
        self.companions: Mapping[str, nn.Module] = {"judge": judge}
        self._layout = torch.contiguous_format
        if spec.channels_last and device.type == "cuda":
            self._layout = torch.channels_last
            for network in (self.model, judge):
                for parameter in network.parameters():
                    if parameter.ndim == 4:
                        parameter.data = parameter.data.contiguous(memory_format=self._layout)
        made = MadePictures()
        self.phases = (
            Phase(
                name="generator",
                module=GeneratorSide(self.model, judge, self._network, made, spec.losses),
                optimizer=build_optimizer(self.model, spec.optimizer),
                schedule=spec.schedule,
            ),
            Phase(
                name="judge",
                module=JudgeSide(judge, made, spec.losses),
                optimizer=build_optimizer(judge, spec.judge_optimizer),
                schedule=spec.judge_schedule,
            ),
        )

    def decoder(self, *, training: bool) -> StyledFrames:
        """Stored segments to frames, sources and references."""
        return StyledFrames(
            size=self.spec.model.size, training=training, foreign=self.spec.foreign_patterns
        )

    @torch.no_grad()
    def tensors(self, batch: Batch, device: torch.device) -> dict[str, Tensor]:
        """Stacked conditions (N, C, S, S), target (N, 3, S, S), and what L_sp compares with."""
        arrays = {name: torch.from_numpy(np.ascontiguousarray(one)).to(device, non_blocking=True)
                  for name, one in batch.arrays.items()}  # fmt: skip
        source, references = _pictures(arrays["source"]), _pictures(arrays["references"])
        own = (
            self._patterns_of(references, arrays["style_key"]),
            arrays["reference_points"][:, 1:],
            arrays["reference_regions"],
        )
        is_foreign = arrays["is_foreign"].bool()
        patterns, points, regions = (_exchanged(one, is_foreign) for one in own)
        drawing = self.spec.model.map
        facial_map = draw_facial_map(
            arrays["points"], size=self.spec.model.size, antialias=drawing.antialias,
            thickness_px=drawing.thickness_px, mouth_fill=drawing.mouth_fill,
            torso=arrays["torso"] if drawing.torso else None,
        )  # fmt: skip
        places = FacePlaces(source=arrays["source_points"], frame=arrays["points"])
        stacked = self._generator.stacked(
            facial_map=facial_map,
            source=source,
            patterns=patterns,
            warp=self._generator.warp_to(places),
        )
        return {
            "conditions": stacked.contiguous(memory_format=self._layout),
            "target": _pictures(arrays["target"]).contiguous(memory_format=self._layout),
            "source": source,
            "map": facial_map,
            "points": arrays["points"],
            "regions": arrays["regions"],
            "patterns": patterns,
            "pattern_points": points,
            "pattern_regions": regions,
            "is_foreign": is_foreign,
            "step": torch.full((len(batch),), float(batch.step), device=device),
            "place": torch.arange(len(batch)),
            "row": torch.from_numpy(np.asarray(batch.ids)),
            "source_points": arrays["source_points"],
        }

    def validate(self, model: nn.Module, tensors: Tensors) -> dict[str, Tensor]:
        """L1 of mouth and frame, PSNR, sharpness, LMD if asked; the same of the source as it is."""
        made, target = model(tensors["conditions"]).float(), tensors["target"]
        l1, mouth_l1, psnr = _errors(made, target, tensors["regions"])
        copy_l1, copy_mouth_l1, copy_psnr = _errors(tensors["source"], target, tensors["regions"])
        sums = {
            "score": -mouth_l1,
            "loss": l1,
            "psnr_db": psnr,
            "copy_l1": copy_l1,
            "copy_mouth_l1": copy_mouth_l1,
            "copy_psnr_db": copy_psnr,
        }
        if self.spec.report_cpbd and self.spec.model.size >= BLOCK:
            sums |= {"cpbd": _sharpness(made), "true_cpbd": _sharpness(target)}
        if self.spec.lmd_frames:
            sums |= self._mouth_sums(made, tensors)
        return sums

    def _mouth_sums(self, made: Tensor, tensors: Tensors) -> dict[str, Tensor]:
        """LMD of the frames that are looked at, weighted so that the split's mean is theirs."""
        frames = min(self.spec.lmd_frames, self._val_rows)
        errors = [
            self._mouths(
                _pixels(_levels(made[at])),
                _pixels(_levels(tensors["target"][at])),
                points=tensors["points"][at].cpu().numpy(),
                source=tensors["source_points"][at].cpu().numpy(),
                key=row,
            )
            for at, row in enumerate(tensors["row"].tolist())
            if is_chosen(row, rows=self._val_rows, frames=frames)
        ]
        weight = self._val_rows / frames
        found = {
            "lmd_px": sum(one.lmd_px for one in errors),
            "copy_lmd_px": sum(one.copy_lmd_px for one in errors),
            "lmd_unseen": sum(not one.was_seen for one in errors),
        }
        return {name: torch.tensor(value * weight, dtype=torch.float64)
                for name, value in found.items()}  # fmt: skip

    def samples(self, model: nn.Module, tensors: Tensors) -> list[Sample]:
        """One picture: a row a sample, source | map | target | generated | matched pattern."""
        made = model(tensors["conditions"]).float()
        matched = matched_style(tensors, self._network, self.spec.losses).picture
        drawn = tensors["map"].expand(-1, 3, -1, -1) * 2 - 1
        columns = torch.stack([tensors["source"], drawn, tensors["target"], made, matched])
        # (5, N, C, S, S) → (N, S, 5, S, C) → (N · S, 5 · S, C)
        grid = _levels(columns).permute(1, 3, 0, 4, 2).flatten(2, 3).flatten(0, 1)
        body = encode_png(grid.contiguous().numpy())
        return [Sample(name="source-map-target-generated-matched", suffix="png", body=body)]

    def export(
        self, store: Store, prefix: str, model: nn.Module, *, metadata: Mapping[str, object]
    ) -> str:
        """Publish the generator with its spec and where its patterns came from."""
        told = {
            **metadata,
            "patterns": self._patterns_from,
            "style_mapping": self.spec.style_mapping,
        }
        return save_part(store, prefix, model, kind=GENERATOR, spec=self.spec.model, metadata=told)

    @property
    def patterns_computed(self) -> int:
        """How many style patterns the style mapping had to compute so far."""
        return 0 if self._patterns is None else self._patterns[0].computed

    @property
    def _patterns_from(self) -> str:
        return "references" if self._patterns is None else self._patterns[1]

    def _patterns_of(self, references: Tensor, keys: Tensor) -> Tensor:
        """(N, 5, 3, S, S), the neutral first, to patterns (N, 4, 3, S, S)."""
        if self._patterns is None:
            return references[:, 1:]
        with autocast(references.device.type, enabled=False):  # the same in training and validation
            found = self._patterns[0].of_batch(references, keys)
            size = self.spec.model.size
            if found.shape[-1] != size:
                flat = F.interpolate(
                    found.flatten(0, 1), (size, size), mode="bicubic", antialias=True
                )
                found = flat.clamp(-1, 1).view(*found.shape[:3], size, size)
        return found


def _perceptual(spec: GeneratorTrainSpec, device: torch.device) -> PerceptualNet:
    chosen = spec.losses
    path = chosen.perceptual_weights
    network = PerceptualNet(
        chosen.perceptual_network,
        weights=None if path is None else read_weights(Path(path)),
        width=chosen.perceptual_width,
    )
    return network.to(device).eval()


def _style_patterns(
    spec: GeneratorTrainSpec, device: torch.device
) -> tuple[StylePatterns, str] | None:
    """What makes the patterns, and its digest; None shows the references themselves."""
    if spec.style_mapping is None:
        return None
    part = load_part(
        spec.style_mapping, kind=STYLE_MAPPING, spec_class=StyleMappingSpec, build=StyleMapping,
        device=str(device),
    )  # fmt: skip
    return StylePatterns(part.model, model_digest=part.digest), part.digest


def _pictures(pixels: Tensor) -> Tensor:
    """uint8 (…, S, S, 3) to fp32 (…, 3, S, S) in [-1, 1]."""
    return pixels.movedim(-1, -3).float() / 127.5 - 1


def _levels(pictures: Tensor) -> Tensor:
    """[-1, 1] to uint8 on the CPU."""
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()


def _exchanged(values: Tensor, is_foreign: Tensor) -> Tensor:
    """The next sample's values where a sample is foreign."""
    mask = is_foreign.view(-1, *[1] * (values.ndim - 1))
    return torch.where(mask, values.roll(-1, 0), values)


def _errors(made: Tensor, truth: Tensor, regions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over samples of L1, L1 of the mouth and PSNR in dB, on pictures in [0, 1]."""
    apart = (made.double() - truth.double()) / 2
    mouth = (regions == MOUTH)[:, None].double()
    of_mouth = (apart.abs() * mouth).flatten(1).sum(1) / (3 * mouth.flatten(1).sum(1).clamp_min(1))
    squared = apart.flatten(1).square().mean(1).clamp_min(1e-10)
    return apart.abs().flatten(1).mean(1).sum(), of_mouth.sum(), (-10 * squared.log10()).sum()


def _sharpness(pictures: Tensor) -> Tensor:
    """CPBD summed over the pictures."""
    found = [cpbd(_pixels(one)) for one in _levels(pictures)]
    return torch.tensor(sum(found), dtype=torch.float64)


def _pixels(picture: Tensor) -> NDArray[np.uint8]:
    return np.asarray(picture.permute(1, 2, 0).contiguous().numpy(), np.uint8)
