"""From sound to what drives a face: log-mel frames, predictive features, their projection."""

from __future__ import annotations

from visage.models.audio.apc import ApcModel, AudioEncoder, FeatureStream
from visage.models.audio.manifold import FeatureBank
from visage.models.audio.mel import MelStream, log_mel

__all__ = ["ApcModel", "AudioEncoder", "FeatureBank", "FeatureStream", "MelStream", "log_mel"]
