"""Which measurements there are, and how long each may take; the modules are imported when run."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from tests.bench.figures import Figure

__all__ = ["MEASUREMENTS", "Measure", "Measurement", "NotHere"]


class NotHere(Exception):
    """What a measurement needs is not installed; the sentence says how to get it."""


class Measure(Protocol):
    """What every measurement module offers as `measure`."""

    def __call__(self, folder: Path, *, quick: bool) -> list[Figure]:
        """Measure in an empty folder; quick = fewest repeats, to see that it works."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One module of this package."""

    about: str
    limit_s: float
    """It is killed after this."""

    def load(self, name: str) -> Measure:
        """The module's function."""
        return cast(Measure, importlib.import_module(f"tests.bench.{name}").measure)


MEASUREMENTS: dict[str, Measurement] = {
    "help_time": Measurement(about="start-up of the command line", limit_s=120.0),
    "prepare_speed": Measurement(about="prepare: speed by stage, memory", limit_s=420.0),
    "prepare_clips": Measurement(about="prepare: clips, speed by stage", limit_s=300.0),
    "feed_speed": Measurement(about="feed: speed, and wait of a training step", limit_s=240.0),
    "feed_files": Measurement(about="feed against files: warm, and from a store", limit_s=600.0),
    "feed_peers": Measurement(about="feed against MosaicML Streaming and litdata", limit_s=600.0),
    "huge_corpus": Measurement(about="sampler and manifest at 10^8 samples", limit_s=600.0),
    "resume_time": Measurement(about="resuming at 90 % of an epoch", limit_s=600.0),
    "data_wait": Measurement(about="data wait beside a step of 20 ms", limit_s=300.0),
    "step_rate": Measurement(about="steps under Ray Train against torchrun", limit_s=600.0),
    "save_stall": Measurement(about="what a save costs the steps beside it", limit_s=600.0),
    "train_memory": Measurement(about="memory of a training worker", limit_s=240.0),
    "video_sink": Measurement(about="frames to a file: piped, and by way of PNG", limit_s=240.0),
    "render_speed": Measurement(about="renderer: frames a second by stage", limit_s=240.0),
    "serve_latency": Measurement(about="endpoint: latency and rate", limit_s=300.0),
}
