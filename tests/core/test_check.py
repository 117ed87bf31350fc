"""The check at the start: a hand behind, and a press that answers what was heard; in any order, or limited and said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.core.synth import Street, heartbeats, merged, press, ranges, steady
from tests.core.test_care import UP, still

from retrowalk.config import Config, HcSr04, Walker
from retrowalk.core.check import ANSWER_S
from retrowalk.core.events import StateSaved
from retrowalk.core.samples import FirstUse, Item, Restored, SavedState, VoiceHeartbeat

SENSORS = (HcSr04(),)
GONE_S = 5.0
"""So long after the hand was held out, for a second, the path behind is known to be clear: that part is passed."""
BY_EAR = Config(range_sensor=SENSORS)
BY_TOUCH = Config(range_sensor=SENSORS, walker=Walker(hearing="touch"))


def start(
    *items: Sequence[Item],
    hand_s: float = 2.5,
    until_s: float = 20.0,
    proof: str = "",
    voice_from_s: float = 0.0,
    config: Config = BY_EAR,
    before: Sequence[Item] = (),
) -> Street:
    """A start: the wearer stands, holds a hand behind for a second from `hand_s` on (0: never), and `items` happen."""
    hand = [*steady(0.0, hand_s, None), *steady(hand_s, hand_s + 1.0, 0.5), *steady(hand_s + 1.0, until_s, None)]
    rear = ranges(hand if hand_s else steady(0.0, until_s, None), latency_s=0.0)
    beats = merged(
        heartbeats(0.0, until_s, voice=False),
        heartbeats(voice_from_s, until_s, courier=False, proof=proof) if voice_from_s < until_s else [],
    )
    street = Street(config, voice=voice_from_s == 0.0).run(before)
    return street.run(merged(rear, still(0.0, until_s, UP), beats, *items), until_s)


def states(street: Street) -> list[tuple[str, tuple[str, ...]]]:
    return [(event.state.value, event.reasons) for event in street.events("guard.changed")]


def entered(street: Street, state: str) -> float:
    """When a state was first entered."""
    found = street.first("guard.changed", state=state)
    assert found is not None, states(street)
    return float(found.t_s)


def sounded(street: Street, phrase: str) -> list[float]:
    """When a phrase began to sound."""
    return [t for t, speak in street.heard if speak.phrase == phrase]


def saved(street: Street) -> SavedState:
    return [o for o in street.outputs if isinstance(o, StateSaved)][-1].state


@pytest.mark.parametrize(
    ("press_s", "hand_s"),
    [
        pytest.param(1.6, 4.0, id="press, then hand"),
        pytest.param(10.0, 2.5, id="hand, then press"),
        pytest.param(3.0, 2.5, id="at once"),
        pytest.param(0.3, 2.5, id="in the middle of the question"),
    ],
)
def test_a_press_and_a_hand_in_any_order_pass(press_s, hand_s):
    """Asked for the press first and the hand next; once both were given it guards, and asks nobody anything."""
    street = start(press(press_s), hand_s=hand_s)
    assert sounded(street, "self_test")[0] < sounded(street, "checking")[0]
    assert states(street) == [("checking", ()), ("guarding", ())]
    assert entered(street, "guarding") == pytest.approx(max(press_s + 0.15, hand_s + GONE_S), abs=0.2)
    assert saved(street).sound_confirmed
    assert not sounded(street, "around"), "a press that answers is no question how things are"


def test_an_answer_is_thanked_for():
    """It says "Good." while the hand is still awaited; where both are given, "Guarding." says as much."""
    first, last = start(press(1.6), hand_s=4.0), start(press(10.0))
    assert 1.6 < sounded(first, "heard")[0] < 2.8
    assert not sounded(last, "heard")


def test_a_press_before_the_question_sounds_answers_nothing():
    """What was not heard cannot be confirmed, also by a press that is let go after it began."""
    early = press(-0.2, 0.4)
    street = Street(BY_EAR, voice=True).run(
        merged(early, ranges(steady(0.0, 6.0, None)), still(0.0, 6.0, UP), heartbeats(0.0, 6.0, proof=""))
    )
    assert not saved(street).sound_confirmed


def test_a_press_that_is_not_let_go_answers_nothing_yet():
    """A button that hangs is no answer: a hold is a call for help."""
    street = start(press(3.0, 20.0), until_s=5.0)
    assert not saved(street).sound_confirmed


def test_a_hand_that_comes_late_is_reminded_of_the_press():
    """Whoever holds out a hand and has not pressed is asked once more, right then."""
    asked = sounded(start(hand_s=5.0), "self_test")
    assert len(asked) == 2
    assert asked[1] == pytest.approx(5.0 + GONE_S, abs=0.2)


def test_without_an_answer_it_is_limited_said_felt_and_told():
    """At the latest 8 s after hand and question; a press on that confirms, and "Guarding" is said."""
    street = start(press(18.0), hand_s=2.5, until_s=22.0)
    limited = street.first("guard.changed", state="limited")
    assert limited.reasons == ("unheard",)
    assert limited.t_s <= 2.5 + GONE_S + ANSWER_S + 0.2
    (said,) = street.spoken("limited")
    assert (said.value, said.alert) == ("unheard", limited.alert)
    assert [touch.pattern for touch in street.touches() if touch.t_s == limited.t_s] == ["fault"]
    assert entered(street, "guarding") == pytest.approx(18.15, abs=0.1)
    assert sounded(street, "guarding")


def test_a_check_that_nobody_answers_is_limited_and_said():
    """No hand, no press: after 30 s; and when the hand comes then, that the sound is not confirmed."""
    street = start(hand_s=40.0, until_s=46.0)
    assert states(street) == [("checking", ()), ("limited", ("unchecked",)), ("limited", ("unheard",))]
    assert entered(street, "limited") == pytest.approx(30.0, abs=0.1)
    assert [speak.value for speak in street.spoken("limited")] == ["unchecked", "unheard"]


def test_a_microphone_that_hears_it_needs_no_press():
    """Only the hand is missing then."""
    assert entered(start(proof="heard"), "guarding") <= 2.5 + GONE_S + 0.1


def test_a_microphone_that_does_not_hear_it_is_no_answer():
    """It is limited as without any."""
    assert states(start(proof="unheard"))[-1] == ("limited", ("unheard",))


def test_accepting_the_limits_is_an_answer_too():
    """Nobody accepts what was not heard; the press is the answer to the later question alone."""
    street = start(press(44.0), until_s=46.0, before=[FirstUse(0.0, accepted=False)])
    assert street.first("limits.accepted") is not None
    assert states(street)[-1] == ("guarding", ())
    assert not sounded(street, "around")


@pytest.mark.parametrize(
    ("confirmed", "asked"), [pytest.param(True, 0, id="heard before"), pytest.param(False, 1, id="never confirmed")]
)
def test_a_restart_asks_only_who_has_not_answered(confirmed, asked):
    """Within ten minutes of guarding nobody is asked again for what they have answered."""
    state = SavedState(0.0, "guarding", 0.0, UP, sound_confirmed=confirmed)
    street = start(hand_s=0.0, until_s=3.0, before=[Restored(0.0, state, 2.0)])
    assert len(sounded(street, "self_test")) == asked
    assert not sounded(street, "checking")
    assert states(street)[-1][0] == ("guarding" if confirmed else "checking")


def test_a_restart_amid_the_check_asks_for_what_is_missing():
    """Whoever had pressed before is asked for the hand alone."""
    state = SavedState(0.0, "checking", None, UP, sound_confirmed=True)
    street = start(hand_s=0.0, until_s=6.0, before=[Restored(0.0, state, 2.0)])
    assert not sounded(street, "self_test")
    assert sounded(street, "checking")


def test_a_restart_that_comes_too_late_asks_again():
    """A day later both are asked."""
    state = SavedState(0.0, "guarding", 0.0, UP, sound_confirmed=True)
    street = start(hand_s=0.0, until_s=3.0, before=[Restored(0.0, state, 86400.0)])
    assert sounded(street, "self_test")


def test_a_voice_that_comes_late_asks_when_it_is_there():
    """It comes up after 14 s: until then its loss is the reason, and then the question is asked."""
    street = start(voice_from_s=14.0, until_s=17.0)
    assert ("limited", ("voice",)) in states(street)
    asked = [speak.t_s for speak in street.spoken("self_test") if speak.t_s >= 14.0]
    assert asked
    assert asked[0] < 15.0
    assert states(street)[-1] == ("limited", ("unheard",))


def test_a_wearer_who_is_told_by_touch_is_asked_by_touch():
    """The question is felt; a press on it passes though nothing can be heard."""
    silent: list[Any] = [VoiceHeartbeat(i / 10, "speaker", 0, 0, "no_device", output="") for i in range(80)]
    rear = ranges([*steady(0.0, 2.5, None), *steady(2.5, 3.5, 0.5), *steady(3.5, 8.0, None)], latency_s=0.0)
    life = merged(rear, still(0.0, 8.0, UP), heartbeats(0.0, 8.0, voice=False), silent, press(1.5))
    street = Street(BY_TOUCH).run(life, 8.0)
    assert [touch for touch in street.touches() if touch.t_s <= 0.1]
    assert states(street)[-1] == ("guarding", ())
