"""The governor: how fast the sensors protect, how far they reach, and who is told to slow down, when and how often."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from tests.core.synth import G

from retrowalk.config import A02yyuw, Collision, Config, HcSr04, RangeSensor, TfLuna, Vl53l1x, Walker
from retrowalk.core.air import AirSpeed
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.events import HazardCleared, HazardRaised, Level, Output, Speak
from retrowalk.core.freshness import Freshness
from retrowalk.core.gait import Gait
from retrowalk.core.governor import LONGEST_GAPS, OVER_S, Governor, protected_speed_m_s
from retrowalk.core.hazards import needed_m
from retrowalk.core.own_speed import OwnSpeed
from retrowalk.core.posture import Posture
from retrowalk.core.reach import Reach, usual_reach_m
from retrowalk.core.samples import AirSample, RangeSample, RangeStatus
from retrowalk.sim.world import Walk, World

OLDER, YOUNGER = Walker(profile="older"), Walker(profile="younger")
WORD_S = 0.35
"""So much longer than a tone it takes to understand a word."""
KNOBS = Config().governor

# ------------------------------------------------------------------------------------------- the protected speed


@pytest.mark.parametrize(
    ("walker", "word_s", "speeds"),
    [
        pytest.param(YOUNGER, 0.0, (0.33, 0.65, 0.98, 1.31, 1.64, 2.29), id="younger, tone"),
        pytest.param(YOUNGER, WORD_S, (0.27, 0.53, 0.80, 1.06, 1.33, 1.86), id="younger, word"),
        pytest.param(OLDER, 0.0, (0.23, 0.46, 0.69, 0.92, 1.15, 1.61), id="older, tone"),
        pytest.param(OLDER, WORD_S, (0.20, 0.40, 0.60, 0.79, 0.99, 1.39), id="older, word"),
    ],
)
def test_the_table_of_protected_speeds(walker, word_s, speeds):
    """Of 1, 1.5, 2, 2.5, 3 and 4 m of dependable range (human-factors reference 2.2)."""
    collision = Collision(system_delay_s=0.3 + word_s)
    for reach_m, speed_m_s in zip((1.0, 1.5, 2.0, 2.5, 3.0, 4.0), speeds, strict=True):
        assert protected_speed_m_s(reach_m, walker, collision) == pytest.approx(speed_m_s, abs=0.0065)


@pytest.mark.parametrize("reach_m", [0.8, 1.5, 2.0, 3.7])
def test_at_the_protected_speed_the_room_just_suffices(reach_m):
    """It is the rule of the warnings, turned round."""
    speed = protected_speed_m_s(reach_m, OLDER, Collision())
    assert needed_m(Level.WARNING, speed, OLDER, Collision()) == pytest.approx(reach_m)


@pytest.mark.parametrize("reach_m", [0.0, 0.3, 0.5])
def test_no_room_protects_no_speed(reach_m):
    """What is seen only where the foot is already protects nobody."""
    assert protected_speed_m_s(reach_m, OLDER, Collision()) == 0.0


# ----------------------------------------------------------------------------------------------------- the reach

Says = Callable[[float, str], RangeSample | None]


def nothing(t, name):
    """Nothing is there."""
    return RangeSample(t, t, name, RangeStatus.NO_TARGET)


def silent(t, name):
    """No answer at all."""


def each(every: int, status: RangeStatus, ranges_m: tuple[float, ...] = ()) -> Says:
    """Each `every`-th answer has this status, and the next of these ranges; the others say that nothing is there."""
    count = 0

    def says(t: float, name: str) -> RangeSample:
        nonlocal count
        count += 1
        if count % every:
            return RangeSample(t, t, name, RangeStatus.NO_TARGET)
        return RangeSample(t, t, name, status, ranges_m[count // every % len(ranges_m)] if ranges_m else None)

    return says


class Worn:
    """Rear sensors that answer as told; after 12 s in which nothing was there."""

    def __init__(self, *sensors: RangeSensor) -> None:
        config = Config(range_sensor=sensors)
        self.freshness = Freshness(config.freshness, tuple(sensor.name for sensor in sensors))
        self.air = AirSpeed(sensors)
        self.reach = Reach(config, self.freshness, self.air)
        self.now = 0.0
        self._due_s = {sensor.name: 0.0 for sensor in sensors}
        self.answers(12.0)

    def answers(self, seconds: float, period_s: float = 0.06, **says: Says) -> Worn:
        """Lets time pass; a sensor that is not named says that nothing is there."""
        until_s = self.now + seconds
        while min(self._due_s.values()) <= until_s:
            name = min(self._due_s, key=lambda name: self._due_s[name])
            self.now = self._due_s[name]
            self._due_s[name] += period_s
            sample = says.get(name, nothing)(self.now, name)
            if sample is None:
                continue
            self.reach.saw(sample)
            if sample.status in (RangeStatus.VALID, RangeStatus.NO_TARGET):
                self.freshness.heard(name, self.now)
        self.now = until_s
        self.freshness.newly_lost(self.now)
        return self

    def leans(self, pitch_deg: float, seconds: float = 30.0) -> Worn:
        """Leans so for a while."""
        for i in range(round(seconds * 20)):
            self.reach.leans(self.now + i / 20, pitch_deg)
        return self

    @property
    def reach_m(self) -> float:
        """Reach now."""
        return self.reach.reach_m(self.now)


def default() -> Worn:
    """Ultrasonic and lidar."""
    return Worn(HcSr04(), TfLuna())


@pytest.mark.parametrize(
    ("sensors", "reach_m"),
    [
        pytest.param((HcSr04(), TfLuna()), 1.96, id="ultrasonic and lidar"),
        pytest.param((HcSr04(),), 1.77, id="ultrasonic alone"),
        pytest.param((TfLuna(),), 1.75, id="lidar alone"),
        pytest.param((A02yyuw(),), 1.77, id="sealed ultrasonic alone"),
        pytest.param((Vl53l1x(),), 0.91, id="time of flight alone"),
        pytest.param((A02yyuw(), TfLuna(clear_range_m=1.5)), 1.77, id="a lidar that sees less adds nothing"),
    ],
)
def test_the_reach_of_a_set(sensors, reach_m):
    """Broad and thin things each count as far as by the sensor that sees them best; the worse of the two counts."""
    assert Worn(*sensors).reach_m == pytest.approx(reach_m, abs=0.01)
    assert usual_reach_m(Config(range_sensor=sensors)) == pytest.approx(reach_m, abs=0.01)


def test_the_default_set_protects_an_older_walker_to_0_6():
    """In the shade and without a thermometer: 0.6 m/s and more."""
    assert protected_speed_m_s(default().reach_m, OLDER, Collision()) > 0.65


def test_before_the_first_answer_nothing_is_reached():
    """A sensor that has never spoken protects nobody."""
    config = Config(range_sensor=(HcSr04(),))
    freshness = Freshness(config.freshness, ("rear",))
    assert Reach(config, freshness, AirSpeed(config.range_sensor)).reach_m(0.0) == 0.0


WRONG = [
    pytest.param({"rear": silent}, id="ultrasonic lost"),
    pytest.param({"lidar": silent}, id="lidar lost"),
    pytest.param({"lidar": each(1, RangeStatus.UNTRUSTED)}, id="sun"),
    pytest.param({"rear": each(3, RangeStatus.REJECTED)}, id="a third rejected"),
    pytest.param({"rear": each(2, RangeStatus.NO_ECHO)}, id="every second unanswered"),
    pytest.param({"rear": each(2, RangeStatus.VALID, (0.4, 2.6, 1.1, 3.4))}, id="every second a stray"),
]


@pytest.mark.parametrize("says", WRONG)
def test_what_works_badly_reaches_less_far(says):
    """Lost, blinded, or with many answers that are worth nothing: less reach, and it comes back when that is over."""
    worn = default()
    well_m = worn.reach_m
    assert worn.answers(8.0, **says).reach_m < 0.95 * well_m
    assert worn.answers(20.0).reach_m == pytest.approx(well_m, rel=0.01)


def test_late_answers_reach_less_far():
    """A sensor that answers every 0.4 s only, late but not lost."""
    worn = Worn(HcSr04())
    well_m = worn.reach_m
    assert worn.answers(10.0, period_s=0.4).reach_m < 0.7 * well_m


def test_without_any_sensor_nothing_is_reached():
    """Both lost."""
    assert default().answers(3.0, rear=silent, lidar=silent).reach_m == 0.0


@pytest.mark.parametrize(
    "says",
    [
        pytest.param({"rear": each(30, RangeStatus.VALID, (0.7, 2.9))}, id="a gust now and then"),
        pytest.param({"rear": each(1, RangeStatus.VALID, (1.5, 1.52, 1.49))}, id="a wall"),
        pytest.param({"rear": each(1, RangeStatus.VALID, tuple(3.0 - 0.04 * i for i in range(60)))}, id="nearing"),
        pytest.param({"lidar": each(1, RangeStatus.VALID, (2.0, 2.3, 2.1))}, id="a hedge"),
    ],
)
def test_what_is_usual_costs_nothing(says):
    """Lone strays, and things that are there, leave the reach as it is."""
    worn = default()
    well_m = worn.reach_m
    assert worn.answers(8.0, **says).reach_m == pytest.approx(well_m, rel=0.01)


def test_echoes_of_the_ground_are_no_strays():
    """Where the ground is, echoes come and go as the trunk sways."""
    worn = Worn(HcSr04())
    for i in range(200):
        t = worn.now + 0.06 * i
        worn.reach.saw(RangeSample(t, t, "rear", RangeStatus.VALID, 2.0 + 1.5 * (i % 3)), ground=True)
    assert worn.reach.spoilt("rear") < 0.01


@pytest.mark.parametrize(
    ("sensor", "with_thermometer_m", "without_m"),
    [
        pytest.param(HcSr04(), 1.80, 1.767, id="computed for 0 C"),
        pytest.param(HcSr04(temperature_c=20.0), 1.80, 1.706, id="computed for 20 C"),
        pytest.param(HcSr04(temperature_c=-20.0), 1.80, 1.80, id="computed for the coldest"),
        pytest.param(TfLuna(), 1.75, 1.75, id="light does not care"),
    ],
)
def test_without_a_thermometer_the_air_may_be_cold(sensor, with_thermometer_m, without_m):
    """Then what is read is farther than it is, by as much as sound is slower at -10 C than where it was computed."""
    worn = Worn(sensor)
    assert worn.reach_m == pytest.approx(without_m, abs=0.003)
    worn.air.feed(AirSample(worn.now, worn.now, -5.0))
    assert worn.reach_m == pytest.approx(with_thermometer_m, abs=0.003)


@pytest.mark.parametrize("sensors", [(HcSr04(), TfLuna()), (HcSr04(),), (TfLuna(),)])
def test_leaning_for_long_reaches_less_far(sensors):
    """Far back the beams meet the ground, far forward they look over what is there; a few degrees cost nothing."""
    reaches = {deg: Worn(*sensors).leans(deg).reach_m for deg in (-40.0, 0.0, 3.0, 10.0, 20.0)}
    assert reaches[3.0] == reaches[0.0]
    assert reaches[20.0] < reaches[10.0] < reaches[0.0]
    assert reaches[-40.0] < reaches[0.0]


def test_a_single_step_is_no_lean():
    """Half a second of 20 degrees changes the reach by less than a tenth."""
    worn = default()
    well_m = worn.reach_m
    assert worn.leans(0.0).leans(20.0, 0.5).reach_m > 0.9 * well_m


# --------------------------------------------------------------------------------------------------- the governor


class Governed:
    """A governor that judges ten times a second."""

    def __init__(self) -> None:
        self.out: list[Output] = []
        self.governor = Governor(KNOBS, Arbiter(self.out), self.out.append)
        self.now = 100.0

    def goes(self, seconds: float, share: float | None, *, error: float = 0.15, quiet: bool = False) -> Governed:
        """Walks at this share of the protected speed; None: stands."""
        for _ in range(round(10.0 * seconds)):
            self.now += 0.1
            self.governor.judge(self.now, None if share is None else 0.7 * share, error, 0.7)
            self.governor.advance(self.now, quiet=quiet)
        return self

    @property
    def said_s(self) -> list[float]:
        """When it was said."""
        return [o.t_s for o in self.out if isinstance(o, Speak)]


def test_who_is_too_fast_is_told_after_two_seconds():
    """Once, with the protected speed in the event and the numbers in its reason."""
    governed = Governed().goes(1.9, 1.3)
    assert governed.said_s == []
    governed.goes(0.5, 1.3)
    (said,) = [o for o in governed.out if isinstance(o, Speak)]
    (raised,) = [o for o in governed.out if isinstance(o, HazardRaised)]
    assert said.phrase == "slow_down"
    assert (raised.hazard, raised.level, raised.protected_speed_m_s) == ("too_fast", "caution", 0.7)
    assert raised.alert == said.alert


def test_a_quick_step_is_not_spoken_of():
    """Shorter than two seconds, again and again."""
    governed = Governed()
    for _ in range(20):
        governed.goes(1.5, 1.4).goes(0.5, 0.9)
    assert governed.out == []


@pytest.mark.parametrize("share", [0.5, 0.9, 1.0, 1.1])
def test_who_may_be_slow_enough_is_not_told(share):
    """Up to the protected speed and what the own speed may be wrong by: silence."""
    assert Governed().goes(60.0, share).out == []


def test_the_surer_the_speed_the_sooner_it_is_said():
    """1.1 times the protected speed is within the error of a stranger's speed, and not of a known wearer's."""
    assert Governed().goes(10.0, 1.1, error=0.06).said_s


def test_it_is_said_ever_more_seldom():
    """Never twice within the gap; who will not slow down hears it ten times in ten minutes at most."""
    said_s = Governed().goes(600.0, 1.4).said_s
    gaps = [b - a for a, b in itertools.pairwise(said_s)]
    assert min(gaps) >= KNOBS.gap_s
    assert max(gaps) <= LONGEST_GAPS * KNOBS.gap_s + 1.0
    assert 5 <= len(said_s) <= 12


def test_who_goes_to_and_fro_hears_it_once_a_gap_at_most():
    """Too fast, slow again, too fast: still no two within the gap."""
    governed = Governed()
    for _ in range(30):
        governed.goes(3.0, 1.4).goes(2.0, 0.8)
    gaps = [b - a for a, b in itertools.pairwise(governed.said_s)]
    assert min(gaps) >= KNOBS.gap_s


def test_after_a_slow_minute_it_is_said_anew():
    """The next time it is not made to wait for what was said in vain long ago."""
    governed = Governed().goes(300.0, 1.4).goes(70.0, 0.8)
    before = len(governed.said_s)
    governed.goes(16.0, 1.4)
    assert len(governed.said_s) == before + 2


@pytest.mark.parametrize("share", [pytest.param(0.9, id="slower"), pytest.param(None, id="stands")])
def test_it_is_over_when_the_walker_is_slow_enough(share):
    """Cleared a second after, once."""
    governed = Governed().goes(5.0, 1.4).goes(OVER_S + 0.2, share).goes(10.0, share)
    (cleared,) = [o for o in governed.out if isinstance(o, HazardCleared)]
    assert (cleared.hazard, cleared.level) == ("too_fast", "none")


def test_a_little_slower_is_not_over():
    """Between the protected speed and what is said of it, it goes on, in silence."""
    governed = Governed().goes(5.0, 1.4).goes(60.0, 1.05)
    assert len(governed.said_s) == 1
    assert [o for o in governed.out if isinstance(o, HazardCleared)] == []


def test_while_something_more_urgent_is_said_it_is_quiet():
    """And after that, who is too fast still is told after two seconds more."""
    governed = Governed().goes(30.0, 1.4, quiet=True)
    assert governed.out == []
    assert governed.goes(1.8, 1.4).out == []
    assert governed.goes(0.5, 1.4).said_s


def test_who_stands_is_not_told():
    """Without a speed there is nothing to say, even if nothing is protected."""
    governed = Governed()
    for _ in range(100):
        governed.now += 0.1
        governed.governor.judge(governed.now, None, 0.15, 0.0)
        governed.governor.advance(governed.now, quiet=False)
    assert governed.out == []


# --------------------------------------------------------------------------------- a simulated walker, and the clip

PROTECTED_M_S = 0.675
"""Of an older walker with the default set."""


def said_s(seed: int, *speeds: tuple[float, float], seconds: float, bounciness: float | None = None) -> list[float]:
    """When a walker who goes at each (from second, speed) is told to slow down, by what the clip feels."""
    world = World(seed)
    if bounciness is not None:
        world.walker.bounciness = bounciness
    for at_s, speed_m_s in speeds:
        world.at(at_s, Walk(speed_m_s))
    posture, gait, speed, out = Posture(), Gait(), OwnSpeed(), list[Output]()
    governor = Governor(KNOBS, Arbiter(out), out.append)
    for i in range(round(seconds * 104.0)):
        t = i / 104.0
        felt = world.imu(t)
        accel = felt[:3]
        posture.update(t, accel, felt[3:])
        up = posture.up
        if up is None:
            continue
        gait.update(t, accel[0] * up[0] + accel[1] * up[1] + accel[2] * up[2] - G)
        speed.update(t, gait.bounce_m_s2, gait.walking(t))
        if i % 10 == 0:
            governor.judge(t, speed.speed_m_s(t), speed.error, PROTECTED_M_S)
            governor.advance(t, quiet=False)
    return [o.t_s for o in out if isinstance(o, Speak)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "minutes"),
    [
        *((seed, 2.0) for seed in (1, 2, 3)),
        *(pytest.param(seed, 30.0, marks=pytest.mark.slow) for seed in (4, 6)),
        *(pytest.param(seed, 30.0, marks=pytest.mark.repeats) for seed in (7, 12)),
    ],
)
def test_at_nine_tenths_of_the_protected_speed_nothing_is_said(seed, minutes):
    """Half an hour of it, and not a word, from walkers who bounce 0.85 to 1.22 times as much as people do.

    One in twenty bounces more, seems faster, and hears it a few times, until a wall has taught better.
    """
    seconds = 60.0 * minutes
    assert said_s(seed, (2.0, 0.9 * PROTECTED_M_S), seconds=seconds) == []


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_at_one_point_three_times_it_is_said_within_four_seconds(seed):
    """Of who walks at nine tenths and then goes on at 1.3 times the protected speed, bouncing as people do."""
    speeds = (2.0, 0.9 * PROTECTED_M_S), (20.0, 1.3 * PROTECTED_M_S)
    said = said_s(seed, *speeds, seconds=30.0, bounciness=1.0)
    assert 20.0 + KNOBS.after_s < said[0] < 24.0


@pytest.mark.parametrize("bounciness", [0.85, 1.0, 1.3])
def test_at_one_and_a_half_times_everybody_is_told(bounciness):
    """However little they bounce, and from a standing start: within five seconds of the first step."""
    said = said_s(1, (5.0, 1.5 * PROTECTED_M_S), seconds=12.0, bounciness=bounciness)
    assert said
    assert said[0] < 10.0
