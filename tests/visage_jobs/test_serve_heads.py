"""Both endpoints behind one port of a real Ray Serve, with models that know nothing."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from head_bench import speech_wav
from PIL import Image as Pillow
from tiny_talking_head import publish_tiny_head, tiny_card
from typer.testing import CliRunner

from visage.inference.artifact import new_emotion_model, save_emotion_model
from visage.inference.style_card import save_style_card
from visage.media.video import probe_video
from visage.specs.emotion import EMOTIONS, EmotionModelSpec
from visage.specs.serve import ServeSpec
from visage.store.open import open_store
from visage.synth.expression import Expression
from visage.synth.face import render_portrait
from visage.synth.identity import draw_identity
from visage_jobs.cli import app
from visage_jobs.serve import Endpoint, serving
from visage_serve.client import EmotionClient, EndpointError, TalkingHeadClient

BACKLOG_S = 3.0
PATIENCE_S = 60.0
"""For what is awaited, on a machine that may be busy."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def portrait() -> bytes:
    """A drawn person whom the real detector sees."""
    drawn = render_portrait(draw_identity(0), Expression(), size=320)
    sink = io.BytesIO()
    Pillow.fromarray(drawn.image).save(sink, "PNG")
    return sink.getvalue()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(7)
    spec = EmotionModelSpec(widths=(8, 8, 8, 8, 8))
    save_emotion_model(
        open_store(str(folder)), "tiny", new_emotion_model(spec), spec, classes=EMOTIONS
    )
    return {"model": str(folder / "tiny"), "talking_head": publish_tiny_head(folder)}


@pytest.fixture(scope="module")
def endpoint(
    ray_cluster: None, models: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoint]:
    styles = tmp_path_factory.mktemp("made")
    save_style_card(open_store(str(styles)), "mine", tiny_card("mine", seed=3))
    spec = ServeSpec.parse(
        {
            **models,
            "port": free_port(),
            "faces": "dlib68",
            "replica_cpus": 0.5,
            "heads": {"replica_cpus": 0.5, "backlog_s": BACKLOG_S, "styles_uri": str(styles)},
        }
    )
    with serving(spec) as running:
        yield running


@pytest.fixture
def heads(endpoint: Endpoint) -> Iterator[TalkingHeadClient]:
    with TalkingHeadClient(endpoint.url, budget_s=PATIENCE_S) as made:
        yield made


@pytest.mark.ray
def test_one_port_answers_for_both_models(
    endpoint: Endpoint, heads: TalkingHeadClient, portrait: bytes, tmp_path: Path
) -> None:
    clip = heads.animate(portrait, speech_wav(0.6), style="mine", fps=30, size=64)
    path = tmp_path / "out.mp4"
    path.write_bytes(clip.video)
    info = probe_video(path)
    assert (info.frames, info.width, info.has_audio) == (18, 64, True)
    assert (clip.frames, clip.style) == (18, "mine")
    with EmotionClient(endpoint.url) as client:
        (reply,) = client.emotion([portrait])
        assert len(reply.faces) == 1
    said = heads.service()
    assert endpoint.models.talking_head is not None
    assert said.model is not None
    assert said.talking_head is not None
    assert said.talking_head.digest == endpoint.models.talking_head.digest
    assert [style.name for style in heads.styles().styles] == ["plain", "loud", "mine"]
    assert httpx.get(f"{endpoint.url}/readyz", timeout=PATIENCE_S).json() == {"status": "ok"}


@pytest.mark.ray
def test_a_refusal_crosses_the_processes_with_its_code(
    heads: TalkingHeadClient, portrait: bytes
) -> None:
    for wanted, parts in {
        (415, "unsupported_format", "audio"): {"audio": b"noise"},
        (404, "unknown_style", "style"): {"style": "nobody"},
        (422, "too_short", "audio"): {"audio": speech_wav(0.1)},
    }.items():
        asked: dict[str, Any] = {"audio": speech_wav(0.4), **parts}
        with pytest.raises(EndpointError) as caught:
            heads.animate(portrait, **asked)
        found = caught.value
        assert (found.status, found.detail.code, found.detail.field) == wanted


@pytest.mark.ray
def test_a_client_that_leaves_makes_room_for_the_next(endpoint: Endpoint, portrait: bytes) -> None:
    """A minute of the largest video would hold the replica for much longer than the test waits."""
    url = httpx.URL(endpoint.url)
    long = httpx.Request(
        "POST", f"{url}/v1/talking-head", data={"size": "1024", "fps": "60"},
        files={"portrait": portrait, "audio": speech_wav(60.0)},
    )  # fmt: skip
    body = long.read()
    head = b"POST /v1/talking-head HTTP/1.1\r\n" + b"".join(
        name + b": " + value + b"\r\n" for name, value in long.headers.raw
    )

    def ask() -> httpx.Response:
        return httpx.post(
            f"{url}/v1/talking-head", data={"size": "64", "fps": "24"}, timeout=PATIENCE_S,
            files={"portrait": portrait, "audio": speech_wav(0.4)},
        )  # fmt: skip

    deadline = time.monotonic() + PATIENCE_S
    with socket.create_connection((url.host, url.port), timeout=10.0) as leaving:
        leaving.sendall(head + b"\r\n" + body)
        while (full := ask()).status_code != 429:
            assert time.monotonic() < deadline
    assert full.json()["error"]["code"] == "overloaded"
    assert int(full.headers["retry-after"]) > 10
    left = time.monotonic()
    while ask().status_code != 200:
        assert time.monotonic() - left < PATIENCE_S / 2


@pytest.mark.ray
def test_a_killed_renderer_is_replaced_and_emotion_answers_all_the_while(
    endpoint: Endpoint, portrait: bytes
) -> None:
    import ray

    (replica,) = [
        entry
        for entry in ray.util.list_named_actors(all_namespaces=True)
        if "SERVE_REPLICA" in entry["name"] and "talking-head" in entry["name"]
    ]
    failures: list[str] = []
    done = threading.Event()

    def keep_asking() -> None:
        with EmotionClient(endpoint.url, budget_s=0.1, timeout_s=PATIENCE_S) as client:
            while not done.is_set():
                try:
                    client.emotion([portrait], [[(80, 60, 240, 280)]])
                except Exception as err:  # told to the test
                    failures.append(str(err))

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        ray.kill(ray.get_actor(replica["name"], namespace=replica["namespace"]))
        with TalkingHeadClient(endpoint.url, budget_s=3 * PATIENCE_S) as client:
            assert client.animate(portrait, speech_wav(0.4), size=64).frames == 12
    finally:
        done.set()
        asking.join(timeout=PATIENCE_S)
    assert failures == []


def test_a_plan_names_both_models_and_where_made_styles_lie(
    models: dict[str, str], tmp_path: Path
) -> None:
    words = ["serve", "--model", models["model"], "--talking-head", models["talking_head"]]
    words += ["--port", str(free_port()), "--workspace", str(tmp_path), "--dry-run", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    plan = json.loads(done.stdout)
    uris = [plan["models"][name]["uri"] for name in ("emotion", "talking_head")]
    assert uris == list(models.values())
    assert plan["spec"]["heads"]["styles_uri"] == f"{tmp_path}/styles"
    assert list(tmp_path.iterdir()) == []
