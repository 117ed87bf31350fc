"""The core on streams of other rates than the usual: what it says is about seconds, not about samples."""

from __future__ import annotations

import math

import pytest
from tests.core.synth import G, walking
from tests.core.test_gait import follow

from retrowalk.core.gait import Gait
from retrowalk.core.pace import NOMINAL_DT_S, Pace
from retrowalk.core.posture import Posture


@pytest.mark.parametrize("rate_hz", [75.0, 95.0, 100.0, 104.0, 112.0, 140.0])
def test_the_period_is_learnt_within_a_second(rate_hz):
    """From the times of the samples, to 2 %, and told once when it changes."""
    pace = Pace()
    changes = sum(pace.update(i / rate_hz) for i in range(300))
    assert pace.period_s == pytest.approx(1.0 / rate_hz, rel=0.02)
    assert changes == (rate_hz != 104.0)


def test_gaps_are_no_slower_pace():
    """Every fortieth interval is a gap: the samples between tell nothing else than before."""
    pace = Pace()
    t_s = 0.0
    for i in range(2000):
        t_s += 0.3 if i % 40 == 0 else NOMINAL_DT_S
        assert not pace.update(t_s)


@pytest.mark.parametrize("rate_hz", [75.0, 100.0, 107.0, 130.0])
def test_posture_has_one_time_constant(rate_hz):
    """Gravity that turns by 10 degrees is followed as fast at any rate: within 0.1 degrees of 104 Hz."""

    def pitch_deg(hz: float) -> float:
        posture = Posture()
        for i in range(round(13.0 * hz)):
            lean = math.radians(10.0 if i / hz >= 10.0 else 0.0)
            posture.update(i / hz, (-G * math.sin(lean), 0.0, G * math.cos(lean)), (0.0, 0.0, 0.0))
        assert posture.trunk_pitch_deg is not None
        return posture.trunk_pitch_deg

    assert 3.0 < pitch_deg(104.0) < 9.9
    assert pitch_deg(rate_hz) == pytest.approx(pitch_deg(104.0), abs=0.1)


@pytest.mark.parametrize("change", [0.8, 1.25])
def test_another_rate_on_the_way_does_not_shake_the_posture(change):
    """When the rate changes, the trunk that stands still goes on standing still: within 0.2 degrees."""
    posture = Posture()
    t_s = 0.0
    for i in range(3000):
        t_s += NOMINAL_DT_S * (change if i > 1500 else 1.0)
        posture.update(t_s, (0.5, 0.0, 9.79), (0.0, 0.0, 0.0))
        if i > 1000:
            assert posture.trunk_pitch_deg == pytest.approx(-math.degrees(math.atan2(0.5, 9.79)), abs=0.2)


@pytest.mark.parametrize("hz", [80.0, 100.0, 125.0])
@pytest.mark.parametrize("step_hz", [0.9, 1.7, 2.4])
def test_steps_are_counted_at_any_rate(hz, step_hz):
    """A bout of 60 steps is counted to within one."""
    seconds = 60.0 / step_hz
    gait = Gait()
    follow(gait, walking(seconds + 9.0, step_hz=step_hz, bouts=[(5.0, 5.0 + seconds)], seed=2, hz=hz))
    assert abs(gait.steps - 60) <= 1
