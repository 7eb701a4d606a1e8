"""The feed: a batch is a function of its step, whatever was asked before it."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import SMALL_MODEL, write_corpus
from numpy.typing import NDArray

from visage.data import feed as feed_module
from visage.data.emotion_rows import EmotionDecoder
from visage.data.feed import Batch, Decode, ShardFeed
from visage.data.sampler import Sampler
from visage.data.shards import ShardRows, load_manifest
from visage.errors import DataError, MediaError

SAMPLES, BATCH = 21, 6
RANK_IDS = Sampler.rank_ids


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> ShardRows:
    uri = write_corpus(
        tmp_path_factory.mktemp("feed"), train=SAMPLES, val=0, test=0, rows_per_shard=4
    )
    manifest, store = load_manifest(uri)
    return ShardRows(manifest, store, "train")


class _Draw:
    """Decodes a row to its label and one random number; counts, and may wait or fail."""

    columns = None

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fail_on: str | None = None
        self.arrays: list[weakref.ref[NDArray[Any]]] = []

    def __call__(self, row: Mapping[str, Any], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        assert self.gate.wait(timeout=30)
        self.keys.append(row["key"])
        if row["key"] == self.fail_on:
            raise MediaError("truncated", "the picture ends early")
        draw = rng.random(1000)
        self.arrays.append(weakref.ref(draw))
        return {"draw": draw, "label": np.asarray(row["label"])}


def _feed(rows: ShardRows, decode: Decode | None = None, **options: Any) -> ShardFeed:
    sampler = Sampler(samples=SAMPLES, global_batch=BATCH, seed=9)
    return ShardFeed(rows, sampler, decode or _Draw(), **options)


def _same(one: Batch, two: Batch) -> bool:
    return (
        one.step == two.step
        and np.array_equal(one.ids, two.ids)
        and all(np.array_equal(one.arrays[name], two.arrays[name]) for name in one.arrays)
    )


def test_a_batch_does_not_depend_on_what_was_asked_before(rows: ShardRows) -> None:
    straight = _feed(rows)
    expected = {step: straight.batch(step) for step in range(8)}
    jumping = _feed(rows)
    for step in (5, 0, 0, 7, 3, 4, 1, 6, 2, 2):
        assert _same(jumping.batch(step), expected[step])
    straight.close()
    jumping.close()


@pytest.mark.parametrize(("threads", "ahead"), [(1, 0), (1, 5), (4, 0), (4, 3), (16, 1)])
def test_threads_and_steps_ahead_do_not_change_a_batch(
    threads: int, ahead: int, rows: ShardRows
) -> None:
    plain, busy = _feed(rows, threads=1, ahead=0), _feed(rows, threads=threads, ahead=ahead)
    assert all(_same(plain.batch(step), busy.batch(step)) for step in range(6))
    plain.close()
    busy.close()


@pytest.mark.parametrize("world", [2, 3, 6])
def test_the_ranks_together_read_the_samples_of_one_rank_with_the_same_random_numbers(
    world: int, rows: ShardRows
) -> None:
    alone = _feed(rows).batch(4)
    shares = [_feed(rows, rank=rank, world=world).batch(4) for rank in range(world)]
    # (ranks, share) -> (share, ranks) -> (G,)
    assert np.array_equal(np.stack([one.ids for one in shares]).T.reshape(-1), alone.ids)
    draws = np.stack([one.arrays["draw"] for one in shares]).swapaxes(0, 1).reshape(BATCH, -1)
    assert np.array_equal(draws, alone.arrays["draw"])


def test_the_arrays_are_those_of_the_ids_in_their_order(rows: ShardRows) -> None:
    batch = _feed(rows).batch(2)
    assert batch.arrays["label"].tolist() == [rows.row(int(one))["label"] for one in batch.ids]
    assert len(batch) == BATCH


def test_a_sample_is_augmented_differently_in_every_epoch(rows: ShardRows) -> None:
    feed = _feed(rows)
    seen: dict[int, set[float]] = {}
    for step in range(7):  # 42 samples: two epochs
        batch = feed.batch(step)
        for sample, draw in zip(batch.ids.tolist(), batch.arrays["draw"], strict=True):
            seen.setdefault(sample, set()).add(float(draw[0]))
    assert {len(draws) for draws in seen.values()} == {2}
    feed.close()


def test_real_pictures_come_as_stacked_arrays(rows: ShardRows) -> None:
    feed = _feed(rows, EmotionDecoder(model=SMALL_MODEL, augment="modern", training=True))
    arrays = feed.batch(0).arrays
    assert {name: (one.shape, str(one.dtype)) for name, one in arrays.items()} == {
        "face": ((BATCH, 32, 32, 3), "uint8"),
        "context": ((BATCH, 32, 32, 3), "uint8"),
        "label": ((BATCH,), "int64"),
    }
    feed.close()


def test_the_wait_is_what_the_clock_says(rows: ShardRows) -> None:
    times = iter([10.0, 12.5, 20.0, 20.0])
    feed = _feed(rows, clock=lambda: next(times))
    assert [feed.batch(0).wait_s, feed.batch(1).wait_s] == [2.5, 0.0]
    feed.close()


def test_later_steps_are_decoded_while_nobody_asks(rows: ShardRows) -> None:
    decode = _Draw()
    feed = _feed(rows, decode, ahead=2)
    feed.batch(0)
    feed._pool.shutdown(wait=True)  # all that was begun is done
    assert len(decode.keys) == 3 * BATCH


def test_however_steps_are_asked_for_no_more_than_the_window_is_kept(rows: ShardRows) -> None:
    decode = _Draw()
    feed = _feed(rows, decode, ahead=3)
    for step in (*range(1000, 0, -50), *range(0, 400, 7), 5, 900, 5):
        feed.batch(step)
        assert set(feed._pending) == set(range(step + 1, step + 4))
    feed.close()
    feed._pending.clear()
    gc.collect()
    alive = sum(one() is not None for one in decode.arrays)
    assert alive == 0


def test_a_step_asked_for_in_order_is_decoded_once(rows: ShardRows) -> None:
    decode = _Draw()
    feed = _feed(rows, decode, ahead=2)
    for step in range(5):
        feed.batch(step)
    feed.close()
    expected = {
        rows.row(int(one))["key"]
        for step in range(3)
        for one in Sampler(samples=SAMPLES, global_batch=BATCH, seed=9).step_ids(step)[1]
    }
    assert expected <= set(decode.keys)
    assert len(decode.keys) <= 7 * BATCH


def test_a_picture_that_cannot_be_decoded_is_named_with_the_cause(rows: ShardRows) -> None:
    decode = _Draw()
    feed = _feed(rows, decode)
    sample = int(feed.batch(0).ids[3])
    decode.fail_on = rows.row(sample)["key"]
    with pytest.raises(DataError, match=rf"sample {sample} \({decode.fail_on}\).*truncated"):
        _feed(rows, decode).batch(0)
    feed.close()


def test_a_sample_of_another_shape_than_its_neighbours_is_named(rows: ShardRows) -> None:
    class Odd(_Draw):
        def __call__(
            self, row: Mapping[str, Any], rng: np.random.Generator
        ) -> dict[str, NDArray[Any]]:
            arrays = super().__call__(row, rng)
            arrays["draw"] = arrays["draw"][: 1 if row["label"] % 2 else 2]
            return arrays

    feed = _feed(rows, Odd())
    with pytest.raises(DataError, match=r"sample \d+: draw is float64 \([12],\), others"):
        feed.batch(0)
    feed.close()


def test_the_asking_thread_neither_looks_up_samples_nor_decodes(
    rows: ShardRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[str] = set()

    def noted(self: Sampler, step: int, *, rank: int, world: int) -> Any:
        threads.add(threading.current_thread().name)
        return RANK_IDS(self, step, rank=rank, world=world)

    monkeypatch.setattr(Sampler, "rank_ids", noted)
    feed = _feed(rows)
    for step in range(4):
        feed.batch(step)
    feed.close()
    assert threads
    assert all(name.startswith("feed") for name in threads)


def test_after_an_error_the_next_step_is_served(rows: ShardRows) -> None:
    decode = _Draw()
    expected = _feed(rows).batch(1)
    feed = _feed(rows, decode, ahead=0)
    decode.fail_on = rows.row(int(feed.batch(0).ids[0]))["key"]
    with pytest.raises(DataError):
        feed.batch(0)
    decode.fail_on = None
    assert _same(feed.batch(1), expected)
    feed.close()


def test_a_decoder_that_hangs_is_given_up_with_a_sentence(
    rows: ShardRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "WAIT_LIMIT_S", 0.01)
    decode = _Draw()
    decode.gate.clear()
    feed = _feed(rows, decode)
    with pytest.raises(DataError, match="step 0: its samples did not arrive"):
        feed.batch(0)
    decode.gate.set()
    feed.close()


def test_closing_ends_the_threads_and_drops_what_waits(rows: ShardRows) -> None:
    before = threading.active_count()
    decode = _Draw()
    feed = _feed(rows, decode, threads=3, ahead=0)
    feed.batch(0)
    decode.gate.clear()
    for step in range(1, 65):
        feed._submit(step)
    closing = threading.Thread(target=feed.close)
    closing.start()
    waiting = feed._pending[64].parts[-1]
    deadline_s = time.monotonic() + 30
    while not waiting.cancelled() and time.monotonic() < deadline_s:
        time.sleep(0.001)
    decode.gate.set()  # only now may the three that were begun end
    closing.join(timeout=30)
    assert threading.active_count() == before
    assert len(decode.keys) <= BATCH + 3


def test_a_corpus_on_disk_is_read_while_the_disk_file_is_gone(tmp_path: Path) -> None:
    uri = write_corpus(tmp_path, train=8, val=0, test=0, rows_per_shard=8)
    manifest, store = load_manifest(uri)
    opened = ShardRows(manifest, store, "train")
    opened.row(0)
    (tmp_path / manifest.shards[0].path).unlink()
    sampler = Sampler(samples=8, global_batch=4, seed=0)
    feed = ShardFeed(opened, sampler, _Draw())
    assert len(feed.batch(0)) == 4
    feed.close()
