"""A corpus full of traps: every trap costs its own record, with a code, and nothing else."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from prepare_life import SPEC, DrawnProvider, corpus_of, draw_picture, plan_of

from visage.data.chunks import OUTCOMES_PART, prepare_chunk
from visage.data.emotion_builder import EmotionRowMaker
from visage.data.prepare import assemble, settings_digest
from visage.data.records import Corpus
from visage.errors import DataError
from visage.faces.provider import Face, Image
from visage.media.sandbox import MediaSandbox
from visage.specs.prepare import EmotionPrepareSpec
from visage.store.commit import read_part
from visage.store.open import open_store

STUBS = str(Path(__file__).parents[2] / "support/decoder_stubs.py")
TRAPS: dict[str, tuple[bytes, str]] = {
    "text": (b"raise nothing", "crashed"),
    "poison": (b"segfault", "crashed"),
    "stalls": (b"hang", "timeout"),
    "hoards": (b"hoard 9999999999", "too_large"),
    "cut": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", "truncated"),
    "bomb": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\0\0\0\1\0\0\x08\x02\0\0\0", "too_large"),
}


class _Crowd(DrawnProvider):
    """Two faces in every picture."""

    def detect(self, image: Image) -> list[Face]:
        """One in the middle, one in the corner."""
        return [*super().detect(image), Face(box=(0, 0, 9, 9), score=0.5)]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[MediaSandbox]:
    """Real guards around a decoder that PNG files reach and that texts command."""
    with MediaSandbox(image_timeout_s=20.0, command=("-P", STUBS, "misbehave")) as made:
        yield made


def _outcomes(
    corpus: Corpus,
    out: Path,
    sandbox: MediaSandbox,
    *,
    spec: EmotionPrepareSpec = SPEC,
    provider: DrawnProvider | None = None,
) -> tuple[dict[str, str | None], list[str]]:
    """Code by file name, and the keys of the chunks."""
    store = open_store(str(out))
    settings = settings_digest(spec, provider="drawn")
    found: dict[str, str | None] = {}
    chunks = plan_of(corpus, out, spec).chunks
    maker = EmotionRowMaker(
        classes=corpus.classes, spec=spec, provider=provider or DrawnProvider(), sandbox=sandbox
    )
    for chunk in chunks:
        prepare_chunk(chunk, maker, root=Path(corpus.root), store=store, settings=settings)
        part = read_part(store, f"shards/{chunk.key}", OUTCOMES_PART)
        for row in pq.read_table(io.BytesIO(part)).to_pylist():
            found[Path(row["key"]).stem] = row["code"]
    return found, [chunk.key for chunk in chunks]


def test_every_trap_is_one_rejection_and_the_rest_is_prepared(
    tmp_path: Path, sandbox: MediaSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "corpus/train/Happy"
    for number in range(8):
        draw_picture(folder / f"good{number}.png")
    for name, (body, _) in TRAPS.items():
        (folder / f"{name}.png").write_bytes(body)
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / "gone.png").write_bytes(b"x")
    corpus = corpus_of(tmp_path / "corpus")
    (folder / "gone.png").unlink()
    monkeypatch.setattr(sandbox, "_image_timeout_s", 3.0)

    found, keys = _outcomes(corpus, tmp_path / "out", sandbox)

    expected: dict[str, str | None] = {name: code for name, (_, code) in TRAPS.items()}
    expected |= dict.fromkeys(("pipe", "folder", "gone"), "not_found")
    expected |= dict.fromkeys((f"good{number}" for number in range(8)), None)
    assert found == expected
    store = open_store(str(tmp_path / "out"))
    loose = SPEC.model_copy(update={"max_rejected_share": 0.6})
    manifest = assemble(keys, corpus, store, loose, provider="drawn")
    assert sum(manifest.rejected.values()) + 8 == len(corpus.records)
    strict = SPEC.model_copy(update={"max_rejected_share": 0.001})
    with pytest.raises(DataError, match="max_rejected_share"):
        assemble(keys, corpus, store, strict, provider="drawn")


@pytest.mark.parametrize(
    ("policy", "code"), [("only", "several_faces"), ("surest", None), ("largest", None)]
)
def test_several_faces_follow_the_declared_policy(
    policy: str, code: str | None, tmp_path: Path, sandbox: MediaSandbox
) -> None:
    draw_picture(tmp_path / "corpus/train/Happy/two.png")
    spec = SPEC.model_copy(update={"face_policy": policy})
    corpus = corpus_of(tmp_path / "corpus")
    found, _ = _outcomes(corpus, tmp_path / "out", sandbox, spec=spec, provider=_Crowd())
    assert found == {"two": code}


def test_a_picture_without_a_face_or_with_a_box_outside_is_one_typed_rejection(
    tmp_path: Path, sandbox: MediaSandbox
) -> None:
    folder = tmp_path / "corpus/train/Happy"
    for name in ("black", "outside", "stated"):
        draw_picture(folder / f"{name}.png", black=name == "black")
    corpus = corpus_of(tmp_path / "corpus")
    boxes = {"outside": (900, 900, 950, 950), "stated": (4, 4, 40, 36)}
    records = tuple(replace(one, box=boxes.get(Path(one.key).stem)) for one in corpus.records)
    found, _ = _outcomes(replace(corpus, records=records), tmp_path / "out", sandbox)
    assert found == {"black": "no_face", "outside": "bad_box", "stated": None}
