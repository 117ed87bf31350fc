"""Which way somebody walks: on walkers made of the mechanics alone, and on recorded people."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.core.recorded import AtSpeed, gait_speeds, mocap_speeds
from tests.core.synth import G, rotation

from retrowalk.core import direction as module
from retrowalk.core.direction import Direction, Way, levelled
from retrowalk.core.gait import Gait
from retrowalk.core.posture import Posture, Vector

Sample = tuple[float, Vector, Vector]
UP: Vector = (0.0, 0.0, 1.0)


def vaulting(
    seconds: float,
    *,
    way: float = 1.0,
    step_hz: float = 1.7,
    hz: float = 104.0,
    along_m_s2: float = 1.2,
    bounce_m_s2: float = 1.5,
    sway_m_s2: float = 0.8,
    yaw_rate_rad_s: float = 0.0,
    start_s: float = 0.0,
) -> Iterator[Sample]:
    """Somebody who vaults over one foot after the other: `way` 1 forward, -1 backward, 0 on the spot.

    At phase 0 they stand over a foot: slowest, highest, farthest to its side.
    """
    for i in range(round(seconds * hz)):
        t = start_s + i / hz
        phase = 2.0 * math.pi * step_hz * t
        accel = (
            way * along_m_s2 * math.sin(phase),
            sway_m_s2 * math.cos(phase / 2.0),
            G - bounce_m_s2 * math.cos(phase),
        )
        yield t, accel, (0.0, 0.0, yaw_rate_rad_s)


def turned(samples: Iterator[Sample], clip: np.ndarray) -> tuple[Iterator[Sample], Vector]:
    """The same felt by a clip that sits so, and up in its axes."""

    def as_felt(v: Vector) -> Vector:
        x, y, z = (clip.T @ np.array(v)).tolist()
        return (x, y, z)

    return ((t, as_felt(a), as_felt(w)) for t, a, w in samples), as_felt(UP)


def standing(seconds: float, start_s: float) -> Iterator[Sample]:
    """Nothing moves."""
    return ((start_s + i / 104.0, (0.0, 0.0, G), (0.0, 0.0, 0.0)) for i in range(round(seconds * 104.0)))


class Walker:
    """A direction with its gait; remembers what was said after every sample."""

    def __init__(self, gait: Gait | None = None) -> None:
        self.gait = gait or Gait()
        self.direction = Direction()
        self.said: list[tuple[float, Way]] = []

    def walk(self, samples: Iterator[Sample], up: Vector = UP) -> Walker:
        """Feeds samples."""
        for t, accel, gyro in samples:
            self.gait.update(t, sum(a * u for a, u in zip(accel, up, strict=True)) - G, gyro[0])
            self.direction.update(t, accel, gyro, up, self.gait)
            self.said.append((t, self.direction.state(t)))
        return self

    def last(self) -> Way:
        """What was said last."""
        return self.said[-1][1]

    def ways(self, from_s: float = 0.0) -> set[Way]:
        """All that was said from then on."""
        return {way for t, way in self.said if t >= from_s}


BOTH = [pytest.param(1.0, Way.FORWARD, id="forward"), pytest.param(-1.0, Way.BACKWARD, id="backward")]


@pytest.mark.parametrize(("way", "expected"), BOTH)
@pytest.mark.parametrize("step_hz", [0.9, 1.7, 2.3])
def test_the_way_is_told_at_every_cadence(way, expected, step_hz):
    """Whoever vaults forward walks forward, from slow to hurried steps; the wrong way is never said"""
    walker = Walker().walk(vaulting(9.0, way=way, step_hz=step_hz))
    assert walker.ways(from_s=6.0) == {expected}
    assert walker.ways() <= {expected, Way.UNKNOWN}


def test_the_way_is_known_two_steps_after_walking_is():
    """Six steps are enough: three that make it walking, three more to be sure"""
    walker = Walker().walk(vaulting(6.0 / 1.7, way=-1.0))
    assert walker.last() is Way.BACKWARD


def test_time_that_runs_backward_turns_the_answer_round():
    """The same walk played backward is a walk the other way"""
    samples = list(vaulting(8.0))
    last = samples[-1][0]
    reverse = [(last - t, accel, (-w[0], -w[1], -w[2])) for t, accel, w in reversed(samples)]
    there, back = Walker().walk(iter(samples)).direction, Walker().walk(iter(reverse)).direction
    assert there.evidence == pytest.approx(-back.evidence, abs=0.05)
    assert there.evidence > 0.5


@pytest.mark.parametrize(("way", "expected"), BOTH)
@pytest.mark.parametrize(
    ("pitch_deg", "roll_deg", "yaw_deg"),
    [
        pytest.param(25.0, 0.0, 0.0, id="pitched"),
        pytest.param(-25.0, 0.0, 0.0, id="pitched back"),
        pytest.param(0.0, 25.0, 0.0, id="rolled"),
        pytest.param(0.0, 0.0, 25.0, id="yawed left"),
        pytest.param(0.0, 0.0, -25.0, id="yawed right"),
    ],
)
def test_a_clip_that_sits_askew_tells_the_same(way, expected, pitch_deg, roll_deg, yaw_deg):
    """Up to 25 degrees about any axis change nothing of what is said"""
    samples, up = turned(vaulting(6.0, way=way), rotation(pitch_deg, roll_deg, yaw_deg))
    assert Walker().walk(samples, up).ways(from_s=4.0) == {expected}


def test_forward_acceleration_in_phase_with_the_bounce_is_not_looked_at():
    """A clip that tilts with every step adds some of the vertical to forward: as much as there is changes little"""
    plain, tilted = Walker().walk(vaulting(6.0)), Walker()
    tilted.walk((t, (a[0] + 0.5 * (a[2] - G), a[1], a[2]), w) for t, a, w in vaulting(6.0))
    assert tilted.ways(from_s=4.0) == {Way.FORWARD}
    assert tilted.direction.evidence > 0.6 * plain.direction.evidence


@pytest.mark.parametrize(("way", "expected"), BOTH)
def test_a_clip_that_swings_with_the_trunk_is_not_deceived(way, expected, monkeypatch):
    """It sits behind the axis of the trunk: what pitch and yaw add there is taken off again"""
    behind_m, w2 = 0.12, 2.0 * math.pi * 1.7
    swinging = []
    for t, accel, _ in vaulting(6.0, way=way):
        phase = w2 * t
        # Against the clocks: this pitch lifts the clip, and this yaw throws it aside, when they say the other way.
        pitch_rate, yaw_rate = 1.8 * way * math.cos(phase + 0.6), 2.5 * way * math.cos(phase / 2.0 + 0.3)
        pitch_grows = -1.8 * way * w2 * math.sin(phase + 0.6)
        yaw_grows = -2.5 * way * 0.5 * w2 * math.sin(phase / 2.0 + 0.3)
        felt = (accel[0], accel[1] - behind_m * yaw_grows, accel[2] + behind_m * pitch_grows)
        swinging.append((t, felt, (0.0, pitch_rate, yaw_rate)))
    walker = Walker().walk(iter(swinging))
    assert walker.ways(from_s=4.0) == {expected}
    told = abs(walker.direction.evidence)
    monkeypatch.setattr(module, "BEHIND_M", 0.0)
    assert abs(Walker().walk(iter(swinging)).direction.evidence) < 0.8 * told


@pytest.mark.parametrize("hz", [52.0 * 1.9, 104.0, 110.0])
def test_a_chip_that_runs_fast_or_slow_tells_the_same(hz):
    """Chips differ by some per cent, and kinds of chips by more"""
    assert Walker().walk(vaulting(7.0, way=-1.0, hz=hz)).ways(from_s=5.0) == {Way.BACKWARD}


# ------------------------------------------------------------------------------------------------- unknown


@pytest.mark.parametrize(
    ("seconds", "kind"),
    [
        pytest.param(1.0, {}, id="first steps"),
        pytest.param(8.0, {"way": 0.0}, id="on the spot"),
        pytest.param(8.0, {"along_m_s2": 0.1}, id="hardly along"),
        pytest.param(8.0, {"step_hz": 2.7, "bounce_m_s2": 9.0, "way": -1.0}, id="running"),
        pytest.param(8.0, {"yaw_rate_rad_s": 1.0}, id="always turning"),
    ],
)
def test_what_the_strides_do_not_tell_is_unknown(seconds, kind):
    """Better no answer than a wrong one"""
    assert Walker().walk(vaulting(seconds, **kind)).ways() == {Way.UNKNOWN}


def test_clocks_that_disagree_leave_it_unknown():
    """The bounce says forward, the sway says backward: no answer"""
    # Farthest to the side half way between the standing feet; and a small bounce, so that both clocks weigh the same.
    stride = 2.0 * math.pi * 1.7 / 2.0
    samples = ((t, (a[0], 0.8 * math.sin(stride * t), a[2]), w) for t, a, w in vaulting(8.0, bounce_m_s2=0.3))
    assert Walker(Rhythm(1.7)).walk(samples).ways() == {Way.UNKNOWN}


def test_wavering_on_the_spot_is_no_way():
    """Whoever steps on the spot wavers forward and back by 0.2 m/s2 (root mean square): no way is read from it"""
    rng = np.random.default_rng(5)
    waver = np.convolve(rng.normal(size=round(20.0 * 104.0)), np.hanning(26), mode="same")
    waver *= 0.2 / waver.std()
    samples = ((t, (waver[i], a[1], a[2]), w) for i, (t, a, w) in enumerate(vaulting(19.9, way=0.0)))
    assert Walker().walk(samples).ways() == {Way.UNKNOWN}


class Rhythm(Gait):
    """A gait that takes the steps for so many a second, whatever they are."""

    def __init__(self, step_hz: float) -> None:
        super().__init__()
        self._step_hz = step_hz
        self.bout_started_s = 0.0

    def update(self, t_measured_s: float, vertical_m_s2: float, roll_rad_s: float = 0.0) -> bool:
        """Counts nothing."""
        return False

    def walking(self, now: float) -> bool:
        """From the third step on."""
        return now > 2.5 / self._step_hz

    def cadence_spm(self, now: float) -> float | None:
        """As it was told."""
        return 60.0 * self._step_hz


@pytest.mark.parametrize(("way", "expected"), BOTH)
@pytest.mark.parametrize("times", [pytest.param(2.0, id="twice"), pytest.param(1.5, id="half as many again")])
def test_a_rhythm_that_was_taken_for_a_faster_one_is_read_aright(way, expected, times):
    """Two bounces a step look like two steps: the strides show what they are"""
    assert Walker(Rhythm(1.2 * times)).walk(vaulting(8.0, way=way, step_hz=1.2)).ways(from_s=5.0) == {expected}


def test_standing_forgets():
    """Who stands walks no way, and who walks on the other way is not held to the first"""
    walker = Walker().walk(vaulting(6.0)).walk(standing(4.0, 6.0))
    assert walker.last() is Way.UNKNOWN
    assert walker.direction.evidence == 0.0
    walker.walk(vaulting(6.0, way=-1.0, start_s=10.0))
    assert Way.FORWARD not in walker.ways(from_s=10.0)
    assert walker.last() is Way.BACKWARD


def test_a_gap_forgets():
    """Strides on both sides of a hole in the samples are not put together"""
    walker = Walker().walk(vaulting(6.0)).walk(vaulting(0.1, start_s=6.5))
    assert walker.last() is Way.UNKNOWN


def test_a_silent_clip_leaves_it_unknown():
    """Two seconds after the last stride that was seen nothing is known"""
    walker = Walker().walk(vaulting(6.0))
    assert walker.direction.state(6.0) is Way.FORWARD
    assert walker.direction.state(8.5) is Way.UNKNOWN


def test_a_turn_is_waited_for():
    """Through a half turn of two seconds the way holds; turning on and on, it is no longer known"""
    walker = Walker().walk(vaulting(6.0)).walk(vaulting(2.0, start_s=6.0, yaw_rate_rad_s=1.6))
    assert walker.ways(from_s=6.0) == {Way.FORWARD}
    walker.walk(vaulting(8.0, start_s=8.0, yaw_rate_rad_s=1.6))
    assert walker.last() is Way.UNKNOWN


# ------------------------------------------------------------------------------------------------- the witness


def with_witness(
    samples: Iterator[Sample], closing_m_s: float, from_s: float, until_s: float, walking_m_s: float | None = None
) -> Walker:
    """Something nears at this speed, told 15 times a second between two seconds."""
    walker = Walker()
    for sample in samples:
        walker.walk(iter([sample]))
        t = sample[0]
        if from_s <= t < until_s and round(t * 104.0) % 7 == 0:
            walker.direction.witness(t, closing_m_s, walking_m_s)
    return walker


@pytest.mark.parametrize(
    ("closing_m_s", "walking_m_s", "expected"),
    [
        pytest.param(0.6, None, Way.BACKWARD, id="nears"),
        pytest.param(-0.6, None, Way.FORWARD, id="is left"),
        pytest.param(0.6, 0.7, Way.BACKWARD, id="nears as fast as they walk"),
        pytest.param(1.5, 0.5, Way.UNKNOWN, id="nears faster than they walk"),
        pytest.param(3.0, None, Way.UNKNOWN, id="bicycle"),
        pytest.param(0.05, None, Way.UNKNOWN, id="follows"),
    ],
)
def test_what_nears_tells_where_the_strides_do_not(closing_m_s, walking_m_s, expected):
    """What stands still nears whoever walks backward, and is left by whoever walks forward"""
    walker = with_witness(vaulting(8.0, way=0.0), closing_m_s, 4.0, 8.0, walking_m_s)
    assert walker.last() is expected


def test_a_glimpse_is_no_witness():
    """Something that neared for less than half a second says nothing"""
    assert with_witness(vaulting(8.0, way=0.0), 0.6, 4.0, 4.4).ways() == {Way.UNKNOWN}


def test_a_witness_speaks_of_walking_only():
    """Who stands and is come up to does not walk backward"""
    walker = with_witness(standing(6.0, 0.0), 0.6, 0.0, 6.0)
    assert walker.ways() == {Way.UNKNOWN}
    assert walker.direction.evidence == 0.0


@pytest.mark.parametrize(("way", "expected"), BOTH)
def test_clear_strides_are_not_turned_round(way, expected):
    """Somebody behind who moves the other way for as long as they like never makes it the wrong way"""
    walker = with_witness(vaulting(20.0, way=way), 0.6 * way, 4.0, 20.0)
    assert walker.ways(from_s=4.0) == {expected}


def test_a_witness_is_soon_forgotten():
    """Three seconds after it was last seen nothing of it is left"""
    walker = with_witness(vaulting(12.0, way=0.0), 0.6, 4.0, 8.0)
    assert Way.BACKWARD in walker.ways()
    assert walker.ways(from_s=11.0) == {Way.UNKNOWN}


# ------------------------------------------------------------------------------------------- what it is not for


WARNS = (
    "alarm",
    "arbiter",
    "care",
    "dropoff",
    "falls",
    "ground",
    "governor",
    "hazards",
    "imbalance",
    "lying",
    "rear",
    "tracker",
)


@pytest.mark.parametrize("name", WARNS)
def test_no_alarm_asks_which_way(name):
    """The direction never silences an alarm: nothing that warns knows of it"""
    source = Path(module.__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    imports = re.findall(r"^\s*(?:from|import) .*", source, flags=re.MULTILINE)
    assert imports
    assert not [line for line in imports if "direction" in line]
    assert "must never silence an alarm" in (module.__doc__ or "")


def test_levelled_parts_are_those_of_the_rotated_body():
    """Level forward, left and up of a vector felt by a trunk that leans and tilts"""
    for pitch, roll in itertools.product((-30.0, 0.0, 20.0), (-25.0, 10.0)):
        to_world = rotation(pitch, roll)
        felt = to_world.T @ np.array([0.7, -0.4, 9.0])
        up = to_world.T @ np.array([0.0, 0.0, 1.0])
        assert levelled(tuple(felt.tolist()), tuple(up.tolist())) == pytest.approx((0.7, -0.4, 9.0), abs=1e-9)


def test_lying_has_no_level_forward():
    """On the back, forward is up: no way to walk, and no division by nothing"""
    assert levelled((9.81, 1.0, 2.0), (1.0, 0.0, 0.0)) == (0.0, 0.0, 9.81)


# ------------------------------------------------------------------------------------------- recorded people


def shares(bouts: list[AtSpeed], expected: Way) -> tuple[float, float]:
    """Right and wrong, as shares of the time in which they are known to walk."""
    counts = dict.fromkeys(Way, 0)
    for bout in bouts:
        posture, gait, direction = Posture(), Gait(), Direction()
        for item in bout.motion.samples():
            t, accel = item.t_measured_s, item.accel_m_s2
            posture.update(t, accel, item.gyro_rad_s)
            up = posture.up
            if up is None or t > bout.to_s:
                continue
            gait.update(t, sum(a * u for a, u in zip(accel, up, strict=True)) - G, item.gyro_rad_s[0])
            direction.update(t, accel, item.gyro_rad_s, up, gait)
            if t >= bout.from_s and gait.walking(t):
                counts[direction.state(t)] += 1
    total = sum(counts.values())
    wrong = Way.BACKWARD if expected is Way.FORWARD else Way.FORWARD
    return counts[expected] / total, counts[wrong] / total


@pytest.mark.parametrize("way", [pytest.param(Way.BACKWARD, id="backward"), pytest.param(Way.FORWARD, id="forward")])
def test_recorded_actors_are_told_apart(recorded_data, way):
    """Of the time in which actors walk at 0.5 m/s or more, 85 % right and 2 % wrong at most"""
    bouts = [bout for bout in mocap_speeds(recorded_data, way.value) if bout.speed_m_s >= 0.5]
    assert len(bouts) >= 5
    right, wrong = shares(bouts, way)
    assert right >= 0.85
    assert wrong <= 0.02


@pytest.mark.slow
def test_recorded_people_walk_forward(recorded_data):
    """Ten people, one of their ways of 10 m each, clip at the lower back: the same"""
    right, wrong = shares(gait_speeds(recorded_data)[::12], Way.FORWARD)
    assert right >= 0.85
    assert wrong <= 0.02
