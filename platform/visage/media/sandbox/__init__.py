"""Untrusted media, decoded in a child process that can reach nothing but the bytes it is given.

`MediaSandbox` offers what `visage.media.image`, `.video` and `.audio` offer, with the same errors,
for files that somebody else made. Stored rows, which Visage encoded itself, are decoded directly.
"""

from __future__ import annotations

from visage.media.sandbox.files import read_media
from visage.media.sandbox.guard import Guard
from visage.media.sandbox.pool import MediaSandbox

__all__ = ["Guard", "MediaSandbox", "read_media"]
