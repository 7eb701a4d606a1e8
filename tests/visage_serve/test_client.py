from __future__ import annotations

import httpx
import pytest

from visage.errors import EXIT_RETRY_LATER
from visage_serve.client import EmotionClient, EndpointError, EndpointUnavailableError
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
        self.client = EmotionClient(
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


def test_an_answer_that_broke_off_is_not_asked_again():
    server = Server(lambda: httpx.Response(200, stream=Breaking()))
    with pytest.raises(EndpointUnavailableError, match="broke off"):
        server.client.emotion([b"jpeg"])
    assert len(server.requests) == 1
