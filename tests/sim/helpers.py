"""A rig for the twins: one virtual clock, one world, and the hardware of a device in it."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

from retrowalk.core.samples import Item
from retrowalk.errors import SensorError
from retrowalk.sim.chips.lsm6dsox import Lsm6dsoxTwin
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.i2c import SimBus
from retrowalk.sim.pins import Board, SimPinFactory
from retrowalk.sim.scheduler import Pollable, Scheduler, VirtualClock
from retrowalk.sim.world import World


class Rig:
    """Virtual time with a world in it; `items` and `errors` collect what steps give."""

    def __init__(self, seed: int = 1, faults: Sequence[str] = (), world: World | None = None) -> None:
        self.clock = VirtualClock()
        self.scheduler = Scheduler(self.clock, lambda step, error: self.errors.append((self.clock.now(), error)))
        self.world = world or World(seed)
        self.faults = Faults(Fault.parse(text) for text in faults)
        self.board = Board()
        self.pins = SimPinFactory(self.board, self.clock)
        self.imu = Lsm6dsoxTwin(self.world.imu, seed, faults=self.faults)
        self.bus = SimBus(self.clock, {0x6A: self.imu}, self.faults)
        self.items: list[Item] = []
        self.errors: list[tuple[float, SensorError]] = []

    def run(self, step: Pollable) -> None:
        self.scheduler.add(step, self.items.extend)


def tone(frequency_hz: float, seconds: float, level: float = 0.5) -> array[int]:
    """A sine with edges of 4 ms."""
    count, ramp = round(seconds * 48_000), 192
    return array(
        "h",
        (
            round(
                32767 * level * min(1.0, i / ramp, (count - i) / ramp) * math.sin(2 * math.pi * frequency_hz * i / 48e3)
            )
            for i in range(count)
        ),
    )


def stereo(mono: array[int]) -> bytes:
    both = array("h", bytes(4 * len(mono)))
    both[0::2] = mono
    both[1::2] = mono
    return both.tobytes()
