"""A simulated A02YYUW: bytes that arrive on a serial line when the line has carried them.

It pings every 100 ms, give or take a little by module, answers a while later with a frame of four bytes, and asks
nobody.  Wired in real-time mode, as the driver wants it: its RX is on ground, so nothing can be written to it.
"""

from __future__ import annotations

import errno
import math
import os
from collections import deque
from typing import Literal

from retrowalk.errors import StrictTwinError
from retrowalk.sim.faults import Faults, has_contact
from retrowalk.sim.noise import EchoModel, stream
from retrowalk.sim.room import Room
from retrowalk.sim.world import KEPT_STEPS, STEP_S, World

BAUD = 9600
BYTE_S = 10 / BAUD
PERIOD_S = 0.100
SLOW_EVERY = 3
"""Filtered, it answers only every so many pings, with the median of the last ones."""
FILTERED = 5
RANGE_MIN_M = 0.030
"""It gives nothing nearer than this, its own ringing included."""
LATE_S = 0.25
LOOK_BACK_S = (KEPT_STEPS - 200) * STEP_S
"""Pings longer ago were heard by nobody; the world does not remember them either."""

NoTarget = Literal["zero", "far", "code"]
"""What it answers when it hears nothing: 0, 5500 mm, or 0xFFFD.  All three have been described."""
_NOTHING_MM: dict[str, int] = {"zero": 0, "far": 5500, "code": 0xFFFD}


def frame(number: int) -> bytes:
    """The four bytes in which the module sends a number."""
    head = bytes((0xFF, number >> 8 & 0xFF, number & 0xFF))
    return head + bytes((sum(head) & 0xFF,))


class A02yyuwTwin:
    """A module looking at a world; a `sim.serial.SerialTwin`.

    Faults of its part (its name): `off`, `intermittent`, `unplugged` (the USB adapter with it), `stuck` (one reading
    for ever), `wrong` (1.00 m, always), `garbage` (bytes without meaning), `checksum`, `framing`, `slow` (it filters),
    `delayed`.
    """

    baud = BAUD

    def __init__(
        self,
        world: World,
        *,
        name: str = "rear",
        model: EchoModel | None = None,
        no_target: NoTarget = "zero",
        faults: Faults | None = None,
        bearing_left_deg: float = 0.0,
        room: Room | None = None,
    ) -> None:
        self.pings = 0
        """Measurements made."""
        self.pinged: deque[tuple[float, int]] = deque(maxlen=100)
        """The latest ones: when, and the number that was sent."""
        self.model = model or EchoModel(
            world.seed, name, world.estimates.sealed_echo, bearing_left_deg=bearing_left_deg
        )
        self._room = room or Room(world.seed)
        self._room.add(self)
        self._name = name
        self._world = world
        self._module = world.estimates.sealed
        self._nothing = _NOTHING_MM[no_target]
        self._faults = faults or Faults()
        self._random = stream(world.seed, f"{name}.module")
        self.period_s = PERIOD_S * self._random.uniform(0.97, 1.01)
        self._next_s = self._random.uniform(0.0, self.period_s)
        self._line: deque[tuple[float, int]] = deque()
        """Bytes with the time at which each has been carried."""
        self._carried_s = 0.0
        self._lately: deque[int] = deque(maxlen=FILTERED)
        self._held = 0

    # -------------------------------------------------------------------------------------------- the port

    def opened(self, now: float) -> None:
        if self._faults.active(self._name, now) == "unplugged":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self._run(now)
        while self._line and self._line[0][0] <= now:
            self._line.popleft()

    def sent(self, now: float) -> bytes:
        if self._faults.active(self._name, now) == "unplugged":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._run(now)
        data = bytearray()
        while self._line and self._line[0][0] <= now:
            data.append(self._line.popleft()[1])
        return bytes(data)

    def receive(self, data: bytes, now: float) -> None:
        raise StrictTwinError(f"A02YYUW: {data.hex()} was written; its RX is on ground, or it filters")

    # ------------------------------------------------------------------------------------------- measuring

    def bursts(self, from_s: float, to_s: float) -> list[float]:
        """When it has sent sound, or will: nobody can tell it when."""
        first = math.ceil((from_s - self._next_s) / self.period_s)
        last = math.floor((to_s - self._next_s) / self.period_s)
        times = [self._next_s + number * self.period_s for number in range(first, last + 1)]
        return [t_s for t_s in times if t_s >= 0.0 and self._faults.active(self._name, t_s) not in ("off", "unplugged")]

    def overhear(self, arrivals: list[float]) -> None:
        """It looks for what it has heard when it answers."""

    def _run(self, now: float) -> None:
        """Makes every measurement whose frame has begun."""
        behind = now - LOOK_BACK_S - self._next_s
        if behind > 0.0:
            self._next_s += (int(behind / self.period_s) + 1) * self.period_s
        while self._next_s + self._module.answer_s <= now:
            self._measure(self._next_s)
            self._next_s += self.period_s

    def _measure(self, ping_s: float) -> None:
        fault = self._faults.active(self._name, ping_s)
        number = self._number(ping_s, fault)
        if fault in ("off", "unplugged"):
            return
        self._lately.append(number)
        data = frame(number)
        if fault == "slow":
            if self.pings % SLOW_EVERY:
                return
            data = frame(sorted(self._lately)[len(self._lately) // 2])
        elif fault == "garbage":
            data = self._random.randbytes(self._random.randint(2, 9))
        elif fault == "checksum" and self.pings % 3 == 0:
            place = self._random.randrange(len(data))
            data = data[:place] + bytes((data[place] ^ 1 << self._random.randrange(8),)) + data[place + 1 :]
        elif fault == "framing":
            data = self._misframed(data)
        self._carry(data, ping_s + self._module.answer_s + (LATE_S if fault == "delayed" else 0.0), fault)

    def _number(self, ping_s: float, fault: str) -> int:
        self.pings += 1
        scene = self._world.scene(ping_s)
        flight_s = self.model.ping(ping_s, scene).flight_s
        overheard_s = self._room.heard_by(self, ping_s, scene)
        if overheard_s is not None:
            flight_s = min(flight_s or math.inf, overheard_s - ping_s)
        if fault == "stuck":
            number = self._held
        elif fault == "wrong":
            number = 1000
        elif flight_s is None:
            number = self._nothing
        else:
            number = round(1000.0 * max(RANGE_MIN_M, flight_s * self._module.sound_m_s / 2.0))
        self._held = number
        self.pinged.append((ping_s, number))
        return number

    def _misframed(self, data: bytes) -> bytes:
        """Of two frames one arrives whole; else a byte is lost, or one stands before it that nobody sent."""
        chance = self._random.random()
        if chance < 0.5:
            return data
        place = self._random.randrange(len(data))
        return data[:place] + data[place + 1 :] if chance < 0.75 else bytes((0xFF,)) + data

    def _carry(self, data: bytes, begins_s: float, fault: str) -> None:
        at_s = max(begins_s, self._carried_s)
        for byte in data:
            at_s += BYTE_S
            if fault != "intermittent" or has_contact(at_s):
                self._line.append((at_s, byte))
        self._carried_s = at_s
