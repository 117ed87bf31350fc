from __future__ import annotations

import numpy as np
import pytest

from retrowalk.core import alerts
from retrowalk.voice.earcons import LEVELS, TONES, synthesise
from retrowalk.voice.mixer import RATE_HZ


def _samples(name: str, volume: float = 1.0) -> np.ndarray:
    return np.frombuffer(synthesise(volume)[name], "<i2").astype(float) / 32768


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt((samples**2).mean()))


def _loudest_10_ms(name: str) -> float:
    samples = _samples(name)
    blocks = samples[: len(samples) // 480 * 480].reshape(-1, 480)
    return max(_rms(block) for block in blocks)


def _main_frequency_hz(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples, RATE_HZ)).argmax())


every_earcon = pytest.mark.parametrize("name", alerts.EARCONS)


def test_there_is_one_sound_for_every_earcon_of_the_table():
    assert set(synthesise(0.9)) == set(alerts.EARCONS) == set(TONES) == set(LEVELS)


@every_earcon
def test_energy_lies_where_older_ears_hear(name):
    """At least nine tenths of the energy lie between 500 and 2000 Hz."""
    power = np.abs(np.fft.rfft(_samples(name), RATE_HZ)) ** 2
    assert power[500:2050].sum() > 0.9 * power.sum()


@every_earcon
def test_nothing_clicks(name):
    """It begins and ends at zero and swells over 3 to 5 ms: the first and last millisecond stay below a third."""
    samples = np.abs(_samples(name))
    assert samples[0] == samples[-1] == 0
    peak = samples.max()
    assert samples[:48].max() < 0.33 * peak
    assert samples[-48:].max() < 0.33 * peak


@every_earcon
def test_no_tone_starts_in_mid_air(name):
    """Also inside an earcon no sample jumps further than its tones can: there is a ramp around every tone."""
    samples = _samples(name)
    highest_hz = max(tone.frequency_hz * len(tone.harmonics) for tone in TONES[name])
    assert np.abs(np.diff(samples)).max() <= 2 * np.pi * highest_hz / RATE_HZ * np.abs(samples).max()


def test_the_warning_is_two_pulses():
    """60 ms, 30 ms of silence, 60 ms: 150 ms in all, so the word Stop begins 175 ms after the decision is heard."""
    samples = _samples("warning")
    assert len(samples) == 0.150 * RATE_HZ
    sounding = np.abs(samples).reshape(-1, 480).max(axis=1) > 0.05
    assert sounding.tolist() == [True] * 6 + [False] * 3 + [True] * 6


def test_the_caution_is_one_lower_pulse():
    assert len(_samples("caution")) == 0.130 * RATE_HZ
    assert _main_frequency_hz(_samples("caution")) < _main_frequency_hz(_samples("warning"))


def test_the_warning_is_the_loudest():
    """Nothing is louder than the sound that means stop, by its peak and by its loudest 10 ms."""
    warning = _loudest_10_ms("warning")
    for name in alerts.EARCONS:
        if name != "warning":
            assert _loudest_10_ms(name) < warning, name
            assert np.abs(_samples(name)).max() < np.abs(_samples("warning")).max(), name


def test_touching_sounds_without_a_break():
    """0.6 s of an even tone, which the table repeats each 0.6 s."""
    samples = _samples("touching")
    assert len(samples) == 0.6 * RATE_HZ
    assert np.abs(samples).reshape(-1, 480).max(axis=1).min() > 0.5


def test_a_fault_falls_and_a_countdown_rises():
    """Direction tells them apart without words."""
    for name, sign in (("fault", -1), ("countdown", 1)):
        frequencies = [tone.frequency_hz for tone in TONES[name] if tone.frequency_hz]
        assert len(frequencies) == 3
        assert np.all(sign * np.diff(frequencies) > 0), name


def test_every_earcon_has_a_pattern_of_its_own():
    assert len(set(TONES.values())) == len(TONES)


def test_the_tick_is_short_and_quiet_but_never_mute():
    """The proof of life is heard even at the lowest volume, and never disturbs at the highest."""
    assert len(_samples("tick")) <= 0.060 * RATE_HZ
    assert np.abs(_samples("tick", 1.0)).max() < 0.2
    assert np.abs(_samples("tick", 0.2)).max() > 0.01


def test_volume_scales_everything():
    for name in alerts.EARCONS:
        assert _rms(_samples(name, 0.5)) == pytest.approx(0.5 * _rms(_samples(name, 1.0)), rel=0.02)
