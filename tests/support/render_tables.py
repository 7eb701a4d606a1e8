"""A render table with its pictures and sounds in one folder, and a worker of a tiny model."""

from __future__ import annotations

import json
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tiny_talking_head import FACE, DrawnFaces

from visage.faces.provider import FaceProvider
from visage.inference.talking_head import TalkingHead, load_talking_head
from visage.media.image import encode_png
from visage.media.sandbox import MediaSandbox
from visage.rendering.batch_plan import BatchPlan, plan_batch
from visage.rendering.clip_store import ClipStore
from visage.rendering.keys import RenderSetting, StyleRef
from visage.rendering.outcome import Outcome
from visage.rendering.row_worker import RowWorker
from visage.rendering.rows import RenderTable, read_rows
from visage.specs.render import RenderSpec
from visage.store.open import open_store

__all__ = ["FAST", "RenderSite", "write_picture", "write_sound"]

FAST = RenderSpec.parse({"fps": 24, "size": 64, "preset": "ultrafast", "crf": 35})


def write_picture(path: Path, seed: int = 0) -> None:
    """Noise in which `DrawnFaces` sees a face."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (256, 256, 3), np.uint8)
    path.write_bytes(encode_png(pixels, compression=1))


def write_sound(path: Path, seconds: float = 0.4, seed: int = 0) -> None:
    """Noise that is heard."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * 16_000))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((noise * 32767).astype("<i2").tobytes())


class RenderSite:
    """A folder with a table `rows.jsonl`, its media, a model and an output folder."""

    def __init__(self, folder: Path, model: str, sandbox: MediaSandbox) -> None:
        """model: the URI that `publish_tiny_head` gave."""
        self.folder, self.out, self.sandbox = folder, folder / "out", sandbox
        folder.mkdir(parents=True, exist_ok=True)
        self.head: TalkingHead = load_talking_head(model)
        for name in ("ann", "bob"):
            write_picture(folder / f"{name}.png", seed=len(name) + ord(name[0]))
        for name, seed in (("hello", 1), ("bye", 2)):
            write_sound(folder / f"{name}.wav", seed=seed)

    def table(self, rows: Sequence[Mapping[str, object]]) -> RenderTable:
        """Write the rows and read them back."""
        path = self.folder / "rows.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return read_rows(str(path))

    def setting(self, spec: RenderSpec = FAST) -> RenderSetting:
        """The tiny model, seen with drawn faces."""
        return RenderSetting(
            model="tiny", model_uri=self.head.uri, model_digest=self.head.digest, faces="drawn",
            device="cpu", spec=spec,
        )  # fmt: skip

    @property
    def clips(self) -> ClipStore:
        """What stands in the output folder."""
        return ClipStore(open_store(str(self.out)))

    def style(self, name: str | None) -> StyleRef:
        """A style of the model."""
        card = self.head.style(name)
        return StyleRef(
            name=card.name, uri=f"{self.head.uri}/styles/{card.name}", digest=card.digest
        )

    def plan(self, table: RenderTable, spec: RenderSpec = FAST, **choices: bool) -> BatchPlan:
        """What is to do."""
        return plan_batch(
            table, self.setting(spec), clips=self.clips, find_style=self.style, **choices
        )

    def worker(
        self, table: RenderTable, spec: RenderSpec = FAST, *, provider: FaceProvider | None = None
    ) -> RowWorker:
        """One worker that sees a drawn face in every picture."""
        return RowWorker(
            self.setting(spec), head=self.head, provider=provider or DrawnFaces(FACE),
            sandbox=self.sandbox, files=table.files, clips=self.clips,
        )  # fmt: skip

    def render(
        self, table: RenderTable, spec: RenderSpec = FAST, **choices: bool
    ) -> tuple[BatchPlan, dict[str, Outcome]]:
        """Plan and work through all tasks; outcomes by the row's name."""
        plan = self.plan(table, spec, **choices)
        work = self.worker(table, spec)
        return plan, plan.outcomes({task.key: work(task) for task in plan.tasks})
