"""The guard: items in, the Companion's outputs routed to where they act.  The same in real and in virtual time.

It decides nothing itself.  It keeps what the courier has not confirmed, hands everything over for the recording, and
sends the signs of life.  Every send is non-blocking; whoever does not take a message gets it again or not at all.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from retrowalk import __version__, wire
from retrowalk.config import Config, to_table
from retrowalk.core import events as ev
from retrowalk.core import samples as sm
from retrowalk.core.alerts import lasts_s
from retrowalk.core.care import EARLIER
from retrowalk.core.companion import Companion
from retrowalk.core.samples import Item
from retrowalk.errors import SensorError, WireError
from retrowalk.guard.journal import Journal
from retrowalk.guard.late import Punctuality, WallClock
from retrowalk.guard.state import Kept
from retrowalk.platform import Clock, Mailbox, no_wake

KEEP_ALIVE_S = 0.1
KEEP_ALIVE_COURIER_S = 1.0
KEEP_ALIVES_A_STATUS = 2
"""The recording gets a `StatusRecord` with every second sign of life, so that nothing wakes for it."""
FLUSH_S = 0.5
"""Records wait at most this long for the courier: each time it wakes costs more than what it writes."""
FLUSH_BYTES = 32 * 1024
STATUS_S = 0.2
MESSAGES_A_POLL = 64
"""So many messages are taken before sensors are listened to again: nobody who talks without end may silence them."""
WATCH_S = 5.0
WATCHERS_MAX = 8
"""Displays, and examinations, at once: each costs the main loop time."""
EXAMINED_S = 0.25
"""Whoever examines gets the entries this often."""
EXAMINED_KEPT = 1000
RESEND_S = 2.0
RECORDS_KEPT = 6000
"""Records kept for a courier that is away: about half a minute."""
EVENTS_KEPT = 2000
EVENTS_SAVED = 500
"""So many of these are in the state file: a courier that is away for minutes, and a guard that dies meanwhile."""
EVENTS_COPIED = 50
"""And of the graver ones so many in the courier's copy on the card: what it has not even committed by then."""
IMPORTANT = ("high", "medium")
"""Priorities of events that somebody waits for."""
PAUSED_S = 0.4
"""Four of its own signs of life missed: the guard has stood still (stopped, starved), and heard nobody meanwhile.  From
0.44 s on it would call its sensors lost."""
PAUSED_AGAIN_S = 5.0
"""Whoever stands still again and again is no excuse for a sensor that is silent."""
COURIER_GONE_S = 0.9
"""A courier that was there and has taken nothing for so long (two batches of records) is dead, or stuck."""
COPY_WAIT_S = 10.0
"""After a boot the courier may need so long to tell what is on the card.  Until then nothing there is written over."""
COPY_ASK_S = 0.5
GOODBYE_S = 3.0
"""After a stop was asked for, the guard stays this long to say goodbye."""


class TouchOutput(Protocol):
    """Buzzer and vibration."""

    def touch(self, request: ev.Touch) -> None:
        """Starts a pattern at once."""


class LedOutput(Protocol):
    """The light."""

    def show(self, light: str) -> None:
        """Shows `off`, `steady`, `slow` or `fast`, until told otherwise."""


LIGHTS = {
    ev.GuardState.GUARDING: "steady",
    ev.GuardState.LIMITED: "slow",
    ev.GuardState.CHECKING: "slow",
    ev.GuardState.NOT_PROTECTING: "fast",
    ev.GuardState.NOT_WORN: "off",
    ev.GuardState.STOPPING: "off",
}
"""What the light shows of each guard state."""


class Saver(Protocol):
    """Keeps the state."""

    def save(self, kept: Kept) -> None:
        """Takes the latest content; never waits."""


class Memory(Protocol):
    """Keeps unconfirmed events where the guard's own death cannot reach them; see `guard.pending`."""

    def read(self) -> list[wire.EventMessage]:
        """What an earlier guard left."""

    def add(self, data: bytes) -> bool:
        """Keeps one more; False: there is no room.  Never waits."""

    def replace(self, waiting: Sequence[bytes]) -> None:
        """Only these still wait."""

    def clear(self) -> None:
        """Nothing waits."""


class Guard:
    """Owns the Companion and routes what it says.  A step: `poll(now)`; items come in through `take`."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        mailbox: Mailbox,
        touch: TouchOutput,
        led: LedOutput | None = None,
        saver: Saver,
        memory: Memory | None = None,
        session: str,
        boot_id: str,
        started_wall: str,
    ) -> None:
        self.name = "guard"
        self.retry_s = 1.0
        self.wake: Callable[[], None] = no_wake
        self.companion = Companion(config)
        self.finished = False
        """Whether the goodbye has been said and the process may end."""
        self.stop_reason = ""
        self._clock = clock
        self._mail = mailbox
        self._touch = touch
        self._led = led
        self._light = ""
        self._saver = saver
        self._memory = memory
        self._session = session
        self._boot_id = boot_id
        self._now = 0.0
        self._sequence = 0
        self._records: deque[wire.Record] = deque(maxlen=RECORDS_KEPT)
        self._record_bytes = 0
        self._flush_due_s = math.inf
        self._hello = wire.encode(
            wire.Session(session, wire.SCHEMA_VERSION, __version__, started_wall, boot_id, to_table(config))
        )
        self._hello_sent = False
        self._events: dict[tuple[str, int], wire.EventMessage] = {}
        self._number = 0
        self._resend_due_s = math.inf
        self._keep_alive_due_s = 0.0
        self._keep_alive_courier_s = 0.0
        self._keep_alives = 0
        self._status_due_s = math.inf
        self._watchers: dict[str, float] = {}
        self._recent: deque[str] = deque(maxlen=8)
        self._examiners: dict[str, float] = {}
        self._copies: deque[wire.Record] = deque(maxlen=EXAMINED_KEPT)
        self._copies_due_s = math.inf
        self._faults: dict[tuple[str, str], sm.HealthReport] = {}
        self._journal = Journal(session, self._complaint)
        self._button_pressed = False
        self._touch_until_s = -math.inf
        self._state: sm.SavedState | None = None
        self._state_at: tuple[float, float] | None = None
        """When it was made: monotonic and wall time.  A countdown in it has run on since then."""
        self._kept_count = 0
        self._copy_until_s = -math.inf
        """Until when the courier is asked whether its copy knows more than we do."""
        self._copy_ask_s = math.inf
        self._stop_due_s = math.inf
        self._courier_took_s = math.inf
        """When the courier last took a message; infinite until it has been there."""
        self._courier_gone = self._courier_gone_told = False
        self._held_up = False
        """Whether an event was not taken: later ones wait behind it, so that "over" never arrives before "begun"."""
        self._important = self._earlier = ("", 0)
        """Session and number of the latest event of high priority: of this session, and of one before it."""
        self._failing: dict[str, str] = {}
        self._decided_s = -math.inf
        self._ran_s = math.inf
        """When it was last polled; infinite before the first time."""
        self._excused_s = -math.inf
        self._wanted_s = math.inf
        """When it wanted to be polled next."""
        self._punctuality = Punctuality()
        self._wall_clock = WallClock()

    # -- starting -------------------------------------------------------------------------------------------

    def begin(self, now: float, kept: Kept | None, wall_s: float) -> None:
        """First item of the session: what was kept, if anything; else the passing of time.

        Then, unless the walker has accepted the limits before, that this is the first use.
        """
        if self._memory is not None:
            for message in self._memory.read():
                self._events[message.session, message.number] = message
                self._resend_due_s = now
        if kept is None:
            self._copy_until_s, self._copy_ask_s = now + COPY_WAIT_S, now
            self.take([sm.Tick(now)], now)
        else:
            self._go_on(kept, now, wall_s)

    def _go_on(self, kept: Kept, now: float, wall_s: float) -> None:
        """Takes over what an earlier life has kept."""
        self._kept_count = max(self._kept_count, kept.count)
        self._earlier = kept.important
        for message in kept.events:
            self._events.setdefault((message.session, message.number), message)
        # The courier takes them in the order in which they happened; within a boot, monotonic time tells it.
        self._events = dict(sorted(self._events.items(), key=lambda item: (item[1].mono_s, item[0][1])))
        self._resend_due_s = now
        if kept.state is None:
            self.take([sm.Tick(now)], now)
        else:
            elapsed = kept.elapsed_s(self._boot_id, self._clock.origin_mono_s + now, wall_s)
            self.take([sm.Restored(now, kept.state, round(elapsed, 3))], now)
        if kept.state is None or not kept.state.accepted:
            self.take([sm.FirstUse(now, accepted=False)], now)

    def _ask_for_copy(self, now: float) -> None:
        """Nothing was kept here: a boot, or the very first start.  Which of them, only the card knows."""
        if now >= self._copy_until_s:
            self._take_copy(b"", now)
            return
        self._copy_ask_s = min(now + COPY_ASK_S, self._copy_until_s)
        self._to_courier(wire.encode(wire.StateRequest()))

    def _take_copy(self, content: bytes, now: float) -> None:
        """What is on the card, or nothing: goes on from it, unless a new alarm has begun in these first seconds."""
        if self._copy_ask_s == math.inf:
            return
        self._copy_ask_s = math.inf
        copy: Kept | None = None
        try:
            copy = wire.decode(content, Kept) if content else None
        except WireError:
            pass  # of another version: better to begin anew than to guess
        state = self._state
        if copy is not None and (state is None or (state.countdown_left_s is None and not state.open_alarm)):
            self._go_on(copy, now, self._clock.wall_s())
        else:
            accepted = copy is not None and copy.state is not None and copy.state.accepted
            self._feed(sm.FirstUse(now, accepted=accepted))
        self._keep()

    # -- items ----------------------------------------------------------------------------------------------

    def take(self, items: Sequence[Item], now: float, step: str = "") -> None:
        """Feeds items and routes what follows.  `step` names where they come from."""
        self._look_for_pause(now)
        if step in self._failing and items:
            fault = self._failing.pop(step)
            self._feed(sm.HealthReport(now, step, fault, active=False))
        if items:
            # From the moment they were read a turn is wanted: what lies in the inbox ages.
            self._wanted_s = min(self._wanted_s, items[-1].t_received_s)
        for item in items:
            self._feed(item)

    def step_failed(self, step: str, error: SensorError, now: float) -> bool:
        """A step raised: told to the Companion once per cause; returns whether this was news."""
        before = self._failing.get(step)
        if before == error.fault:
            return False
        self._failing[step] = error.fault
        self._feed(sm.HealthReport(now, step, error.fault, active=True, detail=error.detail[:200]))
        if before is not None:
            # After the new one: in between the part would be called well.
            self._feed(sm.HealthReport(now, step, before, active=False))
        return True

    def step_back(self, step: str, fault: str, now: float) -> None:
        """A step that was told to fail in this way does so no longer, though it may have nothing to say yet."""
        if self._failing.get(step) == fault:
            del self._failing[step]
            self._feed(sm.HealthReport(now, step, fault, active=False))

    def _look_for_pause(self, now: float) -> None:
        """Told before anything else: to those who decide, the next item comes out of a long silence."""
        stood_s = now - self._ran_s
        if stood_s < PAUSED_S or now < self._excused_s + PAUSED_AGAIN_S:
            return
        self._ran_s = self._excused_s = now
        detail = f"it stood still for {stood_s:.1f} s"
        self._feed(sm.HealthReport(now, "guard", "paused", active=True, detail=detail))
        self._feed(sm.HealthReport(now, "guard", "paused", active=False))

    def _feed(self, item: Item) -> Sequence[ev.Output]:
        if item.t_received_s < self._now:
            item = dataclasses.replace(item, t_received_s=self._now)
        self._now = item.t_received_s
        outputs = self.companion.feed(item)
        # What must be heard leaves before anything is written down.
        for output in outputs:
            if type(output) is ev.Speak:
                self._speak(output)
            elif type(output) is ev.Touch:
                self._touch.touch(output)
                self._touch_until_s = self._now + lasts_s(output.pattern)
            elif type(output) is ev.Hush:
                self._mail.send("voice", wire.encode(wire.HushMessage(output.alert)))
        self._record(_channel(item), item, item.t_received_s, getattr(item, "t_measured_s", item.t_received_s))
        if type(item) is sm.HealthReport:
            if item.active:
                self._faults[item.part, item.fault] = item
            else:
                self._faults.pop((item.part, item.fault), None)
        elif type(item) is sm.ButtonEdge:
            self._button_pressed = item.pressed
        save = copy = False
        for output in outputs:
            self._record(wire.OUTPUT_CHANNELS[type(output)], output, item.t_received_s, output.t_s)
            if isinstance(output, ev.Event):
                copy |= self._event(output)
                save = True
            elif type(output) is ev.StateSaved:
                self._state = output.state
                self._state_at = (self._clock.origin_mono_s + self._now, self._clock.wall_s())
                copy = True
        if save or copy:
            self._keep(copy=copy)
        return outputs

    def _speak(self, request: ev.Speak) -> None:
        self._mail.send(
            "voice",
            wire.encode(
                wire.SpeakMessage(
                    request.alert,
                    request.phrase,
                    request.value,
                    request.earcon,
                    request.level,
                    request.rank,
                    self._clock.origin_mono_s + request.deadline_s,
                    request.pan,
                )
            ),
        )

    def _event(self, event: ev.Event) -> bool:
        """Hands an event to the courier and keeps it until it is committed; returns whether somebody waits for it."""
        self._number += 1
        if event.priority is ev.Priority.HIGH:
            self._important = (self._session, self._number)
        message = wire.EventMessage(
            session=self._session,
            number=self._number,
            type=event.type,
            priority=event.priority.value,
            t_s=event.t_s,
            mono_s=round(self._clock.origin_mono_s + event.t_s, 3),
            alert=event.alert,
            data=wire.event_data(event),
        )
        data = wire.encode(message)
        self._events[message.session, message.number] = message
        if len(self._events) > EVENTS_KEPT:
            self._forget_least()
        if self._memory is not None and not self._memory.add(data):
            self._memory.replace([wire.encode(waiting) for waiting in self._to_save()])
        if not self._held_up:
            self._held_up = not self._to_courier(data)
        if self._resend_due_s == math.inf:
            self._resend_due_s = self._now + RESEND_S
        self._recent.append(f"{event.t_s:.1f} {event.type}")
        self._journal.event(event)
        if isinstance(event, ev.GuardChanged) and event.state is ev.GuardState.STOPPING:
            self.stop_reason = event.reasons[0] if event.reasons else ""
            self._stop_due_s = self._now + GOODBYE_S
        return event.priority in IMPORTANT

    def _complaint(self, part: str) -> str:
        """What the driver of a part complains of now; empty: nothing."""
        return next((report.detail for (of, _), report in self._faults.items() if of == part and report.detail), "")

    def _forget_least(self) -> None:
        """Too many unconfirmed: the oldest of the least important goes; high and medium never before the others."""
        for priority in ("none", "low", "medium", "high"):
            for key, message in self._events.items():
                if message.priority == priority:
                    del self._events[key]
                    return

    def _to_save(self) -> list[wire.EventMessage]:
        """What nobody has confirmed, in its order; of too many, the latest of those that somebody waits for first."""
        waiting = list(self._events.values())
        if len(waiting) <= EVENTS_SAVED:
            return waiting
        order = sorted(range(len(waiting)), key=lambda place: (waiting[place].priority in IMPORTANT, place))
        return [waiting[place] for place in sorted(order[-EVENTS_SAVED:])]

    def _keep(self, *, copy: bool = True) -> None:
        """Saves state and events in the run directory; `copy`: the courier, too, is to have them on the card."""
        self._kept_count += 1
        mono_s, wall_s = self._state_at or (self._clock.origin_mono_s + self._now, self._clock.wall_s())
        kept = Kept(
            count=self._kept_count,
            session=self._session,
            boot_id=self._boot_id,
            saved_mono_s=mono_s,
            saved_wall_s=wall_s,
            state=self._state,
            events=self._to_save(),
            important=self._important if self._important[1] else self._earlier,
        )
        self._saver.save(kept)
        if copy and self._copy_ask_s == math.inf:
            grave = [message for message in kept.events if message.priority in IMPORTANT][-EVENTS_COPIED:]
            copied = msgspec.structs.replace(kept, events=grave)
            self._to_courier(wire.encode(wire.StateMessage(wire.encode(copied))))

    # -- recording ------------------------------------------------------------------------------------------

    def _record(self, channel: str, value: object, log_s: float, publish_s: float) -> None:
        self._sequence += 1
        self._append(self._sequence, channel, wire.encode_entry(value), log_s, publish_s)

    def _record_status(self, now: float) -> None:
        """Beside the order of the entries: a replay makes its own."""
        seen = self.companion.snapshot()
        status = wire.StatusRecord(
            t_s=round(now, 3),
            guard_state=ev.GuardState(seen.guard_state),
            guard_state_code=wire.GuardCode[seen.guard_state.upper()],
            path=seen.path,
            hazard_level=seen.hazard_level,
            hazard_level_code=ev.Level[seen.hazard_level.upper()],
            steps=seen.steps,
            range_m=seen.range_m,
            closing_speed_m_s=seen.closing_speed_m_s,
            time_to_collision_s=seen.time_to_collision_s,
            trunk_pitch_deg=seen.trunk_pitch_deg,
            cadence_spm=seen.cadence_spm,
            own_speed_m_s=seen.own_speed_m_s,
            protected_speed_m_s=seen.protected_speed_m_s,
            walked_m=seen.walked_m,
            step_length_m=seen.step_length_m,
            activity=seen.activity,
            way=seen.way,
            countdown_s=seen.countdown_s,
        )
        self._append(0, wire.STATUS_CHANNEL, wire.encode(status), now, now)

    def _append(self, sequence: int, channel: str, data: bytes, log_s: float, publish_s: float) -> None:
        record = wire.Record(sequence, channel, round(log_s * 1e9), max(0, round(publish_s * 1e9)), msgspec.Raw(data))
        self._records.append(record)
        if self._examiners:
            self._copies.append(record)
        self._record_bytes += len(data) + 60
        if self._flush_due_s == math.inf:
            self._flush_due_s = self._now + FLUSH_S
        if self._record_bytes > FLUSH_BYTES:
            self._flush_due_s = self._now

    def _flush(self, now: float) -> None:
        """Hands records over; what the courier does not take now is tried again, oldest first."""
        if not self._hello_sent:
            self._hello_sent = self._to_courier(self._hello)
        self._flush_due_s = math.inf
        while self._records and self._hello_sent:
            batch: list[wire.Record] = []
            size = 0
            for record in self._records:
                size += len(record.channel) + len(bytes(record.data)) + 60
                if batch and size > FLUSH_BYTES:
                    break
                batch.append(record)
            if not self._to_courier(wire.encode(wire.RecordsMessage(self._session, batch))):
                self._hello_sent = False  # away: when it is back it must be told again who we are
                break
            for _ in batch:
                self._records.popleft()
        # Counts what has come since this try: a backlog must not be tried again with every record.
        self._record_bytes = 0
        if self._records or not self._hello_sent:
            self._flush_due_s = now + 0.5

    # -- the step -------------------------------------------------------------------------------------------

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        """Reads the mailbox, lets time pass, sends signs of life; returns when it wants to be called again."""
        self._look_for_pause(now)
        for report in self._punctuality.turn(now, min(self._wanted_s, now)):
            self._feed(report)
        self._ran_s = now
        self._now = max(self._now, now)
        waiting = self._read_mail(now)
        deadline = self.companion.deadline()
        if deadline is not None and deadline <= now and now > self._decided_s:
            self._decided_s = now
            self._feed(sm.Tick(now))
        if now >= self._keep_alive_due_s:
            self._keep_alive_due_s = now + KEEP_ALIVE_S
            alive = wire.encode(wire.KeepAlive(self._clock.origin_mono_s + now, self.companion.snapshot_state))
            self._mail.send("voice", alive)
            if self._led is not None:
                self._show_light(self._led)
            if now >= self._keep_alive_courier_s:
                self._keep_alive_courier_s = now + KEEP_ALIVE_COURIER_S
                mono_s = self._clock.origin_mono_s + now
                for report in self._wall_clock.look(now, mono_s, self._clock.wall_s()):
                    self._feed(report)
                self._to_courier(
                    wire.encode(
                        wire.KeepAlive(
                            mono_s,
                            self.companion.snapshot_state,
                            self.companion.battery_percent,
                            self.companion.battery_minutes_left,
                            list(self.companion.troubles),
                            self.companion.restarts,
                            list(self.companion.reasons),
                        )
                    )
                )
            self._keep_alives += 1
            if self._keep_alives % KEEP_ALIVES_A_STATUS == 0:
                self._record_status(self._now)  # an item may have come with a later time
        if now >= self._flush_due_s:
            self._flush(now)
        if now >= self._copy_ask_s:
            self._ask_for_copy(now)
        if now >= self._resend_due_s:
            self._resend(now)
        self._watch_courier(now)
        if now >= self._status_due_s:
            self._send_status(now)
        if now >= self._copies_due_s:
            self._send_copies(now)
        if now >= self._stop_due_s and not self.finished:
            self._flush(now)
            self.finished = True
        deadline = self.companion.deadline()
        due = min(
            deadline if deadline is not None else math.inf,
            self._keep_alive_due_s,
            self._flush_due_s,
            self._resend_due_s,
            self._copy_ask_s,
            self._status_due_s,
            self._copies_due_s,
            self._stop_due_s if not self.finished else math.inf,
            now if waiting else math.inf,
        )
        due = max(due, now + 0.001) if waiting or (deadline is not None and deadline <= now) else due
        self._wanted_s = max(due, now)
        return (), due

    def close(self) -> None:
        """Nothing of its own to release."""

    def _show_light(self, led: LedOutput) -> None:
        """Within a tenth of a second of a change; who should hear something and cannot is as one who is unprotected."""
        light = LIGHTS[ev.GuardState(self.companion.snapshot_state)]
        if light != "off" and self.companion.unheard:
            light = "fast"
        if light != self._light:
            self._light = light
            led.show(light)

    def _read_mail(self, now: float) -> bool:
        """Takes what has come, or as much of it as goes; returns whether more may be waiting."""
        for _ in range(MESSAGES_A_POLL):
            message = self._mail.receive()
            if message is None:
                return False
            self._receive(message, now)
        return True

    def _to_courier(self, message: bytes) -> bool:
        took = self._mail.send("courier", message)
        if took:
            self._courier_took_s = self._now
        self._courier_gone = not took and self._now - self._courier_took_s >= COURIER_GONE_S
        return took

    def _watch_courier(self, now: float) -> None:
        """A dead courier is named at once: it is started again before its beat would be missed."""
        if self._courier_gone and not self._courier_gone_told:
            self._courier_gone_told = True
            self._feed(sm.HealthReport(now, "courier", "gone", active=True, detail="nobody takes its messages"))

    def _resend(self, now: float) -> None:
        """Unconfirmed events go out again; the courier knows what it has."""
        if not self._events:
            self._resend_due_s = math.inf
            return
        waiting = list(self._events.values())
        self._held_up = len(waiting) > 200
        for message in waiting[:200]:
            if not self._to_courier(wire.encode(message)):
                self._held_up = True
                break
        self._resend_due_s = now + RESEND_S

    def _receive(self, data: bytes, now: float) -> None:
        try:
            message = wire.decode_local(data)
        except WireError:
            return  # from a stranger; the run directory is ours, so this is a version mix-up at worst
        origin = self._clock.origin_mono_s
        match message:
            case wire.ProgressMessage():
                measured = round(message.mono_s - origin, 6)
                self._feed(sm.VoiceProgress(now, measured, message.alert, message.phase, message.words))
            case wire.VoiceBeat():
                self._feed(
                    sm.VoiceHeartbeat(
                        now,
                        message.device,
                        message.frames_played,
                        message.underruns,
                        message.fault,
                        message.output,
                        message.buffer_ms,
                        message.proof,
                        message.delay_ms,
                    )
                )
            case wire.CourierBeat():
                if self._held_up:
                    self._resend_due_s = now
                if self._courier_gone_told:
                    self._courier_gone = self._courier_gone_told = False
                    self._courier_took_s = now  # it was there, though its mailbox may have been full
                    self._feed(sm.HealthReport(now, "courier", "gone", active=False))
                self._feed(
                    sm.CourierHeartbeat(
                        now, message.connected, message.waiting, message.recording, message.fault, message.hub
                    )
                )
            case wire.CommittedMessage():
                self._committed(message)
            case wire.DeliveredMessage():
                number = max(message.number, message.high)
                if message.session == self._session:
                    self._feed(sm.EventDelivered(now, number))
                elif message.session == self._earlier[0] and 0 < self._earlier[1] <= number:
                    self._earlier = ("", 0)
                    self._feed(sm.EventDelivered(now, EARLIER))
            case wire.StateMessage():
                self._take_copy(message.content, now)
            case wire.CommandMessage():
                self._feed(sm.Command(now, message.id, message.name, message.args))
            case wire.Watch():
                if _room(self._watchers, message.reply_to):
                    self._watchers[message.reply_to] = now + WATCH_S
                    self._status_due_s = min(self._status_due_s, now)
            case wire.SayMessage():
                self._mail.send("voice", data)
            case wire.Examine():
                if _room(self._examiners, message.reply_to):
                    self._examiners[message.reply_to] = now + WATCH_S
                    self._copies_due_s = min(self._copies_due_s, now + EXAMINED_S)
                    self._mail.send(message.reply_to, wire.encode(self._examined(now)))
            case wire.TouchTest():
                self._test_touch(message, now)
            case wire.CueTest():
                self._test_cue(message, now)
            case wire.LabelMessage():
                self._label(message, now)
            case wire.StopMessage():
                self._feed(sm.StopRequested(now, message.reason))
            case _:
                pass

    def _committed(self, message: wire.CommittedMessage) -> None:
        done = [key for key in self._events if key[0] == message.session and key[1] <= message.number]
        grave = [key for key in done if self._events.pop(key).priority in IMPORTANT]
        if done and not self._events and self._memory is not None:
            self._memory.clear()
        if grave:
            self._keep()
        if done and self._held_up:
            # The courier's mailbox holds ten messages on some machines: as it takes them, the next ones follow.
            self._resend_due_s = self._now

    def _send_status(self, now: float) -> None:
        self._watchers = {name: until for name, until in self._watchers.items() if until > now}
        if not self._watchers:
            self._status_due_s = math.inf
            return
        seen = self.companion.snapshot()
        status = wire.encode(
            wire.Status(
                t_s=round(now, 3),
                guard_state=seen.guard_state,
                reasons=list(seen.reasons),
                path=seen.path,
                range_m=seen.range_m,
                closing_speed_m_s=seen.closing_speed_m_s,
                time_to_collision_s=seen.time_to_collision_s,
                hazard_level=seen.hazard_level,
                trunk_pitch_deg=seen.trunk_pitch_deg,
                cadence_spm=seen.cadence_spm,
                steps=seen.steps,
                countdown_s=seen.countdown_s,
                health=seen.health,
                saying=seen.saying,
                last_events=list(self._recent),
                own_speed_m_s=seen.own_speed_m_s,
                protected_speed_m_s=seen.protected_speed_m_s,
                walked_m=seen.walked_m,
                step_length_m=seen.step_length_m,
                activity=seen.activity,
                way=seen.way,
            )
        )
        for name in self._watchers:
            self._mail.send(name, status)
        self._status_due_s = now + STATUS_S

    # -- for a person at a terminal ---------------------------------------------------------------------------

    def _examined(self, now: float) -> wire.Examined:
        return wire.Examined(
            session=self._session,
            program_version=__version__,
            t_s=round(now, 3),
            guard_state=self.companion.snapshot_state,
            faults=[
                wire.ActiveFault(report.part, report.fault, report.detail, round(report.t_received_s, 3))
                for report in self._faults.values()
            ],
            button_pressed=self._button_pressed,
            busy=self._busy(now),
            reasons=list(self.companion.reasons),
        )

    def _busy(self, now: float) -> str:
        """Why motor, buzzer and the walker's attention are not for tests now; empty when they are."""
        seen = self.companion.snapshot()
        if seen.countdown_s is not None or (self._state is not None and self._state.open_alarm):
            return "alarm"
        if seen.hazard_level != "none" or now < self._touch_until_s:
            return "hazard"
        return "walking" if seen.cadence_spm else ""

    def _test_touch(self, message: wire.TouchTest, now: float) -> None:
        """A warning that comes meanwhile takes its place at once; it is no output of the Companion, so not recorded."""
        refused = self._busy(now)
        if not refused:
            self._touch.touch(ev.Touch(t_s=now, pattern=message.pattern, buzzer=message.buzzer, side=message.side))
        self._mail.send(message.reply_to, wire.encode(wire.TouchTested(refused)))

    def _test_cue(self, message: wire.CueTest, now: float) -> None:
        """Whether it is said is for the Companion to decide; so it is recorded, and told to the caregiver's side."""
        for output in self._feed(sm.CueRequested(now, message.reply_to)):
            if type(output) is ev.CommandReceived:
                answer = wire.CueTested(output.reason, output.alert or 0)
                self._mail.send(message.reply_to, wire.encode(answer))

    def _label(self, message: wire.LabelMessage, now: float) -> None:
        # A moment of this session, whatever the sender's clock says: the recording's times have to fit into integers.
        t_s = round(min(max(0.0, message.mono_s - self._clock.origin_mono_s), now), 3)
        record = wire.LabelRecord(t_s=t_s, label=message.label, phase=message.phase, words=message.words)
        self._append(0, wire.LABEL_CHANNEL, wire.encode(record), self._now, t_s)

    def _send_copies(self, now: float) -> None:
        """What has been recorded since the last time, to whoever examines; what they do not take is not kept."""
        self._examiners = {name: until for name, until in self._examiners.items() if until > now}
        while self._copies:
            batch: list[wire.Record] = []
            size = 0
            while self._copies and size < FLUSH_BYTES:
                batch.append(self._copies.popleft())
                size += len(bytes(batch[-1].data)) + 60
            message = wire.encode(wire.RecordsMessage(self._session, batch))
            for name in self._examiners:
                self._mail.send(name, message)
        self._copies_due_s = now + EXAMINED_S if self._examiners else math.inf


def _room(served: dict[str, float], name: str) -> bool:
    """Whether one more can be served."""
    return name in served or len(served) < WATCHERS_MAX


def _channel(item: Item) -> str:
    channel = wire.ITEM_CHANNELS[type(item)]
    return f"{channel}/{item.sensor}" if isinstance(item, sm.RangeSample) else channel
