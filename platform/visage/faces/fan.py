"""The face-alignment networks (S3FD boxes, 2D-FAN landmarks) on weights that lie on disk.

The package that carries the networks fetches its weights from the internet at first use. Here they
are only ever read from a folder: yours, or the cache that the package would have filled. They are
checked against their published SHA-256 and loaded as plain tensors.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from visage.errors import CorruptError, MediaError, SpecError
from visage.faces.provider import Box, Face, Landmarks, clip_box
from visage.faces.search import found_in
from visage.media.image import Image

if TYPE_CHECKING:
    import torch

__all__ = ["FAN_WEIGHTS", "Fan", "fan_is_available", "fan_weights_folder"]

FAN_WEIGHTS: dict[str, str] = {
    "2DFAN4-11f355bf06.pth.tar": "11f355bf0693120222f5955ce3f9dc8fb5763ebb30a47d7906e509490d32e4aa",
    "s3fd-619a316812.pth": "619a31681264d3f7f7fc7a16a42cbbe8b23f31a256f75a366e5a1bcd59b33543",
}
"""The two files and their SHA-256: landmarks (95 MB) and detector (86 MB)."""

_LANDMARKS_FILE, _DETECTOR_FILE = FAN_WEIGHTS
_HOURGLASSES = 4
_CROP_PX = 256
_TRAINED_PX = 200.0
_REFERENCE_SCALE = 195.0  # size in pixels of an S3FD box at which the network was trained
_MIRRORED = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65),
)
_CENTRE_SHIFT = 0.12  # of the box height, upwards, as in its training


def fan_weights_folder(weights_dir: Path | None = None) -> Path:
    """Where the weights are looked for: the given folder, or torch's own cache of downloads."""
    if weights_dir is not None:
        return weights_dir
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or os.path.join(cache, "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def fan_is_available(weights_dir: Path | None = None) -> bool:
    """Whether the package is installed and both weight files are there (not: intact)."""
    folder = fan_weights_folder(weights_dir)
    installed = importlib.util.find_spec("face_alignment") is not None
    return installed and all((folder / name).is_file() for name in FAN_WEIGHTS)


class Fan:
    """S3FD boxes and 2D-FAN-4 landmarks; one per thread."""

    def __init__(
        self,
        *,
        weights_dir: Path | None = None,
        device: str = "cpu",
        threshold: float = 0.5,
        flip: bool = False,
        max_side_px: int = 1024,
    ) -> None:
        """Load both networks.

        Args:
            weights_dir: Folder with the files of FAN_WEIGHTS; None means torch's download cache.
            device: Torch device, `cpu` or `cuda`.
            threshold: Faces below this confidence are dropped.
            flip: Average with the mirrored picture: a little steadier, twice the time.
            max_side_px: Larger pictures are shrunk to this side before the search; S3FD needs 256
                bytes a pixel for its first layer alone. Landmarks are found in the given picture.

        Raises:
            SpecError: a file or the package is missing (the message says where to put it), or
                `max_side_px` is too small.
            CorruptError: a file is not the published one.
        """
        if max_side_px < 80:
            raise SpecError(f"max_side_px {max_side_px}: give >= 80")
        if importlib.util.find_spec("face_alignment") is None:
            raise SpecError("face provider fan: install the extra `fan` (package face-alignment)")
        folder = fan_weights_folder(weights_dir)
        landmarks_state = _load_state(folder, _LANDMARKS_FILE, device)
        detector_state = _load_state(folder, _DETECTOR_FILE, device)

        from face_alignment.detection.sfd.net_s3fd import s3fd
        from face_alignment.models import FAN

        self._device, self._threshold, self._flip = device, threshold, flip
        self._max_side_px = max_side_px
        self._detector = s3fd()
        self._detector.load_state_dict(detector_state)
        self._detector.to(device).eval()
        self._aligner = FAN(_HOURGLASSES)
        self._aligner.load_state_dict(landmarks_state)
        self._aligner.to(device).eval()

    @property
    def name(self) -> str:
        """Identity with every setting that changes boxes or points."""
        settings = f"t{self._threshold:g}-s{self._max_side_px}"
        return f"fan4-s3fd-{settings}" + ("-flip" if self._flip else "")

    @property
    def licence(self) -> str:
        """Licence of code and weights."""
        return "face-alignment: BSD-3-Clause; weights: trained on 300-W-LP and WIDER FACE, research"

    def detect(self, image: Image) -> list[Face]:
        """All faces, surest first; boxes may reach beyond the picture."""
        return found_in(image, self._search, most_side_px=self._max_side_px)

    def _search(self, image: Image) -> list[Face]:
        """All faces, in pixels of the searched picture."""
        import torch
        from face_alignment.detection.sfd.bbox import nms
        from face_alignment.detection.sfd.detect import detect

        with torch.no_grad():
            found = np.asarray(detect(self._detector, image.copy(), device=self._device)[0])
        if not len(found):
            return []
        found = found[nms(found, 0.3)]
        return [
            Face(box=_whole(row[:4]), score=float(row[4]))
            for row in found
            if row[4] > self._threshold
        ]

    def landmarks(self, image: Image, box: Box) -> Landmarks:
        """The 68 points of the face in `box`, which may reach beyond the picture.

        Raises MediaError `bad_box` if the box has no area or does not touch the picture.
        """
        height, width = image.shape[:2]
        if clip_box(box, width=width, height=height) is None:
            raise MediaError("bad_box", f"face box {box} has no area inside {width}x{height}")
        import torch

        to_crop = _crop_matrix(box)
        side = (_CROP_PX, _CROP_PX)
        crop = cv2.warpAffine(image, to_crop, side, flags=cv2.INTER_LINEAR)
        # (256, 256, 3) -> (1, 3, 256, 256)
        batch = torch.from_numpy(crop).permute(2, 0, 1)[None].to(self._device).float() / 255.0
        with torch.no_grad():
            heat = self._last(batch)[0]
            if self._flip:
                mirrored = self._last(batch.flip(3))[0]
                heat = heat + mirrored[list(_MIRRORED)].flip(2)
        points = _peaks(heat.cpu().numpy())
        # The inverse of a scale and a shift.
        return np.asarray((points - to_crop[:, 2]) / to_crop[0, 0], np.float32)

    def _last(self, batch: torch.Tensor) -> torch.Tensor:
        """Heat maps of the last hourglass, shape (B, 68, 64, 64)."""
        output = self._aligner(batch)
        heat: torch.Tensor = output[-1] if isinstance(output, list) else output
        return heat


def _crop_matrix(box: Box) -> NDArray[np.float64]:
    """Picture to network input, both with pixel centres at whole numbers, shape (2, 3)."""
    x1, y1, x2, y2 = box
    centre = np.array([(x1 + x2) / 2, (y1 + y2) / 2 - (y2 - y1) * _CENTRE_SHIFT])
    zoom = _CROP_PX * _REFERENCE_SCALE / (_TRAINED_PX * (x2 - x1 + y2 - y1))
    shift = _CROP_PX / 2 - centre * zoom + (zoom - 1) / 2
    return np.array([[zoom, 0.0, shift[0]], [0.0, zoom, shift[1]]])


def _peaks(heat: NDArray[np.float32]) -> NDArray[np.float64]:
    """The maximum of each map, a quarter towards its higher neighbours, in input pixels, (68,
    2)."""
    count, height, width = heat.shape
    at = heat.reshape(count, -1).argmax(axis=1)
    rows, columns = at // width, at % width
    padded = np.pad(heat, ((0, 0), (1, 1), (1, 1)), mode="edge").astype(np.float64)
    which = np.arange(count)
    lean_x = padded[which, rows + 1, columns + 2] - padded[which, rows + 1, columns]
    lean_y = padded[which, rows + 2, columns + 1] - padded[which, rows, columns + 1]
    inside = (rows > 0) & (rows < height - 1) & (columns > 0) & (columns < width - 1)
    fine = np.stack([columns, rows], axis=1) + 0.25 * inside[:, None] * np.sign(
        np.stack([lean_x, lean_y], axis=1)
    )
    stride = _CROP_PX / width
    return np.asarray((fine + 0.5) * stride - 0.5, np.float64)


def _whole(corners: np.ndarray) -> Box:
    x1, y1, x2, y2 = (round(float(value)) for value in corners)
    return x1, y1, x2, y2


def _load_state(folder: Path, name: str, device: str) -> dict[str, torch.Tensor]:
    """The tensors of one checked weight file."""
    path = folder / name
    if not path.is_file():
        raise SpecError(
            f"face provider fan: {path} is missing; nothing is downloaded, so put the files "
            f"{', '.join(FAN_WEIGHTS)} of the face-alignment project into one folder and pass it "
            f"as weights_dir (or use the provider dlib68)"
        )
    with path.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    if digest != FAN_WEIGHTS[name]:
        raise CorruptError(
            f"{path}: sha256 {digest[:12]}…, published is {FAN_WEIGHTS[name][:12]}…; fetch it again"
        )
    import torch

    state: dict[str, torch.Tensor] = torch.load(path, map_location=device, weights_only=True)
    return state
