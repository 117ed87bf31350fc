"""How fast the wearer walks: what bouncing says of it, and what nearing things teach."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.core import recorded
from tests.core.recorded import AtSpeed
from tests.core.synth import G

from retrowalk.core.gait import Gait
from retrowalk.core.own_speed import FACTOR, REMEMBERED, OwnSpeed
from retrowalk.core.posture import Posture

HZ = 104.0


class Wearer:
    """Bounces at step rate as told, and sees things near."""

    def __init__(self, calibrated: float = 1.0) -> None:
        self.speed = OwnSpeed(calibrated)
        self.now = 0.0

    def walks(self, seconds: float, rms_m_s2: float, nears_m_s: float | None = None) -> Wearer:
        """Walks on; something nears so fast all the while."""
        for i in range(round(seconds * HZ)):
            self.now += 1.0 / HZ
            bounce = math.sqrt(2.0) * rms_m_s2 * math.sin(2.0 * math.pi * 1.8 * self.now)
            self.speed.update(self.now, bounce, walking=True)
            if nears_m_s is not None and i % 7 == 0:
                self.speed.learn(self.now, nears_m_s)
        return self

    def stands(self, seconds: float) -> Wearer:
        """Stands."""
        for _ in range(round(seconds * HZ)):
            self.now += 1.0 / HZ
            self.speed.update(self.now, 0.0, walking=False)
        return self

    @property
    def m_s(self) -> float:
        """Speed now."""
        speed = self.speed.speed_m_s(self.now)
        assert speed is not None
        return speed


# ------------------------------------------------------------------------------------------------ by the bounce


@pytest.mark.parametrize(
    ("rms_m_s2", "speed_m_s"),
    [
        pytest.param(0.30, 0.30, id="shuffling"),
        pytest.param(0.50, 0.48, id="slow"),
        pytest.param(0.75, 0.69, id="usual"),
        pytest.param(1.20, 1.00, id="brisk"),
        pytest.param(1.80, 1.25, id="fast"),
        pytest.param(6.00, 1.50, id="hopping"),
    ],
)
def test_who_bounces_more_walks_faster(rms_m_s2, speed_m_s):
    """Near the bounce in numbers when slow, less than that when fast, and never beyond 1.5 m/s."""
    assert Wearer().walks(6.0, rms_m_s2).m_s == pytest.approx(speed_m_s, abs=0.03)


def test_it_follows_within_a_second_and_a_half():
    """Who goes from 0.5 to 0.9 m/s is known to be faster than 0.8 before three steps are over."""
    wearer = Wearer().walks(6.0, 0.53)
    assert wearer.walks(1.5, 1.04).m_s > 0.8


def test_nothing_is_known_of_who_stands():
    """Before the first step, and after the last, there is no speed."""
    wearer = Wearer()
    assert wearer.speed.speed_m_s(0.0) is None
    wearer.stands(3.0)
    assert wearer.speed.speed_m_s(wearer.now) is None
    wearer.walks(3.0, 0.7).stands(0.1)
    assert wearer.speed.speed_m_s(wearer.now) is None


def test_nothing_is_known_of_a_clip_that_is_silent():
    """Half a second after the last sample the speed is not known any more."""
    wearer = Wearer().walks(5.0, 0.7)
    assert wearer.speed.speed_m_s(wearer.now + 0.4) is not None
    assert wearer.speed.speed_m_s(wearer.now + 0.6) is None


# -------------------------------------------------------------------------------------------- by what nears


@pytest.mark.parametrize("share", [pytest.param(0.8, id="bouncy"), pytest.param(1.25, id="smooth")])
def test_a_wall_teaches_the_wearers_own_factor(share):
    """After walls have been neared for half a minute, the speed is the wearer's own, within 5 %."""
    wearer = Wearer()
    for _ in range(8):
        wearer.walks(4.0, 0.6, 0.57 * share).walks(2.0, 0.6)
    assert wearer.speed.factor == pytest.approx(share, rel=0.05)
    assert wearer.m_s == pytest.approx(0.57 * share, rel=0.06)


def test_what_is_learned_makes_it_surer():
    """The error told falls by half while the wearer's factor is learned, and never below what is left."""
    wearer = Wearer()
    before = wearer.speed.error
    for _ in range(8):
        wearer.walks(4.0, 0.6, 0.55)
    assert wearer.speed.error <= 0.55 * before
    assert wearer.speed.error >= 0.04


@pytest.mark.parametrize(
    ("nears_m_s", "seconds"),
    [
        pytest.param(0.05, 30.0, id="a carer who walks along"),
        pytest.param(1.7, 6.0, id="a bicycle"),
        pytest.param(1.1, 8.0, id="somebody who comes at half a metre a second"),
        pytest.param(-0.6, 30.0, id="a wall that is left"),
    ],
)
def test_what_moves_teaches_nothing(nears_m_s, seconds):
    """What walks along, comes by itself, or is left leaves the factor as it was."""
    wearer = Wearer().walks(5.0, 0.6).walks(seconds, 0.6, nears_m_s)
    assert wearer.speed.factor == 1.0


def test_what_is_seen_briefly_teaches_nothing():
    """Less than a second and a half is no lesson, however often it comes."""
    wearer = Wearer()
    for _ in range(10):
        wearer.walks(1.3, 0.6, 0.75).walks(1.0, 0.6)
    assert wearer.speed.factor == 1.0


def test_one_stranger_moves_it_little():
    """Somebody who comes along slowly, between two walls, changes the factor by less than 3 %."""
    wearer = Wearer()
    for _ in range(3):
        wearer.walks(4.0, 0.6, 0.57).walks(1.0, 0.6)
    wearer.walks(4.0, 0.6, 0.8)
    for _ in range(3):
        wearer.walks(4.0, 0.6, 0.57).walks(1.0, 0.6)
    assert wearer.speed.factor == pytest.approx(1.0, abs=0.03)


def test_speeding_up_is_no_lesson():
    """While the wearer's own speed changes, closing speed and bounce are not of one moment."""
    wearer = Wearer()
    for rms in (0.3, 0.9) * 10:
        wearer.walks(1.1, rms, 0.6)
    assert wearer.speed.factor == pytest.approx(1.0, abs=0.1)


def test_the_factor_has_limits():
    """Whatever is seen, a bounce never means less than 0.6 or more than 1.6 times what it means for everybody."""
    for ratio in (0.62, 1.48):
        wearer = Wearer()
        for _ in range(30):
            wearer.walks(3.0, 0.6, 0.57 * ratio)
        assert FACTOR[0] <= wearer.speed.factor <= FACTOR[1]


def test_what_was_learned_before_counts_again():
    """At most like eight lessons: surer than a stranger, and another wearer is learned within a dozen walls."""
    wearer = Wearer()
    stranger = wearer.speed.error
    wearer.speed.remember(1.25, 15)
    assert wearer.speed.lessons == REMEMBERED
    assert wearer.speed.error < 0.5 * stranger
    assert wearer.walks(6.0, 0.6).m_s == pytest.approx(1.25 * 0.57, rel=0.02)
    for _ in range(12):
        wearer.walks(4.0, 0.6, 0.57 * 0.85).walks(1.0, 0.6)
    assert wearer.speed.factor == pytest.approx(0.85, rel=0.05)


@pytest.mark.parametrize("factor", [0.0, 0.59, 1.61, math.nan, math.inf])
def test_what_cannot_have_been_learned_is_forgotten(factor):
    """A factor beyond its limits leaves the wearer as everybody."""
    wearer = Wearer()
    wearer.speed.remember(factor, 15)
    assert (wearer.speed.factor, wearer.speed.lessons) == (1.0, 0)


def test_a_measured_way_gives_the_factor_to_begin_with():
    """Surer than for a stranger, and doubts are as the way has said, until things that stand still say otherwise."""
    wearer = Wearer(0.8).walks(6.0, 0.6)
    assert wearer.m_s == pytest.approx(0.8 * 0.57, rel=0.02)
    assert wearer.speed.error < Wearer().speed.error
    wearer.walks(4.0, 0.6, 0.57 * 0.95)
    assert wearer.speed.factor == pytest.approx(0.8)


def test_a_wall_that_nears_faster_counts_at_once():
    """The larger of bounce and closing speed is taken, while the thing may stand still, and not long after."""
    wearer = Wearer().walks(3.0, 0.6).walks(2.0, 0.6, 0.68)
    assert wearer.m_s == pytest.approx(0.68, abs=0.01)
    wearer.walks(2.0, 0.6)
    assert wearer.m_s < 0.62


def test_who_leaves_a_wall_walks_forward():
    """After a second of leaving something, forward; until something nears, or the wearer stands."""
    wearer = Wearer().walks(2.0, 0.8)
    assert not wearer.speed.forward(wearer.now)
    wearer.walks(1.5, 0.8, -0.7).walks(10.0, 0.8)
    assert wearer.speed.forward(wearer.now)
    wearer.walks(0.3, 0.8, 0.7)
    assert not wearer.speed.forward(wearer.now)
    wearer.walks(1.5, 0.8, -0.7).stands(0.2)
    assert not wearer.speed.forward(wearer.now)


# ---------------------------------------------------------------------------------------------- recorded people


def errors(walks: Sequence[AtSpeed]) -> np.ndarray:
    """Mean estimate less the true speed of each walk, while walking is known."""
    found = []
    for walk in walks:
        gait, posture, speed, told = Gait(), Posture(), OwnSpeed(), []
        for sample in walk.motion.samples():
            t, a = sample.t_measured_s, sample.accel_m_s2
            posture.update(t, a, sample.gyro_rad_s)
            up = posture.up
            if up is None:
                continue
            gait.update(t, a[0] * up[0] + a[1] * up[1] + a[2] * up[2] - G)
            speed.update(t, gait.bounce_m_s2, gait.walking(t))
            if walk.from_s <= t <= walk.to_s:
                told.append(speed.speed_m_s(t))
        known = [m_s for m_s in told if m_s is not None]
        assert len(known) > 0.5 * len(told), walk.name
        found.append(float(np.mean(known)) - walk.speed_m_s)
    return np.array(found)


@pytest.mark.slow
def test_the_speed_of_recorded_people(recorded_data: Path):
    """Ten people walking forward at 0.9 to 1.6 m/s: off by 0.12 m/s (root mean square) at most, hardly biased."""
    names = {f"P{person:02d}_T01" for person in range(1, 20, 2)}
    error = errors(recorded.gait_speeds(recorded_data, names))
    assert len(error) >= 16
    assert math.sqrt(float((error**2).mean())) < 0.12
    assert abs(error.mean()) < 0.06


def test_the_speed_of_people_who_really_walk_backward(recorded_data: Path):
    """Seven acted styles at 0.45 to 1.0 m/s: the one who hops seems fast; of the others none is off by 0.3 m/s."""
    walks = recorded.mocap_speeds(recorded_data, "backward")
    error = errors(walks)
    assert len(error) == 7
    plain = error[[i for i, walk in enumerate(walks) if "happy" not in walk.name]]
    assert math.sqrt(float((plain**2).mean())) < 0.15
    assert abs(plain).max() < 0.3
