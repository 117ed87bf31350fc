"""The alert life cycle: what a hub makes of what it hears, and who is told when.  Pure: no clock, log, file or chance.

`Desk.feed(item)` returns what follows from it, `deadline()` says when to feed a `Tick` if nothing else comes.  Equal
items give equal outcomes, however often the desk is put away (`state`) and taken out again (`restore`) in between.

There is one open alert of each kind and device.  What a device sends is put in order by epoch and number, so that what
comes late (high priority goes first after hours without a network) changes nothing that is newer.  `hub.case` has the
ladder, `hub.silence` who is silent, `hub.notes` what is told without hurry.
"""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct, field

from retrowalk.errors import WireError
from retrowalk.hub.case import Case, Notice, same_person, since
from retrowalk.hub.facts import (
    Alert,
    Answered,
    Command,
    Delivered,
    EventCame,
    HeartbeatCame,
    Item,
    Kind,
    LinkCame,
    NoteCame,
    Notify,
    Outcome,
    Stage,
    StateCame,
    Told,
    Void,
)
from retrowalk.hub.notes import Notes
from retrowalk.hub.settings import Contact, Ladder, Silence
from retrowalk.hub.silence import AGAIN_S, AWAY_S, NOTICE_EVERY_S, STEADY_AGAIN_S, STEADY_S, Ears, Life
from retrowalk.hub.values import real, whole

ANSWER_S = 20.0
"""So long after the end of a countdown its outcome must have come; else somebody is needed."""
SETTLE_S = 5.0
"""What happened long ago waits so long for the news that it is over, which follow it out of the same outbox."""
GAP_SETTLE_S = 90.0
"""The same where news of high priority that are newer are there: what fills a gap may be ended by the next answer."""
COUNTDOWN_S = (5.0, 30.0, 120.0)
"""A countdown is no shorter than this, so long where the event does not say, and no longer than that."""
ASKED_MOST = 10
"""So many possible falls of a device are told, and further ones are only written down, ..."""
ASKED_WITHIN_S = 3600.0
"""... within so long.  Every alarm is told."""
NOTE_VOID_S = 86400.0
KEPT_IDS = 64
KEPT_ENDS = 16
EPOCHS_MAX = 256
"""So many outboxes of a device are told apart, the latest; on a card that keeps nothing each start begins one."""
EVENT_KINDS_MAX = 8
"""Open alerts of unknown events that a device may have; further types count as the last one."""
PERSON_MAX = 40

STEPS: dict[str, tuple[Kind, str]] = {
    "fall.suspected": (Kind.FALL, "possible"),
    "fall.confirmed": (Kind.FALL, "open"),
    "fall.lasted": (Kind.FALL, "lasted"),
    "fall.risen": (Kind.FALL, "risen"),
    "fall.cancelled": (Kind.FALL, "end"),
    "sos.raised": (Kind.SOS, "open"),
    "sos.cancelled": (Kind.SOS, "end"),
}
"""What each event says of which alert."""

_EVENT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class End(Struct):
    """The device has said that something is over."""

    order: tuple[int, int]
    by: str
    alert: int = 0
    """Which alert it ended; 0: none was known."""


class Closed(Struct):
    """An alert that a person has called over, while the device may still hold it open."""

    alert: int
    by: str
    now_s: float
    order: tuple[int, int]
    fall: int | None
    confirmed: bool
    possible: bool
    """It was no more than possible then."""


class Device(Struct):
    """What the desk knows of one device."""

    name: str
    life: Life = field(default_factory=Life)
    epochs: list[str] = field(default_factory=list)
    """The latest, in the order in which they were first heard of."""
    epochs_before: int = 0
    """How many there were before those."""
    ids: list[str] = field(default_factory=list)
    """Of the latest events that concern alerts: the same may come in two epochs."""
    cases: list[Case] = field(default_factory=list)
    ends: dict[Kind, list[End]] = field(default_factory=dict)
    closed: dict[Kind, Closed] = field(default_factory=dict)
    asked: list[float] = field(default_factory=list)
    """When a possible fall was told."""
    newest: tuple[int, int] = (0, 0)
    """Of its events of high priority."""
    held_s: float | None = None
    """When a person was last told that the device holds open what they have called over."""
    notes: Notes = field(default_factory=Notes)
    note_cases: list[Case] = field(default_factory=list)
    """Notes that have not reached anybody yet."""

    def case(self, kind: Kind) -> Case | None:
        """The open alert of a kind."""
        return next((case for case in self.cases if case.alert.kind is kind), None)

    def order(self, event: EventCame) -> tuple[int, int]:
        """Where an event stands among all of the device."""
        if event.epoch not in self.epochs:
            self.epochs.append(event.epoch)
            if len(self.epochs) > EPOCHS_MAX:
                del self.epochs[0]
                self.epochs_before += 1
        return self.epochs_before + self.epochs.index(event.epoch), event.seq

    @property
    def troubled(self) -> list[Case]:
        """Alerts because of which the device must be heard."""
        return [
            case for case in self.cases if case.alert.kind in (Kind.FALL, Kind.SOS) and case.stage is not Stage.POSSIBLE
        ]

    @property
    def expected(self) -> bool:
        """Whether it should be heard."""
        return self.life.watched or (bool(self.troubled) and self.life.state != "disconnected")


class Book(Struct):
    """All that a desk remembers."""

    devices: dict[str, Device] = field(default_factory=dict)
    ears: Ears = field(default_factory=Ears)
    now_s: float = 0.0
    rests_s: float = 0.0
    """Until then nobody is told: the hub was not running, and the news of that time come first."""
    alerts: int = 0
    """The number used last."""
    notices: int = 0


class Desk:
    """Keeps the alerts of all devices.  `contacts` in the order in which they are told."""

    def __init__(self, contacts: Sequence[Contact], ladder: Ladder, silence: Silence) -> None:
        first: dict[str, str] = {}
        for contact in contacts:
            first.setdefault(contact.name.casefold(), contact.name)
        self._names = tuple(first.values())
        self._ladder = ladder
        self._silence = silence
        self._book = Book()
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._out: list[Outcome] = []

    # -- the door -------------------------------------------------------------------------------------------

    def feed(self, item: Item) -> tuple[Outcome, ...]:
        """What follows from `item`, and from the time that has passed until it."""
        book = self._book
        now = max(item.now_s, book.now_s)
        away = now > self.deadline() + AWAY_S
        if away:
            book.rests_s = now + SETTLE_S
        if away and book.ears.up and not isinstance(item, LinkCame):
            book.ears.changed(now, book.now_s, up=True)
            self._refresh_all()
        if isinstance(item, LinkCame):
            book.ears.changed(now, book.now_s, item.up)
            self._refresh_all()
        book.now_s = now
        # What was due before this item came first: an answer at the moment of a repetition comes after it.
        for device in list(self._overdue(now)):
            self._advance(device, now)
        self._take(item, now)
        out, self._out = self._out, []
        return tuple(out)

    def deadline(self) -> float:
        """When a `Tick` is due if nothing else comes (`math.inf`: never)."""
        heap = self._heap
        while heap and self._due.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return max(heap[0][0], self._book.rests_s) if heap else math.inf

    def alerts(self) -> tuple[Alert, ...]:
        """The open ones, in the order of their numbers."""
        cases = (case for device in self._book.devices.values() for case in device.cases)
        return tuple(sorted((case.alert for case in cases), key=lambda alert: alert.number))

    def state(self) -> dict[str, Any]:
        """All that it remembers, fit for JSON."""
        state: dict[str, Any] = msgspec.to_builtins(self._book, str_keys=True)
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where another desk has stood.  Raises `WireError` if `state` is not one."""
        try:
            self._book = msgspec.convert(state, Book, str_keys=True)
        except msgspec.ValidationError as error:
            raise WireError(f"state of the desk: {error}") from error
        self._due, self._heap, self._out = {}, [], []
        for device in self._book.devices.values():
            self._refresh(device)

    def _take(self, item: Item, now: float) -> None:
        match item:
            case EventCame():
                device = self._device(item.device)
                self._event(device, item, now)
            case StateCame():
                device = self._device(item.device)
                if device.life.state_came(item):
                    self._hear(device, now)
            case HeartbeatCame():
                device = self._device(item.device)
                if device.life.heartbeat_came(item):
                    self._hear(device, now)
            case NoteCame():
                device = self._device(item.device)
                self._note(device, now, item.type, item.data, event=None)
            case Answered():
                self._answered(item, now)
                return
            case Delivered():
                self._delivered(item, now)
                return
            case _:
                return
        self._advance(device, now)

    def _device(self, name: str) -> Device:
        return self._book.devices.setdefault(name, Device(name))

    # -- time -----------------------------------------------------------------------------------------------

    def _overdue(self, now: float) -> Iterator[Device]:
        while self.deadline() <= now:
            _, name = heapq.heappop(self._heap)
            del self._due[name]
            yield self._book.devices[name]

    def _refresh_all(self) -> None:
        for device in self._book.devices.values():
            self._refresh(device)

    def _refresh(self, device: Device) -> None:
        due = min(
            self._silence_due(device),
            *(case.deadline(self._names, self._ladder) for case in device.cases),
            *(self._promote_s(device, case) for case in device.cases),
            math.inf,
        )
        if self._due.get(device.name) != due:
            self._due[device.name] = due
            if due < math.inf:
                heapq.heappush(self._heap, (due, device.name))

    def _advance(self, device: Device, now: float) -> None:
        """What time has brought, and what was found meanwhile is told."""
        if now >= self._book.rests_s:
            for case in device.cases:
                due = self._promote_s(device, case)
                if now >= due:
                    case.page(since(due, now))
            self._watch(device, now)
            for case in device.cases:
                case.advance(now, self._names, self._ladder)
        for case in device.cases:
            self._flush(device, case, now)
        device.cases = [case for case in device.cases if case.stage is not Stage.OVER]
        self._refresh(device)

    def _flush(self, device: Device, case: Case, now: float) -> None:
        """What has become of a case leaves the desk."""
        self._out += [Void(notice=number) for number in case.voids]
        if case.changed:
            self._out.append(case.alert)
        for number in [number for number, notice in case.notices.items() if notice.void_s <= now]:
            del case.notices[number]
        for say in case.says:
            self._book.notices += 1
            number = self._book.notices
            case.notices[number] = Notice(say.contact, say.why, say.void_s)
            self._out.append(
                Notify(
                    notice=number,
                    alert=case.alert,
                    contact=say.contact,
                    why=say.why,
                    priority=say.priority,
                    urgent=say.urgent,
                    now_s=now,
                    void_s=say.void_s,
                    heard_s=device.life.heard_s,
                    battery_percent=device.life.battery_percent,
                )
            )
        case.changed, case.says, case.voids = False, [], []

    def _open(
        self, device: Device, now: float, kind: Kind, event: EventCame | None, order: tuple[int, int] = (0, 0)
    ) -> Case:
        """A new alert, possible for the time being."""
        self._book.alerts += 1
        case = Case(
            alert=Alert(
                number=self._book.alerts,
                device=device.name,
                kind=kind,
                stage=Stage.POSSIBLE,
                priority="low" if kind in (Kind.SILENT, Kind.NOTE) else "medium",
                event=event.id if event else "",
                event_type=event.type if event else "",
                session=event.session if event else "",
                opened_s=now,
                happened=event.time if event else "",
                happened_s=event.happened_s if event else None,
                clock=event.clock if event else "",
                historical=event.historical if event else False,
                data=dict(event.data) if event else {},
            ),
            order=order,
        )
        device.cases.append(case)
        return case

    def _end(self, device: Device, case: Case, now: float, why: str) -> None:
        case.end(now, why, self._names)
        self._flush(device, case, now)
        device.cases.remove(case)

    # -- events ---------------------------------------------------------------------------------------------

    def _event(self, device: Device, event: EventCame, now: float) -> None:
        order = device.order(event)
        if not event.session.startswith("courier-"):  # its own troubles: no sign of the guard
            self._hear(device, now)
        kind, step = STEPS.get(event.type, (None, ""))
        if kind is not None or event.priority == "high":
            if event.id in device.ids:
                return
            device.ids = [*device.ids[1 - KEPT_IDS :], event.id]
            if event.priority == "high":
                device.newest = max(device.newest, order)
        if kind is None:
            if event.priority == "high":
                self._unknown(device, event, order, now)
            elif event.priority not in ("none", "low"):
                self._note(device, now, event.type, event.data, event)
            elif device.notes.stumbled(now, event):
                self._note(device, now, "balance.lost", device.notes.stumbles(now), event)
        elif step == "end":
            self._ended(device, kind, event, order, now)
        elif not self._over_already(device, kind, event, order, now):
            self._happened(device, kind, step, event, order, now)

    def _ended(self, device: Device, kind: Kind, event: EventCame, order: tuple[int, int], now: float) -> None:
        """The device says that it is over: what happened before, and not what came since."""
        by = event.data.get("by")
        end = End(order, by if isinstance(by, str) and by else "device")
        case = device.case(kind)
        closed = device.closed.get(kind)
        if case is not None and case.order < order:
            end.alert = case.alert.number
            self._end(device, case, now, end.by)
        elif closed is not None and closed.order < order:
            end.alert = closed.alert
        if closed is not None and closed.order < order:
            del device.closed[kind]
        device.ends[kind] = sorted([*device.ends.get(kind, []), end], key=lambda one: one.order)[-KEPT_ENDS:]

    def _over_already(self, device: Device, kind: Kind, event: EventCame, order: tuple[int, int], now: float) -> bool:
        """Whether the end of this has overtaken it: then it is written down, and nobody is told."""
        end = next((end for end in device.ends.get(kind, []) if end.order > order), None)
        if end is None:
            return False
        if not end.alert:
            case = self._open(device, now, kind, event, order)
            end.alert = case.alert.number
            case.end(now, end.by, ())
            self._flush(device, case, now)
            device.cases.remove(case)
        return True

    def _happened(
        self, device: Device, kind: Kind, step: str, event: EventCame, order: tuple[int, int], now: float
    ) -> None:
        """Something has begun, or goes on."""
        case = device.case(kind)
        if case is None:
            answered_by = self._held_open(device, kind, step, event, order, now)
            if answered_by is None:
                return
            case = self._begin(device, kind, step, event, order, now)
            if answered_by:
                self._hold(device, case, answered_by, now)
            return
        fall = whole(event.data.get("fall"))
        late = order < case.order
        new = not late and (
            step == "possible"
            or (step == "open" and case.confirmed)
            or (step == "lasted" and None not in (fall, case.fall) and fall != case.fall)
        )
        if not late:
            case.order = order
            case.becomes(event_type=event.type, data=dict(event.data))
            case.fall = fall if fall is not None else case.fall
        if kind is Kind.FALL and new and case.stage is Stage.ANSWERED:
            # The device asks after one fall at a time: the one that was answered is over, and this is another.
            told = tuple(dict.fromkeys((*case.alert.told, *case.owed)))
            case.end(now, "another fall", ())
            self._flush(device, case, now)
            device.cases.remove(case)
            case = self._begin(device, kind, step, event, order, now)
            case.owed = told
            return
        if step != "possible":
            case.confirmed = True
            if case.stage is Stage.POSSIBLE:
                case.page(now + settle_s(device, event, order))
                return
        elif case.stage is Stage.POSSIBLE and case.counted_s is not None:
            case.counted_s = min(case.counted_s, now + countdown_s(event))
        if late or (case.begins_s is not None and now < case.begins_s):
            return
        told = tuple(name for name in self._names if name in case.alert.told)
        if step == "risen":
            case.news(now, told)
        elif case.stage is Stage.ANSWERED and kind is Kind.SOS:
            case.news(now, told, "high")
        elif case.stage is Stage.ANSWERED:
            case.news(now, case.answerer(self._names))

    def _begin(
        self, device: Device, kind: Kind, step: str, event: EventCame, order: tuple[int, int], now: float
    ) -> Case:
        case = self._open(device, now, kind, event, order)
        case.fall = whole(event.data.get("fall"))
        case.begins_s = now + settle_s(device, event, order)
        if step == "possible":
            case.counted_s = now + countdown_s(event)
            device.asked = [at for at in device.asked if now - at < ASKED_WITHIN_S]
            if len(device.asked) < ASKED_MOST:
                device.asked.append(now)
            else:
                case.begins_s = None
        else:
            case.confirmed = True
            case.page(case.begins_s)
        device.closed.pop(kind, None)
        return case

    def _held_open(
        self, device: Device, kind: Kind, step: str, event: EventCame, order: tuple[int, int], now: float
    ) -> str | None:
        """Whether an alert begins although a person has called one over: None no, else who has it in hand (or "").

        What the device goes on to hold open is that person's affair, unless they knew only of a question, or whoever
        fell has been up and lies again.
        """
        closed = device.closed.get(kind)
        if closed is None:
            return ""
        if order <= closed.order:
            return None
        closed.order = order
        fall = whole(event.data.get("fall"))
        if kind is Kind.SOS or step == "possible" or (step == "open" and closed.confirmed):
            return ""
        if None not in (fall, closed.fall) and fall != closed.fall:
            return ""
        if step == "risen":
            return None
        if closed.possible:
            return ""
        since_s = real(event.data.get("since_s"))
        down = since_s is not None and not event.historical and now - since_s > closed.now_s
        if step == "lasted" and down:
            return ""
        if device.held_s is not None and now < device.held_s + self._ladder.remind_after_s:
            return None
        return closed.by

    def _hold(self, device: Device, case: Case, by: str, now: float) -> None:
        """An alert that a person has called over, and the device has not: they have it in hand, and hear of it."""
        device.held_s = now
        case.answer(now, by, (), self._ladder)
        case.news(now, [name for name in self._names if same_person(name, by)])

    def _unknown(self, device: Device, event: EventCame, order: tuple[int, int], now: float) -> None:
        """An event of high priority that this hub knows nothing of: somebody looks at it."""
        cases = [case for case in device.cases if case.alert.kind is Kind.EVENT]
        case = next((case for case in cases if case.alert.event_type == event.type), None)
        if case is None and len(cases) >= EVENT_KINDS_MAX:
            case = cases[-1]
        if case is None:
            case = self._open(device, now, Kind.EVENT, event, order)
            case.page(now + settle_s(device, event, order))
            return
        if order < case.order:
            return
        case.order = order
        case.becomes(data=dict(event.data), event_type=event.type)
        if case.stage is Stage.ANSWERED:
            case.news(now, [name for name in self._names if name in case.alert.told], "high")

    def _note(self, device: Device, now: float, type: str, data: dict[str, Any], event: EventCame | None) -> None:
        """Something to know: told to the first contact, and not again and again."""
        told = device.notes.due(now, type, data)
        if told is None:
            return
        case = self._open(device, now, Kind.NOTE, event)
        device.cases.remove(case)
        priority = event.priority if event and event.priority == "medium" else "low"
        case.becomes(stage=Stage.OVER, ended_s=now, ended="note", event_type=type, data=told, priority=priority)
        device.note_cases = [*device.note_cases[-15:], case]
        self._tell_note(device, case, now)

    def _tell_note(self, device: Device, case: Case, now: float) -> None:
        to = [name for name in self._names if name not in case.failed][:1]
        case.tell(to, Told.NOTE, case.alert.priority, now + NOTE_VOID_S)
        self._flush(device, case, now)

    # -- silence --------------------------------------------------------------------------------------------

    def _hear(self, device: Device, now: float) -> None:
        """The device has spoken."""
        life = device.life
        life.heard_s, life.deaf_s = now, self._book.ears.deaf_s
        life.noted = life.excused = False
        case = device.case(Kind.SILENT)
        if case is None:
            return
        if life.state == "disconnected":
            self._heard(device, case, now, "switched off")
        elif not case.paged or not device.expected:
            self._heard(device, case, now, "heard")
        elif life.back_s is None:
            life.back_s, case.held = now, True
        elif now - life.back_s >= life.steady_s:
            self._heard(device, case, now, "heard")

    def _heard(self, device: Device, case: Case, now: float, why: str) -> None:
        if case.paged:
            device.life.paged_end_s = now
        device.life.back_s = None
        self._end(device, case, now, why)

    def _silence_due(self, device: Device) -> float:
        life, case = device.life, device.case(Kind.SILENT)
        if not device.expected or life.excused:
            return math.inf
        notice_s, page_s = life.due(self._book.ears, self._silence)
        if case is None:
            return math.inf if device.troubled and life.noted else min(notice_s, page_s)
        if case.stage is Stage.POSSIBLE:
            return page_s
        return math.inf if life.back_s is None else min(notice_s, page_s)

    def _watch(self, device: Device, now: float) -> None:
        """Silence, as far as it has come."""
        if now < self._silence_due(device):
            return
        life, case = device.life, device.case(Kind.SILENT)
        _, page_s = life.due(self._book.ears, self._silence)
        if case is not None and case.stage is not Stage.POSSIBLE:
            life.back_s, case.held = None, False
            return
        if case is None and device.troubled:
            # Somebody is being called already: that the device is silent, too, is news of that.
            life.noted = True
            for trouble in device.troubled:
                trouble.news(now, [name for name in self._names if name in trouble.alert.told])
            return
        cause = life.cause if self._book.ears.up else "link"
        data = {"cause": cause, "state": life.state}
        if case is None:
            case = self._open(device, now, Kind.SILENT, None)
            if life.notice_s is None or now - life.notice_s >= NOTICE_EVERY_S:
                life.notice_s = case.begins_s = now
        case.becomes(data=data)
        if now >= page_s:
            flaps = life.paged_end_s is not None and now - life.paged_end_s < AGAIN_S
            life.steady_s = STEADY_AGAIN_S if flaps else STEADY_S
            case.page(since(page_s, now))

    def _promote_s(self, device: Device, case: Case) -> float:
        """When a possible fall becomes an alarm by itself."""
        if case.counted_s is None or case.stage is not Stage.POSSIBLE:
            return math.inf
        lost_s = device.life.lost_s
        answer_s = case.counted_s + ANSWER_S
        return answer_s if lost_s is None else min(answer_s, max(case.counted_s, lost_s))

    # -- people ---------------------------------------------------------------------------------------------

    def _answered(self, item: Answered, now: float) -> None:
        by = " ".join("".join(c if c.isprintable() else " " for c in item.by).split())[:PERSON_MAX].strip()
        if not by:
            return
        by = next((name for name in self._names if same_person(name, by)), by)
        for device in list(self._book.devices.values()):
            chosen = [
                case
                for case in device.cases
                if (case.alert.number == item.alert if item.alert else device.name == item.device)
            ]
            for case in chosen:
                self._answer(device, case, by, item.over, now)
            if chosen:
                self._advance(device, now)

    def _answer(self, device: Device, case: Case, by: str, over: bool, now: float) -> None:
        alert = case.alert
        new = case.answer(now, by, () if over else self._names, self._ladder)
        if over:
            if alert.kind is Kind.SILENT:
                device.life.excused, device.life.back_s = True, None
                device.life.paged_end_s = now if case.paged else device.life.paged_end_s
            elif alert.kind is not Kind.EVENT:
                device.closed[alert.kind] = Closed(
                    alert.number, by, now, case.order, case.fall, case.confirmed, alert.stage is Stage.POSSIBLE
                )
            self._end(device, case, now, by)
        if new and _EVENT_ID.fullmatch(alert.event):
            self._out.append(Command(device=device.name, name="seen", by=by, args={"event": alert.event}))

    def _delivered(self, item: Delivered, now: float) -> None:
        for device in self._book.devices.values():
            for case in (*device.cases, *device.note_cases):
                if item.notice not in case.notices:
                    continue
                failed = list(case.failed)
                case.delivered(item.notice, item.ok)
                if case in device.note_cases:
                    if item.ok:
                        device.note_cases.remove(case)
                    elif case.failed != failed:
                        self._tell_note(device, case, now)
                self._advance(device, now)
                return


def settle_s(device: Device, event: EventCame, order: tuple[int, int]) -> float:
    """How long the news that it is over may still be on their way."""
    if not event.historical:
        return 0.0
    return GAP_SETTLE_S if event.priority == "high" and order < device.newest else SETTLE_S


def countdown_s(event: EventCame) -> float:
    """How long a countdown lasts, as far as the event says something that can be."""
    least, usual, most = COUNTDOWN_S
    value = real(event.data.get("countdown_s"))
    return usual if value is None else min(max(value, least), most)
