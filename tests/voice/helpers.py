"""Doubles for tests of the voice: a sound device and a mailbox in virtual time, a bank of noise."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import deque
from collections.abc import Callable
from pathlib import Path
from random import Random

import msgspec

from retrowalk import wire
from retrowalk.config import Config, Voice
from retrowalk.core import alerts
from retrowalk.errors import SoundError
from retrowalk.platform import APLAY, Platform, no_wake
from retrowalk.voice import packing
from retrowalk.voice.bank import BANK_FORMAT, PACKED, Bank, Entry, Manifest
from retrowalk.voice.mixer import FRAME_BYTES, RATE_HZ
from retrowalk.voice.process import VoiceLoop
from retrowalk.voice.texts import Texts

SIDED = Config(
    range_sensor=tuple(msgspec.structs.replace(sensor, bearing_left_deg=20.0) for sensor in Config().range_sensor),
    voice=Voice(say_side=True),
)
"""A device that can be asked for every phrase there is."""


def noise(seed: object, seconds: float) -> bytes:
    """Noise that is nowhere zero, and its own for each seed."""
    random = Random(str(seed))
    return array(
        "h", [random.randint(1000, 9000) * random.choice((-1, 1)) for _ in range(round(seconds * RATE_HZ))]
    ).tobytes()


def write_bank(config: Config, directory: Path, seconds: float = 0.05) -> Bank:
    """A bank whose every clip is noise of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    texts = Texts.load(config.device.language)
    entries = []
    for number, (phrase, value) in enumerate(alerts.clips(config)):
        codes = packing.pack(array("h", noise((phrase, value), seconds / 2)))
        file = f"{number}{PACKED}"
        (directory / file).write_bytes(codes)
        digest = hashlib.sha256(codes).hexdigest()
        entries.append(Entry(phrase, value, texts.words(phrase, value), file, digest, 2 * len(codes)))
    manifest = Manifest(BANK_FORMAT, config.device.language, "en", 160, "0", "0", entries)
    (directory / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    return Bank.open(config, directory)


def left(pcm: bytes) -> bytes:
    """The left channel."""
    return array("h", pcm)[0::2].tobytes()


class FakeSound:
    """A device whose play pointer follows virtual time; `frozen` and `gone` do what they say."""

    def __init__(self, name: str, buffer_frames: int, system: FakeSystem, now: Callable[[], float]) -> None:
        self.name = name
        self._system = system
        self.output = "aplay" if name.startswith(APLAY) else "alsa"
        self.underruns = 0
        self.beyond_s = 0.0
        self.heard = bytearray()
        self.frozen = False
        self.gone = False
        self.closed = False
        self.take_at_most = 1 << 30
        self.buffer_frames = buffer_frames
        self._now = now
        self._moved_s = now()
        self._pointer = 0.0

    def keep(self, buffer_ms: int) -> None:
        self.buffer_frames = buffer_ms * RATE_HZ // 1000

    def writable(self, now: float) -> int:
        return self.buffer_frames - (self._written() - self.played(now))

    def write(self, pcm: bytes, now: float) -> int:
        self._check()
        frames = min(len(pcm) // FRAME_BYTES, self.writable(now), self.take_at_most)
        self.heard += pcm[: frames * FRAME_BYTES]
        return frames

    def played(self, now: float) -> int:
        self._check()
        if self.name in self._system.swallowing:
            self._pointer = self._written()
        elif not self.frozen and self.name not in self._system.frozen:
            self._pointer = min(self._written(), self._pointer + (now - self._moved_s) * RATE_HZ)
        self._moved_s = now
        return int(self._pointer + 1e-6)

    def wait(self, timeout_s: float) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def _written(self) -> int:
        return len(self.heard) // FRAME_BYTES

    def _check(self) -> None:
        if self.gone or self.closed or self.name in self._system.gone:
            raise SoundError(f"sound device {self.name!r}: No such device")


class FakeSystem:
    """Opens fake devices; `absent` names those that cannot be opened, `gone` those that are unplugged, `frozen`,
    `swallowing` and `muted` those that can be opened and are of no use.  There is no `aplay` unless `aplay` is set.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.absent: set[str] = set()
        self.gone: set[str] = set()
        self.frozen: set[str] = set()
        self.swallowing: set[str] = set()
        self.muted: set[str] = set()
        self.aplay = False
        self.opened: list[FakeSound] = []
        self._now = now

    def open(self, device: str, buffer_ms: int) -> FakeSound:
        if device in self.absent | self.gone or (device.startswith(APLAY) and not self.aplay):
            raise SoundError(f"sound device {device!r} cannot be opened: No such file or directory")
        sound = FakeSound(device, buffer_ms * RATE_HZ // 1000, self, self._now)
        self.opened.append(sound)
        return sound

    def condition(self, device: str, now: float) -> str:
        return "muted" if device in self.muted else ""


ASKER = "say-1"
"""Mailbox of a person who asks the voice for something."""


class FakeMailbox:
    """A mailbox whose letters a test puts in and takes out."""

    def __init__(self) -> None:
        self.name = "voice"
        self.wake: Callable[[], None] = no_wake
        self.inbox: deque[bytes] = deque()
        self.sent: list[wire.LocalMessage] = []
        self.answered: list[wire.ProgressMessage] = []
        """What went to `ASKER` instead of the guard."""
        self.listening = True

    def send(self, to: str, message: bytes) -> bool:
        if not self.listening:
            return False
        assert to in ("guard", ASKER)
        told = wire.decode_local(message)
        if to == "guard":
            self.sent.append(told)
        else:
            assert isinstance(told, wire.ProgressMessage)
            self.answered.append(told)
        return True

    def receive(self) -> bytes | None:
        return self.inbox.popleft() if self.inbox else None

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        pass


class Bench:
    """A voice in virtual time.  `origin_mono_s` is not zero, so that clocks cannot be mixed up unnoticed."""

    def __init__(self, config: Config, bank: Bank | None, *, bank_dir: Path | None = None) -> None:
        self.origin_mono_s = 1000.0
        self.now_s = 0.0
        self.mailbox = FakeMailbox()
        self.system = FakeSystem(self.now)
        platform = Platform(clock=self, mailbox=self.mailbox, sound=self.system)
        self.loop = VoiceLoop(config, bank, platform, bank_dir=bank_dir)
        self.guard_alive = True
        self.guard_state = "guarding"
        self._due_s = 0.0
        self._keepalive_s = 0.0

    # The clock.
    def now(self) -> float:
        return self.now_s

    def pause(self, seconds: float) -> None:
        raise AssertionError("the voice never waits")

    def wall_s(self) -> float:
        raise AssertionError("the voice does not know the date")

    def send(self, message: wire.LocalMessage) -> None:
        """Delivers a message and polls at once, as its arrival would."""
        self.mailbox.inbox.append(wire.encode(message))
        self._poll()

    def speak(
        self,
        alert: int,
        phrase: str = "stop",
        value: str = "",
        earcon: str = "warning",
        rank: int = 100,
        within_s: float = 1.0,
    ) -> None:
        deadline = self.origin_mono_s + self.now_s + within_s
        self.send(wire.SpeakMessage(alert, phrase, value, earcon, "warning", rank, deadline))

    def run(self, seconds: float) -> None:
        """Lets time pass, polling whenever the loop asked for it."""
        end_s = self.now_s + seconds
        while True:
            next_s = min(self._due_s, self._keepalive_s if self.guard_alive else math.inf)
            if next_s > end_s:
                break
            self.now_s = max(self.now_s, next_s)
            if self.guard_alive and self.now_s >= self._keepalive_s:
                self._keepalive_s = self.now_s + 0.1
                self.mailbox.inbox.append(wire.encode(wire.KeepAlive(self.now_s, self.guard_state)))
            self._poll()
        self.now_s = end_s

    def _poll(self) -> None:
        items, self._due_s = self.loop.poll(self.now_s)
        assert not items
        assert self._due_s > self.now_s

    @property
    def sound(self) -> FakeSound:
        return self.system.opened[-1]

    @property
    def heard(self) -> bytes:
        """The left channel of what was written to the device that is open now."""
        return left(bytes(self.sound.heard))

    def beats(self) -> list[wire.VoiceBeat]:
        return [message for message in self.mailbox.sent if isinstance(message, wire.VoiceBeat)]

    def progress(self) -> list[wire.ProgressMessage]:
        return [message for message in self.mailbox.sent if isinstance(message, wire.ProgressMessage)]

    def phases(self, alert: int) -> list[str]:
        return [message.phase.value for message in self.progress() if message.alert == alert]
