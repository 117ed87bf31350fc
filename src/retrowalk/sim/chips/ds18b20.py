"""A simulated DS18B20 as the kernel shows it: a directory with `w1_slave` and `temperature`, measured when read.

The bytes are the chip's: sixteenths of a degree, alarm limits, settings, two that are always the same, what is left of
the sixteenth, and their checksum (polynomial x8 + x5 + x4 + 1, as the maker's).
"""

from __future__ import annotations

import errno
import math
from collections.abc import Callable

from retrowalk.sim.faults import Faults

DEVICES = "/sys/bus/w1/devices"
NAME = "28-0316a2794bff"
FILES = ("id", "name", "temperature", "uevent", "w1_slave")
MEASURES_S = 0.75
SLOW_S = 12.0
"""What the kernel takes for all its tries on a bad wire."""
LAG_S = 40.0
"""It follows the air as slowly as this, in a thin sleeve and the wind of walking (estimate)."""
SUN_C = 15.0
"""So much too warm it reads in the sun (estimate)."""
POWER_ON = 0x0550


class Ds18b20Twin:
    """A thermometer in air of `air_c()` (C).  Faults of part `thermometer`: see `sim.faults`."""

    def __init__(self, air_c: Callable[[], float], faults: Faults | None = None) -> None:
        self._air_c = air_c
        self._faults = faults or Faults()
        self._looked_s = -math.inf
        self._probe_c = 0.0
        self._held: int | None = None

    def there(self, now: float) -> bool:
        """Whether the kernel lists it."""
        return self._faults.active("thermometer", now) != "off"

    def takes_s(self, now: float) -> float:
        """How long a reading that begins now takes."""
        return SLOW_S if self._faults.active("thermometer", now) == "slow" else MEASURES_S

    def file(self, name: str, now: float) -> str:
        """What a file says when a measurement has ended at session second `now`.  Raises `OSError`."""
        fault = self._faults.active("thermometer", now)
        if fault == "off" or name not in ("w1_slave", "temperature"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", f"{DEVICES}/{NAME}/{name}")
        if fault == "intermittent":
            return ""
        sixteenths = self._measure(now, fault)
        if name == "temperature":
            return f"{sixteenths * 1000 // 16}\n"
        raw = sixteenths & 0xFFFF
        left = 0x0C if raw == POWER_ON else 0x10 - (raw & 0x0F)
        chip = bytes((raw & 0xFF, raw >> 8, 0x4B, 0x46, 0x7F, 0xFF, left, 0x10))
        crc = crc8(chip)
        sent = crc ^ 0x20 if fault == "garbage" else crc
        shown = " ".join(f"{byte:02x}" for byte in (*chip, sent))
        verdict = "YES" if sent == crc else "NO"
        return f"{shown} : crc={crc:02x} {verdict}\n{shown} t={sixteenths * 1000 // 16}\n"

    def _measure(self, now: float, fault: str) -> int:
        air_c = self._air_c() + (SUN_C if fault == "sun" else 0.0)
        if math.isinf(self._looked_s):
            self._probe_c = air_c
        self._probe_c += (air_c - self._probe_c) * -math.expm1(-(now - self._looked_s) / LAG_S)
        self._looked_s = now
        sixteenths = math.floor(self._probe_c * 16.0 + 0.5)
        if fault == "reboot":
            return POWER_ON
        if fault == "stuck":
            self._held = sixteenths if self._held is None else self._held
            return self._held
        self._held = None
        return sixteenths


def crc8(data: bytes) -> int:
    """The checksum of 1-Wire chips."""
    crc = 0
    for byte in data:
        for _ in range(8):
            mixed = (crc ^ byte) & 1
            crc = crc >> 1 ^ (0x8C if mixed else 0)
            byte >>= 1
    return crc
