"""Promises of reading and writing clips: exact frames, upright, under limits, and nothing else
opened."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import unittest.mock
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from visage.errors import MediaError, SpecError, StoreError
from visage.media.audio import decode_audio, write_wav
from visage.media.limits import VideoLimits
from visage.media.video import iter_frames, probe_video, read_frame, write_video
from visage.synth.spec import VoxCeleb2Spec
from visage.synth.takes import shoot, takes_of

Film = Callable[..., Path]
KnownFrame = Callable[..., np.ndarray]

FILMS: dict[str, dict[str, Any]] = {
    "h264-mp4": {},
    "h264-mkv": {"muxer": "matroska"},
    "h264-avi": {"muxer": "avi"},
    "h264-open-groups": {"options": {"x264-params": "open-gop=1:bframes=4"}},
    "h264-one-group": {"options": {"x264-params": "keyint=1000:bframes=3"}},
    "h264-variable-rate": {"times_ms": [i * 40 + (i * i) % 23 for i in range(40)]},
    "h264-late-start": {"times_ms": [5000 + i * 40 for i in range(40)]},
    "hevc-10-bit": {
        "codec": "libx265",
        "layout": "yuv420p10le",
        "options": {"x265-params": "log-level=none"},
    },
    "mpeg4-avi": {"muxer": "avi", "codec": "mpeg4"},
    "mjpeg-mov": {"muxer": "mov", "codec": "mjpeg", "layout": "yuvj420p"},
    "vp8-hidden-frames": {
        "muxer": "webm",
        "codec": "libvpx",
        "options": {"auto-alt-ref": "1", "lag-in-frames": "10"},
    },
    "vp9-webm": {"muxer": "webm", "codec": "libvpx-vp9", "options": {"lag-in-frames": "10"}},
}


def _code_of(path: Path, **limits: Any) -> str:
    with pytest.raises(MediaError) as caught:
        for _ in iter_frames(path, limits=VideoLimits(**limits)):
            pass
    return caught.value.code


def _outcome(path: Path) -> str:
    try:
        return "frames" if sum(1 for _ in iter_frames(path)) <= 41 else "too many"
    except MediaError as err:
        return err.code


@pytest.mark.parametrize("kind", FILMS)
def test_any_frame_read_alone_equals_the_same_frame_read_in_order(kind: str, film: Film) -> None:
    path = film("film.bin", **FILMS[kind])
    in_order = list(iter_frames(path))
    assert len(in_order) == 40
    assert probe_video(path).frames == 40
    for index in (0, 1, 2, 9, 11, 12, 13, 23, 24, 31, 38, 39):
        assert np.array_equal(read_frame(path, index), in_order[index]), index


@pytest.mark.parametrize("kind", ["h264-mp4", "h264-avi", "vp9-webm"])
def test_frames_show_what_was_written_in_its_order(
    kind: str, film: Film, known_frame: KnownFrame
) -> None:
    path = film("film.bin", **FILMS[kind])
    for index, frame in enumerate(iter_frames(path)):
        truth = known_frame(index, 40, width=64, height=48)
        assert np.abs(frame.astype(int) - truth).mean() < 12, index


@pytest.mark.parametrize("start", [0, 1, 7, 12, 20, 39, 40, 50])
@pytest.mark.parametrize("length", [0, 1, 5, None])
@pytest.mark.parametrize("kind", ["h264-mp4", "mpeg4-avi"])
def test_a_range_is_the_slice_of_the_whole(
    kind: str, start: int, length: int | None, film: Film
) -> None:
    path = film("film.bin", **FILMS[kind])
    stop = None if length is None else start + length
    part = list(iter_frames(path, start=start, stop=stop))
    whole = list(iter_frames(path))[start:stop]
    assert len(part) == len(whole)
    assert all(np.array_equal(a, b) for a, b in zip(part, whole, strict=True))


def test_a_frame_past_the_end_is_not_found(film: Film) -> None:
    with pytest.raises(MediaError) as caught:
        read_frame(film(count=5), 5)
    assert caught.value.code == "not_found"


def test_negative_or_reversed_ranges_are_refused(film: Film) -> None:
    path = film(count=3)
    for start, stop in ((-1, None), (2, 1)):
        with pytest.raises(SpecError):
            next(iter_frames(path, start=start, stop=stop))


@pytest.mark.parametrize(
    ("turn", "corner"), [(0, (2, 2)), (90, (-3, 2)), (180, (-3, -3)), (-90, (2, -3))]
)
def test_a_rotated_film_is_shown_upright(turn: int, corner: tuple[int, int], film: Film) -> None:
    path = film(count=3, rotation_deg=turn)
    frame = read_frame(path, 0)
    info = probe_video(path)
    assert frame.shape[:2] == (info.height, info.width)
    assert (info.width, info.height) == ((64, 48) if turn % 180 == 0 else (48, 64))
    assert np.abs(frame[corner].astype(int) - (255, 0, 0)).max() < 30  # the red corner moved


def test_variable_rate_keeps_every_frame_and_states_the_mean_rate(film: Film) -> None:
    info = probe_video(film(**FILMS["h264-variable-rate"]))
    assert info.frames == 40
    assert info.fps == pytest.approx(25, rel=0.03)


def test_a_file_without_frames_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w", format="mp4", options={"movflags": "empty_moov"}) as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        out.start_encoding()
    assert _code_of(path) == "empty"
    with pytest.raises(MediaError, match="no frames"):
        probe_video(path)


def test_a_sound_file_is_a_film_without_pictures(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    write_wav(path, np.zeros(100, np.float32), 8000)
    assert _code_of(path) == "empty"


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"max_bytes": 100}, "bytes"),
        ({"max_pixels": 64 * 48 - 1}, "pixels"),
        ({"max_frames": 39}, "frames"),
        ({"max_duration_s": 1.5}, "long"),
    ],
)
@pytest.mark.parametrize("kind", ["h264-mp4", "vp8-hidden-frames"])
def test_each_limit_refuses_the_film(
    kind: str, limits: dict[str, Any], why: str, film: Film
) -> None:
    path = film("film.bin", **FILMS[kind])
    assert _code_of(path, **limits) == "too_large", why


def test_limits_that_just_fit_accept_the_film(film: Film) -> None:
    limits = VideoLimits(max_pixels=64 * 48, max_frames=40, max_duration_s=1.6)
    assert sum(1 for _ in iter_frames(film(), limits=limits)) == 40


@pytest.mark.parametrize("kind", ["h264-mp4", "h264-mkv", "h264-avi", "vp9-webm"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.97])
def test_a_cut_off_film_is_truncated_not_shorter(kind: str, share: float, film: Film) -> None:
    path = film("film.bin", **FILMS[kind])
    body = path.read_bytes()
    path.write_bytes(body[: int(len(body) * share)])
    assert _code_of(path) == "truncated"


def test_bytes_behind_the_film_do_no_harm(film: Film) -> None:
    path = film()
    path.write_bytes(path.read_bytes() + b"\0" * 500 + b"signature of some uploader")
    assert sum(1 for _ in iter_frames(path)) == 40


@pytest.fixture
def closed_world(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every attempt to open a socket is written down and refused."""
    attempts: list[object] = []

    def refuse(*args: object, **options: object) -> None:
        attempts.append(args)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    return attempts


@pytest.mark.parametrize("suffix", ["mp4", "mov", "avi", "mkv", "m3u8", "txt", "ts"])
@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:{port}/x.ts\n",
        "  \n#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:{port}/x.ts\n",
        "ffconcat version 1.0\nfile {secret}\n",
        "<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1:{port}/</BaseURL></MPD>",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n",
    ],
    ids=["hls-file", "hls-http", "hls-indented", "concat", "dash", "sdp"],
)
def test_playlists_open_nothing(
    text: str, suffix: str, tmp_path: Path, film: Film, closed_world: list[object]
) -> None:
    secret = film("secret.mp4", count=2)
    listener = tmp_path / f"list.{suffix}"
    listener.write_text(text.format(secret=secret, port=9))
    assert _code_of(listener) == "unsupported_format"
    assert closed_world == []


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:9/a.mp4", "concat:a.mp4|b.mp4", "file:a.mp4", "/dev/zero", "-"]
)
def test_a_path_is_only_ever_a_path(name: str, tmp_path: Path, closed_world: list[object]) -> None:
    assert _code_of(Path(name)) == "not_found"
    assert closed_world == []


def _refer_elsewhere(body: bytes, target: str) -> bytes:
    """An MP4 (index at the end) whose track claims to keep its pictures in the file `target`."""
    name = target.replace("/", ":").encode()
    name += b"\0" * (len(name) % 2)
    alias = bytes(10) + bytes(28) + bytes(12) + bytes(64) + bytes(16) + b"\0\1\0\1" + bytes(16)
    alias += struct.pack(">HH", 2, len(name)) + name + b"\xff\xff\0\0"
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    at = body.index(b"url ") - 4
    grown = len(entry) - 12
    new = bytearray(body[:at] + entry + body[at + 12 :])
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        start = body.index(box) - 4
        new[start : start + 4] = struct.pack(">I", int.from_bytes(body[start : start + 4]) + grown)
    return bytes(new)


def test_a_film_that_keeps_its_pictures_in_another_file_does_not_get_them(film: Film) -> None:
    elsewhere = film("elsewhere.mp4", count=3)
    path = film("film.mp4")
    path.write_bytes(_refer_elsewhere(path.read_bytes(), str(elsewhere)))
    asked: list[str] = []

    def record(url: str, flags: int, options: object) -> object:
        asked.append(url)
        raise OSError

    trusting = {"enable_drefs": "1", "use_absolute_path": "1"}
    with path.open("rb") as source, contextlib.suppress(OSError):
        av.open(source, "r", format="mov", options=trusting, io_open=record).close()
    assert asked[0].endswith("elsewhere.mp4")  # the trap works where it is not guarded against
    asked.clear()
    with unittest.mock.patch("visage.media.container._refuse_nested", record):
        assert _code_of(path) == "empty"
    assert asked == []


@pytest.mark.parametrize(
    "head", [b"GIF89a", b"\x47" * 400, b"FLV\x02\x05", b"0&\xb2u\x8ef\xcf\x11"]
)
def test_containers_off_the_list_are_refused(head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(head + b"\0" * 64)
    assert _code_of(path) == "unsupported_format"


def test_flash_films_as_crema_d_ships_them_are_read(film: Film) -> None:
    path = film("1001_DFA_ANG_XX.flv", muxer="flv", codec="flv", count=9)
    assert len(list(iter_frames(path))) == 9
    assert np.array_equal(read_frame(path, 5), list(iter_frames(path))[5])


def test_codecs_off_the_list_are_refused(film: Film) -> None:
    path = film("film.avi", muxer="avi", codec="wmv2", count=3)
    assert _code_of(path) == "unsupported_format"


def test_damaged_films_end_in_frames_or_typed_errors(film: Film) -> None:
    whole = film().read_bytes()
    rng = np.random.default_rng(3)
    path = film("damaged.mp4", count=1)
    outcomes: list[str] = []
    for _ in range(60):
        body = bytearray(whole)
        for at in rng.integers(0, len(body), 12):
            body[at] = rng.integers(0, 256)
        path.write_bytes(bytes(body))
        outcomes.append(_outcome(path))
    assert set(outcomes) <= {"frames", "truncated", "empty", "too_large", "unsupported_format"}
    assert len(set(outcomes)) > 1


@pytest.mark.parametrize("size", [(64, 48), (63, 47), (64, 47), (33, 48), (16, 16)])
def test_written_films_come_back_with_odd_edges_repeated(
    size: tuple[int, int], tmp_path: Path, known_frame: KnownFrame
) -> None:
    width, height = size
    path = tmp_path / "out.mp4"
    truth = [known_frame(i, 12, width=width, height=height) for i in range(12)]
    assert write_video(path, iter(truth), fps=25, crf=8) == 12
    info = probe_video(path)
    assert (info.width, info.height) == (width + width % 2, height + height % 2)
    assert (info.frames, info.fps, info.has_audio) == (12, 25.0, False)
    for frame, wanted in zip(iter_frames(path), truth, strict=True):
        assert np.abs(frame[:height, :width].astype(int) - wanted).mean() < 6


def test_colours_survive_writing_and_reading(tmp_path: Path) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 140, 110), (128, 128, 128)]
    path = tmp_path / "out.mp4"
    write_video(path, (np.full((32, 32, 3), c, np.uint8) for c in colours), fps=5)
    for frame, colour in zip(iter_frames(path), colours, strict=True):
        assert np.abs(frame.mean((0, 1)) - colour).max() < 3


@pytest.mark.parametrize("fps", [25, 29.97, Fraction(30000, 1001), 60, 12.5])
def test_the_rate_is_kept(fps: float | Fraction, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    write_video(path, [np.zeros((16, 16, 3), np.uint8)] * 30, fps=fps)
    info = probe_video(path)
    assert info.fps == pytest.approx(float(fps), rel=1e-4)
    assert info.duration_s == pytest.approx(30 / float(fps), abs=0.002)


@pytest.mark.parametrize("seconds", [0.1, 1.0, 2.5])
def test_sound_is_written_in_step_and_comes_back_in_step(seconds: float, tmp_path: Path) -> None:
    rate, path = 16_000, tmp_path / "out.mp4"
    samples = np.zeros(int(rate * seconds), np.float32)
    click = len(samples) // 2
    samples[click : click + 40] = 0.8
    write_video(
        path, [np.zeros((16, 16, 3), np.uint8)] * 25, fps=25, audio=samples, audio_rate=rate
    )
    assert probe_video(path).has_audio
    back = decode_audio(path, sample_rate=rate)
    assert len(back) == len(samples)
    assert abs(int(np.abs(back).argmax()) - click - 20) < 40  # within 2.5 ms


def test_the_index_stands_in_front_so_that_players_start_early(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    write_video(path, [np.zeros((16, 16, 3), np.uint8)] * 5, fps=25)
    body = path.read_bytes()
    assert 0 < body.find(b"moov") < body.find(b"mdat")


@pytest.mark.parametrize("side", [160, 224, 240, 256])
def test_the_same_frames_are_the_same_bytes_again(side: int, tmp_path: Path) -> None:
    """Whatever lay in memory before."""
    spec = VoxCeleb2Spec(identities=3, test_identities=0, seconds=1.5, size=side)
    frames = list(shoot(spec, takes_of(spec)[-1]).frames())
    rng, path, seen = np.random.default_rng(0), tmp_path / "out.mp4", set()
    for _ in range(8):
        memory = [rng.bytes(int(size)) for size in rng.integers(10, 2_000_000, 4)]
        write_video(path, frames, fps=25, threads=1)
        seen.add(path.read_bytes())
        del memory
    assert len(seen) == 1


def test_frames_are_taken_one_by_one_not_collected(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / "out.mp4"
    seen_on_disk: list[int] = []

    def frames() -> Iterator[np.ndarray]:
        for _ in range(300):
            seen_on_disk.append(sum(p.stat().st_size for p in tmp_path.iterdir()))
            yield noise

    write_video(path, frames(), fps=25)
    assert seen_on_disk[-1] > 0  # packets were written while frames still came


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [np.zeros((16, 16, 3), np.uint8), np.zeros((16, 18, 3), np.uint8)],
        [np.zeros((16, 16), np.uint8)],
        [np.zeros((16, 16, 3), np.float32)],
    ],
    ids=["none", "two sizes", "grey", "float"],
)
def test_a_film_that_cannot_be_written_leaves_nothing_behind(
    frames: list[np.ndarray], tmp_path: Path
) -> None:
    with pytest.raises((MediaError, SpecError)):
        write_video(tmp_path / "out.mp4", frames, fps=25)
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_breaks_midway_keeps_the_old_film(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    write_video(path, [np.zeros((16, 16, 3), np.uint8)] * 3, fps=25)
    old = path.read_bytes()

    def broken() -> Iterator[np.ndarray]:
        yield np.zeros((16, 16, 3), np.uint8)
        raise KeyError("renderer failed")

    with pytest.raises(KeyError):
        write_video(path, broken(), fps=25)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize("audio", [np.zeros((2, 9), np.float32), np.full(9, np.nan, np.float32)])
def test_sound_that_is_not_mono_or_not_finite_is_refused(audio: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(SpecError):
        write_video(tmp_path / "o.mp4", [np.zeros((16, 16, 3), np.uint8)], fps=25, audio=audio)


@pytest.mark.media
@pytest.mark.parametrize(
    ("name", "size", "frames", "sound"),
    [
        ("talking_video/VoxCeleb2_00002.mp4", (224, 224), 126, True),
        ("talking_video/HDTF_RD_Radio34_000.mp4", (512, 512), 200, True),
        ("emotion_video/MEAD-EAMM_happy_noaudio.mp4", (256, 256), 141, False),
    ],
)
def test_real_clips_are_read_exactly(
    name: str, size: tuple[int, int], frames: int, sound: bool, media_dir: Path
) -> None:
    info = probe_video(media_dir / name)
    assert ((info.width, info.height), info.frames, info.has_audio) == (size, frames, sound)
    in_order = list(itertools.islice(iter_frames(media_dir / name), 60))
    for index in (0, 17, 59):
        assert np.array_equal(read_frame(media_dir / name, index), in_order[index])


@pytest.mark.parametrize("name", ["take:1.mp4", "x" * 251 + ".mp4", "100 % sure?.mp4"])
def test_any_name_that_a_file_can_have_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert write_video(Path(name), [np.zeros((16, 16, 3), np.uint8)] * 3, fps=25) == 3
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["y" * 300 + ".mp4", "none/out.mp4", "taken.mp4"])
def test_a_place_that_takes_no_file_is_told_and_keeps_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / "taken.mp4").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        write_video(tmp_path / name, [np.zeros((16, 16, 3), np.uint8)] * 3, fps=25)
    assert [path.name for path in tmp_path.iterdir()] == ["taken.mp4"]


def test_a_disk_that_is_full_is_told_and_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("visage.media.video_writer.os.fsync", full)
    with pytest.raises(StoreError, match="cannot be written: No space left"):
        write_video(tmp_path / "out.mp4", [np.zeros((16, 16, 3), np.uint8)] * 3, fps=25)
    assert list(tmp_path.iterdir()) == []
