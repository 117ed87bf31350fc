"""What is worth a calm word before balance goes: each rule and its end, on made-up walking of which the truth is known.

How often recorded people are told something is measured by `benchmarks/steadiness.py`.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from retrowalk.config import Config
from retrowalk.core.habits import EVERY_S, LEARN_S, SESSION, Seen
from retrowalk.core.samples import Usual
from retrowalk.core.steadiness import FORGET_S, Steadiness

KNOBS = Config().balance
STEADY = Seen(
    walking=True,
    pitch_deg=2.0,
    cadence_spm=100.0,
    speed_m_s=0.6,
    step_time_cv=0.03,
    regularity=0.9,
    stride_regularity=0.9,
    vertical_rms_m_s2=0.8,
)
USUAL = Usual(600.0, 0.03, 0.9, 0.8, 100.0, 0.6)

SETTLED_S = 70.0

Walk = Callable[[float], Seen]
"""What is seen so many seconds after a walk began."""


def steadily(t: float) -> Seen:
    """Walks as always: the trunk sways a degree, the numbers waver by some per cent."""
    sway = math.sin(2.0 * math.pi * 0.13 * t)
    return STEADY._replace(
        pitch_deg=2.0 + sway,
        pitch_rate_deg_s=math.cos(2.0 * math.pi * 0.13 * t) * 0.8,
        speed_m_s=0.6 * (1.0 + 0.05 * sway),
        cadence_spm=100.0 * (1.0 + 0.02 * sway),
        step_time_cv=0.03 + 0.01 * sway,
        regularity=0.9 - 0.03 * abs(sway),
    )


class Wearer:
    """Somebody who walks, seen some times a second; keeps what was raised and what is over, and when."""

    def __init__(self, usual: Usual | None = None) -> None:
        self.steadiness = Steadiness(KNOBS)
        if usual is not None:
            self.steadiness.own.restore(usual)
        self.t = 0.0
        self.bout_s = 0.0
        self.raised: list[tuple[float, str]] = []
        self.over: list[tuple[float, str]] = []
        self.said: list[tuple[float, str]] = []

    def walk(self, seconds: float, walk: Walk = steadily, *, listens: bool = True) -> Wearer:
        """Walks on so; what is due is said unless nobody `listens`."""
        began = self.t
        for _ in range(round(seconds / EVERY_S)):
            self.t += EVERY_S
            seen = walk(self.t - began)
            if not seen.walking:
                self.bout_s = self.t
            seen = seen._replace(bout_started_s=self.bout_s if seen.walking else None, last_step_s=self.t)
            for change in self.steadiness.update(self.t, seen):
                (self.raised if change.raised else self.over).append((self.t, change.hazard))
            due = self.steadiness.due(self.t) if listens else None
            if due is not None:
                self.steadiness.said(self.t, due)
                self.said.append((self.t, due))
        return self

    def hazards(self) -> list[str]:
        """What was raised, in its order."""
        return [hazard for _, hazard in self.raised]


@functools.cache
def _settled() -> Wearer:
    return Wearer(USUAL).walk(SETTLED_S)


def settled() -> Wearer:
    """Somebody known who has walked for a while."""
    return copy.deepcopy(_settled())


def leaning(degrees: float, over_s: float, hold_s: float = 60.0) -> Walk:
    """Leans back by so much within `over_s`, and upright again after `hold_s`."""

    def walk(t: float) -> Seen:
        seen = steadily(t)
        share = min(1.0, t / over_s) if t < over_s + hold_s else 0.0
        rate = -degrees / over_s if t < over_s else 0.0
        return seen._replace(
            pitch_deg=(seen.pitch_deg or 0.0) - degrees * share, pitch_rate_deg_s=seen.pitch_rate_deg_s + rate
        )

    return walk


def with_(**changes: object) -> Walk:
    """Walks as always but for these."""
    return lambda t: steadily(t)._replace(**changes)  # type: ignore[arg-type]  # names of Seen, checked by the run


def looking(degrees: float, hold_s: float = 60.0) -> Walk:
    """Turns the trunk aside by so much, and back after `hold_s`, going on as before."""

    def walk(t: float) -> Seen:
        turning = t < 0.6 or hold_s <= t < hold_s + 0.6
        aside = degrees * math.exp(-t / 10.0) if 0.6 <= t < hold_s else 0.0
        return steadily(t)._replace(turning=turning, yaw_held_deg=aside)

    return walk


IMPAIRED = {
    "leans back at once": (leaning(8.0, 0.8), "lean_back", 4.0),
    "leans back slowly": (leaning(7.0, 8.0), "lean_back", 12.0),
    "steps vary": (with_(step_time_cv=0.12), "unsteady", 5.0),
    "steps vary much": (with_(step_time_cv=0.22), "unsteady", 3.0),
    "steps are irregular": (with_(regularity=0.5, stride_regularity=0.55), "unsteady", 5.0),
    "hurries": (lambda t: steadily(t)._replace(speed_m_s=0.6 * min(1.45, 1.0 + 0.15 * t)), "hurrying", 8.0),
    "steps quicker": (lambda t: steadily(t)._replace(cadence_spm=100.0 * min(1.4, 1.0 + 0.1 * t)), "hurrying", 8.0),
    "shuffles": (with_(vertical_rms_m_s2=0.5, speed_m_s=0.5, cadence_spm=115.0), "shuffling", 4.0),
    "looks back": (looking(30.0, hold_s=3.5), "looking_back", 3.5),
}
"""How somebody walks from a moment on, what it is called, and within how many seconds."""

HARMLESS = {
    "leans forward": leaning(-8.0, 0.8),
    "leans back a little": leaning(3.0, 2.0),
    "leans back for a moment": leaning(6.0, 0.3, 0.2),
    "looks back for a moment": looking(40.0, hold_s=2.0),
    "looks aside": looking(15.0),
    "limps": with_(regularity=0.4),
    "walks slowly": with_(speed_m_s=0.4, step_time_cv=0.12, regularity=0.5, stride_regularity=0.5, cadence_spm=85.0),
    "walks slowly and flat": with_(speed_m_s=0.35, vertical_rms_m_s2=0.4, cadence_spm=88.0),
    "walks faster by little": with_(speed_m_s=0.68, cadence_spm=108.0),
    "speeds up over half a minute": lambda t: steadily(t)._replace(speed_m_s=0.6 * min(1.4, 1.0 + t / 75.0)),
    "nothing is known of the steps": with_(step_time_cv=None, regularity=None, stride_regularity=None),
}


@pytest.mark.parametrize(("walk", "hazard", "within_s"), IMPAIRED.values(), ids=IMPAIRED)
def test_what_changes_is_named_in_time(walk, hazard, within_s):
    """From a moment on a known walker goes otherwise: that, and nothing else, is raised and said."""
    wearer = settled().walk(within_s, walk)
    assert wearer.hazards() == [hazard]
    assert [said for _, said in wearer.said] == [hazard]


@pytest.mark.parametrize(("walk", "hazard", "within_s"), IMPAIRED.values(), ids=IMPAIRED)
def test_what_ends_is_over(walk, hazard, within_s):
    """The walker goes as always again: it is over within 15 s, and nothing else begins."""
    wearer = settled().walk(within_s, walk).walk(15.0)
    assert wearer.hazards() == [hazard]
    assert [over for _, over in wearer.over] == [hazard]


@pytest.mark.parametrize(("walk", "hazard", "within_s"), IMPAIRED.values(), ids=IMPAIRED)
def test_nothing_holds_of_somebody_who_stands(walk, hazard, within_s):
    """Whoever has stopped is told nothing."""
    wearer = settled().walk(within_s, walk, listens=False).walk(0.3, with_(walking=False))
    assert [over for _, over in wearer.over] == [hazard]
    assert wearer.steadiness.due(wearer.t) is None


@pytest.mark.parametrize("walk", HARMLESS.values(), ids=HARMLESS)
def test_harmless_walking_is_left_alone(walk):
    """Half a minute of it: nothing."""
    assert settled().walk(30.0, walk).hazards() == []


@pytest.mark.slow
def test_steady_walking_is_left_alone_from_the_first_step():
    """Twenty minutes of somebody who is not known: nothing."""
    assert Wearer().walk(1200.0).hazards() == []


@pytest.mark.parametrize(
    "gait",
    [
        pytest.param({"step_time_cv": 0.13}, id="varying steps"),
        pytest.param({"regularity": 0.3, "stride_regularity": 0.3}, id="irregular steps"),
        pytest.param({"pitch_deg": -7.0}, id="leaning back"),
        pytest.param({"vertical_rms_m_s2": 0.3, "cadence_spm": 120.0, "speed_m_s": 0.3}, id="shuffling"),
    ],
)
def test_what_is_usual_is_not_told(gait):
    """Who has always walked so hears nothing of it in three minutes."""
    assert Wearer().walk(180.0, lambda t: STEADY._replace(**gait)).hazards() == []


@pytest.mark.parametrize(
    ("walk", "hazard"),
    [
        pytest.param(lambda t: STEADY._replace(pitch_deg=-11.0), "lean_back", id="leans far back"),
        pytest.param(lambda t: STEADY._replace(step_time_cv=0.22), "unsteady", id="steps vary very much"),
    ],
)
def test_a_stranger_is_judged_by_what_holds_for_everybody(walk, hazard):
    """Before anything is known of how they walk, what is beyond the limits of everybody is told within 10 s."""
    assert Wearer().walk(30.0, with_(walking=False)).walk(10.0, walk).hazards()[:1] == [hazard]


@pytest.mark.parametrize(
    "walk",
    [
        pytest.param(leaning(12.0, 0.5), id="leans"),
        pytest.param(lambda t: steadily(t)._replace(speed_m_s=0.3 + 0.1 * t), id="speeds up"),
    ],
)
def test_setting_off_is_not_judged(walk):
    """The first 3 s of a bout: nobody walks evenly yet."""
    wearer = settled().walk(2.0, with_(walking=False))
    assert wearer.walk(3.0, walk).hazards() == []


def test_coming_to_a_stop_is_not_judged():
    """The trunk leans back to brake, and no step comes any more."""
    wearer = settled()
    last_s = wearer.t
    for i in range(18):
        t = wearer.t + (i + 1) * EVERY_S
        seen = leaning(10.0, 0.6)(i * EVERY_S)._replace(bout_started_s=0.0, last_step_s=last_s)
        assert wearer.steadiness.update(t, seen) == []


def turning_round(t: float) -> Seen:
    """A turn of three seconds, the trunk leaning into it, and on the other way."""
    if t < 3.0:
        return steadily(t)._replace(turning=True, pitch_deg=-6.0, step_time_cv=0.2)
    return steadily(t)._replace(turned_s=123.0, pitch_deg=-6.0 if t < 5.0 else 2.0)


def test_a_turn_is_not_judged():
    """Neither while it lasts nor until the trunk is back."""
    assert settled().walk(20.0, turning_round).hazards() == []


def bend(degrees: float) -> Walk:
    """The path bends: the trunk turns, and what it was turned by fades while the new way becomes the usual one."""

    def walk(t: float) -> Seen:
        if t < 1.5:
            return steadily(t)._replace(turning=True)
        return steadily(t)._replace(yaw_held_deg=degrees * math.exp(-(t - 1.5) / 10.0))

    return walk


def test_bends_are_told_from_looks_where_the_path_winds():
    """A first bend after a long straight is taken for a look; those that follow it within a minute are not."""
    wearer = settled()
    for _ in range(6):
        wearer.walk(20.0, bend(40.0))
    assert wearer.hazards() == ["looking_back"]


def test_looks_that_turn_back_leave_the_path_straight():
    """Who looks back again and again, forward in between, is told more than once."""
    wearer = settled()
    for _ in range(4):
        wearer.walk(64.0, looking(30.0, hold_s=4.0))
    assert wearer.hazards() == ["looking_back"] * 4
    assert len(wearer.said) >= 2


def test_who_walks_forward_may_look_aside():
    """They see where they go."""
    wearer = Wearer()
    wearer.walk(SETTLED_S, with_(forward=True))
    assert wearer.walk(10.0, lambda t: looking(40.0)(t)._replace(forward=True)).hazards() == []


def test_forward_and_backward_are_compared_apart():
    """Ten degrees less lean and half the speed, walking backward after forward: nothing, either way."""
    wearer = Wearer()
    for _ in range(3):
        wearer.walk(60.0, lambda t: STEADY._replace(forward=True, pitch_deg=8.0, speed_m_s=1.2, vertical_rms_m_s2=2.0))
        wearer.walk(2.0, with_(walking=False))
        wearer.walk(60.0, lambda t: STEADY._replace(forward=False, pitch_deg=-2.0))
        wearer.walk(2.0, with_(walking=False))
    assert wearer.hazards() == []
    backward, forward = wearer.steadiness.backward.own.known, wearer.steadiness.forward.own.known
    assert backward is not None
    assert forward is not None
    assert backward.speed_m_s == pytest.approx(0.6, rel=0.05)
    assert forward.speed_m_s == pytest.approx(1.2, rel=0.05)


# --------------------------------------------------------------------------------------------------------- saying


def test_one_message_in_half_a_minute_and_the_most_urgent_first():
    """Everything at once: the lean is told, then what is still so, 30 s apart."""
    wearer = settled()
    lean = leaning(12.0, 0.5)

    def walk(t: float) -> Seen:
        return lean(t)._replace(step_time_cv=0.25, vertical_rms_m_s2=0.5, cadence_spm=115.0)

    wearer.walk(50.0, walk)
    assert {"lean_back", "unsteady", "shuffling"} <= set(wearer.hazards())
    assert wearer.said[0][1] == "lean_back"
    times = [t for t, _ in wearer.said]
    assert all(b - a >= KNOBS.message_gap_s - 1e-6 for a, b in itertools.pairwise(times))


def test_what_goes_on_is_said_ever_more_seldom():
    """Unsteady for four minutes: said at once, then after 1, 2 and 4 half minutes more."""
    said = settled().walk(230.0, lambda t: steadily(t)._replace(step_time_cv=0.3)).said
    gaps = [b - a for (a, _), (b, _) in itertools.pairwise(said)]
    assert gaps == pytest.approx([30.0, 60.0, 120.0], abs=0.5)


def test_what_comes_back_after_long_is_news():
    """Unsteady, steady for longer than it is remembered, unsteady: told at once both times."""
    unsteady = with_(step_time_cv=0.2)
    wearer = settled().walk(20.0, unsteady).walk(FORGET_S + 20.0).walk(20.0, unsteady)
    (first, _), (second, _) = wearer.said
    assert first < SETTLED_S + 8.0
    assert second < SETTLED_S + 20.0 + FORGET_S + 20.0 + 8.0


def test_what_was_not_said_in_time_is_said_while_it_is_true():
    """Nobody could listen at first: it is said as soon as somebody can, and never once it is over."""
    wearer = settled().walk(12.0, with_(step_time_cv=0.2), listens=False)
    assert wearer.steadiness.due(wearer.t) == "unsteady"
    wearer.walk(15.0, listens=False)
    assert wearer.steadiness.due(wearer.t) is None


def test_numbers_justify_it():
    """A person can read why."""
    wearer = settled().walk(8.0, with_(step_time_cv=0.2))
    assert wearer.steadiness.because("unsteady").startswith("step_time_cv 0.20, usually 0.0")


# ------------------------------------------------------------------------------------------------------- learning


def test_two_minutes_teach_what_is_usual():
    """Not known before, known after; as the plain mean of them."""
    wearer = Wearer()
    early, known = (wearer.walk(seconds).steadiness.own.known for seconds in (LEARN_S - 1.0, 8.0))
    assert early is None
    assert known is not None
    assert known.cadence_spm == pytest.approx(100.0, rel=0.01)
    assert known.vertical_rms_m_s2 == pytest.approx(0.8, rel=0.01)


def test_short_walks_teach_together():
    """What a walk of 40 s has taught goes on in the next session."""
    learned: Usual | None = None
    for _ in range(4):
        wearer = Wearer(learned).walk(40.0)
        learned = wearer.steadiness.own.learned
    assert learned is not None
    assert wearer.steadiness.own.known is not None


@pytest.mark.slow
def test_one_bad_walk_changes_little():
    """Half an hour of dragging feet moves what is usual by no more than a session may, and it is told."""
    wearer = settled().walk(1800.0, with_(vertical_rms_m_s2=0.45, cadence_spm=130.0, step_time_cv=0.2))
    known = wearer.steadiness.own.known
    assert known is not None
    assert known.vertical_rms_m_s2 >= 0.8 * (1.0 - SESSION) - 1e-9
    assert known.cadence_spm <= 100.0 * (1.0 + SESSION) + 1e-9
    assert "shuffling" in wearer.hazards()


@pytest.mark.slow
def test_many_walks_change_what_is_usual():
    """Who walks otherwise for weeks is followed."""
    usual: Usual | None = USUAL
    for _ in range(12):
        wearer = Wearer(usual).walk(600.0, with_(speed_m_s=0.9, cadence_spm=120.0, vertical_rms_m_s2=1.2))
        usual = wearer.steadiness.own.learned
    assert usual is not None
    assert usual.speed_m_s == pytest.approx(0.9, rel=0.1)


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(replace(USUAL, learned_s=-1.0), id="negative time"),
        pytest.param(replace(USUAL, cadence_spm=math.nan), id="not a number"),
        pytest.param(replace(USUAL, speed_m_s=0.0), id="nobody walks so"),
        pytest.param(replace(USUAL, vertical_rms_m_s2=math.inf), id="infinite"),
        pytest.param(replace(USUAL, learned_s=math.nan), id="time is not a number"),
    ],
)
def test_damaged_memories_are_not_believed(damaged):
    """Numbers that nobody can have walked: the wearer is learned anew."""
    assert Wearer(damaged).steadiness.own.learned is None


def test_a_gap_is_no_lean():
    """The clip was silent, and begins anew at another pitch: what was before is not compared within a moment."""
    wearer = settled()
    wearer.t += 30.0
    wearer.bout_s = wearer.t
    assert wearer.walk(3.0, leaning(3.0, 0.1)).hazards() == []
