"""Hostile files with the code each must give, direct and sandboxed: generated ones and findings.

A finding of `tests/chaos/fuzz_media.py` lies in tests/fixtures/media as `<target>.<code>.<what>`;
the code `decodes` means that it must give pixels or samples.
"""

from __future__ import annotations

import io
import resource
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from visage.errors import MediaError
from visage.media.audio import decode_audio, write_wav
from visage.media.image import decode_image
from visage.media.limits import AudioLimits, ImageLimits, VideoLimits
from visage.media.sandbox import MediaSandbox
from visage.media.video import iter_frames, probe_video, read_frame

Film = Callable[..., Path]
FINDINGS = sorted((Path(__file__).parents[2] / "fixtures/media").iterdir())


def _png(width: int, height: int, body: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", body), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _saved(kind: str, **options: object) -> bytes:
    sink = io.BytesIO()
    Pillow.new("RGB", (16, 12)).save(sink, kind, **options)
    return sink.getvalue()


def _gif_bomb() -> bytes:
    frame = b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0"
    return b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff" + frame * 100_000 + b";"


BOMBS: dict[str, tuple[str, bytes]] = {
    "png-50000-squared": ("too_large", _png(50_000, 50_000, zlib.compress(b""))),
    "png-all-zeros": ("too_large", _png(50_000, 50_000, zlib.compress(bytes(1 << 20), 9))),
    "png-4-gigapixels-wide": ("too_large", _png((1 << 32) - 1, 1, zlib.compress(b""))),
    "png-more-data-than-pixels": ("decodes", _png(2, 2, zlib.compress(bytes(1 << 24), 9))),
    "png-no-pixels": ("truncated", _png(0, 5, b"")),
    "png-lies-about-its-data": ("truncated", _png(500, 500, b"not compressed")),
    "gif-many-frames": ("unsupported_format", _gif_bomb()),
    "svg": ("unsupported_format", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "svg-entities": ("unsupported_format", b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'a'>]>"),
    "eps": ("unsupported_format", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    "pdf": ("unsupported_format", b"%PDF-1.7\n"),
    "tiff": ("unsupported_format", _saved("TIFF")),
    "bmp": ("unsupported_format", _saved("BMP")),
    "psd": ("unsupported_format", b"8BPS\0\1" + bytes(60)),
    "jpeg-header-only": ("truncated", _saved("JPEG")[:20]),
    "jpeg-without-end": ("truncated", _saved("JPEG")[:-40]),
    "webp-cut": ("truncated", _saved("WEBP")[:25]),
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[MediaSandbox]:
    with MediaSandbox() as made:
        yield made


def _outcome(act: Callable[[], object]) -> str:
    try:
        act()
    except MediaError as err:
        return err.code
    return "decodes"


@pytest.mark.parametrize("name", BOMBS)
def test_picture_bombs_have_one_code_whoever_decodes(name: str, sandbox: MediaSandbox) -> None:
    code, data = BOMBS[name]
    assert _outcome(lambda: decode_image(data)) == code
    assert _outcome(lambda: sandbox.decode_image(data)) == code


@pytest.mark.parametrize("name", [n for n, (code, _) in BOMBS.items() if code == "too_large"])
def test_picture_bombs_are_refused_from_the_header(name: str) -> None:
    data = BOMBS[name][1]
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    assert _outcome(lambda: decode_image(data)) == "too_large"
    assert time.process_time() - start < 0.05
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 50 << 10


@pytest.mark.parametrize("at", ["start", "middle", "end"])
def test_a_film_whose_index_is_cut_is_truncated(at: str, film: Film, sandbox: MediaSandbox) -> None:
    path = film(options={"movflags": "0"})
    whole = path.read_bytes()
    moov = whole.index(b"moov") - 4
    share = {"start": 8, "middle": (len(whole) - moov) // 2, "end": len(whole) - moov - 3}[at]
    path.write_bytes(whole[: moov + share])
    assert _outcome(lambda: probe_video(path)) == "truncated"
    assert _outcome(lambda: sandbox.probe_video(path)) == "truncated"


def test_a_film_larger_than_its_limits_is_refused_by_the_child_too(
    film: Film, sandbox: MediaSandbox
) -> None:
    path = film(size=(640, 480), count=3)
    small = VideoLimits(max_pixels=640 * 480 - 1)
    assert _outcome(lambda: sandbox.read_frame(path, 0, limits=small)) == "too_large"


@pytest.mark.parametrize("options", [{}, {"rotation_deg": 90.0}, {"size": (63, 47)}])
def test_rotated_and_odd_films_are_normalised(
    options: dict[str, object], film: Film, sandbox: MediaSandbox
) -> None:
    path = film(count=3, layout="yuv444p", **options)
    assert np.array_equal(sandbox.read_frame(path, 1), read_frame(path, 1))


def test_ten_bit_films_become_eight_bit(film: Film, sandbox: MediaSandbox) -> None:
    path = film(count=3, layout="yuv420p10le")
    assert sandbox.read_frame(path, 1).dtype == np.uint8


def test_a_sound_beyond_its_limit_is_refused_by_the_child_too(
    tmp_path: Path, sandbox: MediaSandbox
) -> None:
    write_wav(tmp_path / "s.wav", np.zeros(16_000, np.float32), 8_000)
    short = AudioLimits(max_duration_s=1.0)
    path = tmp_path / "s.wav"
    code = _outcome(lambda: sandbox.decode_audio(path, sample_rate=8_000, limits=short))
    assert code == "too_large"


@pytest.mark.parametrize("path", FINDINGS, ids=lambda path: path.name)
def test_what_the_fuzzer_found_ends_as_it_must(path: Path, sandbox: MediaSandbox) -> None:
    target, code, _ = path.name.split(".", 2)
    video = VideoLimits(max_pixels=500_000, max_frames=60)
    if target == "image":
        image = ImageLimits(max_pixels=1_000_000)
        direct = _outcome(lambda: decode_image(path.read_bytes(), limits=image))
        boxed = _outcome(lambda: sandbox.decode_image(path.read_bytes(), limits=image))
    elif target == "clip":
        facts = _outcome(lambda: probe_video(path, limits=video))
        assert facts == _outcome(lambda: sandbox.probe_video(path, limits=video))
        direct = _outcome(lambda: list(iter_frames(path, limits=video)))
        boxed = _outcome(lambda: sandbox.count_frames(path, limits=video))
    else:
        sound = AudioLimits(max_duration_s=20.0)
        direct = _outcome(lambda: decode_audio(path, sample_rate=16_000, limits=sound))
        boxed = _outcome(lambda: sandbox.decode_audio(path, sample_rate=16_000, limits=sound))
    assert direct == boxed == code


@pytest.mark.parametrize(
    "path", [p for p in FINDINGS if p.name.startswith("clip.decodes.")], ids=lambda path: path.name
)
def test_frames_of_a_strange_clip_are_the_same_alone_and_in_order(path: Path) -> None:
    for index, frame in enumerate(iter_frames(path)):
        assert np.array_equal(read_frame(path, index), frame)
