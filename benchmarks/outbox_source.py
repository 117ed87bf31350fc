"""Where the events of `outbox` happen: a guard, and for comparison a program that publishes with paho alone.

As a program it is that process, to be killed at any moment and started again.  It writes each event into a ledger, one
line, synced to the disk, *before* it hands it to anything; so the ledger knows of every event, also of one that was cut
off in the very act.  Numbers go on where the ledger ends.

The guard is the device's own: `guard.process.run` with its main loop, mailbox, slot file, resending and start.  Below
it there is one driver that tells it an event is due, and in the place of the Companion something that says so.
"""

from __future__ import annotations

import argparse
import logging
import math
import mmap
import os
import random
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from retrowalk import config as configuration
from retrowalk import wire
from retrowalk.core import events as ev
from retrowalk.core import samples as sm
from retrowalk.core.companion import Companion
from retrowalk.core.samples import Item
from retrowalk.guard import guard as guard_module
from retrowalk.guard import process as guard_process
from retrowalk.guard.guard import Guard
from retrowalk.platform import MonotonicClock, Platform, SocketMailbox, no_wake

MIX = (("none", 0.70), ("low", 0.15), ("medium", 0.10), ("high", 0.05))
"""Priorities, about as on a walk on which much goes wrong."""

BURST = 0.02
"""Share of events that bring others along at once ..."""
BURST_EVENTS = 8
"""... so many: a fall, what the walker is told, and what a bruised sensor says."""

_MARK = struct.Struct("=qq")


@dataclass(frozen=True, slots=True)
class Happened:
    """A line of the ledger."""

    number: int
    priority: str
    at_s: float
    """CLOCK_MONOTONIC."""


class Ledger:
    """What has happened, in `directory`.  One process writes it; what it marks stands also after kill -9."""

    def __init__(self, directory: Path, *, write: bool = False) -> None:
        self._path = directory / "ledger"
        self._acts = directory / "ledger.acts"
        mark = directory / "ledger.mark"
        if not mark.exists():
            mark.write_bytes(_MARK.pack(0, 0))
        self._mark = mmap.mmap(os.open(mark, os.O_RDWR), _MARK.size)
        self._file = os.open(self._path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600) if write else -1
        self.last = 0
        if write:
            lines = self.read()
            self.last = lines[-1].number if lines else 0
            if self.last > self.handed:
                # Its author was killed between the line and the end of the hand-over.
                with self._acts.open("a") as acts:
                    acts.writelines(f"{number}\n" for number in range(self.handed + 1, self.last + 1))
            self.mark(self.last, self.last + 1)

    def write(self, priority: str) -> int:
        """Puts the next event on disk; returns its number, from 1."""
        self.last += 1
        os.write(self._file, f"{self.last} {priority} {time.monotonic():.6f}\n".encode())
        os.fsync(self._file)
        return self.last

    def mark(self, handed: int, open_from: int) -> None:
        """Events up to `handed` have been handed over; those from `open_from` on nobody has said to have on disk."""
        _MARK.pack_into(self._mark, 0, handed, open_from)

    @property
    def handed(self) -> int:
        return int(_MARK.unpack_from(self._mark, 0)[0])

    @property
    def open_from(self) -> int:
        return int(_MARK.unpack_from(self._mark, 0)[1])

    def read(self) -> list[Happened]:
        """Every whole line."""
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return []
        parts = [line.split() for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [Happened(int(number), priority, float(at_s)) for number, priority, at_s in parts]

    def acts(self) -> set[int]:
        """Events whose author was killed before it had handed them over."""
        found = {int(line) for line in self._acts.read_text().split()} if self._acts.exists() else set()
        return found | {line.number for line in self.read() if line.number > self.handed}


class Chance:
    """When the next event happens, and how grave it is."""

    def __init__(self, rate_hz: float, seed: int) -> None:
        self._rng = random.Random(f"outbox:{seed}:{os.getpid()}:{time.monotonic_ns()}")
        self._rate_hz = rate_hz * (1.0 - BURST * BURST_EVENTS)
        self._burst = 0

    def wait_s(self) -> float:
        """Until the next one."""
        if self._burst:
            self._burst -= 1
            return 0.0
        if self._rng.random() < BURST:
            self._burst = BURST_EVENTS
        return self._rng.expovariate(self._rate_hz)

    def priority(self) -> str:
        """Of the next one."""
        return self._rng.choices([name for name, _ in MIX], [share for _, share in MIX])[0]


def event_of(number: int, priority: str, t_s: float, fall: int) -> ev.Event:
    """An event of this priority that carries `number`; `fall`: the one that is open, 0: none."""
    match priority:
        case "high" if fall:
            return ev.FallCancelled(t_s=t_s, fall=fall, by=str(number))
        case "high":
            return ev.FallConfirmed(t_s=t_s, fall=number)
        case "medium":
            return ev.FaultRaised(t_s=t_s, part="rear", fault="garbage", detail=str(number))
        case "low":
            return ev.FaultCleared(t_s=t_s, part=f"rear-{number}", fault="garbage")
        case _:
            return ev.HazardRaised(t_s=t_s, hazard="obstacle", level="caution", sensor=str(number))


def number_of(kind: str, data: dict[str, Any]) -> int | None:
    """The number in an event's data; None: it is not one of ours (the courier's own)."""
    try:
        match kind:
            case "fall.cancelled":
                return int(data["by"])
            case "fall.confirmed":
                return int(data["fall"])
            case "fault.raised":
                return int(data["detail"])
            case "fault.cleared":
                return int(str(data["part"]).removeprefix("rear-"))
            case "hazard.raised":
                return int(data["sensor"])
    except (KeyError, TypeError, ValueError):
        pass
    return None


# ------------------------------------------------------------------------------------------------------- the guard

HAPPENS = "happens"


class _Told:
    """In the Companion's place: says what it is told has happened; asked for anything else, answers as a real one."""

    unheard = False
    snapshot_state = ev.GuardState.GUARDING.value

    def __init__(self, config: configuration.Config) -> None:
        self._fall = 0
        self._companion = Companion(config)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._companion, name)

    def deadline(self) -> float | None:
        return None

    def feed(self, item: Item) -> Sequence[ev.Output]:
        if not isinstance(item, sm.Command) or item.name != HAPPENS:
            return ()
        number, priority = int(item.id), item.args["priority"]
        event = event_of(number, priority, item.t_received_s, self._fall)
        if isinstance(event, ev.FallConfirmed):
            self._fall = number
        elif isinstance(event, ev.FallCancelled):
            self._fall = 0
        return (event,)


class _Source:
    """The driver: an event is due."""

    name = "source"
    shares = ""
    retry_s = 1.0

    def __init__(self, ledger: Ledger, chance: Chance, events: int) -> None:
        self.wake: Callable[[], None] = no_wake
        self._ledger = ledger
        self._chance = chance
        self._events = events
        self._next_s = 0.0

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        if self._ledger.last >= self._events:
            return (), math.inf
        if now < self._next_s:
            return (), self._next_s
        priority = self._chance.priority()
        number = self._ledger.write(priority)
        self._next_s = now + self._chance.wait_s()
        return (sm.Command(now, str(number), HAPPENS, {"priority": priority}),), self._next_s

    def close(self) -> None:
        pass


class _Touch:
    name = "touch"

    def touch(self, request: ev.Touch) -> None:
        pass


def be_guard(config: configuration.Config, run_dir: Path, ledger: Ledger, chance: Chance, events: int) -> None:
    """The device's guard process, with a source of events in the place of sensors and of the Companion."""

    class Marking(Guard):
        """Marks in the ledger how far events are handed over, and how far somebody has them on disk."""

        open_events: dict[tuple[str, int], int]

        def take(self, items: Sequence[Item], now: float, step: str = "") -> None:
            super().take(items, now, step)
            handed = [int(item.id) for item in items if isinstance(item, sm.Command) and item.name == HAPPENS]
            if handed:
                ledger.mark(max(handed), ledger.open_from)

        def _event(self, event: ev.Event) -> bool:
            number = number_of(event.type, wire.event_data(event))
            save = super()._event(event)
            if number is not None:
                self.open_events[self._session, self._number] = number
            return save

        def _committed(self, message: wire.CommittedMessage) -> None:
            super()._committed(message)
            for key in [key for key in self.open_events if key not in self._events]:
                del self.open_events[key]
            ledger.mark(ledger.handed, min(self.open_events.values(), default=ledger.handed + 1))

    Marking.open_events = {}
    source = _Source(ledger, chance, events)
    patched: Any = guard_module
    patched.Companion = _Told
    patched = guard_process
    patched.Guard = Marking
    patched.build_steps = lambda config, platform: ([source], _Touch())
    platform = Platform(clock=MonotonicClock(), mailbox=SocketMailbox(run_dir, "guard"))
    guard_process.run(config, platform, run_dir)


# -------------------------------------------------------------------------------------------------------- the peer


def be_paho(config: configuration.Config, ledger: Ledger, chance: Chance, events: int) -> None:
    """What most people would write: paho's own client and queue, QoS 1, and nothing on disk."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=config.device.name)
    client.reconnect_delay_set(1, 15)
    client.connect_async(config.broker.host, config.broker.port, keepalive=config.broker.keepalive_s)
    client.loop_start()
    root = wire.topic_root(config.device.site, config.device.name)
    epoch, seq, fall = f"{random.getrandbits(64):016x}", 0, 0
    while True:
        while ledger.last < events:
            priority = chance.priority()
            number = ledger.write(priority)
            seq += 1
            event = event_of(number, priority, time.monotonic(), fall)
            fall = {ev.FallConfirmed: number, ev.FallCancelled: 0}.get(type(event), fall)
            envelope = wire.CloudEvent(
                id=f"{epoch}-{seq}",
                source=f"retrowalk:{config.device.site}/{config.device.name}",
                type=f"io.retrowalk.{event.type}",
                time="2026-01-01T00:00:00.000Z",
                priority=priority,
                eventtype=event.type,
                epoch=epoch,
                seq=seq,
                bootid="boot",
                monoms=round(time.monotonic() * 1000),
                clock="unset",
                session=epoch,
                data=wire.event_data(event),
            )
            client.publish(f"{root}/event/{event.type}", wire.encode(envelope), qos=1)
            ledger.mark(number, number + 1)
            time.sleep(chance.wait_s())
        time.sleep(1.0)


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["guard", "paho"])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--rate-hz", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    config = configuration.load(options.config)
    ledger, chance = Ledger(options.ledger, write=True), Chance(options.rate_hz, options.seed)
    if options.kind == "guard":
        be_guard(config, options.run_dir, ledger, chance, options.events)
    else:
        be_paho(config, ledger, chance, options.events)


if __name__ == "__main__":
    _main()
