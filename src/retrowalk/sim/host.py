"""The simulated computer: the files in which a Raspberry Pi's kernel tells how it is.

Paths and forms as on Raspberry Pi OS: the firmware's voltage alarm (`rpi_volt` among the hwmon devices), the
processor's temperature, and a thermometer on the 1-Wire bus, if one is wired.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from retrowalk.platform import Clock
from retrowalk.sim.chips import ds18b20
from retrowalk.sim.chips.ds18b20 import Ds18b20Twin
from retrowalk.sim.faults import Faults

HWMON = "/sys/class/hwmon"
THERMAL = "/sys/class/thermal/thermal_zone0/temp"
MEMORY = "/proc/meminfo"
COOL_C = 48.3
HOT_C = 83.1
FREE_KIB, LOW_KIB = 210_000, 11_000


class SimHost:
    """The files of a Pi in good health, but for the faults of part `pi`."""

    def __init__(self, clock: Clock, faults: Faults | None = None, thermometer: Ds18b20Twin | None = None) -> None:
        self._clock = clock
        self._faults = faults or Faults()
        self._thermometer = thermometer

    def read(self, path: str) -> str:
        return self.answer(path, self._clock.now())

    def begin(self, path: str) -> Callable[[], str | None]:
        began_s = self._clock.now()
        ready_s = began_s + self.takes_s(path, began_s)
        return lambda: self.read(path) if self._clock.now() >= ready_s else None

    def takes_s(self, path: str, now: float) -> float:
        """How long a reading that begins now takes."""
        thermometer = self._thermometer
        return thermometer.takes_s(now) if thermometer is not None and path.startswith(ds18b20.DEVICES) else 0.0

    def answer(self, path: str, now: float) -> str:
        """Text of a file at session second `now`.  Raises `OSError`."""
        directory, _, name = path.rpartition("/")
        if self._thermometer is not None and directory == f"{ds18b20.DEVICES}/{ds18b20.NAME}":
            return self._thermometer.file(name, now)
        fault = self._faults.active("pi", now)
        files = {
            f"{HWMON}/hwmon0/name": "cpu_thermal\n",
            f"{HWMON}/hwmon1/name": "rpi_volt\n",
            f"{HWMON}/hwmon1/in0_lcrit_alarm": f"{int(fault == 'undervoltage')}\n",
            THERMAL: f"{round((HOT_C if fault == 'hot' else COOL_C) * 1000)}\n",
            MEMORY: f"MemTotal: 426248 kB\nMemAvailable: {LOW_KIB if fault == 'memory' else FREE_KIB} kB\n",
        }
        if fault == "off" or path not in files:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return "?\n" if fault == "garbage" and not path.endswith("/name") else files[path]

    def names(self, directory: str) -> Sequence[str]:
        if self._thermometer is not None and directory.startswith(ds18b20.DEVICES):
            there = self._thermometer.there(self._clock.now())
            if directory == ds18b20.DEVICES:
                return (ds18b20.NAME, "w1_bus_master1") if there else ("w1_bus_master1",)
            return ds18b20.FILES if there and directory.endswith(ds18b20.NAME) else ()
        return ("hwmon0", "hwmon1") if directory == HWMON else ()
