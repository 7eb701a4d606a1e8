"""A state that its store did not take lies on the machine's disk, and the run goes on from it."""

from __future__ import annotations

import math
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from corpora import small_train_spec, write_corpus

from visage.errors import PreemptedError, RescuedError, StoreError
from visage.store.commit import read_commit
from visage.store.local import LocalStore
from visage.store.open import open_store
from visage.training.checkpoint import list_checkpoints
from visage.training.host import SingleHost
from visage.training.rescue import Rescue, rescue_folder
from visage.training.run_dir import read_run
from visage.training.session import run_training
from visage.training.verify import verify_run


@pytest.fixture(scope="module")
def data_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_corpus(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def unbroken(data_uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("unbroken")
    _train(folder, data_uri)
    return _weights(folder / "run")


class _Host(SingleHost):
    """Calls back at every step; keeps the events; may be asked to stop, with so much time left."""

    def __init__(self, at_step: Callable[[int], object], *, stop_at: int, left_s: float) -> None:
        super().__init__(report=self._keep, seconds_left=lambda: left_s)
        self.events: list[Mapping[str, Any]] = []
        self._at_step, self._stop_at, self._step = at_step, stop_at, -1

    def stop_requested(self) -> bool:
        """Asked once a step."""
        self._step += 1
        self._at_step(self._step)
        return self._step == self._stop_at

    def _keep(self, event: Mapping[str, Any]) -> None:
        self.events.append(event)


def _train(
    folder: Path, data_uri: str, at_step: Callable[[int], object] = lambda step: None, *,
    stop_at: int = -1, left_s: float = 60.0, **changes: object,
) -> list[Mapping[str, Any]]:  # fmt: skip
    """Three epochs of five steps in folder/run; this machine's disk is folder/here."""
    host = _Host(at_step, stop_at=stop_at, left_s=left_s)
    run_training(
        run_uri=str(folder / "run"), spec=small_train_spec(epochs=3.0, **changes),
        recipe_name="emotion", data_uri=data_uri, host=host, rescue_to=folder / "here",
    )  # fmt: skip
    return host.events


def _weights(run: Path) -> str:
    found = read_commit(open_store(str(run)), "model")
    assert found is not None
    return found.parts["model.safetensors"].sha256


class Broken:
    """Writes under a folder fail ("down"), wait ("slow") or work ("up")."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder, self._gate, self.way = str(folder), threading.Event(), "up"
        put = LocalStore.put

        def broken(store: LocalStore, key: str, body: bytes) -> None:
            if store.uri.startswith(self._folder):
                if self.way == "slow":
                    self._gate.wait(30.0)
                if self.way == "down":
                    raise StoreError("the store is down")
            put(store, key, body)

        patch.setattr(LocalStore, "put", broken)

    def mend(self) -> None:
        """Everything works again."""
        self.way = "up"
        self._gate.set()


LIMITS = {"checkpoint_every_s": 0.001, "checkpoint_age_limit_s": 1.0}


@pytest.fixture(scope="module")
def lost(data_uri: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run whose store was down for longer than the limit, and what a person was told."""
    folder = tmp_path_factory.mktemp("lost")
    with pytest.MonkeyPatch.context() as patch:
        broken = Broken(folder / "run", patch)

        def go_down(step: int) -> None:
            if step >= 7:
                broken.way = "down"
                threading.Event().wait(0.3)

        with pytest.raises(RescuedError, match="run the same command again") as caught:
            _train(folder, data_uri, go_down, **LIMITS)
    assert caught.value.exit_code == 75
    return folder, str(caught.value)


@pytest.fixture
def copy(lost: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the lost run to go on from."""
    shutil.copytree(lost[0], tmp_path, dirs_exist_ok=True)
    return tmp_path


def _kept(folder: Path) -> str:
    (name,) = list_checkpoints(open_store(str(folder / "here")))
    return name


def _step(name: str) -> int:
    return int(name.partition("-")[0])


def test_a_store_away_for_too_long_costs_no_step_where_the_copy_is_found(
    data_uri: str, unbroken: str, lost: tuple[Path, str], copy: Path
) -> None:
    folder, told = lost
    assert "the store is down" in told
    assert f"kept on {socket.gethostname()} in {folder / 'here'}" in told
    kept = _kept(copy)
    assert 8 < _step(kept) < 16, "it did not end at the limit"
    events = _train(copy, data_uri, **LIMITS)
    assert events[0] == {"type": "adopted", "checkpoint": kept}
    assert events[1]["step"] == _step(kept)
    assert not (copy / "here").exists()
    assert verify_run(str(copy / "run")).is_exact
    assert _weights(copy / "run") == unbroken


def test_the_copy_of_a_lost_machine_costs_only_the_steps_since_the_last_checkpoint(
    data_uri: str, unbroken: str, copy: Path
) -> None:
    shutil.rmtree(copy / "here")
    assert 0 < _train(copy, data_uri, **LIMITS)[0]["step"] <= 8
    assert _weights(copy / "run") == unbroken


def test_a_copy_moved_into_the_run_by_hand_is_a_checkpoint_like_any_other(
    data_uri: str, unbroken: str, copy: Path
) -> None:
    kept = _kept(copy)
    shutil.copytree(copy / "here", copy / "run", dirs_exist_ok=True)
    assert _train(copy, data_uri, **LIMITS)[0]["step"] == _step(kept)
    assert _weights(copy / "run") == unbroken


@pytest.mark.parametrize("damage", ["flip", "other", "history"])
def test_a_copy_that_does_not_fit_is_named_and_left_alone(
    damage: str, data_uri: str, unbroken: str, copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    match damage:
        case "flip":
            part = next((copy / "here" / "checkpoints").glob("*/model.*"))
            body = bytearray(part.read_bytes())
            body[len(body) // 2] ^= 1
            part.write_bytes(bytes(body))
        case "other":
            there = copy / "here" / "run.json"
            there.write_text(there.read_text().replace('"spec_digest": "', '"spec_digest": "0'))
        case "history":
            shutil.rmtree(copy / "run")
    _train(copy, data_uri, **LIMITS)
    assert f"{copy / 'here'}: not used" in caplog.text
    assert (copy / "here").exists()
    assert _weights(copy / "run") == unbroken


def test_a_copy_older_than_what_the_store_has_is_dropped(data_uri: str, copy: Path) -> None:
    shutil.copytree(copy / "here", copy / "later")
    _train(copy, data_uri, **LIMITS)
    store = open_store(str(copy / "run"))
    newest = list_checkpoints(store)[-1]
    assert Rescue(copy / "later", read_run(store)).adopt(store) == ""
    assert list_checkpoints(store)[-1] == newest
    assert not (copy / "later").exists()


def test_ranks_of_one_machine_adopt_a_copy_once(copy: Path) -> None:
    kept, store, found = _kept(copy), open_store(str(copy / "run")), []
    rescue, barrier = Rescue(copy / "here", read_run(store)), threading.Barrier(4)

    def adopt() -> None:
        barrier.wait(10.0)
        found.append(rescue.adopt(store))

    threads = [threading.Thread(target=adopt) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30.0)
    assert len(found) == 4
    assert set(found) <= {kept, ""}
    assert kept in found
    assert list_checkpoints(store)[-1] == kept


def test_a_stop_with_a_store_slower_than_the_grace_keeps_the_state_here(
    data_uri: str, unbroken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Broken(tmp_path / "run", monkeypatch)

    def go_slow(step: int) -> None:
        if step == 6:
            broken.way = "slow"

    with pytest.raises(PreemptedError, match=r"after step 8; .* kept on") as caught:
        _train(tmp_path, data_uri, go_slow, stop_at=7, left_s=0.2, checkpoint_every_steps=None)
    assert caught.value.exit_code == 75
    broken.mend()
    events = _train(tmp_path, data_uri, checkpoint_every_steps=None)
    assert next(one for one in events if one["type"] == "started")["step"] == 8
    assert verify_run(str(tmp_path / "run")).is_exact
    assert _weights(tmp_path / "run") == unbroken


class _AskedAtATime(SingleHost):
    """Asked to stop so long after it went slow, whatever it is doing then."""

    def __init__(self, at_step: Callable[[int], object], after_s: float) -> None:
        super().__init__(seconds_left=lambda: 0.3)
        self._at_step, self._after_s, self._at_s = at_step, after_s, math.inf

    def note(self, step: int, phase: str) -> None:
        if phase == "begin" and step == 6:
            self._at_step(step)
            self._at_s = time.monotonic() + self._after_s

    def stop_requested(self) -> bool:
        return time.monotonic() > self._at_s


def test_a_stop_while_a_save_waits_for_the_one_before_it_does_not_wait_with_it(
    data_uri: str, unbroken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saves come every three steps, so that of step 9 waits for that of step 6."""
    broken = Broken(tmp_path / "run", monkeypatch)
    host = _AskedAtATime(lambda _: setattr(broken, "way", "slow"), after_s=1.5)
    begun_s = time.monotonic()
    with pytest.raises(PreemptedError, match=r"after step 1\d; .* kept on"):
        run_training(
            run_uri=str(tmp_path / "run"), spec=small_train_spec(epochs=3.0),
            recipe_name="emotion", data_uri=data_uri, host=host, rescue_to=tmp_path / "here",
        )  # fmt: skip
    assert time.monotonic() - begun_s < 15.0, "the store takes 30 s for each request"
    broken.mend()
    _train(tmp_path, data_uri)
    assert verify_run(str(tmp_path / "run")).is_exact
    assert _weights(tmp_path / "run") == unbroken


def test_a_stop_at_a_step_that_was_just_saved_saves_it_once(data_uri: str, tmp_path: Path) -> None:
    with pytest.raises(PreemptedError, match="after step 9; state saved"):
        _train(tmp_path, data_uri, stop_at=8)
    names = list_checkpoints(open_store(str(tmp_path / "run")))
    assert [name.split("-")[0] for name in names] == ["0000000006", "0000000009"]


def test_a_run_has_its_own_place_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    places = {rescue_folder(uri) for uri in ("s3://a/runs/one", "s3://b/runs/one", "/runs/one")}
    assert len(places) == 3
    assert all(str(one).startswith("/state/visage/rescue/one-") for one in places)
    assert rescue_folder("s3://a/runs/one/") in places
