"""Turns, and looks back that are none: on made yaw, and on the turns of recorded people."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.core.recorded import gait_walks

from retrowalk.core.posture import Posture
from retrowalk.core.turning import Turning

RATE_HZ = 104.0


def feed(turning: Turning, yaw_deg: np.ndarray, bias_deg_s: float = 0.0) -> list[tuple[float, float, bool]]:
    """Feeds the rates of this yaw, a sample each; returns time, yaw held and whether it turns."""
    rates = np.gradient(yaw_deg) * RATE_HZ + bias_deg_s
    seen = []
    for i, rate in enumerate(np.radians(rates).tolist()):
        turning.update(i / RATE_HZ, rate)
        seen.append((i / RATE_HZ, turning.yaw_held_deg, turning.turning))
    return seen


def yaw(seconds: float, *moves: tuple[float, float, float], swing_deg: float = 0.0, step_hz: float = 1.8) -> np.ndarray:
    """Yaw over time: `moves` of (begin, end, degrees), smooth, and the swing of the hips."""
    t = np.arange(0.0, seconds, 1.0 / RATE_HZ)
    total = swing_deg * np.sin(math.pi * step_hz * t)
    for begin, end, degrees in moves:
        share = np.clip((t - begin) / (end - begin), 0.0, 1.0)
        total = total + degrees * (0.5 - 0.5 * np.cos(math.pi * share))
    return np.asarray(total)


@pytest.mark.parametrize("degrees", [60.0, -90.0, 180.0, -180.0])
def test_a_turn_is_told_when_it_is_over(degrees):
    """How far, which way (left positive), and from when to when"""
    turning = Turning()
    seen = feed(turning, yaw(20.0, (8.0, 10.0, degrees), swing_deg=6.0))
    assert turning.turned_deg == pytest.approx(degrees, abs=8.0)
    assert turning.turn_began_s == pytest.approx(8.0, abs=0.5)
    assert turning.turn_ended_s == pytest.approx(10.0, abs=0.5)
    assert any(now for t, _, now in seen if 8.5 < t < 10.0)
    assert not any(now for t, _, now in seen if t < 7.9 or t > 12.0)


@pytest.mark.parametrize(
    ("moves", "swing_deg"),
    [
        pytest.param([], 15.0, id="hips that swing far"),
        pytest.param([(5.0, 6.0, 30.0), (9.0, 10.0, -30.0)], 5.0, id="a look back and forth again"),
        pytest.param([(2.0, 38.0, 300.0)], 5.0, id="a wide bend"),
    ],
)
def test_what_is_no_turn(moves, swing_deg):
    """Swinging hips, looking round and a bend of the path end without a turn"""
    turning = Turning()
    feed(turning, yaw(40.0, *moves, swing_deg=swing_deg))
    assert turning.turned_deg == 0.0
    assert turning.turn_ended_s == -math.inf


def test_a_look_back_is_held_while_it_lasts():
    """The trunk turned by 35 degrees for four seconds is more than 20 away from its heading for over two of them"""
    seen = feed(Turning(), yaw(25.0, (10.0, 10.8, 35.0), (14.8, 15.6, -35.0), swing_deg=5.0))
    held = [t for t, degrees, _ in seen if degrees > 20.0]
    assert held[-1] - held[0] > 2.0
    assert held[0] == pytest.approx(11.2, abs=0.6)
    assert all(abs(degrees) < 15.0 for t, degrees, _ in seen if t < 10.0 or t > 17.0)


def test_after_a_turn_nobody_looks_back():
    """A half turn is a new heading: during it and after it nothing is held"""
    seen = feed(Turning(), yaw(25.0, (10.0, 12.0, 180.0), swing_deg=5.0))
    assert all(abs(degrees) < 15.0 for _, degrees, _ in seen)


def test_a_gyroscope_s_bias_is_no_look():
    """A bias of two degrees a second for two minutes: held yaw comes back to nothing"""
    seen = feed(Turning(), np.zeros(round(120.0 * RATE_HZ)), bias_deg_s=2.0)
    assert abs(seen[-1][1]) < 6.0
    assert not any(now for _, _, now in seen)


def test_a_gap_begins_anew():
    """What the trunk did while samples were missing is not known: nothing is held, no turn goes on"""
    turning = Turning()
    before = feed(turning, yaw(6.0, (4.0, 6.0, 90.0)))
    assert before[-1][2]
    turning.update(8.0, 0.0)
    assert not turning.turning
    assert turning.yaw_held_deg == pytest.approx(0.0, abs=0.01)
    assert turning.turned_deg == 0.0


@pytest.mark.slow
def test_turns_of_recorded_people(recorded_data):
    """Each of 60 half turns of ten people is told, as half a turn"""
    found = []
    for walk in gait_walks(recorded_data):
        posture, turning = Posture(), Turning()
        turns: dict[float, float] = {}
        for sample in walk.motion.samples():
            posture.update(sample.t_measured_s, sample.accel_m_s2, sample.gyro_rad_s, sample.gap)
            if posture.up is not None:
                rate = sum(w * u for w, u in zip(sample.gyro_rad_s, posture.up, strict=True))
                turning.update(sample.t_measured_s, rate)
                turns[turning.turn_ended_s] = turning.turned_deg
        middle = walk.contacts_s[len(walk.contacts_s) // 2]
        found += [abs(d) for at, d in turns.items() if abs(at - middle) < 6.0 and abs(d) > 120.0]
    assert len(found) == 60
    assert np.median(found) == pytest.approx(180.0, abs=10.0)
