"""Calm words about how somebody walks, through the whole Companion: the simulated walker wears the clip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.core.synth import Street, heartbeats, merged, ranges, settled, steady

from retrowalk.core.arbiter import Arbiter
from retrowalk.core.coaching import REST_S
from retrowalk.core.events import Level, Output, StateSaved
from retrowalk.core.samples import ImuSample, Item, Restored, SavedState, Usual, VoicePhase, VoiceProgress
from retrowalk.sim.walker import Walker

DT_S = 1.0 / 104.0
WALKS_S = 8.0
"""They set off so long after the session began; the check takes 6 s."""
SPEED_M_S = 0.5
USUAL = Usual(600.0, 0.023, 0.96, 0.55, 99.0, 0.5)
"""How the walker of seed 1 walks at that speed."""
KNOWN = SavedState(t_saved_s=100.0, guard_state="stopping", usual=USUAL)

Does = Callable[[Walker, float], None]
"""What the walker does at a time."""


def clip(script: dict[float, Does], end_s: float) -> Iterator[ImuSample]:
    """What the clip feels from the end of the check on."""
    walker = Walker(1, upright_deg=2.0)
    todo = sorted(script.items())
    t = 6.0
    while t < end_s:
        while todo and todo[0][0] <= t:
            at_s, does = todo.pop(0)
            does(walker, at_s)
        moment = walker.moment(t, DT_S)
        yield ImuSample(t, t, moment[0:3], moment[3:6])
        t += DT_S


def worn(
    script: dict[float, Does], end_s: float, *, state: SavedState = KNOWN, more: Iterable[Item] | None = None
) -> Street:
    """A guarding device, switched on again by a walker it knows, who walks backward and does what the script says."""
    walks: dict[float, Does] = {WALKS_S: lambda walker, _: walker.walk(SPEED_M_S)}
    street = Street(voice=True).run([Restored(0.0, state, 86400.0)]).run(settled())
    around = more or ranges(steady(6.0, end_s, None), latency_s=0.0)
    return street.run(merged(clip({**walks, **script}, end_s), around, heartbeats(6.0, end_s)))


def raised(street: Street) -> list[Any]:
    """What was found of how they walk."""
    return [event for event in street.events("hazard.raised") if event.measure]


@pytest.mark.slow
def test_a_lean_is_told_with_its_numbers():
    """Leaning back 8 degrees from 32 s on: two words and a touch within 4 s, and over when upright again."""
    street = worn({32.0: lambda walker, t: walker.lean(t, -8.0, hold_s=4.0)}, 46.0)
    (event,) = raised(street)
    (said,) = street.spoken("lean_back")
    assert event.hazard == "lean_back"
    assert 32.8 < event.t_s < 36.0
    assert event.alert == said.alert
    assert event.measure == "capture_pitch_deg"
    assert event.usual - event.value > 6.0
    assert said.earcon == ""
    assert [touch.pattern for touch in street.touches() if touch.t_s == said.t_s] == ["nudge"]
    assert street.first("hazard.cleared", hazard="lean_back").t_s > 36.0


@pytest.mark.slow
def test_a_known_walker_is_told_soon():
    """What is usual came from the card: uneven steps are told half a minute after the first."""
    street = worn({26.0: lambda walker, _: walker.step_unevenly(0.3)}, 40.0)
    assert [event.hazard for event in raised(street)] == ["unsteady"]
    assert street.spoken("unsteady")[0].t_s < 36.0


@pytest.mark.slow
def test_nothing_is_said_beside_a_warning():
    """Somebody comes up behind while the walker leans: "Stop" is said; the lean is told when that is over."""
    near = ranges([*steady(6.0, 33.0, None), *steady(33.0, 42.0, 0.6)], latency_s=0.0)
    street = worn({32.0: lambda walker, t: walker.lean(t, -8.0)}, 42.0, more=near)
    assert [event.alert for event in raised(street)] == [None]
    stops = [said.t_s for said in street.spoken("stop")]
    (lean,) = street.spoken("lean_back")
    assert stops
    assert all(abs(lean.t_s - stop_s) >= REST_S for stop_s in stops)


@pytest.mark.slow
def test_what_was_learned_goes_on_after_a_switch_off():
    """The state that is saved at the end of a walk holds what is usual, moved by little."""
    street = worn({}, 30.0)
    saved = [output.state for output in street.outputs if isinstance(output, StateSaved)][-1]
    assert saved.usual is not None
    assert saved.usual.learned_s > USUAL.learned_s
    assert saved.usual.cadence_spm == pytest.approx(USUAL.cadence_spm, rel=0.02)


# ----------------------------------------------------------------------------------------------- whether it is said


def desk() -> tuple[Arbiter, list[Output]]:
    out: list[Output] = []
    return Arbiter(out), out


def test_the_ear_is_free_when_nothing_else_sounds():
    """At first, and some seconds after a warning that is over."""
    arbiter, _ = desk()
    assert arbiter.free(1.0, 30, REST_S)
    number = arbiter.announce(1.0, "battery_low", "20")
    assert not arbiter.free(1.5, 30, REST_S)
    for phase, t in ((VoicePhase.STARTED, 1.6), (VoicePhase.FINISHED, 2.6)):
        arbiter.progress(VoiceProgress(t, t, number, phase))
    assert not arbiter.free(3.0, 30, REST_S)
    assert arbiter.free(1.0 + REST_S + 0.1, 30, REST_S)


@pytest.mark.parametrize(
    "hold",
    [
        pytest.param(lambda arbiter: arbiter.hold(1.0, "rear", Level.WARNING), id="a warning holds"),
        pytest.param(lambda arbiter: setattr(arbiter, "coming", (80, 2.0)), id="a number of the countdown comes"),
        pytest.param(lambda arbiter: setattr(arbiter, "voice_lost", True), id="there is no voice"),
    ],
)
def test_the_ear_is_not_free(hold):
    """Something more urgent sounds or is about to, or nobody could hear it."""
    arbiter, _ = desk()
    hold(arbiter)
    assert not arbiter.free(1.5, 30, REST_S)


def test_what_is_less_urgent_keeps_nobody_waiting():
    """The tick, a chime: a caution about balance does not wait for them."""
    arbiter, _ = desk()
    arbiter.announce(1.0, "tick", insist=False)
    arbiter.hold(1.0, "rear", Level.ADVISORY)
    assert arbiter.free(1.1, 61, REST_S)


# ------------------------------------------------------------------------------------------------------ long walks


IMPAIRED: dict[str, tuple[Does, str]] = {
    "leans": (lambda walker, t: walker.lean(t, -8.0), "lean_back"),
    "leans slowly": (lambda walker, t: walker.lean(t, -8.0, over_s=8.0), "lean_back"),
    "steps unevenly": (lambda walker, _: walker.step_unevenly(0.25), "unsteady"),
    "hurries": (lambda walker, _: walker.walk(0.8), "hurrying"),
    "shuffles": (lambda walker, _: walker.shuffle(0.5, 1.25), "shuffling"),
    "looks back": (lambda walker, t: walker.look(t, 40.0, hold_s=4.0), "looking_back"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("does", "hazard"), IMPAIRED.values(), ids=IMPAIRED)
def test_a_stranger_is_known_after_two_minutes(does, hazard):
    """Nothing is known at first; from 150 s on the walker goes otherwise, and it is found within 10 s."""
    street = worn({150.0: does}, 162.0, state=replace(KNOWN, usual=None))
    found = raised(street)
    assert [event.hazard for event in found] == [hazard]
    assert found[0].t_s <= 160.0


@pytest.mark.slow
def test_twenty_minutes_of_steady_walking_are_left_alone():
    """Backward at one pace, with the sway and the uneven steps of a healthy older walker."""
    street = worn({}, 1200.0, state=replace(KNOWN, usual=None))
    assert raised(street) == []
