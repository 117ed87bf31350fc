"""A process in which something never returns once a file is there: `hanging.py WHAT RUN_DIR STATE_DIR FILE`.

WHAT is `bus`, `touch` or `decision` of the guard, `mixer` or `device` of the voice, `outbox` or `link` of the courier,
`store` or `sender` of the hub.  Limits that are a minute or more on the street are two seconds here.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from retrowalk.config import Battery, Config, Led
from retrowalk.errors import DeviceError
from retrowalk.platform import MonotonicClock, Platform, SocketMailbox

PATIENCE_S = 2.0


def never_return() -> None:
    """What a driver in the kernel may do."""
    threading.Event().wait()


class Bus:
    """Nobody answers on it; then a transfer never returns."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        if self._file.exists():
            never_return()
        raise OSError(121, "no acknowledge")

    def close(self) -> None:
        never_return()


class NoPins:
    """A pin factory of a computer without pins, which may hang instead of saying so."""

    def __init__(self, hangs: Callable[[], bool]) -> None:
        self._hangs = hangs

    def pin(self, name: Any) -> Any:
        if self._hangs():
            never_return()
        raise DeviceError("no pins")

    def ticks(self) -> int:
        return int(time.monotonic() * 1000)

    def ticks_diff(self, later: int, earlier: int) -> int:
        return later - earlier

    def close(self) -> None:
        """Nothing to release."""


def guard(what: str, run_dir: Path, file: Path) -> None:
    from retrowalk.core.companion import Companion
    from retrowalk.guard import evidence, process

    evidence.FIRST_LATE_S = PATIENCE_S
    if what == "decision":
        Companion.feed = hanging(Companion.feed, file)  # type: ignore[method-assign]

    def in_touch() -> bool:
        return what == "touch" and threading.current_thread().name == "touch" and file.exists()

    platform = Platform(
        clock=MonotonicClock(),
        mailbox=SocketMailbox(run_dir, "guard"),
        pin_factory=NoPins(in_touch),
        bus=Bus(file if what == "bus" else Path("/nowhere")),
    )
    sys.exit(process.run(Config(battery=Battery(chip="none"), led=Led(pin=-1)), platform, run_dir))


def hanging(call: Callable[..., Any], file: Path) -> Callable[..., Any]:
    """The same call, which never returns once the file is there."""

    def called(*arguments: Any, **named: Any) -> Any:
        if file.exists():
            never_return()
        return call(*arguments, **named)

    return called


def voice(what: str, run_dir: Path, state_dir: Path, file: Path) -> None:
    from retrowalk.sim import sound
    from retrowalk.voice import mixer, process

    clock = MonotonicClock()
    if what == "mixer":
        mixer.Mixer.render = hanging(mixer.Mixer.render, file)  # type: ignore[method-assign]
    else:
        sound.SimSound.write = hanging(sound.SimSound.write, file)  # type: ignore[method-assign]
    platform = Platform(clock, SocketMailbox(run_dir, "voice"), sound=sound.SimSoundSystem(clock))
    process.run(Config(), platform, state_dir)


def courier(what: str, run_dir: Path, state_dir: Path, file: Path) -> None:
    from retrowalk import config, mqtt
    from retrowalk.courier import process
    from retrowalk.courier.outbox import Outbox

    mqtt.HANGS_S = PATIENCE_S
    if what == "outbox":
        Outbox.head = hanging(Outbox.head, file)  # type: ignore[method-assign]
    else:
        mqtt._Client.reconnect = hanging(mqtt._Client.reconnect, file)  # type: ignore[method-assign]
    settings = Config(broker=config.Broker(host="127.0.0.1", port=9))  # where nobody listens
    process.run(settings, Platform(MonotonicClock(), SocketMailbox(run_dir, "courier")), state_dir)


def hub(what: str, state_dir: Path, file: Path) -> None:
    from retrowalk.hub import notifier, process
    from retrowalk.hub.settings import HubConfig
    from retrowalk.hub.store import Store

    notifier.HANGS_S = PATIENCE_S
    if what == "store":
        Store.ask = hanging(Store.ask, file)  # type: ignore[method-assign]
    else:
        notifier.Notifier._step = hanging(notifier.Notifier._step, file)  # type: ignore[method-assign]
        notifier.Notifier._due = lambda *_: 0.0  # type: ignore[method-assign]  # comes round often
    settings = msgspec.convert({"broker": {"host": "127.0.0.1", "port": 9}}, HubConfig)
    process.run(settings, state_dir, lambda: notifier.Notifier(settings, state_dir))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    what = sys.argv[1]
    run_dir, state_dir, file = map(Path, sys.argv[2:])
    if what in ("bus", "touch", "decision"):
        guard(what, run_dir, file)
    elif what in ("mixer", "device"):
        voice(what, run_dir, state_dir, file)
    elif what in ("outbox", "link"):
        courier(what, run_dir, state_dir, file)
    else:
        hub(what, state_dir, file)
