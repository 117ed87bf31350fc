"""The fall countdown and the call for help, through the whole Companion."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.synth import (
    LYING_ON_BACK,
    Street,
    fall,
    heartbeats,
    merged,
    posed,
    press,
    ranges,
    settled,
    steady,
    walking,
)

from retrowalk.config import Config
from retrowalk.config import Fall as Knobs
from retrowalk.core.alerts import COUNTDOWNS, COUNTS
from retrowalk.core.care import EARLIER
from retrowalk.core.events import Priority, StateSaved
from retrowalk.core.samples import (
    Command,
    EventDelivered,
    HealthReport,
    ImuSample,
    Item,
    Restored,
    SavedState,
    Tick,
)

FALL_S = 8.0
"""Tips over then; on the ground 0.6 s later; suspected about two seconds after that."""


def fallen(until_s: float = 50.0, *, config: Config | None = None, after: list[ImuSample] | None = None) -> list[Item]:
    """From 6 s on: stands, falls at 8 s, lies still (or what `after` says from 15 s on)."""
    motion: list[Item] = [*posed(2.0, 6.0, (0.0, 0.0, 1.0)), *fall(FALL_S, lying_s=6.4)]
    motion += after if after is not None else list(posed(until_s - 15.0, 15.0, LYING_ON_BACK))
    return merged(ranges(steady(6.0, until_s, None), latency_s=0.0), motion, heartbeats(6.0, until_s))


def run(*more: list[Item], until_s: float = 50.0, config: Config | None = None, **options: object) -> Street:
    street = Street(config, voice=True).run(settled(config))
    return street.run(merged(fallen(until_s, **options), *more), until_s)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_fall_counts_down_aloud_and_is_confirmed():
    """Suspected, asked, counted with every number, confirmed 30 s later; the caregiver's priorities follow."""
    street = run()
    suspected, confirmed = street.first("fall.suspected"), street.first("fall.confirmed")
    assert suspected.priority is Priority.MEDIUM
    assert confirmed.priority is Priority.HIGH
    assert confirmed.t_s - suspected.t_s == pytest.approx(30.0, abs=0.002)
    assert confirmed.fall == suspected.fall == 1
    counted = [(s.value, s.t_s) for s in street.spoken("countdown")]
    assert [value for value, _ in counted] == list(COUNTS)
    for value, t in counted:
        assert confirmed.t_s - t == pytest.approx(float(value), abs=0.002)
    phrases = [s.phrase for s in street.spoken() if s.t_s >= suspected.t_s and s.phrase]
    assert phrases[0] == "fall_question"
    assert "fall_confirmed" in phrases


@pytest.mark.slow
def test_the_countdown_is_felt_too():
    """Every number also vibrates and buzzes, for those who hear little."""
    street = run()
    felt = [t.t_s for t in street.touches() if t.pattern in COUNTDOWNS and t.buzzer]
    assert {s.t_s for s in street.spoken("countdown")} <= set(felt)


@pytest.mark.parametrize("seconds", [10.0, 60.0])
def test_the_countdown_is_as_long_as_configured(seconds):
    """`fall.countdown_s` holds."""
    config = Config(fall=Knobs(countdown_s=seconds))
    street = run(until_s=20.0 + seconds, config=config)
    assert street.first("fall.confirmed").t_s - street.first("fall.suspected").t_s == pytest.approx(seconds, abs=0.002)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [10.0, 15.0, 25.0])
def test_the_question_comes_before_any_number(seconds):
    """A countdown that begins at a number that could be said asks first, and does not say that number"""
    street = run(config=Config(fall=Knobs(countdown_s=seconds)))
    suspected = street.first("fall.suspected")
    said = [(s.phrase, s.value) for s in street.spoken() if s.t_s >= suspected.t_s and s.phrase]
    assert said[0] == ("fall_question", "")
    assert ("countdown", f"{seconds:g}") not in said


@pytest.mark.slow
def test_a_press_and_release_cancels():
    """Press and release during the countdown: called off by button, said, nothing is counted or confirmed after."""
    street = run(press(20.0))
    cancelled = street.first("fall.cancelled")
    assert (cancelled.by, cancelled.fall) == ("button", 1)
    assert 20.15 <= cancelled.t_s <= 20.65
    assert street.first("fall.confirmed") is None
    assert not [s for s in street.spoken("countdown") if s.t_s > cancelled.t_s]
    assert not [s for s in street.spoken("guarding") if s.t_s > 19.0]


@pytest.mark.slow
def test_a_press_begun_before_the_countdown_does_not_cancel():
    """A button that was down when the countdown began (the walker fell onto it) is no answer."""
    started = run(until_s=12.0).first("fall.suspected").t_s
    street = run(press(started - 0.2, 0.5))
    assert street.first("fall.cancelled") is None
    assert street.first("fall.confirmed") is not None


@pytest.mark.slow
def test_a_held_button_does_not_cancel_but_calls():
    """Holding on during the countdown is SOS, never a cancel."""
    street = run(press(15.0, 4.0))
    assert street.first("sos.raised") is not None
    assert street.first("fall.cancelled") is None
    assert street.first("fall.confirmed") is not None


@pytest.mark.slow
def test_a_stuck_button_does_not_cancel():
    """A button that is stuck through the countdown, and freed in it, calls nothing off."""
    street = run(press(7.0, 20.0))
    assert street.first("fall.cancelled") is None
    assert street.first("fall.confirmed") is not None


@pytest.mark.slow
def test_getting_up_and_walking_cancels():
    """Steps taken upright call the countdown off: by `walked`."""
    up = list(walking(25.0, bouts=[(1.0, 24.0)], turns=False).shifted(15.0).samples())
    street = run(until_s=40.0, after=up)
    cancelled = street.first("fall.cancelled")
    assert cancelled.by == "walked"
    assert street.first("fall.confirmed") is None


@pytest.mark.slow
def test_crawling_does_not_cancel():
    """Steps felt while the trunk lies are no getting up."""
    lying = [
        ImuSample(s.t_received_s, s.t_measured_s, (s.accel_m_s2[2], s.accel_m_s2[1], -s.accel_m_s2[0]), (0.0, 0.0, 0.0))
        for s in walking(35.0, bouts=[(1.0, 34.0)], turns=False).shifted(15.0).samples()
    ]
    street = run(until_s=50.0, after=lying)
    assert street.first("fall.cancelled") is None
    assert street.first("fall.confirmed") is not None


@pytest.mark.slow
def test_a_second_fall_during_the_countdown_starts_no_second_one():
    """One countdown at a time; the number counts falls."""
    again: list[Item] = [*posed(3.0, 15.0, LYING_ON_BACK), *fall(18.0, lying_s=31.0)]
    street = run(after=again)
    assert len(street.events("fall.suspected")) == 1


# ------------------------------------------------------------------------------------------------ restarts


def last_state(street: Street) -> SavedState:
    return [o for o in street.outputs if isinstance(o, StateSaved)][-1].state


def restarted(died_s: float, dead_s: float, *more: list[Item], until_s: float = 60.0) -> Street:
    """The device dies at `died_s` of a fall's session and is back `dead_s` later (its session begins at 0)."""
    before = Street(voice=True).run(settled()).run(fallen(died_s), died_s)
    state = last_state(before)
    elapsed = died_s - state.t_saved_s + dead_s
    life = merged(
        ranges(steady(0.1, until_s, None), latency_s=0.0),
        posed(until_s - 0.1, 0.1, LYING_ON_BACK),
        heartbeats(0.1, until_s),
    )
    street = Street(voice=True).run([Restored(0.0, state, elapsed)])
    return street.run(merged(life, *more), until_s)


@pytest.mark.slow
def test_the_countdown_goes_on_after_a_restart():
    """Killed in the middle: "restarted" is said, and the fall is confirmed when it would have been."""
    suspected = run(until_s=20.0).first("fall.suspected").t_s
    street = restarted(20.0, 4.0)
    assert street.spoken("restarted")
    left = 30.0 - (20.0 - suspected) - 4.0
    assert street.first("fall.confirmed").t_s == pytest.approx(left, abs=0.01)
    assert street.first("fall.confirmed").fall == 1
    assert [s.value for s in street.spoken("countdown")] == [c for c in COUNTS if float(c) < left]


@pytest.mark.slow
def test_a_countdown_that_ended_while_dead_is_confirmed_at_once():
    """Nobody could cancel while the device was dead: it is confirmed with the first item."""
    street = restarted(20.0, 120.0, until_s=3.0)
    assert street.first("fall.confirmed").t_s == 0.0


@pytest.mark.slow
def test_a_press_after_the_restart_cancels():
    """The countdown that goes on can be called off."""
    assert restarted(20.0, 4.0, press(5.0)).first("fall.cancelled").by == "button"


@pytest.mark.slow
def test_a_confirmed_fall_stays_open_over_a_restart():
    """Killed after it was confirmed: a press asks, and a second one sends the all-clear."""
    street = restarted(45.0, 5.0, press(5.0), press(7.0), until_s=12.0)
    assert street.spoken("all_clear_question")
    assert street.first("fall.cancelled").fall == 1


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.floats(0.0, 8.0), st.floats(0.0, 3.0)), max_size=4))
@pytest.mark.slow
def test_any_number_of_restarts_moves_the_end_by_nothing(lives):
    """Restarts at any instants: the fall is confirmed 30 s of real time after it was suspected, once."""
    street = Street(voice=True).run(
        [Restored(0.0, SavedState(0.0, "guarding", 0.0, fall_number=2, countdown_left_s=30.0), 0.0)]
    )
    real_s, confirmed = 0.0, []
    for alive_s, dead_s in [*lives, (60.0, 0.0)]:
        beats = list(heartbeats(0.01, alive_s)) if alive_s > 0.2 else []
        street.run(beats, alive_s)
        confirmed += [real_s + e.t_s for e in street.events("fall.confirmed")]
        if confirmed:
            break
        state = last_state(street)
        elapsed = alive_s - state.t_saved_s + dead_s
        real_s += alive_s + dead_s
        street = Street(voice=True).run([Restored(0.0, state, elapsed)])
        if street.events("fall.confirmed"):
            confirmed.append(real_s)
            break
    assert confirmed == [pytest.approx(max(30.0, real_s), abs=0.02)]


@pytest.mark.slow
def test_alert_numbers_are_never_used_twice_over_a_restart():
    """A long quiet session, then a restart: the new session's numbers lie above the old ones."""
    street = Street(voice=True).run(settled())
    companion = street.companion
    used = 0
    t = 6.0
    for i in range(9000):
        t += 1.0
        for output in companion.feed(HealthReport(t, "button", "stuck", active=i % 2 == 0)):
            if isinstance(output, StateSaved):
                street.outputs.append(output)
            used = max(used, getattr(output, "alert", None) or 0)
    again = Street().run([Restored(0.0, last_state(street), 1.0)])
    assert min(s.alert for s in again.spoken()) > used


# --------------------------------------------------------------------------------------- the caregiver


def delivered(t: float) -> list[Item]:
    return [EventDelivered(t, 10_000)]


@pytest.mark.slow
def test_the_caregiver_was_told():
    """When the confirmed fall has been delivered, the walker hears so."""
    street = run(delivered(41.5))
    assert street.spoken("caregiver_told")[0].t_s == pytest.approx(41.5, abs=0.5)
    assert not street.spoken("caregiver_not_reached")


@pytest.mark.slow
def test_the_caregiver_was_not_reached():
    """Not delivered within 30 s: said, repeated, and taken back when it is."""
    street = run(delivered(140.0), until_s=150.0)
    said = [s.t_s for s in street.spoken("caregiver_not_reached")]
    confirmed = street.first("fall.confirmed").t_s
    assert said[0] == pytest.approx(confirmed + 30.0, abs=0.1)
    assert len(said) == 2
    assert [s.t_s for s in street.spoken("caregiver_told")] == [pytest.approx(140.0, abs=1.0)]


@pytest.mark.slow
def test_who_waits_for_help_is_told_over_a_restart_too():
    """Killed after the fall was confirmed and before that was delivered: not reached, then told when it is."""
    street = restarted(45.0, 1.0, [EventDelivered(20.0, 7), EventDelivered(50.0, EARLIER)])
    assert [s.t_s for s in street.spoken("caregiver_not_reached")] == [pytest.approx(30.0, abs=0.1)]
    assert [s.t_s for s in street.spoken("caregiver_told")] == [pytest.approx(50.0, abs=0.5)]


@pytest.mark.slow
def test_what_was_delivered_before_a_restart_is_not_waited_for():
    """Killed after the walker was told: nothing is said of the helper again."""
    before = run(delivered(41.5), until_s=44.0)
    street = Street(voice=True).run([Restored(0.0, last_state(before), 1.0)])
    street.run(merged(heartbeats(0.1, 60.0), delivered(29.0)), 60.0)  # that nobody gets up has been told meanwhile
    assert not street.spoken("caregiver_not_reached")
    assert not street.spoken("caregiver_told")


@pytest.mark.slow
def test_the_caregiver_has_seen_it():
    """The command `seen` is answered aloud; an unknown command is refused and told, and says nothing."""
    street = run([Command(42.0, "a", "seen"), Command(43.0, "b", "open_door")])
    assert street.spoken("caregiver_seen")
    assert [(e.name, e.accepted) for e in street.events("command.received")] == [("seen", True), ("open_door", False)]


def test_an_sos_is_delivered_and_told():
    """SOS, delivered: the walker hears that help was told."""
    street = Street(voice=True).run(settled())
    life = merged(ranges(steady(6.0, 16.0, None), latency_s=0.0), posed(10.0, 6.0, (0, 0, 1)), heartbeats(6.0, 16.0))
    street.run(merged(life, press(7.0, 3.3), delivered(12.0)), 16.0)
    assert street.first("sos.raised").priority is Priority.HIGH
    assert street.spoken("caregiver_told")


def test_no_fall_is_taken_from_a_stopping_device():
    """After switch-off the device handled on a table raises no alarm."""
    street = Street(voice=True).run(settled())
    street.run(merged([Tick(6.0)], press(6.1), press(6.4), press(6.7), press(7.4)), 8.0)
    street.run(fall(9.0), 20.0)
    assert street.first("fall.suspected") is None
