"""Where decoding may start so that a frame is the one its index names.

Seeking by time names another frame wherever timestamps are missing, repeated or damaged. Here all
packets are read, none but the first decoded, and a place is given only if it is certain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from av.video.frame import VideoFrame

from visage.media.container import MediaFile, decode_errors
from visage.media.limits import VideoLimits
from visage.media.video_stream import decode_frames, open_video

__all__ = ["Entry", "entry_for", "frames_from"]

# Containers that state when each picture is shown; AVI does not.
_TIMED = ("mov", "matroska")
# Codecs in which every packet holds exactly one shown picture; VP8, VP9 and MPEG-4 may hide some.
_ONE_PICTURE_A_PACKET = ("h264", "hevc", "mjpeg", "ffv1", "rawvideo")


@dataclass(frozen=True, slots=True)
class Entry:
    """Where decoding may start so that the frame `index` comes out with the timestamp `pts`."""

    packet: int
    key_pts: int
    pts: int
    between: int
    """Frames from the key frame on that come before the wanted one."""


def entry_for(path: MediaFile, index: int, limits: VideoLimits, *, threads: int) -> Entry | None:
    """Where to start decoding for `index`, or None if only the sequential way is certain.

    Reads all packets, decodes one frame. Timestamps must be present and unique, and the first frame
    that decodes must be the first in time; otherwise packets and frames cannot be matched.
    """
    shown: list[int] = []
    keys: list[tuple[int, int]] = []  # (packet, pts)
    first_pts: int | None = None
    with open_video(path, limits, threads=threads) as (container, stream), decode_errors(path):
        timed = container.format.name.split(",")[0] in _TIMED
        if not timed or stream.codec.canonical_name not in _ONE_PICTURE_A_PACKET:
            return None
        for ordinal, packet in enumerate(container.demux(stream)):
            if first_pts is None:
                first_pts = next((frame.pts for frame in packet.decode()), None)
            if packet.size == 0 or packet.is_discard:
                continue
            if packet.pts is None or len(shown) > limits.max_frames:
                return None
            shown.append(packet.pts)
            if packet.is_keyframe:
                keys.append((ordinal, packet.pts))
    shown.sort()
    if index >= len(shown) or len(set(shown)) != len(shown) or first_pts != shown[0]:
        return None
    target = shown[index]
    # A key frame later in time than the target may still precede it in the file (open groups).
    before = [(pts, packet) for packet, pts in keys if pts <= target]
    if not before:
        return None
    key_pts, start = max(before)
    between = index - shown.index(key_pts)
    return Entry(packet=start, key_pts=key_pts, pts=target, between=between)


def frames_from(
    path: MediaFile, entry: Entry, limits: VideoLimits, *, threads: int
) -> Iterator[VideoFrame]:
    """Frames from the entry on; nothing at all if its frame does not come out where it should."""
    found, before = False, 0
    with open_video(path, limits, threads=threads) as (container, stream):
        for frame in decode_frames(path, container, stream, limits, from_packet=entry.packet):
            if not found:
                if frame.pts is None or frame.pts > entry.pts:
                    return
                found = frame.pts == entry.pts
                # Damaged timestamps may name another frame than its place does.
                if found and before != entry.between:
                    return
                before += frame.pts >= entry.key_pts
            if found:
                yield frame
