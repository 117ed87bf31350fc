"""What follows a fall: the long lie, getting up, falls that nobody felt, near-falls.  Through the whole Companion."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
from tests.core.synth import LYING_ON_BACK, G, Street, merged, press, walking

from retrowalk.config import Config
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.care import Care, report_after_s, reports_by
from retrowalk.core.events import BalanceRecovered, Output, Priority, Speak, StateSaved, Touch
from retrowalk.core.samples import Command, EventDelivered, ImuSample, Item, Restored, SavedState, VoiceHeartbeat

UP = (0.0, 0.0, 1.0)
SLOW_HZ = 12.0
"""Enough to follow who hardly moves; minutes of the chip's own rate would take the tests minutes."""
OPEN = SavedState(
    0.0, "guarding", 0.0, UP, fall_number=1, open_alarm="fall", fall_ago_s=30.0, lain_s=30.0, still_s=28.0
)
"""A fall was confirmed just now."""
WALKED = SavedState(0.0, "guarding", 0.0, UP)
"""Somebody guarded who stands."""


def tilted(degrees: float) -> tuple[float, float, float]:
    """Up in body axes of a trunk that is tilted backward by so much."""
    return (math.sin(math.radians(degrees)), 0.0, math.cos(math.radians(degrees)))


def still(start_s: float, until_s: float, up: tuple[float, float, float] = LYING_ON_BACK) -> Iterator[ImuSample]:
    """Lies (or sits, or stands) without a movement."""
    for i in range(int((until_s - start_s) * SLOW_HZ)):
        t = start_s + i / SLOW_HZ
        yield ImuSample(t, t, (G * up[0], G * up[1], G * up[2]), (0.0, 0.0, 0.0))


def stirring(start_s: float, until_s: float, every_s: float, up: tuple[float, float, float]) -> Iterator[ImuSample]:
    """As `still`, but turns for a moment every so often."""
    for sample in still(start_s, until_s, up):
        moves = (sample.t_measured_s - start_s) % every_s < 0.15
        yield replace(sample, gyro_rad_s=(0.3 if moves else 0.0, 0.0, 0.0))


def steps(start_s: float, seconds: float, up: tuple[float, float, float] = UP) -> list[ImuSample]:
    """Walks; `up` in body axes of the clip that sits as it does."""
    tilt = math.atan2(up[0], up[2])
    s, c = math.sin(tilt), math.cos(tilt)
    samples = walking(seconds, bouts=[(0.5, seconds - 0.5)], turns=False).shifted(start_s).samples()
    return [
        replace(
            sample,
            accel_m_s2=(c * x + s * z, y, c * z - s * x),
            gyro_rad_s=(c * p + s * r, q, c * r - s * p),
        )
        for sample in samples
        for (x, y, z), (p, q, r) in [(sample.accel_m_s2, sample.gyro_rad_s)]
    ]


def beats(until_s: float) -> Iterator[Item]:
    for i in range(int(until_s * 5.0)):
        yield VoiceHeartbeat(i / 5.0, "speaker", i * 9600 + 1)


def live(state: SavedState, *life: Iterable[Item], until_s: float, elapsed_s: float = 0.0) -> Street:
    """Goes on from `state` through `life`."""
    street = Street(voice=True).run([Restored(0.0, state, elapsed_s)])
    return street.run(merged(beats(until_s), *life), until_s)


def last_state(street: Street) -> SavedState:
    return [o for o in street.outputs if isinstance(o, StateSaved)][-1].state


# ------------------------------------------------------------------------------------------------ the long lie


@pytest.mark.slow
def test_who_does_not_get_up_is_told_of_again_and_again():
    """1, 3, 5 and 10 min after the fall, at high priority, with how long they have lain and when they last moved."""
    street = live(OPEN, still(0.1, 590.0), until_s=590.0)
    lasted = street.events("fall.lasted")
    assert [event.since_s for event in lasted] == [60.0, 180.0, 300.0, 600.0]
    assert [event.t_s for event in lasted] == pytest.approx([30.0, 150.0, 270.0, 570.0], abs=0.1)
    for event in lasted:
        assert (event.priority, event.fall, event.posture) == (Priority.HIGH, 1, "lying")
        assert event.lain_s == pytest.approx(event.since_s, abs=1.0)
        assert event.moved_s == pytest.approx(event.since_s - 2.0, abs=1.0)


def test_reports_become_rarer_and_never_end():
    """After 1, 3, 5, 10 and 15 minutes, then every ten; what was due is counted as due."""
    due = [report_after_s(told) / 60.0 for told in range(8)]
    assert due == [1.0, 3.0, 5.0, 10.0, 15.0, 25.0, 35.0, 45.0]
    for told in range(40):
        after_s = report_after_s(told)
        assert (reports_by(after_s - 0.5), reports_by(after_s)) == (told, told + 1)


def test_a_movement_is_told_as_one():
    """Who lies and stirs is told to have moved lately."""
    street = live(OPEN, stirring(0.1, 40.0, 12.0, LYING_ON_BACK), until_s=40.0)
    assert street.first("fall.lasted").moved_s < 13.0


def test_a_silent_clip_does_not_end_the_reports():
    """Where nothing tells how the walker lies, that is what is told."""
    street = live(OPEN, still(0.1, 10.0), until_s=40.0)
    lasted = street.first("fall.lasted")
    assert (lasted.posture, lasted.lain_s) == ("unknown", None)


def test_who_sits_slumped_is_told_of_too():
    """Propped up and not quite upright is not "up"."""
    street = live(OPEN, stirring(0.1, 40.0, 5.0, tilted(40.0)), until_s=40.0)
    assert street.first("fall.lasted").posture == "leaning"
    assert street.first("fall.risen") is None


@pytest.mark.slow
def test_who_sits_up_and_does_not_move_is_told_of_again():
    """Upright is told; upright without a movement for a minute is no sign that all is well."""
    life = [*stirring(0.1, 20.0, 5.0, UP), *still(20.0, 155.0, UP)]
    street = live(OPEN, life, until_s=155.0)
    assert street.first("fall.risen").walking is False
    assert [(event.posture, event.since_s) for event in street.events("fall.lasted")] == [("upright", 180.0)]


@pytest.mark.parametrize(
    ("answers", "phrase", "words"),
    [
        pytest.param([EventDelivered(5.0, 0)], "comfort", "told", id="told"),
        pytest.param(
            [EventDelivered(5.0, 0), Command(10.0, "a", "seen")], "comfort_seen", "helper", id="seen by a person"
        ),
        pytest.param([], "comfort", "trying", id="not reached"),
    ],
)
def test_the_one_who_lies_there_hears_what_is_true_of_the_call(answers, phrase, words):
    """With each report, after the broker's answer, a person's, or none: what became of the call, and what helps."""
    street = live(replace(OPEN, untold=True), still(0.1, 40.0), answers, until_s=40.0)
    comfort = street.spoken(phrase)[0]
    assert comfort.value == words
    assert street.first("fall.lasted").alert == comfort.alert


def test_reports_that_arrive_are_not_announced_one_by_one():
    """That help was told is said once for the fall, not for every report of it."""
    street = live(OPEN, still(0.1, 200.0), [EventDelivered(31.0, 99), EventDelivered(151.0, 999)], until_s=200.0)
    assert len(street.events("fall.lasted")) == 2
    assert not street.spoken("caregiver_told")
    assert not street.spoken("caregiver_not_reached")


def test_a_report_that_does_not_arrive_is_said():
    """A connection that is lost later is not kept from the one who waits; nor is that it is back."""
    street = live(OPEN, still(0.1, 90.0), [EventDelivered(75.0, 99)], until_s=90.0)
    assert street.spoken("caregiver_not_reached")[0].t_s == pytest.approx(60.0, abs=0.2)
    assert street.spoken("caregiver_told")[0].t_s == pytest.approx(75.0, abs=0.5)


def test_the_all_clear_ends_the_reports():
    """Two presses: cancelled, and nothing more is told of it."""
    street = live(OPEN, still(0.1, 160.0), press(40.0), press(42.0), until_s=160.0)
    assert street.first("fall.cancelled").by == "button"
    assert len(street.events("fall.lasted")) == 1


@pytest.mark.parametrize("died_s", [2.0, 29.9, 30.1, 100.0])
def test_the_long_lie_goes_on_after_a_restart(died_s):
    """Killed at any moment of it: what was told is not told again, what is due comes, and nothing is forgotten."""
    before = live(OPEN, still(0.1, died_s), until_s=died_s)
    state = last_state(before)
    after = live(state, still(0.1, 160.0 - died_s), until_s=160.0 - died_s, elapsed_s=died_s - state.t_saved_s + 4.0)
    told = [*before.events("fall.lasted"), *after.events("fall.lasted")]
    assert [event.since_s for event in told] == pytest.approx([60.0, 180.0], abs=8.0)
    for event in told:
        assert event.lain_s == pytest.approx(event.since_s, abs=1.5)
        assert event.moved_s == pytest.approx(event.since_s - 2.0, abs=1.5)


def test_a_report_that_fell_due_while_dead_comes_once():
    """Minutes without a device: one report, with all of that time, as soon as the clip tells how the walker lies."""
    street = live(OPEN, still(0.1, 10.0), until_s=10.0, elapsed_s=400.0)
    (lasted,) = street.events("fall.lasted")
    assert lasted.t_s == pytest.approx(3.0, abs=0.1)
    assert lasted.since_s == pytest.approx(433.0, abs=1.0)
    assert lasted.posture == "lying"


# ------------------------------------------------------------------------------------------------ getting up


def test_getting_up_after_it_was_confirmed_leaves_it_open():
    """Upright, then walking: the caregiver hears of both, the walker how to end it; only the button does."""
    life = [*still(0.1, 10.0), *stirring(10.0, 20.0, 2.0, UP), *steps(20.0, 12.0), *stirring(32.0, 48.0, 2.0, UP)]
    street = live(OPEN, life, press(40.0), press(42.0), until_s=48.0)
    assert [(event.walking, event.priority) for event in street.events("fall.risen")] == [
        (False, Priority.MEDIUM),
        (True, Priority.MEDIUM),
    ]
    assert [speak.t_s for speak in street.spoken("say_well")] == [street.first("fall.risen", walking=True).t_s]
    assert [event.by for event in street.events("fall.cancelled")] == ["button"]
    assert not street.events("fall.lasted")


@pytest.mark.slow
def test_who_walks_about_is_not_told_to_lie():
    """With the alarm still open, nobody is told that somebody lies there."""
    street = live(OPEN, steps(0.1, 40.0), until_s=40.0)
    assert not street.events("fall.lasted")
    assert street.first("fall.risen", walking=True) is not None


def test_who_lies_down_again_is_told_of_anew():
    """Got up, and down again: after a minute it is told, counted from then."""
    life = [*stirring(0.1, 20.0, 2.0, UP), *still(20.0, 90.0)]
    street = live(OPEN, life, until_s=90.0)
    assert street.first("fall.risen") is not None
    (lasted,) = street.events("fall.lasted")
    assert (lasted.since_s, lasted.posture) == (60.0, "lying")
    assert lasted.t_s == pytest.approx(80.0, abs=1.0)


@pytest.mark.parametrize("askew_deg", [-25.0, 0.0, 25.0])
def test_steps_upright_call_off_a_countdown_however_the_clip_sits(askew_deg):
    """Four steps, upright as the walker's own clip knows it."""
    up = tilted(askew_deg)
    state = replace(WALKED, upright=up, fall_number=1, countdown_left_s=20.0)
    street = live(state, steps(0.1, 10.0, up), until_s=10.0)
    assert street.first("fall.cancelled").by == "walked"


def test_three_steps_are_not_walking():
    """A stagger calls nothing off."""
    state = replace(WALKED, fall_number=1, countdown_left_s=8.0)
    street = live(state, [*steps(0.1, 2.5), *still(2.6, 10.0, UP)], until_s=10.0)
    assert street.companion.snapshot().steps == 3
    assert street.first("fall.cancelled") is None
    assert street.first("fall.confirmed") is not None


# ----------------------------------------------------------------------------------- a fall that nobody felt


def slid(lying: Iterator[ImuSample], state: SavedState = WALKED, walks: bool = True) -> list[Item]:
    """Walks, stands, and slides to the ground without a shock; then `lying`, from 13 s on."""
    up = state.upright or UP
    upright = [*steps(0.1, 8.0, up), *still(8.2, 11.0, up)] if walks else [*still(0.1, 11.0, up)]
    slide: list[Item] = []
    for i in range(int(2.0 * 104)):
        t, angle = 11.0 + i / 104.0, math.pi / 2 * i / 208.0
        slide.append(ImuSample(t, t, (G * math.sin(angle), 0.0, G * math.cos(angle)), (0.0, -math.pi / 4, 0.0)))
    return [*upright, *slide, *lying]


@pytest.mark.slow
def test_somebody_who_slid_to_the_ground_is_asked_and_called_for():
    """No shock, no movement: asked after two minutes, and called for 30 s later."""
    street = live(WALKED, slid(still(13.0, 170.0)), until_s=170.0)
    suspected, confirmed = street.first("fall.suspected"), street.first("fall.confirmed")
    assert street.spoken("lying_question")[0].alert == suspected.alert
    assert suspected.impact_g == 0.0
    assert suspected.lain_s == pytest.approx(120.0, abs=2.0)
    assert suspected.t_s == pytest.approx(133.0, abs=2.0)
    assert confirmed.t_s - suspected.t_s == pytest.approx(30.0, abs=0.01)


@pytest.mark.slow
def test_somebody_who_cannot_get_up_is_asked_although_they_move():
    """Who struggles on the ground moves: asked after five minutes."""
    street = live(WALKED, slid(stirring(13.0, 320.0, 20.0, LYING_ON_BACK)), until_s=320.0)
    assert street.first("fall.suspected").t_s == pytest.approx(312.0, abs=2.0)


@pytest.mark.slow
def test_a_press_says_that_all_is_well_and_one_is_left_in_peace():
    """Who rests on a lawn and says so is not asked again while they lie there, not even after a restart."""
    rest = slid(stirring(13.0, 200.0, 150.0, LYING_ON_BACK))
    street = live(WALKED, rest, press(140.0), until_s=200.0)
    assert street.first("fall.cancelled").by == "button"
    again = live(last_state(street), still(0.1, 200.0), until_s=200.0, elapsed_s=1.0)
    assert len(street.events("fall.suspected")) == 1
    assert not again.events("fall.suspected")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("state", "life"),
    [
        pytest.param(WALKED, slid(still(13.0, 330.0, tilted(45.0))), id="leans back on a bench"),
        pytest.param(WALKED, slid(still(13.0, 330.0), walks=False), id="never took a step"),
        pytest.param(WALKED, slid(still(13.0, 125.0)), id="rests for less than two minutes"),
        pytest.param(WALKED, slid(stirring(13.0, 300.0, 60.0, LYING_ON_BACK)), id="stretches on a mat"),
        pytest.param(replace(WALKED, guard_state="not_worn"), still(0.1, 330.0), id="not worn"),
    ],
)
def test_nobody_is_asked_who_only_rests(state, life):
    """Leaning, a short rest, exercises on the ground, or a device that nobody wears: no question."""
    street = live(state, life, until_s=330.0)
    assert not street.events("fall.suspected")


# ------------------------------------------------------------------------------------------------- near-falls


def test_a_stumble_is_told_and_said_without_a_sign_of_alarm():
    """The count goes out; the words ask, and cut nothing."""
    outputs: list[Output] = []
    care = Care(Config(), Arbiter(outputs), outputs.append)
    care.recovered(5.0, 2)
    (event,) = [output for output in outputs if isinstance(output, BalanceRecovered)]
    (words,) = [output for output in outputs if isinstance(output, Speak)]
    assert (event.near_falls, event.alert, words.phrase) == (2, words.alert, "stumbled")
    assert not [output for output in outputs if isinstance(output, Touch)]
