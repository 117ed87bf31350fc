from __future__ import annotations

from array import array

import numpy as np
import pytest

from retrowalk.voice import resample

ESPEAK_HZ = 22_050


def _tone(frequency_hz: float, seconds: float, level: float = 0.5, rate_hz: int = ESPEAK_HZ) -> array[int]:
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return array("h", (level * 32767 * np.sin(2 * np.pi * frequency_hz * t)).round().astype(int).tolist())


@pytest.mark.parametrize("frequency_hz", [200, 1000, 3000, 7000])
def test_a_tone_stays_that_tone(frequency_hz):
    """What comes out at 48 kHz is the same tone: everything else lies 60 dB below it."""
    out = np.array(resample.resample(_tone(frequency_hz, 0.3), ESPEAK_HZ), dtype=float) / 32767
    t = np.arange(len(out)) / 48_000
    middle = slice(2000, -2000)
    wanted = 0.5 * np.sin(2 * np.pi * frequency_hz * t)
    error = (out - wanted)[middle]
    assert 10 * np.log10((wanted[middle] ** 2).mean() / (error**2).mean()) > 60


def test_length_follows_the_rates():
    assert len(resample.resample(_tone(500, 1.0), ESPEAK_HZ)) == 48_000


def test_48_khz_is_left_alone():
    clip = _tone(500, 0.1, rate_hz=48_000)
    assert resample.resample(clip, 48_000) is clip


@pytest.mark.parametrize("rate_hz", [0, -1, 96_000])
def test_other_rates_are_refused(rate_hz):
    with pytest.raises(ValueError, match=str(rate_hz)):
        resample.resample(_tone(500, 0.1), rate_hz)


def test_full_scale_does_not_wrap_around():
    """A square wave overshoots between its samples; it is held at full scale instead of changing its sign."""
    square = array("h", ([32767] * 20 + [-32768] * 20) * 20)
    out = np.array(resample.resample(square, ESPEAK_HZ))
    assert out.max() == 32767
    assert np.abs(np.diff(out)).max() < 62_000


def test_silence_before_and_after_is_cut():
    """5 ms remain before what can be heard and 30 ms after, fading, so that no soft first or last sound is lost."""
    silence = array("h", bytes(2 * ESPEAK_HZ // 2 * 2))
    cut = resample.trim(silence + _tone(400, 0.3) + silence, ESPEAK_HZ)
    assert len(cut) / ESPEAK_HZ == pytest.approx(0.335, abs=0.002)
    assert cut[0] == cut[-1] == 0


@pytest.mark.parametrize("samples", [array("h"), array("h", bytes(2000))], ids=["nothing", "silence"])
def test_silence_alone_gives_nothing(samples):
    assert len(resample.trim(samples, ESPEAK_HZ)) == 0
    assert resample.rms(samples) == 0
    assert resample.loudness(samples, ESPEAK_HZ) == 0


@pytest.mark.parametrize("level", [0.02, 0.1, 0.5, 0.9])
def test_every_clip_comes_to_one_loudness(level):
    """However loud espeak was, what is kept has the same loudness, times the volume."""
    clip = resample.level(_tone(300, 0.5, level), ESPEAK_HZ, 0.5)
    assert resample.loudness(clip, ESPEAK_HZ) == pytest.approx(resample.LOUDNESS * 0.5, rel=0.02)


def test_pauses_do_not_make_a_phrase_quieter():
    """Loudness counts where there is voice: a phrase with a pause is as loud as one without."""
    pause = array("h", bytes(2 * ESPEAK_HZ // 2 * 2))
    word = _tone(300, 0.4)
    with_pause = resample.loudness(word + pause + word, ESPEAK_HZ)
    assert with_pause == pytest.approx(resample.loudness(word, ESPEAK_HZ), rel=0.03)


def test_high_peaks_are_rounded_and_not_clipped():
    """A click in a soft word ends below full scale."""
    clip = _tone(300, 0.5, 0.05)
    clip[5000] = 32767
    assert max(resample.level(clip, ESPEAK_HZ, 1.0)) <= 32767
