"""What a doctor stands on: the computer, the devices, sound, broker, and the way to a guard that runs.

`street` gives the real ones; tests give others, below the very same examination.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from retrowalk.config import Broker, Config
from retrowalk.control import Control
from retrowalk.core.samples import Item
from retrowalk.doctor.broker import Trial
from retrowalk.doctor.machine import Machine
from retrowalk.errors import SensorError, SoundError
from retrowalk.platform import Clock, Mailbox, Platform, Step

Take = Callable[[Step, Sequence[Item]], None]
Failed = Callable[[Step, SensorError], None]


class Runner(Protocol):
    """Polls steps while it waits."""

    def start(self, steps: Sequence[Step], take: Take, failed: Failed) -> None:
        """From now on polls these."""

    def wait(self, seconds: float) -> None:
        """Lets so much time pass."""

    def stop(self) -> None:
        """Polls no more, and closes the steps."""


class Loop:
    """The real runner: polls in the caller's own thread, for a few seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._news = threading.Event()
        self._steps: list[Step] = []
        self._due: list[float] = []
        self._take: Take = lambda step, items: None
        self._failed: Failed = lambda step, error: None

    def start(self, steps: Sequence[Step], take: Take, failed: Failed) -> None:
        self._steps, self._take, self._failed = list(steps), take, failed
        self._due = [0.0] * len(steps)
        for index, step in enumerate(steps):
            step.wake = self._waker(index)

    def wait(self, seconds: float) -> None:
        clock = self._clock
        until = clock.now() + seconds
        while True:
            self._news.clear()
            for index, step in enumerate(self._steps):
                now = clock.now()
                if now < self._due[index]:
                    continue
                try:
                    items, self._due[index] = step.poll(now)
                except SensorError as error:
                    self._due[index] = now + step.retry_s
                    self._failed(step, error)
                else:
                    if items:
                        self._take(step, items)
            now = clock.now()
            if now >= until:
                return
            self._news.wait(max(0.0, min([until, *self._due]) - now))

    def stop(self) -> None:
        for step in self._steps:
            try:
                step.close()
            except OSError:
                pass  # it was not to be opened either
        self._steps = []
        self._due = []

    def _waker(self, index: int) -> Callable[[], None]:
        def wake() -> None:
            self._due[index] = 0.0
            self._news.set()

        return wake


@dataclass(slots=True)
class Ground:
    """Everything below an examination."""

    machine: Machine
    platform: Platform
    """Clock, pins, bus, serial ports, files and sound; its mailbox is not used."""
    runner: Runner
    connect: Callable[[], Control | None]
    """A line to the guard that runs; None: none runs."""
    try_broker: Callable[[Broker, str, str], Trial]
    """With site and name of the device."""
    render: Callable[[Config, str], bytes]
    """Sound of a text, which is kept where the voice finds it.  Raises `BankError`."""
    play: Callable[[str, bytes], None]
    """Plays such a sound to its end on a device, while the runner goes on.  Raises `SoundError`."""
    missing_phrases: Callable[[Config], int]
    """How many phrases are not rendered.  Raises `BankError` when there is no bank."""
    state_dir: str


class Nowhere:
    """The mailbox of somebody who has none."""

    name = ""

    def __init__(self) -> None:
        self.wake: Callable[[], None] = lambda: None

    def send(self, to: str, message: bytes) -> bool:
        return False

    def receive(self) -> bytes | None:
        return None

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        """Nothing to take down."""


def street(run_dirs: Sequence[Path], state_dir: Path, bank_dir: Path) -> Ground:
    """The real ground."""
    from retrowalk import control
    from retrowalk.doctor.broker import try_broker
    from retrowalk.doctor.machine import ThisMachine
    from retrowalk.platform import LazyBus, LazyPins, MonotonicClock, PySerialPorts, SmBus, SysFiles, real_pin_factory
    from retrowalk.voice.alsa import AlsaSystem
    from retrowalk.voice.bank import Bank
    from retrowalk.voice.say import play_clip, render_text

    clock = MonotonicClock()
    loop = Loop(clock)
    sound = AlsaSystem()

    def play(device: str, pcm: bytes) -> None:
        problems: list[SoundError] = []

        def work() -> None:
            try:
                play_clip(sound, device, pcm)
            except SoundError as error:
                problems.append(error)

        thread = threading.Thread(target=work, name="speech", daemon=True)
        thread.start()
        while thread.is_alive():
            loop.wait(0.02)  # the button is pressed in mid-sentence
        if problems:
            raise problems[0]

    mailbox: Mailbox = Nowhere()
    platform = Platform(
        clock=clock,
        mailbox=mailbox,
        pin_factory=LazyPins(real_pin_factory),
        bus=LazyBus(SmBus),
        serial=PySerialPorts(),
        host=SysFiles(),
        sound=sound,
    )
    return Ground(
        machine=ThisMachine(),
        platform=platform,
        runner=loop,
        connect=lambda: control.connect(run_dirs, "doctor", clock),
        try_broker=try_broker,
        render=lambda config, text: render_text(config, bank_dir, text),
        play=play,
        missing_phrases=lambda config: len(Bank.open(config, bank_dir).missing()),
        state_dir=str(state_dir),
    )


def pause() -> None:
    """Between two questions on a bus that others use as well."""
    time.sleep(0.001)
