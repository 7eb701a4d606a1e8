from __future__ import annotations

import io
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from typer.testing import CliRunner

from visage.errors import SpecError
from visage.inference.artifact import load_emotion_model, new_emotion_model, save_emotion_model
from visage.inference.emotion import EmotionPredictor
from visage.media.image import decode_image
from visage.seeds import rng_of
from visage.specs.emotion import EMOTIONS, EmotionModelSpec
from visage.specs.serve import ServeSpec
from visage.store.open import open_store
from visage_jobs.cli import app
from visage_jobs.serve import EndpointFailedError, _deploy, check_port, serving
from visage_serve.client import EmotionClient
from visage_serve.pinned import PinnedModels, pin_models

BOX = (20, 10, 90, 80)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def noise_png(seed):
    pixels = rng_of("picture", seed).integers(0, 256, (96, 128, 3), np.uint8)
    sink = io.BytesIO()
    Pillow.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


@pytest.fixture(scope="module")
def model_uri(tmp_path_factory):
    """A small network with random weights, published."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(7)
    spec = EmotionModelSpec(widths=(8, 8, 8, 8, 8))
    model = new_emotion_model(spec)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # so that different pictures get clearly different answers
    save_emotion_model(open_store(str(folder)), "tiny", model, spec, classes=EMOTIONS)
    return str(folder / "tiny")


@pytest.fixture(scope="module")
def endpoint(ray_cluster, model_uri):
    spec = ServeSpec(
        model=model_uri,
        port=free_port(),
        faces="dlib68",
        replica_cpus=0.5,
        limits={"body_bytes": 1 << 20},
    )
    with serving(spec) as running:
        yield running


@pytest.fixture
def client(endpoint):
    with EmotionClient(endpoint.url) as made:
        yield made


@pytest.mark.ray
def test_the_port_answers_what_the_library_answers(client, model_uri):
    picture = noise_png(0)
    (reply,) = client.emotion([picture], [[BOX]])
    predictor = EmotionPredictor(load_emotion_model(model_uri))
    (expected,) = predictor.predict_image(decode_image(picture), [BOX])
    (face,) = reply.faces
    assert face.label == expected.label
    assert face.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    assert face.branch_weights == pytest.approx(expected.branch_weights, abs=1e-5)
    np.testing.assert_allclose(face.attention, expected.attention, atol=1e-5)
    assert face.attention_box == expected.attention_box


@pytest.mark.ray
def test_sixteen_clients_share_batches_and_each_gets_its_own_answer(client, endpoint, model_uri):
    predictor = EmotionPredictor(load_emotion_model(model_uri))
    pictures = [noise_png(seed) for seed in range(48)]
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda data: client.emotion([data], [[BOX]])[0], pictures))
    for data, reply in zip(pictures, replies, strict=True):
        (expected,) = predictor.predict_image(decode_image(data), [BOX])
        assert reply.faces[0].probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    assert max(int(size) for size in client.service().batches) > 1


@pytest.mark.ray
def test_a_chunked_body_over_the_limit_is_refused_at_the_port(endpoint):
    def endless():
        for _ in range(64):
            yield b"x" * (1 << 20)

    answer = httpx.post(
        f"{endpoint.url}/v1/emotion",
        content=endless(),
        headers={"Content-Type": "image/png"},
        timeout=30.0,
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


@pytest.mark.ray
def test_a_storm_of_clients_that_leave_does_not_wedge_the_endpoint(endpoint, client):
    picture = noise_png(1)
    head = (
        b"POST /v1/emotion HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
        b"Content-Length: %d\r\n\r\n" % len(picture)
    )
    address = ("127.0.0.1", httpx.URL(endpoint.url).port)
    for _ in range(100):
        with socket.create_connection(address, timeout=5.0) as leaving:
            leaving.sendall(head + picture)
    assert client.emotion([picture], [[BOX]])[0].faces


@pytest.mark.ray
def test_a_killed_replica_is_replaced_and_the_client_asks_again(client):
    import ray

    (replica,) = [
        entry
        for entry in ray.util.list_named_actors(all_namespaces=True)
        if "SERVE_REPLICA" in entry["name"] and "emotion" in entry["name"]
    ]
    ray.kill(ray.get_actor(replica["name"], namespace=replica["namespace"]))
    start = time.monotonic()
    assert client.emotion([noise_png(2)], [[BOX]])[0].faces
    assert time.monotonic() - start < 60.0


@pytest.mark.ray
@pytest.mark.media
def test_real_pictures_give_real_faces_through_the_port(client, media_dir):
    pictures = [
        (media_dir / "emotion_images" / name).read_bytes()
        for name in ("GLAMOR_test_1.jpg", "pyfeat_multi_face.jpg")
    ]
    alone, several = client.emotion(pictures, overlay=True)
    assert len(alone.faces) == 1
    assert len(several.faces) >= 3
    for image in (alone, several):
        assert image.overlay_jpeg is not None
        for face in image.faces:
            x1, y1, x2, y2 = face.box
            assert -10 <= x1 < x2 <= image.width + 10
            assert -10 <= y1 < y2 <= image.height + 10


@pytest.mark.ray
def test_a_rollout_of_broken_weights_fails_and_the_old_ones_serve_on(endpoint, client, model_uri):
    port = httpx.URL(endpoint.url).port
    spec = ServeSpec(model=model_uri, port=port, faces="dlib68", replica_cpus=0.5)
    broken = replace(pin_models(spec).emotion, digest="0" * 64)
    failures = []
    done = threading.Event()

    def keep_asking():
        while not done.is_set():
            answer = httpx.get(f"{endpoint.url}/v1/models", timeout=30.0)
            if answer.status_code != 200 or answer.json()["model"]["digest"] == broken.digest:
                failures.append(answer.text)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        with pytest.raises(EndpointFailedError, match="the weights changed"):
            _deploy(spec, PinnedModels(emotion=broken))
    finally:
        done.set()
        asking.join(timeout=30.0)
    assert failures == []
    assert client.emotion([noise_png(3)], [[BOX]])[0].faces


@pytest.mark.ray
def test_gpus_that_are_not_there_are_named_at_once(endpoint, model_uri):
    spec = ServeSpec(model=model_uri, port=free_port(), device="cuda", replicas=64)
    with pytest.raises(SpecError, match="64 replica"), serving(spec):
        pytest.fail("nothing can run there")


def test_a_taken_port_is_named_before_anything_is_started():
    with socket.socket() as standing:
        standing.bind(("127.0.0.1", 0))
        standing.listen()
        port = standing.getsockname()[1]
        with pytest.raises(SpecError, match=f"{port}: something else listens"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", free_port())


def test_a_plan_names_the_weights_and_starts_nothing(model_uri):
    port = str(free_port())
    done = CliRunner().invoke(
        app, ["serve", "--model", model_uri, "--port", port, "--dry-run", "--json"]
    )
    assert done.exit_code == 0, done.output
    (pinned,) = pin_models(ServeSpec(model=model_uri)).present()
    assert f'"digest": "{pinned.digest}"' in done.stdout
    assert f'"port": {port}' in done.stdout


def test_a_missing_model_says_how_to_get_one(tmp_path):
    done = CliRunner().invoke(app, ["serve", "--workspace", str(tmp_path)])
    assert done.exit_code == 1
    assert "visage demo" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_key_is_a_usage_error(tmp_path):
    done = CliRunner().invoke(app, ["serve", "--workspace", str(tmp_path), "--set", "batch=3"])
    assert done.exit_code == 2
    assert "batch: no such key" in done.stderr
