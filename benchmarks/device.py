"""Parts of a device and of its broker for the benchmarks of messages: real processes, each with the priority it has.

`Courier`: the courier as its service starts it.  `Minute`: what the drivers of a device hand their guard on a simulated
walk, from the real drivers in virtual time.  `Guard`: a guard process that is handed that instead by a driver of its
own; all else in it is the device's.  `Ear`: the voice's place, that takes requests and notes when.  `Client`: a client
of the broker that knows only topics, and notes when a message came.

As a program it is that guard (`--items`); `--waits-ms` makes one that waits for its courier, as none may.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import math
import os
import pickle
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from msgspec import structs
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from retrowalk import config as configuration
from retrowalk import wire
from retrowalk.config import Config
from retrowalk.core import samples as sm
from retrowalk.core.events import GuardState
from retrowalk.core.samples import Item, SavedState, VoicePhase
from retrowalk.guard import process as guard_process
from retrowalk.guard.state import Kept, StateFile
from retrowalk.platform import MonotonicClock, Platform, SocketMailbox, boot_id, no_wake
from retrowalk.sim.virtual import WornAlone
from retrowalk.sim.world import World
from retrowalk.voice import bank as banks

GUARD_NICE, VOICE_NICE, COURIER_NICE = -10, -9, 5
"""As in systemd/retrowalk-guard.service and its neighbours."""
BEAT_S = 0.1
WORDS_S = 0.6
FROM_DRIVERS = (sm.RangeSample, sm.ImuSample, sm.BatterySample, sm.AirSample, sm.ButtonEdge)
READY_S = 15.0


def nice(value: int) -> Callable[[], None]:
    """For `preexec_fn`: the priority of a service, where that is permitted."""

    def apply() -> None:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, value)

    return apply


@contextlib.contextmanager
def child(command: Sequence[str | Path], log: Path, value: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed when it is no longer needed."""
    with open(log, "ab") as file:
        process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=file, stderr=file, preexec_fn=nice(value)
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


# ------------------------------------------------------------------------------------------------------- the broker


@dataclass(frozen=True)
class Came:
    """A message: when (monotonic seconds), and what."""

    mono_s: float
    topic: str
    payload: bytes
    retained: bool


class Client:
    """A client of the broker.  What it hears goes into `came`, from its own thread, or to `on_message`."""

    def __init__(
        self, port: int, *topics: str, name: str = "a-stranger", on_message: Callable[[Came], None] | None = None
    ) -> None:
        self.came: queue.SimpleQueue[Came] = queue.SimpleQueue()
        take = on_message or self.came.put
        ready: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        if topics:
            self._client.on_connect = lambda client, *_: client.subscribe([(topic, 1) for topic in topics])
        self._client.on_subscribe = lambda *_: ready.put(None)
        self._client.on_message = lambda _client, _data, message: take(
            Came(time.monotonic(), message.topic, bytes(message.payload), bool(message.retain))
        )
        self._client.connect_async("127.0.0.1", port, keepalive=60)
        self._client.loop_start()
        if topics:
            ready.get(timeout=10.0)

    def next(self, limit_s: float) -> Came | None:
        """The next message; None when none comes in time."""
        try:
            return self.came.get(timeout=max(0.0, limit_s))
        except queue.Empty:
            return None

    def until(self, holds: Callable[[Came], bool], limit_s: float) -> Came | None:
        """The first message from now on for which that holds; None when none comes in time."""
        end_s = time.monotonic() + limit_s
        while (left_s := end_s - time.monotonic()) > 0.0:
            message = self.next(left_s)
            if message is not None and holds(message):
                return message
        return None

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, wait: bool = False) -> None:
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        if wait:
            info.wait_for_publish(5.0)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# ------------------------------------------------------------------------------------------------------- the device


@dataclass(frozen=True)
class Place:
    """Where a device keeps its files, and how it is configured."""

    folder: Path
    config: Config

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    @property
    def settings(self) -> Path:
        return self.folder / "retrowalk.toml"

    @property
    def root(self) -> str:
        """Its topics."""
        return wire.topic_root(self.config.device.site, self.config.device.name)


def place(folder: Path, port: int, name: str = "rw-0001", config: Config | None = None, hub: str = "none") -> Place:
    """Makes the directories and the settings of a device whose broker is on that port of this machine."""
    config = config or Config()
    config = structs.replace(
        config,
        device=structs.replace(config.device, name=name),
        broker=structs.replace(config.broker, host="127.0.0.1", port=port, hub=hub),
    )
    made = Place(folder, config)
    for directory in (made.run_dir, made.state_dir):
        directory.mkdir(parents=True, exist_ok=True)
    made.settings.write_text(configuration.to_toml(config), encoding="utf-8")
    return made


def courier(where: Place) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """The courier, by the command of its service."""
    places = ["--config", where.settings, "--run-dir", where.run_dir, "--state-dir", where.state_dir]
    command = [sys.executable, "-m", "retrowalk", "courier", *places]
    return child(command, where.folder / "courier.log", COURIER_NICE)


class Hands:
    """The guard's place in front of a courier: hands events over and counts what is confirmed and delivered."""

    def __init__(self, where: Place, session: str = "bench") -> None:
        self._mailbox = SocketMailbox(where.run_dir, "guard")
        self.session = session
        self.number = 0
        self.committed = self.delivered = 0
        self.connected = False
        self.beat: wire.CourierBeat | None = None

    def fileno(self) -> int:
        return self._mailbox.fileno()

    def give(self, kind: str, priority: str, data: dict[str, Any] | None = None, limit_s: float = READY_S) -> float:
        """Hands one event over; returns when (monotonic seconds).  Raises `TimeoutError` when nobody takes it."""
        self.number += 1
        end_s = time.monotonic() + limit_s
        while True:
            now_s = time.monotonic()
            event = wire.EventMessage(
                self.session, self.number, kind, priority, now_s, round(now_s, 6), self.number, data or {}
            )
            if self._mailbox.send("courier", wire.encode(event)):
                return now_s
            if now_s > end_s:
                raise TimeoutError("the courier does not take the event")
            time.sleep(0.01)

    def read(self) -> None:
        """Takes what the courier has said."""
        while (data := self._mailbox.receive()) is not None:
            match wire.decode_local(data):
                case wire.CommittedMessage(_, number):
                    self.committed = max(self.committed, number)
                case wire.DeliveredMessage(_, number):
                    self.delivered = max(self.delivered, number)
                case wire.CourierBeat() as beat:
                    self.beat, self.connected = beat, beat.connected
                case _:
                    pass

    def until(self, holds: Callable[[Hands], bool], limit_s: float) -> bool:
        """Reads until that holds; whether it did in time."""
        end_s = time.monotonic() + limit_s
        while True:
            self.read()
            if holds(self):
                return True
            if time.monotonic() > end_s:
                return False
            time.sleep(0.01)

    def alive(self, state: str = "guarding") -> None:
        """A sign of life."""
        self._mailbox.send("courier", wire.encode(wire.KeepAlive(time.monotonic(), state)))

    def close(self) -> None:
        self._mailbox.close()


# -------------------------------------------------------------------------------------------------------- the guard


@dataclass(frozen=True)
class Minute:
    """What drivers handed their guard: (session second, items) in order, over `seconds`; then it begins anew."""

    seconds: float
    batches: Sequence[tuple[float, str, Sequence[Item]]]
    upright: tuple[float, float, float]


def played(world: World, config: Config, seconds: float) -> Minute:
    """What the real drivers hand the guard of a device that guards, worn in that world, in virtual time."""
    pitch = math.radians(world.walker.upright_deg)
    upright = (-math.sin(pitch), 0.0, math.cos(pitch))
    state = SavedState(0.0, GuardState.GUARDING.value, 0.0, upright, accepted=True, sound_confirmed=True)
    kept = Kept(1, "before", "simulated", 0.0, 0.0, state, [])
    device = WornAlone(config, world, banks.build(config, banks.default_directory()), kept)
    batches: list[tuple[float, str, Sequence[Item]]] = []
    take = device.guard.take

    def taken(items: Sequence[Item], now: float, step: str = "") -> None:
        handed = [item for item in items if isinstance(item, FROM_DRIVERS)]
        if handed:
            batches.append((now, step, handed))
        take(items, now, step)

    device.guard.take = taken  # type: ignore[method-assign]  # the guard's own door, and one who looks on
    try:
        device.run_until(seconds)
    finally:
        device.close()
    return Minute(seconds, batches, upright)


class _Player:
    """A driver that hands over what other drivers have handed over, at its time, again and again."""

    shares = ""
    retry_s = 1.0

    def __init__(self, minute: Minute, clock: MonotonicClock, repeat: bool) -> None:
        self.name = "player"
        self.wake: Callable[[], None] = no_wake
        self._minute = minute
        self._clock = clock
        self._repeat = repeat
        self._round = self._at = 0

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        found: list[Item] = []
        while (due_s := self._due_s()) <= now:
            t_s, _, items = self._minute.batches[self._at]
            shift_s = due_s - t_s
            received_s = self._clock.now()
            found += [
                dataclasses.replace(item, t_received_s=received_s, t_measured_s=item.t_measured_s + shift_s)
                if isinstance(item, sm.RangeSample | sm.ImuSample)
                else dataclasses.replace(item, t_received_s=received_s)
                for item in items
            ]
            self._at += 1
            if self._at == len(self._minute.batches):
                self._round, self._at = self._round + 1, 0
        return found, self._due_s()

    def _due_s(self) -> float:
        if self._round and not self._repeat:
            return math.inf
        return self._round * self._minute.seconds + self._minute.batches[self._at][0]

    def close(self) -> None:
        """Nothing to release."""


class _NoTouch:
    """Motor and buzzer are nobody's question here."""

    name = "touch"
    shares = ""
    retry_s = 1.0

    def __init__(self) -> None:
        self.wake: Callable[[], None] = no_wake

    def touch(self, request: object) -> None:
        """Is not felt."""

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        return (), math.inf

    def close(self) -> None:
        """Nothing to release."""


class _WaitingMailbox(SocketMailbox):
    """What no guard may have: one that waits for a courier that has no connection."""

    def __init__(self, run_dir: Path, wait_s: float) -> None:
        super().__init__(run_dir, "guard")
        self._wait_s = wait_s
        self._connected = True

    def receive(self) -> bytes | None:
        data = super().receive()
        if data is not None and b'"courier_beat"' in data:
            self._connected = wire.decode(data, wire.CourierBeat).connected
        return data

    def send(self, to: str, message: bytes) -> bool:
        if to == "voice" and b'"speak"' in message and not self._connected:
            time.sleep(self._wait_s)
        return super().send(to, message)


def guard(
    where: Place, items: Path, *, origin_s: float, waits_ms: float = 0.0, repeat: bool = True
) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """A guard process whose driver plays the `Minute` in the file `items`; its session begins at `origin_s`."""
    command = [sys.executable, __file__, "--settings", where.settings, "--run-dir", where.run_dir, "--items", items]
    options = ["--origin", repr(origin_s), "--waits-ms", repr(waits_ms), *(() if repeat else ("--once",))]
    return child([*command, *options], where.folder / "guard.log", GUARD_NICE)


def resumed(where: Place, minute: Minute) -> None:
    """Leaves what a guard that guarded a moment ago has kept, so that the next one begins without the hand check."""
    state = SavedState(0.0, GuardState.GUARDING.value, 0.0, minute.upright, accepted=True, sound_confirmed=True)
    StateFile(where.run_dir).write(Kept(1, "before", boot_id(), time.monotonic(), time.time(), state, []))


class Ear:
    """The voice's place for some devices: signs of life, progress, and when each request came."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._boxes = [SocketMailbox(each.run_dir, "voice") for each in places]
        self.requests: list[tuple[int, float, wire.SpeakMessage]] = []
        """Device, when it came (monotonic seconds), and what."""
        self._ends: list[tuple[float, int, int]] = []
        self._saying: dict[int, int] = {}
        self._beat_s = 0.0
        self._frames = 0

    def filenos(self) -> list[int]:
        return [box.fileno() for box in self._boxes]

    def poll(self) -> None:
        """Takes what has come; says that the voice lives, and what it has said."""
        for index, box in enumerate(self._boxes):
            while (data := box.receive()) is not None:
                now_s = time.monotonic()
                if b'"kind":"speak"' not in data and b'"kind":"hush"' not in data:
                    continue
                message = wire.decode_local(data)
                if isinstance(message, wire.SpeakMessage):
                    self.requests.append((index, now_s, message))
                    before = self._saying.pop(index, None)
                    if before is not None:
                        self._tell(index, before, VoicePhase.CUT)
                    self._saying[index] = message.alert
                    self._tell(index, message.alert, VoicePhase.STARTED)
                    self._ends.append((now_s + WORDS_S, index, message.alert))
                elif isinstance(message, wire.HushMessage) and self._saying.get(index) == message.alert:
                    del self._saying[index]
                    self._tell(index, message.alert, VoicePhase.CUT)
        now_s = time.monotonic()
        for end in [end for end in self._ends if end[0] <= now_s]:
            self._ends.remove(end)
            if self._saying.get(end[1]) == end[2]:
                del self._saying[end[1]]
                self._tell(end[1], end[2], VoicePhase.FINISHED)
        if now_s >= self._beat_s:
            self._beat_s = now_s + BEAT_S
            self._frames += int(BEAT_S * 48_000)
            beat = wire.encode(wire.VoiceBeat("bench", self._frames, 0))
            for box in self._boxes:
                box.send("guard", beat)

    def _tell(self, index: int, alert: int, phase: VoicePhase) -> None:
        self._boxes[index].send("guard", wire.encode(wire.ProgressMessage(alert, phase, time.monotonic())))

    def close(self) -> None:
        for box in self._boxes:
            box.close()


def main() -> int:
    """The guard process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--origin", type=float, required=True)
    parser.add_argument("--waits-ms", type=float, default=0.0)
    parser.add_argument("--once", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="guard: %(message)s")
    minute: Minute = pickle.loads(options.items.read_bytes())
    clock = MonotonicClock(options.origin)
    mailbox = (
        _WaitingMailbox(options.run_dir, options.waits_ms / 1000.0)
        if options.waits_ms
        else SocketMailbox(options.run_dir, "guard")
    )
    # The guard's own loop, threads and inbox: only what its drivers would say is said by another one.
    guard_process.build_steps = lambda *_: ([_Player(minute, clock, not options.once), _NoTouch()], _NoTouch())  # type: ignore[assignment,return-value]
    while clock.now() < 0.0:
        time.sleep(0.01)
    return guard_process.run(configuration.load(options.settings), Platform(clock, mailbox), options.run_dir)


if __name__ == "__main__":
    sys.modules["device"] = sys.modules["__main__"]  # what was pickled names its module so
    sys.exit(main())
