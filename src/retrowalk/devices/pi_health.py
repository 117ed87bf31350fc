"""The health of the Raspberry Pi itself: its supply voltage, temperature and memory, as the kernel tells them.

Nothing to wire.  Undervoltage: the firmware watches the 5 V line (4.63 V on most models; the Pi browns out not far
below); the kernel's `raspberrypi-hwmon` asks it every 2 s whether that happened since it asked last, and keeps the
answer in `in0_lcrit_alarm` of the hwmon device called `rpi_volt`.  It is that of the last 2 s, not of ever.  Numbers
of hwmon devices change from boot to boot; the name does not.  Temperature: `thermal_zone0`, thousandths of a degree.

Memory: `MemAvailable` of /proc/meminfo, what the kernel can still give without killing anybody.

A computer without these files is no Raspberry Pi, or runs another kernel: nothing is wrong with it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from retrowalk.config import Pi
from retrowalk.core.samples import Item
from retrowalk.devices.faults import FaultState
from retrowalk.platform import Clock, HostFiles, no_wake

log = logging.getLogger("retrowalk.pi")

HWMON = "/sys/class/hwmon"
VOLTAGE = "rpi_volt"
ALARM = "in0_lcrit_alarm"
THERMAL = "/sys/class/thermal/thermal_zone0/temp"
MEMORY = "/proc/meminfo"

POLL_S = 2.0
"""As often as the kernel asks the firmware: no alarm is missed, none is seen twice more than once."""
FIND_AGAIN_S = 60.0
"""A file that is not there is looked for again this often: its module may be loaded late."""
VOLTAGE_OVER_S = 30.0
"""A supply that sags comes back to it with the next burst of the motor: it is well when it has been well so long."""
HOT_AFTER_S = 5.0
COOLER_C = 5.0
LOW_KIB, ENOUGH_KIB = 24 * 1024, 48 * 1024
"""A Zero 2 W has 416 MiB.  With less than the first the kernel throws out programs' pages and everything stutters,
before it kills anybody; it is over with the second."""
LOW_LOOKS = 2
"""So many looks in a row: a program that starts takes much for a moment."""
PLAUSIBLE_C = (-40.0, 130.0)


class PiHealthDriver:
    """Reports `undervoltage` of part `power`, `hot` of part `heat` and `low` of part `memory`: begun, and over.

    Undervoltage begins with the first alarm and ends 30 s after the last.  Hot is `pi.hot_c` and more for 5 s; over is
    5 C less, for as long.  Never raises: without its files it knows nothing, and says nothing.
    """

    def __init__(self, config: Pi, host: HostFiles, clock: Clock) -> None:
        self.name = "pi"
        self.retry_s = POLL_S
        self.shares = ""
        self.wake = no_wake
        self._hot_c = config.hot_c
        self._host = host
        self._power = FaultState("power")
        self._heat = FaultState("heat")
        self._memory = FaultState("memory")
        self._low = 0
        self._alarm_file = ""
        self._find_s = -math.inf
        self._alarmed_s = -math.inf
        self._other_since_s: float | None = None
        """Since when the temperature has been on the other side of its limit."""
        self._told: set[str] = set()

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        items = [*self._look_at_voltage(now), *self._look_at_heat(now), *self._look_at_memory(now)]
        return items, now + POLL_S

    def close(self) -> None:
        """Nothing is held open."""

    # -------------------------------------------------------------------------------------------- voltage

    def _look_at_voltage(self, now: float) -> list[Item]:
        if self._alarmed(now):
            self._alarmed_s = now
            return self._power.change(now, "undervoltage", "the 5 V supply sags: battery empty, cable thin or too long")
        if self._power.active and now - self._alarmed_s < VOLTAGE_OVER_S:
            return []
        return self._power.change(now, "")

    def _alarmed(self, now: float) -> bool:
        if not self._alarm_file:
            if now < self._find_s:
                return False
            self._alarm_file = self._find()
            if not self._alarm_file:
                self._find_s = now + FIND_AGAIN_S
                self._tell(f"no {VOLTAGE} below {HWMON}: undervoltage is not watched")
                return False
        text = self._text(self._alarm_file)
        if not text:
            self._alarm_file = ""  # its number may have changed
        return text == "1"

    def _find(self) -> str:
        for name in self._host.names(HWMON):
            if self._text(f"{HWMON}/{name}/name") == VOLTAGE:
                return f"{HWMON}/{name}/{ALARM}"
        return ""

    # ----------------------------------------------------------------------------------------------- heat

    def _look_at_heat(self, now: float) -> list[Item]:
        temperature_c = self._temperature_c()
        if temperature_c is None:
            self._other_since_s = None  # nobody knows what was in between
            return []
        hot = bool(self._heat.active)
        other = temperature_c < self._hot_c - COOLER_C if hot else temperature_c >= self._hot_c
        if not other:
            self._other_since_s = None
            return []
        if self._other_since_s is None:
            self._other_since_s = now
        if now - self._other_since_s < HOT_AFTER_S:
            return []
        self._other_since_s = None
        return self._heat.change(now, "" if hot else "hot", "" if hot else f"the processor has {temperature_c:.0f} C")

    def _temperature_c(self) -> float | None:
        text = self._text(THERMAL)
        try:
            temperature_c = int(text) / 1000.0
        except ValueError:
            self._tell(f"{THERMAL} has no temperature: heat is not watched")
            return None
        if not PLAUSIBLE_C[0] <= temperature_c <= PLAUSIBLE_C[1]:
            self._tell(f"{THERMAL} has a temperature that cannot be: it is not believed")
            return None
        return temperature_c

    # --------------------------------------------------------------------------------------------- memory

    def _look_at_memory(self, now: float) -> list[Item]:
        free_kib = self._free_kib()
        if free_kib is None:
            return []
        low = bool(self._memory.active)
        self._low = self._low + 1 if free_kib < (ENOUGH_KIB if low else LOW_KIB) else 0
        if not low and self._low >= LOW_LOOKS:
            return self._memory.change(now, "low", f"{free_kib // 1024} MiB left to give")
        return self._memory.change(now, "") if low and not self._low else []

    def _free_kib(self) -> int | None:
        for line in self._text(MEMORY).splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                number = value.split()[0] if value.split() else ""
                return int(number) if number.isdecimal() else None
        return None

    # ---------------------------------------------------------------------------------------------- files

    def _text(self, path: str) -> str:
        """What a file says; empty when it is not there."""
        try:
            return self._host.read(path).strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            log.info("%s", what)
