"""What the guard hands over, and what it is told of it: it forgets an event only when that is on disk."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Sequence

from retrowalk import wire
from retrowalk.courier.presence import ALERTS, Presence
from retrowalk.courier.recording import Recorder
from retrowalk.courier.state_file import StateFile
from retrowalk.courier.store import Store
from retrowalk.courier.times import Times
from retrowalk.errors import WireError
from retrowalk.platform import Mailbox

BEAT_S = 1.0
MESSAGES_A_TURN = 500

NOTHING = (0, 0)
"""Nothing is delivered: neither of all events, nor of those of high priority."""

_log = logging.getLogger(__name__)


class HandOver:
    """The courier's side of the mailbox: takes events, records and state; answers, and beats each second."""

    def __init__(
        self,
        mailbox: Mailbox,
        store: Store,
        times: Times,
        presence: Presence,
        recorder: Recorder,
        state: StateFile,
    ) -> None:
        self.rejected = 0
        """Messages that were not what they should be."""
        self.beat_at = -math.inf
        self._mailbox = mailbox
        self._store = store
        self._times = times
        self._presence = presence
        self._recorder = recorder
        self._state = state
        self._kept_loaded = False
        self._known_session: wire.Session | None = None
        self._state_asked = False
        self._delivered_told: dict[str, tuple[int, int]] = {}
        self._deliveries_changed = False
        self._to_guard: deque[bytes] = deque(maxlen=16)
        self._told: tuple[bool, bool, str, str] | None = None

    # ---------------------------------------------------------------------------------------------- taking

    def load_kept(self, now: float) -> None:
        """What an earlier courier knew.  Read once, as soon as the outbox can be."""
        if self._kept_loaded or not self._store.ready(now):
            return
        with self._store.caught(now):
            outbox = self._store.outbox
            alerts, session = outbox.kept("alerts", now), outbox.kept("session", now)
            self._kept_loaded = True
            try:
                if alerts:
                    self._presence.load(alerts)
                if session and self._known_session is None:
                    self._known_session = wire.decode(session, wire.Session)
                    self._times.boots.setdefault(self._known_session.session, self._known_session.boot_id)
                    self._delivered_told.setdefault(self._known_session.session, NOTHING)
            except WireError as error:
                _log.warning("kept by an earlier version, not understood: %s", error)

    def read(self, now: float) -> bool:
        """Handles what lies in the mailbox; returns whether there may be more."""
        events: list[wire.EventMessage] = []
        left = MESSAGES_A_TURN
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
                self._times.boots[message.session] = message.boot_id
                if self._known_session is not None and self._known_session.session != message.session:
                    # A guard that has just begun may not have kept what its forerunner was told.
                    self._delivered_told = dict.fromkeys(self._delivered_told, NOTHING)
                self._known_session = message
                self._recorder.begin(message, now)
                self._store.keep("session", wire.encode(message), now)
            case wire.KeepAlive():
                self._presence.hear_guard(message, now)
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
        if not self._store.ready(now):
            return
        events.sort(key=lambda event: (event.session, event.number))
        outbox = self._store.outbox
        with self._store.caught(now):
            outbox.commit_all([(event, self._times.stamp(event, now)) for event in events], now)
            for event in events:
                self._presence.follow(event, outbox.id_of(event.session, event.number))
            if any(event.type in ALERTS for event in events):
                outbox.keep("alerts", self._presence.kept(), now)
            sessions = {event.session for event in events}
            for session in sessions:
                self._delivered_told.setdefault(session, NOTHING)
            for session in sessions:
                number = outbox.committed(session, now)
                if number:
                    self._mailbox.send("guard", wire.encode(wire.CommittedMessage(session, number)))
            self._store.works(now)
            self._deliveries_changed = True

    # --------------------------------------------------------------------------------------------- telling

    def pass_on(self, command: wire.CommandMessage) -> None:
        """A command for the guard, which may be away for a moment."""
        self._to_guard.append(wire.encode(command))

    def follow_deliveries(self, sessions: Sequence[str]) -> None:
        """Events of these sessions have left: the guard is to hear how far each is delivered."""
        for session in sessions:
            self._delivered_told.setdefault(session, NOTHING)

    def deliveries_changed(self) -> None:
        """`tell_deliveries` has something to look for."""
        self._deliveries_changed = True

    def tell_deliveries(self, now: float) -> None:
        """Tells the guard up to where each session's events are delivered, where it has not heard that yet."""
        if not self._deliveries_changed or not self._store.ready(now):
            return
        with self._store.caught(now):
            self._deliveries_changed = False
            for session, told in list(self._delivered_told.items()):
                outbox = self._store.outbox
                reached = outbox.delivered(session, now), outbox.delivered_high(session, now)
                if reached[0] > told[0] or reached[1] > told[1]:
                    if self._mailbox.send("guard", wire.encode(wire.DeliveredMessage(session, *reached))):
                        self._delivered_told[session] = reached
            while len(self._delivered_told) > 16:
                del self._delivered_told[next(iter(self._delivered_told))]

    def beat(self, connected: bool, hub: str, faults: Sequence[str], now: float) -> None:
        """Passes commands on, and says each second, and at every change, how the courier is."""
        while self._to_guard and self._mailbox.send("guard", self._to_guard[0]):
            self._to_guard.popleft()
        fault = ",".join(faults)
        news = (connected, self._recorder.active, fault, hub)
        if now < self.beat_at and news == self._told:
            return
        self.beat_at = now + BEAT_S
        self._told = news
        waiting = 0
        if self._store.ready(now):
            with self._store.caught(now):
                waiting = self._store.outbox.waiting(now)
        self._deliveries_changed = self._deliveries_changed or bool(self._delivered_told)
        beat = wire.CourierBeat(connected, waiting, self._recorder.active, fault, hub)
        self._mailbox.send("guard", wire.encode(beat))
