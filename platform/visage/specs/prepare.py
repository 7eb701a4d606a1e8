"""Specs of `visage prepare`: from a corpus on disk to shards, one for each kind of rows."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from visage.specs.audio import AudioFrontSpec
from visage.specs.base import Spec
from visage.specs.emotion import EmotionInputSpec

__all__ = ["PREPARE_SPECS", "ClipPrepareSpec", "EmotionPrepareSpec", "PrepareSpec",
           "SpeechPrepareSpec"]  # fmt: skip

SCHEDULING = {"rows_per_shard", "val_fraction", "seed", "max_rejected_share", "faces"}
"""Keys that decide where rows go, not what they hold; `faces` counts by what it became."""


class PrepareSpec(Spec):
    """What every kind of rows shares."""

    kind: ClassVar[str]
    """Schema of the rows that are made."""
    accepts: ClassVar[tuple[str, ...]]
    """Kinds of records that can become rows."""
    source_bytes_per_shard: ClassVar[float] = math.inf
    """A shard also ends with the record that brings its files to this size."""

    faces: Literal["auto", "dlib68", "fan"] = "auto"
    """Face provider; auto takes the best one that works offline."""
    jpeg_quality: int = Field(95, ge=50, le=100)
    rows_per_shard: int = Field(256, ge=1, le=100_000)
    """Records of one shard."""
    val_fraction: float = Field(0.1, ge=0.0, lt=0.5)
    """Taken from train, whole groups at a time, where the corpus has no validation split."""
    seed: int = 0
    """Of the validation draw."""
    max_rejected_share: float = Field(0.5, ge=0.0, le=1.0)
    """Give up, with counts, if more of the records than this cannot be used."""

    def content(self) -> dict[str, object]:
        """The keys that decide what a row holds."""
        return self.model_dump(mode="json", exclude=SCHEDULING)


class EmotionPrepareSpec(PrepareSpec):
    """Pictures to faces and contexts; its content is part of every shard's key."""

    kind: ClassVar[str] = "emotion/1"
    accepts: ClassVar[tuple[str, ...]] = ("image",)

    recipe: Literal["emotion"] = "emotion"
    """For which family of recipes the rows are made."""
    input: EmotionInputSpec = EmotionInputSpec()
    face_policy: Literal["surest", "largest", "only"] = "surest"
    """Which face counts where the corpus states none."""


class ClipPrepareSpec(PrepareSpec):
    """Clips of one talking person to segments of trajectories and pictures."""

    kind: ClassVar[str] = "clips/1"
    accepts: ClassVar[tuple[str, ...]] = ("video",)
    source_bytes_per_shard: ClassVar[float] = 32 << 20
    """Prepared clips weigh five times what their files do, strongly compressed ones a hundred
    times: shards of usual footage stay near some hundred MB, but for their last clip."""

    recipe: Literal["clips"] = "clips"
    size: int = Field(512, ge=32, le=1024, multiple_of=2)
    """Side of the stored square pictures, pixels."""
    margin: float = Field(0.35, ge=0.0, le=2.0)
    """Room around the face, as a share of the height of all its points, on every side."""
    segment_s: float = Field(4.0, ge=0.5, le=60.0)
    """Length of a row; a clip is cut into equal rows at least this long."""
    shortest_s: float = Field(2.0, ge=0.2, le=60.0)
    """Shorter clips are rejected, for the window of the small motion preset is as long; one between
    both becomes one row."""
    longest_s: float = Field(600.0, ge=1.0)
    """Longer clips are rejected, and so are those whose encoded pictures take more than 1.5 GiB:
    a worker holds them together."""
    points_sigma_s: float = Field(0.02, ge=0.0, le=0.5)
    """Smoothing of tracked points over time; true points of drawn clips are left as they are."""
    pose_sigma_s: float = Field(0.05, ge=0.0, le=0.5)
    """Smoothing of the measured head pose over time."""
    scene_cuts: Literal["reject", "longest"] = "reject"
    """What becomes of a clip of several takes: nothing, or its longest one."""
    longest_gap_s: float = Field(0.5, gt=0.0, le=10.0)
    """Without a picture: another take begins. Without the face: the clip is rejected. What is
    shorter is bridged by the points before and after."""
    most_lost_share: float = Field(0.1, ge=0.0, lt=1.0)
    """Of frames in which the face may not be found."""
    several_faces: Literal["clear", "largest", "reject"] = "clear"
    """The largest face is followed. clear = rejected if another one, more than half as tall, is
    there most of the time; reject = if any other is found twice in a row; largest = whoever else
    is there."""
    most_yaw_deg: float = Field(40.0, gt=0.0, le=90.0)
    """A head turned further is a profile, by its points: trackers see two eyes in every face, so
    that of a head of 70 degrees hardly more than 45 are measured."""
    most_profile_share: float = Field(0.25, ge=0.0, le=1.0)
    """Of frames that may show a profile."""
    without_sound: Literal["reject", "silence"] = "reject"
    """silence = a clip without sound becomes rows of zero samples and the mel of silence. A track
    whose peak is 60 dB below full scale is none."""
    torso: Literal["off", "flow"] = "off"
    """flow = shoulders found under the first face and followed by optical flow (models.md A.4.4).

    Cropped faces show little of them; points that are lost are NaN."""
    rows_per_shard: int = Field(8, ge=1, le=100_000)
    """Clips of one shard; it ends earlier with the clip that brings their files to 32 MiB."""

    @model_validator(mode="after")
    def _ordered(self) -> ClipPrepareSpec:
        if self.shortest_s > self.segment_s:
            raise ValueError("shortest_s must not be longer than segment_s")
        return self


class SpeechPrepareSpec(PrepareSpec):
    """Recordings, or the sound of clips, to log-mel frames."""

    kind: ClassVar[str] = "speech/1"
    accepts: ClassVar[tuple[str, ...]] = ("audio", "video")

    recipe: Literal["speech"] = "speech"
    front: AudioFrontSpec = AudioFrontSpec()
    """How frames are made; the audio encoder that learns from them must have the same."""
    shortest_s: float = Field(1.0, ge=0.1, le=60.0)
    """Shorter recordings are rejected."""
    segment_s: float = Field(30.0, ge=1.0, le=600.0)
    """Longer recordings are cut into equal rows at least this long."""


PREPARE_SPECS: dict[str, type[PrepareSpec]] = {
    "emotion": EmotionPrepareSpec,
    "clips": ClipPrepareSpec,
    "speech": SpeechPrepareSpec,
}
"""By the family of recipes that learn from the rows."""
