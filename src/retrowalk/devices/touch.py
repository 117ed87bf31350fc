"""Vibration motors and buzzer: what is felt and heard with a warning, and instead of the voice when it has failed.

Wiring: each behind a transistor or logic-level MOSFET, its gate to `vibration.pin` (GPIO27) or `buzzer.pin` (GPIO22)
with 10 kΩ to ground so that all stay off while the Pi boots; a diode across each motor; all fed from 5 V by a ground
return that the ultrasonic modules do not share.  The buzzer is an active one.  A second motor, at `vibration.right_pin`
as the first, is worn on the walker's own right, and the first on the left.

Motors are driven by pulses of 200 Hz, so that a tap is softer than a warning; each burst begins with full power for
20 ms, because a motor that stands needs more to start than to turn.  Pins without such pulses switch them fully on.
The buzzer knows no strength.

One motor says nothing of a side.  A pattern for left and one for right would have to be learned, and would take the
place of the few that are told apart without learning; which of two arms is touched needs none.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from retrowalk.config import Buzzer, Vibration
from retrowalk.core.alerts import HAPTICS
from retrowalk.core.events import Touch
from retrowalk.core.samples import Item
from retrowalk.devices.faults import FaultState
from retrowalk.devices.lines import PwmLine
from retrowalk.errors import DeviceError
from retrowalk.platform import Clock, no_wake

JOINS_AFTER = 2
"""In a warning the motor of the other side joins in after so many bursts: a wire that has come off costs no warning."""
SIDES = ("left", "right")
FREQUENCY_HZ = 200.0
"""Fast enough that a motor does not feel the single pulses, slow enough for pulses that a thread times."""
KICK_S = 0.020
"""So long each burst has full power: a motor that stands needs more to start than to turn."""
TURNS_MIN = 0.25
"""With less, a motor that turns may stop."""


class _Output:
    """One of the lines: opened when it can be, tried again when it cannot, off whenever in doubt."""

    def __init__(self, part: str, open_line: Callable[[], PwmLine]) -> None:
        self.part = part
        self.retry_due_s = -math.inf
        self._open_line = open_line
        self._line: PwmLine | None = None
        self._set = (0.0, False)
        """Strength, and whether a lower one follows soon."""
        self._fault = FaultState(part)

    def set(self, strength: float, kicks: bool, now: float, retry_s: float) -> list[Item]:
        """Sets the line and returns what there is to report.  `kicks`: full power first, and then the strength."""
        if self._line is None and now < self.retry_due_s:
            return []
        wanted = (1.0, True) if strength and kicks else (strength, False)
        try:
            if self._line is None:
                self._line = self._open_line()
                self._set = (0.0, False)
            if wanted != self._set:
                self._line.set(wanted[0], ready=wanted[1])
                self._set = wanted
        except DeviceError as error:
            self.close()
            self.retry_due_s = now + retry_s
            return self._fault.change(now, "absent", str(error))
        self.retry_due_s = math.inf
        return self._fault.change(now, "")

    @property
    def works(self) -> bool:
        """Whether nothing is known to be wrong with it."""
        return not self._fault.active

    @property
    def why_no_pwm(self) -> str:
        """What the pins said when they were asked for a strength and could not give it; empty: they can."""
        return self._line.why_not if self._line is not None else ""

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = None


class TouchDriver:
    """Plays a pattern of `core.alerts.HAPTICS`; a newer request takes the place of the running one.

    The strength of a burst is that of the table times `vibration.strength`, and never less than keeps a motor turning.

    With two motors a request of a `side` is felt there alone, a warning on both from its third burst on.  A line that
    cannot be used is reported as `absent` of part `vibration`, `vibration-right` or `buzzer` and tried again every
    `retry_s`; the others go on, and a motor that cannot be used is stood in for by the other.  Pins that know no
    strength are reported once as `no_pwm` of part `touch`.  `poll` raises nothing.
    """

    def __init__(self, buzzer: Buzzer, vibration: Vibration, pin_factory: Any, clock: Clock) -> None:
        self.name = "touch"
        self.retry_s = 0.5
        self.wake = no_wake
        self.shares = ""
        self.counts: Counter[str] = Counter()
        """Patterns begun, by name."""
        self._clock = clock
        self._strength = vibration.strength
        self._motors = [_Output("vibration", partial(PwmLine, pin_factory, vibration.pin, FREQUENCY_HZ))]
        if vibration.right_pin >= 0:
            right = partial(PwmLine, pin_factory, vibration.right_pin, FREQUENCY_HZ)
            self._motors.append(_Output("vibration-right", right))
        self._buzzer = _Output("buzzer", partial(PwmLine, pin_factory, buzzer.pin, FREQUENCY_HZ))
        self._no_pwm = FaultState("touch")
        self._outputs = [*self._motors, self._buzzer]
        self._request: Touch | None = None
        # One place: a newer request pushes an older one out, and both ends are atomic, so no lock is needed.
        self._asked: deque[Touch] = deque(maxlen=1)
        self._began_s = -math.inf

    def touch(self, request: Touch) -> None:
        """Asks for a pattern, at once.  From any thread; returns without touching a pin."""
        self._asked.append(request)
        self.wake()

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        if self._asked:
            self._request, self._began_s = self._asked.popleft(), now
            self.counts[self._request.pattern] += 1
            for output in self._outputs:
                output.retry_due_s = -math.inf  # a warning tries every line again
        strength, kicks, burst, next_s = self._now(now)
        buzzing = strength > 0.0 and self._request is not None and self._request.buzzer
        items = []
        for side, motor in zip(SIDES, self._motors, strict=False):
            items += motor.set(strength if self._felt_at(side, burst) else 0.0, kicks, now, self.retry_s)
        items += self._buzzer.set(float(buzzing), False, now, self.retry_s)
        why_not = next((motor.why_no_pwm for motor in self._motors if motor.why_no_pwm), "")
        if why_not:
            items += self._no_pwm.change(now, "no_pwm", why_not)
        if math.isinf(next_s):
            self._request = None
        return items, min(next_s, *(output.retry_due_s for output in self._outputs))

    def close(self) -> None:
        self._request = None
        self._asked.clear()
        for output in self._outputs:
            output.close()

    def _felt_at(self, side: str, burst: int) -> bool:
        """Whether a burst is felt at this side."""
        request = self._request
        if request is None or request.side in ("", side) or len(self._motors) == 1:
            return True
        wanted = self._motors[SIDES.index(request.side)]
        return not wanted.works or (burst >= JOINS_AFTER and _bursts(request.pattern) is HAPTICS["warning"])

    def _now(self, now: float) -> tuple[float, bool, int, float]:
        """Strength now, whether it is still kicked off, in which burst, and when that changes (`inf`: it is over)."""
        if self._request is None:
            return 0.0, False, 0, math.inf
        edge_s = self._began_s
        for burst, (on_s, off_s, part) in enumerate(_bursts(self._request.pattern)):
            strength = max(TURNS_MIN, part * self._strength)
            if strength < 1.0 and now < edge_s + KICK_S:
                return strength, True, burst, edge_s + KICK_S
            edge_s += on_s
            if now < edge_s:
                return strength, False, burst, edge_s
            edge_s += off_s
            if now < edge_s:
                return 0.0, False, burst, edge_s
        return 0.0, False, 0, math.inf


def _bursts(pattern: str) -> tuple[tuple[float, float, float], ...]:
    # An unknown name is felt as the strongest pattern rather than not at all; a test holds names and table to it.
    return HAPTICS.get(pattern, HAPTICS["warning"])
