"""What a hostile file can do to the process that decodes it, and what it can do beyond: nothing."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from s3_server import __file__ as support_file

from visage.errors import MediaError, SandboxError, SpecError
from visage.media.audio import decode_audio, write_wav
from visage.media.image import decode_image, encode_jpeg, encode_png
from visage.media.limits import ImageLimits, VideoLimits
from visage.media.sandbox import MediaSandbox, read_media
from visage.media.sandbox import pool as pool_module
from visage.media.sandbox.process import Ask, Child
from visage.media.sandbox.window import new_window, open_window
from visage.media.sandbox.wire import BrokenWireError, Channel
from visage.media.video import iter_frames, probe_video, read_frame

Film = Callable[..., Path]
STUBS = str(Path(support_file).with_name("decoder_stubs.py"))
FILTERED = "system call filter"


def _stub(*words: str, **settings: Any) -> MediaSandbox:
    return MediaSandbox(command=("-P", STUBS, *words), **settings)


def _code(act: Callable[[], object]) -> str:
    with pytest.raises(MediaError) as caught:
        act()
    return caught.value.code


def _picture(height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _pid(sandbox: MediaSandbox, ask: bytes = b"pid") -> int:
    high, middle, low = sandbox.decode_image(ask)[0, 0].tolist()
    return int(high << 16 | middle << 8 | low)


def _gone(pid: int, within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


@pytest.fixture(scope="module")
def sandbox() -> Iterator[MediaSandbox]:
    """The real one."""
    with MediaSandbox() as made:
        yield made


@pytest.fixture(scope="module")
def stub() -> Iterator[MediaSandbox]:
    """One whose decoder does what its input says, behind the real guards."""
    with _stub("misbehave", image_timeout_s=30.0) as made:
        yield made


def test_pictures_are_those_of_the_direct_decoder(sandbox: MediaSandbox) -> None:
    for data in (encode_png(_picture()), encode_jpeg(_picture(333, 517))):
        assert np.array_equal(sandbox.decode_image(data), decode_image(data))


def test_a_picture_larger_than_the_shared_memory_comes_through_whole(
    sandbox: MediaSandbox,
) -> None:
    picture = np.zeros((2400, 2600, 3), np.uint8)
    picture[1000:2000, 7:2000] = 77
    assert np.array_equal(sandbox.decode_image(encode_png(picture, compression=1)), picture)


def test_clips_and_sound_are_those_of_the_direct_decoders(
    sandbox: MediaSandbox, film: Film, tmp_path: Path
) -> None:
    path = film()
    assert sandbox.probe_video(path) == probe_video(path)
    for index in (0, 13, 39):
        assert np.array_equal(sandbox.read_frame(path, index), read_frame(path, index))
    assert sandbox.count_frames(path) == sum(1 for _ in iter_frames(path)) == 40
    write_wav(tmp_path / "s.wav", np.linspace(-1, 1, 5000, dtype=np.float32), 16_000)
    sound = sandbox.decode_audio(tmp_path / "s.wav", sample_rate=8_000)
    assert np.array_equal(sound, decode_audio(tmp_path / "s.wav", sample_rate=8_000))


def test_errors_are_those_of_the_direct_decoders(
    sandbox: MediaSandbox, film: Film, tmp_path: Path
) -> None:
    assert _code(lambda: sandbox.decode_image(b"")) == "empty"
    assert _code(lambda: sandbox.decode_image(b"GIF89a")) == "unsupported_format"
    data = encode_jpeg(_picture())
    assert _code(lambda: sandbox.decode_image(data[: len(data) // 2])) == "truncated"
    small = ImageLimits(max_pixels=60 * 80 - 1)
    assert _code(lambda: sandbox.decode_image(data, limits=small)) == "too_large"
    few = ImageLimits(max_bytes=100)
    assert _code(lambda: sandbox.decode_image(data, limits=few)) == "too_large"
    path = film(count=3)
    assert _code(lambda: sandbox.read_frame(path, 3)) == "not_found"
    assert _code(lambda: sandbox.probe_video(path, limits=VideoLimits(max_frames=2))) == "too_large"
    assert _code(lambda: sandbox.probe_video(tmp_path / "none.mp4")) == "not_found"
    assert _code(lambda: sandbox.decode_audio(path, sample_rate=8000)) == "no_audio"
    with pytest.raises(SpecError):
        sandbox.read_frame(path, -1)
    with pytest.raises(SpecError):
        sandbox.decode_audio(path, sample_rate=0)


def test_messages_name_the_file(sandbox: MediaSandbox, tmp_path: Path) -> None:
    path = tmp_path / "note.mp4"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(MediaError, match=r"note\.mp4"):
        sandbox.probe_video(path)


def test_pipes_devices_and_folders_are_no_media(sandbox: MediaSandbox, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), Path("a\0b")):
        assert _code(lambda path=path: sandbox.probe_video(path)) == "not_found"
        assert _code(lambda path=path: read_media(path, max_bytes=10)) == "not_found"


def test_no_more_of_a_file_is_read_than_is_accepted(tmp_path: Path) -> None:
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(1 << 40)
    assert _code(lambda: read_media(tmp_path / "huge.jpg", max_bytes=1000)) == "too_large"


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")
def test_every_layer_holds_on_this_machine(sandbox: MediaSandbox) -> None:
    assert "limits" in sandbox.guards()
    assert FILTERED in sandbox.guards()


@pytest.mark.parametrize(
    "attempt",
    [
        "open /etc/hostname",
        "open /proc/self/environ",
        "list /",
        "unix",
        "fork",
        "exec",
        "spawn",
        "thread",
        "kill",
        "connect 127.0.0.1:9",
        "connect 169.254.169.254:80",
    ],
)
def test_the_child_may_not(attempt: str, stub: MediaSandbox) -> None:
    if FILTERED not in stub.guards():
        pytest.skip("no system call filter on this machine")
    red = int(stub.decode_image(attempt.encode())[0, 0, 0])
    assert red in (errno.EPERM, errno.EACCES), f"{attempt}: {errno.errorcode.get(red, 'worked')}"


def test_the_child_writes_nothing(stub: MediaSandbox, tmp_path: Path) -> None:
    target = tmp_path / "written"
    assert stub.decode_image(f"write {target}".encode())[0, 0, 0] != 0
    assert not target.exists() or not target.stat().st_size


def test_no_connection_reaches_a_server_that_waits_for_one(stub: MediaSandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert stub.decode_image(f"connect 127.0.0.1:{port}".encode())[0, 0, 0] != 0
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_credentials_stay_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    with _stub("misbehave") as stub:
        assert stub.decode_image(b"environment AWS")[0, 0, 0] == 0
        assert stub.decode_image(b"environment PATH")[0, 0, 0] > 0


@pytest.mark.parametrize("kind", ["m3u8", "ffconcat", "pls", "dash"])
@pytest.mark.parametrize("suffix", ["mp4", "m3u8", "txt"])
def test_playlists_open_no_socket_and_no_file(
    kind: str, suffix: str, sandbox: MediaSandbox, film: Film, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/secret"
        other = film("other.mp4", count=2)
        before = other.stat().st_atime_ns
        text = {
            "m3u8": f"#EXTM3U\n#EXTINF:1,\n{address}\n#EXTINF:1,\nfile://{other}\n",
            "ffconcat": f"ffconcat version 1.0\nfile '{other}'\nfile '{address}'\n",
            "pls": f"[playlist]\nFile1={address}\n",
            "dash": f"<?xml version='1.0'?><MPD><BaseURL>{address}</BaseURL></MPD>",
        }[kind]
        path = tmp_path / f"list.{suffix}"
        path.write_text(text)
        assert _code(lambda: sandbox.probe_video(path)) == "unsupported_format"
        assert _code(lambda: sandbox.decode_audio(path, sample_rate=8000)) == "unsupported_format"
        assert _code(lambda: sandbox.decode_image(path.read_bytes())) == "unsupported_format"
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
        assert other.stat().st_atime_ns == before


@pytest.mark.parametrize("way", ["segfault", "exit"])
def test_a_file_that_kills_the_decoder_twice_is_rejected_and_the_next_one_decodes(
    way: str,
) -> None:
    with _stub("misbehave") as stub:
        first = _pid(stub)
        assert _code(lambda: stub.decode_image(way.encode())) == "crashed"
        assert _pid(stub) != first


def test_the_message_says_how_the_decoder_died(stub: MediaSandbox) -> None:
    with pytest.raises(MediaError, match=r"died on it 2 times \(SIGSEGV\)"):
        stub.decode_image(b"segfault")


def test_an_error_nobody_foresaw_is_a_code_and_costs_no_child(stub: MediaSandbox) -> None:
    before = _pid(stub)
    assert _code(lambda: stub.decode_image(b"raise strange")) == "crashed"
    assert _pid(stub) == before


def test_a_decoder_that_hangs_is_killed_at_its_deadline() -> None:
    with _stub("misbehave", image_timeout_s=30.0) as stub:
        pid = _pid(stub)
        stub._image_timeout_s = 0.3
        start = time.monotonic()
        assert _code(lambda: stub.decode_image(b"hang")) == "timeout"
        assert time.monotonic() - start < 10.0
        assert _gone(pid)
        stub._image_timeout_s = 30.0
        assert stub.decode_image(b"fine").shape == (1, 1, 3)


def test_cpu_time_runs_out_even_if_the_parent_does_not_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with _stub("misbehave", image_timeout_s=30.0) as stub:
        _pid(stub)
        monkeypatch.setattr("visage.media.sandbox.process.CPU_SLACK_S", -29.9)
        assert _code(lambda: stub.decode_image(b"spin")) == "timeout"


def test_a_memory_hog_is_too_large_and_an_honest_picture_fits(stub: MediaSandbox) -> None:
    pid = _pid(stub)
    assert _code(lambda: stub.decode_image(f"hoard {8 << 30}".encode())) == "too_large"
    assert _pid(stub) == pid


def test_a_child_that_grows_is_replaced_between_two_pictures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "LEAK_BYTES", 8 << 20)
    with _stub("misbehave") as stub:
        pid = _pid(stub)
        stub.decode_image(f"leak {1 << 20}".encode())
        assert _pid(stub) == pid
        stub.decode_image(f"leak {16 << 20}".encode())
        assert _pid(stub) != pid


def test_a_child_killed_between_two_pictures_is_replaced_unseen(stub: MediaSandbox) -> None:
    pid = _pid(stub)
    os.kill(pid, signal.SIGKILL)
    assert _gone(pid)
    assert _pid(stub) != pid


def test_a_child_killed_in_mid_request_is_replaced_and_the_file_tried_again() -> None:
    with _stub("misbehave") as stub, ThreadPoolExecutor(1) as threads:
        pid = _pid(stub)
        asked = threads.submit(_pid, stub, b"pid 1.0")
        deadline = time.monotonic() + 20.0
        while stub._idle.children and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(pid, signal.SIGKILL)
        assert asked.result(timeout=60.0) != pid


@pytest.mark.parametrize(
    "head",
    [
        [],
        {},
        {"cpu_s": -1.0, "shape": [1, 1, 3], "dtype": "uint8"},
        {"cpu_s": 0.0},
        {"cpu_s": 0.0, "shape": [1, 1, 3], "dtype": "object"},
        {"cpu_s": 0.0, "shape": [1, 1, 3], "dtype": "float64"},
        {"cpu_s": 0.0, "shape": [1 << 40, 1 << 40, 3], "dtype": "uint8", "in_window": True},
        {"cpu_s": 0.0, "shape": [10_000, 5_000, 3], "dtype": "uint8", "in_window": True},
        {"cpu_s": 0.0, "shape": [10_000, 5_000, 3], "dtype": "uint8"},
        {"cpu_s": 0.0, "shape": [-1, 1, 3], "dtype": "uint8", "in_window": True},
        {"cpu_s": 0.0, "shape": [True, 1, 3], "dtype": "uint8", "in_window": True},
        {"cpu_s": 0.0, "shape": "1", "dtype": "uint8"},
        {"cpu_s": 0.0, "code": "made_up", "message": "x"},
        {"cpu_s": 0.0, "code": ["empty"], "message": "x"},
        {"cpu_s": 0.0, "code": "empty", "message": 7},
        {"cpu_s": 0.0, "facts": [1]},
    ],
)
@pytest.mark.parametrize("with_window", [False, True])
def test_what_a_captured_child_says_is_checked_before_it_is_used(
    head: Any, with_window: bool
) -> None:
    ask = Ask(
        operation="image",
        name="picture",
        limits={},
        arguments={},
        timeout_s=5.0,
        memory_bytes=0,
        answer_bytes=64_000_000,
    )
    ours, theirs = socket.socketpair()
    with new_window() as descriptor:
        window = open_window(descriptor if with_window else None)
    with ours, theirs, subprocess.Popen(["/bin/true"]) as process:
        child = Child(process, Channel(ours), window)
        Channel(theirs).send(head, memoryview(b""))
        theirs.close()
        with pytest.raises(BrokenWireError):
            child._answer(ask)


def test_facts_where_a_picture_is_due_are_a_crash() -> None:
    with _stub("liar") as liar:
        assert _code(lambda: liar.decode_image(b"x")) == "crashed"


def test_two_hundred_pictures_in_a_row_leave_memory_and_descriptors_flat() -> None:
    data = encode_jpeg(_picture(400, 533))
    with MediaSandbox() as sandbox:
        for _ in range(20):
            sandbox.decode_image(data)
        child = sandbox._idle.children[0]
        before = _held(child.pid), len(os.listdir("/proc/self/fd"))
        for _ in range(200):
            sandbox.decode_image(data)
        after = _held(child.pid), len(os.listdir("/proc/self/fd"))
        assert sandbox._idle.children == [child]
    assert after[0] - before[0] < 4 << 20
    assert after[1] == before[1]


def test_clips_leave_no_descriptor_open(film: Film, sandbox: MediaSandbox) -> None:
    path = film(count=3)
    sandbox.probe_video(path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(40):  # more than the child may hold at a time
        sandbox.read_frame(path, 1)
    assert len(os.listdir("/proc/self/fd")) == before


def test_threads_share_a_bounded_number_of_children() -> None:
    data = encode_jpeg(_picture())
    most, seen, lock = 0, 0, threading.Lock()
    with MediaSandbox(2) as sandbox, ThreadPoolExecutor(6) as threads:

        def decode(_: int) -> bool:
            nonlocal most, seen
            same = np.array_equal(sandbox.decode_image(data), decode_image(data))
            with lock:
                seen = len(_children_of(os.getpid()))
                most = max(most, seen)
            return same

        others = len(_children_of(os.getpid()))
        assert all(threads.map(decode, range(40)))
    assert most <= 2 + others


def test_closing_ends_the_children_and_a_closed_sandbox_says_so() -> None:
    stub = _stub("misbehave")
    pid = _pid(stub)
    stub.close()
    stub.close()
    assert _gone(pid)
    with pytest.raises(SandboxError, match="closed"):
        stub.decode_image(b"fine")


def test_what_is_under_way_when_the_sandbox_closes_is_still_answered() -> None:
    data = encode_png(np.zeros((2000, 2000, 3), np.uint8), compression=9)
    with ThreadPoolExecutor(1) as threads:
        sandbox = MediaSandbox()
        sandbox.decode_image(data)
        asked = threads.submit(sandbox.decode_image, data)
        deadline = time.monotonic() + 20.0
        while sandbox._idle.children and not asked.done() and time.monotonic() < deadline:
            time.sleep(0.0005)
        sandbox.close()
        assert asked.result(timeout=20.0).shape == (2000, 2000, 3)


def test_children_outlive_the_thread_that_first_needed_them() -> None:
    with _stub("misbehave") as stub:
        pids: list[int] = []
        for _ in range(2):
            thread = threading.Thread(target=lambda: pids.append(_pid(stub)))
            thread.start()
            thread.join(timeout=30.0)
        assert pids[0] == pids[1]


def test_a_child_ends_with_its_parent_even_while_it_decodes(tmp_path: Path) -> None:
    program = (
        "import sys, threading\n"
        "from visage.media.sandbox import MediaSandbox\n"
        f"stub = MediaSandbox(command=('-P', {STUBS!r}, 'misbehave'))\n"
        "high, middle, low = stub.decode_image(b'pid')[0, 0].tolist()\n"
        "print(high << 16 | middle << 8 | low, flush=True)\n"
        "stub.decode_image(b'spin')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    assert _gone(child)


def test_a_process_that_ends_in_order_leaves_no_child_and_no_noise() -> None:
    program = (
        "from visage.media.sandbox import MediaSandbox\n"
        f"stub = MediaSandbox(command=('-P', {STUBS!r}, 'misbehave'))\n"
        "print(stub.decode_image(b'pid')[0, 0].tolist())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60.0,
        check=True,
    )
    high, middle, low = json.loads(ended.stdout)
    assert not ended.stderr
    assert _gone(high << 16 | middle << 8 | low)


def test_a_child_that_cannot_start_is_an_error_of_the_machine_not_of_the_file() -> None:
    with _stub("broken") as stub, pytest.raises(SandboxError, match="no decoder here"):
        stub.decode_image(b"fine")


def test_facts_survive_the_way(film: Film, sandbox: MediaSandbox) -> None:
    path = film(rotation_deg=90.0)
    assert asdict(sandbox.probe_video(path)) == asdict(probe_video(path))


def _held(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _children_of(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        found |= {int(word) for word in (task / "children").read_text().split()}
    return found
