"""From one recording to rows of speech: decoded in the sandbox, made into mel frames, cut.

Clips serve as well: their sound is taken. Frames are made of the whole recording before it is cut,
so that a cut is heard on neither side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from visage.data.records import Record
from visage.data.row_maker import Row
from visage.data.speech_rows import SPEECH_SCHEMA, pack_speech
from visage.data.stage_clock import StageClock
from visage.errors import MediaError
from visage.media.sandbox import MediaSandbox
from visage.media.sandbox.files import media_sha256
from visage.models.audio.mel import log_mel
from visage.specs.prepare import SpeechPrepareSpec

__all__ = ["SpeechRowMaker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechRowMaker:
    """Turns recordings into rows with one sandbox."""

    spec: SpeechPrepareSpec
    sandbox: MediaSandbox
    """Decodes the corpus' files, which nobody vouches for."""

    schema = SPEECH_SCHEMA

    def count_by(self, row: Mapping[str, Any]) -> str:
        """All rows are counted together."""
        return "speech"

    def duration_s(self, row: Mapping[str, Any]) -> float:
        """That of its mel frames."""
        return int(row["frames"]) / self.spec.front.fps

    def rows(self, record: Record, root: Path, seconds: dict[str, float]) -> list[Row]:
        """One row, or several of a long recording.

        Raises:
            MediaError: `too_short`, or what the decoder says.
        """
        path, front = root / record.path, self.spec.front
        clock = StageClock(seconds, self.sandbox)
        with clock("decode"):
            samples = self.sandbox.decode_audio(path, sample_rate=front.sample_rate)
        if len(samples) < self.spec.shortest_s * front.sample_rate:
            raise MediaError(
                "too_short",
                f"{record.key}: {len(samples) / front.sample_rate:.2f} s of sound; at least "
                f"{self.spec.shortest_s} s are needed",
            )
        with clock("mel"):
            mel = log_mel(samples, front)
        with clock("write"):
            shared = {
                "clip": record.key,
                "group": record.group,
                "source_sha256": media_sha256(path),
            }
            cuts = self._cuts(len(mel) // 2)
            return [
                {
                    **shared,
                    "key": record.key if len(cuts) == 2 else f"{record.key}#{number:04d}",
                    "start_s": start / front.fps,
                    **pack_speech(mel[2 * start : 2 * stop]),
                }
                for number, (start, stop) in enumerate(pairwise(cuts))
            ]

    def _cuts(self, frames: int) -> list[int]:
        """Where rows begin and end, in video frames: equal parts of `segment_s` or longer."""
        parts = max(1, int(frames / (self.spec.segment_s * self.spec.front.fps)))
        return [frames * part // parts for part in range(parts + 1)]
