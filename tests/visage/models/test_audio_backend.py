"""Promises of the door to torchaudio: it opens beside a CPU-only torch and changes nothing else."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from visage.models.audio_backend import load_torchaudio


def _tone(seconds: float, rate: int, hertz: float) -> torch.Tensor:
    return torch.sin(2 * torch.pi * hertz * torch.arange(int(seconds * rate)) / rate)


def test_mel_spectrogram_puts_a_tone_into_the_band_of_its_pitch() -> None:
    torchaudio = load_torchaudio()
    mel = torchaudio.transforms.MelSpectrogram(16_000, n_fft=400, hop_length=160, n_mels=80)
    bands = [int(mel(_tone(0.5, 16_000, hertz)).mean(-1).argmax()) for hertz in (300, 1000, 4000)]
    assert mel(_tone(0.5, 16_000, 300)).shape == (80, 51)
    assert 0 < bands[0] < bands[1] < bands[2] < 79


def test_resample_keeps_the_tone_and_halves_the_samples() -> None:
    torchaudio = load_torchaudio()
    slow = torchaudio.functional.resample(_tone(1.0, 32_000, 440), 32_000, 16_000)
    assert slow.shape == (16_000,)
    wanted = _tone(1.0, 16_000, 440)
    assert float((slow - wanted)[200:-200].abs().max()) < 0.01


def test_it_is_the_one_module_and_the_guard_is_gone_afterwards() -> None:
    before = list(sys.meta_path)
    assert load_torchaudio() is load_torchaudio() is sys.modules["torchaudio"]
    assert sys.meta_path == before
    assert not any(type(finder).__name__ == "_ExtensionGuard" for finder in sys.meta_path)


@pytest.mark.parametrize("first", ["", "try:\n    import torchaudio\nexcept OSError:\n    pass\n"])
def test_a_fresh_process_can_open_it_even_after_a_plain_import_failed(first: str) -> None:
    code = (
        first + "from visage.models.audio_backend import load_torchaudio\n"
        "t = load_torchaudio()\n"
        "import torch, torchaudio.functional as f\n"
        "print(t.transforms.MelSpectrogram(16000)(torch.zeros(1, 800)).shape[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["128"], done.stderr


def test_a_torch_with_cuda_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sentinel = object()
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.delitem(sys.modules, "torchaudio", raising=False)
    seen: list[int] = []

    def plain_import(name: str) -> object:
        seen.append(len(sys.meta_path))
        return sentinel

    monkeypatch.setattr("visage.models.audio_backend.importlib.import_module", plain_import)
    assert load_torchaudio() is sentinel
    assert seen == [len(sys.meta_path)]


def test_numpy_sound_goes_in_without_a_copy() -> None:
    samples = np.zeros(1600, np.float32)
    mel = load_torchaudio().transforms.MelSpectrogram(16_000, n_mels=40)
    assert float(mel(torch.from_numpy(samples)).sum()) == 0.0


def test_it_is_imported_while_other_threads_import() -> None:
    code = """
import sys, threading, types
from visage.models import audio_backend
import torch
over = threading.Event()

def come_and_go():
    number = 0
    while not over.is_set():
        number += 1
        sys.modules[f"made_{number % 997}"] = types.ModuleType("made")
        sys.modules.pop(f"made_{(number + 500) % 997}", None)

threads = [threading.Thread(target=come_and_go, daemon=True) for _ in range(2)]
sys.setswitchinterval(1e-6)
[one.start() for one in threads]
audio_backend.importlib = types.SimpleNamespace(import_module=lambda name: name)
for _ in range(3000):
    audio_backend._import_without_extension()
over.set()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
