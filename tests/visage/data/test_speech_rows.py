"""Promises of rows of speech: what is packed comes back, and a window is a function of its draw."""

from __future__ import annotations

import numpy as np
import pytest
from made_clips import made_clip
from made_speech import write_speech_corpus

from visage.data.clip_rows import unpack_clip
from visage.data.shards import ShardRows, load_manifest
from visage.data.speech_rows import SpeechDecoder, pack_speech, unpack_speech
from visage.errors import DataError
from visage.seeds import rng_of


def _row(frames: int = 50) -> dict[str, object]:
    mel = rng_of("speech rows", frames).random((2 * frames, 80), dtype=np.float32)
    return {"key": "one", **pack_speech(mel)}


def test_what_is_packed_comes_back_bit_for_bit():
    mel = rng_of("pack").random((20, 80), dtype=np.float32)
    columns = pack_speech(mel)
    assert columns["frames"] == 10
    assert np.array_equal(unpack_speech(columns), mel)


@pytest.mark.parametrize("mel", [np.zeros((3, 80)), np.zeros(80), np.full((2, 80), np.nan)])
def test_what_is_no_mel_is_not_packed(mel):
    with pytest.raises(DataError, match="two rows a video frame"):
        pack_speech(mel.astype(np.float32))


def test_frames_of_another_number_of_bands_are_refused_with_the_remedy():
    with pytest.raises(DataError, match=r"one: 32000 bytes .* model\.front\.mels"):
        unpack_speech(_row(), mels=64 + 7)


def test_validation_takes_the_middle_and_training_any_place_that_the_draw_says():
    row = _row()
    mel = unpack_speech(row)
    decode = SpeechDecoder(window=40)
    middle = decode(row, rng_of(0))
    assert np.array_equal(middle["mel"], mel[30:70])
    assert middle["valid"] == 40
    training = SpeechDecoder(window=40, training=True)
    places = set()
    for draw in range(40):
        made = training(row, rng_of(draw))["mel"]
        assert np.array_equal(made, training(row, rng_of(draw))["mel"])
        places |= {at for at in range(61) if np.array_equal(made, mel[at : at + 40])}
    assert len(places) > 20


def test_every_place_can_be_drawn_the_first_and_the_last_too():
    row, training = _row(3), SpeechDecoder(window=4, training=True)
    mel = unpack_speech(row)
    made = [training(row, rng_of(draw))["mel"] for draw in range(50)]
    for at in range(3):
        assert any(np.array_equal(one, mel[at : at + 4]) for one in made)


@pytest.mark.parametrize("training", [False, True])
def test_a_short_recording_is_padded_and_says_so(training):
    row = _row(10)
    made = SpeechDecoder(window=32, training=training)(row, rng_of(0))
    assert made["mel"].shape == (32, 80)
    assert made["mel"].dtype == np.float32
    assert made["valid"] == 20
    assert np.array_equal(made["mel"][:20], unpack_speech(row))
    assert not made["mel"][20:].any()


def test_a_row_of_a_clip_serves_as_well():
    clip = made_clip("speech", frames=30, size=32)
    made = SpeechDecoder(window=60)(clip, rng_of(0))
    assert np.array_equal(made["mel"], unpack_clip(clip).mel)


def test_the_decoder_names_what_it_reads_of_a_stored_row(tmp_path):
    manifest, store = load_manifest(write_speech_corpus(tmp_path, train=3, val=1))
    rows = ShardRows(manifest, store, "train")
    row = rows.row(1, ("key", *SpeechDecoder.columns))
    assert set(row) == {"key", "mel"}
    assert SpeechDecoder(window=60)(row, rng_of(0))["valid"] == 60
