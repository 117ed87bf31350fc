"""What the walker hears of whoever helps from afar: seen, said, looked for, watched.  Through the whole Companion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.streams import Stream, streams
from tests.core.synth import (
    ONE_SENSOR,
    Street,
    approach,
    heartbeats,
    merged,
    posed,
    press,
    ranges,
    settled,
    steady,
    walking,
)

from retrowalk.config import Broker, Config
from retrowalk.config import Helper as Knobs
from retrowalk.core import alerts
from retrowalk.core import events as ev
from retrowalk.core.companion import Companion
from retrowalk.core.samples import (
    Command,
    CourierHeartbeat,
    Item,
    Restored,
    SavedState,
    StopRequested,
    Tick,
    VoiceProgress,
)

NAMES = msgspec.structs.replace(ONE_SENSOR, helper=Knobs(names=("Anna", "Dr. O'Neil")))
OPEN = SavedState(0.0, "guarding", 0.0, (0.0, 0.0, 1.0), fall_number=1, open_alarm="fall", fall_ago_s=30.0)
GUARDED = SavedState(0.0, "guarding", 0.0, (0.0, 0.0, 1.0))


def command(t_s: float, name: str, by: str = "Anna", **args: str) -> Command:
    """A command of an id of its own."""
    return Command(t_s, f"c{t_s:g}".replace(".", "-"), name, {"by": by, **args})


def quiet(start_s: float, end_s: float) -> list[Item]:
    """Stands, with a clear path and every part alive."""
    still = posed(end_s - start_s, start_s, (0.0, 0.0, 1.0))
    return merged(ranges(steady(start_s, end_s, None), latency_s=0.0), still, heartbeats(start_s, end_s))


def live(*items: Iterable[Item], state: SavedState = GUARDED, until_s: float = 16.0, config: Config = NAMES) -> Street:
    """Goes on from `state` and stands, while `items` come."""
    street = Street(config, voice=True).run([Restored(0.0, state, 0.0)])
    return street.run(merged(quiet(0.1, until_s), *items), until_s)


def answers(street: Street) -> list[tuple[str, bool, str]]:
    """What was told of commands."""
    return [(e.name, e.accepted, e.reason) for e in street.events("command.received")]


def heard(street: Street, *phrases: str) -> list[tuple[str, str]]:
    """What began to sound of these, with its value."""
    return [(speak.phrase, speak.value) for _, speak in street.heard if speak.phrase in phrases]


# ------------------------------------------------------------------------------------------------------- seen


@pytest.mark.parametrize(
    ("by", "said"),
    [
        pytest.param("Anna", "Anna", id="by name"),
        pytest.param("anna", "Anna", id="in small letters"),
        pytest.param("DR. O'NEIL", "Dr. O'Neil", id="in capitals"),
        pytest.param("Ben", "helper", id="a name that was not rendered"),
        pytest.param("", "helper", id="no name"),
    ],
)
def test_who_has_seen_it_is_said_by_name(by, said):
    """By the name that was configured, else as "your helper"; the event keeps what came."""
    street = live([command(5.0, "seen", by, event="01JD")], state=OPEN)
    assert heard(street, "caregiver_seen") == [("caregiver_seen", said)]
    received = street.first("command.received")
    assert (received.by, received.what, received.accepted) == (by, "01JD", True)


def test_the_names_are_in_the_bank():
    """Whatever may be said of a helper is rendered, each name once."""
    config = msgspec.structs.replace(NAMES, helper=Knobs(names=("Anna", "Anna", "Dr. O'Neil")))
    values = alerts.phrase_values(config)
    for phrase in ("caregiver_seen", "comfort_seen", "say_coming"):
        assert values[phrase] == ("helper", "Anna", "Dr. O'Neil")


@pytest.mark.slow
def test_of_each_helper_it_is_said_once():
    """Whoever answers again and again is not heard again and again."""
    seen = [command(5.0 + 3.0 * i, "seen", "Anna") for i in range(5)]
    street = live([*seen, command(21.0, "seen", "Ben")], state=OPEN, until_s=25.0)
    assert heard(street, "caregiver_seen") == [("caregiver_seen", "Anna"), ("caregiver_seen", "helper")]
    assert [reason for _, _, reason in answers(street)] == ["", *["said before"] * 4, ""]


def test_of_nothing_nobody_has_seen_it():
    """Without an alarm "Anna has seen it" would make the walker wonder what there is to be seen: it is told only."""
    street = live([command(5.0, "seen", event="01JD")])
    assert heard(street, "caregiver_seen") == []
    assert answers(street) == [("seen", True, "nothing is open")]


@pytest.mark.parametrize(
    ("age_s", "said"),
    [
        pytest.param("2", True, id="of this alarm"),
        pytest.param("6", True, id="of its first event"),
        pytest.param("4000", False, id="of one before"),
        pytest.param("nonsense", True, id="not known"),
        pytest.param("nan", True, id="no number"),
    ],
)
def test_an_answer_to_something_earlier_is_none_to_this(age_s, said):
    """Who lies there is not told that somebody knows, when somebody has seen what was before."""
    street = live(press(3.0, 3.3), [command(12.0, "seen", age_s=age_s)])
    assert street.first("sos.raised").t_s == pytest.approx(6.0, abs=0.1)
    assert bool(heard(street, "caregiver_seen")) is said


@pytest.mark.slow
def test_what_is_seen_while_the_walker_is_asked_is_said_afterwards():
    """Not into the countdown; and not at all once the walker has called it off."""
    state = replace(GUARDED, fall_number=1, countdown_left_s=20.0, fall_ago_s=10.0)
    street = live([command(5.0, "seen")], state=state, until_s=40.0)
    confirmed = street.first("fall.confirmed").t_s
    said = [t_s for t_s, speak in street.heard if speak.phrase == "caregiver_seen"]
    assert len(said) == 1
    assert confirmed < said[0] < confirmed + 5.0
    off = live([command(5.0, "seen")], press(10.0), state=state, until_s=40.0)
    assert off.events("fall.cancelled")
    assert not heard(off, "caregiver_seen")


@pytest.mark.slow
def test_who_lies_there_is_comforted_by_name():
    """The reports name who has seen it, to the walker and to the caregivers; over a restart, too."""
    street = live([command(5.0, "seen")], state=OPEN, until_s=35.0)
    assert heard(street, "comfort_seen") == [("comfort_seen", "Anna")]
    assert street.first("fall.lasted").seen_by == "Anna"
    state = [o for o in street.outputs if isinstance(o, ev.StateSaved)][-1].state
    again = live(state=state, until_s=125.0)
    assert heard(again, "comfort_seen", "caregiver_seen") == [("comfort_seen", "Anna")]


@pytest.mark.slow
def test_a_new_alarm_has_been_seen_by_nobody():
    """Who called the first one off and needs help again is not comforted with what was."""
    street = live([command(5.0, "seen")], press(10.0), press(11.5), press(15.0, 3.3), state=OPEN, until_s=25.0)
    assert street.events("fall.cancelled")
    assert street.events("sos.raised")
    state = [o for o in street.outputs if isinstance(o, ev.StateSaved)][-1].state
    assert (state.open_alarm, state.helper_saw, state.helper_by) == ("sos", False, "")


# -------------------------------------------------------------------------------------------------------- say


@pytest.mark.parametrize(
    "phrase",
    [
        alerts.REMOTE_PHRASES[0],
        *(pytest.param(phrase, marks=pytest.mark.slow) for phrase in alerts.REMOTE_PHRASES[1:]),
    ],
)
def test_a_helper_says_something(phrase):
    """At once where it is quiet, as theirs, and it is told when it is said."""
    street = live([command(8.0, "say", phrase=phrase)])
    assert heard(street, f"say_{phrase}") == [(f"say_{phrase}", "Anna")]
    received = street.first("command.received")
    assert (received.accepted, received.what, received.by) == (True, phrase, "Anna")
    assert [e.alert for e in street.events("alert.spoken") if e.phrase == f"say_{phrase}"] == [received.alert]


@pytest.mark.parametrize(
    ("state", "items", "reason"),
    [
        pytest.param(GUARDED, [command(8.0, "say", phrase="run")], "no such phrase", id="not on the list"),
        pytest.param(GUARDED, [command(8.0, "say")], "no such phrase", id="none"),
        pytest.param(
            replace(GUARDED, guard_state="not_worn"), [command(2.0, "say", phrase="coming")], "not worn", id="not worn"
        ),
        pytest.param(
            GUARDED,
            [StopRequested(7.0, "person"), command(8.0, "say", phrase="coming")],
            "switching off",
            id="switching off",
        ),
        pytest.param(
            GUARDED,
            [*press(6.0), *press(6.3), command(10.0, "say", phrase="coming")],
            "the walker asked for quiet",
            id="quiet",
        ),
    ],
)
def test_words_that_are_not_said_are_refused_by_name(state, items, reason):
    """Whoever sent them learns that nobody has heard them, and why."""
    street = live(items, state=state)
    assert not [speak for _, speak in street.heard if speak.phrase.startswith("say_")]
    assert answers(street) == [("say", False, reason)]


@pytest.mark.slow
def test_words_come_once_in_ten_seconds():
    """Nobody talks without end into the walker's ear."""
    street = live([command(8.0 + 2.0 * i, "say", phrase="coming") for i in range(10)], until_s=28.0)
    times = [t_s for t_s, speak in street.heard if speak.phrase == "say_coming"]
    assert len(times) == 2
    assert times[1] - times[0] >= 10.0


@pytest.mark.slow
def test_words_wait_for_the_end_of_a_warning():
    """While something stands behind nothing is said from afar; when it has gone, it is."""
    street = Street(NAMES, voice=True).run(settled())
    wall = [*approach(6.0, 1.8, 0.5, 0.8), *steady(8.0, 12.0, 0.8), *steady(12.0, 22.0, None)]
    life = merged(
        ranges(wall, latency_s=0.0),
        posed(16.0, 6.0, (0, 0, 1)),
        heartbeats(6.0, 22.0),
        [command(8.5, "say", phrase="coming")],
    )
    street.run(life, 22.0)
    warned = [t_s for t_s, speak in street.heard if speak.level == "warning"]
    said = [t_s for t_s, speak in street.heard if speak.phrase == "say_coming"]
    assert warned
    assert len(said) == 1
    assert said[0] > max(warned) + 1.0


@pytest.mark.slow
def test_words_that_find_no_quiet_are_refused():
    """After a quarter of a minute "I am coming" is no news any more."""
    state = replace(GUARDED, fall_number=1, countdown_left_s=25.0, fall_ago_s=5.0)
    street = live([command(2.0, "say", phrase="coming")], state=state, until_s=24.0)
    assert not heard(street, "say_coming")
    assert answers(street) == [("say", False, "no quiet moment")]


# ----------------------------------------------------------------------------------------------------- locate


@pytest.mark.slow
def test_a_device_that_is_looked_for_makes_itself_heard():
    """For half a minute, every five seconds; then it is quiet again.  No position is known, and that is told."""
    street = live([command(8.0, "locate")], until_s=45.0)
    times = [t_s for t_s, speak in street.heard if speak.phrase in ("looked_for", "here")]
    assert times == pytest.approx([8.0 + 5.0 * i for i in range(6)], abs=0.2)
    assert heard(street, "looked_for", "here")[0] == ("looked_for", "")
    assert answers(street) == [("locate", True, "heard; no position is known")]


@pytest.mark.slow
def test_the_button_ends_it_and_does_what_it_does():
    """A press answers as ever, and nothing more calls."""
    street = live([command(8.0, "locate")], press(11.0), until_s=40.0)
    assert [t_s for t_s, speak in street.heard if speak.phrase == "here" and t_s > 11.0] == []
    assert heard(street, "around")


@pytest.mark.slow
def test_a_device_lying_beside_its_walker_is_found_after_the_question():
    """Not into the countdown; half a minute after it."""
    state = replace(GUARDED, fall_number=1, countdown_left_s=20.0, fall_ago_s=10.0)
    street = live([command(5.0, "locate")], state=state, until_s=70.0)
    confirmed = street.first("fall.confirmed").t_s
    times = [t_s for t_s, speak in street.heard if speak.phrase in ("looked_for", "here")]
    assert len(times) >= 4
    assert all(confirmed < t_s < confirmed + 32.0 for t_s in times)


# -------------------------------------------------------------------------------------------------- the watch


def walk(*beats: tuple[float, str, bool], until_s: float, config: Config = NAMES, fault: str = "") -> Street:
    """Walks from 8 s to 25 s; `beats`: from when on the hub is so, and the broker connected."""

    def courier() -> Iterable[Item]:
        for t_s in range(int(until_s)):
            _, hub, connected = max((beat for beat in beats if beat[0] <= t_s), key=lambda beat: beat[0])
            broken = "" if connected else fault
            yield CourierHeartbeat(t_s + 0.05, connected, 0, True, broken, hub)

    steps = walking(until_s - 6.5, bouts=[(1.0, min(18.0, until_s - 7.0))], seed=5).shifted(6.5).samples()
    street = Street(config, voice=True)
    first = [item for item in settled(config) if not isinstance(item, CourierHeartbeat)]
    path = ranges(steady(6.0, until_s, None), latency_s=0.0)
    alive = heartbeats(6.0, until_s, courier=False)
    return street.run(merged(first, steps, path, alive, courier()), until_s)


WATCH = ("unwatched", "watched")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("beats", "config", "said"),
    [
        pytest.param([(0.0, "up", True)], NAMES, [], id="somebody watches"),
        pytest.param([(0.0, "", True)], NAMES, [], id="nobody expects a hub"),
        pytest.param([(0.0, "away", True)], NAMES, ["unwatched"], id="the hub is away"),
        pytest.param([(0.0, "", False)], NAMES, ["unwatched"], id="no link"),
        pytest.param(
            [(0.0, "", False)],
            msgspec.structs.replace(NAMES, broker=Broker(host="")),
            [],
            id="no helper is set up",
        ),
        pytest.param([(0.0, "away", True), (18.0, "up", True)], NAMES, ["unwatched", "watched"], id="comes back"),
        pytest.param(
            [(0.0, "away", True), (16.0, "up", True), (19.0, "away", True), (22.0, "up", True)],
            NAMES,
            ["unwatched", "watched"],
            id="flaps",
        ),
        pytest.param([(0.0, "up", True), (14.0, "away", True), (20.0, "up", True)], NAMES, [], id="away for a moment"),
    ],
)
def test_whoever_begins_to_walk_hears_that_nobody_watches(beats, config, said):
    """Once a walk, calmly; and once that somebody does again."""
    street = walk(*beats, until_s=30.0, config=config)
    assert street.events("walk.started")
    assert [phrase for phrase, _ in heard(street, *WATCH)] == said
    if said:
        started = street.first("walk.started").t_s
        times = [t_s for t_s, speak in street.heard if speak.phrase == "unwatched"]
        assert started - 0.001 <= times[0] < started + 5.0


@pytest.mark.slow
def test_a_hub_that_goes_away_in_mid_walk_is_told_after_a_minute():
    """One that is started anew is back by then."""
    street = walk((0.0, "up", True), (20.0, "away", True), until_s=95.0)
    times = [t_s for t_s, speak in street.heard if speak.phrase == "unwatched"]
    assert times == [pytest.approx(80.0, abs=2.0)]


@pytest.mark.slow
def test_a_link_that_works_again_does_not_say_so_while_nobody_watches():
    """The broker is back, and the hub is not: the walker hears that they are watched when they are."""
    beats = [(0.0, "away", False), (16.0, "away", True), (20.0, "up", True)]
    street = walk(*beats, until_s=30.0, fault="broker")
    assert heard(street, "fault_over", *WATCH) == [("unwatched", ""), ("watched", "")]
    assert street.first("fault.cleared", part="courier", fault="broker")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "values"),
    [
        pytest.param("broker", ["courier"], id="broker"),
        pytest.param("outbox", ["outbox"], id="outbox"),
        pytest.param("recording", ["recording"], id="recorder"),
        pytest.param("state", ["state"], id="state"),
        pytest.param("refused", ["courier"], id="one that nobody knows"),
        pytest.param("broker,recording", ["courier", "recording"], id="two"),
    ],
)
def test_a_fault_of_the_courier_is_said_as_what_it_is(fault, values):
    """A full disk is no broken link; each is said once, and when it is over."""
    courier = [CourierHeartbeat(5.0, True, 0, True, fault), CourierHeartbeat(15.0, True, 0, True)]
    life = [item for item in quiet(0.1, 25.0) if not isinstance(item, CourierHeartbeat)]
    street = Street(NAMES, voice=True).run([Restored(0.0, GUARDED, 0.0)])
    street.run(
        merged(
            life,
            courier,
            [CourierHeartbeat(0.5 + i, True, 0, True) for i in range(4)],
            [CourierHeartbeat(6.0 + i, True, 0, True, fault) for i in range(9)],
            [CourierHeartbeat(16.0 + i, True, 0, True) for i in range(9)],
        ),
        25.0,
    )
    assert [value for _, value in heard(street, "fault")] == values
    assert [value for _, value in heard(street, "fault_over")] == values
    assert all(value in alerts.FAULT_PARTS for value in values)


# --------------------------------------------------------------- no command touches a warning, an alarm, a state

HEARD_FROM_AFAR = alerts.ALERT_BY_KEY["caregiver_seen"].rank
"""What ranks above warns, cautions, asks, or names a fault."""
GENTLE = ("good", "nudge", "tick")
"""What is felt in place of a helper's words that cannot be heard, and in place of what is no more urgent."""

words = st.sampled_from(["", "Anna", "coming", "sit_down", "nan", "1e9", "x" * 50])
remote = st.builds(
    Command,
    st.just(0.0),
    st.text(max_size=8),
    st.sampled_from(["seen", "say", "locate", "resync", "ack", "mute", "config", "stop", ""]),
    st.dictionaries(st.sampled_from(["by", "event", "phrase", "age_s", "x"]), words, max_size=4),
)


def decided(items: Iterable[Item]) -> list[Any]:
    """What matters of what a Companion makes of `items`: warnings, cautions, touches, events, saved states."""
    companion = Companion(NAMES)
    found: list[Any] = []
    for output in (output for item in items for output in companion.feed(item)):
        if isinstance(output, ev.Speak):
            if output.rank > HEARD_FROM_AFAR:
                found.append((output.t_s, output.phrase, output.value, output.earcon, output.level, output.rank))
        elif isinstance(output, ev.Touch):
            if output.pattern not in GENTLE:
                found.append(output)
        elif isinstance(output, ev.FallLasted):
            found.append(replace(output, alert=None, seen_by=""))
        elif isinstance(output, ev.Event) and not isinstance(output, ev.CommandReceived):
            found.append(replace(output, alert=None))
    seen = companion.snapshot()
    return [*found, seen.guard_state, seen.reasons, seen.hazard_level, seen.countdown_s]


def without_answers(items: Stream) -> Stream:
    """Requests have other numbers with commands in between, so nobody answers them; and no commands of its own."""
    return Stream(item for item in items if not isinstance(item, (VoiceProgress, Command)))


def compare(items: Stream, spread: list[tuple[float, Command]]) -> None:
    """Lives `items` with commands in between, and without them."""
    items = without_answers(items)
    if not items:
        return
    mixed, bare = list(items), list(items)
    for share, one in sorted(spread, key=lambda pair: pair[0]):
        index = min(int(share * len(mixed)), len(mixed) - 1)
        t_s = mixed[index].t_received_s
        mixed.insert(index + 1, replace(one, t_received_s=t_s))
        bare.insert(index + 1, Tick(t_s))  # time is looked at as often
    assert decided(mixed) == decided(bare)


sown = st.lists(st.tuples(st.floats(0.0, 1.0), remote), min_size=1, max_size=60)


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(items=streams(), spread=sown)
def test_no_command_changes_a_warning_an_alarm_or_a_state(items, spread):
    """With any stream of commands everything that protects happens as without them, at the same instants."""
    compare(items, spread)


@pytest.mark.repeats
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(items=streams(max_pieces=16), spread=sown)
def test_no_command_changes_what_protects_in_many_lives(items, spread):
    """As above, longer lives and more of them."""
    compare(items, spread)


@pytest.mark.slow
def test_a_wall_is_told_in_a_flood_of_commands_as_without_one():
    """Cautions and warnings of an approach come at the same instants."""
    wall = ranges([*approach(6.0, 2.6, 0.4, 0.8), *steady(10.5, 14.0, 0.8)], latency_s=0.0)
    life = [*settled(), *merged(wall, posed(8.0, 6.0, (0.0, 0.0, 1.0)), heartbeats(6.0, 14.0))]
    names = ("say", "seen", "locate", "mute")
    flood = [command(5.0 + 0.05 * i, names[i % 4], phrase="coming", event="e") for i in range(180)]
    told = decided(merged(life, flood))
    assert told == decided(merged(life, [Tick(one.t_received_s) for one in flood]))
    assert {one[4] for one in told if isinstance(one, tuple) and len(one) == 6} >= {"caution", "warning"}


def test_no_row_from_afar_outranks_what_protects():
    """Whatever a command has said is cut by every warning, caution, question and named fault."""
    afar = [row for row in alerts.ALERTS.values() if row.rank <= HEARD_FROM_AFAR]
    keys = {row.key for row in afar}
    assert {"caregiver_seen", "looked_for", "here", *(f"say_{name}" for name in alerts.REMOTE_PHRASES)} <= keys
    protects = ("rear", "drop", "approaching", "governor", "balance_lost", "fall", "countdown", "sensor_lost", "fault")
    assert not {row.key for row in afar if row.level > ev.Level.ADVISORY} & set(protects)
