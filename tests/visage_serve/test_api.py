from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
import zlib

import httpx
import numpy as np
import pytest
from PIL import Image as Pillow

from visage.media.image import decode_image
from visage.specs.emotion import EMOTIONS
from visage_serve.wire import EmotionReply, ErrorBody

BOX = "[[[8, 8, 40, 40]]]"


def label_of(red):
    return EMOTIONS[red // 32]


def error_of(answer):
    return ErrorBody.model_validate_json(answer.content).error


def bomb_png(side=50_000):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


def test_one_picture_gives_its_face_with_probabilities_weights_and_attention(bench, png):
    answer = bench().post(png(red=70, width=160, height=120))
    reply = EmotionReply.model_validate_json(answer.content)
    assert answer.status_code == 200
    (image,) = reply.images
    (face,) = image.faces
    assert (image.width, image.height, image.error) == (160, 120, None)
    assert face.box == (40, 30, 120, 90)
    assert face.label == label_of(70)
    assert sum(face.probabilities.values()) == pytest.approx(1.0)
    assert set(face.probabilities) == set(EMOTIONS)
    assert sum(face.branch_weights.values()) == pytest.approx(1.0)
    assert np.sum(face.attention) == pytest.approx(1.0, abs=1e-4)
    assert np.shape(face.attention) == (7, 7)
    assert 0 <= face.attention_box[0] < face.attention_box[2] <= 160
    assert reply.model.digest == "d" * 64
    assert reply.timing_ms.total >= reply.timing_ms.forward >= 0.0


def test_the_three_forms_of_a_request_give_the_same_answer(bench, png):
    made = bench()
    picture = png(red=130)
    as_json = json.dumps({"images": [base64.b64encode(picture).decode()]}).encode()
    answers = [
        made.post(picture),
        made.ask("POST", "/v1/emotion", content=picture, headers={"Content-Type": "image/png"}),
        made.ask(
            "POST", "/v1/emotion", content=as_json, headers={"Content-Type": "application/json"}
        ),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    images = [answer.json()["images"] for answer in answers]
    assert images[0] == images[1] == images[2]


def test_stated_boxes_are_answered_in_their_order_without_detection(bench, png):
    answer = bench().post(png(), png(), boxes="[[[0, 0, 9, 9], [5, 5, 60, 40]], null]")
    first, second = answer.json()["images"]
    assert [face["box"] for face in first["faces"]] == [[0, 0, 9, 9], [5, 5, 60, 40]]
    assert [face["score"] for face in first["faces"]] == [1.0, 1.0]
    assert [face["box"] for face in second["faces"]] == [[16, 12, 48, 36]]


def test_detected_faces_come_surest_first(bench, png):
    (image,) = bench().post(png(width=200, height=50)).json()["images"]
    assert [face["score"] for face in image["faces"]] == [1.5, 0.9]


def test_a_picture_without_a_face_is_a_success_with_a_note(bench):
    black = io.BytesIO()
    Pillow.new("RGB", (40, 40)).save(black, "PNG")
    answer = bench().post(black.getvalue())
    assert answer.status_code == 200
    (image,) = answer.json()["images"]
    assert image["faces"] == []
    assert "no face" in image["note"]


def test_more_faces_than_the_limit_are_left_out_and_said(bench, png):
    answer = bench(limits={"faces": 1}).post(png(width=200, height=50))
    (image,) = answer.json()["images"]
    assert len(image["faces"]) == 1
    assert "2 faces" in image["note"]


def test_of_several_pictures_a_bad_one_costs_itself_only(bench, png):
    answer = bench().post(png(red=40), b"no picture", png(red=200), bomb_png())
    assert answer.status_code == 200
    good, bad, other, bomb = answer.json()["images"]
    assert good["faces"][0]["label"] == label_of(40)
    assert other["faces"][0]["label"] == label_of(200)
    assert bad["error"]["code"] == "unsupported_format"
    assert bad["error"]["field"] == "images[1]"
    assert bad["faces"] == []
    assert bomb["error"]["code"] == "too_large"


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda data: b"GIF89a" + data, "unsupported_format"),
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda _: bomb_png(), "too_large"),
        (lambda _: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
        (lambda _: b"\xff\xd8\xff", "truncated"),
    ],
)
def test_a_lone_bad_picture_is_a_422_with_its_media_code(bench, png, spoil, code):
    answer = bench().post(spoil(png(width=300, height=300)))
    assert answer.status_code == 422
    assert error_of(answer).code == code
    assert error_of(answer).field == "images[0]"


def test_an_empty_part_is_a_picture_without_bytes(bench, png):
    assert error_of(bench().post(b"")).code == "empty"


@pytest.mark.parametrize(
    ("boxes", "field"),
    [
        ("[[[8, 8, 8, 40]]]", "boxes[0][0]"),
        ("[[[40, 8, 8, 40]]]", "boxes[0][0]"),
        ("[[]]", "boxes[0]"),
        ("[]", "boxes"),
        ("[null, null]", "boxes"),
        ("[[[1, 2, 3]]]", "boxes[0][0]"),
        ("[[[1, 2, 3, 1e99]]]", "boxes[0][0][3]"),
        ("[[[1, 2, 3, NaN]]]", "boxes"),
        ("[[[1, 2, 3, 4.5]]]", "boxes[0][0][3]"),
        ("[8, 8, 40, 40]", "boxes[0]"),
        ("{}", "boxes"),
        ("not json", "boxes"),
        ("[" * 5000, "boxes"),
        (json.dumps([[[0, 0, 9, 9]] * 17]), "boxes[0]"),
    ],
)
def test_boxes_that_mean_nothing_are_refused_by_name(bench, png, boxes, field):
    answer = bench().post(png(), boxes=boxes)
    assert answer.status_code == 400
    assert error_of(answer).code == "bad_boxes"
    assert error_of(answer).field.startswith(field)


def test_a_box_outside_its_picture_is_a_422(bench, png):
    answer = bench().post(png(), boxes="[[[900, 900, 950, 950]]]")
    assert (answer.status_code, error_of(answer).code) == (422, "bad_box")


def test_a_box_that_reaches_beyond_its_picture_is_accepted(bench, png):
    answer = bench().post(png(), boxes="[[[-20, -20, 30, 30]]]")
    assert answer.json()["images"][0]["faces"][0]["box"] == [-20, -20, 30, 30]


def test_an_overlay_is_a_jpeg_of_the_same_size(bench, png):
    answer = bench().post(png(width=400, height=300), query="?overlay=true")
    (image,) = answer.json()["images"]
    drawn = decode_image(base64.b64decode(image["overlay_jpeg"]))
    assert drawn.shape == (300, 400, 3)
    assert bench().post(png()).json()["images"][0]["overlay_jpeg"] is None


@pytest.mark.parametrize(
    ("content_type", "status", "code"),
    [
        ("text/plain", 415, "unsupported_content_type"),
        ("", 415, "unsupported_content_type"),
        ("image/gif", 415, "unsupported_content_type"),
        ("multipart/form-data", 400, "bad_multipart"),
        ("multipart/form-data; boundary=xyz", 400, "bad_multipart"),
        ("application/json", 400, "bad_json"),
        ("application/json; charset=utf-8", 400, "bad_json"),
        ("\x00\x7f;;;=", 415, "unsupported_content_type"),
    ],
)
def test_a_wrong_content_type_is_named(bench, content_type, status, code):
    answer = bench().ask(
        "POST", "/v1/emotion", content=b"hello", headers={"Content-Type": content_type}
    )
    assert (answer.status_code, error_of(answer).code) == (status, code)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"images": []}, "bad_json", "images"),
        ({"images": ["@@@"]}, "bad_base64", "images[0]"),
        ({"images": ["data:image/png;base64,AAAA"]}, "bad_base64", "images[0]"),
        ({"images": ["\u00e4"]}, "bad_base64", "images[0]"),
        ({"images": [1]}, "bad_json", "images[0]"),
        ({"images": ["AAAA"], "box": []}, "bad_json", "box"),
        ({"images": ["AAAA"], "boxes": [[[1, 1, 1, 1]]]}, "bad_boxes", "boxes[0][0]"),
        ([], "bad_json", None),
    ],
)
def test_json_that_means_nothing_is_refused_by_name(bench, body, code, field):
    answer = bench().ask("POST", "/v1/emotion", json=body)
    assert answer.status_code == 400
    assert (error_of(answer).code, error_of(answer).field) == (code, field)


def test_an_empty_body_is_refused(bench):
    answer = bench().ask("POST", "/v1/emotion", content=b"", headers={"Content-Type": "image/png"})
    assert (answer.status_code, error_of(answer).code) == (400, "empty")


def test_too_many_pictures_are_refused(bench, png):
    made = bench(limits={"pictures": 2})
    assert made.post(png(), png()).status_code == 200
    answer = made.post(png(), png(), png())
    assert (answer.status_code, error_of(answer).code) == (413, "too_many_images")
    many = {"images": ["AAAA"] * 3}
    assert made.ask("POST", "/v1/emotion", json=many).status_code == 413


def test_a_part_with_another_name_is_refused_by_name(bench, png):
    answer = bench().ask("POST", "/v1/emotion", files={"photo": png()})
    assert (answer.status_code, error_of(answer).code) == (400, "unknown_field")
    assert error_of(answer).field == "photo"


def test_a_compressed_body_is_refused_unread(bench, png):
    headers = {"Content-Type": "image/png", "Content-Encoding": "gzip"}
    answer = bench().ask("POST", "/v1/emotion", content=png(), headers=headers)
    assert (answer.status_code, error_of(answer).code) == (415, "unsupported_encoding")


def test_a_stated_length_beyond_the_limit_is_refused_before_a_byte_is_read(bench):
    made = bench(limits={"body_bytes": 2048})
    pulled = []

    async def body():
        pulled.append(1)
        yield b"x"

    answer = made.ask(
        "POST",
        "/v1/emotion",
        content=body(),
        headers={"Content-Type": "image/png", "Content-Length": "9" * 5000},
    )
    assert (answer.status_code, error_of(answer).code) == (413, "too_large")
    assert pulled == []


def test_a_chunked_body_without_end_is_cut_at_the_limit(bench):
    made = bench(limits={"body_bytes": 10_000})
    pulled = []

    async def endless():
        while True:
            pulled.append(1)
            yield b"x" * 1000

    answer = made.ask(
        "POST", "/v1/emotion", content=endless(), headers={"Content-Type": "image/png"}
    )
    assert (answer.status_code, error_of(answer).code) == (413, "too_large")
    assert len(pulled) <= 12


def test_a_body_that_never_ends_to_arrive_is_a_408(bench):
    made = bench(limits={"upload_timeout_s": 0.05})

    async def trickle():
        yield b"x"
        await asyncio.Event().wait()

    answer = made.ask(
        "POST", "/v1/emotion", content=trickle(), headers={"Content-Type": "image/png"}
    )
    assert (answer.status_code, error_of(answer).code) == (408, "upload_timeout")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/emotion", 405, "method_not_allowed"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
        ("GET", "/nothing", 404, "no_such_path"),
        ("POST", "/v1/emotion/../../etc/passwd", 404, "no_such_path"),
        ("GET", "/docs", 404, "no_such_path"),
        ("POST", "/v1/emotion?overlay=perhaps", 400, "bad_parameter"),
    ],
)
def test_other_paths_methods_and_parameters_get_the_same_error_body(
    bench, method, path, status, code
):
    answer = bench().ask(method, path)
    assert (answer.status_code, error_of(answer).code) == (status, code)


def test_a_full_house_says_429_with_a_time_and_health_still_answers(bench, png):
    made = bench(in_flight=2)

    async def talk(client: httpx.AsyncClient):
        made.predictor.gate.clear()
        tasks = [
            asyncio.create_task(client.post("/v1/emotion", files={"image": png(red=red)}))
            for red in (40, 130, 200)
        ]
        # the network is held back, so only a refusal can be an answer
        (refused,), held = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        alive = await client.get("/healthz")
        made.predictor.gate.set()
        answers = await asyncio.gather(*held)
        again = await client.post("/v1/emotion", files={"image": png()})
        return refused.result(), alive, answers, again

    refused, alive, answers, again = made.run(talk)
    assert refused.status_code == 429
    assert error_of(refused).code == "overloaded"
    assert int(refused.headers["Retry-After"]) >= 1
    assert alive.status_code == 200
    assert [answer.status_code for answer in answers] == [200, 200]
    assert again.status_code == 200


def test_a_client_that_leaves_frees_its_place(bench, png):
    made = bench(in_flight=1)

    async def talk(client: httpx.AsyncClient):
        made.predictor.gate.clear()
        for _ in range(5):
            leaving = asyncio.create_task(client.post("/v1/emotion", files={"image": png()}))
            await asyncio.sleep(0)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
        made.predictor.gate.set()
        return await client.post("/v1/emotion", files={"image": png()})

    assert made.run(talk).status_code == 200


def test_an_answer_that_takes_too_long_is_a_503_with_a_time(bench, png):
    made = bench(request_timeout_s=0.05)
    made.predictor.gate.clear()
    answer = made.post(png())
    assert (answer.status_code, error_of(answer).code) == (503, "timeout")
    assert "Retry-After" in answer.headers


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_weights_that_give_no_numbers_are_a_500_without_a_trace_and_not_ready(bench, png, broken):
    made = bench()
    made.predictor.fill = broken
    answer = made.post(png())
    assert (answer.status_code, error_of(answer).code) == (500, "internal")
    assert "Traceback" not in answer.text
    assert made.ask("GET", "/readyz").status_code == 503


def test_readiness_is_a_real_inference_and_a_stuck_network_is_not_ready(bench):
    made = bench(health_timeout_s=0.05)
    made.predictor.gate.clear()
    answer = made.ask("GET", "/readyz")
    assert (answer.status_code, error_of(answer).code) == (503, "not_ready")
    made.predictor.gate.set()
    made = bench()
    assert made.ask("GET", "/readyz").status_code == 200
    assert made.network.batch_sizes == {1: 1}


def test_readiness_asked_often_costs_one_inference(bench):
    made = bench()

    async def talk(client: httpx.AsyncClient):
        return await asyncio.gather(*(client.get("/readyz") for _ in range(20)))

    assert {answer.status_code for answer in made.run(talk)} == {200}
    assert made.network.batch_sizes == {1: 1}


def test_sixteen_at_once_each_get_the_answer_of_their_own_picture(bench, png):
    made = bench()
    reds = [16 * step for step in range(14)] * 3

    async def talk(client: httpx.AsyncClient):
        return await asyncio.gather(
            *(client.post("/v1/emotion", files={"image": png(red=red)}) for red in reds[:32])
        )

    answers = made.run(talk)
    labels = [answer.json()["images"][0]["faces"][0]["label"] for answer in answers]
    assert labels == [label_of(red) for red in reds[:32]]


def test_the_page_fetches_nothing_from_elsewhere(bench):
    answer = bench().ask("GET", "/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "connect-src 'self'" in answer.headers["content-security-policy"]
    assert "http://" not in answer.text
    assert "https://" not in answer.text


def test_the_service_says_which_model_and_which_limits(bench):
    said = bench(limits={"pictures": 3}).ask("GET", "/v1/models").json()
    assert said["model"]["version"] == "3"
    assert said["limits"]["pictures"] == 3
    assert said["detector"] == "fake"
