"""The journal of a search: what happened, in order, in a store that cannot append.

Each launch of the search claims the next segment `journal/<n>.jsonl` by put-if-absent and replaces
it whole with each event, so a reader sees whole lines. The first line says how many events of the
former segments count: what a launch that was thought dead writes later is never read. A launch
that finds a newer segment stops.

Invariant: any prefix of the bytes of the newest segment reads as a prefix of its events.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from visage.errors import AlreadyExistsError, CorruptError, TrainingError
from visage.store.base import Store

__all__ = ["SCHEMA", "Journal", "parse_segment", "read_events"]

SCHEMA = "visage.search/1"
FOLDER = "journal/"
CLAIMS = 16

Event = dict[str, Any]


class Journal:
    """The events of a search, and the right to add to them."""

    def __init__(self, store: Store, number: int, events: list[Event]) -> None:
        """Prefer `Journal.open`."""
        self._store, self._number = store, number
        self._lines = [_line({"schema": SCHEMA, "after": len(events)})]
        self.events = events

    @classmethod
    def open(cls, store: Store) -> Journal:
        """Read what happened so far and take the search over from any former launch."""
        for _ in range(CLAIMS):
            events, newest = _read(store)
            journal = cls(store, newest + 1, events)
            with suppress(AlreadyExistsError):
                store.put(_key(journal._number), journal._body())
                return journal
        raise TrainingError(f"{store.uri}: other processes keep taking this search over")

    def append(self, event: Mapping[str, Any]) -> None:
        """Add one event; it is in the store when this returns.

        Raises:
            TrainingError: another launch took the search over.
        """
        if self._store.stat(_key(self._number + 1)) is not None:
            raise TrainingError(
                f"{self._store.uri}: another process continues this search; this one ends here"
            )
        self._lines.append(_line(event))
        self._store.replace(_key(self._number), self._body())
        self.events.append(dict(event))

    def _body(self) -> bytes:
        return "".join(self._lines).encode()


def read_events(store: Store) -> list[Event]:
    """What happened so far, oldest first; nothing if there is no journal."""
    return _read(store)[0]


def parse_segment(body: bytes, *, origin: str) -> tuple[int | None, list[Event]]:
    """How many former events count (None: all) and the events of one segment.

    A torn last line is as if it had not been written.

    Raises:
        CorruptError: another schema, or damage before the last line.
    """
    lines = body.split(b"\n")
    whole, torn = lines[:-1], lines[-1]
    parsed: list[Event] = []
    for at, line in enumerate(whole):
        try:
            parsed.append(_event(line))
        except ValueError:
            if at == len(whole) - 1 and not torn:
                break
            raise CorruptError(f"{origin}: line {at + 1} is damaged") from None
    if not parsed:
        return None, []
    head, *events = parsed
    if head.get("schema") != SCHEMA:
        raise CorruptError(f"{origin}: schema {head.get('schema')!r}; this version reads {SCHEMA}")
    return int(head["after"]), events


def _read(store: Store) -> tuple[list[Event], int]:
    events: list[Event] = []
    number = 0
    for found in store.list(FOLDER):
        number = int(found.key.removeprefix(FOLDER).removesuffix(".jsonl"))
        after, added = parse_segment(store.get(found.key), origin=f"{store.uri}/{found.key}")
        events = (events if after is None else events[:after]) + added
    return events, number


def _event(line: bytes) -> Event:
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _line(event: Mapping[str, Any]) -> str:
    return json.dumps(event, sort_keys=True) + "\n"


def _key(number: int) -> str:
    return f"{FOLDER}{number:06d}.jsonl"
