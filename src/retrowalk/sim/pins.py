"""Pins that are wired to simulated modules: a board, a gpiozero pin factory on it, and the modules at its lines.

Edges carry the exact time at which they happened, as lgpio's carry the kernel's, and are delivered a little later,
as the kernel's are.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

from gpiozero.pins.mock import MockFactory, MockPWMPin
from gpiozero.pins.pi import PiPin

from retrowalk.errors import StrictTwinError
from retrowalk.platform import Clock
from retrowalk.sim.faults import Faults, has_contact, loses_edges
from retrowalk.sim.noise import EchoModel, speed_of_sound_m_s, stream
from retrowalk.sim.room import DEAF_S, LISTENS_S, Room
from retrowalk.sim.scheduler import Entry, Scheduler
from retrowalk.sim.world import World

Watcher = Callable[[float, float], None]
"""Called with (value, session second) when an output changes: 0 or 1, or a duty between them."""
Listener = Callable[[bool, float, bool], None]
"""Called with (level, session second of the edge, whether the kernel tells of it) when an input changes."""


class Lines(Protocol):
    """The wires as a pin factory needs them: `Board`, or a connection to one in another process."""

    levels: dict[int, bool]
    """Levels of the inputs that something drives."""

    def output(self, line: int, value: float, t_s: float) -> None:
        """The Pi's side sets an output."""

    def listen(self, line: int, listener: Listener | None) -> None:
        """Who is told of the edges of an input."""


RELEASED = -1.0
"""In place of an output's level: nobody drives the line any more."""


class Board:
    """The wires between the Pi and its modules, in one process."""

    def __init__(self) -> None:
        self.levels: dict[int, bool] = {}
        self.outputs: dict[int, float] = {}
        self.floats: dict[int, float] = {}
        """Level of an output that nobody drives, where a resistor pulls it up."""
        self.on_edge: Callable[[int, bool, float, bool], None] | None = None
        """Called with every edge (line, level, session second, told): the way to another process."""
        self._watchers: dict[int, list[Watcher]] = {}
        self._listeners: dict[int, Listener] = {}

    def watch(self, line: int, watcher: Watcher) -> None:
        """A module listens to an output."""
        self._watchers.setdefault(line, []).append(watcher)

    def output(self, line: int, value: float, t_s: float) -> None:
        floats = self.floats.get(line, 0.0)
        value = floats if value == RELEASED else value
        if self.outputs.get(line, floats) != value:
            self.outputs[line] = value
            for watcher in self._watchers.get(line, ()):
                watcher(value, t_s)

    def listen(self, line: int, listener: Listener | None) -> None:
        if listener is None:
            self._listeners.pop(line, None)
        else:
            self._listeners[line] = listener

    def drive(self, line: int, level: bool, t_s: float, *, told: bool = True) -> None:
        """A module sets an input; `t_s` is when exactly, not when this is called.  Not `told`: the edge gets lost."""
        if self.levels.get(line) is level:
            return
        self.levels[line] = level
        listener = self._listeners.get(line)
        if listener is not None:
            listener(level, t_s, told)
        if self.on_edge is not None:
            self.on_edge(line, level, t_s, told)


PWM_MIN_HZ, PWM_MAX_HZ = 0.1, 10_000.0
"""Frequencies that lgpio accepts for its pulses (lgTxPwm)."""


class SimPin(MockPWMPin):  # type: ignore[misc]  # gpiozero is published without types
    """A pin of a `SimPinFactory`: any function, any pull, duty as well as level, edges with their own time."""

    def __init__(self, factory: SimPinFactory, info: Any) -> None:
        super().__init__(factory, info)
        self._detecting = False
        factory.lines.listen(self._number, self._on_line)

    def close(self) -> None:
        super().close()
        self._edges = "both"
        self._bounce = None

    # ---- what the Pi does

    def _set_function(self, value: str) -> None:
        # As on lgpio, a new function drops the edge detection without forgetting the handler.
        self._detecting = False
        if value == "input" and self._function == "output":
            self._set_output(RELEASED)  # the line floats, and whatever hangs on it goes off, unless it is pulled up
        super()._set_function(value)

    def _set_state(self, value: float) -> None:
        if not 0.0 <= value <= 1.0:
            raise StrictTwinError(f"{self!r}: a strength of {value} is not between 0 and 1")
        if self._frequency is None:
            if value not in (0, 1):
                raise StrictTwinError(f"{self!r}: a strength of {value} without a frequency would be full on")
            value = bool(value)
        super()._set_state(value)
        self._state = value
        self._set_output(value)

    def _set_frequency(self, value: float | None) -> None:
        if value is not None and not PWM_MIN_HZ <= value <= PWM_MAX_HZ:
            raise StrictTwinError(f"{self!r}: lgpio has no pulses of {value} Hz, but of {PWM_MIN_HZ} to {PWM_MAX_HZ}")
        super()._set_frequency(value)
        if value is None and self._function == "output":
            self._set_output(False)

    def _set_output(self, value: float) -> None:
        factory = self._factory
        factory.lines.output(self._number, float(value), factory.clock.now())

    def _set_pull(self, value: str) -> None:
        super()._set_pull(value)
        self._state = self._level()

    def _set_bounce(self, value: float | None) -> None:
        if value:
            raise StrictTwinError(f"{self!r}: the kernel's debouncing is not simulated; debounce in the driver")
        self._bounce = None

    # ---- what the line does

    def _level(self) -> bool:
        driven = self._factory.lines.levels.get(self._number)
        return bool(self._pull == "up") if driven is None else driven

    def _enable_event_detect(self) -> None:
        self._detecting = True

    def _disable_event_detect(self) -> None:
        self._detecting = False

    def _on_line(self, level: bool, t_s: float, told: bool) -> None:
        if self._function != "input" or self._state == level:
            return
        self._state = level
        if told and self._detecting and self._edges in ("both", "rising" if level else "falling"):
            self._call_when_changed(self._factory.ticks_at(t_s), int(level))

    def _call_when_changed(self, ticks: float | None = None, state: Any = None) -> None:
        PiPin._call_when_changed(
            self, self._factory.ticks() if ticks is None else ticks, self._state if state is None else state
        )

    def _change_state(self, value: float) -> bool:
        # MockPin keeps a list of all states with wall-clock times; a walk has millions.
        if self._state == value:
            return False
        self._state = value
        return True

    def drive_high(self) -> None:
        """Pulls go through `_set_pull`; only the board drives a line."""

    drive_low = drive_high


class SimPinFactory(MockFactory):  # type: ignore[misc]  # gpiozero is published without types
    """gpiozero's pins on simulated lines.  `ticks` are seconds of CLOCK_MONOTONIC, as with lgpio."""

    def __init__(self, lines: Lines, clock: Clock) -> None:
        super().__init__(pin_class=SimPin)
        self.lines = lines
        self.clock = clock

    def ticks(self) -> float:
        return self.clock.now() + self.clock.origin_mono_s

    def ticks_at(self, t_s: float) -> float:
        """The tick of session second `t_s`."""
        return t_s + self.clock.origin_mono_s

    @staticmethod
    def ticks_diff(later: float, earlier: float) -> float:
        return later - earlier


# ------------------------------------------------------------------------------------------------- modules

RISE_AFTER_S = 0.000_45
"""The echo line rises so long after the trigger has fallen."""
TRIGGER_MIN_S = 10e-6
STARTS_S = 0.03
"""A module that has just got its supply does not answer for so long."""
DELIVERY_S = (0.000_05, 0.000_6)
"""lgpio tells of an edge so long after it (poll of 0.5 ms, and Python's waking up)."""

NoTarget = Literal["none", "stuck"] | float
"""What a module does when it hears nothing: no pulse at all, an echo line that hangs high until power is cut, or a
pulse of so many seconds."""


class _Listening(NamedTuple):
    """A pulse whose end is not settled yet: another module's echo may come first."""

    rise_s: float
    falls_s: float
    fall_late_s: float
    fall: Entry
    risen: tuple[float, float]
    """Stamp and delivery of its rise."""


class HcSr04Twin:
    """An HC-SR04 at two lines of a board, looking at a world.

    Wants a trigger of at least 10 us and ignores one while it is busy.  `no_target`: 0.036, 0.038, 0.060, 0.110 or
    0.200 seconds by make, `none`, or `stuck`; None: as the world's estimates have it.  In a `room` with
    others it hears their pings, too.  `power_line`: a switch in its supply, on while high or floating; off, it forgets
    everything and holds its echo line low.
    """

    def __init__(
        self,
        board: Board,
        scheduler: Scheduler,
        world: World,
        *,
        trigger_line: int = 23,
        echo_line: int = 24,
        power_line: int = -1,
        name: str = "rear",
        model: EchoModel | None = None,
        no_target: NoTarget | None = None,
        faults: Faults | None = None,
        room: Room | None = None,
    ) -> None:
        self.pings = 0
        """Triggers answered."""
        self.ignored = 0
        """Triggers that were too short, or came while it was busy."""
        module = world.estimates.module
        self.model = model or EchoModel(world.seed, name, world.estimates.echo)
        self._name = name
        self._board = board
        self._scheduler = scheduler
        self._world = world
        self._echo = echo_line
        self._no_target: NoTarget = module.no_target_s if no_target is None else no_target
        self._faults = faults or Faults()
        self._random = stream(world.seed, f"{name}.module")
        self._raised_s: float | None = None
        self._busy_until_s = -math.inf
        self._asked = 0
        self._stamped_s = self._delivered_s = -math.inf
        self._era = 0
        """Counts what ends a ping that is under way."""
        self._listening: _Listening | None = None
        self._bursts: deque[float] = deque(maxlen=16)
        self._room = room or Room(world.seed)
        self._room.add(self)
        board.drive(echo_line, False, scheduler.clock.now())
        board.watch(trigger_line, self._on_trigger)
        self._powered, self._starts_until_s = True, -math.inf
        if power_line >= 0:
            board.floats[power_line] = 1.0
            board.watch(power_line, self._on_power)
        for t_s in self._faults.changes(name):
            if t_s > scheduler.clock.now():
                scheduler.at(t_s, self._fault_changed, f"{name}.fault")
        self._fault_changed()

    def _on_power(self, value: float, t_s: float) -> None:
        self._powered = value > 0.0
        self.power_cycle()
        if self._powered:
            self._starts_until_s = t_s + STARTS_S
            self._fault_changed()

    def power_cycle(self) -> None:
        """Cuts the power for a moment: a module that hangs comes back."""
        self._busy_until_s = self._scheduler.clock.now()
        self._era += 1
        self._set_echo(False, self._busy_until_s)

    def _fault_changed(self) -> None:
        now = self._scheduler.clock.now()
        self._busy_until_s = max(now, self._starts_until_s)  # what was under way is over
        self._era += 1
        self._set_echo(self._powered and self._faults.active(self._name, now) == "stuck", now)

    def _on_trigger(self, value: float, t_s: float) -> None:
        if value:
            self._raised_s = t_s
            return
        raised_s, self._raised_s = self._raised_s, None
        if raised_s is None or not self._powered:
            return
        if t_s - raised_s < TRIGGER_MIN_S - 1e-9 or t_s < self._busy_until_s:
            self.ignored += 1
            return
        fault = self._faults.active(self._name, t_s)
        self._asked += 1
        if fault in ("off", "stuck") or (fault == "slow" and self._asked % 6) or self._loose(fault, t_s):
            return
        self.pings += 1
        self._answer(t_s, fault)

    @staticmethod
    def _loose(fault: str, t_s: float) -> bool:
        return fault == "intermittent" and not has_contact(t_s)

    def _answer(self, t_s: float, fault: str) -> None:
        scene = self._world.scene(t_s)
        echo = self.model.ping(t_s, scene)
        rise_s = t_s + RISE_AFTER_S
        flight_s = echo.flight_s
        overheard_s = self._room.heard_by(self, rise_s, scene)
        if overheard_s is not None:
            flight_s = min(flight_s or math.inf, overheard_s - rise_s)
        self._bursts.append(rise_s)
        width_s: float
        if fault == "garbage":
            width_s = 10.0 ** self._random.uniform(-5.3, -1.5)  # 5 us to 32 ms, every decade as often
        elif fault == "wrong":
            width_s = 2.0 / speed_of_sound_m_s(scene.temperature_c)
        elif flight_s is not None:
            width_s = flight_s
        elif self._no_target == "none":
            self._busy_until_s = rise_s + 0.038
            self._room.pinged(self, rise_s, scene)
            return
        elif self._no_target == "stuck":
            width_s = math.inf
        else:
            width_s = float(self._no_target)
        self._busy_until_s = rise_s + width_s
        self._era += 1
        late_s = 0.25 if fault == "delayed" else 0.0
        self._edge(True, rise_s, rise_s + echo.rise_late_s, late_s)
        risen = self._stamped_s, self._delivered_s
        self._listening = None
        if math.isfinite(width_s):
            fall = self._edge(False, rise_s + width_s, rise_s + width_s + echo.fall_late_s, late_s)
            if not fault:
                self._listening = _Listening(rise_s, rise_s + width_s, echo.fall_late_s, fall, risen)
        self._room.pinged(self, rise_s, scene)

    def bursts(self, from_s: float, to_s: float) -> list[float]:
        """When it has sent sound."""
        return [burst_s for burst_s in self._bursts if from_s <= burst_s <= to_s]

    def overhear(self, arrivals: list[float]) -> None:
        """The first of them that comes before its own echo ends the pulse."""
        heard = self._listening
        if heard is None:
            return
        last_s = min(heard.falls_s, heard.rise_s + LISTENS_S)
        first_s = next((at_s for at_s in arrivals if heard.rise_s + DEAF_S < at_s < last_s), None)
        if first_s is None:
            return
        heard.fall.cancel()
        self._stamped_s, self._delivered_s = heard.risen
        self._busy_until_s = first_s
        fall = self._edge(False, first_s, first_s + heard.fall_late_s, 0.0)
        self._listening = _Listening(heard.rise_s, first_s, heard.fall_late_s, fall, heard.risen)

    def _edge(self, level: bool, at_s: float, stamp_s: float, late_s: float) -> Entry:
        # Edges neither overtake each other on their way nor change places in their stamps.
        stamp_s = self._stamped_s = max(stamp_s, self._stamped_s + 1e-6)
        deliver_s = max(at_s, stamp_s) + late_s + self._random.uniform(*DELIVERY_S)
        deliver_s = self._delivered_s = max(deliver_s, self._delivered_s)
        era = self._era
        return self._scheduler.at(deliver_s, lambda: self._deliver(level, stamp_s, era, late_s > 0.0), self._name)

    def _deliver(self, level: bool, stamp_s: float, era: int, delayed: bool) -> None:
        # A fault or a power cut that came meanwhile has ended this ping; edges on their way late still arrive, both.
        if delayed or era == self._era:
            self._set_echo(level, stamp_s)

    def _set_echo(self, level: bool, t_s: float) -> None:
        lost = self._faults.active(self._name, t_s) == "bursts" and loses_edges(t_s)
        self._board.drive(self._echo, level, t_s, told=not lost)


class ButtonTwin:
    """The button between a line and ground: low while it is held.  Follows `world.button_edges`."""

    def __init__(
        self, board: Board, scheduler: Scheduler, world: World, *, line: int = 17, faults: Faults | None = None
    ) -> None:
        self._board = board
        self._scheduler = scheduler
        self._world = world
        self._line = line
        self._faults = faults or Faults()
        self._next: Entry | None = None
        self._done_s = -math.inf
        board.drive(line, True, scheduler.clock.now())
        world.on_button.append(self._plan)
        for t_s in self._faults.changes("button"):
            if t_s > scheduler.clock.now():
                scheduler.at(t_s, self._fault_changed, "button.fault")
        self._fault_changed()
        self._plan()

    def _fault_changed(self) -> None:
        now = self._scheduler.clock.now()
        fault = self._faults.active("button", now)
        self._board.drive(self._line, fault != "stuck", now)
        if fault == "garbage":
            self._chatter()

    def _chatter(self) -> None:
        now = self._scheduler.clock.now()
        if self._faults.active("button", now) == "garbage":
            self._board.drive(self._line, not self._board.levels[self._line], now)
            self._scheduler.at(now + 0.004, self._chatter, "button.fault")

    def _plan(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        for t_s, closed in self._world.button_edges:
            if t_s > self._done_s:
                self._next = self._scheduler.at(t_s, partial(self._edge, t_s, closed), "button")
                return

    def _edge(self, t_s: float, closed: bool) -> None:
        self._done_s, self._next = t_s, None
        fault = self._faults.active("button", t_s)
        if fault in ("", "bursts"):
            self._board.drive(self._line, not closed, t_s, told=not fault)
        self._plan()


class TouchTwin:
    """A vibration motor or the buzzer at a line: the walker feels or hears it."""

    def __init__(
        self, board: Board, world: World, *, line: int, what: Literal["vibration", "vibration-right", "buzzer"]
    ) -> None:
        self.what = what
        self._world = world
        self._on = False
        board.watch(line, self._set)

    def _set(self, value: float, t_s: float) -> None:
        on = value > 0.0
        if on != self._on:
            self._on = on
            self._world.feel(self.what, on, t_s)


class LedTwin:
    """An LED at a line: keeps when it went on and off."""

    def __init__(self, board: Board, *, line: int) -> None:
        self.changes: list[tuple[float, bool]] = []
        board.watch(line, lambda value, t_s: self.changes.append((t_s, value > 0.0)))
