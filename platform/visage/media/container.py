"""Opening a container of video or sound so that it can reach nothing but its own bytes.

The kind is decided from the first bytes, the demuxer for that kind is forced, FFmpeg never sees a
path (only a file object), no protocol is allowed, nested opens are refused, and only the listed
decoders may run. A playlist, a concat script or a file that names another one therefore opens
nothing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

import av
from av.container import InputContainer

from visage.errors import MediaError

__all__ = [
    "ContainerKind",
    "MediaFile",
    "OpenFile",
    "decode_errors",
    "open_container",
    "sniff",
]

ContainerKind = Literal["mov", "matroska", "avi", "flv", "wav", "mp3", "flac", "ogg"]
"""Names of the demuxers that may be used."""


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that somebody else opened, for a process that may open none; never closed here."""

    name: str
    """What messages call it."""
    file: BinaryIO

    def __str__(self) -> str:
        return self.name


MediaFile: TypeAlias = Path | OpenFile
"""Where a clip or a sound comes from."""

_HEAD_BYTES = 64
_UNKNOWN_RIFF_SIZES = (0, 0x7FFFFFFF, 0xFFFFFFFF)
_RIFF_SLACK_BYTES = 8
_LARGEST_OFFSET = 2**62
_ISO_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_SIZED_BOXES = (b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"udta", b"uuid", b"meta")
_STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"<?xml", b"<MPD", b"v=0")
_DECODERS = (
    "h264,hevc,av1,libdav1d,vp8,vp9,mpeg4,mpeg1video,mpeg2video,msmpeg4,flv,mjpeg,ffv1,rawvideo,"
    "aac,mp3,mp3float,mp2,mp2float,ac3,eac3,flac,vorbis,opus,alac,"
    "pcm_u8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,"
    "pcm_f64le,pcm_f64be,pcm_alaw,pcm_mulaw"
)


def sniff(head: bytes) -> ContainerKind:
    """Which container starts with these bytes (64 are enough).

    Raises MediaError: `empty` without bytes, `unsupported_format` for anything not listed.
    """
    if not head:
        raise MediaError("empty", "the file has no bytes")
    if head[4:8] in _ISO_BOXES and not (head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS):
        return "mov"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    if head.startswith(b"FLV\x01"):
        return "flv"
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        return "wav"
    if head.startswith(b"fLaC"):
        return "flac"
    if head.startswith(b"OggS"):
        return "ogg"
    if head.startswith(b"ID3") or _is_mpeg_audio(head):
        return "mp3"
    if head.lstrip().startswith(_PLAYLISTS):
        raise MediaError(
            "unsupported_format", "a playlist is not media; give the media file itself"
        )
    raise MediaError(
        "unsupported_format",
        "not an accepted container (MP4/MOV, WebM/MKV, AVI, FLV, WAV, MP3, FLAC, Ogg); "
        "convert it first",
    )


@contextmanager
def open_container(
    path: MediaFile, *, max_bytes: int, max_pixels: int | None = None
) -> Iterator[InputContainer]:
    """The opened container; closed on leaving.

    Raises MediaError: `not_found`, `empty`, `unsupported_format`, `too_large` or `truncated`.
    """
    options = {"protocol_whitelist": "", "codec_whitelist": _DECODERS, "enable_drefs": "0"}
    if max_pixels is not None:
        options["max_pixels"] = str(max_pixels)
    with _opened(path) as source:
        size_bytes = os.fstat(source.fileno()).st_size
        if size_bytes > max_bytes:
            raise MediaError(
                "too_large", f"{path}: {size_bytes} bytes; at most {max_bytes} are accepted"
            )
        try:
            kind = sniff(source.read(_HEAD_BYTES))
        except MediaError as err:
            raise MediaError(err.code, f"{path}: {err}") from None
        stated_bytes = _stated_bytes(source, kind)
        if stated_bytes > size_bytes:
            raise MediaError(
                "truncated",
                f"{path}: cut off; {size_bytes} of {stated_bytes} bytes are there",
            )
        source.seek(0)
        with decode_errors(path):
            container = av.open(
                source,
                "r",
                format=kind,
                options=options,
                metadata_errors="replace",
                io_open=_refuse_nested,
            )
        with container:
            yield container


@contextmanager
def _opened(path: MediaFile) -> Iterator[BinaryIO]:
    if isinstance(path, OpenFile):
        path.file.seek(0)
        yield path.file
        return
    if not path.is_file():
        raise MediaError("not_found", f"{path}: no such file")
    with path.open("rb") as file:
        yield file


@contextmanager
def decode_errors(path: MediaFile) -> Iterator[None]:
    """Turn what FFmpeg raises while reading `path` into MediaError."""
    try:
        yield
    except (av.error.MemoryError, MemoryError):
        raise MediaError("too_large", f"{path}: does not fit into memory") from None
    except (av.error.DecoderNotFoundError, av.error.PatchWelcomeError) as err:
        raise MediaError("unsupported_format", f"{path}: no accepted decoder: {err}") from None
    except IndexError:  # PyAV does not know a stream that FFmpeg has found since it was opened
        raise MediaError(
            "unsupported_format", f"{path}: a stream begins in the middle of it; convert it first"
        ) from None
    except (av.error.FFmpegError, EOFError, OverflowError) as err:
        raise MediaError("truncated", f"{path}: cut off or damaged: {err}") from None


def _stated_bytes(source: BinaryIO, kind: ContainerKind) -> int:
    """How long the file must be by its own structure; 0 where it does not say.

    FFmpeg reads a file that was cut off as if it simply were shorter.
    """
    source.seek(0)
    match kind:
        case "mov":
            return _iso_bytes(source)
        case "matroska":
            return _matroska_bytes(source.read(4096))
        case "avi" | "wav":
            (stated,) = struct.unpack("<I", source.read(8)[4:])
            # Writers that cannot seek back leave zero or all ones; some forget the pad byte.
            return 0 if stated in _UNKNOWN_RIFF_SIZES else stated + 8 - _RIFF_SLACK_BYTES
        case _:
            return 0


def _iso_bytes(source: BinaryIO) -> int:
    """The end of the last media box of an MP4; other trailing bytes may be anything."""
    at, end = 0, 0
    while len(head := source.read(16)) >= 8:
        size, name = struct.unpack(">I4s", head[:8])
        if size == 1 and len(head) == 16:
            (size,) = struct.unpack(">Q", head[8:])
        if size < 8:  # 0 means "to the end of the file"
            break
        at += size
        if name in _SIZED_BOXES:
            end = at
        if at > _LARGEST_OFFSET:
            break
        source.seek(at)
    return end


def _matroska_bytes(head: bytes) -> int:
    """The end of the Matroska segment, or 0 if it is open-ended."""
    ebml = _vint(head, 4)
    if ebml is None:
        return 0
    at = ebml[1] + ebml[0]
    if head[at : at + 4] != b"\x18S\x80g":
        return 0
    segment = _vint(head, at + 4)
    return 0 if segment is None else segment[1] + segment[0]


def _vint(data: bytes, at: int) -> tuple[int, int] | None:
    """An EBML length at `at` and the offset behind it; None if it is absent or means "unknown"."""
    if at >= len(data) or data[at] == 0:
        return None
    width = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + width]) & ((1 << 7 * width) - 1)
    return None if value == (1 << 7 * width) - 1 else (value, at + width)


def _refuse_nested(url: str, flags: int, options: dict[str, str]) -> object:
    raise MediaError(
        "unsupported_format", f"media that opens another resource is refused ({url!r})"
    )


def _is_mpeg_audio(head: bytes) -> bool:
    """Whether an MPEG layer I-III frame starts here (the layer bits are 0 in AAC streams)."""
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 != 0
