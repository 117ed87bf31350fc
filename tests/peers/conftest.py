"""A bench for strangers: one chip on the simulated bus, which theirs and our drivers use in turn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import pytest
from tests.peers.adaptors import BOARD, BusioI2C, SMBus, import_peer, into_virtual_time

from retrowalk.errors import SensorError
from retrowalk.platform import Step
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.i2c import Chip, SimBus
from retrowalk.sim.scheduler import VirtualClock


class Bench:
    """A chip on a bus in virtual time, the bus as strangers expect it, and a runner for a driver of ours."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, faults: Sequence[str] = ()) -> None:
        self.clock = VirtualClock(1.0)
        self.faults = Faults(Fault.parse(text) for text in faults)
        self.chips: dict[int, Chip] = {}
        self.errors: list[SensorError] = []
        """What our drivers raised."""
        self._monkeypatch = monkeypatch

    def connect(self, address: int, chip: Any) -> None:
        """Solders a chip on."""
        self.chips[address] = chip
        self.bus = SimBus(self.clock, self.chips, self.faults)
        self.busio = BusioI2C(self.bus)

    def smbus(self, transfer_s: float = 0.0) -> SMBus:
        """The bus for drivers that open it by its number."""
        return SMBus(self.bus, self.clock, transfer_s)

    def peer(self, name: str, **names: Any) -> ModuleType:
        """Somebody else's module, asleep in virtual time; `names` are replaced in it."""
        module = import_peer(name)
        into_virtual_time(self._monkeypatch, self.clock, name.partition(".")[0])
        for attribute, value in names.items():
            self.replace(module, attribute, value)
        return module

    def replace(self, thing: object, attribute: str, value: Any) -> None:
        """Puts something of ours in the place of what a module or an object has, until the test is over."""
        self._monkeypatch.setattr(thing, attribute, value)

    def ours(self, step: Step, seconds: float) -> list[Any]:
        """Polls a driver of ours as its runner does, for so long; what it gave."""
        items: list[Any] = []
        end_s = self.clock.now() + seconds
        due_s = self.clock.now()
        while due_s < end_s:
            self.clock.reach(due_s)
            now = self.clock.now()
            try:
                given, due_s = step.poll(now)
            except SensorError as error:
                self.errors.append(error)
                given, due_s = (), now + step.retry_s
            items += given
        self.clock.reach(end_s)
        return items

    def wait(self, seconds: float) -> None:
        self.clock.reach(self.clock.now() + seconds)


@pytest.fixture
def bench_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bench]:
    """Makes a bench with faults: `bench_with("tof:off@2-3")`."""
    for name, module in BOARD.items():
        monkeypatch.setitem(sys.modules, name, module)
    return lambda *faults: Bench(monkeypatch, faults)


@pytest.fixture
def bench(bench_with: Callable[..., Bench]) -> Bench:
    """A bench without faults."""
    return bench_with()
