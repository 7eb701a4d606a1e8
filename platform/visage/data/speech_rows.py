"""Rows of prepared speech: a recording, or a part of a long one, kept as its log-mel frames.

The audio encoder learns from sound alone, so a row has neither label nor picture. Rows of prepared
clips (`clips/1`) hold the same column `mel` and serve as well. How many mel frames there are is
told by the length of their bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from visage.errors import DataError

__all__ = ["SPEECH_ROWS", "SPEECH_SCHEMA", "SpeechDecoder", "pack_speech", "unpack_speech"]

SPEECH_ROWS = "speech/1"
SPEECH_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("group", pa.string()),  # the speaker
        ("clip", pa.string()),  # the record that it is a part of
        ("source_sha256", pa.string()),
        ("start_s", pa.float64()),  # in the recording
        ("frames", pa.int32()),  # video frames, as in clips/1; two mel frames each
        ("mel", pa.binary()),  # float32, little-endian
    ],
    metadata={"schema": SPEECH_ROWS},
)

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechDecoder:
    """A stored recording to a window of mel frames; placed at random for training only."""

    window: int
    """Mel frames of the window."""
    mels: int = 80
    training: bool = False

    columns = ("mel",)

    def __call__(self, row: Mapping[str, Any], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """mel float32 (window, mels), zeros after its end; valid int64 (), frames that are none.

        Validation takes the middle of a longer recording. DataError for bytes of another shape.
        """
        mel = unpack_speech(row, mels=self.mels)
        room = max(0, len(mel) - self.window)
        start = int(rng.integers(room + 1)) if self.training else room // 2
        heard = mel[start : start + self.window]
        padded = np.zeros((self.window, self.mels), np.float32)
        padded[: len(heard)] = heard
        return {"mel": padded, "valid": np.asarray(len(heard), dtype=np.int64)}


def pack_speech(mel: Floats) -> dict[str, Any]:
    """The columns `frames` and `mel` of log-mel frames (2n, mels); DataError if they are none."""
    if mel.ndim != 2 or len(mel) % 2 or not np.isfinite(mel).all():
        raise DataError(
            f"speech row: mel of shape {mel.shape} must be finite, with two rows a video frame"
        )
    return {"frames": len(mel) // 2, "mel": mel.astype("<f4").tobytes()}


def unpack_speech(row: Mapping[str, Any], *, mels: int = 80) -> Floats:
    """The log-mel frames (2n, mels) of a row of speech or of a clip; a view of its bytes.

    Raises DataError if the bytes are not such frames: the row was made with another front end.
    """
    body = row["mel"]
    if len(body) % (2 * mels * 4):
        raise DataError(
            f"{row.get('key')}: {len(body)} bytes are no mel frames of {mels} bands; set "
            "model.front.mels to what the corpus was prepared with, or prepare it again"
        )
    return np.frombuffer(body, "<f4").reshape(-1, mels)
