"""Who answers on the I2C bus, by name.

Each address is asked once.  Where a known part lives, the question is the register that says who it is, which changes
nothing in the part; elsewhere a byte is read without naming a register.  An address that a running guard uses is not
asked at all: the guard's own driver says how it is.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from retrowalk.platform import I2CBus

FIRST, LAST = 0x08, 0x77


@dataclass(frozen=True, slots=True)
class Identity:
    """How a part says who it is: what is written, what the answer begins with, and which of its bits count."""

    name: str
    register: bytes
    begins: bytes
    mask: bytes
    certain: bool = True
    """False: other parts may answer the same."""

    def fits(self, answer: bytes) -> bool:
        return bytes(a & m for a, m in zip(answer, self.mask, strict=False)) == self.begins


IDENTITIES = {
    identity.name: identity
    for identity in (
        Identity("TF-Luna", b"\x3c", b"LUNA", b"\xff\xff\xff\xff"),
        Identity("VL53L1X", b"\x01\x0f", b"\xea\xcc", b"\xff\xff"),
        Identity("MAX17048", b"\x08", b"\x00\x10", b"\xff\xf0"),
        # It has no identity; the reset bit of its configuration always reads 0.
        Identity("INA219", b"\x00", b"\x00\x00", b"\x80\x00", certain=False),
        Identity("MPU6050", b"\x75", b"\x68", b"\xff"),
        Identity("LSM6DSOX", b"\x0f", b"\x6c", b"\xff"),
    )
}

LIKELY: Mapping[int, tuple[str, ...]] = {
    0x10: ("TF-Luna", "VEML7700 light sensor"),
    0x11: ("TF-Luna",),
    0x1D: ("ADXL345 accelerometer",),
    0x20: ("PCF8574 port expander",),
    0x23: ("BH1750 light sensor",),
    0x29: ("VL53L1X", "VL53L0X time-of-flight sensor", "BNO055 inertial sensor"),
    0x36: ("MAX17048", "seesaw board"),
    0x38: ("AHT20 humidity sensor",),
    0x3C: ("OLED display",),
    0x3D: ("OLED display",),
    0x40: ("INA219", "PCA9685 servo driver"),
    0x41: ("INA219",),
    0x44: ("INA219", "SHT31 humidity sensor"),
    0x45: ("INA219",),
    0x48: ("ADS1115 converter",),
    0x4A: ("BNO085 inertial sensor",),
    0x4B: ("BNO085 inertial sensor",),
    0x50: ("EEPROM",),
    0x52: ("RV3028 clock",),
    0x53: ("ADXL345 accelerometer",),
    0x57: ("EEPROM of a clock", "MAX30102 pulse sensor"),
    0x5A: ("haptic driver DRV2605",),
    0x68: ("MPU6050", "DS3231 clock"),
    0x69: ("MPU6050",),
    0x6A: ("LSM6DSOX",),
    0x6B: ("LSM6DSOX",),
    0x70: ("MaxBotix ultrasonic sensor", "TCA9548A multiplexer"),
    0x76: ("BME280 air sensor",),
    0x77: ("BME280 air sensor",),
}
"""Parts that people connect, by address.  Names of `IDENTITIES` first: those can be asked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A part that answers."""

    address: int
    name: str
    """What it is; `A or B` when it cannot be told; empty for an address at which nothing known lives."""
    certain: bool
    """It has said so itself."""

    def __str__(self) -> str:
        name = self.name if self.certain else f"probably {self.name}" if self.name else "an unknown part"
        return f"0x{self.address:02X} {name}"


@dataclass(frozen=True, slots=True)
class Scan:
    """What a look along the bus gave."""

    answers: tuple[Answer, ...] = ()
    problem: str = ""
    """Why it could not be looked along to its end; empty: it could."""
    stuck: bool = False
    """A line is held low: nobody gets through."""
    asked: frozenset[int] = field(default_factory=frozenset)
    """Addresses that were asked."""

    def at(self, address: int) -> Answer | None:
        return next((answer for answer in self.answers if answer.address == address), None)


NOBODY = (errno.EREMOTEIO, errno.ENXIO, errno.EIO, errno.ENODEV)
"""No acknowledge, as different bus drivers say it."""


def scan(
    bus: I2CBus, expected: Mapping[int, str], leave: Collection[int] = (), pause: Callable[[], None] = lambda: None
) -> Scan:
    """Asks every address but those to `leave`; `expected` names the kind of chip the settings put at an address.

    `pause` is called between two questions, so that a driver on the same bus is never held up by more than one.
    """
    found: list[Answer] = []
    asked: set[int] = set()
    timed_out = 0
    for address in range(FIRST, LAST + 1):
        if address in leave:
            continue
        pause()
        likely = LIKELY.get(address, ())
        if address in expected and expected[address] not in likely:
            likely = (expected[address], *likely)
        try:
            answer = _ask(bus, address, likely)
        except OSError as error:
            if error.errno == errno.ETIMEDOUT:
                timed_out += 1
                if timed_out >= 2:
                    return Scan(tuple(found), "every transfer times out", stuck=True, asked=frozenset(asked))
            elif error.errno not in NOBODY:
                return Scan(tuple(found), error.strerror or str(error), asked=frozenset(asked))
            asked.add(address)
            continue
        asked.add(address)
        found.append(answer)
    return Scan(tuple(found), asked=frozenset(asked))


def _ask(bus: I2CBus, address: int, likely: tuple[str, ...]) -> Answer:
    """Raises `OSError` when nobody answers."""
    known = [IDENTITIES[name] for name in likely if name in IDENTITIES]
    others = [name for name in likely if name not in IDENTITIES]
    for identity in known:
        if identity.fits(bus.transfer(address, identity.register, len(identity.begins))):
            return Answer(address, identity.name, identity.certain)
    if not known:
        bus.transfer(address, b"", 1)
    elif not others:
        return Answer(address, f"something that is no {known[0].name}", certain=True)
    return Answer(address, " or ".join(others), certain=False)
