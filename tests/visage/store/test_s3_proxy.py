"""A real S3 server behind a line that refuses, breaks, crawls and stands still."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_proxy import FaultProxy
from s3_server import S3Server

from visage.errors import StoreUnavailableError
from visage.store.commit import commit, read_part
from visage.store.open import open_store
from visage.store.retry import RetryBudget, retries_so_far
from visage.store.s3 import S3Store
from visage.store.s3_connection import make_client

QUICK = RetryBudget(tries=12, first_wait_s=0.005, longest_wait_s=0.02)


@pytest.fixture
def proxy(
    s3_server: S3Server, s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultProxy]:
    """A proxy before the server, to which every store opened in the test talks."""
    with FaultProxy(s3_server.endpoint) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.endpoint)
        yield made


@pytest.fixture
def store(proxy: FaultProxy, s3_uri: str) -> S3Store:
    bucket, _, prefix = s3_uri.removeprefix("s3://").partition("/")
    return S3Store(bucket, prefix, budget=QUICK)


def test_one_request_in_twenty_refused_costs_retries_and_nothing_else(
    store: S3Store, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.faults.refused_share = 0.05
    before = retries_so_far()
    with caplog.at_level(logging.WARNING, "visage.store.retry"):
        for number in range(40):
            commit(store, f"c/{number}", {"part": f"{number}".encode() * 100})
        read = [read_part(store, f"c/{number}", "part") for number in range(40)]
    assert read == [f"{number}".encode() * 100 for number in range(40)]
    assert proxy.count(503) >= 4
    assert retries_so_far() - before == proxy.count(503) == len(caplog.records)


def test_an_answer_that_breaks_off_in_its_middle_is_read_again(
    store: S3Store, proxy: FaultProxy, tmp_path: Path
) -> None:
    body = bytes(range(256)) * 8192
    store.put("large", body)
    proxy.faults.reset_downloads = 2
    assert store.get("large") == body
    proxy.faults.reset_downloads = 2
    store.download("large", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == body


def test_a_server_that_goes_away_and_comes_back_is_waited_for(
    store: S3Store, proxy: FaultProxy
) -> None:
    proxy.faults.is_down = True
    patient = S3Store("test", store.uri.rpartition("/")[2], budget=RetryBudget(first_wait_s=0.05))
    back = threading.Timer(0.5, lambda: setattr(proxy.faults, "is_down", False))
    back.start()
    patient.put("key", b"body")
    back.join()
    assert patient.get("key") == b"body"
    assert proxy.count(0) >= 2


def test_the_default_patience_outlasts_twenty_seconds_without_a_server() -> None:
    budget, waits, wait_s = RetryBudget(), 0.0, RetryBudget().first_wait_s
    for _ in range(budget.tries - 1):
        waits += wait_s / 2
        wait_s = min(wait_s * 2, budget.longest_wait_s)
    assert min(waits, budget.deadline_s) > 60


def test_an_upload_that_makes_no_progress_is_cut_and_tried_again(
    proxy: FaultProxy, s3_uri: str
) -> None:
    client = make_client(connect_timeout_s=0.3, read_timeout_s=0.3)
    once = RetryBudget(tries=2, first_wait_s=0.001)
    stuck = S3Store("test", s3_uri.rpartition("/")[2], client=client, budget=once)
    proxy.faults.upload_bytes_per_s = 0
    start = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="in 2 tries"):
        stuck.put("key", bytes(8 << 20))
    assert time.monotonic() - start < 10
    proxy.faults.upload_bytes_per_s = None
    stuck.put("small", b"the client is still usable")


def test_an_upload_that_crawls_but_moves_is_not_cut(proxy: FaultProxy, s3_uri: str) -> None:
    """boto3 sends blocks under a limit each; should that change, slow lines would never finish."""
    client = make_client(connect_timeout_s=0.5, read_timeout_s=5.0)
    store = S3Store("test", s3_uri.rpartition("/")[2], client=client, budget=RetryBudget(tries=1))
    proxy.faults.upload_bytes_per_s = 6 << 20
    start = time.monotonic()
    store.put("key", bytes(12 << 20))
    assert time.monotonic() - start > 1.5


TOKEN_MAKER = """
import json, sys, time, pathlib
calls = pathlib.Path(sys.argv[1])
number = len(calls.read_text()) if calls.exists() else 0
calls.write_text("x" * (number + 1))
life_s = float(sys.argv[2])
ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + life_s))
print(json.dumps({"Version": 1, "AccessKeyId": "testkey", "SecretAccessKey": "testsecret123",
                  "SessionToken": f"token-{number}", "Expiration": ends}))
"""


def _short_lived(folder: Path, monkeypatch: pytest.MonkeyPatch, *, life_s: float) -> Path:
    """Credentials from a process, as single sign-on tools give them; returns its call counter."""
    maker, calls, config = folder / "maker.py", folder / "calls", folder / "config"
    maker.write_text(TOKEN_MAKER)
    config.write_text(
        f"[default]\ncredential_process = {sys.executable} {maker} {calls} {life_s}\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "none"))
    return calls


def test_credentials_that_say_when_they_expire_are_refreshed_before_they_do(
    proxy: FaultProxy, s3_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = _short_lived(tmp_path, monkeypatch, life_s=2)
    store = open_store(s3_uri)
    store.put("first", b"1")
    made = len(calls.read_text())
    proxy.faults.expired_tokens = {f"token-{number}" for number in range(made)}
    store.put("second", b"2")
    assert len(calls.read_text()) > made
    assert store.get("second") == b"2"


def test_credentials_refused_before_their_time_are_fetched_anew_in_the_same_process(
    proxy: FaultProxy, s3_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Valid for hours by their own word, so boto3 alone would offer them again and again."""
    calls = _short_lived(tmp_path, monkeypatch, life_s=7200)
    store = open_store(s3_uri)
    below = store.at("below")
    store.put("first", b"1")
    assert len(calls.read_text()) == 1
    proxy.faults.refuses_all_tokens_but = {"token-1"}
    store.put("second", b"2")
    below.put("third", b"3")
    assert len(calls.read_text()) == 2
    assert proxy.count(400) == 1


def test_a_key_file_that_was_rewritten_is_read_again(
    proxy: FaultProxy, s3_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _short_lived(tmp_path, monkeypatch, life_s=7200)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    keys = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))

    def write(token: str) -> None:
        keys.write_text(
            "[default]\naws_access_key_id = testkey\naws_secret_access_key = testsecret123\n"
            f"aws_session_token = {token}\n"
        )

    write("old")
    store = open_store(s3_uri)
    store.put("first", b"1")
    write("new")
    proxy.faults.refuses_all_tokens_but = {"new"}
    store.put("second", b"2")
    assert store.get("first") == b"1"


def test_credentials_that_stay_expired_are_reported_with_exit_code_75(
    proxy: FaultProxy, s3_uri: str
) -> None:
    store = S3Store("test", s3_uri.rpartition("/")[2], budget=RetryBudget(tries=2))
    proxy.faults.refuses_all_tokens_but = {"nobody's"}
    with pytest.raises(StoreUnavailableError, match="ExpiredToken") as caught:
        store.get("key")
    assert caught.value.exit_code == 75
