"""GPIO lines as the drivers use them: inputs that keep their edges with the time of each, and outputs, of any strength.

They stand on gpiozero *pins*, not on its devices.  What matters of those pins:

- `when_changed` holds a bound method *weakly*: whoever sets it must outlive it.  An `InputLine` sets its own.
- The handler gets `(ticks, state)`.  On lgpio the ticks are the kernel's time stamp of the edge in seconds of
  CLOCK_MONOTONIC, and `factory.ticks()` is `time.monotonic()`: one clock, but compared through `ticks_diff` only.
- lgpio calls every handler of the process from one thread, and an exception in any handler ends that thread and
  silences all lines for ever.  So the handler here catches everything and does next to nothing; and a line whose
  thread has died all the same says so when its level is read, and is told by a new one when it is opened again.
- Setting `function` on lgpio drops the edge detection without forgetting the handler; a handler set after that would
  never be called.  So the handler is taken off first, and put on last.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from retrowalk.errors import DeviceError, RetrowalkError
from retrowalk.platform import Clock

EDGES_KEPT = 256
"""A line that chatters loses its oldest edges, not the memory of the device."""


def pin_error(gpio: int, doing: str, error: Exception) -> DeviceError:
    """The error that names the pin; gpiozero, lgpio and the kernel each raise errors of their own kind."""
    return DeviceError(f"GPIO{gpio} cannot be {doing}: {str(error) or type(error).__name__}")


class InputLine:
    """An input line.  `edges` holds (ticks, level) of every edge not yet taken, oldest first.

    `on_edge(level)` is called from the factory's thread after each edge; it should only wake somebody.
    Raises `DeviceError` from every method when the pin cannot be used.
    """

    def __init__(self, factory: Any, gpio: int, pull: str, on_edge: Callable[[bool], None]) -> None:
        self.edges: deque[tuple[Any, bool]] = deque(maxlen=EDGES_KEPT)
        self.handler_errors = 0
        """How often the handler failed; it goes on all the same."""
        self._gpio = gpio
        self._on_edge = on_edge
        edge_thread = getattr(factory, "edge_thread", None)
        try:
            self._told_by = edge_thread() if edge_thread is not None else None
            self._pin = factory.pin(gpio)
            self._pin.when_changed = None
            self._pin.input_with_pull(pull)
            self._pin.edges = "both"
            self._pin.when_changed = self._changed
        except RetrowalkError:
            raise
        except Exception as error:
            raise pin_error(gpio, "opened as an input", error) from error

    def level(self) -> bool:
        """Whether the line is high now.  Raises `DeviceError` also when nobody tells of its edges any more."""
        if self._told_by is not None and not self._told_by.is_alive():
            raise DeviceError(f"GPIO{self._gpio}: its edges are not told any more, the thread that did has died")
        try:
            return bool(self._pin.state)
        except RetrowalkError:
            raise
        except Exception as error:
            raise pin_error(self._gpio, "read", error) from error

    def close(self) -> None:
        try:
            self._pin.when_changed = None
            self._pin.close()
        except Exception:
            pass  # it is gone already: nothing left to do

    def _changed(self, ticks: Any, state: Any) -> None:
        try:
            if state == 0 or state == 1:  # 2 is lgpio's watchdog, not an edge
                self.edges.append((ticks, bool(state)))
                self._on_edge(bool(state))
        except Exception:
            self.handler_errors += 1


class OutputLine:
    """An output line, at rest when opened and when closed.  Raises `DeviceError` when the pin cannot be used."""

    def __init__(self, factory: Any, gpio: int, *, rest: bool = False) -> None:
        self._gpio = gpio
        self._rest = rest
        try:
            self._pin = factory.pin(gpio)
            self._pin.output_with_state(int(rest))
        except RetrowalkError:
            raise
        except Exception as error:
            raise pin_error(gpio, "opened as an output", error) from error

    def set(self, level: bool) -> None:
        try:
            self._pin.state = 1 if level else 0
        except RetrowalkError:
            raise
        except Exception as error:
            raise pin_error(self._gpio, "set", error) from error

    def close(self) -> None:
        for release in (lambda: self.set(self._rest), self._pin.close):
            try:
                release()
            except Exception:
                pass  # at rest if it can be, released if it can be


class PwmLine:
    """An output line of any strength between off and on, by pulses of `frequency_hz` that last so much of each period.

    Off and on are plain levels, set at once: only what lies between needs the pulses.  lgpio makes them by a thread of
    its own that begins up to 45 ms after it was asked (it looks 50 times a second, then waits for a period to begin),
    from 0.1 Hz to 10 kHz, in whole per cent, and takes another strength at the next period.  Until it begins the line
    keeps its level, so that is set first, and high.  Where pins have no such pulses (`pwm` is False) every strength is
    on.  Raises `DeviceError` when the pin cannot be used.
    """

    def __init__(self, factory: Any, gpio: int, frequency_hz: float) -> None:
        self.pwm = True
        """Whether the pins can do it, as far as anybody has tried."""
        self.why_not = ""
        """What they said when they could not."""
        self._gpio = gpio
        self._frequency_hz = frequency_hz
        self._pulsed = False
        self._plain = OutputLine(factory, gpio)
        self._pin = factory.pin(gpio)

    def set(self, strength: float, *, ready: bool = False) -> None:
        """Sets the strength, 0 to 1.  `ready`: it will be lowered soon, so the pulses are made to begin now."""
        if strength <= 0.0 or not self.pwm or (strength >= 1.0 and not ready):
            self._stop()
            self._plain.set(strength > 0.0)
            return
        if not self._pulsed:
            self._plain.set(True)
            try:
                self._pin.frequency = self._frequency_hz
            except RetrowalkError:
                raise
            except Exception as error:
                self.pwm, self.why_not = False, str(error) or type(error).__name__
                return
            self._pulsed = True
        try:
            self._pin.state = min(strength, 1.0)
        except RetrowalkError:
            raise
        except Exception as error:
            raise pin_error(self._gpio, "set", error) from error

    def close(self) -> None:
        try:
            self._stop()
        except Exception:
            pass  # the plain line is set low and released all the same
        self._plain.close()

    def _stop(self) -> None:
        """Ends the pulses, wherever in a period they are; whoever calls sets the level that follows."""
        if not self._pulsed:
            return
        self._pulsed = False
        try:
            self._pin.frequency = None
        except RetrowalkError:
            raise
        except Exception as error:
            raise pin_error(self._gpio, "set", error) from error


class TickClock:
    """Puts the pin factory's ticks on the session's clock, by reading both at one moment (`mark`)."""

    def __init__(self, factory: Any, clock: Clock) -> None:
        self._factory = factory
        self._clock = clock
        self.mark_tick: Any = None
        self.mark_s = 0.0
        """Session second of the latest mark."""

    def mark(self) -> float:
        """Reads both clocks and returns the session second.  A pair torn apart by the scheduler is read again."""
        factory, clock = self._factory, self._clock
        torn_s = math.inf
        for _ in range(3):
            before = factory.ticks()
            session_s = clock.now()
            apart_s = factory.ticks_diff(factory.ticks(), before)
            if apart_s < torn_s:
                self.mark_tick, self.mark_s, torn_s = before, session_s, apart_s
            if apart_s < 100e-6:
                break
        return self.mark_s

    def after_mark_s(self, tick: Any) -> float:
        """Seconds from the latest mark to `tick`; negative for an earlier one."""
        return float(self._factory.ticks_diff(tick, self.mark_tick))

    def between_s(self, later: Any, earlier: Any) -> float:
        return float(self._factory.ticks_diff(later, earlier))
