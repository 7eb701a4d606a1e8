"""Picture and sound are in time in the finished file, measured in the file."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from tiny_talking_head import FACE, DrawnFaces, tiny_head

from visage.media.audio import decode_audio
from visage.rendering.portrait import read_portrait
from visage.rendering.renderer import render_clip
from visage.rendering.sound import Sound
from visage.specs.render import RenderSpec

BURSTS_S = (0.5, 1.13, 1.9, 2.47)
LENGTH_S = 0.2
DURATION_S = 3.0


def _bursts(rate: int) -> np.ndarray:
    times = np.arange(round(DURATION_S * rate)) / rate
    is_on = np.any([(times >= at) & (times < at + LENGTH_S) for at in BURSTS_S], axis=0)
    return (0.6 * np.sin(2 * np.pi * 440 * times) * is_on).astype(np.float32)


class _LoudMouth(torch.nn.Module):
    """In place of the landmark net: the mouth opens as far as the mel frame is loud.

    It has the look-ahead of the net: row t + look-ahead is frame t.
    """

    def __init__(self, net: torch.nn.Module, look_ahead: int) -> None:
        super().__init__()
        self.net, self._ahead, self._held = net, look_ahead, torch.zeros(0)

    def forward(self, features: torch.Tensor, state: object = None):
        loud = features[0].mean(-1).reshape(-1, 2).mean(-1)
        held = torch.cat([self._held, loud])
        if not len(self._held):
            held = torch.cat([torch.zeros(self._ahead), held])
        given, self._held = held[: len(loud)], held[len(loud) :]
        moved = torch.zeros(1, len(given), 68, 3)
        moved[0, :, [56, 57, 58, 65, 66, 67], 1] = given[:, None]
        return moved.flatten(2), state


class _ShowsMouth(torch.nn.Module):
    """In place of the generator: white if the map has much white in its lower half."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.stacked, self.warp_to = net.stacked, net.warp_to

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        drawn = inputs[:, 0, 16:]
        rows = torch.arange(16.0)[None, :, None]
        lowest = (drawn * rows).sum((1, 2)) / drawn.sum((1, 2)).clamp_min(1)
        return lowest[:, None, None, None].expand(-1, 3, 32, 32) / 8 - 1


@pytest.mark.parametrize("fps", [24, 25, 29.97, 60])
def test_the_mouth_opens_when_the_sound_begins_to_within_a_frame(fps, tmp_path: Path):
    head = tiny_head(tmp_path, with_encoder=False)
    model = head.motion.model
    model.spec = model.spec.model_copy(update={"sigma_scale": 0.0, "blink_rate_hz": 0.0})
    model.landmarks = _LoudMouth(model.landmarks, head.motion.spec.landmark_look_ahead)
    object.__setattr__(head.generator, "model", _ShowsMouth(head.generator.model))
    picture = np.zeros((256, 256, 3), np.uint8)
    portrait = read_portrait(picture, DrawnFaces(FACE), size=head.generator.spec.size)
    sound = Sound(heard=_bursts(16_000), track=_bursts(48_000), peak=0.6)
    spec = RenderSpec(fps=fps, size=64, smoothing="none", chunk_s=0.37, crf=10)
    out = tmp_path / "out.mp4"
    render_clip(head, portrait, sound, head.style(None), out, spec)
    with av.open(str(out)) as found:
        shown = [(one.time, one.to_ndarray(format="gray").mean()) for one in found.decode(video=0)]
    times, levels = (np.array(values) for values in zip(*shown, strict=True))
    heard = np.abs(decode_audio(out, sample_rate=1_000)) > 0.05
    instants = np.arange(len(heard)) / 1_000
    seen = levels[np.clip(np.searchsorted(times, instants, side="right") - 1, 0, None)]
    loud = np.convolve(heard, np.ones(9) / 9, mode="same") > 0.3
    lags_ms = np.arange(-150, 151)
    alike = [np.corrcoef(np.roll(loud, lag)[200:-200], seen[200:-200])[0, 1] for lag in lags_ms]
    assert max(alike) > 0.8
    late_ms = lags_ms[int(np.argmax(alike))]
    # a frame is shown from its time on, so what it shows is half a frame late on average; the
    # window of a mel frame is 17 ms long
    assert abs(late_ms - 500 / fps) <= 500 / fps + 17, late_ms
