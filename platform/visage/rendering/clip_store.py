"""Where the videos of batches stand: published under their keys, read back by their markers.

Of two jobs that render one row at once, one publishes and the other reports its video; what the
loser, or a killed job, had uploaded is removed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from visage.errors import AlreadyExistsError, CorruptError
from visage.rendering.outcome import Outcome, Rejected, Rendered, from_record, to_record
from visage.rendering.renderer import RenderedClip
from visage.store.base import Store
from visage.store.commit import MARKER, Commit, commit, read_commit

__all__ = ["ClipStore"]

SCHEMA = "visage.rendering/1"
CLIPS, REJECTED = "clips", "rejected"
VIDEO, ROW = "video.mp4", "row.json"
READERS = 16


class ClipStore:
    """The clips below one root."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def uri(self) -> str:
        """The root."""
        return self._store.uri

    def publish(
        self, key: str, clip: RenderedClip, facts: Mapping[str, Any], *, is_silent: bool
    ) -> Rendered:
        """Publish a video; if another job was quicker, its video is the answer.

        Args:
            facts: What it was made of, for `row.json`.
        """
        prefix = f"{CLIPS}/{key}"
        told = {
            "schema": SCHEMA,
            "status": "rendered",
            "key": key,
            "frames": clip.frames,
            "fps": clip.fps,
            "size": clip.size,
            "duration_s": clip.duration_s,
            "is_silent": is_silent,
        }
        row = json.dumps({**told, **facts, "seconds": clip.seconds}, indent=1, sort_keys=True)
        parts: dict[str, bytes | Path] = {VIDEO: clip.path, ROW: row.encode()}
        try:
            made, is_reused = commit(self._store, prefix, parts, metadata=told), False
        except AlreadyExistsError:
            standing = read_commit(self._store, prefix)
            if standing is None:
                raise
            made, is_reused = standing, True
        self._sweep(prefix, made)
        return _rendered(prefix, made, is_reused=is_reused)

    def reject(self, outcome: Rejected) -> None:
        """Publish why a row cannot be rendered, if the same inputs will always end so."""
        if not (outcome.key and outcome.lasts):
            return
        told = {"schema": SCHEMA, **to_record(outcome)}
        prefix = f"{REJECTED}/{outcome.key}"
        with contextlib.suppress(AlreadyExistsError):  # another job found other words for it
            commit(self._store, prefix, {ROW: json.dumps(told).encode()}, metadata=told)

    def videos(self) -> dict[str, str]:
        """Key → video of every published clip whose video is there, by one listing."""
        marked, videos = self._listed()
        return {
            key: videos[key][0] if len(videos[key]) == 1 else self._named(key)
            for key in marked & videos.keys()
        }

    def standing(self, keys: Iterable[str], *, with_rejected: bool = True) -> dict[str, Outcome]:
        """How former jobs ended the keys that they ended.

        Args:
            with_rejected: Whether what was rejected before counts as ended.
        """
        marked, videos = self._listed()
        refused = set()
        if with_rejected:
            ended = {one.key for one in self._store.list(f"{REJECTED}/")}
            refused = {key for key in keys if f"{REJECTED}/{key}/{MARKER}" in ended}
        there = {video for several in videos.values() for video in several}
        made = marked.intersection(keys)
        with ThreadPoolExecutor(READERS, thread_name_prefix="clips") as pool:
            found: list[Outcome] = [
                *pool.map(lambda key: self._made(key, there), made),
                *pool.map(self._refused, refused - made),
            ]
        return {one.key: one for one in found}

    def _listed(self) -> tuple[set[str], dict[str, list[str]]]:
        """Keys with a marker, and the videos under each key."""
        marked: set[str] = set()
        videos: dict[str, list[str]] = {}
        for found in self._store.list(f"{CLIPS}/"):
            key, _, name = found.key.removeprefix(f"{CLIPS}/").partition("/")
            if name == MARKER:
                marked.add(key)
            elif name.startswith("video."):
                videos.setdefault(key, []).append(found.key)
        return marked, videos

    def _made(self, key: str, there: set[str]) -> Outcome:
        prefix = f"{CLIPS}/{key}"
        try:
            found = read_commit(self._store, prefix)
            if found is not None:
                outcome = _rendered(prefix, found, is_reused=True)
                if outcome.video in there:
                    return outcome
            reason = "published, but its video is gone"
        except CorruptError as err:
            reason = str(err)
        return Rejected(
            key=key,
            code="damaged",
            detail=f"{self._store.uri}/{prefix}: {reason}; delete that folder and run again",
        )

    def _refused(self, key: str) -> Outcome:
        found = read_commit(self._store, f"{REJECTED}/{key}")
        if found is None:
            raise CorruptError(
                f"{self._store.uri}/{REJECTED}/{key}: the marker went away; run again"
            )
        return _outcome(found, is_reused=True)

    def _named(self, key: str) -> str:
        found = read_commit(self._store, f"{CLIPS}/{key}")
        return "" if found is None else f"{CLIPS}/{key}/{found.parts[VIDEO].path}"

    def _sweep(self, prefix: str, made: Commit) -> None:
        """Remove what a killed or beaten job left; what the marker names stays."""
        kept = {MARKER, *(part.path for part in made.parts.values())}
        for found in list(self._store.list(f"{prefix}/")):
            if found.key.removeprefix(f"{prefix}/") not in kept:
                self._store.delete(found.key)


def _rendered(prefix: str, made: Commit, *, is_reused: bool) -> Rendered:
    if VIDEO not in made.parts:
        raise CorruptError("the marker names no video")
    video = f"{prefix}/{made.parts[VIDEO].path}"
    found = _outcome(made, video=video, is_reused=is_reused)
    if not isinstance(found, Rendered):
        raise CorruptError("the marker tells of no rendered clip")
    return found


def _outcome(made: Commit, **changes: object) -> Outcome:
    """What a marker tells; CorruptError for anything but this schema."""
    schema = made.metadata.get("schema")
    if schema != SCHEMA:
        raise CorruptError(f"schema {schema!r} is not {SCHEMA!r}")
    try:
        return from_record(made.metadata, **changes)
    except (KeyError, TypeError):
        raise CorruptError("the marker tells of no outcome") from None
