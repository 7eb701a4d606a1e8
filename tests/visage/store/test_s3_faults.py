"""The S3 store when the network, the server or the credentials fail.

A wrapper around the real client of the real server loses answers, refuses or breaks off; nothing
else is replaced.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    IncompleteReadError,
    NoCredentialsError,
    ReadTimeoutError,
)
from s3_server import BUCKET, S3Server, s3_environment

from visage.errors import (
    AlreadyExistsError,
    NotFoundError,
    SpecError,
    StoreError,
    StoreUnavailableError,
)
from visage.store.open import open_store
from visage.store.retry import RetryBudget
from visage.store.s3 import PART_BYTES, S3Store

QUICK = RetryBudget(tries=4, first_wait_s=0.001, longest_wait_s=0.001)
Fault = Callable[[Callable[[], Any]], Any]


class _Faulty:
    """A client whose named calls go through faults, one a visit; later visits are normal."""

    def __init__(self, client: Any, faults: Mapping[str, list[Fault]]) -> None:
        self._client, self._faults = client, {name: list(some) for name, some in faults.items()}
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)

        def call(**values: Any) -> Any:
            self.calls.append(name)
            queue = self._faults.get(name)
            fault = queue.pop(0) if queue else None
            return fault(lambda: real(**values)) if fault else real(**values)

        return call


def _refused(code: str, status: int) -> Fault:
    def fault(real: Callable[[], Any]) -> Any:
        reply = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(reply, "PutObject")  # type: ignore[arg-type]

    return fault


def _raised(err: Exception) -> Fault:
    def fault(real: Callable[[], Any]) -> Any:
        raise err

    return fault


def _lost(real: Callable[[], Any]) -> Any:
    """The server does it, the answer never arrives."""
    real()
    raise ReadTimeoutError(endpoint_url="http://s3")


def _broken_off(real: Callable[[], Any]) -> Any:
    reply = real()

    class Body(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise IncompleteReadError(actual_bytes=1, expected_bytes=2)

        def iter_chunks(self, _: int) -> Any:
            yield b"half"
            raise IncompleteReadError(actual_bytes=1, expected_bytes=2)

    return {**reply, "Body": Body()}


@pytest.fixture
def faulty(s3_uri: str, s3_client: Any) -> Callable[..., tuple[S3Store, _Faulty]]:
    """Makes a store with a faulty client below one prefix."""
    prefix = s3_uri.rpartition("/")[2]

    def make(**faults: list[Fault]) -> tuple[S3Store, _Faulty]:
        client = _Faulty(s3_client, faults)
        return S3Store(BUCKET, prefix, client=client, budget=QUICK), client

    return make


Make = Callable[..., tuple[S3Store, _Faulty]]


@pytest.mark.parametrize(
    "fault",
    [
        _refused("SlowDown", 503),
        _refused("InternalError", 500),
        _refused("RequestTimeout", 400),
        _refused("ExpiredToken", 400),
        _refused("ConditionalRequestConflict", 409),
        _raised(EndpointConnectionError(endpoint_url="http://s3")),
        _raised(ConnectionResetError()),
    ],
)
def test_what_may_pass_is_tried_again(fault: Fault, faulty: Make) -> None:
    store, client = faulty(put_object=[fault, fault], get_object=[fault])
    store.put("key", b"body")
    assert store.get("key") == b"body"
    assert client.calls == ["put_object"] * 3 + ["get_object"] * 2


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (_refused("AccessDenied", 403), r"access denied \(AccessDenied\); check AWS_"),
        (_refused("SignatureDoesNotMatch", 403), "access denied"),
        (_raised(NoCredentialsError()), "check AWS_"),
        (_refused("InvalidRequest", 400), "refused"),
        (_raised(OSError(28, "No space left on device")), "No space left on device"),
    ],
)
def test_what_cannot_pass_is_refused_at_the_first_try(
    fault: Fault, message: str, faulty: Make
) -> None:
    store, client = faulty(get_object=[fault, fault])
    store.put("key", b"body")
    client.calls.clear()
    with pytest.raises(StoreError, match=message) as caught:
        store.get("key")
    assert not isinstance(caught.value, StoreUnavailableError)
    assert client.calls == ["get_object"]


def test_a_store_that_stays_away_is_reported_with_its_uri_and_exit_code_75(faulty: Make) -> None:
    store, client = faulty(get_object=[_refused("SlowDown", 503)] * 9)
    with pytest.raises(StoreUnavailableError, match=r"s3://test/\w+: get key: no success in 4"):
        store.get("key")
    assert len(client.calls) == QUICK.tries


def test_a_put_whose_answer_was_lost_counts_as_ours(faulty: Make) -> None:
    store, _ = faulty(put_object=[_lost])
    store.put("key", b"body")
    assert store.get("key") == b"body"


def test_a_put_after_lost_answers_still_loses_to_another_writer(faulty: Make) -> None:
    store, _ = faulty(put_object=[_raised(ReadTimeoutError(endpoint_url="http://s3"))])
    faulty()[0].put("key", b"theirs")
    with pytest.raises(AlreadyExistsError):
        store.put("key", b"ours")
    assert store.get("key") == b"theirs"


def test_a_read_that_breaks_off_is_read_again_from_the_start(faulty: Make, tmp_path: Path) -> None:
    store, _ = faulty(get_object=[_broken_off, _broken_off])
    store.put("key", b"the whole body")
    assert store.get("key") == b"the whole body"
    store, _ = faulty(get_object=[_broken_off, _broken_off])
    store.download("key", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"the whole body"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_listing_longer_than_a_page_is_whole(faulty: Make, s3_client: Any) -> None:
    store, client = faulty()
    for number in range(7):
        store.put(f"a/{number}", b"")

    class Paged:
        def list_objects_v2(self, **values: Any) -> Any:
            return client.list_objects_v2(**values, MaxKeys=3)

    paged = S3Store(BUCKET, store.uri.rpartition("/")[2], client=Paged(), budget=QUICK)
    assert [item.key for item in paged.list()] == [f"a/{number}" for number in range(7)]
    assert client.calls.count("list_objects_v2") == 3


class _Large:
    """Files of 40 MiB, sent in three parts."""

    def __init__(self, folder: Path) -> None:
        self.ours, self.theirs = folder / "ours", folder / "theirs"
        block = bytes(range(256)) * 4096
        self.ours.write_bytes(block * 40)
        self.theirs.write_bytes(block * 39 + block[::-1])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> _Large:
    return _Large(tmp_path_factory.mktemp("large"))


def _open_uploads(store: S3Store, s3_client: Any) -> int:
    prefix = store.uri.rpartition("/")[2]
    found = s3_client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix)
    return len(found.get("Uploads", []))


def test_a_large_file_goes_up_in_parts_and_comes_back(
    large: _Large, faulty: Make, s3_client: Any, tmp_path: Path
) -> None:
    slow = _refused("SlowDown", 503)
    store, client = faulty(upload_part=[slow], complete_multipart_upload=[slow])
    store.upload("file", large.ours)
    assert client.calls.count("upload_part") == 1 + -(-large.ours.stat().st_size // PART_BYTES)
    store.download("file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == large.ours.read_bytes()
    assert _open_uploads(store, s3_client) == 0


def test_a_large_file_never_replaces_an_object_and_leaves_no_parts(
    large: _Large, faulty: Make, s3_client: Any
) -> None:
    store, _ = faulty()
    store.put("file", b"first")
    with pytest.raises(AlreadyExistsError):
        store.upload("file", large.ours)
    assert store.get("file") == b"first"
    assert _open_uploads(store, s3_client) == 0


def test_the_server_itself_refuses_to_complete_an_upload_over_an_object(
    s3_client: Any, s3_uri: str
) -> None:
    place = {"Bucket": BUCKET, "Key": f"{s3_uri.rpartition('/')[2]}/file"}
    s3_client.put_object(**place, Body=b"first")
    place["UploadId"] = s3_client.create_multipart_upload(**place)["UploadId"]
    etag = s3_client.upload_part(**place, PartNumber=1, Body=b"second")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3_client.complete_multipart_upload(**place, MultipartUpload=parts, IfNoneMatch="*")


def test_an_upload_whose_completion_was_done_but_not_answered_counts_as_ours(
    large: _Large, faulty: Make
) -> None:
    store, _ = faulty(complete_multipart_upload=[_lost])
    store.upload("file", large.ours)
    found = store.stat("file")
    assert found is not None
    assert found.size_bytes == large.ours.stat().st_size


def test_an_upload_with_a_lost_answer_still_loses_to_another_file_of_equal_size(
    large: _Large, faulty: Make
) -> None:
    faulty()[0].upload("file", large.theirs)
    store, _ = faulty(
        complete_multipart_upload=[_raised(ReadTimeoutError(endpoint_url="http://s3"))]
    )
    with pytest.raises(AlreadyExistsError):
        store.upload("file", large.ours)


def test_an_upload_that_cannot_even_be_aborted_reports_the_first_cause(
    large: _Large, faulty: Make
) -> None:
    down = [_raised(EndpointConnectionError(endpoint_url="http://s3"))] * 9
    store, _ = faulty(upload_part=down, abort_multipart_upload=down)
    with pytest.raises(StoreUnavailableError, match="part 1"):
        store.upload("file", large.ours)


def test_a_wrong_key_is_told_in_a_sentence(
    s3_server: S3Server, s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreError, match=r"access denied.*check AWS_"):
        open_store(s3_uri).put("key", b"")


def test_no_key_at_all_is_told_in_a_sentence(
    s3_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in s3_environment(""):
        if "KEY" in name:
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError, match="check AWS_"):
        open_store(s3_uri).get("key")


def test_a_missing_bucket_is_told_in_a_sentence(s3_uri: str) -> None:
    with pytest.raises(NotFoundError, match="no such object or bucket"):
        open_store("s3://absent-bucket/x").get("key")


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_ENDPOINT_URL", "localhost:9000"), ("AWS_PROFILE", "absent")]
)
def test_a_wrong_setting_of_the_client_is_told_in_a_sentence(
    name: str, value: str, s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SpecError, match="AWS_"):
        open_store(s3_uri)


def test_one_try_is_one_request(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[str] = []

    class Refuse(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(503)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        store = S3Store(BUCKET, budget=QUICK)
        with pytest.raises(StoreUnavailableError, match="in 4 tries"):
            store.get("key")
        server.shutdown()
    assert len(requests) == QUICK.tries
