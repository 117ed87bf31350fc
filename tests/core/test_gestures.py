"""The one button: what edges mean, and what the device makes of it in each situation."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.synth import Street, heartbeats, merged, press, ranges, settled, steady, upright

from retrowalk.core.gestures import Button, Gesture
from retrowalk.core.samples import Item, Restored, SavedState


def meanings(*edges: tuple[float, bool], until_s: float = 60.0) -> list[tuple[float, Gesture]]:
    """What a sequence of edges means, and when it was known, with time passing deadline by deadline."""
    button = Button()
    told: list[tuple[float, Gesture]] = []
    for t, pressed in [*edges, (until_s, None)]:
        while (due := button.deadline()) <= t:
            told += [(due, meant.gesture) for meant in button.advance(due)]
            assert button.deadline() > due
        if pressed is not None:
            told += [(t, meant.gesture) for meant in button.edge(t, pressed)]
    return told


def presses(*held: tuple[float, float]) -> list[tuple[float, bool]]:
    return [edge for down, up in held for edge in ((down, True), (up, False))]


C, P, D, T = Gesture.CLICK, Gesture.PRESS, Gesture.DOUBLE, Gesture.TRIPLE
H, A, S, K, F = Gesture.HOLD, Gesture.ABORTED, Gesture.SOS, Gesture.STUCK, Gesture.FREED


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        pytest.param(presses((0.0, 0.1)), [(0.1, C), (0.55, P)], id="press"),
        pytest.param(presses((0.0, 0.9)), [(0.9, C), (1.35, P)], id="slow press"),
        pytest.param(presses((0.0, 0.1), (0.3, 0.4)), [(0.1, C), (0.4, C), (0.85, D)], id="double"),
        pytest.param(
            presses((0.0, 0.1), (0.3, 0.4), (0.6, 0.7)), [(0.1, C), (0.4, C), (0.7, C), (0.7, T)], id="triple"
        ),
        pytest.param(presses((0.0, 0.1), (0.6, 0.7)), [(0.1, C), (0.55, P), (0.7, C), (1.15, P)], id="two presses"),
        pytest.param(presses((0.0, 1.5)), [(1.0, H), (1.5, A)], id="held, let go before SOS"),
        pytest.param(presses((0.0, 3.5)), [(1.0, H), (3.0, S)], id="held for SOS"),
        pytest.param(presses((0.0, 12.0)), [(1.0, H), (3.0, S), (10.0, K), (12.0, F)], id="stuck, freed"),
        pytest.param([(0.0, True)], [(1.0, H), (3.0, S), (10.0, K)], id="stuck for ever"),
        pytest.param([(0.0, True), (0.05, True), (0.1, False), (0.11, False)], [(0.1, C), (0.55, P)], id="edges twice"),
        pytest.param([(0.0, False)], [], id="release alone"),
        pytest.param(presses((0.0, 0.1), (0.3, 1.5)), [(0.1, C), (1.3, H), (1.5, A)], id="press, then held"),
    ],
)
def test_edges_become_gestures(edges, expected):
    """The table of DESIGN.md: press, double, triple, hold at 1 s, SOS at 3 s, stuck at 10 s."""
    got = meanings(*edges)
    assert [g for _, g in got] == [g for _, g in expected]
    assert [t for t, _ in got] == pytest.approx([t for t, _ in expected])


@given(st.lists(st.tuples(st.floats(0.01, 15.0), st.booleans()), max_size=20))
def test_only_a_hold_of_three_seconds_is_sos(steps):
    """However the button is worked: SOS comes exactly for each hold of 3 s, and a long hold is never a click."""
    t, edges = 0.0, []
    for gap, pressed in steps:
        t += gap
        edges.append((t, pressed))
    end = t + 20.0
    holds, down = [], None
    for t, pressed in edges:
        if pressed and down is None:
            down = t
        elif not pressed and down is not None:
            holds.append(t - down)
            down = None
    if down is not None:
        holds.append(end - down)
    got = [g for _, g in meanings(*edges, until_s=end)]
    assert got.count(S) == sum(held >= 3.0 - 1e-9 for held in holds)
    assert got.count(C) == sum(held < 1.0 - 1e-9 for held in holds)


# --------------------------------------------------------------------------------------- the whole device


def quiet_life(until_s: float, start_s: float = 6.0) -> list[Item]:
    """Nothing behind, nothing wrong."""
    return merged(
        ranges(steady(start_s, until_s, None), latency_s=0.0),
        upright(until_s - start_s, start_s),
        heartbeats(start_s, until_s),
    )


def device(*button: list[Item], until_s: float = 20.0) -> Street:
    """A guarding device, and these presses (from 6 s on)."""
    street = Street(voice=True).run(settled())
    return street.run(merged(quiet_life(until_s), *button), until_s)


def said(street: Street, after_s: float = 6.0) -> list[str]:
    return [speak.phrase for speak in street.spoken() if speak.phrase and speak.t_s >= after_s]


@pytest.mark.parametrize(
    ("button", "words"),
    [
        pytest.param([press(7.0)], ["guarding", "around"], id="press: how am I doing"),
        pytest.param([press(7.0), press(7.3)], ["quiet"], id="double: quiet"),
        pytest.param([press(7.0), press(7.3), press(7.6)], ["switch_off_question"], id="triple: switch off?"),
        pytest.param(
            [press(7.0), press(7.3), press(7.6), press(9.0)],
            ["switch_off_question", "stopping"],
            id="triple, confirmed",
        ),
        pytest.param(
            [press(7.0), press(7.3), press(7.6), press(14.0)],
            ["switch_off_question", "guarding", "around"],
            id="triple, not confirmed",
        ),
        pytest.param([press(7.0, 1.5)], ["sos_hold"], id="hold, let go"),
        pytest.param([press(7.0, 3.5)], ["sos_hold", "sos_raised"], id="hold: SOS"),
        pytest.param([press(7.0, 11.5)], ["sos_hold", "sos_raised", "fault", "fault_over"], id="stuck, freed"),
    ],
)
def test_each_gesture_says_what_it_did(button, words):
    """With nothing open, each row of the button's table is answered by its own words and no others."""
    assert said(device(*button)) == words


def test_a_clean_switch_off_is_a_state_and_says_why():
    """Triple press, confirmed: the state is stopping, because of the button."""
    street = device(press(7.0), press(7.3), press(7.6), press(9.0))
    assert street.first("guard.changed", state="stopping").reasons == ("button",)


def test_quiet_covers_cautions_but_no_warning():
    """After a double press an approach is silent up to the warning, which is heard."""
    approach = [(9.0 + i / 15, 3.5 - 0.6 * i / 15) for i in range(60)]
    items = merged(
        ranges([*steady(6.0, 9.0, None), *approach], latency_s=0.0),
        upright(7.0, 6.0),
        heartbeats(6.0, 13.0),
        press(7.0),
        press(7.3),
    )
    street = Street(voice=True).run(settled()).run(items)
    assert street.first("hazard.raised", level="caution") is not None
    assert said(street)[0] == "quiet"
    assert "object" not in said(street)
    assert "stop" in said(street)


def test_quiet_covers_no_fault():
    """After a double press, a sensor that falls silent is named all the same."""
    items = merged(
        ranges(steady(6.0, 9.0, None), latency_s=0.0), upright(6.0, 6.0), heartbeats(6.0, 12.0), press(7.0), press(7.3)
    )
    street = Street(voice=True).run(settled()).run(items)
    assert "not_protecting" in said(street)


def test_sos_is_open_until_called_off_by_two_presses():
    """SOS; a press asks; a second press within 5 s sends the all-clear; quick presses are not "quiet" as well."""
    street = device(press(7.0, 3.5), press(12.0), press(12.3), until_s=20.0)
    assert said(street) == ["sos_hold", "sos_raised", "all_clear_question", "sos_cancelled"]
    assert street.first("sos.cancelled").by == "button"


@pytest.mark.slow
def test_the_second_press_may_not_come_late():
    """A press more than 5 s after the question asks again, and calls nothing off."""
    street = device(press(7.0, 3.5), press(12.0), press(18.0), until_s=24.0)
    assert street.first("sos.cancelled") is None
    assert said(street).count("all_clear_question") == 2


@pytest.mark.slow
def test_a_stuck_button_cancels_nothing():
    """Held for ever: SOS at 3 s, named as stuck at 10 s, and its release calls nothing off."""
    street = device(press(7.0, 15.0), until_s=25.0)
    assert street.first("fault.raised", part="button", fault="stuck") is not None
    assert street.first("sos.cancelled") is None


def test_a_fall_and_a_call_for_help_are_both_called_off():
    """With a confirmed fall and an SOS open, the all-clear tells the caregiver of both."""
    state = SavedState(0.0, "guarding", 0.0, open_alarm="fall sos", fall_number=3)
    items = merged([Restored(0.0, state, 1.0)], upright(9.0), ranges(steady(0.0, 9.0, None)), heartbeats(0.0, 9.0))
    street = Street(voice=True).run(merged(items, press(3.0), press(5.0)))
    assert street.first("fall.cancelled").fall == 3
    assert street.first("sos.cancelled") is not None
    assert math.isclose(street.first("fall.cancelled").t_s, street.first("sos.cancelled").t_s)
