"""Promises of temporary folders: gone after use, after an error, and after a kill."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest

from visage.errors import SpecError
from visage_serve.scratch import Scratch

DIES = """
import os, signal, sys
from pathlib import Path
from visage_serve.scratch import Scratch
with Scratch(Path(sys.argv[1])).folder() as folder:
    (folder / "voice").write_bytes(b"secret")
    print("ready", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def files_below(root):
    return [path for path in root.rglob("*") if path.is_file() and path.name != "lock"]


def test_a_folder_is_gone_with_what_is_in_it_also_after_an_error(tmp_path):
    scratch = Scratch(tmp_path)
    with scratch.folder() as folder:
        (folder / "a").write_bytes(b"x")
        assert files_below(tmp_path) == [folder / "a"]
    with contextlib.suppress(RuntimeError), scratch.folder() as folder:
        (folder / "b").write_bytes(b"x")
        raise RuntimeError
    assert files_below(tmp_path) == []
    scratch.close()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_only_the_user_can_look_inside(tmp_path):
    scratch = Scratch(tmp_path / "shared")
    with scratch.folder() as folder:
        assert {path.stat().st_mode & 0o077 for path in (folder, folder.parent)} == {0}
    scratch.close()


def test_what_a_killed_process_left_goes_and_what_a_living_one_uses_stays(tmp_path):
    dead = subprocess.run(
        [sys.executable, "-c", DIES, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert (dead.returncode, dead.stdout) == (-9, "ready\n")
    assert [path.name for path in files_below(tmp_path)] == ["voice"]
    living = Scratch(tmp_path)
    assert files_below(tmp_path) == []
    with living.folder() as folder:
        (folder / "mine").write_bytes(b"x")
        other = Scratch(tmp_path)
        assert files_below(tmp_path) == [folder / "mine"]
        other.close()
    living.close()


def test_a_folder_that_somebody_else_laid_there_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    with pytest.raises(SpecError, match="TMPDIR"):
        Scratch(tmp_path / "link")
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(SpecError, match="another user"):
        Scratch(tmp_path / "theirs")
    assert list((tmp_path / "theirs").iterdir()) == []
