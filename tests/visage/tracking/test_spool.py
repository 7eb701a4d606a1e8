from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visage.tracking.operations import (
    Artifact,
    Finish,
    Input,
    Metrics,
    Operation,
    Params,
    Tags,
    Text,
    from_line,
    to_line,
)
from visage.tracking.spool import Spool

texts = st.text(max_size=20)
steps = st.integers(0, 10**6)
operations = st.one_of(
    st.builds(
        Metrics,
        st.dictionaries(texts, st.floats(allow_nan=False), max_size=3),
        steps,
        steps,
    ),
    st.builds(Params, st.dictionaries(texts, texts, max_size=3)),
    st.builds(Tags, st.dictionaries(texts, texts, max_size=3)),
    st.builds(Input, texts, texts, texts, texts, steps),
    st.builds(Artifact, texts, texts),
    st.builds(Text, texts, texts),
    st.builds(Finish, st.sampled_from(["FINISHED", "FAILED", "KILLED"]), steps),
)


def metric(step: int) -> Metrics:
    return Metrics({"train/loss": 1.0}, step, step)


@given(operations)
def test_an_operation_survives_being_written_and_read(operation: Operation) -> None:
    line = to_line(operation)
    assert line.count(b"\n") == 1
    assert from_line(line) == operation


@given(operations, st.data())
def test_a_line_cut_short_by_a_kill_is_never_read_as_another_operation(
    operation: Operation, data: st.DataObject
) -> None:
    line = to_line(operation)
    cut = line[: data.draw(st.integers(0, len(line) - 2))]
    assert from_line(cut) is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["append", "done", "reopen"]), max_size=25))
def test_what_was_appended_and_not_done_is_pending_after_any_number_of_crashes(
    tmp_path_factory: pytest.TempPathFactory, actions: list[str]
) -> None:
    path = tmp_path_factory.mktemp("spool") / "run.jsonl"
    spool, expected = Spool(path), []
    for at, action in enumerate(actions):
        if action == "append":
            spool.append(metric(at))
            expected.append(metric(at))
        elif action == "done" and expected:
            spool.done(1)
            expected.pop(0)
        elif action == "reopen":
            spool = Spool(path)
        # a replay may repeat what the server has, but never loses or reorders
        pending = spool.peek(100)
        assert pending[len(pending) - len(expected) :] == expected
        expected = list(pending)


def test_a_line_that_was_half_written_is_skipped_and_the_next_append_is_whole(
    tmp_path: Path,
) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(to_line(metric(1)) + to_line(metric(2))[:-5])
    spool = Spool(path)
    spool.append(metric(3))
    assert Spool(path).peek(9) == [metric(1), metric(3)]


def test_a_full_spool_drops_metrics_counts_them_and_keeps_everything_else(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "run.jsonl", max_bytes=300)
    kept = [spool.append(metric(step)) for step in range(20)]
    assert kept[0]
    assert not kept[-1]
    assert spool.dropped == kept.count(False)
    assert spool.append(Finish("FAILED", 0))
    assert spool.path.stat().st_size < 400


def test_the_file_stays_bounded_while_the_server_takes_what_arrives(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "run.jsonl", max_bytes=1000)
    spool.append(metric(0))
    for step in range(1, 500):
        spool.append(metric(step))
        spool.done(1)
    assert spool.path.stat().st_size < 3000
    assert spool.dropped == 0


def test_moving_to_a_name_that_holds_records_puts_those_first(tmp_path: Path) -> None:
    earlier = Spool(tmp_path / "id.jsonl")
    earlier.append(metric(1))
    spool = Spool(tmp_path / "key.jsonl")
    spool.append(metric(2))
    spool.move(tmp_path / "id.jsonl")
    assert spool.peek(9) == [metric(1), metric(2)]
    assert Spool(tmp_path / "id.jsonl").peek(9) == [metric(1), metric(2)]
    assert not (tmp_path / "key.jsonl").exists()


def test_closing_an_empty_spool_leaves_nothing_behind(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "run.jsonl")
    spool.append(metric(1))
    spool.done(1)
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_without_a_disk_records_wait_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    spool = Spool(blocked / "run.jsonl")
    assert spool.append(metric(1))
    assert spool.peek(9) == [metric(1)]
    assert "memory only" in caplog.text
