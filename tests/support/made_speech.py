"""Tiny prepared speech, written straight as shards: gliding vowels with pauses, made by formula."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from visage.data.manifest import Manifest, Shard
from visage.data.records import Split
from visage.data.shards import MANIFEST_NAME, ROWS_PART, shard_bytes
from visage.data.speech_rows import SPEECH_ROWS, SPEECH_SCHEMA, pack_speech
from visage.models.audio.mel import log_mel
from visage.seeds import rng_of
from visage.specs.audio import AudioFrontSpec
from visage.store.commit import commit
from visage.store.open import open_store

__all__ = ["made_voice", "write_speech_corpus"]

FRONT = AudioFrontSpec()
NOISE = 2e-5


def made_voice(key: str, seconds: float) -> NDArray[np.float32]:
    """A buzz through two formants that glide from vowel to vowel, silent between syllables."""
    rng = rng_of("made voice", key)
    time_s = np.arange(round(seconds * FRONT.sample_rate)) / FRONT.sample_rate
    pitch_hz = rng.uniform(90, 220) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(0.3, 1) * time_s))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / FRONT.sample_rate
    swing = np.sin(2 * np.pi * rng.uniform(1.0, 2.0) * time_s + rng.uniform(0, 6))
    loudness = np.clip(np.sin(np.pi * rng.uniform(2.5, 4.0) * time_s + rng.uniform(0, 6)), 0, None)
    voice = np.zeros_like(time_s)
    for harmonic in range(1, 30):
        hertz = harmonic * pitch_hz
        gain = sum(
            np.exp(-(((hertz - formant) / 250) ** 2))
            for formant in (500 + 250 * swing, 1500 - 600 * swing)
        )
        voice += gain * np.sin(harmonic * phase)
    noise = rng.normal(0, NOISE, len(time_s))
    return (0.2 * voice * loudness + noise).astype(np.float32)


def write_speech_corpus(
    folder: Path | str, *, train: int = 16, val: int = 4, seconds: float = 2.0
) -> str:
    """Shards and manifest under a folder or URI; returns the URI. Lengths vary by a half."""
    store = open_store(str(folder))
    shards: list[Shard] = []
    sizes: dict[Split, int] = {"train": train, "val": val}
    for split, size in sizes.items():
        rows = []
        for index in range(size):
            key = f"{split}/{index:04d}"
            lasts_s = seconds * (0.5 + (index % 5) / 4)
            mel = log_mel(made_voice(key, lasts_s), FRONT)
            rows.append({
                "key": key, "group": key, "clip": key, "source_sha256": "0" * 64, "start_s": 0.0,
                **pack_speech(mel),
            })  # fmt: skip
        body = shard_bytes(pa.Table.from_pylist(rows, schema=SPEECH_SCHEMA))
        made = commit(store, f"shards/{split}", {ROWS_PART: body}).parts[ROWS_PART]
        shards.append(
            Shard(
                path=f"shards/{split}/{made.path}", sha256=made.sha256, rows=size,
                size_bytes=made.size_bytes, split=split,
            )
        )  # fmt: skip
    manifest = Manifest(
        kind=SPEECH_ROWS, classes=(), shards=tuple(shards),
        settings={"front": FRONT.model_dump(mode="json")},
        source={"root": "made", "layout": "made"}, counts={}, rejected={},
    )  # fmt: skip
    store.put(MANIFEST_NAME, manifest.to_json())
    return store.uri
