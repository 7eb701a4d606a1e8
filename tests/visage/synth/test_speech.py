"""Drawn speech: smooth lips, a sound that follows from them, lips that can be learnt from it."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from visage.errors import SpecError
from visage.models.audio.mel import log_mel
from visage.seeds import rng_of
from visage.specs.audio import AudioFrontSpec
from visage.synth import speech
from visage.synth.articulation import articulate
from visage.synth.performance import perform
from visage.synth.phonemes import PHONEMES, SILENCE
from visage.synth.speech import Voice, formants_hz, speak, voice_of
from visage.synth.styles import STYLES, style_of
from visage.synth.trajectories import Steps, minimum_jerk, pulses
from visage.synth.utterance import Utterance, compose

RATE = 16_000
Floats = NDArray[np.float64]


def said(style: str, seed: int = 0, *, duration_s: float = 6.0) -> Utterance:
    return compose(style_of(style), duration_s=duration_s, rng=rng_of(seed, style))


def heard(utterance: Utterance, speaker: int = 1, seed: int = 0) -> NDArray[np.float32]:
    voice = voice_of(speaker, is_female=speaker % 2 == 0)
    return speak(utterance, voice, sample_rate=RATE, rng=rng_of(seed, "noise"))


def inside(utterance: Utterance, sound: NDArray[np.float32], symbols: str) -> Floats:
    """The sound of the middles of all phones of these symbols."""
    parts = [
        sound[
            round((0.7 * p.start_s + 0.3 * p.stop_s) * RATE) : round(
                (0.3 * p.start_s + 0.7 * p.stop_s) * RATE
            )
        ]
        for p in utterance.phones[1:-1]
        if p.symbol in symbols
    ]
    return np.concatenate([np.zeros(0), *parts])


def rms(sound: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(sound))))


def centroid_hz(sound: Floats) -> float:
    power = np.abs(np.fft.rfft(sound)) ** 2
    return float((power * np.fft.rfftfreq(len(sound), 1 / RATE)).sum() / power.sum())


@pytest.mark.parametrize("rate_hz", [25.0, 60.0, 313.0])
def test_a_channel_is_a_function_of_time_whatever_the_rate_and_the_piece(rate_hz: float) -> None:
    steps = Steps(
        values=np.array([0.2, 1.0, -0.5, 0.0]),
        centres_s=np.array([0.3, 0.42, 0.9]),
        lengths_s=np.array([0.2, 0.2, 0.1]),
    )
    times = np.arange(0, 1.5, 1 / rate_hz)
    whole = steps.at(times)
    naive = 0.2 + sum(
        size * minimum_jerk((times - centre + length / 2) / length)
        for size, centre, length in zip(
            np.diff(steps.values), steps.centres_s, steps.lengths_s, strict=True
        )
    )
    np.testing.assert_allclose(whole, naive, atol=1e-12)
    np.testing.assert_allclose(
        np.concatenate([steps.at(times[:7]), steps.at(times[7:])]), whole, atol=1e-12
    )


def test_a_pulse_rises_to_its_size_and_returns() -> None:
    times = np.linspace(0, 1, 1001)
    bump = pulses(
        times,
        np.array([0.2]),
        sizes=np.array([2.0]),
        rise_s=np.array([0.1]),
        fall_s=np.array([0.3]),
    )
    assert bump.max() == pytest.approx(2.0)
    assert times[bump.argmax()] == pytest.approx(0.3, abs=1e-3)
    assert not bump[times < 0.2].any()
    assert np.abs(bump[times > 0.601]).max() < 1e-12


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("duration_s", [0.4, 0.9, 4.0, 31.7])
def test_phones_fill_any_duration_without_gaps_between_two_silences(
    style: str, duration_s: float
) -> None:
    utterance = said(style, duration_s=duration_s)
    phones = utterance.phones
    assert (phones[0].start_s, phones[-1].stop_s) == (0.0, duration_s)
    assert phones[0].symbol == phones[-1].symbol == SILENCE
    assert all(a.stop_s == b.start_s for a, b in pairwise(phones))
    assert all(phone.stop_s > phone.start_s for phone in phones)
    assert heard(utterance).shape == (round(duration_s * RATE),)


def test_too_short_an_utterance_is_refused() -> None:
    with pytest.raises(SpecError, match=r"0\.4 s or more"):
        said("plain", duration_s=0.3)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("seed", range(4))
def test_lips_are_shut_for_the_whole_of_a_closure_and_open_in_vowels(style: str, seed: int) -> None:
    utterance = said(style, seed, duration_s=12.0)
    articulation = articulate(utterance)
    for phone in utterance.phones:
        times = np.linspace(phone.start_s, phone.stop_s, 9)
        opening, _, press = articulation.mouth(times).T
        if PHONEMES[phone.symbol].kind == "closure":
            assert opening.max() < 0.04
            assert press[4] > 0.6 * PHONEMES[phone.symbol].press
        elif phone.symbol in "aeo":
            assert opening.max() > 0.1


@pytest.mark.parametrize("style", STYLES)
def test_lips_move_smoothly(style: str) -> None:
    mouth = articulate(said(style)).mouth(np.arange(0, 6, 1 / 1000))
    assert np.abs(np.diff(mouth, axis=0)).max() < 0.06  # a millisecond apart
    assert np.abs(np.diff(mouth, n=2, axis=0)).max() < 0.006


def test_the_same_words_voice_and_seed_give_the_same_sound() -> None:
    utterance = said("rap")
    np.testing.assert_array_equal(heard(utterance), heard(said("rap")))
    assert np.abs(heard(utterance) - heard(utterance, seed=1)).max() > 1e-3
    assert np.abs(heard(utterance) - heard(utterance, speaker=3)).max() > 1e-2


@pytest.mark.parametrize("style", STYLES)
def test_nothing_is_cut_off_and_nothing_is_faint(style: str) -> None:
    sound = heard(said(style), speaker=2)
    assert 0.1 < np.abs(sound).max() <= 1.0
    assert (np.abs(sound) > 0.999).mean() < 1e-3


def test_sound_in_blocks_is_the_sound_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    utterance = said("plain", duration_s=2.0)
    whole = heard(utterance)
    monkeypatch.setattr(speech, "_BLOCK", 7)
    np.testing.assert_allclose(heard(utterance), whole, atol=2e-6)


def test_a_p_is_silent_an_m_murmurs_and_vowels_sound() -> None:
    utterance = said("plain", duration_s=60.0)
    sound = heard(utterance)
    vowels = rms(inside(utterance, sound, "aeiouə"))
    assert rms(inside(utterance, sound, "p")) < 0.01 * vowels
    assert 0.1 * vowels < rms(inside(utterance, sound, "m")) < 0.8 * vowels
    assert rms(inside(utterance, sound, SILENCE)) < 0.03 * vowels


def test_fricatives_hiss_where_they_are_made() -> None:
    utterance = said("plain", duration_s=60.0)
    sound = heard(utterance)
    hiss, hush, vowel = (centroid_hz(inside(utterance, sound, one)) for one in ("s", "ʃ", "a"))
    assert hiss > 5000 > 3500 > hush > 2500 > 1500 > vowel


@pytest.mark.parametrize("speaker", [1, 2])
def test_the_pitch_that_is_heard_is_the_voice_s(speaker: int) -> None:
    utterance = said("plain", duration_s=10.0)
    sound = inside(utterance, heard(utterance, speaker), "aeo")
    frames = np.lib.stride_tricks.sliding_window_view(sound, 640)[::320]
    found = []
    for frame in frames:
        echo = np.correlate(frame, frame, "full")[639:]
        low, high = RATE // 320, RATE // 70
        found.append(RATE / (low + int(echo[low:high].argmax())))
    voice = voice_of(speaker, is_female=speaker == 2)
    assert 12 * abs(np.log2(np.median(found) / voice.pitch_hz)) < 3


def test_a_shorter_tract_has_higher_formants_and_a_wider_mouth_a_higher_first() -> None:
    opening = np.array([0.0, 0.3, 1.0])
    still, front = np.zeros(3), np.full(3, 0.4)
    adult, child = (formants_hz(opening, still, front, tract=tract) for tract in (1.0, 0.8))
    np.testing.assert_allclose(child, adult / 0.8)
    assert (np.diff(adult[:, 0]) > 100).all()
    rounded = formants_hz(opening, still - 0.9, front, tract=1.0)
    assert (rounded[:, 1] < adult[:, 1]).all()


def test_an_hour_would_take_a_small_part_of_an_hour() -> None:
    utterance = said("plain", duration_s=20.0)
    voice = Voice(pitch_hz=120.0, tract=1.0, breath=0.03, jitter=0.006)
    speak(utterance, voice, sample_rate=RATE, rng=rng_of(0))
    start = time.process_time()
    speak(utterance, voice, sample_rate=RATE, rng=rng_of(0))
    # 60 to 110 times real time on one core; the bound leaves room for a machine under load.
    assert 20.0 / (time.process_time() - start) > 20


def _context(sound: NDArray[np.float32]) -> Floats:
    """Mel of a sixth of a second about each 60-Hz frame, (frames, features)."""
    mel = log_mel(sound, AudioFrontSpec()).astype(np.float64)
    padded = np.pad(mel, ((10, 10), (0, 0)), mode="edge")
    return np.stack([padded[at : at + 21 : 4].ravel() for at in range(0, len(mel), 2)])


def _examples(seeds: range, speakers: int) -> tuple[Floats, Floats]:
    features, openings = [], []
    for seed in seeds:
        for style in STYLES:
            utterance = said(style, seed, duration_s=4.0)
            features.append(_context(heard(utterance, speakers + seed % 6)))
            times = np.arange(len(features[-1])) / 60
            openings.append(articulate(utterance).mouth(times))
    return np.concatenate(features), np.concatenate(openings)


def test_a_linear_reader_of_the_mel_knows_the_mouth_of_people_it_has_not_heard() -> None:
    seen, wanted = _examples(range(6), speakers=1)
    unseen, truth = _examples(range(100, 102), speakers=21)
    mean, spread = seen.mean(axis=0), seen.std(axis=0) + 1e-3
    seen, unseen = ((one - mean) / spread for one in (seen, unseen))
    ridge = seen.T @ seen + 30.0 * np.eye(seen.shape[1])
    weights = np.linalg.solve(ridge, seen.T @ (wanted - wanted.mean(axis=0)))
    guessed = unseen @ weights
    opening, width = (np.corrcoef(guessed[:, k], truth[:, k])[0, 1] for k in (0, 1))
    assert opening > 0.9
    assert width > 0.75


def _figures(style: str) -> dict[str, float]:
    """Amplitude, rhythm and head of a minute of a style."""
    openings, pitches, syllables, nods = [], [], 0, []
    for seed in range(3):
        utterance = said(style, seed, duration_s=20.0)
        acted = perform(utterance, frames=500, fps=25.0, seed=seed)
        openings.append(acted.mouth[:, 0])
        pitches.append([pose.pitch_deg for pose in acted.poses])
        nods.append(np.abs(np.diff(pitches[-1])).mean() * 25)
        syllables += len(utterance.starts_s)
    opening = np.concatenate(openings)
    return {
        "amplitude": float(np.quantile(opening, 0.95)),
        "rhythm_hz": syllables / 60,
        "nod_deg_s": float(np.mean(nods)),
        "lift_deg": -float(np.mean(pitches)),
    }


def test_styles_differ_in_amplitude_rhythm_and_head() -> None:
    told = {style: _figures(style) for style in STYLES}
    plain, ballad, rap, opera = (told[name] for name in ("plain", "ballad", "rap", "opera"))
    assert ballad["amplitude"] < plain["amplitude"] < rap["amplitude"] < opera["amplitude"]
    assert opera["amplitude"] > 1.8 * plain["amplitude"]
    assert rap["rhythm_hz"] > 1.3 * plain["rhythm_hz"] > 2.5 * ballad["rhythm_hz"]
    assert rap["nod_deg_s"] > 3 * plain["nod_deg_s"] > 3 * ballad["nod_deg_s"] * 0.7
    assert opera["lift_deg"] > max(one["lift_deg"] for one in (plain, ballad, rap)) + 3


def test_motion_is_the_same_at_any_rate_and_eyes_blink() -> None:
    utterance = said("plain", duration_s=30.0)
    slow = perform(utterance, frames=750, fps=25.0, seed=3)
    fast = perform(utterance, frames=2250, fps=75.0, seed=3)
    np.testing.assert_allclose(fast.mouth[::3], slow.mouth, atol=1e-9)
    assert [pose.yaw_deg for pose in fast.poses[::3]] == pytest.approx(
        [pose.yaw_deg for pose in slow.poses], abs=1e-6
    )
    lids = np.array([one.eye_wide for one in fast.expressions])
    blinks = int(((lids[1:] < -0.7) & (lids[:-1] >= -0.7)).sum())
    assert 3 <= blinks <= 20
