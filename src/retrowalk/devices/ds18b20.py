"""DS18B20 thermometer in the open air, for the speed of sound: 1-Wire, read by the kernel.

Wiring: VDD to 3.3 V, GND to ground, DQ to GPIO4, and 4.7 kΩ from DQ to 3.3 V.  In /boot/firmware/config.txt a line
`dtoverlay=w1-gpio` (firmware/boot/config.txt); with `gpiopin=` it may be another line.  Put it where the walker's
warmth, the Pi's and the sun do not reach it, in moving air: 5 C too warm read 0.9 % too far.

The kernel keeps a directory for each chip, `28-` and its number, and measures when a file in it is read, which takes
750 ms and, on a bad wire, several times that.  `w1_slave` has two lines: the nine bytes of the chip with `crc=.. YES`
(or `NO`), and the temperature as `t=` in thousandths of a degree.  It is empty when the chip did not answer, or never
with a good checksum.  `temperature` has the number alone.  A chip that lost its power while it measured says 85 C.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from retrowalk.core.air import PLAUSIBLE_C
from retrowalk.core.samples import AirSample, Item
from retrowalk.devices.faults import FaultState
from retrowalk.platform import Clock, HostFiles, no_wake

DEVICES = "/sys/bus/w1/devices"
FAMILY = "28-"
POLL_S = 30.0
"""Air changes by the minute.  Each reading warms the chip by as good as nothing."""
RETRY_S = 10.0
"""After a reading that failed; the kernel looks for new chips as often."""
LOOK_S = 0.9
"""A measurement takes 750 ms, and two transfers."""
LOOK_AGAIN_S = 0.25
SLOW_S = 5.0
"""A reading that takes longer is reported.  No other is begun before it is there."""
FAILED_MAX = 3
"""So many readings in a row must fail before it is reported."""

POWER_ON = bytes((0x50, 0x05))
POWER_ON_MARK = 0x0C
"""What the chip holds until it has measured: 85 C, and this in its seventh byte."""

_SLAVE = re.compile(
    r"(?P<bytes>(?:[0-9a-f]{2} ){9}): crc=[0-9a-f]{2} (?P<verdict>YES|NO)\n(?:[0-9a-f]{2} ){9}t=(?P<t>-?\d{1,6})\n?"
)
_TEMPERATURE = re.compile(r"(?P<t>-?\d{1,6})\n?")


class Ds18b20:
    """An `AirSample` every 30 s.  Never raises: without a thermometer the cold side holds, and nothing is wrong aloud.

    Faults of part `thermometer`: `absent` (no chip, or it does not answer), `garbage` (a checksum that does not fit, or
    a temperature no walk has), `slow` (no answer within 5 s).
    """

    def __init__(self, host: HostFiles, clock: Clock) -> None:
        self.name = "thermometer"
        self.retry_s = RETRY_S
        self.shares = ""
        self.wake = no_wake
        self._host = host
        self._fault = FaultState("thermometer")
        self._reading: Callable[[], str | None] | None = None
        self._began_s = -math.inf
        self._next_s = -math.inf
        self._failed = 0

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        if self._reading is None and now < self._next_s:
            return (), self._next_s
        try:
            if self._reading is None:
                self._reading, self._began_s = self._host.begin(self._file()), now
                return (), now + LOOK_S
            text = self._reading()
            if text is None:
                return self._wait(now)
            temperature_c = parse(text)
        except OSError as error:
            return self._fail(now, "absent", str(error))
        except ValueError as error:
            return self._fail(now, "garbage", str(error))
        self._reading = None
        self._failed = 0
        self._next_s = self._began_s + POLL_S
        items: list[Item] = [AirSample(now, self._began_s, temperature_c)]
        if now - self._began_s < SLOW_S:
            items += self._fault.change(now, "")
        return items, max(now, self._next_s)

    def close(self) -> None:
        """Nothing is held open; a reading that goes on is nobody's."""
        self._reading = None

    def _file(self) -> str:
        chip = next((name for name in self._host.names(DEVICES) if name.startswith(FAMILY)), "")
        if not chip:
            raise FileNotFoundError(f"no {FAMILY}... below {DEVICES}: is dtoverlay=w1-gpio in config.txt, is it wired?")
        files = self._host.names(f"{DEVICES}/{chip}")
        return f"{DEVICES}/{chip}/{'w1_slave' if 'w1_slave' in files else 'temperature'}"

    def _wait(self, now: float) -> tuple[Sequence[Item], float]:
        if now - self._began_s < SLOW_S:
            return (), now + LOOK_AGAIN_S
        detail = f"no answer for {SLOW_S:.0f} s: check its wires and the 4.7 kΩ from DQ to 3.3 V"
        return self._fault.change(now, "slow", detail), now + SLOW_S

    def _fail(self, now: float, fault: str, detail: str) -> tuple[Sequence[Item], float]:
        self._reading = None
        self._failed += 1
        self._next_s = now + RETRY_S
        reports = self._fault.change(now, fault, detail) if self._failed >= FAILED_MAX else ()
        return reports, self._next_s


def parse(text: str) -> float:
    """Temperature (C) in what one of the kernel's files says.

    Raises `OSError` for an empty one, `ValueError` for one that must not be believed.
    """
    if not text.strip():
        raise OSError("it does not answer: check its wires and the 4.7 kΩ from DQ to 3.3 V")
    slave = _SLAVE.fullmatch(text)
    if slave is not None:
        if slave["verdict"] != "YES":
            raise ValueError("its checksum does not fit: a wire too long, or noise on it")
        scratchpad = bytes.fromhex(slave["bytes"])
        if scratchpad[:2] == POWER_ON and scratchpad[6] == POWER_ON_MARK:
            raise ValueError("it lost its power while it measured: check its 3.3 V")
    found = slave or _TEMPERATURE.fullmatch(text)
    if found is None:
        raise ValueError(f"its file says {text[:40]!r}")
    temperature_c = int(found["t"]) / 1000.0
    if not PLAUSIBLE_C[0] <= temperature_c <= PLAUSIBLE_C[1]:
        raise ValueError(f"{temperature_c:.1f} C is not the temperature of any walk")
    return temperature_c
