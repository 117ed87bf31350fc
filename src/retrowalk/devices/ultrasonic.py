"""HC-SR04-class ultrasonic range sensor on two GPIO lines.

Wiring: VCC to 5 V (3.3 V types: 3.3 V), GND to ground, Trig straight to `trigger_pin` (GPIO23), Echo to `echo_pin`
(GPIO24).  A 5 V module's echo must go through a divider: 1.5 kΩ from Echo to the GPIO, 2 kΩ from the GPIO to ground.
Give the amplifier and the motor a ground return of their own; noise on a shared one shows as false near echoes.

One ping: >= 10 us on the trigger; the echo line rises after 0.2 to 1 ms and stays high for the time of flight.  A
module that hears nothing keeps it high for its own time (36, 38, 60, 110 or 200 ms), or does nothing at all, or hangs
high until power is cut: where its 5 V are switched (`power_pin`), the driver does that.  `gpiozero.DistanceSensor`
hides all of that behind a median of nine; this driver gives one `RangeSample` a ping, with what it was.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from retrowalk.config import HcSr04
from retrowalk.core.air import speed_of_sound_m_s
from retrowalk.core.samples import Item, RangeSample, RangeStatus
from retrowalk.devices.faults import FaultState
from retrowalk.devices.lines import InputLine, OutputLine, TickClock
from retrowalk.devices.turns import PING_PERIOD_S, Turns
from retrowalk.errors import DeviceError, SensorError
from retrowalk.platform import Clock, no_wake

PULSE_S = 12e-6
"""The module wants at least 10 us."""

RANGE_MIN_M = 0.02
"""Nearer than this the module's own ringing answers."""

RISE_MAX_S = 0.100
"""A rise later than this after its trigger is no answer to it."""

PULSE_MAX_S = 0.250
"""The longest no-target pulse of any known module is 200 ms; a line high for longer is stuck."""

LOOK_AGAIN_S = 0.010
"""How often the level of a long pulse is looked at once a ping is due."""

STUCK_TRIES = 3
STUCK_REPORT_S = 0.4
"""A stuck line is reported after so many pings could not be sent, or after this long."""

SILENT_REPORT_S = 0.7
"""No useful answer for so long (ten pings) is reported; the walker is to hear of it within 1 s."""

DEAD = ("absent", "garbage")
DEAD_PERIOD_S = 0.4
"""A sensor with such a fault pings this seldom where it takes turns, and leaves the others the time."""

SHARE_OF_PINGS = 24
SLOW_BELOW, SLOW_UNTIL = 0.25, 0.5
"""Fewer useful answers than this share of the last 24 pings (1.6 s) is reported, until there are this many again."""

POWER_OFF_S = 0.5
"""So long a module that hangs is switched off; its capacitor is empty long before (hardware/board/simulated.md)."""
POWER_ON_S = 0.1
"""So long it starts; a module's small processor takes some 10 ms [A]."""
POWER_AFTER_S = {"stuck": (1.0, 3.0, 10.0, 30.0), "absent": (10.0, 10.0, 30.0)}
"""It is switched off after so long with this fault, and so long after it was switched on again; the last holds from
then on.  Not before its loss is named.  A line that stays high mends itself by nothing else; silence is also what a
sound module says that sees nothing, or an unplugged one: half a second without power may not come just when a wall
does.
"""
STEADY_S = 5.0
"""After so long with good answers the next hang is the first one again."""

FOREIGN_S = 1.0
"""An edge stamped further than this from its ping was not stamped by the factory's clock."""


@dataclass(slots=True)
class _Ping:
    began_s: float
    tick: Any
    look_s: float
    """When to look at it without an edge: the next ping is due."""
    rise: Any = None
    rise_s: float = 0.0
    low_since_s: float | None = None
    """The line was seen low though no falling edge has come."""
    foreign: bool = False


class Ultrasonic:
    """One ping every 60 to 70 ms, one `RangeSample` a ping, and a `HealthReport` when a fault begins or ends.

    With several on a device, `turns` is one object for all: each then pings when it is its turn.

    VALID has 0.02 m to `range_max_m`, measured at mid-flight.  NO_TARGET is a pulse longer than that flight.  NO_ECHO:
    no pulse.  REJECTED: edges no echo can give.  STUCK: the echo line is high when it must not be; no ping is sent.
    Faults: `absent` (no echo for 0.7 s), `garbage` (only impossible ones), `stuck`, `slow` (fewer than one ping in four
    answered).  One that is absent or stuck is switched off and on where the settings have a switch; nothing waits for
    it, and others keep their turns.  Raises `SensorError("absent")` when a line cannot be used; the next poll opens
    them again.
    """

    def __init__(self, config: HcSr04, pin_factory: Any, clock: Clock, turns: Turns | None = None) -> None:
        self.name = config.name
        self.retry_s = 0.5
        self.wake = no_wake
        self.shares = "ultrasonic"  # turns are taken in one thread
        self.counts: Counter[str] = Counter()
        """Samples by status, and by reason what was thrown away."""
        self._config = config
        self._factory = pin_factory
        self._clock = clock
        self._metres_per_s = speed_of_sound_m_s(config.temperature_c) / 2.0
        self._width_max_s = config.range_max_m / self._metres_per_s
        self._width_min_s = RANGE_MIN_M / self._metres_per_s
        self._ticks = TickClock(pin_factory, clock)
        self._trigger: OutputLine | None = None
        self._power: OutputLine | None = None
        self._on_again_s: float | None = None
        """Until when it is switched off."""
        self._powered_s = -math.inf
        self._power_cycles = 0
        """Since it last answered for a while."""
        self._good_since_s: float | None = None
        self._echo: InputLine | None = None
        self._ping: _Ping | None = None
        self._turns = turns or Turns(clock.origin_mono_s)
        self._next_ping_s = -math.inf
        """Not before this, whoever's turn it is."""
        self._fault = FaultState(config.name)
        self._high_since_s: float | None = None
        self._high_tries = 0
        self._bad_since_s: float | None = None
        self._bad_rejected = False
        self._answered: deque[bool] = deque(maxlen=SHARE_OF_PINGS)

    # ------------------------------------------------------------------------------------------- as a step

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        items: list[Item] = []
        try:
            echo = self._echo or self._open()
            self._take_edges(echo, now, items)
            if self._power is not None and self._switched_off(self._power, now):
                return items, self._on_again_s or now
            if self._ping is not None and now >= self._ping.look_s:
                self._look(self._ping, echo, now, items)
            due_s = self._next_ping_s
            if self._ping is None and now >= due_s:
                due_s = self._turns.due_s(self.name, now)
                if now >= due_s:
                    self._send(echo, now, items)
                    due_s = self._next_ping_s
        except DeviceError as error:
            self.close()
            raise SensorError("absent", f"{self.name}: {error}") from error
        return items, due_s if self._ping is None else self._ping.look_s

    def close(self) -> None:
        self._turns.leave(self.name)
        for line in (self._trigger, self._echo, self._power):
            if line is not None:
                line.close()
        self._trigger = self._echo = self._power = self._ping = self._on_again_s = None

    def _open(self) -> InputLine:
        if self._config.power_pin >= 0:
            try:
                self._power = OutputLine(self._factory, self._config.power_pin, rest=True)
            except DeviceError:
                self.counts["no_switch"] += 1  # ranging needs none
        self._trigger = OutputLine(self._factory, self._config.trigger_pin)
        # Pulled down, so that an unplugged module is a silent line and not an aerial.
        self._echo = InputLine(self._factory, self._config.echo_pin, "down", self._on_edge)
        return self._echo

    def _on_edge(self, level: bool) -> None:
        if not level:  # a rise alone changes nothing yet
            self.wake()

    # ------------------------------------------------------------------------------------------- its supply

    def _switched_off(self, power: OutputLine, now: float) -> bool:
        """Switches a module that hangs off, and on again when it is time; whether it is off now."""
        if self._on_again_s is not None:
            if now < self._on_again_s:
                return True
            power.set(True)
            self._on_again_s = None
            self._powered_s = now
            self._next_ping_s = now + POWER_ON_S
            self._high_since_s, self._high_tries = None, 0
            return False
        after_s = POWER_AFTER_S.get(self._fault.active)
        if after_s is None or self._bad_for_s(now) < after_s[min(self._power_cycles, len(after_s) - 1)]:
            return False
        # The trigger is low while no ping is under way, so the module is not fed through it.
        self._ping = None
        self._turns.leave(self.name)
        power.set(False)
        self._power_cycles += 1
        self.counts["power_cycle"] += 1
        self._on_again_s = now + POWER_OFF_S
        return True

    def _bad_for_s(self, now: float) -> float:
        """For how long it has not answered, while it had its supply."""
        since_s = [at_s for at_s in (self._bad_since_s, self._high_since_s) if at_s is not None]
        return now - max(min(since_s, default=now), self._powered_s)

    # --------------------------------------------------------------------------------------------- a ping

    def _send(self, echo: InputLine, now: float, items: list[Item]) -> None:
        if echo.level():
            self._stuck(now, now, items)
            return
        self._high_since_s, self._high_tries = None, 0
        trigger = self._trigger
        assert trigger is not None  # opened with the echo line
        echo.edges.clear()  # they are from before this ping
        began_s = self._ticks.mark()
        try:
            trigger.set(True)
            self._clock.pause(PULSE_S)
        finally:
            trigger.set(False)
        silent_s = self._next_ping_s = self._turns.began(self.name, began_s)
        if self._fault.active in DEAD and not self._turns.alone(self.name):
            self._next_ping_s = began_s + DEAD_PERIOD_S
        self._ping = _Ping(began_s, self._ticks.mark_tick, silent_s)

    def _take_edges(self, echo: InputLine, now: float, items: list[Item]) -> None:
        edges = echo.edges
        while edges:
            tick, level = edges.popleft()
            ping = self._ping
            if ping is None:
                self.counts["stray_edge"] += 1
                continue
            after_s = self._ticks.after_mark_s(tick)
            if not 0.0 < after_s < FOREIGN_S:  # also NaN
                self.counts["stale_edge"] += 1
                ping.foreign = ping.foreign or not -FOREIGN_S < after_s <= 0.0
            elif level:
                if ping.rise is not None:
                    self._reject(ping, now, "second_rise", items)
                elif after_s > RISE_MAX_S:
                    self._reject(ping, now, "late_rise", items)
                else:
                    ping.rise, ping.rise_s = tick, ping.began_s + after_s
            elif ping.rise is None:
                self._reject(ping, now, "fall_without_rise", items)
            else:
                self._answer(ping, now, self._ticks.between_s(tick, ping.rise), items)

    def _answer(self, ping: _Ping, now: float, width_s: float, items: list[Item]) -> None:
        if not self._width_min_s <= width_s < PULSE_MAX_S:  # also NaN
            self._reject(ping, now, "too_short" if width_s < self._width_min_s else "too_long", items)
        elif width_s > self._width_max_s:
            self._give(ping, now, RangeStatus.NO_TARGET, items)
        else:
            # The echo is as old as its mid-flight: that is when the sound was at the target.
            measured_s = min(ping.rise_s + width_s / 2.0, now)
            range_m = min(width_s * self._metres_per_s, self._config.range_max_m)
            self._give(ping, now, RangeStatus.VALID, items, measured_s, range_m)

    def _look(self, ping: _Ping, echo: InputLine, now: float, items: list[Item]) -> None:
        """Asks the line itself: the next ping is due and this one has not been answered."""
        if echo.level():
            high_since_s = ping.began_s if ping.rise is None else ping.rise_s
            if now - high_since_s > PULSE_MAX_S:
                self._stuck(now, high_since_s, items)
            else:
                ping.look_s = now + LOOK_AGAIN_S  # a clone's long no-target pulse
        elif ping.rise is not None:
            # Low, but no falling edge: it is on its way, or the kernel has lost it.
            if ping.low_since_s is None:
                ping.low_since_s, ping.look_s = now, now + LOOK_AGAIN_S
            else:
                self._reject(ping, now, "fall_lost", items)
        elif ping.foreign:
            self._reject(ping, now, "foreign_clock", items)
        else:
            self._give(ping, now, RangeStatus.NO_ECHO, items)

    # ------------------------------------------------------------------------------------------- its outcome

    def _give(
        self,
        ping: _Ping,
        now: float,
        status: RangeStatus,
        items: list[Item],
        measured_s: float | None = None,
        range_m: float | None = None,
    ) -> None:
        self._ping = None
        self.counts[status.value] += 1
        items.append(RangeSample(now, ping.began_s if measured_s is None else measured_s, self.name, status, range_m))
        good = status in (RangeStatus.VALID, RangeStatus.NO_TARGET)
        self._answered.append(good)
        if good:
            self._bad_since_s, self._bad_rejected = None, False
            if self._good_since_s is None:
                self._good_since_s = now
            elif now - self._good_since_s > STEADY_S:
                self._power_cycles = 0
            items += self._fault.change(now, *self._slow_fault())
            return
        if self._bad_since_s is None:
            self._bad_since_s, self._good_since_s = ping.began_s, None
        self._bad_rejected = self._bad_rejected or status is RangeStatus.REJECTED
        if now - self._bad_since_s >= SILENT_REPORT_S:
            self._answered.clear()  # what follows is judged on its own
            items += self._fault.change(now, *self._silent_fault())

    def _slow_fault(self) -> tuple[str, str]:
        """The fault of a sensor that has just answered: `slow`, or none."""
        answers = self._answered
        if self._fault.active == "slow":
            slow = sum(answers) < SLOW_UNTIL * SHARE_OF_PINGS
        else:
            slow = len(answers) == SHARE_OF_PINGS and sum(answers) < SLOW_BELOW * SHARE_OF_PINGS
        return ("slow", f"only {sum(answers)} of {len(answers)} pings were answered") if slow else ("", "")

    def _silent_fault(self) -> tuple[str, str]:
        trigger, echo = self._config.trigger_pin, self._config.echo_pin
        if self._bad_rejected:
            reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(self.counts.items()) if "_" in reason)
            return "garbage", f"GPIO{echo} gives only pulses no echo can give ({reasons})"
        return (
            "absent",
            f"no echo pulse on GPIO{echo} for {SILENT_REPORT_S} s: check 5 V, ground, trigger GPIO{trigger}, divider",
        )

    def _reject(self, ping: _Ping, now: float, reason: str, items: list[Item]) -> None:
        self.counts[reason] += 1
        self._give(ping, now, RangeStatus.REJECTED, items)

    def _stuck(self, now: float, high_since_s: float, items: list[Item]) -> None:
        self._ping = None
        self._turns.leave(self.name)
        self._answered.clear()
        self._good_since_s = None
        if self._high_since_s is None:
            self._high_since_s = high_since_s
        self._high_tries += 1
        self._next_ping_s = now + PING_PERIOD_S
        self.counts[RangeStatus.STUCK.value] += 1
        items.append(RangeSample(now, now, self.name, RangeStatus.STUCK))
        if self._high_tries >= STUCK_TRIES or now - self._high_since_s >= STUCK_REPORT_S:
            items += self._fault.change(now, "stuck", f"echo line GPIO{self._config.echo_pin} stays high")
