"""What the guard routes, keeps and hands over again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retrowalk import wire
from retrowalk.config import Config
from retrowalk.core import events as ev
from retrowalk.core import samples as sm
from retrowalk.errors import SensorError
from retrowalk.guard.guard import EVENTS_KEPT, EVENTS_SAVED, WATCHERS_MAX, Guard, Memory
from retrowalk.guard.pending import Pending
from retrowalk.guard.state import Kept
from retrowalk.sim.scheduler import MemoryMail, VirtualClock


class Felt:
    """Stands for buzzer and vibration: remembers what was asked."""

    def __init__(self) -> None:
        self.requests: list[ev.Touch] = []

    def touch(self, request: ev.Touch) -> None:
        self.requests.append(request)


class Shelf:
    """Keeps the state in memory."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []

    def save(self, kept: Kept) -> None:
        self.kept.append(kept)


class Bench:
    """A guard with the mailboxes of its neighbours, in virtual time."""

    def __init__(self, kept: Kept | None = None, session: str = "s1", memory: Memory | None = None) -> None:
        self.mail = MemoryMail()
        self.voice = self.mail.open("voice")
        self.courier = self.mail.open("courier")
        self.clock = VirtualClock()
        self.felt = Felt()
        self.shelf = Shelf()
        self.guard = Guard(
            Config(),
            clock=self.clock,
            mailbox=self.mail.open("guard"),
            touch=self.felt,
            saver=self.shelf,
            memory=memory,
            session=session,
            boot_id="boot",
            started_wall="2026-01-01T00:00:00Z",
        )
        self.guard.begin(0.0, kept, 0.0)

    def run(self, until_s: float) -> None:
        """Lets time pass."""
        due = self.clock.now()
        while due <= until_s:
            self.clock.reach(due)
            _, next_due = self.guard.poll(due)
            assert next_due > due, "the guard asks to be called again without time passing"
            due = next_due
        self.clock.reach(until_s)

    def messages(self, box: Any, kind: type) -> list[Any]:
        found = []
        while (data := box.receive()) is not None:
            message = wire.decode_local(data)
            if isinstance(message, kind):
                found.append(message)
        return found


def near(t: float, range_m: float) -> sm.RangeSample:
    return sm.RangeSample(t, t - 0.01, "rear", sm.RangeStatus.VALID, range_m)


def test_requests_to_speak_reach_the_voice() -> None:
    """The first thing said is that the device checks itself."""
    bench = Bench()
    spoken = bench.messages(bench.voice, wire.SpeakMessage)
    assert [message.phrase for message in spoken] == ["self_test", "checking"]


def test_signs_of_life_go_out_ten_times_a_second() -> None:
    """Voice and courier can tell within half a second that the guard has died."""
    bench = Bench()
    bench.run(2.0)
    beats = bench.messages(bench.voice, wire.KeepAlive)
    assert 19 <= len(beats) <= 22
    assert beats[0].guard_state == "checking"
    told = [beat.reasons for beat in bench.messages(bench.courier, wire.KeepAlive)]
    assert told[-1] == list(bench.guard.companion.reasons)


def test_events_are_kept_until_committed() -> None:
    """An event goes out again until the courier has it on disk, then never again."""
    bench = Bench()
    first = bench.messages(bench.courier, wire.EventMessage)
    assert first
    bench.run(5.0)
    again = bench.messages(bench.courier, wire.EventMessage)
    assert first[0] in again
    bench.mail.deliver("guard", wire.encode(wire.CommittedMessage("s1", 1_000)))
    bench.run(20.0)
    bench.messages(bench.courier, wire.EventMessage)
    bench.mail.deliver("guard", wire.encode(wire.CommittedMessage("s1", 1_000)))
    bench.run(26.0)
    assert first[0] not in bench.messages(bench.courier, wire.EventMessage)


def test_an_event_of_the_last_instant_outlives_the_guard(tmp_path: Path) -> None:
    """The guard dies before its thread has saved anything, beside a dead courier: the next one hands it over"""
    bench = Bench(memory=Pending(tmp_path))
    first = bench.messages(bench.courier, wire.EventMessage)
    following = Bench(kept=None, session="s2", memory=Pending(tmp_path))
    following.run(3.0)
    again = following.messages(following.courier, wire.EventMessage)
    assert [message for message in again if message.session == "s1"][: len(first)] == first
    following.mail.deliver("guard", wire.encode(wire.CommittedMessage("s1", 1_000)))
    following.mail.deliver("guard", wire.encode(wire.CommittedMessage("s2", 1_000)))
    following.run(4.0)
    assert Pending(tmp_path).read() == [], "confirmed, and forgotten"


def test_an_event_makes_no_state_younger() -> None:
    """A countdown runs on from when it was saved, however many events are saved after it with the same state"""
    bench = Bench()
    for tenth in range(40):
        now = bench.clock.now() + 0.1
        bench.guard.take([sm.HealthReport(now, "buzzer", "broken", active=tenth % 2 == 0)], now)
        bench.run(now)
    saved = [kept for kept in bench.shelf.kept if kept.state is not None]
    times: dict[float, set[float]] = {}
    for kept in saved:
        assert kept.state is not None
        times.setdefault(kept.state.t_saved_s, set()).add(kept.saved_mono_s)
    assert len(saved) > len(times), "some events were saved with a state that had been saved before"
    assert all(len(found) == 1 for found in times.values())


def test_a_full_memory_keeps_what_waits(tmp_path: Path) -> None:
    """However much has been written and confirmed there, what nobody has confirmed is in it"""
    memory = Pending(tmp_path)
    while memory.add(wire.encode(wire.EventMessage("s0", 1, "guard.changed", "low", 0.0, 0.0, None, {"x": "." * 900}))):
        pass
    bench = Bench(memory=memory)
    first = bench.messages(bench.courier, wire.EventMessage)
    left = Pending(tmp_path).read()
    assert [message for message in left if message.session == "s1"] == first


def courier_faults(bench: Bench, until_s: float) -> list[str]:
    """Lets sensors speak until then; what is said of the courier meanwhile."""
    while bench.clock.now() < until_s:
        now = bench.clock.now() + 0.1
        bench.guard.take([near(now, 2.0)], now)
        bench.run(now)
    spoken = bench.messages(bench.voice, wire.SpeakMessage)
    return [message.phrase for message in spoken if message.value == "courier"]


def test_a_courier_that_died_is_named_and_said_to_be_back() -> None:
    """Nobody at its mailbox: a fault before its beat would be missed, once; over with its next beat."""
    bench = Bench()
    courier_faults(bench, 2.0)
    bench.courier.close()
    assert courier_faults(bench, 3.6) == ["fault"]
    bench.courier = bench.mail.open("courier")
    bench.mail.deliver("guard", wire.encode(wire.CourierBeat(True, 0, True)))
    bench.run(3.6)
    assert courier_faults(bench, 6.0) == ["fault_over"], "its beat came before anything was sent to it: gone for once"


def test_events_reach_a_courier_that_is_back_in_their_order() -> None:
    """What happened while it was dead comes before what happens then: a fault is never over before it began."""
    bench = Bench()
    courier_faults(bench, 2.0)
    bench.courier.close()
    courier_faults(bench, 3.6)
    bench.courier = bench.mail.open("courier")
    bench.mail.deliver("guard", wire.encode(wire.CourierBeat(True, 0, True)))
    courier_faults(bench, 4.0)
    events = bench.messages(bench.courier, wire.EventMessage)
    numbers = [event.number for event in events]
    assert numbers == sorted(numbers)
    faults = [event.type for event in events if event.data.get("part") == "courier"]
    assert faults == ["fault.raised", "fault.cleared"]


def test_one_refused_message_is_no_death_of_the_courier() -> None:
    """A mailbox that is full or away for a moment is not told to the walker."""
    bench = Bench()
    courier_faults(bench, 1.5)
    bench.courier.close()
    assert courier_faults(bench, 1.85) == []
    assert not bench.mail.deliver("courier", b"x"), "it was away all the time"
    bench.courier = bench.mail.open("courier")
    assert courier_faults(bench, 4.0) == []


def test_unconfirmed_alarms_survive_a_restart() -> None:
    """What the courier had not confirmed when the guard died is handed over by the next guard."""
    event = wire.EventMessage("old", 9, "fall.confirmed", "high", 1.0, 1.0, 3, {"fall": 1})
    state = sm.SavedState(t_saved_s=1.0, guard_state="guarding", guarding_since_s=0.5)
    bench = Bench(Kept(5, "old", "boot", 0.0, 0.0, state, [event]))
    bench.run(1.0)
    assert event in bench.messages(bench.courier, wire.EventMessage)


def test_nothing_unconfirmed_is_lost_with_guard_and_courier() -> None:
    """Courier away, then the guard killed: the next guard hands over every event, however little somebody waits."""
    first = Bench(session="s1")
    first.courier.close()
    first.run(5.0)
    happened = [(message.number, message.type) for message in first.guard._events.values()]
    assert {message.priority for message in first.guard._events.values()} >= {"low", "medium"}
    second = Bench(first.shelf.kept[-1], session="s2")
    second.run(1.0)
    handed_over = [message for message in second.messages(second.courier, wire.EventMessage) if message.session == "s1"]
    assert [(message.number, message.type) for message in handed_over] == happened


def test_what_piled_up_follows_as_fast_as_the_courier_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mailbox of ten messages: what waited for a courier is handed over by the answers, not by the second."""
    monkeypatch.setattr("retrowalk.sim.scheduler.MAILBOX_MESSAGES", 10)
    many = [wire.EventMessage("old", n, "x", "none", 1.0, 1.0, None, {}) for n in range(1, 301)]
    state = sm.SavedState(t_saved_s=1.0, guard_state="guarding", guarding_since_s=0.5)
    bench = Bench(Kept(5, "old", "boot", 0.0, 0.0, state, many))
    taken: set[int] = set()
    t = 0.0
    while t < 1.0:
        t += 0.01
        bench.run(t)
        taken |= {m.number for m in bench.messages(bench.courier, wire.EventMessage) if m.session == "old"}
        if taken:
            bench.mail.deliver("guard", wire.encode(wire.CommittedMessage("old", max(taken))))
    assert taken == set(range(1, 301))


def test_of_too_many_unconfirmed_the_grave_ones_are_saved() -> None:
    """A courier that is away for long: the file stays small, no alarm leaves it, and the copy has alarms only."""
    many = [
        wire.EventMessage("old", n, "x", "high" if n % 100 == 1 else "none", 1.0, 1.0, None, {}) for n in range(1, 1001)
    ]
    state = sm.SavedState(t_saved_s=1.0, guard_state="guarding", guarding_since_s=0.5)
    bench = Bench(Kept(5, "old", "boot", 0.0, 0.0, state, many))
    bench.run(1.0)
    saved = bench.shelf.kept[-1].events
    assert len(saved) == EVENTS_SAVED
    assert {message.number for message in saved} >= set(range(1, 1000, 100))
    assert saved == sorted(saved, key=lambda message: (message.session != "old", message.number))
    copies = bench.messages(bench.courier, wire.StateMessage)
    copied = wire.decode(copies[-1].content, Kept).events
    assert {message.priority for message in copied} <= {"high", "medium"}
    assert {message.number for message in copied} >= set(range(1, 1000, 100))


def test_delivery_of_an_earlier_alarm_is_told_once_through_any_number_of_restarts() -> None:
    """Guards that die before the fall was delivered: the last one hears of it, and of nothing less."""
    event = wire.EventMessage("old", 9, "fall.confirmed", "high", 1.0, 1.0, 3, {"fall": 1})
    state = sm.SavedState(t_saved_s=1.0, guard_state="guarding", guarding_since_s=0.5, open_alarm="fall", untold=True)
    first = Bench(Kept(5, "old", "boot", 0.0, 0.0, state, [event], ("old", 9)), session="s1")
    first.run(1.0)
    assert first.shelf.kept[-1].state is not None
    assert first.shelf.kept[-1].state.untold
    second = Bench(first.shelf.kept[-1], session="s2")
    second.run(1.0)
    for session, number in (("old", 8), ("s1", 500), ("old", 9), ("old", 12)):
        second.mail.deliver("guard", wire.encode(wire.DeliveredMessage(session, number)))
    second.run(2.0)
    phrases = [m.phrase for m in second.messages(second.voice, wire.SpeakMessage)]
    assert phrases.count("caregiver_told") == 1


def test_records_come_in_order_without_gap() -> None:
    """Everything fed and everything said is numbered and handed over, the session first."""
    bench = Bench()
    for k in range(50):
        t = 0.02 * k
        bench.clock.reach(t)
        bench.guard.take([near(t, 3.0)], t)
        bench.guard.poll(t)
    bench.run(3.0)
    kinds: list[Any] = []
    while (data := bench.courier.receive()) is not None:
        kinds.append(wire.decode_local(data))
    session = next(i for i, m in enumerate(kinds) if isinstance(m, wire.Session))
    records = next(i for i, m in enumerate(kinds) if isinstance(m, wire.RecordsMessage))
    assert session < records
    numbers = [r.sequence for m in kinds if isinstance(m, wire.RecordsMessage) for r in m.records if r.sequence]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 50


def test_the_recording_shows_what_is_known_beside_the_order() -> None:
    """Five times a second a viewer gets state, level and range, with numbers for plots and no number in the order."""
    bench = Bench()
    bench.guard.take([near(0.0, 3.0)], 0.0)
    bench.run(10.0)
    records = [r for m in bench.messages(bench.courier, wire.RecordsMessage) for r in m.records]
    shown = [r for r in records if r.channel == wire.STATUS_CHANNEL]
    assert {r.sequence for r in shown} == {0}
    assert 47 <= len(shown) <= 50
    first = wire.decode(bytes(shown[0].data), wire.StatusRecord)
    assert (first.guard_state, first.guard_state_code) == ("checking", wire.GuardCode.CHECKING)
    assert (first.hazard_level, first.hazard_level_code) == ("none", ev.Level.NONE)
    assert b"null" not in bytes(shown[0].data)


def test_every_guard_state_has_its_number() -> None:
    """No state is without a place in a plot."""
    assert {code.name for code in wire.GuardCode} == {state.name for state in ev.GuardState}


def test_a_courier_that_is_away_loses_nothing() -> None:
    """Records wait while nobody takes them, and the session is told again."""
    bench = Bench()
    bench.courier.close()
    bench.run(3.0)
    bench.courier = bench.mail.open("courier")
    bench.run(5.0)
    kinds: list[Any] = []
    while (data := bench.courier.receive()) is not None:
        kinds.append(wire.decode_local(data))
    assert any(isinstance(m, wire.Session) for m in kinds)
    numbers = [r.sequence for m in kinds if isinstance(m, wire.RecordsMessage) for r in m.records if r.sequence]
    assert numbers[0] == 1
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_failing_step_is_told_once_and_when_it_is_over() -> None:
    """A driver that raises again and again is one fault, and its next reading ends it."""
    bench = Bench()
    for k in range(5):
        bench.guard.step_failed("button", SensorError("absent", "no pin"), 0.1 * k)
    bench.guard.take([sm.ButtonEdge(0.6, 0.6, False)], 0.6, "button")
    bench.run(1.0)
    events = [m.type for m in bench.messages(bench.courier, wire.EventMessage)]
    assert events.count("fault.raised") == 1
    assert events.count("fault.cleared") == 1


def test_time_never_goes_back() -> None:
    """Items of two threads may arrive crossed; the Companion sees rising times, and so does the recording."""
    bench = Bench()
    bench.guard.take([near(1.0, 3.0)], 1.0)
    bench.guard.take([near(0.9, 3.0)], 1.0)
    bench.run(2.0)
    stamps = [r.log_ns for m in bench.messages(bench.courier, wire.RecordsMessage) for r in m.records]
    assert stamps == sorted(stamps)


@pytest.mark.slow
def test_the_least_important_is_forgotten_first() -> None:
    """With nobody to take them, events are bounded, and an alarm is not among those that go."""
    bench = Bench()
    bench.guard.take([sm.ButtonEdge(1.0, 1.0, True), sm.Tick(4.5), sm.ButtonEdge(5.0, 5.0, False)], 5.0)
    for k in range(EVENTS_KEPT + 100):
        bench.guard.take([sm.Command(6.0 + 0.01 * k, str(k), "dance", {})], 6.0)
    kept = bench.guard._events  # the bound is what is tested; nothing outside shows it
    assert len(kept) <= EVENTS_KEPT
    assert "sos.raised" in {message.type for message in kept.values()}


def test_garbage_in_the_mailbox_is_ignored() -> None:
    """Whatever arrives, the guard goes on."""
    bench = Bench()
    for data in (b"", b"{}", b"\xff\xfe", b'{"kind":"keepalive"}', b'{"kind":"nonsense"}'):
        bench.mail.deliver("guard", data)
    bench.run(1.0)
    assert bench.messages(bench.voice, wire.KeepAlive)


def test_a_part_that_failed_in_two_ways_is_well_when_it_is_well() -> None:
    """Gone, then nonsense, then readings: nothing is left of either fault, and it is not called well in between."""
    bench = Bench()
    bench.run(1.0)
    bench.guard.step_failed("battery", SensorError("absent", "no acknowledge"), 1.0)
    bench.run(3.0)
    bench.guard.step_failed("battery", SensorError("garbage", "every bit reads 1"), 3.0)
    bench.run(8.0)
    assert not [m for m in bench.messages(bench.voice, wire.SpeakMessage) if m.phrase == "fault_over"]
    bench.guard.take([sm.BatterySample(8.0, 8.0, 80.0, 3.9)], 8.0, "battery")
    events = [(m.type, m.data.get("fault")) for m in bench.guard._events.values() if m.data.get("part") == "battery"]
    assert sorted(events) == [
        ("fault.cleared", "absent"),
        ("fault.cleared", "garbage"),
        ("fault.raised", "absent"),
        ("fault.raised", "garbage"),
    ]


def test_who_talks_without_end_silences_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many messages wait, signs of life go out and what sensors bring is decided between them."""
    bench = Bench()
    watch = wire.encode(wire.Watch("display"))
    monkeypatch.setattr(bench.guard._mail, "receive", lambda: watch)
    bench.run(0.5)
    bench.guard.take([sm.HealthReport(0.5, "battery", "absent", active=True)], 0.5)
    bench.run(1.0)
    assert bench.messages(bench.voice, wire.KeepAlive)
    assert bench.guard._faults  # taken in although the mailbox is never empty


@pytest.mark.parametrize("mono_s", [1e300, 1e15, -1e300])
def test_a_label_is_of_this_session_whatever_its_time(mono_s: float) -> None:
    """A sender with a clock of its own cannot end the guard, nor write a time that no recording can hold."""
    bench = Bench()
    bench.run(1.0)
    bench.mail.deliver("guard", wire.encode(wire.LabelMessage("fall", "begin", mono_s)))
    bench.run(2.0)
    records = [r for m in bench.messages(bench.courier, wire.RecordsMessage) for r in m.records]
    (label,) = (record for record in records if record.channel == wire.LABEL_CHANNEL)
    assert 0 <= label.publish_ns <= label.log_ns <= 2e9


def test_whoever_watches_gets_the_status() -> None:
    """A display asks and is served five times a second, for five seconds."""
    bench = Bench()
    display = bench.mail.open("display")
    bench.mail.deliver("guard", wire.encode(wire.Watch("display")))
    bench.run(10.0)
    statuses = bench.messages(display, wire.Status)
    assert 24 <= len(statuses) <= 27
    assert statuses[0].guard_state == "checking"


@pytest.mark.parametrize("ask", [wire.Watch, wire.Examine])
def test_so_many_are_served_and_no_more_until_they_have_gone(ask: Any) -> None:
    """A crowd of displays and examinations costs a warning no time; who comes when they have gone is served."""
    bench = Bench()
    crowd = [bench.mail.open(f"display-{k}") for k in range(50)]
    for box in crowd:
        bench.mail.deliver("guard", wire.encode(ask(box.name)))
    bench.run(1.0)
    assert sum(bool(box.waiting) for box in crowd) == WATCHERS_MAX
    late = bench.mail.open("late")
    bench.run(10.0)
    bench.mail.deliver("guard", wire.encode(ask(late.name)))
    bench.run(11.0)
    assert late.waiting


@pytest.mark.parametrize("reason", ["service", "person"])
def test_a_stop_says_goodbye_and_ends(reason: str) -> None:
    """A clean stop is announced, then the guard is finished within a few seconds."""
    bench = Bench()
    bench.mail.deliver("guard", wire.encode(wire.StopMessage(reason)))
    bench.run(1.0)
    early = bool(bench.guard.finished)
    assert not early
    assert "stopping" in [m.phrase for m in bench.messages(bench.voice, wire.SpeakMessage)]
    bench.run(6.0)
    assert bench.guard.finished
    assert bench.guard.stop_reason == reason


@pytest.mark.slow
def test_a_backlog_is_not_tried_again_with_every_record() -> None:
    """A courier that is away costs a few tries a second, however much waits for it."""
    bench = Bench()
    bench.courier.close()
    tries: list[bytes] = []
    deliver = bench.mail.deliver

    def counted(to: str, message: bytes) -> bool:
        if to == "courier" and message.startswith(b'{"kind":"session"'):
            tries.append(message)
        return deliver(to, message)

    bench.mail.deliver = counted  # type: ignore[method-assign]  # counts what leaves
    for k in range(3000):
        t = 0.01 * k
        bench.clock.reach(t)
        bench.guard.take([near(t, 3.0)], t)
        bench.guard.poll(t)
    assert len(tries) <= 120  # thirty seconds


# ------------------------------------------------------------------------------------------------ the first use


def first_uses(bench: Bench) -> list[Any]:
    """What the Companion was told of the first use, as the recording has it."""
    bench.guard._flush(bench.clock.now())
    records = [r for m in bench.messages(bench.courier, wire.RecordsMessage) for r in m.records]
    return [wire.decode(bytes(r.data), sm.FirstUse).accepted for r in records if r.channel == "/item/first_use"]


def kept_as(*, accepted: bool) -> Kept:
    return Kept(1, "old", "boot", 0.0, 0.0, sm.SavedState(1.0, "stopping", accepted=accepted), [])


@pytest.mark.parametrize(
    ("accepted", "told"), [pytest.param(True, [], id="accepted before"), pytest.param(False, [False], id="not yet")]
)
def test_a_device_knows_from_what_was_kept_whether_it_was_accepted(accepted, told):
    """After a restart nobody is asked; the Companion is told only where the limits have to be said."""
    bench = Bench(kept_as(accepted=accepted))
    bench.run(2.0)
    assert first_uses(bench) == told


def late_copy(copy: Kept | None) -> Bench:
    """A boot: the courier comes up a second after the guard, and two seconds later answers with what is on the card."""
    bench = Bench()
    bench.mail.open("courier").close()
    bench.run(1.0)
    bench.courier = bench.mail.open("courier")
    bench.run(2.0)
    assert not bench.messages(bench.courier, wire.StateMessage), "the card is written over"
    bench.mail.deliver("guard", wire.encode(wire.StateMessage(wire.encode(copy) if copy is not None else b"")))
    bench.run(2.5)
    return bench


@pytest.mark.parametrize(
    ("copy", "accepted"),
    [
        pytest.param(kept_as(accepted=True), True, id="accepted before the power cut"),
        pytest.param(kept_as(accepted=False), False, id="not yet"),
        pytest.param(None, False, id="a new card"),
    ],
)
def test_after_a_boot_the_card_is_asked_before_it_is_written_over(copy, accepted):
    """The courier may come up later than the guard: it is asked until it answers, and gets no state until then."""
    bench = late_copy(copy)
    kept = wire.decode(bench.messages(bench.courier, wire.StateMessage)[-1].content, Kept)
    assert kept.state.accepted == accepted
    bench.run(13.0)
    last = bench.shelf.kept[-1].state
    assert last is not None
    assert last.accepted == accepted


def test_a_fall_is_not_forgotten_because_the_card_answers_late():
    """The power went in the countdown: it goes on from the card, and is confirmed."""
    state = sm.SavedState(1.0, "guarding", 0.5, countdown_left_s=8.0, fall_number=4, accepted=True)
    bench = late_copy(Kept(7, "old", "boot", -1.0, 0.0, state, []))
    bench.run(9.0)
    confirmed = [m for m in bench.messages(bench.courier, wire.EventMessage) if m.type == "fall.confirmed"]
    assert {message.data["fall"] for message in confirmed} == {4}
    assert bench.shelf.kept[-1].count > 7


def test_a_card_that_never_answers_does_not_hold_anything_up_for_long():
    """After ten seconds the limits count as not accepted, and the state goes to the card again."""
    bench = Bench()
    bench.run(9.5)
    assert not bench.messages(bench.courier, wire.StateMessage)
    bench.run(10.5)
    assert bench.messages(bench.courier, wire.StateMessage)
