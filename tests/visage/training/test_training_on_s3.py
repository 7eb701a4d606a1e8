"""A run with data and checkpoints on s3:// behind a faulty line equals the run on a quiet disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from corpora import small_train_spec, write_corpus
from fault_proxy import FaultProxy
from s3_server import S3Server

from visage.errors import StoreUnavailableError
from visage.specs.train import EmotionTrainSpec
from visage.store.commit import read_commit
from visage.store.open import open_store
from visage.store.retry import RetryBudget
from visage.training.host import SingleHost
from visage.training.session import run_training
from visage.training.verify import verify_run

OUTAGE_S = 1.5


@pytest.fixture
def proxy(
    s3_server: S3Server, s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultProxy]:
    """A proxy before the server, to which every store opened in the test talks."""
    with FaultProxy(s3_server.endpoint) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.endpoint)
        yield made


class _Host(SingleHost):
    """Calls back at every step and keeps the events."""

    def __init__(self, at_step: Callable[[int], None] = lambda step: None) -> None:
        super().__init__(report=self._keep)
        self.events: list[Mapping[str, Any]] = []
        self._at_step, self._step = at_step, 0

    def stop_requested(self) -> bool:
        """Asked once a step."""
        self._at_step(self._step)
        self._step += 1
        return False

    def _keep(self, event: Mapping[str, Any]) -> None:
        self.events.append(event)


def _train(root: str, cache: Path, host: _Host, **changes: object) -> None:
    spec: EmotionTrainSpec = small_train_spec(epochs=3.0, **changes)
    run_training(
        run_uri=f"{root}/runs/r", spec=spec, recipe_name="emotion",
        data_uri=f"{root}/data/tiny", host=host, cache=cache, rescue_to=cache / "here",
    )  # fmt: skip


def _weights(root: str) -> str:
    found = read_commit(open_store(f"{root}/runs/r"), "model")
    assert found is not None
    return found.parts["model.safetensors"].sha256


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of the run on a disk."""
    folder = tmp_path_factory.mktemp("quiet")
    write_corpus(folder / "data" / "tiny")
    _train(str(folder), folder / "cache", _Host())
    return _weights(str(folder))


def test_refusals_and_an_outage_cost_nothing_but_time(
    proxy: FaultProxy, s3_uri: str, quiet: str, tmp_path: Path
) -> None:
    write_corpus(f"{s3_uri}/data/tiny")
    proxy.faults.refused_share = 0.05

    def go_down(step: int) -> None:
        if step == 5:
            proxy.faults.is_down = True
            threading.Timer(OUTAGE_S, lambda: setattr(proxy.faults, "is_down", False)).start()

    host = _Host(go_down)
    _train(s3_uri, tmp_path / "cache", host)
    assert proxy.count(503) > 0
    assert proxy.count(0) > 0
    assert verify_run(f"{s3_uri}/runs/r").is_exact
    assert _weights(s3_uri) == quiet
    assert max(event["store_retries"] for event in host.events if event["type"] == "train") > 0


def test_a_store_that_stays_away_too_long_ends_the_run_with_75_and_it_continues(
    proxy: FaultProxy, s3_uri: str, quiet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(f"{s3_uri}/data/tiny")
    limits = {"checkpoint_every_s": 0.1, "checkpoint_age_limit_s": 2.0}

    def go_down(step: int) -> None:
        if step >= 8:
            proxy.faults.is_down = True
            threading.Event().wait(0.4)

    with monkeypatch.context() as hasty:
        hasty.setattr("visage.store.s3.RetryBudget", lambda: RetryBudget(deadline_s=0.6))
        with pytest.raises(StoreUnavailableError, match="run the same command again") as caught:
            _train(s3_uri, tmp_path / "cache", _Host(go_down), **limits)
    assert caught.value.exit_code == 75
    proxy.faults.is_down = False
    again = _Host()
    _train(s3_uri, tmp_path / "cache", again, **limits)
    assert again.events[0]["type"] == "adopted"
    assert again.events[1]["step"] > 8, "steps were lost"
    assert verify_run(f"{s3_uri}/runs/r").is_exact
    assert _weights(s3_uri) == quiet
