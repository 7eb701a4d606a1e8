"""The ledger: verification finds every kind of lost, repeated or misplaced sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visage.data.ledger import LEDGER_SCHEMA, LedgerRow, from_parquet, to_parquet, verify
from visage.data.sampler import Sampler
from visage.errors import CorruptError

SAMPLER = Sampler(samples=37, global_batch=8, seed=5)
STEPS = 12


def _history(worlds: list[int]) -> list[LedgerRow]:
    """What a run records whose step s ran on worlds[s] ranks."""
    return [
        LedgerRow(
            step=step, rank=rank, world=world, loss=1.0 / (step + 1),
            ids=tuple(SAMPLER.rank_ids(step, rank=rank, world=world)[1].tolist()),
        )
        for step, world in enumerate(worlds)
        for rank in range(world)
    ]  # fmt: skip


def test_a_run_as_prescribed_is_exact() -> None:
    report = verify(_history([2] * STEPS), SAMPLER, steps=STEPS)
    assert report.is_exact
    assert (report.steps, report.samples, report.worlds) == (STEPS, 96, (2,))


def test_a_run_that_was_resized_is_exact_and_its_sizes_are_told_in_order() -> None:
    report = verify(_history([2] * 4 + [1] * 4 + [2] * 2 + [8] * 2), SAMPLER, steps=STEPS)
    assert report.problems == ()
    assert report.worlds == (2, 1, 2, 8)


@settings(max_examples=30)
@given(st.lists(st.sampled_from([1, 2, 4, 8]), min_size=STEPS, max_size=STEPS), st.randoms())
def test_any_sequence_of_sizes_in_any_order_of_rows_is_exact(worlds: list[int], rng) -> None:  # type: ignore[no-untyped-def]
    rows = _history(worlds)
    rng.shuffle(rows)
    assert verify(rows, SAMPLER, steps=STEPS).is_exact


def _swapped(row: LedgerRow) -> LedgerRow:
    return replace(row, ids=(row.ids[1], row.ids[0], *row.ids[2:]))


FAULTS: dict[str, tuple[Callable[[list[LedgerRow]], object], str]] = {
    "a step is missing": (
        lambda rows: _drop(rows, lambda row: row.step == 5), "step 5: missing"
    ),
    "a rank is missing": (
        lambda rows: _drop(rows, lambda row: (row.step, row.rank) == (5, 1)),
        r"step 5: ranks \[0\] of 2",
    ),
    "a step was consumed twice": (
        lambda rows: rows.extend([row for row in rows if row.step == 5]),
        r"step 5: ranks \[0, 0, 1, 1\] of 2",
    ),
    "a sample was repeated": (
        lambda rows: _change(rows, lambda row: replace(row, ids=(row.ids[0],) * len(row.ids))),
        "step 5: consumed samples differ",
    ),
    "two samples changed places": (
        lambda rows: _change(rows, _swapped), "step 5: consumed samples differ"
    ),
    "two ranks changed places": (
        lambda rows: _change(rows, lambda row: replace(row, rank=1 - row.rank)),
        "step 5: consumed samples differ",
    ),
    "a rank consumed too little": (
        lambda rows: _change(rows, lambda row: replace(row, ids=row.ids[row.rank :])),
        "step 5: ranks consumed unequal shares",
    ),
    "all ranks consumed too little": (
        lambda rows: _change(rows, lambda row: replace(row, ids=row.ids[1:])),
        "step 5: consumed samples differ",
    ),
    "nothing was consumed": (
        lambda rows: _change(rows, lambda row: replace(row, ids=())),
        "step 5: consumed samples differ",
    ),
    "ranks of two cluster sizes": (
        lambda rows: _change(rows, lambda row: replace(row, world=2 + 2 * row.rank)),
        r"step 5: recorded by clusters of \[2, 4\] ranks",
    ),
    "a step after the last": (
        lambda rows: rows.append(replace(rows[0], step=STEPS)),
        f"step {STEPS}: recorded, but beyond",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_verification_finds_that(fault: str) -> None:
    plant, message = FAULTS[fault]
    rows = _history([2] * STEPS)
    plant(rows)
    report = verify(rows, SAMPLER, steps=STEPS)
    assert not report.is_exact
    assert len(report.problems) == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(report.problems[0])


def test_another_seed_batch_or_number_of_samples_is_found() -> None:
    rows = _history([2] * STEPS)
    for change in ({"seed": 6}, {"samples": 38}, {"global_batch": 4}):
        other = replace(SAMPLER, **change)
        assert not verify(rows, other, steps=STEPS).is_exact, change


rows_of = st.lists(
    st.builds(
        LedgerRow,
        step=st.integers(0, 2**40),
        rank=st.integers(0, 1000),
        world=st.integers(1, 1000),
        ids=st.lists(st.integers(0, 2**62), max_size=5).map(tuple),
        loss=st.floats(allow_nan=False),
    ),
    max_size=8,
    unique_by=lambda row: (row.step, row.rank),
)


@settings(max_examples=25)
@given(rows=rows_of)
def test_rows_come_back_from_parquet_sorted_and_unchanged(rows: list[LedgerRow]) -> None:
    back = from_parquet(to_parquet(rows), origin="x")
    assert back == sorted(rows, key=lambda row: (row.step, row.rank))


def test_equal_rows_give_equal_bytes_in_whatever_order_they_came() -> None:
    rows = _history([2] * STEPS)
    assert to_parquet(rows[::-1]) == to_parquet(rows)


def test_a_segment_cut_at_any_byte_is_corrupt_by_name() -> None:
    whole = to_parquet(_history([2] * 3))
    for size in range(0, len(whole), 7):
        with pytest.raises(CorruptError, match="ledger/one"):
            from_parquet(whole[:size], origin="ledger/one")


def test_a_flipped_byte_is_corrupt_or_shows_in_the_verification() -> None:
    # The commit protocol's checksum catches it before; this is the second line.
    rows = _history([2] * 3)
    whole = to_parquet(rows)
    for place in range(0, len(whole), 5):
        body = bytearray(whole)
        body[place] ^= 0x10
        try:
            found = from_parquet(bytes(body), origin="x")
        except CorruptError:
            continue
        except UnicodeDecodeError:
            pytest.fail(f"byte {place}: not told as corrupt")
        assert isinstance(found, list)


def test_a_table_of_another_shape_or_version_is_corrupt() -> None:
    rows = _history([1])
    columns = {"step": [0], "rank": [0]}
    for table in (
        pa.table(columns),
        pq.read_table(pa.BufferReader(to_parquet(rows))).replace_schema_metadata(
            {"schema": "visage.ledger/2"}
        ),
    ):
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        with pytest.raises(CorruptError, match=LEDGER_SCHEMA.metadata[b"schema"].decode()):
            from_parquet(sink.getvalue().to_pybytes(), origin="x")


def _drop(rows: list[LedgerRow], which: Callable[[LedgerRow], bool]) -> None:
    rows[:] = [row for row in rows if not which(row)]


def _change(rows: list[LedgerRow], how: Callable[[LedgerRow], LedgerRow]) -> None:
    rows[:] = [how(row) if row.step == 5 else row for row in rows]
