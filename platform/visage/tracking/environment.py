"""Where a run happens: code, host and versions, as tags."""

from __future__ import annotations

import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path

__all__ = ["environment_tags", "git_commit"]

GIT_TIMEOUT_S = 5.0
_PACKAGES = ("visage", "torch", "ray", "mlflow", "numpy", "pyarrow")


def git_commit(folder: Path) -> str | None:
    """The commit a checkout stands at, with `+changes` if files differ; None outside a checkout."""
    head = _git(folder, "rev-parse", "HEAD")
    if head is None:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{head}+changes" if changes else head


def environment_tags() -> dict[str, str]:
    """Host, Python and package versions; in a checkout also `visage.commit`."""
    tags = {"visage.host": socket.gethostname(), "visage.python": platform.python_version()}
    for package in _PACKAGES:
        try:
            tags[f"visage.version.{package}"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    commit = git_commit(Path(__file__).resolve().parent)
    if commit is not None:
        tags["visage.commit"] = commit
    return tags


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
