"""What is said when: news at once, repeats with measure, nothing late, nothing that is no longer true."""

from __future__ import annotations

import bisect
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrowalk.core.alerts import ALERTS, lasts_s
from retrowalk.core.arbiter import INSIST_S, Arbiter
from retrowalk.core.events import AlertSpoken, Hush, Level, Output, Speak, Touch
from retrowalk.core.samples import VoicePhase, VoiceProgress


class Desk:
    """An arbiter, its outputs, and time that stops at each deadline."""

    def __init__(self, *, say_side: bool = False) -> None:
        self.out: list[Output] = []
        self.arbiter = Arbiter(self.out, say_side=say_side)

    def until(self, t: float) -> Desk:
        while (due := self.arbiter.deadline()) <= t:
            self.arbiter.advance(due)
            assert self.arbiter.deadline() > due
        return self

    def voice(self, phase: VoicePhase, t: float, alert: int | None = None) -> Desk:
        number = alert if alert is not None else self.speaks[-1].alert
        self.arbiter.progress(VoiceProgress(t, t, number, phase, "words"))
        return self

    @property
    def speaks(self) -> list[Speak]:
        return [o for o in self.out if isinstance(o, Speak)]

    @property
    def said(self) -> list[tuple[str, float]]:
        return [(s.phrase or s.earcon, s.t_s) for s in self.speaks]


def test_news_is_said_at_once():
    """What begins to hold is asked for in the same instant, with touch where its row says so."""
    desk = Desk()
    number = desk.arbiter.hold(1.0, "rear", Level.WARNING)
    assert desk.said == [("stop", 1.0)]
    assert number == desk.speaks[0].alert
    assert [o for o in desk.out if isinstance(o, Touch)] == [Touch(t_s=1.0, pattern="warning", buzzer=True)]


def test_a_warning_repeats_until_it_is_over():
    """The word is said again every 1.2 s while it holds, and not once more after."""
    desk = Desk()
    desk.arbiter.hold(0.0, "rear", Level.WARNING)
    desk.until(5.0)
    desk.arbiter.release(5.0, "rear")
    desk.until(60.0)
    assert [t for _, t in desk.said] == pytest.approx([0.0, 1.2, 2.4, 3.6, 4.8])


def test_worse_is_said_at_once_milder_waits():
    """Raise at once, lower slowly."""
    desk = Desk()
    desk.arbiter.hold(0.0, "rear", Level.CAUTION, "2")
    desk.arbiter.hold(0.1, "rear", Level.WARNING)
    assert [what for what, _ in desk.said] == ["object", "stop"]
    desk.arbiter.hold(0.3, "rear", Level.CAUTION, "1.5")
    assert len(desk.said) == 2
    desk.until(10.0)
    assert desk.said[2][0] == "object"
    assert desk.said[2][1] >= 2.0


def test_a_caution_repeats_only_on_the_next_half_metre_and_not_too_soon():
    """The same distance is said once; the next one not before 2 s after the last."""
    desk = Desk()
    desk.arbiter.hold(0.0, "rear", Level.CAUTION, "2")
    desk.voice(VoicePhase.STARTED, 0.1).voice(VoicePhase.FINISHED, 0.9)
    for i in range(1, 100):
        desk.until(i / 15)
        desk.arbiter.hold(i / 15, "rear", Level.CAUTION, "2" if i < 10 else "1.5" if i < 20 else "1")
        if desk.speaks[-1].t_s == pytest.approx(i / 15):
            desk.voice(VoicePhase.FINISHED, i / 15)
    assert [s.value for s in desk.speaks] in (["2", "1"], ["2", "1.5", "1"])
    gaps = [b.t_s - a.t_s for a, b in itertools.pairwise(desk.speaks)]
    assert min(gaps) >= 2.0
    desk.until(100.0)
    assert desk.speaks[-1].value == "1"


def test_what_was_cut_is_said_again_if_it_still_holds():
    """A fault cut off by something is asked for again from its beginning."""
    desk = Desk()
    desk.arbiter.hold(0.0, "sensor_lost", Level.CAUTION, "rear", name="rear")
    desk.voice(VoicePhase.STARTED, 0.1).voice(VoicePhase.CUT, 0.4).until(3.0)
    assert desk.said == [("sensor_lost", 0.0), ("sensor_lost", pytest.approx(0.9))]


def test_what_was_cut_is_not_said_again_when_it_is_over():
    """A fault that ended while it was cut is not brought up again."""
    desk = Desk()
    desk.arbiter.hold(0.0, "sensor_lost", Level.CAUTION, "rear", name="rear")
    desk.voice(VoicePhase.CUT, 0.4)
    desk.arbiter.release(0.5, "sensor_lost", "rear")
    assert len(desk.until(100.0).said) == 1


def test_what_was_cut_waits_while_it_would_be_cut_again():
    """While a warning repeats, what it cut is not asked for in between."""
    desk = Desk()
    desk.arbiter.hold(0.0, "sensor_lost", Level.CAUTION, "imu", name="imu")
    desk.arbiter.hold(0.2, "rear", Level.WARNING)
    desk.voice(VoicePhase.CUT, 0.2, alert=1).until(4.0)
    assert [what for what, _ in desk.said].count("sensor_lost") == 1
    desk.arbiter.release(4.0, "rear")
    assert [what for what, _ in desk.until(6.0).said].count("sensor_lost") == 2


def test_an_announcement_insists_then_gives_up():
    """Said once; cut, it is tried again for ten seconds and then dropped: late information is never spoken."""
    desk = Desk()
    desk.arbiter.announce(0.0, "guarding")
    t = 0.0
    while t < 30.0:
        desk.voice(VoicePhase.CUT, t + 0.1)
        before = len(desk.said)
        t += 0.7
        desk.until(t)
        if len(desk.said) == before:
            break
    assert len(desk.said) > 3
    assert desk.said[-1][1] <= INSIST_S
    assert len(desk.until(100.0).said) == len(desk.said)


def test_an_announcement_that_was_heard_is_done():
    """Finished is finished."""
    desk = Desk()
    desk.arbiter.announce(0.0, "guarding")
    desk.voice(VoicePhase.STARTED, 0.1).voice(VoicePhase.FINISHED, 0.9)
    assert len(desk.until(100.0).said) == 1


def test_an_announcement_nobody_answered_is_asked_again():
    """A voice that was just being started gets it once more."""
    desk = Desk()
    desk.arbiter.announce(0.0, "guarding")
    assert 2 <= len(desk.until(100.0).said) <= 3


@pytest.mark.parametrize("phase", [VoicePhase.CUT, VoicePhase.EXPIRED])
@pytest.mark.parametrize(("key", "value"), [("tick", ""), ("countdown", "5"), ("balance_lost", "")])
def test_what_is_bound_to_its_instant_is_never_said_later(key, value, phase):
    """A tick, a count, a balance tone that came too late is gone."""
    desk = Desk()
    desk.arbiter.announce(0.0, key, value, insist=False)
    desk.voice(phase, 0.3)
    assert len(desk.until(100.0).said) == 1


def test_an_announcement_taken_back_is_not_tried_again():
    """The "guarding" that was cut is not said once guarding is over."""
    desk = Desk()
    desk.arbiter.announce(0.0, "guarding")
    desk.voice(VoicePhase.CUT, 0.1)
    desk.arbiter.retract("guarding")
    assert len(desk.until(100.0).said) == 1


def test_taking_one_name_back_leaves_the_other():
    """The sensor called rear does not take the news of rear-left with it."""
    desk = Desk()
    desk.arbiter.announce(0.0, "sensor_back", "rear")
    desk.arbiter.announce(0.0, "sensor_back", "rear-left")
    for alert in (1, 2):
        desk.voice(VoicePhase.CUT, 0.1, alert)
    desk.arbiter.retract("sensor_back", "rear")
    assert [s.value for s in desk.until(3.0).speaks][2:] == ["rear-left"]


@pytest.mark.parametrize(("key", "level"), sorted(ALERTS))
def test_quiet_covers_what_its_row_says(key, level):
    """In the 60 s of quiet, rows that may be muted are silent and untouched; all others are asked for."""
    desk = Desk()
    desk.arbiter.quiet_until_s = 60.0
    desk.arbiter.hold(1.0, key, level)
    assert bool(desk.out) is not ALERTS[key, level].mutable


@pytest.mark.parametrize(("key", "level"), sorted(k for k, row in ALERTS.items() if row.earcon not in ("", "tick")))
def test_without_a_voice_everything_with_a_sound_is_felt(key, level):
    """Voice lost: nothing is asked of it; buzzer and vibration stand in."""
    desk = Desk()
    desk.arbiter.voice_lost = True
    desk.arbiter.hold(1.0, key, level)
    assert not desk.speaks
    touches = [o for o in desk.out if isinstance(o, Touch)]
    assert len(touches) == 1
    assert touches[0].buzzer


def test_when_the_voice_is_back_what_holds_is_said():
    """Faults and hazards that hold are said again at once."""
    desk = Desk()
    desk.arbiter.voice_lost = True
    desk.arbiter.hold(1.0, "sensor_lost", Level.CAUTION, "imu", name="imu")
    desk.arbiter.voice_back(5.0)
    desk.until(5.0)
    assert desk.said == [("sensor_lost", 5.0)]


@pytest.mark.parametrize("once", [True, False], ids=["news", "what holds"])
def test_a_voice_that_comes_late_is_asked_again(once):
    """What was asked before the voice was there is asked again at its first sign of life, not after half a minute."""
    desk = Desk()
    if once:
        desk.arbiter.announce(0.0, "checking")
    else:
        desk.arbiter.hold(0.0, "not_protecting", Level.CAUTION, "rear")
    desk.until(0.9)
    desk.arbiter.voice_there(0.9)
    assert [t for _, t in desk.until(2.0).said] == [0.0, pytest.approx(1.2)]


def test_a_voice_that_was_there_is_not_asked_again():
    """A request that has begun to sound is not made a second time."""
    desk = Desk()
    desk.arbiter.hold(0.0, "not_protecting", Level.CAUTION, "rear")
    desk.arbiter.voice_there(0.01)
    desk.voice(VoicePhase.STARTED, 0.05)
    assert len(desk.until(2.0).said) == 1


def test_what_would_be_cut_by_the_next_number_waits_for_a_longer_pause():
    """While a countdown nears its next number nothing less urgent is tried again; after it there is room."""
    desk = Desk()
    desk.arbiter.announce(0.0, "guarding")
    desk.voice(VoicePhase.CUT, 0.2)
    for number_s in range(1, 16):
        desk.arbiter.coming = (ALERTS["countdown", Level.WARNING].rank, number_s)
        desk.until(number_s)
    desk.arbiter.coming = (0, math.inf)
    assert [t for _, t in desk.until(18.0).said][:2] == [0.0, pytest.approx(15.2, abs=0.5)]


def test_the_first_frame_makes_an_event():
    """`alert.spoken` follows the first frame played, with its delay and its reason; a tick makes none."""
    desk = Desk()
    desk.arbiter.hold(1.0, "rear", Level.WARNING, because="1.2 m behind")
    desk.voice(VoicePhase.STARTED, 1.03)
    spoken = [o for o in desk.out if isinstance(o, AlertSpoken)]
    assert len(spoken) == 1
    assert spoken[0].delay_s == pytest.approx(0.03)
    assert (spoken[0].phrase, spoken[0].level, spoken[0].because) == ("stop", "warning", "1.2 m behind")
    desk.arbiter.announce(2.0, "tick", insist=False)
    desk.voice(VoicePhase.STARTED, 2.0)
    assert len([o for o in desk.out if isinstance(o, AlertSpoken)]) == 1


def test_reports_of_unknown_requests_are_ignored():
    """Progress of a request that was never made, or long forgotten, changes nothing."""
    desk = Desk()
    desk.voice(VoicePhase.STARTED, 1.0, alert=7).voice(VoicePhase.CUT, 1.0, alert=-3)
    assert desk.out == []


@pytest.mark.parametrize(("started", "hushed"), [(False, [1]), (True, [])], ids=["waits", "sounds"])
def test_what_is_over_before_it_was_said_is_not_said(started, hushed):
    """A fault that ends while its words wait behind an alarm is dropped; one whose words have begun may end them."""
    desk = Desk()
    desk.arbiter.hold(0.0, "fault", Level.CAUTION, "courier", name="courier")
    if started:
        desk.voice(VoicePhase.STARTED, 0.1)
    desk.arbiter.release(0.3, "fault", "courier")
    assert [output.alert for output in desk.out if isinstance(output, Hush)] == hushed


def test_hush_ends_what_sounds():
    """A release with hush asks the voice to stop in the middle, once."""
    desk = Desk()
    desk.arbiter.hold(0.0, "rear", Level.WARNING)
    desk.arbiter.release(0.3, "rear", hush=True)
    assert [o for o in desk.out if isinstance(o, Hush)] == [Hush(t_s=0.3, alert=1)]


rows = st.sampled_from(sorted(ALERTS))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["hold", "release", "announce", "retract", "cut", "finish"]),
            rows,
            st.sampled_from(["", "a"]),
            st.sampled_from([0.0, 0.01, 0.3]),
        ),
        max_size=120,
    )
)
def test_no_flood_whatever_is_asked(actions):
    """However things flap: no one thing is asked for more than three times in any second, and numbers rise."""
    desk = Desk()
    t = 0.0
    for action, (key, level), value, gap in actions:
        t += gap
        desk.until(t)
        if action == "hold":
            desk.arbiter.hold(t, key, level, value)
        elif action == "release":
            desk.arbiter.release(t, key)
        elif action == "announce":
            desk.arbiter.announce(t, key, value)
        elif action == "retract":
            desk.arbiter.retract(key)
        elif desk.speaks:
            desk.voice(VoicePhase.CUT if action == "cut" else VoicePhase.FINISHED, t)
    numbers = [s.alert for s in desk.speaks]
    assert numbers == sorted(set(numbers))
    by_kind: dict[tuple[str, str, str], list[float]] = {}
    for s in desk.speaks:
        by_kind.setdefault((s.phrase, s.earcon, s.level), []).append(s.t_s)
    for asked in by_kind.values():
        for i, start in enumerate(asked):
            assert bisect.bisect_left(asked, start + 1.0) - i <= 6


def test_a_flapping_warning_is_still_heard():
    """A warning that comes and goes ten times a second is asked for twice a second, the first time at once."""
    desk = Desk()
    for i in range(40):
        t = i / 10
        desk.until(t)
        desk.arbiter.hold(t, "rear", Level.WARNING)
        desk.until(t + 0.05)
        desk.arbiter.release(t + 0.05, "rear")
    asked = [t for _, t in desk.said]
    assert asked[0] == 0.0
    assert max(b - a for a, b in itertools.pairwise(asked)) <= 0.61
    assert len(asked) <= 9


@pytest.mark.parametrize("voice_lost", [False, True], ids=["with a voice", "without a voice"])
def test_a_warning_is_felt_to_its_end(voice_lost):
    """A fault and a caution in the midst of a warning's pattern do not take its place; a warning takes theirs."""
    desk = Desk()
    desk.arbiter.voice_lost = voice_lost
    desk.arbiter.hold(1.0, "sensor_lost", Level.CAUTION, "imu", name="imu")
    desk.arbiter.hold(1.1, "rear", Level.WARNING)
    desk.arbiter.hold(1.1, "sensor_lost", Level.CAUTION, "rear", name="rear")
    desk.arbiter.announce(1.5, "lean_back")
    felt = [(o.t_s, o.pattern) for o in desk.out if isinstance(o, Touch)]
    assert felt == [(1.0, "fault"), (1.1, "warning")]
    desk.arbiter.announce(3.0, "lean_back")
    assert [o.pattern for o in desk.out if isinstance(o, Touch)][-1] == "nudge"


def test_what_touches_is_felt_without_a_pause():
    """The pattern of a warning that goes on is begun again before it has ended."""
    desk = Desk()
    desk.arbiter.hold(1.0, "rear", Level.WARNING)
    desk.arbiter.hold(1.0, "touching", Level.WARNING)
    desk.until(4.0)
    felt = [o.t_s for o in desk.out if isinstance(o, Touch)]
    assert max(b - a for a, b in itertools.pairwise(felt)) <= lasts_s("warning")


# -- sides --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bearing_left_deg", "pan", "side"),
    [
        pytest.param(None, 0.0, "", id="nobody knows"),
        pytest.param(0.0, 0.0, "", id="straight behind"),
        pytest.param(3.0, -0.1, "", id="hardly left"),
        pytest.param(15.0, -0.5, "left", id="half left"),
        pytest.param(60.0, -1.0, "left", id="far left"),
        pytest.param(-15.0, 0.5, "right", id="half right"),
        pytest.param(-60.0, 1.0, "right", id="far right"),
    ],
)
@pytest.mark.parametrize("once", [False, True], ids=["held", "announced"])
def test_what_has_a_bearing_is_heard_and_felt_from_its_side(bearing_left_deg, pan, side, once):
    """The walker's own left is the left channel and the left motor; without a bearing it is the middle and both."""
    desk = Desk()
    if once:
        desk.arbiter.announce(1.0, "approaching", bearing_left_deg=bearing_left_deg)
    else:
        desk.arbiter.hold(1.0, "rear", Level.WARNING, bearing_left_deg=bearing_left_deg)
    assert [s.pan for s in desk.speaks] == [pan]
    assert [o.side for o in desk.out if isinstance(o, Touch)] == [side]


@pytest.mark.parametrize(
    ("say_side", "bearing_left_deg", "phrase"),
    [
        (False, 20.0, "object"),
        (True, 20.0, "object_left"),
        (True, -20.0, "object_right"),
        (True, 2.0, "object"),
        (True, None, "object"),
    ],
)
def test_a_side_is_said_only_if_asked_for(say_side, bearing_left_deg, phrase):
    """`voice.say_side` and a side that is clear: then the words have it; what was said is told by its own name."""
    desk = Desk(say_side=say_side)
    desk.arbiter.hold(1.0, "rear", Level.CAUTION, "2", bearing_left_deg=bearing_left_deg)
    assert desk.said == [(phrase, 1.0)]
    desk.voice(VoicePhase.STARTED, 1.1)
    assert [o.phrase for o in desk.out if isinstance(o, AlertSpoken)] == [phrase]


def test_stop_has_no_side():
    """The word of a warning is one word, whatever is enabled."""
    desk = Desk(say_side=True)
    desk.arbiter.hold(1.0, "rear", Level.WARNING, bearing_left_deg=20.0)
    assert desk.said == [("stop", 1.0)]


def test_a_repeat_comes_from_where_it_is_now():
    """What moves to the other side is heard there when it is said again; said anew at once if its words change."""
    desk = Desk(say_side=True)
    desk.arbiter.hold(0.0, "rear", Level.CAUTION, "2", bearing_left_deg=20.0)
    desk.voice(VoicePhase.FINISHED, 0.9)
    desk.arbiter.hold(1.0, "rear", Level.CAUTION, "2", bearing_left_deg=-20.0)
    desk.until(5.0)
    assert desk.said == [("object_left", 0.0), ("object_right", 2.1)]
    assert [s.pan for s in desk.speaks] == [-0.67, 0.67]
