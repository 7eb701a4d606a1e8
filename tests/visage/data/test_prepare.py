"""Prepare: nothing twice, one outcome a record, and no kill that loses or doubles a row."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import prepare_life
import pyarrow as pa
import pytest
from commit_checker import check_commit
from prepare_life import SPEC, corpus_of, draw_picture, draw_pictures, plan_of, prepare

from visage.data import shard_writer as shard_writer_module
from visage.data.chunks import prepare_chunk
from visage.data.prepare import assemble, plan_chunks, settings_digest
from visage.data.records import SPLITS, Corpus, Record
from visage.data.row_maker import Row
from visage.data.shards import MANIFEST_NAME, ShardRows, load_manifest, read_shard
from visage.errors import CorruptError, DataError, StoreError
from visage.specs.prepare import ClipPrepareSpec, EmotionPrepareSpec
from visage.store.open import open_store

CLIPS = ClipPrepareSpec()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw_pictures(tmp_path / "pictures")


def _keys(out: Path | str) -> list[str]:
    """Keys of all rows, read back from the shards."""
    manifest, store = load_manifest(str(out))
    return sorted(
        key for split in SPLITS for key in ShardRows(manifest, store, split).column("key")
    )


def test_every_picture_becomes_one_row_of_its_split_and_class(root: Path, tmp_path: Path) -> None:
    corpus = corpus_of(root)
    made = prepare(corpus, tmp_path / "out").manifest
    assert _keys(tmp_path / "out") == [record.key for record in corpus.records]
    assert [made.rows(split) for split in SPLITS] == [10, 3, 3]
    assert [shard.rows for shard in made.shards if shard.split == "train"].count(4) == 2
    assert sum(made.counts["train"].values()) == 10
    assert made.rejected == {}
    loaded, store = load_manifest(str(tmp_path / "out"))
    assert loaded.digest() == made.digest()
    rows = ShardRows(loaded, store, "train")
    rows.check()
    for sample in range(10):
        row = rows.row(sample)
        assert loaded.classes[row["label"]] in row["key"]
        assert row["box"] == [12, 10, 36, 30]


def test_a_second_run_has_nothing_to_do_and_gives_the_same_manifest(
    root: Path, tmp_path: Path
) -> None:
    first = prepare(corpus_of(root), tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "shards").rglob("*")}
    again = prepare(corpus_of(root), tmp_path / "out")
    assert again.plan.chunks == ()
    assert again.plan.standing_records == again.plan.records == 16
    assert again.manifest == first.manifest
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "shards").rglob("*")}
    assert before == after


def test_a_new_picture_is_the_only_one_prepared(root: Path, tmp_path: Path) -> None:
    prepare(corpus_of(root), tmp_path / "out")
    draw_picture(root / "train" / "Happy" / "new.png")
    grown = prepare(corpus_of(root), tmp_path / "out")
    assert [[one.key for one in chunk.records] for chunk in grown.plan.chunks] == [
        ["train/Happy/new.png"]
    ]
    assert grown.asked == 1
    assert len(_keys(tmp_path / "out")) == 17


def test_a_removed_picture_is_gone_and_nothing_is_decoded_for_it(
    root: Path, tmp_path: Path
) -> None:
    prepare(corpus_of(root), tmp_path / "out")
    (root / "train" / "Fear" / "train002.png").unlink()
    shrunk = prepare(corpus_of(root), tmp_path / "out")
    assert shrunk.asked == 0
    assert len(shrunk.plan.chunks) == 1
    assert _keys(tmp_path / "out") == [record.key for record in corpus_of(root).records]


def test_after_a_removal_too_the_second_run_has_nothing_to_do(root: Path, tmp_path: Path) -> None:
    for number in range(8):  # whichever of the old and the new shard comes first
        for path in root.rglob("*.png"):
            os.utime(path, (number, number))
        out = tmp_path / str(number)
        prepare(corpus_of(root), out)
        small = replace(corpus_of(root), records=corpus_of(root).records[1:])
        prepare(small, out)
        assert plan_of(small, out).chunks == ()
        assert plan_of(corpus_of(root), out).chunks == ()  # the old shard still stands


def test_a_changed_picture_is_prepared_again_and_its_old_row_is_gone(
    root: Path, tmp_path: Path
) -> None:
    path = root / "val" / "Anger" / "val000.png"
    before = prepare(corpus_of(root), tmp_path / "out").manifest
    draw_picture(path, seed=1)
    os.utime(path, ns=(1, 1))
    changed = prepare(corpus_of(root), tmp_path / "out")
    assert changed.asked == 1
    assert changed.manifest.digest() != before.digest()
    assert len(_keys(tmp_path / "out")) == len(set(_keys(tmp_path / "out"))) == 16


@pytest.mark.parametrize("what", ["label", "split", "box"])
def test_a_record_of_which_the_corpus_says_something_else_is_prepared_again(
    what: str, root: Path, tmp_path: Path
) -> None:
    corpus = corpus_of(root)
    prepare(corpus, tmp_path / "out")
    change = {"label": "Sad", "split": "val", "box": (1, 1, 9, 9)}[what]
    first = replace(corpus.records[0], **{what: change})
    changed = prepare(replace(corpus, records=(first, *corpus.records[1:])), tmp_path / "out")
    assert [chunk.records for chunk in changed.plan.chunks if chunk.keep_of is None] == [(first,)]
    assert len(set(_keys(tmp_path / "out"))) == 16


@pytest.mark.parametrize(
    ("change", "again"),
    [({"jpeg_quality": 80}, 16), ({"face_policy": "largest"}, 16), ({"rows_per_shard": 3}, 0),
     ({"max_rejected_share": 0.1}, 0), ({"seed": 4}, 0), ({"faces": "fan"}, 0)],
)  # fmt: skip
def test_only_settings_that_decide_a_rows_content_prepare_it_again(
    change: dict[str, object], again: int, root: Path, tmp_path: Path
) -> None:
    prepare(corpus_of(root), tmp_path / "out")
    spec = EmotionPrepareSpec.parse({**SPEC.model_dump(), **change})
    assert prepare(corpus_of(root), tmp_path / "out", spec).asked == again


def test_another_face_provider_prepares_everything_again() -> None:
    assert settings_digest(SPEC, provider="a") != settings_digest(SPEC, provider="b")


BAD = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "unsupported_format": lambda path: path.write_bytes(b"GIF89a" + bytes(100)),
    "empty": lambda path: path.write_bytes(b""),
    "no_face": lambda path: draw_picture(path, black=True),
}


@pytest.mark.parametrize("code", BAD)
def test_a_bad_picture_is_one_typed_rejection_and_the_outcomes_add_up(
    code: str, root: Path, tmp_path: Path
) -> None:
    BAD[code](root / "train" / "Happy" / "train003.png")
    made = prepare(corpus_of(root), tmp_path / "out")
    assert made.manifest.rejected == {code: 1}
    assert sum(done.prepared + done.rejected for done in made.done) == 16
    assert sum(made.manifest.rows(split) for split in SPLITS) == 15
    assert plan_of(corpus_of(root), tmp_path / "out").chunks == ()  # not tried again and again


def test_a_vanished_picture_and_a_strange_label_are_rejections_too(
    root: Path, tmp_path: Path
) -> None:
    corpus = corpus_of(root)
    (root / corpus.records[1].path).unlink()
    strange = replace(corpus.records[0], label="Contempt")
    unsaid = replace(corpus.records[2], label=None)
    records = (strange, corpus.records[1], unsaid, *corpus.records[3:])
    made = prepare(replace(corpus, records=records), tmp_path / "out")
    assert made.manifest.rejected == {"bad_label": 2, "not_found": 1}


def test_a_mended_picture_is_prepared_at_the_next_run(root: Path, tmp_path: Path) -> None:
    path = root / "train" / "Happy" / "train003.png"
    BAD["empty"](path)
    prepare(corpus_of(root), tmp_path / "out")
    draw_picture(path)
    mended = prepare(corpus_of(root), tmp_path / "out")
    assert mended.asked == 1
    assert mended.manifest.rejected == {}
    assert len(_keys(tmp_path / "out")) == 16


def test_too_many_rejections_stop_the_job_with_counts_and_write_no_manifest(
    root: Path, tmp_path: Path
) -> None:
    for path in sorted(root.rglob("*.png"))[:9]:
        BAD["empty"](path)
    with pytest.raises(DataError, match=r"9 of 16 records rejected \(empty 9\)"):
        prepare(corpus_of(root), tmp_path / "out")
    assert not (tmp_path / "out" / MANIFEST_NAME).exists()
    tolerant = SPEC.model_copy(update={"max_rejected_share": 0.9})
    assert prepare(corpus_of(root), tmp_path / "out", tolerant).asked == 0


def test_a_corpus_of_which_nothing_can_be_used_is_refused(root: Path, tmp_path: Path) -> None:
    for path in root.rglob("*.png"):
        BAD["empty"](path)
    tolerant = SPEC.model_copy(update={"max_rejected_share": 1.0})
    with pytest.raises(DataError, match="16 of 16 records rejected"):
        prepare(corpus_of(root), tmp_path / "out", tolerant)


def test_clips_are_refused_with_the_command_to_run_first(root: Path, tmp_path: Path) -> None:
    corpus = corpus_of(root)
    clip = replace(corpus.records[0], kind="video")
    with pytest.raises(DataError, match=r"1 of 16 records are clips.*visage ncaers"):
        plan_of(replace(corpus, records=(clip, *corpus.records[1:])), tmp_path / "out")


def test_a_record_without_an_outcome_is_noticed(root: Path, tmp_path: Path) -> None:
    made = prepare(corpus_of(root), tmp_path / "out")
    store = open_store(str(tmp_path / "out"))
    keys = [chunk.key for chunk in made.plan.chunks]
    with pytest.raises(DataError, match=r"16 records, but 1\d prepared"):
        assemble(keys[1:], corpus_of(root), store, SPEC, provider="drawn")
    with pytest.raises(DataError, match="not finished; run prepare again"):
        assemble([*keys[1:], "absent"], corpus_of(root), store, SPEC, provider="drawn")


POINTS = [
    "prepare.before_shard@2", "prepare.after_shard@1", "prepare.after_shard@5",
    "prepare.before_manifest", "commit.before_parts@1", "commit.between_parts@3",
    "commit.before_marker@2", "commit.after_marker@3", "store.put.before_publish@5",
]  # fmt: skip


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What a prepare killed at each point left behind, by point."""
    folder = tmp_path_factory.mktemp("killed")
    draw_pictures(folder / "pictures")
    support, temporary = Path(prepare_life.__file__), folder / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, str(support), str(folder / "pictures"), str(folder), *POINTS],
        capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    ends = dict(line.split() for line in done.stdout.splitlines())
    assert ends == dict.fromkeys(POINTS, str(-signal.SIGKILL))
    return {point: folder / point for point in POINTS}


def test_a_killed_prepare_leaves_no_shard_among_the_temporary_files(
    killed: dict[str, Path],
) -> None:
    temporary = killed[POINTS[0]].parent / "temporary"
    assert [path for path in temporary.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("point", POINTS)
def test_a_prepare_killed_anywhere_and_run_again_has_each_picture_exactly_once(
    point: str, killed: dict[str, Path], tmp_path: Path
) -> None:
    out = killed[point]
    assert not (out / MANIFEST_NAME).exists()
    corpus = corpus_of(out.parent / "pictures")
    whole = [path.parent for path in out.rglob("COMMIT")]
    assert all(check_commit(folder) for folder in whole)
    resumed = prepare(corpus, out)
    assert resumed.plan.standing_records == 16 - resumed.asked
    assert len(resumed.plan.standing) == len(whole)
    assert _keys(out) == [record.key for record in corpus.records]
    assert resumed.manifest.digest() == prepare(corpus, tmp_path / "unbroken").manifest.digest()


def test_two_runs_on_copies_of_a_corpus_give_one_digest_and_one_order_of_samples(
    root: Path, tmp_path: Path
) -> None:
    shutil.copytree(root, tmp_path / "copy")
    for number, path in enumerate(sorted((tmp_path / "copy").rglob("*.png"))):
        os.utime(path, (number, number))
    one = prepare(corpus_of(root), tmp_path / "one").manifest
    two = prepare(corpus_of(tmp_path / "copy"), tmp_path / "two").manifest
    assert one.digest() == two.digest()
    for split in SPLITS:
        keys = [
            ShardRows(*load_manifest(str(tmp_path / name)), split).column("key")
            for name in ("one", "two")
        ]
        assert keys[0] == keys[1]


def test_a_corpus_that_grew_has_another_digest_than_one_prepared_whole_but_the_same_rows(
    root: Path, tmp_path: Path
) -> None:
    # The digest names shards; where they are cut depends on when the pictures came.
    records = corpus_of(root).records
    small = replace(corpus_of(root), records=(*records[:5], *records[6:]))
    prepare(small, tmp_path / "grown")
    grown = prepare(corpus_of(root), tmp_path / "grown").manifest
    whole = prepare(corpus_of(root), tmp_path / "whole").manifest
    assert grown.digest() != whole.digest()
    assert _keys(tmp_path / "grown") == _keys(tmp_path / "whole")
    assert grown.counts == whole.counts


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_standing_shard_that_lost_a_part_is_not_taken_for_whole(
    damage: str, root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    prepare(corpus_of(root), out)
    victim = sorted(out.rglob("rows.*.arrow"))[0]
    victim.unlink() if damage == "missing" else victim.write_bytes(victim.read_bytes()[:-9])
    with pytest.raises(CorruptError, match=rf"{victim.parent}.*delete it and run"):
        plan_of(corpus_of(root), out)
    shutil.rmtree(victim.parent)
    assert prepare(corpus_of(root), out).manifest.rows("train") == 10


class _Heavy:
    """Makes of every clip two rows of a megabyte, without looking at it."""

    schema = pa.schema([("key", pa.string()), ("clip", pa.string()), ("body", pa.binary())])

    def rows(self, record: Record, root: Path, seconds: dict[str, float]) -> list[Row]:
        pair = [{"key": f"{record.key}@{part}", "clip": record.key} for part in range(2)]
        return [{**row, "body": row["key"].encode() + bytes(1 << 20)} for row in pair]

    def count_by(self, row: Mapping[str, Any]) -> str:
        return "all"

    def duration_s(self, row: Mapping[str, Any]) -> float:
        return 1.0


def _clips(root: Path, sizes_mib: Sequence[float]) -> Corpus:
    """Clips of these sizes, of which nothing is on the disk."""
    root.mkdir()
    records = []
    for index, size_mib in enumerate(sizes_mib):
        path = root / f"{index:03d}.mp4"
        path.touch()
        os.truncate(path, int(size_mib * 2**20))
        records.append(
            Record(key=path.name, path=path.name, kind="video", label=None, split="train")
        )
    return Corpus(root=str(root), layout="clips", classes=(), records=tuple(records))


def test_a_chunk_of_clips_ends_by_count_or_by_the_size_of_their_files(tmp_path: Path) -> None:
    sizes = [1] * 8 + [20, 20, 500, 1, 31, 0.5]
    plan = plan_chunks(
        _clips(tmp_path / "clips", sizes), open_store(str(tmp_path)), CLIPS, settings="s"
    )
    assert [len(chunk.records) for chunk in plan.chunks] == [8, 2, 1, 2, 1]


@pytest.mark.parametrize("seed", range(4))
def test_what_a_killed_prepare_of_clips_leaves_is_cut_as_it_was(seed: int, tmp_path: Path) -> None:
    """Chunks that differed would still hold every clip once, but give the data another digest."""
    rng = np.random.default_rng(seed)
    corpus = _clips(tmp_path / "clips", rng.choice([0.5, 3, 9, 15, 40], 40).tolist())
    store = open_store(str(tmp_path / "out"))
    whole = plan_chunks(corpus, store, CLIPS, settings="s").chunks
    assert len({len(chunk.records) for chunk in whole}) > 2
    done = rng.random(len(whole)) < 0.5
    for chunk, is_done in zip(whole, done, strict=True):
        if is_done:
            prepare_chunk(chunk, _Heavy(), root=Path(corpus.root), store=store, settings="s")
    left = plan_chunks(corpus, store, CLIPS, settings="s")
    assert left.chunks == tuple(c for c, is_done in zip(whole, done, strict=True) if not is_done)


def test_memory_holds_the_rows_of_one_clip_whatever_the_shard_weighs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_writer_module, "BATCH_BYTES", 1 << 20)
    corpus = _clips(tmp_path / "clips", [1] * 24)
    store = open_store(str(tmp_path / "out"))
    spec = CLIPS.model_copy(update={"rows_per_shard": 24})
    (chunk,) = plan_chunks(corpus, store, spec, settings="s").chunks
    tracemalloc.start()
    try:
        prepare_chunk(chunk, _Heavy(), root=Path(corpus.root), store=store, settings="s")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 << 20, "of 48 MiB"
    fewer = replace(corpus, records=corpus.records[:12])
    (kept,) = plan_chunks(fewer, store, spec, settings="s").chunks
    assert kept.keep_of == chunk.key
    prepare_chunk(kept, _Heavy(), root=Path(corpus.root), store=store, settings="s")
    (shard,) = (tmp_path / "out" / "shards" / kept.key).glob("rows.*")
    assert read_shard(shard).to_pylist() == [
        row for record in fewer.records for row in _Heavy().rows(record, Path(), {})
    ]


def test_prepare_writes_to_a_real_s3_server_and_finds_its_work_again(
    root: Path, s3_uri: str
) -> None:
    small = replace(corpus_of(root), records=corpus_of(root).records[::3])
    first = prepare(small, s3_uri)
    assert plan_of(small, s3_uri).chunks == ()
    assert load_manifest(s3_uri)[0].digest() == first.manifest.digest()


def test_a_corpus_is_not_changed_by_preparing_it(root: Path, tmp_path: Path) -> None:
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in root.rglob("*")}

    corpus: Corpus = corpus_of(root)
    before = state()
    prepare(corpus, tmp_path / "out")
    assert state() == before


def _full_disk() -> IO[bytes]:
    return Path("/dev/full").open("w+b")


def test_a_full_disk_ends_a_chunk_with_a_sentence_that_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", _full_disk)
    corpus = _clips(tmp_path / "clips", [1])
    store = open_store(str(tmp_path / "out"))
    (chunk,) = plan_chunks(corpus, store, CLIPS, settings="s").chunks
    with pytest.raises(StoreError, match=r"No space left on device.*TMPDIR"):
        prepare_chunk(chunk, _Heavy(), root=Path(corpus.root), store=store, settings="s")
    assert not list((tmp_path / "out").rglob("COMMIT"))
