"""Coverage-guided fuzzing of everything that takes untrusted media: pictures, clips, sound.

Run it for some minutes after a change to `visage.media` or an upgrade of Pillow or PyAV:

    pip install atheris            # not in the lock; coverage of Python code comes from it
    python tests/chaos/fuzz_media.py image|clip|sound FOLDER [-max_total_time=300]

The promise: every input ends in pixels, samples or facts of the right kind, or in a MediaError.
What breaks it is kept in FOLDER, one file for each place that raised; a native crash leaves
libFuzzer's `crash-*` beside it. Make a finding small, put it into tests/fixtures/media under the
name `<target>.<code>.<what>` and mend the cause: `test_fixtures.py` replays it for ever.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["visage.media", "PIL"]):
    import av
    import numpy as np
    from PIL import Image as Pillow

    from visage.errors import MediaError
    from visage.media.audio import decode_audio
    from visage.media.container import OpenFile
    from visage.media.image import decode_image, encode_jpeg, encode_png
    from visage.media.limits import AudioLimits, ImageLimits, VideoLimits
    from visage.media.video import iter_frames, probe_video, read_frame

SLOW_S = 5.0
IMAGE = ImageLimits(max_pixels=1_000_000)
VIDEO = VideoLimits(max_pixels=500_000, max_frames=60)
SOUND = AudioLimits(max_duration_s=20.0)


def try_image(data: bytes) -> None:
    """A picture within its limits, or a MediaError."""
    picture = decode_image(data, limits=IMAGE)
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert 0 < picture.shape[0] * picture.shape[1] <= IMAGE.max_pixels


def try_clip(data: bytes) -> None:
    """Facts and frames that agree, or a MediaError."""
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        file.write(data)
        source = OpenFile("clip", file)
        facts = probe_video(source, limits=VIDEO)
        assert facts.width > 0
        assert facts.height > 0
        assert facts.frames >= 0
        frames = list(iter_frames(source, limits=VIDEO))
        assert 0 < len(frames) <= VIDEO.max_frames
        for index in {0, len(frames) // 2, len(frames) - 1}:
            try:
                alone = read_frame(source, index, limits=VIDEO)
            except MediaError:
                continue  # a damaged clip may refuse to be entered in the middle
            # its pixels may differ: what a decoder makes of damage depends on what came before
            assert alone.shape == frames[index].shape
            assert alone.dtype == np.uint8


def try_sound(data: bytes) -> None:
    """Finite samples within the limits, or a MediaError."""
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        file.write(data)
        samples = decode_audio(OpenFile("sound", file), sample_rate=16_000, limits=SOUND)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert 0 < samples.size <= (SOUND.max_duration_s + 1) * 16_000
    assert np.isfinite(samples).all()


def image_seeds() -> list[bytes]:
    """One small picture of each kind and mode."""
    picture = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    made = [encode_jpeg(picture), encode_png(picture)]
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "I;16"):
        for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF"):
            sink = io.BytesIO()
            exif = Pillow.Exif()
            exif[0x0112] = 6
            try:
                Pillow.fromarray(picture).convert(mode).save(sink, kind, exif=exif)
            except (OSError, ValueError):
                continue
            made.append(sink.getvalue())
    return made


def container_seeds() -> list[bytes]:
    """One short clip or sound of each container and codec."""
    made = []
    for name, codec in (
        ("mp4", "libx264"), ("matroska", "libx264"), ("webm", "libvpx"), ("avi", "mpeg4"),
        ("mov", "mjpeg"), ("flv", "flv"), ("matroska", "ffv1"), ("avi", "rawvideo"),
    ):  # fmt: skip
        sink = io.BytesIO()
        with av.open(sink, "w", format=name) as out:
            stream = out.add_stream(codec, rate=25)
            stream.width, stream.height = 32, 16
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for index in range(6):
                picture = np.full((16, 32, 3), index * 40, np.uint8)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            out.mux(stream.encode(None))
        made.append(sink.getvalue())
    for name, codec in (
        ("wav", "pcm_s16le"), ("wav", "pcm_f32le"), ("mp3", "libmp3lame"), ("flac", "flac"),
        ("ogg", "libopus"), ("mp4", "aac"), ("wav", "pcm_mulaw"), ("matroska", "ac3"),
    ):  # fmt: skip
        sink = io.BytesIO()
        with av.open(sink, "w", format=name) as out:
            stream = out.add_stream(codec, rate=48_000, layout="mono")
            resampler = av.AudioResampler(stream.codec_context.format, "mono", 48_000)
            for at in range(0, 3840, 960):
                frame = av.AudioFrame.from_ndarray(
                    np.sin(np.arange(at, at + 960, dtype=np.float32) / 9)[None], "fltp", "mono"
                )
                frame.sample_rate, frame.pts, frame.time_base = 48_000, at, Fraction(1, 48_000)
                for part in resampler.resample(frame):
                    out.mux(stream.encode(part))
            out.mux(stream.encode(None))
        made.append(sink.getvalue())
    return made


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "image": (try_image, image_seeds),
    "clip": (try_clip, container_seeds),
    "sound": (try_sound, container_seeds),
}


def keeping(name: str, attempt: Callable[[bytes], None], folder: Path) -> Callable[[bytes], None]:
    """The attempt, whose findings are files and never the end of the run."""

    def once(data: bytes) -> None:
        start = time.monotonic()
        place = ""
        try:
            attempt(data)
        except MediaError:
            pass
        except Exception as err:  # the outcome is the file that is kept
            last = traceback.extract_tb(err.__traceback__)[-1]
            place = f"{type(err).__name__}-{Path(last.filename).stem}-{last.lineno}"
        if not place and time.monotonic() - start > SLOW_S:
            place = "slow"
        if place:
            digest = hashlib.sha256(data).hexdigest()[:8]
            known = sorted(folder.glob(f"{name}.{place}.*"))
            if not known or len(data) < known[0].stat().st_size:
                for old in known:
                    old.unlink()
                (folder / f"{name}.{place}.{digest}").write_bytes(data)
                sys.stderr.write(f"kept {name}.{place}.{digest} of {len(data)} bytes\n")

    return once


def main() -> None:
    """Seed a corpus, then fuzz until the time is over."""
    name, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    attempt, seeds = TARGETS[name]
    corpus = folder / f"corpus-{name}"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    options = [f"-artifact_prefix={folder}/", "-max_len=8192", "-timeout=60", "-rss_limit_mb=3000"]
    atheris.Setup(
        [sys.argv[0], *options, *sys.argv[3:], str(corpus)], keeping(name, attempt, folder)
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
