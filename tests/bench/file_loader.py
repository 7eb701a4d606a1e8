"""The anchor of the feed: a PyTorch DataLoader over one JPEG file a picture, by class folders.

What a good engineer writes without shards: worker processes that stay, prefetching on, the same
decoder, the same augmentation from the same seeds, the order given. From an object store every
batch's files are asked for at once, by as many connections as boto3 is given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tests.bench.corpora import Drawing
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from visage.data.emotion_inputs import Augmentation, EmotionInputs, training_views
from visage.data.shards import ShardRows
from visage.media.image import encode_jpeg
from visage.media.stored import decode_stored
from visage.seeds import rng_of
from visage.specs.emotion import EmotionModelSpec

__all__ = ["FileLoader", "Files", "write_crops", "write_pictures"]

INDEX = "index.json"
CONNECTIONS = 32
Pair = tuple[int, int]
"""Epoch and sample."""
Kind = Literal["crops", "pictures"]


def write_crops(folder: Path, rows: ShardRows) -> None:
    """The very bytes of prepared rows as files: <class>/<sample>.face.jpg and .context.jpg."""
    index = []
    for sample in range(len(rows)):
        row = rows.row(sample)
        stem = f"{row['label']}/{sample:06d}"
        _write(folder / f"{stem}.face.jpg", row["face"])
        _write(folder / f"{stem}.context.jpg", row["context"])
        index.append({"stem": stem, "label": row["label"], "box": list(row["context_box"])})
    (folder / INDEX).write_text(json.dumps(index))


def write_pictures(folder: Path, rows: ShardRows, drawings: Sequence[Drawing]) -> None:
    """Whole pictures as a corpus has them: <class>/<sample>.jpg, and the face's box."""
    bodies = [encode_jpeg(image) for image, _, _ in drawings]
    index = []
    for sample in range(len(rows)):
        row = rows.row(sample)
        drawn = int(row["key"].rpartition("/")[2]) % len(drawings)  # as write_shards repeats them
        stem = f"{row['label']}/{sample:06d}"
        _write(folder / f"{stem}.jpg", bodies[drawn])
        index.append({"stem": stem, "label": row["label"], "box": list(drawings[drawn][1])})
    (folder / INDEX).write_text(json.dumps(index))


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


@dataclass
class Files(Dataset[dict[str, np.ndarray[Any, Any]]]):
    """One sample by (epoch, number); read from a folder, or from `endpoint` if there is one."""

    folder: Path
    kind: Kind
    model: EmotionModelSpec
    augment: Augmentation
    seed: int
    endpoint: str = ""
    prefix: str = ""
    _index: list[dict[str, Any]] = field(default_factory=list)
    _remote: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Read the index, which the cluster would hold in memory."""
        self._index = json.loads((self.folder / INDEX).read_text())

    def __len__(self) -> int:
        """How many samples."""
        return len(self._index)

    def __getitems__(self, pairs: list[Pair]) -> list[dict[str, np.ndarray[Any, Any]]]:
        """A whole batch, so that a store is asked for all its files at once."""
        names = [name for _, sample in pairs for name in self._names(sample)]
        bodies = iter(self._bodies(names))
        many = len(names) // len(pairs)
        return [self._sample(pair, [next(bodies) for _ in range(many)]) for pair in pairs]

    def _names(self, sample: int) -> list[str]:
        stem = self._index[sample]["stem"]
        ends = (".face.jpg", ".context.jpg") if self.kind == "crops" else (".jpg",)
        return [stem + end for end in ends]

    def _bodies(self, names: Sequence[str]) -> list[bytes]:
        if not self.endpoint:
            return [(self.folder / name).read_bytes() for name in names]
        if self._remote is None:
            self._remote = (_client(self.endpoint), ThreadPoolExecutor(CONNECTIONS))
        client, pool = self._remote

        def get(name: str) -> bytes:
            body: bytes = client.get_object(Bucket="bench", Key=f"{self.prefix}/{name}")[
                "Body"
            ].read()
            return body

        return list(pool.map(get, names))

    def _sample(self, pair: Pair, bodies: list[bytes]) -> dict[str, np.ndarray[Any, Any]]:
        epoch, sample = pair
        known = self._index[sample]
        box = tuple(known["box"])
        if self.kind == "crops":
            face, context = (decode_stored(body) for body in bodies)
            inputs = EmotionInputs(face=face, context=context, box=box)
        else:
            inputs = EmotionInputs.of(decode_stored(bodies[0]), box, self.model.input)
        rng = rng_of(self.seed, "augment", epoch, sample)
        face, context = training_views(inputs, self.model, augmentation=self.augment, rng=rng)
        label = np.asarray(known["label"], np.int64)
        return {"face": face, "context": context, "label": label}


class FileLoader:
    """Batches in a given order from worker processes that stay."""

    def __init__(self, files: Files, *, workers: int) -> None:
        self._order = _Order()
        self._loader = DataLoader(
            files,
            batch_sampler=self._order,
            num_workers=workers,
            collate_fn=_stacked,
            persistent_workers=workers > 0,
            multiprocessing_context="spawn" if workers else None,
        )

    def batches(self, order: Sequence[list[Pair]]) -> Iterator[dict[str, Tensor]]:
        """One pass."""
        self._order.batches = order
        yield from self._loader

    def close(self) -> None:
        """End the workers."""
        del self._loader


class _Order:
    """A batch sampler whose batches are set before each pass."""

    def __init__(self) -> None:
        self.batches: Sequence[list[Pair]] = ()

    def __iter__(self) -> Iterator[list[Pair]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def _stacked(samples: list[dict[str, np.ndarray[Any, Any]]]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.stack([one[name] for one in samples])) for name in samples[0]}


def _client(endpoint: str) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="bench",
        aws_secret_access_key="bench",
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=CONNECTIONS),
    )
