"""Promises of decoding still pictures: upright RGB, or a typed refusal before memory is spent."""

from __future__ import annotations

import io
import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from visage.errors import MediaError
from visage.media.image import decode_image, encode_jpeg, encode_png, image_size
from visage.media.limits import ImageLimits


def _encoded(picture: Pillow.Image, name: str, **options: object) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, name, **options)
    return sink.getvalue()


def _quadrants() -> np.ndarray:
    """Red, green / blue, white: every one of the eight orientations looks different."""
    picture = np.zeros((16, 24, 3), np.uint8)
    picture[:8, :12], picture[:8, 12:] = (255, 0, 0), (0, 255, 0)
    picture[8:, :12], picture[8:, 12:] = (0, 0, 255), (255, 255, 255)
    return picture


def _png(width: int, height: int, body: bytes = b"", *, depth: int = 8, colour: int = 2) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(body)),
            chunk(b"IEND", b""),
        )
    )


def _code_of(data: bytes, **limits: int) -> str:
    with pytest.raises(MediaError) as caught:
        decode_image(data, limits=ImageLimits(**limits))
    return caught.value.code


def test_png_comes_back_bit_for_bit() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
    assert np.array_equal(decode_image(encode_png(picture)), picture)


@pytest.mark.parametrize("chroma", ["4:4:4", "4:2:0"])
def test_jpeg_comes_back_nearly(chroma: str) -> None:
    picture = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 3, 2)
    picture = np.repeat(picture, 48, 0)
    back = decode_image(encode_jpeg(picture, chroma=chroma))
    assert np.abs(back.astype(int) - picture).max() <= 4


def test_full_chroma_keeps_a_colour_edge_that_half_chroma_smears() -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, ::2] = (255, 0, 0)
    picture[:, 1::2] = (0, 0, 255)

    def error(chroma: str) -> float:
        back = decode_image(encode_jpeg(picture, chroma=chroma)).astype(int)
        return float(np.abs(back - picture).mean())

    assert error("4:4:4") < 5 < 40 < error("4:2:0")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_camera_orientation_ends_upright(orientation: int) -> None:
    upright = _quadrants()
    # What a camera stores for each orientation value, by the definition in EXIF.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = _encoded(Pillow.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    assert np.array_equal(decode_image(data), upright)
    assert image_size(data) == (stored.shape[1], stored.shape[0])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_png_mode_becomes_rgb_uint8(mode: str) -> None:
    grey = Pillow.fromarray(np.linspace(0, 255, 12 * 8).astype(np.uint8).reshape(8, 12))
    if mode == "I;16":
        picture = Pillow.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        picture = grey.convert(mode)
    back = decode_image(_encoded(picture, "PNG"))
    assert back.shape == (8, 12, 3)
    assert back.dtype == np.uint8
    assert back.flags["C_CONTIGUOUS"]
    tolerance = 255 if mode == "1" else 1
    assert np.abs(back[..., 0].astype(int) - np.asarray(grey)).max() <= tolerance


def test_transparency_is_laid_on_white() -> None:
    clear = Pillow.new("RGBA", (4, 4), (10, 200, 30, 0))
    assert (decode_image(_encoded(clear, "PNG")) == 255).all()


def test_cmyk_jpeg_becomes_rgb() -> None:
    red = Pillow.new("RGB", (16, 16), (255, 0, 0)).convert("CMYK")
    back = decode_image(_encoded(red, "JPEG"))
    assert np.abs(back[8, 8].astype(int) - (255, 0, 0)).max() < 12


def test_webp_lossless_comes_back_and_an_animation_gives_its_first_frame() -> None:
    picture = _quadrants()
    still = _encoded(Pillow.fromarray(picture), "WEBP", lossless=True)
    assert np.array_equal(decode_image(still), picture)
    moving = _encoded(
        Pillow.fromarray(picture),
        "WEBP",
        lossless=True,
        save_all=True,
        append_images=[Pillow.fromarray(255 - picture)],
    )
    assert image_size(moving) == (24, 16)
    assert np.array_equal(decode_image(moving), picture)


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 80}, {"exif": b"Exif\0\0"}])
@pytest.mark.parametrize("size", [(1, 1), (7, 300), (641, 5)])
def test_webp_size_is_read_from_every_chunk_kind(
    size: tuple[int, int], options: dict[str, object]
) -> None:
    data = _encoded(Pillow.new("RGB", size), "WEBP", **options)
    assert image_size(data) == size


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"exif": b"Exif\0\0" + b"x" * 9000}]
)
def test_jpeg_size_is_found_behind_any_segments(options: dict[str, object]) -> None:
    data = _encoded(Pillow.new("RGB", (321, 123)), "JPEG", **options)
    assert image_size(data) == (321, 123)


@pytest.mark.parametrize(
    "bomb",
    [
        _png(50_000, 50_000),
        _png(2**31 - 1, 2**31 - 1),
        b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03" + b"\0" * 64,
        b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0\xff\x3f\0\xff\x3f\0" + b"\0" * 64,
        b"RIFF\x40\0\0\0WEBPVP8L\x20\0\0\0\x2f\xff\xff\xff\x0f" + b"\0" * 64,
    ],
    ids=["png", "png-overflow", "jpeg", "webp-extended", "webp-lossless"],
)
def test_a_bomb_is_refused_from_its_header_at_once(bomb: bytes) -> None:
    assert len(bomb) < 1024
    start = time.perf_counter()
    assert _code_of(bomb) == "too_large"
    assert time.perf_counter() - start < 0.05


def test_too_many_bytes_are_refused_before_they_are_looked_at() -> None:
    assert _code_of(b"anything at all", max_bytes=4) == "too_large"


def test_the_pixel_limit_is_inclusive() -> None:
    data = encode_png(np.zeros((10, 10, 3), np.uint8))
    assert decode_image(data, limits=ImageLimits(max_pixels=100)).shape == (10, 10, 3)
    assert _code_of(data, max_pixels=99) == "too_large"


@pytest.mark.parametrize(
    "data",
    [
        b"GIF89a\x01\x00\x01\x00\x80\x00\x00",
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"%PDF-1.7",
        b"8BPS\0\1",
        b"SIMPLE  =                    T",
        b"II*\0",
        b"BM\x46\0\0\0",
        b"plain text",
        b"\0" * 100,
    ],
    ids=["gif", "svg", "eps", "pdf", "psd", "fits", "tiff", "bmp", "text", "zeros"],
)
def test_other_formats_are_refused_whatever_they_claim(data: bytes) -> None:
    assert _code_of(data) == "unsupported_format"


def test_no_bytes_are_empty() -> None:
    assert _code_of(b"") == "empty"


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_cut_off_picture_is_truncated(name: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = _encoded(Pillow.fromarray(noise), name)
    assert _code_of(data[: max(13, int(len(data) * share))]) == "truncated"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_bytes_give_a_picture_or_a_typed_error_never_another(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP"]))
    body = bytearray(_encoded(Pillow.fromarray(_quadrants()), name))
    for _ in range(data.draw(st.integers(1, 8))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    assert _outcome(bytes(body)) in ("picture", "truncated", "too_large", "unsupported_format")


def _outcome(data: bytes) -> str:
    try:
        picture = decode_image(data, limits=ImageLimits(max_pixels=10_000))
    except MediaError as err:
        return err.code
    return "picture" if picture.dtype == np.uint8 and picture.ndim == 3 else "no picture"
