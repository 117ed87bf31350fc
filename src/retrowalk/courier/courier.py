"""The courier: takes the guard's events, state and recording to disk, and the events on to the broker.

`Courier` is one step with everything slow behind it; `process.run` gives it a real loop.  What happens below it
(mailbox, broker link, clock) is exchanged in virtual time.  Nothing that a disk, a broker or a stranger does ends it:
trouble becomes a fault that the guard hears of within a second.
"""

from __future__ import annotations

import datetime
import logging
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from retrowalk import wire
from retrowalk.config import Config
from retrowalk.core.events import GuardState, Priority
from retrowalk.core.samples import Item
from retrowalk.courier.outbox import ANSWER_LIMIT_S, Outbox, Row, Stamp
from retrowalk.courier.recording import Recorder
from retrowalk.courier.state_file import StateFile
from retrowalk.errors import LinkError, OutboxError, WireError
from retrowalk.platform import (
    Acknowledged,
    Arrived,
    BrokerLink,
    Connected,
    Disconnected,
    Platform,
    boot_id,
    no_wake,
)

BEAT_S = 1.0
HEARTBEAT_S = 15.0
WINDOW = 20
"""Events on their way to the broker at one time: what paho sends without waiting."""

BROKER_FAULT_S = 5.0
"""Without a connection for longer, messages are down."""

HISTORICAL_S = 600.0
"""An event sent later than this is one of the past."""

GUARD_SILENT_S = 3.0
OUTBOX_RETRY_S = 2.0
FAREWELL_S = 2.0
"""A clean stop waits this long for the broker's last answers."""

COMMAND_MAX_BYTES = 4096
COMMAND_GAP_S = 2.0
"""One command of a name in this time; the rest is dropped and counted."""

RELEASED_WALL_S = 1_767_225_600.0
"""2026-01-01: a clock that shows less was never set."""

MAX_WALL_S = 253_402_300_799.0

_log = logging.getLogger(__name__)

_ALERTS: dict[str, tuple[str, bool]] = {
    "fall.suspected": ("fall", True),
    "fall.confirmed": ("fall", True),
    "fall.cancelled": ("fall", False),
    "sos.raised": ("sos", True),
    "sos.cancelled": ("sos", False),
}
"""Which events open (True) and close the alert that a late comer must see."""

OWN_SESSION = "courier-"
"""Sessions of events that the courier itself makes."""


class HubAck(Struct, frozen=True):
    """`cmd/ack`: the hub has stored every event of `epoch` up to `seq`."""

    epoch: Annotated[str, Meta(max_length=64)]
    seq: Annotated[int, Meta(ge=0, lt=2**62)]


class SeenCommand(Struct, frozen=True):
    """`cmd/seen`: a person has seen the event `id`."""

    id: Annotated[str, Meta(min_length=1, max_length=64, pattern="^[A-Za-z0-9_-]+$")]
    by: Annotated[str, Meta(max_length=40)] = ""


COMMANDS: dict[str, type[Struct]] = {"ack": HubAck, "seen": SeenCommand}
"""Everything that may be sent to the device.  No command silences a warning or cancels an alarm."""


def clock_quality(wall_s: float) -> str:
    """What wall time is worth: `ntp`, `rtc` (a battery clock set it) or `unset`."""
    if wall_s < RELEASED_WALL_S:
        return "unset"
    if Path("/run/systemd/timesync/synchronized").exists():
        return "ntp"
    return "rtc" if Path("/dev/rtc0").exists() else "unset"


def timestamp(wall_s: float) -> str:
    """RFC 3339 in UTC, to the millisecond.  Never raises: a clock may show anything."""
    wall_s = min(max(wall_s, 0.0), MAX_WALL_S) if math.isfinite(wall_s) else 0.0
    moment = datetime.datetime.fromtimestamp(int(wall_s * 1000) / 1000, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class _Sent:
    seq: int
    session: str
    topic: str
    at_s: float


class Courier:
    """The courier's one step.  `poll` handles what has arrived and sends what is due.

    `link` None: no broker is configured; events stay in the outbox.  `quality` judges wall time, `rng` makes the
    connection ids, `boot` names this boot: pass fixed ones in virtual time.
    """

    name = "courier"
    retry_s = 1.0

    def __init__(
        self,
        config: Config,
        outbox: Outbox,
        recorder: Recorder,
        link: BrokerLink | None,
        platform: Platform,
        state_path: str | Path,
        *,
        quality: Callable[[float], str] = clock_quality,
        rng: random.Random | None = None,
        boot: str | None = None,
    ) -> None:
        self.wake: Callable[[], None] = no_wake
        self.rejected = 0
        """Local messages and commands that were not what they should be."""
        self._config = config
        self._outbox = outbox
        self._recorder = recorder
        self._link = link
        self._clock = platform.clock
        self._mailbox = platform.mailbox
        self._state = StateFile(Path(state_path))
        self._quality = quality
        self._rng = rng or random.SystemRandom()
        self._boot = boot if boot is not None else boot_id()
        self._root = wire.topic_root(config.device.site, config.device.name)

        self._connected = False
        self._conn = ""
        self._down_since: float | None = None
        self._refused: set[str] = set()
        self._inflight: dict[int, _Sent] = {}
        self._late: dict[int, _Sent] = {}
        self._other: dict[int, str] = {}
        self._done: list[_Sent] = []
        self._overdue_rounds = 0
        self._look_at = -math.inf
        self._outbox_retry_at = -math.inf
        self._outbox_fault = False
        self._damage_seen = outbox.damaged
        self._dropped_seen = outbox.dropped
        self._dropping = False
        self._damage_until = -math.inf

        self._delivered_told: dict[str, int] = {}
        self._deliveries_changed = False
        self._boots: dict[str, str] = {}
        self._alerts: dict[str, dict[str, Any]] = {}
        self._kept_loaded = False
        self._known_session: wire.Session | None = None
        self._walking: bool | None = None
        self._guard_state = ""
        self._guard_heard_s = -math.inf
        self._published_state = ""
        self._published_alert = b""
        self._commands_at: dict[str, float] = {}
        self._to_guard: deque[bytes] = deque(maxlen=16)
        self._latest_ack: HubAck | None = None
        self._state_asked = False

        self._beat_at = -math.inf
        self._told: tuple[bool, bool, str] | None = None
        self._heartbeat_at = -math.inf
        self._farewell: int | None = None
        self._farewell_until = math.inf
        self._stopping = False
        self._closed = False

        self._mailbox.wake = self._woken
        if link is not None:
            link.wake = self._woken

    def _woken(self) -> None:
        self.wake()

    # ------------------------------------------------------------------------------------------------ step

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        """Does everything that is due at `now`."""
        if self._down_since is None:
            self._down_since = now
            self._connect()
        self._load_kept(now)
        more = self._read_mailbox(now)
        self._read_link(now)
        self._settle(now)
        self._report_outbox(now)
        self._overdue(now)
        self._send(now)
        self._tell_world(now)
        recorder_due = self._recorder.poll(now)
        state_due = self._state.poll(now)
        self._tell_guard(now)
        due = [now if more else math.inf, recorder_due, state_due, self._beat_at, self._heartbeat_at]
        if self._link is not None:
            due.append(self._link.next_due(now))
        if not self._connected and now < self._down_since + BROKER_FAULT_S:
            due.append(self._down_since + BROKER_FAULT_S)
        if self._connected:
            due += [sent.at_s + ANSWER_LIMIT_S for sent in self._inflight.values()]
            if len(self._inflight) < WINDOW:
                due.append(max(self._look_at, self._outbox_retry_at))
        return (), min(due)

    def begin_stop(self, now: float) -> None:
        """A clean stop: says `disconnected`.  Poll on until `stopped`, then `close`."""
        if not self._stopping:
            self._stopping = True
            self._farewell_until = now + FAREWELL_S
            if self._link is not None and self._connected:
                self._farewell = self._publish_state("disconnected")

    def stopped(self, now: float) -> bool:
        """Whether the last answers are in, or have taken too long."""
        if self._link is None or not self._connected or now >= self._farewell_until:
            return True
        return self._farewell not in self._other and not self._inflight

    def close(self) -> None:
        """Says `disconnected` if nobody has yet, finishes the recording, the state file and the outbox."""
        if self._closed:
            return
        self._closed = True
        self.begin_stop(self._clock.now())
        self._recorder.close()
        self._state.poll(math.inf)
        if self._link is not None:
            self._link.stop()
        self._outbox.close()

    def ask_outbox(self, now: float) -> None:
        """Evidence for the watchdog: returns when the outbox has answered, be it with an error that is reported."""
        try:
            self._outbox.head(now)
        except OutboxError as error:
            self._outbox_failed(error, now)

    def faults(self, now: float) -> tuple[str, ...]:
        """Names of what is wrong, sorted."""
        found = []
        down_s = now - self._down_since if self._down_since is not None else 0.0
        if self._link is None or self._refused or (not self._connected and down_s >= BROKER_FAULT_S):
            found.append("broker")
        if self._outbox_fault or now < self._damage_until:
            found.append("outbox")
        if self._recorder.fault:
            found.append(self._recorder.fault)
        if self._state.failed:
            found.append("state")
        return tuple(sorted(found))

    # -------------------------------------------------------------------------------------- from the guard

    def _read_mailbox(self, now: float) -> bool:
        """Handles what lies in the mailbox; returns whether there may be more."""
        events: list[wire.EventMessage] = []
        left = 500
        while left and (datagram := self._mailbox.receive()) is not None:
            left -= 1
            try:
                message = wire.decode_local(datagram)
            except WireError as error:
                self.rejected += 1
                _log.warning("not understood: %s", error)
                continue
            if isinstance(message, wire.EventMessage) and 0 < message.number < 2**62:
                events.append(message)
            else:
                self._handle(message, now)
        if events:
            self._commit(events, now)
        if self._state_asked:
            self._state_asked = False
            self._mailbox.send("guard", wire.encode(wire.StateMessage(self._state.read())))
        return left == 0

    def _handle(self, message: wire.LocalMessage, now: float) -> None:
        match message:
            case wire.RecordsMessage():
                known = self._known_session
                if message.session != self._recorder.session and known and known.session == message.session:
                    self._recorder.begin(known, now)  # this courier was restarted in mid-session
                self._recorder.write(message, now)
            case wire.Session():
                self._boots[message.session] = message.boot_id
                if self._known_session is not None and self._known_session.session != message.session:
                    # A guard that has just begun may not have kept what its forerunner was told.
                    self._delivered_told = dict.fromkeys(self._delivered_told, 0)
                self._known_session = message
                self._recorder.begin(message, now)
                self._keep("session", wire.encode(message), now)
            case wire.KeepAlive():
                self._guard_state = message.guard_state
                self._guard_heard_s = now
            case wire.StateMessage():
                self._state.put(message.content)
            case wire.StateRequest():
                self._state_asked = True
            case wire.NextPart():
                files = [str(path.absolute()) for path in self._recorder.next_part(now)]
                self._mailbox.send(message.reply_to, wire.encode(wire.Parts(files)))
            case _:
                self.rejected += 1

    def _commit(self, events: list[wire.EventMessage], now: float) -> None:
        """Puts events on disk, then tells the guard that it may forget them.  If the disk refuses, it keeps them."""
        if now < self._outbox_retry_at:
            return
        events.sort(key=lambda event: (event.session, event.number))
        try:
            self._outbox.commit_all([(event, self._stamp(event, now)) for event in events], now)
            for event in events:
                self._follow(event)
            if any(event.type in _ALERTS for event in events):
                self._outbox.keep("alerts", wire.encode(self._alerts), now)
            sessions = {event.session for event in events}
            for session in sessions:
                self._delivered_told.setdefault(session, 0)
            self._answer(sessions, now)
        except OutboxError as error:
            self._outbox_failed(error, now)
            return
        self._outbox_fault = False
        self._look_at = now
        self._deliveries_changed = True

    def _answer(self, sessions: set[str], now: float) -> None:
        for session in sessions:
            number = self._outbox.committed(session, now)
            if number:
                self._mailbox.send("guard", wire.encode(wire.CommittedMessage(session, number)))

    def _stamp(self, event: wire.EventMessage, now: float) -> Stamp:
        wall_s = self._clock.wall_s()
        age_s = now + self._clock.origin_mono_s - event.mono_s
        boot = self._boots.get(event.session, self._boot)
        if boot != self._boot or age_s < -1.0:
            # Another boot's monotonic time says nothing now: it happened before this boot, no more is known.
            return Stamp(boot if boot != self._boot else "unknown", wall_s, "unset")
        return Stamp(boot, wall_s - max(age_s, 0.0), self._quality(wall_s))

    def _follow(self, event: wire.EventMessage) -> None:
        """Learns from an event what the retained topics say."""
        if event.type == "walk.started":
            self._walking = True
        elif event.type == "walk.ended":
            self._walking = False
        kind, opens = _ALERTS.get(event.type, ("", False))
        if opens:
            self._alerts.pop(kind, None)  # the latest stands last
            self._alerts[kind] = {
                "type": event.type,
                "priority": event.priority,
                "id": self._outbox.id_of(event.session, event.number),
                "session": event.session,
                "alert": event.alert,
                "data": event.data,
            }
        elif kind:
            self._alerts.pop(kind, None)

    def _keep(self, key: str, value: bytes, now: float) -> None:
        try:
            self._outbox.keep(key, value, now)
        except OutboxError as error:
            self._outbox_failed(error, now)

    def _load_kept(self, now: float) -> None:
        """What an earlier courier knew.  Read once, as soon as the outbox can be."""
        if self._kept_loaded or now < self._outbox_retry_at:
            return
        try:
            alerts, session = self._outbox.kept("alerts", now), self._outbox.kept("session", now)
        except OutboxError as error:
            self._outbox_failed(error, now)
            return
        self._kept_loaded = True
        try:
            if alerts:
                self._alerts = {**wire.decode(alerts, dict[str, dict[str, Any]]), **self._alerts}
            if session and self._known_session is None:
                self._known_session = wire.decode(session, wire.Session)
                self._boots.setdefault(self._known_session.session, self._known_session.boot_id)
                self._delivered_told.setdefault(self._known_session.session, 0)
        except WireError as error:
            _log.warning("kept by an earlier version, not understood: %s", error)

    # ------------------------------------------------------------------------------------------ the outbox

    def _outbox_failed(self, error: OutboxError, now: float) -> None:
        if not self._outbox_fault:
            _log.warning("%s; events stay with the guard", error)
        self._outbox_fault = True
        self._outbox_retry_at = now + OUTBOX_RETRY_S

    def _report_outbox(self, now: float) -> None:
        """Loss is an event too: a damaged file, events given up because there were too many."""
        if self._outbox_fault and now >= self._outbox_retry_at:
            try:
                self._outbox.keep("alerts", wire.encode(self._alerts), now)  # a write is the only proof
                self._outbox_fault = False
                self._look_at = now
            except OutboxError as error:
                self._outbox_failed(error, now)
        if self._outbox.damaged != self._damage_seen:
            self._damage_seen = self._outbox.damaged
            self._damage_until = now + 2 * HEARTBEAT_S
            self._report("outbox_damaged", "its file was moved aside, a new epoch began", now)
        if self._outbox.dropped > self._dropped_seen and not self._dropping:
            self._dropping = True
            self._report("outbox_full", f"{self._outbox.dropped - self._dropped_seen} unimportant events dropped", now)
        if self._dropping and not self._outbox.full():
            self._dropping = False
            self._dropped_seen = self._outbox.dropped

    def _report(self, fault: str, detail: str, now: float) -> None:
        session = f"{OWN_SESSION}{self._outbox.epoch}"
        try:
            number = self._outbox.committed(session, now) + 1
            mono_s = now + self._clock.origin_mono_s
            data = {"part": "courier", "fault": fault, "detail": detail}
            event = wire.EventMessage(session, number, "fault.raised", Priority.MEDIUM, now, mono_s, None, data)
            self._outbox.commit(event, self._stamp(event, now), now)
            self._look_at = now
        except OutboxError as error:
            self._outbox_failed(error, now)

    def _settle(self, now: float) -> None:
        """Takes what was delivered out of the outbox, then tells the guard."""
        if (self._done or self._latest_ack) and now >= self._outbox_retry_at:
            try:
                if self._done:
                    seqs = [sent.seq for sent in self._done]
                    if self._config.broker.require_hub_ack:
                        self._outbox.broker_has(seqs, now)
                    else:
                        self._outbox.delete(seqs, now)
                    for sent in self._done:
                        if not sent.session.startswith(OWN_SESSION):
                            self._delivered_told.setdefault(sent.session, 0)
                    self._done = []
                if self._latest_ack is not None:
                    if not self._outbox.hub_has(self._latest_ack.epoch, self._latest_ack.seq, now):
                        self.rejected += 1
                    self._latest_ack = None
                self._deliveries_changed = True
                self._look_at = now
            except OutboxError as error:
                self._outbox_failed(error, now)
        if self._deliveries_changed and now >= self._outbox_retry_at:
            try:
                self._tell_delivered(now)
            except OutboxError as error:
                self._outbox_failed(error, now)

    def _tell_delivered(self, now: float) -> None:
        self._deliveries_changed = False
        for session, told in list(self._delivered_told.items()):
            number = self._outbox.delivered(session, now)
            if number > told:
                if self._mailbox.send("guard", wire.encode(wire.DeliveredMessage(session, number))):
                    self._delivered_told[session] = number
        while len(self._delivered_told) > 16:
            del self._delivered_told[next(iter(self._delivered_told))]

    # -------------------------------------------------------------------------------------------- the link

    def _connect(self) -> None:
        """Begins a connection, or gives the next one a name and a will of its own."""
        if self._link is None:
            return
        self._conn = f"{self._rng.getrandbits(48):012x}"
        will = wire.encode({"state": "lost", "conn": self._conn, "boot": self._boot})
        try:
            self._link.start(f"{self._root}/state", will, (f"{self._root}/cmd/#",))
        except LinkError as error:
            _log.warning("%s", error)

    def _read_link(self, now: float) -> None:
        if self._link is None:
            return
        for event in self._link.events(now):
            match event:
                case Connected():
                    self._on_connected(now)
                case Disconnected(reason):
                    self._on_disconnected(reason, now)
                case Acknowledged(token, code):
                    self._on_answer(token, code, now)
                case Arrived(topic, payload, retained):
                    self._on_command(topic, payload, retained, now)

    def _on_connected(self, now: float) -> None:
        if not self._connected:
            _log.info("connected to the broker")
        self._connected = True
        self._published_state = ""
        self._published_alert = b""
        self._heartbeat_at = now
        self._look_at = now
        # The link itself sends again what it has not seen answered; everything else is pending at once.
        self._inflight = {
            token: _Sent(sent.seq, sent.session, sent.topic, now) for token, sent in self._inflight.items()
        }
        try:
            self._outbox.forget_attempts(now)
            self._outbox.mark_sent([sent.seq for sent in self._inflight.values()], now)
        except OutboxError as error:
            self._outbox_failed(error, now)

    def _on_disconnected(self, reason: str, now: float) -> None:
        if self._connected:
            _log.warning("connection to the broker lost: %s", reason)
            self._connected = False
            self._down_since = now
            # A will that comes late must not be taken for the next connection's.
            self._connect()

    def _on_answer(self, token: int, code: int, now: float) -> None:
        sent = self._inflight.pop(token, None) or self._late.pop(token, None)
        topic = sent.topic if sent else self._other.pop(token, "")
        self._overdue_rounds = 0
        if code < 0x80:
            self._refused.discard(topic)
            if sent:
                self._done.append(sent)
            return
        if topic not in self._refused:
            _log.warning("the broker refused %s: reason code 0x%02x", topic, code)
        self._refused.add(topic)
        if sent:
            try:
                self._outbox.refused(sent.seq, now)
            except OutboxError as error:
                self._outbox_failed(error, now)
        self._look_at = now

    def _overdue(self, now: float) -> None:
        """A message without an answer is sent again under its id; if that too stays unanswered, connect anew."""
        late = [token for token, sent in self._inflight.items() if now >= sent.at_s + ANSWER_LIMIT_S]
        if not late or not self._connected:
            return
        for token in late:
            self._late[token] = self._inflight.pop(token)
        while len(self._late) > 10 * WINDOW:
            del self._late[next(iter(self._late))]
        self._look_at = now
        self._overdue_rounds += 1
        if self._overdue_rounds >= 2 and self._link is not None:
            _log.warning("the broker takes messages and never answers: connecting anew")
            self._overdue_rounds = 0
            self._link.stop()
            self._inflight.clear()
            self._late.clear()
            self._other.clear()
            self._connected = False
            self._down_since = now
            self._connect()

    def _send(self, now: float) -> None:
        """Hands events to the broker: highest priority first, a bounded number at a time."""
        free = WINDOW - len(self._inflight)
        if self._link is None or not self._connected or not free or now < max(self._look_at, self._outbox_retry_at):
            return
        try:
            rows = self._outbox.pending(free, now)
            self._outbox.mark_sent([row.seq for row in rows], now)
            if len(rows) < free:
                next_try = self._outbox.next_try(now)
                self._look_at = math.inf if next_try is None else next_try
        except OutboxError as error:
            self._outbox_failed(error, now)
            return
        for row in rows:
            topic = f"{self._root}/event/{row.type}"
            token = self._link.publish(topic, self._envelope(row, now))
            self._inflight[token] = _Sent(row.seq, row.session, topic, now)

    def _envelope(self, row: Row, now: float) -> bytes:
        stamp, wall_s = row.stamp, self._clock.wall_s()
        age_s = wall_s - stamp.wall_s
        time_s, quality = stamp.wall_s, stamp.clock
        if stamp.boot_id == self._boot:
            age_s = now + self._clock.origin_mono_s - row.mono_s
            if quality != "ntp" and self._quality(wall_s) == "ntp":
                time_s, quality = wall_s - age_s, "ntp"  # the clock was set since: now it is known when that was
        return wire.encode(
            wire.cloud_event(
                id=row.id,
                site=self._config.device.site,
                device=self._config.device.name,
                epoch=self._outbox.epoch,
                seq=row.seq,
                type=row.type,
                priority=row.priority,
                time=timestamp(time_s),
                clock=quality,
                boot_id=stamp.boot_id,
                mono_ms=round(row.mono_s * 1000),
                session=row.session,
                historical=age_s > HISTORICAL_S or stamp.boot_id != self._boot,
                data=msgspec.json.decode(row.data),
            )
        )

    # ----------------------------------------------------------------------------------------- the outside

    def _tell_world(self, now: float) -> None:
        """Retained state and alert when they change, and the heartbeat."""
        if self._link is None or not self._connected or self._stopping:
            self._heartbeat_at = math.inf
            return
        self._publish_state(self._state_word())
        alert = self._alert()
        if alert != self._published_alert:
            self._published_alert = alert
            self._publish("alert", alert)
        if now >= self._heartbeat_at:
            self._heartbeat_at = now + HEARTBEAT_S
            self._link.publish(f"{self._root}/heartbeat", self._heartbeat(now), qos=0)

    def _state_word(self) -> str:
        if self._walking is None:
            # This courier began in mid-walk, perhaps: the word that has a silent device looked for.
            return "walking" if self._guard_state in (GuardState.GUARDING, GuardState.LIMITED) else "ready"
        return "walking" if self._walking else "ready"

    def _publish_state(self, word: str) -> int | None:
        if word == self._published_state:
            return None
        self._published_state = word
        return self._publish("state", wire.encode({"state": word, "conn": self._conn, "boot": self._boot}))

    def _alert(self) -> bytes:
        """The open alert of the highest priority, the latest of these; `{}` if none is open."""
        best: dict[str, Any] = {}
        for alert in self._alerts.values():
            if alert["priority"] == Priority.HIGH or best.get("priority") != Priority.HIGH:
                best = alert
        return wire.encode(best)

    def _publish(self, leaf: str, payload: bytes) -> int:
        assert self._link is not None
        topic = f"{self._root}/{leaf}"
        token = self._link.publish(topic, payload, retain=True)
        self._other[token] = topic
        while len(self._other) > 100:  # never answered
            del self._other[next(iter(self._other))]
        return token

    def _heartbeat(self, now: float) -> bytes:
        wall_s = self._clock.wall_s()
        depth: int | None = None
        head: int | None = None
        if now >= self._outbox_retry_at:
            try:
                depth, head = self._outbox.waiting(now), self._outbox.head(now)
            except OutboxError as error:
                self._outbox_failed(error, now)
        return wire.encode(
            {
                "conn": self._conn,
                "boot": self._boot,
                "time": timestamp(wall_s),
                "monoms": round((now + self._clock.origin_mono_s) * 1000),
                "clock": self._quality(wall_s),
                "epoch": self._outbox.epoch,
                "seq_head": head,
                "outbox_depth": depth,
                "dropped": self._outbox.dropped,
                "guard_state": self._guard_state if now - self._guard_heard_s <= GUARD_SILENT_S else "silent",
                "faults": self.faults(now),
            }
        )

    def _on_command(self, topic: str, payload: bytes, retained: bool, now: float) -> None:
        """A stranger may have written this: a closed list, each with its form; everything else is counted."""
        name = topic.removeprefix(f"{self._root}/cmd/")
        kind = COMMANDS.get(name)
        if kind is None or len(payload) > COMMAND_MAX_BYTES or (retained and name != "ack"):
            self.rejected += 1
            return
        try:
            command = wire.decode(payload, kind)
        except WireError:
            self.rejected += 1
            return
        if isinstance(command, HubAck):
            if self._config.broker.require_hub_ack:
                self._latest_ack = command  # the latest of many is enough
            return
        if now - self._commands_at.get(name, -math.inf) < COMMAND_GAP_S:
            self.rejected += 1
            return
        self._commands_at[name] = now
        if isinstance(command, SeenCommand):
            by = "".join(character for character in command.by if character.isprintable())
            self._to_guard.append(wire.encode(wire.CommandMessage(command.id, name, {"by": by})))

    def _tell_guard(self, now: float) -> None:
        while self._to_guard and self._mailbox.send("guard", self._to_guard[0]):
            self._to_guard.popleft()
        fault = ",".join(self.faults(now))
        news = (self._connected, self._recorder.active, fault)
        if now < self._beat_at and news == self._told:
            return
        self._beat_at = now + BEAT_S
        self._told = news
        waiting = 0
        if now >= self._outbox_retry_at:
            try:
                waiting = self._outbox.waiting(now)
            except OutboxError as error:
                self._outbox_failed(error, now)
        self._deliveries_changed = self._deliveries_changed or bool(self._delivered_told)
        self._mailbox.send(
            "guard", wire.encode(wire.CourierBeat(self._connected, waiting, self._recorder.active, fault))
        )
