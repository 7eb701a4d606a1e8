"""Still pictures: JPEG, PNG and WebP in, RGB arrays out, and back.

The invariant: no memory is given to pixels before the size in the header has passed the limits. The
header is read here, by hand, because opening some formats in the decoder library already allocates
the canvas. Only three parsers are ever reached, whatever the bytes claim to be.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from visage.errors import MediaError
from visage.media.limits import ImageLimits

__all__ = ["Chroma", "Image", "decode_image", "encode_jpeg", "encode_png", "image_size"]

Image = NDArray[np.uint8]
"""RGB, shape (height, width, 3)."""

Chroma = Literal["4:4:4", "4:2:0"]
"""Whether a JPEG keeps colour at full or at half resolution."""

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_ORIENTATION_TAG = 0x0112
_TRANSPOSES = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}
# What the decoder library raises on damaged bytes; it has no common root for them.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)


def decode_image(data: bytes, *, limits: ImageLimits | None = None) -> Image:
    """The picture as RGB uint8 of shape (height, width, 3), upright.

    The camera's orientation is applied, 16-bit and greyscale become 8-bit RGB, transparency is laid
    on white, and of an animation the first frame is taken. Colour profiles are ignored.

    Raises:
        MediaError: `empty`, `unsupported_format`, `too_large` or `truncated`.
    """
    bounds = limits if limits is not None else ImageLimits()
    if len(data) > bounds.max_bytes:
        raise MediaError(
            "too_large", f"picture of {len(data)} bytes; at most {bounds.max_bytes} are accepted"
        )
    _check_pixels(image_size(data), bounds)
    try:
        with Pillow.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as picture:
            _check_pixels(picture.size, bounds)
            picture.load()
            return _as_rgb(_upright(picture))
    except Pillow.DecompressionBombError as err:
        raise MediaError("too_large", f"picture refused by the decoder: {err}") from None
    except MemoryError:
        raise MediaError("too_large", "picture does not fit into memory; scale it down") from None
    except _DAMAGE as err:
        raise MediaError("truncated", f"picture is cut off or damaged: {err}") from None


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels as stored, read from the header only.

    Orientation is not applied. Raises MediaError: `empty`, `unsupported_format` or `truncated`.
    """
    if not data:
        raise MediaError("empty", "picture has no bytes")
    try:
        if data.startswith(_PNG_MAGIC):
            width, height = _png_size(data)
        elif data.startswith(b"\xff\xd8\xff"):
            width, height = _jpeg_size(data)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            width, height = _webp_size(data)
        else:
            raise MediaError(
                "unsupported_format", "not a JPEG, PNG or WebP picture; convert it first"
            )
    except (struct.error, IndexError):
        raise MediaError("truncated", "picture ends inside its header") from None
    if width < 1 or height < 1:
        raise MediaError("truncated", f"picture states the size {width}x{height}")
    return width, height


def encode_jpeg(image: Image, quality: int = 95, *, chroma: Chroma = "4:2:0") -> bytes:
    """The picture as a baseline JPEG; `chroma="4:4:4"` keeps colour edges sharp."""
    sink = io.BytesIO()
    subsampling = 0 if chroma == "4:4:4" else 2
    Pillow.fromarray(image).save(sink, "JPEG", quality=quality, subsampling=subsampling)
    return sink.getvalue()


def encode_png(image: Image, *, compression: int = 6) -> bytes:
    """The picture as a PNG, without loss; `compression` from 0 (fast) to 9 (small)."""
    sink = io.BytesIO()
    Pillow.fromarray(image).save(sink, "PNG", compress_level=compression)
    return sink.getvalue()


def _check_pixels(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise MediaError(
            "too_large",
            f"picture of {width}x{height} pixels; at most {limits.max_pixels} are accepted; "
            "scale it down",
        )


def _png_size(data: bytes) -> tuple[int, int]:
    length, kind, width, height = struct.unpack_from(">I4sII", data, len(_PNG_MAGIC))
    if kind != b"IHDR" or length != 13:
        raise MediaError("truncated", "PNG does not start with its header")
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:  # markers may be padded with 0xFF
            at += 1
        marker, code = data[at], data[at + 1]
        if marker != 0xFF or code == 0xDA or code == 0xD9:
            raise MediaError("truncated", "JPEG has no frame header before its content")
        if code == 0x01 or 0xD0 <= code <= 0xD8:  # stand-alone markers carry no length
            at += 2
            continue
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + max(2, struct.unpack_from(">H", data, at + 2)[0])


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        return (width, height) if len(data) >= 30 else (0, 0)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise MediaError("truncated", "WebP has no picture in its first chunk")


def _upright(picture: Pillow.Image) -> Pillow.Image:
    try:
        orientation = picture.getexif().get(_ORIENTATION_TAG, 1)
    except _DAMAGE:
        return picture  # a broken side note must not cost the picture
    transpose = _TRANSPOSES.get(orientation) if isinstance(orientation, int) else None
    return picture if transpose is None else picture.transpose(transpose)


def _as_rgb(picture: Pillow.Image) -> Image:
    if picture.mode.startswith(("I", "F")):
        wide = np.asarray(picture).astype(np.int64)
        grey = np.clip(wide >> 8, 0, 255).astype(np.uint8)
        return np.ascontiguousarray(np.repeat(grey[:, :, None], 3, axis=2))
    if "A" in picture.getbands() or "transparency" in picture.info:
        cut_out = picture.convert("RGBA")
        picture = Pillow.new("RGBA", cut_out.size, (255, 255, 255, 255))
        picture.alpha_composite(cut_out)
    return np.array(picture.convert("RGB"), dtype=np.uint8)
