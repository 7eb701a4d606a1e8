"""Spec of the endpoints: which models, how many replicas, and what one request may cost."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from visage.specs.base import Spec

__all__ = [
    "BodyLimits",
    "HeadLimits",
    "HeadServeSpec",
    "RequestLimits",
    "ServeSpec",
    "names_registry",
]

GATE_CPUS = 0.25


class BodyLimits(Spec):
    """Bounds of any request body, enforced before it is held."""

    body_bytes: int = Field(16 << 20, ge=1 << 10, le=1 << 30)
    """Bytes of one request body; more is refused with 413 before it is buffered."""
    upload_timeout_s: float = Field(15.0, gt=0.0, le=600.0)
    """Time a client has to send its whole body; slower is refused with 408."""


class RequestLimits(BodyLimits):
    """What one emotion request may bring; each bound holds before the thing it bounds is held."""

    pictures: int = Field(16, ge=1, le=256)
    """Pictures in one request."""
    picture_pixels: int = Field(40_000_000, ge=1 << 10, le=200_000_000)
    """Width times height of one picture, read from its header."""
    faces: int = Field(16, ge=1, le=256)
    """Faces of one picture: more boxes are refused, more detections are left out."""


class HeadLimits(BodyLimits):
    """What one talking-head request may bring and ask for."""

    body_bytes: int = Field(32 << 20, ge=1 << 10, le=1 << 30)
    """Bytes of portrait and sound together; more is refused with 413 before it is buffered."""
    upload_timeout_s: float = Field(30.0, gt=0.0, le=600.0)
    """Time a client has to send its whole body; slower is refused with 408."""
    portrait_pixels: int = Field(40_000_000, ge=1 << 10, le=200_000_000)
    """Width times height of the portrait, read from its header."""
    audio_s: float = Field(60.0, ge=0.3, le=3600.0)
    """Seconds of sound; longer is refused before anything is rendered."""
    side_px: int = Field(1024, ge=64, le=2048)
    """Side of the video that a request may ask for."""


class HeadServeSpec(Spec):
    """The talking head's deployment: replicas that render one video at a time each."""

    replicas: int = Field(1, ge=1, le=256)
    """Processes that each hold the model."""
    replica_cpus: float = Field(1.0, gt=0.0, le=256.0)
    """CPUs that Ray reserves for one replica."""
    torch_threads: int = Field(1, ge=1, le=256)
    """Threads of one forward pass; the encoder and the decoders run beside them."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the networks run; `cuda` asks Ray for one GPU per replica."""
    styles_uri: str | None = None
    """Where `visage transfer-style` puts styles; None means those of the model only."""
    in_flight: int = Field(8, ge=1, le=1024)
    """Requests that are held at once, bodies and all; the next is told 429 and when to retry."""
    backlog_s: float = Field(120.0, gt=0.0, le=36_000.0)
    """Seconds of video that may wait or render at once in a replica; beyond is 429."""
    request_timeout_s: float = Field(600.0, gt=0.0, le=7200.0)
    """Time from the end of the upload to the video; later is 503."""
    health_period_s: float = Field(30.0, gt=0.0, le=600.0)
    """How often a replica proves itself by a frame; three failures in a row replace it."""
    health_timeout_s: float = Field(30.0, gt=0.0, le=600.0)
    """How long the proof may take: the next frame of what it renders, or a short video."""
    limits: HeadLimits = HeadLimits()
    """What one request may bring and ask for."""

    @property
    def answer_within_s(self) -> float:
        """The longest that a request may take, upload included."""
        return self.limits.upload_timeout_s + self.request_timeout_s


class ServeSpec(Spec):
    """One application of one or two models; without names, those that are registered."""

    model: str | None = Field(None, min_length=1)
    """The emotion model: a registry reference (`emotion@champion`, `emotion/3`) or a URI."""
    talking_head: str | None = Field(None, min_length=1)
    """The talking head, named likewise. A model that is not named is not served beside one that is;
    if neither is named, every champion is served that the registry has."""
    tracking_uri: str | None = None
    """Where the registry lives; not needed when all models are named by URIs."""
    faces: Literal["auto", "dlib68", "fan"] = "auto"
    """What finds the faces of pictures that come without boxes, and the points of portraits."""
    face_weights: str | None = None
    """Folder of the weights of `fan`; None means torch's download cache."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the emotion network runs; `cuda` asks Ray for one GPU per replica."""
    host: str = "127.0.0.1"
    """Address to listen on; the endpoint has no authentication, so keep it behind a proxy."""
    port: int = Field(8000, ge=1, le=65535)
    """TCP port of the HTTP endpoint."""
    replicas: int = Field(1, ge=1, le=256)
    """Processes that each hold the emotion model and answer HTTP."""
    replica_cpus: float = Field(1.0, gt=0.0, le=256.0)
    """CPUs that Ray reserves for one replica."""
    torch_threads: int = Field(1, ge=1, le=256)
    """Threads of one forward pass; more than the reserved CPUs only makes replicas fight."""
    prepare_threads: int = Field(2, ge=1, le=64)
    """Threads of a replica that decode pictures and find faces, each with its own detector."""
    batch_faces: int = Field(16, ge=1, le=1024)
    """Most faces in one forward pass, gathered over requests."""
    batch_wait_s: float = Field(0.0, ge=0.0, le=1.0)
    """How long a face waits for company although the network is free."""
    in_flight: int = Field(32, ge=1, le=4096)
    """Requests a replica works on or holds back at once; the next is told 429 and when to retry."""
    request_timeout_s: float = Field(30.0, gt=0.0, le=600.0)
    """Time from the end of the upload to the answer; later is 503."""
    health_period_s: float = Field(3.0, gt=0.0, le=600.0)
    """How often a replica proves itself; three failures in a row replace it."""
    health_timeout_s: float = Field(5.0, gt=0.0, le=600.0)
    """How long the proof, one real inference, may take."""
    limits: RequestLimits = RequestLimits()
    """What one emotion request may bring."""
    heads: HeadServeSpec = HeadServeSpec()
    """How talking heads are served."""

    def ingress_cpus(self, *, with_emotion: bool) -> float:
        """CPUs that Ray reserves for what answers HTTP; little if it holds no model."""
        return self.replica_cpus if with_emotion else GATE_CPUS

    def answer_within_s(self, *, with_heads: bool) -> float:
        """The longest that any request may take, upload included."""
        emotion_s = self.limits.upload_timeout_s + self.request_timeout_s
        return max(emotion_s, self.heads.answer_within_s) if with_heads else emotion_s


def names_registry(model: str) -> bool:
    """Whether a model is named by the registry (`name`, `name@alias`, `name/3`), not by a URI."""
    name, _, rest = model.partition("/")
    is_version = rest.isdecimal() and rest.isascii() and name not in ("", ".", "..")
    return "://" not in model and (not rest or is_version) and not name.startswith(".")
