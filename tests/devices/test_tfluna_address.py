"""A second lidar gets an address of its own, whatever its firmware makes of that; what is no lidar is left alone."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable

import pytest

from retrowalk.devices.tfluna_address import answers, move
from retrowalk.errors import DeviceError
from retrowalk.sim.chips.tfluna import TfLunaTwin
from retrowalk.sim.i2c import SimBus
from retrowalk.sim.light import Spot
from retrowalk.sim.scheduler import VirtualClock


def nothing(_t_s: float) -> Spot:
    """The beam meets nothing."""
    return Spot(math.inf, 0.0)


def wait(clock: VirtualClock) -> Callable[[float], None]:
    """Lets virtual time pass."""
    return lambda seconds: clock.reach(clock.now() + seconds)


class Stranger:
    """A chip of another kind at one address: every register reads 0x42."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        if address != 0x10:
            raise OSError(errno.EREMOTEIO, "no acknowledge")
        if len(write) > 1:
            self.written.append(write)
        return b"\x42" * read

    def close(self) -> None:
        """Nothing to release."""


def bus_with(clock: VirtualClock, *modules: TfLunaTwin) -> SimBus:
    wait(clock)(5.0)
    return SimBus(clock, {module.address: module for module in modules})


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after a restart"])
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_it_answers_at_the_new_address_for_good(late, signed):
    """After the move, and after the power was cut, it is at the new address and not at the old one."""
    clock = VirtualClock()
    module = TfLunaTwin(nothing, late_settings=late, signature=signed)
    bus = bus_with(clock, module)
    move(bus, 0x10, 0x11, wait(clock))
    module.power_cycle(clock.now())
    wait(clock)(2.0)
    assert answers(bus, 0x11)
    assert not answers(bus, 0x10)


def test_an_address_that_is_taken_is_refused():
    """Two modules at one address could never be told apart again: nothing is written."""
    clock = VirtualClock()
    first, second = TfLunaTwin(nothing), TfLunaTwin(nothing, part="drop", at=0x11)
    bus = bus_with(clock, first, second)
    with pytest.raises(DeviceError, match="0x11 already"):
        move(bus, 0x10, 0x11, wait(clock))
    assert (first.address, second.address) == (0x10, 0x11)


def test_nothing_there_is_told_with_its_wires():
    """No module at the old address: what to check."""
    clock = VirtualClock()
    with pytest.raises(DeviceError, match="pin 5 to ground"):
        move(SimBus(clock, {}), 0x10, 0x11, wait(clock))


def test_another_chip_is_left_alone():
    """Something that is no TF-Luna is told so, and not written to."""
    stranger = Stranger()
    with pytest.raises(DeviceError, match="no TF-Luna"):
        move(stranger, 0x10, 0x11, wait(VirtualClock()))
    assert stranger.written == []
