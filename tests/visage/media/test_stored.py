"""Stored pictures: the fast way gives the pixels of the general one and refuses what it does."""

from __future__ import annotations

import io
from typing import Literal

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from visage.errors import MediaError
from visage.media import stored
from visage.media.image import Chroma, decode_image, encode_jpeg, encode_png
from visage.media.stored import decode_stored


def _picture(height: int, width: int, seed: int) -> np.ndarray:
    """Noise for odd seeds, smooth colours for even ones."""
    rng = np.random.default_rng(seed)
    if seed % 2:
        return rng.integers(0, 256, (height, width, 3), np.uint8)
    coarse = rng.integers(0, 256, (3, 3, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@settings(max_examples=150, deadline=None)
@given(
    height=st.integers(1, 130), width=st.integers(1, 130), seed=st.integers(0, 1000),
    quality=st.sampled_from([30, 75, 90, 95, 100]),
    chroma=st.sampled_from(("4:4:4", "4:2:0")),
)  # fmt: skip
def test_the_pixels_are_those_of_the_general_decoder_bit_for_bit(
    height: int, width: int, seed: int, quality: int, chroma: Chroma
) -> None:
    body = encode_jpeg(_picture(height, width, seed), quality, chroma=chroma)
    assert stored._is_plain_jpeg(body)
    assert np.array_equal(decode_stored(body), decode_image(body))


def _saved(kind: Literal["JPEG", "WEBP"], mode: str = "RGB", **options: object) -> bytes:
    sink = io.BytesIO()
    Pillow.fromarray(_picture(40, 56, 2)).convert(mode).save(sink, kind, **options)
    return sink.getvalue()


def _turned() -> bytes:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    return _saved("JPEG", exif=exif.tobytes())


@pytest.mark.parametrize(
    "body",
    [
        _turned(), _saved("JPEG", progressive=True), _saved("JPEG", "L"), _saved("JPEG", "CMYK"),
        _saved("WEBP"), encode_png(_picture(40, 56, 2)), _saved("JPEG", comment=b"a note"),
    ],
    ids=["turned", "progressive", "grey", "cmyk", "webp", "png", "comment"],
)  # fmt: skip
def test_every_other_picture_takes_the_general_way(body: bytes) -> None:
    assert not stored._is_plain_jpeg(body)
    assert np.array_equal(decode_stored(body), decode_image(body))


def test_a_picture_cut_anywhere_is_refused_as_the_general_decoder_refuses_it() -> None:
    body = encode_jpeg(_picture(40, 56, 1))
    for length in range(0, len(body), 37):
        with pytest.raises(MediaError):
            decode_stored(body[:length])


def test_more_pixels_than_allowed_are_refused_from_the_header() -> None:
    body = bytearray(encode_jpeg(_picture(16, 16, 1)))
    at = body.index(b"\xff\xc0") + 5
    body[at : at + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(MediaError, match="65535x65535"):
        decode_stored(bytes(body))


@given(body=st.binary(max_size=200))
def test_bytes_of_any_kind_are_decoded_or_refused(body: bytes) -> None:
    with pytest.raises(MediaError):
        decode_stored(b"\xff\xd8\xff" + body)
