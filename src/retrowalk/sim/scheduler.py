"""Virtual time: a clock that only the scheduler moves, the scheduler, and mailboxes.

The scheduler calls the very steps that threads call on the street, one at a time, by (due, name, order), so that a
seed gives one result.  Nothing here sleeps.  `sim.remote` lets the same scheduler run along real time.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from retrowalk.core.samples import Item
from retrowalk.errors import SensorError
from retrowalk.platform import MESSAGE_MAX_BYTES, no_wake

PAUSE_MAX_S = 0.05
"""Longest `VirtualClock.pause`: whoever waits longer should return and be due later."""

STALL_LIMIT = 20_000
"""So many calls without time passing mean a step that is always due at once."""

MAILBOX_MESSAGES = 256
"""Messages a mailbox holds before senders are told it is full."""


class VirtualClock:
    """Session time that stands still while code runs.

    `pause` moves it without running anything, because a trigger pulse or a bus transfer takes time, too; whatever was
    due meanwhile runs that much late.  `wall_s` counts from `wall_origin_s` (Unix time at session second 0).
    """

    def __init__(self, now_s: float = 0.0, *, origin_mono_s: float = 0.0, wall_origin_s: float = 1_767_225_600.0):
        self.origin_mono_s = origin_mono_s
        self._now_s = now_s
        self._wall_origin_s = wall_origin_s

    def now(self) -> float:
        return self._now_s

    def pause(self, seconds: float) -> None:
        if not 0.0 <= seconds <= PAUSE_MAX_S:
            raise ValueError(f"pause = {seconds} s: must be 0 to {PAUSE_MAX_S} s; return and be due later instead")
        self._now_s += seconds

    def wall_s(self) -> float:
        return self._wall_origin_s + self._now_s

    def jump_wall(self, by_s: float) -> None:
        """Sets the wall clock forward by `by_s` (negative: back), as a time server or a person does."""
        self._wall_origin_s += by_s

    def reach(self, t_s: float) -> None:
        """Moves the clock to `t_s`, never back (for the scheduler only)."""
        if t_s > self._now_s:
            self._now_s = t_s


class Pollable(Protocol):
    """What the scheduler runs: a `platform.Step`, or a process loop whose `poll` returns only its next due time."""

    name: str
    wake: Callable[[], None]

    def poll(self, now: float) -> tuple[Sequence[Item], float] | float:
        """Does what is due at session second `now`."""


Sink = Callable[[Sequence[Item]], None]
ErrorHandler = Callable[[Any, SensorError], None]


class Entry:
    """A scheduled call, or a step and when it is next due.  `cancel` takes it out for good."""

    __slots__ = ("call", "due_s", "name", "order", "sink", "step")

    def __init__(self, name: str, order: int, call: Callable[[], None] | None, step: Any, sink: Sink | None) -> None:
        self.name = name
        self.order = order
        self.call = call
        self.step = step
        self.sink = sink
        self.due_s = math.inf

    def cancel(self) -> None:
        self.due_s = math.inf
        self.call = None
        self.step = None


class Scheduler:
    """Runs steps and timed calls in virtual time, by (due, name, order of being added).

    A `SensorError` out of a step's poll goes to `on_error(step, error)`, and the step is due again after its
    `retry_s`, as on the street.  Any other exception ends `run_until`.
    """

    def __init__(self, clock: VirtualClock, on_error: ErrorHandler | None = None) -> None:
        self.clock = clock
        self.on_error = on_error
        self._heap: list[tuple[float, str, int, Entry]] = []
        self._order = 0
        self._steps: dict[int, Entry] = {}

    def add(self, step: Pollable, sink: Sink | None = None, *, first_due_s: float | None = None) -> Entry:
        """Runs `step` from now on (or from `first_due_s`); its items go to `sink`.  Sets `step.wake`."""
        entry = self._entry(step.name, None, step, sink)
        self._steps[id(step)] = entry
        step.wake = lambda: self._wake(entry)
        self._push(entry, self.clock.now() if first_due_s is None else first_due_s)
        return entry

    def remove(self, step: Pollable) -> None:
        """Never polls `step` again (its process was killed); what it has scheduled elsewhere stays."""
        entry = self._steps.pop(id(step), None)
        if entry is not None:
            entry.cancel()
            step.wake = no_wake

    def at(self, t_s: float, call: Callable[[], None], name: str = "") -> Entry:
        """Calls `call()` at session second `t_s` (at once if that has passed)."""
        entry = self._entry(name, call, None, None)
        self._push(entry, t_s)
        return entry

    def next_due_s(self) -> float:
        """When something is next to run (`math.inf`: never)."""
        heap = self._heap
        while heap and heap[0][3].due_s != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf

    def run_until(self, t_s: float) -> None:
        """Runs everything due up to and including `t_s`, then stands at `t_s`."""
        heap, clock = self._heap, self.clock
        calls, stood_at = 0, clock.now()
        while heap and heap[0][0] <= t_s:
            due_s, _, _, entry = heapq.heappop(heap)
            if due_s != entry.due_s:
                continue  # moved or cancelled since
            clock.reach(due_s)
            if clock.now() != stood_at:
                calls, stood_at = 0, clock.now()
            calls += 1
            if calls > STALL_LIMIT:
                name = entry.name or "a call"
                raise RuntimeError(f"{name} is due again and again at {due_s:.6f} s: time stands still")
            entry.due_s = math.inf
            if entry.step is not None:
                self._poll(entry)
            elif entry.call is not None:
                entry.call()
        clock.reach(t_s)

    def _entry(self, name: str, call: Callable[[], None] | None, step: Any, sink: Sink | None) -> Entry:
        self._order += 1
        return Entry(name, self._order, call, step, sink)

    def _push(self, entry: Entry, due_s: float) -> None:
        if math.isnan(due_s):
            raise ValueError(f"{entry.name or 'a call'} wants to be due at nan")
        entry.due_s = due_s
        if due_s != math.inf:
            heapq.heappush(self._heap, (due_s, entry.name, entry.order, entry))

    def _wake(self, entry: Entry) -> None:
        now = self.clock.now()
        if entry.step is not None and entry.due_s > now:
            self._push(entry, now)

    def _poll(self, entry: Entry) -> None:
        step = entry.step
        items: Sequence[Item] = ()
        try:
            answer = step.poll(self.clock.now())
        except SensorError as error:
            next_s = self.clock.now() + float(getattr(step, "retry_s", 1.0))
            if self.on_error is None:
                raise
            self.on_error(step, error)
        else:
            if isinstance(answer, tuple):
                items, next_s = answer
            else:
                next_s = answer
        # It may have been woken, or removed, while it ran or while its error was told.
        if entry.step is not None and next_s < entry.due_s:
            self._push(entry, next_s)
        if items and entry.sink is not None:
            entry.sink(items)


class MemoryMail:
    """The mailboxes of virtual time.  `open` what `platform.SocketMailbox` opens on the street."""

    def __init__(self) -> None:
        self._boxes: dict[str, MemoryMailbox] = {}

    def open(self, name: str) -> MemoryMailbox:
        """A mailbox; one of that name, left by a process that was killed, is replaced and its messages are lost."""
        box = MemoryMailbox(self, name)
        self._boxes[name] = box
        return box

    def deliver(self, to: str, message: bytes) -> bool:
        """Puts a message into a mailbox and wakes its owner; False if there is none, or it is full."""
        box = self._boxes.get(to)
        if box is None or len(box.waiting) >= MAILBOX_MESSAGES or len(message) > MESSAGE_MAX_BYTES:
            return False
        box.waiting.append(bytes(message))
        box.wake()
        return True

    def drop(self, box: MemoryMailbox) -> None:
        """Takes a mailbox down; one opened later under the same name stays."""
        if self._boxes.get(box.name) is box:
            del self._boxes[box.name]


class MemoryMailbox:
    """A `platform.Mailbox` in virtual time."""

    def __init__(self, mail: MemoryMail, name: str) -> None:
        self.name = name
        self.wake: Callable[[], None] = no_wake
        self.waiting: deque[bytes] = deque()
        self._mail = mail

    def send(self, to: str, message: bytes) -> bool:
        return self._mail.deliver(to, message)

    def receive(self) -> bytes | None:
        return self.waiting.popleft() if self.waiting else None

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        self._mail.drop(self)
        self.waiting.clear()
