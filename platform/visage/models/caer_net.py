"""CAER-Net-S, the baseline that GLAMOR-Net is compared with, as its public port builds it.

Two habits of the port are kept because its published accuracy rests on them: batch norm and ReLU
on the attention scores, and a mean over cells after the weighting, which makes the context vector
h * w times smaller until batch norm on both branch vectors lifts it again.
"""

from __future__ import annotations

from torch import Tensor, nn

from visage.models.attention import ContextAttention
from visage.models.encoders import Normalize, make_encoder, spatial_mean
from visage.models.fusion import AdaptiveFusion, Classifier
from visage.models.glamor import EmotionOutput
from visage.specs.emotion import EmotionModelSpec

__all__ = ["CaerNetS"]


class CaerNetS(nn.Module):
    """Two encoders, context attention, batch-normed branch vectors, adaptive fusion."""

    def __init__(self, spec: EmotionModelSpec) -> None:
        super().__init__()
        norm = {"bn_eps": spec.bn_eps, "bn_momentum": spec.bn_momentum}
        self.normalize = Normalize(spec.normalize)
        self.face_encoder = make_encoder(spec)
        self.context_encoder = make_encoder(spec)
        channels = self.face_encoder.channels
        self.attention = ContextAttention(channels, relu_scores=True, **norm)
        self.face_norm = nn.BatchNorm1d(channels, eps=spec.bn_eps, momentum=spec.bn_momentum)
        self.context_norm = nn.BatchNorm1d(channels, eps=spec.bn_eps, momentum=spec.bn_momentum)
        self.fusion = AdaptiveFusion(channels)
        self.head = Classifier(self.fusion.dim, class_count=spec.class_count, dropout=spec.dropout)

    def forward(self, face: Tensor, context: Tensor) -> EmotionOutput:
        """Classify face (B, 3, S, S) and context (B, 3, C, C), both in [0, 1]."""
        face_vector = spatial_mean(self.face_encoder(self.normalize(face)))
        cells = self.context_encoder(self.normalize(context))
        context_vector, attention = self.attention(cells, None)
        context_vector = context_vector / attention.shape[1:].numel()
        fused, branch_weights = self.fusion(
            self.face_norm(face_vector), self.context_norm(context_vector)
        )
        return EmotionOutput(self.head(fused), branch_weights, attention)
