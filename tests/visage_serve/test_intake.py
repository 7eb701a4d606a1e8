from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from visage.specs.serve import RequestLimits
from visage_serve.intake import read_submission
from visage_serve.limits import check_boxes, read_body
from visage_serve.refusal import Refusal

LIMITS = RequestLimits(body_bytes=4096, pictures=3, faces=4)
coordinates = st.integers(-(2**24), 2**24)


def request_of(chunks, headers):
    """A request whose body arrives in these chunks, and the list of those that were taken."""
    taken = []
    waiting = list(chunks)

    async def receive():
        chunk = waiting.pop(0) if waiting else b""
        taken.append(chunk)
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": b""}
    return Request(scope, receive), taken


def outcome(call):
    """What the call gives, or the refusal that it raises."""
    try:
        return call()
    except Refusal as err:
        return err


def submission_of(body, content_type, limits=LIMITS):
    request, _ = request_of([body], {"Content-Type": content_type})
    return asyncio.run(read_submission(request, limits))


@given(chunks=st.lists(st.binary(max_size=3000), max_size=8))
def test_a_body_is_read_whole_or_refused_and_never_held_beyond_the_limit(chunks):
    request, taken = request_of(chunks, {})
    size = sum(map(len, chunks))
    found = outcome(lambda: asyncio.run(read_body(request, LIMITS)))
    if 0 < size <= LIMITS.body_bytes:
        assert found == b"".join(chunks)
    else:
        assert (found.status, found.detail.code) == ((413, "too_large") if size else (400, "empty"))
        assert sum(map(len, taken[:-1])) <= LIMITS.body_bytes


@given(
    pictures=st.lists(st.binary(max_size=600), min_size=1, max_size=3),
    boundary=st.text("abcXYZ019'()+_,-./:=?", min_size=1, max_size=60),
)
def test_multipart_gives_back_every_byte_whatever_the_boundary(pictures, boundary):
    made = httpx.Request(
        "POST",
        "http://test/",
        files=[("image", ("a.png", data)) for data in pictures],
        headers={"Content-Type": f'multipart/form-data; boundary="{boundary}"'},
    )
    body = made.read()
    if any(boundary.encode() in data for data in pictures):
        return
    found = submission_of(body, made.headers["content-type"])
    assert list(found.pictures) == pictures
    assert found.boxes == (None,) * len(pictures)


@settings(max_examples=200)
@given(body=st.binary(max_size=500), kind=st.sampled_from(["multipart", "json"]))
def test_noise_is_a_submission_or_a_typed_refusal_and_nothing_else(body, kind):
    content_type = "application/json" if kind == "json" else "multipart/form-data; boundary=b"
    framed = body if kind == "json" else b"--b\r\n" + body + b"\r\n--b--\r\n"
    found = outcome(lambda: submission_of(framed, content_type))
    if isinstance(found, Refusal):
        assert 400 <= found.status < 500
        assert found.detail.message
    else:
        assert len(found.pictures) == len(found.boxes) > 0


@pytest.mark.parametrize("cut", range(3, 160, 7))
def test_a_multipart_body_that_breaks_off_is_refused(cut):
    made = httpx.Request(
        "POST", "http://test/", files={"image": b"12345"}, data={"boxes": "[null]"}
    )
    body = made.read()
    with pytest.raises(Refusal) as caught:
        submission_of(body[:-cut], made.headers["content-type"])
    assert caught.value.status == 400


def test_a_flood_of_parts_is_cut_at_the_first_that_is_too_many():
    part = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nx\r\n'
    limits = RequestLimits(body_bytes=1 << 20, pictures=3)
    with pytest.raises(Refusal) as caught:
        submission_of(part * 9000 + b"--b--\r\n", "multipart/form-data; boundary=b", limits)
    assert caught.value.detail.code == "too_many_images"


def test_a_part_with_endless_headers_is_refused():
    part = b"--b\r\n" + b"X: y\r\n" * 400 + b"\r\nx\r\n--b--\r\n"
    with pytest.raises(Refusal) as caught:
        submission_of(part, "multipart/form-data; boundary=b")
    assert caught.value.detail.code == "bad_multipart"


def test_boxes_stated_twice_are_refused():
    made = httpx.Request(
        "POST", "http://test/", files=[("image", b"x"), ("boxes", b"[null]"), ("boxes", b"[null]")]
    )
    with pytest.raises(Refusal) as caught:
        submission_of(made.read(), made.headers["content-type"])
    assert caught.value.detail.code == "bad_boxes"


@given(
    boxes=st.lists(st.none() | st.lists(st.tuples(*[coordinates] * 4), max_size=6), max_size=4),
    pictures=st.integers(1, 4),
)
def test_accepted_boxes_have_area_and_one_entry_for_each_picture(boxes, pictures):
    accepted = outcome(lambda: check_boxes(boxes, pictures=pictures, limits=LIMITS))
    if isinstance(accepted, Refusal):
        assert accepted.detail.code == "bad_boxes"
        assert accepted.detail.field.startswith("boxes")
        return
    assert len(accepted) == pictures
    for entry in accepted:
        assert entry is None or 1 <= len(entry) <= LIMITS.faces
        assert all(x2 > x1 and y2 > y1 for x1, y1, x2, y2 in entry or ())


def test_json_boxes_reach_the_submission():
    body = json.dumps({"images": ["AAAA", "AAAA"], "boxes": [None, [[1, 2, 3, 4]]]}).encode()
    assert submission_of(body, "application/json").boxes == (None, ((1, 2, 3, 4),))
