"""What the courier's tests share: a guard that hands things over, and a courier in virtual time."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from retrowalk import wire
from retrowalk.config import Broker, Config
from retrowalk.core.samples import ImuSample, RangeSample, RangeStatus
from retrowalk.courier.courier import Courier
from retrowalk.courier.outbox import Outbox, Stamp
from retrowalk.courier.recording import Recorder
from retrowalk.platform import Platform
from retrowalk.sim.broker import Published, ScriptedLink
from retrowalk.sim.scheduler import MemoryMail, Scheduler, VirtualClock

ROOT = "retrowalk/v1/home/rw-0001"
STAMP = Stamp("boot-1", 1_800_000_000.0, "ntp")

PRIORITIES = {"fall.confirmed": "high", "sos.raised": "high", "sos.cancelled": "high", "fall.cancelled": "high"}


def event(
    number: int, kind: str = "hazard.raised", *, session: str = "s1", t_s: float = 1.0, **data: Any
) -> wire.EventMessage:
    """An event as the guard hands it over."""
    priority = PRIORITIES.get(
        kind, {"fall.suspected": "medium", "walk.started": "low", "walk.ended": "low"}.get(kind, "none")
    )
    return wire.EventMessage(session, number, kind, priority, t_s, t_s, number, data)


def session_message(session: str = "s1", boot: str = "boot-1") -> wire.Session:
    """The guard's first message of a session."""
    return wire.Session(session, wire.SCHEMA_VERSION, "0.1.0", "2027-01-15T08:00:00.000Z", boot, {})


def records(count: int, *, first: int = 1, rate_hz: float = 119.0, seed: int = 1) -> list[wire.Record]:
    """Entries of a walk: IMU and, now and then, range."""
    rng = random.Random(seed + first)
    found = []
    for sequence in range(first, first + count):
        t = sequence / rate_hz
        item: ImuSample | RangeSample
        if sequence % 8:
            channel = "/item/imu"
            accel = (rng.gauss(0, 1), rng.gauss(0, 1), rng.gauss(9.8, 1))
            item = ImuSample(t, t - 0.02, accel, (rng.gauss(0, 1), rng.gauss(0, 1), rng.gauss(0, 1)))
        else:
            channel = "/item/range/rear"
            item = RangeSample(t, t - 0.01, "rear", RangeStatus.VALID, rng.uniform(0.5, 4.0))
        data = msgspec.Raw(wire.encode(item))
        found.append(wire.Record(sequence, channel, round(t * 1e9), max(0, round((t - 0.02) * 1e9)), data))
    return found


class Street:
    """A courier in virtual time, and what the guard's mailbox received."""

    alive: ClassVar[list[Street]] = []
    """Whatever a test made; `conftest.py` takes it down."""

    def __init__(
        self,
        directory: Path,
        *,
        broker: Broker | None = None,
        outbox: Outbox | None = None,
        link: ScriptedLink | None = None,
        linked: bool = True,
        clock: VirtualClock | None = None,
        quality: Callable[[float], str] = lambda _: "ntp",
        boot: str = "boot-1",
        forgets: bool = False,
        **script: Any,
    ) -> None:
        self.directory = directory
        self.clock = clock or VirtualClock(wall_origin_s=1_800_000_000.0)
        self.scheduler = Scheduler(self.clock)
        self.mail = MemoryMail()
        self.guard = self.mail.open("guard")
        self.link = link or ScriptedLink(self.clock, **script)
        self.config = Config(broker=broker or Broker())
        self.outbox = outbox or Outbox(directory / "outbox.db", owner="home/rw-0001", rng=random.Random(1))
        self.recorder = Recorder(directory / "recordings", self.config.recording)
        platform = Platform(self.clock, self.mail.open("courier"))
        self.courier = Courier(
            self.config,
            self.outbox,
            self.recorder,
            self.link if linked else None,
            platform,
            directory / "guard.state",
            quality=quality,
            rng=random.Random(2),
            boot=boot,
            forgets=forgets,
        )
        self.scheduler.add(self.courier)
        self.inbox: list[wire.LocalMessage] = []
        Street.alive.append(self)

    def send(self, *messages: Any) -> None:
        """The guard sends these now."""
        for message in messages:
            assert self.guard.send("courier", wire.encode(message))

    def run_until(self, t_s: float) -> None:
        self.scheduler.run_until(t_s)
        while (datagram := self.guard.receive()) is not None:
            self.inbox.append(wire.decode_local(datagram))

    def kill(self) -> None:
        """As kill -9: files are left as they are."""
        if self.recorder._file is not None:
            self.recorder._file.close()
        self.outbox.close()
        self.scheduler.remove(self.courier)

    def told(self, kind: type) -> list[Any]:
        """What the guard was told, of one kind."""
        return [message for message in self.inbox if isinstance(message, kind)]

    def faults(self) -> str:
        """The faults in the latest beat."""
        return str(self.told(wire.CourierBeat)[-1].fault)

    def published(self, leaf: str) -> list[Published]:
        """What reached the broker below `leaf`."""
        return [message for message in self.link.published if message.topic.startswith(f"{ROOT}/{leaf}")]

    def events(self) -> list[dict[str, Any]]:
        """The events that reached the broker, duplicates included."""
        return [json.loads(message.payload) for message in self.published("event/")]


def numbers(events: Sequence[dict[str, Any]]) -> list[int]:
    """`seq` of each event."""
    return [item["seq"] for item in events]
