"""A fall, or a call for help: the question, the countdown, who was told, the all-clear.

`Alarm` (core/alarm.py) holds what is open; here stands what is said and sent about it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from retrowalk.config import Config
from retrowalk.core import events as ev
from retrowalk.core.alarm import ASK_S, Alarm, Open
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.events import Level, ms
from retrowalk.core.falls import Fallen
from retrowalk.core.samples import EventDelivered, SavedState

ASK_AGAIN_AFTER_S = 600.0
"""A fall countdown that was cut off longer ago than this begins anew, with its question."""
NOT_REACHED_AFTER_S = 30.0
EARLIER = 0
"""Number that stands for the events of the session before this one."""


class Care:
    """Asks after a fall, counts down, calls, and takes the all-clear.  Times are session seconds."""

    def __init__(self, config: Config, arbiter: Arbiter, emit: Callable[[ev.Event], None]) -> None:
        self._knobs = config.fall
        self._arbiter = arbiter
        self._emit = emit
        self.alarm = Alarm()
        self.suspected_s = -math.inf
        """When a fall was last suspected."""
        self._events_sent = 0
        self._told: dict[int, float] = {}
        self._not_reached = False

    # -- a fall ---------------------------------------------------------------------------------------------

    def suspect(self, now: float, fallen: Fallen) -> None:
        """A fall is suspected: asks, unless somebody is being asked or called already."""
        alarm = self.alarm
        if alarm.counting or Open.FALL in alarm.open:
            return
        seconds = self._knobs.countdown_s
        self.suspected_s = now
        alarm.fall += 1
        alarm.start(now, seconds)
        because = f"impact {fallen.impact_g:.1f} g, tilted {fallen.tilt_deg:.0f} degrees, still"
        number = self._arbiter.announce(now, "fall", because=because)
        self._emit(
            ev.FallSuspected(
                t_s=ms(now),
                alert=number,
                fall=alarm.fall,
                impact_g=round(fallen.impact_g, 1),
                tilt_deg=round(fallen.tilt_deg, 1),
                countdown_s=seconds,
            )
        )

    def stepped(self, now: float) -> None:
        """The wearer has taken a step with the trunk upright: got up."""
        alarm = self.alarm
        if not alarm.counting:
            return
        alarm.upright_steps += 1
        if alarm.upright_steps >= self._knobs.recovered_steps:
            self._cancel_fall(now, "walked")

    def click(self, now: float, down_s: float) -> bool:
        """A press that began at `down_s` was released; returns whether an alarm took it."""
        alarm = self.alarm
        if alarm.counting:
            started = alarm.countdown_started_s
            if started is not None and down_s > started:
                self._cancel_fall(now, "button")
                alarm.asked_s = -math.inf
            return True
        if not alarm.open:
            return False
        if down_s - alarm.asked_s <= ASK_S and down_s > alarm.asked_s:
            self._all_clear(now)
        else:
            alarm.asked_s = now
            self._arbiter.announce(now, "all_clear_question")
        return True

    def sos(self, now: float) -> None:
        """The button was held for help."""
        self.alarm.open.add(Open.SOS)
        number = self._arbiter.announce(now, "sos", because="the button was held")
        self._emit(ev.SosRaised(t_s=ms(now), alert=number))

    def advance(self, now: float) -> None:
        """What time alone brings."""
        self._count_down(now)
        if not self._not_reached and self._told and now >= min(self._told.values()) + NOT_REACHED_AFTER_S:
            self._not_reached = True
            self._arbiter.hold(now, "caregiver_not_reached", Level.CAUTION)

    def deadline(self, now: float) -> float:
        """When `advance` has something to do if nothing else comes (`math.inf`: never)."""
        ends_s = self.alarm.countdown_ends_s
        due = min(self.alarm.next_count_s(now), ends_s if ends_s is not None else math.inf)
        if self._told and not self._not_reached:
            due = min(due, min(self._told.values()) + NOT_REACHED_AFTER_S)
        return due

    def _count_down(self, now: float) -> None:
        alarm = self.alarm
        if alarm.countdown_ends_s is None:
            return
        if now >= alarm.countdown_ends_s:
            alarm.stop()
            alarm.open.add(Open.FALL)
            number = self._arbiter.announce(now, "fall_confirmed", because="the countdown ended")
            self._emit(ev.FallConfirmed(t_s=ms(now), alert=number, fall=alarm.fall))
            return
        value = alarm.count(now)
        if value:
            self._arbiter.announce(now, "countdown", value, because=f"{value} s left", insist=False)

    def _cancel_fall(self, now: float, by: str) -> None:
        alarm = self.alarm
        alarm.stop()
        alarm.open.discard(Open.FALL)
        number = self._arbiter.announce(now, "fall_cancelled", because=f"by {by}")
        self._emit(ev.FallCancelled(t_s=ms(now), alert=number, fall=alarm.fall, by=by))

    def _all_clear(self, now: float) -> None:
        alarm = self.alarm
        alarm.asked_s = -math.inf
        if Open.FALL in alarm.open:
            self._cancel_fall(now, "button")
        if Open.SOS in alarm.open:
            alarm.open.discard(Open.SOS)
            number = self._arbiter.announce(now, "sos_cancelled")
            self._emit(ev.SosCancelled(t_s=ms(now), alert=number, by="button"))

    # -- whether somebody knows -----------------------------------------------------------------------------

    def sent(self, now: float, event: ev.Event) -> None:
        """An event leaves the core, in this order."""
        self._events_sent += 1
        if event.priority is ev.Priority.HIGH:
            self._told[self._events_sent] = now

    def delivered(self, now: float, item: EventDelivered) -> None:
        """The broker has taken an event."""
        told = [number for number in self._told if EARLIER < number <= item.number or number == item.number]
        for number in told:
            del self._told[number]
        if told and self.alarm.open:
            self._arbiter.announce(now, "caregiver_told")
        if told and self._not_reached and not self._told:
            self._not_reached = False
            self._arbiter.release(now, "caregiver_not_reached")

    @property
    def untold(self) -> bool:
        """Whether an event of high priority waits for the broker."""
        return bool(self._told)

    def restored(self, now: float, state: SavedState, elapsed_s: float) -> None:
        """Goes on where an earlier life ended, `elapsed_s` ago."""
        alarm = self.alarm
        alarm.fall = state.fall_number
        alarm.open = {kind for kind in Open if kind.value in state.open_alarm.split()}
        if state.untold and alarm.open:
            self._told[EARLIER] = now  # whoever waits for help still wants to know whether it was called
        left = state.countdown_left_s
        if left is None:
            return
        self.suspected_s = now
        if elapsed_s <= ASK_AGAIN_AFTER_S:
            alarm.start(now, max(0.0, left - elapsed_s))
        else:
            # Who lay there long ago may be up and about, or not: ask anew rather than alarm or forget.
            alarm.start(now, self._knobs.countdown_s)
            self._arbiter.announce(now, "fall", because="a countdown was cut off long ago")
