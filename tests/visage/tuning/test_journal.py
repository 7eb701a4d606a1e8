"""The journal: cut at any byte it reads as a prefix; two launches never write to one search."""

from __future__ import annotations

from pathlib import Path

import pytest

from visage.errors import CorruptError, TrainingError
from visage.store.open import open_store
from visage.tuning.journal import Journal, parse_segment, read_events

EVENTS = [
    {"event": "begun", "trial": n, "values": {"optimizer.lr": 0.1 / (n + 1)}} for n in range(4)
]


def test_what_was_appended_is_read_again_across_launches(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    first = Journal.open(store)
    first.append(EVENTS[0])
    first.append(EVENTS[1])
    second = Journal.open(store)
    assert second.events == EVENTS[:2]
    second.append(EVENTS[2])
    assert read_events(store) == EVENTS[:3]


def test_cut_at_any_byte_it_is_a_prefix_of_what_happened(tmp_path: Path) -> None:
    """Fault 25: the sweep over every length that the newest segment can be torn to."""
    store = open_store(str(tmp_path))
    Journal.open(store).append(EVENTS[0])
    second = Journal.open(store)
    for event in EVENTS[1:]:
        second.append(event)
    path = tmp_path / "journal" / "000002.jsonl"
    whole = path.read_bytes()
    lengths = []
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        events = read_events(store)
        assert events == EVENTS[: len(events)]
        lengths.append(len(events))
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (1, 4)


def test_a_search_continues_after_a_torn_line(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    first = Journal.open(store)
    for event in EVENTS[:3]:
        first.append(event)
    path = tmp_path / "journal" / "000001.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    again = Journal.open(store)
    assert again.events == EVENTS[:2]
    again.append(EVENTS[3])
    assert read_events(store) == [*EVENTS[:2], EVENTS[3]]


def test_a_launch_that_was_taken_over_stops_and_its_late_words_are_not_read(
    tmp_path: Path,
) -> None:
    store = open_store(str(tmp_path))
    old = Journal.open(store)
    old.append(EVENTS[0])
    new = Journal.open(store)
    with pytest.raises(TrainingError, match="another process continues this search"):
        old.append(EVENTS[1])
    path = tmp_path / "journal" / "000001.jsonl"  # as if it had looked just before
    path.write_bytes(path.read_bytes() + b'{"event": "late"}\n')
    new.append(EVENTS[2])
    assert read_events(store) == [EVENTS[0], EVENTS[2]]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"after": 0, "schema": "visage.search/9"}\n', "visage.search/9"),
        (b'{"after": 0, "schema": "visage.search/1"}\n{"ev\n{"event": "x"}\n', "line 2"),
        (b'[]\n{"event": "x"}\n', "line 1"),
    ],
)
def test_damage_before_the_last_line_is_named(body: bytes, told: str) -> None:
    with pytest.raises(CorruptError, match=told):
        parse_segment(body, origin="here")
