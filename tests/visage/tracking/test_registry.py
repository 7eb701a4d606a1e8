from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from visage.errors import CorruptError, TrackingError
from visage.store.commit import commit
from visage.store.open import open_store
from visage.tracking.registry import Registry, parse_reference


def publish(folder: Path, name: str, body: bytes = b"weights") -> tuple[str, str]:
    """Commit weights; their URI and digest."""
    made = commit(open_store(str(folder)), name, {"model.safetensors": body})
    return f"{folder}/{name}", made.digest()


def test_a_version_says_where_its_weights_lie_and_what_they_are(
    tracking_uri: str, tmp_path: Path
) -> None:
    uri, digest = publish(tmp_path, "m")
    made = Registry(tracking_uri).register(
        "emotion", uri=uri, digest=digest, tags={"accuracy": 0.5}
    )
    found = Registry(tracking_uri).resolve("emotion/1")
    assert found == made
    assert (found.uri, found.digest, found.version) == (uri, digest, "1")
    assert found.tags["accuracy"] == "0.5"


def test_the_same_weights_are_one_version_however_often_they_are_registered(
    tracking_uri: str, tmp_path: Path
) -> None:
    registry = Registry(tracking_uri)
    uri, digest = publish(tmp_path, "m")
    copy, _ = publish(tmp_path, "copy")
    first = registry.register("emotion", uri=uri, digest=digest)
    assert registry.register("emotion", uri=uri, digest=digest) == first
    assert registry.register("emotion", uri=copy, digest=digest) == first
    assert len(registry.versions("emotion")) == 1


def test_weights_that_are_not_there_or_are_others_are_not_registered(
    tracking_uri: str, tmp_path: Path
) -> None:
    registry = Registry(tracking_uri)
    uri, _ = publish(tmp_path, "m")
    with pytest.raises(CorruptError, match="digest"):
        registry.register("emotion", uri=uri, digest="0" * 64)
    with pytest.raises(TrackingError, match="no weights are committed"):
        registry.register("emotion", uri=f"{tmp_path}/nothing", digest="0" * 64)
    assert registry.versions("emotion") == []


def test_an_alias_moves_only_from_where_it_was_expected(tracking_uri: str, tmp_path: Path) -> None:
    registry = Registry(tracking_uri)
    for name in ("a", "b", "c"):
        uri, digest = publish(tmp_path, name, name.encode())
        registry.register("emotion", uri=uri, digest=digest)
    registry.set_alias("emotion", "champion", "1", expected=None)
    registry.set_alias("emotion", "champion", "2", expected="1")
    with pytest.raises(TrackingError, match="points to 2 now"):
        registry.set_alias("emotion", "champion", "3", expected="1")
    with pytest.raises(TrackingError, match="points to 2 now"):
        registry.set_alias("emotion", "champion", "3", expected=None)
    registry.set_alias("emotion", "champion", "2", expected="1")  # it is there already: a retry
    assert registry.resolve("emotion").version == "2"
    assert registry.resolve("emotion@champion").aliases == ("champion",)
    assert [v.version for v in registry.versions("emotion")] == ["3", "2", "1"]


def test_of_many_promoters_at_once_exactly_one_wins(tracking_uri: str, tmp_path: Path) -> None:
    registry = Registry(tracking_uri)
    for at in range(4):
        uri, digest = publish(tmp_path, f"m{at}", bytes([at]))
        registry.register("emotion", uri=uri, digest=digest)
    won, lost, gate = [], [], threading.Barrier(4)

    def promote(version: str) -> None:
        own = Registry(tracking_uri)
        gate.wait(10)
        try:
            own.set_alias("emotion", "champion", version, expected=None)
            won.append(version)
        except TrackingError as err:
            lost.append(str(err))

    threads = [threading.Thread(target=promote, args=(str(at),)) for at in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(won) == 1
    assert len(lost) == 3
    assert registry.resolve("emotion").version == won[0]


@pytest.mark.parametrize("reference", ["emotion", "emotion@challenger", "emotion/9", "other/1"])
def test_a_reference_to_nothing_is_said_to_be_that(tracking_uri: str, reference: str) -> None:
    with pytest.raises(TrackingError, match=reference.partition("/")[0]):
        Registry(tracking_uri).resolve(reference)


@pytest.mark.parametrize("reference", ["", "a b", "emotion@", "emotion/0", "emotion/x", "a'b", "/"])
def test_a_malformed_reference_is_refused_with_an_example(reference: str) -> None:
    with pytest.raises(TrackingError, match="emotion@champion"):
        parse_reference(reference)


@pytest.mark.parametrize("point", ["registry.before_version", "registry.before_alias"])
def test_a_promoter_killed_half_way_leaves_a_registry_that_the_next_one_completes(
    tracking_uri: str, tmp_path: Path, point: str
) -> None:
    uri, digest = publish(tmp_path, "m")
    code = (
        "import sys\n"
        "from visage.tracking.registry import Registry\n"
        "r = Registry(sys.argv[1])\n"
        "v = r.register('emotion', uri=sys.argv[2], digest=sys.argv[3])\n"
        "r.set_alias('emotion', 'champion', v.version, expected=None)\n"
    )
    command = [sys.executable, "-c", code, tracking_uri, uri, digest]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    armed = {**environment, "VISAGE_FAULT_POINT": point}
    killed = subprocess.run(command, env=armed, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert Registry(tracking_uri).alias("emotion", "champion") is None
    subprocess.run(command, env=environment, timeout=60, check=True)
    assert Registry(tracking_uri).resolve("emotion").digest == digest
    assert len(Registry(tracking_uri).versions("emotion")) == 1
