"""Spec of the emotion endpoint: which model, how many replicas, and what one request may cost."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from visage.specs.base import Spec

__all__ = ["RequestLimits", "ServeSpec", "names_registry"]


class RequestLimits(Spec):
    """What one request may bring; each bound is enforced before the thing it bounds is held."""

    body_bytes: int = Field(16 << 20, ge=1 << 10, le=1 << 30)
    """Bytes of one request body; more is refused with 413 before it is buffered."""
    upload_timeout_s: float = Field(15.0, gt=0.0, le=600.0)
    """Time a client has to send its whole body; slower is refused with 408."""
    pictures: int = Field(16, ge=1, le=256)
    """Pictures in one request."""
    picture_pixels: int = Field(40_000_000, ge=1 << 10, le=200_000_000)
    """Width times height of one picture, read from its header."""
    faces: int = Field(16, ge=1, le=256)
    """Faces of one picture: more boxes are refused, more detections are left out."""


class ServeSpec(Spec):
    """One emotion deployment: every replica holds the whole pipeline, so there is no second hop."""

    model: str = Field("emotion@champion", min_length=1)
    """A registry reference (`emotion@champion`, `emotion/3`) or the URI of an artefact."""
    tracking_uri: str | None = None
    """Where the registry lives; needed only when `model` is a reference."""
    faces: Literal["auto", "dlib68", "fan"] = "auto"
    """Which detector finds the faces of pictures that come without boxes."""
    face_weights: str | None = None
    """Folder of the weights of `fan`; None means torch's download cache."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the network runs; `cuda` asks Ray for one GPU per replica."""
    host: str = "127.0.0.1"
    """Address to listen on; the endpoint has no authentication, so keep it behind a proxy."""
    port: int = Field(8000, ge=1, le=65535)
    """TCP port of the HTTP endpoint."""
    replicas: int = Field(1, ge=1, le=256)
    """Processes that each hold the model."""
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
    """What one request may bring."""

    @property
    def answer_within_s(self) -> float:
        """The longest that a request may take, upload included."""
        return self.limits.upload_timeout_s + self.request_timeout_s

    @property
    def names_registry(self) -> bool:
        """Whether `model` is looked up in the registry: `name`, `name@alias` or `name/3`."""
        return names_registry(self.model)


def names_registry(model: str) -> bool:
    """Whether a model is named by the registry (`name`, `name@alias`, `name/3`), not by a URI."""
    name, _, rest = model.partition("/")
    is_version = rest.isdecimal() and rest.isascii() and name not in ("", ".", "..")
    return "://" not in model and (not rest or is_version) and not name.startswith(".")
