"""Style mapping: a neutral picture and R style references to R intermediate style patterns.

    c_k = canonical(neutral)                     shared by all
    C_k = c_k · R + τ + ε_k                      of the neutral picture
    C̄_k = c_k · R̄ + τ̄ + ε̄_k                      of each reference, with the neutral's own c_k
    pattern = generator(neutral, C → C̄)

So a pattern shows the neutral picture's person with the reference's pose and face (models.md A.7).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from visage.errors import SpecError
from visage.models.style_mapping.dense_motion import Motion
from visage.models.style_mapping.head_expression import HeadExpression
from visage.models.style_mapping.intermediate import IntermediateGenerator
from visage.models.style_mapping.keypoints import CanonicalKeypoints
from visage.models.style_mapping.transforms import HeadMotion, imposed, place, relative
from visage.specs.style_mapping import StyleMappingSpec

__all__ = ["StyleMapping", "Transfer"]


class Transfer(NamedTuple):
    """A source picture in a driving picture's motion, with all that training looks at."""

    picture: Tensor
    """(N, 3, S, S) in [-1, 1]."""
    motion: Motion
    canonical: Tensor
    """c_k of the source, (N, K, 3)."""
    source: HeadMotion
    driving: HeadMotion
    source_points: Tensor
    """C_k, (N, K, 3)."""
    driving_points: Tensor
    """C̄_k, (N, K, 3)."""


class StyleMapping(nn.Module):
    """The three networks and what joins them."""

    def __init__(self, spec: StyleMappingSpec) -> None:
        super().__init__()
        self.spec = spec
        self.canonical = CanonicalKeypoints(spec)
        self.head = HeadExpression(spec)
        self.generator = IntermediateGenerator(spec)

    def forward(self, neutral: Tensor, references: Tensor, initial: Tensor | None = None) -> Tensor:
        """The intermediate style patterns.

        Args:
            neutral: (3, H, H) in [-1, 1], of any size.
            references: (R, 3, H, H) in [-1, 1], of any size.
            initial: (3, H, H), the references' person at rest; for `mode: relative` alone.

        Returns:
            (R, 3, O, O) in [-1, 1], O = the spec's output_size.

        Raises:
            SpecError: relative mode without the picture at rest.
        """
        neutral, references = self._sized(neutral[None]), self._sized(references)
        canonical, at_rest = self.canonical(neutral), self.head(neutral)
        count = len(references)
        source = place(canonical, at_rest).expand(count, -1, -1)
        shared, ours = canonical.expand(count, -1, -1), _repeated(at_rest, count)
        theirs = imposed(ours, self.head(references), self.spec.style_parts)
        driving = place(shared, theirs)
        if self.spec.mode == "relative":
            if initial is None:
                raise SpecError(
                    "style mapping in relative mode needs the references' person at rest: give "
                    "`initial`, or set mode to absolute"
                )
            first = imposed(ours, _repeated(self.head(self._sized(initial[None])), count),
                            self.spec.style_parts)  # fmt: skip
            driving = relative(source, driving, place(shared, first))
        volume = self.generator.appearance(neutral)
        moved = self.generator.moved(
            volume.expand(count, -1, -1, -1, -1), source, driving,
            source_angles_deg=ours.angles_deg, driving_angles_deg=theirs.angles_deg,
        )  # fmt: skip
        size = self.spec.output_size or self.spec.size
        if size == self.spec.size:
            return moved.picture
        return _resized(moved.picture, size).clamp(-1, 1)

    def transfer(self, source: Tensor, driving: Tensor) -> Transfer:
        """Pictures of the same people (N, 3, S, S) in [-1, 1]: source as driving, all parts."""
        canonical = self.canonical(source)
        ours, theirs = self.head(source), self.head(driving)
        here, there = place(canonical, ours), place(canonical, theirs)
        moved = self.generator(
            source, here, there,
            source_angles_deg=ours.angles_deg, driving_angles_deg=theirs.angles_deg,
        )  # fmt: skip
        return Transfer(
            picture=moved.picture, motion=moved.motion, canonical=canonical, source=ours,
            driving=theirs, source_points=here, driving_points=there,
        )  # fmt: skip

    def points(self, canonical: Tensor, pictures: Tensor) -> Tensor:
        """C_k of pictures (N, 3, S, S) of those whose canonical points (N, K, 3) are given."""
        return place(canonical, self.head(pictures))

    def _sized(self, pictures: Tensor) -> Tensor:
        if pictures.shape[-1] == pictures.shape[-2] == self.spec.size:
            return pictures
        return _resized(pictures, self.spec.size).clamp(-1, 1)


def _resized(pictures: Tensor, size: int) -> Tensor:
    shrinks = pictures.shape[-1] > size
    return F.interpolate(
        pictures.float(), size=(size, size), mode="bicubic", align_corners=False, antialias=shrinks
    )


def _repeated(motion: HeadMotion, count: int) -> HeadMotion:
    return HeadMotion(*(one.expand(count, *one.shape[1:]) for one in motion))
