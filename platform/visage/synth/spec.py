"""Specs of the corpora that can be drawn; the resolved values are kept beside the corpus."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from visage.data.records import SPLITS, Split
from visage.specs.base import Spec
from visage.specs.emotion import EMOTIONS
from visage.synth.cues import CueSpec
from visage.synth.styles import STYLES, style_of

__all__ = [
    "CaerSSpec",
    "CaerSpec",
    "CommonVoiceSpec",
    "CorpusSpec",
    "PictureSpec",
    "RavdessSpec",
    "VoxCeleb2Spec",
]


class CorpusSpec(Spec):
    """What all drawn corpora have in common."""

    drawing_version: Literal[1] = 1
    """Counts changes of what is drawn, so that a folder never mixes two drawings."""
    seed: int = Field(0, ge=0)
    """The same seed and settings give the same bytes."""


class PictureSpec(CorpusSpec):
    """A corpus whose pictures have a free width and height."""

    height: int = Field(400, ge=128, le=2160)
    """Of a picture, pixels."""
    width: int = Field(533, ge=128, le=3840)
    """Of a picture, pixels."""


class _SplitSpec(PictureSpec):
    """A corpus with splits whose people do not meet."""

    per_class: int = Field(200, ge=3, le=100_000)
    """Pictures or clips of each of the seven emotions over all splits."""
    val_fraction: float = Field(0.1, gt=0.0, lt=0.5)
    """Share of the val split."""
    test_fraction: float = Field(0.2, gt=0.0, lt=0.5)
    """Share of the test split."""
    identities: int = Field(120, ge=3, le=100_000)
    """People in the corpus; no one appears in two splits."""
    cues: CueSpec = CueSpec()
    """What face and setting tell about the label."""

    @model_validator(mode="after")
    def _train_remains(self) -> _SplitSpec:
        for name, least in (
            ("per_class", min(self.counts().values())),
            ("identities", min(len(self.people(split)) for split in SPLITS)),
        ):
            if least < 1:
                raise ValueError(
                    f"{name} {getattr(self, name)} leaves a split empty; ask for more, "
                    "or for smaller val_fraction and test_fraction"
                )
        return self

    def counts(self) -> dict[Split, int]:
        """How many of each class every split gets; they sum to per_class."""
        val = max(1, round(self.per_class * self.val_fraction))
        test = max(1, round(self.per_class * self.test_fraction))
        return {"train": self.per_class - val - test, "val": val, "test": test}

    def people(self, split: Split) -> range:
        """Numbers of the people who appear in a split."""
        val = max(1, round(self.identities * self.val_fraction))
        test = max(1, round(self.identities * self.test_fraction))
        train = self.identities - val - test
        bounds = {"train": (0, train), "val": (train, train + val)}
        return range(*bounds.get(split, (train + val, self.identities)))

    def total(self) -> int:
        """Pictures or clips in the whole corpus."""
        return self.per_class * len(EMOTIONS)


class CaerSSpec(_SplitSpec):
    """Still pictures in the layout of CAER-S, with box lists."""

    layout: Literal["caer-s"] = "caer-s"
    image_format: Literal["jpg", "png"] = "jpg"
    """The real corpus holds PNG; JPEG is a quarter of the size and quicker to write."""
    jpeg_quality: int = Field(92, ge=50, le=100)
    """Quality of JPEG pictures."""


class CaerSpec(_SplitSpec):
    """Short silent clips in the layout of CAER."""

    layout: Literal["caer"] = "caer"
    per_class: int = Field(20, ge=3, le=100_000)
    """Clips of each of the seven emotions over all splits."""
    height: int = Field(300, ge=128, le=2160)
    """Of a frame, pixels; even."""
    width: int = Field(400, ge=128, le=3840)
    """Of a frame, pixels; even."""
    frames: int = Field(12, ge=2, le=1000)
    """Frames of a clip."""
    fps: int = Field(12, ge=1, le=60)
    """Frames a second."""

    @model_validator(mode="after")
    def _even(self) -> CaerSpec:
        if self.height % 2 or self.width % 2:
            raise ValueError(f"{self.width}x{self.height}: video needs even width and height")
        return self


class RavdessSpec(PictureSpec):
    """Spoken clips with sound in the layout and with the names of RAVDESS."""

    layout: Literal["ravdess"] = "ravdess"
    actors: int = Field(2, ge=1, le=24)
    """Odd numbers are men, even numbers women, as in the real corpus."""
    statements: int = Field(1, ge=1, le=2)
    """1: kids are talking by the door; 2: dogs are sitting by the door, too."""
    repetitions: int = Field(1, ge=1, le=2)
    """Takes of each."""
    height: int = Field(360, ge=128, le=2160)
    """Of a frame, pixels; even (real: 720)."""
    width: int = Field(640, ge=128, le=3840)
    """Of a frame, pixels; even (real: 1280)."""
    duration_s: float = Field(1.2, ge=0.5, le=10.0)
    """Of a clip (real: 3 to 5)."""

    @model_validator(mode="after")
    def _even(self) -> RavdessSpec:
        if self.height % 2 or self.width % 2:
            raise ValueError(f"{self.width}x{self.height}: video needs even width and height")
        return self

    def total(self) -> int:
        """Clips in the whole corpus: neutral has one intensity, the seven others two."""
        return self.actors * self.statements * self.repetitions * 15


class _SpeakingSpec(CorpusSpec):
    """A corpus of people who speak in styles."""

    styles: tuple[str, ...] = tuple(STYLES)
    """Names of the styles, in turn."""

    @field_validator("styles", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """`styles=plain,rap` is as good as `styles=[plain, rap]`."""
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    @field_validator("styles")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("give one style or more, each once")
        for name in value:
            style_of(name)
        return value


class VoxCeleb2Spec(_SpeakingSpec):
    """Clips of talking people in the layout of VoxCeleb2, with the truth of every frame."""

    layout: Literal["voxceleb2"] = "voxceleb2"
    identities: int = Field(12, ge=1, le=9_999)
    """People in the corpus; odd numbers are men, even numbers women."""
    test_identities: int = Field(2, ge=0, le=9_998)
    """The last of them are the test part; all others are dev."""
    clips: int = Field(4, ge=1, le=10_000)
    """Clips of each person; clip after clip takes the next style."""
    seconds: float = Field(4.0, ge=0.5, le=60.0)
    """Of a clip."""
    size: int = Field(224, ge=128, le=1024)
    """Of a picture, pixels; even. The real one has 224; 512 is crisp."""
    fps: int = Field(25, ge=5, le=60)
    """Frames a second."""
    sample_rate: int = Field(16_000, ge=8_000, le=48_000)
    """Of the sound."""
    sounds: bool = False
    """Also write the sound alone, under aac/, as the real one has it."""
    crf: int = Field(18, ge=0, le=40)
    """Constant rate factor of H.264; smaller is better."""

    @model_validator(mode="after")
    def _possible(self) -> VoxCeleb2Spec:
        if self.size % 2:
            raise ValueError(f"size {self.size}: video needs an even width and height")
        if self.test_identities >= self.identities:
            raise ValueError(
                f"test_identities {self.test_identities} of {self.identities} leave none to train "
                "on; ask for more identities or fewer for the test"
            )
        return self

    def total(self) -> int:
        """Clips in the whole corpus."""
        return self.identities * self.clips


class CommonVoiceSpec(_SpeakingSpec):
    """Sounds of speakers in the layout of Common Voice."""

    layout: Literal["common-voice"] = "common-voice"
    styles: tuple[str, ...] = ("plain",)
    """Names of the styles, in turn; people read aloud in the real one."""
    release: str = Field("17.0-2024-03-15", pattern=r"^[0-9.]+-\d{4}-\d{2}-\d{2}$")
    """Version and date in the name of the folder."""
    locale: str = Field("en", pattern=r"^[a-z]{2,3}(-[A-Za-z]{2,4})?$")
    """The folder of the language; what is said is in none."""
    speakers: int = Field(24, ge=3, le=100_000)
    """Odd numbers are men, even numbers women."""
    clips: int = Field(8, ge=1, le=10_000)
    """Sounds of each speaker."""
    shortest_s: float = Field(2.0, ge=0.5, le=60.0)
    """Sounds are at least so long."""
    longest_s: float = Field(6.0, ge=0.5, le=60.0)
    """Sounds are at most so long."""
    sample_rate: Literal[16_000, 24_000, 32_000, 48_000] = 32_000
    """Of the sounds; the real ones have 32 or 48 kHz."""
    bit_rate: int = Field(48_000, ge=16_000, le=320_000)
    """Of the MP3."""
    dev_fraction: float = Field(0.1, gt=0.0, lt=0.5)
    """Share of the speakers in dev.tsv."""
    test_fraction: float = Field(0.1, gt=0.0, lt=0.5)
    """Share of the speakers in test.tsv."""

    @model_validator(mode="after")
    def _ordered(self) -> CommonVoiceSpec:
        if self.shortest_s > self.longest_s:
            raise ValueError(f"shortest_s {self.shortest_s} is beyond longest_s {self.longest_s}")
        return self

    def total(self) -> int:
        """Sounds in the whole corpus."""
        return self.speakers * self.clips
