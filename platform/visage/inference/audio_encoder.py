"""A trained audio encoder as a published part: the motion generator hears through it."""

from __future__ import annotations

from visage.errors import NotFoundError
from visage.inference.parts import Part, load_part
from visage.models.audio.apc import AudioEncoder
from visage.specs.audio import AudioEncoderSpec

__all__ = ["AUDIO_ENCODER", "load_audio_encoder"]

AUDIO_ENCODER = "audio-encoder"
"""The kind that its description states."""


def load_audio_encoder(uri: str, *, device: str = "cpu") -> Part[AudioEncoder, AudioEncoderSpec]:
    """The encoder under a URI, frozen and in evaluation mode; its spec holds its front end.

    Raises as `visage.inference.parts.load_part`.
    """
    try:
        return load_part(
            uri, kind=AUDIO_ENCODER, spec_class=AudioEncoderSpec, build=AudioEncoder, device=device
        )
    except NotFoundError as err:
        raise NotFoundError(
            f"{err}. Train one: visage train audio-encoder --data CORPUS --preset "
            "audio-encoder-small; its run holds it under model"
        ) from None
