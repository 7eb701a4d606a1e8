"""GLAMOR-Net and its ablations: a face branch, a context branch, attention and fusion.

docs/glamor.md says which equation of the publication each module is.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from visage.models.attention import (
    Attention,
    ContextAttention,
    GlobalLocalAttention,
    MeanAttention,
)
from visage.models.encoders import Encoder, Normalize, make_encoder, spatial_mean
from visage.models.fusion import AdaptiveFusion, Classifier, ConcatFusion, Fusion, SingleBranch
from visage.specs.emotion import EmotionModelSpec

__all__ = ["EmotionOutput", "Glamor"]


class EmotionOutput(NamedTuple):
    """What every emotion network returns."""

    logits: Tensor
    """(B, K), before the softmax."""
    branch_weights: Tensor
    """(B, 2) fp32, face then context, summing to 1; constant where nothing is learned."""
    attention: Tensor
    """(B, h, w) fp32, summing to 1 over the grid; zeros where there is no context."""


class Glamor(nn.Module):
    """The network of a spec of family `glamor`; only the parts that learn are built."""

    def __init__(self, spec: EmotionModelSpec) -> None:
        super().__init__()
        self.normalize = Normalize(spec.normalize)
        self.face_encoder: Encoder | None = make_encoder(spec) if spec.has_face_encoder else None
        self.context_encoder: Encoder | None = make_encoder(spec) if spec.uses_context else None
        channels = _channels(self.face_encoder, self.context_encoder)
        self.attention: Attention | None = (
            _make_attention(spec, channels) if spec.uses_context else None
        )
        self.fusion: Fusion = _make_fusion(spec, channels)
        self.head = Classifier(self.fusion.dim, class_count=spec.class_count, dropout=spec.dropout)

    def forward(self, face: Tensor, context: Tensor) -> EmotionOutput:
        """Classify.

        Args:
            face: (B, 3, S, S) in [0, 1]; ignored where the spec has no face encoder.
            context: (B, 3, C, C) in [0, 1], the face already hidden; ignored for inputs=F.
        """
        face_vector = None
        if self.face_encoder is not None:
            face_vector = spatial_mean(self.face_encoder(self.normalize(face)))
        context_vector, attention = self._look_around(context, face_vector)
        fused, branch_weights = self.fusion(face_vector, context_vector)
        return EmotionOutput(self.head(fused), branch_weights, attention)

    def _look_around(self, context: Tensor, guide: Tensor | None) -> tuple[Tensor | None, Tensor]:
        if self.context_encoder is None or self.attention is None:
            side = 0 if self.face_encoder is None else self.face_encoder.cells(context.shape[-1])
            return None, torch.zeros(len(context), side, side, device=context.device)
        vector, attention = self.attention(self.context_encoder(self.normalize(context)), guide)
        return vector, attention


def _channels(*encoders: Encoder | None) -> int:
    return next(encoder.channels for encoder in encoders if encoder is not None)


def _make_attention(spec: EmotionModelSpec, channels: int) -> Attention:
    if spec.attention == "none":
        return MeanAttention()
    kind = GlobalLocalAttention if spec.attention == "GLA" else ContextAttention
    return kind(channels, bn_eps=spec.bn_eps, bn_momentum=spec.bn_momentum)


def _make_fusion(spec: EmotionModelSpec, channels: int) -> Fusion:
    if spec.fusion == "none":
        return SingleBranch(channels, is_face=spec.uses_face)
    return AdaptiveFusion(channels) if spec.fusion == "adaptive" else ConcatFusion(channels)
