"""What a synthetic video says of itself: that it is one, of which model, of what, and since when.

It stands in the comment of the MP4, as JSON, where any player or `visage explain` shows it.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

from visage import __version__

__all__ = ["SYNTHETIC", "file_digest", "provenance_tags"]

SYNTHETIC = "synthetic video made by Visage"


def file_digest(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def provenance_tags(
    *,
    model: str,
    model_digest: str,
    portrait_sha256: str,
    audio_sha256: str,
    style: str,
    style_digest: str,
    settings_digest: str,
    now: datetime | None = None,
) -> dict[str, str]:
    """Tags for `visage.media.video_writer.write_video`."""
    made = (now or datetime.now(UTC)).replace(microsecond=0)
    facts = {
        "what": SYNTHETIC,
        "version": __version__,
        "model": model,
        "model_digest": model_digest,
        "portrait_sha256": portrait_sha256,
        "audio_sha256": audio_sha256,
        "style": style,
        "style_digest": style_digest,
        "settings_digest": settings_digest,
        "made": made.isoformat(),
    }
    return {"title": SYNTHETIC, "comment": json.dumps(facts, sort_keys=True)}
