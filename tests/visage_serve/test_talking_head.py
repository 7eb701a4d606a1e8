"""Promises of `/v1/talking-head`: a whole video or a typed refusal, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import av
import httpx
import numpy as np
import pytest
from head_bench import HeadBench, huge_png, nan_wav, order, portrait_png, sha256, speech_wav
from tiny_talking_head import FACE, DrawnFaces, tiny_card, tiny_head, turned

from visage.errors import CorruptError, StoreUnavailableError
from visage.inference.style_card import save_style_card
from visage.inference.talking_head import TalkingHead
from visage.media.sandbox import MediaSandbox
from visage.media.video import iter_frames, probe_video
from visage.rendering.provenance import SYNTHETIC
from visage.store.open import open_store
from visage_serve.backlog import USUAL_FPS
from visage_serve.wire import ErrorBody

Make = Callable[..., HeadBench]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> TalkingHead:
    return tiny_head(tmp_path_factory.mktemp("head"))


@pytest.fixture
def heads(head: TalkingHead, sandbox: MediaSandbox, tmp_path) -> Iterator[Make]:
    """Make services; the settings are those of the heads."""
    made: list[HeadBench] = []

    def make(**settings: object) -> HeadBench:
        made.append(HeadBench(head, sandbox, tmp_path / f"scratch{len(made)}", settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


def error_of(answer: httpx.Response) -> Any:
    return ErrorBody.model_validate_json(answer.content).error


def saved(answer: httpx.Response, tmp_path) -> Any:
    path = tmp_path / "got.mp4"
    path.write_bytes(answer.content)
    return path


def test_portrait_and_sound_give_a_whole_video_that_says_what_it_is(heads, tmp_path):
    bench = heads()
    portrait, audio = portrait_png(), speech_wav(0.8)
    answer = bench.post(portrait=portrait, audio=audio, fps=25, size=96, style="loud")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["x-visage-model"] == "talking-head/7 (cafe)"
    assert answer.headers["x-visage-style"] == "loud"
    assert answer.headers["x-visage-frames"] == "20"
    path = saved(answer, tmp_path)
    info = probe_video(path)
    assert (info.width, info.height, info.frames, info.has_audio) == (96, 96, 20, True)
    with av.open(str(path)) as found:
        told = json.loads(found.metadata["comment"])
    assert told["what"] == SYNTHETIC
    assert (told["portrait_sha256"], told["audio_sha256"]) == (sha256(portrait), sha256(audio))
    assert told["style"] == "loud"
    assert bench.left() == []


def test_the_same_order_gives_the_same_frames_and_the_seed_counts(heads, tmp_path):
    bench = heads()
    films = []
    for seed in (3, 3, 4):
        answer = bench.post(seed=seed, size=64, audio=speech_wav(1.0))
        films.append(np.stack(list(iter_frames(saved(answer, tmp_path)))))
    np.testing.assert_array_equal(films[0], films[1])
    assert (films[0] != films[2]).any()


def test_a_silent_sound_is_a_video_with_a_note(heads):
    answer = heads().post(audio=speech_wav(level=0.0))
    assert answer.status_code == 200
    assert "silent" in answer.headers["x-visage-note"]


@pytest.mark.parametrize(
    ("parts", "status", "code", "field"),
    [
        ({"portrait": b"no picture"}, 415, "unsupported_format", "portrait"),
        ({"portrait": huge_png()}, 413, "too_large", "portrait"),
        ({"portrait": b""}, 422, "empty", "portrait"),
        ({"portrait": portrait_png()[:3000]}, 422, "truncated", "portrait"),
        ({"audio": b"no sound"}, 415, "unsupported_format", "audio"),
        ({"audio": portrait_png()}, 415, "unsupported_format", "audio"),
        ({"audio": speech_wav(2.5)}, 413, "too_large", "audio"),
        ({"audio": speech_wav(0.1)}, 422, "too_short", "audio"),
        ({"audio": nan_wav()}, 415, "unsupported_format", "audio"),
        ({"size": 512}, 413, "too_large", "size"),
        ({"size": 65}, 400, "bad_field", "size"),
        ({"size": "large"}, 400, "bad_field", "size"),
        ({"fps": 12}, 400, "bad_field", "fps"),
        ({"fps": "nan"}, 400, "bad_field", "fps"),
        ({"seed": 2**60}, 400, "bad_field", "seed"),
        ({"style": "x" * 300}, 413, "too_large", "style"),
        ({"stile": "loud"}, 400, "unknown_field", "stile"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_its_code_and_its_part(
    heads, parts, status, code, field
):
    bench = heads(limits={"audio_s": 2.0, "side_px": 256})
    answer = bench.post(**parts)
    error = error_of(answer)
    assert (answer.status_code, error.code, error.field) == (status, code, field)
    assert str(bench.folder) not in error.message
    assert bench.studio.started == 0
    assert bench.left() == []


TINY = 128 + 0.2 * (FACE - FACE.mean(axis=0))


@pytest.mark.parametrize(
    ("faces", "code"),
    [
        ([], "no_face"),
        ([FACE, FACE], "several_faces"),
        ([TINY], "face_too_small"),
        ([turned(60.0)], "profile"),
    ],
)
def test_a_portrait_must_show_one_face_that_looks_ahead(heads, faces, code):
    bench = heads()
    bench.studio.provider = DrawnFaces(*faces)
    answer = bench.post()
    error = error_of(answer)
    assert (answer.status_code, error.code, error.field) == (422, code, "portrait")
    assert bench.left() == []


def test_sound_of_a_telephone_and_of_a_cinema_are_taken(heads):
    for audio in (speech_wav(rate_hz=8_000), speech_wav(channels=6)):
        assert heads().post(audio=audio, size=64).headers["x-visage-frames"] == "15"


@pytest.mark.parametrize("missing", ["portrait", "audio"])
def test_a_missing_part_is_named(heads, missing):
    files = {name: b"x" for name in ("portrait", "audio") if name != missing}
    answer = heads().ask("POST", "/v1/talking-head", files=files)
    assert (answer.status_code, error_of(answer).code) == (400, "missing_part")
    assert error_of(answer).field == missing


def test_a_part_that_stands_twice_is_refused(heads):
    files = [("portrait", b"x"), ("audio", b"x"), ("portrait", b"y")]
    answer = heads().ask("POST", "/v1/talking-head", files=files)
    assert (answer.status_code, error_of(answer).code) == (400, "repeated_part")


@pytest.mark.parametrize("content_type", ["application/json", "image/png", "", "multipart/mixed"])
def test_another_content_type_is_refused(heads, content_type):
    headers = {"Content-Type": content_type}
    answer = heads().ask("POST", "/v1/talking-head", content=b"x", headers=headers)
    assert (answer.status_code, error_of(answer).code) == (415, "unsupported_content_type")


def test_a_stated_length_beyond_the_limit_is_refused_before_a_byte_is_read(heads):
    bench = heads(limits={"body_bytes": 2048})
    pulled = []

    async def body():
        pulled.append(1)
        yield b"x"

    headers = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": "9999999"}
    answer = bench.ask("POST", "/v1/talking-head", content=body(), headers=headers)
    assert (answer.status_code, error_of(answer).code) == (413, "too_large")
    assert pulled == []


def test_styles_are_listed_and_an_unknown_one_names_those_that_there_are(heads):
    bench = heads()
    assert bench.ask("GET", "/v1/styles").json() == {
        "styles": [{"name": "plain", "origin": "model"}, {"name": "loud", "origin": "model"}],
        "default": "plain",
    }
    for name in ("nobody", "../plain", "ä"):
        answer = bench.post(style=name)
        assert (answer.status_code, error_of(answer).code) == (404, "unknown_style")
        assert "plain, loud" in error_of(answer).message


def test_a_style_that_is_made_while_the_service_runs_is_found(heads, tmp_path):
    bench = heads(styles_uri=str(tmp_path / "styles"))
    assert len(bench.ask("GET", "/v1/styles").json()["styles"]) == 2
    store = open_store(str(tmp_path))
    for name in ("mine", "plain"):
        save_style_card(store, f"styles/{name}", tiny_card(name, seed=5))
    assert bench.ask("GET", "/v1/styles").json()["styles"] == [
        {"name": "plain", "origin": "made"},
        {"name": "loud", "origin": "model"},
        {"name": "mine", "origin": "made"},
    ]
    assert bench.post(style="mine").headers["x-visage-style"] == "mine"
    assert bench.post(style="other").status_code == 404


def test_a_store_of_styles_that_is_away_is_a_503_that_says_when(heads, tmp_path, monkeypatch):
    def away(*_: object) -> None:
        raise StoreUnavailableError("s3://secret: no answer")

    bench = heads(styles_uri=str(tmp_path / "styles"))
    monkeypatch.setattr("visage_serve.styles.open_store", away)
    for answer in (bench.ask("GET", "/v1/styles"), bench.post(style="mine")):
        assert (answer.status_code, error_of(answer).code) == (503, "not_ready")
        assert answer.headers["retry-after"] == "5"
        assert "secret" not in answer.text
    assert bench.post().status_code == 200  # which needs no store


class SlowStore:
    """Answers nothing before it is let go, and counts what is asked."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked: list[str] = []

    def list(self) -> list[Any]:
        self.asked.append("list")
        self.go.wait(60.0)
        return []

    def stat(self, key: str) -> None:
        self.asked.append(key)
        self.go.wait(60.0)


@pytest.fixture
def slow_store(monkeypatch) -> Iterator[SlowStore]:
    store = SlowStore()
    monkeypatch.setattr("visage_serve.styles.open_store", lambda _: store)
    yield store
    store.go.set()


def test_a_store_that_hangs_holds_up_only_who_asks_it_and_not_for_long(
    heads, slow_store, tmp_path, monkeypatch
):
    monkeypatch.setattr("visage_serve.heads.STORE_ANSWERS_S", 0.5)
    bench = heads(styles_uri=str(tmp_path / "styles"), in_flight=20)

    async def talk(client):
        named = [order(client, style="mine") for _ in range(12)]
        lists = [client.get("/v1/styles") for _ in range(12)]
        return await asyncio.gather(order(client), *named, *lists)

    plain, *others = bench.run(talk)
    assert plain.status_code == 200
    for answer in others:
        assert (answer.status_code, error_of(answer).code) == (503, "not_ready")
        assert answer.headers["retry-after"] == "5"
    assert len(slow_store.asked) <= 2  # who gave up waiting for a reader asks nothing any more
    assert bench.left() == []


def test_those_who_ask_for_styles_at_once_share_one_listing_and_are_bounded(
    heads, slow_store, tmp_path
):
    bench = heads(styles_uri=str(tmp_path / "styles"), in_flight=3)

    async def talk(client):
        asked = [asyncio.create_task(client.get("/v1/styles")) for _ in range(5)]
        while not slow_store.asked or sum(each.done() for each in asked) < 2:
            await asyncio.sleep(0.01)
        asked.pop(next(at for at, each in enumerate(asked) if not each.done())).cancel()
        slow_store.go.set()
        return await asyncio.gather(*asked)

    answers = bench.run(talk)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429]
    assert slow_store.asked == ["list"]
    assert bench.ask("GET", "/v1/styles").status_code == 200
    assert slow_store.asked == ["list", "list"]  # what is new is found


def test_one_video_is_rendered_at_a_time_and_all_get_their_own(heads):
    bench = heads()
    seconds = [0.4, 0.6, 0.5, 0.8]

    async def talk(client):
        asked = [order(client, audio=speech_wav(one), fps=30, size=64) for one in seconds]
        return await asyncio.gather(*asked)

    answers = bench.run(talk)
    assert [int(answer.headers["x-visage-frames"]) for answer in answers] == [12, 18, 15, 24]
    assert (bench.studio.started, bench.studio.most) == (4, 1)
    assert bench.left() == []


async def rendering(bench: HeadBench) -> None:
    assert await asyncio.to_thread(bench.studio.entered.wait, 10.0)


def test_a_full_backlog_says_429_with_a_time_and_health_still_answers(heads):
    bench = heads(backlog_s=2.0)

    async def talk(client):
        bench.studio.gate.clear()
        first = asyncio.create_task(order(client, audio=speech_wav(1.5)))
        await rendering(bench)
        refused = await order(client, audio=speech_wav(1.5))
        small = asyncio.create_task(order(client, audio=speech_wav(0.4)))
        while bench.service.backlog.seconds < 1.6:
            await asyncio.sleep(0.01)
        alive = await client.get("/healthz")
        bench.studio.gate.set()
        return refused, alive, await first, await small

    refused, alive, first, small = bench.run(talk)
    assert (refused.status_code, error_of(refused).code) == (429, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert [each.status_code for each in (alive, first, small)] == [200, 200, 200]


def test_no_more_bodies_are_held_than_allowed(heads):
    bench = heads(in_flight=1)

    async def talk(client):
        bench.studio.gate.clear()
        first = asyncio.create_task(order(client))
        await rendering(bench)
        refused = await order(client)
        bench.studio.gate.set()
        return refused, await first

    refused, first = bench.run(talk)
    assert (refused.status_code, error_of(refused).code) == (429, "overloaded")
    assert first.status_code == 200


def test_a_video_that_takes_too_long_is_a_503_and_its_rendering_ends(heads):
    bench = heads(request_timeout_s=0.8)

    async def talk(client):
        bench.studio.gate.clear()
        answer = await order(client)
        await bench.is_clean()
        bench.studio.gate.set()
        bench.patient()
        return answer, await order(client)

    late, next_one = bench.run(talk)
    assert (late.status_code, error_of(late).code) == (503, "timeout")
    assert int(late.headers["retry-after"]) >= 1
    assert next_one.status_code == 200


def test_a_request_that_is_cancelled_ends_its_rendering_and_leaves_nothing(heads):
    bench = heads()

    async def talk(client):
        bench.studio.gate.clear()
        leaving = asyncio.create_task(order(client, audio=speech_wav(3.0)))
        waiting = asyncio.create_task(order(client, audio=speech_wav(3.0)))
        await rendering(bench)
        assert bench.left()
        for task in (leaving, waiting):
            task.cancel()
        await asyncio.wait((leaving, waiting))
        await bench.is_clean()
        bench.studio.gate.set()
        return await order(client)

    assert bench.run(talk).status_code == 200
    assert bench.studio.frames < 90


def test_a_client_that_closes_the_connection_ends_the_rendering_of_its_video(heads):
    bench = heads()
    made = httpx.Request(
        "POST", "http://test/v1/talking-head",
        files={"portrait": portrait_png(), "audio": speech_wav(3.0)},
    )  # fmt: skip
    body = made.read()
    gone = threading.Event()

    async def receive() -> dict[str, Any]:
        if not gone.is_set() and body not in sent:
            sent.append(body)
            return {"type": "http.request", "body": body, "more_body": False}
        await rendering(bench)
        gone.set()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    async def talk(_):
        bench.studio.gate.clear()
        headers = [(name.lower(), value) for name, value in made.headers.raw]
        scope = {
            "type": "http", "method": "POST", "path": "/v1/talking-head", "headers": headers,
            "query_string": b"", "http_version": "1.1", "scheme": "http", "server": ("test", 80),
        }  # fmt: skip
        await bench.api(scope, receive, send)
        await bench.is_clean()

    sent: list[bytes] = []
    answers: list[dict[str, Any]] = []
    bench.run(talk)
    assert gone.is_set()
    assert bench.studio.frames <= 2
    assert answers[0]["status"] == 400


@pytest.mark.parametrize(
    "trouble", [RuntimeError("secret detail"), CorruptError("/srv/secret/styles/x/COMMIT: damaged")]
)
def test_a_fault_inside_is_a_500_without_a_trace(heads, trouble):
    bench = heads()
    bench.studio.trouble = trouble
    answer = bench.post()
    assert (answer.status_code, error_of(answer).code) == (500, "internal")
    assert "secret" not in answer.text
    assert bench.left() == []


def test_readiness_is_a_rendered_video_and_asked_often_costs_one(heads):
    bench = heads()

    async def talk(client):
        return await asyncio.gather(*(client.get("/readyz") for _ in range(10)))

    assert {answer.status_code for answer in bench.run(talk)} == {200}
    assert bench.studio.started == 1
    assert bench.service.backlog.pace != 1 / USUAL_FPS  # learnt
    assert bench.left() == []


def test_a_renderer_that_gives_no_frame_is_not_ready_and_recovers(heads):
    bench = heads(health_timeout_s=0.3)

    async def talk(client):
        bench.studio.gate.clear()
        stuck = await client.get("/readyz")
        await bench.is_clean()
        bench.studio.gate.set()
        bench.patient()
        return stuck, await client.get("/readyz")

    stuck, again = bench.run(talk)
    assert (stuck.status_code, error_of(stuck).code) == (503, "not_ready")
    assert again.status_code == 200


def test_many_who_ask_a_stuck_renderer_are_all_told_within_one_deadline(heads):
    bench = heads(health_timeout_s=2.0)  # long enough to be stuck in its first frame

    async def talk(client):
        bench.studio.gate.clear()
        began = time.monotonic()
        answers = await asyncio.gather(*(client.get("/readyz") for _ in range(20)))
        took_s = time.monotonic() - began
        await bench.is_clean()  # the first probe was given up meanwhile, and proved nothing
        return [*answers, await client.get("/readyz")], took_s

    answers, took_s = bench.run(talk)
    assert {answer.status_code for answer in answers} == {503}
    assert took_s < 5.0  # and not 20 times the deadline


def test_a_model_that_cannot_render_is_not_ready_whatever_the_error(heads):
    bench = heads()
    bench.studio.trouble = RuntimeError("no kernel")
    answer = bench.ask("GET", "/readyz")
    assert (answer.status_code, error_of(answer).code) == (503, "not_ready")
    assert bench.left() == []


def test_the_next_frame_of_a_long_video_is_proof_enough(heads):
    bench = heads(health_period_s=0.01, health_timeout_s=10.0)

    async def talk(client):
        bench.studio.gate.clear()
        long = asyncio.create_task(order(client, audio=speech_wav(1.0)))
        await rendering(bench)
        asked = asyncio.create_task(client.get("/readyz"))
        await asyncio.sleep(0)
        bench.studio.gate.set()
        ready = await asked
        return ready, await long

    ready, long = bench.run(talk)
    assert (ready.status_code, long.status_code) == (200, 200)
    assert bench.studio.started == 1


def test_a_model_that_is_not_served_says_so_and_the_other_answers(heads, bench):
    only_heads, only_emotion = heads(), bench()
    answer = only_heads.ask("POST", "/v1/emotion", content=b"x")
    assert (answer.status_code, error_of(answer).code) == (404, "not_served")
    for method, path in (("POST", "/v1/talking-head"), ("GET", "/v1/styles")):
        answer = only_emotion.ask(method, path)
        assert (answer.status_code, error_of(answer).code) == (404, "not_served")
        assert "--talking-head" in error_of(answer).message
    said = only_heads.ask("GET", "/v1/models").json()
    assert (said["model"], said["talking_head"]["version"]) == (None, "7")
    said = only_emotion.ask("GET", "/v1/models").json()
    assert (said["model"]["version"], said["talking_head"]) == ("3", None)
