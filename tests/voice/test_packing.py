"""Clips as they are kept: near enough to what was rendered, and the same sound however it is cut."""

from __future__ import annotations

import math
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrowalk.voice import packing
from retrowalk.voice.packing import PLAYED_BYTES, Packed


def tone(frequency_hz: float, level: float, samples: int = 2400) -> array[int]:
    turn = 2 * math.pi * frequency_hz / packing.RATE_HZ
    return array("h", [round(32767 * level * math.sin(turn * i)) for i in range(samples)])


def played(samples: array[int]) -> np.ndarray:
    return np.frombuffer(Packed(packing.pack(samples))[:], "<i2").astype(float)


@pytest.mark.parametrize("level", [0.9, 0.3, 0.03, 0.01], ids="at {} of full scale".format)
def test_the_noise_of_packing_lies_far_below_the_voice(level):
    """At every level of speech the error is at least 30 dB below it."""
    sent = np.array(tone(700.0, level), float)
    kept = np.array(packing.unpack(packing.pack(tone(700.0, level))), float)
    assert 10 * math.log10(np.mean(sent**2) / np.mean((kept - sent) ** 2)) > 30


def test_silence_and_both_ends_of_the_scale_are_kept():
    assert packing.unpack(packing.pack(array("h", [0, 32767, -32767, -32768]))).tolist() == [0, 32767, -32767, -32767]


def test_softer_is_never_packed_louder():
    """The scale rises everywhere, and is the same below zero."""
    codes = packing.pack(array("h", range(0, 32768, 7)))
    assert list(codes) == sorted(codes)
    below = packing.unpack(packing.pack(array("h", range(0, -32768, -7))))
    assert [-sample for sample in below] == packing.unpack(codes).tolist()


@pytest.mark.parametrize("frequency_hz", [200, 1000, 3000, 6000, 7000])
def test_what_is_played_has_the_frequencies_of_speech_and_no_others(frequency_hz):
    """Doubling the rate keeps a tone within 1 dB and leaves its image above 12 kHz 20 dB below it at the least."""
    heard = played(tone(frequency_hz, 0.5, 4800))
    power = np.abs(np.fft.rfft(heard * np.hanning(len(heard)))) ** 2
    hz = np.fft.rfftfreq(len(heard), 1 / 48_000)
    voice = power[np.abs(hz - frequency_hz) < 100].sum()
    wanted = (
        np.abs(
            np.fft.rfft(
                0.5 * 32767 * np.sin(2 * np.pi * frequency_hz * np.arange(len(heard)) / 48_000) * np.hanning(len(heard))
            )
        )
        ** 2
    )
    assert 10 * math.log10(voice / wanted.sum()) == pytest.approx(0.0, abs=1.0)
    assert power[hz > 12_000].sum() < voice / 100


@given(st.binary(min_size=1, max_size=300), st.lists(st.integers(1, 200), min_size=1, max_size=30))
def test_pieces_join_to_the_whole(codes, lengths):
    """However a clip is cut while it is played, it is the same sound: blocks change nothing."""
    clip = Packed(codes)
    pieces, at = [], 0
    for length in lengths:
        pieces.append(clip[at : at + 2 * length])
        at += 2 * length
    pieces.append(clip[at:])
    assert b"".join(pieces) == clip[:]
    assert len(clip[:]) == len(clip) == len(codes) * PLAYED_BYTES


@given(st.integers(0, 40), st.binary(max_size=60))
def test_the_first_sound_is_where_it_says(silent, codes):
    """`lead` counts the zeros that are played before the first sample that is not."""
    clip = Packed(bytes(silent) + codes)
    samples = array("h", clip[:])
    assert clip.lead == next((i for i, sample in enumerate(samples) if sample), len(samples))


def test_half_a_sample_cannot_be_asked_for():
    with pytest.raises(ValueError, match="whole samples"):
        Packed(b"\1\2\3")[1:5]
