"""The courier: takes the guard's events, state and recording to disk, and the events on to the broker.

`Courier` is one step with everything slow behind it; `process.run` gives it a real loop.  What happens below it
(mailbox, broker link, clock) is exchanged in virtual time.  Nothing that a disk, a broker or a stranger does ends it:
trouble becomes a fault that the guard hears of within a second.

Its parts, in the order of an event's way: `hand_over` takes it from the guard, `store` keeps it, `uplink` sends it and
hears the answer; `presence` shows at any time how things stand.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from retrowalk import wire
from retrowalk.config import Config
from retrowalk.core.events import Priority
from retrowalk.core.samples import Item
from retrowalk.courier import commands
from retrowalk.courier.commands import Commands
from retrowalk.courier.hand_over import HandOver
from retrowalk.courier.hub import HubWatch
from retrowalk.courier.outbox import Outbox
from retrowalk.courier.presence import Presence
from retrowalk.courier.recording import Recorder
from retrowalk.courier.state_file import StateFile
from retrowalk.courier.store import OWN_SESSION, Store
from retrowalk.courier.times import Times, clock_quality
from retrowalk.courier.uplink import Uplink
from retrowalk.errors import WireError
from retrowalk.platform import Arrived, BrokerLink, Connected, Platform, boot_id, no_wake

FAREWELL_S = 2.0
"""A clean stop waits this long for the broker's last answers."""

_log = logging.getLogger(__name__)


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
        forgets: bool = False,
    ) -> None:
        self.wake: Callable[[], None] = no_wake
        self._clock = platform.clock
        self._recorder = recorder
        self._state = StateFile(Path(state_path))
        # Whether the folder lies in memory only (a read-only root without a partition for it): all of it is lost.
        self._forgets = forgets
        times = Times(platform.clock, boot if boot is not None else boot_id(), quality)
        self._store = Store(outbox, times)
        self._hub = HubWatch(config.broker.hub, self._store)
        self._uplink = Uplink(config.device, link, self._store, times, self._hub, rng or random.SystemRandom())
        self._presence = Presence(self._uplink, self._store, times)
        self._guard = HandOver(platform.mailbox, self._store, times, self._presence, recorder, self._state)
        self._commands = Commands(times.wall)
        self._commands_loaded = False
        self._hub_ack: wire.HubAck | None = None
        self._hub_ack_retained = False
        self._not_understood = 0

        self._farewell: int | None = None
        self._farewell_until = math.inf
        self._stopping = False
        self._closed = False

        platform.mailbox.wake = self._woken
        if link is not None:
            link.wake = self._woken

    def _woken(self) -> None:
        self.wake()

    @property
    def rejected(self) -> int:
        """How many local messages and commands were not what they should be."""
        return self._guard.rejected + self._commands.rejected + self._not_understood

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        """Does everything that is due at `now`."""
        self._uplink.begin(now)
        self._guard.load_kept(now)
        self._load_commands(now)
        self._hub.poll(now)
        more = self._guard.read(now)
        for event in self._uplink.read(now):
            match event:
                case Connected():
                    self._hub.connected(now)
                    self._presence.begin(now)
                    if self._stopping:
                        self._farewell = self._presence.leave()
                case Arrived(topic, payload, retained):
                    self._on_message(topic, payload, retained, now)
        self._tell_commands(now)
        self._settle(now)
        self._store.watch(self._presence.kept, now)
        self._uplink.overdue(now)
        self._uplink.send(now)
        self._presence.tell(self.faults, now)
        recorder_due = self._recorder.poll(now)
        state_due = self._state.poll(now)
        self._guard.beat(self._uplink.connected, self._hub.word(self._uplink.connected), self.faults(now), now)
        due = [now if more else math.inf, recorder_due, state_due, self._guard.beat_at, self._presence.heartbeat_at]
        due += [self._commands.due(), self._hub.due()]
        return (), min(due + self._uplink.due(now))

    def begin_stop(self, now: float) -> None:
        """A clean stop: says `disconnected`.  Poll on until `stopped`, then `close`."""
        if not self._stopping:
            self._stopping = True
            self._farewell_until = now + FAREWELL_S
            self._farewell = self._presence.leave()

    def stopped(self, now: float) -> bool:
        """Whether the last answers are in, or have taken too long."""
        if now >= self._farewell_until:
            return True
        if not self._uplink.connected:
            return not self._uplink.connects(now)
        return not self._uplink.waits_for(self._farewell)

    def close(self) -> None:
        """Says `disconnected` if nobody has yet, finishes the recording, the state file and the outbox."""
        if self._closed:
            return
        self._closed = True
        self.begin_stop(self._clock.now())
        self._recorder.close()
        self._state.poll(math.inf)
        self._uplink.stop()
        self._store.outbox.close()

    def ask_outbox(self, now: float) -> None:
        """Evidence for the watchdog: returns when the outbox has answered, be it with an error that is reported."""
        with self._store.caught(now):
            self._store.outbox.head(now)

    def faults(self, now: float) -> tuple[str, ...]:
        """Names of what is wrong, sorted."""
        found = []
        if self._uplink.fault(now):
            found.append("broker")
        if self._hub.fault(now):
            found.append("hub")
        if self._store.fault(now):
            found.append("outbox")
        if self._recorder.fault or self._forgets:
            found.append(self._recorder.fault or "recording")
        if self._state.failed or self._forgets:
            found.append("state")
        return tuple(sorted(found))

    def _on_message(self, topic: str, payload: bytes, retained: bool, now: float) -> None:
        if topic == self._uplink.hub_topic:
            understood = self._hub.hear_state(payload, now)
        elif topic == f"{self._uplink.root}/state":
            understood = self._presence.hear_state(payload, retained, now)
        else:
            self._on_command(topic, payload, retained, now)
            return
        self._not_understood += not understood

    def _on_command(self, topic: str, payload: bytes, retained: bool, now: float) -> None:
        name = topic.removeprefix(f"{self._uplink.root}/cmd/")
        command = self._commands.read(name, payload, retained, now)
        match command:
            case None:
                pass
            case wire.HubAck():
                self._hub_ack, self._hub_ack_retained = command, retained
            case wire.ResyncCommand():
                self._commands.tell(name, command, now, self._resync(command, now))
            case _:
                age_s = self._store.age_s(command.event, now) if isinstance(command, wire.SeenCommand) else None
                self._guard.pass_on(commands.message(name, command, age_s))

    def _load_commands(self, now: float) -> None:
        """Which commands an earlier courier took.  Read once, as soon as the outbox can be."""
        if self._commands_loaded or not self._store.ready(now):
            return
        with self._store.caught(now):
            kept = self._store.outbox.kept("commands", now)
            self._commands_loaded = True
            try:
                if kept:
                    self._commands.load(kept)
            except WireError as error:
                _log.warning("commands kept by an earlier version, not understood: %s", error)

    def _tell_commands(self, now: float) -> None:
        """Keeps which commands were taken, before the guard hears of them, and tells what became of the others."""
        if self._commands.changed:
            self._store.keep("commands", self._commands.kept(), now)
        for received in self._commands.received(now):
            self._store.record("command.received", Priority.NONE, received.data(), now)

    def _resync(self, asked: wire.ResyncCommand, now: float) -> str:
        """Sends events again that the hub misses, as far as there are copies; returns why not, or an empty text."""
        refused = "the outbox cannot be used"
        if self._store.ready(now):
            with self._store.caught(now):
                found = self._store.outbox.resync(asked.epoch, asked.first, asked.last, now)
                self._store.look_at = now
                if found is None:
                    refused = "not of this epoch, or too many"
                else:
                    refused = f"{found.gone} are no longer there" if not found.again + found.waiting else ""
        return refused

    def _settle(self, now: float) -> None:
        """Takes what was delivered out of the outbox, then tells the guard."""
        done, outbox = self._uplink.done, self._store.outbox
        if (done or self._hub_ack) and self._store.ready(now):
            with self._store.caught(now):
                before = outbox.waiting(now)
                ack, self._hub_ack = self._hub_ack, None
                if ack is not None:
                    self._hear_ack(ack, now)
                if done:
                    # Numbers of an epoch that has ended name other events now.
                    seqs = [sent.seq for sent in done if sent.epoch == outbox.epoch]
                    if self._hub.decides:
                        outbox.broker_has(seqs, now, hub_gone=self._hub.gone)
                    else:
                        outbox.delete(seqs, now)
                    sessions = [sent.session for sent in done if not sent.session.startswith(OWN_SESSION)]
                    self._guard.follow_deliveries(sessions)
                    done.clear()
                self._hub.waits(outbox.at_broker, outbox.waiting(now) < before, now)
                self._guard.deliveries_changed()
                self._store.look_at = now
        self._guard.tell_deliveries(now)

    def _hear_ack(self, ack: wire.HubAck, now: float) -> None:
        outbox = self._store.outbox
        if outbox.has_gone_back(ack.epoch, ack.seq):
            outbox.begin_anew(now, f"the hub has number {ack.seq} of it, which the file does not know")
        if outbox.hub_has(ack.epoch, ack.seq, now, ack.beyond):
            self._hub.hear_ack(self._hub_ack_retained, now)
        else:
            self._not_understood += 1
