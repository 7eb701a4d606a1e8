"""The commit protocol: all or nothing, one winner, and damage never passes for content."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from commit_checker import check_commit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from visage.errors import AlreadyExistsError, CorruptError, NotFoundError, StoreError
from visage.faultpoints import FAULT_POINTS
from visage.store.base import Store
from visage.store.commit import MARKER, Commit, commit, fetch_part, read_commit, read_part
from visage.store.local import LocalStore

PARTS: dict[str, bytes] = {"model.safetensors": b"weights" * 100, "a/state.json": b"{}"}

names = st.from_regex(r"[a-z0-9_-]{1,8}(/[a-z0-9_-]{1,8})?(\.[a-z0-9]{1,4}){0,2}", fullmatch=True)
parts_of = st.dictionaries(names, st.binary(max_size=200), max_size=5)


def test_what_was_committed_is_read_back(store: Store, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"large")
    made = commit(store, "runs/1", {**PARTS, "large": tmp_path / "large"}, metadata={"step": 7})
    found = read_commit(store, "runs/1")
    assert found == made
    assert found is not None
    assert found.metadata == {"step": 7}
    for name, body in {**PARTS, "large": b"large"}.items():
        assert read_part(store, "runs/1", name) == body
        target = fetch_part(store, "runs/1", name, tmp_path / "back" / "file")
        assert target.read_bytes() == body
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["file"]


def test_nothing_is_there_until_the_marker_is(store: Store) -> None:
    commit(store, "done", PARTS)
    for item in list(store.list("done/")):
        if not item.key.endswith(MARKER):
            store.put(item.key.replace("done", "half"), store.get(item.key))
    assert read_commit(store, "half") is None
    with pytest.raises(NotFoundError, match="nothing was published"):
        read_part(store, "half", "model.safetensors")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=parts_of)
def test_any_parts_come_back_and_the_disk_agrees(
    parts: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    commit(LocalStore(folder), "x", parts)
    assert check_commit(folder / "x") == parts


@settings(max_examples=30)
@given(parts=parts_of, other=parts_of)
def test_the_digest_is_a_function_of_names_and_contents_alone(
    parts: dict[str, bytes], other: dict[str, bytes]
) -> None:
    store = _Memory()
    mine = commit(store, "a", parts, metadata={"when": 1}).digest()
    shuffled = dict(reversed(list(parts.items())))
    assert commit(store, "b", shuffled, metadata={"when": 2}).digest() == mine
    assert (commit(store, "c", other).digest() == mine) == (other == parts)


def test_the_same_content_again_is_reused_without_a_write(store: Store) -> None:
    first = commit(store, "x", PARTS, metadata={"by": "first"})
    before = list(store.list())
    assert commit(store, "x", PARTS, metadata={"by": "second"}) == first
    assert list(store.list()) == before


def test_other_content_under_a_published_prefix_is_refused_and_the_first_stays(
    store: Store,
) -> None:
    commit(store, "x", PARTS)
    with pytest.raises(AlreadyExistsError, match="another commit with other content"):
        commit(store, "x", {**PARTS, "a/state.json": b"{1}"})
    assert read_part(store, "x", "a/state.json") == b"{}"


@pytest.mark.parametrize("same", [True, False])
def test_of_writers_at_once_one_publishes_and_the_others_learn_it(
    same: bool, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    start = threading.Barrier(8)
    outcomes: list[Commit | None] = []

    def write(number: int) -> None:
        body = b"same" if same else str(number).encode()
        start.wait(timeout=30)
        try:
            outcomes.append(commit(store, "x", {"part": body, "fixed": b"1"}))
        except AlreadyExistsError:
            outcomes.append(None)

    threads = [threading.Thread(target=write, args=(n,), daemon=True) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    published = [one for one in outcomes if one is not None]
    assert len(outcomes) == 8
    assert len(published) == (8 if same else 1)
    assert read_commit(store, "x") == published[0]
    assert check_commit(tmp_path / "x") is not None


def test_leftovers_of_a_killed_writer_do_not_clash(tmp_path: Path) -> None:
    dying = _Dying(tmp_path, puts=2)
    with pytest.raises(_Death):
        commit(dying, "x", {"a": b"old a", "b": b"old b", "c": b"old c"})
    commit(LocalStore(tmp_path), "x", {"a": b"new a", "b": b"old b"})
    assert check_commit(tmp_path / "x") == {"a": b"new a", "b": b"old b"}


@pytest.mark.parametrize("damage", ["flip", "truncate", "missing", "swap"])
def test_a_damaged_part_is_corrupt_never_content(damage: str, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    made = commit(store, "x", PARTS)
    path = tmp_path / "x" / made.parts["model.safetensors"].path
    body = bytearray(path.read_bytes())
    body[13] ^= 1
    match damage:
        case "flip":
            path.write_bytes(body)
        case "truncate":
            path.write_bytes(path.read_bytes()[:-1])
        case "missing":
            path.unlink()
        case "swap":
            path.write_bytes(b"{}")
    with pytest.raises(CorruptError, match=path.name):
        read_part(store, "x", "model.safetensors")
    with pytest.raises(CorruptError, match=path.name):
        fetch_part(store, "x", "model.safetensors", tmp_path / "back" / "file")
    assert not [one for one in (tmp_path / "back").glob("*") if one.is_file()]
    assert read_part(store, "x", "a/state.json") == b"{}"


def test_a_marker_cut_at_any_byte_is_corrupt(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    commit(store, "x", {"a": b"1"}, metadata={"ü": "ä"})
    marker = tmp_path / "x" / MARKER
    whole = marker.read_bytes()
    for size in range(len(whole)):
        marker.write_bytes(whole[:size])
        with pytest.raises(CorruptError, match="marker is damaged"):
            read_commit(store, "x")


@pytest.mark.parametrize(
    "body",
    ["[]", "null", "3", '{"schema": 1}', '{"parts": {}}',
     '{"schema": "visage.commit/1", "parts": [], "metadata": {}}',
     '{"schema": "visage.commit/1", "parts": {"a": {"path": "a"}}, "metadata": {}}',
     '{"schema": "visage.commit/2", "parts": {}, "metadata": {}}'],
)  # fmt: skip
def test_a_marker_of_another_shape_is_corrupt(body: str, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put(f"x/{MARKER}", body.encode())
    with pytest.raises(CorruptError):
        read_commit(store, "x")


def test_a_marker_that_points_out_of_the_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    part = {
        "path": "../../secret",
        "sha256": hashlib.sha256(b"secret").hexdigest(),
        "size_bytes": 6,
    }
    values = {"schema": "visage.commit/1", "parts": {"a": part}, "metadata": {}}
    store = LocalStore(tmp_path / "store")
    store.put(f"x/{MARKER}", json.dumps(values).encode())
    with pytest.raises(StoreError):
        read_part(store, "x", "a")


def test_fetching_one_part_from_many_threads_gives_it_to_all(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    commit(store, "x", {"a": b"1" * 200_000})
    start = threading.Barrier(8)
    failures: list[BaseException] = []

    def fetch() -> None:
        start.wait(timeout=30)
        try:
            for _ in range(10):
                fetch_part(store, "x", "a", tmp_path / "cache" / "a")
        except Exception as err:
            failures.append(err)
            raise

    threads = [threading.Thread(target=fetch, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == []
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["a"]


WRITER = """
import sys
from visage.store.commit import commit
from visage.store.open import open_store
commit(open_store(sys.argv[1]), "x", {"a": b"one", "b/c.bin": b"two", "d": b"three"})
"""
POINTS = [
    f"{name}@{visit}"
    for name in FAULT_POINTS
    if name.startswith(("commit.", "store.put."))
    for visit in ((1,) if name in {"commit.before_parts", "commit.before_marker",
                                   "commit.after_marker"} else (1, 2, 3))
]  # fmt: skip


@pytest.mark.parametrize(
    "point", [*POINTS, "store.put.before_publish@4", "store.put.after_publish@4"]
)
def test_a_writer_killed_anywhere_is_repeated_to_one_whole_commit(
    point: str, tmp_path: Path
) -> None:
    assert _write(tmp_path, point) == -signal.SIGKILL
    published = check_commit(tmp_path / "x")
    late = point in ("commit.after_marker@1", "store.put.after_publish@4")
    assert (published is not None) == late
    assert _write(tmp_path, None) == 0
    assert check_commit(tmp_path / "x") == {"a": b"one", "b/c.bin": b"two", "d": b"three"}


def test_a_writer_on_s3_killed_before_its_marker_is_repeated(s3_uri: str, s3_store: Store) -> None:
    for point in ("store.put.after_publish@2", "commit.before_marker"):
        assert _write(s3_uri, point) == -signal.SIGKILL
        assert read_commit(s3_store, "x") is None
    assert _write(s3_uri, None) == 0
    assert read_part(s3_store, "x", "b/c.bin") == b"two"


def _write(root: Path | str, point: str | None) -> int:
    armed = {"VISAGE_FAULT_POINT": point} if point else {}
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(root)], env={**os.environ, **armed}, timeout=60,
        check=False,
    )  # fmt: skip
    return done.returncode


class _Death(Exception):
    """Stands for SIGKILL inside one process."""


class _Dying(LocalStore):
    """A store whose process dies after so many puts."""

    def __init__(self, root: Path, *, puts: int) -> None:
        super().__init__(root)
        self._left = puts

    def put(self, key: str, body: bytes) -> None:
        if self._left == 0:
            raise _Death
        self._left -= 1
        super().put(key, body)


class _Memory(LocalStore):
    """Just enough of a store for commits, in a dictionary."""

    def __init__(self) -> None:
        super().__init__(Path("memory"))
        self.objects: dict[str, bytes] = {}

    def get(self, key: str) -> bytes:
        if key not in self.objects:
            raise NotFoundError(key)
        return self.objects[key]

    def put(self, key: str, body: bytes) -> None:
        if key in self.objects:
            raise AlreadyExistsError(key)
        self.objects[key] = body
