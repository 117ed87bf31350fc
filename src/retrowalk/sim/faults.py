"""Faults of the simulated parts: what can break, how, and when a scenario breaks it.

Faults belong to the model: nothing above the drivers knows that one was asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from retrowalk.errors import ConfigError, Finding

_ON_BUS = {
    "off": "no acknowledge on the bus",
    "intermittent": "a loose wire: no acknowledge for a while, back for a while",
    "nack": "refuses transfers in bursts, as beside a motor that switches",
    "garbage": "every byte reads 0xFF",
}

_LIDAR = {
    **_ON_BUS,
    "wrong": "another chip answers",
    "stuck": "the same measurement for ever, its tick stands still",
    "torn": "reads mix two measurements",
    "slow": "makes one measurement in ten",
    "delayed": "measurements are 0.3 s old when they can be read",
    "sun": "overexposed: the sun shines into it",
    "weak": "no target reflects enough: distance 0",
    "zero": "distance 0 with a good return",
    "ffff": "distance 65535 with a good return",
    "reboot": "forgets its settings (a brown-out, at the beginning)",
}

KINDS: dict[str, dict[str, str]] = {
    "rear": {
        "off": "has no power: never answers, the echo line stays low",
        "stuck": "the echo line stays high; on a serial port: one reading for ever",
        "garbage": "echo pulses of random widths, possible and impossible; on a serial port: bytes without meaning",
        "wrong": "always answers 1.00 m, whatever is there",
        "checksum": "on a serial port: every third frame is damaged on its way",
        "framing": "on a serial port: bytes are lost and added between frames",
        "unplugged": "on a serial port: its USB adapter is pulled out",
        "slow": "answers one ping in six; on a serial port: filters, three readings a second",
        "delayed": "edges arrive 0.25 s late, though stamped in time; on a serial port: readings do",
        "intermittent": "a loose wire: silent for a while, back for a while",
        "bursts": "the kernel loses edges in bursts of 0.15 s",
    },
    "lidar": _LIDAR,
    "drop": _LIDAR,
    "tof": {
        **_ON_BUS,
        "wrong": "another chip answers",
        "stuck": "the same sample for ever: its stream count stands still",
        "sun": "so much light that every range is doubtful",
        "weak": "no target reflects enough",
        "wrap": "targets beyond its reach look near (status 7)",
        "phase": "doubts the phase of what it sees (status 5)",
        "broken": "its laser has failed (status 2)",
        "underflow": "its arithmetic fails (status 10)",
        "idle": "tells no update with every sample (status 18)",
        "slow": "makes a quarter of the samples",
        "delayed": "samples are 0.3 s old when they are ready",
        "reboot": "forgets its settings (a brown-out, at the beginning)",
    },
    "imu": {
        "nack": "refuses transfers in bursts, as beside a motor that switches",
        "fast": "its clock runs 3 % fast",
        "overflow": "its FIFO overflows every second",
        "off": "no acknowledge on the bus",
        "stuck": "the same measurement for ever, though the FIFO fills",
        "garbage": "every byte reads 0xFF",
        "wrong": "another chip answers (WHO_AM_I 0x69)",
        "slow": "makes a quarter of the samples",
        "delayed": "samples come out of the FIFO 0.3 s late",
        "intermittent": "a loose wire: no acknowledge for a while, back for a while",
    },
    "bus": {
        "stuck": "the data line of the I2C bus is held low: nobody gets through",
        "held": "a chip that lost count holds the data line low until it is given nine clocks",
        "nack": "transfers to every chip are refused in bursts",
        "noise": "one transfer in fifty reads one wrong bit",
    },
    "battery": {
        **_ON_BUS,
        "wrong": "another chip answers",
        "low": "15 % left",
        "empty": "5 % left",
        "reboot": "forgets its settings (a brown-out, at the beginning)",
    },
    "thermometer": {
        "off": "not on its bus",
        "intermittent": "a loose wire: its file is empty",
        "garbage": "its checksum does not fit",
        "reboot": "loses its power while it measures: 85 C",
        "stuck": "the same temperature for ever",
        "sun": "the sun shines on it: 15 C too warm",
        "slow": "a reading takes 12 s",
    },
    "pi": {
        "undervoltage": "the firmware's voltage alarm is on",
        "hot": "the processor is at 83 C",
        "memory": "programs have taken all but 11 MB of the memory",
        "off": "the kernel has none of these files (not a Pi)",
        "garbage": "the files hold no numbers",
    },
    "voice": {
        "off": "the sound device is unplugged",
        "muted": "the device takes frames and plays silence, as its mixer says",
        "stuck": "the play pointer stands still",
        "null": "the device swallows frames as fast as they come",
        "unplugged": "the loudspeaker's plug is out: frames leave as ever, and nothing sounds",
        "headset": "a Bluetooth headset: 0.2 s late, asleep after silence, swallows half a second when it wakes",
    },
    "microphone": {
        "off": "it is unplugged",
        "deaf": "gives zeros",
        "stuck": "gives nothing any more",
    },
    "button": {
        "stuck": "held down",
        "garbage": "the line chatters",
        "bursts": "the kernel loses its edges; the level is right",
        "off": "its wire is broken: it never closes",
    },
}
"""Every fault there is: part, kind, what it does."""

_FORM = re.compile(r"(?P<part>[a-z-]+):(?P<kind>[a-z_-]+)(@(?P<start>\d+(\.\d+)?)(-(?P<end>\d+(\.\d+)?))?)?")

# A loose wire: these pieces of a 2.9 s cycle have contact.  Longer and shorter than what counts as lost (0.5 s).
_CONTACT_CYCLE_S = 2.9
_CONTACT_S = ((0.3, 0.5), (1.3, 1.5), (2.4, 2.9))


@dataclass(frozen=True, slots=True)
class Fault:
    """`part` is broken in the way `kind` from `start_s` up to `end_s` (session seconds).

    Raises `ConfigError` for a part or kind that is not in `KINDS`, or times in the wrong order.
    """

    part: str
    kind: str
    start_s: float = 0.0
    end_s: float = math.inf

    def __post_init__(self) -> None:
        text = f"{self.part}:{self.kind}"
        if self.part not in KINDS:
            raise _refused(text, f"there is no part {self.part!r}; parts are {', '.join(KINDS)}")
        if self.kind not in KINDS[self.part]:
            raise _refused(text, f"{self.part} cannot be {self.kind!r}; it can be {', '.join(KINDS[self.part])}")
        if not 0.0 <= self.start_s < self.end_s:
            raise _refused(text, f"must begin at 0 s or later and end after it began ({self.start_s:g}-{self.end_s:g})")

    @classmethod
    def parse(cls, text: str) -> Fault:
        """A fault from the command line: `rear:off`, `rear:off@20` (from 20 s on) or `rear:off@20-30`."""
        form = _FORM.fullmatch(text.strip())
        if form is None:
            raise _refused(text, "must be PART:KIND, PART:KIND@START or PART:KIND@START-END, in seconds")
        start_s = float(form["start"]) if form["start"] else 0.0
        end_s = float(form["end"]) if form["end"] else math.inf
        return cls(form["part"], form["kind"], start_s, end_s)

    def __str__(self) -> str:
        if math.isinf(self.end_s):
            return f"{self.part}:{self.kind}" + (f"@{self.start_s:g}" if self.start_s else "")
        return f"{self.part}:{self.kind}@{self.start_s:g}-{self.end_s:g}"


class Faults:
    """The faults of a scenario; the twins ask what is broken when they are used."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.all = tuple(faults)

    def active(self, part: str, now: float) -> str:
        """Kind of the fault that `part` has at session second `now`; empty when it works."""
        for fault in self.all:
            if fault.part == part and fault.start_s <= now < fault.end_s:
                return fault.kind
        return ""

    def changes(self, part: str) -> list[float]:
        """Session seconds at which a fault of `part` begins or ends."""
        times = {t for fault in self.all if fault.part == part for t in (fault.start_s, fault.end_s)}
        return sorted(t for t in times if math.isfinite(t))


# Transfers are refused in bursts of 30 ms, one in every 0.4 s.
_BURST_CYCLE_S = 0.4
_BURST_S = 0.030


def in_burst(now: float) -> bool:
    """Whether a burst of refused transfers is going on at session second `now` (a `nack` fault)."""
    return now % _BURST_CYCLE_S < _BURST_S


# Edges are lost for 0.15 s in every 0.7 s.
_LOST_CYCLE_S = 0.7
_LOST_S = 0.15


def loses_edges(now: float) -> bool:
    """Whether the kernel loses edges at session second `now` (a `bursts` fault)."""
    return now % _LOST_CYCLE_S < _LOST_S


def has_contact(now: float) -> bool:
    """Whether a loose wire has contact at session second `now` (an `intermittent` fault)."""
    at_s = now % _CONTACT_CYCLE_S
    return any(start_s <= at_s < end_s for start_s, end_s in _CONTACT_S)


def descriptions() -> Iterator[tuple[str, str]]:
    """(`part:kind`, what it does) of every fault, for --help."""
    for part, kinds in KINDS.items():
        for kind, words in kinds.items():
            yield f"{part}:{kind}", words


def _refused(text: str, rule: str) -> ConfigError:
    return ConfigError([Finding("command line", "fault", repr(text), rule)])
