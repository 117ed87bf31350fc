"""How far the walker has walked: by the usual rule or by their own measured step; and what a measured way tells."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
from msgspec.structs import replace as replaced
from tests.core.synth import ONE_SENSOR, Motion, Street, heartbeats, merged, settled, walking

from retrowalk.config import Walker
from retrowalk.core.companion import Companion
from retrowalk.core.events import StateSaved
from retrowalk.core.samples import ImuSample, Restored, SavedState, StopRequested, Tick
from retrowalk.core.walked import LATE_S, OwnStep, Totals, Unfit, Walked, WayWatch, agree, mean, own_step

MEASURED = Walker(step_length_m=0.40, step_bounce_m_s2=2.0, step_time_s=0.5)


class Wearer:
    """Takes steps of 0.5 s, as `Gait` confirms them: three at once where a bout begins."""

    def __init__(self, walker: Walker) -> None:
        self.walked = Walked(walker)
        self.now = 10.0

    def steps(self, count: int, *, bounce: float = 2.0, every_s: float = 0.5, speed: float | None = 0.8) -> Wearer:
        """Steps one by one, the back bouncing by so much from peak to trough."""
        for _ in range(count):
            self.now += every_s
            for half in (0.5 * bounce, -0.5 * bounce):
                self.walked.bounced(half)
            self.walked.stepped((self.now,), speed)
        return self

    def begins(self) -> Wearer:
        """A bout, known by its third step; before, the wearer has been handled."""
        self.walked.bounced(30.0)
        self.now += 5.0
        self.walked.stepped((self.now - 1.0, self.now - 0.5, self.now), 0.8)
        return self

    @property
    def totals(self) -> Totals:
        return self.walked.totals


def test_nothing_is_told_of_who_has_not_walked() -> None:
    """No speed, step or cadence without a step."""
    walked = Walked(Walker())
    told = walked.totals
    assert (told.distance_m, told.speed_m_s, told.step_length_m, told.cadence_spm) == (0.0, None, None, None)
    assert walked.step_length_m is None
    assert not walked.measured


def test_an_unmeasured_step_is_as_long_as_the_speed_takes_it_in_its_time() -> None:
    """At 0.8 m/s half a second is 0.4 m; the first three steps, known together, count like the next."""
    wearer = Wearer(Walker()).begins().steps(7)
    assert wearer.totals.steps == 10
    assert wearer.totals.distance_m == pytest.approx(4.0)
    assert wearer.totals.speed_m_s == pytest.approx(0.8)
    assert wearer.totals.cadence_spm == pytest.approx(120.0)
    assert wearer.walked.step_length_m == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("bounce", "every_s", "length_m"),
    [
        pytest.param(2.0, 0.5, 0.40, id="as measured"),
        pytest.param(32.0, 0.5, 0.80, id="sixteen times the bounce"),
        pytest.param(2.0, 1.0, 0.566, id="twice the time"),
        pytest.param(0.125, 0.5, 0.20, id="a sixteenth of the bounce"),
    ],
)
def test_a_measured_step_grows_with_bounce_and_time(bounce: float, every_s: float, length_m: float) -> None:
    """With the fourth root of the one and the square root of the other, whatever the usual rule says of the speed."""
    wearer = Wearer(MEASURED).begins().steps(5, bounce=bounce, every_s=every_s, speed=1.5)
    assert wearer.walked.measured
    assert wearer.totals.step_length_m == pytest.approx(length_m, abs=0.001)


def test_a_pause_takes_no_time_and_no_way() -> None:
    """Standing between two bouts leaves speed and distance as they are."""
    once, twice = Wearer(MEASURED).begins().steps(7), Wearer(MEASURED).begins().steps(2).begins().steps(2)
    assert twice.totals.distance_m == pytest.approx(once.totals.distance_m)
    assert twice.totals.moving_s == pytest.approx(once.totals.moving_s)


def test_the_foot_put_beside_the_other_one_counts_like_the_others() -> None:
    """It is known when the wearer has stood for two seconds, and nothing is known of its bounce."""
    wearer = Wearer(MEASURED).begins().steps(7).steps(1, bounce=30.0, speed=None)
    assert wearer.totals.distance_m == pytest.approx(11 * 0.40)


def test_steps_that_wait_for_the_next_one_are_not_lost() -> None:
    """Two steps confirmed together share the time since the last."""
    wearer = Wearer(Walker()).begins().steps(4)
    wearer.now += 1.0
    wearer.walked.stepped((wearer.now - 0.5, wearer.now), 0.8)
    assert wearer.totals.steps == 9
    assert wearer.totals.distance_m == pytest.approx(9 * 0.4)


def test_a_measured_way_gives_its_own_length_back() -> None:
    """Walked again as it was when it was measured, the way is as long as it was said to be."""
    way = Wearer(Walker()).begins().steps(6, bounce=1.5).steps(8, bounce=3.0, every_s=0.6).totals
    own = own_step(way, 10.0)
    walker = Walker(step_length_m=own.step_length_m, step_bounce_m_s2=own.step_bounce_m_s2, step_time_s=own.step_time_s)
    again = Wearer(walker).begins().steps(6, bounce=1.5).steps(8, bounce=3.0, every_s=0.6).totals
    assert again.distance_m == pytest.approx(10.0)
    assert own.speed_factor == pytest.approx(10.0 / way.distance_m)


# ------------------------------------------------------------------------------------------ a way of known length

BEGIN_S, END_S = 6.0, 22.0
"""The presses: before the first step at 8 s, and after the last at 20 s."""


def watched(motion: Motion, *, gap_s: float | None = None, press_s: float = BEGIN_S, forward: bool = False) -> WayWatch:
    """A way between two presses."""
    watch = WayWatch()
    begun = False
    for sample in without(motion.samples() if forward else mirrored(motion), gap_s):
        if not begun and sample.t_measured_s >= press_s:
            begun = True
            watch.begin(press_s)
            watch.end(END_S)
        watch.feed(sample)
        if watch.now_s > END_S + LATE_S:
            break
    return watch


def mirrored(motion: Motion) -> Iterator[ImuSample]:
    """The same with front and back exchanged: somebody who walks backward."""
    for sample in motion.samples():
        (ax, ay, az), (gx, gy, gz) = sample.accel_m_s2, sample.gyro_rad_s
        yield replace(sample, accel_m_s2=(-ax, ay, az), gyro_rad_s=(gx, -gy, -gz))


def without(samples: Iterator[ImuSample], gap_s: float | None) -> Iterator[ImuSample]:
    """Half a second missing from there on."""
    return (s for s in samples if gap_s is None or not gap_s < s.t_measured_s < gap_s + 0.5)


def way(*bouts: tuple[float, float], turns: bool = False, bias_deg_s: float = 0.0) -> Motion:
    """Somebody who walks 20 steps in 12 s, or in `bouts`."""
    return walking(
        26.0, bouts=bouts or ((8.0, 20.0),), turns=turns, step_hz=1.7, seed=4, bias_deg_s=(0.0, 0.0, bias_deg_s)
    )


def test_a_way_tells_the_own_step() -> None:
    """10 m in 20 or 21 steps: half a metre each, 0.59 s apart."""
    found = watched(way()).outcome(10.0)
    assert isinstance(found, OwnStep)
    assert found.steps == pytest.approx(20, abs=1)
    assert found.step_length_m == pytest.approx(10.0 / found.steps)
    assert found.step_time_s == pytest.approx(1 / 1.7, rel=0.03)
    assert 0.6 <= found.speed_factor <= 1.6


@pytest.mark.parametrize(
    ("watch", "distance_m", "counted", "unfit"),
    [
        pytest.param(lambda: watched(way((15.0, 17.0))), 10.0, 0, Unfit.NO_STEPS, id="hardly a step"),
        pytest.param(lambda: watched(way((8.0, 13.0), (17.0, 21.0))), 10.0, 0, Unfit.STOPPED, id="stood in between"),
        pytest.param(lambda: watched(way(turns=True)), 10.0, 0, Unfit.TURNED, id="turned round"),
        pytest.param(lambda: watched(way(), press_s=11.0), 10.0, 0, Unfit.EARLY, id="walked before the press"),
        pytest.param(lambda: watched(way(), gap_s=14.0), 10.0, 0, Unfit.GAP, id="samples are missing"),
        pytest.param(lambda: watched(way()), 20.0, 0, Unfit.TOO_LONG, id="a metre a step"),
        pytest.param(lambda: watched(way()), 2.5, 0, Unfit.TOO_SHORT, id="a hand's breadth a step"),
        pytest.param(lambda: watched(way()), 10.0, 26, Unfit.MISCOUNTED, id="somebody counted more"),
    ],
)
def test_what_cannot_be_is_refused(watch, distance_m: float, counted: int, unfit: Unfit) -> None:
    """With its reason."""
    assert watch().outcome(distance_m, counted=counted) is unfit


def test_who_counts_as_the_clip_does_is_believed() -> None:
    """A step more or less is a matter of opinion."""
    assert isinstance(watched(way()).outcome(10.0, counted=19), OwnStep)


def test_who_walks_forward_is_refused() -> None:
    """Unless whoever measures says that either way will do."""
    watch = watched(way(), forward=True)
    assert watch.outcome(10.0) is Unfit.FORWARD
    assert isinstance(watch.outcome(10.0, either_way=True), OwnStep)


def test_an_offset_of_the_gyroscope_is_no_turn() -> None:
    """Three degrees a second, for 12 s, were found out while the walker stood."""
    assert isinstance(watched(way(bias_deg_s=3.0)).outcome(10.0), OwnStep)


STEP = OwnStep(20, 0.5, 2.0, 0.55, 1.0)


@pytest.mark.parametrize(
    ("other", "agrees"),
    [
        pytest.param(STEP, True, id="the same"),
        pytest.param(replace(STEP, step_length_m=0.54), True, id="8 % more"),
        pytest.param(replace(STEP, step_length_m=0.56), False, id="12 % more"),
        pytest.param(replace(STEP, step_length_m=0.6, step_bounce_m_s2=4.0), True, id="faster, by longer steps"),
    ],
)
def test_two_ways_agree_within_ten_per_cent(other: OwnStep, agrees: bool) -> None:
    """Whichever was first."""
    assert agree(STEP, other) is agree(other, STEP) is agrees


def test_the_mean_lies_between() -> None:
    """And counts the steps of both."""
    both = mean(STEP, replace(STEP, steps=22, step_length_m=0.54, speed_factor=1.1))
    assert (both.steps, both.step_length_m, both.speed_factor) == (42, 0.52, 1.05)
    assert math.isclose(both.step_bounce_m_s2, 2.0)


# ------------------------------------------------------------------------------------------------- on the device


def walk_of(walker: Walker) -> Street:
    """Checked, then twenty steps, and the device is switched off."""
    moving = [s for s in way().samples() if s.t_received_s > 6.0]
    street = Street(replaced(ONE_SENSOR, walker=walker)).run(merged(settled(), moving, heartbeats(6.0, 25.0)))
    return street.run([StopRequested(25.5, "person")])


@pytest.mark.slow
def test_a_walk_ends_with_its_distance() -> None:
    """Distance, speed, step length and cadence go together, and by what rule they were found is told."""
    usual = walk_of(Walker()).first("walk.ended")
    assert not usual.step_measured
    assert usual.steps == pytest.approx(20, abs=1)
    assert usual.distance_m == pytest.approx(usual.steps * usual.step_length_m, abs=0.3)
    assert usual.cadence_spm == pytest.approx(102.0, abs=3.0)
    assert usual.speed_m_s == pytest.approx(usual.step_length_m * usual.cadence_spm / 60.0, abs=0.02)


@pytest.mark.slow
def test_a_measured_walk_goes_as_far_as_it_went() -> None:
    """By the wearer's own step the same walk is the ten metres that it was said to be; a display shows it."""
    found = watched(way()).outcome(10.0)
    assert isinstance(found, OwnStep)
    street = walk_of(
        Walker(
            step_length_m=found.step_length_m, step_bounce_m_s2=found.step_bounce_m_s2, step_time_s=found.step_time_s
        )
    )
    ended = street.first("walk.ended")
    assert ended.step_measured
    assert ended.distance_m == pytest.approx(10.0, abs=0.6)
    assert street.companion.snapshot().walked_m == ended.distance_m


@pytest.mark.parametrize(
    ("guard_state", "elapsed_s", "walked_m"),
    [
        pytest.param("guarding", 3.0, 120.0, id="killed"),
        pytest.param("stopping", 86400.0, 0.0, id="switched off yesterday"),
    ],
)
def test_what_was_learned_of_the_wearer_is_kept_between_walks(
    guard_state: str, elapsed_s: float, walked_m: float
) -> None:
    """Their factor always, the way only when the same walk goes on."""
    state = SavedState(90.0, guard_state, walked_m=120.0, speed_factor=0.8, speed_lessons=12)
    companion = Companion(ONE_SENSOR)
    companion.feed(Restored(0.0, state, elapsed_s))
    saved = [o for o in companion.feed(Tick(1.0)) if isinstance(o, StateSaved)]
    saved += [o for o in companion.feed(StopRequested(2.0, "person")) if isinstance(o, StateSaved)]
    assert (saved[-1].state.speed_factor, saved[-1].state.speed_lessons) == (0.8, 8)
    assert companion.snapshot().walked_m == walked_m
