"""What a commit must look like on disk, checked without a line of the product's code."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

__all__ = ["check_commit"]


def check_commit(folder: Path) -> dict[str, bytes] | None:
    """The parts of the commit in a folder, each proven whole; None if nothing was published."""
    marker = folder / "COMMIT"
    if not marker.exists():
        return None
    values = json.loads(marker.read_text())
    parts = {}
    for name, part in values["parts"].items():
        body = (folder / part["path"]).read_bytes()
        assert len(body) == part["size_bytes"], name
        assert hashlib.sha256(body).hexdigest() == part["sha256"], name
        parts[name] = body
    return parts
