"""The I2C lines of a Raspberry Pi past their controller: GPIO 2 (SDA) and 3 (SCL), by the registers of the pins.

/dev/gpiomem maps the registers of the pins alone, for group gpio (BCM2835 ARM Peripherals, chapter 6; the same on
BCM2836, 2837 and 2711, that is the Pi Zero to 4).  The pins of a Pi 5 hang on another chip, whose I2C driver clears
its bus itself.  To read a level disturbs nobody.  While `clock_out` runs the controller has no pins, so nobody may use
the bus.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

SDA, SCL = 2, 3
GPIOMEM = "/dev/gpiomem"
COMPATIBLE = "/proc/device-tree/compatible"
CHIPS = (b"brcm,bcm2835", b"brcm,bcm2836", b"brcm,bcm2837", b"brcm,bcm2711")

FUNCTION, CLEAR, LEVEL = 0x00 // 4, 0x28 // 4, 0x34 // 4
"""Words of the registers of GPIO 0 to 9 (function) and 0 to 31."""
INPUT, OUTPUT = 0b000, 0b001

HALF_CLOCK_S = 5e-6
"""100 kHz, which every chip can follow."""
CLOCKS = 9


class Words(Protocol):
    """Registers of 32 bits, by their number."""

    def __getitem__(self, word: int, /) -> int: ...

    def __setitem__(self, word: int, value: int, /) -> None: ...


class PinRegisters:
    """`platform.BusLines` of bus 1.  `words` are the registers, 32 bits each; `wait(seconds)` passes the time."""

    def __init__(self, words: Words, wait: Callable[[float], None] = time.sleep) -> None:
        self._words = words
        self._wait = wait

    def held(self) -> str:
        """The line that is low: `SDA`, `SCL` or `SDA and SCL`; empty: both are high, nobody holds the bus."""
        level = self._words[LEVEL]
        return " and ".join(name for name, pin in (("SDA", SDA), ("SCL", SCL)) if not level >> pin & 1)

    def clock_out(self) -> None:
        """Nine clocks at most with SDA let go, until it is high; then a STOP, and the controller has its pins again."""
        words = self._words
        before = words[FUNCTION]
        # What a pin drives when it is an output: always low.  High is letting go, the pull-ups do the rest.
        words[CLEAR] = 1 << SDA | 1 << SCL
        try:
            self._drive(SDA, low=False)
            self._drive(SCL, low=False)
            for _ in range(CLOCKS):
                self._wait(HALF_CLOCK_S)
                if words[LEVEL] >> SDA & 1:
                    break
                self._drive(SCL, low=True)
                self._wait(HALF_CLOCK_S)
                self._drive(SCL, low=False)
            for pin, low in ((SCL, True), (SDA, True), (SCL, False), (SDA, False)):
                self._wait(HALF_CLOCK_S)
                self._drive(pin, low=low)
            self._wait(HALF_CLOCK_S)
        finally:
            mask = 0b111 << 3 * SDA | 0b111 << 3 * SCL
            words[FUNCTION] = words[FUNCTION] & ~mask | before & mask

    def _drive(self, pin: int, *, low: bool) -> None:
        words = self._words
        words[FUNCTION] = words[FUNCTION] & ~(0b111 << 3 * pin) | (OUTPUT if low else INPUT) << 3 * pin


def open_bus_lines() -> PinRegisters | None:
    """The lines of this computer's bus 1; None: it is another kind of computer, or they are not for us."""
    try:
        compatible = Path(COMPATIBLE).read_bytes()
        if not any(chip in compatible for chip in CHIPS):
            return None
        file = os.open(GPIOMEM, os.O_RDWR | os.O_SYNC | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        memory = mmap.mmap(file, mmap.PAGESIZE)
    except OSError:
        return None
    finally:
        os.close(file)
    return PinRegisters(memoryview(memory).cast("I"))
