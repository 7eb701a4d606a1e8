from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from visage.errors import TrackingError
from visage.tracking.filelock import file_lock
from visage.tracking.locks import LOCK_SUFFIX, STALE_AFTER_S, registry_lock

SERVER = "http://tracking"


class Refusal(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.error_code = code


@dataclass
class FakeModels:
    """The registered models of a server, created at most once each."""

    created_s: dict[str, float] = field(default_factory=dict)
    now_s: float = 1_000_000.0

    def create_registered_model(self, name: str, description: str = "") -> None:
        if name in self.created_s:
            raise Refusal("RESOURCE_ALREADY_EXISTS")
        self.created_s[name] = self.now_s

    def get_registered_model(self, name: str) -> SimpleNamespace:
        if name not in self.created_s:
            raise Refusal("RESOURCE_DOES_NOT_EXIST")
        return SimpleNamespace(creation_timestamp=self.created_s[name] * 1000)

    def delete_registered_model(self, name: str) -> None:
        if self.created_s.pop(name, None) is None:
            raise Refusal("RESOURCE_DOES_NOT_EXIST")

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def clock(self) -> float:
        return self.now_s


def test_the_lock_of_a_server_excludes_others_and_is_gone_afterwards() -> None:
    models = FakeModels()
    tools = {"sleep": models.sleep, "wall_clock": models.clock}
    with registry_lock(models, SERVER, "emotion", **tools):
        with (
            pytest.raises(TrackingError, match="another process"),
            registry_lock(models, SERVER, "emotion", wait_s=5, **tools),
        ):
            pass
        with registry_lock(models, SERVER, "other", **tools):
            pass
    assert models.created_s == {}


def test_the_lock_is_released_when_its_holder_fails() -> None:
    models = FakeModels()
    with pytest.raises(ValueError, match="x"), registry_lock(models, SERVER, "emotion"):
        raise ValueError("x")
    assert models.created_s == {}


def test_the_lock_of_a_dead_holder_is_broken_once_it_is_stale() -> None:
    models = FakeModels()
    models.create_registered_model(f"emotion{LOCK_SUFFIX}")
    began_s = models.now_s
    tools = {"sleep": models.sleep, "wall_clock": models.clock, "wait_s": 2 * STALE_AFTER_S}
    with registry_lock(models, SERVER, "emotion", **tools):
        assert models.now_s - began_s > STALE_AFTER_S


def test_a_file_lock_excludes_and_names_what_is_held(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    naps: list[float] = []
    with (
        file_lock(path, what="the thing"),
        pytest.raises(TrackingError, match="the thing"),
        file_lock(path, what="the thing", wait_s=1, sleep=naps.append),
    ):
        pass
    assert sum(naps) >= 1
    with file_lock(path, what="the thing", wait_s=0, sleep=time.sleep):
        pass
