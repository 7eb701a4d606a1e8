"""R2: shards and feed against a DataLoader over JPEG files, warm, and cold from an object store.

Two anchors, since files can hold two things. `same crops` is like for like: the very JPEG bytes of
the shards as two files a sample, so both sides decode the same. `whole pictures` is what a corpus
has on its disk without `visage prepare`: one picture a sample, from which face and context are cut.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.bench.corpora import Drawing, draw, write_shards
from tests.bench.figures import Figure, figure, paired
from tests.bench.file_loader import FileLoader, Files, Kind, write_crops, write_pictures
from tests.bench.object_server import BUCKET, object_server
from tests.bench.turns import seconds, take_turns

from visage.data.emotion_rows import EmotionDecoder
from visage.data.feed import ShardFeed
from visage.data.manifest import Manifest
from visage.data.sampler import Sampler
from visage.data.shards import ShardRows, load_manifest
from visage.specs.train import EmotionTrainSpec
from visage.store.base import Store
from visage_jobs.presets import find_preset

__all__ = ["Sides", "compare", "measure"]

PRESET = "emotion-small"
WORKERS = 2
DELAY_S = 0.015
LIKE_PICTURES = 12.0
"""Grey levels by which crops of whole pictures may differ on average: ours are JPEGs once more."""
Arrays = Mapping[str, NDArray[Any]]


class Sides:
    """Our feed and both anchors over one corpus; a pass is one epoch's whole batches."""

    def __init__(self, folder: Path, drawings: Sequence[Drawing], rows: int) -> None:
        self._folder = folder
        self.spec = EmotionTrainSpec.load(find_preset(PRESET))
        self.uri = write_shards(folder / "shards", drawings, self.spec.model.input, train=rows)
        opened = self.rows(*load_manifest(self.uri))
        write_crops(folder / "crops", opened)
        write_pictures(folder / "pictures", opened, drawings)
        self._sampler = Sampler(
            samples=rows, global_batch=self.spec.global_batch, seed=self.spec.seed
        )
        self.steps = rows // self.spec.global_batch
        self._numbers = count()

    @property
    def samples(self) -> int:
        """Of one pass."""
        return self.steps * self.spec.global_batch

    def rows(self, manifest: Manifest, store: Store, cache: Path | None = None) -> ShardRows:
        """Checked as a training session does."""
        rows = ShardRows(manifest, store, "train", cache=cache)
        rows.check()
        return rows

    def ours(self, rows: ShardRows, steps: range) -> Iterator[Arrays]:
        """The feed over some steps; nothing is decoded ahead of the first."""
        decode = EmotionDecoder(model=self.spec.model, augment=self.spec.augment, training=True)
        feed = ShardFeed(rows, self._sampler, decode, threads=WORKERS, ahead=self.spec.feed_ahead)
        for step in steps:
            yield feed.batch(step).arrays
        feed.close()

    def fresh_cache(self) -> Path:
        """A folder that no pass has used."""
        return self._folder / f"cache{next(self._numbers)}"

    def order(self, steps: range) -> list[list[tuple[int, int]]]:
        """Epoch and sample of every place in those steps."""
        return [
            list(zip(*(one.tolist() for one in self._sampler.step_ids(step)), strict=True))
            for step in steps
        ]

    def files(self, kind: Kind, endpoint: str = "") -> Files:
        """An anchor's data set."""
        return Files(
            self._folder / kind, kind, self.spec.model, self.spec.augment, self.spec.seed,
            endpoint=endpoint, prefix=kind,
        )  # fmt: skip


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Bytes are compared first, then the clock runs."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    sides = Sides(folder, draw(21 if quick else 70), 96 if quick else 1024)
    return [
        *_warm(sides, turns=1 if quick else 5),
        *_cold(sides, folder, turns=1 if quick else 3),
    ]


def _warm(sides: Sides, *, turns: int) -> Iterator[Figure]:
    rows = sides.rows(*load_manifest(sides.uri))
    loaders = {
        kind: FileLoader(sides.files(kind), workers=WORKERS) for kind in ("crops", "pictures")
    }
    first = range(sides.steps)
    compare(sides, lambda: sides.ours(rows, first), loaders, first)
    epochs = count(1)

    def steps() -> range:
        """Later steps each time, so that no side repeats a random number."""
        at = next(epochs) * sides.steps
        return range(at, at + sides.steps)

    def pass_of(kind: str) -> Callable[[], float]:
        return lambda: _rate(sides, lambda: loaders[kind].batches(sides.order(steps())))

    taken = take_turns(
        {
            "ours": lambda: _rate(sides, lambda: sides.ours(rows, steps())),
            "crops": pass_of("crops"),
            "pictures": pass_of("pictures"),
        },
        turns,
    )
    for loader in loaders.values():
        loader.close()
    yield from _figures(taken, "warm", "everything in the page cache")


def _cold(sides: Sides, folder: Path, *, turns: int) -> Iterator[Figure]:
    with object_server(folder, delay_s=DELAY_S) as endpoint, _credentials(endpoint):
        loaders = {
            kind: FileLoader(sides.files(kind, endpoint), workers=WORKERS)
            for kind in ("crops", "pictures")
        }
        first = range(sides.steps)
        manifest, store = load_manifest(f"s3://{BUCKET}/shards")

        def ours() -> Iterator[Arrays]:
            return sides.ours(sides.rows(manifest, store, sides.fresh_cache()), first)

        def pass_of(kind: str) -> Callable[[], float]:
            return lambda: _rate(sides, lambda: loaders[kind].batches(sides.order(first)))

        compare(sides, ours, loaders, first)
        taken = take_turns(
            {
                "ours": lambda: _rate(sides, ours),
                "crops": pass_of("crops"),
                "pictures": pass_of("pictures"),
            },
            turns,
        )
        for loader in loaders.values():
            loader.close()
    how = (
        f"from an object server on the same machine, {1e3 * DELAY_S:.0f} ms before every answer; "
        "manifest, index and clients are there already; ours checks and fetches all shards into an "
        "empty cache in that time; files: boto3, 32 connections a worker, a batch's files asked "
        "for at once"
    )
    yield from _figures(taken, "cold store, 15 ms", how)


def _rate(sides: Sides, start: Callable[[], Iterator[object]]) -> float:
    """Samples per second of one pass."""

    def work() -> None:
        for _ in start():
            pass

    return sides.samples / seconds(work)


def compare(
    sides: Sides, ours: Callable[[], Iterator[Arrays]], loaders: Mapping[Kind, FileLoader],
    steps: range,
) -> None:  # fmt: skip
    """The anchors' bytes are ours (crops), or as near as a second JPEG leaves them (pictures)."""
    order = sides.order(steps)
    passes = zip(
        ours(), loaders["crops"].batches(order), loaders["pictures"].batches(order), strict=True
    )
    for own, crops, pictures in passes:
        for name, mine in own.items():
            if not np.array_equal(mine, crops[name].numpy()):
                raise AssertionError(f"{name}: the files give other bytes than the shards")
            gap = np.abs(mine.astype(np.int16) - pictures[name].numpy()).mean()
            if mine.shape != tuple(pictures[name].shape) or gap > LIKE_PICTURES:
                raise AssertionError(
                    f"{name}: whole pictures differ by {gap:.1f} levels on average"
                )


def _figures(taken: Mapping[str, Sequence[float]], label: str, how: str) -> Iterator[Figure]:
    how = (
        f"{how}; {PRESET}, {WORKERS} threads or worker processes on each side, the same decoder, "
        "order and augmentation, outputs compared before the clock ran"
    )
    about = {
        "crops": "files hold the shards' own JPEG bytes, two a sample",
        "pictures": "files hold whole pictures (533 x 400), which are decoded and cut",
    }
    names = {"crops": "same crops as files", "pictures": "whole pictures as files"}
    yield figure(f"{label}: our feed", taken["ours"], "samples/s", how=how)
    for kind, name in names.items():
        yield figure(f"{label}: {name}", taken[kind], "samples/s", how=f"{how}; {about[kind]}")
    for kind, name in names.items():
        yield paired(
            f"feed by files, {label}, {name}", taken["ours"], taken[kind],
            how=f"{how}; {about[kind]}", goal=">= 3" if kind == "pictures" else ">= 1", ratio="R2",
        )  # fmt: skip


@contextmanager
def _credentials(endpoint: str) -> Iterator[None]:
    """The environment that our store reads; put back afterwards."""
    wanted = {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
