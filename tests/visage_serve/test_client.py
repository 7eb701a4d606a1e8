from __future__ import annotations

import httpx
import pytest

from visage.errors import EXIT_RETRY_LATER, SpecError
from visage.specs.serve import HeadLimits
from visage_serve.client import (
    EmotionClient,
    EndpointError,
    EndpointUnavailableError,
    TalkingHeadClient,
)
from visage_serve.multipart import boundary_of
from visage_serve.orders import AnimationFields, parse_order
from visage_serve.wire import EmotionReply, ImageReply, ModelReply, Timing

REPLY = EmotionReply(
    images=[ImageReply(width=3, height=2, note="no face")],
    model=ModelReply(name="emotion", version="1", digest="d", classes=["Sad"]),
    timing_ms=Timing(prepare=1.0, forward=0.0, total=1.0),
).model_dump_json()


class Breaking(httpx.SyncByteStream):
    """A body that ends in the middle."""

    def __iter__(self):
        yield b'{"schema":'
        raise httpx.ReadError("gone")


class Server:
    """Answers from a list; the last answer repeats. Time passes only by sleeping."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []
        self.now = 0.0
        self.client = self.open(EmotionClient)
        self.heads = self.open(TalkingHeadClient)

    def open(self, kind):
        return kind(
            "http://test",
            budget_s=60.0,
            transport=httpx.MockTransport(self.answer),
            clock=lambda: self.now,
            sleep=self.sleep,
            uniform=lambda low, high: high,
        )

    def answer(self, request):
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer()

    def sleep(self, seconds):
        self.now += seconds


def ok():
    return httpx.Response(200, text=REPLY)


def refused():
    body = {"error": {"code": "bad_boxes", "message": "no area", "field": "boxes[0]"}}
    return httpx.Response(400, json=body)


def overloaded():
    body = {"error": {"code": "overloaded", "message": "wait", "field": None}}
    return httpx.Response(429, json=body, headers={"Retry-After": "7"})


def test_an_answer_comes_back_typed():
    server = Server(ok)
    (image,) = server.client.emotion([b"jpeg"], [None], overlay=True)
    assert image.note == "no face"
    assert server.requests[0].url.params["overlay"] == "true"
    assert b'name="boxes"' in server.requests[0].read()


def test_a_refusal_is_raised_with_its_code_and_not_asked_again():
    server = Server(refused)
    with pytest.raises(EndpointError, match="bad_boxes") as caught:
        server.client.emotion([b"jpeg"])
    assert (caught.value.status, caught.value.detail.field) == (400, "boxes[0]")
    assert len(server.requests) == 1


def test_a_full_endpoint_is_asked_again_when_it_said():
    server = Server(overloaded, overloaded, ok)
    assert server.client.emotion([b"jpeg"])
    assert server.now == 14.0
    assert len({request.read() for request in server.requests}) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        lambda: httpx.Response(503, text="unavailable"),
        lambda: httpx.Response(500, text="Internal Server Error"),  # a replica died under it
    ],
)
def test_what_may_pass_is_asked_again(trouble):
    server = Server(trouble, ok)
    assert server.client.emotion([b"jpeg"])
    assert len(server.requests) == 2


def test_a_fault_that_the_service_owns_is_not_asked_again():
    fault = {"error": {"code": "internal", "message": "failed", "field": None}}
    server = Server(lambda: httpx.Response(500, json=fault))
    with pytest.raises(EndpointError, match="internal"):
        server.client.emotion([b"jpeg"])


def test_the_budget_ends_the_asking_with_the_code_for_later():
    server = Server(httpx.ConnectError("refused"))
    with pytest.raises(EndpointUnavailableError, match="60 s") as caught:
        server.client.emotion([b"jpeg"])
    assert caught.value.exit_code == EXIT_RETRY_LATER
    assert server.now <= 60.0
    assert len(server.requests) < 20


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "localhost:8000", "ftp://x", "http://", "http://:x"]
)
def test_a_url_that_is_none_is_refused_at_once_and_not_asked_for_minutes(url):
    with pytest.raises(SpecError, match="http://127"):
        TalkingHeadClient(url)


def test_an_answer_that_broke_off_is_not_asked_again():
    server = Server(lambda: httpx.Response(200, stream=Breaking()))
    with pytest.raises(EndpointUnavailableError, match="broke off"):
        server.client.emotion([b"jpeg"])
    assert len(server.requests) == 1


def clip():
    headers = {"X-Visage-Frames": "24", "X-Visage-Style": "loud", "X-Visage-Model": "head/1 (ab)"}
    return httpx.Response(200, content=b"mp4", headers=headers)


def test_a_video_comes_back_with_what_the_endpoint_says_of_it():
    server = Server(clip)
    found = server.heads.animate(b"jpeg", b"wav", style="loud", seed=0)
    assert (found.video, found.frames, found.note) == (b"mp4", 24, None)
    assert (found.style, found.model) == ("loud", "head/1 (ab)")
    sent = server.requests[0].read()
    for part in (b'name="portrait"', b'name="audio"', b'name="style"', b'name="seed"'):
        assert part in sent
    assert b'name="fps"' not in sent  # the endpoint's own default


def test_what_the_client_sends_is_what_the_endpoint_reads():
    server = Server(clip)
    server.heads.animate(b"jpeg", b"wav", style="loud", fps=25.0, size=128, seed=3)
    sent = server.requests[0]
    boundary = boundary_of(sent.headers["content-type"])
    order = parse_order(sent.read(), boundary, HeadLimits())
    assert (order.portrait, order.audio) == (b"jpeg", b"wav")
    assert order.fields == AnimationFields(style="loud", fps=25.0, size=128, seed=3)


def test_a_full_backlog_is_waited_for_as_long_as_it_says():
    server = Server(overloaded, clip)
    assert server.heads.animate(b"jpeg", b"wav").frames == 24
    assert server.now == 7.0


def test_styles_come_back_typed():
    body = {"styles": [{"name": "plain", "origin": "model"}], "default": "plain"}
    server = Server(lambda: httpx.Response(200, json=body))
    assert server.heads.styles().default == "plain"


def test_a_page_of_something_else_behind_the_url_is_told():
    server = Server(lambda: httpx.Response(200, html="<h1>Log in</h1>"))
    for ask in (
        server.heads.styles,
        server.heads.service,
        lambda: server.heads.animate(b"jpeg", b"wav"),
        lambda: server.client.emotion([b"jpeg"]),
    ):
        with pytest.raises(EndpointError, match="something else behind this URL"):
            ask()
