"""A strict TF-Luna in I2C mode: register file, frames by its own clock, averaging, noise and quantisation.

It is stricter than the module: an unknown register, a write to a read-only one, a read of a write-only one, a frame
rate it does not have, a setting read back too early raise `StrictTwinError` with the register's name and the rule.
Frames are computed when somebody looks.

Register facts: the maker's manual A05, appendix III, which also has the signature.  From public drivers, not from the
manual: a new address needs saving and a reboot.  Manual A03 says so of every setting (`late_settings`), A05 does not.
Not known, and chosen: how long a reboot and a triggered measurement take, and what it reads below 20 cm.
"""

from __future__ import annotations

import errno
import math
import random
import struct
from collections.abc import Callable

from retrowalk.errors import StrictTwinError
from retrowalk.sim import light
from retrowalk.sim.chips.registers import RW, R, Registers, W, readable, writable
from retrowalk.sim.estimates import LightParameters
from retrowalk.sim.faults import Faults
from retrowalk.sim.light import Spot
from retrowalk.sim.noise import stream

Look = Callable[[float], Spot]
"""What its beam meets at a session second: `light.Beam.look`."""

REGISTERS: Registers = {
    # address: name, access, factory value
    0x00: ("DIST_LOW", R, 0x00),
    0x01: ("DIST_HIGH", R, 0x00),
    0x02: ("AMP_LOW", R, 0x00),
    0x03: ("AMP_HIGH", R, 0x00),
    0x04: ("TEMP_LOW", R, 0x00),
    0x05: ("TEMP_HIGH", R, 0x00),
    0x06: ("TICK_LOW", R, 0x00),
    0x07: ("TICK_HIGH", R, 0x00),
    0x08: ("ERROR_LOW", R, 0x00),
    0x09: ("ERROR_HIGH", R, 0x00),
    0x0A: ("VERSION_REVISION", R, 3),
    0x0B: ("VERSION_MINOR", R, 3),
    0x0C: ("VERSION_MAJOR", R, 1),
    **{0x10 + i: (f"SN_{i}", R, ord(c)) for i, c in enumerate("T0123456789ABC")},
    0x1F: ("ULTRA_LOW_POWER", W, 0x00),
    0x20: ("SAVE", W, 0x00),
    0x21: ("SHUTDOWN_REBOOT", W, 0x00),
    0x22: ("SLAVE_ADDR", RW, 0x10),
    0x23: ("MODE", RW, 0x00),
    0x24: ("TRIG_ONE_SHOT", W, 0x00),
    0x25: ("ENABLE", RW, 0x01),
    0x26: ("FPS_LOW", RW, 0x64),
    0x27: ("FPS_HIGH", RW, 0x00),
    0x28: ("LOW_POWER", RW, 0x00),
    0x29: ("RESTORE_FACTORY_DEFAULTS", W, 0x00),
    0x2A: ("AMP_THR_LOW", RW, 0x64),
    0x2B: ("AMP_THR_HIGH", RW, 0x00),
    0x2C: ("DUMMY_DIST_LOW", RW, 0x00),
    0x2D: ("DUMMY_DIST_HIGH", RW, 0x00),
    0x2E: ("MIN_DIST_LOW", RW, 0x00),
    0x2F: ("MIN_DIST_HIGH", RW, 0x00),
    0x30: ("MAX_DIST_LOW", RW, 0x20),
    0x31: ("MAX_DIST_HIGH", RW, 0x03),
    **{0x3C + i: (f"SIGNATURE_{i}", R, ord(c)) for i, c in enumerate("LUNA")},
}

ULTRA_LOW_POWER, SAVE, REBOOT, SLAVE_ADDR, MODE, TRIGGER = 0x1F, 0x20, 0x21, 0x22, 0x23, 0x24
ENABLE, FPS, LOW_POWER, FACTORY_RESET = 0x25, 0x26, 0x28, 0x29
AMP_THR, DUMMY_DIST, MIN_DIST, MAX_DIST = 0x2A, 0x2C, 0x2E, 0x30
SIGNATURE = 0x3C

CONTINUOUS, TRIGGERED = 0, 1
RAW_HZ = 500
FRAME_RATES_HZ = frozenset(RAW_HZ // n for n in range(2, RAW_HZ + 1))
"""250, 166, 125, 100 ... 1: an average of so many raw samples each (manual 6.5)."""
LOOKS = 5
"""An average of more raw samples than this is computed from so many of them."""

SETTLE_S = 0.100
"""A setting must not be read back sooner (manual 6.3)."""
SAVE_S = 1.0
"""Saving and factory reset take one to two seconds."""
BOOT_S = 0.5
TRIGGERED_S = 0.010
TEAR_P = 1e-4
"""Chance that a read meets an update (project's ranging reference 5.4)."""
TEAR_FAULT_P = 0.5
DELAY_S = 0.3
SLOW = 10

_DATA = struct.Struct("<HHhHH")
_Frame = tuple[int, int, int, int, int]
"""Distance (cm), amplitude, temperature (0.01 C), tick, error."""
_NO_FRAME: _Frame = (0, 0, 0, 0, 0)


class TfLunaTwin:
    """The module.  `look` is what its beam meets, `part` its name in the fault table (`lidar` or `drop`).

    `at` is the address it was set to when it was made ready; `saved` other settings in its flash, by register.
    `clock_error` is how much faster than nominal its oscillator runs (None: as `parameters` say).
    `late_settings`: a firmware in which settings take effect only when saved and rebooted;
    `signature=False`: one without a signature.
    """

    def __init__(
        self,
        look: Look,
        seed: int = 0,
        *,
        part: str = "lidar",
        at: int = 0x10,
        clock_error: float | None = None,
        saved: dict[int, int] | None = None,
        late_settings: bool = False,
        signature: bool = True,
        boot_s: float = BOOT_S,
        faults: Faults | None = None,
        parameters: LightParameters | None = None,
    ) -> None:
        self._light = parameters or LightParameters()
        self.part = part
        self.address = at
        """The address at which it answers."""
        name = f"{part}.{at}"
        self.unit_error = stream(seed, f"{name}.unit").uniform(-1.0, 1.0)
        """Its fixed range error, as a share of what the maker allows."""
        self._look = look
        self._noise = f"{seed}:{name}"
        self._rate = 1.0 + (self._light.clock_error if clock_error is None else clock_error)
        self._late_settings = late_settings
        self._signature = signature
        self._boot_s = boot_s
        self._faults = faults or Faults()
        self._tears = stream(seed, f"{name}.tears")
        self._flash = {register: value for register, (_, access, value) in REGISTERS.items() if access == RW}
        self._flash[SLAVE_ADDR] = at
        self._flash |= saved or {}
        self._reboots_s = [fault.start_s for fault in self._faults.all if (fault.part, fault.kind) == (part, "reboot")]
        self._boot(-boot_s - stream(seed, f"{name}.boot").uniform(0.5, 60.0))

    def power_cycle(self, now: float) -> None:
        """A brown-out: it starts anew with the settings that were saved."""
        self._boot(now)

    def _boot(self, now: float) -> None:
        self._booted_s = now
        self._settings = dict(self._flash)
        self._effective = dict(self._flash)
        self.address = self._flash[SLAVE_ADDR]
        self._written_s: dict[int, float] = {}
        self._busy_until_s = -math.inf
        self._begun = 0.0  # chip time since power-on at which the frames of this rate began
        self._shown = 0  # number of the newest frame that anybody has seen
        self._triggered: tuple[float, _Frame] | None = None
        self._latest = _NO_FRAME
        self._frozen: _Frame | None = None
        self._cache: tuple[float, _Frame] | None = None

    # --------------------------------------------------------------------------------------------- the bus

    def transfer(self, write: bytes, read: int, now: float) -> bytes:
        while self._reboots_s and now >= self._reboots_s[0]:
            self._boot(self._reboots_s.pop(0))
        if now < self._booted_s + self._boot_s:
            raise OSError(errno.EREMOTEIO, "it is starting")
        if not write:
            if read:
                raise StrictTwinError("TF-Luna: a read needs the register's address in the same transfer")
            return b""
        if self._faults.active(self.part, now) == "wrong":
            return b"\x59" * read  # a TFmini, which speaks in frames
        register, values = write[0], write[1:]
        if values and read:
            raise StrictTwinError(f"{_name(register)}: written and read in one transfer")
        if now < self._busy_until_s:
            raise StrictTwinError(f"{_name(register)}: used while it saves, which takes {SAVE_S} s (SAVE, 0x20)")
        if values:
            self._write(register, values, now)
        return self._read(register, read, now) if read else b""

    def _read(self, register: int, count: int, now: float) -> bytes:
        data = bytearray()
        measured = b""
        for at in range(register, register + count):
            name, access, value = readable("TF-Luna", REGISTERS, at)
            if at <= 0x09:
                measured = measured or self._measured(now)
                value = measured[at]
            elif access == RW:
                if now < self._written_s.get(at, -math.inf) + SETTLE_S:
                    raise StrictTwinError(f"{name} (0x{at:02X}) was read back within {SETTLE_S} s of writing it")
                value = self._settings[at]
            elif at >= SIGNATURE and not self._signature:
                value = 0
            data.append(value)
        return bytes(data)

    # ---------------------------------------------------------------------------------------------- settings

    def _write(self, register: int, values: bytes, now: float) -> None:
        changed: set[int] = set()
        for at, value in enumerate(values, register):
            name, access, _ = writable("TF-Luna", REGISTERS, at, value)
            where = f"{name} (0x{at:02X}) = 0x{value:02X}"
            if access == RW:
                self._check(at, where, value)
                self._settings[at] = value
                self._written_s[at] = now
                changed.add(at)
            else:
                self._command(at, where, value, now)
        if changed & {FPS, FPS + 1}:
            fps = self._word(self._settings, FPS)
            if fps not in FRAME_RATES_HZ:
                raise StrictTwinError(f"FPS_LOW (0x26): there is no frame rate {fps} Hz; only 500/n, at most 250")
        if changed and not self._late_settings:
            self._take_effect(changed, now)

    def _take_effect(self, changed: set[int], now: float) -> None:
        for at in changed - {SLAVE_ADDR}:
            self._effective[at] = self._settings[at]
        if changed & {MODE, FPS, FPS + 1, ENABLE}:
            self._latest = self._frame_at(now)
            self._begun, self._shown = self._chip_s(now), 0
            self._cache = None

    @staticmethod
    def _check(at: int, where: str, value: int) -> None:
        if at == SLAVE_ADDR and not 0x08 <= value <= 0x77:
            raise StrictTwinError(f"{where}: an address is 0x08 to 0x77")
        if at in (MODE, LOW_POWER) and value > 1:
            raise StrictTwinError(f"{where}: only 0 and 1")
        if at == LOW_POWER and value:
            raise StrictTwinError(f"{where}: power saving is not simulated")
        if at == ENABLE:
            raise StrictTwinError(f"{where}: firmwares disagree on what is on and what is off; leave it alone")

    def _command(self, at: int, where: str, value: int, now: float) -> None:
        if at == ULTRA_LOW_POWER and value:
            raise StrictTwinError(f"{where}: ultra-low power is not simulated")
        if at == SAVE:
            _only(where, value, 1)
            self._flash = dict(self._settings)
            self._busy_until_s = now + SAVE_S
        elif at == REBOOT:
            _only(where, value, 2)
            self._boot(now)
        elif at == FACTORY_RESET:
            _only(where, value, 1)
            self._flash = {register: factory for register, (_, access, factory) in REGISTERS.items() if access == RW}
            self._settings = dict(self._flash)
            self._take_effect(set(self._flash), now)
            self._busy_until_s = now + SAVE_S
        elif at == TRIGGER:
            _only(where, value, 1)
            if self._effective[MODE] != TRIGGERED:
                raise StrictTwinError(f"{where}: only in trigger mode (MODE, 0x23, is 0)")
            self._latest = self._frame_at(now)
            ready = self._chip_s(now) + TRIGGERED_S
            self._triggered = (ready, self._frame(ready, LOOKS / RAW_HZ))

    @staticmethod
    def _word(settings: dict[int, int], at: int) -> int:
        return settings[at] | settings[at + 1] << 8

    # ------------------------------------------------------------------------------------------ measurement

    def _chip_s(self, now: float) -> float:
        """Seconds since its power-on by its own clock."""
        return (now - self._booted_s) * self._rate

    def _measured(self, now: float) -> bytes:
        """The ten registers of the measurement, as a read that begins now finds them."""
        fault = self._faults.active(self.part, now)
        if fault == "stuck":
            self._frozen = self._frozen or self._frame_at(now)
            return _DATA.pack(*self._frozen)
        self._frozen = None
        if fault == "delayed":
            now -= DELAY_S
        shown = self._shown
        whole = _DATA.pack(*self._frame_at(now, SLOW if fault == "slow" else 1))
        # An update takes a moment: the next look at the same frame finds it whole.
        if self._shown != shown and self._tears.random() < (TEAR_FAULT_P if fault == "torn" else TEAR_P):
            cut = self._tears.randrange(1, _DATA.size)
            before = _DATA.pack(*self._numbered(self._shown - 1, self._period_s()))
            return before[:cut] + whole[cut:]
        return whole

    def _period_s(self) -> float:
        """Time between two frames, by its own clock."""
        return round(RAW_HZ / self._word(self._effective, FPS)) / RAW_HZ

    def _frame_at(self, now: float, every: int = 1) -> _Frame:
        """The newest frame at session second `now`; `every` so many is made."""
        chip_s = self._chip_s(now)
        if self._effective[MODE] == TRIGGERED:
            if self._triggered is not None and chip_s >= self._triggered[0]:
                self._latest, self._triggered = self._triggered[1], None
            return self._latest
        period_s = self._period_s()
        # However slow or late it becomes, it does not go back.
        number = max(int((chip_s - self._begun) / period_s + 1e-9) // every * every, self._shown)
        if number < 1:
            return self._latest
        self._shown = number
        return self._numbered(number, period_s)

    def _numbered(self, number: int, period_s: float) -> _Frame:
        done_s = self._begun + number * period_s
        if self._cache is None or self._cache[0] != done_s:
            self._cache = (done_s, self._frame(done_s, period_s))
        return self._cache[1]

    def _frame(self, done_s: float, period_s: float) -> _Frame:
        """The average of the raw samples of the period that ended at `done_s` (chip time)."""
        ended_s = self._booted_s + done_s / self._rate
        count = min(LOOKS, round(period_s * RAW_HZ))
        step_s = period_s / self._rate / count
        spots = [self._look(ended_s - (i + 0.5) * step_s) for i in range(count)]
        tick = int(done_s * 1000.0 + 1e-6) & 0xFFFF
        noise = random.Random(f"{self._noise}:{self._booted_s}:{done_s:.3f}")  # whoever looks, and when
        temperature = round(3200 + 300 * math.sin(done_s / 900.0) + noise.gauss(0.0, 8.0))
        fault = self._faults.active(self.part, ended_s)
        if fault == "sun" or any(spot.sun for spot in spots):
            dazzled = noise.choice((light.SUN_AMPLITUDE, noise.randint(0x8001, light.SUN_AMPLITUDE)))
            return (noise.randint(0, 900), dazzled, temperature, tick, 0)
        seen = [spot for spot in spots if spot.amplitude > 0.0]
        strength = sum(spot.amplitude for spot in seen) / count
        if fault == "weak":
            strength = min(strength, 40.0)
        strength = max(
            0.0, strength + noise.gauss(0.0, self._light.amplitude_noise + self._light.amplitude_noise_share * strength)
        )
        if not seen or strength < self._word(self._effective, AMP_THR):
            return (self._word(self._effective, DUMMY_DIST), int(strength), temperature, tick, 0)
        true_m = sum(spot.range_m for spot in seen) / len(seen)
        if true_m < light.BLIND_M:
            range_m = noise.uniform(0.0, light.BLIND_M)
        else:
            sigma = self._light.sigma_scale * light.sigma_m(strength) * math.sqrt(0.010 / period_s)
            range_m = true_m + light.unit_error_m(self.unit_error, true_m) + noise.gauss(0.0, sigma)
        if fault in ("zero", "ffff"):
            return (0 if fault == "zero" else 0xFFFF, int(strength), temperature, tick, 0)
        low, high = self._word(self._effective, MIN_DIST), self._word(self._effective, MAX_DIST)
        return (min(max(round(range_m * 100.0), low, 1), high), int(strength), temperature, tick, 0)


def _only(where: str, value: int, allowed: int) -> None:
    if value != allowed:
        raise StrictTwinError(f"{where}: only {allowed} means anything")


def _name(register: int) -> str:
    return f"{REGISTERS[register][0] if register in REGISTERS else 'unknown register'} (0x{register:02X})"
