"""The hub: commits every event once, then acknowledges it, and has people told what the desk makes of it.

`Hub` is one step (`poll`); `process.run` gives it a real loop.  In one transaction go the events that arrived, what
the `Desk` made of them and the desk itself.  Only then the device may forget them (`cmd/ack`), the broker too
(`handled`), and the notifier gets what is to be told.  So whatever ends this program, an event is either stored with
its alert, or comes again.

A store that fails keeps all of that back: the broker is told that nobody watches (`hub/state` down) until it works.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple, Protocol

import msgspec

from retrowalk import wire
from retrowalk.core.samples import Item
from retrowalk.errors import StoreError, WireError
from retrowalk.hub import arrivals, facts
from retrowalk.hub.alerts import Desk
from retrowalk.hub.arrivals import OddError
from retrowalk.hub.line import Line
from retrowalk.hub.settings import HubConfig
from retrowalk.hub.store import Came, Device, Gap, Store, StoredEvent, Waiting
from retrowalk.hub.times import HubTime
from retrowalk.platform import Arrived, BrokerLink, Clock, Connected, Disconnected, no_wake

BATCH = 200
"""Messages in one transaction."""

WAITING_MAX = 2000
"""Messages in memory; of more, those that the broker would not send again are let go."""

ACK_GAP_S = 0.05
"""A device is acknowledged to no more often."""

BEAT_GAP_S = 1.0
"""Signs of life alone are written to the disk no more often."""

INBOX_S = 0.25
"""What the command line asks for is looked at this often."""

RETRY_S = 2.0
"""A store that failed is tried again so much later."""

GAP_LOOK_S = 1.0
ASK_AFTER_S = 5.0
"""A gap in which nothing moved for so long is asked for: what the broker still holds comes by itself."""
ASK_AGAIN_S = 62.0
ASK_TIMES = 3
ASK_NUMBERS = 1000
"""Numbers asked for at a time."""
PRESENT_S = 150.0
"""A device that was heard within this time can be asked (it speaks each 60 s at least)."""

EVENT_AGE_MAX_S = 400 * 86400.0
MONO_MAX_MS = 2**53

COMMAND_TTL_S = {"seen": 300, "resync": 60, "say": 60, "locate": 60}
"""That somebody has seen it is still worth hearing after a tunnel; a sentence is not."""
INBOX_OLD_S = 60.0
"""A sentence that was to be said before this hub ran is not said any more."""

SWEEP_S = 3600.0
SWEEP_MORE_S = 1.0
AWAY_TOLD_S = 300.0
"""A hub that did not run for longer says so."""

ATTEMPTS_MAX = 1000
FAREWELL_S = 1.0
PERSON_MAX = 40

_log = logging.getLogger(__name__)


class Result(NamedTuple):
    """What became of a notice, from the notifier."""

    notice: int
    ok: bool
    detail: str


class Answer(NamedTuple):
    """What a person answered, from the notifier."""

    by: str
    alert: int
    over: bool
    via: str
    say: str = ""
    """A phrase that the walker shall hear from them."""


class Attempt(NamedTuple):
    """One message by one of a contact's addresses, from the notifier; nothing in it is a secret."""

    notice: int
    contact: str
    scheme: str
    ok: bool
    detail: str
    took_s: float


class Notifier(Protocol):
    """Who sends what is to be told.  No call blocks."""

    wake: Callable[[], None]
    """Called, from any thread, when there are results or answers."""
    now: Callable[[], float] | None
    """Hub time."""

    def send(self, notice: facts.Notify) -> None:
        """Tells a contact, until it is taken or void."""

    def void(self, notice: int) -> None:
        """A notice must not be sent any more."""

    def results(self) -> Iterable[tuple[int, bool, str]]:
        """What became of notices since the last call: notice, taken, detail."""

    def attempts(self) -> Iterable[tuple[int, str, str, bool, str, float]]:
        """Each message since the last call: `Attempt`."""

    def answers(self) -> Iterable[tuple[str, int, bool, str, str]]:
        """What people answered since the last call: `Answer`.  To call again says that the last ones are on disk."""

    def alive(self) -> bool:
        """Evidence for the watchdog: whoever sends is at work, or waits for something to send."""

    def close(self) -> None:
        """Ends it, soon."""


class _Waits(NamedTuple):
    """A message that arrived, with the hub time and wall time at which it did."""

    line: Line
    message: Arrived
    hub_s: float
    wall_s: float


class Hub:
    """The hub's one step.  `links` has one per site, made to confirm (`BrokerLink.handled`).

    `rng` makes names of connections and commands: pass a seeded one in virtual time.
    """

    name = "hub"
    retry_s = 1.0

    def __init__(
        self,
        settings: HubConfig,
        store: Store,
        desk: Desk,
        notifier: Notifier,
        links: Mapping[str, BrokerLink],
        clock: Clock,
        times: HubTime,
        *,
        rng: random.Random | None = None,
    ) -> None:
        self.wake: Callable[[], None] = no_wake
        self.started_wall_s = times.wall_s()
        self._settings = settings
        self._store = store
        self._desk = desk
        self._notifier = notifier
        self._clock = clock
        self._times = times
        self._rng = rng or random.SystemRandom()
        self._lines = {site: Line(site, link, self._rng) for site, link in links.items()}

        self._began = False
        self._hears = False
        """Whether the desk has been told that every connection is there."""
        self._waiting: deque[_Waits] = deque()
        self._results: list[Result] = []
        self._attempts: deque[Attempt] = deque(maxlen=ATTEMPTS_MAX)
        self._answers: list[Answer] = []
        self._desk_kept: tuple[bytes, dict[str, bytes]] = b"", {}
        """The desk as it was at the last commit: what a transaction that fails goes back to."""
        self._desk_on_disk = False
        """Whether the file has all of that: not one that was begun anew."""
        self._damage_told = 0
        self._let_go = 0

        self._retry_at = -math.inf
        self._failing = False
        self._beats_at = -math.inf
        self._inbox_at = -math.inf
        self._inbox_change = -1
        self._gaps_at = -math.inf
        self._began_s: dict[str, tuple[str, float]] = {}
        """Boot of each device, and the hub time of its beginning, from its latest sign of life."""
        self._asked_s: dict[str, float] = {}
        """Hub time at which each device was asked for a gap last."""
        self._sweep_at = -math.inf
        self._commands_at = math.inf
        self._sent_commands: list[str] = []
        self._to_ack: dict[tuple[str, str], float] = {}
        """Outboxes to be acknowledged to, and when."""
        self._acked_at: dict[str, float] = {}
        self._status: dict[str, Any] = {}

        # Of the transaction that is being made; done when it is on disk.
        self._outcomes: list[facts.Outcome] = []
        self._handled: list[_Waits] = []
        self._heard: set[str] = set()
        self._fed = False

        self._farewells: list[tuple[Line, int]] = []
        self._farewell_until = math.inf
        self._stopping = False
        self._closed = False
        notifier.wake = self._woken
        notifier.now = times.now
        for line in self._lines.values():
            line.link.wake = self._woken

    def _woken(self) -> None:
        self.wake()

    # ---------------------------------------------------------------------------------------------- the step

    def poll(self, now: float) -> tuple[tuple[Item, ...], float]:
        """Does everything that is due at `now`; returns when to come again."""
        if not self._began and not self._begin(now):
            return (), self._retry_at
        word = "down" if self._failing or self._stopping else "up"
        for line in self._lines.values():
            for event in line.read(word, now):
                self._on_link(line, event, now)
        if not self._failing:
            # A hub that cannot write tells nobody anything new: whoever asks whether it is alive must hear nothing.
            self._results += [Result(*result) for result in self._notifier.results()]
            self._attempts += [Attempt(*attempt) for attempt in self._notifier.attempts()]
            if not self._answers:
                self._answers += [Answer(*answer) for answer in self._notifier.answers()]
        if now >= self._retry_at and not self._stopping:
            self._work(now)
            self._acknowledge(now)
            self._send_commands(now)
        return (), self._due(now)

    def _begin(self, now: float) -> bool:
        """Goes on where the last hub ended, as soon as the store can be read."""
        if now < self._retry_at:
            return False
        store = self._store
        try:
            self._times.follow(store.anchor(now))
            kept = store.desk(now)
            numbers = store.numbers(now)
            ended_s = store.anchor(now)
            notices = store.waiting_notices(now)
        except StoreError as error:
            self._on_failure(error, now)
            return False
        self._restore(kept, numbers)
        hub_s = self._times.now()
        self._began = True
        away_s = hub_s - ended_s.hub_s if ended_s is not None else 0.0
        items: list[facts.Item] = []
        if ended_s is not None:
            # Whatever could not be heard until now is no device's silence.
            items.append(facts.LinkCame(now_s=hub_s, up=True))
        items.append(facts.LinkCame(now_s=hub_s, up=False))
        if away_s >= AWAY_TOLD_S and kept[0]:
            items.append(self._note("hub.back", {"away_s": round(away_s)}))
        try:
            self._in_turn(now, lambda: self._feed(*items))
        except StoreError as error:
            self._on_failure(error, now)
        for notice in notices:
            if hub_s < notice.void_s:
                self._notifier.send(notice)
        self._commands_at = now
        for line in self._lines.values():
            line.begin()
        return True

    def _restore(self, kept: tuple[bytes, dict[str, bytes]], numbers: tuple[int, int]) -> None:
        if kept[0]:
            try:
                self._desk.restore(_joined(kept))
                self._desk_kept = kept
                return
            except (WireError, msgspec.DecodeError) as error:
                _log.error("the alerts of the last hub cannot be read (%s): beginning anew", error)
        fresh = self._desk.state()
        fresh["alerts"], fresh["notices"] = numbers  # numbers are never used twice: people answer to them
        self._desk.restore(fresh)
        self._desk_kept = _parted(fresh)

    def _on_link(self, line: Line, event: Connected | Disconnected | Arrived, now: float) -> None:
        match event:
            case Connected():
                self._commands_at = now
                # The broker may have lost what it kept: each device of the site hears again how far it was heard.
                try:
                    for device in self._store.devices(now):
                        if device.epoch and device.device.startswith(f"{line.site}/"):
                            self._ack_soon(device.device, device.epoch)
                except StoreError as error:
                    self._on_failure(error, now)
            case Arrived(token=token):
                if token == 0 and len(self._waiting) >= WAITING_MAX:
                    self._let_go += 1
                    return
                self._waiting.append(_Waits(line, event, self._times.now(), self._times.wall_s()))

    def _due(self, now: float) -> float:
        due = [at for line in self._lines.values() for at in line.due(now)]
        if self._stopping:
            return min(due, default=math.inf)
        due += [self._retry_at if self._failing else self._wanted_at(now)]
        if not self._failing:
            due += [self._inbox_at, self._gaps_at, self._sweep_at, *self._to_ack.values()]
            if any(line.connected for line in self._lines.values()):
                due.append(self._commands_at)
        return min(due)

    def _wanted_at(self, now: float) -> float:
        """When there is something to commit."""
        if (
            self._results
            or self._attempts
            or self._answers
            or any(waits.message.token for waits in islice(self._waiting, BATCH))
        ):
            return now
        if self._hears != self._all_connected() or self._sent_commands:
            return now
        wanted = now + max(0.0, self._desk.deadline() - self._times.now())
        if self._waiting:
            urgent = len(self._waiting) >= BATCH or any(
                not waits.message.topic.endswith("/heartbeat") for waits in islice(self._waiting, BATCH)
            )
            wanted = min(wanted, now if urgent else self._beats_at)
        return wanted

    def _all_connected(self) -> bool:
        return all(line.connected for line in self._lines.values())

    # --------------------------------------------------------------------------------------- the transaction

    def _work(self, now: float) -> None:
        asked = self._asked(now)
        look = now >= self._gaps_at
        sweep = now >= self._sweep_at
        if self._wanted_at(now) > now and not asked and not look and not sweep and not self._failing:
            return
        batch = list(islice(self._waiting, BATCH))
        try:
            gaps = self._gaps_due(now) if look else []
            if batch or asked or gaps or sweep or self._failing or self._wanted_at(now) <= now:
                self._commit(batch, asked, gaps, sweep, now)
        except StoreError as error:
            self._on_failure(error, now)
        except Exception:
            # One message that this program cannot cope with must not keep the others out.
            _log.exception("a batch of %d messages failed: they are taken one by one", len(batch))
            self._one_by_one(batch, now)
            self._gaps_at = now + GAP_LOOK_S

    def _commit(self, batch: list[_Waits], asked: list[Waiting], gaps: list[Gap], sweep: bool, now: float) -> None:
        results, answers, sent = list(self._results), list(self._answers), list(self._sent_commands)
        attempts = list(self._attempts)
        more = False

        def work() -> None:
            nonlocal more
            hub_s = self._times.now()
            wall_s = self._times.wall_s()
            hears = self._all_connected()
            if hears != self._hears:
                self._feed(facts.LinkCame(now_s=hub_s, up=hears))
            for waits in batch:
                self._take(waits, now)
            for result in results:
                self._store.notice_went(result.notice, result.ok, wall_s)
                self._feed(facts.Delivered(now_s=hub_s, notice=result.notice, ok=result.ok, detail=result.detail[:500]))
            for attempt in attempts:
                self._store.add_attempt(
                    attempt.notice, attempt.scheme, attempt.ok, attempt.detail, attempt.took_s, wall_s
                )
            for answer in answers:
                of = next((alert.device for alert in self._desk.alerts() if alert.number == answer.alert), "")
                self._answered(answer.by, answer.alert, of, answer.over, answer.via, hub_s, wall_s)
                if answer.say and of:
                    self._command(of, "say", answer.by, {"phrase": answer.say}, wall_s)
            for waiting in asked:
                self._store.inbox_done(waiting.row, self._do(waiting, hub_s, wall_s))
            for id_ in sent:
                self._store.command_sent(id_)
            self._ask(gaps, hub_s)
            if sweep:
                keep = self._settings.hub
                more = self._store.sweep(hub_s - keep.keep_days * 86400.0, hub_s, keep.keep_mb * 1_000_000)
            if self._desk.deadline() <= hub_s:
                self._feed(facts.Tick(now_s=hub_s))

        self._in_turn(now, work)
        self._hears = self._all_connected()
        del self._results[: len(results)], self._answers[: len(answers)], self._sent_commands[: len(sent)]
        self._attempts.clear()
        for _ in batch:
            self._waiting.popleft()
        if batch:
            self._beats_at = now + BEAT_GAP_S
        if sweep:
            self._sweep_at = now + (SWEEP_MORE_S if more else SWEEP_S)
        if self._failing:
            self._failing = False
            self._retry_at = -math.inf
            _log.info("the store works again")

    def _in_turn(self, now: float, work: Callable[[], object]) -> None:
        """One transaction, and what follows from it when it is on disk.  Raises what `work` raises, and `StoreError`.

        Then the desk is as it was.
        """
        self._outcomes, self._handled, self._heard, self._fed = [], [], set(), False
        kept = self._desk_kept
        try:
            with self._store.turn(now):
                if self._store.damaged != self._damage_told:
                    self._desk_on_disk = False
                    self._feed(self._note("store.damaged", {"rows": self._store.salvaged}))
                work()
                wall_s = self._times.wall_s()
                self._keep_outcomes(wall_s)
                for name in self._heard:
                    device = self._store.device(name)
                    if device is not None:
                        self._store.put_device(device)
                if self._fed:
                    kept = _parted(self._desk.state())
                    before = self._desk_kept[1] if self._desk_on_disk else {}
                    changed = {name: form for name, form in kept[1].items() if before.get(name) != form}
                    self._store.put_desk(kept[0], changed, anew=not self._desk_on_disk)
                status = self._told_status()
                if status != self._status:
                    self._store.put("status", wire.encode(status))
                self._store.put_anchor(self._times.anchor())
        except BaseException:
            if self._fed:
                self._desk.restore(_joined(self._desk_kept))
            raise
        self._desk_kept, self._status = kept, status
        self._desk_on_disk = self._desk_on_disk or self._fed
        self._damage_told = self._store.damaged
        self._follow(now)

    def _feed(self, *items: facts.Item) -> None:
        self._fed = True
        for item in items:
            self._outcomes += self._desk.feed(item)

    def _note(self, kind: str, data: dict[str, Any]) -> facts.NoteCame:
        site = next(iter(self._lines), self._settings.hub.sites[0])
        return facts.NoteCame(now_s=self._times.now(), device=f"{site}/hub", type=kind, data=data)

    def _keep_outcomes(self, wall_s: float) -> None:
        for outcome in self._outcomes:
            match outcome:
                case facts.Alert():
                    self._store.put_alert(outcome, wall_s)
                case facts.Notify():
                    self._store.put_notice(outcome, wall_s)
                case facts.Void(notice=notice):
                    self._store.void_notice(notice)
                case facts.Command(device=device, name=name, by=by, args=args):
                    self._command(device, name, by, args, wall_s)

    def _follow(self, now: float) -> None:
        """It is on disk: tells people first, then lets the broker forget."""
        for outcome in self._outcomes:
            match outcome:
                case facts.Notify():
                    self._notifier.send(outcome)
                case facts.Void(notice=notice):
                    self._notifier.void(notice)
        for waits in self._handled:
            waits.line.link.handled(waits.message.token)
        self._outcomes, self._handled = [], []

    def _on_failure(self, error: StoreError, now: float) -> None:
        if not self._failing:
            _log.error("%s; nothing is acknowledged until it works", error)
        self._failing = True
        self._retry_at = now + RETRY_S

    def _one_by_one(self, batch: list[_Waits], now: float) -> None:
        for waits in batch:
            try:
                try:
                    self._in_turn(now, lambda waits=waits: self._take(waits, now))  # type: ignore[misc]  # mypy: default
                except StoreError:
                    raise
                except Exception as error:
                    why = f"{type(error).__name__}: {error}"
                    _log.exception("%s: cannot be taken", waits.message.topic)
                    self._put_aside(waits, why, now)
            except StoreError as error:
                self._on_failure(error, now)
                return
            self._waiting.popleft()

    def _put_aside(self, waits: _Waits, why: str, now: float) -> None:
        try:
            self._in_turn(now, lambda: self._take_bare(waits, why, now))
        except StoreError:
            raise
        except Exception:
            # Not even its event can be kept.  It is not acknowledged, so the device has it on.
            self._in_turn(now, lambda: self._take_odd(waits, why))

    def _take_odd(self, waits: _Waits, why: str) -> None:
        self._handled.append(waits)
        self._store.add_odd(waits.message.topic, f"cannot be taken: {why}", waits.message.payload, waits.wall_s)

    def _take_bare(self, waits: _Waits, why: str, now: float) -> None:
        """Keeps a message that this program cannot cope with, and has people told that it came."""
        self._take_odd(waits, why)
        try:
            place = arrivals.place(waits.message.topic)
            event = arrivals.event(place.device, waits.message.payload) if "event" in place.leaf else None
        except OddError:
            return
        if event is not None:
            self._keep_event(place.device, event, waits, feed=False)
            self._feed(self._note("event.unread", {"type": event.eventtype, "of": place.device}))

    # ------------------------------------------------------------------------------------------ what arrives

    def _take(self, waits: _Waits, now: float) -> None:
        """One message, inside a transaction."""
        self._handled.append(waits)
        topic, payload = waits.message.topic, waits.message.payload
        name = ""
        try:
            place = arrivals.place(topic)
            name = place.device
            device = self._store.device(place.device)
            if device is None:
                raise OddError("more devices than anybody has")
            if place.leaf == f"event/{wire.TRIED}" and not payload:
                return
            if place.leaf.startswith("event/"):
                self._keep_event(place.device, arrivals.event(place.device, payload), waits)
            elif place.leaf == "state":
                self._on_state(device, payload, waits)
            elif place.leaf == "heartbeat":
                self._on_heartbeat(device, payload, waits)
            else:
                raise OddError("not a topic of ours")
        except OddError as error:
            self._store.add_odd(topic, str(error), payload, waits.wall_s)
            self._store.forget_name(name)

    def _keep_event(self, name: str, event: wire.CloudEvent, waits: _Waits, *, feed: bool = True) -> None:
        stored = StoredEvent(
            device=name,
            epoch=event.epoch,
            seq=event.seq,
            id=event.id,
            type=event.eventtype,
            priority=event.priority,
            time=event.time,
            clock=event.clock,
            session=event.session,
            historical=event.historical,
            received_s=waits.hub_s,
            received_wall_s=waits.wall_s,
            data=wire.encode(event.data).decode(),
        )
        came = self._store.add_event(stored)
        epoch = event.epoch
        if came is Came.OTHER:
            # A card that lost what it had said to be written uses numbers twice.  The device hears that this one has
            # come, and lets the event go: so it is kept, and told, beside the first.
            epoch = f"{event.epoch}+"
            came = self._store.add_event(dataclasses.replace(stored, epoch=epoch))
            if came is Came.NEW:
                _log.warning("%s has used the number %d twice", name, event.seq)
        self._heard.add(name)
        device = self._store.device(name)
        if device is not None:
            device.epoch = event.epoch
            device.duplicates += came is Came.DUPLICATE
        self._ack_soon(name, event.epoch)
        if came is Came.OTHER:
            raise OddError("other events came under this number before")
        if came is Came.NEW and feed:
            self._feed(
                facts.EventCame(
                    now_s=waits.hub_s,
                    device=name,
                    epoch=epoch,
                    seq=event.seq,
                    id=event.id,
                    type=event.eventtype,
                    priority=event.priority,
                    time=event.time,
                    clock=event.clock,
                    session=event.session,
                    historical=event.historical,
                    happened_s=self._happened_s(name, event, waits),
                    data=event.data,
                )
            )

    def _happened_s(self, name: str, event: wire.CloudEvent, waits: _Waits) -> float | None:
        """Hub time at which an event happened, whatever the device's clock shows; None: not known."""
        boot, began_s = self._began_s.get(name, ("", 0.0))
        if boot and event.bootid == boot and abs(event.monoms) < MONO_MAX_MS:
            at_s = min(began_s + event.monoms / 1000, waits.hub_s)
            if at_s > waits.hub_s - EVENT_AGE_MAX_S:
                return at_s
        return None

    def _on_state(self, device: Device, payload: bytes, waits: _Waits) -> None:
        state = arrivals.state(payload)
        if state.state == "lost" and device.conn and state.conn != device.conn:
            return  # the will of an old connection
        if waits.message.retained and (state.state, state.conn) == (device.state, device.conn):
            return  # known; it says nothing of now
        self._link_changed(device, state.state, waits)
        device.state, device.conn, device.boot = state.state, state.conn, state.boot
        device.state_wall_s = waits.wall_s
        if state.state != "lost" and not waits.message.retained:
            device.heard_s, device.heard_wall_s = waits.hub_s, waits.wall_s
        self._heard.add(device.device)
        self._feed(
            facts.StateCame(
                now_s=waits.hub_s, device=device.device, state=state.state, conn=state.conn, boot=state.boot
            )
        )

    def _link_changed(self, device: Device, state: str, waits: _Waits) -> None:
        """That a device's connection broke off, or is back, stands among its events.  It tells nobody."""
        if (device.state == "lost") == (state == "lost"):
            return
        since_s = waits.hub_s - device.heard_s
        data = {"silent_s": round(since_s)} if 0 <= since_s < EVENT_AGE_MAX_S else {}
        kind = "connection.lost" if state == "lost" else "connection.back"
        self._store.add_own(device.device, kind, waits.hub_s, waits.wall_s, data)

    def _on_heartbeat(self, device: Device, payload: bytes, waits: _Waits) -> None:
        if waits.message.retained:
            raise OddError("a sign of life that the broker has kept is none")
        beat = arrivals.heartbeat(payload)
        before = _dropped(device.heartbeat, beat.epoch)
        device.heartbeat = wire.encode(beat).decode()  # not as it came: what is in other fields need not be UTF-8
        device.conn, device.boot = beat.conn, beat.boot
        if beat.epoch:
            device.epoch = beat.epoch
        device.heard_s, device.heard_wall_s = waits.hub_s, waits.wall_s
        self._began_s[device.device] = beat.boot, waits.hub_s - max(-MONO_MAX_MS, min(beat.monoms, MONO_MAX_MS)) / 1000
        self._heard.add(device.device)
        self._feed(
            facts.HeartbeatCame(
                now_s=waits.hub_s,
                device=device.device,
                conn=beat.conn,
                state=beat.state,
                battery_percent=beat.battery_percent,
                guard_state=beat.guard_state,
            )
        )
        if beat.dropped > before:
            data = {"count": beat.dropped - before}
            self._feed(facts.NoteCame(now_s=waits.hub_s, device=device.device, type="events.dropped", data=data))
        low = beat.seq_low
        if low is None and beat.seq_head is not None and beat.outbox_depth == 0:
            low = beat.seq_head + 1  # with something waiting, a device that does not say what is of another version
        if beat.epoch and low is not None:
            self._store.device_holds_nothing_below(device.device, beat.epoch, low, waits.hub_s)
            if beat.outbox_depth:
                self._ack_soon(device.device, beat.epoch)

    # ------------------------------------------------------------------------------------------- gaps, acks

    def _gaps_due(self, now: float) -> list[Gap]:
        """Gaps, if it is time to ask for them or to give them up: of each device the lowest that one question covers.

        A device serves its present outbox, and hears one question a minute.
        """
        self._gaps_at = now + GAP_LOOK_S
        gaps = self._store.gaps(now)
        if not gaps:
            self._gaps_at = now + 5.0
            return []
        hub_s = self._times.now()
        found: list[Gap] = []
        for device in self._store.devices(now):
            own = [gap for gap in gaps if gap.device == device.device]
            if not own or hub_s - device.heard_s > PRESENT_S or self._line_of(device.device) is None:
                continue
            own = [gap for gap in own if gap.epoch == device.epoch] or [gap for gap in own if gap.epoch == own[0].epoch]
            first = own[0]
            waits_s = ASK_AGAIN_S if first.asked else ASK_AFTER_S
            since_s = max(first.found_s, first.asked_s)
            if hub_s - since_s >= waits_s and hub_s - self._asked_s.get(device.device, -math.inf) >= ASK_AGAIN_S:
                found += [gap for gap in own if gap is first or gap.last < first.first + ASK_NUMBERS]
        return found

    def _ask(self, gaps: list[Gap], hub_s: float) -> None:
        """Asks each device for its gaps by one question, or gives up what was asked for in vain."""
        wanted: dict[tuple[str, str], list[Gap]] = {}
        lost: dict[str, int] = {}
        for gap in gaps:
            if gap.asked >= ASK_TIMES:
                last = min(gap.last, gap.first + ASK_NUMBERS - 1)
                self._store.lost(gap, last)
                lost[gap.device] = lost.get(gap.device, 0) + last - gap.first + 1
            else:
                self._store.asked(gap, hub_s)
                wanted.setdefault((gap.device, gap.epoch), []).append(gap)
        for device, count in lost.items():
            _log.warning("%s: %d events will not come", device, count)
            self._feed(facts.NoteCame(now_s=hub_s, device=device, type="events.missed", data={"count": count}))
        for (device, epoch), own in wanted.items():
            first = own[0].first
            args = {"epoch": epoch, "first": first, "last": min(own[-1].last, first + ASK_NUMBERS - 1)}
            self._asked_s[device] = hub_s
            self._command(device, "resync", "", args, self._times.wall_s())

    def _line_of(self, device: str) -> Line | None:
        line = self._lines.get(device.partition("/")[0])
        return line if line is not None and line.connected else None

    def _ack_soon(self, device: str, epoch: str) -> None:
        self._to_ack[device, epoch] = self._acked_at.get(device, -math.inf) + ACK_GAP_S

    def _acknowledge(self, now: float) -> None:
        """Tells devices how far they were heard: what is on disk, and nothing else."""
        if self._failing:
            return
        for place, at in list(self._to_ack.items()):
            line = self._line_of(place[0])
            if now < at and line is not None:
                continue
            del self._to_ack[place]
            if line is None:
                continue  # said when it is connected again
            try:
                ack = self._store.acknowledgement(*place, now)
            except StoreError as error:
                self._on_failure(error, now)
                return
            if ack is not None:
                topic = wire.topic_root(*place[0].split("/")) + "/cmd/ack"
                line.publish(topic, wire.encode(ack), retain=True)
                self._acked_at[place[0]] = now

    # ---------------------------------------------------------------------------------- people and commands

    def _asked(self, now: float) -> list[Waiting]:
        """What the command line has put into the store."""
        if now < self._inbox_at:
            return []
        self._inbox_at = now + INBOX_S
        try:
            change = self._store.changes(now)
            if change == self._inbox_change:
                return []
            found = self._store.waiting_inbox(now)
        except StoreError as error:
            self._on_failure(error, now)
            return []
        if not found:
            self._inbox_change = change
        return found

    def _do(self, asked: Waiting, hub_s: float, wall_s: float) -> str:
        """Does what the command line asked, inside a transaction; returns what became of it."""
        form = asked.form
        by, device = _line_of_text(form.get("by")), str(form.get("device") or "")
        if asked.kind == "answer":
            number = form.get("alert")
            over = form.get("over") is True
            if not by or type(number) is not int:
                return "not understood"
            open_ones = [alert for alert in self._desk.alerts() if number in (0, alert.number)]
            if device:
                open_ones = [alert for alert in open_ones if alert.device == device]
            for alert in open_ones:
                self._answered(by, alert.number, alert.device, over, "command line", hub_s, wall_s)
            return "done" if open_ones else "not open"
        if asked.kind not in ("say", "locate"):
            return "not understood"
        if abs(wall_s - asked.wall_s) > INBOX_OLD_S:
            return "too late"
        args = {"phrase": str(form.get("phrase") or "")} if asked.kind == "say" else {}
        if not self._store.knows(device) or device.partition("/")[0] not in self._lines:
            return "no such device"
        return "sent" if self._command(device, asked.kind, by, args, wall_s) else "not understood"

    def _answered(self, by: str, alert: int, device: str, over: bool, via: str, hub_s: float, wall_s: float) -> None:
        by, via = _line_of_text(by), _line_of_text(via)
        self._store.add_answer(by, alert, device, over, via, wall_s)
        self._feed(facts.Answered(now_s=hub_s, by=by, alert=alert, device=device, over=over, via=via))

    def _command(self, device: str, name: str, by: str, args: dict[str, Any], wall_s: float) -> bool:
        """Keeps a command to be sent when the transaction is on disk; whether it is one."""
        kind = wire.COMMANDS.get(name)
        id_ = f"{self._rng.getrandbits(64):016x}"
        issued_ms = max(0, round(wall_s * 1000))
        ttl_s = COMMAND_TTL_S.get(name, 60)
        form = {**args, "id": id_, "by": _line_of_text(by), "issued_ms": issued_ms, "ttl_s": ttl_s}
        try:
            if kind is None or kind is wire.HubAck:
                raise WireError(f"{name} is no command")
            msgspec.convert(form, kind)
        except (WireError, msgspec.ValidationError) as error:
            _log.warning("%s for %s: %s", name, device, error)
            return False
        self._store.add_command(id_, device, name, form["by"], form, issued_ms, ttl_s)
        self._commands_at = -math.inf
        return True

    def _send_commands(self, now: float) -> None:
        if now < self._commands_at or self._failing:
            return
        self._commands_at = math.inf
        try:
            waiting = self._store.waiting_commands(now)
        except StoreError as error:
            self._on_failure(error, now)
            return
        wall_ms = self._times.wall_s() * 1000
        for id_, device, name, _, form, issued_ms, ttl_s in waiting:
            if id_ in self._sent_commands:
                continue
            left_s = ttl_s - (wall_ms - issued_ms) / 1000
            line = self._line_of(device)
            if 0 < left_s <= ttl_s + 1 and line is None:
                self._commands_at = min(self._commands_at, now + left_s)
                continue
            if line is not None and left_s > 0:
                topic = wire.topic_root(*device.split("/")) + f"/cmd/{name}"
                line.publish(topic, wire.encode(form), expiry_s=ttl_s)
            self._sent_commands.append(id_)

    # ---------------------------------------------------------------------------------------- state and end

    def _told_status(self) -> dict[str, Any]:
        """What `retrowalk hub status` shows of this program."""
        return {
            "started_wall_s": round(self.started_wall_s, 3),
            "contacts": len(self._settings.contact),
            "sites": {
                site: {"connected": line.connected, "refused": sorted(line.refused)[:20]}
                for site, line in self._lines.items()
            },
            "let_go": self._let_go + sum(getattr(line.link, "let_go", 0) for line in self._lines.values()),
        }

    def ask_store(self, now: float) -> None:
        """Evidence for the watchdog: returns when the store has answered, be it with an error that is reported."""
        try:
            self._store.ask(now)
        except StoreError as error:
            self._on_failure(error, now)

    def begin_stop(self, now: float) -> None:
        """A clean stop: says `down`.  Poll on until `stopped`, then `close`."""
        if not self._stopping:
            self._stopping = True
            self._farewell_until = now + FAREWELL_S
            self._farewells = [(line, line.say("down", now)) for line in self._lines.values() if line.connected]

    def stopped(self, now: float) -> bool:
        """Whether the broker has heard it, or has taken too long."""
        return now >= self._farewell_until or not any(line.waits_for(token) for line, token in self._farewells)

    def close(self) -> None:
        """Says `down` if nobody has yet, keeps how things stand and releases everything."""
        if self._closed:
            return
        self._closed = True
        now = self._clock.now()
        self.begin_stop(now)
        if self._began:
            try:
                self._in_turn(now, lambda: self._feed(facts.LinkCame(now_s=self._times.now(), up=False)))
            except StoreError as error:
                _log.warning("%s", error)
        for line in self._lines.values():
            line.link.stop()
        self._notifier.close()
        self._store.close()


def _line_of_text(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:PERSON_MAX].strip()


def _parted(state: dict[str, Any]) -> tuple[bytes, dict[str, bytes]]:
    """A desk's state as what concerns all, and each device's own."""
    own = {name: wire.encode(form) for name, form in state["devices"].items()}
    return wire.encode({name: value for name, value in state.items() if name != "devices"}), own


def _joined(parts: tuple[bytes, dict[str, bytes]]) -> dict[str, Any]:
    """The state of which `_parted` made parts."""
    state: dict[str, Any] = msgspec.json.decode(parts[0])
    return state | {"devices": {name: msgspec.json.decode(form) for name, form in parts[1].items()}}


def _dropped(heartbeat: str, epoch: str) -> int:
    """How many events the device had given up at a heartbeat of this epoch before."""
    try:
        before = arrivals.heartbeat(heartbeat.encode())
    except OddError:
        return 0
    return before.dropped if before.epoch == epoch else 0
