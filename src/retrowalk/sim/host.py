"""The simulated computer: the files in which a Raspberry Pi's kernel tells how it is.

Paths and forms as on Raspberry Pi OS: the firmware's voltage alarm (`rpi_volt` among the hwmon devices) and the
processor's temperature.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from retrowalk.platform import Clock
from retrowalk.sim.faults import Faults

HWMON = "/sys/class/hwmon"
THERMAL = "/sys/class/thermal/thermal_zone0/temp"
COOL_C = 48.3
HOT_C = 83.1


class SimHost:
    """The files of a Pi in good health, but for the faults of part `pi`: `undervoltage`, `hot`, `off`, `garbage`."""

    def __init__(self, clock: Clock, faults: Faults | None = None) -> None:
        self._clock = clock
        self._faults = faults or Faults()

    def read(self, path: str) -> str:
        return self.answer(path, self._clock.now())

    def answer(self, path: str, now: float) -> str:
        """Text of a file at session second `now`.  Raises `OSError`."""
        fault = self._faults.active("pi", now)
        files = {
            f"{HWMON}/hwmon0/name": "cpu_thermal\n",
            f"{HWMON}/hwmon1/name": "rpi_volt\n",
            f"{HWMON}/hwmon1/in0_lcrit_alarm": f"{int(fault == 'undervoltage')}\n",
            THERMAL: f"{round((HOT_C if fault == 'hot' else COOL_C) * 1000)}\n",
        }
        if fault == "off" or path not in files:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return "?\n" if fault == "garbage" and not path.endswith("/name") else files[path]

    def names(self, directory: str) -> Sequence[str]:
        return ("hwmon0", "hwmon1") if directory == HWMON else ()
