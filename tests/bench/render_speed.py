"""Frames a second of the renderer by stage, and what is lost between network and file.

The networks are those of the small presets with untrained weights: what they cost is what trained
ones cost, and what they show is a drawn portrait behind a grey veil, as even as a trained one's
pictures, so that the encoder has no noise to keep. `network alone` repeats one batch of that size.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from tests.bench.figures import Figure, figure, paired
from tests.bench.turns import take_turns
from tests.support.tiny_talking_head import FACE, DrawnFaces, mean_face, tiny_card
from torch.utils.flop_counter import FlopCounterMode

from visage.inference.audio_encoder import AUDIO_ENCODER
from visage.inference.generator import GENERATOR
from visage.inference.parts import save_part
from visage.inference.talking_head import (
    MOTION,
    PartUris,
    TalkingHead,
    load_talking_head,
    publish_talking_head,
)
from visage.media.image import Image
from visage.models.audio.apc import AudioEncoder
from visage.models.generator import Generator
from visage.models.motion import MotionGenerator
from visage.rendering.portrait import Portrait, read_portrait
from visage.rendering.renderer import RenderedClip, iter_points, render_clip
from visage.rendering.sound import Sound
from visage.specs.render import RenderSpec
from visage.store.open import open_store
from visage.synth.spec import VoxCeleb2Spec
from visage.synth.takes import shoot, takes_of
from visage_jobs.parts import part_specs

__all__ = ["measure"]

BATCH = 8
BESIDE = "by its own thread's clock, all stages running beside each other"
SIZES = (96, 256)
"""Of the preset, and of pictures that are shown as they are."""
LARGE = 256
PRODUCT = 1024


def measure(folder: Path, *, quick: bool) -> list[Figure]:
    """Whole videos and the network alone, in turns; in the preset's pictures and larger ones."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    found: list[Figure] = []
    for size in SIZES:
        place = folder / str(size)
        place.mkdir()
        found += _measured(place, size, quick=quick)
    return found


def _measured(folder: Path, size: int, *, quick: bool) -> list[Figure]:
    head = _head(folder, size)
    portrait = read_portrait(_person(), DrawnFaces(FACE), size=size)
    sound = _sound(2.0 if quick else 12.0 if size < LARGE else 4.0)
    spec = RenderSpec(batch=BATCH, preset="veryfast")
    clips: list[RenderedClip] = []
    numbers = itertools.count()

    def whole() -> float:
        path = folder / f"{next(numbers)}.mp4"
        clips.append(render_clip(head, portrait, sound, head.style(None), path, spec))
        return clips[-1].frames / clips[-1].seconds["all"]

    def alone() -> float:
        return _network_rate(head, rounds=4 if quick else 40 if size < LARGE else 8)

    def product() -> float:
        return _product_rate(rounds=2 if quick else 10)

    taken = take_turns({"whole": whole, "alone": alone, "product": product}, 1 if quick else 5)
    shown = f"{size} pixels" + (f" enlarged to {clips[0].size}" if clips[0].size > size else "")
    how = f"{sound.duration_s:.0f} s of sound, {shown}, 30 fps"
    flop = _flop(head)
    stages = {
        name: [clip.frames / max(1e-9, clip.seconds[name]) for clip in clips]
        for name in ("motion", "maps", "network", "frames", "encoder")
    }
    motion = [_motion_rate(head, portrait, sound, spec) for _ in clips]
    name = f"render {size}"
    return [
        figure(f"{name}, whole", taken["whole"], "frames/s", how=f"{how}; sound to finished file"),
        figure(f"{name}, motion alone", motion, "frames/s", how="sound to landmarks"),
        figure(f"{name}, motion", stages["motion"], "frames/s", how=BESIDE),
        figure(f"{name}, maps", stages["maps"], "frames/s",
               how=f"facial map and warp; {BESIDE}"),
        figure(f"{name}, network", stages["network"], "frames/s", how=BESIDE),
        figure(f"{name}, putting together", stages["frames"], "frames/s",
               how=f"enlarging, and laying layers over one another; {BESIDE}"),
        figure(f"{name}, waiting for the encoder", stages["encoder"], "frames/s",
               how="handing over, and the end of the file"),
        figure(f"{name}, generator alone", taken["alone"], "frames/s",
               how=f"batches of {BATCH}, a thread"),
        figure(f"{name}, generator's arithmetic", [rate * flop / 1e9 for rate in taken["alone"]],
               "GFLOP/s", how=f"{flop / 1e9:.2f} GFLOP a frame (2 for a multiply-add)"),
        figure(f"{name}, generator at its floor", [rate / flop for rate in taken["product"]],
               "frames/s", how="if each operation went as fast as in a matrix product here "
               f"({np.median(taken['product']) / 1e9:.0f} GFLOP/s, a thread)"),
        paired(f"{name}, generator alone by its floor", taken["alone"],
               [rate / flop for rate in taken["product"]], how="share of what arithmetic allows"),
        paired(f"{name}, whole video by generator alone", taken["whole"], taken["alone"],
               how=how, goal=">= 0.85"),
    ]  # fmt: skip


def _motion_rate(head: TalkingHead, portrait: Portrait, sound: Sound, spec: RenderSpec) -> float:
    start = time.perf_counter()
    frames = sum(len(one) for one in iter_points(head, portrait, sound, head.style(None), spec))
    return frames / (time.perf_counter() - start)


def _flop(head: TalkingHead) -> int:
    """Of one frame through the generator."""
    spec = head.generator.spec
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        head.generator.model(torch.zeros(1, spec.input_channels, spec.size, spec.size))
    return counter.get_total_flops()


def _product_rate(*, rounds: int) -> float:
    """FLOP a second of a square matrix product."""
    one = torch.rand(PRODUCT, PRODUCT)
    other = one @ one
    start = time.perf_counter()
    for _ in range(rounds):
        torch.mm(one, one, out=other)
    return rounds * 2 * PRODUCT**3 / (time.perf_counter() - start)


def _head(folder: Path, size: int) -> TalkingHead:
    specs, store = part_specs("small"), open_store(str(folder))
    torch.manual_seed(0)
    encoder = specs.audio.model
    generator = specs.generator.model.model_copy(update={"size": size})
    motion = specs.motion.model.model_copy(update={"feature_channels": encoder.width})
    heard = save_part(store, "e", AudioEncoder(encoder), kind=AUDIO_ENCODER, spec=encoder)
    save_part(store, "m", MotionGenerator(motion), kind=MOTION, spec=motion,
              metadata={"audio_encoder_digest": heard})  # fmt: skip
    save_part(store, "g", Generator(generator), kind=GENERATOR, spec=generator,
              metadata={"patterns": "references"})  # fmt: skip
    parts = PartUris(
        motion=str(folder / "m"), generator=str(folder / "g"), audio_encoder=str(folder / "e")
    )
    publish_talking_head(store, "head", parts, styles=[tiny_card()], mean=mean_face())
    return load_talking_head(str(folder / "head"))


def _person() -> Image:
    spec = VoxCeleb2Spec(identities=3, test_identities=0, clips=1, seconds=0.5, size=256)
    return next(shoot(spec, takes_of(spec)[0]).frames())


def _sound(length_s: float) -> Sound:
    times = np.arange(round(length_s * 16_000)) / 16_000
    voice = 0.4 * np.sin(2 * np.pi * 130 * times) * (np.sin(2 * np.pi * 3 * times) > 0)
    heard = voice.astype(np.float32)
    return Sound(heard=heard, track=np.repeat(heard, 3), peak=0.4)


@torch.inference_mode()
def _network_rate(head: TalkingHead, *, rounds: int) -> float:
    model, spec = head.generator.model, head.generator.spec
    batch = torch.rand(BATCH, spec.input_channels, spec.size, spec.size)
    model(batch)
    start = time.perf_counter()
    for _ in range(rounds):
        model(batch)
    return rounds * BATCH / (time.perf_counter() - start)
