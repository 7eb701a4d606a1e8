"""The store on S3 or anything that speaks its protocol (endpoint: AWS_ENDPOINT_URL).

Put-if-absent is a conditional write (`If-None-Match: *`), for single objects and for the
completion of multipart uploads alike. Retries are ours (`retry.py`), with one budget for every
operation; boto3's own are off. Credentials come from boto3's chain and are refreshed when they
expire (`s3_connection.py`), so long runs outlive short tokens.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any, TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
)
from botocore.exceptions import ConnectionError as NoConnectionError

from visage.errors import AlreadyExistsError, NotFoundError, StoreError
from visage.faultpoints import fault_point
from visage.store.base import Stat, check_key, check_prefix
from visage.store.retry import RetryBudget, TransientError, with_retries
from visage.store.s3_connection import EXPIRED, Connection, make_client

__all__ = ["S3Store"]

log = logging.getLogger(__name__)
T = TypeVar("T")
PART_BYTES = 16 << 20
MISSING = {"404", "NoSuchKey", "NotFound", "NoSuchBucket"}
TAKEN = {"PreconditionFailed", "412"}
TRANSIENT = {"500", "502", "503", "504", "429", "SlowDown", "InternalError", "ServiceUnavailable",
             "RequestTimeout", "ThrottlingException", *EXPIRED,
             "ConditionalRequestConflict", "OperationAborted", "409"}  # fmt: skip
PASSING = (HTTPClientError, NoConnectionError, IncompleteReadError, CredentialRetrievalError,
           ConnectionError, TimeoutError)  # fmt: skip


class S3Store:
    """Objects below `s3://bucket/prefix`."""

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        client: Any = None,
        budget: RetryBudget | None = None,
    ) -> None:
        self._bucket = bucket
        self._prefix = prefix.strip("/")
        self._connection = Connection(make_client if client is None else lambda: client)
        self._budget = budget or RetryBudget()

    @property
    def uri(self) -> str:
        """`s3://bucket/prefix` without a trailing slash."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def get(self, key: str) -> bytes:
        """The whole object; NotFoundError if there is none."""

        def fetch() -> bytes:
            reply = self._client.get_object(Bucket=self._bucket, Key=self._key(key))
            body: bytes = reply["Body"].read()
            return body

        return self._try(f"get {key}", fetch)

    def put(self, key: str, body: bytes) -> None:
        """Create the object by a conditional write; AlreadyExistsError if the key is taken."""
        fault_point("store.put.before_write")
        fault_point("store.put.before_publish")
        tries = 0

        def send() -> None:
            nonlocal tries
            tries += 1
            self._client.put_object(
                Bucket=self._bucket, Key=self._key(key), Body=body, IfNoneMatch="*"
            )

        try:
            self._try(f"put {key}", send)
        except AlreadyExistsError:
            # A try whose answer was lost may have been ours: equal bytes mean that it was.
            if tries == 1 or self.get(key) != body:
                raise
        fault_point("store.put.after_publish")

    def replace(self, key: str, body: bytes) -> None:
        """Create or replace the object."""
        self._try(
            f"replace {key}",
            lambda: self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=body),
        )

    def upload(self, key: str, source: Path) -> None:
        """Create the object from a file, put-if-absent, in parts of 16 MiB."""
        if source.stat().st_size <= PART_BYTES:
            self.put(key, source.read_bytes())
            return
        fault_point("store.put.before_write")
        place = {"Bucket": self._bucket, "Key": self._key(key)}
        upload_id = self._try(
            f"start upload {key}",
            lambda: self._client.create_multipart_upload(**place)["UploadId"],
        )
        place["UploadId"] = upload_id
        try:
            parts = self._send_parts(key, source, place)
            fault_point("store.put.before_publish")
            self._complete(key, source, place, parts)
        except StoreError:
            self._abort(key, place)
            raise
        fault_point("store.put.after_publish")

    def download(self, key: str, target: Path) -> None:
        """Stream the object to a file, which appears whole or not at all."""
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".tmp-{uuid.uuid4().hex}")

        def fetch() -> None:
            reply = self._client.get_object(Bucket=self._bucket, Key=self._key(key))
            with temporary.open("wb") as file:
                for chunk in reply["Body"].iter_chunks(1 << 20):
                    file.write(chunk)

        try:
            self._try(f"download {key}", fetch)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    def stat(self, key: str) -> Stat | None:
        """Size of the object, or None if there is none."""
        try:
            reply = self._try(
                f"head {key}",
                lambda: self._client.head_object(Bucket=self._bucket, Key=self._key(key)),
            )
        except NotFoundError:
            return None
        return Stat(key=key, size_bytes=int(reply["ContentLength"]), version=_etag(reply))

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """All objects whose key starts with the prefix, in key order."""
        base = f"{self._prefix}/" if self._prefix else ""
        found: list[Stat] = []
        token: dict[str, str] = {}
        while True:
            page = self._page(base + check_prefix(prefix), token)
            found += [
                Stat(
                    key=item["Key"].removeprefix(base),
                    size_bytes=int(item["Size"]),
                    version=_etag(item),
                )
                for item in page.get("Contents", [])
            ]
            if not page.get("IsTruncated"):
                break
            token = {"ContinuationToken": page["NextContinuationToken"]}
        yield from sorted(found, key=lambda item: item.key)  # not every server keeps S3's order

    def delete(self, key: str) -> None:
        """Remove the object; no error if there is none."""
        self._try(
            f"delete {key}",
            lambda: self._client.delete_object(Bucket=self._bucket, Key=self._key(key)),
        )

    def at(self, prefix: str) -> S3Store:
        """The same store rooted deeper; the client is shared."""
        deeper = copy(self)
        deeper._prefix = self._key(prefix)
        return deeper

    @property
    def _client(self) -> Any:
        return self._connection.client

    def _key(self, key: str) -> str:
        return f"{self._prefix}/{check_key(key)}".lstrip("/")

    def _page(self, prefix: str, token: dict[str, str]) -> dict[str, Any]:
        place = {"Bucket": self._bucket, "Prefix": prefix, **token}
        return self._try(f"list {prefix}", lambda: dict(self._client.list_objects_v2(**place)))

    def _send_parts(
        self, key: str, source: Path, place: dict[str, str]
    ) -> Sequence[dict[str, Any]]:
        parts = []
        with source.open("rb") as file:
            number = 0
            while chunk := file.read(PART_BYTES):
                number += 1
                etag = self._send_part(key, chunk, number, place)
                parts.append({"PartNumber": number, "ETag": etag})
        return parts

    def _send_part(self, key: str, chunk: bytes, number: int, place: dict[str, str]) -> str:
        reply = self._try(
            f"upload {key} part {number}",
            lambda: self._client.upload_part(**place, PartNumber=number, Body=chunk),
        )
        return str(reply["ETag"])

    def _complete(
        self, key: str, source: Path, place: dict[str, str], parts: Sequence[dict[str, Any]]
    ) -> None:
        tries = 0

        def finish() -> None:
            nonlocal tries
            tries += 1
            self._client.complete_multipart_upload(
                **place, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )

        try:
            self._try(f"complete upload {key}", finish)
        except (AlreadyExistsError, NotFoundError):
            # As in `put`: after a lost answer the upload is gone, and the object may be ours.
            if tries == 1 or not self._holds(key, source):
                raise

    def _holds(self, key: str, source: Path) -> bool:
        found = self.stat(key)
        if found is None or found.size_bytes != source.stat().st_size:
            return False

        def compare() -> bool:
            reply = self._client.get_object(Bucket=self._bucket, Key=self._key(key))
            with source.open("rb") as file:
                return all(file.read(len(one)) == one for one in reply["Body"].iter_chunks(1 << 20))

        return self._try(f"compare {key}", compare)

    def _abort(self, key: str, place: dict[str, str]) -> None:
        try:
            self._try(f"abort upload {key}", lambda: self._client.abort_multipart_upload(**place))
        except NotFoundError:
            pass  # the server gave the upload up by itself
        except StoreError as err:
            log.warning("%s; its parts stay until the bucket's lifecycle rule removes them", err)

    def _try(self, what: str, call: Callable[[], T]) -> T:
        def once() -> T:
            used = self._client
            try:
                return call()
            except ClientError as err:
                if _code(err) in EXPIRED:
                    self._connection.renew(used)
                raise _translate(err, f"{self.uri}: {what}") from err
            except PASSING as err:
                raise TransientError(f"{type(err).__name__}: {err}") from err
            except (BotoCoreError, OSError) as err:
                raise StoreError(
                    f"{self.uri}: {what}: {err}; check AWS_* settings and the disk"
                ) from err

        return with_retries(once, what=f"{self.uri}: {what}", budget=self._budget)


def _translate(err: ClientError, what: str) -> Exception:
    code = _code(err)
    status = str(err.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    if {code, status} & MISSING:
        return NotFoundError(f"{what}: no such object or bucket")
    if {code, status} & TAKEN:
        return AlreadyExistsError(f"{what}: exists already")
    if {code, status} & TRANSIENT:
        return TransientError(f"{code or status}")
    if status == "403":
        return StoreError(f"{what}: access denied ({code}); check AWS_* credentials and the policy")
    return StoreError(f"{what}: refused: {err}")


def _code(err: ClientError) -> str:
    return str(err.response.get("Error", {}).get("Code", ""))


def _etag(reply: dict[str, Any]) -> str:
    return str(reply.get("ETag", "")).strip('"')
