"""Films and sounds made on the spot, whose every frame is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

Film = Callable[..., Path]


def _known_frame(index: int, count: int, *, width: int, height: int) -> NDArray[np.uint8]:
    """A white bar that grows with the index, and a red corner at the top left."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, : index * width // count] = 255
    picture[: height // 6, : height // 6] = (255, 0, 0)
    return picture


@pytest.fixture
def known_frame() -> Callable[..., NDArray[np.uint8]]:
    """What a film made by `film` shows at an index."""
    return _known_frame


@pytest.fixture
def film(tmp_path: Path) -> Film:
    """Writes a film with any muxer and codec of the wheel; returns its path."""

    def write(
        name: str = "film.mp4",
        *,
        muxer: str = "mp4",
        codec: str = "libx264",
        count: int = 40,
        size: tuple[int, int] = (64, 48),
        layout: str = "yuv420p",
        options: dict[str, str] | None = None,
        rotation_deg: float | None = None,
        times_ms: Sequence[int] | None = None,
    ) -> Path:
        path = tmp_path / name
        tick = Fraction(1, 1000) if times_ms is not None else Fraction(1, 25)
        with av.open(str(path), "w", format=muxer) as out:
            stream = out.add_stream(codec, rate=25, options=options or {})
            stream.width, stream.height = size
            stream.pix_fmt, stream.gop_size = layout, 12
            stream.codec_context.time_base = tick
            if rotation_deg is not None:
                stream.set_display_rotation(rotation_deg)
            for index in range(count):
                picture = _known_frame(index, count, width=size[0], height=size[1])
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = index if times_ms is None else times_ms[index]
                frame.time_base = tick
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        return path

    return write
