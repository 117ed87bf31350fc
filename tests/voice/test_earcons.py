from __future__ import annotations

import itertools

import numpy as np
import pytest

from retrowalk.config import Config
from retrowalk.core import alerts
from retrowalk.voice.bank import Bank
from retrowalk.voice.earcons import LEVELS, TONES, synthesise
from retrowalk.voice.mixer import FADE_FRAMES, GAP_FRAMES, RATE_HZ, pan_gains


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


def _a_weighted(samples: np.ndarray) -> np.ndarray:
    """As an ear weighs it (IEC 61672, A), followed by silence."""
    padded = np.pad(samples, (0, RATE_HZ // 8))
    f2 = np.fft.rfftfreq(len(padded), 1 / RATE_HZ) ** 2
    gain = 12194**2 * f2**2 / ((f2 + 20.6**2) * np.sqrt((f2 + 107.7**2) * (f2 + 737.9**2)) * (f2 + 12194**2))
    weighted: np.ndarray = np.fft.irfft(np.fft.rfft(padded) * gain * 10**0.1, len(padded))
    return weighted


def _loudness_db(samples: np.ndarray) -> float:
    """A-weighted level of the loudest eighth of a second, dB to full scale."""
    window = RATE_HZ // 8
    power = np.cumsum(np.concatenate([np.zeros(window + 1), _a_weighted(samples) ** 2]))
    return float(10 * np.log10((power[window:] - power[:-window]).max() / window))


def _bands(samples: np.ndarray) -> np.ndarray:
    """What tells sounds apart: the energy in nine bands of 60 ms after 60 ms, as shares of all of it."""
    edges = [0, 550, 620, 690, 780, 880, 1100, 1350, 1700, 24_000]
    found = []
    for at in range(0, RATE_HZ * 9 // 25, RATE_HZ * 3 // 50):
        piece = np.pad(samples[at : at + RATE_HZ * 3 // 50], (0, max(0, RATE_HZ * 3 // 50 - len(samples[at:]))))
        piece = piece[: RATE_HZ * 3 // 50]
        power = np.abs(np.fft.rfft(piece, RATE_HZ)) ** 2
        found.append([power[low:high].sum() for low, high in itertools.pairwise(edges)])
    bands = np.array(found)
    shares: np.ndarray = bands / np.sqrt((bands**2).sum())
    return shares


every_earcon = pytest.mark.parametrize("name", alerts.EARCONS)


def test_there_is_one_sound_for_every_earcon_of_the_table():
    assert set(synthesise(0.9)) == set(alerts.EARCONS) == set(TONES) == set(LEVELS)


@every_earcon
def test_energy_lies_where_older_ears_hear(name):
    """At least nine tenths of the energy lie between 500 and 2000 Hz."""
    power = np.abs(np.fft.rfft(_samples(name), RATE_HZ)) ** 2
    assert power[500:2001].sum() >= 0.9 * power.sum()


def test_the_warning_has_the_harmonics_of_an_alarm():
    """Four peaks or more between 300 and 4000 Hz within 15 dB of the strongest; the lowest lies at 150 to 1000 Hz."""
    pulse = _samples("warning")[: RATE_HZ * 80 // 1000]
    power = np.abs(np.fft.rfft(pulse * np.hanning(len(pulse)), RATE_HZ))
    level_db = 20 * np.log10(power / power.max())
    peaks = [hz for hz in range(150, 4000) if power[hz] == power[hz - 60 : hz + 61].max() and level_db[hz] > -15.0]
    assert len([hz for hz in peaks if hz >= 300]) >= 4
    assert peaks[0] == pytest.approx(800, abs=10)


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
    """80 ms, 30 ms of silence, 80 ms; so the word Stop begins 215 ms after the first pulse."""
    samples = _samples("warning")
    sounding = np.abs(samples).reshape(-1, 480).max(axis=1) > 0.05
    assert sounding.tolist() == [True] * 8 + [False] * 3 + [True] * 8
    assert len(samples) + GAP_FRAMES <= 0.215 * RATE_HZ


def test_the_caution_is_one_lower_pulse():
    """130 ms without a break, at least a fourth below the warning."""
    samples = _samples("caution")
    assert len(samples) == 0.130 * RATE_HZ
    assert np.abs(samples[FADE_FRAMES:-FADE_FRAMES]).reshape(-1, 96).max(axis=1).min() > 0.1
    assert _main_frequency_hz(samples) <= 0.75 * _main_frequency_hz(_samples("warning"))


@pytest.mark.slow
def test_the_warning_is_the_loudest_sound():
    """An ear weighs every other earcon at least 1 dB below the sound that means stop; and its peak is lower, too."""
    warning_db = _loudness_db(_samples("warning"))
    for name in alerts.EARCONS:
        if name != "warning":
            assert _loudness_db(_samples(name)) <= warning_db - 1.0, name
            assert np.abs(_samples(name)).max() < np.abs(_samples("warning")).max(), name


@pytest.mark.process
def test_the_warning_is_louder_than_every_word(rendered_bank: Bank):
    """Also than the loudest eighth of a second of any phrase, at the same volume."""
    config = Config()
    warning_db = _loudness_db(_samples("warning", config.voice.volume))
    for phrase, value in alerts.clips(config):
        pcm = rendered_bank.clip(phrase, value)
        assert pcm is not None
        assert _loudness_db(np.frombuffer(pcm, "<i2").astype(float) / 32768) < warning_db, (phrase, value)


@every_earcon
@pytest.mark.parametrize("volume", [0.2, 0.9, 1.0])
def test_nothing_clips_from_any_side(name, volume):
    """At every volume, and panned to any side as far as the headroom goes, no sample reaches the end of its range."""
    peak = np.abs(_samples(name, volume)).max()
    for pan in np.linspace(-1.0, 1.0, 9):
        gains = pan_gains(float(pan), 1.0 / volume)
        loudest = max(gains) / 32768 if gains else 1.0
        assert peak * loudest < 1.0


def test_touching_holds_its_level():
    """Between its ramps an even tone of whole periods, longer than the time after which it is asked for again."""
    samples = _samples("touching")
    steady = samples[FADE_FRAMES:-FADE_FRAMES]
    assert len(steady) / RATE_HZ > alerts.ALERT_BY_KEY["touching"].repeat_s + 0.15
    assert np.abs(steady).reshape(-1, 96).max(axis=1) == pytest.approx(np.abs(samples).max(), rel=0.01)
    assert np.allclose(np.roll(steady, 48), steady, atol=2 / 32768)


@pytest.mark.parametrize("name", ["fault", *alerts.COUNTDOWNS])
def test_a_fault_falls_and_a_countdown_rises(name):
    """Direction tells them apart without words."""
    frequencies = [tone.frequency_hz for tone in TONES[name] if tone.frequency_hz]
    assert len(frequencies) == 3
    assert np.all((-1 if name == "fault" else 1) * np.diff(frequencies) > 0)


def test_a_countdown_becomes_more_urgent():
    """From the first earcon to the last each is higher and louder than the one before."""
    sounds = [_samples(name) for name in alerts.COUNTDOWNS]
    assert np.all(np.diff([_main_frequency_hz(sound) for sound in sounds]) > 0)
    assert np.all(np.diff([_loudness_db(sound) for sound in sounds]) > 0.5)


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(alerts.EARCONS, 2)))
def test_no_two_earcons_sound_alike(one, other):
    """Pitch and rhythm differ: of the energy, band by band and 60 ms by 60 ms, less than nine tenths agree."""
    assert float((_bands(_samples(one)) * _bands(_samples(other))).sum()) < 0.9


def test_every_earcon_has_a_pattern_of_its_own():
    assert len(set(TONES.values())) == len(TONES)


def test_the_tick_is_short_and_quiet_but_never_mute():
    """The proof of life is heard even at the lowest volume, and never disturbs at the highest."""
    assert len(_samples("tick")) <= 0.060 * RATE_HZ
    assert np.abs(_samples("tick", 1.0)).max() < 0.2
    assert np.abs(_samples("tick", 0.2)).max() > 0.01


@pytest.mark.slow
def test_volume_scales_everything():
    for name in alerts.EARCONS:
        assert _rms(_samples(name, 0.5)) == pytest.approx(0.5 * _rms(_samples(name, 1.0)), rel=0.02)
