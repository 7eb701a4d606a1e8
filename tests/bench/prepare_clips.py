"""`visage prepare` on clips: seconds of video that a core prepares in a second, and by stage.

People are drawn, but nothing is told of where their faces are: they are found and followed as in
footage. The rows are made as an actor of the job makes them, in this process and its decoder, and
published to a folder; Ray is not started.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tests.bench.figures import Figure, figure
from tests.bench.turns import take_turns

from visage.data.chunks import Chunk, prepare_chunk
from visage.data.clip_builder import ClipRowMaker
from visage.data.readers import read_corpus
from visage.faces import open_provider
from visage.media.audio import decode_audio
from visage.media.sandbox import MediaSandbox
from visage.media.video import iter_frames, write_video
from visage.specs.prepare import ClipPrepareSpec
from visage.store.open import open_store
from visage.synth.spec import VoxCeleb2Spec
from visage.synth.voxceleb2 import write_voxceleb2

__all__ = ["measure"]

STAGES = ("decode", "scenes", "detect", "landmarks", "pose", "crop", "encode", "mel", "write")
UNIT = "s of video/s per core"
REAL_TIME = "> 1: faster than real time"
HD = (1080, 1920)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One kind of clips, and what every turn took: seconds of video, CPU seconds by stage."""

    corpus: Path
    torso: str = "off"
    turns: list[tuple[float, dict[str, float]]] = field(default_factory=list)

    def rates(self, stage: str) -> list[float]:
        """Seconds of video by CPU seconds of one stage, by turn."""
        return [media_s / max(1e-9, spent[stage]) for media_s, spent in self.turns]

    def rate(self) -> list[float]:
        """The same over all stages."""
        return [media_s / sum(spent.values()) for media_s, spent in self.turns]


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Clips of three sizes, and one of them with shoulders, in turns."""
    cv2.setNumThreads(1)
    tight, crisp = (_drawn(folder / str(size), size, quick=quick) for size in (224, 512))
    sides = {
        "224x224": _Side(corpus=tight),
        "512x512": _Side(corpus=crisp),
        "512x512 with torso": _Side(corpus=crisp, torso="flow"),
        "1920x1080": _Side(corpus=_wide(folder / "hd", crisp)),
    }
    with MediaSandbox() as sandbox:
        sandbox.start()
        work = {name: _turn(side, sandbox, folder / name) for name, side in sides.items()}
        work["224x224"]()  # loads what is loaded late
        sides["224x224"].turns.clear()
        take_turns(work, 1 if quick else 3)
    how = "drawn people, 25 frames/s, found and followed by dlib68, pictures of 512x512; CPU time"
    figures = [
        figure(f"clips, {name}", side.rate(), UNIT, how=f"{how}; all stages", goal=REAL_TIME)
        for name, side in sides.items()
    ]
    parts = [(name, stage) for name in ("224x224", "1920x1080") for stage in STAGES]
    return figures + [
        figure(f"clips, {name}: {stage}", sides[name].rates(stage), UNIT, how=f"{how}; one stage")
        for name, stage in [*parts, ("512x512 with torso", "flow")]
    ]


def _turn(side: _Side, sandbox: MediaSandbox, out: Path) -> Callable[[], float]:
    corpus = read_corpus(side.corpus)
    names = tuple(record.key for record in corpus.records)
    spec = ClipPrepareSpec.parse({"torso": side.torso})
    maker = ClipRowMaker(spec=spec, provider=open_provider("dlib68"), sandbox=sandbox)
    numbers = itertools.count()

    def turn() -> float:
        chunk = Chunk(key="c", split="train", records=corpus.records, fingerprints=names)
        store = open_store(str(out / str(next(numbers))))
        done = prepare_chunk(chunk, maker, root=side.corpus, store=store, settings="")
        if done.rejected:
            raise RuntimeError(f"{done.rejected} drawn clips of {side.corpus} were rejected")
        side.turns.append((done.media_s, done.seconds))
        return done.media_s

    return turn


def _drawn(folder: Path, size: int, *, quick: bool) -> Path:
    """Clips in the layout of VoxCeleb2, and nothing else."""
    spec = VoxCeleb2Spec(
        identities=1 if quick else 2,
        test_identities=0,
        clips=1,
        seconds=1.2 if quick else 4.0,
        size=size,
    )
    write_voxceleb2(folder, spec)
    shutil.rmtree(folder / "truth")
    return folder


def _wide(folder: Path, drawn: Path) -> Path:
    """The same clips, twice as large, in the middle of a picture of full HD."""
    for path in sorted(drawn.rglob("*.mp4")):
        (folder / path.relative_to(drawn)).parent.mkdir(parents=True)
        sound = decode_audio(path, sample_rate=16_000)
        write_video(folder / path.relative_to(drawn), _framed(path), fps=25, audio=sound)
    return folder


def _framed(path: Path) -> Iterator[NDArray[np.uint8]]:
    height, width = HD
    for frame in iter_frames(path):
        large = cv2.resize(frame, (height, height), interpolation=cv2.INTER_CUBIC)
        beside = (width - height) // 2
        wide = cv2.copyMakeBorder(large, 0, 0, beside, beside, cv2.BORDER_REPLICATE)
        yield np.asarray(wide, np.uint8)
