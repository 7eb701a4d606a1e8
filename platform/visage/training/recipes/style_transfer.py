"""Recipe `style-transfer`: a trained motion generator learns to move in a style (models.md A.9).

Loss: L_transfer = L_mg + L_sc + L_r. Only LSTM, head and WaveNet are trained; what reads the sound
and all statistics of normalisation stay. Score: -SLD, the distance of generated motion from a style
clip; beside it stand the same distance before the transfer and with nothing but a larger mouth. The
result is published as a small change of its base (`visage.inference.style_delta`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from visage.data.clip_decoders import MotionDecoder
from visage.data.clip_rows import FPS, SAMPLE_RATE
from visage.data.feed import Batch
from visage.data.manifest import Manifest
from visage.data.style_windows import StyleWindows
from visage.errors import NotFoundError, SpecError
from visage.inference.audio_encoder import AUDIO_ENCODER
from visage.inference.parts import Part, load_part, read_description
from visage.inference.style_delta import save_style, style_delta
from visage.metrics.style_distances import StyleScores
from visage.models.motion import Motion, MotionGenerator
from visage.models.style_transfer import (
    CollapseGuard,
    StyleFeatures,
    mean_direction,
    scaled_only,
    unit_directions,
)
from visage.seeds import seed_of
from visage.specs.motion import MotionSpec, MotionTrainSpec
from visage.specs.style_transfer import StyleDeltaSpec, StyleTransferTrainSpec
from visage.store.base import Store
from visage.training.recipe import Sample, Tensors
from visage.training.recipes.motion import MOTION, MotionRecipe
from visage.training.recipes.style_objectives import (
    TransferTerms,
    train_only_motion,
    transfer_phases,
)
from visage.training.recipes.style_pool import StylePool
from visage.training.recipes.style_samples import side_by_side

__all__ = ["StyleTransferRecipe"]


class StyleTransferRecipe:
    """The generator being tuned, f, and the frozen generator it started from."""

    score_name = "-SLD"

    def __init__(
        self, spec: StyleTransferTrainSpec, manifest: Manifest, device: torch.device
    ) -> None:
        """Raises SpecError or DataError if generator, sound, data and style do not fit."""
        self.spec = spec
        self.base = _base(spec, device)
        # the base's own recipe knows how its corpus becomes features
        self._motion = MotionRecipe(_motion_spec(spec, self.base.spec), manifest, device)
        _check_base(spec, self.base, manifest)
        self._style = StylePool(spec)
        self.model: nn.Module = copy.deepcopy(self.base.model)
        train_only_motion(self.model, pose=spec.anchor == "paired")
        torch.manual_seed(seed_of(spec.seed, "features"))
        features = StyleFeatures(spec.features).to(device)
        self.companions: Mapping[str, nn.Module] = {"features": features}
        guard = CollapseGuard(
            self._style.probes().to(device), features.width,
            least_spread=spec.least_spread, least_gradient=spec.least_gradient,
        )  # fmt: skip
        self._terms = TransferTerms(
            spec=spec, base=self.base.model, guard=guard, lead_in=self._lead_in
        )
        self.phases = transfer_phases(self.model, features, self._terms)
        self._baselines: dict[int, tuple[StyleScores, StyleScores]] = {}

    def decoder(self, *, training: bool) -> StyleWindows:
        """Stored segments to windows with their lead-in, and whether they show the style."""
        windows: MotionDecoder = self._motion.decoder(training=training)
        return StyleWindows(windows=windows, style=self.spec.style)

    def tensors(self, batch: Batch, device: torch.device) -> dict[str, Tensor]:
        """What the recipe `motion` has, and the style.

        paired (N,) whether L_mg compares with the clip itself, style (N, T, 68, 3), gamma (N, T),
        direction (N, width), sample (N,); T = window - look-ahead, the frames that are generated.
        """
        generated = self.spec.window - self.base.spec.landmark_look_ahead
        width = cast(StyleFeatures, self.companions["features"]).width
        draws = [
            self._style.draws(batch.step, int(one), frames=generated, width=width)
            for one in batch.ids
        ]
        is_style = torch.from_numpy(batch.arrays["is_style"])
        direction = unit_directions(torch.stack([one.normal for one in draws])).to(device)
        if self.spec.scalar == "paper_literal":
            direction = mean_direction(len(draws), width, device)
        return {
            **self._motion.tensors(batch, device),
            "paired": is_style & (self.spec.anchor == "paired"),
            "style": torch.stack([one.phi for one in draws]).to(device),
            "gamma": torch.stack([one.gamma for one in draws]).to(device),
            "direction": direction,
            "sample": torch.from_numpy(batch.ids.copy()),
        }

    def validate(self, model: nn.Module, tensors: Tensors) -> dict[str, Tensor]:
        """L_mg, L_sc, and the style distances after, before and by scale alone."""
        count = len(tensors["mean"])
        made = self._terms.generated(model, tensors)
        features = cast(StyleFeatures, self.companions["features"])
        constraint = self._terms.constraint(features, made.phi, tensors)
        now = [self._style.distances(phi) for phi in made.phi]
        former = [self._baseline(tensors, index) for index in range(count)]
        scores = {"": now, "_before": [a for a, _ in former], "_scaled": [b for _, b in former]}
        sums = {
            "score": -sum(one.sld for one in now),
            "loss": float(made.loss + self.spec.lambda_style * constraint) * count,
            "l_mg": float(made.loss) * count,
            "l_sc": float(constraint) * count,
        }
        for suffix, each in scores.items():
            for name in ("sld", "slv", "smd"):
                sums[f"{name}{suffix}"] = sum(float(getattr(one, name)) for one in each)
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in sums.items()}

    def samples(self, model: nn.Module, tensors: Tensors) -> list[Sample]:
        """Clips with sound: before, after, and how the style clip moves."""
        made = []
        for index in range(min(self.spec.samples, len(tensors["mean"]))):
            before, after = (
                self._motion_of(one, tensors, index) for one in (self.base.model, model)
            )
            frames = torch.arange(len(after)) % len(self._style.clip)
            rest = tensors["rest"][index].cpu().expand(len(after), -1)
            shown = self._style.mean + self._style.clip[frames]
            style = Motion(landmarks=shown, pose=rest, torso=None)
            sound = tensors["audio"][index].float().div(32768).numpy()
            panels = {"before": before, "after": after, self.spec.style_name: style}
            body = side_by_side(panels, sound, fps=FPS, sample_rate=SAMPLE_RATE)
            made.append(Sample(name=f"style-{index}", suffix="mp4", body=body))
        return made

    def export(
        self, store: Store, prefix: str, model: nn.Module, *, metadata: Mapping[str, object]
    ) -> str:
        """Publish what the style changes; the metadata name the base."""
        spec = StyleDeltaSpec(name=self.spec.style_name, base=self.base.digest)
        told = {**metadata, "motion": self.spec.motion, "style_clips": self.spec.style_clips}
        delta = style_delta(self.base.model, model, spec=spec, metadata=told)
        return save_style(store, prefix, delta)

    @torch.no_grad()
    def _baseline(self, tensors: Tensors, index: int) -> tuple[StyleScores, StyleScores]:
        """Distances before, and with the scale alone; they never change, so they are kept."""
        key = int(tensors["sample"][index])
        if key not in self._baselines:
            one = {name: value[index : index + 1] for name, value in tensors.items()}
            (before,) = self._terms.generated(self.base.model, one).phi.cpu()
            scaled = scaled_only(before, self._style.learnt)
            self._baselines[key] = self._style.distances(before), self._style.distances(scaled)
        return self._baselines[key]

    def _motion_of(self, model: nn.Module, tensors: Tensors, index: int) -> Motion:
        """What a user would get for the sound of the window."""
        return cast(MotionGenerator, model).generate(
            tensors["features"][index, 2 * self._lead_in :],
            tensors["mean"][index],
            rest=tensors["rest"][index],
            seed=seed_of(self.spec.seed, "sample", index),
        )

    @property
    def _lead_in(self) -> int:
        return self._motion.spec.lead_in_frames


def _base(spec: StyleTransferTrainSpec, device: torch.device) -> Part[MotionGenerator, MotionSpec]:
    try:
        return load_part(
            spec.motion, kind=MOTION, spec_class=MotionSpec, build=MotionGenerator,
            device=str(device),
        )  # fmt: skip
    except NotFoundError as err:
        raise NotFoundError(
            f"{err}. Train one: visage train motion --data CORPUS --preset motion-small; its run "
            "holds it under model"
        ) from None


def _motion_spec(spec: StyleTransferTrainSpec, model: MotionSpec) -> MotionTrainSpec:
    """The spec with which the base's own recipe would read this data."""
    values = {
        "audio_encoder": spec.audio_encoder,
        "model": model.model_dump(),
        "window": spec.window,
        "lead_in": spec.lead_in,
        "seed": spec.seed,
        "samples": spec.samples,
    }
    return MotionTrainSpec.parse(values, origin="style-transfer")


def _check_base(
    spec: StyleTransferTrainSpec, base: Part[MotionGenerator, MotionSpec], manifest: Manifest
) -> None:
    """Refuse another ear than the base's, and pairs where there are none."""
    counts = manifest.counts.get("train", {})
    if spec.anchor == "paired" and spec.style is not None and not counts.get(spec.style):
        raise SpecError(
            f"the data hold no training clip of style {spec.style!r} (there are "
            f"{', '.join(counts) or 'none'}), so nothing is paired; set anchor=frozen, or train on "
            "clips of the style"
        )
    heard = base.metadata.get("audio_encoder_digest")
    given = None
    if spec.audio_encoder is not None:
        given = read_description(spec.audio_encoder, kind=AUDIO_ENCODER).digest
    if heard != given:
        named = base.metadata.get("audio_encoder") or "no encoder (mel frames)"
        raise SpecError(
            f"motion {spec.motion} was trained to hear through {named}, audio_encoder is "
            f"{spec.audio_encoder}; name the same one"
        )
