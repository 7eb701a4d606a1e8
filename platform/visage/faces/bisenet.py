"""A face parser: BiSeNet on a ResNet-18 trunk, 19 classes, on weights that lie on disk.

The names of the parts are those of the published checkpoint `79999_iter`, so that it loads
strictly. It was trained on faces that fill most of a 512 x 512 picture: give it a box, and it cuts
that picture. The weights were trained on CelebAMask-HQ and are for non-commercial research; they
are never fetched.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from visage.errors import CorruptError, MediaError, NotFoundError
from visage.faces.provider import Box
from visage.faces.regions import PARSE_CLASSES
from visage.media.image import Image

__all__ = ["BiSeNet", "FaceParser", "ParseMap"]

ParseMap = NDArray[np.uint8]
"""Class of each pixel, an index into PARSE_CLASSES, shape (height, width)."""

_INPUT_PX = 512
_FACE_SHARE = 0.5  # of the crop's side that the face box fills, as in the training pictures
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


class _Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(shortcut + self.bn2(self.conv2(inner)))


class _Trunk(nn.Module):
    """ResNet-18 without its classifier; gives the maps at 1/8, 1/16 and 1/32."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(_Residual(64, 64, 1), _Residual(64, 64, 1))
        self.layer2 = nn.Sequential(_Residual(64, 128, 2), _Residual(128, 128, 1))
        self.layer3 = nn.Sequential(_Residual(128, 256, 2), _Residual(256, 256, 1))
        self.layer4 = nn.Sequential(_Residual(256, 512, 2), _Residual(512, 512, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        eighth = self.layer2(self.layer1(x))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class _Refinement(nn.Module):
    """Weighs channels by what the whole map contains."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = _ConvBlock(inputs, outputs, 3)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.conv(x)
        gate = torch.sigmoid(self.bn_atten(self.conv_atten(features.mean((2, 3), keepdim=True))))
        return features * gate


class _ContextPath(nn.Module):
    """Brings what the deep maps know up to 1/8."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = _Trunk()
        self.arm16 = _Refinement(256, 128)
        self.arm32 = _Refinement(512, 128)
        self.conv_head32 = _ConvBlock(128, 128, 3)
        self.conv_head16 = _ConvBlock(128, 128, 3)
        self.conv_avg = _ConvBlock(512, 128, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        eighth, sixteenth, thirty_second = self.resnet(x)
        whole = self.conv_avg(thirty_second.mean((2, 3), keepdim=True))
        deep = self.arm32(thirty_second) + whole
        deep = self.conv_head32(_resize_to(deep, sixteenth))
        middle = self.conv_head16(_resize_to(self.arm16(sixteenth) + deep, eighth))
        return eighth, middle, deep


class _Fusion(nn.Module):
    """Joins detail and context at 1/8."""

    def __init__(self) -> None:
        super().__init__()
        self.convblk = _ConvBlock(256, 256, 1)
        self.conv1 = nn.Conv2d(256, 64, 1, bias=False)
        self.conv2 = nn.Conv2d(64, 256, 1, bias=False)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        joined: Tensor = self.convblk(torch.cat((detail, context), 1))
        gate = functional.relu(self.conv1(joined.mean((2, 3), keepdim=True)))
        return joined + joined * torch.sigmoid(self.conv2(gate))


class _Head(nn.Module):
    """Class scores from features."""

    def __init__(self, inputs: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.conv = _ConvBlock(inputs, hidden, 3)
        self.conv_out = nn.Conv2d(hidden, classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.conv_out(self.conv(x))
        return scores


class BiSeNet(nn.Module):
    """The network; the two side heads exist for training and are not run."""

    def __init__(self, classes: int = len(PARSE_CLASSES)) -> None:
        super().__init__()
        self.cp = _ContextPath()
        self.ffm = _Fusion()
        self.conv_out = _Head(256, 256, classes)
        self.conv_out16 = _Head(128, 64, classes)
        self.conv_out32 = _Head(128, 64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes, H, W) of normalised pictures (B, 3, H, W)."""
        detail, context, _ = self.cp(x)
        scores = self.conv_out(self.ffm(detail, context))
        return functional.interpolate(scores, x.shape[2:], mode="bilinear", align_corners=True)


class FaceParser:
    """Parses faces of pictures with BiSeNet; one per thread."""

    def __init__(self, weights: Path, *, device: str = "cpu") -> None:
        """Load the checkpoint `79999_iter` (53 MB) from a file.

        Raises:
            NotFoundError: there is no such file.
            CorruptError: the file holds something else.
        """
        if not weights.is_file():
            raise NotFoundError(f"{weights}: no face parser weights; give a BiSeNet 79999_iter.pth")
        self._device = device
        self._model = BiSeNet()
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            self._model.load_state_dict(state, strict=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError, TypeError, AttributeError) as err:
            reason = (str(err).splitlines() or ["the file is empty"])[0]
            raise CorruptError(f"{weights}: not the weights of this parser: {reason}") from None
        self._model.to(device).eval()

    def parse(self, image: Image, box: Box) -> ParseMap:
        """The class of every pixel of the picture, background outside the surroundings of the face.

        Raises MediaError `bad_box` if the box has no area.
        """
        x1, y1, x2, y2 = box
        if x2 <= x1 or y2 <= y1:
            raise MediaError("bad_box", f"face box {box} has no area")
        side = max(x2 - x1, y2 - y1) / _FACE_SHARE
        to_crop = _INPUT_PX / side
        # The middle of the box becomes the middle of the crop, in pixel-centre coordinates.
        centre = np.array([(x1 + x2 - 1) / 2, (y1 + y2 - 1) / 2])
        shift = (_INPUT_PX - 1) / 2 - centre * to_crop
        matrix = np.array([[to_crop, 0, shift[0]], [0, to_crop, shift[1]]])
        crop = cv2.warpAffine(image, matrix, (_INPUT_PX, _INPUT_PX), flags=cv2.INTER_LINEAR)
        height, width = image.shape[:2]
        return np.asarray(
            cv2.warpAffine(
                self.parse_crop(crop),
                matrix,
                (width, height),
                flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
            ),
            np.uint8,
        )

    def parse_crop(self, crop: Image) -> ParseMap:
        """The class of every pixel of a picture that one face fills; sides divisible by 32."""
        # (height, width, 3) -> (1, 3, height, width)
        batch = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None].to(self._device)
        mean = torch.tensor(_MEAN, device=self._device).view(1, 3, 1, 1)
        std = torch.tensor(_STD, device=self._device).view(1, 3, 1, 1)
        with torch.inference_mode():
            logits = self._model((batch.float() / 255.0 - mean) / std)
            return np.asarray(logits.argmax(1)[0].to(torch.uint8).cpu().numpy(), np.uint8)


def _resize_to(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, like.shape[2:], mode="nearest")
