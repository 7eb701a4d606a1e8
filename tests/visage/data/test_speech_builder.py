"""Promises of preparing speech: recordings of any kind become mel frames, or one typed outcome."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made_speech import made_voice

from visage.data.chunks import prepare_chunk
from visage.data.prepare import assemble, plan_chunks, settings_digest
from visage.data.records import Corpus, Record
from visage.data.shards import ShardRows, load_manifest
from visage.data.speech_builder import SpeechRowMaker
from visage.data.speech_rows import unpack_speech
from visage.errors import MediaError
from visage.media.audio import write_wav
from visage.media.sandbox import MediaSandbox
from visage.models.audio.mel import log_mel
from visage.specs.audio import AudioFrontSpec
from visage.specs.prepare import SpeechPrepareSpec
from visage.store.open import open_store

FRONT = AudioFrontSpec()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[MediaSandbox]:
    with MediaSandbox() as opened:
        yield opened


def _record(name: str, split: str = "train") -> Record:
    return Record(key=name, path=name, kind="audio", label=None, split=split, group=name[:1])  # type: ignore[arg-type]  # a test's split


def _maker(sandbox: MediaSandbox, **changes: object) -> SpeechRowMaker:
    return SpeechRowMaker(spec=SpeechPrepareSpec.parse(changes), sandbox=sandbox)


def test_a_recording_becomes_one_row_of_its_mel_frames(tmp_path: Path, sandbox: MediaSandbox):
    voice = made_voice("one", 1.5)
    write_wav(tmp_path / "a.wav", voice, 16_000)
    seconds: dict[str, float] = {}
    (row,) = _maker(sandbox).rows(_record("a.wav"), tmp_path, seconds)
    assert (row["key"], row["clip"], row["group"]) == ("a.wav", "a.wav", "a")
    assert row["frames"] == 90
    stored = np.round(np.clip(voice, -1, 1) * 32767) / 32768  # what the file holds
    assert np.allclose(unpack_speech(row), log_mel(stored, FRONT), atol=1e-4)
    assert set(seconds) == {"decode", "mel", "write"}


def test_another_rate_is_resampled_and_gives_as_many_frames(tmp_path, sandbox):
    write_wav(tmp_path / "a.wav", made_voice("one", 3.0), 32_000)  # 1.5 s at that rate
    (row,) = _maker(sandbox).rows(_record("a.wav"), tmp_path, {})
    assert abs(row["frames"] - 90) <= 1


def test_a_long_recording_is_cut_into_equal_rows_and_the_cuts_are_not_heard(tmp_path, sandbox):
    write_wav(tmp_path / "a.wav", made_voice("long", 3.3), 16_000)
    whole = unpack_speech(_maker(sandbox).rows(_record("a.wav"), tmp_path, {})[0])
    rows = _maker(sandbox, segment_s=1.0).rows(_record("a.wav"), tmp_path, {})
    assert [row["key"] for row in rows] == ["a.wav#0000", "a.wav#0001", "a.wav#0002"]
    assert [row["start_s"] for row in rows] == pytest.approx([0.0, 1.1, 2.2])
    assert [row["frames"] for row in rows] == [66, 66, 66]
    assert {row["clip"] for row in rows} == {"a.wav"}
    assert np.array_equal(np.concatenate([unpack_speech(row) for row in rows]), whole)


def test_less_than_a_second_is_one_typed_outcome(tmp_path, sandbox):
    write_wav(tmp_path / "a.wav", made_voice("short", 0.99), 16_000)
    with pytest.raises(MediaError, match=r"0\.99 s of sound; at least 1\.0 s") as caught:
        _maker(sandbox).rows(_record("a.wav"), tmp_path, {})
    assert caught.value.code == "too_short"
    assert _maker(sandbox, shortest_s=0.5).rows(_record("a.wav"), tmp_path, {})


def test_a_corpus_of_recordings_becomes_shards_and_what_is_no_sound_a_rejection(tmp_path, sandbox):
    root = tmp_path / "corpus"
    root.mkdir()
    for name in ("a1", "a2", "b1"):
        write_wav(root / f"{name}.wav", made_voice(name, 1.2), 16_000)
    write_wav(root / "c1.wav", made_voice("c1", 0.3), 16_000)
    (root / "d1.wav").write_bytes(b"not a sound at all")
    records = tuple(
        _record(path.name, "val" if path.name[0] == "b" else "train")
        for path in sorted(root.iterdir())
    )
    corpus = Corpus(root=str(root), layout="made", classes=(), records=records)
    store, spec = open_store(str(tmp_path / "out")), SpeechPrepareSpec()
    settings = settings_digest(spec, provider="none")
    plan = plan_chunks(corpus, store, spec, settings=settings)
    maker = _maker(sandbox)
    for chunk in plan.chunks:
        prepare_chunk(chunk, maker, root=root, store=store, settings=settings)
    keys = [chunk.key for chunk in plan.chunks]
    assemble(keys, corpus, store, spec, provider="none")
    manifest, store = load_manifest(store.uri)
    assert manifest.kind == "speech/1"
    assert (manifest.rows("train"), manifest.rows("val")) == (2, 1)
    assert manifest.rejected == {"too_short": 1, "unsupported_format": 1}
    assert AudioFrontSpec.parse(manifest.settings["front"]) == FRONT
    assert ShardRows(manifest, store, "train").column("key") == ["a1.wav", "a2.wav"]
    again = plan_chunks(corpus, store, spec, settings=settings)
    assert not again.chunks


def test_another_front_end_prepares_everything_again():
    spec = SpeechPrepareSpec.parse({"front": {"taper": "plain"}})
    assert settings_digest(spec, provider="none") != settings_digest(
        SpeechPrepareSpec(), provider="none"
    )
