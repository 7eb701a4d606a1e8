"""Do the store, the tracking server and the face provider do what they will be asked?"""

from __future__ import annotations

import email.utils
import os
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from visage.errors import AlreadyExistsError, StoreUnavailableError, VisageError
from visage.store.base import Store
from visage_jobs.doctor.check import Check, fail, ok, warn

__all__ = ["check_faces", "check_skew", "check_store", "check_tracking", "open_patient_store"]

MULTIPART_BYTES = 17 * 2**20  # just over one part, so that the store splits it
SKEW_WARN_S = 30.0
SKEW_FAIL_S = 300.0
HTTP_TIMEOUT_S = 5.0
RETRY_S = 10.0


def open_patient_store(uri: str) -> Store:
    """The store, asked for seconds instead of minutes when it does not answer."""
    from visage.store.open import open_store

    if not uri.startswith("s3://"):
        return open_store(uri)
    from visage.store.retry import RetryBudget
    from visage.store.s3 import S3Store

    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    return S3Store(bucket, prefix, budget=RetryBudget(tries=3, deadline_s=RETRY_S))


def check_store(store: Store, *, with_multipart: bool) -> Check:
    """Put, read, list and delete work, and a key that is taken is refused."""
    key = f"doctor/{uuid.uuid4().hex}"
    large = f"{key}.large"
    try:
        did = _exercise(store, key)
        if with_multipart:
            did.append(_exercise_multipart(store, large))
    except StoreUnavailableError as err:
        return fail("store", str(err), "check the endpoint, the network and AWS_ENDPOINT_URL")
    except VisageError as err:
        return fail("store", str(err), "grant get, put, list and delete below this place")
    finally:
        leftovers = _remove(store, [key, large] if with_multipart else [key])
    if leftovers:
        return fail("store", leftovers, "grant delete, or remove the doctor/ keys by hand")
    wrong = [step for step in did if step.startswith("not ")]
    if wrong:
        advice = "this server ignores conditional writes: two writers would overwrite each other"
        return fail("store", f"{store.uri}: {', '.join(wrong)}", advice)
    return ok("store", f"{store.uri}: {', '.join(did)}")


def check_skew(
    endpoint: str | None = None,
    *,
    ask: Callable[[str], str | None] | None = None,
    wall: Callable[[], float] = time.time,
) -> Check:
    """This clock and the S3 server's agree; signatures are refused at 15 minutes of difference."""
    url = endpoint or os.environ.get("AWS_ENDPOINT_URL") or "https://s3.amazonaws.com"
    stated = (ask or _date_header)(url)
    if stated is None:
        return warn("clock skew", "the S3 endpoint did not state a date", "check AWS_ENDPOINT_URL")
    skew_s = wall() - email.utils.parsedate_to_datetime(stated).timestamp()
    found = f"{skew_s:+.0f} s against the S3 endpoint"
    if abs(skew_s) <= SKEW_WARN_S:
        return ok("clock skew", found)
    advice = "set the clock (chrony or systemd-timesyncd); S3 refuses signatures at 15 minutes"
    return (warn if abs(skew_s) <= SKEW_FAIL_S else fail)("clock skew", found, advice)


def check_tracking(tracking_uri: str) -> Check:
    """The tracking server answers a search; a database that does not exist yet can be created.

    Runs whose process died are ended as KILLED on the way.
    """
    from visage.tracking.backend import classify, connect, local_folder
    from visage.tracking.heartbeat import reap_dead_runs

    folder = local_folder(tracking_uri)
    if folder is not None and not Path(tracking_uri.removeprefix("sqlite:///")).exists():
        return _check_new_database(folder)
    try:
        client = connect(tracking_uri)
        names = [one.name for one in client.search_experiments(max_results=100)]
        dead = sum(len(reap_dead_runs(tracking_uri, name)) for name in names)
    except Exception as err:  # MLflow's own and its HTTP library's; the outcome is the failed check
        return _tracking_failed(str(classify(err, tracking_uri)))
    where = "local database" if folder is not None else "tracking server"
    ended = f", {dead} runs of dead processes ended" if dead else ""
    return ok("mlflow", f"{where} answers, {len(names)} experiments{ended}")


def check_faces() -> Check:
    """A face provider opens, with its weights."""
    from visage.faces import open_provider

    try:
        provider = open_provider("auto")
    except VisageError as err:
        return fail("faces", str(err), "install dlib-bin and its weights package (`make setup`)")
    return ok("faces", f"{provider.name} ({provider.licence})")


def _exercise(store: Store, key: str) -> list[str]:
    body = uuid.uuid4().bytes
    store.put(key, body)
    did = ["put"]
    did.append("get" if store.get(key) == body else "not the bytes that were put")
    did.append("head" if store.stat(key) is not None else "not visible to head")
    listed = any(stat.key == key for stat in store.list("doctor/"))
    did.append("list" if listed else "not listed")
    try:
        store.put(key, body[::-1])
        did.append("not put-if-absent")
    except AlreadyExistsError:
        did.append("put-if-absent")
    return did


def _exercise_multipart(store: Store, key: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "large"
        source.write_bytes(bytes(MULTIPART_BYTES))
        store.upload(key, source)
        try:
            store.upload(key, source)
        except AlreadyExistsError:
            return "multipart"
    return "not put-if-absent for multipart"


def _remove(store: Store, keys: list[str]) -> str:
    """Delete the temporary keys; what went wrong, or nothing."""
    try:
        for key in keys:
            store.delete(key)
        return "" if all(store.stat(key) is None for key in keys) else "delete did not delete"
    except VisageError as err:
        return str(err)


def _date_header(url: str) -> str | None:
    import httpx

    try:
        stated = httpx.head(url, timeout=HTTP_TIMEOUT_S).headers.get("date")
    except httpx.HTTPError:
        return None
    return None if stated is None else str(stated)


def _check_new_database(folder: Path) -> Check:
    at = folder
    while not at.exists():
        at = at.parent
    if os.access(at, os.W_OK):
        return ok("mlflow", f"local database, made at first use in {folder}")
    return fail("mlflow", f"{at} is not writable", "name another folder with --workspace")


def _tracking_failed(reason: str) -> Check:
    return fail(
        "mlflow",
        reason,
        "check MLFLOW_TRACKING_URI and that the server runs; training goes on without it, "
        "but registering and promoting do not",
    )
